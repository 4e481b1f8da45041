//! Sending requests: what is retried, and what a failure means.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        transact_write_items::TransactWriteItemsError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{
        AttributeValue, CancellationReason, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Store, key::Item, meter};
use crate::{aws, domain::id::random, error::Error};

/// Why a conditional write did nothing.
#[derive(Debug)]
pub(super) enum Refused {
    /// Its condition does not hold for this item (`None`: there is none).
    Condition(Option<Item>),
    /// It could not be carried out, or nobody can say whether it was.
    Failed(Error),
}

/// Why a transaction did nothing: for each of its writes, whether its condition held and if not, the item.
#[derive(Debug)]
pub(super) enum Cancelled {
    /// At least one condition did not hold.
    Conditions(Vec<Result<(), Option<Item>>>),
    /// Others were at work on its items, or the table had no room: nothing was done.
    NotNow(Box<dyn std::error::Error + Send + Sync>),
    /// It could not be carried out, or nobody can say whether it was.
    Failed(Error),
}

/// How often a write is sent again that met another transaction on its item. The SDK does not retry these.
const CONFLICT_RETRIES: u32 = 4;

impl Store {
    /// Sends an update and returns the item as it is now.
    pub(super) async fn update(&self, update: UpdateItemFluentBuilder) -> Result<Item, Refused> {
        self.send_update(update.return_values(ReturnValue::AllNew)).await
    }

    /// Sends an update whose outcome is all that matters.
    pub(super) async fn apply(&self, update: UpdateItemFluentBuilder) -> Result<(), Refused> {
        self.send_update(update).await.map(drop)
    }

    async fn send_update(&self, update: UpdateItemFluentBuilder) -> Result<Item, Refused> {
        let update = update
            .table_name(&self.table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut retry = 0;
        loop {
            let error = match update.clone().send().await {
                Ok(output) => {
                    meter::add_write_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
                    return Ok(output.attributes.unwrap_or_default());
                }
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    return Err(Refused::Condition(failed.item.clone()));
                }
                Some(UpdateItemError::TransactionConflictException(_)) if retry < CONFLICT_RETRIES => {
                    pause(retry).await;
                    retry += 1;
                }
                _ => return Err(Refused::Failed(failure("UpdateItem", &error))),
            }
        }
    }

    /// Sends a put.
    pub(super) async fn put(&self, put: PutItemFluentBuilder) -> Result<(), Refused> {
        let put = put
            .table_name(&self.table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut retry = 0;
        loop {
            let error = match put.clone().send().await {
                Ok(output) => {
                    meter::add_write_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    return Err(Refused::Condition(failed.item.clone()));
                }
                Some(PutItemError::TransactionConflictException(_)) if retry < CONFLICT_RETRIES => {
                    pause(retry).await;
                    retry += 1;
                }
                _ => return Err(Refused::Failed(failure("PutItem", &error))),
            }
        }
    }

    /// Sends a transaction. Each of its writes must ask for `ALL_OLD` itself.
    pub(super) async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<(), Cancelled> {
        let transaction = self
            .client
            .transact_write_items()
            .set_transact_items(Some(writes))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let mut retry = 0;
        loop {
            // The SDK makes one idempotency token for each `send`, so its own retries of it count once.
            let error = match transaction.clone().send().await {
                Ok(output) => {
                    let capacities = output.consumed_capacity.unwrap_or_default();
                    meter::add_write_units(Some(capacities.iter().filter_map(|c| c.capacity_units).sum()));
                    return Ok(());
                }
                Err(error) => error,
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(Cancelled::Failed(failure("TransactWriteItems", &error)));
            };
            let reasons = cancelled.cancellation_reasons();
            if reasons
                .iter()
                .any(|reason| reason.code() == Some("ConditionalCheckFailed"))
            {
                return Err(Cancelled::Conditions(reasons.iter().map(condition).collect()));
            }
            let transient = reasons.iter().any(|reason| {
                matches!(
                    reason.code(),
                    Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
                )
            });
            if !transient {
                return Err(Cancelled::Failed(failure("TransactWriteItems", &error)));
            }
            if retry == CONFLICT_RETRIES {
                return Err(Cancelled::NotNow("TransactWriteItems: gave up after conflicts".into()));
            }
            pause(retry).await;
            retry += 1;
        }
    }

    /// Reads one item, as it is after every write that was acknowledged before.
    pub(super) async fn get(&self, key: Item) -> Result<Option<Item>, Error> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = request.send().await.map_err(|error| failure("GetItem", &error))?;
        meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        Ok(output.item)
    }
}

fn condition(reason: &CancellationReason) -> Result<(), Option<Item>> {
    match reason.code() {
        Some("ConditionalCheckFailed") => Err(reason.item.clone()),
        _ => Ok(()),
    }
}

/// Waits between 10 and 20 ms the first time, and up to twice as long each further time, so that rivals come apart.
pub(super) async fn pause(retry: u32) {
    let ceiling = 20_u64 << retry;
    let jitter = u64::from(u16::from_be_bytes(random())) * (ceiling / 2) / u64::from(u16::MAX);
    tokio::time::sleep(Duration::from_millis(ceiling / 2 + jitter)).await;
}

/// What a failed request means.
pub(super) fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    const BUSY: [&str; 5] = [
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TransactionConflictException",
        "TransactionInProgressException",
    ];
    aws::failure(operation, error, &BUSY)
}

/// The names and values of an expression, for requests that are put together from parts.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Placeholders {
    /// Adds a name.
    pub(super) fn name(mut self, placeholder: &str, name: &str) -> Self {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    /// Adds a value.
    pub(super) fn value<T: Serialize>(mut self, placeholder: &str, value: T) -> Result<Self, Error> {
        self.values.insert(placeholder.to_owned(), to_value(value)?);
        Ok(self)
    }

    /// Adds everything of another.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        self.values.extend(other.values);
        self
    }

    /// Both, as builders take them; one without entries must not be sent at all.
    pub(super) fn into_parts(self) -> (Option<HashMap<String, String>>, Option<Item>) {
        (
            Some(self.names).filter(|names| !names.is_empty()),
            Some(self.values).filter(|values| !values.is_empty()),
        )
    }
}

/// The value as DynamoDB stores it.
pub(super) fn to_value<T: Serialize>(value: T) -> Result<AttributeValue, Error> {
    serde_dynamo::to_attribute_value(value).map_err(Error::internal)
}

/// The struct in an item.
pub(super) fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, Error> {
    serde_dynamo::from_item(item).map_err(Error::internal)
}

/// The attributes of a struct.
pub(super) fn to_item<T: Serialize>(value: T) -> Result<Item, Error> {
    serde_dynamo::to_item(value).map_err(Error::internal)
}
