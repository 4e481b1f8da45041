//! `cargo bench -p functions --features bench -- measure > tests/bench/measured.json`: what one request of each kind of function takes,
//! from which `tests/bench/costs.py` and `tests/bench/simulate.py` tell what all of them cost. Some names after it measure only those.
//!
//! Lambda gives CPU in proportion to memory, one vCPU at 1769 MB
//! (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>). Here the kernel does: the process gets its share of each
//! 20 ms in a cgroup of its own, so this needs Linux and the right to make one. Three things are assumptions: that Lambda's period is 20 ms
//! too, that its vCPU is as fast as this machine's, and that the table answers within 5 ms. Memory itself is not limited; how much the
//! process had at most is told.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Feed, is_chosen, median, milliseconds, start,
    support::{Account, Reply, System},
};

/// One of each kind: nothing but the edge; one read; a page; two writes around a model; two signatures; two hashes.
const KINDS: [&str; 7] = [
    "system-health",
    "users-balance",
    "chats-list",
    "chats-send",
    "token-refresh",
    "users-register",
    "users-login",
];
/// The memory sizes of a function, in MB.
const SIZES: [u32; 5] = [128, 256, 512, 1024, 1769];
/// The memory size that has one vCPU.
const ONE_VCPU: u32 = 1769;
/// What the share of a CPU is counted in.
const PERIOD: Duration = Duration::from_millis(20);
/// How far away the table is.
const TABLE: Duration = Duration::from_millis(5);
/// Between two requests that do not meet: an environment that is called ten times a second.
const PAUSE: Duration = Duration::from_millis(100);
/// How often each function is called at each size.
const REQUESTS: usize = 40;
/// How often each function is started.
const STARTS: usize = 11;

pub(crate) async fn print(names: &[String]) {
    let overrides = [
        ("MESSAGE_COST_TOKENS", "1"),
        ("SIGNUP_TOKENS", "1000000"),
        ("REFRESH_TOKEN_SECONDS", "86400"),
        ("ACCESS_TOKEN_SECONDS", "86400"),
        // Nobody here is slow enough to be a person.
        ("CHATS_PER_MINUTE", "60000"),
        ("LOGINS_PER_MINUTE", "0"),
        // As deployed: lines carry their metrics.
        ("METRICS_NAMESPACE", "ai-chat-system"),
    ];
    let system = System::start_with(&overrides).await;
    let ada = system.account("ada").await;
    for _ in 0..60 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    let mut functions = serde_json::Map::new();
    for binary in KINDS.into_iter().filter(|binary| is_chosen(binary, names)) {
        functions.insert(binary.to_owned(), of_function(&system, &ada, binary).await);
    }
    let measured = json!({
        "table_ms": milliseconds(TABLE),
        "period_ms": milliseconds(PERIOD),
        "functions": functions,
        "reconciliation": reconciliation(&system).await,
    });
    println!("{measured:#}");
}

async fn of_function(system: &System, ada: &Account, binary: &str) -> Value {
    system.set_latency(TABLE);
    let mut feed = Feed::new(system, ada, binary).await;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(start(system, binary, &mut feed).await);
    }
    let mut by_size = serde_json::Map::new();
    let (mut peak, mut cpu, mut response) = (0, Duration::ZERO, 0);
    for size in SIZES {
        system.kill(binary).await;
        system.spawn(binary);
        for _ in 0..5 {
            let event = next(system, &mut feed).await;
            system.invoke(binary, event).await.expect("an answer");
        }
        let quota = Quota::of(size);
        quota.limit(system.process_of(binary).expect("it runs"));
        let (mut apart, mut in_a_row) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            let event = next(system, &mut feed).await;
            tokio::time::sleep(PAUSE).await;
            let (time, _) = timed(system, binary, event).await;
            apart.push(time);
        }
        let mut used = Duration::ZERO;
        for _ in 0..REQUESTS {
            let event = next(system, &mut feed).await;
            let before = system.cpu_of(binary);
            let (time, reply) = timed(system, binary, event).await;
            used += system.cpu_of(binary).saturating_sub(before);
            in_a_row.push(time);
            response = reply.text.len();
        }
        cpu = used / u32::try_from(REQUESTS).expect("a few");
        peak = peak.max(system.peak_memory_of(binary));
        by_size.insert(size.to_string(), figures(&mut apart, &mut in_a_row));
    }
    system.kill(binary).await;
    system.set_latency(Duration::ZERO);
    let line = system.last_line_of(binary).await;
    let said: Value = serde_json::from_str(&line).expect("a line is JSON");
    json!({
        "binary_mb": rounded(system.size_of(binary) / 1e6),
        "start_ms": rounded(median(&mut starts)),
        "cpu_ms": rounded(milliseconds(cpu)),
        "peak_mb": peak / 1024,
        "table_requests": said["dynamodb_calls"],
        "read_units": said["dynamodb_read_units"],
        "write_units": said["dynamodb_write_units"],
        "line_bytes": line.len(),
        "response_bytes": response,
        "by_memory": by_size,
    })
}

/// What the daily reconciliation needs for chats of conversations, each of which is two items.
async fn reconciliation(system: &System) -> Value {
    const BINARY: &str = "ledger-reconcile";
    const CHATS: usize = 10_000;
    let talker = system.account("talker").await;
    let conversation = "01JGXQ00000000000000000000";
    system
        .lengthen_conversation(&talker.username, conversation, CHATS, 1)
        .await;
    system.ready(BINARY).await;
    let before = system.cpu_of(BINARY);
    let run = system.invoke_operator(BINARY, json!({"repair": false})).await;
    let used = system.cpu_of(BINARY) - before;
    run.expect("every balance agrees with its ledger");
    json!({
        "items": 2 * CHATS,
        // Names and values as they are counted, of 500 letters of a response and all the rest.
        "item_bytes": 695,
        "cpu_ms": rounded(milliseconds(used)),
        "peak_mb": system.peak_memory_of(BINARY) / 1024,
    })
}

/// A request whose id is as long as the gateway makes them.
async fn next(system: &System, feed: &mut Feed) -> Value {
    let mut event = feed.next(system).await;
    event["requestContext"]["requestId"] = json!("00000000-0000-0000-0000-000000000000");
    event
}

/// How long a request takes, and its reply.
async fn timed(system: &System, binary: &str, event: Value) -> (f64, Reply) {
    let started = Instant::now();
    let reply = system.invoke(binary, event).await.expect("an answer");
    let time = milliseconds(started.elapsed());
    assert!(reply.status < 300, "{binary}: {}", reply.text);
    (time, reply)
}

/// What is billed is each duration, rounded up to the next millisecond.
fn figures(apart: &mut [f64], in_a_row: &mut [f64]) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a few requests")]
    let billed = |all: &[f64]| rounded(all.iter().map(|one| one.ceil()).sum::<f64>() / all.len() as f64);
    let (billed_apart, billed_in_a_row) = (billed(apart), billed(in_a_row));
    json!({
        "p50_ms": rounded(median(apart)),
        "p95_ms": rounded(apart[(apart.len() - 1) * 95 / 100]),
        "billed_ms": billed_apart,
        "in_a_row_p50_ms": rounded(median(in_a_row)),
        "in_a_row_billed_ms": billed_in_a_row,
    })
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// A cgroup that has a share of one CPU, for as long as this lives.
struct Quota(PathBuf);

impl Quota {
    /// The share that goes with a memory size.
    fn of(size: u32) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("memory-size-{}-{size}", std::process::id());
        let period = PERIOD.as_micros();
        let share = period * u128::from(size) / u128::from(ONE_VCPU);
        let (directory, settings) = if root.join("cgroup.controllers").exists() {
            // Version 2, where a parent hands controllers down. Most often they are.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
            (root.join(name), vec![("cpu.max", format!("{share} {period}"))])
        } else {
            let settings = vec![
                ("cpu.cfs_period_us", period.to_string()),
                ("cpu.cfs_quota_us", share.to_string()),
            ];
            (root.join("cpu").join(name), settings)
        };
        fs::create_dir(&directory).expect("only who may make cgroups can measure memory sizes");
        let quota = Self(directory);
        for (file, setting) in settings {
            fs::write(quota.0.join(file), setting).expect("the kernel has CPU bandwidth control");
        }
        quota
    }

    fn limit(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).expect("the process is there");
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Processes go back to where they came from; a cgroup without any can go.
        let _ = fs::read_to_string(self.0.join("cgroup.procs")).map(|processes| {
            let above = self.0.parent().unwrap_or(Path::new("/")).join("cgroup.procs");
            for process in processes.lines() {
                let _ = fs::write(&above, process);
            }
        });
        let _ = fs::remove_dir(&self.0);
    }
}
