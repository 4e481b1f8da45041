//! Real programs beside the functions: a small model, a provider that fails as it is told to, Bedrock, OpenAI's SDKs.
//!
//! Each is named by an environment variable, which `.ci/run` sets once it has installed them. Where one is missing, whoever needs it says
//! so and proves nothing, unless `RIGS` is `required`.

use std::{
    io::Write,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use super::root;

/// What a variable says, or `None` where it says nothing and need not.
pub fn variable(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    let required = std::env::var("RIGS").is_ok_and(|value| value == "required");
    assert!(!required, "{name} is not set, and nothing may be skipped");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Past the test harness, which swallows what passing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {name} is not set");
    None
}

/// The command that a variable names.
fn command(name: &str) -> Option<Command> {
    let words = variable(name)?;
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_else(|| panic!("{name} is empty")));
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    Some(command)
}

/// A server that was started for one test and is killed with it.
struct Server {
    child: Child,
    url: String,
    printed: Arc<Mutex<Vec<String>>>,
    client: Client<HttpConnector, Body>,
}

impl Server {
    /// Starts a server on a port of its own and waits until it answers at `ready`.
    async fn start(variable: &str, ready: &str, configure: impl Fn(&mut Command, u16)) -> Option<Self> {
        // The port is free when it is chosen; if another process takes it before the server does, another is.
        for _ in 0..3 {
            let port = free_port();
            let mut command = command(variable)?;
            configure(&mut command, port);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command
                .spawn()
                .unwrap_or_else(|error| panic!("{variable} cannot be started: {error}"));
            let printed = Arc::new(Mutex::new(Vec::new()));
            keep(child.stdout.take().unwrap(), &printed);
            keep(child.stderr.take().unwrap(), &printed);
            let mut server = Self {
                child,
                url: format!("http://127.0.0.1:{port}"),
                printed,
                client: Client::builder(TokioExecutor::new()).build_http(),
            };
            if server.is_ready(ready).await {
                return Some(server);
            }
            let status = server.child.wait().await.unwrap();
            let said = server.printed().join("\n");
            assert!(
                said.contains("in use"),
                "{variable} ended with {status}; it said: {said}"
            );
        }
        panic!("{variable} found no free port");
    }

    /// Waits until it answers with 200; `false` if it ended before.
    async fn is_ready(&mut self, path: &str) -> bool {
        for _ in 0..3_000 {
            if matches!(self.try_ask("GET", path, None).await, Some((200, _))) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} is never ready; it said: {:#?}", self.url, self.printed());
    }

    async fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.client.request(request.body(body).unwrap()).await.ok()?;
        let status = response.status().as_u16();
        let bytes = to_bytes(Body::new(response.into_body()), usize::MAX).await.ok()?;
        Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, reply) = self.try_ask(method, path, body).await.expect("it answers");
        assert!((200..300).contains(&status), "{method} {path}: {status} {reply}");
        reply
    }

    fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }
}

/// A port that nobody listens at now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn keep(output: impl AsyncRead + Unpin + Send + 'static, printed: &Arc<Mutex<Vec<String>>>) {
    let printed = Arc::clone(printed);
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            printed.lock().unwrap().push(line);
        }
    });
}

/// A real model behind llama.cpp's server. `LLAMA_SERVER` is a command that takes the flags of `llama-server`.
pub struct LlamaServer {
    server: Server,
    pub base_url: String,
}

impl LlamaServer {
    /// The name of the model that it answers with, whatever it is asked for.
    pub const MODEL: &str = "smollm2";

    /// Whether there is one; says so if there is none, and need not be.
    pub fn is_there() -> bool {
        command("LLAMA_SERVER").is_some()
    }

    /// Starts it with two slots of 1024 tokens each, and with more flags.
    pub async fn start(more: &[&str]) -> Option<Self> {
        let server = Server::start("LLAMA_SERVER", "/health", |command, port| {
            command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--alias", Self::MODEL, "--ctx-size", "2048", "--parallel", "2"]);
            // Two threads wait for one another in busy loops, which takes half a minute where a build has the other core.
            command.args(["--threads", "1"]).args(more);
        })
        .await?;
        Some(Self {
            base_url: format!("{}/v1", server.url),
            server,
        })
    }

    /// How many requests it is working on.
    pub async fn busy(&self) -> usize {
        busy(&self.server.url).await
    }

    /// Waits until it works on this many requests.
    pub async fn wait_for_busy(&self, count: usize) {
        for _ in 0..3_000 {
            if self.busy().await == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the model never had {count} requests at work");
    }

    /// How often it stopped working because whoever had asked was gone. Only streams are stopped: it does not notice that nobody waits for
    /// a whole answer.
    pub fn cancelled(&self) -> usize {
        let printed = self.server.printed();
        printed.iter().filter(|line| line.contains("cancel task")).count()
    }

    /// Waits until it has stopped so often.
    pub async fn wait_for_cancelled(&self, count: usize) {
        for _ in 0..1_000 {
            if self.cancelled() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "the model went on for a client that had left: {:#?}",
            self.server.printed()
        );
    }

    /// Kills it in the middle of whatever it does.
    pub async fn kill(&mut self) {
        self.server.child.kill().await.unwrap();
    }
}

/// How many requests llama.cpp's server at this URL, without a path, is working on.
pub async fn busy(url: &str) -> usize {
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(format!("{url}/slots").parse().unwrap()).await.unwrap();
    let bytes = to_bytes(Body::new(response.into_body()), usize::MAX).await.unwrap();
    let slots: Vec<Value> = serde_json::from_slice(&bytes).expect("a list of slots");
    slots.iter().filter(|slot| slot["is_processing"] == true).count()
}

/// A provider that speaks OpenAI's API, has no model, and fails as it is told to. `LLMOCK` is the command llmock.
pub struct FailingProvider {
    server: Server,
    pub base_url: String,
}

impl FailingProvider {
    /// Starts it; it answers until it is told otherwise.
    pub async fn start() -> Option<Self> {
        let server = Server::start("LLMOCK", "/health", |command, port| {
            command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--response-style", "echo", "--log-level", "warning"]);
        })
        .await?;
        Some(Self {
            base_url: format!("{}/v1", server.url),
            server,
        })
    }

    /// Tells what to do with the next requests: a list of llmock's behaviours, such as `{"type": "fail", "status": 429}`, each for one
    /// request unless it says how many `times`. What was told before is forgotten.
    pub async fn tell(&self, behaviors: &Value) {
        self.server.ask("POST", "/_llmock/reset", None).await;
        if behaviors.as_array().is_some_and(|list| !list.is_empty()) {
            let scenario = json!({"behaviors": behaviors});
            self.server.ask("POST", "/_llmock/scenario", Some(&scenario)).await;
        }
    }

    /// What it found wrong with how its client took the faults, such as `retry_after_ignored` or `retried_non_retryable`.
    pub async fn complaints(&self) -> Vec<String> {
        let verdict = self.server.ask("GET", "/_llmock/verdict", None).await;
        let findings = verdict["findings"].as_array().expect("a list of findings").iter();
        let errors = findings.filter(|finding| finding["severity"] == "error");
        errors
            .map(|finding| finding["code"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What it has been asked since it was last told something, oldest first: `status`, `stream`, `completed`, `body` and more of each. A
    /// request is there when it has been answered, so this waits for `count` of them.
    pub async fn asked(&self, count: usize) -> Vec<Value> {
        let mut requests = Vec::new();
        for _ in 0..500 {
            let reply = self.server.ask("GET", "/_llmock/requests", None).await;
            requests.clone_from(reply["requests"].as_array().expect("a list of requests"));
            if requests.len() >= count {
                return requests;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the provider was asked {requests:#?}, which is not {count} times");
    }
}

/// Bedrock as ministack serves it, which hands what it is asked to a real model. `MINISTACK` is the command ministack.
///
/// It answers with real frames, but all of them at once, after the whole answer; a model that fails or refuses is hidden behind a made-up
/// answer; every answer ends with `end_turn`. And its IAM knows `bedrock:Converse`, where AWS wants `bedrock:InvokeModel`.
pub struct Bedrock {
    _server: Server,
    /// What `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` must be.
    pub url: String,
}

impl Bedrock {
    /// Starts it in front of a model.
    pub async fn start(model: &LlamaServer) -> Option<Self> {
        // Without the path: it adds `/v1/chat/completions` itself.
        let server = ministack(&[("MINISTACK_BEDROCK_PROXY_URL", &model.server.url)]).await?;
        Some(Self {
            url: server.url.clone(),
            _server: server,
        })
    }

    /// How an answer begins that came from no model.
    pub const MADE_UP: &str = "[ministack mock";
}

/// CloudWatch as ministack serves it.
pub struct OtherCloudWatch {
    server: Server,
    /// What `AWS_ENDPOINT_URL_CLOUDWATCH` must be.
    pub url: String,
}

impl OtherCloudWatch {
    /// Starts it; it knows no metrics.
    pub async fn start() -> Option<Self> {
        let server = ministack(&[]).await?;
        Some(Self {
            url: server.url.clone(),
            server,
        })
    }

    /// Tells it a value of a metric of this system, and when it was, in seconds since 1970.
    pub async fn put(&self, metric: &str, dimensions: &[(&str, &str)], time: u64, value: f64) {
        let dimensions: Vec<_> = dimensions
            .iter()
            .map(|(name, value)| json!({"Name": name, "Value": value}))
            .collect();
        let datum =
            json!({"MetricName": metric, "Dimensions": dimensions, "Timestamp": time, "Value": value, "Unit": "Count"});
        let data = json!({"Namespace": "ai-chat-system", "MetricData": [datum]});
        let operation = local::cloudwatch::OPERATION.replace("Get", "Put");
        self.server.ask("POST", &operation, Some(&data)).await;
    }
}

async fn ministack(variables: &[(&str, &str)]) -> Option<Server> {
    Server::start("MINISTACK", "/_ministack/health", |command, port| {
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string());
        command.env("IOT_MTLS_ENABLED", "0").env("SFTP_ENABLED", "0");
        command.envs(variables.iter().copied());
    })
    .await
}

/// One of OpenAI's SDKs, with the program in `tests/clients/openai` that uses it.
#[derive(Debug, Clone, Copy)]
pub enum Sdk {
    /// `OPENAI_PYTHON` is a Python that has it.
    Python,
    /// `OPENAI_NODE` is a Node; the SDK lies beside the program.
    Node,
}

impl Sdk {
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    const fn variable(self) -> &'static str {
        match self {
            Self::Python => "OPENAI_PYTHON",
            Self::Node => "OPENAI_NODE",
        }
    }

    /// Whether it is installed; says so if it is not, and need not be.
    pub fn is_there(self) -> bool {
        command(self.variable()).is_some()
    }

    /// Runs one scenario of the program: what it says of it. The variables are `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `CLIENT_MODEL` and
    /// whatever else the scenario takes.
    ///
    /// # Panics
    /// If it finds something that a program could not rely on.
    pub async fn run(self, scenario: &str, variables: &[(&str, &str)]) -> Option<Value> {
        let program = match self {
            Self::Python => "client.py",
            Self::Node => "client.mjs",
        };
        let mut command = command(self.variable())?;
        command
            .arg(root().join("tests/clients/openai").join(program))
            .arg(scenario);
        // Nothing that the SDK could take for itself: only what the test gives it.
        command.envs(variables.iter().copied()).env("NO_PROXY", "127.0.0.1");
        let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("{self:?} {scenario} does not end"))
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let said: Value = serde_json::from_str(printed.trim()).unwrap_or_default();
        let complaint = said["failed"].as_str().unwrap_or_default();
        assert!(
            output.status.success(),
            "{self:?} {scenario}: {}\n{complaint}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Some(said)
    }
}
