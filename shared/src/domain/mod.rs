//! The words of the product: names, amounts, times and ids that can only hold valid values.
//!
//! Nothing here does I/O, reads a clock or knows of HTTP or DynamoDB. Text from outside becomes one of these types at the edge
//! ("parse, don't validate"); below it no bare `String` is a username and no bare integer is a balance.

mod amount;
mod api_key;
mod audit;
mod auth_key;
mod caller;
mod chat;
mod conversation;
mod cursor;
mod email;
mod figures;
pub(crate) mod id;
mod idempotency;
mod ledger;
mod message;
mod method;
mod network;
mod pacing;
mod password;
mod price;
mod prompt;
mod time;
mod user;
mod username;

pub use amount::Amount;
pub use api_key::{ApiKey, ApiKeyId, ApiKeyName, ApiKeyUse, IssuedApiKey, MAX_API_KEYS, ModelList};
pub use audit::{Action, AuditEntry, Change, Person};
pub use auth_key::{AuthKey, AuthKeyHash};
pub(crate) use caller::Proof;
pub use caller::{AdminCaller, Caller, Generation, OwnerCaller, RefreshGrant, StaffCaller, TokenVersion};
pub use chat::{Chat, Finish};
pub use conversation::{ContextBudget, Conversation, ConversationRef, Title};
pub use cursor::{Cursor, Listing, PageSize};
pub use email::Email;
pub use figures::{Counts, Day, Figures, HOURS};
pub use id::{AttemptId, AuditId, ChatId, ConversationId, HoldId, Id, LedgerId, SessionId, UserId};
pub use idempotency::{Fingerprint, IdempotencyKey, Once, Repeats, Scope};
pub use ledger::{Adjustment, LedgerEntry, Reason};
pub use message::Message;
pub use method::Method;
pub use network::Network;
pub use pacing::{Pace, Rate, login_wait};
pub use password::{NewPassword, Password, PasswordPolicy};
pub use price::{Got, PriceList, Pricing, Rates, Usage};
pub use prompt::{ModelName, Prompt, Sampling, Speaker, Turn, about_tokens};
pub use time::Timestamp;
pub use user::{Hold, MAX_SESSIONS, PasswordHash, Role, Session, User};
pub use username::{NamePrefix, UserKey, Username};

/// Why a value from outside was refused: a sentence for the person who sent it, naming the member it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The request member, such as `password`.
    pub member: &'static str,
    /// What is wrong and what would be right, as one sentence fragment such as `Password must be at least 8 bytes long`.
    pub reason: std::borrow::Cow<'static, str>,
}

impl Invalid {
    /// A refusal of `member` for `reason`.
    pub fn new(member: &'static str, reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self {
            member,
            reason: reason.into(),
        }
    }
}

/// What one line with something on it looks like, to those who know only patterns.
#[cfg(test)]
pub(crate) const ONE_LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$";

/// What a name of a model looks like to them.
#[cfg(test)]
pub(crate) const VISIBLE_ASCII: &str = "^[!-~]+$";

#[cfg(test)]
mod properties;
