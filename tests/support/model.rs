//! A model server that speaks OpenAI's chat completions API and does what a test tells it to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// It is answered.
    Answer,
    /// The connection ends without a word: the request, or the reply to it, is lost.
    Disconnect,
    /// The reply ends in the middle.
    Truncate,
    /// The reply never comes.
    Stall,
    /// The reply comes after this many milliseconds.
    Delay(u64),
    /// A reply with this status and body.
    Reply(u16, &'static str),
    /// As many bytes as no answer has.
    Flood,
    /// These, one after the other, as a stream of events.
    Stream(&'static [Part]),
}

/// A part of a streamed reply.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// An event with this data.
    Event(&'static str),
    /// The next words.
    Words(&'static str),
    /// Whatever these bytes are.
    Raw(&'static str),
    /// The reason why it is over.
    Finish(&'static str),
    /// What was read, of that from the cache, and written.
    Usage(u64, u64, u64),
    /// What most servers say last.
    Done,
    /// Nothing for this many milliseconds.
    Wait(u64),
    /// Nothing for ever.
    Stall,
    /// The connection breaks.
    Cut,
}

/// The server.
#[derive(Clone)]
pub struct ModelServer {
    told: Arc<Mutex<Told>>,
    told_of: Arc<Mutex<HashMap<&'static str, Told>>>,
    key: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    pub base_url: String,
}

impl ModelServer {
    /// Starts a server that answers.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            told: Arc::new(Mutex::new(Told::Answer)),
            told_of: Arc::default(),
            key: Arc::default(),
            asked: Arc::default(),
            base_url: format!("http://{}/v1", listener.local_addr().unwrap()),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Tells what to do with requests from now on.
    pub fn tell(&self, told: Told) {
        *self.told.lock().unwrap() = told;
    }

    /// Tells what to do with requests for one model.
    pub fn tell_model(&self, model: &'static str, told: Told) {
        self.told_of.lock().unwrap().insert(model, told);
    }

    /// Refuses every other key from now on.
    pub fn want_key(&self, key: &str) {
        *self.key.lock().unwrap() = Some(key.to_owned());
    }

    /// What it has been asked since it was last asked this.
    pub fn take_asked(&self) -> Vec<(HeaderMap, Value)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn complete(State(server): State<ModelServer>, headers: HeaderMap, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let last = request["messages"].as_array().and_then(|turns| turns.last());
    let said = last
        .and_then(|turn| turn["content"].as_str())
        .unwrap_or_default()
        .to_owned();
    let streams = request["stream"] == json!(true);
    let told_of = request["model"]
        .as_str()
        .and_then(|model| server.told_of.lock().unwrap().get(model).copied());
    let wanted = server.key.lock().unwrap().as_ref().map(|key| format!("Bearer {key}"));
    let is_known = wanted.is_none_or(|wanted| headers.get("authorization").is_some_and(|given| *given == wanted));
    server.asked.lock().unwrap().push((headers, request));
    if !is_known {
        let refusal = json!({"error": {"code": "invalid_api_key", "message": "No."}});
        return as_json(StatusCode::UNAUTHORIZED, refusal.to_string());
    }
    let completion = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "stub-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": format!("Heard: {said}")}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    })
    .to_string();
    let told = told_of.unwrap_or(*server.told.lock().unwrap());
    let answer = || {
        if !streams {
            return as_json(StatusCode::OK, completion.clone());
        }
        let words = ["Heard: ", &said]
            .into_iter()
            .flat_map(|text| text.split_inclusive(' '));
        let mut events: Vec<_> = words
            .map(|word| data(&piece(&json!({"content": word}), None)))
            .collect();
        events.insert(0, data(&piece(&json!({"role": "assistant", "content": ""}), None)));
        events.push(data(&piece(&json!({}), Some("stop"))));
        events.push(data(&usage(5, 0, 7)));
        events.push("data: [DONE]\n\n".to_owned());
        as_events(stream::iter(events.into_iter().map(Ok)))
    };
    match told {
        Told::Answer => answer(),
        Told::Delay(milliseconds) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            answer()
        }
        Told::Stream(parts) => as_events(stream::iter(parts).then(|part| async {
            let end = matches!(part, Part::Cut);
            if end {
                // The error must not overtake the bytes before it.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(match *part {
                Part::Event(text) => format!("data: {text}\n\n"),
                Part::Words(words) => data(&piece(&json!({"content": words}), None)),
                Part::Raw(text) => text.to_owned(),
                Part::Finish(reason) => data(&piece(&json!({}), Some(reason))),
                Part::Usage(input, cached, output) => data(&usage(input, cached, output)),
                Part::Done => "data: [DONE]\n\n".to_owned(),
                Part::Wait(milliseconds) => {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    String::new()
                }
                Part::Stall => std::future::pending().await,
                Part::Cut => return Err(std::io::Error::other("cut off")),
            })
        })),
        Told::Stall => std::future::pending().await,
        // An error in the body makes the server drop the connection, before or after the first bytes.
        Told::Disconnect => broken(Vec::new()),
        Told::Truncate => broken(completion.into_bytes()[..20].to_vec()),
        Told::Reply(status, body) => {
            let mut response = as_json(StatusCode::from_u16(status).unwrap(), body.to_owned());
            if status == 429 {
                response
                    .headers_mut()
                    .insert("retry-after", HeaderValue::from_static("7"));
            }
            response
        }
        Told::Flood => as_json(StatusCode::OK, format!("{{\"x\":\"{}\"}}", "y".repeat(3_000_000))),
    }
}

fn piece(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "stub-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    })
}

fn usage(input: u64, cached: u64, output: u64) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "stub-1", "choices": [],
        "usage": {
            "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    })
}

fn data(json: &Value) -> String {
    format!("data: {json}\n\n")
}

fn as_events(events: impl Stream<Item = Result<String, std::io::Error>> + Send + 'static) -> Response {
    let body = Body::from_stream(events);
    ([("content-type", "text/event-stream")], body).into_response()
}

fn as_json(status: StatusCode, body: String) -> Response {
    (status, [("content-type", "application/json")], body).into_response()
}

fn broken(first: Vec<u8>) -> Response {
    let chunks = stream::iter([Ok(first), Err(std::io::Error::other("cut off"))]);
    // The error must not overtake the first bytes.
    let chunks = chunks.then(|chunk| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        chunk
    });
    let mut response = Body::from_stream(chunks).into_response();
    response
        .headers_mut()
        .insert("content-length", HeaderValue::from_static("1000"));
    response
}
