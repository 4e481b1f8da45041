use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use super::{
    Store,
    key::{self, Item},
    request::{Cancelled, Refused, from_item, to_item, to_value},
    users::{acting_for, admit_user, holds_for},
};
use crate::{
    domain::{Amount, AttemptId, Caller, Chat, Hold, HoldId, Timestamp, User, UserKey},
    error::Error,
};

/// How often a write starts over because the item changed under it in a way that may let it through now.
const ROUNDS: usize = 4;

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

/// How a settlement ended.
#[derive(Debug)]
pub enum Settled {
    /// The chat is stored and paid for.
    Yes,
    /// The hold was gone: given back, and nothing is charged.
    HoldLost,
    /// It could not be carried out, or nobody can say whether it was.
    Unknown(Error),
}

impl Store {
    /// Takes a hold's cost off the caller's balance and remembers it as held, in one conditional update.
    ///
    /// # Errors
    /// [`Error::InsufficientTokens`], [`Error::TooManyInFlight`], or what [`Store::read_user`] says of a caller whose claims no longer
    /// hold.
    pub async fn place_hold(
        &self,
        caller: &Caller,
        id: &HoldId,
        hold: &Hold,
        max_open: u16,
        now: Timestamp,
    ) -> Result<PlacedHold, Error> {
        for _ in 0..ROUNDS {
            let update = acting_for(self.client.update_item(), caller)?
                .update_expression("SET #balance = #balance - :cost, #holds.#hold = :hold")
                // Parallel calls on one balance: each is let through only while the balance covers it. A request that the SDK sends
                // again after a lost reply finds its own hold and does not deduct twice.
                .condition_expression(format!(
                    "{} AND #balance >= :cost AND attribute_not_exists(#holds.#hold) AND size(#holds) < :max_open",
                    holds_for(caller)
                ))
                .expression_attribute_names("#balance", "balance")
                .expression_attribute_names("#holds", "holds")
                .expression_attribute_names("#hold", id.as_str())
                .expression_attribute_values(":cost", to_value(hold.cost)?)
                .expression_attribute_values(":hold", to_value(hold)?)
                .expression_attribute_values(":max_open", to_value(max_open)?);
            let user = match self.update(update).await {
                Ok(new) => {
                    let user = from_item::<User>(new)?;
                    return Ok(PlacedHold::new(id, hold, user));
                }
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Condition(old)) => old.map(from_item::<User>).transpose()?,
            };
            let placed = user
                .as_ref()
                .and_then(|user| user.holds.get(id))
                .is_some_and(|placed| placed.attempt == hold.attempt);
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
            let expired = user.expired_holds(now);
            if !expired.is_empty() {
                // What dead calls still hold may be just what this one lacks.
                self.give_back(user, now).await?;
            } else if user.balance < hold.cost {
                return Err(Error::InsufficientTokens);
            } else if user.holds.len() >= usize::from(max_open) {
                return Err(Error::TooManyInFlight);
            } else {
                return Err(Error::internal("a hold was refused for no visible reason"));
            }
        }
        Err(Error::Busy("the account kept changing while a hold was placed".into()))
    }

    /// Stores the chat and turns its hold into the charge, all or nothing.
    pub async fn settle(&self, placed: &PlacedHold, chat: &Chat) -> Settled {
        let writes = match self.settlement(placed, chat) {
            Ok(writes) => writes,
            Err(error) => return Settled::Unknown(error),
        };
        match self.transact(writes).await {
            Ok(()) => Settled::Yes,
            Err(Cancelled::Failed(error)) => Settled::Unknown(error),
            // A settlement sent again after a lost reply finds its hold gone and its chat stored: it has been settled.
            Err(Cancelled::Conditions(conditions)) => match conditions.as_slice() {
                [_, Err(Some(_chat))] => Settled::Yes,
                _ => Settled::HoldLost,
            },
        }
    }

    fn settlement(&self, placed: &PlacedHold, chat: &Chat) -> Result<Vec<TransactWriteItem>, Error> {
        let user = placed.user.key();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&user)))
            .update_expression("REMOVE #holds.#hold")
            // The lease may have run out and somebody given the hold back: then there is nothing left to charge.
            .condition_expression("#holds.#hold.#attempt = :attempt")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#hold", placed.id.as_str())
            .expression_attribute_names("#attempt", "a")
            .expression_attribute_values(":attempt", to_value(&placed.hold.attempt)?)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        let mut item: Item = to_item(chat)?;
        item.extend(key::chat(&user, chat.id));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            // One chat for one charge, even if the settlement is sent twice.
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(vec![
            TransactWriteItem::builder().update(update).build(),
            TransactWriteItem::builder().put(put).build(),
        ])
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
            Err(Refused::Condition(_)) => Ok(false),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    /// Gives back every hold of `user` whose lease has run out, and returns the user as it is then.
    ///
    /// # Errors
    /// Only if the table cannot be written, or the account is deleted meanwhile ([`Error::AccessTokenNotValid`]).
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
                Err(Refused::Condition(None)) => return Err(Error::AccessTokenNotValid),
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
