use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};

use super::{
    Store,
    key::{self, Item, PK, SK},
    meter,
    request::{failure, from_item},
    users::admit,
};
use crate::{
    domain::{Caller, Chat, ChatId, Cursor, PageSize, UserKey},
    error::Error,
};

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the listing's order.
    pub items: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next: Option<Cursor>,
}

impl Store {
    /// Reads a page of the caller's chats, newest first.
    ///
    /// The first page is one query that begins at the account itself. A later page cannot reach the account in the same range, so the
    /// caller is checked in a second request, sent at the same time.
    ///
    /// # Errors
    /// As [`Store::read_user`].
    pub async fn list_chats(
        &self,
        caller: &Caller,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<Chat>, Error> {
        // One more than is shown tells whether there is a next page.
        let wanted = size.get() + 1;
        let (mut items, more) = match after {
            None => {
                let (mut items, more) = self.query_down(&caller.user, None, wanted + 1).await?;
                let account = (items.first().and_then(|item| item.get(SK)))
                    .is_some_and(|sk| sk.as_s().is_ok_and(|sk| sk == key::USER))
                    .then(|| items.remove(0));
                admit(account, caller)?;
                (items, more)
            }
            Some(after) => {
                let (user, page) = tokio::join!(
                    self.read_user(caller),
                    self.query_down(&caller.user, Some(after), wanted)
                );
                user?;
                page?
            }
        };
        let more = more || items.len() > size.get();
        items.truncate(size.get());
        let chats = items
            .into_iter()
            .map(from_item::<Chat>)
            .collect::<Result<Vec<_>, _>>()?;
        let next = chats
            .last()
            .filter(|_| more)
            .map(|chat| Cursor::after(chat.id.to_string()));
        Ok(Page { items: chats, next })
    }

    /// Reads at most `limit` items downward from the account, or from behind a chat, and whether there are more.
    async fn query_down(
        &self,
        user: &UserKey,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<Item>, bool), Error> {
        let start = after.map(|cursor| {
            HashMap::from([
                (PK.to_owned(), key::user_partition(user)),
                (SK.to_owned(), AttributeValue::S(key::turn(cursor.place()))),
            ])
        });
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :oldest AND :account")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", key::user_partition(user))
            .expression_attribute_values(":oldest", AttributeValue::S(key::TURN.into()))
            .expression_attribute_values(":account", AttributeValue::S(key::USER.into()))
            .set_exclusive_start_key(start)
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit).map_err(Error::internal)?)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = query.send().await.map_err(|error| failure("Query", &error))?;
        meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        // A page of long answers can end at DynamoDB's 1 MB before it ends at the limit.
        Ok((output.items.unwrap_or_default(), output.last_evaluated_key.is_some()))
    }

    /// Reads one chat of the caller.
    ///
    /// # Errors
    /// [`Error::ChatNotFound`]; as [`Store::read_user`].
    pub async fn read_chat(&self, caller: &Caller, id: ChatId) -> Result<Chat, Error> {
        let wanted = KeysAndAttributes::builder()
            .keys(key::user(&caller.user))
            .keys(key::chat(&caller.user, id))
            .consistent_read(true)
            .build()
            .map_err(Error::internal)?;
        let request = self
            .client
            .batch_get_item()
            .request_items(&self.table, wanted)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = request.send().await.map_err(|error| failure("BatchGetItem", &error))?;
        let capacities = output.consumed_capacity.unwrap_or_default();
        meter::add_read_units(Some(capacities.iter().filter_map(|c| c.capacity_units).sum()));
        if output
            .unprocessed_keys
            .is_some_and(|unprocessed| !unprocessed.is_empty())
        {
            return Err(Error::Busy("BatchGetItem left keys unprocessed".into()));
        }
        let items = output
            .responses
            .unwrap_or_default()
            .remove(&self.table)
            .unwrap_or_default();
        let is_account = |item: &Item| item.get(SK).is_some_and(|sk| sk.as_s().is_ok_and(|sk| sk == key::USER));
        let (account, chat): (Vec<_>, Vec<_>) = items.into_iter().partition(is_account);
        admit(account.into_iter().next(), caller)?;
        chat.into_iter().next().map_or(Err(Error::ChatNotFound), from_item)
    }

    /// Whether a chat is stored: what a settlement whose reply was lost comes down to.
    ///
    /// # Errors
    /// Only if the table cannot be read.
    pub async fn chat_exists(&self, user: &UserKey, id: ChatId) -> Result<bool, Error> {
        Ok(self.get(key::chat(user, id)).await?.is_some())
    }
}
