//! Gateway events: API Gateway's REST payload (format 1.0, what the deployed API sends) and the HTTP payload (format 2.0, what
//! `cargo lambda watch` sends).
//!
//! `lambda_http` would turn them into `http::Request`s, but it panics on a body that is not the base64 it claims to be and on a path
//! that is no URI, and refuses whole events for one odd header. These shapes take what is there, so whatever a client sends gets an
//! answer. Sources: <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html> and
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A request as the edge needs it.
#[derive(Debug)]
pub struct Request {
    /// The format of the event, which the reply must match.
    pub(super) format: Format,
    /// Upper case.
    pub(super) method: String,
    /// Without the stage and without a trailing slash.
    pub(super) path: String,
    /// The path below which the client finds the deployment, with a slash at its end.
    pub(super) base: String,
    /// Percent-decoded, in order.
    pub(super) query: Vec<(String, String)>,
    /// By lower-case name.
    headers: HashMap<String, Vec<String>>,
    /// After base64.
    pub(super) body: Vec<u8>,
    /// The gateway's id of the request.
    pub(super) id: Option<String>,
    /// Where it came from, by the gateway's own word.
    pub(super) source: Option<String>,
}

/// The payload format of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// 1.0, of REST APIs.
    Rest,
    /// 2.0, of HTTP APIs and of `cargo lambda watch`.
    Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    // Format 1.0.
    http_method: Option<String>,
    path: Option<String>,
    multi_value_headers: Option<HashMap<String, Option<Vec<Option<String>>>>>,
    query_string_parameters: Option<HashMap<String, Option<String>>>,
    multi_value_query_string_parameters: Option<HashMap<String, Option<Vec<Option<String>>>>>,
    // Format 2.0.
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    // Both.
    headers: Option<HashMap<String, Option<String>>>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: Option<bool>,
    request_context: Option<Context>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    request_id: Option<String>,
    stage: Option<String>,
    // Format 1.0.
    path: Option<String>,
    identity: Option<Identity>,
    // Format 2.0.
    http: Option<HttpContext>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    source_ip: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpContext {
    method: Option<String>,
    source_ip: Option<String>,
}

impl Request {
    /// Reads an event of either format.
    pub(super) fn decode(event: &RawValue) -> Result<Self, &'static str> {
        let event: Event = serde_json::from_str(event.get()).map_err(|_| "Event is not a gateway event")?;
        let context = event.request_context;
        let (id, stage, asked, http, identity) = context.map_or((None, None, None, None, None), |c| {
            (c.request_id, c.stage, c.path, c.http, c.identity)
        });
        let format = if event.raw_path.is_some() {
            Format::Http
        } else {
            Format::Rest
        };
        let method = match format {
            Format::Rest => event.http_method,
            // `cargo lambda watch` also sends an `httpMethod`, which is always GET.
            Format::Http => http.as_ref().and_then(|http| http.method.clone()),
        };
        let source = match format {
            Format::Rest => identity.and_then(|identity| identity.source_ip),
            Format::Http => http.and_then(|http| http.source_ip),
        };
        let path = event.raw_path.or(event.path);
        let (Some(method), Some(path)) = (method, path) else {
            return Err("Event is not a gateway event");
        };
        let mut headers: HashMap<String, Vec<String>> = HashMap::new();
        let multiple = event.multi_value_headers.unwrap_or_default();
        if multiple.is_empty() {
            for (name, value) in event.headers.unwrap_or_default() {
                headers.entry(name.to_ascii_lowercase()).or_default().extend(value);
            }
        } else {
            for (name, values) in multiple {
                let values = values.unwrap_or_default().into_iter().flatten();
                headers.entry(name.to_ascii_lowercase()).or_default().extend(values);
            }
        }
        let query = match event.raw_query_string {
            Some(raw) => parse_query(&raw),
            None => event.multi_value_query_string_parameters.map_or_else(
                || {
                    let single = event.query_string_parameters.unwrap_or_default();
                    single
                        .into_iter()
                        .map(|(name, value)| (name, value.unwrap_or_default()))
                        .collect()
                },
                |multiple| {
                    let pairs = multiple.into_iter().flat_map(|(name, values)| {
                        let values = values.unwrap_or_default().into_iter();
                        values.map(move |value| (name.clone(), value.unwrap_or_default()))
                    });
                    pairs.collect()
                },
            ),
        };
        let text = event.body.unwrap_or_default();
        let body = if event.is_base64_encoded == Some(true) {
            STANDARD.decode(text).map_err(|_| "Body is not valid base64")?
        } else {
            text.into_bytes()
        };
        let normalised = normalise(&path, stage.as_deref().filter(|_| format == Format::Http));
        let asked = asked.filter(|_| format == Format::Rest);
        Ok(Self {
            format,
            method: method.to_ascii_uppercase(),
            base: base(asked.as_deref().unwrap_or(&path), &normalised),
            path: normalised,
            query,
            headers,
            body,
            id: id.filter(|id| is_header_value(id)),
            source,
        })
    }

    /// The values of a header, by its lower-case name.
    pub(super) fn headers(&self, name: &str) -> &[String] {
        self.headers.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Format 2.0 puts a named stage before the path. API Gateway routes `/x/` to `/x` and hands on what was asked for.
fn normalise(path: &str, stage: Option<&str>) -> String {
    let without_stage = stage
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage))
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path);
    match without_stage.strip_suffix('/') {
        Some("") | None => without_stage.to_owned(),
        Some(trimmed) => trimmed.to_owned(),
    }
}

/// What stands before `path` in `asked`, the path that the client used: the stage, the base path of a domain of one's own, or nothing.
/// Events of format 1.0 have it in their context, those of format 2.0 in the path itself.
fn base(asked: &str, path: &str) -> String {
    let before = asked.trim_end_matches('/').strip_suffix(path.trim_end_matches('/'));
    // It goes into pages as an address: what could be more than segments of a path is none.
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte))
    };
    match before.and_then(|before| before.strip_prefix('/')) {
        Some(before) if before.split('/').all(is_plain) => format!("/{before}/"),
        _ => "/".to_owned(),
    }
}

/// A request id goes back out as a header, so one that could not be a header is none.
fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The pairs of an `application/x-www-form-urlencoded` query (WHATWG URL section 5.1).
fn parse_query(raw: &str) -> Vec<(String, String)> {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(name), form_decode(value))
        })
        .collect()
}

/// As [`percent_decode`], of a form, where `+` stands for a space.
fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Replaces each `%xx` by its byte (RFC 3986 section 2.1). What is no such triple stays as it is.
pub(super) fn percent_decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut ahead = bytes.clone();
                let digit = |byte: Option<u8>| {
                    char::from(byte?)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                match (digit(ahead.next()), digit(ahead.next())) {
                    (Some(high), Some(low)) => {
                        bytes = ahead;
                        high << 4 | low
                    }
                    _ => b'%',
                }
            }
            _ => byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(event: &serde_json::Value) -> Result<Request, &'static str> {
        Request::decode(&serde_json::value::to_raw_value(event).unwrap())
    }

    #[test]
    fn both_formats_give_the_same_request() {
        let rest = decode(&serde_json::json!({
            "httpMethod": "GET", "path": "/api/v1/chats/",
            "headers": {"Accept": "*/*"},
            "multiValueHeaders": {"Accept": ["*/*"], "AUTHORIZATION": ["Bearer x"]},
            "queryStringParameters": {"limit": "2"},
            "multiValueQueryStringParameters": {"limit": ["1", "2"]},
            "body": null, "isBase64Encoded": false,
            "requestContext": {"requestId": "r-1", "stage": "prod", "path": "/prod/api/v1/chats/", "identity": {"sourceIp": "198.51.100.7"}},
        }))
        .unwrap();
        let http = decode(&serde_json::json!({
            "version": "2.0", "httpMethod": "POST", "rawPath": "/prod/api/v1/chats/", "rawQueryString": "limit=1&limit=2",
            "headers": {"accept": "*/*", "authorization": "Bearer x"},
            "isBase64Encoded": false,
            "requestContext": {"requestId": "r-1", "stage": "prod", "http": {"method": "get", "sourceIp": "198.51.100.7"}},
        }))
        .unwrap();
        for request in [rest, http] {
            assert_eq!(request.method, "GET");
            assert_eq!(request.path, "/api/v1/chats");
            assert_eq!(request.base, "/prod/");
            assert_eq!(
                request.query,
                [("limit".into(), "1".into()), ("limit".into(), "2".into())]
            );
            assert_eq!(request.headers("authorization"), ["Bearer x"]);
            assert_eq!(request.id.as_deref(), Some("r-1"));
            assert_eq!(request.source.as_deref(), Some("198.51.100.7"));
        }
    }

    #[test]
    fn behind_a_domain_of_its_own_an_api_may_have_a_path_or_none() {
        for (asked, base) in [
            ("/openapi.json", "/"),
            ("/chat/v2/openapi.json", "/chat/v2/"),
            ("/other", "/"),
        ] {
            let event = serde_json::json!({
                "httpMethod": "GET", "path": "/openapi.json", "requestContext": {"stage": "prod", "path": asked},
            });
            assert_eq!(decode(&event).unwrap().base, base, "{asked}");
        }
    }

    #[test]
    fn a_wrong_base64_flag_is_an_error_and_not_a_panic() {
        let event = serde_json::json!({"httpMethod": "POST", "path": "/", "body": "{}", "isBase64Encoded": true});
        assert_eq!(decode(&event).unwrap_err(), "Body is not valid base64");
        let event = serde_json::json!({"httpMethod": "POST", "path": "/", "body": "/w==", "isBase64Encoded": true});
        assert_eq!(decode(&event).unwrap().body, [0xff]);
    }

    #[test]
    fn what_is_no_gateway_event_is_told_so() {
        for event in [
            serde_json::json!(null),
            serde_json::json!([]),
            serde_json::json!({}),
            serde_json::json!({"path": 5}),
        ] {
            assert!(decode(&event).is_err(), "{event}");
        }
    }

    #[test]
    fn only_the_stage_and_one_slash_are_taken_off() {
        assert_eq!(normalise("/", None), "/");
        assert_eq!(normalise("/x/", None), "/x");
        assert_eq!(normalise("/x//", None), "/x/");
        assert_eq!(normalise("/prod/x", Some("prod")), "/x");
        assert_eq!(normalise("/production/x", Some("prod")), "/production/x");
        assert_eq!(normalise("/x", Some("$default")), "/x");
    }

    #[test]
    fn the_base_is_what_clients_put_before_the_path() {
        for (asked, path, expected) in [
            ("/", "/", "/"),
            ("/prod/", "/", "/prod/"),
            ("/prod", "/", "/prod/"),
            ("/prod/admin", "/admin", "/prod/"),
            ("/prod/admin/", "/admin", "/prod/"),
            ("/admin", "/admin", "/"),
            ("/a/b/assets/x.js", "/assets/x.js", "/a/b/"),
            ("//evil.example/admin", "/admin", "/"),
            ("/\"><script>/admin", "/admin", "/"),
            ("/elsewhere", "/admin", "/"),
        ] {
            assert_eq!(base(asked, path), expected, "{asked} {path}");
        }
    }

    #[test]
    fn queries_are_decoded_as_forms() {
        let pairs = parse_query("a=1+2&b=%C3%A9&&c&d=%zz%2");
        let expected = [("a", "1 2"), ("b", "é"), ("c", ""), ("d", "%zz%2")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
