use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use serde::{Deserialize, Serialize};

use super::{
    Store, key, meter,
    request::{Refused, failure, from_item, to_item},
};
use crate::{auth::PublicKey, domain::Timestamp, error::Error};

#[derive(Serialize, Deserialize)]
struct KeyItem {
    kid: String,
    x: String,
    /// Seconds: DynamoDB's TTL deletes the item some time after this, so whoever reads it checks.
    expires_at: i64,
}

impl Store {
    /// Publishes a public key for `lifetime`, or prolongs it.
    ///
    /// # Errors
    /// Only if the table cannot be written.
    pub async fn publish_key(&self, public: &PublicKey, now: Timestamp, lifetime: Duration) -> Result<(), Error> {
        let mut item = to_item(KeyItem {
            kid: public.kid.clone(),
            x: public.x.clone(),
            expires_at: now.plus(lifetime).as_secs(),
        })?;
        item.extend(key::signing_key(&public.kid));
        // Unconditional on purpose: the item is the same whoever of the signing functions writes it, and only its expiry moves on.
        match self.put(self.client.put_item().set_item(Some(item))).await {
            Ok(()) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Condition(_)) => Err(Error::internal("a put without a condition was refused for one")),
        }
    }

    /// All published keys that have not expired.
    ///
    /// # Errors
    /// Only if the table cannot be read.
    pub async fn published_keys(&self, now: Timestamp) -> Result<Vec<PublicKey>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#pk = :keys")
            .expression_attribute_names("#pk", key::PK)
            .expression_attribute_values(":keys", AttributeValue::S(key::KEYS.into()))
            // A token may arrive a millisecond after its key was published.
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = query.send().await.map_err(|error| failure("Query", &error))?;
        meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        let keys = output.items.unwrap_or_default().into_iter().map(from_item::<KeyItem>);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let live = keys.into_iter().filter(|key| now.as_secs() < key.expires_at);
        Ok(live.map(|key| PublicKey { kid: key.kid, x: key.x }).collect())
    }
}
