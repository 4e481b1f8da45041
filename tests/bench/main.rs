//! `cargo bench -p functions --features bench`: what each function costs in release, beside a bare function that makes the same DynamoDB
//! calls, against the bars that the project holds itself to.
//!
//! Everything runs on this machine: the engine and the Runtime API in this process, the function in its own. Latency is from the event
//! handed to the runtime to its answer; CPU is the function's own, as the kernel accounts it. Compare ratios; absolute times are this
//! machine's.
//!
//! After `--`, words choose the functions whose names hold one of them. `-- measure` prints what costs follow from instead, as JSON
//! ([`measure`]).

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a bench reads clocks, prints what it measured and fails by panicking"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of this than the bench")]
mod support;

mod measure;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde_json::{Value, json};
use support::{Account, Request, System};

/// How often a function is started.
const STARTS: usize = 21;

struct Row {
    /// The function.
    binary: &'static str,
    /// The calls of the bare function beside it.
    calls: &'static str,
    /// How often it is called.
    requests: usize,
    /// The bar for the CPU of a request, in milliseconds.
    cpu: Option<f64>,
}

const fn row(binary: &'static str, calls: &'static str, requests: usize, cpu: Option<f64>) -> Row {
    Row {
        binary,
        calls,
        requests,
        cpu,
    }
}

const ROWS: [Row; 15] = [
    row("system-health", "", 2_000, None),
    row("pages-chat", "", 2_000, None),
    row("pages-assets", "", 1_000, None),
    row("system-fallback", "", 2_000, None),
    row("keys-list", "Keys", 1_000, None),
    row("users-balance", "GetItem", 2_000, Some(0.45)),
    row("users-profile", "GetItem", 1_000, None),
    row("chats-get", "BatchGetItem", 1_000, None),
    row("chats-list", "Query", 1_000, Some(0.8)),
    row("users-list", "GetItem,Index", 1_000, None),
    row("token-refresh", "Rotate", 1_000, None),
    row("users-logout", "Logout", 200, None),
    row("chats-send", "Hold,Settle", 1_000, Some(1.1)),
    row("users-register", "PutItem", 60, None),
    row("users-login", "GetItem,Login", 60, Some(25.0)),
];

/// The bars for start-up and latency, as ratios to the bare function, and for sizes in MB.
const START_RATIO: f64 = 1.3;
const START_MS: f64 = 25.0;
const LATENCY_RATIO: f64 = 1.2;
const MEGABYTES_WITH_SDK: f64 = 11.0;
const MEGABYTES_WITHOUT: f64 = 3.0;

#[tokio::main]
async fn main() {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(("measure", names)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return measure::print(names).await;
    }
    let overrides = [
        ("MESSAGE_COST_TOKENS", "1"),
        ("SIGNUP_TOKENS", "1000000"),
        ("REFRESH_TOKEN_SECONDS", "86400"),
        ("ACCESS_TOKEN_SECONDS", "86400"),
        // Nobody here is slow enough to be a person.
        ("CHATS_PER_MINUTE", "60000"),
        ("LOGINS_PER_MINUTE", "0"),
    ];
    let system = System::start_direct(&overrides).await;
    let ada = system.account("ada").await;
    for _ in 0..60 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    // What the bare function's conditions look for.
    let members = [("g", "0"), ("r", "1736166896789"), ("e", "4102444800000")];
    let session = members.map(|(name, digits)| (name.to_owned(), AttributeValue::N(digits.into())));
    system
        .set(&ada, "sessions.bare", AttributeValue::M(session.into()))
        .await;
    let mut missed = Vec::new();
    println!(
        "| function | MB | start ms | ÷ bare | p50 ms | p99 ms | ÷ bare | CPU ms | ÷ bare | bare: calls, start, p50, CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in ROWS.iter().filter(|row| is_chosen(row.binary, &words)) {
        compare(&system, &ada, row, &mut missed).await;
    }
    if is_chosen("chats-list", &words) {
        long_history(&system, &mut missed).await;
    }
    if missed.is_empty() {
        println!("\nEvery bar holds.");
    } else {
        println!("\nMissed: {}", missed.join("; "));
        panic!("{} bars missed", missed.len());
    }
}

/// Whether a function is to be measured: without words, all are.
fn is_chosen(binary: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| binary.contains(word.as_str()))
}

async fn compare(system: &System, ada: &Account, row: &Row, missed: &mut Vec<String>) {
    let megabytes = system.size_of(row.binary) / 1e6;
    let bare = format!("bare-{}", row.calls);
    // In turn, so that a slow minute of the machine hits both.
    let (mut starts, mut bare_starts) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        starts.push(start(system, row.binary, &mut Feed::new(system, ada, row.binary).await).await);
        bare_starts.push(start(system, &bare, &mut Feed::hello()).await);
    }
    let mut feed = Feed::new(system, ada, row.binary).await;
    let mut hello = Feed::hello();
    let (mut warm, mut bare_warm) = (Warm::default(), Warm::default());
    for _ in 0..10 {
        warm.add(system, row.binary, &mut feed, row.requests / 10).await;
        bare_warm.add(system, &bare, &mut hello, row.requests / 10).await;
    }
    system.kill(row.binary).await;
    system.kill(&bare).await;

    let (started, bare_started) = (median(&mut starts), median(&mut bare_starts));
    let (p50, p99) = (warm.percentile(50), warm.percentile(99));
    let (bare_p50, cpu, bare_cpu) = (bare_warm.percentile(50), warm.cpu(), bare_warm.cpu());
    println!(
        "| {} | {megabytes:.1} | {started:.1} | {:.2} | {p50:.2} | {p99:.2} | {:.2} | {cpu:.2} | {:.2} | {} {bare_started:.1} {bare_p50:.2} {bare_cpu:.2} |",
        row.binary,
        started / bare_started,
        p50 / bare_p50,
        cpu / bare_cpu,
        if row.calls.is_empty() { "none" } else { row.calls },
    );
    let mut bar = |holds: bool, what: String| {
        if !holds {
            missed.push(format!("{}: {what}", row.binary));
        }
    };
    let size = if row.calls.is_empty() {
        MEGABYTES_WITHOUT
    } else {
        MEGABYTES_WITH_SDK
    };
    bar(megabytes <= size, format!("{megabytes:.1} MB, at most {size}"));
    bar(
        started <= START_MS,
        format!("start {started:.1} ms, at most {START_MS}"),
    );
    // Password hashes are the point of these two; no bare function has them.
    let hashes = matches!(row.binary, "users-register" | "users-login");
    bar(
        started <= bare_started * START_RATIO,
        format!("start {:.2} × bare, at most {START_RATIO}", started / bare_started),
    );
    bar(
        hashes || p50 <= bare_p50 * LATENCY_RATIO,
        format!("p50 {:.2} × bare, at most {LATENCY_RATIO}", p50 / bare_p50),
    );
    if let Some(most) = row.cpu {
        bar(cpu <= most, format!("CPU {cpu:.2} ms, at most {most}"));
    }
}

/// From the start of the process to its first answer, in milliseconds.
async fn start(system: &System, binary: &str, feed: &mut Feed) -> f64 {
    system.kill(binary).await;
    // What hashes a password is started with a request that is refused before it: 20 ms of hashing are not start-up.
    let event = match binary {
        "users-register" => Request::post("/api/v1/users", &json!({})).rest_event(),
        "users-login" => Request::post("/api/v1/users/login", &json!({})).rest_event(),
        _ => feed.next(system).await,
    };
    let started = Instant::now();
    system.spawn(binary);
    system.invoke(binary, event).await.expect("an answer");
    milliseconds(started.elapsed())
}

#[derive(Default)]
struct Warm {
    latencies: Vec<f64>,
    cpu: Duration,
}

impl Warm {
    async fn add(&mut self, system: &System, binary: &str, feed: &mut Feed, requests: usize) {
        // A refresh follows from the one before; everything else is made beforehand, so that one request follows the other.
        let mut events = Vec::new();
        while feed.binary != "token-refresh" && events.len() < requests {
            events.push(feed.next(system).await);
        }
        events.reverse();
        for _ in 0..requests {
            let event = match events.pop() {
                Some(event) => event,
                None => feed.next(system).await,
            };
            let cpu = system.cpu_of(binary);
            let started = Instant::now();
            let reply = system.invoke(binary, event).await.expect("an answer");
            self.latencies.push(milliseconds(started.elapsed()));
            self.cpu += system.cpu_of(binary).saturating_sub(cpu);
            assert!(
                reply.status < 300 || binary == "system-fallback",
                "{binary}: {}",
                reply.text
            );
        }
    }

    fn percentile(&mut self, percent: usize) -> f64 {
        self.latencies.sort_by(f64::total_cmp);
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
    fn cpu(&self) -> f64 {
        milliseconds(self.cpu) / self.latencies.len() as f64
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Makes the requests of a function.
struct Feed {
    binary: String,
    account: Option<Account>,
    request: Option<Request>,
    count: usize,
}

impl Feed {
    fn hello() -> Self {
        Self {
            binary: String::new(),
            account: None,
            request: Some(Request::get("/")),
            count: 0,
        }
    }

    async fn new(system: &System, ada: &Account, binary: &str) -> Self {
        let request = match binary {
            "system-health" => Some(Request::get("/api/v1/health")),
            "pages-chat" => Some(Request::get("/")),
            "pages-assets" => Some(Request::get("/assets/chat-AAAAAAAA.js")),
            "system-fallback" => Some(Request::get("/nothing")),
            "keys-list" => Some(Request::get("/.well-known/jwks.json")),
            "users-balance" => Some(Request::get("/api/v1/users/token-balance").bearer(&ada.access)),
            "users-profile" => Some(Request::get("/api/v1/users/me").bearer(&ada.access)),
            "chats-list" => Some(Request::get("/api/v1/chats").bearer(&ada.access)),
            "users-list" => Some(Request::get("/api/v1/users/all").bearer(&ada.access)),
            "chats-send" => Some(Request::post("/api/v1/chats", &json!({"message": "hello"})).bearer(&ada.access)),
            "users-login" => Some(Request::post(
                "/api/v1/users/login",
                &json!({"username": "login", "password": ada.password}),
            )),
            "chats-get" => {
                let page = system
                    .send(Request::get("/api/v1/chats").query("limit", "1").bearer(&ada.access))
                    .await;
                let id = page.body["data"][0]["id"].as_str().expect("a chat").to_owned();
                Some(Request::get(&format!("/api/v1/chats/{id}")).bearer(&ada.access))
            }
            _ => None,
        };
        let body = json!({"username": "login", "password": ada.password});
        system.send(Request::post("/api/v1/users", &body)).await;
        let account = match binary {
            "token-refresh" => Some(system.login("login", &ada.password).await),
            _ => None,
        };
        Self {
            binary: binary.to_owned(),
            account,
            request,
            count: 0,
        }
    }

    async fn next(&mut self, system: &System) -> Value {
        self.count += 1;
        if let Some(request) = &self.request {
            return request.rest_event();
        }
        match self.binary.as_str() {
            "users-register" => {
                let name = format!("new{}", system.unique_number());
                Request::post(
                    "/api/v1/users",
                    &json!({"username": name, "password": "correct horse battery"}),
                )
                .rest_event()
            }
            "users-logout" => {
                // A user has five sessions at most.
                if self.count % 5 == 1 {
                    self.account = Some(system.account(&format!("leaver{}", system.unique_number())).await);
                }
                let leaver = self.account.as_ref().expect("a user");
                let account = system.login(&leaver.username, &leaver.password).await;
                Request::post("/api/v1/users/logout", &json!({"refresh": account.refresh}))
                    .bearer(&account.access)
                    .rest_event()
            }
            "token-refresh" => {
                let account = self.account.as_mut().expect("a session");
                let refresh = |token: &str| Request::post("/api/v1/token/refresh", &json!({"refresh": token}));
                if self.count > 1 {
                    // The measured request used the token up; asked again within the grace, it gets the same pair.
                    let reply = system.send(refresh(&account.refresh)).await.expect_status(200);
                    account.refresh = reply.text_of("refresh");
                }
                refresh(&account.refresh).rest_event()
            }
            other => panic!("say what {other} is sent"),
        }
    }
}

/// A page of a history of 100 000 messages must cost what one of 100 costs.
async fn long_history(system: &System, missed: &mut Vec<String>) {
    println!("\n| history of | p50 ms of a page of 50 | read units |");
    println!("|---|---|---|");
    let mut figures = Vec::new();
    for (name, count) in [("short", 100), ("long", 100_000)] {
        let account = system.account(name).await;
        fill(system, name, count).await;
        let request = Request::get("/api/v1/chats").bearer(&account.access);
        let mut times = Vec::new();
        for _ in 0..300 {
            let started = Instant::now();
            let reply = system.send(request.clone()).await.expect_status(200);
            times.push(milliseconds(started.elapsed()));
            assert_eq!(reply.body["data"].as_array().unwrap().len(), 50);
        }
        let units = system.last_read_units("chats-list").await;
        let p50 = median(&mut times);
        println!("| {count} | {p50:.2} | {units} |");
        figures.push((p50, units));
    }
    let [(short, short_units), (long, long_units)] = figures[..] else {
        unreachable!()
    };
    println!(
        "\ntime ratio {:.2}, at most 1.3; read units {short_units} and {long_units}, equal",
        long / short
    );
    if long > short * 1.3 || (long_units - short_units).abs() > f64::EPSILON {
        missed.push(format!(
            "history: {:.2} × the time, {short_units} and {long_units} read units",
            long / short
        ));
    }
}

/// Stores chats as the chat function does, 25 at a time.
async fn fill(system: &System, username: &str, count: u32) {
    let number = |number: u64| AttributeValue::N(number.to_string());
    let text = |text: String| AttributeValue::S(text);
    let items: Vec<WriteRequest> = (0..count)
        .map(|index| {
            let id = shared::domain::ChatId::new(shared::domain::Timestamp::from_millis(
                1_700_000_000_000 + i64::from(index),
            ))
            .to_string();
            let item = HashMap::from([
                ("pk".into(), text(format!("USER#{username}"))),
                ("sk".into(), text(format!("TURN#{id}"))),
                ("id".into(), text(id)),
                ("message".into(), text(format!("message {index:06}"))),
                ("response".into(), text(format!("AI Response to: message {index:06}"))),
                ("model".into(), text("echo".into())),
                ("cost".into(), number(100)),
                ("balance_after".into(), number(0)),
                ("created_at".into(), number(1_700_000_000_000 + u64::from(index))),
            ]);
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for batch in items.chunks(25) {
        let request = system
            .client
            .batch_write_item()
            .request_items(&system.table, batch.to_vec());
        assert!(
            request
                .send()
                .await
                .unwrap()
                .unprocessed_items
                .unwrap_or_default()
                .is_empty()
        );
    }
}
