//! A CloudWatch that answers what a test wants it to, in the protocol of its SDK.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use local::cloudwatch::{OPERATION, read, reply};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Said {
    /// It is answered with this.
    Page(Value),
    /// It is refused, with this status and code.
    Refusal(u16, &'static str),
    /// It is answered with something that is no answer.
    Rubbish(&'static [u8]),
    /// Nothing.
    Silence,
}

type Script = Arc<dyn Fn(&Value, usize) -> Said + Send + Sync>;

/// The server.
#[derive(Clone)]
pub struct CloudWatchServer {
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Value>>>,
    /// What `AWS_ENDPOINT_URL_CLOUDWATCH` must be.
    pub url: String,
}

impl CloudWatchServer {
    /// Starts a server that knows nothing of any metric.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let script: Script = Arc::new(|request, _| Said::Page(Self::page(request, |_| json!({}))));
        let server = Self {
            script: Arc::new(Mutex::new(script)),
            asked: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new().route(OPERATION, post(respond)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Answers from now on as `script` says, which gets the request and how many there were before it.
    pub fn follow(&self, script: impl Fn(&Value, usize) -> Said + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
        self.take_asked();
    }

    /// What it was asked since it was last told how to answer, or asked this.
    pub fn take_asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// A whole answer to a request. `result` says, of a query, in which members its result is another than that there is no data.
    pub fn page(request: &Value, result: impl Fn(&Value) -> Value) -> Value {
        let queries = request["MetricDataQueries"].as_array().unwrap().iter();
        let results = queries.map(|query| {
            let mut whole = json!({"Id": query["Id"], "Timestamps": [], "Values": [], "StatusCode": "Complete"});
            let other = result(query);
            whole
                .as_object_mut()
                .unwrap()
                .extend(other.as_object().unwrap().clone());
            whole
        });
        json!({"MetricDataResults": results.collect::<Vec<_>>()})
    }
}

async fn respond(State(server): State<CloudWatchServer>, body: Bytes) -> Response {
    let request = read(&body).unwrap();
    let before = {
        let mut asked = server.asked.lock().unwrap();
        asked.push(request.clone());
        asked.len() - 1
    };
    let script = Arc::clone(&server.script.lock().unwrap());
    match script(&request, before) {
        Said::Page(page) => reply(StatusCode::OK, &page),
        Said::Refusal(status, code) => {
            let body = json!({"__type": format!("com.amazonaws.cloudwatch#{code}"), "message": "No."});
            let mut refusal = reply(StatusCode::from_u16(status).unwrap(), &body);
            // As services do that spoke another protocol before.
            let old = format!("{code};Sender").parse().unwrap();
            refusal.headers_mut().insert("x-amzn-query-error", old);
            refusal
        }
        Said::Rubbish(bytes) => ([("smithy-protocol", "rpc-v2-cbor")], bytes).into_response(),
        Said::Silence => std::future::pending().await,
    }
}
