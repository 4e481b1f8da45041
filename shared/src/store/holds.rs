use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};

use super::{
    Store,
    idempotency::{Answered, answered_in},
    key::{self, Item},
    request::{Cancelled, Refused, from_item, to_item, to_value},
    users::{acting_for, admit_user, holds_for},
};
use crate::{
    domain::{Amount, AttemptId, Caller, Chat, Conversation, Hold, HoldId, Once, Pace, Rate, Timestamp, User, UserKey},
    error::Error,
};

/// How often a write starts over because the item changed under it in a way that may let it through now.
const ROUNDS: usize = 6;

/// How many expired holds one update gives back: about 40 bytes of expression each, and DynamoDB allows 4 KB.
const AT_ONCE: usize = 50;

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
    /// [`Error::InsufficientTokens`], [`Error::TooManyInFlight`], [`Error::Paced`]; [`Error::IdempotencyInProgress`] or
    /// [`Error::IdempotencyMismatch`] if a call under the same idempotency key holds it; or what [`Store::read_user`] says of a caller whose claims no longer
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
        once: Option<&Once>,
    ) -> Settled {
        if chat.cost > placed.hold.cost {
            return Settled::Unknown(Error::internal("a chat costs more than was held for it"));
        }
        let writes = match self.settlement(placed, chat, begun, once) {
            Ok(writes) => writes,
            Err(error) => return Settled::Unknown(error),
        };
        match self.transact(writes).await {
            Ok(()) => Settled::Yes,
            Err(Cancelled::NotNow(source)) => Settled::Unknown(Error::Busy(source)),
            Err(Cancelled::Failed(error)) => Settled::Unknown(error),
            // A settlement sent again after a lost reply finds its hold gone and its chat stored: it has been settled.
            Err(Cancelled::Conditions(mut conditions)) => {
                if let Some(Err(Some(_chat))) = conditions.get(1) {
                    return Settled::Yes;
                }
                let remembered = once.and_then(|once| Some((once, conditions.pop()?.err()?)));
                if let Some((once, stored)) = remembered {
                    return match answered_in(stored, once, chat.created_at) {
                        Ok(Some(answered)) => Settled::AnsweredBefore(answered),
                        Ok(None) => Settled::HoldLost,
                        Err(error) => Settled::Unknown(error),
                    };
                }
                match (conditions.first(), conditions.get(3)) {
                    (Some(Ok(())), Some(Err(_))) => Settled::ConversationGone,
                    _ => Settled::HoldLost,
                }
            }
        }
    }

    fn settlement(
        &self,
        placed: &PlacedHold,
        chat: &Chat,
        begun: Option<&Conversation>,
        once: Option<&Once>,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let user = placed.user.key();
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&user)))
            .update_expression("REMOVE #holds.#hold")
            // The lease may have run out and somebody given the hold back: then there is nothing left to charge.
            .condition_expression("#holds.#hold.#attempt = :attempt")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#hold", placed.id.as_str())
            .expression_attribute_names("#attempt", "a")
            .expression_attribute_values(":attempt", to_value(&placed.hold.attempt)?);
        let too_much = placed.hold.cost.saturating_sub(chat.cost);
        if too_much > Amount::ZERO {
            update = update
                .update_expression("SET #balance = #balance + :too_much REMOVE #holds.#hold")
                .expression_attribute_names("#balance", "balance")
                .expression_attribute_values(":too_much", to_value(too_much)?);
        }
        let update = update
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
        let update = self
            .client
            .update_item()
            .set_key(Some(key::user(user)))
            .update_expression("SET #balance = #balance + :cost REMOVE #holds.#hold")
            // A release and whoever finds the lease run out: one of them gives the hold back.
            .condition_expression("#holds.#hold.#attempt = :attempt")
            .expression_attribute_names("#balance", "balance")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#hold", id.as_str())
            .expression_attribute_names("#attempt", "a")
            .expression_attribute_values(":attempt", to_value(&hold.attempt)?)
            .expression_attribute_values(":cost", to_value(hold.cost)?);
        match self.apply(update).await {
            Ok(()) => Ok(true),
            Err(Refused::Condition(_)) => Ok(false),
            Err(Refused::Failed(error)) => Err(error),
        }
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
            ..hold.clone()
        };
        let update = self
            .client
            .update_item()
            .set_key(Some(key::user(user)))
            .update_expression("SET #balance = #balance + :cost, #holds.#hold = :void")
            // As with a release. Of a hold that is already void nothing can be given back.
            .condition_expression("#holds.#hold.#attempt = :attempt")
            .expression_attribute_names("#balance", "balance")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#hold", id.as_str())
            .expression_attribute_names("#attempt", "a")
            .expression_attribute_values(":attempt", to_value(&hold.attempt)?)
            .expression_attribute_values(":cost", to_value(hold.cost)?)
            .expression_attribute_values(":void", to_value(&void)?);
        match self.apply(update).await {
            Ok(()) => Ok(true),
            // Sent again after a lost reply it finds itself.
            Err(Refused::Condition(old)) => {
                let user = old.map(from_item::<User>).transpose()?;
                let left = user.as_ref().and_then(|user| user.holds.get(id));
                Ok(left.is_some_and(|left| left.attempt == void.attempt))
            }
            Err(Refused::Failed(error)) => Err(error),
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
            match self.give_back_these(&user.key(), &expired).await {
                Ok(new) => {
                    tracing::info!(holds = expired.len(), "expired holds given back");
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

    async fn give_back_these(&self, user: &UserKey, expired: &BTreeMap<HoldId, Hold>) -> Result<Item, Refused> {
        let total = expired
            .values()
            .try_fold(Amount::ZERO, |sum, hold| sum.checked_add(hold.cost));
        let total = total.ok_or_else(|| Refused::Failed(Error::internal("the holds of a user overflow")))?;
        let mut update = self
            .client
            .update_item()
            .set_key(Some(key::user(user)))
            .expression_attribute_names("#balance", "balance")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#attempt", "a")
            .expression_attribute_values(":total", to_value(total).map_err(Refused::Failed)?);
        let (mut removals, mut conditions) = (Vec::new(), Vec::new());
        for (index, (id, hold)) in expired.iter().enumerate() {
            removals.push(format!("#holds.#hold{index}"));
            // Two takers of one expired hold: the second finds it gone.
            conditions.push(format!("#holds.#hold{index}.#attempt = :attempt{index}"));
            update = update
                .expression_attribute_names(format!("#hold{index}"), id.as_str())
                .expression_attribute_values(
                    format!(":attempt{index}"),
                    to_value(&hold.attempt).map_err(Refused::Failed)?,
                );
        }
        let update = update
            .update_expression(format!(
                "SET #balance = #balance + :total REMOVE {}",
                removals.join(", ")
            ))
            .condition_expression(conditions.join(" AND "));
        self.update(update).await
    }
}
