use serde::{Deserialize, Serialize};

use super::{
    Admin, ChatPageRequest, Endpoint, Family, Input, Method, Nothing, Outcome, Parameter, Parts, Staff, users::required,
};
use crate::{
    admin::{Adjusted, AuditPage, LedgerPage, SearchPage, UserChange},
    domain::{
        Adjustment, Amount, AuditEntry, Counts, Email, Figures, IdempotencyKey, Invalid, LedgerEntry, NamePrefix,
        PageSize, Reason, Role, User, UserKey, Username,
    },
    error::Error,
    store::FoundUser,
};

/// `GET /api/v1/admin/users`
pub const SEARCH: Endpoint<Staff, SearchRequest, SearchPage> =
    Endpoint::new("admin-search", Method::Get, &["/api/v1/admin/users"], 200);
/// `GET /api/v1/admin/users/{username}`
pub const USER: Endpoint<Staff, UserRequest, User> =
    Endpoint::new("admin-user", Method::Get, &["/api/v1/admin/users/{username}"], 200);
/// `PATCH /api/v1/admin/users/{username}`
pub const UPDATE: Endpoint<Admin, UpdateRequest, User> =
    Endpoint::new("admin-update", Method::Patch, &["/api/v1/admin/users/{username}"], 200);
/// `POST /api/v1/admin/users/{username}/tokens`
pub const ADJUST: Endpoint<Admin, AdjustRequest, Adjusted> = Endpoint::new(
    "admin-adjust",
    Method::Post,
    &["/api/v1/admin/users/{username}/tokens"],
    200,
);
/// `GET /api/v1/admin/users/{username}/chats`
pub const CHATS: Endpoint<Staff, UserChatsRequest, crate::chats::ChatPage> = Endpoint::new(
    "admin-chats",
    Method::Get,
    &["/api/v1/admin/users/{username}/chats"],
    200,
);
/// `GET /api/v1/admin/users/{username}/ledger`
pub const LEDGER: Endpoint<Staff, UserLedgerRequest, LedgerPage> = Endpoint::new(
    "admin-ledger",
    Method::Get,
    &["/api/v1/admin/users/{username}/ledger"],
    200,
);
/// `GET /api/v1/admin/audit`
pub const AUDIT: Endpoint<Staff, AuditPageRequest, AuditPage> =
    Endpoint::new("admin-audit", Method::Get, &["/api/v1/admin/audit"], 200);

/// `GET /api/v1/admin/figures`
pub const FIGURES: Endpoint<Staff, Nothing, Figures> =
    Endpoint::new("admin-figures", Method::Get, &["/api/v1/admin/figures"], 200);

/// The user that a path names. What cannot be a name is the name of nobody.
fn username(parts: &Parts<'_>) -> Result<UserKey, Error> {
    let name = parts.path.get("username").and_then(|name| Username::parse(name).ok());
    name.map(|name| name.key()).ok_or(Error::UserNotFound)
}

/// Whose names begin like this?
#[derive(Debug)]
pub struct SearchRequest {
    /// The beginning of the names.
    pub prefix: NamePrefix,
    /// Only active users, or only inactive ones.
    pub active: Option<bool>,
    /// Where the page starts, as the page before told.
    pub cursor: Option<String>,
    /// How long it may be: up to 100, 50 by default.
    pub size: PageSize,
}

impl Input for SearchRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = &[
        Parameter::Prefix,
        Parameter::Active,
        Parameter::Limit(ChatPageRequest::SIZE),
        Parameter::Cursor,
    ];

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let active = match parts.query("active")? {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Invalid::new("active", "Active must be true or false").into()),
        };
        Ok(Self {
            prefix: NamePrefix::parse(parts.query("prefix")?.unwrap_or_default())?,
            active,
            cursor: parts.query("cursor")?.map(str::to_owned),
            size: parts.page_size(ChatPageRequest::SIZE)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct SearchBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: Vec<FoundUserBody>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FoundUserBody {
    username: String,
    role: Role,
    active: bool,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    date_joined: String,
}

impl Outcome for SearchPage {
    type Body = SearchBody;

    fn render(self, _family: Family) -> SearchBody {
        let body = |user: FoundUser| FoundUserBody {
            username: user.username().to_owned(),
            role: user.role,
            active: user.active,
            date_joined: user.created_at.to_string(),
        };
        SearchBody {
            status: "success",
            message: "Users",
            data: self.users.into_iter().map(body).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// One user.
#[derive(Debug)]
pub struct UserRequest {
    /// Whose account.
    pub user: UserKey,
}

impl Input for UserRequest {
    type Body = ();
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            user: username(&parts)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct UserBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    user: UserData,
}

/// An account as staff see it: no hash, no key, no session's name.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct UserData {
    id: String,
    username: Username,
    email: Option<Email>,
    role: Role,
    active: bool,
    token_balance: Amount,
    held_tokens: u64,
    signup_grant: Amount,
    sessions: Vec<SessionData>,
    holds: Vec<HoldData>,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    date_joined: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SessionData {
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    last_refresh: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    expires_at: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct HoldData {
    cost: Amount,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    placed_at: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    lease_until: String,
}

impl Outcome for User {
    type Body = UserBody;

    fn render(self, _family: Family) -> UserBody {
        let sessions = self.sessions.values().map(|session| SessionData {
            last_refresh: session.rotated_at.to_string(),
            expires_at: session.expires_at.to_string(),
        });
        let holds = self.holds.values().map(|hold| HoldData {
            cost: hold.cost,
            placed_at: hold.placed_at.to_string(),
            lease_until: hold.lease_until.to_string(),
        });
        UserBody {
            status: "success",
            message: "User",
            user: UserData {
                id: self.id.to_string(),
                held_tokens: self.holds.values().map(|hold| hold.cost.get()).sum(),
                sessions: sessions.collect(),
                holds: holds.collect(),
                username: self.username,
                email: self.email,
                role: self.role,
                active: self.active,
                token_balance: self.balance,
                signup_grant: self.signup_grant,
                date_joined: self.created_at.to_string(),
            },
        }
    }
}

/// What should be different about a user.
#[derive(Debug)]
pub struct UpdateRequest {
    /// Whose account.
    pub user: UserKey,
    /// The change.
    pub change: UserChange,
}

/// A change: one of `active` and `role`, or both.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("anyOf" = [{"required": ["active"], "properties": {"active": {"type": "boolean"}}}, {"required": ["role"], "properties": {"role": {"type": "string"}}}])))]
#[doc(hidden)]
pub struct UpdateMembers {
    /// Whether the user may do anything at all.
    active: Option<bool>,
    /// What the user may do.
    #[cfg_attr(test, schemars(with = "Option<Role>"))]
    role: Option<String>,
    /// Why: one line; white space around it is left out.
    #[cfg_attr(test, schemars(length(min = 1, max = Reason::MAX_CHARS), regex(pattern = crate::domain::ONE_LINE)))]
    reason: Option<String>,
}

impl Input for UpdateRequest {
    type Body = UpdateMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let user = username(&parts)?;
        let wire: UpdateMembers = parts.body()?;
        if wire.active.is_none() && wire.role.is_none() {
            return Err(Invalid::new("active", "Active or role is required").into());
        }
        Ok(Self {
            user,
            change: UserChange {
                active: wire.active,
                role: wire.role.as_deref().map(Role::parse).transpose()?,
                reason: wire.reason.as_deref().map(Reason::parse).transpose()?,
            },
        })
    }
}

/// Tokens for a user, or off a user's balance.
#[derive(Debug)]
pub struct AdjustRequest {
    /// Whose balance.
    pub user: UserKey,
    /// How many tokens.
    pub amount: Adjustment,
    /// Why.
    pub reason: Reason,
    /// The key under which this is done once.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// An adjustment.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct AdjustMembers {
    /// How many tokens to put on the balance; negative to take them off. Not zero, and the balance does not go below zero.
    #[cfg_attr(test, schemars(required, range(min = -Adjustment::MOST, max = Adjustment::MOST), extend("not" = {"const": 0})))]
    amount: Option<i64>,
    /// Why: one line; white space around it is left out.
    #[cfg_attr(test, schemars(required, length(min = 1, max = Reason::MAX_CHARS), regex(pattern = crate::domain::ONE_LINE)))]
    reason: Option<String>,
}

impl Input for AdjustRequest {
    type Body = AdjustMembers;
    const READS_BODY: bool = true;
    const TAKES_KEY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let user = username(&parts)?;
        let idempotency_key = parts.idempotency_key()?;
        let wire: AdjustMembers = parts.body()?;
        Ok(Self {
            user,
            amount: Adjustment::parse(required("amount", wire.amount, "Amount is required")?)?,
            reason: Reason::parse(&required("reason", wire.reason, "Reason is required")?)?,
            idempotency_key,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct AdjustedBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    username: UserKey,
    token_balance: Option<Amount>,
    entry: LedgerEntryBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LedgerEntryBody {
    id: String,
    #[cfg_attr(test, schemars(extend("enum" = ["signup", "adjustment", "correction", "deletion"])))]
    kind: &'static str,
    amount: i64,
    reason: String,
    actor: Option<UserKey>,
    actor_id: Option<String>,
    balance_after: Option<Amount>,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    timestamp: String,
}

impl From<LedgerEntry> for LedgerEntryBody {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            kind: match (entry.balance_after, &entry.actor) {
                (None, _) => "deletion",
                (Some(_), Some(_)) => "adjustment",
                (Some(_), None) => "correction",
            },
            amount: entry.amount,
            reason: entry.reason,
            actor_id: entry.actor.as_ref().map(|actor| actor.id.to_string()),
            actor: entry.actor.map(|actor| actor.username),
            balance_after: entry.balance_after,
            timestamp: entry.created_at.to_string(),
        }
    }
}

impl Outcome for Adjusted {
    type Body = AdjustedBody;

    fn headers(&self, _family: Family) -> Vec<(&'static str, String)> {
        super::replayed(self.replayed)
    }

    fn render(self, _family: Family) -> AdjustedBody {
        AdjustedBody {
            status: "success",
            message: "Token balance adjusted",
            username: self.user,
            token_balance: self.entry.balance_after,
            entry: self.entry.into(),
        }
    }
}

/// A page of a user's chats.
#[derive(Debug)]
pub struct UserChatsRequest {
    /// Whose.
    pub user: UserKey,
    /// Which page.
    pub page: ChatPageRequest,
}

impl Input for UserChatsRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = ChatPageRequest::QUERY;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            user: username(&parts)?,
            page: ChatPageRequest::of(&parts)?,
        })
    }
}

/// A page of a user's ledger.
#[derive(Debug)]
pub struct UserLedgerRequest {
    /// Whose.
    pub user: UserKey,
    /// Which page.
    pub page: ChatPageRequest,
}

impl Input for UserLedgerRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = ChatPageRequest::QUERY;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let UserChatsRequest { user, page } = UserChatsRequest::read(parts)?;
        Ok(Self { user, page })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct LedgerBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    username: Username,
    data: Vec<LedgerEntryBody>,
    next_cursor: Option<String>,
}

impl Outcome for LedgerPage {
    type Body = LedgerBody;

    fn render(self, _family: Family) -> LedgerBody {
        // The sign-up is the first entry of every ledger, so the last of the last page.
        let first = self.ends.then(|| LedgerEntryBody {
            id: self.user.id.to_string(),
            kind: "signup",
            amount: i64::try_from(self.user.signup_grant.get()).unwrap_or(i64::MAX),
            reason: "Sign-up grant".into(),
            actor: None,
            actor_id: None,
            balance_after: Some(self.user.signup_grant),
            timestamp: self.user.created_at.to_string(),
        });
        LedgerBody {
            status: "success",
            message: "Ledger",
            username: self.user.username,
            data: self
                .entries
                .into_iter()
                .map(LedgerEntryBody::from)
                .chain(first)
                .collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// A page of the audit trail.
#[derive(Debug)]
pub struct AuditPageRequest {
    /// Which page.
    pub page: ChatPageRequest,
}

impl Input for AuditPageRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = ChatPageRequest::QUERY;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            page: ChatPageRequest::of(&parts)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct AuditBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: Vec<AuditEntryBody>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AuditEntryBody {
    id: String,
    action: crate::domain::Action,
    actor: Option<UserKey>,
    actor_id: Option<String>,
    target: UserKey,
    target_id: String,
    changes: Vec<crate::domain::Change>,
    reason: Option<String>,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    timestamp: String,
}

impl Outcome for AuditPage {
    type Body = AuditBody;

    fn render(self, _family: Family) -> AuditBody {
        let body = |entry: AuditEntry| AuditEntryBody {
            id: entry.id.to_string(),
            action: entry.action,
            actor_id: entry.actor.as_ref().map(|actor| actor.id.to_string()),
            actor: entry.actor.map(|actor| actor.username),
            target_id: entry.target.id.to_string(),
            target: entry.target.username,
            changes: entry.changes,
            reason: entry.reason,
            timestamp: entry.created_at.to_string(),
        };
        AuditBody {
            status: "success",
            message: "Audit trail",
            data: self.entries.into_iter().map(body).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct FiguresBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    /// When the first hour began.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    from: String,
    /// Now. What happened in the last minutes may not be counted yet.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    to: String,
    /// The hours of the clock, the oldest first; the last is still running.
    #[cfg_attr(test, schemars(length(equal = crate::domain::HOURS)))]
    hours: Vec<HourBody>,
    totals: CountsBody,
    /// Holds that requests of these hours left open, at least; they come back by themselves. Those of messages that are being answered are not
    /// among them.
    holds_open: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct HourBody {
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    start: String,
    #[serde(flatten)]
    counts: CountsBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CountsBody {
    /// Accounts that people opened.
    sign_ups: u64,
    /// Messages that were answered and charged.
    messages: u64,
    /// What was charged for them.
    tokens_charged: u64,
    /// Requests of all kinds.
    requests: u64,
    /// Those that were answered with a status of 500 or more.
    errors: u64,
}

impl From<Counts> for CountsBody {
    fn from(counts: Counts) -> Self {
        Self {
            sign_ups: counts.sign_ups,
            messages: counts.messages,
            tokens_charged: counts.tokens_charged,
            requests: counts.requests,
            errors: counts.errors,
        }
    }
}

impl Outcome for Figures {
    type Body = FiguresBody;

    fn render(self, _family: Family) -> FiguresBody {
        let hours = self.day.starts().zip(self.hours).map(|(start, counts)| HourBody {
            start: start.to_string(),
            counts: counts.into(),
        });
        FiguresBody {
            status: "success",
            message: "Figures",
            from: self.day.from().to_string(),
            to: self.day.now().to_string(),
            hours: hours.collect(),
            totals: self.totals().into(),
            holds_open: self.holds_open,
        }
    }
}
