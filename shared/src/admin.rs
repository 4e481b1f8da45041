//! What staff look at and admins change, and the making of the first admin.

use serde::{Deserialize, Serialize};

use crate::{
    accounts::{NewAccount, Registrar},
    auth,
    chats::ChatPage,
    config::AccountConfig,
    domain::{
        Action, Adjustment, AdminCaller, AuditEntry, AuditId, Change, Cursor, Day, Figures, Fingerprint,
        IdempotencyKey, Invalid, LedgerEntry, Listing, NamePrefix, NewPassword, Once, PageSize, Password,
        PasswordPolicy, Reason, Role, Scope, StaffCaller, Timestamp, User, UserKey, Username, id::random,
    },
    error::Error,
    metrics::Metrics,
    store::{FoundUser, Page, Store, UserPatch},
};

/// One page of a search for users.
#[derive(Debug)]
pub struct SearchPage {
    /// The users, by name.
    pub users: Vec<FoundUser>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// One page of a user's ledger.
#[derive(Debug)]
pub struct LedgerPage {
    /// Whose.
    pub user: User,
    /// The entries, newest first. The sign-up grant is not among them: it is part of the account.
    pub entries: Vec<LedgerEntry>,
    /// Whether the sign-up grant comes next, with which every ledger begins.
    pub ends: bool,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// One page of the audit trail.
#[derive(Debug)]
pub struct AuditPage {
    /// The entries, newest first.
    pub entries: Vec<AuditEntry>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// What should be different about a user.
#[derive(Debug)]
pub struct UserChange {
    /// Whether they may do anything at all.
    pub active: Option<bool>,
    /// What they may do.
    pub role: Option<Role>,
    /// Why.
    pub reason: Option<Reason>,
}

/// A balance that was adjusted.
#[derive(Debug)]
pub struct Adjusted {
    /// Whose.
    pub user: UserKey,
    /// What was written in the ledger.
    pub entry: LedgerEntry,
    /// Whether that had been done before, under the same idempotency key.
    pub replayed: bool,
}

/// Everybody's accounts, for those who look after them.
#[derive(Debug)]
pub struct Administration {
    store: Store,
}

impl Administration {
    /// The accounts in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of the users whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// A cursor of another listing; a caller who is not staff.
    pub async fn search(
        &self,
        caller: &StaffCaller,
        prefix: &NamePrefix,
        active: Option<bool>,
        cursor: Option<&str>,
        size: PageSize,
    ) -> Result<SearchPage, Error> {
        let after = cursor.map(|text| Cursor::decode(text, Listing::Search)).transpose()?;
        let Page { items, next } = self
            .store
            .search_users(caller, prefix, active, after.as_ref(), size)
            .await?;
        Ok(SearchPage {
            users: items,
            next_cursor: next.map(|next| next.encode(Listing::Search)),
        })
    }

    /// One user's account.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; a caller who is not staff.
    pub async fn user(&self, caller: &StaffCaller, user: &UserKey) -> Result<User, Error> {
        self.store.read_user_as_staff(caller, user).await
    }

    /// A page of a user's chats, newest first.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; a cursor of another listing; a caller who is not staff.
    pub async fn chats(
        &self,
        caller: &StaffCaller,
        user: &UserKey,
        cursor: Option<&str>,
        size: PageSize,
    ) -> Result<ChatPage, Error> {
        let listing = Listing::ChatsOf(user);
        let after = cursor.map(|text| Cursor::decode(text, listing)).transpose()?;
        let (owner, page) = self
            .store
            .list_chats_as_staff(caller, user, after.as_ref(), size)
            .await?;
        Ok(ChatPage::new(owner.id, size, page, listing))
    }

    /// A page of a user's ledger, newest first.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; a cursor of another listing; a caller who is not staff.
    pub async fn ledger(
        &self,
        caller: &StaffCaller,
        user: &UserKey,
        cursor: Option<&str>,
        size: PageSize,
    ) -> Result<LedgerPage, Error> {
        let listing = Listing::LedgerOf(user);
        let after = cursor.map(|text| Cursor::decode(text, listing)).transpose()?;
        let (owner, page) = self.store.list_ledger(caller, user, after.as_ref(), size).await?;
        // The sign-up grant is one more entry: on a full page there is no room for it, and it is the next page.
        let ends = page.next.is_none() && page.items.len() < size.get();
        let next = match page.next {
            None if !ends => page.items.last().map(|entry| Cursor::after(entry.id.to_string())),
            next => next,
        };
        Ok(LedgerPage {
            user: owner,
            entries: page.items,
            ends,
            next_cursor: next.map(|next| next.encode(listing)),
        })
    }

    /// A page of the audit trail, newest first.
    ///
    /// # Errors
    /// A cursor of another listing; a caller who is not staff.
    pub async fn audit(&self, caller: &StaffCaller, cursor: Option<&str>, size: PageSize) -> Result<AuditPage, Error> {
        let after = cursor.map(|text| Cursor::decode(text, Listing::Audit)).transpose()?;
        let Page { items, next } = self.store.list_audit(caller, after.as_ref(), size).await?;
        Ok(AuditPage {
            entries: items,
            next_cursor: next.map(|next| next.encode(Listing::Audit)),
        })
    }

    /// Activates or deactivates a user, or gives them another role. Deactivation ends their sessions with the same write.
    ///
    /// # Errors
    /// [`Error::OwnRights`] for what would leave a deployment without admins in the end; [`Error::UserNotFound`]; a caller who is no admin.
    pub async fn update(
        &self,
        caller: &AdminCaller,
        user: &UserKey,
        change: UserChange,
        now: Timestamp,
    ) -> Result<User, Error> {
        let own = caller.0.user == *user;
        if own && (change.active == Some(false) || change.role.is_some_and(|role| role != Role::Admin)) {
            // Whether they are an admin at all is for the store to say.
            self.store.read_admin(caller).await?;
            return Err(Error::OwnRights);
        }
        let patch = UserPatch {
            active: change.active,
            role: change.role,
        };
        self.store
            .change_user(caller, user, &patch, change.reason.as_ref(), now)
            .await
    }

    /// Puts tokens on a balance or takes them off, with an entry in the user's ledger and in the audit trail, all or nothing.
    ///
    /// # Errors
    /// A balance below zero or beyond what it can hold; [`Error::IdempotencyMismatch`]; [`Error::UserNotFound`]; a caller who is no admin.
    pub async fn adjust(
        &self,
        caller: &AdminCaller,
        user: &UserKey,
        amount: Adjustment,
        reason: &Reason,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Adjusted, Error> {
        let once = key.map(|key| Once {
            key,
            scope: Scope::One,
            fingerprint: Fingerprint::of(&["adjust", user.as_str(), &amount.get().to_string(), reason.as_str()]),
        });
        let (entry, replayed) = self
            .store
            .adjust_balance(caller, user, amount, reason, once.as_ref(), now)
            .await?;
        Ok(Adjusted {
            user: user.clone(),
            entry,
            replayed,
        })
    }
}

/// What the deployment as a whole does, for those who look after it.
#[derive(Debug)]
pub struct Overview {
    store: Store,
    metrics: Option<Metrics>,
}

impl Overview {
    /// As `metrics` tell it, if any are collected, to the staff whose accounts are in `store`.
    pub fn new(store: Store, metrics: Option<Metrics>) -> Self {
        Self { store, metrics }
    }

    /// The figures of the last 24 hours.
    ///
    /// # Errors
    /// [`Error::MetricsNotCollected`]; [`Error::Busy`]; a caller who is not staff.
    pub async fn figures(&self, caller: &StaffCaller, now: Timestamp) -> Result<Figures, Error> {
        // First, not at the same time: each look at the metrics is paid for, and people who may not look must not make it happen.
        self.store.read_staff(caller).await?;
        let metrics = self.metrics.as_ref().ok_or(Error::MetricsNotCollected)?;
        metrics.figures(Day::until(now)).await
    }
}

/// What an operator of the deployment asks for when they make an admin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRequest {
    /// Whose account.
    pub username: String,
    /// Its password; made up if there is none.
    #[serde(default)]
    pub password: Option<String>,
    /// Whether somebody's account may become an admin's. Its password stays, unless there is a new one above.
    #[serde(default)]
    pub promote: bool,
}

/// The admin that was made.
#[derive(Debug, Serialize)]
pub struct AdminMade {
    /// Whose account.
    pub username: Username,
    /// `admin`.
    pub role: Role,
    /// Whether the account is new.
    pub created: bool,
    /// The password that was made up. It is shown here and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Makes admins, for operators of the deployment: there is no default account.
#[derive(Debug)]
pub struct Bootstrap {
    store: Store,
    registrar: Registrar,
    config: AccountConfig,
}

impl Bootstrap {
    /// Makes admins of the accounts in `store`.
    pub fn new(store: Store, config: AccountConfig) -> Self {
        Self {
            registrar: Registrar::new(store.clone(), config.clone()),
            store,
            config,
        }
    }

    /// Opens an admin's account, or makes an admin of somebody who has one.
    ///
    /// # Errors
    /// If there is such an account and it is not to be promoted; a password that protects nothing.
    pub async fn make_admin(&self, request: AdminRequest, now: Timestamp) -> Result<AdminMade, Error> {
        let username = Username::parse(&request.username)?;
        match self.store.find_user(&username.key()).await? {
            Some(user) if user.deleting => Err(Error::UsernameTaken),
            Some(user) if request.promote => self.promote(user, request.password, now).await,
            // Anybody may have taken the name.
            Some(_) => Err(Invalid::new(
                "promote",
                "Username already exists; with \"promote\": true the account becomes an admin's",
            )
            .into()),
            None => self.create(username, request.password, now).await,
        }
    }

    async fn create(&self, username: Username, password: Option<String>, now: Timestamp) -> Result<AdminMade, Error> {
        let generated = password.is_none().then(|| generate_password(self.config.passwords));
        let password = password.or_else(|| generated.clone()).unwrap_or_default();
        let account = NewAccount {
            username: username.clone(),
            password: Password::typed(&password),
            email: None,
        };
        let mut user = self.registrar.prepare(account, now).await?;
        user.role = Role::Admin;
        let changes = vec![Change::new("role", None, Role::Admin.as_str().to_owned())];
        let entry = admin_made(&user, changes, now);
        // The password is told here and nowhere else, so whether it was stored must not stay open. Sent again, it is found if it was.
        for _ in 0..3 {
            match self.store.create_admin(&user, &entry).await {
                Ok(()) => {
                    return Ok(AdminMade {
                        username,
                        role: Role::Admin,
                        created: true,
                        password: generated,
                    });
                }
                Err(Error::Busy(source)) => tracing::warn!(error = %source, "storing the admin once more"),
                Err(error) => return Err(error),
            }
        }
        Err(Error::OutcomeUnknown)
    }

    async fn promote(&self, user: User, password: Option<String>, now: Timestamp) -> Result<AdminMade, Error> {
        let hash = match password {
            Some(password) => {
                let new = NewPassword::accept(Password::typed(&password), &user.username, self.config.passwords)?;
                Some(auth::hash_password(&new).await?)
            }
            None => None,
        };
        let mut changes = Vec::new();
        if user.role != Role::Admin {
            let (from, to) = (user.role.as_str().to_owned(), Role::Admin.as_str().to_owned());
            changes.push(Change::new("role", Some(from), to));
        }
        if !user.active {
            changes.push(Change::new("active", Some("false".into()), "true".into()));
        }
        if hash.is_some() {
            changes.push(Change::new("password", None, "changed".into()));
        }
        if !changes.is_empty() {
            let entry = admin_made(&user, changes, now);
            self.store.promote_to_admin(&user, hash.as_ref(), &entry).await?;
        }
        Ok(AdminMade {
            username: user.username,
            role: Role::Admin,
            created: false,
            password: None,
        })
    }
}

fn admin_made(user: &User, changes: Vec<Change>, now: Timestamp) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(now),
        action: Action::AdminMade,
        actor: None,
        target: user.person(),
        changes,
        reason: None,
        created_at: now,
    }
}

/// Letters and digits that are not mistaken for one another when read aloud, five random bits each: 24 of them, unless the deployment wants
/// fewer or more.
fn generate_password(policy: PasswordPolicy) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let length = 24.clamp(policy.min_bytes, policy.max_bytes);
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
    std::iter::repeat_with(|| letter(random::<1>()[0]))
        .take(length)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_long_and_new_each_time() {
        let of = |min_bytes, max_bytes| generate_password(PasswordPolicy { min_bytes, max_bytes });
        assert_eq!(of(8, 1024).len(), 24);
        assert_eq!((of(40, 1024).len(), of(8, 12).len()), (40, 12));
        assert_ne!(of(8, 1024), of(8, 1024));
    }
}
