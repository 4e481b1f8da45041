//! What holds for every event, whatever is in it.

use proptest::{collection::hash_map, option, prelude::*};
use serde_json::{Value, json};

use super::*;

fn decode(event: &Value) -> Result<Request, &'static str> {
    Request::decode(&serde_json::value::to_raw_value(event).unwrap())
}

/// Any JSON value.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            hash_map(any::<String>(), inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What belongs in a member of an event, or sometimes nothing, or anything.
fn member(right: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        6 => right.prop_map(Some),
        2 => Just(None),
        1 => Just(Some(Value::Null)),
        1 => json_value().prop_map(Some),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    any::<String>().prop_map(Value::from)
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof!["(/[a-z{}%0-9.]{0,5}){0,5}/?", any::<String>()]
}

fn method() -> impl Strategy<Value = String> {
    prop_oneof!["(?i)get|post|put|patch|delete|options|head", any::<String>()]
}

fn stage() -> impl Strategy<Value = String> {
    prop_oneof![Just("$default".to_owned()), "[a-z]{0,4}", any::<String>()]
}

fn singles() -> impl Strategy<Value = Value> {
    hash_map(any::<String>(), option::weighted(0.8, any::<String>()), 0..4).prop_map(|members| json!(members))
}

fn multiples() -> impl Strategy<Value = Value> {
    let values = prop::collection::vec(option::weighted(0.8, any::<String>()), 0..3);
    hash_map(any::<String>(), option::weighted(0.8, values), 0..4).prop_map(|members| json!(members))
}

fn context() -> impl Strategy<Value = Value> {
    let http = member(member(method().prop_map(Value::from)).prop_map(|method| object([("method", method)])));
    let context = (
        member("[!-~]{0,140}".prop_map(Value::from)),
        member(stage().prop_map(Value::from)),
        http,
    );
    context.prop_map(|(id, stage, http)| object([("requestId", id), ("stage", stage), ("http", http)]))
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect())
}

/// An event of either format, or of neither, with anything amiss.
fn almost_event() -> impl Strategy<Value = Value> {
    let body = prop_oneof![
        any::<String>(),
        any::<Vec<u8>>().prop_map(|bytes| STANDARD.encode(bytes))
    ];
    let rest = (
        member(method().prop_map(Value::from)),
        member(path().prop_map(Value::from)),
        member(multiples()),
        member(singles()),
        member(multiples()),
    );
    let http = option::of((member(path().prop_map(Value::from)), member(text())));
    let both = (
        member(singles()),
        member(body.prop_map(Value::from)),
        member(any::<bool>().prop_map(Value::from)),
        member(context()),
    );
    (rest, http, both).prop_map(|(rest, http, both)| {
        let (raw_path, raw_query) = http.unwrap_or_default();
        object([
            ("httpMethod", rest.0),
            ("path", rest.1),
            ("multiValueHeaders", rest.2),
            ("queryStringParameters", rest.3),
            ("multiValueQueryStringParameters", rest.4),
            ("rawPath", raw_path),
            ("rawQueryString", raw_query),
            ("headers", both.0),
            ("body", both.1),
            ("isBase64Encoded", both.2),
            ("requestContext", both.3),
        ])
    })
}

proptest! {
    #[test]
    fn no_json_value_makes_the_decoder_panic(event in json_value()) {
        drop(decode(&event));
    }

    #[test]
    fn what_is_decoded_is_what_was_sent(event in almost_event()) {
        let Ok(request) = decode(&event) else { return Ok(()) };
        // serde also takes a list for a struct. Nobody but an invoker could send one, and nothing comes of it.
        let context = &event["requestContext"];
        prop_assume!(!context.is_array() && !context["http"].is_array());
        let is_http = event["rawPath"].is_string();
        prop_assert_eq!(request.format == Format::Http, is_http);

        let given = event[if is_http { "rawPath" } else { "path" }].as_str().unwrap();
        let trimmed = given.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(given);
        if is_http {
            // A stage may have come off, and the one slash behind a stage is the whole path then.
            let stage = event["requestContext"]["stage"].as_str().unwrap_or_default();
            let staged = [format!("/{stage}{}", request.path), format!("/{stage}{}/", request.path)];
            prop_assert!(request.path == trimmed || staged.iter().any(|path| path == given), "{:?}", request.path);
        } else {
            prop_assert_eq!(&request.path, trimmed);
        }

        let method = if is_http { &event["requestContext"]["http"]["method"] } else { &event["httpMethod"] };
        prop_assert!(request.method.eq_ignore_ascii_case(method.as_str().unwrap()));
        prop_assert!(!request.method.bytes().any(|byte| byte.is_ascii_lowercase()));
        prop_assert!(request.headers.keys().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
        prop_assert!(request.id.as_deref().is_none_or(is_header_value));

        let sent = event["body"].as_str().unwrap_or_default();
        if event["isBase64Encoded"] == true {
            prop_assert_eq!(STANDARD.encode(&request.body), sent);
        } else {
            prop_assert_eq!(request.body, sent.as_bytes());
        }
    }

    #[test]
    fn whatever_a_client_sends_is_read_from_both_formats(
        (method, path) in (method(), path()),
        header in ("[A-Za-z-]{1,12}", any::<String>()),
        query in prop::collection::vec(("[^&=]{0,8}", any::<String>()), 0..4),
        body in any::<Vec<u8>>(),
    ) {
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let raw_query: Vec<_> = query.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let mut multiple = std::collections::BTreeMap::<_, Vec<_>>::new();
        for (name, value) in &query {
            multiple.entry(name).or_default().push(value);
        }
        let encoded = STANDARD.encode(&body);
        let rest = decode(&json!({
            "httpMethod": method, "path": path, "multiValueHeaders": {&header.0: [&header.1]},
            "multiValueQueryStringParameters": multiple, "body": encoded, "isBase64Encoded": true,
        }));
        let http = decode(&json!({
            "rawPath": path, "rawQueryString": raw_query.join("&"), "headers": {&header.0: &header.1},
            "body": encoded, "isBase64Encoded": true, "requestContext": {"http": {"method": method}},
        }));
        for request in [rest, http] {
            let mut request = request.unwrap();
            prop_assert_eq!(&request.method, &method.to_ascii_uppercase());
            prop_assert_eq!(request.headers(&header.0.to_ascii_lowercase()), std::slice::from_ref(&header.1));
            prop_assert_eq!(&request.body, &body);
            // Format 1.0 keeps the order within a name alone.
            let mut query = query.clone();
            query.sort();
            request.query.sort();
            prop_assert_eq!(request.query, query);
        }
    }

    #[test]
    fn only_percent_triples_are_decoded(text in any::<String>()) {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(percent_decode(&escaped), text.as_str());
        prop_assert_eq!(form_decode(&escaped), text.as_str());
        prop_assert_eq!(percent_decode(&text.replace('%', "%25")), text.as_str());
        let plain = text.replace('%', "");
        prop_assert_eq!(percent_decode(&plain), plain.as_str());
        prop_assert_eq!(form_decode(&plain), plain.replace('+', " "));
        // What is no triple stays, at the end of the text too.
        prop_assert_eq!(percent_decode(&format!("{plain}%")), format!("{plain}%"));
        prop_assert!(percent_decode(&text).chars().count() <= text.chars().count());
    }

    #[test]
    fn any_query_is_read(raw in any::<String>()) {
        prop_assert!(parse_query(&raw).len() <= raw.split('&').count());
    }

    #[test]
    fn a_path_is_normalised_once(path in path(), stage in option::of(stage())) {
        let once = normalise(&path, stage.as_deref());
        prop_assert!(path.contains(&once));
        prop_assert_eq!(path.is_empty(), once.is_empty());
    }
}
