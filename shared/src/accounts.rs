//! Accounts: opening one, proving that one is its owner, looking at one.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    auth::{self, Checked},
    config::AccountConfig,
    domain::{
        Caller, Cursor, Email, Invalid, Listing, NewPassword, PageSize, Password, PasswordHash, Role, Timestamp,
        TokenVersion, User, UserId, Username,
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
    /// A hash to store in place of the old one, which was made with weaker parameters.
    pub rehash: Option<PasswordHash>,
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
            deleting: false,
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
    /// [`Error::WrongPassword`]; a new password that protects nothing; a caller whose claims no longer hold.
    pub async fn change_password(&self, caller: &Caller, old: &Password, new: Password) -> Result<(), Error> {
        let user = self.store.read_user(caller).await?;
        confirm(old, &user).await?;
        let new = NewPassword::accept(new, &user.username, self.config.passwords).map_err(|invalid| Invalid {
            member: "new",
            ..invalid
        })?;
        let hash = auth::hash_password(&new).await?;
        self.store.change_password(caller, &user, &hash).await
    }
}

/// Checks the password of somebody who is logged in already, before what cannot be undone.
async fn confirm(password: &Password, user: &User) -> Result<(), Error> {
    match auth::check_password(password, Some(&user.password_hash)).await? {
        Checked::Right { .. } => Ok(()),
        Checked::Wrong => Err(Error::WrongPassword),
    }
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

    /// The user with these credentials.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], after the same work and with the same words for an unknown name, a wrong password and an inactive
    /// account.
    pub async fn authenticate(&self, credentials: Credentials) -> Result<Authenticated, Error> {
        let user = match Username::parse(&credentials.username) {
            Ok(username) => self.store.find_user(&username.key()).await?,
            Err(_nobody_has_this_name) => None,
        };
        let stored = user.as_ref().map(|user| &user.password_hash);
        let checked = auth::check_password(&credentials.password, stored).await?;
        match (user, checked) {
            (Some(user), Checked::Right { rehash }) if user.active => Ok(Authenticated { user, rehash }),
            _ => Err(Error::InvalidCredentials),
        }
    }

    /// The caller's account, with the holds of dead calls given back.
    ///
    /// # Errors
    /// If the caller's claims no longer hold.
    pub async fn own(&self, caller: &Caller, now: Timestamp) -> Result<User, Error> {
        let user = self.store.read_user(caller).await?;
        self.store.give_back(user, now).await
    }

    /// Closes the caller's account for good and removes everything of theirs, then the account itself, so that until the end its name
    /// is taken. What is cut off half-way is finished by the next call.
    ///
    /// # Errors
    /// [`Error::WrongPassword`]; [`Error::AdminAccount`]; [`Error::DeletionContinues`] if there was more than one call can remove; a
    /// caller whose claims no longer hold.
    pub async fn delete(&self, caller: &Caller, password: &Password) -> Result<(), Error> {
        let user = self.store.read_user_to_delete(caller).await?;
        confirm(password, &user).await?;
        let closed = self.store.close_account(caller, user).await?;
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
