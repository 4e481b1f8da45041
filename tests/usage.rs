//! What each endpoint asks of DynamoDB: round trips, units and permissions, measured between the real binary and the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;

use crate::support::{About, Account, Call, Lost, Recorded, Request, System, calls, protected, round_trips, template};

/// The bars of one request: how many round trips to the table, how many requests in them, how many write units.
struct Bar {
    endpoint: &'static str,
    path: &'static str,
    what: &'static str,
    trips: usize,
    calls: usize,
    write_units: f64,
}

const fn bar(
    endpoint: &'static str,
    path: &'static str,
    what: &'static str,
    trips: usize,
    calls: usize,
    write_units: f64,
) -> Bar {
    Bar {
        endpoint,
        path,
        what,
        trips,
        calls,
        write_units,
    }
}

const BARS: [Bar; 59] = [
    bar("users-register", "/api/v1/users", "sign-up", 1, 1, 2.0),
    // Account and key are stored together or not at all, which a transaction costs.
    bar("users-register", "/api/register", "classic sign-up", 1, 1, 5.0),
    // The account is read while the attempt is counted as failed, and that is forgotten while the session opens.
    bar("users-login", "/api/v1/users/login", "login", 2, 4, 3.0),
    bar("users-login", "/api/v1/users/login", "wrong password", 1, 2, 1.0),
    bar("users-login", "/api/login", "classic login", 2, 4, 3.0),
    bar("users-login", "/api/login", "first classic login", 3, 5, 4.0),
    bar("users-login", "/api/token", "classic login", 2, 4, 3.0),
    bar("token-refresh", "/api/v1/token/refresh", "refresh", 1, 1, 1.0),
    bar("token-refresh", "/api/token/refresh", "classic refresh", 1, 1, 0.0),
    bar("users-logout", "/api/v1/users/logout", "logout", 1, 1, 1.0),
    // The caller is checked and the index read at the same time.
    bar("users-list", "/api/v1/users/all", "first page", 1, 2, 0.0),
    bar("users-balance", "/api/v1/users/token-balance", "balance", 1, 1, 0.0),
    bar("users-balance", "/api/token-balance", "with a token key", 1, 1, 0.0),
    bar("users-balance", "/api/token-balance", "with an API key", 1, 1, 0.0),
    bar("users-profile", "/api/v1/users/me", "profile", 1, 1, 0.0),
    bar("users-password", "/api/v1/users/password", "new password", 2, 4, 4.0),
    bar("users-delete", "/api/v1/users/me", "no chats", 4, 6, 7.0),
    // The account and the key, which in a transaction count twice.
    bar("api-keys-create", "/api/v1/api-keys", "new key", 1, 1, 4.0),
    bar("api-keys-list", "/api/v1/api-keys", "no keys", 1, 1, 0.0),
    // The account names the keys.
    bar("api-keys-list", "/api/v1/api-keys", "one key", 2, 2, 0.0),
    bar("api-keys-revoke", "/api/v1/api-keys/{id}", "revocation", 1, 1, 4.0),
    bar("chats-send", "/api/v1/chats", "chat", 2, 2, 5.0),
    bar("chats-send", "/api/chat", "with a token key", 2, 2, 5.0),
    bar("chats-send", "/api/chat", "with an API key", 2, 2, 5.0),
    // The key is looked up while the hold is placed, and remembered with the settlement.
    bar("chats-send", "/api/v1/chats", "idempotent", 2, 3, 7.0),
    bar("chats-send", "/api/v1/chats", "replayed", 3, 4, 2.0),
    bar("chats-stream", "/api/v1/chats/stream", "chat", 2, 2, 5.0),
    bar("chats-stream", "/api/v1/chats/stream", "replayed", 3, 4, 2.0),
    // The chat is stored once more, where the conversation is read, and the conversation with it.
    bar("chats-send", "/api/v1/chats", "new conversation", 2, 2, 9.0),
    // What was said before is one query; the caller and the conversation are read at the same time.
    bar("chats-send", "/api/v1/chats", "in a conversation", 3, 4, 9.0),
    bar("chats-stream", "/api/v1/chats/stream", "in a conversation", 3, 4, 9.0),
    bar("completions-create", "/v1/chat/completions", "completion", 2, 2, 5.0),
    // Of a library that says when it asks again, the answer is remembered.
    bar("completions-create", "/v1/chat/completions", "of a library", 2, 2, 7.0),
    bar("models-list", "/v1/models", "models", 1, 1, 0.0),
    bar("chats-list", "/api/v1/chats", "first page", 1, 1, 0.0),
    bar("chats-list", "/api/chat", "with a token key", 1, 1, 0.0),
    // The page and the caller, at the same time.
    bar("chats-list", "/api/v1/chats", "later page", 1, 2, 0.0),
    bar("chats-get", "/api/v1/chats/{id}", "one chat", 1, 1, 0.0),
    // The page and the caller, at the same time.
    bar("conversations-list", "/api/v1/conversations", "first page", 1, 2, 0.0),
    bar(
        "conversations-get",
        "/api/v1/conversations/{id}",
        "first page",
        1,
        2,
        0.0,
    ),
    // The caller is checked in the same transaction.
    bar(
        "conversations-update",
        "/api/v1/conversations/{id}",
        "another title",
        1,
        1,
        4.0,
    ),
    // It is marked, the chats are found, and all is removed: the conversation, two chats twice each, an entry in the ledger.
    bar(
        "conversations-delete",
        "/api/v1/conversations/{id}",
        "two chats",
        3,
        3,
        16.0,
    ),
    bar("admin-search", "/api/v1/admin/users", "first page", 1, 2, 0.0),
    bar("admin-user", "/api/v1/admin/users/{username}", "one user", 1, 1, 0.0),
    // The account with its place in the index, the caller's, the audit entry: in a transaction, each counts twice.
    bar("admin-update", "/api/v1/admin/users/{username}", "new role", 2, 2, 8.0),
    bar(
        "admin-update",
        "/api/v1/admin/users/{username}",
        "nothing new",
        1,
        1,
        0.0,
    ),
    bar(
        "admin-adjust",
        "/api/v1/admin/users/{username}/tokens",
        "adjustment",
        2,
        2,
        8.0,
    ),
    bar(
        "admin-adjust",
        "/api/v1/admin/users/{username}/tokens",
        "idempotent",
        2,
        2,
        10.0,
    ),
    bar(
        "admin-chats",
        "/api/v1/admin/users/{username}/chats",
        "first page",
        1,
        2,
        0.0,
    ),
    bar(
        "admin-ledger",
        "/api/v1/admin/users/{username}/ledger",
        "first page",
        1,
        2,
        0.0,
    ),
    bar("admin-audit", "/api/v1/admin/audit", "first page", 1, 2, 0.0),
    bar("admin-figures", "/api/v1/admin/figures", "figures", 1, 1, 0.0),
    bar("keys-list", "/.well-known/jwks.json", "keys", 1, 1, 0.0),
    bar("system-health", "/api/v1/health", "health", 0, 0, 0.0),
    bar("system-openapi", "/openapi.json", "document", 0, 0, 0.0),
    bar("pages-chat", "/", "page", 0, 0, 0.0),
    bar("pages-admin", "/admin", "page", 0, 0, 0.0),
    bar("pages-docs", "/docs", "page", 0, 0, 0.0),
    bar("pages-assets", "/assets/chat-AAAAAAAA.js", "script", 0, 0, 0.0),
];

/// A conversation of two chats.
async fn conversation(system: &System, account: &Account) -> String {
    let mut id = "new".to_owned();
    for _ in 0..2 {
        let request = Request::post("/api/v1/chats", &json!({"message": "hello", "conversation_id": id}));
        let reply = system.send(request.bearer(&account.access)).await.expect_status(200);
        id = reply.body["chat"]["conversation_id"].as_str().unwrap().to_owned();
    }
    id
}

/// Sends the request of a row. What it needs first is not counted.
async fn perform(system: &System, bar: &Bar, ada: &Account, key: &str, api_key: &str) {
    let credentials = |name: &str, password: &str| json!({"username": name, "password": password});
    let number = system.unique_number();
    let path = bar.path.replace("{username}", "bob");
    let mut caller = ada.clone();
    let request = match (bar.endpoint, bar.what) {
        ("users-register", _) => Request::post(&path, &credentials(&format!("new-{number}"), "correct horse battery")),
        ("users-login", "wrong password") => Request::post(&path, &credentials("bob", "not the password")),
        ("users-login", "first classic login") => {
            let fresh = system.account(&format!("fresh-{number}")).await;
            Request::post(&path, &credentials(&fresh.username, &fresh.password))
        }
        ("users-login", _) => Request::post(&path, &credentials("bob", &ada.password)),
        ("token-refresh" | "users-logout", _) => {
            caller = system.login("bob", &ada.password).await;
            Request::post(&path, &json!({"refresh": caller.refresh}))
        }
        ("users-password", _) => {
            caller = system.account(&format!("fresh-{number}")).await;
            Request::post(&path, &json!({"old": caller.password, "new": "another horse battery"}))
        }
        ("users-delete", _) => {
            caller = system.account(&format!("fresh-{number}")).await;
            Request::with_body("DELETE", &path, &json!({"password": caller.password}))
        }
        ("api-keys-create" | "api-keys-list", what) => {
            caller = system.account(&format!("fresh-{number}")).await;
            match what {
                "new key" => Request::post(&path, &json!({"name": "a key", "cap": 1_000, "models": ["echo"]})),
                "one key" => {
                    system.api_key(&caller, &json!({})).await;
                    Request::get(&path)
                }
                _ => Request::get(&path),
            }
        }
        ("api-keys-revoke", _) => {
            caller = system.account(&format!("fresh-{number}")).await;
            let (_, id) = system.api_key(&caller, &json!({})).await;
            Request::new("DELETE", &path.replace("{id}", &id))
        }
        ("chats-send" | "chats-stream", "new conversation") => {
            Request::post(&path, &json!({"message": "hello", "conversation_id": "new"}))
        }
        ("chats-send" | "chats-stream", "in a conversation") => {
            let id = conversation(system, ada).await;
            Request::post(&path, &json!({"message": "hello", "conversation_id": id}))
        }
        ("conversations-get" | "conversations-update" | "conversations-delete", _) => {
            let path = path.replace("{id}", &conversation(system, ada).await);
            match bar.endpoint {
                "conversations-get" => Request::get(&path),
                "conversations-update" => Request::with_body("PATCH", &path, &json!({"title": "Ledgers"})),
                _ => Request::new("DELETE", &path),
            }
        }
        ("chats-send" | "chats-stream", what) => {
            let request = Request::post(&path, &json!({"message": "hello"}));
            match what {
                "idempotent" => request.header("Idempotency-Key", &format!("key-{number}")),
                "replayed" => {
                    let request = request.header("Idempotency-Key", "the-same-key");
                    system
                        .send(request.clone().bearer(&ada.access))
                        .await
                        .expect_status(200);
                    request
                }
                _ => request,
            }
        }
        ("completions-create", what) => {
            let body = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
            let request = Request::post(&path, &body);
            match what {
                "of a library" => request.header("X-Stainless-Retry-Count", "0"),
                _ => request,
            }
        }
        ("chats-list", "later page") => {
            let first = Request::get(&path).query("limit", "1").bearer(&ada.access);
            Request::get(&path).query("cursor", &system.send(first).await.text_of("next_cursor"))
        }
        ("chats-get", _) => {
            let first = Request::get("/api/v1/chats").query("limit", "1").bearer(&ada.access);
            let first = system.send(first).await;
            Request::get(&path.replace("{id}", first.body["data"][0]["id"].as_str().unwrap()))
        }
        ("admin-update", "nothing new") => Request::with_body("PATCH", &path, &json!({"active": true})),
        ("admin-update", _) => {
            let role = ["user", "staff"][usize::try_from(number % 2).unwrap()];
            let other = Request::with_body("PATCH", &path, &json!({"role": role}));
            system.send(other.bearer(&ada.access)).await.expect_status(200);
            let role = if role == "user" { "staff" } else { "user" };
            Request::with_body("PATCH", &path, &json!({"role": role}))
        }
        ("admin-adjust", what) => {
            let request = Request::post(&path, &json!({"amount": 5, "reason": "a test"}));
            match what {
                "idempotent" => request.header("Idempotency-Key", &format!("key-{number}")),
                _ => request,
            }
        }
        _ => Request::get(&path),
    };
    let request = match bar.what {
        "with a token key" => request.auth_key(key),
        "with an API key" => request.bearer(api_key),
        _ => request.bearer(&caller.access),
    };
    system.take_recorded();
    let reply = system.send(request).await;
    assert!(
        reply.status < 300 || bar.what == "wrong password",
        "{}: {}",
        bar.endpoint,
        reply.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_request_makes_no_more_round_trips_and_writes_than_it_may() {
    // Nobody here is slow enough to be a person.
    let system = System::start_with(&[("CHATS_PER_MINUTE", "60000"), ("SIGNUP_TOKENS", "100000")]).await;
    let ada = system.account("ada").await;
    system.set_text(&ada, "role", "admin").await;
    system.account("bob").await;
    let mut keys = Vec::new();
    for name in ["bob", "ada"] {
        let login = json!({"username": name, "password": ada.password});
        let login = system
            .send(Request::post("/api/login", &login))
            .await
            .expect_status(200);
        keys.push(login.text_of("token"));
    }
    let (api_key, _) = system.api_key(&ada, &json!({"cap": 1_000})).await;
    for _ in 0..3 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    // As far away as a table is, so that what is sent at the same time is seen to be.
    system.set_latency(Duration::from_millis(20));
    println!(
        "\n{:<20} {:<20} {:>11} {:>8} {:>11} {:>12}  operations",
        "endpoint", "request", "round trips", "requests", "read units", "write units"
    );
    for bar in &BARS {
        // Once to start the process, which loads keys and publishes its own; then warm.
        perform(&system, bar, &ada, &keys[1], &api_key).await;
        perform(&system, bar, &ada, &keys[1], &api_key).await;
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
            "{:<20} {:<20} {:>11} {:>8} {:>11} {:>12}  {}",
            bar.endpoint,
            bar.what,
            round_trips(&recorded),
            recorded.len(),
            units(false),
            units(true),
            operations.join(", ")
        );
        assert_eq!(
            round_trips(&recorded),
            bar.trips,
            "{} {}: {operations:?}",
            bar.endpoint,
            bar.what
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
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "1"), ("CHATS_PER_MINUTE", "0")]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_is_one_query_however_long_a_conversation_is() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = conversation(&system, &ada).await;
    let said = async || {
        system.take_recorded();
        let request = Request::post("/api/v1/chats", &json!({"message": "hello", "conversation_id": id}));
        system.send(request.bearer(&ada.access)).await.expect_status(200);
        let recorded = system.take_recorded();
        let operations: Vec<_> = recorded.iter().map(|one| one.operation.clone()).collect();
        assert_eq!(
            operations.iter().filter(|name| *name == "Query").count(),
            1,
            "{operations:?}"
        );
        let reads = recorded.iter().filter(|one| !one.is_write());
        reads.map(Recorded::units).sum::<f64>()
    };
    said().await;
    system.lengthen_conversation("ada", &id, 110, 0).await;
    let short = said().await;
    system.lengthen_conversation("ada", &id, 600, 0).await;
    let long = said().await;
    println!("read units of a message in a conversation: {short} of 114 chats, {long} of 605");
    if system.is_embedded() {
        assert!((long - short).abs() <= 1.0, "{short} {long}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_allows_what_its_function_does_and_nothing_else() {
    let functions = template().functions().unwrap();
    let system = System::start().await;
    let mut done: BTreeMap<&str, BTreeSet<Call>> = BTreeMap::new();
    let keep = |done: &mut BTreeMap<&str, BTreeSet<_>>, name: &'static str| {
        let recorded = system.take_recorded();
        let called = recorded.iter().flat_map(|one| calls(&one.operation, &one.request));
        done.entry(name).or_default().extend(called);
    };
    let credentials = json!({"username": "ada", "password": "correct horse battery"});
    system
        .send(Request::post("/api/v1/users", &credentials))
        .await
        .expect_status(201);
    let classic = json!({"username": "carol", "password": "correct horse battery"});
    system
        .send(Request::post("/api/register", &classic))
        .await
        .expect_status(201);
    // More than a process lets through by itself from one network.
    for index in 0..5 {
        let body = json!({"username": format!("paced{index}"), "password": "correct horse battery"});
        let request = Request::post("/api/v1/users", &body).from("203.0.113.9");
        system.send(request).await.expect_status(201);
    }
    keep(&mut done, "users-register");
    for _ in 0..12 {
        let request = Request::post("/api/v1/users/login", &credentials).from("203.0.113.9");
        system.send(request).await.expect_status(200);
    }
    let ada = system.login("ada", "correct horse battery").await;
    let spare = system.login("ada", "correct horse battery").await;
    let login = system
        .send(Request::post("/api/login", &credentials))
        .await
        .expect_status(200);
    let key = login.text_of("token");
    keep(&mut done, "users-login");
    for path in ["/api/token/refresh", "/api/v1/token/refresh"] {
        system
            .send(Request::post(path, &json!({"refresh": spare.refresh})))
            .await
            .expect_status(200);
    }
    keep(&mut done, "token-refresh");
    let newest = system.login("ada", "correct horse battery").await;
    keep(&mut done, "users-login");
    for _ in 0..35 {
        let request = Request::post("/api/token/refresh", &json!({"refresh": newest.refresh}));
        system.send(request.from("203.0.113.9")).await.expect_status(200);
    }
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
    let keyed = Request::post("/api/v1/chats", &json!({"message": "keyed"})).header("Idempotency-Key", "k");
    for _ in 0..2 {
        system.send(keyed.clone().bearer(&ada.access)).await.expect_status(200);
    }
    // What became of a settlement whose reply was lost.
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    system.chat(&ada, "third").await.expect_status(200);
    let id = conversation(&system, &ada).await;
    let said = Request::post("/api/v1/chats", &json!({"message": "said", "conversation_id": id}));
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    system.send(said.bearer(&ada.access)).await.expect_status(200);
    keep(&mut done, "chats-send");
    let streamed = keyed.to("/api/v1/chats/stream");
    for key in ["k", "k2"] {
        let request = streamed.clone().header("Idempotency-Key", key);
        system.send(request.bearer(&ada.access)).await.expect_status(200);
    }
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    let request = Request::post("/api/v1/chats/stream", &json!({"message": "fourth"}));
    system.send(request.bearer(&ada.access)).await.expect_status(200);
    let said = Request::post(
        "/api/v1/chats/stream",
        &json!({"message": "said", "conversation_id": id}),
    );
    system.send(said.bearer(&ada.access)).await.expect_status(200);
    keep(&mut done, "chats-stream");
    let completion = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let completion = Request::post("/v1/chat/completions", &completion).bearer(&ada.access);
    for count in ["0", "1"] {
        let request = completion.clone().header("X-Stainless-Retry-Count", count);
        system.send(request).await.expect_status(200);
    }
    let keyed = completion.clone().header("Idempotency-Key", "k3");
    for _ in 0..2 {
        system.send(keyed.clone()).await.expect_status(200);
    }
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    system.send(completion.clone()).await.expect_status(200);
    // What failed makes what was answered before to the same question be forgotten.
    system.lose(Lost::Request, "UpdateItem", 3);
    let request = completion.clone().header("X-Stainless-Retry-Count", "0");
    system.send(request).await.expect_status(503);
    keep(&mut done, "completions-create");
    system
        .send(Request::get("/v1/models").bearer(&ada.access))
        .await
        .expect_status(200);
    keep(&mut done, "models-list");
    let one = format!("/api/v1/conversations/{id}");
    let title = json!({"title": "Ledgers"});
    for (name, request) in [
        ("conversations-list", Request::get("/api/v1/conversations")),
        ("conversations-get", Request::get(&one)),
        ("conversations-update", Request::with_body("PATCH", &one, &title)),
    ] {
        system
            .send(request.clone().bearer(&ada.access))
            .await
            .expect_status(200);
        system.send(request.auth_key(&key)).await.expect_status(200);
        keep(&mut done, name);
    }
    for by_key in [true, false] {
        let one = format!("/api/v1/conversations/{}", conversation(&system, &ada).await);
        system.take_recorded();
        let end = Request::new("DELETE", &one);
        let end = if by_key {
            end.auth_key(&key)
        } else {
            end.bearer(&ada.access)
        };
        system.send(end).await.expect_status(204);
        keep(&mut done, "conversations-delete");
    }
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
    // With a key for the Token scheme each process asks once whose it is.
    for name in ["users-list", "users-balance", "users-profile", "chats-list"] {
        let entry = shared::api::TABLE.iter().find(|entry| entry.name == name).unwrap();
        system
            .send(Request::get(entry.paths[0]).auth_key(&key))
            .await
            .expect_status(200);
        keep(&mut done, entry.name);
    }
    system
        .send(Request::get(&format!("/api/v1/chats/{id}")).auth_key(&key))
        .await
        .expect_status(200);
    keep(&mut done, "chats-get");
    system
        .send(Request::post("/api/v1/chats", &json!({"message": "fourth"})).auth_key(&key))
        .await
        .expect_status(200);
    keep(&mut done, "chats-send");
    let request = Request::post("/api/v1/chats/stream", &json!({"message": "with a key"}));
    system.send(request.auth_key(&key)).await.expect_status(200);
    keep(&mut done, "chats-stream");
    system.send(completion.auth_key(&key)).await.expect_status(200);
    keep(&mut done, "completions-create");
    system
        .send(Request::get("/v1/models").auth_key(&key))
        .await
        .expect_status(200);
    keep(&mut done, "models-list");
    system.send(log_out("rubbish").auth_key(&key)).await.expect_status(400);
    keep(&mut done, "users-logout");
    // The same for API keys, which are looked for where those of the Token scheme are.
    let mut made = Vec::new();
    for name in ["first", "second"] {
        let make = Request::post("/api/v1/api-keys", &json!({"name": name})).auth_key(&key);
        let reply = system.send(make).await.expect_status(201);
        let of = |member: &str| reply.body["api_key"][member].as_str().unwrap().to_owned();
        made.push((of("key"), of("id")));
    }
    let (api_key, id) = &made[0];
    let make = Request::post("/api/v1/api-keys", &json!({"name": "third"})).bearer(api_key);
    system.send(make).await.expect_status(403);
    keep(&mut done, "api-keys-create");
    for request in [
        Request::get("/api/v1/api-keys").auth_key(&key),
        Request::get("/api/v1/api-keys").bearer(api_key),
    ] {
        system.send(request).await.expect_status(200);
    }
    keep(&mut done, "api-keys-list");
    let revoke = || Request::new("DELETE", &format!("/api/v1/api-keys/{id}"));
    system.send(revoke().bearer(api_key)).await.expect_status(403);
    system.send(revoke().auth_key(&key)).await.expect_status(204);
    keep(&mut done, "api-keys-revoke");

    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    let root_login = json!({"username": "root", "password": root.password});
    let root_login = system
        .send(Request::post("/api/login", &root_login))
        .await
        .expect_status(200);
    let root_key = root_login.text_of("token");
    system.leave_dead_hold(&ada, 100, -1).await;
    system.take_recorded();
    for example in protected(&About {
        target: "ada",
        ..About::caller(&root)
    }) {
        if example.entry.name.starts_with("admin-") {
            system
                .send(example.request().bearer(&root.access))
                .await
                .expect_status(200);
            system
                .send(example.request().auth_key(&root_key))
                .await
                .expect_status(200);
            let own = example.path.replace("ada", "root");
            if example.entry.name == "admin-adjust" {
                let own = Request::with_body(example.method(), &own, example.body.as_ref().unwrap());
                let own = own.header("Idempotency-Key", "k");
                system.send(own.bearer(&root.access)).await.expect_status(200);
            } else if own != example.path && example.body.is_none() {
                system
                    .send(Request::get(&own).bearer(&root.access))
                    .await
                    .expect_status(200);
            }
            keep(&mut done, example.entry.name);
        }
    }
    // The only read by itself of an adjustment: what became of one whose every reply was lost.
    system.lose(Lost::Reply, "TransactWriteItems", 9);
    let lost = Request::post(
        "/api/v1/admin/users/ada/tokens",
        &json!({"amount": 5, "reason": "a test"}),
    );
    system.send(lost.bearer(&root.access)).await.expect_status(200);
    keep(&mut done, "admin-adjust");
    let same = Request::with_body("PATCH", "/api/v1/admin/users/root", &json!({"active": true}));
    system.send(same.bearer(&root.access)).await.expect_status(200);
    // Whoever comes back gets another key.
    let carol = json!({"username": "carol", "password": "correct horse battery"});
    system
        .send(Request::post("/api/login", &carol))
        .await
        .expect_status(200);
    system.take_recorded();
    for active in [false, true] {
        let change = Request::with_body("PATCH", "/api/v1/admin/users/carol", &json!({"active": active}));
        system.send(change.bearer(&root.access)).await.expect_status(200);
    }
    let refused = Request::with_body("PATCH", "/api/v1/admin/users/root", &json!({"active": false}));
    system.send(refused.bearer(&root.access)).await.expect_status(409);
    keep(&mut done, "admin-update");
    system
        .send(Request::post("/api/login", &carol))
        .await
        .expect_status(200);
    system.take_recorded();
    for event in [
        json!({"username": "boss"}),
        json!({"username": "carol", "promote": true, "password": "another horse battery"}),
    ] {
        system.invoke_operator("admin-bootstrap", event).await.unwrap();
    }
    keep(&mut done, "admin-bootstrap");
    // One who never came back, one whose deletion was cut off, one whose balance is wrong, and a conversation whose deletion was cut off.
    let of_root = conversation(&system, &root).await;
    let mark = system.client.update_item().table_name(&system.table);
    mark.key("pk", aws_sdk_dynamodb::types::AttributeValue::S("USER#root".into()))
        .key(
            "sk",
            aws_sdk_dynamodb::types::AttributeValue::S(format!("CONV#{of_root}")),
        )
        .update_expression("SET deleting = :true")
        .expression_attribute_values(":true", aws_sdk_dynamodb::types::AttributeValue::Bool(true))
        .send()
        .await
        .unwrap();
    // More than one transaction takes.
    system.lengthen_conversation("root", &of_root, 60, 0).await;
    let (lost, wrong, half) = (
        system.account("lost").await,
        system.account("wrong").await,
        system.account("half").await,
    );
    let half_login = json!({"username": "half", "password": half.password});
    system
        .send(Request::post("/api/login", &half_login))
        .await
        .expect_status(200);
    system.chat(&half, "hello").await.expect_status(200);
    system.leave_dead_hold(&lost, 100, -1).await;
    let number = |number: u64| aws_sdk_dynamodb::types::AttributeValue::N(number.to_string());
    system.set(&wrong, "balance", number(1)).await;
    for attribute in ["deleting", "active"] {
        let value = aws_sdk_dynamodb::types::AttributeValue::Bool(attribute == "deleting");
        system.set(&half, attribute, value).await;
    }
    system.take_recorded();
    system
        .invoke_operator("ledger-reconcile", json!({"repair": true}))
        .await
        .unwrap();
    keep(&mut done, "ledger-reconcile");
    let change = json!({"old": ada.password, "new": "another horse battery"});
    system
        .send(Request::post("/api/v1/users/password", &change).auth_key(&key))
        .await
        .expect_status(204);
    keep(&mut done, "users-password");
    let again = system.login("ada", "another horse battery").await;
    let again = Account {
        password: "another horse battery".into(),
        ..again
    };
    system.take_recorded();
    let change = json!({"old": again.password, "new": "yet another battery"});
    system
        .send(Request::post("/api/v1/users/password", &change).bearer(&again.access))
        .await
        .expect_status(204);
    keep(&mut done, "users-password");
    let credentials = json!({"username": "ada", "password": "yet another battery"});
    let login = system
        .send(Request::post("/api/login", &credentials))
        .await
        .expect_status(200);
    system.take_recorded();
    let end = json!({"password": "yet another battery"});
    let end = Request::with_body("DELETE", "/api/v1/users/me", &end).auth_key(&login.text_of("token"));
    system.send(end).await.expect_status(204);
    keep(&mut done, "users-delete");
    let bob = system.account("bob").await;
    system.take_recorded();
    let end = json!({"password": bob.password});
    let end = Request::with_body("DELETE", "/api/v1/users/me", &end).bearer(&bob.access);
    system.send(end).await.expect_status(204);
    keep(&mut done, "users-delete");
    system
        .send(Request::get("/.well-known/jwks.json"))
        .await
        .expect_status(200);
    keep(&mut done, "keys-list");
    system.send(Request::get("/api/v1/health")).await.expect_status(200);
    keep(&mut done, "system-health");
    system.send(Request::get("/openapi.json")).await.expect_status(200);
    keep(&mut done, "system-openapi");
    for (path, name) in [
        ("/", "pages-chat"),
        ("/admin", "pages-admin"),
        ("/docs", "pages-docs"),
        ("/assets/chat-AAAAAAAA.js", "pages-assets"),
    ] {
        system.send(Request::get(path)).await.expect_status(200);
        keep(&mut done, name);
    }
    system.send(Request::get("/nothing")).await.expect_status(404);
    keep(&mut done, "system-fallback");

    for function in &functions {
        let needed = done
            .get(function.binary.as_str())
            .unwrap_or_else(|| panic!("call {} here", function.binary));
        for permission in &function.permissions {
            if permission.only_if.is_some() || permission.action == "cloudwatch:GetMetricData" {
                // Nothing of the table.
                continue;
            }
            if permission.action == "dynamodb:Scan" && shared::api::OPERATOR.contains(&function.binary.as_str()) {
                continue;
            }
            assert!(
                !permission.leading_keys.is_empty(),
                "{}: {permission:?} is not limited to keys",
                function.binary
            );
            for pattern in &permission.leading_keys {
                let used = needed.iter().any(|call| {
                    call.action == permission.action
                        && call.resource == permission.resource
                        && call
                            .keys
                            .iter()
                            .any(|key| key.starts_with(pattern.trim_end_matches('*')))
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

#[test]
fn only_who_tells_figures_may_read_metrics() {
    for function in template().functions().unwrap() {
        let other = function
            .permissions
            .iter()
            .filter(|permission| permission.only_if.is_none() && !permission.action.starts_with("dynamodb:"));
        let other: Vec<_> = other
            .map(|permission| (permission.action.as_str(), permission.resource.as_str()))
            .collect();
        let tells = function.binary == "admin-figures";
        let wanted = [("cloudwatch:GetMetricData", "*")];
        assert_eq!(other, if tells { &wanted[..] } else { &[] }, "{}", function.binary);
    }
}

#[test]
fn only_who_asks_models_may_and_may_read_the_key_of_their_provider() {
    for function in template().functions().unwrap() {
        let conditional = function
            .permissions
            .iter()
            .filter(|permission| permission.only_if.is_some());
        let conditional: Vec<_> = conditional
            .map(|permission| {
                let condition = permission.only_if.as_deref().unwrap();
                (condition, permission.action.as_str(), permission.resource.as_str())
            })
            .collect();
        let asks = function.environment.contains_key("MODEL_TIMEOUT_MILLISECONDS");
        let bedrock = "AsksAllOfBedrock,arn:${AWS::Partition}:bedrock:*::foundation-model/*,\
            arn:${AWS::Partition}:bedrock:*:${AWS::AccountId}:inference-profile/*,\
            arn:${AWS::Partition}:bedrock:*:${AWS::AccountId}:application-inference-profile/*,,,BedrockModelArns";
        let secret =
            "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${OpenAiApiKeySecret}-??????";
        let wanted = [
            ("AsksBedrock", "bedrock:InvokeModelWithResponseStream", bedrock),
            ("HasModelKey", "secretsmanager:GetSecretValue", secret),
        ];
        assert_eq!(conditional, if asks { &wanted[..] } else { &[] }, "{}", function.binary);
        assert_eq!(
            function.environment.contains_key("OPENAI_API_KEY_SECRET"),
            asks,
            "{}",
            function.binary
        );
        assert!(
            !function.environment.contains_key("OPENAI_API_KEY"),
            "no key is in an environment"
        );
    }
}

fn pattern_writes_keys(action: &str, keys: &[String]) -> bool {
    !matches!(action, "dynamodb:GetItem" | "dynamodb:Query" | "dynamodb:BatchGetItem")
        && keys.iter().any(|key| key.starts_with("KEY") || key == "*")
}
