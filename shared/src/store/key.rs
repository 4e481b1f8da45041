//! The keys of every item, formatted nowhere else.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | user | `USER#<username key>` | `USER` |
//! | chat | `USER#<username key>` | `TURN#<ulid>` |
//! | signing key | `KEY` | `KEY#<kid>` |
//!
//! `TURN#…` sorts right before `USER`, with nothing of the user's between: one query that starts at `USER` and goes down reads the
//! account and its newest chats together, so the first page of a history needs no second request to check the caller. Keep other sort
//! keys in this partition below `TURN`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::domain::{ChatId, UserKey};

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const PK: &str = "pk";
pub(super) const SK: &str = "sk";
/// The sort key of a user's own item.
pub(super) const USER: &str = "USER";
/// What the sort key of a chat begins with.
pub(super) const TURN: &str = "TURN#";
/// The partition of the published keys.
pub(super) const KEYS: &str = "KEY";

/// The sparse, keys-only index of active users.
pub(super) const ACTIVE_USERS: &str = "active-users";
/// Its partition key attribute, present on active users only.
pub(super) const LISTED: &str = "listed";
/// Its sort key attribute: the username key, `#`, the username as written. No username holds a `#`, so the two come apart again, and
/// no write that changes a balance changes this.
pub(super) const LISTED_AS: &str = "listed_as";
/// The only value of [`LISTED`].
pub(super) const ACTIVE: &str = "ACTIVE";

pub(super) fn user_partition(user: &UserKey) -> AttributeValue {
    AttributeValue::S(format!("USER#{}", user.as_str()))
}

pub(super) fn user(user: &UserKey) -> Item {
    item(user_partition(user), USER.into())
}

pub(super) fn chat(user: &UserKey, chat: ChatId) -> Item {
    item(user_partition(user), turn(&chat.to_string()))
}

pub(super) fn turn(chat: &str) -> String {
    format!("{TURN}{chat}")
}

pub(super) fn signing_key(kid: &str) -> Item {
    item(AttributeValue::S(KEYS.into()), format!("{KEYS}#{kid}"))
}

fn item(pk: AttributeValue, sk: String) -> Item {
    HashMap::from([(PK.into(), pk), (SK.into(), AttributeValue::S(sk))])
}
