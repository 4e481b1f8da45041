//! Everything that can go wrong, in domain terms. The edge alone turns it into a status and a body.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

use crate::domain::{Invalid, MAX_API_KEYS, Method};

/// The outcome of a request that did not succeed.
///
/// A variant exists where some code branches on it or a client should. [`Error::code`] is the closed list that clients may match on.
#[derive(Debug)]
pub enum Error {
    /// No credentials came with the request.
    NotAuthenticated,
    /// An `Authorization` header that is not `Bearer <one token>` or `Token <one key>`; says which of it is wrong.
    BadAuthorizationHeader(&'static str),
    /// The access token is not genuine, not for us, expired, or its session has ended.
    AccessTokenNotValid,
    /// The key of the `Token` scheme is nobody's.
    AuthKeyNotValid,
    /// The API key is nobody's, has expired or was revoked.
    ApiKeyNotValid,
    /// The refresh token is not genuine, not for us, expired, used before, or its session has ended.
    RefreshTokenNotValid,
    /// The refresh token handed in at logout is not a live one of the caller.
    LogoutTokenNotValid,
    /// The account has been deactivated.
    UserInactive,
    /// As [`Error::UserInactive`], to somebody who sent a key of the `Token` scheme.
    KeyOwnerInactive,
    /// The caller's role does not allow this, or the caller has only an API key.
    PermissionDenied,
    /// The caller's API key is for other models.
    ModelNotAllowed,
    /// The name or the password is wrong. Which one is not told.
    InvalidCredentials,
    /// The name, or another spelling of it, belongs to somebody.
    UsernameTaken,
    /// The password that should confirm a change is not the caller's.
    WrongPassword,
    /// A member of the request that cannot be what it is.
    Invalid(Invalid),
    /// A member of the request, or a value of it, that is not served here; says which.
    Unsupported(String, Cow<'static, str>),
    /// A body that is not one JSON object, or a query that is not one.
    Malformed(Cow<'static, str>),
    /// A body of another type than JSON.
    UnsupportedMediaType,
    /// A body over the limit, which is this many bytes.
    BodyTooLarge(usize),
    /// No such path.
    NoSuchPath,
    /// The path exists; these are its methods.
    MethodNotAllowed(Vec<Method>),
    /// No such chat among the caller's own.
    ChatNotFound,
    /// No such conversation among the caller's own.
    ConversationNotFound,
    /// No such user.
    UserNotFound,
    /// No such API key among the caller's own.
    ApiKeyNotFound,
    /// The log lines of this deployment carry no metrics, so there are no figures.
    MetricsNotCollected,
    /// The caller has as many API keys as anybody may have.
    TooManyApiKeys,
    /// Admins cannot take their own rights away, so that there always is one.
    OwnRights,
    /// An admin's account cannot be deleted before another admin has taken the role from it.
    AdminAccount,
    /// The account is closed for good, and some of its items are still to be removed.
    DeletionContinues,
    /// The conversation is deleted for good, and some of its chats are still to be removed.
    ConversationDeletionContinues,
    /// The idempotency key was used for another request.
    IdempotencyMismatch,
    /// The first request with this idempotency key is still being answered.
    IdempotencyInProgress,
    /// Too many of these came too fast; the next is looked at after this much time.
    Paced(Duration),
    /// The balance does not cover the charge.
    InsufficientTokens,
    /// The charge would take what is spent with the API key beyond its cap.
    ApiKeyCapReached,
    /// As many calls as one user may have in flight are in flight.
    TooManyInFlight,
    /// The model answered with an error. Nothing was charged.
    ModelFailed(Cow<'static, str>),
    /// The model did not answer in time. Nothing was charged.
    ModelTimedOut,
    /// The model has no room for another request now. Nothing was charged.
    ModelBusy(Duration),
    /// This deployment serves no such model.
    ModelNotFound,
    /// The message is longer than the model takes. Nothing was charged.
    ContextTooLong,
    /// The model's provider does not answer messages like this one. Nothing was charged.
    ContentFiltered,
    /// The answer came so late that its hold had been given back. Nothing was charged.
    HoldLost,
    /// It may have been done and charged, or not; the history and the ledger tell.
    OutcomeUnknown,
    /// Balances do not agree with their ledgers; says which.
    Drift(String),
    /// The table could not take the request now, or did not say whether it did, or there are no figures now. Nothing was charged; it can be sent
    /// again.
    Busy(Box<dyn StdError + Send + Sync>),
    /// Something that should not happen; logged with its source.
    Internal(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// An internal error from whatever went wrong.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The model failed for a reason that is not the client's business.
    pub fn model_failed() -> Self {
        Self::ModelFailed("The model failed; nothing was charged".into())
    }

    /// The machine-readable name of the error: snake case, from a closed list, stable.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAuthenticated => "not_authenticated",
            Self::BadAuthorizationHeader(_) => "bad_authorization_header",
            Self::AccessTokenNotValid
            | Self::AuthKeyNotValid
            | Self::ApiKeyNotValid
            | Self::RefreshTokenNotValid
            | Self::LogoutTokenNotValid => "token_not_valid",
            Self::UserInactive | Self::KeyOwnerInactive => "user_inactive",
            Self::PermissionDenied => "permission_denied",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::InvalidCredentials => "invalid_credentials",
            Self::UsernameTaken => "username_taken",
            Self::WrongPassword => "wrong_password",
            Self::Invalid(_) => "invalid",
            Self::Unsupported(..) => "unsupported",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::NoSuchPath => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::ChatNotFound => "chat_not_found",
            Self::ConversationNotFound => "conversation_not_found",
            Self::UserNotFound => "user_not_found",
            Self::ApiKeyNotFound => "api_key_not_found",
            Self::MetricsNotCollected => "metrics_not_collected",
            Self::TooManyApiKeys => "too_many_api_keys",
            Self::OwnRights => "own_rights",
            Self::AdminAccount => "admin_account",
            Self::DeletionContinues | Self::ConversationDeletionContinues => "deletion_continues",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::IdempotencyInProgress => "idempotency_in_progress",
            Self::Paced(_) => "too_many_requests",
            Self::InsufficientTokens => "insufficient_tokens",
            Self::ApiKeyCapReached => "api_key_cap_reached",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::ModelFailed(_) => "model_failed",
            Self::ModelTimedOut => "model_timed_out",
            Self::ModelBusy(_) => "model_busy",
            Self::ModelNotFound => "model_not_found",
            Self::ContextTooLong => "context_length_exceeded",
            Self::ContentFiltered => "content_filtered",
            Self::HoldLost => "hold_lost",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Drift(_) => "drift",
            Self::Busy(_) => "busy",
            Self::Internal(_) => "internal",
        }
    }

    /// The sentence for people. Clients of the older systems match some of these, so they are part of the contract.
    pub fn text(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotAuthenticated => "Authentication credentials were not provided.",
            Self::BadAuthorizationHeader(reason) => reason,
            Self::AccessTokenNotValid => "Given token not valid for any token type",
            Self::AuthKeyNotValid => "Invalid token.",
            Self::ApiKeyNotValid => "Invalid API key",
            Self::RefreshTokenNotValid => "Token is invalid or expired",
            Self::LogoutTokenNotValid => "Invalid or expired refresh token",
            Self::UserInactive => "User is inactive",
            Self::KeyOwnerInactive => "User inactive or deleted.",
            Self::PermissionDenied => "You do not have permission to perform this action.",
            Self::ModelNotAllowed => "This API key may not use this model",
            Self::InvalidCredentials => "Invalid Credentials",
            Self::UsernameTaken => "Username already exists",
            Self::WrongPassword => "Password is wrong",
            Self::Invalid(invalid) => return invalid.reason.clone(),
            Self::Malformed(reason) | Self::Unsupported(_, reason) => return reason.clone(),
            Self::UnsupportedMediaType => "Content-Type must be application/json",
            Self::BodyTooLarge(most) => return format!("Body must be at most {} KiB", most / 1024).into(),
            Self::NoSuchPath => "Not found",
            Self::MethodNotAllowed(_) => "Method not allowed",
            Self::ChatNotFound => "Chat not found",
            Self::ConversationNotFound => "Conversation not found",
            Self::UserNotFound => "User not found",
            Self::ApiKeyNotFound => "API key not found",
            Self::MetricsNotCollected => "This deployment collects no metrics",
            Self::TooManyApiKeys => {
                return format!("There are {MAX_API_KEYS} API keys already; revoke one first").into();
            }
            Self::OwnRights => "You cannot deactivate yourself or change your own role; another admin can",
            Self::AdminAccount => {
                "An admin's account cannot be deleted; another admin must take the role from it first"
            }
            Self::DeletionContinues => {
                "The account is closed; what is left of it goes when the request is sent again, or within a day by itself"
            }
            Self::ConversationDeletionContinues => {
                "The conversation is deleted; what is left of it goes when the request is sent again, or within a day by itself"
            }
            Self::IdempotencyMismatch => "This Idempotency-Key was used for another request",
            Self::IdempotencyInProgress => "The request with this Idempotency-Key is still being answered",
            Self::Paced(_) => "Too many requests; try again later",
            Self::InsufficientTokens => "Insufficient tokens",
            Self::ApiKeyCapReached => "The cap of this API key is reached",
            Self::TooManyInFlight => "Too many messages are being answered at once",
            Self::ModelFailed(reason) => return reason.clone(),
            Self::ModelTimedOut => "The model did not answer in time; nothing was charged",
            Self::ModelBusy(_) => "The model is busy; nothing was charged",
            Self::ModelNotFound => "This model is not served here",
            Self::ContextTooLong => "The message is longer than the model takes; nothing was charged",
            Self::ContentFiltered => "The model does not answer this message; nothing was charged",
            Self::HoldLost => "The answer came too late; nothing was charged",
            Self::OutcomeUnknown => {
                "It may or may not have been done; look before sending it again, or use an Idempotency-Key"
            }
            Self::Drift(report) => return report.clone().into(),
            Self::Busy(_) => "The service is busy; try again",
            Self::Internal(_) => "An error occurred",
        })
    }

    /// How long a client should wait before it tries again, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Paced(wait) | Self::ModelBusy(wait) => Some(*wait),
            Self::TooManyInFlight
            | Self::IdempotencyInProgress
            | Self::HoldLost
            | Self::DeletionContinues
            | Self::ConversationDeletionContinues
            | Self::Busy(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code(), self.text())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Busy(source) | Self::Internal(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}
