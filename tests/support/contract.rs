//! Every reply of every test against the OpenAPI document: a status, a code, a header, a member or an event that it does not know fails the
//! test that got it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use serde_json::{Value, json};
use shared::api::{Family, TABLE, match_path};

use super::{root, streaming::Told};

/// What is asked for, and of whom.
#[derive(Debug, Clone)]
pub struct Asked {
    method: String,
    /// As the document has it; nothing if it is no path of the API.
    route: Option<&'static str>,
    family: Family,
}

/// The document. A test of its own makes sure that it is what the code says.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let text = fs::read_to_string(root().join("docs/openapi.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    });
    &DOCUMENT
}

/// Headers that any reply may have: they are the business of browsers and caches, which read no documents.
const USUAL_HEADERS: [&str; 7] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cache-control",
    "content-type",
    "vary",
    "x-accel-buffering",
    "x-content-type-options",
];

impl Asked {
    /// What a gateway event asks of a function; nothing if it is none, or if no gateway would hand it to this function.
    pub fn of(binary: &str, event: &Value) -> Option<Self> {
        let path = event["rawPath"].as_str().or(event["path"].as_str())?;
        let method = match event["rawPath"].is_string() {
            true => &event["requestContext"]["http"]["method"],
            false => &event["httpMethod"],
        };
        let method = method.as_str()?.to_ascii_uppercase();
        let path = path.strip_suffix('/').unwrap_or(path);
        let routes = || {
            TABLE
                .iter()
                .flat_map(|entry| entry.paths.iter().map(move |route| (entry, *route)))
        };
        let exactly = routes().any(|(_, route)| route == path);
        let here = |route: &str| {
            if exactly {
                route == path
            } else {
                match_path(route, path).is_some()
            }
        };
        let found = routes().find(|(entry, route)| entry.method.as_str() == method && here(route));
        match found {
            Some((entry, _)) if entry.name != binary => return None,
            // Pages are what browsers show, not part of the API.
            Some((entry, _)) if entry.name.starts_with("pages-") => return None,
            None if binary != shared::api::FALLBACK => return None,
            _ => {}
        }
        Some(Self {
            method,
            route: found.map(|(_, route)| route),
            family: Family::of(path),
        })
    }

    /// Whether this is a reply that the document knows.
    pub fn check(&self, status: u16, headers: &BTreeMap<String, String>, text: &str) {
        // What no gateway sends is told so in the words of the canonical API, whatever it might have asked for.
        let no_gateways = ["Event is not a gateway event", "Body is not valid base64"];
        if status == 400 && no_gateways.iter().any(|reason| text.contains(reason)) {
            return;
        }
        let Some(response) = self.check_head(status, headers) else {
            return;
        };
        let content_type = headers
            .get("content-type")
            .map(|value| value.split(';').next().unwrap_or_default());
        match content_type {
            None => {
                assert!(response.get("content").is_none(), "{self:?}: {status} without a body");
                assert_eq!(text, "", "{self:?}: {status}");
            }
            Some("text/event-stream") => {
                for event in Told::all(text) {
                    self.check_event(&event);
                }
            }
            Some(content_type) => {
                let body =
                    serde_json::from_str(text).unwrap_or_else(|error| panic!("{self:?}: {status} {error}: {text}"));
                self.validate(&response["content"][content_type]["schema"], &body, status);
            }
        }
    }

    /// The response of the document, whose headers these may be; nothing for an answer to a preflight, which it does not describe.
    pub fn check_head(&self, status: u16, headers: &BTreeMap<String, String>) -> Option<Value> {
        let Some(route) = self.route else {
            if self.method == "OPTIONS" {
                assert_eq!(status, 204, "{self:?}");
                return None;
            }
            return Some(self.of_no_operation(status));
        };
        let operation = &document()["paths"][route][self.method.to_lowercase()];
        let response = &operation["responses"][status.to_string()];
        assert!(!response.is_null(), "{self:?} gives {status}, {}", Self::remedy());
        let response = resolve(response);
        for name in headers.keys().filter(|name| !USUAL_HEADERS.contains(&name.as_str())) {
            let known = response["headers"].as_object().unwrap();
            let known = known.keys().any(|known| known.eq_ignore_ascii_case(name));
            assert!(
                known,
                "{self:?} gives {status} with the header {name}, {}",
                Self::remedy()
            );
        }
        for (name, header) in response["headers"].as_object().unwrap() {
            let must = resolve(header)["required"] == true;
            assert!(
                !must || headers.contains_key(&name.to_lowercase()),
                "{self:?}: {status} without {name}"
            );
        }
        if let Some(content_type) = headers.get("content-type") {
            let content_type = content_type.split(';').next().unwrap_or_default();
            let known = response["content"].get(content_type).is_some();
            assert!(known, "{self:?} gives {status} as {content_type}, {}", Self::remedy());
        }
        Some(response.clone())
    }

    /// What the document says in words of paths and methods that are none.
    fn of_no_operation(&self, status: u16) -> Value {
        let code = match status {
            404 => "not_found",
            405 => "method_not_allowed",
            // What is no gateway event.
            400 => "malformed",
            other => panic!("{self:?} gives {other}"),
        };
        let code = json!({"properties": {"code": {"enum": [code, "invalid_value"]}}});
        let (envelope, code) = match self.family {
            Family::OpenAi => ("OpenAiError", json!({"properties": {"error": code}})),
            Family::V1 | Family::Classic => ("Error", code),
        };
        let schema = json!({"allOf": [{"$ref": format!("#/components/schemas/{envelope}")}, code]});
        json!({"content": {"application/json": {"schema": schema}}})
    }

    /// Whether this is an event that the document knows.
    pub fn check_event(&self, event: &Told) {
        let route = self.route.unwrap_or_default();
        let response = &document()["paths"][route][self.method.to_lowercase()]["responses"]["200"];
        let items = &response["content"]["text/event-stream"]["schema"]["contentSchema"]["items"];
        let kinds = items["anyOf"]
            .as_array()
            .map_or(std::slice::from_ref(items), Vec::as_slice);
        let of_name = |kind: &&Value| kind["properties"]["event"]["const"].as_str().unwrap_or("message") == event.name;
        let kind = kinds.iter().find(of_name);
        let kind = kind.unwrap_or_else(|| panic!("{self:?} tells {:?}, {}", event.name, Self::remedy()));
        self.validate(&kind["properties"]["data"]["contentSchema"], &event.data, 200);
    }

    fn validate(&self, schema: &Value, value: &Value, status: u16) {
        let errors: Vec<_> = validator(schema)
            .iter_errors(value)
            .map(|error| format!("{} at `{}`", error, error.instance_path()))
            .collect();
        assert!(
            errors.is_empty(),
            "{self:?} gives {status} {value}, {}: {errors:#?}",
            Self::remedy()
        );
    }

    fn remedy() -> &'static str {
        "which docs/openapi.json does not say; if it is right, say it in shared/src/openapi/operations.rs"
    }
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => document()
            .pointer(reference.trim_start_matches('#'))
            .expect("a reference leads somewhere"),
        None => value,
    }
}

/// What tells whether something is of a schema of the document, and has nothing besides. To clients the document promises less: members may
/// be added.
pub fn validator(schema: &Value) -> Arc<Validator> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
        let mut schemas = document()["components"]["schemas"].clone();
        close(&mut schemas);
        json!({"schemas": schemas})
    });
    let key = schema.to_string();
    if let Some(known) = VALIDATORS.lock().unwrap().get(&key) {
        return Arc::clone(known);
    }
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema], "components": *COMPONENTS,
    });
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .unwrap();
    let validator = Arc::new(validator);
    VALIDATORS.lock().unwrap().insert(key, Arc::clone(&validator));
    validator
}

/// Makes objects that say their members say all of them.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            let is_object = members.get("type").is_some_and(|kind| *kind == "object");
            if is_object && members.get("properties").is_some_and(Value::is_object) {
                members.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}
