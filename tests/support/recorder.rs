//! A proxy between the functions and the engine that keeps what goes through it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Request, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// One request to the engine and its reply.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// When it came.
    pub began: Instant,
    /// When it was answered.
    pub ended: Instant,
    /// Such as `UpdateItem`.
    pub operation: String,
    /// The request.
    pub request: Value,
    /// The engine's reply.
    pub response: Value,
}

/// How many times these requests were waited for, one after the other: what is under way at the same time is one round trip.
pub fn round_trips(recorded: &[Recorded]) -> usize {
    let mut by_start: Vec<_> = recorded.iter().collect();
    by_start.sort_by_key(|one| one.began);
    let mut trips = 0;
    let mut until = None;
    for one in by_start {
        match until {
            Some(end) if one.began < end => until = Some(one.ended.max(end)),
            _ => {
                trips += 1;
                until = Some(one.ended);
            }
        }
    }
    trips
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
            "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems" | "BatchWriteItem"
        )
    }
}

/// The proxy.
#[derive(Clone)]
pub struct Recorder {
    engine: String,
    client: Client<HttpConnector, Body>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    faults: Arc<Mutex<Vec<Fault>>>,
    /// How much longer than the engine every reply takes.
    latency: Arc<Mutex<Duration>>,
}

/// Something to be done once.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What goes wrong with the next requests of one operation.
struct Fault {
    operation: String,
    /// How many requests go through first.
    after: usize,
    times: usize,
    lost: Lost,
    /// What happens before the client learns that anything went wrong.
    then: Option<Task>,
}

/// What gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The request: the engine never sees it.
    Request,
    /// The reply: the engine has done what was asked.
    Reply,
    /// The request, because another transaction is at work on the item.
    Conflict,
    /// The request, because there are too many.
    Throttled,
    /// Nothing: it only waits for something else.
    Nothing,
}

impl Recorder {
    /// Starts a proxy before the engine at `engine`; tells its URL.
    pub async fn start(engine: &str) -> (Self, String) {
        let recorder = Self {
            engine: engine.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            recorded: Arc::default(),
            faults: Arc::default(),
            latency: Arc::default(),
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

    /// Loses the next `times` requests of an operation, or the replies to them. The client sees a 500, as it does when DynamoDB's
    /// front end loses its storage node, and nothing in it tells the two apart.
    pub fn lose(&self, lost: Lost, operation: &str, times: usize) {
        self.lose_after(operation, 0, lost, times);
    }

    /// As [`Recorder::lose`], after as many requests have gone through.
    pub fn lose_after(&self, operation: &str, after: usize, lost: Lost, times: usize) {
        let operation = operation.to_owned();
        let then = None;
        self.faults.lock().unwrap().push(Fault {
            operation,
            after,
            times,
            lost,
            then,
        });
    }

    /// Loses the reply to the next request of an operation, and does something before the client learns of it.
    pub fn lose_then(&self, operation: &str, then: impl Future<Output = ()> + Send + 'static) {
        let (operation, then): (_, Option<Task>) = (operation.to_owned(), Some(Box::pin(then)));
        self.faults.lock().unwrap().push(Fault {
            operation,
            after: 0,
            times: 1,
            lost: Lost::Reply,
            then,
        });
    }

    /// Does something before the next request of an operation reaches the engine, and loses nothing.
    pub fn delay_for(&self, operation: &str, first: impl Future<Output = ()> + Send + 'static) {
        let (operation, then): (_, Option<Task>) = (operation.to_owned(), Some(Box::pin(first)));
        self.faults.lock().unwrap().push(Fault {
            operation,
            after: 0,
            times: 1,
            lost: Lost::Nothing,
            then,
        });
    }

    /// Makes every reply take this much longer, so that requests sent at the same time are seen to be.
    pub fn set_latency(&self, latency: Duration) {
        *self.latency.lock().unwrap() = latency;
    }

    /// Loses nothing more.
    pub fn stop_losing(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Whether everything that was to be lost has been.
    pub fn all_lost(&self) -> bool {
        self.faults.lock().unwrap().iter().all(|fault| fault.times == 0)
    }

    fn next_fault(&self, operation: &str) -> Option<(Lost, Option<Task>)> {
        let mut faults = self.faults.lock().unwrap();
        let fault = faults
            .iter_mut()
            .find(|fault| fault.operation == operation && fault.times > 0)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some((fault.lost, fault.then.take()))
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
    let began = Instant::now();
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let request = serde_json::from_slice(&body).unwrap_or_default();
    let (lost, mut then) = recorder
        .next_fault(&operation)
        .map_or((None, None), |(lost, then)| (Some(lost), then));
    match lost {
        Some(Lost::Request) => return internal_server_error(),
        Some(Lost::Conflict) if operation == "TransactWriteItems" => {
            let reasons =
                r#""CancellationReasons":[{"Code":"TransactionConflict","Message":"conflict"},{"Code":"None"}]"#;
            return refusal("TransactionCanceledException", reasons);
        }
        Some(Lost::Conflict) => return refusal("TransactionConflictException", r#""x":0"#),
        Some(Lost::Throttled) => return refusal("ProvisionedThroughputExceededException", r#""x":0"#),
        Some(Lost::Reply) | None => {}
        Some(Lost::Nothing) => {
            if let Some(first) = then.take() {
                first.await;
            }
        }
    }
    let mut forwarded = Request::builder()
        .method(method)
        .uri(format!("{}{uri}", recorder.engine));
    for (name, value) in &headers {
        if name != "host" && name != "content-length" {
            forwarded = forwarded.header(name, value);
        }
    }
    let forwarded = forwarded.body(Body::from(body)).unwrap();
    let reply = recorder.client.request(forwarded).await.unwrap();
    let status = reply.status();
    let kept = ["content-type", "x-amzn-requestid", "x-amz-crc32"];
    let headers: Vec<_> = kept
        .iter()
        .filter_map(|name| Some((*name, reply.headers().get(*name)?.clone())))
        .collect();
    let body = to_bytes(Body::new(reply.into_body()), usize::MAX).await.unwrap();
    let latency = *recorder.latency.lock().unwrap();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    recorder.recorded.lock().unwrap().push(Recorded {
        began,
        ended: Instant::now(),
        operation,
        request,
        response: serde_json::from_slice(&body).unwrap_or_default(),
    });
    if lost == Some(Lost::Reply) {
        if let Some(then) = then {
            then.await;
        }
        return internal_server_error();
    }
    let mut response = (status, body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

fn internal_server_error() -> Response {
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"lost"}"#;
    let headers = [("content-type", "application/x-amz-json-1.0")];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, body).into_response()
}

fn refusal(kind: &str, member: &str) -> Response {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{kind}","message":"injected",{member}}}"#);
    let headers = [("content-type", "application/x-amz-json-1.0")];
    (StatusCode::BAD_REQUEST, headers, body).into_response()
}
