//! The OpenAPI document, derived: routes, access, limits and statuses from the endpoint table, schemas from the types that are read and
//! sent, errors from the edge that words them, and answers from the code that renders them.
//!
//! It is part of the tests alone, so no function carries what only derives. `docs/openapi.json` is what it has to be: what a change does
//! to the contract is seen in that file, and `GET /openapi.json` tells it.

mod operations;
mod samples;

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    api::{
        Access, AccessKind, Endpoint, Entry, Event, Events, Family, Input, Outcome, Parameter, Parts, Scheme, Streamed,
        TABLE,
    },
    domain::{Cursor, Invalid, Timestamp, Username, VISIBLE_ASCII},
    error::Error,
    lambda::reply::{Manner, envelope},
};

/// When everything in the examples happens.
const NOW: Timestamp = Timestamp::from_millis(1_736_166_896_789);

const SCHEMAS: &str = "#/components/schemas/";

/// What the table does not say of an endpoint.
struct Words {
    summary: &'static str,
    description: &'static str,
    /// A body that is right; null if none is read.
    example: Value,
    /// What can go wrong besides what can go wrong at every endpoint like it.
    errors: Vec<Error>,
}

/// How an answer is told piece by piece.
struct Told {
    /// The schema of the data of each type of event.
    events: Value,
    /// A whole stream.
    example: String,
    /// Whether the answer can also be had as a document.
    or_document: bool,
}

struct Writer {
    /// Of what is sent.
    sent: SchemaGenerator,
    /// Of what is read.
    read: SchemaGenerator,
    paths: BTreeMap<&'static str, Map<String, Value>>,
    /// Responses by family and status, with how often each is given.
    refusals: BTreeMap<(String, u16), Vec<(Value, usize)>>,
    described: BTreeSet<&'static str>,
}

impl Writer {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
            })
        };
        Self {
            sent: settings().for_serialize().into_generator(),
            read: settings().for_deserialize().into_generator(),
            paths: BTreeMap::new(),
            refusals: BTreeMap::new(),
            described: BTreeSet::new(),
        }
    }

    fn write<A, I, O>(&mut self, endpoint: &Endpoint<A, I, O>, words: &Words, sample: fn(Family) -> O)
    where
        A: Access,
        I: Input,
        I::Body: JsonSchema,
        O: Outcome,
        O::Body: JsonSchema + Serialize,
    {
        self.write_with(endpoint, words, sample, |_, _| None);
    }

    /// As [`Writer::write`], of an endpoint that tells its answers piece by piece. Its events are of these types.
    fn write_streamed<A, I, O>(
        &mut self,
        endpoint: &Endpoint<A, I, O>,
        words: &Words,
        sample: fn(Family) -> O,
        streamed: &Value,
        or_document: bool,
        events: impl Fn(&mut SchemaGenerator) -> Value,
    ) where
        A: Access,
        I: Streamed<O>,
        I::Body: JsonSchema,
        O: Outcome,
        O::Body: JsonSchema + Serialize,
    {
        self.write_with(endpoint, words, sample, |writer, path| {
            let input = input::<I>(path, streamed);
            let mut told = input.events(NOW).expect("the example asks for a stream");
            // One that was answered before, whose name is not made up anew.
            let all = told.done(sample(Family::of(path)));
            Some(Told {
                events: events(&mut writer.sent),
                example: all.iter().map(as_sent).collect(),
                or_document,
            })
        });
    }

    fn write_with<A, I, O>(
        &mut self,
        endpoint: &Endpoint<A, I, O>,
        words: &Words,
        sample: fn(Family) -> O,
        told: impl Fn(&mut Self, &'static str) -> Option<Told>,
    ) where
        A: Access,
        I: Input,
        I::Body: JsonSchema,
        O: Outcome,
        O::Body: JsonSchema + Serialize,
    {
        let entry = endpoint.entry();
        self.described.insert(entry.name);
        for path in endpoint.paths {
            let family = Family::of(path);
            // An example that is not read is none.
            input::<I>(path, &words.example);
            let mut operation = Map::new();
            operation.insert("operationId".into(), operation_id(&entry, path).into());
            operation.insert("summary".into(), words.summary.into());
            operation.insert("description".into(), words.description.into());
            operation.insert("tags".into(), json!([tag(&entry, family)]));
            operation.insert("security".into(), security(entry.access));
            let parameters = parameters::<I>(path, &entry);
            if !parameters.is_empty() {
                operation.insert("parameters".into(), parameters.into());
            }
            if I::READS_BODY {
                let schema = of_family(self.read.subschema_for::<I::Body>().to_value(), family);
                let content = json!({"schema": schema, "example": words.example});
                operation.insert(
                    "requestBody".into(),
                    json!({"required": true, "content": {"application/json": content}}),
                );
            }
            let mut responses = BTreeMap::new();
            let told = told(self, path);
            let success = self.success(endpoint, path, sample(family), told, I::TAKES_KEY);
            responses.insert(endpoint.success.to_string(), success);
            for (status, refusal) in refusals::<I>(&entry, endpoint, path, &words.errors) {
                self.count(family, status, &refusal);
                responses.insert(status.to_string(), refusal);
            }
            operation.insert("responses".into(), json!(responses));
            let method = entry.method.as_str().to_lowercase();
            self.paths.entry(path).or_default().insert(method, operation.into());
        }
    }

    fn success<A, I, O>(
        &mut self,
        endpoint: &Endpoint<A, I, O>,
        path: &str,
        sample: O,
        told: Option<Told>,
        takes_key: bool,
    ) -> Value
    where
        O: Outcome,
        O::Body: JsonSchema + Serialize,
    {
        let family = Family::of(path);
        let mut headers = json!({"X-Request-Id": header("RequestId")});
        if takes_key {
            headers["Idempotency-Replayed"] = header("IdempotencyReplayed");
        }
        if sample.headers(family).iter().any(|(name, _)| *name == "link") {
            headers["Link"] = header("Link");
        }
        let mut content = Map::new();
        let wants_document = told.as_ref().is_none_or(|told| told.or_document);
        if endpoint.success != 204 && wants_document {
            let schema = of_family(self.sent.subschema_for::<O::Body>().to_value(), family);
            let mut example = json!(sample.render(family));
            if endpoint.name == "system-openapi" {
                // Itself, which has no end.
                example = Value::Null;
            }
            let mut media = json!({"schema": schema});
            if !example.is_null() {
                media["example"] = example;
            }
            content.insert("application/json".into(), media);
        }
        if let Some(told) = told {
            let event = |(name, schema): (&String, &Value)| {
                let data = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": schema});
                match name.as_str() {
                    // As whoever says no type has it.
                    "" => json!({"type": "object", "properties": {"data": data}, "required": ["data"]}),
                    name => json!({
                        "type": "object", "properties": {"event": {"const": name}, "data": data}, "required": ["event", "data"],
                    }),
                }
            };
            let mut events: Vec<_> = told.events.as_object().into_iter().flatten().map(event).collect();
            let events = match events.len() {
                1 => events.remove(0),
                _ => json!({"anyOf": events}),
            };
            // As OpenAPI 3.2 has it, which has a place of its own for what 3.1 can only say of the whole text.
            let schema = json!({
                "type": "string",
                "description": "Server-sent events: each a type, `message` where it is not said, and JSON.",
                "contentMediaType": "text/event-stream",
                "contentSchema": {"type": "array", "items": events},
            });
            let media = json!({"schema": schema, "example": told.example});
            content.insert("text/event-stream".into(), media);
        }
        let mut response = json!({"description": "Done.", "headers": headers});
        if !content.is_empty() {
            response["content"] = content.into();
        }
        response
    }

    fn count(&mut self, family: Family, status: u16, refusal: &Value) {
        let alike = self.refusals.entry((format!("{family:?}"), status)).or_default();
        match alike.iter_mut().find(|(known, _)| known == refusal) {
            Some((_, count)) => *count += 1,
            None => alike.push((refusal.clone(), 1)),
        }
    }

    /// The whole document.
    fn finish(mut self) -> Value {
        let mut schemas = self.sent.take_definitions(true);
        for (name, schema) in self.read.take_definitions(true) {
            let known = schemas.insert(name.clone(), schema.clone());
            assert!(known.is_none_or(|known| known == schema), "two types are called {name}");
        }
        schemas.extend(error_schemas());
        // What most operations of a family say of a status is said once.
        let mut responses = Map::new();
        for ((family, status), alike) in &self.refusals {
            let (most, count) = alike.iter().max_by_key(|(_, count)| *count).expect("there is one");
            if *count < 2 {
                continue;
            }
            let name = format!("{family}Error{status}");
            for operation in self.paths.values_mut().flat_map(Map::values_mut) {
                for response in operation["responses"]
                    .as_object_mut()
                    .into_iter()
                    .flat_map(Map::values_mut)
                {
                    if response == most {
                        *response = json!({"$ref": format!("#/components/responses/{name}")});
                    }
                }
            }
            responses.insert(name, most.clone());
        }
        let mut document = json!({
            "openapi": "3.1.1",
            "info": {
                "title": "AI Chat System",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": "A metered AI-chat backend.",
                "description": DESCRIPTION,
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": responses,
                "headers": headers(),
                "securitySchemes": {
                    "accessToken": {
                        "type": "http",
                        "scheme": "bearer",
                        "bearerFormat": "JWT",
                        "description": "An access token of a login: `Authorization: Bearer <token>`.",
                    },
                    "apiKey": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key, which begins with `sk-`: `Authorization: Bearer <key>`.",
                    },
                    "authKey": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "Authorization",
                        "description": "A key of 40 hexadecimal digits that a classic login tells: `Authorization: Token <key>`.",
                    },
                },
            },
        });
        without_rusts_formats(&mut document);
        document
    }
}

const DESCRIPTION: &str = "\
People sign up with a name and a password and get tokens; each message to the model costs some. All bodies are JSON in UTF-8; what a body \
has of unknown members means nothing, except below `/v1/`. Every path also answers with a slash at its end. Limits are those of a deployment \
that changes none. Lists go on where `next_cursor` says.

Errors have a `code` from a closed list; an answer may get more members and more codes over time. A path that there is not is 404 \
`not_found`, another method 405 `method_not_allowed` with `Allow`. What the gateway says by itself has the same form: 429 \
`too_many_requests`, 403 `blocked`, 413 `body_too_large`, 504 `outcome_unknown` and else `gateway_error`.

Besides the canonical API below `/api/v1/` there are the routes of older clients below `/api/` and those of clients of OpenAI's API below \
`/v1/`.";

const TAGS: [(&str, &str); 10] = [
    ("users", "Accounts: sign up, log in, look at one's own, close it."),
    ("token", "Trading refresh tokens."),
    ("api-keys", "Keys for programs."),
    ("chats", "Messages to the model, and their answers."),
    (
        "conversations",
        "Messages that are answered with those before them in mind.",
    ),
    ("admin", "For staff and admins: everybody's accounts."),
    ("system", "Whether it works, and what it is."),
    ("keys", "What access tokens can be verified with."),
    ("classic", "The same for the clients of five older systems."),
    ("openai", "The same for clients of OpenAI's API."),
];

fn tag(entry: &Entry, family: Family) -> &'static str {
    match family {
        Family::Classic => "classic",
        Family::OpenAi => "openai",
        Family::V1 => {
            let area = entry.name.rsplit_once('-').map_or("", |(area, _)| area);
            let known = TAGS.iter().find(|(name, _)| *name == area);
            known.unwrap_or_else(|| panic!("say in TAGS what the area {area} is")).0
        }
    }
}

/// The endpoint's name in camel case; for its other routes with where they are.
fn operation_id(entry: &Entry, path: &str) -> String {
    let camel = |text: &str, first: bool| -> String {
        let words = text.split(['-', '/', '.']).filter(|word| !word.is_empty());
        let word = |(index, word): (usize, &str)| match index == 0 && !first {
            true => word.to_owned(),
            false => word[..1].to_uppercase() + &word[1..],
        };
        words.enumerate().map(word).collect()
    };
    let name = camel(entry.name, false);
    if entry.paths[0] == path {
        return name;
    }
    let place = path.trim_start_matches("/api").trim_start_matches("/v1");
    format!("{name}At{}", camel(place, true))
}

fn security(access: AccessKind) -> Value {
    match access {
        AccessKind::Public => json!([]),
        AccessKind::Owner => json!([{"accessToken": []}, {"authKey": []}]),
        AccessKind::SignedIn | AccessKind::Staff | AccessKind::Admin => {
            json!([{"accessToken": []}, {"authKey": []}, {"apiKey": []}])
        }
    }
}

/// What stands for each path parameter in the examples.
fn path_example(path: &str, name: &str) -> &'static str {
    match name {
        "username" => "grace",
        _ if path.contains("/api-keys/") => samples::API_KEY_ID,
        _ if path.contains("/conversations/") => samples::CONVERSATION_ID,
        _ => samples::CHAT_ID,
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    let segments = path.split('/');
    segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn parameters<I: Input>(path: &str, entry: &Entry) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in path_parameters(path) {
        let (description, pattern) = match name {
            // What has another form is the name of nothing.
            "username" => ("The user's name, in any spelling.", None),
            _ if path.contains("/api-keys/") => ("The key's `id`.", Some("^[A-Za-z0-9_-]{16}$")),
            _ => ("The `id`.", Some("^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
        };
        let mut schema = json!({"type": "string"});
        match pattern {
            Some(pattern) => schema["pattern"] = pattern.into(),
            None => {
                schema["minLength"] = 1.into();
                schema["maxLength"] = Username::MAX_CHARS.into();
                schema["pattern"] = Username::PATTERN.into();
            }
        }
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": description, "schema": schema,
            "example": path_example(path, name),
        }));
    }
    for parameter in I::QUERY {
        let (name, description, schema) = match parameter {
            Parameter::Cursor => (
                "cursor",
                "Where the page starts: the `next_cursor` of the page before.".to_owned(),
                json!({"type": "string", "maxLength": Cursor::MAX_TEXT}),
            ),
            Parameter::Limit(limit) => (
                "limit",
                "How long the page may be.".to_owned(),
                json!({"type": "integer", "minimum": 1, "maximum": limit.most, "default": limit.usual}),
            ),
            Parameter::Prefix => (
                "prefix",
                "How the names begin, in any spelling.".to_owned(),
                json!({"type": "string", "maxLength": Username::MAX_CHARS}),
            ),
            Parameter::Active => (
                "active",
                "Only active users, or only inactive ones.".to_owned(),
                json!({"type": "boolean"}),
            ),
        };
        parameters.push(json!({"name": name, "in": "query", "description": description, "schema": schema}));
    }
    if I::TAKES_KEY {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "A name for what is to be done once, however often it is sent within a day.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": VISIBLE_ASCII},
        }));
    }
    if entry.name == "completions-create" {
        parameters.push(json!({
            "name": "X-Stainless-Retry-Count", "in": "header",
            "description": "How often the same was sent before, as OpenAI's libraries count it: that is answered and charged once.",
            "schema": {"type": "string"},
        }));
    }
    parameters
}

/// Reads a request with this body, as the edge would.
fn input<I: Input>(path: &str, body: &Value) -> I {
    let parameters = path_parameters(path);
    let path_values = parameters.map(|name| (name.to_owned(), path_example(path, name).to_owned()));
    let parts = Parts {
        body: body.clone(),
        query: &[],
        path: &path_values.collect(),
        idempotency_keys: &[],
        retry_count: None,
        if_none_match: &[],
        base: "/",
        family: Family::of(path),
        now: NOW,
    };
    I::read(parts).unwrap_or_else(|error| panic!("the example of {path} is refused: {error}"))
}

fn as_sent(event: &Event) -> String {
    let name = event.name.map_or_else(String::new, |name| format!("event: {name}\n"));
    format!("{name}data: {}\n\n", event.data)
}

/// A schema that may be that of [`crate::api::ByFamily`], for one family.
fn of_family(mut schema: Value, family: Family) -> Value {
    let index = usize::from(family == Family::Classic);
    match schema.get_mut("anyOf").map(|both| both[index].take()) {
        Some(own) => own,
        None => schema,
    }
}

/// What every endpoint like this one may say.
fn usual_errors<I: Input>(entry: &Entry, path: &str) -> Vec<Error> {
    let mut errors = vec![
        Error::Malformed("What is wrong with the request".into()),
        Error::BodyTooLarge(entry.max_body),
        Error::Paced(std::time::Duration::from_secs(1)),
        Error::internal("unexpected"),
    ];
    if !matches!(entry.name, "system-health" | "system-openapi") {
        errors.push(Error::Busy("the table".into()));
    }
    if I::READS_BODY {
        errors.push(Error::UnsupportedMediaType);
    }
    if I::READS_BODY || !I::QUERY.is_empty() {
        errors.push(Error::Invalid(Invalid::new("member", "What is wrong with a value")));
    }
    if path.contains('{') {
        errors.push(Error::NoSuchPath);
    }
    if entry.access != AccessKind::Public {
        errors.extend([
            Error::NotAuthenticated,
            Error::BadAuthorizationHeader("Authorization header must contain two space-delimited values"),
            Error::AccessTokenNotValid,
            Error::AuthKeyNotValid,
            Error::ApiKeyNotValid,
            Error::UserInactive,
            Error::KeyOwnerInactive,
        ]);
    }
    if matches!(entry.access, AccessKind::Owner | AccessKind::Staff | AccessKind::Admin) {
        errors.push(Error::PermissionDenied);
    }
    errors
}

/// One thing that can go wrong, as clients hear of it.
#[derive(PartialEq)]
struct Heard {
    code: String,
    text: String,
    waits: bool,
}

/// The responses that are no success, by status, in the words of the edge.
fn refusals<I: Input>(
    entry: &Entry,
    endpoint: &Endpoint<impl Access, I, impl Outcome>,
    path: &'static str,
    own: &[Error],
) -> BTreeMap<u16, Value> {
    let family = Family::of(path);
    let usual = usual_errors::<I>(entry, path);
    let mut by_status: BTreeMap<u16, Vec<Heard>> = BTreeMap::new();
    // Only the canonical API has conversations.
    let own = own
        .iter()
        .filter(|error| family == Family::V1 || !matches!(error, Error::ConversationNotFound));
    for error in usual.iter().chain(own) {
        for scheme in [Scheme::Bearer, Scheme::Token] {
            let manner = Manner {
                route: path,
                family,
                scheme,
                status_member: endpoint.status_member,
                wordings: endpoint.wordings,
            };
            let (status, body) = envelope(error, &manner, "");
            let said = if family == Family::OpenAi {
                &body["error"]
            } else {
                &body
            };
            let heard = Heard {
                code: said["code"].as_str().expect("an error has a code").to_owned(),
                text: said["message"].as_str().expect("an error has a text").to_owned(),
                waits: error.retry_after().is_some(),
            };
            let all = by_status.entry(status).or_default();
            if !all.contains(&heard) {
                all.push(heard);
            }
        }
    }
    by_status
        .into_iter()
        .map(|(status, all)| (status, refusal(family, status, &all)))
        .collect()
}

fn refusal(family: Family, status: u16, all: &[Heard]) -> Value {
    let mut codes: Vec<&str> = Vec::new();
    for heard in all {
        if !codes.contains(&heard.code.as_str()) {
            codes.push(&heard.code);
        }
    }
    codes.sort_unstable();
    let texts = |code: &str| -> String {
        let texts = all
            .iter()
            .filter(|heard| heard.code == code)
            .map(|heard| heard.text.as_str());
        texts.collect::<Vec<_>>().join(" / ")
    };
    let lines: Vec<_> = codes
        .iter()
        .map(|code| format!("- `{code}`: {}", texts(code)))
        .collect();
    let mut headers = json!({"X-Request-Id": header("RequestId")});
    if status == 401 {
        headers["WWW-Authenticate"] = header("WwwAuthenticate");
    }
    if all.iter().any(|heard| heard.waits) {
        headers["Retry-After"] = header("RetryAfter");
    }
    let codes = json!({"properties": {"code": {"enum": codes}}});
    let schema = match family {
        Family::V1 => json!({"allOf": [{"$ref": format!("{SCHEMAS}Error")}, codes]}),
        Family::Classic => json!({"allOf": [{"$ref": format!("{SCHEMAS}ClassicError")}, codes]}),
        Family::OpenAi => {
            json!({"allOf": [{"$ref": format!("{SCHEMAS}OpenAiError")}, {"properties": {"error": codes}}]})
        }
    };
    json!({
        "description": lines.join("\n"),
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    })
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "The name of the request in the logs.", "required": true, "schema": {"type": "string"},
        },
        "RetryAfter": {
            "description": "In how many seconds it is worth to try again.", "schema": {"type": "integer", "minimum": 1},
        },
        "WwwAuthenticate": {
            "description": "How to authenticate. A REST API of API Gateway calls it `x-amzn-Remapped-WWW-Authenticate`.",
            "schema": {"type": "string"},
        },
        "IdempotencyReplayed": {
            "description": "This is the stored answer of an earlier request with the same `Idempotency-Key`.",
            "schema": {"const": "true"},
        },
        "Link": {
            "description": "The next page (RFC 8288), as a reference relative to this one; absent on the last.",
            "schema": {"type": "string"},
        },
    })
}

fn error_schemas() -> Map<String, Value> {
    let envelope = || {
        json!({
            "status": {"type": "string", "description": "A word for the status of HTTP, which is the truth."},
            "code": {"type": "string", "description": "What went wrong, for programs."},
            "detail": {"type": "string", "description": "What went wrong, for people."},
            "error": {"type": "string", "description": "As `detail`."},
            "message": {"type": "string", "description": "As `detail`."},
            "member": {"type": "string", "description": "Which member or parameter of the request is wrong, if one is."},
            "messages": {
                "type": "array",
                "description": "What is wrong with an access token, as Simple JWT has it.",
                "items": {
                    "type": "object",
                    "properties": {
                        "token_class": {"type": "string"}, "token_type": {"type": "string"}, "message": {"type": "string"},
                    },
                    "required": ["token_class", "token_type", "message"],
                },
            },
            "request_id": {"type": "string", "description": "As the header `X-Request-Id`."},
        })
    };
    let required = json!(["status", "code", "detail", "error", "message", "request_id"]);
    let schemas = json!({
        "Error": {"type": "object", "properties": envelope(), "required": required},
        "ClassicError": {
            "description": "As `Error`. The text is also under the name of the member that is wrong, as Django REST framework has it.",
            "type": "object", "properties": envelope(), "required": required,
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "OpenAiError": {
            "type": "object",
            "properties": {
                "error": {"$ref": format!("{SCHEMAS}OpenAiErrorDetail")},
                "request_id": {"type": "string", "description": "As the header `X-Request-Id`."},
            },
            "required": ["error", "request_id"],
        },
        "OpenAiErrorDetail": {
            "type": "object",
            "properties": {
                "message": {"type": "string", "description": "What went wrong, for people."},
                "type": {
                    "enum": [
                        "invalid_request_error", "insufficient_quota", "permission_error", "rate_limit_error", "server_error",
                    ],
                },
                "param": {"type": ["string", "null"], "description": "Which member of the request is wrong, if one is."},
                "code": {"type": "string", "description": "What went wrong, for programs."},
            },
            "required": ["message", "type", "param", "code"],
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

/// Takes off the formats that only Rust knows; `minimum` and `maximum` say the same to everybody.
fn without_rusts_formats(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let format = members.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| format.starts_with("uint")) {
                members.remove("format");
            }
            members.values_mut().for_each(without_rusts_formats);
        }
        Value::Array(values) => values.iter_mut().for_each(without_rusts_formats),
        _ => {}
    }
}

/// The document as it should be.
fn document() -> (Value, BTreeSet<&'static str>) {
    let mut writer = Writer::new();
    operations::write(&mut writer);
    let described = writer.described.clone();
    (writer.finish(), described)
}

#[test]
fn every_endpoint_of_the_table_is_described() {
    // Pages are what browsers show, not part of the API.
    let names = TABLE.iter().map(|entry| entry.name);
    let table: BTreeSet<_> = names.filter(|name| !name.starts_with("pages-")).collect();
    assert_eq!(document().1, table, "describe it in shared/src/openapi/operations.rs");
}

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

fn snapshot() -> String {
    serde_json::to_string_pretty(&document().0).unwrap() + "\n"
}

#[test]
fn the_snapshot_is_what_the_code_says() {
    let (is, should) = (std::fs::read_to_string(SNAPSHOT).unwrap(), snapshot());
    let differs = is.lines().zip(should.lines()).position(|(is, should)| is != should);
    assert!(
        is == should,
        "docs/openapi.json is stale from line {}; rewrite it, and look at what that changes for clients:\n\n    \
         cargo test -p shared rewrite_openapi -- --ignored\n",
        differs.unwrap_or_default() + 1
    );
}

#[test]
#[ignore = "not a test but the command that rewrites docs/openapi.json"]
fn rewrite_openapi() {
    std::fs::write(SNAPSHOT, snapshot()).unwrap();
}

#[test]
fn the_document_says_where_the_api_is() {
    for (base, url) in [("/", "/"), ("/prod/", "/prod")] {
        let document = json!(crate::api::OpenApi::at(base).unwrap());
        assert_eq!(document["servers"], json!([{"url": url}]));
        assert_eq!(document["openapi"], "3.1.1");
    }
}
