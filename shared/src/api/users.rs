use serde::{Deserialize, Serialize};

use super::{Endpoint, Input, Method, Nothing, Outcome, Parts, Public, SignedIn, StatusMember};
use crate::{
    accounts::{Credentials, NewAccount, UserPage},
    domain::{Amount, Email, Invalid, PageSize, Password, Role, User, Username},
    error::Error,
    sessions::TokenPair,
};

/// `POST /api/v1/users`
pub const REGISTER: Endpoint<Public, NewAccount, Registered> =
    Endpoint::new("users-register", Method::Post, &["/api/v1/users"], 201).with_status_member(StatusMember::Sentence);
/// `POST /api/v1/users/login`
pub const LOGIN: Endpoint<Public, Credentials, LoggedIn> =
    Endpoint::new("users-login", Method::Post, &["/api/v1/users/login"], 200).with_status_member(StatusMember::Number);
/// `POST /api/v1/token/refresh`
pub const REFRESH: Endpoint<Public, RefreshRequest, TokenPair> = Endpoint::new(
    "token-refresh",
    Method::Post,
    &["/api/v1/token/refresh", "/api/v1/users/refresh"],
    200,
);
/// `POST /api/v1/users/logout`
pub const LOGOUT: Endpoint<SignedIn, RefreshRequest, LoggedOut> =
    Endpoint::new("users-logout", Method::Post, &["/api/v1/users/logout"], 200);
/// `GET /api/v1/users/all`
pub const LIST: Endpoint<SignedIn, UserPageRequest, UserPage> =
    Endpoint::new("users-list", Method::Get, &["/api/v1/users/all"], 200);
/// `GET /api/v1/users/token-balance`
pub const BALANCE: Endpoint<SignedIn, Nothing, Balance> =
    Endpoint::new("users-balance", Method::Get, &["/api/v1/users/token-balance"], 200);
/// `GET /api/v1/users/me`
pub const PROFILE: Endpoint<SignedIn, Nothing, Profile> =
    Endpoint::new("users-profile", Method::Get, &["/api/v1/users/me"], 200);

fn required(member: &'static str, value: Option<String>, reason: &'static str) -> Result<String, Error> {
    value.ok_or_else(|| Invalid::new(member, reason).into())
}

impl Input for NewAccount {
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Wire {
            username: Option<String>,
            password: Option<String>,
            email: Option<String>,
        }
        let wire: Wire = parts.body()?;
        let username = Username::parse(&required("username", wire.username, "Username is required")?)?;
        let password = required("password", wire.password, "Password is required")?;
        Ok(Self {
            password: Password::typed(&password),
            email: Email::parse(wire.email.as_deref().unwrap_or_default())?,
            username,
        })
    }
}

/// An account that was just opened.
#[derive(Debug)]
pub struct Registered {
    /// Its name.
    pub username: Username,
    /// Its balance.
    pub balance: Amount,
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct RegisteredBody {
    status: &'static str,
    message: &'static str,
    data: RegisteredData,
}

#[derive(Debug, Serialize)]
struct RegisteredData {
    username: Username,
    token: Amount,
}

impl Outcome for Registered {
    type Body = RegisteredBody;

    fn render(self) -> RegisteredBody {
        RegisteredBody {
            status: "success",
            message: "User Account created",
            data: RegisteredData {
                username: self.username,
                token: self.balance,
            },
        }
    }
}

impl Input for Credentials {
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Wire {
            username: Option<String>,
            password: Option<String>,
        }
        let wire: Wire = parts.body()?;
        let password = required("password", wire.password, "Password is required");
        Ok(Self {
            username: required("username", wire.username, "Username is required")?,
            password: Password::typed(&password?),
        })
    }
}

/// A session that was just opened.
#[derive(Debug)]
pub struct LoggedIn {
    /// Whose.
    pub username: Username,
    /// Its first tokens.
    pub tokens: TokenPair,
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct LoggedInBody {
    status: &'static str,
    message: &'static str,
    username: Username,
    access: String,
    refresh: String,
}

impl Outcome for LoggedIn {
    type Body = LoggedInBody;

    fn render(self) -> LoggedInBody {
        LoggedInBody {
            status: "200",
            message: "Login successful",
            username: self.username,
            access: self.tokens.access,
            refresh: self.tokens.refresh,
        }
    }
}

/// A refresh token, to be traded or to be ended.
#[derive(Debug)]
pub struct RefreshRequest {
    /// The token as it was sent.
    pub refresh: String,
}

impl Input for RefreshRequest {
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Wire {
            refresh: Option<String>,
        }
        let wire: Wire = parts.body()?;
        let refresh = wire.refresh.filter(|refresh| !refresh.is_empty());
        Ok(Self {
            refresh: required("refresh", refresh, "Refresh token is required")?,
        })
    }
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct TokenPairBody {
    access: String,
    refresh: String,
}

impl Outcome for TokenPair {
    type Body = TokenPairBody;

    fn render(self) -> TokenPairBody {
        TokenPairBody {
            access: self.access,
            refresh: self.refresh,
        }
    }
}

/// A session has ended.
#[derive(Debug)]
pub struct LoggedOut;

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct LoggedOutBody {
    status: &'static str,
    message: &'static str,
}

impl Outcome for LoggedOut {
    type Body = LoggedOutBody;

    fn render(self) -> LoggedOutBody {
        LoggedOutBody {
            status: "success",
            message: "Logged out successfully",
        }
    }
}

/// Which page of the active users is wanted.
#[derive(Debug)]
pub struct UserPageRequest {
    /// Where it starts, as the page before told.
    pub cursor: Option<String>,
    /// How long it may be: up to 1000, which is also the default.
    pub size: PageSize,
}

impl Input for UserPageRequest {
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            cursor: parts.query("cursor")?.map(str::to_owned),
            size: PageSize::parse::<1_000>(parts.query("limit")?, 1_000)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct UserPageBody {
    status: &'static str,
    message: &'static str,
    data: Vec<UserPageEntry>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct UserPageEntry {
    username: Username,
}

impl Outcome for UserPage {
    type Body = UserPageBody;

    fn render(self) -> UserPageBody {
        let entry = |user: crate::store::ListedUser| UserPageEntry {
            username: user.username,
        };
        UserPageBody {
            status: "success",
            message: "All Users retrieved",
            data: self.users.into_iter().map(entry).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// What the caller can spend.
#[derive(Debug)]
pub struct Balance(pub User);

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct BalanceBody {
    status: &'static str,
    message: &'static str,
    username: Username,
    token_balance: Amount,
}

impl Outcome for Balance {
    type Body = BalanceBody;

    fn render(self) -> BalanceBody {
        BalanceBody {
            status: "success",
            message: "Token balance",
            username: self.0.username,
            token_balance: self.0.balance,
        }
    }
}

/// The caller's account.
#[derive(Debug)]
pub struct Profile(pub User);

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct ProfileBody {
    status: &'static str,
    message: &'static str,
    id: String,
    username: Username,
    email: Option<Email>,
    role: Role,
    token_balance: Amount,
    date_joined: String,
}

impl Outcome for Profile {
    type Body = ProfileBody;

    fn render(self) -> ProfileBody {
        let Self(user) = self;
        ProfileBody {
            status: "success",
            message: "User profile",
            id: user.id.to_string(),
            username: user.username,
            email: user.email,
            role: user.role,
            token_balance: user.balance,
            date_joined: user.created_at.to_string(),
        }
    }
}
