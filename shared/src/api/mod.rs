//! The endpoint table: every endpoint is one typed constant, and everything else follows from it.
//!
//! A constant says what the endpoint is called, where it is, who may call it, what it reads and what it answers. A handler's signature
//! comes from its types; `lambda::serve` enforces the rest. [`TABLE`] is the same without types, for what must agree with it: the
//! binaries, the watch router, `template.yaml`, the events and the tests.

mod admin;
mod api_keys;
pub(crate) mod chats;
pub(crate) mod completions;
mod conversations;
mod keys;
mod pages;
mod system;
mod users;

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    domain::{AdminCaller, Caller, IdempotencyKey, Network, OwnerCaller, PageSize, StaffCaller, Timestamp},
    error::Error,
};

pub use crate::domain::Method;

pub use admin::{
    ADJUST as ADMIN_ADJUST, AUDIT as ADMIN_AUDIT, AdjustRequest, AuditPageRequest, CHATS as ADMIN_CHATS,
    FIGURES as ADMIN_FIGURES, LEDGER as ADMIN_LEDGER, SEARCH as ADMIN_SEARCH, SearchRequest, UPDATE as ADMIN_UPDATE,
    USER as ADMIN_USER, UpdateRequest, UserChatsRequest, UserLedgerRequest, UserRequest,
};
pub use api_keys::{
    ApiKeyList, CREATE as API_KEYS_CREATE, CreateApiKeyRequest, LIST as API_KEYS_LIST, REVOKE as API_KEYS_REVOKE,
    RevokeApiKeyRequest,
};
pub use chats::{
    ChatPageRequest, ChatRequest, GET as CHATS_GET, LIST as CHATS_LIST, SEND as CHATS_SEND, STREAM as CHATS_STREAM,
    SendRequest, StreamRequest,
};
pub use completions::{CREATE as COMPLETIONS_CREATE, Chunks, Completion, CompletionRequest, MODELS as MODELS_LIST};
pub use conversations::{
    ConversationPageRequest, ConversationRequest, DELETE as CONVERSATIONS_DELETE, GET as CONVERSATIONS_GET,
    LIST as CONVERSATIONS_LIST, RenameRequest, UPDATE as CONVERSATIONS_UPDATE,
};
pub use keys::{KeySet, LIST as KEYS_LIST};
pub use pages::{
    ADMIN as PAGES_ADMIN, ASSETS as PAGES_ASSETS, CHAT as PAGES_CHAT, DOCS as PAGES_DOCS, Document, DocumentRequest,
};
pub use system::{HEALTH as SYSTEM_HEALTH, Health, OPENAPI as SYSTEM_OPENAPI, OpenApi, OpenApiRequest};
pub use users::{
    BALANCE as USERS_BALANCE, Balance, DELETE as USERS_DELETE, DeleteRequest, Done, LIST as USERS_LIST,
    LOGIN as USERS_LOGIN, LOGOUT as USERS_LOGOUT, LoggedIn, LoggedOut, LoginRequest, LogoutRequest,
    PASSWORD as USERS_PASSWORD, PROFILE as USERS_PROFILE, PasswordRequest, Profile, REFRESH as TOKEN_REFRESH,
    REGISTER as USERS_REGISTER, RefreshRequest, Refreshed, RegisterRequest, Registered, UserPageRequest,
};

/// Who may call an endpoint, as a type.
pub trait Access {
    /// What the handler learns of the caller.
    type Caller;
    /// The same as a value, for tests and documents.
    const KIND: AccessKind;
}

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// Anybody.
    Public,
    /// Whoever has a valid access token or key.
    SignedIn,
    /// The same, but not with an API key.
    Owner,
    /// Who also is staff or an admin.
    Staff,
    /// Who also is an admin.
    Admin,
}

/// Anybody may call.
#[derive(Debug)]
pub struct Public;
impl Access for Public {
    type Caller = ();
    const KIND: AccessKind = AccessKind::Public;
}

/// Whoever has a valid access token or key may call.
#[derive(Debug)]
pub struct SignedIn;
impl Access for SignedIn {
    type Caller = Caller;
    const KIND: AccessKind = AccessKind::SignedIn;
}

/// Whoever has a valid access token or key may call, but not a program with an API key.
#[derive(Debug)]
pub struct Owner;
impl Access for Owner {
    type Caller = OwnerCaller;
    const KIND: AccessKind = AccessKind::Owner;
}

/// Staff and admins may call.
#[derive(Debug)]
pub struct Staff;
impl Access for Staff {
    type Caller = StaffCaller;
    const KIND: AccessKind = AccessKind::Staff;
}

/// Admins may call.
#[derive(Debug)]
pub struct Admin;
impl Access for Admin {
    type Caller = AdminCaller;
    const KIND: AccessKind = AccessKind::Admin;
}

/// Which clients a route serves. The same outcome is rendered as theirs expect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The canonical API.
    V1,
    /// The clients of the older systems, below `/api/` without a version.
    Classic,
    /// The clients of OpenAI's API, below `/v1/`.
    OpenAi,
}

impl Family {
    /// The family of a route.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/api/") && !path.starts_with("/api/v1/") {
            Self::Classic
        } else if path.starts_with("/v1/") {
            Self::OpenAi
        } else {
            Self::V1
        }
    }
}

/// How a caller authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Bearer <access token or API key>`.
    Bearer,
    /// `Authorization: Token <key>`, as clients of Django REST framework do.
    Token,
}

/// One call of an endpoint, as its handler gets it: authenticated and validated.
#[derive(Debug)]
pub struct Call<A: Access, I> {
    /// Who calls.
    pub caller: A::Caller,
    /// What they want.
    pub input: I,
    /// Where they call from.
    pub network: Network,
    /// When the request came in.
    pub now: Timestamp,
}

/// What a request brings besides its caller.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The members of the JSON body; none if there was no body.
    pub body: Value,
    /// The query parameters, percent-decoded, in order.
    pub query: &'a [(String, String)],
    /// The path parameters, percent-decoded.
    pub path: &'a BTreeMap<String, String>,
    /// The values of the `Idempotency-Key` header.
    pub idempotency_keys: &'a [String],
    /// How often the client has sent the same before, by its own count.
    pub retry_count: Option<&'a str>,
    /// The versions of the answer that the client has already: the values of the `If-None-Match` header.
    pub if_none_match: &'a [String],
    /// The path below which the client finds this deployment, with a slash at its end.
    pub base: &'a str,
    /// Whose clients the route serves.
    pub family: Family,
    /// When the request came in.
    pub now: Timestamp,
}

impl Parts<'_> {
    /// The body as `T`, whose members should all be optional so that a missing one gets its own message.
    ///
    /// # Errors
    /// Names the member that has the wrong type.
    pub fn body<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_path_to_error::deserialize(self.body).map_err(|error| {
            let problem = error.inner().to_string();
            // serde's text begins with the value that was sent, which is none of the answer's business.
            let expected = match problem.rsplit_once("expected ") {
                // serde names Rust's types, which are not everybody's.
                Some((_, "i64" | "u64" | "u32")) => "a whole number",
                Some((_, "f64")) => "a number",
                Some((_, expected)) => expected,
                None => "another value",
            };
            Error::Malformed(format!("Member `{}` must be {expected}", error.path()).into())
        })
    }

    /// The key under which the request is to be carried out once, if there is one.
    ///
    /// # Errors
    /// If there are two, or it is not what a key may be.
    pub fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, Error> {
        match self.idempotency_keys {
            [] => Ok(None),
            [key] => Ok(Some(IdempotencyKey::parse(key)?)),
            _ => Err(Error::Malformed("Header Idempotency-Key is given twice".into())),
        }
    }

    /// How long the page may be that is wanted.
    ///
    /// # Errors
    /// If `limit` is no number from 1 to the most there is.
    pub fn page_size(&self, limit: PageLimit) -> Result<PageSize, Error> {
        Ok(PageSize::parse(self.query("limit")?, limit.most, limit.usual)?)
    }

    /// The value of a query parameter.
    ///
    /// # Errors
    /// If it is given more than once.
    pub fn query(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut values = self.query.iter().filter(|(given, _)| given == name);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Error::Malformed(format!("Parameter `{name}` is given twice").into())),
            (value, _) => Ok(value.map(|(_, value)| value.as_str())),
        }
    }
}

/// How long a page may be.
#[derive(Debug, Clone, Copy)]
pub struct PageLimit {
    /// At the most.
    pub most: u16,
    /// If nothing is said.
    pub usual: u16,
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub enum Parameter {
    /// `cursor`: where a page starts, as the page before told.
    Cursor,
    /// `limit`: how long a page may be.
    Limit(PageLimit),
    /// `prefix`: how a name begins.
    Prefix,
    /// `active`: `true` or `false`.
    Active,
}

/// What an endpoint reads.
pub trait Input: Sized {
    /// The members of its body; `()` if it reads none.
    type Body;
    /// Whether it reads a body. If not, a body is ignored.
    const READS_BODY: bool;
    /// The query parameters that mean something to it.
    const QUERY: &'static [Parameter] = &[];
    /// Whether an `Idempotency-Key` means something to it.
    const TAKES_KEY: bool = false;
    /// Parses a request.
    ///
    /// # Errors
    /// Says what cannot be used.
    fn read(parts: Parts<'_>) -> Result<Self, Error>;
}

/// An endpoint that reads nothing.
#[derive(Debug)]
pub struct Nothing;
impl Input for Nothing {
    type Body = ();
    const READS_BODY: bool = false;
    fn read(_parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self)
    }
}

/// What an endpoint answers: an outcome in domain terms that knows its form on the wire.
pub trait Outcome {
    /// The body.
    type Body: Body;

    /// Whether the client has it already; then it is told so (RFC 9110 section 15.4.5), and gets no body.
    fn is_known(&self) -> bool {
        false
    }

    /// The headers that belong to it, by lower-case name.
    fn headers(&self, _family: Family) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Renders it for the clients of a family.
    fn render(self, family: Family) -> Self::Body;
}

/// The body of an answer.
pub trait Body {
    /// Its text.
    ///
    /// # Errors
    /// If it has none.
    fn text(self) -> Result<Cow<'static, str>, Error>;
}

/// JSON.
impl<T: Serialize> Body for T {
    fn text(self) -> Result<Cow<'static, str>, Error> {
        serde_json::to_string(&self).map(Cow::Owned).map_err(Error::internal)
    }
}

/// A body that is not JSON. What it is, the outcome's headers say.
#[derive(Debug)]
pub struct Text(pub Cow<'static, str>);

impl Body for Text {
    fn text(self) -> Result<Cow<'static, str>, Error> {
        Ok(self.0)
    }
}

/// An input whose answer may be told piece by piece.
pub trait Streamed<O: Outcome>: Input {
    /// How it is told.
    type Events: Events<O>;

    /// How the answer to this one is told; `None` for one that is wanted as a document.
    fn events(&self, now: Timestamp) -> Option<Self::Events>;
}

/// How an answer is told as server-sent events.
pub trait Events<O> {
    /// The next words.
    fn delta(&mut self, text: &str) -> Vec<Event>;
    /// The end of an answer, which was told if anything was.
    fn done(&mut self, outcome: O) -> Vec<Event>;
    /// The end of an answer that broke off. `envelope` is what an error's body says.
    fn failed(&mut self, envelope: Value) -> Vec<Event>;
}

/// A server-sent event (HTML standard, section 9.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` where it is not said.
    pub name: Option<&'static str>,
    /// Its data: one line.
    pub data: String,
}

/// Says that an answer is the stored one of an earlier request with the same idempotency key.
fn replayed(is_replay: bool) -> Vec<(&'static str, String)> {
    if is_replay {
        vec![("idempotency-replayed", "true".to_owned())]
    } else {
        Vec::new()
    }
}

/// A body that each family has its own form of.
#[derive(Debug, Serialize)]
#[serde(untagged)]
#[doc(hidden)]
pub enum ByFamily<V1, Classic> {
    V1(V1),
    Classic(Classic),
}

/// Either of the two. A family's own is the first or the second.
#[cfg(test)]
impl<V1: schemars::JsonSchema, Classic: schemars::JsonSchema> schemars::JsonSchema for ByFamily<V1, Classic> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByFamily".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [generator.subschema_for::<V1>(), generator.subschema_for::<Classic>()]})
    }
}

/// Where clients of one route expect an error in other words, or with another status, than everybody else.
#[derive(Debug)]
pub struct Wording {
    /// The route.
    pub path: &'static str,
    /// Only for callers who authenticate like this.
    pub scheme: Option<Scheme>,
    /// Which error, by its code.
    pub code: &'static str,
    /// The status there.
    pub status: u16,
    /// The text there.
    pub text: &'static str,
    /// One more member, a list of this one text: the form of Django REST framework.
    pub also: Option<(&'static str, &'static str)>,
}

/// What the `status` member of an endpoint's bodies says, where its document has one. The HTTP status is the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMember {
    /// `success` or `error`.
    Word,
    /// The HTTP status as text.
    Number,
    /// `An error occurred` when it failed.
    Sentence,
}

impl StatusMember {
    /// The value in an error body.
    pub fn of_error(self, status: u16) -> Cow<'static, str> {
        match self {
            Self::Word => "error".into(),
            Self::Number => status.to_string().into(),
            Self::Sentence => "An error occurred".into(),
        }
    }
}

/// How long an answer may be kept by caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// It carries credentials or personal data.
    Never,
    /// Anybody may keep it for five minutes.
    Public,
    /// Anybody may keep it, and asks whether it is still the same before using it.
    Revalidated,
    /// What the outcome's own headers say.
    ByOutcome,
}

/// One endpoint: access `A`, input `I`, outcome `O`.
#[derive(Debug)]
pub struct Endpoint<A, I, O> {
    /// The name of its binary, template resource (in camel case), event and tests: `<area>-<action>`.
    pub name: &'static str,
    /// Its method.
    pub method: Method,
    /// Its paths, without trailing slash; `{name}` stands for one segment.
    pub paths: &'static [&'static str],
    /// The status of success.
    pub success: u16,
    /// What `status` says in its bodies.
    pub status_member: StatusMember,
    /// What caches may do with its answers.
    pub caching: Caching,
    /// What some of its routes say differently.
    pub wordings: &'static [Wording],
    /// The longest body that it reads, in bytes after base64.
    pub max_body: usize,
    /// Whether a gateway gets its answers as streams.
    pub streams: bool,
    types: PhantomData<fn(A, I) -> O>,
}

impl<A: Access, I: Input, O: Outcome> Endpoint<A, I, O> {
    const fn new(name: &'static str, method: Method, paths: &'static [&'static str], success: u16) -> Self {
        Self {
            name,
            method,
            paths,
            success,
            status_member: StatusMember::Word,
            caching: Caching::Never,
            wordings: &[],
            max_body: 64 * 1024,
            streams: false,
            types: PhantomData,
        }
    }

    const fn with_status_member(self, status_member: StatusMember) -> Self {
        Self { status_member, ..self }
    }

    const fn with_caching(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }

    const fn with_wordings(self, wordings: &'static [Wording]) -> Self {
        Self { wordings, ..self }
    }

    const fn with_max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    const fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    /// The endpoint without its types.
    pub const fn entry(&self) -> Entry {
        Entry {
            name: self.name,
            method: self.method,
            paths: self.paths,
            success: self.success,
            access: A::KIND,
            reads_body: I::READS_BODY,
            streams: self.streams,
            max_body: self.max_body,
        }
    }
}

/// An endpoint without its types.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As [`Endpoint::name`].
    pub name: &'static str,
    /// As [`Endpoint::method`].
    pub method: Method,
    /// As [`Endpoint::paths`].
    pub paths: &'static [&'static str],
    /// As [`Endpoint::success`].
    pub success: u16,
    /// Who may call it.
    pub access: AccessKind,
    /// Whether it reads a body.
    pub reads_body: bool,
    /// As [`Endpoint::streams`].
    pub streams: bool,
    /// As [`Endpoint::max_body`].
    pub max_body: usize,
}

/// Every endpoint.
pub const TABLE: &[Entry] = &[
    USERS_REGISTER.entry(),
    USERS_LOGIN.entry(),
    TOKEN_REFRESH.entry(),
    USERS_LOGOUT.entry(),
    USERS_LIST.entry(),
    USERS_BALANCE.entry(),
    USERS_PROFILE.entry(),
    USERS_PASSWORD.entry(),
    USERS_DELETE.entry(),
    API_KEYS_CREATE.entry(),
    API_KEYS_LIST.entry(),
    API_KEYS_REVOKE.entry(),
    CHATS_SEND.entry(),
    CHATS_STREAM.entry(),
    CHATS_LIST.entry(),
    CHATS_GET.entry(),
    CONVERSATIONS_LIST.entry(),
    CONVERSATIONS_GET.entry(),
    CONVERSATIONS_UPDATE.entry(),
    CONVERSATIONS_DELETE.entry(),
    COMPLETIONS_CREATE.entry(),
    MODELS_LIST.entry(),
    ADMIN_SEARCH.entry(),
    ADMIN_USER.entry(),
    ADMIN_UPDATE.entry(),
    ADMIN_ADJUST.entry(),
    ADMIN_CHATS.entry(),
    ADMIN_LEDGER.entry(),
    ADMIN_AUDIT.entry(),
    ADMIN_FIGURES.entry(),
    SYSTEM_HEALTH.entry(),
    SYSTEM_OPENAPI.entry(),
    KEYS_LIST.entry(),
    PAGES_CHAT.entry(),
    PAGES_ADMIN.entry(),
    PAGES_DOCS.entry(),
    PAGES_ASSETS.entry(),
];

/// The binary that answers what no endpoint answers.
pub const FALLBACK: &str = "system-fallback";

/// The binaries that no route leads to: operators of the deployment invoke them by name.
pub const OPERATOR: &[&str] = &["admin-bootstrap", "ledger-reconcile"];

/// The path parameters of `path` if it matches `pattern`, where `{name}` stands for one non-empty segment.
pub fn match_path(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut parameters = BTreeMap::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => {
                let name = wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
                match name {
                    Some(name) if !given.is_empty() => {
                        parameters.insert(name.to_owned(), given.to_owned());
                    }
                    None if wanted == given => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

/// What can be done with `path`: the methods of every endpoint there. A route without parameters hides those with.
pub fn methods_of(path: &str) -> Vec<Method> {
    let exactly = |entry: &&Entry| entry.paths.contains(&path);
    let matches = |entry: &&Entry| entry.paths.iter().any(|pattern| match_path(pattern, path).is_some());
    let here: Vec<_> = match TABLE.iter().any(|entry| exactly(&entry)) {
        true => TABLE.iter().filter(exactly).collect(),
        false => TABLE.iter().filter(matches).collect(),
    };
    let mut methods: Vec<_> = here.into_iter().map(|entry| entry.method).collect();
    methods.sort_unstable();
    methods.dedup();
    methods
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_routes_are_unique() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert!(!entry.paths.is_empty(), "{} has no path", entry.name);
            for other in &TABLE[index + 1..] {
                assert_ne!(entry.name, other.name);
                let clash = entry.paths.iter().any(|path| other.paths.contains(path));
                assert!(
                    !(clash && entry.method == other.method),
                    "{} and {} share a route",
                    entry.name,
                    other.name
                );
            }
        }
    }

    #[test]
    fn routes_below_api_without_a_version_are_classic() {
        assert_eq!(Family::of("/api/login"), Family::Classic);
        assert_eq!(Family::of("/api/v1/users/login"), Family::V1);
        assert_eq!(Family::of("/v1/models"), Family::OpenAi);
        assert_eq!(Family::of("/.well-known/jwks.json"), Family::V1);
    }

    #[test]
    fn a_parameter_stands_for_one_segment() {
        let id = match_path("/api/v1/chats/{id}", "/api/v1/chats/x").unwrap();
        assert_eq!(id["id"], "x");
        for path in [
            "/api/v1/chats",
            "/api/v1/chats/",
            "/api/v1/chats/x/y",
            "/api/v1/chat/x",
            "",
        ] {
            assert!(match_path("/api/v1/chats/{id}", path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_methods_of_a_path_are_those_of_all_its_endpoints() {
        assert_eq!(methods_of("/api/v1/chats"), [Method::Get, Method::Post]);
        assert_eq!(methods_of("/api/v1/users/me"), [Method::Get, Method::Delete]);
        assert!(methods_of("/api/v1/nothing").is_empty());
    }
}
