//! A proxy between the functions and the engine that keeps what goes through it.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::net::TcpListener;

/// One request to the engine and its reply.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Such as `UpdateItem`.
    pub operation: String,
    /// The request.
    pub request: Value,
    /// The engine's status.
    pub status: u16,
    /// The engine's reply.
    pub response: Value,
}

impl Recorded {
    /// The units that the engine says it consumed.
    pub fn units(&self) -> f64 {
        let units = |capacity: &Value| capacity["CapacityUnits"].as_f64().unwrap_or(0.0);
        match &self.response["ConsumedCapacity"] {
            Value::Array(tables) => tables.iter().map(units).sum(),
            one => units(one),
        }
    }

    /// Whether it could have changed something.
    pub fn is_write(&self) -> bool {
        matches!(
            self.operation.as_str(),
            "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems"
        )
    }
}

/// The proxy.
#[derive(Debug, Clone)]
pub struct Recorder {
    engine: String,
    client: reqwest::Client,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Starts a proxy before the engine at `engine`; tells its URL.
    pub async fn start(engine: &str) -> (Self, String) {
        let recorder = Self {
            engine: engine.to_owned(),
            client: reqwest::Client::new(),
            recorded: Arc::default(),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(pass_on)
            .layer(DefaultBodyLimit::disable())
            .with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (recorder, url)
    }

    /// What has gone through since it was last asked.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.recorded.lock().unwrap())
    }
}

async fn pass_on(
    State(recorder): State<Recorder>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let request = serde_json::from_slice(&body).unwrap_or_default();
    let mut forwarded = recorder
        .client
        .request(method, format!("{}{uri}", recorder.engine))
        .body(body);
    for (name, value) in &headers {
        if name != "host" && name != "content-length" {
            forwarded = forwarded.header(name, value);
        }
    }
    let reply = forwarded.send().await.unwrap();
    let status = reply.status();
    let kept = ["content-type", "x-amzn-requestid", "x-amz-crc32"];
    let headers: Vec<_> = kept
        .iter()
        .filter_map(|name| Some((*name, reply.headers().get(*name)?.clone())))
        .collect();
    let body = reply.bytes().await.unwrap();
    recorder.recorded.lock().unwrap().push(Recorded {
        operation,
        request,
        status: status.as_u16(),
        response: serde_json::from_slice(&body).unwrap_or_default(),
    });
    let mut response = (StatusCode::from_u16(status.as_u16()).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}
