//! Replies: the one place where outcomes and errors become statuses, headers and bodies.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::event::Format;
use crate::{
    api::{Caching, Family, Scheme, StatusMember, Wording},
    config::AllowedOrigins,
    error::Error,
};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

/// How the answers to a request are worded.
#[derive(Debug)]
pub(crate) struct Manner {
    /// The route, as the endpoint table has it.
    pub(crate) route: &'static str,
    /// Whose clients it serves.
    pub(crate) family: Family,
    /// How the caller authenticates, or should.
    pub(crate) scheme: Scheme,
    /// What `status` says in an error, for those whose document has that member.
    pub(crate) status_member: StatusMember,
    /// What some routes say differently.
    pub(crate) wordings: &'static [Wording],
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            route: "",
            family: Family::V1,
            scheme: Scheme::Bearer,
            status_member: StatusMember::Word,
            wordings: &[],
        }
    }
}

impl Manner {
    fn wording(&self, error: &Error) -> Option<&'static Wording> {
        self.wordings.iter().find(|wording| {
            wording.path == self.route
                && wording.code == error.code()
                && wording.scheme.is_none_or(|scheme| scheme == self.scheme)
        })
    }

    /// Only documents of the v1 family fix the member's value.
    fn status_member(&self) -> StatusMember {
        match self.family {
            Family::V1 | Family::OpenAi => self.status_member,
            Family::Classic => StatusMember::Word,
        }
    }
}

/// A reply in the form of the gateway's payload format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    status_code: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
    is_base64_encoded: bool,
    /// Format 2.0 has it and `cargo lambda watch` insists on it; a REST API takes an unknown member for a malformed response.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[String; 0]>,
}

impl Reply {
    /// A success with a JSON body.
    pub(super) fn success(status: u16, body: &str) -> Self {
        Self::json(status, body.to_owned())
    }

    /// An error in the envelope that every error has.
    pub(super) fn failure(error: &Error, manner: &Manner, request_id: &str) -> Self {
        let (status, envelope) = envelope(error, manner, request_id);
        let mut reply = Self::json(status, envelope.to_string());
        if status == 401 {
            let challenge = match manner.scheme {
                Scheme::Bearer => "Bearer realm=\"api\"",
                Scheme::Token => "Token",
            };
            reply = reply.with_header("www-authenticate", challenge);
        }
        if let Error::MethodNotAllowed(methods) = error {
            let methods: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
            reply = reply.with_header("allow", &methods.join(", "));
        }
        if let Some(wait) = error.retry_after() {
            reply = reply.with_header("retry-after", &whole_seconds(wait).to_string());
        }
        reply
    }

    /// The beginning of a stream of events (HTML standard, section 9.2).
    pub(super) fn events(status: u16) -> Self {
        // nginx and its like would otherwise keep events until they fill a buffer.
        Self::new(status, BTreeMap::new(), String::new())
            .with_header("content-type", "text/event-stream; charset=utf-8")
            .with_header("x-content-type-options", "nosniff")
            .with_header("x-accel-buffering", "no")
    }

    /// Its status, headers and body, for a gateway that streams.
    pub(super) fn into_parts(self) -> (u16, BTreeMap<&'static str, String>, String) {
        (self.status_code, self.headers, self.body)
    }

    /// The answer to a preflight (Fetch standard, section 3.3.3), as the deployed gateway gives it: `template.yaml` says the same.
    pub(super) fn preflight(allowed: &AllowedOrigins, origin: Option<&str>) -> Self {
        let reply = Self::new(204, BTreeMap::new(), String::new()).with_origin(allowed, origin);
        if !reply.headers.contains_key(ALLOW_ORIGIN) {
            return reply;
        }
        reply
            // The headers that django-cors-headers allows by default, our own, and those of OpenAI's libraries.
            .with_header("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS")
            .with_header(
                "access-control-allow-headers",
                "Accept, Authorization, Content-Type, Idempotency-Key, OpenAI-Organization, OpenAI-Project, User-Agent, X-CSRFToken, \
                 X-Requested-With, X-Stainless-Arch, X-Stainless-Helper-Method, X-Stainless-Lang, X-Stainless-OS, X-Stainless-Package-Version, \
                 X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout",
            )
            .with_header("access-control-max-age", "7200")
    }

    fn json(status_code: u16, body: String) -> Self {
        let mut headers = BTreeMap::from([("x-content-type-options", "nosniff".to_owned())]);
        if !body.is_empty() {
            headers.insert("content-type", "application/json".to_owned());
        }
        Self::new(status_code, headers, body)
    }

    fn new(status_code: u16, headers: BTreeMap<&'static str, String>, body: String) -> Self {
        Self {
            status_code,
            headers,
            body,
            is_base64_encoded: false,
            cookies: None,
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.status_code
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.to_owned());
        self
    }

    /// Gives the reply the form that the request's gateway expects.
    pub(super) fn for_format(mut self, format: Option<Format>) -> Self {
        self.cookies = (format == Some(Format::Http)).then_some([]);
        self
    }

    /// Errors are never kept, whatever the endpoint.
    pub(super) fn with_caching(self, caching: Caching, succeeded: bool) -> Self {
        match caching {
            Caching::Public if succeeded => self.with_header("cache-control", "public, max-age=300"),
            Caching::Revalidated if succeeded => self.with_header("cache-control", "no-cache"),
            Caching::ByOutcome if succeeded => self,
            _ => self.with_header("cache-control", "no-store"),
        }
    }

    /// Tells browsers whose pages may read this (Fetch standard, section 3.3).
    pub(super) fn with_cors(self, allowed: &AllowedOrigins, origin: Option<&str>) -> Self {
        let reply = self.with_origin(allowed, origin);
        if !reply.headers.contains_key(ALLOW_ORIGIN) {
            return reply;
        }
        reply.with_header(
            "access-control-expose-headers",
            "Idempotency-Replayed, Link, Retry-After, WWW-Authenticate, X-Request-Id",
        )
    }

    /// Names the origin, if it is allowed. Origins are compared exactly.
    fn with_origin(self, allowed: &AllowedOrigins, origin: Option<&str>) -> Self {
        let allowed_origin = match allowed {
            AllowedOrigins::Any => Some("*"),
            AllowedOrigins::List(list) => list.iter().map(String::as_str).find(|listed| Some(*listed) == origin),
        };
        // The answer to an allowed origin must not be served from a cache to another.
        let reply = match allowed {
            AllowedOrigins::Any => self,
            AllowedOrigins::List(_) => self.with_header("vary", "Origin"),
        };
        match allowed_origin {
            Some(origin) => reply.with_header(ALLOW_ORIGIN, origin),
            None => reply,
        }
    }
}

/// The status of an error and the body that says it.
pub(crate) fn envelope(error: &Error, manner: &Manner, request_id: &str) -> (u16, Value) {
    if manner.family == Family::OpenAi {
        return as_openai_has_it(error, request_id);
    }
    let wording = manner.wording(error);
    let status = wording.map_or_else(|| status(error), |wording| wording.status);
    let text = wording.map_or_else(|| error.text(), |wording| wording.text.into());
    let mut body = Map::new();
    body.insert("status".into(), json!(manner.status_member().of_error(status)));
    body.insert("code".into(), json!(error.code()));
    for name in ["detail", "error", "message"] {
        body.insert(name.into(), json!(text));
    }
    if let Error::Invalid(invalid) = error {
        body.insert("member".into(), json!(invalid.member));
        if manner.family == Family::Classic && !body.contains_key(invalid.member) {
            // Where serializers of Django REST framework put it.
            body.insert(invalid.member.into(), json!([text]));
        }
    }
    if let Error::AccessTokenNotValid = error {
        // As Simple JWT has it.
        let message =
            json!({"token_class": "AccessToken", "token_type": "access", "message": "Token is invalid or expired"});
        body.insert("messages".into(), json!([message]));
    }
    if let Some((member, text)) = wording.and_then(|wording| wording.also) {
        body.insert(member.into(), json!([text]));
    }
    body.insert("request_id".into(), json!(request_id));
    (status, Value::Object(body))
}

/// The envelope and the codes of OpenAI's API (<https://platform.openai.com/docs/guides/error-codes>), which its libraries turn into
/// exceptions by status.
fn as_openai_has_it(error: &Error, request_id: &str) -> (u16, Value) {
    let status = match error {
        // As Azure, whose filter made the code known.
        Error::ContentFiltered => 400,
        other => status(other),
    };
    let code = match error {
        Error::NotAuthenticated
        | Error::BadAuthorizationHeader(_)
        | Error::AccessTokenNotValid
        | Error::AuthKeyNotValid
        | Error::ApiKeyNotValid => "invalid_api_key",
        Error::InsufficientTokens | Error::ApiKeyCapReached => "insufficient_quota",
        Error::Paced(_) | Error::TooManyInFlight => "rate_limit_exceeded",
        Error::ContentFiltered => "content_filter",
        Error::Invalid(_) | Error::Malformed(_) => "invalid_value",
        Error::Unsupported(..) => "unsupported_value",
        other => other.code(),
    };
    let kind = match status {
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let param = match error {
        Error::Invalid(invalid) => Some(invalid.member),
        Error::Unsupported(member, _) => Some(member.as_str()),
        Error::ModelNotFound | Error::ModelNotAllowed => Some("model"),
        _ => None,
    };
    let text = match error {
        // Clients of these libraries give no key.
        Error::IdempotencyInProgress => "The same request is still being answered".into(),
        other => other.text(),
    };
    let error = json!({"message": text, "type": kind, "param": param, "code": code});
    (status, json!({"error": error, "request_id": request_id}))
}

/// Rounded up, and at least one: who comes back at the very second must not be early (RFC 9110 section 10.2.3).
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

pub(super) const fn status(error: &Error) -> u16 {
    match error {
        Error::Invalid(_)
        | Error::Malformed(_)
        | Error::Unsupported(..)
        | Error::UsernameTaken
        | Error::LogoutTokenNotValid
        | Error::WrongPassword
        | Error::ContextTooLong => 400,
        Error::NotAuthenticated
        | Error::BadAuthorizationHeader(_)
        | Error::AccessTokenNotValid
        | Error::AuthKeyNotValid
        | Error::ApiKeyNotValid
        | Error::RefreshTokenNotValid
        | Error::UserInactive
        | Error::KeyOwnerInactive
        | Error::InvalidCredentials => 401,
        Error::InsufficientTokens | Error::ApiKeyCapReached => 402,
        Error::PermissionDenied | Error::ModelNotAllowed => 403,
        Error::NoSuchPath
        | Error::ChatNotFound
        | Error::ConversationNotFound
        | Error::UserNotFound
        | Error::ApiKeyNotFound
        | Error::MetricsNotCollected
        | Error::ModelNotFound => 404,
        Error::MethodNotAllowed(_) => 405,
        Error::OwnRights | Error::AdminAccount | Error::TooManyApiKeys | Error::IdempotencyInProgress => 409,
        Error::BodyTooLarge(_) => 413,
        Error::UnsupportedMediaType => 415,
        Error::IdempotencyMismatch | Error::ContentFiltered => 422,
        Error::TooManyInFlight | Error::Paced(_) => 429,
        Error::Internal(_) | Error::Drift(_) => 500,
        Error::ModelFailed(_) => 502,
        Error::ModelBusy(_)
        | Error::HoldLost
        | Error::OutcomeUnknown
        | Error::DeletionContinues
        | Error::ConversationDeletionContinues
        | Error::Busy(_) => 503,
        Error::ModelTimedOut => 504,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_same_in_all_its_members() {
        let manner = Manner {
            status_member: StatusMember::Number,
            ..Manner::default()
        };
        let reply = Reply::failure(&Error::InvalidCredentials, &manner, "r-1");
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        let text = "Invalid Credentials";
        let expected = json!({
            "status": "401", "code": "invalid_credentials", "detail": text, "error": text, "message": text, "request_id": "r-1",
        });
        assert_eq!(body, expected);
        assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"api\"");
    }

    #[test]
    fn an_internal_error_does_not_tell_its_source() {
        let reply = Reply::failure(&Error::internal("secret detail"), &Manner::default(), "r-1");
        assert_eq!(reply.status_code, 500);
        assert!(!reply.body.contains("secret"));
    }

    #[test]
    fn a_preflight_tells_an_allowed_origin_everything_and_another_nothing() {
        let list = AllowedOrigins::List(vec!["https://chat.example".into()]);
        let reply = Reply::preflight(&list, Some("https://chat.example"));
        assert_eq!((reply.status_code, reply.body.as_str()), (204, ""));
        assert_eq!(reply.headers[ALLOW_ORIGIN], "https://chat.example");
        assert_eq!(reply.headers["access-control-max-age"], "7200");
        assert!(!reply.headers.contains_key("access-control-allow-credentials"));
        for other in [None, Some("null"), Some("https://chat.example.evil")] {
            let headers = Reply::preflight(&list, other).headers;
            assert_eq!(headers, BTreeMap::from([("vary", "Origin".to_owned())]), "{other:?}");
        }
        assert_eq!(Reply::preflight(&AllowedOrigins::Any, None).headers[ALLOW_ORIGIN], "*");
    }

    #[test]
    fn a_route_may_word_an_error_its_own_way() {
        const WORDINGS: &[Wording] = &[Wording {
            path: "/api/login",
            scheme: None,
            code: "invalid_credentials",
            status: 400,
            text: "Invalid credentials",
            also: Some(("non_field_errors", "No.")),
        }];
        let manner = |route| Manner {
            route,
            family: Family::Classic,
            wordings: WORDINGS,
            ..Manner::default()
        };
        let own = Reply::failure(&Error::InvalidCredentials, &manner("/api/login"), "r-1");
        let body: Value = serde_json::from_str(&own.body).unwrap();
        assert_eq!((own.status_code, &body["error"]), (400, &json!("Invalid credentials")));
        assert_eq!(body["non_field_errors"], json!(["No."]));
        assert!(!own.headers.contains_key("www-authenticate"));
        let other = Reply::failure(&Error::InvalidCredentials, &manner("/api/token"), "r-1");
        assert_eq!(other.status_code, 401);
    }

    #[test]
    fn only_a_listed_origin_is_allowed() {
        let list = AllowedOrigins::List(vec!["https://chat.example".into()]);
        let with = |origin| Reply::success(200, "{}").with_cors(&list, origin).headers;
        assert_eq!(
            with(Some("https://chat.example"))["access-control-allow-origin"],
            "https://chat.example"
        );
        for other in [
            None,
            Some("null"),
            Some("https://chat.example.evil"),
            Some("https://evil-chat.example"),
            Some("http://chat.example"),
        ] {
            let headers = with(other);
            assert!(!headers.contains_key("access-control-allow-origin"), "{other:?}");
            assert_eq!(headers["vary"], "Origin");
        }
        assert_eq!(
            Reply::success(200, "{}").with_cors(&AllowedOrigins::Any, None).headers["access-control-allow-origin"],
            "*"
        );
    }
}
