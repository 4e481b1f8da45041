//! The edge: from a gateway event to a handler's call and back to a reply.
//!
//! Everything of HTTP is here and nowhere else: paths, headers, bodies, statuses, CORS. The edge authenticates, validates, reads the
//! clock, and writes the one log line of each request.

mod event;
mod json;
mod reply;

use std::{rc::Rc, time::Duration};

/// Any error that stops a function.
pub use lambda_http::Error as BoxError;
use lambda_http::{LambdaEvent, service_fn};
use serde_json::{Value, value::RawValue};

use crate::{
    api::{self, Access, Caching, Call, Endpoint, Input, Outcome, Parts, Public, SignedIn, StatusMember},
    config::EdgeConfig,
    domain::{Caller, Timestamp},
    error::Error,
    sessions::Authenticator,
    store::{self, Usage},
};
use event::Request;
use reply::Reply;

/// The longest body, in bytes after base64.
const MAX_BODY: usize = 64 * 1024;

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
        authenticator.caller(bearer_token(request)?, now).await
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750 section 2.1). The scheme's case does not matter (RFC 9110 section 11.1).
fn bearer_token(request: &Request) -> Result<&str, Error> {
    let header = match request.headers("authorization") {
        [] => return Err(Error::NotAuthenticated),
        [header] => header,
        _ => return Err(Error::BadAuthorizationHeader),
    };
    let mut words = header.split_ascii_whitespace();
    match words.next() {
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => {}
        _ => return Err(Error::NotAuthenticated),
    }
    match (words.next(), words.next()) {
        (Some(token), None) => Ok(token),
        _ => Err(Error::BadAuthorizationHeader),
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
    write_logs_as_json();
    let edge = Rc::new(Edge {
        endpoint,
        app: Box::pin(start(clock())).await?,
        handler,
        config: EdgeConfig::from_env()?,
    });
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let edge = Rc::clone(&edge);
        // Boxed: the SDK's futures nest deeply, and a move of one is a copy of kilobytes.
        async move { Ok::<_, BoxError>(Box::pin(edge.answer(&event.payload, &event.context.request_id)).await) }
    }))
    .await
}

/// Serves what no endpoint answers, until the process is ended: 404 for unknown paths, 405 for known ones with another method.
///
/// # Errors
/// If the runtime API is gone.
pub async fn serve_fallback() -> Result<(), BoxError> {
    write_logs_as_json();
    let config = EdgeConfig::from_env()?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let reply = refuse(&event.payload, &event.context.request_id, &config);
        async move { Ok::<_, BoxError>(reply) }
    }))
    .await
}

fn refuse(event: &RawValue, invocation: &str, config: &EdgeConfig) -> Reply {
    let started = clock();
    let request = Request::decode(event);
    let error = match &request {
        Ok(request) => match api::methods_of(&request.path) {
            methods if methods.is_empty() => Error::NoSuchPath,
            methods => Error::MethodNotAllowed(methods),
        },
        Err(reason) => Error::Malformed((*reason).into()),
    };
    let request_id = request_id(request.as_ref().ok(), invocation);
    let origin = request
        .as_ref()
        .ok()
        .and_then(|request| request.headers("origin").first());
    let reply = Reply::failure(&error, StatusMember::Word, request_id)
        .for_format(request.as_ref().ok().map(|request| request.format))
        .with_header("x-request-id", request_id)
        .with_caching(Caching::Never, false)
        .with_cors(&config.allowed_origins, origin.map(String::as_str));
    let method = request.as_ref().map_or("", |request| request.method.as_str());
    log(
        api::FALLBACK,
        method,
        request_id,
        &reply,
        Some(&error),
        Usage::default(),
        started,
    );
    reply
}

/// The gateway's id of the request, or if it gave none, the runtime's.
fn request_id<'a>(request: Option<&'a Request>, invocation: &'a str) -> &'a str {
    request.and_then(|request| request.id.as_deref()).unwrap_or(invocation)
}

fn write_logs_as_json() {
    use tracing_subscriber::filter::LevelFilter;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(LevelFilter::INFO)
        .init();
}

struct Edge<A, I, O, App, H> {
    endpoint: Endpoint<A, I, O>,
    app: App,
    handler: H,
    config: EdgeConfig,
}

impl<A, I, O, App, H> Edge<A, I, O, App, H>
where
    A: Admit<App>,
    I: Input,
    O: Outcome,
    H: AsyncFn(&App, Call<A, I>) -> Result<O, Error>,
{
    async fn answer(&self, event: &RawValue, invocation: &str) -> Reply {
        let started = clock();
        let request = Request::decode(event);
        let request_id = request_id(request.as_ref().ok(), invocation);
        let (outcome, usage) = store::metered(async {
            let request = request.as_ref().map_err(|reason| Error::Malformed((*reason).into()))?;
            self.handle(request, started).await
        })
        .await;
        let origin = request
            .as_ref()
            .ok()
            .and_then(|request| request.headers("origin").first());
        let reply = match &outcome {
            Ok(body) => Reply::success(self.endpoint.success, body),
            Err(error) => Reply::failure(error, self.endpoint.status_member, request_id),
        };
        let reply = reply
            .for_format(request.as_ref().ok().map(|request| request.format))
            .with_header("x-request-id", request_id)
            .with_caching(self.endpoint.caching, outcome.is_ok())
            .with_cors(&self.config.allowed_origins, origin.map(String::as_str));
        log(
            self.endpoint.name,
            self.endpoint.method.as_str(),
            request_id,
            &reply,
            outcome.as_ref().err(),
            usage,
            started,
        );
        reply
    }

    /// From here on errors are values: the reply is made in one place.
    async fn handle(&self, request: &Request, now: Timestamp) -> Result<String, Error> {
        let path = self.route(request)?;
        if request.body.len() > MAX_BODY {
            return Err(Error::BodyTooLarge);
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
        })?;
        let outcome = (self.handler)(&self.app, Call { caller, input, now }).await?;
        serde_json::to_string(&outcome.render()).map_err(Error::internal)
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
            Some(parameters) if request.method == self.endpoint.method.as_str() => Ok(parameters),
            Some(_) => Err(Error::MethodNotAllowed(api::methods_of(path))),
            None => Err(Error::NoSuchPath),
        }
    }
}

/// The members of the body. No body is an object without members, so that each missing member gets its own message.
fn read_body(request: &Request) -> Result<Value, Error> {
    if request.body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match request.headers("content-type") {
        [content_type] if is_json(content_type) => json::object(&request.body),
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

fn log(
    endpoint: &str,
    method: &str,
    request_id: &str,
    reply: &Reply,
    error: Option<&Error>,
    usage: Usage,
    started: Timestamp,
) {
    let source = match error {
        Some(Error::Internal(source) | Error::Busy(source)) => Some(source.to_string()),
        _ => None,
    };
    tracing::info!(
        request_id,
        endpoint,
        method,
        status = reply.status(),
        code = error.map_or("ok", Error::code),
        duration_ms = u64::try_from(clock().since(started).as_millis()).unwrap_or(u64::MAX),
        dynamodb_calls = usage.calls,
        dynamodb_read_units = usage.read_units,
        dynamodb_write_units = usage.write_units,
        error = source,
        "request"
    );
}

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
