//! The charge: hold, then settle or release.
//!
//! ```text
//! hold ──▶ model answers ──▶ settle: the chat is stored, the hold becomes the charge
//!   │            │              └─ its hold is gone: nothing is charged
//!   │            └─ fails ──▶ release: the hold goes back to the balance
//!   └─ the function dies ──▶ the lease runs out, and whoever touches the user next gives the hold back
//! ```

use crate::{
    config::BillingConfig,
    domain::{AttemptId, Caller, Chat, Hold, HoldId, Timestamp},
    error::Error,
    store::{PlacedHold, Settled, Store},
};

/// Charges callers for what they get.
#[derive(Debug)]
pub struct Billing {
    store: Store,
    config: BillingConfig,
}

impl Billing {
    /// Charges against the balances in `store`.
    pub fn new(store: Store, config: BillingConfig) -> Self {
        Self { store, config }
    }

    /// Takes the price of one message off the caller's balance and holds it.
    ///
    /// # Errors
    /// [`Error::InsufficientTokens`], [`Error::TooManyInFlight`], or a caller whose claims no longer hold; nothing is held then.
    pub async fn hold(&self, caller: &Caller, now: Timestamp) -> Result<PlacedHold, Error> {
        let hold = Hold {
            cost: self.config.message_cost,
            attempt: AttemptId::random(),
            placed_at: now,
            lease_until: now.plus(self.config.hold_lease),
        };
        let id = HoldId::random();
        let max_open = self.config.max_open_holds;
        let placed = match self.store.place_hold(caller, &id, &hold, max_open, now).await {
            Ok(placed) => placed,
            Err(Error::Busy(source)) => {
                // It may have been placed after all, and placed again by an attempt that is still on its way. Without this the tokens
                // would be gone until the lease runs out.
                if let Err(error) = self.store.void(&caller.user, &id, &hold).await {
                    tracing::warn!(?error, "a hold could not be released; its lease will");
                }
                return Err(Error::Busy(source));
            }
            Err(error) => return Err(error),
        };
        if placed.user.expired_holds(now).is_empty() {
            return Ok(placed);
        }
        // Calls of this user died before. Their tokens go back now; should that fail, the next touch tries again.
        match self.store.give_back(placed.user.clone(), now).await {
            Ok(user) => Ok(PlacedHold { user, ..placed }),
            Err(error) => {
                tracing::warn!(?error, "expired holds could not be given back");
                Ok(placed)
            }
        }
    }

    /// Makes the hold the charge for `chat` and stores the chat, both or neither.
    ///
    /// # Errors
    /// [`Error::HoldLost`] or [`Error::Busy`]: nothing was charged. [`Error::OutcomeUnknown`]: nobody can say; what is not in the history
    /// was not charged, and comes back when the lease runs out.
    pub async fn settle(&self, placed: &PlacedHold, chat: &Chat) -> Result<(), Error> {
        let error = match self.store.settle(placed, chat).await {
            Settled::Yes => return Ok(()),
            Settled::HoldLost => Error::HoldLost,
            Settled::Unknown(error) => {
                // The transaction may or may not have gone through. Voiding the hold decides it: only an unsettled hold can be voided, and
                // a settlement that is still on its way cannot pass once it is, even if an attempt to place the hold comes after that.
                match self.store.void(&placed.user.key(), &placed.id, &placed.hold).await {
                    Ok(true) => return Err(error),
                    Ok(false) => error,
                    Err(release_error) => {
                        tracing::error!(error = ?release_error, chat = %chat.id, "nobody knows whether this was settled");
                        return Err(Error::OutcomeUnknown);
                    }
                }
            }
        };
        // The hold is gone: settled, or given back.
        match self.store.chat_exists(&placed.user.key(), chat.id).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(error),
            Err(read_error) => {
                tracing::error!(error = ?read_error, chat = %chat.id, "nobody knows whether this was settled");
                Err(Error::OutcomeUnknown)
            }
        }
    }

    /// Gives the hold back: there was no answer to pay for.
    pub async fn release(&self, placed: &PlacedHold) {
        if let Err(error) = self.store.release(&placed.user.key(), &placed.id, &placed.hold).await {
            tracing::warn!(?error, "a hold could not be released; its lease will");
        }
    }
}
