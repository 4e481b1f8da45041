//! A model server that speaks OpenAI's chat completions API and does what a test tells it to.

use std::{
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
use futures_util::{StreamExt, stream};
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
}

/// The server.
#[derive(Clone)]
pub struct ModelServer {
    told: Arc<Mutex<Told>>,
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    pub base_url: String,
}

impl ModelServer {
    /// Starts a server that answers.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            told: Arc::new(Mutex::new(Told::Answer)),
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

    /// What it has been asked since it was last asked this.
    pub fn take_asked(&self) -> Vec<(HeaderMap, Value)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn complete(State(server): State<ModelServer>, headers: HeaderMap, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let said = request["messages"][0]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    server.asked.lock().unwrap().push((headers, request));
    let completion = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "stub-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": format!("Heard: {said}")}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    })
    .to_string();
    let told = *server.told.lock().unwrap();
    match told {
        Told::Answer => as_json(StatusCode::OK, completion),
        Told::Delay(milliseconds) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            as_json(StatusCode::OK, completion)
        }
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
