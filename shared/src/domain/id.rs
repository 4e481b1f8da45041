use std::{fmt, marker::PhantomData, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use ulid::Ulid;

use super::{
    Timestamp, audit::AuditEntry, chat::Chat, conversation::Conversation, idempotency::IdempotencyKey,
    ledger::LedgerEntry, user::User,
};

/// The id of one `T`: a ULID, 26 characters of Crockford base32 that sort by creation time (<https://github.com/ulid/spec>).
/// Opaque to clients.
pub struct Id<T>(Ulid, PhantomData<fn() -> T>);

/// The id of a user; it outlives a change of the name and differs when a deleted name is taken again.
pub type UserId = Id<User>;
/// The id of a chat: one message with its answer.
pub type ChatId = Id<Chat>;
/// The id of a conversation.
pub type ConversationId = Id<Conversation>;
/// The id of a ledger entry.
pub type LedgerId = Id<LedgerEntry>;
/// The id of an entry of the audit trail.
pub type AuditId = Id<AuditEntry>;

impl<T> Id<T> {
    /// A new id for something that comes into being `now`.
    pub fn new(now: Timestamp) -> Self {
        let milliseconds = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(
            Ulid::from_parts(milliseconds, u128::from_be_bytes(random())),
            PhantomData,
        )
    }

    /// When what it names came into being.
    pub fn made_at(self) -> Timestamp {
        // 48 bits of milliseconds.
        Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
    }

    /// When what it names came into being.
    pub fn time(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
    }

    /// The 16 bytes of the id, in sorting order.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }
}

// Derives would ask the same of `T`, which is only a label.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Id<T> {}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl<T> FromStr for Id<T> {
    type Err = ulid::DecodeError;

    /// Reads the canonical form only: upper case, no look-alike letters, so that one thing has one id.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = Ulid::from_string(text)?;
        if id.to_string() == text {
            Ok(Self(id, PhantomData))
        } else {
            Err(ulid::DecodeError::InvalidChar)
        }
    }
}
impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("not a ULID"))
    }
}

/// The name of a session: 96 random bits. A login makes one; every token of that login carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// A new, unguessable session name.
    pub fn random() -> Self {
        Self(short_id(random()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a hold within its user: random, so that no two calls share one, or of an idempotency key, so that all calls under it do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HoldId(String);

impl HoldId {
    /// A name that no other hold of the user has.
    pub fn random() -> Self {
        Self(short_id(random()))
    }

    /// The name of the hold of every call under this key: 96 bits of the key's hash.
    pub fn of_key(key: &IdempotencyKey) -> Self {
        Self(key.as_str().chars().take(16).collect())
    }

    /// A name that no other hold has, and that shows what is asked: 48 bits each of the key's hash and of chance.
    pub fn of_question(key: &IdempotencyKey) -> Self {
        let random = URL_SAFE_NO_PAD.encode(random::<6>());
        Self(key.as_str().chars().take(8).chain(random.chars()).collect())
    }

    /// Whether this is the hold of a call that asks what `key` names.
    pub fn asks(&self, key: &IdempotencyKey) -> bool {
        self.0.get(..8).is_some_and(|start| key.as_str().starts_with(start))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one attempt at a hold, so that a repeated request can tell its own hold from another caller's under the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(String);

impl AttemptId {
    /// A new attempt.
    pub fn random() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<9>()))
    }
}

/// 16 characters of base64url: short, because five of these are in every user item and the item's size is what each write costs.
fn short_id(bytes: [u8; 12]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `N` bytes from the operating system's generator.
#[expect(
    clippy::expect_used,
    reason = "getrandom(2) cannot fail on a booted kernel; a process without randomness must not go on"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let early = ChatId::new(Timestamp::from_millis(1_000)).to_string();
        let late = ChatId::new(Timestamp::from_millis(1_001)).to_string();
        assert!(early < late);
        assert_eq!(early.len(), 26);
        assert_eq!(
            ChatId::new(Timestamp::from_millis(1_001)).made_at(),
            Timestamp::from_millis(1_001)
        );
    }

    #[test]
    fn only_the_canonical_spelling_is_read() {
        let id = ChatId::new(Timestamp::from_millis(1_736_166_896_789));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_lowercase().parse::<ChatId>().is_err());
        assert!("".parse::<ChatId>().is_err());
        assert!("8ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<ChatId>().is_err());
    }

    #[test]
    fn session_names_differ_and_are_short() {
        let (a, b) = (SessionId::random(), SessionId::random());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 16);
    }
}
