use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};
use serde::de::DeserializeOwned;

use super::{
    Store,
    key::{self, Item, PK, SK},
    meter,
    request::{failure, from_item},
    users::admit,
};
use crate::{
    domain::{Caller, Chat, ChatId, Cursor, PageSize, StaffCaller, User, UserKey},
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

/// The items of one partition between two sort keys, both included, or what is left of them behind a cursor.
#[derive(Debug)]
pub(super) struct Range {
    partition: AttributeValue,
    first: String,
    last: String,
    after: Option<String>,
}

impl Range {
    /// The items whose sort key is `prefix` and a ULID.
    pub(super) fn of_ids(partition: AttributeValue, prefix: &str, after: Option<&Cursor>) -> Self {
        Self {
            partition,
            first: prefix.to_owned(),
            // No character of a ULID is above `~`.
            last: format!("{prefix}~"),
            after: after.map(|cursor| format!("{prefix}{}", cursor.place())),
        }
    }

    /// The chats of `user`.
    fn of_chats(user: &UserKey, after: Option<&Cursor>) -> Self {
        Self::of_ids(key::user_partition(user), key::TURN, after)
    }

    /// The account of `user` and the chats.
    fn of_account_and_chats(user: &UserKey) -> Self {
        Self {
            last: key::USER.to_owned(),
            ..Self::of_chats(user, None)
        }
    }
}

/// What a query found.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) items: Vec<Item>,
    /// Whether it stopped before the end.
    pub(super) more: bool,
}

impl Listed {
    /// The page of these items, of which there may be one more than the page shows. `id` tells where a page ends.
    pub(super) fn into_page<T: DeserializeOwned>(
        mut self,
        size: PageSize,
        id: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Error> {
        let more = self.more || self.items.len() > size.get();
        self.items.truncate(size.get());
        let items = self.items.into_iter().map(from_item);
        let items = items.collect::<Result<Vec<T>, _>>()?;
        let next = items.last().filter(|_| more).map(|last| Cursor::after(id(last)));
        Ok(Page { items, next })
    }
}

fn chat_id(chat: &Chat) -> String {
    chat.id.to_string()
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
        let chats = match after {
            None => {
                // The account itself, and one chat more than is shown, which tells whether there is a next page.
                let range = Range::of_account_and_chats(&caller.user);
                let mut listed = self.query_down(range, size.get() + 2).await?;
                let account = listed
                    .items
                    .first()
                    .is_some_and(key::is_user)
                    .then(|| listed.items.remove(0));
                admit(account, caller)?;
                listed
            }
            Some(_) => {
                let range = Range::of_chats(&caller.user, after);
                let (user, listed) = tokio::join!(self.read_user(caller), self.query_down(range, size.get() + 1));
                user?;
                listed?
            }
        };
        chats.into_page(size, chat_id)
    }

    /// Reads a page of somebody's chats for staff, newest first, and whose they are.
    ///
    /// # Errors
    /// As [`Store::read_user_as_staff`], which is asked at the same time.
    pub async fn list_chats_as_staff(
        &self,
        caller: &StaffCaller,
        user: &UserKey,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<(User, Page<Chat>), Error> {
        let range = Range::of_chats(user, after);
        let (user, chats) = tokio::join!(
            self.read_user_as_staff(caller, user),
            self.query_down(range, size.get() + 1)
        );
        Ok((user?, chats?.into_page(size, chat_id)?))
    }

    /// Reads at most `limit` items of a range, the last one first.
    pub(super) async fn query_down(&self, range: Range, limit: usize) -> Result<Listed, Error> {
        let start = range.after.map(|sk| {
            Item::from([
                (PK.to_owned(), range.partition.clone()),
                (SK.to_owned(), AttributeValue::S(sk)),
            ])
        });
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .set_exclusive_start_key(start)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :first AND :last")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", range.partition)
            .expression_attribute_values(":first", AttributeValue::S(range.first))
            .expression_attribute_values(":last", AttributeValue::S(range.last))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit).map_err(Error::internal)?)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = query.send().await.map_err(|error| failure("Query", &error))?;
        meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        Ok(Listed {
            // A page of long answers can end at DynamoDB's 1 MB before it ends at the limit.
            more: output.last_evaluated_key.is_some(),
            items: output.items.unwrap_or_default(),
        })
    }

    /// Reads one chat of the caller, and the caller's account.
    ///
    /// # Errors
    /// [`Error::ChatNotFound`]; as [`Store::read_user`].
    pub async fn read_chat(&self, caller: &Caller, id: ChatId) -> Result<(User, Chat), Error> {
        let items = self
            .get_all([key::user(&caller.user), key::chat(&caller.user, id)])
            .await?;
        let (account, chat): (Vec<_>, Vec<_>) = items.into_iter().partition(key::is_user);
        let user = admit(account.into_iter().next(), caller)?;
        let chat = chat.into_iter().next().map(from_item).transpose()?;
        Ok((user, chat.ok_or(Error::ChatNotFound)?))
    }

    /// Reads several items at once, each as it is after every write that was acknowledged before. What is not there is left out.
    pub(super) async fn get_all(&self, keys: impl Into<Vec<Item>>) -> Result<Vec<Item>, Error> {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.into()))
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
        let mut responses = output.responses.unwrap_or_default();
        Ok(responses.remove(&self.table).unwrap_or_default())
    }

    /// Whether a chat was settled: what a settlement whose reply was lost comes down to.
    ///
    /// # Errors
    /// If the table cannot be read; [`Error::OutcomeUnknown`] if the chat may have been removed since, with its conversation.
    pub async fn was_settled(&self, user: &UserKey, chat: &Chat) -> Result<bool, Error> {
        match chat.conversation {
            None => Ok(self.get(key::chat(user, chat.id)).await?.is_some()),
            Some(conversation) => self.was_said(user, conversation, chat.id).await,
        }
    }
}
