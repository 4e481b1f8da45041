use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AuthKeyHash, IssuedApiKey, ModelName, Person, SessionId, UserId, UserKey};
use crate::error::Error;

/// Counts what ended every session of a user at once, such as a new password. A token names the count it was signed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenVersion(pub u32);

impl TokenVersion {
    /// The one after this; saturates, which would take four billion new passwords.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

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

/// Somebody who has shown a genuine, unexpired access token, or a key that belonged to them once.
///
/// Whether the session still exists, or the key is still theirs, is decided by the operation itself, in the same round trip that reads or
/// writes the user: the methods of the store that begin something for a user take a `Caller` and make its claims a condition. Only a
/// verified credential makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub(crate) user: UserKey,
    pub(crate) id: UserId,
    pub(crate) proof: Proof,
}

/// What a caller has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// An access token of this session.
    Session {
        session: SessionId,
        token_version: TokenVersion,
    },
    /// The key of the `Token` scheme with this hash.
    Key(AuthKeyHash),
    /// This API key.
    ApiKey(Arc<IssuedApiKey>),
}

impl Caller {
    /// The session that the caller calls from, if it is one.
    pub(crate) fn session(&self) -> Option<&SessionId> {
        match &self.proof {
            Proof::Session { session, .. } => Some(session),
            Proof::Key(_) | Proof::ApiKey(_) => None,
        }
    }

    /// The API key that the caller calls with, if it is one.
    pub(crate) fn api_key(&self) -> Option<&IssuedApiKey> {
        match &self.proof {
            Proof::ApiKey(issued) => Some(issued),
            Proof::Session { .. } | Proof::Key(_) => None,
        }
    }

    /// Checks that the caller may ask the model with this name. The list of an API key never changes, so nobody else has to be asked.
    ///
    /// # Errors
    /// [`Error::ModelNotAllowed`] if the caller has an API key for other models.
    pub fn may_use(&self, model: &ModelName) -> Result<(), Error> {
        match self.api_key().and_then(|issued| issued.models.as_ref()) {
            Some(models) if !models.contains(model) => Err(Error::ModelNotAllowed),
            _ => Ok(()),
        }
    }

    /// The caller, as a trail names them.
    pub(crate) fn person(&self) -> Person {
        Person {
            id: self.id,
            username: self.user.clone(),
        }
    }

    /// What a caller hears whose claims do not hold.
    pub(crate) const fn not_valid(&self) -> Error {
        match self.proof {
            Proof::Session { .. } => Error::AccessTokenNotValid,
            Proof::Key(_) => Error::AuthKeyNotValid,
            Proof::ApiKey(_) => Error::ApiKeyNotValid,
        }
    }

    /// What a caller hears whose account has been deactivated.
    pub(crate) const fn inactive(&self) -> Error {
        match self.proof {
            Proof::Session { .. } | Proof::ApiKey(_) => Error::UserInactive,
            Proof::Key(_) => Error::KeyOwnerInactive,
        }
    }
}

/// A caller who is the owner of the account themselves, and not a program that they gave an API key to: what an API key is limited to must not
/// be got around with the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerCaller(pub(crate) Caller);

/// A caller of an endpoint that only staff and admins may call. Their role is checked by the operation, as their session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffCaller(pub(crate) Caller);

/// A caller of an endpoint that only admins may call. Their role is checked by the operation, as their session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminCaller(pub(crate) Caller);

/// A genuine, unexpired refresh token: the right to ask for the next pair of its session, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshGrant {
    pub(crate) user: UserKey,
    pub(crate) id: UserId,
    pub(crate) session: SessionId,
    pub(crate) token_version: TokenVersion,
    pub(crate) generation: Generation,
}
