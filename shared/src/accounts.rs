//! Accounts: opening one, proving that one is its owner, looking at one.

use std::collections::BTreeMap;

use crate::{
    auth::{self, Checked},
    config::AccountConfig,
    domain::{
        Caller, Cursor, Email, Listing, NewPassword, PageSize, Password, PasswordHash, Role, Timestamp, TokenVersion,
        User, UserId, Username,
    },
    error::Error,
    store::{ListedUser, Page, Store},
};

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
    pub users: Vec<ListedUser>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// Opens accounts.
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

    /// Opens an account with the sign-up grant on its balance.
    ///
    /// # Errors
    /// A password that protects nothing; [`Error::UsernameTaken`], whatever the spelling.
    pub async fn register(&self, account: NewAccount, now: Timestamp) -> Result<User, Error> {
        let password = NewPassword::accept(account.password, &account.username, self.config.passwords)?;
        let user = User {
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
            created_at: now,
        };
        self.store.create_user(&user).await?;
        Ok(user)
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
