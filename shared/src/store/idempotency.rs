use std::time::Duration;

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    key::{self, Item},
    request::{from_item, to_item, to_value},
};
use crate::{
    domain::{ChatId, Fingerprint, LedgerEntry, Once, Scope, Timestamp, UserKey},
    error::Error,
};

/// For how long an idempotency key is remembered.
const fn lifetime(scope: Scope) -> Duration {
    match scope {
        Scope::One => Duration::from_secs(24 * 60 * 60),
        Scope::Newest => Duration::from_secs(15 * 60),
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

    /// The write that remembers what was done under a key, in the transaction that does it.
    pub(super) fn remember(
        &self,
        user: &UserKey,
        once: &Once,
        answered: Answered,
        now: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let mut item = to_item(IdempotencyItem {
            fingerprint: once.fingerprint.clone(),
            answered,
            expires_at: now.plus(lifetime(once.scope)).as_secs(),
        })?;
        item.extend(key::idempotency(user, &once.key));
        let mut put = Put::builder().table_name(&self.table).set_item(Some(item));
        if once.scope == Scope::One {
            // Two requests under one key: the second finds that the first was done.
            put = put
                .condition_expression("attribute_not_exists(pk) OR #expires_at <= :now")
                .expression_attribute_names("#expires_at", "expires_at")
                .expression_attribute_values(":now", to_value(now.as_secs())?);
        }
        let put = put
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}
