//! 100 000 users: what costs the same as with a thousand, and what grows no more than it must.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Account, Recorded, Reply, Request, System};

const USERS: &str = "/api/v1/admin/users";

async fn get(system: &System, caller: &Account, path: &str, query: &[(&str, &str)]) -> Reply {
    let request = query
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.query(name, value));
    system.send(request.bearer(&caller.access)).await
}

/// 100 000 users, written straight to the table.
async fn leave_users(system: &System, count: usize) {
    let text = |text: String| AttributeValue::S(text);
    let number = |number: i64| AttributeValue::N(number.to_string());
    let item = |index: usize| {
        let name = format!("user{index:06}");
        let item = HashMap::from([
            ("pk".to_owned(), text(format!("USER#{name}"))),
            ("sk".into(), text("USER".into())),
            ("listed".into(), text("ALL".into())),
            ("listed_as".into(), text(format!("{name}#{name}"))),
            ("active".into(), AttributeValue::Bool(true)),
            ("role".into(), text("user".into())),
            ("created_at".into(), number(1_736_166_896_789)),
            ("id".into(), text(format!("01JGXQ00000000000000{index:06}"))),
            ("username".into(), text(name)),
            ("password_hash".into(), text("none".into())),
            ("token_version".into(), number(0)),
            ("balance".into(), number(4_000)),
            ("signup_grant".into(), number(4_000)),
            ("sessions".into(), AttributeValue::M(HashMap::new())),
            ("holds".into(), AttributeValue::M(HashMap::new())),
        ]);
        let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let starts: Vec<_> = (0..count).step_by(25).collect();
    for starts in starts.chunks(16) {
        let write = async |start: &usize| {
            let batch: Vec<_> = (*start..(start + 25).min(count)).map(item).collect();
            let write = system.client.batch_write_item().request_items(&system.table, batch);
            write.send().await.unwrap();
        };
        join_all(starts.iter().map(write)).await;
    }
}

/// What a reconciliation took.
struct Reconciled {
    users: usize,
    took: Duration,
    megabytes: f64,
    progress: usize,
}

async fn reconcile(system: &System) -> Reconciled {
    let started = Instant::now();
    let mut command = system.command_line("ledger-reconcile");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    // The kernel keeps the highest mark; it is looked at until the process has ended.
    let highest = Arc::new(Mutex::new(0.0));
    let keep = Arc::clone(&highest);
    let watch = tokio::spawn(async move {
        while let Ok(status) = std::fs::read_to_string(&status) {
            let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            if let Some(kilobytes) = mark.and_then(|mark| mark.trim().strip_suffix(" kB")) {
                *keep.lock().unwrap() = kilobytes.parse::<f64>().unwrap() / 1024.0;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let output = child.wait_with_output().await.unwrap();
    let took = started.elapsed();
    watch.abort();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["drifted"], &found["busy"]), (&json!(0), &json!(0)), "{found}");
    let megabytes = *highest.lock().unwrap();
    Reconciled {
        users: usize::try_from(found["users"].as_u64().unwrap()).unwrap(),
        took,
        megabytes,
        progress: String::from_utf8_lossy(&output.stderr).matches("reconciling").count(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn among_100_000_users_a_page_and_a_search_are_one_query_and_reconciling_takes_no_more_memory() {
    let system = System::start().await;
    let count = if system.is_embedded() { 100_000 } else { 5_000 };
    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    let figures = async |path: &str, query: &[(&str, &str)]| {
        get(&system, &root, path, query).await.expect_status(200);
        system.take_recorded();
        let started = Instant::now();
        let page = get(&system, &root, path, query).await.expect_status(200);
        let took = started.elapsed();
        let recorded = system.take_recorded();
        let queries: Vec<_> = recorded.iter().filter(|one| one.operation == "Query").collect();
        let units: f64 = queries.iter().map(|one| Recorded::units(one)).sum();
        (
            queries.len(),
            units,
            page.body["data"].as_array().unwrap().len(),
            took,
            page,
        )
    };
    leave_users(&system, 1_000).await;
    let mut before = HashMap::new();
    let pages: [(&str, &[(&str, &str)]); 4] = [
        ("/api/v1/users/all", &[("limit", "1000")]),
        (USERS, &[]),
        (USERS, &[("prefix", "USER0009")]),
        (USERS, &[("prefix", "nobody")]),
    ];
    for (path, query) in pages {
        before.insert(format!("{path} {query:?}"), figures(path, query).await);
    }
    let few = reconcile(&system).await;
    leave_users(&system, count).await;
    let many = reconcile(&system).await;
    println!("\nreconciling     users   seconds   megabytes at most");
    for one in [&few, &many] {
        println!(
            "{:>21} {:>9.2} {:>19.1}",
            one.users,
            one.took.as_secs_f64(),
            one.megabytes
        );
    }
    assert_eq!(many.users, count + 1);
    assert!(many.progress >= count / 10_000, "progress is shown");
    assert!(
        many.megabytes <= few.megabytes + 40.0,
        "memory does not grow with the users"
    );
    println!(
        "{:<60} {:>7} {:>6} {:>16} {:>22}",
        "page among 1 000 and then all users", "queries", "users", "read units", "milliseconds"
    );
    for (path, query) in pages {
        let (queries, units, users, took, _) = figures(path, query).await;
        let name = format!("{path} {query:?}");
        let (_, units_before, _, took_before, _) = &before[&name];
        println!(
            "{name:<60} {queries:>7} {users:>6} {:>16} {:>22}",
            format!("{units_before} → {units}"),
            format!(
                "{:.1} → {:.1}",
                took_before.as_secs_f64() * 1e3,
                took.as_secs_f64() * 1e3
            )
        );
        assert_eq!(queries, 1, "{name}");
    }
    // A later page costs what the first one costs.
    let (_, first_units, _, _, page) = figures(USERS, &[]).await;
    let cursor = page.text_of("next_cursor");
    let (queries, units, users, _, _) = figures(USERS, &[("cursor", &cursor)]).await;
    assert_eq!((queries, users), (1, 50));
    if system.is_embedded() {
        assert!((units - first_units).abs() < 1.0, "{units} {first_units}");
    }
}
