use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    types::{AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use serde::Deserialize;

use super::{
    Store,
    key::{self, Item, PK, SK},
    meter,
    request::{Cancelled, failure, from_item, to_item, to_value},
};
use crate::{
    domain::{Amount, AuditEntry, Conversation, ConversationId, LedgerEntry, User, UserKey},
    error::Error,
};

/// How many items are read at a time: enough to be worth a request, and few enough that many walks at once fit a small function.
const PAGE: i32 = 1_000;

/// Nobody waits for a walk through the table, and pages are large.
fn patient() -> aws_sdk_dynamodb::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(60));
    let retries = RetryConfig::standard().with_max_attempts(8);
    aws_sdk_dynamodb::Config::builder()
        .timeout_config(timeouts.build())
        .retry_config(retries)
}

/// What a user's items say together.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// The account itself, if it was among them.
    pub user: Option<User>,
    /// Its balance as it is stored, which may be one that no balance should be.
    pub balance: i128,
    /// Whether there is an item among them that cannot be read.
    pub unreadable: bool,
    /// How many ledger entries there are.
    pub entries: u64,
    /// How many chats there are.
    pub chats: u64,
    /// What they cost.
    pub spent: i128,
    /// What was adjusted.
    pub adjusted: i128,
    /// The conversations that are marked as deleted and still there.
    pub half_deleted: Vec<ConversationId>,
}

impl Books {
    /// What the balance should be: granted and adjusted, less what was spent and what is held. `None` without an account.
    pub fn expected_balance(&self) -> Option<i128> {
        let user = self.user.as_ref()?;
        let held: i128 = user.holds.values().map(|hold| i128::from(hold.cost.get())).sum();
        Some(i128::from(user.signup_grant.get()) + self.adjusted - self.spent - held)
    }

    /// How much more the balance is than it should be. `None` without an account.
    pub fn drift(&self) -> Option<i128> {
        Some(self.balance - self.expected_balance()?)
    }

    /// Whether these and `other`, read later, are the same. Chats are only added, or removed with an entry in the ledger that says what they
    /// cost, and entries are only added, so nothing that matters has come between.
    pub fn are_as(&self, other: &Self) -> bool {
        let sums = |books: &Self| (books.balance, books.chats, books.spent, books.entries, books.adjusted);
        let account = |books: &Self| {
            books
                .user
                .as_ref()
                .map(|user| (user.id, user.holds.clone(), user.deleting))
        };
        sums(self) == sums(other) && account(self) == account(other)
    }

    /// Adds what one item says.
    pub fn enter(&mut self, part: Part) {
        match part {
            Part::User(user, balance) => {
                self.user = Some(*user);
                self.balance = balance;
            }
            Part::Chat(cost) => {
                self.chats += 1;
                self.spent += i128::from(cost.get());
            }
            Part::Ledger(amount) => {
                self.entries += 1;
                self.adjusted += i128::from(amount);
            }
            Part::HalfDeleted(conversation) => self.half_deleted.push(conversation),
            Part::Unreadable => self.unreadable = true,
            Part::Other => {}
        }
    }
}

/// What one item adds to a user's books.
#[derive(Debug)]
pub enum Part {
    /// The account, and its balance as it is stored.
    User(Box<User>, i128),
    /// A chat with its cost.
    Chat(Amount),
    /// A ledger entry with its amount.
    Ledger(i64),
    /// A conversation that is marked as deleted.
    HalfDeleted(ConversationId),
    /// Something, but nobody can say what.
    Unreadable,
    /// Nothing.
    Other,
}

/// A page of a walk through one segment of the table.
#[derive(Debug)]
pub struct Page {
    /// Whose partition each item is in, and what it adds there.
    pub items: Vec<(UserKey, Part)>,
    next: Option<Item>,
}

#[derive(Deserialize)]
struct CostItem {
    cost: Amount,
}

#[derive(Deserialize)]
struct AmountItem {
    amount: i64,
}

fn part_of(item: Item) -> Part {
    let sk = item.get(SK).and_then(|sk| sk.as_s().ok()).map_or("", String::as_str);
    let part = if sk == key::USER {
        account_of(item)
    } else if sk.starts_with(key::TURN) {
        from_item::<CostItem>(item).ok().map(|chat| Part::Chat(chat.cost))
    } else if sk.starts_with(key::LEDGER) {
        from_item::<AmountItem>(item)
            .ok()
            .map(|entry| Part::Ledger(entry.amount))
    } else if sk.starts_with(key::CONV) {
        let conversation = from_item::<Conversation>(item).ok();
        let half_deleted = conversation.filter(|conversation| conversation.deleting);
        Some(half_deleted.map_or(Part::Other, |conversation| Part::HalfDeleted(conversation.id)))
    } else {
        Some(Part::Other)
    };
    part.unwrap_or(Part::Unreadable)
}

/// An account whatever its balance: one below zero is what this looks for, and no other code could read it.
fn account_of(mut item: Item) -> Option<Part> {
    let balance = item.get("balance")?.as_n().ok()?.parse().ok()?;
    item.insert("balance".into(), AttributeValue::N("0".into()));
    let user = from_item::<User>(item).ok()?;
    Some(Part::User(Box::new(user), balance))
}

impl Store {
    /// Reads the next page of a segment of the table, of which there are `segments`; from its beginning without a page before. All items of
    /// one user are in one segment, one after the other.
    ///
    /// # Errors
    /// Only if the table cannot be read.
    pub async fn scan_users(&self, segment: i32, segments: i32, before: Option<Page>) -> Result<Option<Page>, Error> {
        let start = match before {
            Some(Page { next: None, .. }) => return Ok(None),
            Some(Page { next, .. }) => next,
            None => None,
        };
        let scan = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(segment)
            .total_segments(segments)
            .set_exclusive_start_key(start)
            .filter_expression("begins_with(#pk, :users)")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":users", AttributeValue::S(key::USERS_PREFIX.into()))
            .limit(PAGE)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let scan = scan.customize().config_override(patient());
        let output = scan.send().await.map_err(|error| failure("Scan", &error))?;
        meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        let mut items = Vec::new();
        for item in output.items.unwrap_or_default() {
            if let Some(user) = key::user_of(&item) {
                items.push((user, part_of(item)));
            }
        }
        Ok(Some(Page {
            items,
            next: output.last_evaluated_key,
        }))
    }

    /// Reads a user's books as they are at one moment: the account before and after everything else, until nothing has changed between.
    ///
    /// # Errors
    /// Only if the table cannot be read, or the account is in such use that it never keeps still.
    pub async fn read_books(&self, user: &UserKey) -> Result<Books, Error> {
        for _ in 0..10 {
            let before = self.get(key::user(user)).await?;
            let mut books = Books::default();
            let mut start = None;
            loop {
                let query = self
                    .client
                    .query()
                    .table_name(&self.table)
                    .key_condition_expression("#pk = :pk AND #sk < :account")
                    .expression_attribute_names("#pk", PK)
                    .expression_attribute_names("#sk", SK)
                    .expression_attribute_values(":pk", key::user_partition(user))
                    .expression_attribute_values(":account", AttributeValue::S(key::USER.into()))
                    .set_exclusive_start_key(start)
                    .consistent_read(true)
                    .limit(PAGE)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total);
                let query = query.customize().config_override(patient());
                let output = query.send().await.map_err(|error| failure("Query", &error))?;
                meter::add_read_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
                for item in output.items.unwrap_or_default() {
                    books.enter(part_of(item));
                }
                start = output.last_evaluated_key;
                if start.is_none() {
                    break;
                }
            }
            let after = self.get(key::user(user)).await?;
            // Whatever moves tokens to or from the balance changes one of these: a hold, a settlement, an adjustment. A login does not. The
            // removal of a conversation moves what it cost from the chats to the ledger, and may be seen half-way: whoever compares two
            // readings sees that they differ.
            let same = |name: &str| {
                let of = |account: &Option<Item>| account.as_ref().and_then(|account| account.get(name).cloned());
                of(&before) == of(&after)
            };
            if ["id", "balance", "holds", "deleting"].into_iter().all(same) {
                if let Some(account) = after {
                    books.enter(part_of(account));
                }
                return Ok(books);
            }
        }
        Err(Error::Busy("an account kept changing while its books were read".into()))
    }

    /// Makes the balance of these books what `entry` says, with the entry in the ledger and in the audit trail, all or nothing. Tells whether
    /// it was done: not if anything has moved since the books were read.
    ///
    /// # Errors
    /// Only if the table cannot be written.
    pub async fn correct_balance(&self, books: &Books, entry: &LedgerEntry, audit: &AuditEntry) -> Result<bool, Error> {
        let (Some(user), Some(after)) = (&books.user, entry.balance_after) else {
            return Ok(false);
        };
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&user.key())))
            .update_expression("SET #balance = :after")
            // The books as they were read: a chat, a release or an adjustment between would make the correction wrong.
            .condition_expression(
                "#id = :id AND attribute_not_exists(#deleting) AND #balance = :seen AND #holds = :holds",
            )
            .expression_attribute_names("#id", "id")
            .expression_attribute_names("#deleting", "deleting")
            .expression_attribute_names("#balance", "balance")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_values(":id", to_value(user.id)?)
            .expression_attribute_values(":seen", AttributeValue::N(books.balance.to_string()))
            .expression_attribute_values(":after", to_value(after)?)
            .expression_attribute_values(":holds", to_value(&user.holds)?)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        let mut item: HashMap<_, _> = to_item(entry)?;
        item.extend(key::ledger_entry(&user.key(), entry.id));
        let writes = vec![
            TransactWriteItem::builder().update(update).build(),
            self.transact_put(item, Some("attribute_not_exists(pk)"))?,
            self.put_audit_entry(audit)?,
        ];
        match self.transact(writes).await {
            Ok(()) => Ok(true),
            // Ours already, if the entry is there.
            Err(Cancelled::Conditions(conditions)) => Ok(matches!(conditions.get(1), Some(Err(Some(_))))),
            Err(Cancelled::NotNow(source)) => Err(Error::Busy(source)),
            Err(Cancelled::Failed(error)) => Err(error),
        }
    }
}
