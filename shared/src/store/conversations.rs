use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    ConditionCheck, Delete, Get, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactGetItem,
    TransactWriteItem, Update,
};

use super::{
    Store,
    chats::{Page, Range},
    key::{self, Item},
    meter,
    request::{Cancelled, Placeholders, failure, from_item, pause, to_item},
    users::{admit, claims_of, holds_for},
};
use crate::{
    domain::{
        Amount, Caller, Chat, ChatId, Conversation, ConversationId, Cursor, LedgerEntry, LedgerId, PageSize, Person,
        Timestamp, Title, User, UserKey,
    },
    error::Error,
};

/// How many chats one transaction removes: two items each, besides the conversation and a ledger entry. A transaction takes a hundred.
const AT_ONCE: usize = 49;
/// How much text one transaction removes, in bytes. It is stored twice, which a transaction counts twice, and a partition takes about
/// 1000 KB a second.
const BYTES_AT_ONCE: usize = 100_000;
/// How often a removal looks again at what is left because its last look was not true any more.
const ROUNDS: u32 = 20;

/// The conversation in `item`, unless it is being deleted: then it is nobody's any more.
fn existing(item: Option<Item>) -> Result<Conversation, Error> {
    let conversation = item.map(from_item::<Conversation>).transpose()?;
    conversation
        .filter(|conversation| !conversation.deleting)
        .ok_or(Error::ConversationNotFound)
}

/// How many of these chats one transaction removes.
fn batch(chats: &[Chat]) -> usize {
    let mut bytes = 0;
    let fits = |chat: &&Chat| {
        bytes += chat.message.len() + chat.response.len();
        bytes <= BYTES_AT_ONCE
    };
    let fitting = chats.iter().take(AT_ONCE).take_while(fits).count();
    fitting.max(1).min(chats.len())
}

/// What chats cost by the history, of those of which their copies say something else: nothing if they are not in the history.
type Differing = HashMap<String, Option<Amount>>;

impl Store {
    /// Reads the newest chats of a conversation of the caller, at most `most`, the newest first.
    ///
    /// The caller and the conversation are read at the same time: nothing of it is told to anybody else.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`]; as [`Store::read_user`].
    pub async fn read_context(&self, caller: &Caller, id: ConversationId, most: usize) -> Result<Vec<Chat>, Error> {
        let said = async {
            if most == 0 {
                return Ok(Vec::new());
            }
            let range = Range::of_ids(key::user_partition(&caller.user), &key::said_in(id), None);
            let listed = self.query_down(range, most).await?;
            listed.items.into_iter().map(from_item).collect()
        };
        let (conversation, said) = tokio::join!(self.read_conversation(caller, id), said);
        conversation?;
        said
    }

    /// Reads a conversation of the caller, and their account.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`]; as [`Store::read_user`].
    async fn read_conversation(&self, caller: &Caller, id: ConversationId) -> Result<(User, Conversation), Error> {
        let keys = [key::user(&caller.user), key::conversation(&caller.user, id)];
        let items = self.get_all(keys).await?;
        let (account, conversation): (Vec<_>, Vec<_>) = items.into_iter().partition(key::is_user);
        let user = admit(account.into_iter().next(), caller)?;
        Ok((user, existing(conversation.into_iter().next())?))
    }

    /// Reads a page of the caller's conversations, newest first. One that is being deleted is left out, and the page is shorter.
    ///
    /// # Errors
    /// As [`Store::read_user`], which is asked at the same time.
    pub async fn list_conversations(
        &self,
        caller: &Caller,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<Conversation>, Error> {
        let range = Range::of_ids(key::user_partition(&caller.user), key::CONV, after);
        let (user, listed) = tokio::join!(self.read_user(caller), self.query_down(range, size.get() + 1));
        user?;
        let mut page = listed?.into_page(size, |conversation: &Conversation| conversation.id.to_string())?;
        page.items.retain(|conversation| !conversation.deleting);
        Ok(page)
    }

    /// Reads a page of the chats of a conversation, newest first, whose they are, and the conversation.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`]; as [`Store::read_user`], which is asked at the same time.
    pub async fn list_chats_in(
        &self,
        caller: &Caller,
        id: ConversationId,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<(User, Conversation, Page<Chat>), Error> {
        let range = Range::of_ids(key::user_partition(&caller.user), &key::said_in(id), after);
        let (found, listed) = tokio::join!(
            self.read_conversation(caller, id),
            self.query_down(range, size.get() + 1)
        );
        let (user, conversation) = found?;
        let page = listed?.into_page(size, |chat: &Chat| chat.id.to_string())?;
        Ok((user, conversation, page))
    }

    /// Gives a conversation of the caller another title. Returns it as it is then.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`]; as [`Store::read_user`].
    pub async fn rename_conversation(
        &self,
        caller: &Caller,
        id: ConversationId,
        title: Title,
        now: Timestamp,
    ) -> Result<Conversation, Error> {
        let placeholders = Placeholders::default()
            .name("#title", "title")
            .name("#updated_at", "updated_at")
            .name("#deleting", "deleting")
            .value(":title", &title)?
            .value(":now", now)?;
        self.change_conversation(
            caller,
            id,
            "SET #title = :title, #updated_at = :now",
            // A deletion that came first: it must not come to life again, and what is deleted has no name.
            "attribute_exists(pk) AND attribute_not_exists(#deleting)",
            placeholders,
        )
        .await?;
        Ok(Conversation {
            id,
            title,
            updated_at: now,
            deleting: false,
        })
    }

    /// Marks a conversation of the caller as deleted, for good: from this write on nothing is said in it, and what is being answered is not
    /// stored and not charged. One that is marked already is marked again.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`]; as [`Store::read_user`].
    pub async fn close_conversation(&self, caller: &Caller, id: ConversationId) -> Result<(), Error> {
        let placeholders = Placeholders::default()
            .name("#deleting", "deleting")
            .value(":true", true)?;
        // Two deletions at once: the slower must not leave a mark where nothing is any more.
        let condition = "attribute_exists(pk)";
        self.change_conversation(caller, id, "SET #deleting = :true", condition, placeholders)
            .await
    }

    /// Changes a conversation if its owner's claims hold in the same moment: a logout that comes first ends this too.
    async fn change_conversation(
        &self,
        caller: &Caller,
        id: ConversationId,
        update: &str,
        condition: &str,
        placeholders: Placeholders,
    ) -> Result<(), Error> {
        let (names, values) = claims_of(caller)?
            .name("#id", "id")
            .value(":id", caller.id)?
            .into_parts();
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&caller.user)))
            .condition_expression(format!("{} AND #id = :id", holds_for(caller)))
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        let (names, values) = placeholders.into_parts();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::conversation(&caller.user, id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .build()
            .map_err(Error::internal)?;
        let writes = vec![
            TransactWriteItem::builder().condition_check(check).build(),
            TransactWriteItem::builder().update(update).build(),
        ];
        match self.transact(writes).await {
            Ok(()) => Ok(()),
            Err(Cancelled::NotNow(source)) => Err(Error::Busy(source)),
            Err(Cancelled::Failed(error)) => Err(error),
            Err(Cancelled::Conditions(conditions)) => match conditions.into_iter().next() {
                Some(Err(account)) => match admit(account, caller) {
                    Ok(_) => Err(Error::internal("a conversation was refused for no visible reason")),
                    Err(error) => Err(error),
                },
                _ => Err(Error::ConversationNotFound),
            },
        }
    }

    /// The writes of a settlement that belong to a conversation: the chat once more, where the conversation is read, and the conversation itself,
    /// the last, which begins with this chat or goes on with it.
    pub(super) fn say(
        &self,
        user: &UserKey,
        id: ConversationId,
        chat: &Chat,
        begun: Option<&Conversation>,
    ) -> Result<[TransactWriteItem; 2], Error> {
        let mut said = to_item(chat)?;
        said.extend(key::said(user, id, chat.id));
        // As with the chat itself.
        let said = self.transact_put(said, Some("attribute_not_exists(pk)"))?;
        let Some(conversation) = begun else {
            let (names, values) = Placeholders::default()
                .name("#updated_at", "updated_at")
                .name("#deleting", "deleting")
                .value(":now", chat.created_at)?
                .into_parts();
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(Some(key::conversation(user, id)))
                .update_expression("SET #updated_at = :now")
                // It may have been deleted while the model was asked: whoever has deleted it has nothing left of it, and pays for nothing more.
                .condition_expression("attribute_exists(pk) AND attribute_not_exists(#deleting)")
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .build()
                .map_err(Error::internal)?;
            return Ok([said, TransactWriteItem::builder().update(update).build()]);
        };
        let mut item = to_item(conversation)?;
        item.extend(key::conversation(user, id));
        // One conversation for one charge, even if the settlement is sent twice.
        Ok([said, self.transact_put(item, Some("attribute_not_exists(pk)"))?])
    }

    /// Whether a chat of a conversation was settled.
    ///
    /// # Errors
    /// As [`Store::was_settled`].
    pub(super) async fn was_said(&self, user: &UserKey, id: ConversationId, chat: ChatId) -> Result<bool, Error> {
        let get = |key: Item| {
            let get = Get::builder().table_name(&self.table).set_key(Some(key)).build();
            let get = get.map_err(Error::internal)?;
            Ok::<_, Error>(TransactGetItem::builder().get(get).build())
        };
        // Both at one moment: a conversation that is there and not marked as deleted has lost no chat.
        let read = self
            .client
            .transact_get_items()
            .transact_items(get(key::chat(user, chat))?)
            .transact_items(get(key::conversation(user, id))?)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = read.send().await.map_err(|error| failure("TransactGetItems", &error))?;
        let capacities = output.consumed_capacity.unwrap_or_default();
        meter::add_read_units(Some(capacities.iter().filter_map(|c| c.capacity_units).sum()));
        let mut found = output.responses.unwrap_or_default().into_iter().map(|found| found.item);
        let (chat, conversation) = (found.next().flatten(), found.next().flatten());
        match (chat, existing(conversation)) {
            (Some(_), _) => Ok(true),
            (None, Ok(_)) => Ok(false),
            (None, Err(Error::ConversationNotFound)) => Err(Error::OutcomeUnknown),
            (None, Err(error)) => Err(error),
        }
    }

    /// Removes the chats of a conversation that is marked as deleted, from the history too, and at last the conversation. What they cost becomes
    /// entries in the ledger, so that the books agree at every moment. It can be cut off anywhere and begun again.
    ///
    /// # Errors
    /// If the table cannot be read or written; what is left is then still marked.
    pub async fn remove_conversation(&self, owner: &Person, id: ConversationId, now: Timestamp) -> Result<(), Error> {
        let mut differing = Differing::new();
        let mut refused = 0;
        while refused < ROUNDS {
            // A page ends at 1 MB, and a transaction takes 4.
            let range = Range::of_ids(key::user_partition(&owner.username), &key::said_in(id), None);
            let listed = self.query_down(range, AT_ONCE).await?;
            let chats = listed.items.into_iter().map(from_item::<Chat>);
            let chats = chats.collect::<Result<Vec<_>, _>>()?;
            let mut left = chats.as_slice();
            loop {
                let (now_removed, rest) = left.split_at(batch(left));
                let is_last = rest.is_empty() && !listed.more;
                let writes = self.removal(owner, id, now_removed, &differing, is_last, now)?;
                match self.transact(writes).await {
                    Ok(()) if is_last => return Ok(()),
                    Ok(()) if rest.is_empty() => break,
                    Ok(()) => left = rest,
                    // Somebody else was faster, or this had been done already when its reply was lost.
                    Err(Cancelled::Conditions(conditions)) => {
                        if let Some(Err(_)) = conditions.first() {
                            return Ok(());
                        }
                        differing.extend(differences(now_removed, conditions)?);
                        refused += 1;
                        pause(refused.min(4)).await;
                        break;
                    }
                    Err(Cancelled::NotNow(source)) => return Err(Error::Busy(source)),
                    Err(Cancelled::Failed(error)) => return Err(error),
                }
            }
        }
        Err(Error::Busy("a conversation kept changing while it was removed".into()))
    }

    /// The writes that remove some chats of a conversation: first that of the conversation, then two for each chat, then the ledger's.
    fn removal(
        &self,
        owner: &Person,
        id: ConversationId,
        chats: &[Chat],
        differing: &Differing,
        is_last: bool,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let user = &owner.username;
        let mut writes = vec![self.while_closed(user, id, is_last)?];
        let mut cost = 0_i64;
        for chat in chats {
            let stored = differing.get(&chat.id.to_string()).copied().unwrap_or(Some(chat.cost));
            if let Some(amount) = stored {
                cost += i64::try_from(amount.get()).map_err(Error::internal)?;
            }
            writes.push(self.remove_from_history(user, chat, stored)?);
            let said = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(key::said(user, id, chat.id)))
                // Two deletions at once: each chat is removed by one of them, and its cost moved once.
                .condition_expression("attribute_exists(pk)")
                .build()
                .map_err(Error::internal)?;
            writes.push(TransactWriteItem::builder().delete(said).build());
        }
        if cost != 0 {
            let entry = LedgerEntry {
                id: LedgerId::new(now),
                amount: -cost,
                reason: "Conversation deleted".into(),
                actor: Some(owner.clone()),
                balance_after: None,
                created_at: now,
            };
            let mut item = to_item(&entry)?;
            item.extend(key::ledger_entry(user, entry.id));
            // Nobody writes over what is in the ledger.
            writes.push(self.transact_put(item, Some("attribute_not_exists(pk)"))?);
        }
        Ok(writes)
    }

    /// The write that holds a removal to a conversation which is there and marked as deleted, and that removes it if this is the last.
    ///
    /// The account may be deleted at the same time. It is gone only after its conversations are, so whatever is written beside one of these is
    /// still found and removed, and never left to the next owner of the name.
    fn while_closed(&self, user: &UserKey, id: ConversationId, is_last: bool) -> Result<TransactWriteItem, Error> {
        const IS_CLOSED: &str = "#deleting = :true";
        let (names, values) = Placeholders::default()
            .name("#deleting", "deleting")
            .value(":true", true)?
            .into_parts();
        let key = Some(key::conversation(user, id));
        let write = TransactWriteItem::builder();
        let write = if is_last {
            let delete = Delete::builder()
                .table_name(&self.table)
                .set_key(key)
                .condition_expression(IS_CLOSED)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .build();
            write.delete(delete.map_err(Error::internal)?)
        } else {
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(key)
                .condition_expression(IS_CLOSED)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .build();
            write.condition_check(check.map_err(Error::internal)?)
        };
        Ok(write.build())
    }

    /// The write that removes a chat from the history. It must have cost what the ledger is told, or the books would be wrong from then on;
    /// `None` if it is not there, which must stay so.
    fn remove_from_history(
        &self,
        user: &UserKey,
        chat: &Chat,
        cost: Option<Amount>,
    ) -> Result<TransactWriteItem, Error> {
        let key = Some(key::chat(user, chat.id));
        let write = TransactWriteItem::builder();
        let Some(cost) = cost else {
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(key)
                .condition_expression("attribute_not_exists(pk)")
                .build()
                .map_err(Error::internal)?;
            return Ok(write.condition_check(check).build());
        };
        let (names, values) = Placeholders::default()
            .name("#cost", "cost")
            .value(":cost", cost)?
            .into_parts();
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(key)
            .condition_expression("#cost = :cost")
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(write.delete(delete).build())
    }
}

/// What a refused removal tells of chats that are not as their copies say although both should be there: only somebody with access to the table
/// can have changed one of them.
fn differences(chats: &[Chat], conditions: Vec<Result<(), Option<Item>>>) -> Result<Differing, Error> {
    let mut differing = Differing::new();
    let mut conditions = conditions.into_iter().skip(1);
    for chat in chats {
        if let (Some(Err(stored)), Some(Ok(()))) = (conditions.next(), conditions.next()) {
            let stored = stored.map(from_item::<Chat>).transpose()?;
            differing.insert(chat.id.to_string(), stored.map(|stored| stored.cost));
        }
    }
    Ok(differing)
}
