//! What each endpoint is for, and what can go wrong there besides what can go wrong everywhere. Replies that say something else than
//! this fail the black-box test that gets them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SCHEMAS, Words, Writer, samples};
use crate::{
    api::{
        self,
        chats::{DeltaBody, DoneBody},
        completions,
    },
    error::Error,
};

fn words(
    summary: &'static str,
    description: &'static str,
    example: Value,
    errors: impl IntoIterator<Item = Error>,
) -> Words {
    Words {
        summary,
        description,
        example,
        errors: errors.into_iter().collect(),
    }
}

/// What can go wrong where a model is asked.
fn asking() -> Vec<Error> {
    vec![
        Error::IdempotencyMismatch,
        Error::IdempotencyInProgress,
        Error::InsufficientTokens,
        Error::ApiKeyCapReached,
        Error::TooManyInFlight,
        Error::ModelNotAllowed,
        Error::model_failed(),
        Error::ModelTimedOut,
        Error::ModelBusy(Duration::from_secs(1)),
        Error::ContextTooLong,
        Error::ContentFiltered,
        Error::HoldLost,
        Error::OutcomeUnknown,
        Error::ChatNotFound,
        Error::ConversationNotFound,
    ]
}

pub(super) fn write(writer: &mut Writer) {
    users(writer);
    api_keys(writer);
    chats(writer);
    conversations(writer);
    admin(writer);
    let text = "The gateway reaches its functions. Nothing else is asked.";
    writer.write(
        &api::SYSTEM_HEALTH,
        &words("Tell that it works", text, Value::Null, []),
        samples::health,
    );
    let text = "This document, with the address that it was asked for at.";
    writer.write(
        &api::SYSTEM_OPENAPI,
        &words("Tell what the API is", text, Value::Null, []),
        samples::document,
    );
    let text = "A JWK set (RFC 7517): the keys that access tokens can be verified with.";
    writer.write(
        &api::KEYS_LIST,
        &words("List the public keys", text, Value::Null, []),
        samples::keys,
    );
}

fn users(writer: &mut Writer) {
    let credentials = json!({"username": "ada", "password": "correct horse battery"});
    writer.write(
        &api::USERS_REGISTER,
        &words(
            "Sign up",
            "Opens an account with the tokens that a new one gets. Every spelling of a name is one name.",
            credentials.clone(),
            [Error::UsernameTaken],
        ),
        samples::registered,
    );
    writer.write(
        &api::USERS_LOGIN,
        &words(
            "Log in",
            "Trades a name and a password for an access token and a refresh token. Failures with one name from one network make it wait.",
            credentials,
            [Error::InvalidCredentials, Error::UserInactive],
        ),
        samples::logged_in,
    );
    let refresh = json!({"refresh": "eyJ0eXAiOiJydCtqd3QifQ.e30.c2lnbmVk"});
    writer.write(
        &api::TOKEN_REFRESH,
        &words(
            "Refresh",
            "Trades a refresh token for the next pair; that of a classic client for an access token, and it stays good. One that was \
             used before ends its session.",
            refresh.clone(),
            [Error::RefreshTokenNotValid, Error::UserInactive],
        ),
        samples::refreshed,
    );
    writer.write(
        &api::USERS_LOGOUT,
        &words(
            "Log out",
            "Ends the session of a refresh token of the caller, at once.",
            refresh,
            [Error::LogoutTokenNotValid],
        ),
        samples::logged_out,
    );
    let text = "Active users, by name.";
    writer.write(
        &api::USERS_LIST,
        &words("List the users", text, Value::Null, []),
        samples::user_page,
    );
    let text = "What the caller can spend.";
    writer.write(
        &api::USERS_BALANCE,
        &words("Tell the balance", text, Value::Null, []),
        samples::balance,
    );
    let text = "The caller's account.";
    writer.write(
        &api::USERS_PROFILE,
        &words("Tell the profile", text, Value::Null, []),
        samples::profile,
    );
    writer.write(
        &api::USERS_PASSWORD,
        &words(
            "Change the password",
            "Every session, key of the `Token` scheme and API key of the caller ends.",
            json!({"old": "correct horse battery", "new": "another horse battery"}),
            [Error::WrongPassword, Error::OutcomeUnknown],
        ),
        samples::done,
    );
    writer.write(
        &api::USERS_DELETE,
        &words(
            "Close the account",
            "Closes the caller's account for good and removes all that is stored of it.",
            json!({"password": "correct horse battery"}),
            [Error::WrongPassword, Error::AdminAccount, Error::DeletionContinues],
        ),
        samples::done,
    );
}

fn api_keys(writer: &mut Writer) {
    writer.write(
        &api::API_KEYS_CREATE,
        &words(
            "Make an API key",
            "The key is shown only now. It does what its owner may do, except making and revoking keys, changing the password and \
             closing the account.",
            json!({"name": "my laptop", "expires_in_seconds": 86400, "cap": 1000, "models": ["echo"]}),
            [Error::TooManyApiKeys, Error::OutcomeUnknown],
        ),
        samples::made_api_key,
    );
    let text = "The caller's API keys, the newest first, with what was done with each.";
    writer.write(
        &api::API_KEYS_LIST,
        &words("List the API keys", text, Value::Null, []),
        samples::api_keys,
    );
    let text = "It ends at once.";
    writer.write(
        &api::API_KEYS_REVOKE,
        &words(
            "Revoke an API key",
            text,
            Value::Null,
            [Error::ApiKeyNotFound, Error::OutcomeUnknown],
        ),
        samples::done,
    );
}

fn chats(writer: &mut Writer) {
    let message = json!({"message": "Hello AI"});
    writer.write(
        &api::CHATS_SEND,
        &words(
            "Send a message",
            "Asks the model, for the price of a message. Where there is no answer, nothing is charged.",
            message.clone(),
            asking(),
        ),
        samples::sent,
    );
    writer.write_streamed(
        &api::CHATS_STREAM,
        &words(
            "Send a message and hear the answer as it comes",
            "As `chatsSend`. Events: `message` with the next words, at last `done` with the chat, its cost and the balance, or `error`. What \
             fails before the first word has its own status.",
            message.clone(),
            asking(),
        ),
        samples::sent,
        &message,
        false,
        |generator| {
            json!({
                "message": generator.subschema_for::<DeltaBody<'_>>(),
                "done": generator.subschema_for::<DoneBody>(),
                "error": {"$ref": format!("{SCHEMAS}Error")},
            })
        },
    );
    let text = "The caller's chats, the newest first.";
    writer.write(
        &api::CHATS_LIST,
        &words("List the chats", text, Value::Null, []),
        samples::chats,
    );
    let text = "One of the caller's chats.";
    writer.write(
        &api::CHATS_GET,
        &words("Tell a chat", text, Value::Null, [Error::ChatNotFound]),
        samples::chat,
    );
    let mut errors = asking();
    errors.push(Error::ModelNotFound);
    errors.push(Error::Unsupported("member".into(), "What is not supported here".into()));
    let question = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello AI"}]});
    let mut streamed = question.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    writer.write_streamed(
        &api::COMPLETIONS_CREATE,
        &words(
            "Create a chat completion",
            "As OpenAI's API has it, for the price of a message; with `stream` as events whose data are chunks and at last `[DONE]`.",
            question,
            errors,
        ),
        samples::completion,
        &streamed,
        true,
        |generator| {
            let chunk = completions::schema::chunk(generator).to_value();
            generator.definitions_mut().insert("CompletionChunk".into(), chunk);
            let error = json!({
                "description": "The answer broke off, or failed after its first word.",
                "type": "object",
                "properties": {"error": {"$ref": format!("{SCHEMAS}OpenAiErrorDetail")}, "request_id": {"type": "string"}},
                "required": ["error"],
            });
            json!({"": {"anyOf": [{"$ref": format!("{SCHEMAS}CompletionChunk")}, error, {"const": "[DONE]"}]}})
        },
    );
    let text = "The models that the caller may ask, as OpenAI's API has it.";
    writer.write(
        &api::MODELS_LIST,
        &words("List the models", text, Value::Null, []),
        samples::models,
    );
}

fn conversations(writer: &mut Writer) {
    let text = "The caller's conversations, the newest first.";
    writer.write(
        &api::CONVERSATIONS_LIST,
        &words("List the conversations", text, Value::Null, []),
        samples::conversations,
    );
    let text = "One of the caller's conversations, with its chats, the newest first.";
    writer.write(
        &api::CONVERSATIONS_GET,
        &words("Tell a conversation", text, Value::Null, [Error::ConversationNotFound]),
        samples::one_conversation,
    );
    let text = "Gives it another title.";
    writer.write(
        &api::CONVERSATIONS_UPDATE,
        &words(
            "Rename a conversation",
            text,
            json!({"title": "Ledgers"}),
            [Error::ConversationNotFound],
        ),
        samples::conversation,
    );
    let text = "Deletes it with its chats. What they cost stays spent.";
    writer.write(
        &api::CONVERSATIONS_DELETE,
        &words(
            "Delete a conversation",
            text,
            Value::Null,
            [Error::ConversationNotFound, Error::ConversationDeletionContinues],
        ),
        samples::done,
    );
}

fn admin(writer: &mut Writer) {
    let text = "Users whose names begin like `prefix`, by name.";
    writer.write(
        &api::ADMIN_SEARCH,
        &words("Search users", text, Value::Null, []),
        samples::search,
    );
    let text = "One account, as staff see it.";
    writer.write(
        &api::ADMIN_USER,
        &words("Tell a user", text, Value::Null, [Error::UserNotFound]),
        samples::user,
    );
    writer.write(
        &api::ADMIN_UPDATE,
        &words(
            "Change a user",
            "Activates or deactivates a user, or changes the role. For admins, and not about themselves. Who is deactivated is logged out \
             at once, and their API keys end for good.",
            json!({"role": "staff", "reason": "joined the team"}),
            [Error::UserNotFound, Error::OwnRights],
        ),
        samples::user,
    );
    writer.write(
        &api::ADMIN_ADJUST,
        &words(
            "Adjust a balance",
            "Puts tokens on a balance or takes them off. For admins.",
            json!({"amount": 500, "reason": "a gift"}),
            [
                Error::UserNotFound,
                Error::IdempotencyMismatch,
                Error::IdempotencyInProgress,
                Error::OutcomeUnknown,
            ],
        ),
        samples::adjusted,
    );
    let text = "A user's chats, the newest first.";
    writer.write(
        &api::ADMIN_CHATS,
        &words("List a user's chats", text, Value::Null, [Error::UserNotFound]),
        samples::chats,
    );
    let text = "What came to a user's account or left it other than by chats, the newest first; at last the sign-up.";
    writer.write(
        &api::ADMIN_LEDGER,
        &words("List a user's ledger", text, Value::Null, [Error::UserNotFound]),
        samples::ledger,
    );
    let text = "Who did what to whose account, the newest first.";
    writer.write(
        &api::ADMIN_AUDIT,
        &words("List the audit trail", text, Value::Null, []),
        samples::audit,
    );
    let text = "What the deployment did in the last 24 hours, by the hour.";
    writer.write(
        &api::ADMIN_FIGURES,
        &words(
            "Tell the figures of the day",
            text,
            Value::Null,
            [Error::MetricsNotCollected],
        ),
        samples::figures,
    );
}
