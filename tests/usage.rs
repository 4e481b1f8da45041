//! What each endpoint asks of DynamoDB: round trips, units and permissions, measured between the real binary and the engine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Account, Lost, Recorded, Request, System, template};

/// The bars: requests, write units.
struct Bar {
    endpoint: &'static str,
    what: &'static str,
    calls: usize,
    write_units: f64,
}

const fn bar(endpoint: &'static str, what: &'static str, calls: usize, write_units: f64) -> Bar {
    Bar {
        endpoint,
        what,
        calls,
        write_units,
    }
}

const BARS: [Bar; 14] = [
    bar("users-register", "sign-up", 1, 2.0),
    bar("users-login", "login", 2, 1.0),
    bar("users-login", "wrong password", 1, 0.0),
    bar("token-refresh", "refresh", 1, 1.0),
    bar("users-logout", "logout", 1, 1.0),
    // The caller is checked and the index read at the same time: one round trip of two requests.
    bar("users-list", "first page", 2, 0.0),
    bar("users-balance", "balance", 1, 0.0),
    bar("users-profile", "profile", 1, 0.0),
    bar("chats-send", "chat", 2, 5.0),
    bar("chats-list", "first page", 1, 0.0),
    // As above: the page and the caller, at the same time.
    bar("chats-list", "later page", 2, 0.0),
    bar("chats-get", "one chat", 1, 0.0),
    bar("keys-list", "keys", 1, 0.0),
    bar("system-health", "health", 0, 0.0),
];

/// The request of each row, by its place in the table.
async fn perform(system: &System, endpoint: &str, what: &str, ada: &Account) {
    let path = |index: usize| {
        shared::api::TABLE
            .iter()
            .find(|entry| entry.name == endpoint)
            .unwrap()
            .paths[index]
    };
    let credentials = |name: &str, password: &str| json!({"username": name, "password": password});
    let request = match (endpoint, what) {
        ("users-register", _) => Request::post(
            path(0),
            &credentials(&format!("new-{}", system.unique_number()), "correct horse battery"),
        ),
        ("users-login", "login") => Request::post(path(0), &credentials("bob", &ada.password)),
        ("users-login", _) => Request::post(path(0), &credentials("bob", "not the password")),
        ("token-refresh" | "users-logout", _) => {
            let fresh = system.login("bob", &ada.password).await;
            let request = Request::post(path(0), &json!({"refresh": fresh.refresh})).bearer(&fresh.access);
            system.take_recorded();
            request
        }
        ("chats-send", _) => Request::post(path(0), &json!({"message": "hello"})),
        ("chats-list", "later page") => {
            let first = Request::get(path(0)).query("limit", "1").bearer(&ada.access);
            let cursor = system.send(first).await.text_of("next_cursor");
            system.take_recorded();
            Request::get(path(0)).query("cursor", &cursor)
        }
        ("chats-get", _) => {
            let first = Request::get(path(0).trim_end_matches("/{id}"))
                .query("limit", "1")
                .bearer(&ada.access);
            let first = system.send(first).await;
            system.take_recorded();
            let id = first.body["data"][0]["id"].as_str().unwrap();
            Request::get(&path(0).replace("{id}", id))
        }
        _ => Request::get(path(0)),
    };
    let request = if matches!(endpoint, "users-logout") {
        request
    } else {
        request.bearer(&ada.access)
    };
    let reply = system.send(request).await;
    assert!(
        reply.status < 300 || what == "wrong password",
        "{endpoint}: {}",
        reply.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_request_makes_no_more_round_trips_and_writes_than_it_may() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.account("bob").await;
    for _ in 0..3 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    println!(
        "\n{:<16} {:<16} {:>8} {:>11} {:>12}  operations",
        "endpoint", "request", "requests", "read units", "write units"
    );
    for bar in &BARS {
        // Once to start the process, which loads keys and publishes its own; then warm.
        perform(&system, bar.endpoint, bar.what, &ada).await;
        system.take_recorded();
        perform(&system, bar.endpoint, bar.what, &ada).await;
        let recorded = system.take_recorded();
        let units = |writes: bool| {
            recorded
                .iter()
                .filter(|one| one.is_write() == writes)
                .map(Recorded::units)
                .fold(0.0, |sum, units| sum + units)
        };
        let operations: Vec<_> = recorded.iter().map(|one| one.operation.as_str()).collect();
        println!(
            "{:<16} {:<16} {:>8} {:>11} {:>12}  {}",
            bar.endpoint,
            bar.what,
            recorded.len(),
            units(false),
            units(true),
            operations.join(", ")
        );
        assert_eq!(
            recorded.len(),
            bar.calls,
            "{} {}: {operations:?}",
            bar.endpoint,
            bar.what
        );
        if system.is_embedded() {
            assert!(
                units(true) <= bar.write_units,
                "{} {}: {} write units",
                bar.endpoint,
                bar.what,
                units(true)
            );
        }
    }
    for entry in shared::api::TABLE {
        assert!(
            BARS.iter().any(|bar| bar.endpoint == entry.name),
            "add a bar for {}",
            entry.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_long_history_reads_what_a_page_of_a_short_one_reads() {
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "1")]).await;
    let ada = system.account("ada").await;
    let page = async |limit: &str| {
        system.take_recorded();
        let request = Request::get("/api/v1/chats").query("limit", limit).bearer(&ada.access);
        let reply = system.send(request).await.expect_status(200);
        assert_eq!(
            reply.body["data"].as_array().unwrap().len(),
            limit.parse::<usize>().unwrap()
        );
        system.take_recorded().iter().map(Recorded::units).sum::<f64>()
    };
    for _ in 0..12 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    page("1").await;
    let short = page("10").await;
    for _ in 0..60 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    let long = page("10").await;
    println!("read units of a page of 10: {short} of 12 chats, {long} of 72");
    if system.is_embedded() {
        assert!((long - short).abs() < f64::EPSILON, "{short} {long}");
    }
}

/// The IAM actions and partition keys that a request needs.
fn needs(recorded: &Recorded) -> BTreeSet<(String, String, String)> {
    let key_of = |value: &Value| value["pk"]["S"].as_str().unwrap().to_owned();
    let table = "Table.Arn".to_owned();
    let need = |action: &str, key: String| (format!("dynamodb:{action}"), table.clone(), key);
    let request = &recorded.request;
    match recorded.operation.as_str() {
        action @ ("GetItem" | "UpdateItem" | "DeleteItem") => BTreeSet::from([need(action, key_of(&request["Key"]))]),
        "PutItem" => BTreeSet::from([need("PutItem", key_of(&request["Item"]))]),
        "TransactWriteItems" => {
            let parts = request["TransactItems"].as_array().unwrap().iter();
            parts
                .map(|part| match part.as_object().unwrap().iter().next().unwrap() {
                    (kind, body) if kind == "Put" => need("PutItem", key_of(&body["Item"])),
                    (kind, body) if kind == "ConditionCheck" => need("ConditionCheckItem", key_of(&body["Key"])),
                    (kind, body) => need(&format!("{kind}Item"), key_of(&body["Key"])),
                })
                .collect()
        }
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object().unwrap().values();
            let keys = tables.flat_map(|table| table["Keys"].as_array().unwrap());
            keys.map(|key| need("BatchGetItem", key_of(key))).collect()
        }
        "Query" => {
            let values = request["ExpressionAttributeValues"].as_object().unwrap();
            let condition = request["KeyConditionExpression"].as_str().unwrap();
            let placeholder = condition.split_once("= ").unwrap().1.split_whitespace().next().unwrap();
            let key = values[placeholder]["S"].as_str().unwrap().to_owned();
            match request["IndexName"].as_str() {
                Some(index) => {
                    BTreeSet::from([("dynamodb:Query".into(), format!("${{Table.Arn}}/index/{index}"), key)])
                }
                None => BTreeSet::from([need("Query", key)]),
            }
        }
        other => panic!("say what permission {other} needs"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_allows_what_its_function_does_and_nothing_else() {
    let functions = template().functions().unwrap();
    let system = System::start().await;
    let mut done: BTreeMap<&str, BTreeSet<(String, String, String)>> = BTreeMap::new();
    let keep = |done: &mut BTreeMap<&str, BTreeSet<_>>, name: &'static str| {
        let recorded = system.take_recorded();
        done.entry(name).or_default().extend(recorded.iter().flat_map(needs));
    };
    let credentials = json!({"username": "ada", "password": "correct horse battery"});
    system
        .send(Request::post("/api/v1/users", &credentials))
        .await
        .expect_status(201);
    keep(&mut done, "users-register");
    let ada = system.login("ada", "correct horse battery").await;
    let spare = system.login("ada", "correct horse battery").await;
    keep(&mut done, "users-login");
    system
        .send(Request::post(
            "/api/v1/token/refresh",
            &json!({"refresh": spare.refresh}),
        ))
        .await
        .expect_status(200);
    keep(&mut done, "token-refresh");
    let log_out = |refresh: &str| Request::post("/api/v1/users/logout", &json!({"refresh": refresh}));
    system
        .send(log_out("rubbish").bearer(&ada.access))
        .await
        .expect_status(400);
    system
        .send(log_out(&spare.refresh).bearer(&ada.access))
        .await
        .expect_status(200);
    keep(&mut done, "users-logout");
    system.leave_dead_hold(&ada, 100, -1).await;
    system.take_recorded();
    system
        .send(Request::get("/api/v1/users/token-balance").bearer(&ada.access))
        .await
        .expect_status(200);
    keep(&mut done, "users-balance");
    system.leave_dead_hold(&ada, 100, -1).await;
    system.take_recorded();
    system
        .send(Request::get("/api/v1/users/me").bearer(&ada.access))
        .await
        .expect_status(200);
    keep(&mut done, "users-profile");
    system.chat(&ada, "first").await.expect_status(200);
    let sent = system.chat(&ada, "second").await.expect_status(200);
    // The only read of the chat function: what became of a settlement whose reply was lost.
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    system.chat(&ada, "third").await.expect_status(200);
    keep(&mut done, "chats-send");
    let first = system
        .send(Request::get("/api/v1/chats").query("limit", "1").bearer(&ada.access))
        .await
        .expect_status(200);
    let later = Request::get("/api/v1/chats").query("cursor", &first.text_of("next_cursor"));
    system.send(later.bearer(&ada.access)).await.expect_status(200);
    keep(&mut done, "chats-list");
    let id = sent.body["chat"]["id"].as_str().unwrap();
    system
        .send(Request::get(&format!("/api/v1/chats/{id}")).bearer(&ada.access))
        .await
        .expect_status(200);
    keep(&mut done, "chats-get");
    system
        .send(Request::get("/api/v1/users/all").bearer(&ada.access))
        .await
        .expect_status(200);
    keep(&mut done, "users-list");
    system
        .send(Request::get("/.well-known/jwks.json"))
        .await
        .expect_status(200);
    keep(&mut done, "keys-list");
    system.send(Request::get("/api/v1/health")).await.expect_status(200);
    keep(&mut done, "system-health");
    system.send(Request::get("/")).await.expect_status(404);
    keep(&mut done, "system-fallback");

    for function in &functions {
        let needed = done
            .get(function.binary.as_str())
            .unwrap_or_else(|| panic!("call {} here", function.binary));
        let allows = |action: &str, resource: &str, key: &str| {
            function.permissions.iter().any(|permission| {
                let matches = |pattern: &String| match pattern.strip_suffix('*') {
                    Some(prefix) => key.starts_with(prefix),
                    None => pattern == key,
                };
                permission.action == action
                    && permission.resource == resource
                    && permission.leading_keys.iter().any(matches)
            })
        };
        for (action, resource, key) in needed {
            assert!(
                allows(action, resource, key),
                "{} needs {action} on {key} of {resource}",
                function.binary
            );
        }
        for permission in &function.permissions {
            assert!(
                !permission.leading_keys.is_empty(),
                "{}: {permission:?} is not limited to keys",
                function.binary
            );
            for pattern in &permission.leading_keys {
                let used = needed.iter().any(|(action, resource, key)| {
                    *action == permission.action
                        && *resource == permission.resource
                        && key.starts_with(pattern.trim_end_matches('*'))
                });
                assert!(
                    used,
                    "{} may {} on {pattern} but does not",
                    function.binary, permission.action
                );
            }
            if pattern_writes_keys(&permission.action, &permission.leading_keys) {
                assert!(
                    function.environment.contains_key("SIGNING_SEED"),
                    "{} may publish keys",
                    function.binary
                );
            }
        }
    }
    let signing: Vec<_> = functions
        .iter()
        .filter(|function| function.environment.contains_key("SIGNING_SEED"))
        .collect();
    assert!(signing.len() <= 3, "only register, login and refresh may sign");
}

fn pattern_writes_keys(action: &str, keys: &[String]) -> bool {
    !matches!(action, "dynamodb:GetItem" | "dynamodb:Query" | "dynamodb:BatchGetItem")
        && keys.iter().any(|key| key.starts_with("KEY") || key == "*")
}
