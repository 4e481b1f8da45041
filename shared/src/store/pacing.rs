use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use serde::Deserialize;

use super::{
    Store,
    key::{self, Item},
    request::{Refused, from_item, to_value},
};
use crate::{
    domain::{Network, Pace, Rate, Timestamp, login_wait},
    error::Error,
};

/// How often a count starts over because somebody else counted at the same moment. With a burst of guesses from one network the losers are told
/// to wait, which is what they should do.
const ROUNDS: usize = 6;

/// How long failed logins with one name from one network are remembered after the last.
const FAILURES_LIFETIME: Duration = Duration::from_secs(60 * 60);

#[derive(Deserialize)]
struct PaceItem {
    tat: Timestamp,
}

#[derive(Deserialize)]
struct FailuresItem {
    n: u32,
    next_at: Timestamp,
    /// Seconds: DynamoDB's TTL deletes the item some time after this, so whoever reads it checks.
    expires_at: i64,
}

impl Store {
    /// Counts one more of something that a network does, unless it does it too fast.
    ///
    /// # Errors
    /// [`Error::Paced`]; if the table cannot be written.
    pub async fn pace_network(&self, what: &str, network: &Network, rate: Rate, now: Timestamp) -> Result<(), Error> {
        let item = key::pace(what, network);
        let mut idle = true;
        for _ in 0..ROUNDS {
            let update = self.client.update_item().set_key(Some(item.clone()));
            let update = if idle {
                // Nothing under way: the pace begins anew.
                update
                    .update_expression("SET #tat = :next, #expires_at = :expires_at")
                    .condition_expression("attribute_not_exists(#tat) OR #tat <= :now")
                    .expression_attribute_values(":next", to_value(rate.after_idle(now))?)
            } else {
                // Two at once on the last of the burst: one of them is let through.
                update
                    .update_expression("SET #tat = #tat + :interval, #expires_at = :expires_at")
                    .condition_expression("#tat > :now AND #tat <= :limit")
                    .expression_attribute_values(":interval", to_value(millis(rate.interval()))?)
                    .expression_attribute_values(":limit", to_value(now.plus(rate.tolerance()))?)
            };
            let expires_at = now.plus(rate.tolerance() + rate.interval() * 2 + Duration::from_secs(60));
            let update = update
                .expression_attribute_names("#tat", "tat")
                .expression_attribute_names("#expires_at", "expires_at")
                .expression_attribute_values(":now", to_value(now)?)
                .expression_attribute_values(":expires_at", to_value(expires_at.as_secs())?);
            let old = match self.apply(update).await {
                Ok(()) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Condition(old)) => old.map(from_item::<PaceItem>).transpose()?,
            };
            match rate.judge(old.map(|old| old.tat), now) {
                Pace::Idle => idle = true,
                Pace::Within => idle = false,
                Pace::Wait(wait) => return Err(Error::Paced(wait)),
            }
        }
        Err(Error::Paced(rate.interval()))
    }

    /// Counts a login with `name` from `network` as failed, before anybody knows whether it is: of many at once each counts. Whoever succeeds
    /// calls [`Store::forget_failures`].
    ///
    /// # Errors
    /// [`Error::Paced`] while the wait after the failures before lasts; if the table cannot be written.
    pub async fn count_failure(&self, name: &str, network: &Network, now: Timestamp) -> Result<(), Error> {
        let item = key::failures(name, network);
        let mut seen: Option<FailuresItem> = None;
        for _ in 0..ROUNDS {
            let update = self.client.update_item().set_key(Some(item.clone()));
            let failures = seen.as_ref().map_or(1, |seen| seen.n.saturating_add(1));
            let update = match &seen {
                None => update.condition_expression("attribute_not_exists(#n) OR #expires_at <= :now_seconds"),
                // Guesses at once: each must find the count that the one before it left.
                Some(seen) => update
                    .condition_expression("#n = :seen AND #expires_at > :now_seconds")
                    .expression_attribute_values(":seen", to_value(seen.n)?),
            };
            let update = self.set_failures(update, failures, now)?;
            let old = match self.apply(update).await {
                Ok(()) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Condition(old)) => old.map(from_item::<FailuresItem>).transpose()?,
            };
            seen = old.filter(|old| old.expires_at > now.as_secs());
            // Without a wait the moment is the one at which somebody else counted, by their clock.
            if let Some(seen) = &seen
                && !login_wait(seen.n).is_zero()
                && seen.next_at > now
            {
                return Err(Error::Paced(seen.next_at.since(now)));
            }
        }
        Err(Error::Paced(Duration::from_secs(1)))
    }

    fn set_failures(
        &self,
        update: UpdateItemFluentBuilder,
        failures: u32,
        now: Timestamp,
    ) -> Result<UpdateItemFluentBuilder, Error> {
        let next_at = now.plus(login_wait(failures));
        Ok(update
            .update_expression("SET #n = :failures, #next_at = :next_at, #expires_at = :expires_at")
            .expression_attribute_names("#n", "n")
            .expression_attribute_names("#next_at", "next_at")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":now_seconds", to_value(now.as_secs())?)
            .expression_attribute_values(":failures", to_value(failures)?)
            .expression_attribute_values(":next_at", to_value(next_at)?)
            .expression_attribute_values(":expires_at", to_value(next_at.plus(FAILURES_LIFETIME).as_secs())?))
    }

    /// Forgets the failed logins with `name` from `network`: one has succeeded.
    ///
    /// # Errors
    /// Only if the table cannot be written.
    pub async fn forget_failures(&self, name: &str, network: &Network) -> Result<(), Error> {
        self.delete(key::failures(name, network)).await
    }

    async fn delete(&self, key: Item) -> Result<(), Error> {
        use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = delete
            .send()
            .await
            .map_err(|error| super::request::failure("DeleteItem", &error))?;
        super::meter::add_write_units(output.consumed_capacity.and_then(|capacity| capacity.capacity_units));
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
