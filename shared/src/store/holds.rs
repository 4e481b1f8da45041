use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};

use super::{
    Store,
    idempotency::{Answered, answered_in},
    key::{self, Item},
    request::{Cancelled, Placeholders, Refused, from_item, to_item, to_value},
    users::{acting_for, admit_user, holds_for},
};
use crate::{
    domain::{
        Amount, ApiKeyId, AttemptId, Caller, Chat, Conversation, Hold, HoldId, Once, Pace, Rate, Scope, Timestamp,
        User, UserKey,
    },
    error::Error,
    meter::count,
};

/// How often a write starts over because the item changed under it in a way that may let it through now.
const ROUNDS: usize = 6;

/// How many expired holds one update gives back: about 40 bytes of expression each, besides 60 for each of ten API keys, and DynamoDB allows
/// 4 KB.
const AT_ONCE: usize = 50;

/// Where the account keeps what was spent with an API key, holds included.
const SPENT: &str = "s";

/// A hold that is in the table.
#[derive(Debug, Clone)]
pub struct PlacedHold {
    /// Its name.
    pub id: HoldId,
    /// What it holds, for whom, until when.
    pub hold: Hold,
    /// The user right after it was placed: its cost is already off the balance.
    pub user: User,
}

impl PlacedHold {
    fn new(id: &HoldId, hold: &Hold, user: User) -> Self {
        Self {
            id: id.clone(),
            hold: hold.clone(),
            user,
        }
    }
}

/// Under which terms a user may place holds.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How many may be open.
    pub max_open: u16,
    /// How fast they may follow each other; none for as fast as they like.
    pub pace: Option<Rate>,
}

/// How a settlement ended.
#[derive(Debug)]
pub enum Settled {
    /// The chat is stored and paid for.
    Yes,
    /// Another call under the same idempotency key was settled before; this one's hold is still there.
    AnsweredBefore(Answered),
    /// The hold was gone: given back, and nothing is charged.
    HoldLost,
    /// The conversation that it was said in is deleted; the hold is still there.
    ConversationGone,
    /// It could not be carried out, or nobody can say whether it was.
    Unknown(Error),
}

impl Store {
    /// Takes a hold's cost off the caller's balance and remembers it as held, in one conditional update.
    ///
    /// # Errors
    /// [`Error::InsufficientTokens`], [`Error::ApiKeyCapReached`], [`Error::TooManyInFlight`], [`Error::Paced`];
    /// [`Error::IdempotencyInProgress`] or [`Error::IdempotencyMismatch`] if a call under the same idempotency key holds it; or what [`Store::read_user`] says of a caller whose claims no longer
    /// hold.
    pub async fn place_hold(
        &self,
        caller: &Caller,
        id: &HoldId,
        hold: &Hold,
        terms: Terms,
        now: Timestamp,
    ) -> Result<PlacedHold, Error> {
        // Most callers have not just sent something else, so that is tried first.
        let mut pace = Pace::Idle;
        let max_open = terms.max_open;
        let mut void = 0;
        for _ in 0..ROUNDS {
            let terms = Terms {
                max_open: max_open.saturating_add(void),
                ..terms
            };
            let update = self.hold_update(caller, id, hold, terms, pace, now)?;
            let user = match self.update(update).await {
                Ok(new) => {
                    let user = from_item::<User>(new)?;
                    return Ok(PlacedHold::new(id, hold, user));
                }
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Condition(old)) => old.map(from_item::<User>).transpose()?,
            };
            let there = user.as_ref().and_then(|user| user.holds.get(id)).cloned();
            let placed = there.as_ref().is_some_and(|placed| placed.attempt == hold.attempt);
            let user = match admit_user(user, caller) {
                Ok(user) if placed => return Ok(PlacedHold::new(id, hold, user)),
                Ok(user) => user,
                Err(error) => {
                    if placed {
                        // Placed by an attempt whose reply was lost, for a session that has ended since.
                        self.release(&caller.user, id, hold).await?;
                    }
                    return Err(error);
                }
            };
            if let Some(other) = there.filter(|other| other.lease_until > now && !other.void) {
                // Another call under the same idempotency key.
                return Err(if other.fingerprint == hold.fingerprint {
                    Error::IdempotencyInProgress
                } else {
                    Error::IdempotencyMismatch
                });
            }
            let expired = user.expired_holds(now);
            if !expired.is_empty() {
                // What dead calls still hold may be just what this one lacks.
                self.give_back(user, now).await.map_err(|error| match error {
                    Error::UserNotFound => caller.not_valid(),
                    other => other,
                })?;
                continue;
            }
            if user.balance < hold.cost {
                return Err(Error::InsufficientTokens);
            }
            if is_beyond_cap(&user, caller, hold.cost) {
                return Err(Error::ApiKeyCapReached);
            }
            if user.holds.len() >= usize::from(terms.max_open) {
                // What is left of calls that failed is in nobody's way.
                let left = user.holds.values().filter(|hold| hold.void).count();
                let left = u16::try_from(left).unwrap_or(u16::MAX);
                if left == void {
                    return Err(Error::TooManyInFlight);
                }
                void = left;
                continue;
            }
            let Some(rate) = terms.pace else {
                return Err(Error::internal("a hold was refused for no visible reason"));
            };
            pace = match rate.judge(user.paced_until, now) {
                Pace::Wait(wait) => return Err(Error::Paced(wait)),
                other => other,
            };
        }
        Err(Error::Busy("the account kept changing while a hold was placed".into()))
    }

    fn hold_update(
        &self,
        caller: &Caller,
        id: &HoldId,
        hold: &Hold,
        terms: Terms,
        pace: Pace,
        now: Timestamp,
    ) -> Result<UpdateItemFluentBuilder, Error> {
        let mut set = "SET #balance = #balance - :cost, #holds.#hold = :hold".to_owned();
        // Parallel calls on one balance: each is let through only while the balance covers it. A request that the SDK sends again after a
        // lost reply finds its own hold and does not deduct twice.
        let mut condition = format!(
            "{} AND #balance >= :cost AND size(#holds) < :max_open AND {}",
            holds_for(caller),
            // Under an idempotency key, what is left of a call that failed stands in nobody's way: should an old request of it still arrive and be
            // settled, the key finds what was stored.
            match hold.fingerprint {
                Some(_) => "(attribute_not_exists(#holds.#hold) OR attribute_exists(#holds.#hold.#void))",
                None => "attribute_not_exists(#holds.#hold)",
            }
        );
        let mut update = acting_for(self.client.update_item(), caller)?
            .expression_attribute_names("#balance", "balance")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#hold", id.as_str())
            .expression_attribute_values(":cost", to_value(hold.cost)?)
            .expression_attribute_values(":hold", to_value(hold)?)
            .expression_attribute_values(":max_open", to_value(terms.max_open)?);
        if hold.fingerprint.is_some() {
            update = update.expression_attribute_names("#void", "v");
        }
        if let Some(issued) = caller.api_key() {
            set.push_str(
                ", #api_keys.#api_key.#spent = #api_keys.#api_key.#spent + :cost, #api_keys.#api_key.#used = :now",
            );
            // Parallel calls with one key: each is let through only while the cap covers it too.
            condition.push_str(" AND #api_keys.#api_key.#spent <= :most_spent");
            let most_spent = match issued.most_spent_before(hold.cost) {
                Some(most) => to_value(most)?,
                // Nothing that was ever spent is as little as this.
                None => to_value(-1)?,
            };
            update = update
                .expression_attribute_names("#spent", SPENT)
                .expression_attribute_names("#used", "u")
                .expression_attribute_values(":now", to_value(now)?)
                .expression_attribute_values(":most_spent", most_spent);
        }
        if let Some(rate) = terms.pace {
            // DynamoDB has no maximum of two values, so the two cases are two expressions. Whichever is wrong is refused, and the item that
            // comes with the refusal tells the other. Of many at once on the last of the burst, as many pass as fit.
            let (next, paced, value) = match pace {
                Pace::Idle => (
                    "#tat = :tat",
                    "(attribute_not_exists(#tat) OR #tat <= :now)",
                    to_value(rate.after_idle(now))?,
                ),
                _ => (
                    "#tat = #tat + :tat",
                    "#tat > :now AND #tat <= :limit",
                    to_value(u64::try_from(rate.interval().as_millis()).map_err(Error::internal)?)?,
                ),
            };
            set.push_str(", ");
            set.push_str(next);
            condition.push_str(" AND ");
            condition.push_str(paced);
            update = update
                .expression_attribute_names("#tat", "tat")
                .expression_attribute_values(":tat", value)
                .expression_attribute_values(":now", to_value(now)?);
            if pace != Pace::Idle {
                update = update.expression_attribute_values(":limit", to_value(now.plus(rate.tolerance()))?);
            }
        }
        Ok(update.update_expression(set).condition_expression(condition))
    }

    /// Stores the chat and the conversation that is `begun` with it, turns its hold into the charge, gives back what was held too much and
    /// remembers under which idempotency key, all or nothing. A chat never costs more than was held for it.
    pub async fn settle(
        &self,
        placed: &PlacedHold,
        chat: &Chat,
        begun: Option<&Conversation>,
        mut once: Option<&Once>,
    ) -> Settled {
        if chat.cost > placed.hold.cost {
            return Settled::Unknown(Error::internal("a chat costs more than was held for it"));
        }
        // What was held too much was not spent with the key either.
        let too_much = placed.hold.cost > chat.cost;
        let mut key = placed.hold.api_key.as_ref().filter(|_| too_much);
        loop {
            let writes = match self.settlement(placed, chat, begun, once, key) {
                Ok(writes) => writes,
                Err(error) => return Settled::Unknown(error),
            };
            let mut conditions = match self.transact(writes).await {
                Ok(()) => return Settled::Yes,
                Err(Cancelled::NotNow(source)) => return Settled::Unknown(Error::Busy(source)),
                Err(Cancelled::Failed(error)) => return Settled::Unknown(error),
                Err(Cancelled::Conditions(conditions)) => conditions,
            };
            // A settlement sent again after a lost reply finds its hold gone and its chat stored: it has been settled.
            if let Some(Err(Some(_chat))) = conditions.get(1) {
                return Settled::Yes;
            }
            let remembered = once.and_then(|once| Some((once, conditions.pop()?.err()?)));
            if remembered.as_ref().is_some_and(|(once, _)| once.scope == Scope::Newest) {
                // Somebody asked the same later and was answered earlier: that is remembered, and this one is stored all the same.
                once = None;
                continue;
            }
            if let Some((once, stored)) = remembered {
                return match answered_in(stored, once, chat.created_at) {
                    Ok(Some(answered)) => Settled::AnsweredBefore(answered),
                    Ok(None) => Settled::HoldLost,
                    Err(error) => Settled::Unknown(error),
                };
            }
            let conversation_gone = conditions.get(3).is_some_and(Result::is_err);
            return match conditions.first_mut() {
                Some(Ok(())) if conversation_gone => Settled::ConversationGone,
                Some(Err(old)) if key.is_some() => match is_open(old.take(), &placed.id, &placed.hold) {
                    // Only the key is gone, and nothing will ever be spent with it again.
                    Ok(true) => {
                        key = None;
                        continue;
                    }
                    Ok(false) => Settled::HoldLost,
                    Err(error) => Settled::Unknown(error),
                },
                _ => Settled::HoldLost,
            };
        }
    }

    fn settlement(
        &self,
        placed: &PlacedHold,
        chat: &Chat,
        begun: Option<&Conversation>,
        once: Option<&Once>,
        api_key: Option<&ApiKeyId>,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let user = placed.user.key();
        let mut expression = "REMOVE #holds.#hold".to_owned();
        // The lease may have run out and somebody given the hold back: then there is nothing left to charge.
        let mut condition = "#holds.#hold.#attempt = :attempt".to_owned();
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&user)))
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#hold", placed.id.as_str())
            .expression_attribute_names("#attempt", "a")
            .expression_attribute_values(":attempt", to_value(&placed.hold.attempt)?);
        let too_much = placed.hold.cost.saturating_sub(chat.cost);
        if too_much > Amount::ZERO {
            let mut set = "SET #balance = #balance + :too_much".to_owned();
            if let Some(api_key) = api_key {
                set.push_str(&unspend("#api_key", ":too_much"));
                // Revoked meanwhile, the key has nothing that could be made less.
                condition.push_str(" AND attribute_exists(#api_keys.#api_key)");
                update = update
                    .expression_attribute_names("#api_keys", "api_keys")
                    .expression_attribute_names("#api_key", api_key.as_str())
                    .expression_attribute_names("#spent", SPENT);
            }
            expression = format!("{set} {expression}");
            update = update
                .expression_attribute_names("#balance", "balance")
                .expression_attribute_values(":too_much", to_value(too_much)?);
        }
        let update = update
            .update_expression(expression)
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        let mut item: Item = to_item(chat)?;
        item.extend(key::chat(&user, chat.id));
        let mut writes = vec![
            TransactWriteItem::builder().update(update).build(),
            // One chat for one charge, even if the settlement is sent twice.
            self.transact_put(item, Some("attribute_not_exists(pk)"))?,
        ];
        if let Some(conversation) = chat.conversation {
            writes.extend(self.say(&user, conversation, chat, begun)?);
        }
        if let Some(once) = once {
            writes.push(self.remember(&user, once, Answered::Chat(chat.id), chat.created_at)?);
        }
        Ok(writes)
    }

    /// Gives a hold back. Tells whether it was still there to be given.
    ///
    /// # Errors
    /// Only if the table cannot be written; then the lease gives it back.
    pub async fn release(&self, user: &UserKey, id: &HoldId, hold: &Hold) -> Result<bool, Error> {
        self.give_up(user, id, hold, None).await
    }

    /// As [`Store::release`], of a hold of which requests may still be on their way to the table. What stays of it holds nothing: it keeps
    /// them from placing it again and settling it, and goes when the lease has run out.
    ///
    /// # Errors
    /// As [`Store::release`].
    pub async fn void(&self, user: &UserKey, id: &HoldId, hold: &Hold) -> Result<bool, Error> {
        let void = Hold {
            cost: Amount::ZERO,
            attempt: AttemptId::random(),
            void: true,
            api_key: None,
            ..hold.clone()
        };
        self.give_up(user, id, hold, Some(&void)).await
    }

    async fn give_up(&self, user: &UserKey, id: &HoldId, hold: &Hold, left: Option<&Hold>) -> Result<bool, Error> {
        let mut api_key = hold.api_key.as_ref();
        loop {
            let mut expression = "SET #balance = #balance + :cost".to_owned();
            // A release and whoever finds the lease run out: one of them gives the hold back. Of a hold that is already void nothing can be.
            let mut condition = "#holds.#hold.#attempt = :attempt".to_owned();
            let mut update = self
                .client
                .update_item()
                .set_key(Some(key::user(user)))
                .expression_attribute_names("#balance", "balance")
                .expression_attribute_names("#holds", "holds")
                .expression_attribute_names("#hold", id.as_str())
                .expression_attribute_names("#attempt", "a")
                .expression_attribute_values(":attempt", to_value(&hold.attempt)?)
                .expression_attribute_values(":cost", to_value(hold.cost)?);
            if let Some(api_key) = api_key {
                expression.push_str(&unspend("#api_key", ":cost"));
                // Revoked meanwhile, the key has nothing that could be made less.
                condition.push_str(" AND attribute_exists(#api_keys.#api_key)");
                update = update
                    .expression_attribute_names("#api_keys", "api_keys")
                    .expression_attribute_names("#api_key", api_key.as_str())
                    .expression_attribute_names("#spent", SPENT);
            }
            match left {
                Some(left) => {
                    expression.push_str(", #holds.#hold = :left");
                    update = update.expression_attribute_values(":left", to_value(left)?);
                }
                None => expression.push_str(" REMOVE #holds.#hold"),
            }
            let update = update.update_expression(expression).condition_expression(condition);
            match self.apply(update).await {
                Ok(()) => return Ok(true),
                // Only the key is gone, and nothing will ever be spent with it again.
                Err(Refused::Condition(old)) if api_key.is_some() && is_open(old.clone(), id, hold)? => api_key = None,
                // Sent again after a lost reply it finds what it left.
                Err(Refused::Condition(old)) => {
                    let user = old.map(from_item::<User>).transpose()?;
                    let there = user.as_ref().and_then(|user| user.holds.get(id));
                    let ours = there
                        .zip(left)
                        .is_some_and(|(there, left)| there.attempt == left.attempt);
                    return Ok(ours);
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    /// Gives back every hold of `user` whose lease has run out, and returns the user as it is then.
    ///
    /// # Errors
    /// Only if the table cannot be written, or the account is deleted meanwhile ([`Error::UserNotFound`]).
    pub async fn give_back(&self, mut user: User, now: Timestamp) -> Result<User, Error> {
        let mut rounds = 0;
        while rounds < ROUNDS {
            let mut expired = user.expired_holds(now);
            if expired.is_empty() {
                return Ok(user);
            }
            while expired.len() > AT_ONCE {
                expired.pop_last();
            }
            match self.give_back_these(&user, &expired).await {
                Ok(new) => {
                    tracing::info!(holds = expired.len(), "expired holds given back");
                    let held = expired.values().filter(|hold| !hold.void).count();
                    count(|tally| tally.holds_expired += u32::try_from(held).unwrap_or(u32::MAX));
                    user = from_item(new)?;
                    continue;
                }
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Condition(None)) => return Err(Error::UserNotFound),
                // Somebody else gave some of them back, or a late settlement took one: look again at what is left.
                Err(Refused::Condition(Some(old))) => user = from_item(old)?,
            }
            rounds += 1;
        }
        Err(Error::Busy(
            "the account kept changing while holds were given back".into(),
        ))
    }

    async fn give_back_these(&self, user: &User, expired: &BTreeMap<HoldId, Hold>) -> Result<Item, Refused> {
        let overflow = || Refused::Failed(Error::internal("the holds of a user overflow"));
        let mut total = Amount::ZERO;
        let mut unspent: BTreeMap<&ApiKeyId, Amount> = BTreeMap::new();
        for hold in expired.values() {
            total = total.checked_add(hold.cost).ok_or_else(overflow)?;
            // What was held with a key that has been revoked counts for nothing any more.
            if let Some(id) = hold.api_key.as_ref().filter(|id| user.api_keys.contains_key(*id)) {
                let sum = unspent.entry(id).or_default();
                *sum = sum.checked_add(hold.cost).ok_or_else(overflow)?;
            }
        }
        let mut placeholders = Placeholders::default()
            .name("#balance", "balance")
            .name("#holds", "holds")
            .name("#attempt", "a")
            .value(":total", total)
            .map_err(Refused::Failed)?;
        let (mut set, mut removals, mut conditions) = (String::new(), Vec::new(), Vec::new());
        for (index, (id, hold)) in expired.iter().enumerate() {
            removals.push(format!("#holds.#hold{index}"));
            // Two takers of one expired hold: the second finds it gone.
            conditions.push(format!("#holds.#hold{index}.#attempt = :attempt{index}"));
            placeholders = placeholders
                .name(&format!("#hold{index}"), id.as_str())
                .value(&format!(":attempt{index}"), &hold.attempt)
                .map_err(Refused::Failed)?;
        }
        for (index, (id, sum)) in unspent.into_iter().enumerate() {
            let (name, value) = (format!("#api_key{index}"), format!(":unspent{index}"));
            set.push_str(&unspend(&name, &value));
            // Revoked meanwhile, the key has nothing that could be made less.
            conditions.push(format!("attribute_exists(#api_keys.{name})"));
            placeholders = placeholders
                .name("#api_keys", "api_keys")
                .name("#spent", SPENT)
                .name(&name, id.as_str())
                .value(&value, sum)
                .map_err(Refused::Failed)?;
        }
        let (names, values) = placeholders.into_parts();
        let update = self
            .client
            .update_item()
            .set_key(Some(key::user(&user.key())))
            .update_expression(format!(
                "SET #balance = #balance + :total{set} REMOVE {}",
                removals.join(", ")
            ))
            .condition_expression(conditions.join(" AND "))
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        self.update(update).await
    }
}

/// The part of an update that takes `value` off what was spent with an API key; both are placeholders.
fn unspend(api_key: &str, value: &str) -> String {
    format!(", #api_keys.{api_key}.#spent = #api_keys.{api_key}.#spent - {value}")
}

/// Whether `hold` is still there in an account that was read.
fn is_open(account: Option<Item>, id: &HoldId, hold: &Hold) -> Result<bool, Error> {
    let user = account.map(from_item::<User>).transpose()?;
    let there = user.as_ref().and_then(|user| user.holds.get(id));
    Ok(there.is_some_and(|there| there.attempt == hold.attempt))
}

/// Whether `cost` is more than may still be spent with the API key that the caller calls with.
fn is_beyond_cap(user: &User, caller: &Caller, cost: Amount) -> bool {
    caller.api_key().is_some_and(|issued| {
        let spent = user.api_keys.get(&issued.id).map_or(Amount::ZERO, |used| used.spent);
        issued.most_spent_before(cost).is_none_or(|most| spent > most)
    })
}
