use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{ChatId, ConversationId, Invalid, UserId, UserKey};

/// What a cursor points into. A cursor of one listing does not work in another, nor in another user's.
#[derive(Debug, Clone, Copy)]
pub enum Listing<'a> {
    /// The chats of the user with this id.
    Chats(&'a UserId),
    /// The conversations of the user with this id.
    Conversations(&'a UserId),
    /// The chats of the conversation with this id, which nobody else's has.
    ChatsIn(ConversationId),
    /// All active users.
    Users,
    /// The users whose names begin alike, active or not, as staff see them.
    Search,
    /// The chats of the user with this name, as staff see them.
    ChatsOf(&'a UserKey),
    /// The ledger of the user with this name.
    LedgerOf(&'a UserKey),
    /// The audit trail.
    Audit,
}

/// Where a page of a listing ended: what the next page starts after.
///
/// The text form carries a checksum over the listing and the place, so that a mistyped cursor and one of another listing are refused
/// instead of yielding a page of nonsense. It is no signature: who forges one only chooses a place in a listing that they may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

const CHECKSUM_BYTES: usize = 6;

impl Cursor {
    /// The longest place is what the list of users sorts by: 1024 bytes, four thirds of that in base64.
    pub const MAX_TEXT: usize = 1_400;

    /// The cursor behind the item that sorts at `place`.
    pub fn after(place: String) -> Self {
        Self(place)
    }

    /// What the last item of the page before sorts by.
    pub fn place(&self) -> &str {
        &self.0
    }

    /// The text to hand to a client that is reading `listing`.
    pub fn encode(&self, listing: Listing<'_>) -> String {
        let mut bytes = checksum(listing, &self.0).to_vec();
        bytes.extend_from_slice(self.0.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that was handed out for `listing`.
    ///
    /// # Errors
    /// Says that the text is not a cursor of this listing.
    pub fn decode(text: &str, listing: Listing<'_>) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("cursor", "Cursor is not valid here");
        if text.len() > Self::MAX_TEXT {
            return Err(invalid());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (sum, place) = bytes.split_at_checked(CHECKSUM_BYTES).ok_or_else(invalid)?;
        let place = std::str::from_utf8(place).map_err(|_| invalid())?;
        // Anybody can compute the checksum, so the place is looked at too: DynamoDB refuses keys that are empty or over 1024 bytes, and
        // a page of users begins one byte behind the place.
        let possible = match listing {
            // Every one of these is a ULID, whatever it is the id of.
            Listing::Chats(_)
            | Listing::Conversations(_)
            | Listing::ChatsIn(_)
            | Listing::ChatsOf(_)
            | Listing::LedgerOf(_)
            | Listing::Audit => place.parse::<ChatId>().is_ok(),
            Listing::Users | Listing::Search => place.contains('#') && place.len() < 1024,
        };
        if possible && sum == checksum(listing, place) {
            Ok(Self(place.to_owned()))
        } else {
            Err(invalid())
        }
    }
}

fn checksum(listing: Listing<'_>, place: &str) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    match listing {
        Listing::Chats(user) => {
            hash.update(b"chats\0");
            hash.update(user.to_bytes());
        }
        Listing::Conversations(user) => {
            hash.update(b"conversations\0");
            hash.update(user.to_bytes());
        }
        Listing::ChatsIn(conversation) => {
            hash.update(b"chats in\0");
            hash.update(conversation.to_bytes());
        }
        Listing::Users => hash.update(b"users\0"),
        Listing::Search => hash.update(b"search\0"),
        Listing::ChatsOf(user) => {
            hash.update(b"chats of\0");
            hash.update(user.as_str());
            hash.update(b"\0");
        }
        Listing::LedgerOf(user) => {
            hash.update(b"ledger of\0");
            hash.update(user.as_str());
            hash.update(b"\0");
        }
        Listing::Audit => hash.update(b"audit\0"),
    }
    hash.update(place.as_bytes());
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.finalize()[..CHECKSUM_BYTES]);
    sum
}

/// How many items a page has at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u16);

impl PageSize {
    /// Reads the `limit` of a query: a whole number from 1 to `MAX`; `default` without one.
    ///
    /// # Errors
    /// Says which numbers are allowed.
    pub fn parse(text: Option<&str>, most: u16, usual: u16) -> Result<Self, Invalid> {
        let Some(text) = text else {
            return Ok(Self(usual));
        };
        match text.parse() {
            Ok(size) if (1..=most).contains(&size) && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(size)),
            _ => Err(Invalid::new(
                "limit",
                format!("Limit must be a whole number from 1 to {most}"),
            )),
        }
    }

    /// The number.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn a_cursor_works_only_in_its_own_listing() {
        let (ada, bob) = (
            UserId::new(Timestamp::from_millis(1)),
            UserId::new(Timestamp::from_millis(1)),
        );
        let cursor = Cursor::after("01JGXQ0000000000000000000A".into());
        let text = cursor.encode(Listing::Chats(&ada));
        assert_eq!(Cursor::decode(&text, Listing::Chats(&ada)), Ok(cursor));
        assert!(Cursor::decode(&text, Listing::Chats(&bob)).is_err());
        assert!(Cursor::decode(&text, Listing::Users).is_err());
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = Cursor::after("ada#Ada".into()).encode(Listing::Users);
        for index in 0..text.len() {
            let mut tampered = text.clone().into_bytes();
            tampered[index] = if tampered[index] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).unwrap();
            assert!(Cursor::decode(&tampered, Listing::Users).is_err(), "{index}");
        }
        for rubbish in ["", "A", "!", "====", "\u{0}", &"A".repeat(100_000)] {
            assert!(Cursor::decode(rubbish, Listing::Users).is_err());
        }
    }

    #[test]
    fn a_right_checksum_over_an_impossible_place_is_refused() {
        let ada = UserId::new(Timestamp::from_millis(1));
        for place in ["", "x", "USER", &"a".repeat(1_025), &format!("{}#", "a".repeat(1_023))] {
            for listing in [Listing::Users, Listing::Chats(&ada)] {
                let text = Cursor::after(place.to_owned()).encode(listing);
                assert!(Cursor::decode(&text, listing).is_err(), "{place}");
            }
        }
    }

    #[test]
    fn a_page_size_is_a_plain_whole_number_in_range() {
        assert_eq!(PageSize::parse(None, 100, 50).unwrap().get(), 50);
        assert_eq!(PageSize::parse(Some("100"), 100, 50).unwrap().get(), 100);
        for text in [
            "0",
            "101",
            "-1",
            "+5",
            "1.0",
            "1e1",
            " 5",
            "",
            "99999999999999999999",
            "٣",
        ] {
            assert!(PageSize::parse(Some(text), 100, 50).is_err(), "{text}");
        }
    }
}
