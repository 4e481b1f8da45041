//! The keys of every item, formatted nowhere else.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | user | `USER#<username key>` | `USER` |
//! | chat | `USER#<username key>` | `TURN#<ulid>` |
//! | conversation | `USER#<username key>` | `CONV#<ulid>` |
//! | chat, once more | `USER#<username key>` | `SAID#<ulid of the conversation>#<ulid of the chat>` |
//! | ledger entry | `USER#<username key>` | `LEDGER#<ulid>` |
//! | idempotency | `USER#<username key>` | `IDEM#<hash of the key>` |
//! | auth key | `TOKEN#<hash of the key>` | `TOKEN` |
//! | API key | `TOKEN#<its name, the beginning of its hash>` | `APIKEY` |
//! | audit entry | `AUDIT` | `AUDIT#<ulid>` |
//! | pace of a network | `PACE#<what>#<network>` | `PACE` |
//! | failed logins | `PACE#NAME#<hash of the name>#<network>` | `PACE` |
//! | signing key | `KEY` | `KEY#<kid>` |
//!
//! `TURN#…` sorts right before `USER`, with nothing of the user's between: one query that starts at `USER` and goes down reads the
//! account and its newest chats together, so the first page of a history needs no second request to check the caller. Keep other sort
//! keys in this partition below `TURN`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::domain::{
    ApiKeyId, AuditId, AuthKeyHash, ChatId, ConversationId, IdempotencyKey, LedgerId, Network, UserKey,
};

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const PK: &str = "pk";
pub(super) const SK: &str = "sk";
/// The sort key of a user's own item.
pub(super) const USER: &str = "USER";
/// What the sort key of a chat begins with.
pub(super) const TURN: &str = "TURN#";
/// The partition of the published keys.
pub(super) const KEYS: &str = "KEY";

/// What the sort key of a conversation begins with.
pub(super) const CONV: &str = "CONV#";
/// What the sort key of a ledger entry begins with.
pub(super) const LEDGER: &str = "LEDGER#";
/// What the sort key of an idempotency item begins with.
pub(super) const IDEM: &str = "IDEM#";
/// The partition of the audit trail. No function may update or delete in it.
pub(super) const AUDIT: &str = "AUDIT";

/// The index of all users by name. It holds what a list shows and what changes rarely: no write that changes a balance touches it.
pub(super) const USERS: &str = "users";
/// Its partition key attribute.
pub(super) const LISTED: &str = "listed";
/// Its sort key attribute: the username key, `#`, the username as written. No username holds a `#`, so the two come apart again.
pub(super) const LISTED_AS: &str = "listed_as";
/// The only value of [`LISTED`].
pub(super) const ALL: &str = "ALL";

/// What the partition key of everything of a user begins with.
pub(super) const USERS_PREFIX: &str = "USER#";

pub(super) fn user_partition(user: &UserKey) -> AttributeValue {
    AttributeValue::S(format!("{USERS_PREFIX}{}", user.as_str()))
}

/// Whose an item is, if it is a user's.
pub(super) fn user_of(item: &Item) -> Option<UserKey> {
    let name = item.get(PK)?.as_s().ok()?.strip_prefix(USERS_PREFIX)?;
    Some(UserKey::from_stored(name.to_owned()))
}

pub(super) fn user(user: &UserKey) -> Item {
    item(user_partition(user), USER.into())
}

pub(super) fn chat(user: &UserKey, chat: ChatId) -> Item {
    item(user_partition(user), format!("{TURN}{chat}"))
}

pub(super) fn conversation(user: &UserKey, conversation: ConversationId) -> Item {
    item(user_partition(user), format!("{CONV}{conversation}"))
}

/// What the sort keys of the chats of a conversation begin with: each is stored once more, where one query finds all of them.
pub(super) fn said_in(conversation: ConversationId) -> String {
    format!("SAID#{conversation}#")
}

pub(super) fn said(user: &UserKey, conversation: ConversationId, chat: ChatId) -> Item {
    item(user_partition(user), format!("{}{chat}", said_in(conversation)))
}

pub(super) fn signing_key(kid: &str) -> Item {
    item(AttributeValue::S(KEYS.into()), format!("{KEYS}#{kid}"))
}

pub(super) fn ledger_entry(user: &UserKey, entry: LedgerId) -> Item {
    item(user_partition(user), format!("{LEDGER}{entry}"))
}

pub(super) fn idempotency(user: &UserKey, key: &IdempotencyKey) -> Item {
    item(user_partition(user), format!("{IDEM}{}", key.as_str()))
}

pub(super) fn auth_key(hash: &AuthKeyHash) -> Item {
    item(AttributeValue::S(format!("TOKEN#{}", hash.as_str())), "TOKEN".into())
}

pub(super) fn api_key(id: &ApiKeyId) -> Item {
    item(AttributeValue::S(format!("TOKEN#{}", id.as_str())), "APIKEY".into())
}

pub(super) fn audit_partition() -> AttributeValue {
    AttributeValue::S(AUDIT.into())
}

pub(super) fn audit_entry(entry: AuditId) -> Item {
    item(audit_partition(), format!("{AUDIT}#{entry}"))
}

pub(super) fn pace(what: &str, network: &Network) -> Item {
    item(
        AttributeValue::S(format!("PACE#{what}#{}", network.as_str())),
        "PACE".into(),
    )
}

/// The name may be anything that was typed as one, so it is hashed.
pub(super) fn failures(name: &str, network: &Network) -> Item {
    let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(name)[..16]);
    pace(&format!("NAME#{hash}"), network)
}

/// Whether an item is an account itself.
pub(super) fn is_user(item: &Item) -> bool {
    item.get(SK).is_some_and(|sk| sk.as_s().is_ok_and(|sk| sk == USER))
}

fn item(pk: AttributeValue, sk: String) -> Item {
    HashMap::from([(PK.into(), pk), (SK.into(), AttributeValue::S(sk))])
}
