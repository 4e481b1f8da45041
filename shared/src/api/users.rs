use serde::{Deserialize, Serialize};

use super::{
    ByFamily, Endpoint, Family, Input, Method, Nothing, Outcome, Owner, PageLimit, Parameter, Parts, Public, SignedIn,
    StatusMember, Wording,
};
use crate::{
    accounts::{Credentials, NewAccount, UserPage},
    domain::{Amount, AuthKey, Email, Invalid, PageSize, Password, Role, User, Username},
    error::Error,
    sessions::{Opened, TokenPair},
};

/// `POST /api/v1/users`, `POST /api/register`
pub const REGISTER: Endpoint<Public, RegisterRequest, Registered> =
    Endpoint::new("users-register", Method::Post, &["/api/v1/users", "/api/register"], 201)
        .with_status_member(StatusMember::Sentence);
/// `POST /api/v1/users/login`, `POST /api/login`, `POST /api/token`
pub const LOGIN: Endpoint<Public, LoginRequest, LoggedIn> = Endpoint::new(
    "users-login",
    Method::Post,
    &["/api/v1/users/login", "/api/login", "/api/token"],
    200,
)
.with_status_member(StatusMember::Number)
.with_wordings(&[
    Wording {
        path: "/api/login",
        scheme: None,
        code: "invalid_credentials",
        status: 400,
        text: "Invalid credentials",
        also: Some(("non_field_errors", "Unable to log in with provided credentials.")),
    },
    Wording {
        path: "/api/token",
        scheme: None,
        code: "invalid_credentials",
        status: 401,
        text: "No active account found with the given credentials",
        also: None,
    },
]);
/// `POST /api/v1/token/refresh`, `POST /api/v1/users/refresh`, `POST /api/token/refresh`
pub const REFRESH: Endpoint<Public, RefreshRequest, Refreshed> = Endpoint::new(
    "token-refresh",
    Method::Post,
    &["/api/v1/token/refresh", "/api/v1/users/refresh", "/api/token/refresh"],
    200,
);
/// `POST /api/v1/users/logout`
pub const LOGOUT: Endpoint<SignedIn, LogoutRequest, LoggedOut> =
    Endpoint::new("users-logout", Method::Post, &["/api/v1/users/logout"], 200);
/// `GET /api/v1/users/all`
pub const LIST: Endpoint<SignedIn, UserPageRequest, UserPage> =
    Endpoint::new("users-list", Method::Get, &["/api/v1/users/all"], 200);
/// `GET /api/v1/users/token-balance`, `GET /api/tokens`, `GET /api/user/balance`, `GET /api/token-balance`
pub const BALANCE: Endpoint<SignedIn, Nothing, Balance> = Endpoint::new(
    "users-balance",
    Method::Get,
    &[
        "/api/v1/users/token-balance",
        "/api/tokens",
        "/api/user/balance",
        "/api/token-balance",
    ],
    200,
);
/// `GET /api/v1/users/me`, `GET /api/user/profile`
pub const PROFILE: Endpoint<SignedIn, Nothing, Profile> = Endpoint::new(
    "users-profile",
    Method::Get,
    &["/api/v1/users/me", "/api/user/profile"],
    200,
);
/// `POST /api/v1/users/password`
pub const PASSWORD: Endpoint<Owner, PasswordRequest, Done> =
    Endpoint::new("users-password", Method::Post, &["/api/v1/users/password"], 204);
/// `DELETE /api/v1/users/me`
pub const DELETE: Endpoint<Owner, DeleteRequest, Done> =
    Endpoint::new("users-delete", Method::Delete, &["/api/v1/users/me"], 204);

pub(super) fn required<T>(member: &'static str, value: Option<T>, reason: &'static str) -> Result<T, Error> {
    value.ok_or_else(|| Invalid::new(member, reason).into())
}

/// A sign-up.
#[derive(Debug)]
pub struct RegisterRequest {
    /// The account to open.
    pub account: NewAccount,
    /// Whether to log in right away: classic clients expect tokens.
    pub signs_in: bool,
}

/// An account to open.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct RegisterMembers {
    /// Letters, digits and `_ . @ + -`, at least one of them a letter or a digit. Every spelling of a name (NFKC, case folding) is one name.
    #[cfg_attr(test, schemars(required, length(min = 1, max = Username::MAX_CHARS), regex(pattern = Username::PATTERN)))]
    username: Option<String>,
    /// 8 to 1024 bytes of UTF-8; not all digits, not one of the most common ones, and not like the name.
    #[cfg_attr(test, schemars(required, length(min = 2, max = Password::MAX_BYTES)))]
    password: Option<String>,
    /// The password once more, for clients whose form asks for it twice. It must be the same.
    password2: Option<String>,
    /// An e-mail address; empty for none.
    #[cfg_attr(test, schemars(length(max = Email::MAX_BYTES)))]
    email: Option<String>,
}

impl Input for RegisterRequest {
    type Body = RegisterMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let signs_in = parts.family == Family::Classic;
        let wire: RegisterMembers = parts.body()?;
        let username = Username::parse(&required("username", wire.username, "Username is required")?)?;
        let password = required("password", wire.password, "Password is required")?;
        if wire.password2.is_some_and(|repeated| repeated != password) {
            return Err(Invalid::new("password2", "Password fields didn't match").into());
        }
        Ok(Self {
            account: NewAccount {
                password: Password::typed(&password),
                email: Email::parse(wire.email.as_deref().unwrap_or_default())?,
                username,
            },
            signs_in,
        })
    }
}

/// An account that was just opened.
#[derive(Debug)]
pub struct Registered {
    /// The account.
    pub user: User,
    /// Its first session, if one was asked for.
    pub opened: Option<Opened>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct RegisteredBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: RegisteredData,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RegisteredData {
    username: Username,
    token: Amount,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicRegisteredBody {
    message: &'static str,
    user: ClassicUser,
    #[serde(flatten)]
    credentials: Option<ClassicCredentials>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ClassicUser {
    id: String,
    username: Username,
    email: String,
    tokens: Amount,
}

impl ClassicUser {
    fn of(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username,
            // As Django keeps it: no address is an empty one.
            email: user.email.map(|email| email.as_str().to_owned()).unwrap_or_default(),
            tokens: user.balance,
        }
    }
}

/// What authenticates a classic client: tokens for some, a key for others.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicCredentials {
    access: String,
    refresh: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl ClassicCredentials {
    fn of(pair: TokenPair, auth_key: Option<&AuthKey>) -> Self {
        Self {
            access: pair.access,
            refresh: pair.refresh,
            token: auth_key.map(|key| key.as_str().to_owned()),
        }
    }
}

impl Outcome for Registered {
    type Body = ByFamily<RegisteredBody, ClassicRegisteredBody>;

    fn render(self, family: Family) -> Self::Body {
        match family {
            Family::V1 | Family::OpenAi => ByFamily::V1(RegisteredBody {
                status: "success",
                message: "User Account created",
                data: RegisteredData {
                    username: self.user.username,
                    token: self.user.balance,
                },
            }),
            Family::Classic => ByFamily::Classic(ClassicRegisteredBody {
                message: "User registered successfully",
                user: ClassicUser::of(self.user),
                credentials: self
                    .opened
                    .map(|opened| ClassicCredentials::of(opened.tokens, opened.auth_key.as_ref())),
            }),
        }
    }
}

/// A login.
#[derive(Debug)]
pub struct LoginRequest {
    /// What it claims.
    pub credentials: Credentials,
    /// Whether a key for the `Token` scheme is wanted besides the tokens.
    pub wants_key: bool,
}

/// A name and a password.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct LoginMembers {
    /// The name, in any spelling.
    #[cfg_attr(test, schemars(required))]
    username: Option<String>,
    /// The password.
    #[cfg_attr(test, schemars(required))]
    password: Option<String>,
}

impl Input for LoginRequest {
    type Body = LoginMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let wants_key = parts.family == Family::Classic;
        let wire: LoginMembers = parts.body()?;
        let username = required("username", wire.username, "Username is required")?;
        let password = required("password", wire.password, "Password is required")?;
        Ok(Self {
            credentials: Credentials {
                username,
                password: Password::typed(&password),
            },
            wants_key,
        })
    }
}

/// A session that was just opened.
#[derive(Debug)]
pub struct LoggedIn {
    /// Whose.
    pub username: Username,
    /// What authenticates its calls.
    pub opened: Opened,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct LoggedInBody {
    #[cfg_attr(test, schemars(extend("const" = "200")))]
    status: &'static str,
    message: &'static str,
    username: Username,
    access: String,
    refresh: String,
}

impl Outcome for LoggedIn {
    type Body = ByFamily<LoggedInBody, ClassicCredentials>;

    fn render(self, family: Family) -> Self::Body {
        let Opened { tokens, auth_key } = self.opened;
        match family {
            Family::V1 | Family::OpenAi => ByFamily::V1(LoggedInBody {
                status: "200",
                message: "Login successful",
                username: self.username,
                access: tokens.access,
                refresh: tokens.refresh,
            }),
            Family::Classic => ByFamily::Classic(ClassicCredentials::of(tokens, auth_key.as_ref())),
        }
    }
}

/// A refresh token.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct RefreshMembers {
    /// A refresh token.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    refresh: Option<String>,
}

fn refresh_member(parts: Parts<'_>) -> Result<String, Error> {
    let wire: RefreshMembers = parts.body()?;
    let refresh = wire.refresh.filter(|refresh| !refresh.is_empty());
    required("refresh", refresh, "Refresh token is required")
}

/// A refresh token to be traded.
#[derive(Debug)]
pub struct RefreshRequest {
    /// The token as it was sent.
    pub refresh: String,
    /// Whether it is traded for the next one too. Classic clients keep theirs and send it again.
    pub rotates: bool,
}

impl Input for RefreshRequest {
    type Body = RefreshMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            rotates: parts.family == Family::V1,
            refresh: refresh_member(parts)?,
        })
    }
}

/// What a refresh token was traded for.
#[derive(Debug)]
pub struct Refreshed {
    /// The new access token.
    pub access: String,
    /// The refresh token that takes the place of the one that was sent, if that was traded in.
    pub refresh: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct RefreshedBody {
    access: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
}

impl Outcome for Refreshed {
    type Body = RefreshedBody;

    fn render(self, _family: Family) -> RefreshedBody {
        RefreshedBody {
            access: self.access,
            refresh: self.refresh,
        }
    }
}

/// A session to be ended, by its refresh token.
#[derive(Debug)]
pub struct LogoutRequest {
    /// The token as it was sent.
    pub refresh: String,
}

impl Input for LogoutRequest {
    type Body = RefreshMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            refresh: refresh_member(parts)?,
        })
    }
}

/// A session has ended.
#[derive(Debug)]
pub struct LoggedOut;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct LoggedOutBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
}

impl Outcome for LoggedOut {
    type Body = LoggedOutBody;

    fn render(self, _family: Family) -> LoggedOutBody {
        LoggedOutBody {
            status: "success",
            message: "Logged out successfully",
        }
    }
}

/// Another password for the caller.
#[derive(Debug)]
pub struct PasswordRequest {
    /// The password until now.
    pub old: Password,
    /// The password from now on, if it is a good one.
    pub new: Password,
}

/// Another password.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct PasswordMembers {
    /// The password until now.
    #[cfg_attr(test, schemars(required))]
    old: Option<String>,
    /// The password from now on: 8 to 1024 bytes of UTF-8; not all digits, not one of the most common ones, and not like the name.
    #[cfg_attr(test, schemars(required, length(min = 2, max = Password::MAX_BYTES)))]
    new: Option<String>,
}

impl Input for PasswordRequest {
    type Body = PasswordMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let wire: PasswordMembers = parts.body()?;
        Ok(Self {
            old: Password::typed(&required("old", wire.old, "The old password is required")?),
            new: Password::typed(&required("new", wire.new, "The new password is required")?),
        })
    }
}

/// The end of the caller's account.
#[derive(Debug)]
pub struct DeleteRequest {
    /// The caller's password, to be sure.
    pub password: Password,
}

/// A password.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct DeleteMembers {
    /// The caller's password, to be sure.
    #[cfg_attr(test, schemars(required))]
    password: Option<String>,
}

impl Input for DeleteRequest {
    type Body = DeleteMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let wire: DeleteMembers = parts.body()?;
        Ok(Self {
            password: Password::typed(&required("password", wire.password, "Password is required")?),
        })
    }
}

/// It is done, and there is nothing more to say.
#[derive(Debug)]
pub struct Done;

impl Outcome for Done {
    type Body = ();

    fn render(self, _family: Family) {}
}

/// Which page of the active users is wanted.
#[derive(Debug)]
pub struct UserPageRequest {
    /// Where it starts, as the page before told.
    pub cursor: Option<String>,
    /// How long it may be: up to 1000, which is also the default.
    pub size: PageSize,
}

impl UserPageRequest {
    const SIZE: PageLimit = PageLimit {
        most: 1_000,
        usual: 1_000,
    };
}

impl Input for UserPageRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = &[Parameter::Limit(Self::SIZE), Parameter::Cursor];

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            cursor: parts.query("cursor")?.map(str::to_owned),
            size: parts.page_size(Self::SIZE)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct UserPageBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: Vec<UserPageEntry>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct UserPageEntry {
    username: String,
}

impl Outcome for UserPage {
    type Body = UserPageBody;

    fn render(self, _family: Family) -> UserPageBody {
        let entry = |user: crate::store::FoundUser| UserPageEntry {
            username: user.username().to_owned(),
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct BalanceBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    username: Username,
    token_balance: Amount,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicBalanceBody {
    tokens: Amount,
}

impl Outcome for Balance {
    type Body = ByFamily<BalanceBody, ClassicBalanceBody>;

    fn render(self, family: Family) -> Self::Body {
        match family {
            Family::V1 | Family::OpenAi => ByFamily::V1(BalanceBody {
                status: "success",
                message: "Token balance",
                username: self.0.username,
                token_balance: self.0.balance,
            }),
            Family::Classic => ByFamily::Classic(ClassicBalanceBody { tokens: self.0.balance }),
        }
    }
}

/// The caller's account.
#[derive(Debug)]
pub struct Profile(pub User);

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ProfileBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    id: String,
    username: Username,
    email: Option<Email>,
    role: Role,
    token_balance: Amount,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    date_joined: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicProfileBody {
    #[serde(flatten)]
    user: ClassicUser,
    role: Role,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    date_joined: String,
}

impl Outcome for Profile {
    type Body = ByFamily<ProfileBody, ClassicProfileBody>;

    fn render(self, family: Family) -> Self::Body {
        let Self(user) = self;
        let date_joined = user.created_at.to_string();
        match family {
            Family::V1 | Family::OpenAi => ByFamily::V1(ProfileBody {
                status: "success",
                message: "User profile",
                id: user.id.to_string(),
                username: user.username,
                email: user.email,
                role: user.role,
                token_balance: user.balance,
                date_joined,
            }),
            Family::Classic => ByFamily::Classic(ClassicProfileBody {
                role: user.role,
                user: ClassicUser::of(user),
                date_joined,
            }),
        }
    }
}
