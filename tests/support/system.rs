use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use local::{
    cloudwatch::CloudWatch,
    engine::{self, Engine, LOCAL_CREDENTIALS},
    template::{Function, Template},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use super::{
    Lost, Recorded, Reply, Site, Streaming, binaries,
    contract::Asked,
    recorder::{Door, Recorder},
    reply::Format,
    rigs,
    runtime::{Answer, Leaving, Runtime},
};

/// The directory of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The deployment's template.
pub fn template() -> &'static Template {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| Template::read(&root().join("template.yaml")).unwrap());
    &TEMPLATE
}

/// The functions of the template.
pub fn functions() -> &'static [Function] {
    static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| template().functions().unwrap());
    &FUNCTIONS
}

/// The seed that test deployments sign with.
pub const SEED: [u8; 32] = *b"a seed that only the tests know!";

/// One deployment: a table, a gateway, and the processes of the functions that have been called.
pub struct System {
    _engine: Option<Engine>,
    /// Where it is, if somebody else deployed it.
    site: Option<Site>,
    /// Speaks to the engine directly.
    pub client: Client,
    pub table: String,
    engine_url: String,
    pub recorder: Recorder,
    runtime: Runtime,
    fleet: Arc<Fleet>,
    secrets: Mutex<BTreeSet<String>>,
}

/// The processes of a deployment, and what starts another.
struct Fleet {
    /// Where the functions find the engine, if not through a door of the recorder.
    direct: Option<String>,
    recorder: Recorder,
    runtime: Runtime,
    runtime_api: String,
    table: String,
    overrides: Mutex<BTreeMap<String, String>>,
    processes: Mutex<HashMap<String, Vec<Process>>>,
    last_process: AtomicU64,
    replaces_killed: AtomicBool,
    logs: Arc<Mutex<Vec<String>>>,
    /// Gets the metrics of the lines.
    cloudwatch: CloudWatch,
    cloudwatch_url: String,
}

struct Process {
    number: u64,
    child: Child,
}

/// A request of a client.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<String>,
    base64: bool,
    source: String,
}

/// A user with a session.
#[derive(Debug, Clone)]
pub struct Account {
    pub username: String,
    pub password: String,
    pub access: String,
    pub refresh: String,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            query: Vec::new(),
            headers: vec![("Accept".into(), "*/*".into()), ("Host".into(), "api.example".into())],
            body: None,
            base64: false,
            // As from all over the world: only what comes from one network is paced together.
            source: std::net::Ipv4Addr::from_bits(0x0b00_0000 + next_number()).to_string(),
        }
    }

    /// Sends it from this address.
    pub fn from(mut self, address: &str) -> Self {
        self.source = address.into();
        self
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str, body: &Value) -> Self {
        Self::with_body("POST", path, body)
    }

    pub fn with_body(method: &str, path: &str, body: &Value) -> Self {
        Self::new(method, path)
            .raw_body(&body.to_string())
            .header("Content-Type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn bearer(self, access: &str) -> Self {
        self.header("Authorization", &format!("Bearer {access}"))
    }

    /// The same to another path.
    pub fn to(&self, path: &str) -> Self {
        Self {
            path: path.into(),
            ..self.clone()
        }
    }

    /// Authenticates as clients of Django REST framework do.
    pub fn auth_key(self, key: &str) -> Self {
        self.header("Authorization", &format!("Token {key}"))
    }

    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    pub fn raw_body(mut self, body: &str) -> Self {
        self.body = Some(body.into());
        self
    }

    /// A body that the gateway hands on in base64, or says it does.
    pub fn base64_body(mut self, body: &str) -> Self {
        self.body = Some(body.into());
        self.base64 = true;
        self
    }

    /// The same as HTTP, to the server at this base URL.
    pub fn http(&self, base_url: &str) -> axum::http::Request<axum::body::Body> {
        let query: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{}", query.join("&"))
        };
        let request = axum::http::Request::builder()
            .method(self.method.as_str())
            .uri(format!("{base_url}{}{query}", self.path));
        let headers = self.headers.iter().filter(|(name, _)| name != "Host");
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        request.body(self.body.clone().unwrap_or_default().into()).unwrap()
    }

    /// The event of the deployed REST API, payload format 1.0.
    pub fn rest_event(&self) -> Value {
        let singles = |pairs: &[(String, String)]| -> Value { json!(pairs.iter().cloned().collect::<HashMap<_, _>>()) };
        let multiples = |pairs: &[(String, String)]| -> Value {
            let mut multiple: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (name, value) in pairs {
                multiple.entry(name).or_default().push(value);
            }
            json!(multiple)
        };
        let queries = !self.query.is_empty();
        json!({
            "resource": self.path, "path": self.path, "httpMethod": self.method,
            "headers": singles(&self.headers), "multiValueHeaders": multiples(&self.headers),
            "queryStringParameters": queries.then(|| singles(&self.query)),
            "multiValueQueryStringParameters": queries.then(|| multiples(&self.query)),
            "pathParameters": null, "stageVariables": null,
            "requestContext": {
                "requestId": format!("request-{}", next_number()), "stage": "dev", "path": format!("/dev{}", self.path),
                "httpMethod": self.method, "identity": {"sourceIp": self.source},
            },
            "body": self.body, "isBase64Encoded": self.base64,
        })
    }

    /// The event of an HTTP API or of `cargo lambda watch`, payload format 2.0.
    fn http_event(&self) -> Value {
        let headers: HashMap<_, _> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let query: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
            .collect();
        json!({
            "version": "2.0", "routeKey": "$default", "httpMethod": "GET", "rawPath": self.path, "rawQueryString": query.join("&"),
            "headers": headers, "body": self.body, "isBase64Encoded": self.base64,
            "requestContext": {
                "requestId": format!("request-{}", next_number()), "stage": "$default", "timeEpoch": 0,
                "http": {"method": self.method, "path": self.path, "protocol": "HTTP/1.1", "sourceIp": self.source},
            },
        })
    }
}

/// The engine of the environment, or one of this test's own.
async fn engine() -> (Option<Engine>, String) {
    match std::env::var("AWS_ENDPOINT_URL_DYNAMODB") {
        Ok(url) => (None, url),
        Err(_) => {
            let engine = Engine::start(None).await.unwrap();
            let url = engine.url();
            (Some(engine), url)
        }
    }
}

fn next_number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

impl System {
    /// A deployment with the template's defaults.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A deployment with some environment variables of its functions set differently.
    pub async fn start_with(overrides: &[(&str, &str)]) -> Self {
        let (engine, engine_url) = engine().await;
        Self::deploy(engine, &engine_url, None, overrides).await
    }

    /// A deployment whose functions speak to the engine directly, for measurements.
    pub async fn start_direct(overrides: &[(&str, &str)]) -> Self {
        let (engine, engine_url) = engine().await;
        Self::deploy(engine, &engine_url, Some(engine_url.clone()), overrides).await
    }

    async fn deploy(
        engine: Option<Engine>,
        engine_url: &str,
        direct: Option<String>,
        overrides: &[(&str, &str)],
    ) -> Self {
        let client = engine::client(engine_url);
        let table = format!("test-{}-{}", std::process::id(), next_number());
        template().create_table(&client, &table).await.unwrap();
        Self::assemble(engine, engine_url, client, table, direct, overrides).await
    }

    /// What `sam deploy` made: requests go to its gateway over HTTP, and only the checks look into its table. `None` where the environment
    /// names none, as [`super::rigs`] says.
    pub async fn deployed() -> Option<Self> {
        let url = rigs::variable("DEPLOYED_URL")?;
        let [table, engine_url] =
            ["DEPLOYED_TABLE", "AWS_ENDPOINT_URL_DYNAMODB"].map(|name| std::env::var(name).unwrap());
        let client = engine::client(&engine_url);
        let site = Site::new(url, client.clone(), &table);
        let mut system = Self::assemble(None, &engine_url, client, table, None, &[]).await;
        system.site = Some(site);
        Some(system)
    }

    async fn assemble(
        engine: Option<Engine>,
        engine_url: &str,
        client: Client,
        table: String,
        direct: Option<String>,
        overrides: &[(&str, &str)],
    ) -> Self {
        let recorder = Recorder::new(engine_url);
        let runtime = Runtime::default();
        let runtime_api = runtime.serve().await;
        let cloudwatch = CloudWatch::default();
        let cloudwatch_url = cloudwatch.serve().await.unwrap();
        let fleet = Arc::new(Fleet {
            direct,
            recorder: recorder.clone(),
            runtime: runtime.clone(),
            runtime_api,
            table: table.clone(),
            overrides: Mutex::new(
                overrides
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            processes: Mutex::default(),
            last_process: AtomicU64::new(0),
            replaces_killed: AtomicBool::new(false),
            logs: Arc::default(),
            cloudwatch,
            cloudwatch_url,
        });
        let weak = Arc::downgrade(&fleet);
        recorder.set_killer(move |process| {
            if let Some(fleet) = weak.upgrade() {
                fleet.kill(process);
            }
        });
        Self {
            _engine: engine,
            site: None,
            client,
            table,
            engine_url: engine_url.to_owned(),
            recorder,
            runtime,
            fleet,
            secrets: Mutex::default(),
        }
    }

    /// Whether the suite runs against the embedded engine, whose capacity figures can be trusted.
    pub fn is_embedded(&self) -> bool {
        self._engine.is_some()
    }

    /// Whether its gateway answers preflights: that of the emulator which `sam deploy` is tried against does not.
    pub fn answers_preflights(&self) -> bool {
        self.site.is_none()
    }

    /// Sends a request through the gateway as the deployed REST API would.
    pub async fn send(&self, request: Request) -> Reply {
        if let Some(site) = &self.site {
            return site.send(&request).await;
        }
        self.deliver(&self.route(&request), request.rest_event()).await
    }

    /// Sends a request through the gateway as `cargo lambda watch` would.
    pub async fn send_v2(&self, request: Request) -> Reply {
        self.deliver(&self.route(&request), request.http_event()).await
    }

    /// As [`System::send`]; `None` if the process that took the request died.
    pub async fn try_send(&self, request: &Request) -> Option<Reply> {
        self.invoke(&self.route(request), request.rest_event()).await
    }

    /// Sends any event to any function.
    pub async fn deliver(&self, binary: &str, event: Value) -> Reply {
        self.invoke(binary, event)
            .await
            .unwrap_or_else(|| panic!("{binary} died; it said: {:#?}", self.logs()))
    }

    /// Sends any event to any function; `None` if the process that took it died.
    pub async fn invoke(&self, binary: &str, event: Value) -> Option<Reply> {
        if self.fleet.processes.lock().unwrap().get(binary).is_none() {
            self.spawn(binary);
        }
        let format = if event["rawPath"].is_string() {
            Format::Http
        } else {
            Format::Rest
        };
        self.keep_secrets_of(&event);
        let asked = Asked::of(binary, &event);
        let answered = self.runtime.invoke(binary, event.to_string());
        let answer = tokio::select! {
            answer = answered => answer.ok(),
            () = self.all_dead(binary) => None,
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{binary} does not answer; it said: {:#?}", self.logs()),
        };
        let reply = match answer? {
            Answer::Response(response) => Reply::read(&response, format, !binary.starts_with("bare-")),
            Answer::Stream(prelude, pieces) => {
                let streaming = Streaming::new(&prelude, pieces, None);
                let (status, headers) = (streaming.status, streaming.headers.clone());
                let text = streaming.text().await;
                let body: Value = serde_json::from_str(&text).unwrap_or_default();
                Reply {
                    status,
                    headers,
                    body,
                    text,
                }
            }
            Answer::Error(error) => {
                panic!(
                    "{binary} reported an error: {} {:#?}",
                    String::from_utf8_lossy(&error),
                    self.logs()
                )
            }
        };
        self.keep_secrets_told(&reply.body);
        if let Some(asked) = asked {
            asked.check(reply.status, &reply.headers, &reply.text);
        }
        Some(reply)
    }

    /// Sends a request through a gateway that streams: comes back with the status, before there is more.
    pub async fn stream(&self, request: Request) -> Streaming {
        match self.forward(&request).await {
            Some(Answer::Stream(prelude, pieces)) => {
                let asked = Asked::of(&self.route(&request), &request.rest_event());
                Streaming::new(&prelude, pieces, asked)
            }
            other => panic!("there is no stream ({other:?}); it said: {:#?}", self.logs()),
        }
    }

    /// Hands a request to its function, and back whatever that says first; nothing if the process that took it dies.
    pub async fn forward(&self, request: &Request) -> Option<Answer> {
        let (binary, event) = (self.route(request), request.rest_event());
        if self.fleet.processes.lock().unwrap().get(&binary).is_none() {
            self.spawn(&binary);
        }
        self.keep_secrets_of(&event);
        self.runtime.invoke(&binary, event.to_string()).await.ok()
    }

    /// Keeps what a function answered that nobody may read in a log.
    pub fn keep_secrets_told(&self, body: &Value) {
        self.keep_secrets_in(body, &["access", "refresh", "token", "response", "content", "key"]);
    }

    /// Chooses what the gateway does with streams whose clients leave.
    pub fn when_clients_leave(&self, leaving: Leaving) {
        self.runtime.when_clients_leave(leaving);
    }

    /// Invokes a function that no route leads to: its response, or the text of its error.
    pub async fn invoke_operator(&self, binary: &str, event: Value) -> Result<Value, String> {
        if self.fleet.processes.lock().unwrap().get(binary).is_none() {
            self.spawn(binary);
        }
        let answered = self.runtime.invoke(binary, event.to_string());
        match tokio::time::timeout(Duration::from_secs(60), answered).await {
            Ok(Ok(Answer::Response(response))) => {
                let output = serde_json::from_slice(&response).unwrap();
                self.keep_secrets_in(&output, &["password"]);
                Ok(output)
            }
            Ok(Ok(Answer::Error(error))) => Err(String::from_utf8_lossy(&error).into_owned()),
            other @ (Ok(Ok(Answer::Stream(..))) | Ok(Err(_)) | Err(_)) => {
                panic!("{binary} gave no answer ({other:?}); it said: {:#?}", self.logs())
            }
        }
    }

    async fn all_dead(&self, binary: &str) {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut processes = self.fleet.processes.lock().unwrap();
            let running = processes.get_mut(binary).is_some_and(|all| {
                all.iter_mut()
                    .any(|process| matches!(process.child.try_wait(), Ok(None)))
            });
            if !running {
                return;
            }
        }
    }

    /// The function that the template routes this request to. A method of its own comes before `ANY`, a path of its own before `{proxy+}`.
    pub fn route(&self, request: &Request) -> String {
        let path = match request.path.strip_suffix('/') {
            Some("") | None => request.path.as_str(),
            Some(path) => path,
        };
        let routes = || {
            functions()
                .iter()
                .flat_map(|function| function.routes.iter().map(move |route| (function, route)))
        };
        // A path without parameters hides those with, whatever its methods.
        let literal = routes().any(|(_, route)| route.path == path);
        let matches = |route: &str| match literal {
            true => route == path,
            false => shared::api::match_path(route, path).is_some(),
        };
        let with = |method: &str| {
            let here = routes().filter(|(_, route)| route.method == method && !route.path.contains("+}"));
            here.into_iter().find(|(_, route)| matches(&route.path))
        };
        let any = || routes().find(|(_, route)| route.method == "ANY" && route.path.contains("+}"));
        let (function, _) = with(&request.method)
            .or_else(|| with("ANY"))
            .or_else(any)
            .expect("the template has a catch-all");
        function.binary.clone()
    }

    /// Starts one more process of a function.
    pub fn spawn(&self, binary: &str) {
        self.fleet.spawn(binary);
    }

    /// A function's binary as an operator runs it: outside Lambda, and speaking to the engine directly.
    pub fn command_line(&self, binary: &str) -> Command {
        let mut command = Command::new(binaries::path_of(binary));
        command
            .env_clear()
            .envs(LOCAL_CREDENTIALS)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.engine_url)
            .env("TABLE_NAME", &self.table);
        command
    }

    /// Sets an environment variable for the processes started from now on.
    pub fn override_variable(&self, name: &str, value: &str) {
        self.fleet.overrides.lock().unwrap().insert(name.into(), value.into());
    }

    /// Starts a process of a function if there is none, and waits until one has started up.
    pub async fn ready(&self, binary: &str) {
        if self.fleet.processes.lock().unwrap().get(binary).is_none() {
            self.spawn(binary);
        }
        self.runtime.until_idle(binary).await;
    }

    /// Starts another process for each that is killed from here on, before it is killed.
    pub fn replace_killed(&self) {
        self.fleet.replaces_killed.store(true, Ordering::Relaxed);
    }

    /// Kills one of the processes of a function, as SIGKILL does: no handler runs.
    pub fn kill_one(&self, binary: &str, which: u64) {
        let number = {
            let processes = self.fleet.processes.lock().unwrap();
            let all = processes.get(binary).map_or(&[][..], Vec::as_slice);
            let index = usize::try_from(which).unwrap().checked_rem(all.len());
            index.map(|index| all[index].number)
        };
        if let Some(number) = number {
            self.fleet.kill(number);
        }
    }

    /// Kills every process of a function, as SIGKILL does: no handler runs.
    pub async fn kill(&self, binary: &str) {
        let processes = self.fleet.processes.lock().unwrap().remove(binary).unwrap_or_default();
        for mut process in processes {
            process.child.kill().await.unwrap();
            self.runtime.bury(process.number);
        }
    }

    /// What the functions have printed so far.
    pub fn logs(&self) -> Vec<String> {
        self.fleet.logs.lock().unwrap().clone()
    }

    /// Loses the reply to the next request of an operation, and ends a session before the client can send it again.
    pub fn lose_reply_and_end_session(&self, operation: &str, account: &Account, session: &str) {
        let update = self.user_update(account).update_expression("REMOVE sessions.#session");
        let update = update.expression_attribute_names("#session", session);
        self.recorder
            .lose_then(operation, async move { drop(update.send().await.unwrap()) });
    }

    /// Does something right before the next transaction reaches the engine.
    pub fn before_transaction(&self, first: impl Future<Output = ()> + Send + 'static) {
        self.before("TransactWriteItems", first);
    }

    /// Does something right before the next request of an operation reaches the engine.
    pub fn before(&self, operation: &str, first: impl Future<Output = ()> + Send + 'static) {
        self.recorder.delay_for(operation, first);
    }

    /// Loses the next requests of an operation, or the replies to them.
    pub fn lose(&self, lost: Lost, operation: &str, times: usize) {
        self.recorder.lose(lost, operation, times);
    }

    /// As [`System::lose`], after as many requests have gone through.
    pub fn lose_after(&self, operation: &str, after: usize, lost: Lost, times: usize) {
        self.recorder.lose_after(operation, after, lost, times);
    }

    /// Makes every reply of the engine take this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.recorder.set_latency(latency);
    }

    /// Loses nothing more.
    pub fn stop_losing(&self) {
        self.recorder.stop_losing();
    }

    /// What went to the engine since it was last asked.
    pub fn take_recorded(&self) -> Vec<Recorded> {
        self.recorder.take()
    }

    /// Signs up and logs in.
    pub async fn account(&self, username: &str) -> Account {
        let password = "correct horse battery".to_owned();
        let credentials = json!({"username": username, "password": password});
        self.send(Request::post("/api/v1/users", &credentials))
            .await
            .expect_status(201);
        self.login(username, &password).await
    }

    /// Logs in.
    pub async fn login(&self, username: &str, password: &str) -> Account {
        let credentials = json!({"username": username, "password": password});
        let reply = self
            .send(Request::post("/api/v1/users/login", &credentials))
            .await
            .expect_status(200);
        Account {
            username: username.into(),
            password: password.into(),
            access: reply.text_of("access"),
            refresh: reply.text_of("refresh"),
        }
    }

    /// Makes an API key with these limits; tells the key and its name.
    pub async fn api_key(&self, account: &Account, limits: &Value) -> (String, String) {
        let mut body = limits.clone();
        body["name"] = json!("a key");
        let made = Request::post("/api/v1/api-keys", &body).bearer(&account.access);
        let made = self.send(made).await.expect_status(201);
        let of = |member: &str| made.body["api_key"][member].as_str().unwrap().to_owned();
        (of("key"), of("id"))
    }

    /// Sends a chat message.
    pub async fn chat(&self, account: &Account, message: &str) -> Reply {
        self.send(Request::post("/api/v1/chats", &json!({"message": message})).bearer(&account.access))
            .await
    }

    /// The balance that the user is told.
    pub async fn balance(&self, account: &Account) -> u64 {
        let reply = self
            .send(Request::get("/api/v1/users/token-balance").bearer(&account.access))
            .await
            .expect_status(200);
        reply.body["token_balance"].as_u64().unwrap()
    }

    /// Everything in the table.
    pub async fn scan(&self) -> Vec<HashMap<String, AttributeValue>> {
        let pages = self
            .client
            .scan()
            .table_name(&self.table)
            .into_paginator()
            .items()
            .send();
        pages.collect::<Result<Vec<_>, _>>().await.unwrap()
    }

    /// A user's whole partition, read from the table.
    pub async fn items(&self, username: &str) -> Vec<HashMap<String, AttributeValue>> {
        items(&self.client, &self.table, username).await
    }

    /// Waits until a user has this many holds, without giving any back as a balance read would.
    pub async fn wait_for_holds(&self, username: &str, count: usize) {
        for _ in 0..1_500 {
            let items = self.items(username).await;
            let user = items
                .iter()
                .find(|item| item["sk"].as_s().unwrap() == "USER")
                .expect("the user is there");
            if user["holds"].as_m().unwrap().len() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{username} never had {count} holds");
    }

    /// Checks from the outside, by reading the table: balance + Σ holds + Σ chat costs = Σ ledger.
    pub async fn check_ledger(&self, username: &str) {
        let items = self.items(username).await;
        let number = |value: &AttributeValue| value.as_n().unwrap().parse::<u64>().unwrap();
        let user = items
            .iter()
            .find(|item| item["sk"].as_s().unwrap() == "USER")
            .expect("the user is there");
        let holds: u64 = user["holds"]
            .as_m()
            .unwrap()
            .values()
            .map(|hold| number(&hold.as_m().unwrap()["c"]))
            .sum();
        let chats = items
            .iter()
            .filter(|item| item["sk"].as_s().unwrap().starts_with("TURN#"));
        let spent: u64 = chats.map(|chat| number(&chat["cost"])).sum();
        let entries = items
            .iter()
            .filter(|item| item["sk"].as_s().unwrap().starts_with("LEDGER#"));
        let adjusted: i64 = entries
            .map(|entry| entry["amount"].as_n().unwrap().parse::<i64>().unwrap())
            .sum();
        let (balance, granted) = (number(&user["balance"]), number(&user["signup_grant"]));
        assert_eq!(
            i64::try_from(balance + holds + spent).unwrap(),
            i64::try_from(granted).unwrap() + adjusted,
            "balance {balance} + holds {holds} + spent {spent} = granted {granted} + adjusted {adjusted}"
        );
    }
}

/// A user's whole partition, read from a table.
pub async fn items(client: &Client, table: &str, username: &str) -> Vec<HashMap<String, AttributeValue>> {
    let pk = AttributeValue::S(format!("USER#{username}"));
    let query = client.query().table_name(table).key_condition_expression("pk = :pk");
    let pages = query
        .expression_attribute_values(":pk", pk)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    pages.collect::<Result<Vec<_>, _>>().await.unwrap()
}

impl Fleet {
    /// Starts one more process of a function.
    fn spawn(&self, binary: &str) {
        let (name, environment) = match binary.strip_prefix("bare-") {
            Some(calls) => {
                let environment = [("BARE_CALLS", calls), ("BARE_USER", "ada")];
                (
                    "bare",
                    environment
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .into(),
                )
            }
            None => {
                let function = functions().iter().find(|function| function.binary == binary);
                (
                    binary,
                    function.expect("the template has the function").environment.clone(),
                )
            }
        };
        let number = self.last_process.fetch_add(1, Ordering::Relaxed) + 1;
        let endpoint = self.direct.clone().unwrap_or_else(|| {
            let function = binary.to_owned();
            let process = number;
            self.recorder.open(Door { function, process })
        });
        let mut command = Command::new(binaries::path_of(name));
        command
            .env_clear()
            .envs(LOCAL_CREDENTIALS)
            .env("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
            .env("AWS_ENDPOINT_URL_CLOUDWATCH", &self.cloudwatch_url)
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                format!("http://{}/{binary}.{number}", self.runtime_api),
            )
            .env("AWS_LAMBDA_FUNCTION_NAME", binary)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .envs(&environment)
            .env("TABLE_NAME", &self.table);
        if environment.contains_key("SIGNING_SEED") {
            command.env("SIGNING_SEED", base64_of(&SEED));
        }
        command
            .envs(&*self.overrides.lock().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{binary}: {error}"));
        self.keep_lines(child.stdout.take().unwrap());
        self.keep_lines(child.stderr.take().unwrap());
        let mut processes = self.processes.lock().unwrap();
        processes
            .entry(binary.to_owned())
            .or_default()
            .push(Process { number, child });
    }

    fn keep_lines(&self, output: impl AsyncRead + Unpin + Send + 'static) {
        let logs = Arc::clone(&self.logs);
        let cloudwatch = self.cloudwatch.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                cloudwatch.add(line.as_bytes());
                logs.lock().unwrap().push(line);
            }
        });
    }

    /// Kills a process, as SIGKILL does: no handler runs.
    fn kill(&self, number: u64) {
        let found = {
            let processes = self.processes.lock().unwrap();
            let of = |all: &Vec<Process>| all.iter().any(|process| process.number == number);
            let found = processes.iter().find(|(_, all)| of(all));
            found.map(|(binary, _)| binary.clone())
        };
        let Some(binary) = found else {
            return;
        };
        if self.replaces_killed.load(Ordering::Relaxed) {
            self.spawn(&binary);
        }
        let mut processes = self.processes.lock().unwrap();
        let Some(all) = processes.get_mut(&binary) else {
            return;
        };
        if let Some(index) = all.iter().position(|process| process.number == number) {
            let mut process = all.swap_remove(index);
            process.child.start_kill().unwrap();
        }
        if all.is_empty() {
            processes.remove(&binary);
        }
        drop(processes);
        self.runtime.bury(number);
    }
}

/// What no function may ever print: what people send and what they are given to authenticate with.
impl System {
    fn keep_secrets_of(&self, event: &Value) {
        let body = event["body"].as_str().and_then(|body| serde_json::from_str(body).ok());
        let sent = ["password", "password2", "old", "new", "message", "refresh"];
        self.keep_secrets_in(body.as_ref().unwrap_or(&Value::Null), &sent);
        for headers in [&event["headers"], &event["multiValueHeaders"]] {
            for (name, value) in headers.as_object().into_iter().flatten() {
                if name.eq_ignore_ascii_case("authorization") {
                    let value = value.as_str().unwrap_or_default();
                    self.keep_secret(value.rsplit(' ').next().unwrap_or_default());
                }
            }
        }
    }

    fn keep_secrets_in(&self, body: &Value, secret: &[&str]) {
        for (name, value) in body.as_object().into_iter().flatten() {
            match value {
                Value::String(text) if secret.contains(&name.as_str()) => self.keep_secret(text),
                inner => self.keep_secrets_in(inner, secret),
            }
        }
    }

    /// Makes sure that no function prints this.
    pub fn keep_secret(&self, text: &str) {
        // Of a JWT the signature is the secret; what is short is in every text by chance.
        let secret = text.rsplit('.').next().unwrap_or_default();
        if (12..2_000).contains(&secret.len()) {
            self.secrets.lock().unwrap().insert(secret.to_owned());
        }
    }
}

/// A fault that was never met would make its test pass for nothing. And whatever a test was about: its functions did nothing that their
/// policies do not allow, and nothing it sent or was given may be in what they printed.
impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert!(self.recorder.all_lost(), "a fault of this test was never met");
        let refused = self.recorder.refused();
        assert!(refused.is_empty(), "template.yaml does not allow: {refused:#?}");
        let seed = base64_of(&SEED);
        let secrets = self.secrets.lock().unwrap();
        for line in self.fleet.logs.lock().unwrap().iter() {
            for secret in secrets.iter().chain([&seed]) {
                assert!(!line.contains(secret.as_str()), "{secret:?} is in the log: {line}");
            }
            assert!(!line.contains("argon2id"), "a hash is in the log: {line}");
        }
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// What a test does to the table behind the system's back.
impl System {
    /// Sets an attribute of a user, or a member of one as `attribute.member`.
    pub async fn set(&self, account: &Account, attribute: &str, value: AttributeValue) {
        let names: Vec<_> = (0..)
            .map(|index| format!("#a{index}"))
            .zip(attribute.split('.'))
            .collect();
        let path: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
        let update = self
            .user_update(account)
            .update_expression(format!("SET {} = :value", path.join(".")));
        let update = names.iter().fold(update, |update, (name, member)| {
            update.expression_attribute_names(name, *member)
        });
        update
            .expression_attribute_values(":value", value)
            .send()
            .await
            .unwrap();
    }

    /// As [`System::set`], with a text.
    pub async fn set_text(&self, account: &Account, attribute: &str, text: &str) {
        self.set(account, attribute, AttributeValue::S(text.into())).await;
    }

    /// Removes an attribute of a user.
    pub async fn remove(&self, account: &Account, attribute: &str) {
        let update = self.user_update(account).update_expression("REMOVE #attribute");
        let update = update.expression_attribute_names("#attribute", attribute);
        update.send().await.unwrap();
    }

    /// Makes a session's last refresh look older.
    pub async fn age_session(&self, account: &Account, session: &str, milliseconds: u64) {
        let update = self
            .user_update(account)
            .update_expression("SET sessions.#session.r = sessions.#session.r - :age");
        let update = update.expression_attribute_names("#session", session);
        update
            .expression_attribute_values(":age", AttributeValue::N(milliseconds.to_string()))
            .send()
            .await
            .unwrap();
    }

    /// Leaves a hold as a function does that dies right after placing it; its lease ends `lease_milliseconds` from now.
    pub async fn leave_dead_hold(&self, account: &Account, cost: u64, lease_milliseconds: i64) {
        self.leave_dead_hold_of(account, None, cost, lease_milliseconds).await;
    }

    /// As [`System::leave_dead_hold`], of a function that was called with the API key of this name.
    pub async fn leave_dead_hold_of(
        &self,
        account: &Account,
        api_key: Option<&str>,
        cost: u64,
        lease_milliseconds: i64,
    ) {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let number = |number: i64| AttributeValue::N(number.to_string());
        let cost = i64::try_from(cost).unwrap();
        let mut hold = HashMap::from([
            ("c".into(), number(cost)),
            ("a".into(), AttributeValue::S(format!("attempt{}", next_number()))),
            ("p".into(), number(now - 60_000)),
            ("l".into(), number(now + lease_milliseconds)),
        ]);
        let mut update = self.user_update(account);
        let mut expression = "SET balance = balance - :cost, holds.#hold = :hold".to_owned();
        if let Some(api_key) = api_key {
            hold.insert("k".into(), AttributeValue::S(api_key.into()));
            expression.push_str(", api_keys.#api_key.s = api_keys.#api_key.s + :cost");
            update = update.expression_attribute_names("#api_key", api_key);
        }
        let update = update
            .update_expression(expression)
            .condition_expression("balance >= :cost")
            .expression_attribute_values(":cost", number(cost));
        let update = update.expression_attribute_names("#hold", format!("dead{}", next_number()));
        update
            .expression_attribute_values(":hold", AttributeValue::M(hold))
            .send()
            .await
            .unwrap();
    }

    fn user_update(
        &self,
        account: &Account,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        let pk = AttributeValue::S(format!("USER#{}", account.username.to_lowercase()));
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", pk)
            .key("sk", AttributeValue::S("USER".into()))
    }

    /// Makes a conversation longer by `count` chats of this cost, written as settlements would have written them; whoever said all that had
    /// been given what it cost.
    pub async fn lengthen_conversation(&self, username: &str, conversation: &str, count: usize, cost: u64) {
        let text = |text: String| AttributeValue::S(text);
        let number = |number: u64| AttributeValue::N(number.to_string());
        let items = (0..count).flat_map(|index| {
            // Later than everything that was really said.
            let id = format!("7ZZZZZZZZZ000000000{index:07}");
            [format!("TURN#{id}"), format!("SAID#{conversation}#{id}")].map(|sk| {
                HashMap::from([
                    ("pk".into(), text(format!("USER#{username}"))),
                    ("sk".into(), text(sk)),
                    ("id".into(), text(id.clone())),
                    ("conversation".into(), text(conversation.into())),
                    ("message".into(), text(format!("message {index}"))),
                    ("response".into(), text("x".repeat(500))),
                    ("model".into(), text("echo".into())),
                    ("cost".into(), number(cost)),
                    ("balance_after".into(), number(0)),
                    ("created_at".into(), number(1)),
                ])
            })
        });
        let puts: Vec<_> = items
            .map(|item| {
                let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            })
            .collect();
        for batch in puts.chunks(25) {
            let write = self.client.batch_write_item();
            write.request_items(&self.table, batch.to_vec()).send().await.unwrap();
        }
        let update = self.client.update_item().table_name(&self.table);
        update
            .key("pk", text(format!("USER#{username}")))
            .key("sk", text("USER".into()))
            .update_expression("SET signup_grant = signup_grant + :spent")
            .expression_attribute_values(":spent", number(cost * u64::try_from(count).unwrap()))
            .send()
            .await
            .unwrap();
    }

    /// The gateway event of a chat message.
    pub fn chat_event(&self, account: &Account, message: &str) -> Value {
        Request::post("/api/v1/chats", &json!({"message": message}))
            .bearer(&account.access)
            .rest_event()
    }
}

/// What the bench measures.
impl System {
    /// The size of a function's binary, in bytes.
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    pub fn size_of(&self, binary: &str) -> f64 {
        std::fs::metadata(binaries::path_of(binary)).unwrap().len() as f64
    }

    /// The CPU that the one process of a function has used so far, all its threads together.
    pub fn cpu_of(&self, binary: &str) -> Duration {
        let Some(id) = self.process_of(binary) else {
            return Duration::ZERO;
        };
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
        let nanoseconds = threads.filter_map(|thread| {
            let schedule = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            schedule.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// The most memory that the one process of a function has had so far, in KiB.
    pub fn peak_memory_of(&self, binary: &str) -> u64 {
        let id = self.process_of(binary).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The one process of a function.
    pub fn process_of(&self, binary: &str) -> Option<u32> {
        let processes = self.fleet.processes.lock().unwrap();
        processes.get(binary)?.first()?.child.id()
    }

    /// A number that no other call gets.
    pub fn unique_number(&self) -> u32 {
        next_number()
    }

    /// The read units of the last request that a function logged.
    pub async fn last_read_units(&self, binary: &str) -> f64 {
        let line: Value = serde_json::from_str(&self.last_line_of(binary).await).unwrap();
        line["dynamodb_read_units"].as_f64().unwrap()
    }

    /// The line of the last request that a function logged.
    pub async fn last_line_of(&self, binary: &str) -> String {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let is_its = |line: &String| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["endpoint"] == binary
        };
        self.logs().into_iter().rev().find(is_its).expect("it has logged")
    }
}
