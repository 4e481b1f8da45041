use serde::{Deserialize, Serialize};

use super::{Amount, ChatId, ConversationId, Timestamp, Usage};

/// Why a model stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Finish {
    /// It had said all.
    #[default]
    Stop,
    /// The answer was as long as it may be.
    Length,
    /// Its provider does not let it go on.
    ContentFilter,
    /// The time for an answer was over.
    Deadline,
    /// It broke off: its provider failed.
    Interrupted,
}

impl Finish {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Deadline => "deadline",
            Self::Interrupted => "interrupted",
        }
    }

    fn is_stop(&self) -> bool {
        *self == Self::Stop
    }
}

/// One message with the model's answer, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Sorts by the time the message came in.
    pub id: ChatId,
    /// The conversation that it is part of, if it is part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// What the user said.
    pub message: String,
    /// What the model answered.
    pub response: String,
    /// The model that answered.
    pub model: String,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Finish::is_stop")]
    pub finish: Finish,
    /// What the model read and wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The name by which it was priced, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced_as: Option<String>,
    /// By which edition of the prices it was charged, if not by the flat price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced_by: Option<String>,
    /// What was charged.
    pub cost: Amount,
    /// The balance when the charge was made, with it taken off.
    pub balance_after: Amount,
    /// When the message came in.
    pub created_at: Timestamp,
}
