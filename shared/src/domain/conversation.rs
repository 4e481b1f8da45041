use serde::{Deserialize, Serialize};

use super::{Chat, ConversationId, Invalid, Timestamp, about_tokens};

/// What a conversation is called: one line of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Title(String);

impl Title {
    /// The longest title that somebody can give, in characters.
    pub const MAX_CHARS: usize = 200;
    /// The longest title that is made of a message, in characters.
    const MAX_CHARS_OF_MESSAGE: usize = 60;

    /// Reads a title: some text on one line, at most 200 characters. White space around it is left out.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Invalid::new("title", "Title is required"));
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            return Err(Invalid::new("title", "Title must be at most 200 characters long"));
        }
        if text.chars().any(breaks_lines) {
            return Err(Invalid::new("title", "Title must be one line"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The beginning of a message as one line of at most 60 characters, which ends in `…` where there is more.
    pub fn of_message(message: &str) -> Self {
        let words = message.split(|c: char| c.is_whitespace() || breaks_lines(c));
        let mut line = String::new();
        for word in words.filter(|word| !word.is_empty()) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if line.len() > 4 * Self::MAX_CHARS_OF_MESSAGE {
                // Whatever its characters are, these are more than there is room for.
                break;
            }
        }
        if line.chars().nth(Self::MAX_CHARS_OF_MESSAGE).is_some() {
            let beginning: String = line.chars().take(Self::MAX_CHARS_OF_MESSAGE - 1).collect();
            line = format!("{}…", beginning.trim_end());
        }
        if line.is_empty() {
            // A message of control characters alone.
            line.push('…');
        }
        Self(line)
    }

    /// The title as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character could make one line two, or is not to be shown at all. The separators of lines and paragraphs are no control
/// characters.
fn breaks_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Messages that belong together: each is answered with those before it in mind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Sorts by the time it was begun.
    pub id: ConversationId,
    /// What it is called.
    pub title: Title,
    /// When it was renamed, or when the message came in that was answered last.
    pub updated_at: Timestamp,
    /// Whether its owner has deleted it and its chats are being removed. It stays so, and nothing is said in it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
}

impl Conversation {
    /// A conversation that begins with `message`.
    pub fn beginning_with(message: &str, now: Timestamp) -> Self {
        Self {
            id: ConversationId::new(now),
            title: Title::of_message(message),
            updated_at: now,
            deleting: false,
        }
    }

    /// When its first message came in.
    pub fn created_at(&self) -> Timestamp {
        self.id.made_at()
    }
}

/// Which conversation a message is said in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationRef {
    /// One that begins with it.
    New,
    /// This one.
    Existing(ConversationId),
}

impl ConversationRef {
    const NEW: &'static str = "new";

    /// Reads `new` or an id; nothing else is a conversation.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            Self::NEW => Some(Self::New),
            id => id.parse().ok().map(Self::Existing),
        }
    }
}

impl std::fmt::Display for ConversationRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => f.write_str(Self::NEW),
            Self::Existing(id) => id.fmt(f),
        }
    }
}

/// How much of a conversation a model is told with the next message, in tokens. There is no tokenizer: a token is taken to be four bytes, and
/// each message to need eight more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextBudget(u32);

impl ContextBudget {
    /// How many chats are looked at, however short they are: whoever reads a hundred of them does not miss those before, and reading more would
    /// cost more than they are worth.
    const MAX_CHATS: u32 = 100;
    /// What the shortest chat needs: a message and an answer.
    const LEAST: u32 = 2 * (8 + 1);

    /// A budget of so many tokens.
    pub const fn new(tokens: u32) -> Self {
        Self(tokens)
    }

    /// How many tokens it is.
    pub fn tokens(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// How many chats there may be room for.
    pub fn most_chats(self) -> usize {
        usize::try_from((self.0 / Self::LEAST).min(Self::MAX_CHATS)).unwrap_or(0)
    }

    /// The newest of these chats that there is room for, in the order in which they were said. Given the newest first.
    ///
    /// A message goes with its answer or not at all: models expect both to take turns, beginning with the person.
    pub fn newest_that_fit(self, newest_first: Vec<Chat>) -> Vec<Chat> {
        let mut left = u64::from(self.0);
        let fits = |chat: &Chat| {
            let needed = needed(&chat.message).saturating_add(needed(&chat.response));
            let rest = left.checked_sub(needed);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let mut fitting: Vec<_> = newest_first.into_iter().take_while(fits).collect();
        fitting.reverse();
        fitting
    }
}

/// What a message needs.
fn needed(text: &str) -> u64 {
    about_tokens(text).saturating_add(8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Amount, ChatId, Finish};

    fn chat(at: i64, message: &str, response: &str) -> Chat {
        let created_at = Timestamp::from_millis(at);
        Chat {
            id: ChatId::new(created_at),
            conversation: None,
            message: message.into(),
            response: response.into(),
            model: "echo".into(),
            priced_as: None,
            finish: Finish::Stop,
            usage: None,
            priced_by: None,
            cost: Amount::ZERO,
            balance_after: Amount::ZERO,
            created_at,
        }
    }

    #[test]
    fn a_title_is_one_line_of_text() {
        assert_eq!(
            Title::parse("  Ledgers, old and new ").unwrap().as_str(),
            "Ledgers, old and new"
        );
        assert!(Title::parse(&"é".repeat(200)).is_ok());
        for text in ["", " \t ", "two\nlines", "two\u{2028}lines", "\u{0}", &"x".repeat(201)] {
            let refused = Title::parse(text).unwrap_err();
            assert_eq!(refused.member, "title", "{text:?}");
        }
    }

    #[test]
    fn a_conversation_is_called_by_the_beginning_of_its_first_message() {
        let title = |message: &str| Title::of_message(message).as_str().to_owned();
        assert_eq!(title(" What is\r\n\ta  ledger?\n"), "What is a ledger?");
        assert_eq!(title(&"é".repeat(60)), "é".repeat(60));
        assert_eq!(title(&"é".repeat(61)), format!("{}…", "é".repeat(59)));
        assert_eq!(
            title(&"a b ".repeat(4_000)),
            format!("{}…", "a b ".repeat(15).trim_end())
        );
        assert_eq!(title("\u{0}\u{2029}\u{7f}"), "…");
    }

    #[test]
    fn a_conversation_is_new_or_has_an_id() {
        let id = ConversationId::new(Timestamp::from_millis(5));
        for some in [ConversationRef::New, ConversationRef::Existing(id)] {
            assert_eq!(ConversationRef::parse(&some.to_string()), Some(some));
        }
        for none in ["", "New", "null", " new", &id.to_string().to_lowercase()] {
            assert_eq!(ConversationRef::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_newest_chats_that_fit_are_told_in_order() {
        // 1 + 8 and 2 + 8: each chat needs 19 tokens.
        let chats = |count: i64| {
            (1..=count)
                .rev()
                .map(|at| chat(at, "abcd", "abcdefgh"))
                .collect::<Vec<_>>()
        };
        let times = |budget: u32, count| {
            let told = ContextBudget::new(budget).newest_that_fit(chats(count));
            told.iter().map(|chat| chat.created_at.as_millis()).collect::<Vec<_>>()
        };
        assert!(times(18, 3).is_empty());
        assert_eq!(times(19, 3), [3]);
        assert_eq!(times(56, 3), [2, 3]);
        assert_eq!(times(57, 3), [1, 2, 3]);
        // An older one that would fit is not told without the one that came between.
        let mut between = chats(3);
        between[1].response = "x".repeat(1_000);
        let told = ContextBudget::new(200).newest_that_fit(between);
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn no_more_chats_are_looked_at_than_may_fit() {
        let most = |tokens| ContextBudget::new(tokens).most_chats();
        assert_eq!((most(0), most(17), most(18), most(8_000)), (0, 0, 1, 100));
    }

    proptest! {
        #[test]
        fn every_message_makes_a_title_that_could_be_given(message in any::<String>()) {
            let title = Title::of_message(&message);
            prop_assert!(title.as_str().chars().count() <= 60);
            prop_assert_eq!(Title::parse(title.as_str()), Ok(title));
        }

        #[test]
        fn what_is_told_fits_and_one_chat_more_would_not(
            texts in proptest::collection::vec((".{1,60}", ".{1,60}"), 0..20),
            budget in 0_u32..600,
        ) {
            let chats: Vec<_> = (0..).zip(&texts).map(|(at, (message, response))| chat(-at, message, response)).collect();
            let size = |chats: &[Chat]| -> u64 {
                chats.iter().map(|chat| needed(&chat.message) + needed(&chat.response)).sum()
            };
            let told = ContextBudget::new(budget).newest_that_fit(chats.clone()).len();
            prop_assert!(size(&chats[..told]) <= u64::from(budget));
            prop_assert!(told == chats.len() || size(&chats[..=told]) > u64::from(budget));
            prop_assert!(told <= ContextBudget::new(budget).most_chats());
        }
    }
}
