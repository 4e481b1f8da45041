//! The Lambda Runtime API (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>), for many functions at once: each polls
//! below a path of its own, `/<function>.<number of the process>`, with as many processes as it likes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot,
    },
};

/// What a function answered an invocation with.
#[derive(Debug)]
pub enum Answer {
    /// Its response.
    Response(Bytes),
    /// Its response, piece by piece: what it says first, then the pieces of the body as they come.
    Stream(Value, UnboundedReceiver<(Instant, Bytes)>),
    /// An error report: a panic, or an event that it could not read.
    Error(Bytes),
}

/// The server side of the API.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    queues: Arc<Mutex<HashMap<String, Arc<Queue>>>>,
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
    dead: Arc<Mutex<HashSet<u64>>>,
    leaving: Arc<Mutex<Leaving>>,
    last_id: Arc<AtomicU64>,
}

/// What a gateway does with a stream whose client has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leaving {
    /// It reads on.
    #[default]
    ReadsOn,
    /// It tells the function that nobody listens.
    SaysSo,
    /// It ends the connection.
    HangsUp,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// The process that took the event.
    process: Option<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    events: Mutex<VecDeque<(String, String)>>,
    arrived: Notify,
    /// How many processes wait for an event.
    idle: AtomicUsize,
}

/// One waiting process.
struct Idle<'a>(&'a Queue);

impl<'a> Idle<'a> {
    fn at(queue: &'a Queue) -> Self {
        queue.idle.fetch_add(1, Ordering::SeqCst);
        Self(queue)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.idle.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Runtime {
    /// Serves on a free port; tells the `host:port` for `AWS_LAMBDA_RUNTIME_API`.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/{process}/2018-06-01/runtime/invocation/next", get(next))
            .route("/{process}/2018-06-01/runtime/invocation/{id}/response", post(respond))
            .route("/{process}/2018-06-01/runtime/invocation/{id}/error", post(fail))
            .route("/{process}/2018-06-01/runtime/init/error", post(fail_init))
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address.to_string()
    }

    /// Chooses what happens to streams whose clients leave.
    pub fn when_clients_leave(&self, leaving: Leaving) {
        *self.leaving.lock().unwrap() = leaving;
    }

    /// Queues an event for `function`; the receiver gets its answer, or nothing if the process that took it dies.
    pub fn invoke(&self, function: &str, event: String) -> oneshot::Receiver<Answer> {
        let id = format!("invocation-{}", self.last_id.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let process = None;
        let waiting = Waiting { answer, process };
        self.waiting.lock().unwrap().insert(id.clone(), waiting);
        let queue = self.queue(function);
        queue.events.lock().unwrap().push_back((id, event));
        queue.arrived.notify_one();
        answered
    }

    /// Gives a process that was killed no more events; whoever waits for its answer gets none.
    pub fn bury(&self, process: u64) {
        self.dead.lock().unwrap().insert(process);
        let taken_by_it = |waiting: &Waiting| waiting.process == Some(process);
        self.waiting.lock().unwrap().retain(|_, waiting| !taken_by_it(waiting));
    }

    /// Waits until a process of `function` waits for an event.
    pub async fn until_idle(&self, function: &str) {
        let queue = self.queue(function);
        while queue.idle.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn queue(&self, function: &str) -> Arc<Queue> {
        Arc::clone(self.queues.lock().unwrap().entry(function.to_owned()).or_default())
    }

    fn answer(&self, id: &str, answer: Answer) -> StatusCode {
        match self.waiting.lock().unwrap().remove(id) {
            Some(waiting) => {
                // The test may have stopped waiting.
                let _ = waiting.answer.send(answer);
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        }
    }
}

async fn next(State(runtime): State<Runtime>, Path(process): Path<String>) -> Response {
    let (function, process) = process.rsplit_once('.').unwrap();
    let process = process.parse().unwrap();
    let queue = runtime.queue(function);
    let _idle = Idle::at(&queue);
    loop {
        let event = {
            // Killed or not is decided in the same moment: what a dead process took would never be answered.
            let dead = runtime.dead.lock().unwrap();
            if dead.contains(&process) {
                queue.arrived.notify_one();
                return StatusCode::GONE.into_response();
            }
            let event = queue.events.lock().unwrap().pop_front();
            if let Some((id, _)) = &event
                && let Some(waiting) = runtime.waiting.lock().unwrap().get_mut(id)
            {
                waiting.process = Some(process);
            }
            event
        };
        if let Some((id, event)) = event {
            if !queue.events.lock().unwrap().is_empty() {
                queue.arrived.notify_one();
            }
            let headers = [
                ("lambda-runtime-aws-request-id", id.as_str()),
                ("lambda-runtime-deadline-ms", "4102444800000"),
                (
                    "lambda-runtime-invoked-function-arn",
                    "arn:aws:lambda:us-east-1:123456789012:function:test",
                ),
            ];
            return (headers, event).into_response();
        }
        queue.arrived.notified().await;
    }
}

async fn respond(
    State(runtime): State<Runtime>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let mode = headers.get("lambda-runtime-function-response-mode");
    if mode.is_some_and(|mode| mode == "streaming") {
        assert_eq!(
            headers["content-type"],
            "application/vnd.awslambda.http-integration-response"
        );
        return stream(&runtime, &id, body).await;
    }
    match to_bytes(body, usize::MAX).await {
        Ok(body) => runtime.answer(&id, Answer::Response(body)),
        // The process died while it answered.
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// Reads a prelude, the eight zeros behind it, and hands on the pieces of the body.
async fn stream(runtime: &Runtime, id: &str, body: Body) -> StatusCode {
    const END: [u8; 8] = [0; 8];
    let mut body = body.into_data_stream();
    let (mut read, end) = (Vec::new(), END);
    let prelude = loop {
        if let Some(at) = read.windows(END.len()).position(|window| window == end) {
            let rest = read.split_off(at + END.len());
            read.truncate(at);
            break std::mem::replace(&mut read, rest);
        }
        match body.next().await {
            Some(Ok(piece)) => read.extend_from_slice(&piece),
            _ => return StatusCode::BAD_REQUEST,
        }
    };
    let prelude = serde_json::from_slice(&prelude).expect("the prelude is JSON");
    let (pieces, told) = unbounded_channel();
    let status = runtime.answer(id, Answer::Stream(prelude, told));
    if !read.is_empty() {
        let _ = pieces.send((Instant::now(), read.into()));
    }
    while let Some(Ok(piece)) = body.next().await {
        if pieces.send((Instant::now(), piece)).is_err() {
            let leaving = *runtime.leaving.lock().unwrap();
            match leaving {
                Leaving::ReadsOn => {}
                Leaving::SaysSo => return StatusCode::GONE,
                // The server gives up the connection of a handler that unwinds; this is no panic, so nothing is printed.
                Leaving::HangsUp => std::panic::resume_unwind(Box::new("hanging up")),
            }
        }
    }
    status
}

async fn fail(State(runtime): State<Runtime>, Path((_, id)): Path<(String, String)>, body: Bytes) -> StatusCode {
    runtime.answer(&id, Answer::Error(body))
}

async fn fail_init(Path(process): Path<String>, headers: HeaderMap, body: Bytes) -> StatusCode {
    eprintln!(
        "{process} failed to start: {headers:?} {}",
        String::from_utf8_lossy(&body)
    );
    StatusCode::ACCEPTED
}
