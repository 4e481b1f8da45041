//! Replies: the one place where outcomes and errors become statuses, headers and bodies.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::event::Format;
use crate::{
    api::{Caching, StatusMember},
    config::AllowedOrigins,
    error::Error,
};

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
    pub(super) fn failure(error: &Error, status_member: StatusMember, request_id: &str) -> Self {
        let status = status(error);
        let text = error.text();
        let mut body = Map::new();
        body.insert("status".into(), json!(status_member.of_error(status)));
        body.insert("code".into(), json!(error.code()));
        for name in ["detail", "error", "message"] {
            body.insert(name.into(), json!(text));
        }
        if let Error::Invalid(invalid) = error {
            body.insert("member".into(), json!(invalid.member));
        }
        body.insert("request_id".into(), json!(request_id));
        let mut reply = Self::json(status, Value::Object(body).to_string());
        if status == 401 {
            reply = reply.with_header("www-authenticate", "Bearer realm=\"api\"");
        }
        if let Error::MethodNotAllowed(methods) = error {
            let methods: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
            reply = reply.with_header("allow", &methods.join(", "));
        }
        if let Some(wait) = error.retry_after() {
            reply = reply.with_header("retry-after", &wait.as_secs().to_string());
        }
        reply
    }

    fn json(status_code: u16, body: String) -> Self {
        let headers = BTreeMap::from([
            ("content-type", "application/json".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
        ]);
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
            _ => self.with_header("cache-control", "no-store"),
        }
    }

    /// Tells browsers whose pages may read this (Fetch standard, section 3.3). Origins are compared exactly.
    pub(super) fn with_cors(self, allowed: &AllowedOrigins, origin: Option<&str>) -> Self {
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
            Some(origin) => reply.with_header("access-control-allow-origin", origin).with_header(
                "access-control-expose-headers",
                "X-Request-Id, Retry-After, WWW-Authenticate",
            ),
            None => reply,
        }
    }
}

const fn status(error: &Error) -> u16 {
    match error {
        Error::Invalid(_) | Error::Malformed(_) | Error::UsernameTaken | Error::LogoutTokenNotValid => 400,
        Error::NotAuthenticated
        | Error::BadAuthorizationHeader
        | Error::AccessTokenNotValid
        | Error::RefreshTokenNotValid
        | Error::UserInactive
        | Error::InvalidCredentials => 401,
        Error::InsufficientTokens => 402,
        Error::NoSuchPath | Error::ChatNotFound => 404,
        Error::MethodNotAllowed(_) => 405,
        Error::BodyTooLarge => 413,
        Error::UnsupportedMediaType => 415,
        Error::TooManyInFlight => 429,
        Error::Internal(_) => 500,
        Error::ModelFailed(_) => 502,
        Error::HoldLost | Error::OutcomeUnknown | Error::Busy(_) => 503,
        Error::ModelTimedOut => 504,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_same_in_all_its_members() {
        let reply = Reply::failure(&Error::InvalidCredentials, StatusMember::Number, "r-1");
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
        let reply = Reply::failure(&Error::internal("secret detail"), StatusMember::Word, "r-1");
        assert_eq!(reply.status_code, 500);
        assert!(!reply.body.contains("secret"));
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
