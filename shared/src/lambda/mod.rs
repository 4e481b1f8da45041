//! The edge: from a gateway event to a handler's call and back to a reply.
//!
//! Everything of HTTP is here and nowhere else: paths, headers, bodies, statuses, CORS. The edge authenticates, validates, reads the
//! clock, and writes the one log line of each request.

mod event;
mod json;
mod line;
pub(crate) mod reply;
mod stream;

use std::{borrow::Cow, io::Write, rc::Rc, time::Duration};

/// Any error that stops a function.
pub use lambda_http::Error as BoxError;
use lambda_http::{LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    api::{
        self, Access, Admin, Body, Caching, Call, Endpoint, Family, Input, Outcome, Owner, Parts, Public, Scheme,
        SignedIn, Staff, Streamed,
    },
    chats::Listener,
    config::{EdgeConfig, RuntimeConfig, TableConfig, TokenConfig},
    domain::{AdminCaller, ApiKey, Caller, Network, OwnerCaller, StaffCaller, Timestamp},
    error::Error,
    meter::{self, Tally},
    sessions::Authenticator,
    store::Store,
};
use event::Request;
use line::{Asked, Line, Log};
use reply::{Manner, Reply};

/// How the callers of an access are let in by an `App`. [`SignedIn`] takes an app that can authenticate, so a function that forgets to
/// does not compile.
pub trait Admit<App>: Access {
    /// The caller of this request.
    ///
    /// # Errors
    /// Why there is none.
    fn admit(app: &App, request: &Request, now: Timestamp) -> impl Future<Output = Result<Self::Caller, Error>>;
}

impl<App> Admit<App> for Public {
    async fn admit(_app: &App, _request: &Request, _now: Timestamp) -> Result<(), Error> {
        Ok(())
    }
}

impl<App: AsRef<Authenticator>> Admit<App> for SignedIn {
    async fn admit(app: &App, request: &Request, now: Timestamp) -> Result<Caller, Error> {
        let authenticator = app.as_ref();
        let network = || Network::of(request.source.as_deref());
        match credentials(request)? {
            Credentials::Access(access) => authenticator.caller(access, now).await,
            Credentials::Key(key) => authenticator.caller_with_key(key, &network(), now).await,
            Credentials::ApiKey(key) => authenticator.caller_with_api_key(key, &network(), now).await,
        }
    }
}

impl<App: AsRef<Authenticator>> Admit<App> for Owner {
    async fn admit(app: &App, request: &Request, now: Timestamp) -> Result<OwnerCaller, Error> {
        let caller = SignedIn::admit(app, request, now).await?;
        app.as_ref().owner(caller).await
    }
}

impl<App: AsRef<Authenticator>> Admit<App> for Staff {
    async fn admit(app: &App, request: &Request, now: Timestamp) -> Result<StaffCaller, Error> {
        SignedIn::admit(app, request, now).await.map(StaffCaller)
    }
}

impl<App: AsRef<Authenticator>> Admit<App> for Admin {
    async fn admit(app: &App, request: &Request, now: Timestamp) -> Result<AdminCaller, Error> {
        SignedIn::admit(app, request, now).await.map(AdminCaller)
    }
}

/// What a request authenticates with.
enum Credentials<'a> {
    /// `Authorization: Bearer <access token>` (RFC 6750 section 2.1).
    Access(&'a str),
    /// `Authorization: Token <key>`, as Django REST framework has it.
    Key(&'a str),
    /// `Authorization: Bearer sk-…`, as clients of OpenAI's API have it.
    ApiKey(&'a str),
}

/// The scheme of an `Authorization` header. Its case does not matter (RFC 9110 section 11.1).
fn scheme(header: &str) -> Option<Scheme> {
    let word = header.split_ascii_whitespace().next()?;
    [("bearer", Scheme::Bearer), ("token", Scheme::Token)]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name))
        .map(|(_, scheme)| scheme)
}

/// Refusals in the words of Django REST framework and its JWT plug-in, whose clients may match them.
fn credentials(request: &Request) -> Result<Credentials<'_>, Error> {
    const NOT_TWO_VALUES: &str = "Authorization header must contain two space-delimited values";
    let header = match request.headers("authorization") {
        [] => return Err(Error::NotAuthenticated),
        [header] => header,
        _ => return Err(Error::BadAuthorizationHeader(NOT_TWO_VALUES)),
    };
    let scheme = scheme(header).ok_or(Error::NotAuthenticated)?;
    let mut words = header.split_ascii_whitespace().skip(1);
    match (scheme, words.next(), words.next()) {
        (Scheme::Bearer, Some(key), None) if key.starts_with(ApiKey::PREFIX) => Ok(Credentials::ApiKey(key)),
        (Scheme::Bearer, Some(access), None) => Ok(Credentials::Access(access)),
        (Scheme::Bearer, _, _) => Err(Error::BadAuthorizationHeader(NOT_TWO_VALUES)),
        (Scheme::Token, Some(key), None) => Ok(Credentials::Key(key)),
        (Scheme::Token, None, _) => Err(Error::BadAuthorizationHeader(
            "Invalid token header. No credentials provided.",
        )),
        (Scheme::Token, Some(_), Some(_)) => Err(Error::BadAuthorizationHeader(
            "Invalid token header. Token string should not contain spaces.",
        )),
    }
}

/// The time now. The only place where requests get it from.
#[expect(clippy::disallowed_methods, reason = "the edge is where the clock is read")]
fn clock() -> Timestamp {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Serves `endpoint` until the process is ended: builds the app once, then calls `handler` for each request.
///
/// # Errors
/// If the app cannot be built or the runtime API is gone.
pub async fn serve<A, I, O, App, H>(
    endpoint: Endpoint<A, I, O>,
    start: impl AsyncFnOnce(Timestamp) -> Result<App, BoxError>,
    handler: H,
) -> Result<(), BoxError>
where
    A: Admit<App>,
    I: Input,
    O: Outcome,
    H: AsyncFn(&App, Call<A, I>) -> Result<O, Error>,
{
    let served = Rc::new((Edge::start(endpoint, start).await?, handler));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let served = Rc::clone(&served);
        // Boxed: the SDK's futures nest deeply, and a move of one is a copy of kilobytes.
        let answer = Box::pin(async move {
            let (edge, handler) = served.as_ref();
            edge.answer(handler, &event.payload, &event.context.request_id).await
        });
        async move { Ok::<_, BoxError>(answer.await) }
    }))
    .await
}

/// As [`serve_callers`], for an endpoint that may answer piece by piece: what the handler tells the listener goes to the client at once.
///
/// The status is decided by the first piece: what fails before it is an error like everybody's, what fails after it an event. The call
/// runs to its end whoever listens, and it ends before its last event is sent: after that the sandbox may freeze.
///
/// # Errors
/// As [`serve`].
#[expect(
    private_bounds,
    reason = "callers name the access, which is public, and nothing of what lets it in"
)]
pub async fn serve_streaming<A, I, O, T, H>(
    endpoint: Endpoint<A, I, O>,
    start: impl AsyncFnOnce(Store) -> Result<T, BoxError>,
    handler: H,
) -> Result<(), BoxError>
where
    A: Admit<ForCallers<T>> + 'static,
    I: Streamed<O> + 'static,
    O: Outcome + 'static,
    T: 'static,
    H: AsyncFn(&T, Call<A, I>, Listener<'_>) -> Result<O, Error> + 'static,
{
    let edge = Edge::start(endpoint, async |now| ForCallers::start(start, now).await).await?;
    let handler = async move |app: &ForCallers<T>, call: Call<A, I>, listener: Listener<'_>| {
        handler(&app.work, call, listener).await
    };
    stream::serve(edge, handler).await
}

/// What a function has whose callers authenticate: a way to tell who they are, and what it works with.
struct ForCallers<T> {
    authenticator: Authenticator,
    work: T,
}

impl<T> ForCallers<T> {
    async fn start(start: impl AsyncFnOnce(Store) -> Result<T, BoxError>, now: Timestamp) -> Result<Self, BoxError> {
        let store = Store::connect(&TableConfig::from_env()?);
        let authenticator = Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await;
        let work = start(store).await?;
        Ok(Self { authenticator, work })
    }
}

impl<T> AsRef<Authenticator> for ForCallers<T> {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

/// As [`serve`], for an endpoint whose callers authenticate: connects to the table, loads the keys, and makes what `handler` works with.
///
/// # Errors
/// As [`serve`].
#[expect(
    private_bounds,
    reason = "callers name the access, which is public, and nothing of what lets it in"
)]
pub async fn serve_callers<A, I, O, T, H>(
    endpoint: Endpoint<A, I, O>,
    start: impl AsyncFnOnce(Store) -> Result<T, BoxError>,
    handler: H,
) -> Result<(), BoxError>
where
    A: Admit<ForCallers<T>>,
    I: Input,
    O: Outcome,
    H: AsyncFn(&T, Call<A, I>) -> Result<O, Error>,
{
    serve(
        endpoint,
        async |now| ForCallers::start(start, now).await,
        async |app: &ForCallers<T>, call| handler(&app.work, call).await,
    )
    .await
}

/// Serves what no endpoint answers, until the process is ended: 404 for unknown paths, 405 for known ones with another method.
///
/// # Errors
/// If the runtime API is gone.
pub async fn serve_fallback() -> Result<(), BoxError> {
    let log = Log::start();
    let config = EdgeConfig::from_env()?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let reply = refuse(&event.payload, &event.context.request_id, &config, &log);
        async move { Ok::<_, BoxError>(reply) }
    }))
    .await
}

fn refuse(event: &RawValue, invocation: &str, config: &EdgeConfig, log: &Log) -> Reply {
    let started = clock();
    let request = Request::decode(event);
    let request_id = request_id(request.as_ref().ok(), invocation);
    let origin = origin(request.as_ref().ok());
    // The deployed gateway answers preflights itself; `cargo lambda watch` cannot, so they come here.
    let outcome = match &request {
        Ok(request) if request.method == "OPTIONS" => Ok(()),
        Ok(request) => match api::methods_of(&request.path) {
            methods if methods.is_empty() => Err(Error::NoSuchPath),
            methods => Err(Error::MethodNotAllowed(methods)),
        },
        Err(reason) => Err(Error::Malformed((*reason).into())),
    };
    let manner = Manner {
        family: request.as_ref().map_or(Family::V1, |request| Family::of(&request.path)),
        ..Manner::default()
    };
    let reply = match &outcome {
        Ok(()) => Reply::preflight(&config.allowed_origins, origin),
        Err(error) => Reply::failure(error, &manner, request_id)
            .with_caching(Caching::Never, false)
            .with_cors(&config.allowed_origins, origin),
    };
    let reply = reply
        .for_format(request.as_ref().ok().map(|request| request.format))
        .with_header("x-request-id", request_id);
    let method = request.as_ref().map_or("", |request| request.method.as_str());
    let line = Line {
        endpoint: api::FALLBACK,
        asked: Some(Asked {
            method,
            route: "",
            status: reply.status(),
        }),
        request_id,
        tally: Tally::default(),
        started,
    };
    log.write(&line, outcome.as_ref().err());
    reply
}

/// The web origin that a browser says its page is from.
fn origin(request: Option<&Request>) -> Option<&str> {
    request?.headers("origin").first().map(String::as_str)
}

/// Serves a function that no route leads to, until the process is ended: its event is the input and its response the output, both JSON.
/// An error is the invocation's error, so that `aws lambda invoke` shows it and fails.
///
/// Outside Lambda it runs once and ends: the event is the first argument, `{}` without one, and the output is printed. That is how an
/// operator runs what takes longer than Lambda allows.
///
/// # Errors
/// If the app cannot be built or the runtime API is gone; outside Lambda, whatever went wrong.
pub async fn serve_operator<I, O, App, H>(
    name: &'static str,
    start: impl AsyncFnOnce(Timestamp) -> Result<App, BoxError>,
    handler: H,
) -> Result<(), BoxError>
where
    I: DeserializeOwned,
    O: Serialize,
    H: AsyncFn(&App, I, Timestamp) -> Result<O, Error>,
{
    let log = Log::start();
    let served = Rc::new((Box::pin(start(clock())).await?, handler, log));
    let answer = move |event: Box<RawValue>, request_id: String| {
        let served = Rc::clone(&served);
        async move {
            let (app, handler, log) = served.as_ref();
            let started = clock();
            let work = async {
                let refused =
                    |reason: String| Error::Malformed(format!("Event is not what {name} reads: {reason}").into());
                // serde takes an array for a struct.
                let object: serde_json::Map<String, Value> =
                    serde_json::from_str(event.get()).map_err(|error| refused(error.to_string()))?;
                let input = I::deserialize(Value::Object(object)).map_err(|error| refused(error.to_string()))?;
                handler(app, input, started).await
            };
            let (outcome, tally) = meter::metered(Box::pin(work)).await;
            let line = Line {
                endpoint: name,
                asked: None,
                request_id: &request_id,
                tally,
                started,
            };
            log.write(&line, outcome.as_ref().err());
            outcome
        }
    };
    if RuntimeConfig::is_in_lambda() {
        lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
            let answered = answer(event.payload, event.context.request_id);
            async move { answered.await.map_err(BoxError::from) }
        }))
        .await
    } else {
        let event = RawValue::from_string(RuntimeConfig::first_argument().unwrap_or_else(|| "{}".into()))?;
        let outcome = answer(event, "command line".into()).await;
        let output = match &outcome {
            Ok(output) => serde_json::to_string(output)?,
            // What was found is the output too; that it is wrong is the exit status.
            Err(Error::Drift(report)) => report.clone(),
            Err(_) => String::new(),
        };
        writeln!(std::io::stdout().lock(), "{output}")?;
        outcome.map(drop).map_err(BoxError::from)
    }
}

/// The gateway's id of the request, or if it gave none, the runtime's.
fn request_id<'a>(request: Option<&'a Request>, invocation: &'a str) -> &'a str {
    request.and_then(|request| request.id.as_deref()).unwrap_or(invocation)
}

struct Edge<A, I, O, App> {
    endpoint: Endpoint<A, I, O>,
    app: App,
    config: EdgeConfig,
    log: Log,
}

impl<A: Admit<App>, I: Input, O: Outcome, App> Edge<A, I, O, App> {
    async fn start(
        endpoint: Endpoint<A, I, O>,
        start: impl AsyncFnOnce(Timestamp) -> Result<App, BoxError>,
    ) -> Result<Self, BoxError> {
        let log = Log::start();
        Ok(Self {
            endpoint,
            app: Box::pin(start(clock())).await?,
            config: EdgeConfig::from_env()?,
            log,
        })
    }

    async fn answer(
        &self,
        handler: &impl AsyncFn(&App, Call<A, I>) -> Result<O, Error>,
        event: &RawValue,
        invocation: &str,
    ) -> Reply {
        let started = clock();
        let request = Request::decode(event);
        let request_id = request_id(request.as_ref().ok(), invocation);
        let manner = self.manner(request.as_ref().ok());
        // From here on errors are values: the reply is made in one place.
        let (outcome, tally) = meter::metered(async {
            let call = self.call(&request, manner.family, started).await?;
            self.render(handler(&self.app, call).await?, manner.family)
        })
        .await;
        let reply = match &outcome {
            Ok(rendered) => rendered.reply(),
            Err(error) => Reply::failure(error, &manner, request_id),
        };
        let reply = self.complete(reply, request.as_ref().ok(), request_id, outcome.is_ok());
        let line = self.line(&manner, request_id, reply.status(), tally, started);
        self.log.write(&line, outcome.as_ref().err());
        reply
    }

    /// The reply with what every reply of this endpoint has.
    fn complete(&self, reply: Reply, request: Option<&Request>, request_id: &str, succeeded: bool) -> Reply {
        reply
            .for_format(request.map(|request| request.format))
            .with_header("x-request-id", request_id)
            .with_caching(self.endpoint.caching, succeeded)
            .with_cors(&self.config.allowed_origins, origin(request))
    }

    fn line<'a>(
        &self,
        manner: &Manner,
        request_id: &'a str,
        status: u16,
        tally: Tally,
        started: Timestamp,
    ) -> Line<'a> {
        Line {
            endpoint: self.endpoint.name,
            asked: Some(Asked {
                method: self.endpoint.method.as_str(),
                route: manner.route,
                status,
            }),
            request_id,
            tally,
            started,
        }
    }

    /// How answers to this request are worded.
    fn manner(&self, request: Option<&Request>) -> Manner {
        let route = request.and_then(|request| {
            let here = |pattern: &&&str| api::match_path(pattern, &request.path).is_some();
            self.endpoint.paths.iter().find(here)
        });
        let header = request.and_then(|request| request.headers("authorization").first());
        Manner {
            route: route.copied().unwrap_or_default(),
            family: route.map_or(Family::V1, |route| Family::of(route)),
            scheme: header.and_then(|header| scheme(header)).unwrap_or(Scheme::Bearer),
            status_member: self.endpoint.status_member,
            wordings: self.endpoint.wordings,
        }
    }

    /// The call that a request makes, authenticated and validated.
    async fn call(
        &self,
        request: &Result<Request, &'static str>,
        family: Family,
        now: Timestamp,
    ) -> Result<Call<A, I>, Error> {
        let request = request.as_ref().map_err(|reason| Error::Malformed((*reason).into()))?;
        let path = self.route(request)?;
        if request.body.len() > self.endpoint.max_body {
            return Err(Error::BodyTooLarge(self.endpoint.max_body));
        }
        let caller = A::admit(&self.app, request, now).await?;
        let body = if I::READS_BODY {
            read_body(request)?
        } else {
            Value::Null
        };
        let input = I::read(Parts {
            body,
            query: &request.query,
            path: &path,
            idempotency_keys: request.headers("idempotency-key"),
            retry_count: request.headers("x-stainless-retry-count").first().map(String::as_str),
            if_none_match: request.headers("if-none-match"),
            base: &request.base,
            family,
            now,
        })?;
        Ok(Call {
            caller,
            input,
            network: Network::of(request.source.as_deref()),
            now,
        })
    }

    fn render(&self, outcome: O, family: Family) -> Result<Rendered, Error> {
        let headers = outcome.headers(family);
        let status = if outcome.is_known() {
            NOT_MODIFIED
        } else {
            self.endpoint.success
        };
        let body = match status {
            NO_CONTENT | NOT_MODIFIED => Cow::Borrowed(""),
            _ => outcome.render(family).text()?,
        };
        Ok(Rendered { status, body, headers })
    }

    /// The path parameters, if this request is for this endpoint. A gateway sends nothing else; a watcher or a test may.
    fn route(&self, request: &Request) -> Result<std::collections::BTreeMap<String, String>, Error> {
        let path = request.path.as_str();
        let parameters = self
            .endpoint
            .paths
            .iter()
            .find_map(|pattern| api::match_path(pattern, path));
        match parameters {
            Some(parameters) if request.method == self.endpoint.method.as_str() => {
                // Gateways differ in whether they have decoded the path. No parameter holds a `%` of its own, so once more does no harm.
                let decoded = parameters
                    .into_iter()
                    .map(|(name, value)| (name, event::percent_decode(&value)));
                Ok(decoded.collect())
            }
            Some(_) => Err(Error::MethodNotAllowed(api::methods_of(path))),
            None => Err(Error::NoSuchPath),
        }
    }
}

/// The status of a success that has no body.
const NO_CONTENT: u16 = 204;

/// The status of what the client has already.
const NOT_MODIFIED: u16 = 304;

/// What a handler's outcome is on the wire.
struct Rendered {
    status: u16,
    body: Cow<'static, str>,
    headers: Vec<(&'static str, String)>,
}

impl Rendered {
    fn reply(&self) -> Reply {
        with_headers(Reply::success(self.status, &self.body), &self.headers)
    }
}

fn with_headers(reply: Reply, headers: &[(&'static str, String)]) -> Reply {
    headers
        .iter()
        .fold(reply, |reply, (name, value)| reply.with_header(name, value))
}

/// The members of the body. No body is an object without members, so that each missing member gets its own message.
fn read_body(request: &Request) -> Result<Value, Error> {
    if request.body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match request.headers("content-type") {
        [content_type] if is_json(content_type) => json::object(&request.body).map(json::with_whole_numbers),
        _ => Err(Error::UnsupportedMediaType),
    }
}

/// `application/json`, with no charset or with UTF-8 (RFC 8259 section 11 defines none, but clients send it).
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let charset = value.trim().trim_matches('"');
                charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
            }
            _ => true,
        })
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_by_its_media_type() {
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; v=1",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json; charset=latin1",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }
}
