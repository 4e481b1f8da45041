//! Does every balance agree with its ledger? For operators, and once a day.
//!
//! `balance + Σ holds + Σ chat costs = sign-up grant + Σ adjustments`, for every user. The table is walked once, in parallel segments; all items of
//! a user follow each other, so one user at a time is in memory. A user who was chatting meanwhile may seem wrong; whoever seems wrong is read
//! again by themselves, as they are at one moment.

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Action, Amount, AuditEntry, AuditId, Change, LedgerEntry, LedgerId, Timestamp, User, UserKey},
    error::Error,
    store::{Books, Store},
};

/// What an operator asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileRequest {
    /// Whether to make wrong balances what their ledgers say.
    pub repair: bool,
    /// Into how many parts the table is cut, which are walked at the same time: 1 to 64.
    pub segments: u8,
}

impl Default for ReconcileRequest {
    fn default() -> Self {
        Self {
            repair: false,
            segments: 8,
        }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Reconciled {
    /// How many users were looked at.
    pub users: u64,
    /// How many chats they have.
    pub chats: u64,
    /// How many looked wrong at first and had only been busy.
    pub busy: u64,
    /// How many could not be looked at, because they are in such use or the table had no room. The run fails at its end.
    pub unchecked: u64,
    /// How many holds of dead calls went back to their users, who had not come back themselves.
    pub holds_given_back: u64,
    /// How many tokens those held.
    pub tokens_given_back: u64,
    /// How many accounts were removed whose deletion had been cut off.
    pub deletions_finished: u64,
    /// How many conversations were removed whose deletion had been cut off.
    pub conversations_removed: u64,
    /// How many balances were wrong.
    pub drifted: u64,
    /// How many of them were made right.
    pub repaired: u64,
    /// The first hundred of them.
    pub drifts: Vec<Drift>,
}

/// A balance that does not agree with its ledger, or items without an account.
#[derive(Debug, Clone, Serialize)]
pub struct Drift {
    /// Whose.
    pub username: UserKey,
    /// The balance; none if there is no account.
    pub balance: Option<i64>,
    /// What it should be.
    pub expected: Option<i64>,
    /// Whether it was made right.
    pub repaired: bool,
}

/// How many drifts are listed. All are counted, and each is logged.
const LISTED: usize = 100;
/// After how many users progress is shown.
const PROGRESS: u64 = 10_000;

/// Looks through all accounts.
#[derive(Debug)]
pub struct Reconciliation {
    store: Store,
}

impl Reconciliation {
    /// The accounts in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Looks through all accounts, gives back the holds of dead calls and finishes deletions that were cut off.
    ///
    /// # Errors
    /// [`Error::Drift`], with everything that was found, if a balance is wrong and stays so.
    pub async fn run(&self, request: &ReconcileRequest, now: Timestamp) -> Result<Reconciled, Error> {
        let segments = i32::from(request.segments.clamp(1, 64));
        let found = std::cell::RefCell::new(Reconciled::default());
        let walks = (0..segments).map(|segment| self.walk(segment, segments, request.repair, now, &found));
        try_join_all(walks).await?;
        let found = found.into_inner();
        if found.drifted > found.repaired || found.unchecked > 0 {
            let report = serde_json::to_string(&found).map_err(Error::internal)?;
            return Err(Error::Drift(report));
        }
        Ok(found)
    }

    async fn walk(
        &self,
        segment: i32,
        segments: i32,
        repair: bool,
        now: Timestamp,
        found: &std::cell::RefCell<Reconciled>,
    ) -> Result<(), Error> {
        let mut page = None;
        let mut current: Option<(UserKey, Books)> = None;
        while let Some(mut read) = self.store.scan_users(segment, segments, page).await? {
            for (user, part) in std::mem::take(&mut read.items) {
                match &mut current {
                    Some((key, books)) if *key == user => books.enter(part),
                    _ => {
                        let mut books = Books::default();
                        books.enter(part);
                        if let Some((key, books)) = current.replace((user, books)) {
                            self.look_at(&key, books, repair, now, found).await?;
                        }
                    }
                }
            }
            page = Some(read);
        }
        match current {
            Some((key, books)) => self.look_at(&key, books, repair, now, found).await,
            None => Ok(()),
        }
    }

    async fn look_at(
        &self,
        key: &UserKey,
        books: Books,
        repair: bool,
        now: Timestamp,
        found: &std::cell::RefCell<Reconciled>,
    ) -> Result<(), Error> {
        let (chats, agrees) = (books.chats, agrees(&books, now));
        let drift = if agrees {
            Ok(None)
        } else {
            self.look_closely(key, repair, now, found).await
        };
        let drift = match drift {
            Ok(drift) => drift,
            // Gone since the walk came by.
            Err(Error::UserNotFound) => None,
            // One account must not keep all others from being looked at.
            Err(error) => {
                tracing::error!(username = key.as_str(), ?error, "an account could not be reconciled");
                let mut found = found.borrow_mut();
                found.users += 1;
                found.unchecked += 1;
                return Ok(());
            }
        };
        let mut found = found.borrow_mut();
        found.users += 1;
        found.chats += chats;
        if found.users.is_multiple_of(PROGRESS) {
            tracing::info!(
                users = found.users,
                chats = found.chats,
                drifted = found.drifted,
                "reconciling"
            );
        }
        match drift {
            Some(drift) => {
                found.drifted += 1;
                found.repaired += u64::from(drift.repaired);
                if found.drifts.len() < LISTED {
                    found.drifts.push(drift);
                }
            }
            None if !agrees => found.busy += 1,
            None => {}
        }
        Ok(())
    }

    /// Reads the books of somebody who seemed wrong until two readings agree, after what dead calls and a deletion cut off have left is put in
    /// order.
    async fn look_closely(
        &self,
        key: &UserKey,
        repair: bool,
        now: Timestamp,
        found: &std::cell::RefCell<Reconciled>,
    ) -> Result<Option<Drift>, Error> {
        let mut books = self.store.read_books(key).await?;
        if let Some(user) = books.user.clone() {
            if user.deleting {
                self.store.remove_account(&user).await?;
                found.borrow_mut().deletions_finished += 1;
                return Ok(None);
            }
            if !books.half_deleted.is_empty() {
                for conversation in books.half_deleted {
                    self.store
                        .remove_conversation(&user.person(), conversation, now)
                        .await?;
                    found.borrow_mut().conversations_removed += 1;
                }
                books = self.store.read_books(key).await?;
            }
            let expired = user.expired_holds(now);
            if !expired.is_empty() {
                self.store.give_back(user, now).await?;
                {
                    let mut found = found.borrow_mut();
                    found.holds_given_back += expired.len() as u64;
                    found.tokens_given_back += expired.values().map(|hold| hold.cost.get()).sum::<u64>();
                }
                books = self.store.read_books(key).await?;
            }
        }
        for _ in 0..5 {
            if books.unreadable {
                return Err(Error::internal("an item of the account cannot be read"));
            }
            let is_gone = books.user.is_none() && books.chats == 0 && books.entries == 0;
            if is_gone || books.drift() == Some(0) {
                return Ok(None);
            }
            // A long history takes a while to read, and what comes meanwhile may hide in it. Two readings alike are one moment.
            let again = self.store.read_books(key).await?;
            if books.are_as(&again) {
                return self.report(key, &again, repair, now).await.map(Some);
            }
            books = again;
        }
        Err(Error::Busy("an account kept changing while its books were read".into()))
    }

    async fn report(&self, key: &UserKey, books: &Books, repair: bool, now: Timestamp) -> Result<Drift, Error> {
        let expected = books.expected_balance();
        let balance = books.user.as_ref().and_then(|_| i64::try_from(books.balance).ok());
        let repaired = match (&books.user, expected) {
            (Some(user), Some(expected)) if repair => self.repair(books, user, expected, now).await?,
            _ => false,
        };
        tracing::error!(
            username = key.as_str(),
            balance,
            expected = expected.map(|expected| expected.to_string()),
            repaired,
            "a balance does not agree with its ledger"
        );
        Ok(Drift {
            username: key.clone(),
            balance,
            expected: expected.and_then(|expected| i64::try_from(expected).ok()),
            repaired,
        })
    }

    /// The ledger is what counts: the balance becomes what it says. What cannot be taken off, because it is spent, is written off.
    async fn repair(&self, books: &Books, user: &User, expected: i128, now: Timestamp) -> Result<bool, Error> {
        let written_off = i64::try_from((-expected).max(0)).map_err(Error::internal)?;
        let after = u64::try_from(expected.max(0)).ok().and_then(Amount::new);
        let Some(after) = after else {
            return Ok(false);
        };
        let reason = format!(
            "Reconciliation: the balance was {} and should be {expected}",
            books.balance
        );
        let entry = LedgerEntry {
            id: LedgerId::new(now),
            amount: written_off,
            reason: reason.clone(),
            actor: None,
            balance_after: Some(after),
            created_at: now,
        };
        let audit = AuditEntry {
            id: AuditId::new(now),
            action: Action::BalanceCorrected,
            actor: None,
            target: user.person(),
            changes: vec![Change::new(
                "token_balance",
                Some(books.balance.to_string()),
                after.to_string(),
            )],
            reason: Some(reason),
            created_at: now,
        };
        self.store.correct_balance(books, &entry, &audit).await
    }
}

/// Whether everything about a user is in order.
fn agrees(books: &Books, now: Timestamp) -> bool {
    let in_order = |user: &User| !user.deleting && user.expired_holds(now).is_empty();
    let at_rest = !books.unreadable && books.half_deleted.is_empty();
    books.user.as_ref().is_some_and(in_order) && books.drift() == Some(0) && at_rest
}
