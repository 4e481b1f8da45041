//! What staff see and admins change, the audit trail, and the making of admins.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Account, Lost, Reply, Request, System};

const USERS: &str = "/api/v1/admin/users";

async fn admin(system: &System, name: &str) -> Account {
    let account = system.account(name).await;
    system.set_text(&account, "role", "admin").await;
    account
}

async fn get(system: &System, caller: &Account, path: &str, query: &[(&str, &str)]) -> Reply {
    let request = query
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.query(name, value));
    system.send(request.bearer(&caller.access)).await
}

async fn patch(system: &System, caller: &Account, user: &str, change: Value) -> Reply {
    let request = Request::with_body("PATCH", &format!("{USERS}/{user}"), &change);
    system.send(request.bearer(&caller.access)).await
}

fn adjustment(user: &str, amount: impl Into<Value>) -> Request {
    let body = json!({"amount": amount.into(), "reason": "a test"});
    Request::post(&format!("{USERS}/{user}/tokens"), &body)
}

async fn adjust(system: &System, caller: &Account, user: &str, amount: i64) -> Reply {
    system.send(adjustment(user, amount).bearer(&caller.access)).await
}

async fn audit(system: &System, caller: &Account) -> Vec<Value> {
    let trail = get(system, caller, "/api/v1/admin/audit", &[]).await.expect_status(200);
    trail.body["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_search_users_by_the_beginning_of_their_names() {
    let system = System::start().await;
    let root = admin(&system, "root").await;
    for name in ["Anna", "anton", "ANTONIA", "bert", "Straße"] {
        let sign_up = json!({"username": name, "password": "correct horse battery"});
        system
            .send(Request::post("/api/v1/users", &sign_up))
            .await
            .expect_status(201);
    }
    patch(&system, &root, "anton", json!({"active": false}))
        .await
        .expect_status(200);
    let search = async |query: &[(&str, &str)]| {
        let page = get(&system, &root, USERS, query).await.expect_status(200);
        let names = page.body["data"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|user| user["username"].as_str().unwrap().to_owned())
            .collect();
        (names, page)
    };
    let (all, page) = search(&[]).await;
    assert_eq!(all, ["Anna", "anton", "ANTONIA", "bert", "root", "Straße"]);
    assert_eq!(page.body["next_cursor"], Value::Null);
    let anton = &page.body["data"][1];
    assert_eq!((&anton["active"], &anton["role"]), (&json!(false), &json!("user")));
    assert!(anton["date_joined"].as_str().unwrap().ends_with('Z'));
    assert_eq!(page.body["data"][4]["role"], "admin");
    assert_eq!(search(&[("prefix", "ANT")]).await.0, ["anton", "ANTONIA"]);
    assert_eq!(search(&[("prefix", "strass")]).await.0, ["Straße"]);
    assert_eq!(
        search(&[("prefix", "an"), ("active", "true")]).await.0,
        ["Anna", "ANTONIA"]
    );
    assert_eq!(search(&[("active", "false")]).await.0, ["anton"]);
    assert!(search(&[("prefix", "nobody")]).await.0.is_empty());

    let (first, page) = search(&[("prefix", "an"), ("limit", "2")]).await;
    assert_eq!(first, ["Anna", "anton"]);
    let cursor = page.text_of("next_cursor");
    let (second, page) = search(&[("prefix", "an"), ("limit", "2"), ("cursor", &cursor)]).await;
    assert_eq!(second, ["ANTONIA"]);
    assert_eq!(page.body["next_cursor"], Value::Null);
    for query in [
        [("prefix", "b"), ("cursor", cursor.as_str())],
        [("prefix", "an"), ("cursor", "rubbish")],
        [("prefix", "a b"), ("limit", "1")],
        [("prefix", "an"), ("limit", "101")],
        [("prefix", "an"), ("active", "yes")],
    ] {
        get(&system, &root, USERS, &query).await.expect_error(400, "invalid");
    }
    // The inactive are not in the list that everybody sees, and short pages of it fill up all the same.
    let list = get(&system, &root, "/api/v1/users/all", &[("limit", "2")])
        .await
        .expect_status(200);
    assert_eq!(
        list.body["data"],
        json!([{"username": "Anna"}, {"username": "ANTONIA"}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_see_one_user_whole_but_no_hash_and_no_key() {
    let system = System::start().await;
    let root = admin(&system, "root").await;
    system.set_text(&root, "role", "staff").await;
    let sign_up = json!({"username": "a.b@c+d-Ünï", "password": "correct horse battery", "email": "ada@example.com"});
    let registered = system
        .send(Request::post("/api/register", &sign_up))
        .await
        .expect_status(201);
    let ada = Account {
        username: "a.b@c+d-ünï".into(),
        password: "correct horse battery".into(),
        access: registered.text_of("access"),
        refresh: registered.text_of("refresh"),
    };
    system.chat(&ada, "hello").await.expect_status(200);
    system.leave_dead_hold(&ada, 300, 60_000).await;
    // However the gateway hands on the path, and in any spelling.
    for name in ["a.b@c+d-Ünï", "a.b%40c%2Bd-%C3%9Cn%C3%AF", "A.B@C+D-ÜNÏ"] {
        let reply = get(&system, &root, &format!("{USERS}/{name}"), &[])
            .await
            .expect_status(200);
        let user = &reply.body["user"];
        assert_eq!(user["username"], "a.b@c+d-Ünï");
        assert_eq!(user["email"], "ada@example.com");
        assert_eq!(user["role"], "user");
        assert_eq!(user["active"], true);
        assert_eq!(
            (&user["token_balance"], &user["held_tokens"]),
            (&json!(3600), &json!(300))
        );
        assert_eq!(user["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(user["holds"][0]["cost"], 300);
        for secret in ["argon2", "auth_key", "password", "sid"] {
            assert!(!reply.text.contains(secret), "{secret}");
        }
    }
    for name in ["nobody", "a%20b", "%00", "..", "%2e%2e"] {
        let reply = get(&system, &root, &format!("{USERS}/{name}"), &[]).await;
        reply.expect_error(404, "user_not_found");
    }
    let path = format!("{USERS}/a.b@c+d-Ünï");
    let chats = get(&system, &root, &format!("{path}/chats"), &[])
        .await
        .expect_status(200);
    assert_eq!(chats.body["data"][0]["message"], "hello");
    for below in ["chats", "ledger"] {
        get(&system, &root, &format!("{USERS}/nobody/{below}"), &[])
            .await
            .expect_error(404, "user_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_and_ledgers_of_others_are_paged() {
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "1")]).await;
    let root = admin(&system, "root").await;
    let ada = system.account("ada").await;
    system.account("bob").await;
    for index in 1..=5 {
        system.chat(&ada, &format!("message {index}")).await.expect_status(200);
        adjust(&system, &root, "ada", index).await.expect_status(200);
    }
    for (below, member) in [("chats", "message"), ("ledger", "amount")] {
        let path = format!("{USERS}/ada/{below}");
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", "2")];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = get(&system, &root, &path, &query).await.expect_status(200);
            let data = page.body["data"].as_array().unwrap().clone();
            seen.extend(data.into_iter().map(|entry| entry[member].clone()));
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
            if below == "chats" {
                // Somebody else's cursor.
                let query = [("cursor", cursor.as_deref().unwrap())];
                get(&system, &root, &format!("{USERS}/bob/chats"), &query)
                    .await
                    .expect_error(400, "invalid");
            }
        }
        let expected = match below {
            "chats" => json!(["message 5", "message 4", "message 3", "message 2", "message 1"]),
            _ => json!([5, 4, 3, 2, 1, 4000]),
        };
        assert_eq!(json!(seen), expected, "{below}");
    }
    let ledger = get(&system, &root, &format!("{USERS}/ada/ledger"), &[])
        .await
        .expect_status(200);
    let newest = &ledger.body["data"][0];
    assert_eq!(newest["kind"], "adjustment");
    assert_eq!(newest["actor"], "root");
    assert_eq!(newest["reason"], "a test");
    assert_eq!(newest["balance_after"], 4010);
    assert_eq!(ledger.body["data"][5]["kind"], "signup");
}

#[tokio::test(flavor = "multi_thread")]
async fn deactivation_ends_sessions_at_once_and_for_good() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    let classic = json!({"username": "ada", "password": ada.password});
    let classic = || system.send(Request::post("/api/login", &classic));
    let key = classic().await.expect_status(200).text_of("token");
    let tokens = |key: &str| system.send(Request::get("/api/tokens").auth_key(key));
    let change = json!({"active": false, "reason": "spam"});
    let reply = patch(&system, &root, "ada", change.clone()).await.expect_status(200);
    assert_eq!(reply.body["user"]["active"], false);
    assert_eq!(reply.body["user"]["sessions"], json!([]));
    system.chat(&ada, "hello").await.expect_error(401, "user_inactive");
    tokens(&key).await.expect_error(401, "user_inactive");
    let login = json!({"username": "ada", "password": ada.password});
    let login = || system.send(Request::post("/api/v1/users/login", &login));
    login().await.expect_error(401, "invalid_credentials");
    // The same again changes nothing and is not in the trail.
    patch(&system, &root, "ada", change).await.expect_status(200);
    patch(&system, &root, "ada", json!({"active": true}))
        .await
        .expect_status(200);
    system.chat(&ada, "hello").await.expect_error(401, "token_not_valid");
    login().await.expect_status(200);
    tokens(&key).await.expect_error(401, "token_not_valid");
    let new_key = classic().await.expect_status(200).text_of("token");
    assert_ne!(new_key, key);
    tokens(&new_key).await.expect_status(200);
    let trail = audit(&system, &root).await;
    assert_eq!(trail.len(), 2);
    assert_eq!(trail[1]["action"], "user_changed");
    assert_eq!(
        (&trail[1]["actor"], &trail[1]["target"]),
        (&json!("root"), &json!("ada"))
    );
    assert_eq!(trail[1]["reason"], "spam");
    assert_eq!(
        trail[1]["changes"],
        json!([{"member": "active", "from": "true", "to": "false"}])
    );
    assert_eq!(trail[0]["reason"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_counts_from_the_next_request_on() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    get(&system, &ada, USERS, &[])
        .await
        .expect_error(403, "permission_denied");
    patch(&system, &root, "ada", json!({"role": "staff"}))
        .await
        .expect_status(200);
    get(&system, &ada, USERS, &[]).await.expect_status(200);
    adjust(&system, &ada, "ada", 5)
        .await
        .expect_error(403, "permission_denied");
    patch(&system, &ada, "ada", json!({"role": "admin"}))
        .await
        .expect_error(403, "permission_denied");
    patch(&system, &root, "ada", json!({"role": "admin"}))
        .await
        .expect_status(200);
    adjust(&system, &ada, "ada", 5).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 4005);
    patch(&system, &ada, "root", json!({"role": "user"}))
        .await
        .expect_status(200);
    adjust(&system, &root, "ada", 5)
        .await
        .expect_error(403, "permission_denied");
    for bad in [
        json!({}),
        json!({"role": "god"}),
        json!({"reason": "no change"}),
        json!({"role": null}),
    ] {
        patch(&system, &ada, "root", bad).await.expect_error(400, "invalid");
    }
    for bad in [json!({"active": "yes"}), json!({"role": 1}), json!({"active": 0})] {
        patch(&system, &ada, "root", bad).await.expect_error(400, "malformed");
    }
    patch(&system, &ada, "nobody", json!({"role": "staff"}))
        .await
        .expect_error(404, "user_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_their_own_rights_or_the_last_admins() {
    let system = System::start().await;
    let root = admin(&system, "root").await;
    for change in [
        json!({"role": "user"}),
        json!({"role": "staff"}),
        json!({"active": false}),
    ] {
        patch(&system, &root, "ROOT", change)
            .await
            .expect_error(409, "own_rights");
    }
    // What takes nothing away is no matter.
    patch(&system, &root, "root", json!({"role": "admin", "active": true}))
        .await
        .expect_status(200);
    // Two admins who take each other's role at once: one of them stays.
    for _ in 0..3 {
        system.spawn("admin-update");
    }
    for round in 0..20 {
        let (one, other) = (format!("one{round}"), format!("other{round}"));
        let (a, b) = (admin(&system, &one).await, admin(&system, &other).await);
        let change = || json!({"role": "user"});
        let (first, second) = tokio::join!(patch(&system, &a, &other, change()), patch(&system, &b, &one, change()));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "round {round}: {} {}", first.text, second.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_is_in_the_ledger_and_in_the_audit_trail() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    let reply = adjust(&system, &root, "ADA", 500).await.expect_status(200);
    assert_eq!(reply.body["token_balance"], 4500);
    assert_eq!(reply.body["entry"]["amount"], 500);
    assert_eq!(reply.body["entry"]["balance_after"], 4500);
    assert!(!reply.headers.contains_key("idempotency-replayed"));
    assert_eq!(system.balance(&ada).await, 4500);
    // JSON has no integers of its own: some languages write them so.
    let request = Request::new("POST", &format!("{USERS}/ada/tokens")).header("Content-Type", "application/json");
    let request = request.raw_body(r#"{"amount": -4.5e3, "reason": "a test"}"#);
    let reply = system.send(request.bearer(&root.access)).await.expect_status(200);
    assert_eq!(reply.body["entry"]["amount"], -4500);
    assert_eq!(system.balance(&ada).await, 0);
    system
        .chat(&ada, "hello")
        .await
        .expect_error(402, "insufficient_tokens");
    system.check_ledger("ada").await;
    let trail = audit(&system, &root).await;
    assert_eq!(trail.len(), 2);
    assert_eq!(trail[1]["action"], "balance_adjusted");
    assert_eq!(
        trail[1]["changes"],
        json!([{"member": "token_balance", "from": "4000", "to": "4500"}])
    );
    assert_eq!(trail[1]["reason"], "a test");
    // Admins' own balances too.
    adjust(&system, &root, "root", 1).await.expect_status(200);
    assert_eq!(system.balance(&root).await, 4001);
    system.check_ledger("root").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_adjustments_are_400_and_change_nothing() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    for amount in [
        -4001,
        0,
        9_007_199_254_740_991,
        9_007_199_254_740_992,
        i64::MAX,
        i64::MIN,
    ] {
        adjust(&system, &root, "ada", amount).await.expect_error(400, "invalid");
    }
    for amount in [
        json!(1.5),
        json!("5"),
        json!(true),
        json!([5]),
        json!(u64::MAX),
        json!(1e18),
    ] {
        let request = adjustment("ada", amount).bearer(&root.access);
        system.send(request).await.expect_error(400, "malformed");
    }
    let raw = |text: &str| {
        let request = Request::new("POST", &format!("{USERS}/ada/tokens")).header("Content-Type", "application/json");
        request.raw_body(text).bearer(&root.access)
    };
    let malformed = [
        r#"{"amount": 99999999999999999999, "reason": "a test"}"#,
        r#"{"amount": -0.5, "reason": "a test"}"#,
        r#"{"amount": NaN, "reason": "a test"}"#,
        r#"{"amount": 5, "amount": 6, "reason": "a test"}"#,
    ];
    for text in malformed {
        system.send(raw(text)).await.expect_error(400, "malformed");
    }
    for body in [
        json!({"amount": 5}),
        json!({"amount": 5, "reason": " "}),
        json!({"amount": 5, "reason": "a\nb"}),
        json!({"reason": "x"}),
    ] {
        let request = raw(&body.to_string());
        system.send(request).await.expect_error(400, "invalid");
    }
    adjust(&system, &root, "nobody", 5)
        .await
        .expect_error(404, "user_not_found");
    assert_eq!(system.balance(&ada).await, 4000);
    assert_eq!(system.items("ada").await.len(), 1);
    assert!(audit(&system, &root).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_leaves_room_for_what_is_held() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    system.leave_dead_hold(&ada, 100, 2_000).await;
    let most = 9_007_199_254_740_991;
    adjust(&system, &root, "ada", most - 3_900)
        .await
        .expect_error(400, "invalid");
    adjust(&system, &root, "ada", most - 4_000).await.expect_status(200);
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(system.balance(&ada).await, u64::try_from(most).unwrap());
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_meant_for_one_account_never_lands_on_another_of_its_name() {
    let system = System::start().await;
    let (root, bob) = (admin(&system, "root").await, system.account("bob").await);
    for request in [
        Request::with_body("PATCH", &format!("{USERS}/bob"), &json!({"role": "admin"})),
        adjustment("bob", 500),
    ] {
        // Between reading and writing the account is deleted and its name taken again.
        let items = system.items("bob").await;
        let old = items
            .into_iter()
            .find(|item| item["sk"].as_s().unwrap() == "USER")
            .unwrap();
        let mut new = old.clone();
        new.insert(
            "id".into(),
            AttributeValue::S(format!("01JGXQ0000000000000000{:04}", system.unique_number())),
        );
        new.insert("balance".into(), AttributeValue::N("4001".into()));
        let (client, table) = (system.client.clone(), system.table.clone());
        system.before_transaction(async move {
            client
                .put_item()
                .table_name(table)
                .set_item(Some(new))
                .send()
                .await
                .unwrap();
        });
        system
            .send(request.bearer(&root.access))
            .await
            .expect_error(404, "user_not_found");
        let put = system.client.put_item().table_name(&system.table);
        put.set_item(Some(old)).send().await.unwrap();
    }
    assert_eq!(system.balance(&bob).await, 4000);
    assert!(audit(&system, &root).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_page_is_never_longer_than_its_limit() {
    let system = System::start().await;
    let root = admin(&system, "root").await;
    system.account("ada").await;
    for amount in 1..=2 {
        adjust(&system, &root, "ada", amount).await.expect_status(200);
    }
    let path = format!("{USERS}/ada/ledger");
    let (mut lengths, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "1")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = get(&system, &root, &path, &query).await.expect_status(200);
        lengths.push(page.body["data"].as_array().unwrap().len());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(lengths, [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_adjusts_once() {
    let system = System::start().await;
    let (root, other) = (admin(&system, "root").await, admin(&system, "other").await);
    let ada = system.account("ada").await;
    let with = |caller: &Account, key: &str, user: &str, amount: i64| {
        let request = adjustment(user, amount).header("Idempotency-Key", key);
        system.send(request.bearer(&caller.access))
    };
    let first = with(&root, "k-1", "ada", 500).await.expect_status(200);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    system.chat(&ada, "hello").await.expect_status(200);
    let again = with(&root, "k-1", "ada", 500).await.expect_status(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body, "the stored answer");
    with(&root, "k-1", "ada", 501)
        .await
        .expect_error(422, "idempotency_mismatch");
    with(&root, "k-1", "other", 500)
        .await
        .expect_error(422, "idempotency_mismatch");
    // Another admin's key of the same name is another key.
    with(&other, "k-1", "ada", 500).await.expect_status(200);
    for bad in ["", " ", "a b", "é", &"x".repeat(256)] {
        with(&root, bad, "ada", 500).await.expect_error(400, "invalid");
    }
    assert_eq!(system.balance(&ada).await, 4900);

    for _ in 0..3 {
        system.spawn("admin-adjust");
    }
    for round in 0..10 {
        let key = format!("race-{round}");
        let replies = join_all((0..8).map(|_| with(&root, &key, "ada", 7))).await;
        let replayed = replies
            .iter()
            .filter(|reply| reply.headers.contains_key("idempotency-replayed"));
        assert_eq!(replayed.count(), 7, "round {round}");
        assert!(
            replies
                .iter()
                .all(|reply| reply.status == 200 && reply.body == replies[0].body)
        );
    }
    assert_eq!(system.balance(&ada).await, 4970);
    // A key is remembered for a day.
    let items = system.items("root").await;
    let kept = items
        .iter()
        .find(|item| item["sk"].as_s().unwrap().starts_with("IDEM#"))
        .unwrap();
    let expires = kept["expires_at"].as_n().unwrap().parse::<u64>().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((86_300..=86_400).contains(&(expires - now)));
    let past = AttributeValue::N((now - 1).to_string());
    let update = system
        .client
        .update_item()
        .table_name(&system.table)
        .update_expression("SET expires_at = :past");
    for item in items
        .iter()
        .filter(|item| item["sk"].as_s().unwrap().starts_with("IDEM#"))
    {
        let update = update
            .clone()
            .key("pk", item["pk"].clone())
            .key("sk", item["sk"].clone());
        update
            .expression_attribute_values(":past", past.clone())
            .send()
            .await
            .unwrap();
    }
    with(&root, "k-1", "ada", 30).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 5000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_whose_replies_are_lost_is_made_once() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    for (lost, balance) in [(1, 4100), (3, 4200), (6, 4300)] {
        system.lose(Lost::Reply, "TransactWriteItems", lost);
        adjust(&system, &root, "ada", 100).await.expect_status(200);
        assert_eq!(system.balance(&ada).await, balance, "{lost} lost");
        system.check_ledger("ada").await;
    }
    // Lost for good, but it is in the ledger.
    system.lose(Lost::Reply, "TransactWriteItems", 9);
    adjust(&system, &root, "ada", 100).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 4400);
    // Never arrived, and nobody can say that it never will.
    system.lose(Lost::Request, "TransactWriteItems", 9);
    adjust(&system, &root, "ada", 100)
        .await
        .expect_error(503, "outcome_unknown");
    assert_eq!(system.balance(&ada).await, 4400);
    system.lose(Lost::Conflict, "TransactWriteItems", 4);
    adjust(&system, &root, "ada", 100).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 4500);
    system.check_ledger("ada").await;
    let trail = audit(&system, &root).await;
    assert_eq!(trail.len(), 5, "one entry for one deed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_calls_hold_can_be_adjusted_away() {
    let system = System::start().await;
    let (root, ada) = (admin(&system, "root").await, system.account("ada").await);
    system.leave_dead_hold(&ada, 1_000, -1).await;
    adjust(&system, &root, "ada", -4000).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 0);
    system.check_ledger("ada").await;
}

/// Two admins adjust a balance by turns and its user chats, 1 000 operations in all; a fourth looks at the ledger all the while.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_holds_while_two_admins_adjust_and_the_user_chats() {
    let system = System::start_with(&[
        ("MESSAGE_COST_TOKENS", "10"),
        ("SIGNUP_TOKENS", "100000"),
        ("CHATS_PER_MINUTE", "0"),
    ])
    .await;
    let (one, other) = (admin(&system, "one").await, admin(&system, "other").await);
    let ada = system.account("ada").await;
    system.spawn("admin-adjust");
    system.spawn("admin-adjust");
    system.spawn("chats-send");
    let done = std::sync::atomic::AtomicUsize::new(0);
    let count = || done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let adjusting = async |admin: &Account, amounts: [i64; 2]| {
        for turn in 0..250 {
            loop {
                let reply = adjust(&system, admin, "ada", amounts[turn % 2]).await;
                match reply.status {
                    200 => break,
                    // A balance in use: sent again, as the answer says.
                    _ => reply.expect_error(503, "busy"),
                };
            }
            count();
        }
    };
    let chatting = async {
        for turn in 0..500 {
            system.chat(&ada, &format!("turn {turn}")).await.expect_status(200);
            count();
        }
    };
    let looking = async {
        let mut looks = 0;
        while done.load(std::sync::atomic::Ordering::Relaxed) < 1_000 {
            // One query of the whole partition is one moment of it as long as it fits a page of 1 MB.
            system.check_ledger("ada").await;
            looks += 1;
        }
        looks
    };
    let ((), (), (), looks) = tokio::join!(
        adjusting(&one, [7, -3]),
        adjusting(&other, [-11, 13]),
        chatting,
        looking
    );
    let expected = 100_000 - 500 * 10 + 125 * (7 - 3) + 125 * (13 - 11);
    assert_eq!(system.balance(&ada).await, expected);
    println!("1000 operations, ledger checked {looks} times, balance {expected}");
    assert!(looks > 10);
    // Each entry's balance follows from the one before and the chats between, so each says what was.
    let ledger = system.items("ada").await;
    let entries = ledger
        .iter()
        .filter(|item| item["sk"].as_s().unwrap().starts_with("LEDGER#"));
    assert_eq!(entries.count(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_is_paged_and_nobody_may_rewrite_it() {
    let system = System::start().await;
    let root = admin(&system, "root").await;
    system.account("ada").await;
    for amount in 1..=5 {
        adjust(&system, &root, "ada", amount).await.expect_status(200);
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "2")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = get(&system, &root, "/api/v1/admin/audit", &query)
            .await
            .expect_status(200);
        seen.extend(
            page.body["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["changes"][0]["to"].clone()),
        );
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(json!(seen), json!(["4015", "4010", "4006", "4003", "4001"]));
    for function in crate::support::template().functions().unwrap() {
        for permission in &function.permissions {
            let in_trail = permission
                .leading_keys
                .iter()
                .any(|key| key == "*" || "AUDIT".starts_with(key.trim_end_matches('*')));
            let reads = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"];
            let may = reads.contains(&permission.action.as_str()) || permission.action == "dynamodb:PutItem";
            assert!(!in_trail || may, "{} may {}", function.binary, permission.action);
        }
    }
}

async fn bootstrap(system: &System, event: Value) -> Result<Value, String> {
    system.invoke_operator("admin-bootstrap", event).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_the_first_admin_with_a_password_that_is_shown_once() {
    let system = System::start().await;
    let made = bootstrap(&system, json!({"username": "Root"})).await.unwrap();
    assert_eq!(
        (&made["username"], &made["role"], &made["created"]),
        (&json!("Root"), &json!("admin"), &json!(true))
    );
    let password = made["password"].as_str().unwrap();
    assert!(password.len() >= 20);
    let root = system.login("root", password).await;
    get(&system, &root, USERS, &[]).await.expect_status(200);
    assert!(!system.logs().join("\n").contains(password), "it is in no log");
    let trail = audit(&system, &root).await;
    assert_eq!(
        (&trail[0]["action"], &trail[0]["actor"]),
        (&json!("admin_made"), &Value::Null)
    );

    let made = bootstrap(
        &system,
        json!({"username": "boss", "password": "correct horse battery"}),
    )
    .await
    .unwrap();
    assert!(made.get("password").is_none(), "a password that was given is not shown");
    system.login("boss", "correct horse battery").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_promotes_an_account_only_on_purpose() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let refused = bootstrap(&system, json!({"username": "ADA"})).await.unwrap_err();
    assert!(
        refused.contains("already exists") && refused.contains("promote"),
        "{refused}"
    );
    get(&system, &ada, USERS, &[])
        .await
        .expect_error(403, "permission_denied");
    system.set(&ada, "active", AttributeValue::Bool(false)).await;
    let made = bootstrap(&system, json!({"username": "ada", "promote": true}))
        .await
        .unwrap();
    assert_eq!(made, json!({"username": "ada", "role": "admin", "created": false}));
    let ada = system.login("ada", &ada.password).await;
    get(&system, &ada, USERS, &[]).await.expect_status(200);
    // Once more changes nothing and is not in the trail.
    bootstrap(&system, json!({"username": "ada", "promote": true}))
        .await
        .unwrap();
    assert_eq!(audit(&system, &ada).await.len(), 1);
    // With a new password the old one's sessions end.
    let event = json!({"username": "ada", "promote": true, "password": "another horse battery"});
    bootstrap(&system, event).await.unwrap();
    get(&system, &ada, USERS, &[])
        .await
        .expect_error(401, "token_not_valid");
    system.login("ada", "another horse battery").await;
    for (event, word) in [
        (json!({"username": "a b"}), "letters"),
        (json!({"username": "new", "password": "short"}), "at least"),
        (json!({}), "username"),
        (
            json!({"username": "new", "pasword": "correct horse battery"}),
            "pasword",
        ),
        (json!([]), "Event"),
    ] {
        let refused = bootstrap(&system, event).await.unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }
}
