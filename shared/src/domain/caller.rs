use serde::{Deserialize, Serialize};

use super::{SessionId, UserId, UserKey};

/// Counts what ended every session of a user at once (a new password, a deactivation). A token names the count it was signed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenVersion(pub u32);

/// Counts the refreshes of a session. A refresh token names the count it belongs to, and only the newest may refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation of a session just opened.
    pub const FIRST: Self = Self(0);

    /// The one after this; saturates, which would take four billion refreshes of one session.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Somebody whose access token was genuine and unexpired when the request came in.
///
/// Whether the session still exists is decided by the operation itself, in the same round trip that reads or writes the user: the methods
/// of the store that begin something for a user take a `Caller` and make its claims a condition. Only a verified token makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub(crate) user: UserKey,
    pub(crate) id: UserId,
    pub(crate) session: SessionId,
    pub(crate) token_version: TokenVersion,
}

/// A genuine, unexpired refresh token: the right to ask for the next pair of its session, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshGrant {
    pub(crate) user: UserKey,
    pub(crate) id: UserId,
    pub(crate) session: SessionId,
    pub(crate) token_version: TokenVersion,
    pub(crate) generation: Generation,
}
