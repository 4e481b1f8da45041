use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, DeleteRequest, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, WriteRequest,
};

use super::{
    Store,
    key::{self, Item, PK, SK},
    meter,
    request::{Cancelled, Refused, failure, from_item, pause, to_value},
    users::{acting_for, admit_user, holds_for},
};
use crate::{
    domain::{OwnerCaller, Role, User, UserKey},
    error::Error,
};

/// How many items one `BatchWriteItem` takes.
const BATCH: usize = 25;
/// How many batches are under way at once.
const AT_ONCE: usize = 4;
/// How often a batch is sent again for what the table had no room for.
const RETRIES: u32 = 6;

impl Store {
    /// Closes the account of the caller, whose password was just checked, for good: from this write on nothing is begun for it, and what
    /// is under way is not charged. Its name stays taken. Returns the account as it was closed: after `user` was read it may have got keys,
    /// which have to go with it.
    ///
    /// # Errors
    /// [`Error::AdminAccount`]; [`Error::WrongPassword`] if the password was changed meanwhile; as [`Store::read_user`].
    pub async fn close_account(&self, caller: &OwnerCaller, user: User) -> Result<User, Error> {
        let caller = &caller.0;
        if user.deleting {
            return Ok(user);
        }
        if user.role == Role::Admin {
            return Err(Error::AdminAccount);
        }
        let update = acting_for(self.client.update_item(), caller)?
            // Without its hold a settlement that is still on its way fails, and stores nothing that would be left behind.
            .update_expression("SET #active = :false, #deleting = :true, #holds = :no_holds REMOVE #listed, #listed_as")
            // The account that was checked, and not an admin's: there must always be one.
            .condition_expression(format!(
                "{} AND #password = :password AND #role <> :admin",
                holds_for(caller)
            ))
            .expression_attribute_names("#deleting", "deleting")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#listed", key::LISTED)
            .expression_attribute_names("#listed_as", key::LISTED_AS)
            .expression_attribute_names("#password", "password_hash")
            .expression_attribute_names("#role", "role")
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":no_holds", AttributeValue::M(HashMap::new()))
            .expression_attribute_values(":password", to_value(&user.password_hash)?)
            .expression_attribute_values(":admin", to_value(Role::Admin)?);
        let old = match self.update(update).await {
            Ok(closed) => return from_item(closed),
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::Condition(old)) => old.map(from_item::<User>).transpose()?,
        };
        let old = match old {
            // Sent again after a lost reply, or asked for twice.
            Some(old) if old.deleting && old.id == user.id => return Ok(old),
            old => old,
        };
        match admit_user(old, caller)?.role {
            Role::Admin => Err(Error::AdminAccount),
            _ => Err(Error::WrongPassword),
        }
    }

    /// Removes everything of a closed account, in batches, and last of all the account itself. It can be cut off anywhere and begun again.
    ///
    /// # Errors
    /// If the table cannot be read or written; what is left is then still closed.
    pub async fn remove_account(&self, user: &User) -> Result<(), Error> {
        let partition = user.key();
        loop {
            let keys = self.keys_below_account(&partition, BATCH * AT_ONCE).await?;
            if keys.is_empty() {
                break;
            }
            // Two deletions at once, and the name taken again after the first: what the second has just found may be the new owner's. As long as
            // the account is still the one to delete, nobody else has the name, and the keys read before are its own.
            let account = self
                .get(key::user(&partition))
                .await?
                .map(from_item::<User>)
                .transpose()?;
            if !account.is_some_and(|account| account.id == user.id && account.deleting) {
                return Ok(());
            }
            let mut batches = keys.chunks(BATCH);
            // Four at once: one after the other, a long history would take minutes.
            let mut next = || self.delete_batch(batches.next().unwrap_or_default());
            let (a, b, c, d) = tokio::join!(next(), next(), next(), next());
            a.and(b).and(c).and(d)?;
        }
        let account = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&partition)))
            // Two deletions at once, and the name taken again after the first: the second must not remove the new account.
            .condition_expression("#id = :id AND #deleting = :true")
            .expression_attribute_names("#id", "id")
            .expression_attribute_names("#deleting", "deleting")
            .expression_attribute_values(":id", to_value(user.id)?)
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        let mut writes = vec![TransactWriteItem::builder().delete(account).build()];
        writes.extend(self.forget_keys(user)?);
        match self.transact(writes).await {
            // Gone already: somebody else finished.
            Ok(()) | Err(Cancelled::Conditions(_)) => Ok(()),
            Err(Cancelled::NotNow(source)) => Err(Error::Busy(source)),
            Err(Cancelled::Failed(error)) => Err(error),
        }
    }

    /// The keys of some of what a user has besides the account.
    async fn keys_below_account(&self, user: &UserKey, limit: usize) -> Result<Vec<Item>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#pk = :pk AND #sk < :account")
            .projection_expression("#pk, #sk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", key::user_partition(user))
            .expression_attribute_values(":account", AttributeValue::S(key::USER.into()))
            .consistent_read(true)
            .limit(i32::try_from(limit).map_err(Error::internal)?)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = query.send().await.map_err(|error| failure("Query", &error))?;
        meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        Ok(output.items.unwrap_or_default())
    }

    async fn delete_batch(&self, keys: &[Item]) -> Result<(), Error> {
        let mut left = Vec::with_capacity(keys.len());
        for key in keys {
            let delete = DeleteRequest::builder()
                .set_key(Some(key.clone()))
                .build()
                .map_err(Error::internal)?;
            left.push(WriteRequest::builder().delete_request(delete).build());
        }
        for retry in 0..=RETRIES {
            if left.is_empty() {
                return Ok(());
            }
            if retry > 0 {
                pause(retry).await;
            }
            let request = self
                .client
                .batch_write_item()
                .request_items(&self.table, std::mem::take(&mut left))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let output = request
                .send()
                .await
                .map_err(|error| failure("BatchWriteItem", &error))?;
            let capacities = output.consumed_capacity.unwrap_or_default();
            meter::add_write_units(Some(capacities.iter().filter_map(|c| c.capacity_units).sum()));
            let mut unprocessed = output.unprocessed_items.unwrap_or_default();
            left = unprocessed.remove(&self.table).unwrap_or_default();
        }
        Err(Error::DeletionContinues)
    }
}
