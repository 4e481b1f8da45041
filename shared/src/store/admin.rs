use aws_sdk_dynamodb::types::{ConditionCheck, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use super::{
    Store,
    chats::{Page, Range},
    idempotency::{Answered, answered_in},
    key::{self, Item},
    request::{Cancelled, Placeholders, from_item, pause, to_item},
    users::{NOTHING, admit, claims_of, holds_for, keys_are_as_in},
};
use crate::{
    domain::{
        Action, Adjustment, AdminCaller, Amount, AuditEntry, AuditId, Caller, Change, Cursor, LedgerEntry, LedgerId,
        Once, PageSize, PasswordHash, Reason, Role, StaffCaller, Timestamp, User, UserKey,
    },
    error::Error,
};

/// How often a change starts over because the account changed under it. A balance in use changes often.
const ROUNDS: u32 = 12;

/// What should be different about an account.
#[derive(Debug)]
pub struct UserPatch {
    /// Whether it may do anything at all.
    pub active: Option<bool>,
    /// What it may do.
    pub role: Option<Role>,
}

/// The adjustment that was made under an idempotency key, and that it was made before.
fn made_before(answered: Answered) -> Result<(LedgerEntry, bool), Error> {
    match answered {
        Answered::Adjustment(entry) => Ok((entry, true)),
        // The fingerprints of chats and adjustments differ.
        Answered::Chat(_) => Err(Error::IdempotencyMismatch),
    }
}

/// The caller's role is checked after everything else: whoever may not even call hears that first.
fn with_role(user: User, roles: &[Role]) -> Result<User, Error> {
    if roles.contains(&user.role) {
        Ok(user)
    } else {
        Err(Error::PermissionDenied)
    }
}

const STAFF: &[Role] = &[Role::Staff, Role::Admin];
const ADMIN: &[Role] = &[Role::Admin];

/// The account in `item`, unless it is being deleted: then it is nobody's any more.
fn existing(item: Option<Item>) -> Result<User, Error> {
    let user = item.map(from_item::<User>).transpose()?;
    user.filter(|user| !user.deleting).ok_or(Error::UserNotFound)
}

/// Takes the item with the same key as `like` out of `items`.
fn take(items: &mut Vec<Item>, like: &Item) -> Option<Item> {
    let same = |item: &Item| like.iter().all(|(name, value)| item.get(name) == Some(value));
    items.iter().position(same).map(|index| items.swap_remove(index))
}

impl Store {
    /// Reads the account of a caller who must be staff.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`]; as [`Store::read_user`].
    pub async fn read_staff(&self, caller: &StaffCaller) -> Result<User, Error> {
        with_role(self.read_user(&caller.0).await?, STAFF)
    }

    /// Reads the account of a caller who must be an admin.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`]; as [`Store::read_user`].
    pub async fn read_admin(&self, caller: &AdminCaller) -> Result<User, Error> {
        with_role(self.read_user(&caller.0).await?, ADMIN)
    }

    /// Reads anybody's account for staff; one request for both accounts.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; [`Error::PermissionDenied`]; as [`Store::read_user`].
    pub async fn read_user_as_staff(&self, caller: &StaffCaller, user: &UserKey) -> Result<User, Error> {
        if caller.0.user == *user {
            return self.read_staff(caller).await;
        }
        let (own, other) = (key::user(&caller.0.user), key::user(user));
        let mut items = self.get_all([own.clone(), other.clone()]).await?;
        with_role(admit(take(&mut items, &own), &caller.0)?, STAFF)?;
        existing(take(&mut items, &other))
    }

    /// Reads a page of a user's ledger for staff, newest first, and whose it is.
    ///
    /// # Errors
    /// As [`Store::read_user_as_staff`], which is asked at the same time.
    pub async fn list_ledger(
        &self,
        caller: &StaffCaller,
        user: &UserKey,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<(User, Page<LedgerEntry>), Error> {
        let range = Range::of_ids(key::user_partition(user), key::LEDGER, after);
        let (user, entries) = tokio::join!(
            self.read_user_as_staff(caller, user),
            self.query_down(range, size.get() + 1)
        );
        let page = |entry: &LedgerEntry| entry.id.to_string();
        Ok((user?, entries?.into_page(size, page)?))
    }

    /// Reads a page of the audit trail, newest first.
    ///
    /// # Errors
    /// As [`Store::read_staff`], which is asked at the same time.
    pub async fn list_audit(
        &self,
        caller: &StaffCaller,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<AuditEntry>, Error> {
        let range = Range::of_ids(key::audit_partition(), "AUDIT#", after);
        let (caller, entries) = tokio::join!(self.read_staff(caller), self.query_down(range, size.get() + 1));
        caller?;
        entries?.into_page(size, |entry: &AuditEntry| entry.id.to_string())
    }

    /// Changes somebody's role, activates or deactivates them, and writes it in the audit trail, all or nothing. Returns the account as it
    /// is then.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; [`Error::PermissionDenied`]; as [`Store::read_user`].
    pub async fn change_user(
        &self,
        caller: &AdminCaller,
        target: &UserKey,
        patch: &UserPatch,
        reason: Option<&Reason>,
        now: Timestamp,
    ) -> Result<User, Error> {
        let (own, other) = (key::user(&caller.0.user), key::user(target));
        let is_own = caller.0.user == *target;
        let keys = [own.clone(), other.clone()];
        let mut items = if is_own {
            self.get(own.clone()).await?.into_iter().collect()
        } else {
            self.get_all(keys).await?
        };
        let actor = with_role(admit(take(&mut items, &own), &caller.0)?, ADMIN)?;
        let mut user = if is_own {
            actor
        } else {
            existing(take(&mut items, &other))?
        };
        let audit_id = AuditId::new(now);
        for round in 0..ROUNDS {
            let (active, role) = (patch.active.unwrap_or(user.active), patch.role.unwrap_or(user.role));
            let mut changes = Vec::new();
            if active != user.active {
                changes.push(Change::new("active", Some(user.active.to_string()), active.to_string()));
            }
            if role != user.role {
                let (from, to) = (user.role.as_str().to_owned(), role.as_str().to_owned());
                changes.push(Change::new("role", Some(from), to));
            }
            if changes.is_empty() {
                return Ok(user);
            }
            let entry = AuditEntry {
                id: audit_id,
                action: Action::UserChanged,
                actor: Some(caller.0.person()),
                target: user.person(),
                changes,
                reason: reason.map(|reason| reason.as_str().to_owned()),
                created_at: now,
            };
            let mut update = "SET #active = :new_active, #role = :new_role".to_owned();
            let mut placeholders = Placeholders::default()
                .name("#active", "active")
                .name("#role", "role")
                .value(":new_active", active)?
                .value(":new_role", role)?
                .value(":old_active", user.active)?
                .value(":old_role", user.role)?;
            // What the audit trail says was before must have been.
            let mut condition = "#active = :old_active AND #role = :old_role".to_owned();
            let comes_back = active && !user.active;
            if !active {
                update.push_str(", #sessions = :nothing");
                placeholders = placeholders.name("#sessions", "sessions").value(":nothing", &NOTHING)?;
            }
            if comes_back {
                // Whoever comes back proves anew who they are: what authenticated them before stays ended, the keys too. That of the `Token`
                // scheme is a function of the token version.
                update.push_str(", #token_version = :next_version, #api_keys = :no_keys REMOVE #auth_key");
                placeholders = placeholders
                    .name("#token_version", "token_version")
                    .value(":next_version", user.token_version.next())?
                    .value(":no_keys", &NOTHING)?;
                let (same_keys, with_keys) = keys_are_as_in(&user, placeholders)?;
                condition.push_str(&format!(" AND {same_keys}"));
                placeholders = with_keys;
            }
            let writes = self.as_admin(caller, &user, &update, &condition, placeholders)?;
            let mut writes = writes.with(self.put_audit_entry(&entry)?);
            if comes_back {
                writes.list.extend(self.forget_keys(&user)?);
            }
            let refused = match self.transact(writes.list).await {
                Ok(()) => None,
                Err(Cancelled::NotNow(source)) => return Err(Error::Busy(source)),
                Err(Cancelled::Failed(error)) => return Err(error),
                Err(Cancelled::Conditions(refused)) => Some(refused),
            };
            let done = refused.as_ref().is_some_and(|refused| refused[writes.next].is_err());
            if refused.is_none() || done {
                user.active = active;
                user.role = role;
                if !active {
                    user.sessions.clear();
                }
                return Ok(user);
            }
            user = changed_meanwhile(refused.unwrap_or_default(), caller, &user)?;
            pause(round.min(4)).await;
        }
        Err(Error::Busy("the account kept changing while it was changed".into()))
    }

    /// Puts tokens on a balance or takes them off, and writes it in the user's ledger and in the audit trail, all or nothing. Tells the
    /// ledger entry, and whether it had been made before under the same idempotency key.
    ///
    /// The entry says the balance after it, so the balance must not change between reading and writing it: the condition is the balance
    /// itself, and another round follows where a chat came between.
    ///
    /// # Errors
    /// What [`Adjustment::apply`] says; [`Error::IdempotencyMismatch`]; [`Error::UserNotFound`]; [`Error::PermissionDenied`]; as
    /// [`Store::read_user`].
    pub async fn adjust_balance(
        &self,
        caller: &AdminCaller,
        target: &UserKey,
        amount: Adjustment,
        reason: &Reason,
        once: Option<&Once>,
        now: Timestamp,
    ) -> Result<(LedgerEntry, bool), Error> {
        let (mut user, made) = self.begin_adjustment(caller, target, once, now).await?;
        if let Some(made) = made {
            return Ok(made);
        }
        let (ledger_id, audit_id) = (LedgerId::new(now), AuditId::new(now));
        let mut unknown = None;
        for round in 0..ROUNDS {
            if unknown.is_none() && !user.expired_holds(now).is_empty() {
                // What dead calls hold is the user's, and may be just what is to be taken off.
                let id = user.id;
                user = self.give_back(user, now).await?;
                if user.id != id {
                    return Err(Error::UserNotFound);
                }
            }
            let after = amount.apply(user.balance, user.held())?;
            let entry = LedgerEntry {
                id: ledger_id,
                amount: amount.get(),
                reason: reason.as_str().to_owned(),
                actor: Some(caller.0.person()),
                balance_after: Some(after),
                created_at: now,
            };
            let writes = self.adjustment(caller, &user, &entry, after, audit_id, once)?;
            let (of_ledger, of_once) = (writes.next, once.map(|_| writes.next + 2));
            let mut refused = match self.transact(writes.list).await {
                Ok(()) => return Ok((entry, false)),
                // This one surely did nothing, but one before it may have.
                Err(Cancelled::NotNow(source) | Cancelled::Failed(Error::Internal(source))) if unknown.is_some() => {
                    unknown = Some(source);
                    break;
                }
                Err(Cancelled::NotNow(source)) => return Err(Error::Busy(source)),
                Err(Cancelled::Failed(Error::Busy(source))) => {
                    // It may have been made. Sent again with the same ids, it is found if it was and made if it was not.
                    unknown = Some(source);
                    if round >= 2 {
                        break;
                    }
                    pause(round).await;
                    continue;
                }
                Err(Cancelled::Failed(error)) => return Err(error),
                Err(Cancelled::Conditions(refused)) => refused,
            };
            unknown = None;
            if let Err(Some(made)) = &refused[of_ledger] {
                return Ok((from_item(made.clone())?, false));
            }
            if let (Some(index), Some(once)) = (of_once, once)
                && let Err(stored) = std::mem::replace(&mut refused[index], Ok(()))
                && let Some(answered) = answered_in(stored, once, now)?
            {
                return made_before(answered);
            }
            user = changed_meanwhile(refused, caller, &user)?;
            pause(round.min(3)).await;
        }
        match unknown {
            None => Err(Error::Busy("the balance kept changing while it was adjusted".into())),
            Some(source) => match self.get(key::ledger_entry(target, ledger_id)).await {
                Ok(Some(made)) => Ok((from_item(made)?, false)),
                Ok(None) | Err(_) => {
                    tracing::error!(error = %source, entry = %ledger_id, "nobody knows whether this adjustment was made");
                    Err(Error::OutcomeUnknown)
                }
            },
        }
    }

    /// Reads in one request whether the caller may adjust, whose balance it is, and what was answered under the key before.
    async fn begin_adjustment(
        &self,
        caller: &AdminCaller,
        target: &UserKey,
        once: Option<&Once>,
        now: Timestamp,
    ) -> Result<(User, Option<(LedgerEntry, bool)>), Error> {
        let (own, other) = (key::user(&caller.0.user), key::user(target));
        let stored = once.map(|once| key::idempotency(&caller.0.user, &once.key));
        let mut items = match (&stored, own == other) {
            (Some(stored), true) => self.get_all([own.clone(), stored.clone()]).await?,
            (Some(stored), false) => self.get_all([own.clone(), other.clone(), stored.clone()]).await?,
            (None, true) => self.get_all([own.clone()]).await?,
            (None, false) => self.get_all([own.clone(), other.clone()]).await?,
        };
        let stored = stored.and_then(|stored| take(&mut items, &stored));
        let actor = with_role(admit(take(&mut items, &own), &caller.0)?, ADMIN)?;
        let answered = match once {
            Some(once) => answered_in(stored, once, now)?,
            None => None,
        };
        let user = if own == other {
            actor
        } else {
            existing(take(&mut items, &other))?
        };
        Ok((user, answered.map(made_before).transpose()?))
    }

    fn adjustment(
        &self,
        caller: &AdminCaller,
        user: &User,
        entry: &LedgerEntry,
        after: Amount,
        audit_id: AuditId,
        once: Option<&Once>,
    ) -> Result<AdminWrites, Error> {
        let target = user.key();
        let audit = AuditEntry {
            id: audit_id,
            action: Action::BalanceAdjusted,
            actor: Some(caller.0.person()),
            target: user.person(),
            changes: vec![Change::new(
                "token_balance",
                Some(user.balance.to_string()),
                after.to_string(),
            )],
            reason: Some(entry.reason.clone()),
            created_at: entry.created_at,
        };
        let placeholders = Placeholders::default()
            .name("#balance", "balance")
            .value(":seen", user.balance)?
            .value(":after", after)?;
        let writes = self.as_admin(
            caller,
            user,
            "SET #balance = :after",
            // A chat, a release or another adjustment that comes between: the entry would say a balance that never was.
            "#balance = :seen",
            placeholders,
        )?;
        let mut item = to_item(entry)?;
        item.extend(key::ledger_entry(&target, entry.id));
        // One entry for one change, even if the transaction is sent twice.
        let writes = writes.with(self.transact_put(item, Some("attribute_not_exists(pk)"))?);
        let writes = writes.with(self.put_audit_entry(&audit)?);
        let Some(once) = once else {
            return Ok(writes);
        };
        let answered = Answered::Adjustment(entry.clone());
        Ok(writes.with(self.remember(&caller.0.user, once, answered, entry.created_at)?))
    }

    /// An update of somebody's account that only happens if the caller is an admin at that moment. Checked in the transaction itself, so two
    /// admins who take each other's role at once do not both succeed, and there always is one.
    fn as_admin(
        &self,
        caller: &AdminCaller,
        user: &User,
        update: &str,
        condition: &str,
        placeholders: Placeholders,
    ) -> Result<AdminWrites, Error> {
        let caller = &caller.0;
        let is_own = caller.user == user.key();
        let placeholders = placeholders
            .name("#id", "id")
            .name("#deleting", "deleting")
            .value(":id", user.id)?;
        let mut condition = format!("#id = :id AND attribute_not_exists(#deleting) AND {condition}");
        let placeholders = if is_own {
            condition.push_str(&format!(" AND {} AND #role = :admin", holds_for(caller)));
            placeholders.and(admin_claims(caller)?)
        } else {
            placeholders
        };
        let (names, values) = placeholders.into_parts();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&user.key())))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        let mut list = vec![TransactWriteItem::builder().update(update).build()];
        if !is_own {
            let (names, values) = admin_claims(caller)?.into_parts();
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(Some(key::user(&caller.user)))
                .condition_expression(format!("{} AND #role = :admin", holds_for(caller)))
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .build()
                .map_err(Error::internal)?;
            list.push(TransactWriteItem::builder().condition_check(check).build());
        }
        Ok(AdminWrites { next: list.len(), list })
    }

    pub(super) fn put_audit_entry(&self, entry: &AuditEntry) -> Result<TransactWriteItem, Error> {
        let mut item = to_item(entry)?;
        item.extend(key::audit_entry(entry.id));
        // Nobody writes over what is in the trail.
        self.transact_put(item, Some("attribute_not_exists(pk)"))
    }

    /// Stores a new account of an admin, with the entry in the audit trail.
    ///
    /// # Errors
    /// [`Error::UsernameTaken`].
    pub async fn create_admin(&self, user: &User, entry: &AuditEntry) -> Result<(), Error> {
        self.create_user_with(user, self.put_audit_entry(entry)?).await
    }

    /// Makes an admin of a user, active if they were not, with another password if there is one, and writes it in the audit trail.
    ///
    /// # Errors
    /// [`Error::Busy`] if the account changed meanwhile.
    pub async fn promote_to_admin(
        &self,
        user: &User,
        password: Option<&PasswordHash>,
        entry: &AuditEntry,
    ) -> Result<(), Error> {
        let placeholders = Placeholders::default()
            .name("#id", "id")
            .name("#role", "role")
            .name("#active", "active")
            .name("#deleting", "deleting")
            .name("#password", "password_hash")
            .value(":id", user.id)?
            .value(":admin", Role::Admin)?
            .value(":true", true)?
            .value(":old_password", &user.password_hash)?;
        let mut update = "SET #role = :admin, #active = :true".to_owned();
        let mut placeholders = placeholders;
        if let Some(hash) = password {
            update.push_str(", #password = :new_password");
            placeholders = placeholders.value(":new_password", hash)?;
        }
        // As with every new password and every return: sessions and keys end.
        let begins_anew = password.is_some() || !user.active;
        if begins_anew {
            update.push_str(
                ", #token_version = :next_version, #sessions = :nothing, #api_keys = :no_keys REMOVE #auth_key",
            );
            placeholders = placeholders
                .name("#token_version", "token_version")
                .name("#sessions", "sessions")
                .value(":next_version", user.token_version.next())?
                .value(":nothing", &NOTHING)?
                .value(":no_keys", &NOTHING)?;
        }
        // The account that was read, with the password and the keys that it had.
        let (same_keys, placeholders) = keys_are_as_in(user, placeholders)?;
        let condition =
            format!("#id = :id AND attribute_not_exists(#deleting) AND #password = :old_password AND {same_keys}");
        let (names, values) = placeholders.into_parts();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&user.key())))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .build()
            .map_err(Error::internal)?;
        let mut writes = vec![
            TransactWriteItem::builder().update(update).build(),
            self.put_audit_entry(entry)?,
        ];
        if begins_anew {
            writes.extend(self.forget_keys(user)?);
        }
        match self.transact(writes).await {
            Ok(()) => Ok(()),
            Err(Cancelled::NotNow(source)) => Err(Error::Busy(source)),
            Err(Cancelled::Failed(error)) => Err(error),
            Err(Cancelled::Conditions(_)) => Err(Error::Busy("the account changed while it was promoted".into())),
        }
    }
}

/// The writes of an admin's transaction: the account first, then the check of the caller if that is another account.
struct AdminWrites {
    list: Vec<TransactWriteItem>,
    /// Where the writes begin that follow those.
    next: usize,
}

impl AdminWrites {
    fn with(mut self, write: TransactWriteItem) -> Self {
        self.list.push(write);
        self
    }
}

fn admin_claims(caller: &Caller) -> Result<Placeholders, Error> {
    claims_of(caller)?.name("#role", "role").value(":admin", Role::Admin)
}

/// The account as it is now that a change of `seen` was refused, if another try may do better.
fn changed_meanwhile(
    mut refused: Vec<Result<(), Option<Item>>>,
    caller: &AdminCaller,
    seen: &User,
) -> Result<User, Error> {
    let mut refused = refused.drain(..);
    let account = refused.next().unwrap_or(Ok(()));
    let nothing_visible = || Error::internal("a change was refused for no visible reason");
    if caller.0.id == seen.id {
        let item = account.err().ok_or_else(nothing_visible)?;
        return with_role(admit(item, &caller.0)?, ADMIN);
    }
    if let Some(Err(item)) = refused.next() {
        with_role(admit(item, &caller.0)?, ADMIN)?;
    }
    let user = existing(account.err().ok_or_else(nothing_visible)?)?;
    // The name may have been deleted and taken again: what was meant for the one is not for the other.
    if user.id == seen.id {
        Ok(user)
    } else {
        Err(Error::UserNotFound)
    }
}
