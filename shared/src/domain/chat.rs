use serde::{Deserialize, Serialize};

use super::{Amount, ChatId, Timestamp};

/// One message with the model's answer, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Sorts by the time the message came in.
    pub id: ChatId,
    /// What the user said.
    pub message: String,
    /// What the model answered.
    pub response: String,
    /// The model that answered.
    pub model: String,
    /// What was charged.
    pub cost: Amount,
    /// The balance when the charge was made, with it taken off.
    pub balance_after: Amount,
    /// When the message came in.
    pub created_at: Timestamp,
}
