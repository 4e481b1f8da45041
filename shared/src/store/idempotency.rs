use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::delete_item::DeleteItemError,
    types::{Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    key::{self, Item},
    meter,
    request::{failure, from_item, to_item, to_value},
};
use crate::{
    domain::{ChatId, Fingerprint, LedgerEntry, Once, Scope, Timestamp, UserKey},
    error::Error,
};

/// For how long an idempotency key is remembered.
const fn lifetime(scope: Scope) -> Duration {
    match scope {
        Scope::One => Duration::from_secs(24 * 60 * 60),
        Scope::Newest => Duration::from_secs(30 * 60),
    }
}

/// What was done under an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answered {
    /// A message was answered.
    Chat(ChatId),
    /// A balance was adjusted.
    Adjustment(LedgerEntry),
}

#[derive(Serialize, Deserialize)]
struct IdempotencyItem {
    fingerprint: Fingerprint,
    answered: Answered,
    /// Seconds: DynamoDB's TTL deletes the item some time after this, so whoever reads it checks.
    expires_at: i64,
}

/// What `item` says was done under the key of `once`, unless that is too long ago.
///
/// # Errors
/// [`Error::IdempotencyMismatch`] if something else was asked for.
pub(super) fn answered_in(item: Option<Item>, once: &Once, now: Timestamp) -> Result<Option<Answered>, Error> {
    let Some(stored) = item.map(from_item::<IdempotencyItem>).transpose()? else {
        return Ok(None);
    };
    if stored.expires_at <= now.as_secs() {
        return Ok(None);
    }
    if stored.fingerprint == once.fingerprint {
        Ok(Some(stored.answered))
    } else {
        Err(Error::IdempotencyMismatch)
    }
}

impl Store {
    /// What was done for this request before.
    ///
    /// # Errors
    /// [`Error::IdempotencyMismatch`]; if the table cannot be read.
    pub async fn answered(&self, user: &UserKey, once: &Once, now: Timestamp) -> Result<Option<Answered>, Error> {
        let item = self.get(key::idempotency(user, &once.key)).await?;
        answered_in(item, once, now)
    }

    /// Forgets what was answered to this question before `chat` was asked, which failed.
    ///
    /// # Errors
    /// Only if the table cannot be written.
    pub async fn forget_older(&self, user: &UserKey, once: &Once, chat: ChatId) -> Result<(), Error> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key::idempotency(user, &once.key)))
            // A later call may have been answered meanwhile; and where nothing is remembered nothing is to be done.
            .condition_expression("#answered.#chat < :chat")
            .expression_attribute_names("#answered", "answered")
            .expression_attribute_names("#chat", "chat")
            .expression_attribute_values(":chat", to_value(chat)?)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match delete.send().await {
            Ok(output) => {
                meter::add_write_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
                Ok(())
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(failure("DeleteItem", &error)),
            },
        }
    }

    /// The write that remembers what was done under a key, in the transaction that does it.
    pub(super) fn remember(
        &self,
        user: &UserKey,
        once: &Once,
        answered: Answered,
        now: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let answered_chat = match &answered {
            Answered::Chat(chat) => Some(*chat),
            Answered::Adjustment(_) => None,
        };
        let mut item = to_item(IdempotencyItem {
            fingerprint: once.fingerprint.clone(),
            answered,
            expires_at: now.plus(lifetime(once.scope)).as_secs(),
        })?;
        item.extend(key::idempotency(user, &once.key));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":now", to_value(now.as_secs())?);
        let put = match (once.scope, answered_chat) {
            // Two calls that ask the same: what the later one was answered stays, whichever ends first.
            (Scope::Newest, Some(chat)) => put
                .condition_expression("attribute_not_exists(pk) OR #expires_at <= :now OR #answered.#chat < :chat")
                .expression_attribute_names("#answered", "answered")
                .expression_attribute_names("#chat", "chat")
                .expression_attribute_values(":chat", to_value(chat)?),
            // Two requests under one key: the second finds that the first was done.
            _ => put.condition_expression("attribute_not_exists(pk) OR #expires_at <= :now"),
        };
        let put = put
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}
