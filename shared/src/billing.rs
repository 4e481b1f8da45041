//! The charge: hold, then settle or release.
//!
//! ```text
//! hold ──▶ model answers ──▶ settle: the chat is stored, the hold becomes the charge
//!   │            │              └─ its hold is gone: nothing is charged
//!   │            └─ fails ──▶ release: the hold goes back to the balance
//!   └─ the function dies ──▶ the lease runs out, and whoever touches the user next gives the hold back
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    config::BillingConfig,
    domain::{
        Amount, AttemptId, Caller, Chat, ChatId, Conversation, Hold, HoldId, Once, Scope, Timestamp, UserKey,
        id::random,
    },
    error::Error,
    meter::count,
    store::{Answered, PlacedHold, Settled, Store, Terms},
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

    /// Takes the most that an answer can cost off the caller's balance and holds it. All calls under one idempotency key share one hold.
    ///
    /// # Errors
    /// [`Error::InsufficientTokens`], [`Error::ApiKeyCapReached`], [`Error::TooManyInFlight`], [`Error::Paced`];
    /// [`Error::IdempotencyInProgress`] or [`Error::IdempotencyMismatch`] if another call under the same key has the hold; or a caller whose claims no longer hold. Nothing is
    /// held then.
    pub async fn hold(
        &self,
        caller: &Caller,
        cost: Amount,
        once: Option<&Once>,
        now: Timestamp,
    ) -> Result<PlacedHold, Error> {
        let (id, shared) = match once {
            None => (HoldId::random(), None),
            Some(once) => match once.scope {
                Scope::One => (HoldId::of_key(&once.key), Some(&once.fingerprint)),
                Scope::Newest => (HoldId::of_question(&once.key), None),
            },
        };
        let hold = Hold {
            cost,
            attempt: AttemptId::random(),
            placed_at: now,
            lease_until: now.plus(self.config.hold_lease),
            fingerprint: shared.cloned(),
            void: false,
            api_key: caller.api_key().map(|issued| issued.id.clone()),
        };
        let terms = Terms {
            max_open: self.config.max_open_holds,
            pace: self.config.pace,
        };
        let placed = match self.store.place_hold(caller, &id, &hold, terms, now).await {
            Ok(placed) => {
                count(|tally| tally.holds_opened += 1);
                placed
            }
            Err(Error::Busy(source)) => {
                // It may have been placed after all, and placed again by an attempt that is still on its way. Without this the tokens
                // would be gone until the lease runs out.
                match self.store.void(&caller.user, &id, &hold).await {
                    Ok(true) => count(|tally| {
                        tally.holds_opened += 1;
                        tally.holds_released += 1;
                    }),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(?error, "a hold could not be released; its lease will"),
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

    /// Makes the hold the charge for `chat` and stores the chat and the conversation that is `begun` with it, all or nothing. If a call under
    /// the same idempotency key was settled before, the hold goes back, and this is the chat that was stored then.
    ///
    /// An answer that was heard already must not go unpaid because the account is busy: `patience` is for how long it is tried again.
    ///
    /// # Errors
    /// [`Error::HoldLost`], [`Error::Busy`] or, if its conversation was deleted meanwhile, [`Error::ConversationNotFound`]: nothing was
    /// charged. [`Error::OutcomeUnknown`]: nobody can say; what is neither in the history nor deleted was not charged, and comes back when
    /// the lease runs out.
    pub async fn settle(
        &self,
        placed: &PlacedHold,
        chat: &Chat,
        begun: Option<&Conversation>,
        once: Option<&Once>,
        patience: Duration,
    ) -> Result<Option<ChatId>, Error> {
        let until = Instant::now() + patience;
        let settled = loop {
            let settled = self.store.settle(placed, chat, begun, once).await;
            // The same transaction again: if it went through before, it finds its chat.
            if !matches!(settled, Settled::Unknown(Error::Busy(_))) || Instant::now() >= until {
                break settled;
            }
            tokio::time::sleep(Duration::from_millis(50 + u64::from(random::<1>()[0]))).await;
        };
        let error = match settled {
            Settled::Yes => {
                count_charge(chat);
                return Ok(None);
            }
            Settled::AnsweredBefore(answered) => {
                self.release(placed).await;
                return match answered {
                    Answered::Chat(before) => Ok(Some(before)),
                    // The fingerprints of chats and adjustments differ.
                    Answered::Adjustment(_) => Err(Error::IdempotencyMismatch),
                };
            }
            Settled::ConversationGone => {
                self.release(placed).await;
                return Err(Error::ConversationNotFound);
            }
            Settled::HoldLost => Error::HoldLost,
            Settled::Unknown(error) => {
                // The transaction may or may not have gone through. Voiding the hold decides it: only an unsettled hold can be voided, and
                // a settlement that is still on its way cannot pass once it is, even if an attempt to place the hold comes after that.
                match self.store.void(&placed.user.key(), &placed.id, &placed.hold).await {
                    Ok(true) => {
                        count(|tally| tally.holds_released += 1);
                        return Err(error);
                    }
                    Ok(false) => error,
                    Err(release_error) => {
                        tracing::error!(error = ?release_error, chat = %chat.id, "nobody knows whether this was settled");
                        return Err(Error::OutcomeUnknown);
                    }
                }
            }
        };
        // The hold is gone: settled, or given back.
        match self.store.was_settled(&placed.user.key(), chat).await {
            Ok(true) => {
                count_charge(chat);
                Ok(None)
            }
            Ok(false) => Err(error),
            Err(read_error) => {
                tracing::error!(error = ?read_error, chat = %chat.id, "nobody knows whether this was settled");
                Err(Error::OutcomeUnknown)
            }
        }
    }

    /// The chat that was answered and charged before under this key.
    ///
    /// # Errors
    /// [`Error::IdempotencyMismatch`]; if the table cannot be read.
    pub async fn answered(&self, user: &UserKey, once: &Once, now: Timestamp) -> Result<Option<ChatId>, Error> {
        match self.store.answered(user, once, now).await? {
            Some(Answered::Chat(chat)) => Ok(Some(chat)),
            // The fingerprints of chats and adjustments differ.
            Some(Answered::Adjustment(_)) => Err(Error::IdempotencyMismatch),
            None => Ok(None),
        }
    }

    /// Gives the hold back: there was no answer to pay for.
    pub async fn release(&self, placed: &PlacedHold) {
        match self.store.release(&placed.user.key(), &placed.id, &placed.hold).await {
            Ok(true) => count(|tally| tally.holds_released += 1),
            Ok(false) => {}
            Err(error) => tracing::warn!(?error, "a hold could not be released; its lease will"),
        }
    }
}

/// Counts a hold that became the charge for `chat`.
fn count_charge(chat: &Chat) {
    count(|tally| {
        tally.holds_settled += 1;
        tally.tokens_charged += chat.cost.get();
    });
}
