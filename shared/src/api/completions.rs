//! The door for clients of OpenAI's API: chat completions (<https://platform.openai.com/docs/api-reference/chat>) and models
//! (<https://platform.openai.com/docs/api-reference/models>), in its words and with its errors.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Endpoint, Event, Events, Family, Input, Method, Nothing, Outcome, Parts, SignedIn, Streamed, replayed};
use crate::{
    chats::{Models, Question, Sent},
    domain::{ChatId, Finish, Invalid, Message, ModelName, Repeats, Sampling, Speaker, Timestamp, Turn, Usage},
    error::Error,
};

/// `POST /v1/chat/completions`
pub const CREATE: Endpoint<SignedIn, CompletionRequest, Completion> =
    Endpoint::new("completions-create", Method::Post, &["/v1/chat/completions"], 200)
        .with_max_body(256 * 1024)
        .streaming();
/// `GET /v1/models`
pub const MODELS: Endpoint<SignedIn, Nothing, Models> = Endpoint::new("models-list", Method::Get, &["/v1/models"], 200);

/// The longest message that a history keeps, in bytes: with the longest answer it fits one item of at most 400 KB.
const MAX_KEPT: usize = 64 * 1024;

/// A conversation that is to be gone on with.
#[derive(Debug)]
pub struct CompletionRequest {
    /// What is asked.
    pub question: Question,
    /// Whether it is to be told as it comes.
    streams: bool,
    /// Whether the last piece tells the usage.
    tells_usage: bool,
}

/// The members of a request that say something to this system. Those that change what an answer is and that are not served are refused,
/// the others that OpenAI knows are ignored, and what OpenAI does not know is refused as there.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transform = schema::add_other_members))]
#[doc(hidden)]
pub struct CompletionMembers {
    /// One of `GET /v1/models`.
    #[cfg_attr(test, schemars(required, length(min = 1, max = 256), regex(pattern = crate::domain::VISIBLE_ASCII)))]
    model: Option<String>,
    /// What was said, in order; one of role `user` must say something.
    #[cfg_attr(test, schemars(required, length(min = 1)))]
    messages: Option<Vec<MessageMembers>>,
    /// Whether the answer is to be told as it comes.
    stream: Option<bool>,
    /// Only with `stream`.
    stream_options: Option<StreamOptions>,
    /// How long the answer may be, in the model's tokens.
    #[cfg_attr(test, schemars(range(min = 1, max = u32::MAX)))]
    max_tokens: Option<u32>,
    /// The newer name of `max_tokens`.
    #[cfg_attr(test, schemars(range(min = 1, max = u32::MAX)))]
    max_completion_tokens: Option<u32>,
    #[cfg_attr(test, schemars(range(min = *TEMPERATURE.start(), max = *TEMPERATURE.end())))]
    temperature: Option<f64>,
    #[cfg_attr(test, schemars(range(min = *TOP_P.start(), max = *TOP_P.end())))]
    top_p: Option<f64>,
    #[cfg_attr(test, schemars(range(min = *PENALTY.start(), max = *PENALTY.end())))]
    presence_penalty: Option<f64>,
    #[cfg_attr(test, schemars(range(min = *PENALTY.start(), max = *PENALTY.end())))]
    frequency_penalty: Option<f64>,
    seed: Option<i64>,
    /// Where the answer ends, if it comes to that.
    #[cfg_attr(test, schemars(schema_with = "schema::stop"))]
    stop: Option<Value>,
}

/// What somebody said.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct MessageMembers {
    #[cfg_attr(test, schemars(required, extend("enum" = ["system", "developer", "user", "assistant"])))]
    role: Option<String>,
    /// A text, or a list of parts that are all text.
    #[cfg_attr(test, schemars(required, schema_with = "schema::content"))]
    content: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StreamOptions {
    /// Whether the last piece tells the usage.
    include_usage: Option<bool>,
}

const TEMPERATURE: RangeInclusive<f64> = 0.0..=2.0;
const TOP_P: RangeInclusive<f64> = 0.0..=1.0;
const PENALTY: RangeInclusive<f64> = -2.0..=2.0;
/// How many texts may end an answer, and the longest, in bytes.
const MAX_STOPS: (usize, usize) = (4, 256);

/// What is read; the names of [`CompletionMembers`].
const READ: [&str; 12] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
];

/// What says nothing about the answer's text.
const IGNORED: [&str; 10] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
];

/// What is served in one way only, and that way.
fn is_default(member: &str, value: &Value) -> Option<bool> {
    let is_default = match member {
        "n" => *value == json!(1),
        "logprobs" => *value == json!(false),
        "top_logprobs" => *value == json!(0),
        "response_format" => value.get("type") == Some(&json!("text")),
        "modalities" => *value == json!(["text"]),
        "tool_choice" => matches!(value.as_str(), Some("none" | "auto")),
        "tools" | "functions" => *value == json!([]),
        "logit_bias" => *value == json!({}),
        "audio" | "function_call" | "prediction" | "web_search_options" => false,
        _ => return None,
    };
    Some(is_default || value.is_null())
}

fn check_members(body: &Map<String, Value>) -> Result<(), Error> {
    for (member, value) in body {
        if READ.contains(&member.as_str()) || IGNORED.contains(&member.as_str()) {
            continue;
        }
        match is_default(member, value) {
            Some(true) => {}
            Some(false) => {
                let reason = format!("This value of `{member}` is not supported here");
                return Err(Error::Unsupported(member.clone(), reason.into()));
            }
            None => {
                let reason = format!("Unrecognized request argument supplied: {member}");
                return Err(Error::Unsupported(member.clone(), reason.into()));
            }
        }
    }
    Ok(())
}

fn within(member: &'static str, number: Option<f64>, range: RangeInclusive<f64>) -> Result<Option<f64>, Invalid> {
    match number {
        Some(number) if !range.contains(&number) => {
            let reason = format!("`{member}` must be from {} to {}", range.start(), range.end());
            Err(Invalid::new(member, reason))
        }
        number => Ok(number),
    }
}

fn stops(stop: Option<Value>) -> Result<Vec<String>, Invalid> {
    let stops: Vec<String> = match stop {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(list) => serde_json::from_value(list)
            .map_err(|_| Invalid::new("stop", "`stop` must be a text or a list of texts"))?,
    };
    if stops.len() > MAX_STOPS.0 || stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOPS.1) {
        return Err(Invalid::new("stop", "`stop` must be at most 4 texts of 1 to 256 bytes"));
    }
    Ok(stops)
}

/// The text of a message: a text, or a list of parts that are all text.
fn text(index: usize, content: Option<Value>) -> Result<String, Error> {
    let unusable = |place: &str, problem: &str| {
        let member = format!("messages[{index}].content{place}");
        Error::Unsupported(member.clone(), format!("Invalid `{member}`: {problem}").into())
    };
    match content {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut texts = Vec::new();
            for (number, part) in parts.iter().enumerate() {
                match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text"), Some(text)) => texts.push(text),
                    _ => {
                        return Err(unusable(
                            &format!("[{number}]"),
                            "only parts of type `text` are supported here, no images, audio or files",
                        ));
                    }
                }
            }
            Ok(texts.join("\n"))
        }
        _ => Err(unusable("", "a text or a list of parts is expected")),
    }
}

fn turns(messages: Vec<MessageMembers>) -> Result<Vec<Turn>, Error> {
    let mut turns = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let speaker = match message.role.as_deref() {
            Some("system" | "developer") => Speaker::System,
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Assistant,
            _ => {
                let member = format!("messages[{index}].role");
                let reason = format!("Invalid `{member}`: it must be system, developer, user or assistant");
                return Err(Error::Unsupported(member, reason.into()));
            }
        };
        turns.push(Turn::new(speaker, text(index, message.content)?));
    }
    Ok(turns)
}

impl Input for CompletionRequest {
    type Body = CompletionMembers;
    const READS_BODY: bool = true;
    const TAKES_KEY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let (key, now) = (parts.idempotency_key()?, parts.now);
        let repeats = match (key, parts.retry_count) {
            (Some(key), _) => Repeats::Key(key),
            (None, Some(count)) => count.parse().map_or(Repeats::Unsaid, Repeats::Count),
            (None, None) => Repeats::Unsaid,
        };
        if let Value::Object(body) = &parts.body {
            check_members(body)?;
        }
        let wire: CompletionMembers = parts.body()?;
        let model = wire.model.filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| Invalid::new("model", "you must provide a model parameter"))?;
        // What is no name is the name of no model.
        let model = ModelName::parse(&model).map_err(|_| Error::ModelNotFound)?;
        let turns = turns(wire.messages.unwrap_or_default())?;
        let last = turns.iter().rev().find(|turn| turn.speaker == Speaker::User);
        let message = last.map(|turn| turn.text.clone()).unwrap_or_default();
        let message = Message::parse(message).map_err(|_| {
            Invalid::new(
                "messages",
                "`messages` must have one of role `user` that says something",
            )
        })?;
        if message.as_str().len() > MAX_KEPT {
            let reason = format!("The last message of role `user` must be at most {MAX_KEPT} bytes long");
            return Err(Invalid::new("messages", reason).into());
        }
        let (member, most) = match (wire.max_completion_tokens, wire.max_tokens) {
            (None, most) => ("max_tokens", most),
            (most, _) => ("max_completion_tokens", most),
        };
        if most == Some(0) {
            return Err(Invalid::new(member, format!("`{member}` must be at least 1")).into());
        }
        let streams = wire.stream.unwrap_or(false);
        if wire.stream_options.is_some() && !streams {
            let reason = "`stream_options` is only allowed when `stream` is true";
            return Err(Invalid::new("stream_options", reason).into());
        }
        Ok(Self {
            question: Question {
                id: ChatId::new(now),
                message,
                long: true,
                turns,
                conversation: None,
                model: Some(model),
                max_output_tokens: most,
                sampling: Sampling {
                    temperature: within("temperature", wire.temperature, TEMPERATURE)?,
                    top_p: within("top_p", wire.top_p, TOP_P)?,
                    presence_penalty: within("presence_penalty", wire.presence_penalty, PENALTY)?,
                    frequency_penalty: within("frequency_penalty", wire.frequency_penalty, PENALTY)?,
                    seed: wire.seed,
                    stop: stops(wire.stop)?,
                },
                repeats,
            },
            streams,
            tells_usage: wire
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
        })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Completion(pub Sent);

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct CompletionBody {
    id: String,
    #[cfg_attr(test, schemars(extend("const" = "chat.completion")))]
    object: &'static str,
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: UsageBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Choice {
    index: u32,
    message: Reply,
    logprobs: Option<()>,
    #[cfg_attr(test, schemars(extend("enum" = ["stop", "length", "content_filter"])))]
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Reply {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

/// What the model read and wrote, in its own tokens.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "CompletionUsageBody"))]
pub(crate) struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: CachedBody,
    /// What the balance was charged, and what is left of it: members of this system's own.
    cost: u64,
    balance: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CachedBody {
    cached_tokens: u64,
}

impl UsageBody {
    fn of(sent: &Sent) -> Self {
        let usage = sent.chat.usage.unwrap_or_default();
        let Usage {
            input,
            cached_input,
            output,
            ..
        } = usage;
        Self {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: CachedBody {
                cached_tokens: cached_input,
            },
            cost: sent.chat.cost.get(),
            balance: sent.balance.get(),
        }
    }
}

/// In OpenAI's words, which have none for an answer that time cut short.
const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length | Finish::Deadline | Finish::Interrupted => "length",
        Finish::ContentFilter => "content_filter",
    }
}

fn completion_id(chat: ChatId) -> String {
    format!("chatcmpl-{chat}")
}

impl Outcome for Completion {
    type Body = CompletionBody;

    fn headers(&self, _family: Family) -> Vec<(&'static str, String)> {
        replayed(self.0.replayed)
    }

    fn render(self, _family: Family) -> CompletionBody {
        let usage = UsageBody::of(&self.0);
        let chat = self.0.chat;
        CompletionBody {
            id: completion_id(chat.id),
            object: "chat.completion",
            created: chat.created_at.as_secs(),
            model: chat.priced_as.unwrap_or(chat.model),
            choices: [Choice {
                index: 0,
                message: Reply {
                    role: "assistant",
                    content: chat.response,
                    refusal: None,
                },
                logprobs: None,
                finish_reason: finish_reason(chat.finish),
            }],
            usage,
        }
    }
}

impl Streamed<Completion> for CompletionRequest {
    type Events = Chunks;

    fn events(&self, now: Timestamp) -> Option<Chunks> {
        self.streams.then(|| Chunks {
            id: completion_id(self.question.id),
            created: now.as_secs(),
            model: self.question.model.as_ref().map_or("", ModelName::as_str).to_owned(),
            begun: false,
            tells_usage: self.tells_usage,
        })
    }
}

/// An answer as chunks.
#[derive(Debug)]
pub struct Chunks {
    id: String,
    created: i64,
    model: String,
    begun: bool,
    tells_usage: bool,
}

impl Chunks {
    fn chunk(&self, choices: &Value, usage: &Value) -> Event {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": choices,
        });
        if self.tells_usage {
            chunk["usage"] = usage.clone();
        }
        Event {
            name: None,
            data: chunk.to_string(),
        }
    }

    fn choice(&self, delta: &Value, finish_reason: Option<&str>) -> Event {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        self.chunk(&json!([choice]), &Value::Null)
    }

    fn usage(&self, sent: &Sent) -> Option<Event> {
        let usage = json!(UsageBody::of(sent));
        self.tells_usage.then(|| self.chunk(&json!([]), &usage))
    }
}

/// The end of every stream that came to its end.
fn done() -> Event {
    Event {
        name: None,
        data: "[DONE]".into(),
    }
}

impl Events<Completion> for Chunks {
    fn delta(&mut self, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.begun {
            self.begun = true;
            events.push(self.choice(&json!({"role": "assistant", "content": "", "refusal": null}), None));
        }
        events.push(self.choice(&json!({"content": text}), None));
        events
    }

    fn done(&mut self, completion: Completion) -> Vec<Event> {
        let sent = completion.0;
        let mut events = if self.begun {
            Vec::new()
        } else {
            // A stored answer is told under its own name, not under that of the question which asked for it again.
            self.id = completion_id(sent.chat.id);
            self.created = sent.chat.created_at.as_secs();
            self.delta(&sent.chat.response)
        };
        if sent.chat.finish == Finish::Interrupted {
            events.extend(self.usage(&sent));
            // Libraries raise this; half an answer that looks whole would be worse.
            let error = json!({"message": "The model broke off", "type": "server_error", "param": null, "code": "model_failed"});
            events.push(Event {
                name: None,
                data: json!({"error": error}).to_string(),
            });
            return events;
        }
        events.push(self.choice(&json!({}), Some(finish_reason(sent.chat.finish))));
        events.extend(self.usage(&sent));
        events.push(done());
        events
    }

    fn failed(&mut self, envelope: Value) -> Vec<Event> {
        let data = envelope.to_string();
        vec![Event { name: None, data }]
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ModelsBody {
    #[cfg_attr(test, schemars(extend("const" = "list")))]
    object: &'static str,
    data: Vec<ModelBody>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ModelBody {
    id: String,
    #[cfg_attr(test, schemars(extend("const" = "model")))]
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl Outcome for Models {
    type Body = ModelsBody;

    fn render(self, _family: Family) -> ModelsBody {
        let body = |model: ModelName| ModelBody {
            id: model.as_str().to_owned(),
            object: "model",
            // Nobody knows when a provider made it; libraries want some time, and some take 0 for none.
            created: 1_735_689_600,
            owned_by: "provider",
        };
        ModelsBody {
            object: "list",
            data: self.0.into_iter().map(body).collect(),
        }
    }
}

/// What derives cannot say of the schemas.
#[cfg(test)]
pub(crate) mod schema {
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde_json::json;

    use super::{IGNORED, MAX_STOPS, is_default};

    pub(super) fn content(_generator: &mut SchemaGenerator) -> Schema {
        let part = json!({
            "type": "object",
            "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
            "required": ["type", "text"],
        });
        json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": part}]})
    }

    pub(super) fn stop(_generator: &mut SchemaGenerator) -> Schema {
        let text = json!({"type": "string", "minLength": 1, "maxLength": MAX_STOPS.1});
        json_schema!({"anyOf": [text, {"type": "array", "items": text, "maxItems": MAX_STOPS.0}, {"type": "null"}]})
    }

    /// Members that mean nothing here, or only with the value that changes nothing. Any other is refused.
    pub(super) fn add_other_members(schema: &mut Schema) {
        let one_way = [
            ("n", json!({"enum": [1, null]})),
            ("logprobs", json!({"enum": [false, null]})),
            ("top_logprobs", json!({"enum": [0, null]})),
            ("modalities", json!({"enum": [["text"], null]})),
            ("tool_choice", json!({"enum": ["none", "auto", null]})),
            (
                "response_format",
                json!({"type": ["object", "null"], "properties": {"type": {"const": "text"}}, "required": ["type"]}),
            ),
            ("tools", json!({"type": ["array", "null"], "maxItems": 0})),
            ("functions", json!({"type": ["array", "null"], "maxItems": 0})),
            ("logit_bias", json!({"type": ["object", "null"], "maxProperties": 0})),
            ("audio", json!({"type": "null"})),
            ("function_call", json!({"type": "null"})),
            ("prediction", json!({"type": "null"})),
            ("web_search_options", json!({"type": "null"})),
        ];
        schema.insert("additionalProperties".into(), false.into());
        // A schema of one's own hides that its member is optional.
        let required = schema.get_mut("required").and_then(|required| required.as_array_mut());
        required.expect("some are").retain(|name| name != "stop");
        let has_options = json!({"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]});
        schema.insert("if".into(), has_options);
        schema.insert(
            "then".into(),
            json!({"properties": {"stream": {"const": true}}, "required": ["stream"]}),
        );
        let properties = schema
            .get_mut("properties")
            .and_then(|properties| properties.as_object_mut());
        let properties = properties.expect("a struct has properties");
        for name in IGNORED {
            properties.insert(name.into(), json!({"description": "Means nothing here."}));
        }
        for (name, schema) in one_way {
            assert_eq!(is_default(name, &json!(null)), Some(true), "{name}");
            properties.insert(name.into(), schema);
        }
    }

    /// A piece of a streamed answer; `[DONE]` follows the last.
    pub(crate) fn chunk(generator: &mut SchemaGenerator) -> Schema {
        let usage = generator.subschema_for::<Option<super::UsageBody>>();
        let delta = json!({
            "type": "object",
            "properties": {
                "role": {"const": "assistant"},
                "content": {"type": "string"},
                "refusal": {"type": "null"},
            },
        });
        let choice = json!({
            "type": "object",
            "properties": {
                "index": {"const": 0},
                "delta": delta,
                "logprobs": {"type": "null"},
                "finish_reason": {"enum": ["stop", "length", "content_filter", null]},
            },
            "required": ["index", "delta", "logprobs", "finish_reason"],
        });
        json_schema!({
            "description": "A piece of a streamed answer.",
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "object": {"const": "chat.completion.chunk"},
                "created": {"type": "integer"},
                "model": {"type": "string"},
                "choices": {"type": "array", "items": choice, "maxItems": 1},
                "usage": usage,
            },
            "required": ["id", "object", "created", "model", "choices"],
        })
    }
}
