//! Accounts: opening one, proving that one is its owner, looking at one.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    auth::{self, Checked},
    config::AccountConfig,
    domain::{
        Caller, Cursor, Email, Invalid, Listing, Network, NewPassword, OwnerCaller, PageSize, Password, PasswordHash,
        Role, Timestamp, TokenVersion, User, UserId, Username,
    },
    error::Error,
    store::{FoundUser, Page, Store},
};

/// For how long one call removes items, well below the function's own 29 s.
const DELETION_BUDGET: Duration = Duration::from_secs(20);

/// What a sign-up asks for.
#[derive(Debug)]
pub struct NewAccount {
    /// The name to take.
    pub username: Username,
    /// The password that will prove its owner, if it is a good one.
    pub password: Password,
    /// An address, if one was given.
    pub email: Option<Email>,
}

/// What a login claims.
#[derive(Debug)]
pub struct Credentials {
    /// A name, or any other text: who does not exist gets the same answer as who mistypes a password.
    pub username: String,
    /// The password as it was typed.
    pub password: Password,
}

/// A user whose password was right.
#[derive(Debug)]
pub struct Authenticated {
    /// The user.
    pub user: User,
    /// Under which name and from where, for what a success undoes.
    pub(crate) attempt: Attempt,
    /// A hash to store in place of the old one, which was made with weaker parameters.
    pub rehash: Option<PasswordHash>,
}

/// A login that counts as failed until it has succeeded.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// What every spelling of the name shares, or what was typed if that can be no name.
    pub(crate) name: String,
    pub(crate) network: Network,
}

/// One page of the active users.
#[derive(Debug)]
pub struct UserPage {
    /// The users, by name.
    pub users: Vec<FoundUser>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// Opens accounts and changes their passwords.
#[derive(Debug)]
pub struct Registrar {
    store: Store,
    config: AccountConfig,
}

impl Registrar {
    /// A registrar for the accounts in `store`.
    pub fn new(store: Store, config: AccountConfig) -> Self {
        Self { store, config }
    }

    /// An account with the sign-up grant on its balance, not stored yet.
    ///
    /// # Errors
    /// A password that protects nothing.
    pub async fn prepare(&self, account: NewAccount, now: Timestamp) -> Result<User, Error> {
        let password = NewPassword::accept(account.password, &account.username, self.config.passwords)?;
        Ok(User {
            id: UserId::new(now),
            username: account.username,
            email: account.email,
            password_hash: auth::hash_password(&password).await?,
            role: Role::User,
            active: true,
            token_version: TokenVersion(0),
            balance: self.config.signup_grant,
            signup_grant: self.config.signup_grant,
            sessions: BTreeMap::new(),
            holds: BTreeMap::new(),
            auth_key: None,
            api_keys: BTreeMap::new(),
            deleting: false,
            paced_until: None,
            created_at: now,
        })
    }

    /// Stores a prepared account.
    ///
    /// # Errors
    /// [`Error::UsernameTaken`], whatever the spelling.
    pub async fn open(&self, user: &User) -> Result<(), Error> {
        self.store.create_user(user).await
    }

    /// Gives the caller another password and ends every session and key of theirs.
    ///
    /// # Errors
    /// [`Error::WrongPassword`]; [`Error::Paced`] after too many wrong ones; a new password that protects nothing; a caller whose claims no longer hold.
    pub async fn change_password(
        &self,
        caller: &OwnerCaller,
        old: &Password,
        new: Password,
        network: &Network,
        now: Timestamp,
    ) -> Result<(), Error> {
        let read = self.store.read_user(&caller.0);
        let user = confirmed(&self.store, caller, read, old, network, now).await?;
        let hash = self.hash_new(new, &user).await;
        let change = async { self.store.change_password(caller, &user, &hash?).await };
        forgetting_failures(&self.store, caller, network, change).await
    }

    async fn hash_new(&self, new: Password, user: &User) -> Result<PasswordHash, Error> {
        let new = NewPassword::accept(new, &user.username, self.config.passwords).map_err(|invalid| Invalid {
            member: "new",
            ..invalid
        })?;
        auth::hash_password(&new).await
    }
}

/// The account that `read` reads, if `password` is its caller's: for somebody who is logged in already, before what cannot be undone. Whoever
/// has got hold of a token must not find the password with it, so failures count as those of logins do.
async fn confirmed(
    store: &Store,
    caller: &OwnerCaller,
    read: impl Future<Output = Result<User, Error>>,
    password: &Password,
    network: &Network,
    now: Timestamp,
) -> Result<User, Error> {
    let (user, counted) = tokio::join!(read, store.count_failure(caller.0.user.as_str(), network, now));
    let user = user?;
    counted?;
    match auth::check_password(password, Some(&user.password_hash)).await? {
        Checked::Right { .. } => Ok(user),
        Checked::Wrong => Err(Error::WrongPassword),
    }
}

/// Does what a right password allows, and forgets the wrong ones before it.
async fn forgetting_failures<T>(
    store: &Store,
    caller: &OwnerCaller,
    network: &Network,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let (done, forgotten) = tokio::join!(work, store.forget_failures(caller.0.user.as_str(), network));
    if let Err(error) = forgotten {
        // It counts as one failure more than there was; the next success forgets them all.
        tracing::warn!(?error, "failures could not be forgotten");
    }
    done
}

/// Reads accounts.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
}

impl Accounts {
    /// The accounts in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The user with these credentials. Counts as a failure until a session is opened with it.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], after the same work and with the same words for an unknown name, a wrong password and an inactive
    /// account; [`Error::Paced`] after too many failures with this name from this network, known or not.
    pub async fn authenticate(
        &self,
        credentials: Credentials,
        network: Network,
        now: Timestamp,
    ) -> Result<Authenticated, Error> {
        let key = Username::parse(&credentials.username)
            .ok()
            .map(|username| username.key());
        let attempt = Attempt {
            name: key.as_ref().map_or(credentials.username, |key| key.as_str().to_owned()),
            network,
        };
        let find = async {
            match &key {
                Some(key) => self.store.find_user(key).await,
                None => Ok(None),
            }
        };
        // Counted before the password is looked at: of many guesses at once each counts.
        let count = self.store.count_failure(&attempt.name, &attempt.network, now);
        let (user, counted) = tokio::join!(find, count);
        counted?;
        let user = user?;
        let stored = user.as_ref().map(|user| &user.password_hash);
        let checked = auth::check_password(&credentials.password, stored).await?;
        match (user, checked) {
            (Some(user), Checked::Right { rehash }) if user.active => Ok(Authenticated { user, attempt, rehash }),
            _ => Err(Error::InvalidCredentials),
        }
    }

    /// The caller's account, with the holds of dead calls given back.
    ///
    /// # Errors
    /// If the caller's claims no longer hold.
    pub async fn own(&self, caller: &Caller, now: Timestamp) -> Result<User, Error> {
        let user = self.store.read_user(caller).await?;
        self.store.give_back(user, now).await.map_err(|error| match error {
            Error::UserNotFound => caller.not_valid(),
            other => other,
        })
    }

    /// Closes the caller's account for good and removes everything of theirs, then the account itself, so that until the end its name
    /// is taken. What is cut off half-way is finished by the next call.
    ///
    /// # Errors
    /// [`Error::WrongPassword`]; [`Error::Paced`] after too many wrong ones; [`Error::AdminAccount`]; [`Error::DeletionContinues`] if there was more than one call can remove; a
    /// caller whose claims no longer hold.
    pub async fn delete(
        &self,
        caller: &OwnerCaller,
        password: &Password,
        network: &Network,
        now: Timestamp,
    ) -> Result<(), Error> {
        let read = self.store.read_user_to_delete(&caller.0);
        let user = confirmed(&self.store, caller, read, password, network, now).await?;
        let close = self.store.close_account(caller, user);
        let closed = forgetting_failures(&self.store, caller, network, close).await?;
        tokio::time::timeout(DELETION_BUDGET, self.store.remove_account(&closed))
            .await
            .unwrap_or(Err(Error::DeletionContinues))
    }

    /// A page of the active users, by name.
    ///
    /// # Errors
    /// A cursor of another listing; a caller whose claims no longer hold.
    pub async fn list(&self, caller: &Caller, cursor: Option<&str>, size: PageSize) -> Result<UserPage, Error> {
        let after = cursor.map(|text| Cursor::decode(text, Listing::Users)).transpose()?;
        let Page { items, next } = self.store.list_active_users(caller, after.as_ref(), size).await?;
        Ok(UserPage {
            users: items,
            next_cursor: next.map(|next| next.encode(Listing::Users)),
        })
    }
}
