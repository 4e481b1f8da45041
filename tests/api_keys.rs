//! API keys: what they are good for, how they are limited, and how they end.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Account, Lost, ModelServer, Reply, Request, System, Told};

const PATH: &str = "/api/v1/api-keys";
/// As often as the SDK tries.
const EVERY_ATTEMPT: usize = 3;
/// An echo reads and writes a few tokens; far more is held for it.
const BY_USAGE: [(&str, &str); 3] = [
    (
        "MODEL_PRICES",
        r#"{"version": "1", "models": {"echo": {"input": 1000000, "output": 1000000}}}"#,
    ),
    ("MODEL_MAX_OUTPUT_TOKENS", "1024"),
    ("SIGNUP_TOKENS", "100000"),
];

async fn make(system: &System, account: &Account, body: &Value) -> Reply {
    system.send(Request::post(PATH, body).bearer(&account.access)).await
}

async fn revoke(system: &System, account: &Account, id: &str) -> Reply {
    let revoke = Request::new("DELETE", &format!("{PATH}/{id}"));
    system.send(revoke.bearer(&account.access)).await
}

/// The caller's keys as they are listed.
async fn listed(system: &System, account: &Account) -> Vec<Value> {
    let list = system.send(Request::get(PATH).bearer(&account.access)).await;
    list.expect_status(200).body["data"].as_array().unwrap().clone()
}

/// What was spent with the only key there is.
async fn spent(system: &System, account: &Account) -> u64 {
    let keys = listed(system, account).await;
    assert_eq!(keys.len(), 1);
    keys[0]["spent"].as_u64().unwrap()
}

async fn chat(system: &System, key: &str) -> Reply {
    let message = Request::post("/api/v1/chats", &json!({"message": "hello"}));
    system.send(message.bearer(key)).await
}

async fn look(system: &System, key: &str) -> Reply {
    system.send(Request::get("/api/v1/users/me").bearer(key)).await
}

/// A time, so that it sorts: as many digits as a fraction has are written.
fn moment(time: &Value) -> &str {
    time.as_str().unwrap().trim_end_matches('Z')
}

/// What leads from API keys to their owners.
async fn lookups(system: &System) -> Vec<HashMap<String, AttributeValue>> {
    let mut items = system.scan().await;
    items.retain(|item| item["sk"].as_s().unwrap() == "APIKEY");
    items
}

/// Removes an API key as its revocation does, by a call that nothing goes wrong with.
fn revocation(system: &System, username: &str, id: &str) -> impl Future<Output = ()> + Send + 'static {
    let update = system.client.update_item().table_name(&system.table);
    let update = update
        .key("pk", AttributeValue::S(format!("USER#{username}")))
        .key("sk", AttributeValue::S("USER".into()))
        .update_expression("REMOVE api_keys.#id")
        .expression_attribute_names("#id", id);
    async move { drop(update.send().await.unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_stored_only_as_a_hash() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let body =
        json!({"name": " my laptop ", "expires_in_seconds": 3_600, "cap": 1_000, "models": ["gpt-4o-mini", "b"]});
    let made = make(&system, &ada, &body).await.expect_status(201);
    let made = &made.body["api_key"];
    let key = made["key"].as_str().unwrap();
    assert!(key.len() == 46 && key.starts_with("sk-"), "{key}");
    assert_eq!(made["name"], "my laptop");
    assert_eq!(made["prefix"], json!(format!("{}…", &key[..7])));
    assert_eq!(
        (&made["cap"], &made["models"]),
        (&json!(1_000), &json!(["gpt-4o-mini", "b"]))
    );
    let plain = make(&system, &ada, &json!({"name": "plain"})).await.expect_status(201);
    let plain = &plain.body["api_key"];
    for limit in ["expires_at", "cap", "models"] {
        assert_eq!(plain[limit], Value::Null, "{limit}");
    }

    let list = system
        .send(Request::get(PATH).bearer(&ada.access))
        .await
        .expect_status(200);
    assert!(
        !list.text.contains(key) && !list.text.contains(&key[7..]),
        "only the beginning is listed"
    );
    let data = list.body["data"].as_array().unwrap();
    // The newest first.
    assert_eq!(
        (&data[0]["name"], &data[1]["name"]),
        (&json!("plain"), &json!("my laptop"))
    );
    for member in ["id", "name", "prefix", "created_at", "expires_at", "cap", "models"] {
        assert_eq!(data[1][member], made[member], "{member}");
    }
    assert_eq!((&data[1]["spent"], &data[1]["last_used_at"]), (&json!(0), &Value::Null));
    assert_eq!(data[1].as_object().unwrap().len(), 9);
    let stored = format!("{:?}", system.scan().await);
    assert!(!stored.contains(&key[7..]), "the key itself is stored");

    // Staff see nothing of it.
    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    let seen = Request::get("/api/v1/admin/users/ada").bearer(&root.access);
    let seen = system.send(seen).await.expect_status(200);
    for secret in [made["id"].as_str().unwrap(), &key[..7], "api_key"] {
        assert!(!seen.text.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_owner_does_until_it_is_revoked() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, id) = system.api_key(&ada, &json!({})).await;
    let sent = chat(&system, &key).await.expect_status(200);
    assert_eq!(sent.body["token_balance"], 3_900);
    let classic = Request::post("/api/chat", &json!({"message": "hello"})).bearer(&key);
    let classic = system.send(classic).await.expect_status(200);
    assert_eq!(classic.body["remaining_tokens"], 3_800);
    for path in [
        "/api/v1/users/me",
        "/api/tokens",
        "/api/v1/chats",
        "/api/v1/users/all",
        PATH,
    ] {
        system.send(Request::get(path).bearer(&key)).await.expect_status(200);
    }
    let used = &listed(&system, &ada).await[0];
    assert_eq!(used["spent"], 200);
    assert!(moment(&used["last_used_at"]) >= moment(&used["created_at"]));

    // What a key is limited to must not be got around with the key itself.
    let with_key = Account {
        access: key.clone(),
        ..ada.clone()
    };
    make(&system, &with_key, &json!({"name": "another"}))
        .await
        .expect_error(403, "permission_denied");
    revoke(&system, &with_key, &id)
        .await
        .expect_error(403, "permission_denied");

    revoke(&system, &ada, &id).await.expect_status(204);
    // By processes that have had it before, and by one that has not.
    system.spawn("users-profile");
    for _ in 0..4 {
        let refused = look(&system, &key).await.expect_error(401, "token_not_valid");
        assert_eq!(refused.body["detail"], "Invalid API key");
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"api\"");
    }
    chat(&system, &key).await.expect_error(401, "token_not_valid");
    system
        .send(Request::get("/api/tokens").bearer(&key))
        .await
        .expect_error(401, "token_not_valid");
    assert!(listed(&system, &ada).await.is_empty());
    assert!(lookups(&system).await.is_empty());
    revoke(&system, &ada, &id).await.expect_error(404, "api_key_not_found");
    assert_eq!(system.balance(&ada).await, 3_800);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_lets_nobody_in_and_stays_listed_until_it_is_revoked() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, id) = system.api_key(&ada, &json!({"expires_in_seconds": 2})).await;
    look(&system, &key).await.expect_status(200);
    let expires_at = listed(&system, &ada).await[0]["expires_at"].clone();
    tokio::time::sleep(Duration::from_millis(2_001)).await;
    // Both a process that has had it before and one that has not.
    look(&system, &key).await.expect_error(401, "token_not_valid");
    chat(&system, &key).await.expect_error(401, "token_not_valid");
    assert_eq!(listed(&system, &ada).await[0]["expires_at"], expires_at);
    revoke(&system, &ada, &id).await.expect_status(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_asks_only_the_models_that_it_is_for() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (other, _) = system
        .api_key(&ada, &json!({"models": ["another-model", "gpt-4o"]}))
        .await;
    let (own, _) = system
        .api_key(&ada, &json!({"models": ["another-model", "echo"]}))
        .await;
    chat(&system, &other).await.expect_error(403, "model_not_allowed");
    assert_eq!(system.balance(&ada).await, 4_000);
    look(&system, &other).await.expect_status(200);
    chat(&system, &own).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_fallback_nor_the_catalogue_tells_a_key_of_models_that_it_is_not_for() {
    let server = ModelServer::start().await;
    let system = System::start_with(&[
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", server.base_url.as_str()),
        ("MODEL_NAME", "first"),
        ("MODEL_FALLBACK", "second"),
        ("MODEL_CHOICES", "third"),
    ])
    .await;
    let ada = system.account("ada").await;
    server.tell_model("first", Told::Reply(404, "{}"));
    for (models, status, asked) in [
        (json!(["first", "second"]), 200, vec!["first", "second"]),
        (json!(["first", "third"]), 502, vec!["first"]),
        (json!(["second"]), 403, vec![]),
    ] {
        let (key, _) = system.api_key(&ada, &json!({"models": models})).await;
        chat(&system, &key).await.expect_status(status);
        let requests = server.take_asked().into_iter();
        let names: Vec<_> = requests.map(|(_, request)| request["model"].clone()).collect();
        assert_eq!(json!(names), json!(asked), "{models}");
        let catalogue = system
            .send(Request::get("/v1/models").bearer(&key))
            .await
            .expect_status(200);
        let listed = catalogue.body["data"].as_array().unwrap().iter();
        let listed: Vec<_> = listed.map(|model| model["id"].clone()).collect();
        assert_eq!(json!(listed), models);
    }
    system.check_ledger("ada").await;
}

/// A key is looked for by its name, which is the beginning of its hash: another key with the same beginning is another key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_the_name_of_another_lets_nobody_in() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, id) = system.api_key(&ada, &json!({})).await;
    let hash = lookups(&system).await[0]["hash"].as_s().unwrap().clone();
    assert!(hash.starts_with(&id) && hash.len() == 43);
    let update = system.client.update_item().table_name(&system.table);
    let update = update
        .key("pk", AttributeValue::S(format!("TOKEN#{id}")))
        .key("sk", AttributeValue::S("APIKEY".into()))
        .update_expression("SET #hash = :hash")
        .expression_attribute_names("#hash", "hash")
        .expression_attribute_values(":hash", AttributeValue::S(format!("{id}{}", "A".repeat(27))));
    update.send().await.unwrap();
    look(&system, &key).await.expect_error(401, "token_not_valid");
}

/// The words that clients of OpenAI's API know.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_door_for_openais_clients_a_key_is_refused_in_their_words() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let ask = |key: &str, model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        system.send(Request::post("/v1/chat/completions", &body).bearer(key))
    };
    let refused = async |key: &str, status: u16, code: &str, kind: &str| {
        let reply = ask(key, "echo").await.expect_status(status);
        let error = &reply.body["error"];
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!(code), &json!(kind)),
            "{}",
            reply.text
        );
    };
    let (key, id) = system.api_key(&ada, &json!({"cap": 100})).await;
    ask(&key, "echo").await.expect_status(200);
    refused(&key, 402, "insufficient_quota", "insufficient_quota").await;
    revoke(&system, &ada, &id).await.expect_status(204);
    refused(&key, 401, "invalid_api_key", "invalid_request_error").await;
    let (other, _) = system.api_key(&ada, &json!({"models": ["another"]})).await;
    refused(&other, 403, "model_not_allowed", "permission_error").await;
    assert_eq!(system.balance(&ada).await, 3_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_others_are_not_found() {
    let system = System::start().await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    let (key, id) = system.api_key(&ada, &json!({})).await;
    assert!(listed(&system, &bob).await.is_empty());
    for id in [id.as_str(), "AAAAAAAAAAAAAAAA", "short", "%00", &"A".repeat(300)] {
        revoke(&system, &bob, id).await.expect_error(404, "api_key_not_found");
    }
    look(&system, &key).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_key_can_be_is_400() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let most = Value::from(9_007_199_254_740_992_u64);
    let many: Vec<_> = (0..21).map(|number| number.to_string()).collect();
    for (member, bad, code) in [
        ("name", json!(null), "invalid"),
        ("name", json!(""), "invalid"),
        ("name", json!(" \n "), "invalid"),
        ("name", json!("two\nlines"), "invalid"),
        ("name", json!("x".repeat(101)), "invalid"),
        ("expires_in_seconds", json!(0), "invalid"),
        ("expires_in_seconds", json!(315_360_001), "invalid"),
        ("expires_in_seconds", json!(-1), "malformed"),
        ("expires_in_seconds", json!(1.5), "malformed"),
        ("expires_in_seconds", json!("60"), "malformed"),
        ("cap", most, "invalid"),
        ("cap", json!(-1), "malformed"),
        ("cap", json!(0.5), "malformed"),
        ("cap", json!("100"), "malformed"),
        ("models", json!([]), "invalid"),
        ("models", json!(many), "invalid"),
        ("models", json!([""]), "invalid"),
        ("models", json!(["a b"]), "invalid"),
        ("models", json!(["é"]), "invalid"),
        ("models", json!(["x".repeat(257)]), "invalid"),
        ("models", json!(["a", "a"]), "invalid"),
        ("models", json!("gpt-4o-mini"), "malformed"),
        ("models", json!([5]), "malformed"),
    ] {
        let mut body = json!({"name": "a key"});
        body[member] = bad;
        let refused = make(&system, &ada, &body).await.expect_error(400, code);
        if code == "invalid" {
            assert_eq!(refused.body["member"], member, "{body}");
        } else {
            assert!(refused.text_of("detail").contains(member), "{}", refused.text);
        }
    }
    assert!(listed(&system, &ada).await.is_empty());
    let longest = json!({
        "name": "é".repeat(100), "expires_in_seconds": 315_360_000, "cap": 9_007_199_254_740_991_u64,
        "models": many[..20].iter().map(|name| format!("{name:x>256}")).collect::<Vec<_>>(),
    });
    make(&system, &ada, &longest).await.expect_status(201);
    let nothing = make(&system, &ada, &json!({"name": "reads only", "cap": 0}))
        .await
        .expect_status(201);
    let nothing = nothing.body["api_key"]["key"].as_str().unwrap().to_owned();
    look(&system, &nothing).await.expect_status(200);
    chat(&system, &nothing).await.expect_error(402, "api_key_cap_reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_nobodys_are_looked_up_twenty_times_a_minute_for_one_network() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({})).await;
    let from = |key: &str, network: &str| {
        let look = Request::get("/api/v1/users/me").bearer(key).from(network);
        system.send(look)
    };
    from(&key, "203.0.113.9").await.expect_status(200);
    let (later, _) = system.api_key(&ada, &json!({})).await;
    for guess in 0..20 {
        let guess = format!("sk-{guess:0>43}");
        from(&guess, "203.0.113.9").await.expect_error(401, "token_not_valid");
    }
    let guess = from(&format!("sk-{}", "A".repeat(43)), "203.0.113.9").await;
    let guess = guess.expect_error(429, "too_many_requests");
    assert!((1..=60).contains(&guess.header("retry-after").parse::<u64>().unwrap()));
    // A key that is known costs no look. What can be no key does not either, and is nothing to wait for.
    from(&key, "203.0.113.9").await.expect_status(200);
    from("sk-short", "203.0.113.9")
        .await
        .expect_error(401, "token_not_valid");
    from(&later, "198.51.100.7").await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_keys_made_at_once_ten_are_made() {
    let system = System::start().await;
    for _ in 0..4 {
        system.spawn("api-keys-create");
    }
    for round in 0..3 {
        let ada = system.account(&format!("ada{round}")).await;
        if round == 2 {
            // An account from before there were API keys.
            system.remove(&ada, "api_keys").await;
        }
        let body = json!({"name": "a key"});
        let replies = join_all((0..16).map(|_| make(&system, &ada, &body))).await;
        let keys: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
        assert_eq!(keys.len(), 10, "round {round}");
        for reply in &replies {
            if reply.status != 201 {
                reply.clone().expect_error(409, "too_many_api_keys");
            }
        }
        for reply in keys {
            look(&system, reply.body["api_key"]["key"].as_str().unwrap())
                .await
                .expect_status(200);
        }
        let list = listed(&system, &ada).await;
        assert_eq!(list.len(), 10);
        assert!(list.is_sorted_by(|a, b| moment(&a["created_at"]) >= moment(&b["created_at"])));
        // One goes, one may come.
        revoke(&system, &ada, list[0]["id"].as_str().unwrap())
            .await
            .expect_status(204);
        make(&system, &ada, &body).await.expect_status(201);
        make(&system, &ada, &body).await.expect_error(409, "too_many_api_keys");
    }
    assert_eq!(
        lookups(&system).await.len(),
        30,
        "nothing is stored of a key that was refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_four_revocations_at_once_one_revokes() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.spawn("api-keys-revoke");
    }
    for _ in 0..5 {
        let (_, id) = system.api_key(&ada, &json!({})).await;
        let mut statuses: Vec<_> = join_all((0..4).map(|_| revoke(&system, &ada, &id)))
            .await
            .iter()
            .map(|reply| reply.status)
            .collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404, 404, 404]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_whose_replies_are_lost_is_made_once_and_revoked_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for lost in [1, EVERY_ATTEMPT] {
        system.lose(Lost::Reply, "TransactWriteItems", lost);
        let (key, id) = system.api_key(&ada, &json!({})).await;
        assert_eq!(listed(&system, &ada).await.len(), 1);
        look(&system, &key).await.expect_status(200);
        system.lose(Lost::Reply, "TransactWriteItems", lost);
        revoke(&system, &ada, &id).await.expect_status(204);
        look(&system, &key).await.expect_error(401, "token_not_valid");
    }
    // Nobody has the text of a key that was made without anybody knowing; it is in the list, and can go.
    system.lose(Lost::Reply, "TransactWriteItems", 1);
    system.lose(Lost::Request, "TransactWriteItems", 4 * EVERY_ATTEMPT - 1);
    make(&system, &ada, &json!({"name": "lost"}))
        .await
        .expect_error(503, "outcome_unknown");
    let lost = &listed(&system, &ada).await[0];
    assert_eq!(lost["name"], "lost");
    revoke(&system, &ada, lost["id"].as_str().unwrap())
        .await
        .expect_status(204);
    assert!(lookups(&system).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_calls_with_one_key_as_many_succeed_as_its_cap_covers() {
    let system = System::start().await;
    for _ in 0..8 {
        system.spawn("chats-send");
    }
    for round in 0..8 {
        let name = format!("racer{round}");
        let racer = system.account(&name).await;
        // The one half of them with a cap that the price does not divide.
        let (key, _) = system.api_key(&racer, &json!({"cap": 1_000 + 50 * (round % 2)})).await;
        let watch = async {
            for _ in 0..20 {
                assert!(
                    spent(&system, &racer).await <= 1_000,
                    "more is spent than the cap covers"
                );
            }
        };
        let calls = join_all((0..32).map(|_| chat(&system, &key)));
        let (replies, ()) = tokio::join!(calls, watch);
        let answered = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(answered, 10, "round {round}");
        for reply in replies {
            if reply.status != 200 {
                let refused = reply.expect_error(402, "api_key_cap_reached");
                assert_eq!(refused.body["detail"], "The cap of this API key is reached");
            }
        }
        assert_eq!(spent(&system, &racer).await, 1_000);
        // Its owner has the rest.
        assert_eq!(system.balance(&racer).await, 3_000);
        system.chat(&racer, "hello").await.expect_status(200);
        system.check_ledger(&name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_cannot_spend_what_its_owner_does_not_have() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "100")]).await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({"cap": 1_000})).await;
    chat(&system, &key).await.expect_status(200);
    chat(&system, &key).await.expect_error(402, "insufficient_tokens");
    assert_eq!(spent(&system, &ada).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_too_much_is_not_spent() {
    let system = System::start_with(&BY_USAGE).await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({"cap": 50_000})).await;
    let mut costs = 0;
    for _ in 0..3 {
        let sent = chat(&system, &key).await.expect_status(200);
        let cost = sent.body["chat"]["cost"].as_u64().unwrap();
        assert!((1..100).contains(&cost), "{cost}");
        costs += cost;
        assert_eq!(spent(&system, &ada).await, costs);
        assert_eq!(system.balance(&ada).await, 100_000 - costs);
    }
    // What can be held at most counts before anything is spent.
    let (tight, _) = system.api_key(&ada, &json!({"cap": 1_000})).await;
    chat(&system, &tight).await.expect_error(402, "api_key_cap_reached");
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_not_spent() {
    for overrides in [
        &[("ECHO_FAILURE", "error")][..],
        &[
            ("ECHO_DELAY_MILLISECONDS", "5000"),
            ("MODEL_TIMEOUT_MILLISECONDS", "50"),
        ],
    ] {
        let system = System::start_with(overrides).await;
        let ada = system.account("ada").await;
        let (key, _) = system.api_key(&ada, &json!({"cap": 100})).await;
        for _ in 0..3 {
            let failed = chat(&system, &key).await;
            assert!([502, 504].contains(&failed.status), "{}", failed.text);
            assert_eq!(spent(&system, &ada).await, 0);
        }
        assert_eq!(system.balance(&ada).await, 4_000);
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_on_the_way_is_spent_once_or_not_at_all() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({"cap": 300})).await;
    system.lose(Lost::Reply, "UpdateItem", 1);
    chat(&system, &key).await.expect_status(200);
    assert_eq!(spent(&system, &ada).await, 100);
    // Whether it was placed nobody knows, so it is released; then a settlement that never arrives.
    system.lose(Lost::Reply, "UpdateItem", EVERY_ATTEMPT);
    chat(&system, &key).await.expect_error(503, "busy");
    assert_eq!(spent(&system, &ada).await, 100);
    system.lose(Lost::Request, "TransactWriteItems", EVERY_ATTEMPT);
    chat(&system, &key).await.expect_error(503, "busy");
    assert_eq!(spent(&system, &ada).await, 100);
    system.lose(Lost::Reply, "TransactWriteItems", EVERY_ATTEMPT);
    chat(&system, &key).await.expect_status(200);
    assert_eq!(spent(&system, &ada).await, 200);
    system.check_ledger("ada").await;
}

/// What becomes of a call whose key is revoked while the model answers: nothing is lost and nothing is left, whatever comes of the call.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_during_a_call_ends_the_next_call_and_not_this_one() {
    let slow = ("ECHO_DELAY_MILLISECONDS", "3000");
    let flat = ("SIGNUP_TOKENS", "100000");
    for (overrides, status) in [
        (vec![slow, flat], 200),
        // With something to give back.
        ([&[slow], &BY_USAGE[..]].concat(), 200),
        (vec![slow, flat, ("ECHO_FAILURE", "error")], 502),
        (vec![slow, flat, ("MODEL_TIMEOUT_MILLISECONDS", "1500")], 504),
    ] {
        let system = System::start_with(&overrides).await;
        let ada = system.account("ada").await;
        let (key, id) = system.api_key(&ada, &json!({"cap": 50_000})).await;
        let end = async {
            system.wait_for_holds("ada", 1).await;
            revoke(&system, &ada, &id).await.expect_status(204);
        };
        let (answered, ()) = tokio::join!(chat(&system, &key), end);
        let answered = answered.expect_status(status);
        system.wait_for_holds("ada", 0).await;
        let cost = answered.body["chat"]["cost"].as_u64().unwrap_or(0);
        assert_eq!(system.balance(&ada).await, 100_000 - cost, "{overrides:?}");
        system.check_ledger("ada").await;
        chat(&system, &key).await.expect_error(401, "token_not_valid");
    }
}

/// A new password ends all keys, and another key may be made before the call that one of the old ones made is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_key_ended_takes_nothing_from_the_keys_that_follow() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "4000"), ("ECHO_FAILURE", "error")]).await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({"cap": 1_000})).await;
    let change = async {
        system.wait_for_holds("ada", 1).await;
        let body = json!({"old": ada.password, "new": "another horse battery"});
        let change = Request::post("/api/v1/users/password", &body).bearer(&ada.access);
        system.send(change).await.expect_status(204);
        let again = system.login("ada", "another horse battery").await;
        system.api_key(&again, &json!({"cap": 1_000})).await;
        again
    };
    let (answered, again) = tokio::join!(chat(&system, &key), change);
    answered.expect_error(502, "model_failed");
    assert_eq!(spent(&system, &again).await, 0);
    assert_eq!(system.balance(&again).await, 4_000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_function_held_with_a_key_comes_back_to_the_key() {
    let overrides = [
        ("ECHO_DELAY_MILLISECONDS", "60000"),
        ("MODEL_TIMEOUT_MILLISECONDS", "90000"),
        ("HOLD_LEASE_SECONDS", "3"),
    ];
    let system = System::start_with(&overrides).await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({"cap": 100})).await;
    let event = Request::post("/api/v1/chats", &json!({"message": "never answered"}))
        .bearer(&key)
        .rest_event();
    let kill = async {
        system.wait_for_holds("ada", 1).await;
        assert_eq!(spent(&system, &ada).await, 100);
        system.kill("chats-send").await;
        system.override_variable("ECHO_DELAY_MILLISECONDS", "0");
        chat(&system, &key).await.expect_error(402, "api_key_cap_reached");
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        chat(&system, &key).await.expect_status(200);
    };
    let (answer, ()) = tokio::join!(system.invoke("chats-send", event), kill);
    assert!(answer.is_none(), "the call died with its process");
    assert_eq!(spent(&system, &ada).await, 100);
    assert_eq!(system.balance(&ada).await, 3_900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_of_several_keys_come_back_each_to_its_own_also_while_one_is_revoked() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(system.api_key(&ada, &json!({})).await.1);
    }
    system.balance(&ada).await;
    let by_id = async || {
        let keys = listed(&system, &ada).await;
        ids.iter()
            .map(|id| {
                let key = keys.iter().find(|key| key["id"] == **id);
                key.map(|key| key["spent"].as_u64().unwrap())
            })
            .collect::<Vec<_>>()
    };
    for (key, cost) in [(0, 100), (0, 200), (1, 400), (2, 800)] {
        system.leave_dead_hold_of(&ada, Some(&ids[key]), cost, -1).await;
    }
    system.leave_dead_hold_of(&ada, Some(&ids[0]), 50, 60_000).await;
    system.leave_dead_hold(&ada, 25, -1).await;
    assert_eq!(by_id().await, [Some(350), Some(400), Some(800)]);
    // Between the read and the update that gives back.
    system.before("UpdateItem", revocation(&system, "ada", &ids[1]));
    assert_eq!(system.balance(&ada).await, 3_950);
    assert_eq!(by_id().await, [Some(50), None, Some(0)]);
    // One that was revoked before anybody looked.
    system.leave_dead_hold_of(&ada, Some(&ids[2]), 100, -1).await;
    revoke(&system, &ada, &ids[2]).await.expect_status(204);
    assert_eq!(system.balance(&ada).await, 3_950);
    assert_eq!(by_id().await, [Some(50), None, None]);
    system.check_ledger("ada").await;
}

/// A hold of which nobody knows whether it was placed is released; by then its key may be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_key_is_revoked_before_anybody_knows_of_it_comes_back() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, id) = system.api_key(&ada, &json!({})).await;
    chat(&system, &key).await.expect_status(200);
    system.recorder.lose_then("UpdateItem", revocation(&system, "ada", &id));
    chat(&system, &key).await.expect_error(401, "token_not_valid");
    assert_eq!(system.balance(&ada).await, 3_900);
    system.check_ledger("ada").await;
}

/// As with the last of a balance: the first call under an idempotency key took the last of the cap.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_that_takes_the_last_of_the_cap_is_told_again_and_not_402() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (key, _) = system.api_key(&ada, &json!({"cap": 100})).await;
    let keyed = || {
        let message = Request::post("/api/v1/chats", &json!({"message": "hello"}));
        system.send(message.header("Idempotency-Key", "k").bearer(&key))
    };
    let first = keyed().await.expect_status(200);
    let replayed = keyed().await.expect_status(200);
    assert_eq!(replayed.body, first.body);
    let items = system.items("ada").await;
    let item = items
        .into_iter()
        .find(|item| item["sk"].as_s().unwrap().starts_with("IDEM#"))
        .unwrap();
    let (client, table) = (system.client.clone(), system.table.clone());
    let delete = client.delete_item().table_name(&table).key("pk", item["pk"].clone());
    delete.key("sk", item["sk"].clone()).send().await.unwrap();
    // It is remembered after the look, which comes at the same time as the hold, and before the hold is refused.
    system.before("UpdateItem", async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .send()
            .await
            .unwrap();
    });
    let replayed = keyed().await.expect_status(200);
    assert_eq!(
        (&replayed.body, replayed.header("idempotency-replayed")),
        (&first.body, "true")
    );
    chat(&system, &key).await.expect_error(402, "api_key_cap_reached");
    assert_eq!(spent(&system, &ada).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_api_key() {
    let system = System::start().await;
    for name in ["one more", "one more and one less"] {
        let ada = system.account(&name.replace(' ', "-")).await;
        let mut keys = Vec::new();
        for _ in 0..3 {
            keys.push(system.api_key(&ada, &json!({})).await);
        }
        for (key, _) in &keys {
            look(&system, key).await.expect_status(200);
        }
        // After the account was read one more key is made, and perhaps another revoked.
        let (client, table) = (system.client.clone(), system.table.clone());
        let user = AttributeValue::S(format!("USER#{}", ada.username));
        let less = (name != "one more").then(|| revocation(&system, &ada.username, &keys[0].1));
        system.before_transaction(async move {
            if let Some(less) = less {
                less.await;
            }
            let late = HashMap::from([("s".into(), AttributeValue::N("0".into()))]);
            let update = client.update_item().table_name(&table).key("pk", user);
            let update = update
                .key("sk", AttributeValue::S("USER".into()))
                .update_expression("SET api_keys.#late = :late")
                .expression_attribute_names("#late", "LATELATELATELATE")
                .expression_attribute_values(":late", AttributeValue::M(late));
            update.send().await.unwrap();
            let item = HashMap::from([
                ("pk".into(), AttributeValue::S("TOKEN#LATELATELATELATE".into())),
                ("sk".into(), AttributeValue::S("APIKEY".into())),
            ]);
            let put = client.put_item().table_name(&table).set_item(Some(item));
            put.send().await.unwrap();
        });
        let body = json!({"old": ada.password, "new": "another horse battery"});
        let change = Request::post("/api/v1/users/password", &body).bearer(&ada.access);
        system.send(change).await.expect_status(204);
        for (key, _) in &keys {
            look(&system, key).await.expect_error(401, "token_not_valid");
        }
        // The item of the one that was revoked here behind the system's back is all that may be left.
        let left = lookups(&system).await;
        let others = left
            .iter()
            .filter(|item| item["pk"] != AttributeValue::S(format!("TOKEN#{}", keys[0].1)));
        assert_eq!(others.count(), 0, "{name}: {left:?}");
        let again = system.login(&ada.username, "another horse battery").await;
        assert!(listed(&system, &again).await.is_empty());
        let (key, id) = system.api_key(&again, &json!({})).await;
        look(&system, &key).await.expect_status(200);
        revoke(&system, &again, &id).await.expect_status(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_while_keys_are_made_and_used_leaves_no_key_behind() {
    let system = System::start().await;
    for _ in 0..2 {
        system.spawn("api-keys-create");
        system.spawn("chats-send");
    }
    for round in 0..5 {
        let ada = system.account(&format!("ada{round}")).await;
        let (used, _) = system.api_key(&ada, &json!({})).await;
        let body = json!({"old": ada.password, "new": "another horse battery"});
        let change = system.send(Request::post("/api/v1/users/password", &body).bearer(&ada.access));
        let name = json!({"name": "a key"});
        let making = join_all((0..6).map(|_| make(&system, &ada, &name)));
        let chatting = join_all((0..6).map(|_| chat(&system, &used)));
        let (changed, made, sent) = tokio::join!(change, making, chatting);
        changed.expect_status(204);
        for reply in made.iter().chain(&sent) {
            assert!([200, 201, 401].contains(&reply.status), "{}", reply.text);
        }
        let keys = made.iter().filter(|reply| reply.status == 201);
        let keys = keys.map(|reply| reply.body["api_key"]["key"].as_str().unwrap());
        for key in keys.chain([used.as_str()]) {
            look(&system, key).await.expect_error(401, "token_not_valid");
        }
        system.wait_for_holds(&ada.username, 0).await;
        system.check_ledger(&ada.username).await;
    }
    assert!(lookups(&system).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_has_no_api_keys() {
    let system = System::start().await;
    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    let (key, _) = system.api_key(&ada, &json!({})).await;
    let (other, _) = system.api_key(&bob, &json!({})).await;
    let set = |active: bool| {
        let change = Request::with_body("PATCH", "/api/v1/admin/users/ada", &json!({"active": active}));
        system.send(change.bearer(&root.access))
    };
    set(false).await.expect_status(200);
    look(&system, &key).await.expect_error(401, "user_inactive");
    set(true).await.expect_status(200);
    look(&system, &key).await.expect_error(401, "token_not_valid");
    assert_eq!(lookups(&system).await.len(), 1, "bob's is left");
    let again = system.login("ada", &ada.password).await;
    assert!(listed(&system, &again).await.is_empty());
    // A password from an operator is a new password too; the role alone ends nothing.
    let promote = |event| system.invoke_operator("admin-bootstrap", event);
    promote(json!({"username": "bob", "promote": true})).await.unwrap();
    look(&system, &other).await.expect_status(200);
    promote(json!({"username": "bob", "promote": true, "password": "another horse battery"}))
        .await
        .unwrap();
    look(&system, &other).await.expect_error(401, "token_not_valid");
    assert!(lookups(&system).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_leaves_no_api_keys() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let mut keys = Vec::new();
    for _ in 0..10 {
        keys.push(system.api_key(&ada, &json!({})).await.0);
    }
    chat(&system, &keys[0]).await.expect_status(200);
    let with_key = Request::with_body("DELETE", "/api/v1/users/me", &json!({"password": ada.password}));
    system
        .send(with_key.clone().bearer(&keys[0]))
        .await
        .expect_error(403, "permission_denied");
    system.send(with_key.bearer(&ada.access)).await.expect_status(204);
    for key in &keys {
        look(&system, key).await.expect_error(401, "token_not_valid");
    }
    assert!(lookups(&system).await.is_empty());
    assert!(system.items("ada").await.is_empty());
    // Whoever takes the name next has nothing to do with them.
    let second = system.account("ada").await;
    assert!(listed(&system, &second).await.is_empty());
    look(&system, &keys[0]).await.expect_error(401, "token_not_valid");
}

/// Written by a deletion of another process: what is left of a deletion that was cut off right before its end goes with the daily run.
#[tokio::test(flavor = "multi_thread")]
async fn the_daily_run_removes_the_api_keys_of_an_account_whose_deletion_was_cut_off() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.api_key(&ada, &json!({})).await;
    for (attribute, value) in [("active", false), ("deleting", true)] {
        system.set(&ada, attribute, AttributeValue::Bool(value)).await;
    }
    system.invoke_operator("ledger-reconcile", json!({})).await.unwrap();
    assert!(lookups(&system).await.is_empty());
    assert!(system.items("ada").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_run_gives_back_what_was_held_with_a_key() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let (_, id) = system.api_key(&ada, &json!({"cap": 500})).await;
    system.leave_dead_hold_of(&ada, Some(&id), 500, -1).await;
    let found = system.invoke_operator("ledger-reconcile", json!({})).await.unwrap();
    assert_eq!((&found["holds_given_back"], &found["drifted"]), (&json!(1), &json!(0)));
    assert_eq!(spent(&system, &ada).await, 0);
    system.check_ledger("ada").await;
}
