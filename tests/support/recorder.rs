//! A proxy between the functions and the engine that keeps what goes through it, and lets go wrong what can.
//!
//! Each process has a door of its own, so that a fault can be meant for one function and a kill for one process.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Request, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{chaos::Chaos, policy};

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
    /// What a function asked for that its policy does not allow.
    refused: Arc<Mutex<BTreeSet<String>>>,
    is_recording: Arc<AtomicBool>,
    losses: Arc<Mutex<Vec<Loss>>>,
    watches: Arc<Mutex<HashMap<String, Watch>>>,
    chaos: Arc<Mutex<Option<Chaos>>>,
    /// How much longer than the engine every reply takes.
    latency: Arc<Mutex<Duration>>,
    /// Requests that the engine has not been given yet although their sender has given up on them.
    late: Arc<AtomicUsize>,
    killer: Arc<Mutex<Option<Killer>>>,
}

/// Kills the process with this number.
type Killer = Box<dyn Fn(u64) + Send>;

/// Who sends the requests that come through one listener.
#[derive(Debug, Clone)]
pub struct Door {
    pub function: String,
    /// The number of the process.
    pub process: u64,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The engine never sees it; the connection closes.
    RequestLost,
    /// The engine does what was asked; the connection closes without an answer.
    ReplyLost,
    /// A 500, and nothing was done.
    ErrorBefore,
    /// A 500, although it was done.
    ErrorAfter,
    /// It is done after this time, whether or not its sender still waits; nothing is answered.
    Late(Duration),
    /// `ProvisionedThroughputExceededException`.
    Throttled,
    /// `TransactionCanceledException` with the reason `ThrottlingError`.
    ThrottledInside,
    /// `TransactionConflictException`, or for a transaction `TransactionCanceledException` with the reason `TransactionConflict`.
    Conflict,
    /// `TransactionInProgressException`: the engine is still at work on the attempt before.
    InProgress,
    /// A batch of which nothing was done, which is no error.
    Unprocessed,
    /// The process is killed before the engine sees the request.
    KilledBefore,
    /// The process is killed after the engine did what was asked, before it hears of it.
    KilledAfter,
    /// The reply arrives, and this much later the process is killed.
    KilledLater(Duration),
}

impl Fault {
    /// Whether the engine could answer a request of this operation so.
    pub fn applies_to(self, operation: &str) -> bool {
        match self {
            Self::ThrottledInside | Self::InProgress => operation == "TransactWriteItems",
            Self::Conflict => matches!(
                operation,
                "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems"
            ),
            Self::Unprocessed => operation.starts_with("Batch"),
            _ => true,
        }
    }
}

/// How much of an invocation a fault covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// One request.
    Once,
    /// Every request with this content: what the SDK sends again, and what the product sends again.
    Call,
    /// Every request to the end of the invocation.
    Rest,
}

/// One of the calls that a function makes: the n-th different one of an operation. What is sent at the same time has no order of its own, so a
/// place among all calls would not tell which is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    operation: String,
    nth: usize,
}

impl Place {
    /// The n-th different call of an operation; the first is 1.
    pub fn new(operation: &str, nth: usize) -> Self {
        let operation = operation.to_owned();
        Self { operation, nth }
    }

    /// The places of calls of these operations, in the order in which they were made.
    pub fn all(calls: &[String]) -> Vec<Self> {
        let nth = |index: usize| calls[..=index].iter().filter(|call| *call == &calls[index]).count();
        (0..calls.len())
            .map(|index| Self::new(&calls[index], nth(index)))
            .collect()
    }
}

/// Follows the calls of one function: requests of which each asks for something else than the ones just before.
#[derive(Debug, Default)]
struct Watch {
    /// The operations of the calls so far.
    calls: Vec<String>,
    /// The contents of the last two calls, which may be under way at the same time.
    last: [Value; 2],
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    /// The call at which the fault begins.
    at: Place,
    fault: Fault,
    span: Span,
    /// The content of that call, once it has come.
    content: Option<Value>,
    met: usize,
}

impl Watch {
    fn next(&mut self, operation: &str, request: &Value) -> Option<Fault> {
        let mut content = request.clone();
        if let Some(members) = content.as_object_mut() {
            // The SDK makes another one for each call, although the product asks for the same again.
            members.remove("ClientRequestToken");
        }
        let mut new = None;
        if !self.last.contains(&content) {
            self.calls.push(operation.to_owned());
            self.last.swap(0, 1);
            self.last[1] = content.clone();
            new = Place::all(&self.calls).pop();
        }
        let faults = self
            .armed
            .iter_mut()
            .map(|armed| armed.next(new.as_ref(), operation, &content));
        // Each of them looks at each call, because each has to know when its own has come.
        faults.fold(None, Option::or)
    }
}

impl Armed {
    fn next(&mut self, new: Option<&Place>, operation: &str, content: &Value) -> Option<Fault> {
        let first = self.content.is_none() && new == Some(&self.at);
        if first {
            self.content = Some(content.clone());
        }
        let covered = match self.span {
            Span::Once => first,
            Span::Call => self.content.as_ref() == Some(content),
            Span::Rest => self.content.is_some(),
        };
        let fault = Some(self.fault).filter(|fault| covered && fault.applies_to(operation));
        self.met += usize::from(fault.is_some());
        fault
    }
}

/// Something to be done once.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What goes wrong with the next requests of one operation, whoever sends it.
struct Loss {
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
    /// A proxy before the engine at `engine`.
    pub fn new(engine: &str) -> Self {
        Self {
            engine: engine.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            recorded: Arc::default(),
            refused: Arc::default(),
            is_recording: Arc::new(AtomicBool::new(true)),
            losses: Arc::default(),
            watches: Arc::default(),
            chaos: Arc::default(),
            latency: Arc::default(),
            late: Arc::default(),
            killer: Arc::default(),
        }
    }

    /// Opens a door; tells its URL.
    pub fn open(&self, door: Door) -> String {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = TcpListener::from_std(listener).unwrap();
        let recorder = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (recorder, door) = (recorder.clone(), door.clone());
                tokio::spawn(async move {
                    let answer = service_fn(|request| answer(&recorder, &door, request));
                    // A service that fails closes its connection without an answer, which is what a lost request looks like.
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                    let _closed = served.await;
                });
            }
        });
        url
    }

    /// How processes are killed.
    pub fn set_killer(&self, killer: impl Fn(u64) + Send + 'static) {
        *self.killer.lock().unwrap() = Some(Box::new(killer));
    }

    /// Keeps nothing more of what goes through.
    pub fn stop_recording(&self) {
        self.is_recording.store(false, Ordering::Relaxed);
    }

    /// Follows the calls of a function from here on, and lets something go wrong with those at these places.
    pub fn arm(&self, function: &str, faults: &[(Place, Fault, Span)]) {
        let armed = faults.iter().map(|(at, fault, span)| Armed {
            at: at.clone(),
            fault: *fault,
            span: *span,
            content: None,
            met: 0,
        });
        let watch = Watch {
            armed: armed.collect(),
            ..Watch::default()
        };
        self.watches.lock().unwrap().insert(function.to_owned(), watch);
    }

    /// Follows a function no longer, and lets nothing more go wrong with it. Tells the operations of its calls, and whether each fault was
    /// met.
    pub fn disarm(&self, function: &str) -> (Vec<String>, bool) {
        let watch = self.watches.lock().unwrap().remove(function).unwrap_or_default();
        (watch.calls, watch.armed.iter().all(|armed| armed.met > 0))
    }

    /// Lets things go wrong at random from here on, or no longer. Returns what has gone wrong so far.
    pub fn set_chaos(&self, chaos: Option<Chaos>) -> Option<Chaos> {
        std::mem::replace(&mut *self.chaos.lock().unwrap(), chaos)
    }

    /// Waits until the engine has been given everything that was late.
    pub async fn catch_up(&self) {
        while self.late.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn fault_of(&self, door: &Door, operation: &str, request: &Value) -> Option<Fault> {
        if let Some(watch) = self.watches.lock().unwrap().get_mut(&door.function) {
            return watch.next(operation, request);
        }
        self.chaos.lock().unwrap().as_mut()?.next(door, operation)
    }

    fn kill(&self, process: u64) {
        if let Some(killer) = &*self.killer.lock().unwrap() {
            killer(process);
        }
    }

    async fn forward(&self, parts: &Parts, body: Bytes) -> (StatusCode, HeaderMap, Bytes) {
        let mut forwarded = Request::builder()
            .method(&parts.method)
            .uri(format!("{}{}", self.engine, parts.uri));
        for (name, value) in &parts.headers {
            if name != "host" && name != "content-length" {
                forwarded = forwarded.header(name, value);
            }
        }
        let forwarded = forwarded.body(Body::from(body)).unwrap();
        let reply = self.client.request(forwarded).await.unwrap();
        let status = reply.status();
        let kept = ["content-type", "x-amzn-requestid", "x-amz-crc32"];
        let kept = kept.into_iter().filter_map(|name| {
            let name = axum::http::HeaderName::from_static(name);
            let value = reply.headers().get(&name)?.clone();
            Some((name, value))
        });
        let headers = kept.collect();
        let body = to_bytes(Body::new(reply.into_body()), usize::MAX).await.unwrap();
        (status, headers, body)
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
        self.losses.lock().unwrap().push(Loss {
            operation,
            after,
            times,
            lost,
            then,
        });
    }

    /// From here on nothing is lost that was to be.
    pub fn lose_no_more(&self) {
        self.losses.lock().unwrap().clear();
    }

    /// Loses the reply to the next request of an operation, and does something before the client learns of it.
    pub fn lose_then(&self, operation: &str, then: impl Future<Output = ()> + Send + 'static) {
        let (operation, then): (_, Option<Task>) = (operation.to_owned(), Some(Box::pin(then)));
        self.losses.lock().unwrap().push(Loss {
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
        self.losses.lock().unwrap().push(Loss {
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
        self.losses.lock().unwrap().clear();
    }

    /// Whether everything that was to be lost has been.
    pub fn all_lost(&self) -> bool {
        self.losses.lock().unwrap().iter().all(|loss| loss.times == 0)
    }

    fn next_loss(&self, operation: &str) -> Option<(Lost, Option<Task>)> {
        let mut losses = self.losses.lock().unwrap();
        let loss = losses
            .iter_mut()
            .find(|loss| loss.operation == operation && loss.times > 0)?;
        if loss.after > 0 {
            loss.after -= 1;
            return None;
        }
        loss.times -= 1;
        Some((loss.lost, loss.then.take()))
    }

    /// What functions asked for that their policies do not allow.
    pub fn refused(&self) -> BTreeSet<String> {
        self.refused.lock().unwrap().clone()
    }

    /// What has gone through since it was last asked.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.recorded.lock().unwrap())
    }
}

/// The connection closes without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed")
    }
}

impl std::error::Error for Closed {}

async fn answer(recorder: &Recorder, door: &Door, request: Request<Incoming>) -> Result<Response, Closed> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    // Who sends half a request has been killed.
    let body = to_bytes(Body::new(body), usize::MAX).await.map_err(|_| Closed)?;
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let request = serde_json::from_slice(&body).unwrap_or_default();
    for call in policy::refused(&door.function, &operation, &request) {
        let refused = format!("{}: {call:?}", door.function);
        recorder.refused.lock().unwrap().insert(refused);
    }
    let (lost, mut then) = recorder
        .next_loss(&operation)
        .map_or((None, None), |(lost, then)| (Some(lost), then));
    match lost {
        Some(Lost::Request) => return Ok(internal_server_error()),
        Some(Lost::Conflict) => return Ok(conflict(&operation)),
        Some(Lost::Throttled) => return Ok(throttled()),
        Some(Lost::Reply) | None => {}
        Some(Lost::Nothing) => {
            if let Some(first) = then.take() {
                first.await;
            }
        }
    }
    let fault = recorder.fault_of(door, &operation, &request);
    match fault {
        Some(Fault::RequestLost) => return Err(Closed),
        Some(Fault::ErrorBefore) => return Ok(internal_server_error()),
        Some(Fault::Throttled) => return Ok(throttled()),
        Some(Fault::ThrottledInside) => return Ok(cancelled("ThrottlingError")),
        Some(Fault::Conflict) => return Ok(conflict(&operation)),
        Some(Fault::InProgress) => return Ok(refusal("TransactionInProgressException", r#""x":0"#)),
        Some(Fault::Unprocessed) => return Ok(unprocessed(&operation, &request)),
        Some(Fault::KilledBefore) => {
            recorder.kill(door.process);
            return Err(Closed);
        }
        Some(Fault::Late(delay)) => {
            recorder.late.fetch_add(1, Ordering::SeqCst);
            let recorder = recorder.clone();
            // Of its own, because the connection ends when its sender has waited long enough.
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                recorder.forward(&parts, body).await;
                recorder.late.fetch_sub(1, Ordering::SeqCst);
            });
            return std::future::pending().await;
        }
        Some(Fault::ReplyLost | Fault::ErrorAfter | Fault::KilledAfter | Fault::KilledLater(_)) | None => {}
    }
    let (status, headers, body) = recorder.forward(&parts, body).await;
    let latency = *recorder.latency.lock().unwrap();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if recorder.is_recording.load(Ordering::Relaxed) {
        recorder.recorded.lock().unwrap().push(Recorded {
            began,
            ended: Instant::now(),
            operation,
            request,
            response: serde_json::from_slice(&body).unwrap_or_default(),
        });
    }
    if lost == Some(Lost::Reply) {
        if let Some(then) = then {
            then.await;
        }
        return Ok(internal_server_error());
    }
    match fault {
        Some(Fault::ReplyLost) => return Err(Closed),
        Some(Fault::ErrorAfter) => return Ok(internal_server_error()),
        Some(Fault::KilledAfter) => {
            recorder.kill(door.process);
            return Err(Closed);
        }
        Some(Fault::KilledLater(delay)) => {
            let (recorder, process) = (recorder.clone(), door.process);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                recorder.kill(process);
            });
        }
        _ => {}
    }
    Ok((status, headers, body).into_response())
}

fn throttled() -> Response {
    refusal("ProvisionedThroughputExceededException", r#""x":0"#)
}

fn conflict(operation: &str) -> Response {
    match operation {
        "TransactWriteItems" => cancelled("TransactionConflict"),
        _ => refusal("TransactionConflictException", r#""x":0"#),
    }
}

fn cancelled(reason: &str) -> Response {
    let reasons = format!(r#""CancellationReasons":[{{"Code":"{reason}","Message":"injected"}},{{"Code":"None"}}]"#);
    refusal("TransactionCanceledException", &reasons)
}

fn unprocessed(operation: &str, request: &Value) -> Response {
    let items = &request["RequestItems"];
    let body = match operation {
        "BatchGetItem" => format!(r#"{{"Responses":{{}},"UnprocessedKeys":{items}}}"#),
        _ => format!(r#"{{"UnprocessedItems":{items}}}"#),
    };
    ([("content-type", "application/x-amz-json-1.0")], body).into_response()
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
