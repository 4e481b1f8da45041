//! `/api/v1/chats…`: sending, the history, one chat.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::support::{Account, Reply, Request, System};

async fn history(system: &System, account: &Account, query: &[(&str, &str)]) -> Reply {
    let request = query
        .iter()
        .fold(Request::get("/api/v1/chats/"), |request, (name, value)| {
            request.query(name, value)
        });
    system.send(request.bearer(&account.access)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_paid_for_and_kept() {
    let system = System::start().await;
    let ada = system.account("Ada").await;
    let reply = system.chat(&ada, "Hello AI").await.expect_status(200);
    assert_eq!(reply.body["status"], "success");
    assert_eq!(reply.body["message"], "New Chats record");
    assert_eq!(reply.body["user_account"], "Ada");
    assert_eq!(reply.body["token_balance"], 3900);
    let chat = &reply.body["chat"];
    assert_eq!(chat["message"], "Hello AI");
    assert_eq!(chat["response"], "AI Response to: Hello AI");
    assert_eq!(chat["cost"], 100);
    assert!(chat["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(system.balance(&ada).await, 3900);

    let id = chat["id"].as_str().unwrap();
    let one = system
        .send(Request::get(&format!("/api/v1/chats/{id}/")).bearer(&ada.access))
        .await
        .expect_status(200);
    assert_eq!(one.body["chat"], *chat);
    let listed = history(&system, &ada, &[]).await.expect_status(200);
    assert_eq!(listed.body["status"], "success");
    assert_eq!(listed.body["data"], json!([chat]));
    assert_eq!(listed.body["next_cursor"], Value::Null);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_text_is_sent_comes_back_as_it_was() {
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "0")]).await;
    let ada = system.account("ada").await;
    let longest = "é".repeat(8_000);
    for text in [
        "\u{0}",
        "\u{1F600}\u{200d}\u{202e}",
        " spaces around ",
        "<script>alert(1)</script>",
        "\"\\\n\t",
        &longest,
    ] {
        let reply = system.chat(&ada, text).await.expect_status(200);
        assert_eq!(reply.body["chat"]["message"], text);
        let first = history(&system, &ada, &[("limit", "1")]).await.expect_status(200);
        assert_eq!(first.body["data"][0]["message"], text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_balance_is_402_and_changes_nothing() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "150")]).await;
    let ada = system.account("ada").await;
    system.chat(&ada, "first").await.expect_status(200);
    for _ in 0..2 {
        let reply = system
            .chat(&ada, "second")
            .await
            .expect_error(402, "insufficient_tokens");
        assert_eq!(reply.body["status"], "error");
        assert_eq!(reply.body["message"], "Insufficient tokens");
    }
    assert_eq!(system.balance(&ada).await, 50);
    assert_eq!(
        history(&system, &ada, &[]).await.body["data"].as_array().unwrap().len(),
        1
    );
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_pages_from_the_newest_to_the_oldest() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for number in 1..=7 {
        system.chat(&ada, &format!("message {number}")).await.expect_status(200);
    }
    let expected: Vec<_> = (1..=7).rev().map(|number| format!("message {number}")).collect();
    for size in ["1", "2", "3", "7", "100"] {
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query: Vec<_> = [("limit", size)]
                .into_iter()
                .chain(cursor.as_deref().map(|cursor| ("cursor", cursor)))
                .collect();
            let page = history(&system, &ada, &query).await.expect_status(200);
            let data = page.body["data"].as_array().unwrap();
            assert!(data.len() <= size.parse().unwrap());
            assert!(!data.is_empty(), "no page is empty");
            seen.extend(data.iter().map(|chat| chat["message"].as_str().unwrap().to_owned()));
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(seen, expected, "pages of {size}");
    }
    for limit in ["0", "101", "-1", "x", "1.5"] {
        history(&system, &ada, &[("limit", limit)])
            .await
            .expect_error(400, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_whole_when_answers_are_long() {
    // 40 chats of 64 KB are 2.6 MB, more than twice what DynamoDB returns at once.
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "1")]).await;
    let ada = system.account("ada").await;
    let long = "\u{1F600}".repeat(8_000);
    for _ in 0..40 {
        system.chat(&ada, &long).await.expect_status(200);
    }
    let mut ids = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let query: Vec<_> = cursor.as_deref().map(|cursor| ("cursor", cursor)).into_iter().collect();
        let page = history(&system, &ada, &query).await.expect_status(200);
        ids.extend(
            page.body["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|chat| chat["id"].to_string()),
        );
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(ids.len(), 40);
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first, none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_fits_what_lambda_may_return_whatever_the_text() {
    // A control character is one byte in the table and seven in a response, which is JSON within JSON.
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "1")]).await;
    let ada = system.account("ada").await;
    let control = "\u{1}".repeat(8_000);
    for _ in 0..60 {
        system.chat(&ada, &control).await.expect_status(200);
    }
    let mut seen = 0;
    let mut cursor: Option<String> = None;
    loop {
        let query: Vec<_> = [("limit", "100")]
            .into_iter()
            .chain(cursor.as_deref().map(|cursor| ("cursor", cursor)))
            .collect();
        let page = history(&system, &ada, &query).await.expect_status(200);
        let response = serde_json::to_string(&page.text).unwrap();
        assert!(response.len() < 6_000_000, "{}", response.len());
        seen += page.body["data"].as_array().unwrap().len();
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_and_foreign_cursors_are_refused() {
    let system = System::start().await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    for account in [&ada, &bob] {
        for _ in 0..2 {
            system.chat(account, "hello").await.expect_status(200);
        }
    }
    let page = history(&system, &ada, &[("limit", "1")]).await.expect_status(200);
    let cursor = page.text_of("next_cursor");
    let users = Request::get("/api/v1/users/all")
        .query("limit", "1")
        .bearer(&ada.access);
    let of_users = system.send(users).await.expect_status(200).text_of("next_cursor");
    history(&system, &ada, &[("cursor", &cursor)]).await.expect_status(200);
    history(&system, &bob, &[("cursor", &cursor)])
        .await
        .expect_error(400, "invalid");
    history(&system, &ada, &[("cursor", &of_users)])
        .await
        .expect_error(400, "invalid");
    let foreign = Request::get("/api/v1/users/all")
        .query("cursor", &cursor)
        .bearer(&ada.access);
    system.send(foreign).await.expect_error(400, "invalid");
    let tampered = format!("{}{}", &cursor[..cursor.len() - 2], "zz");
    for rubbish in [
        "",
        "x",
        "%00",
        "\u{0}",
        "🙂",
        &tampered,
        &cursor.to_uppercase(),
        &cursor.repeat(100),
    ] {
        history(&system, &ada, &[("cursor", rubbish)])
            .await
            .expect_error(400, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_chat_is_not_found() {
    let system = System::start().await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    let reply = system.chat(&ada, "a secret").await.expect_status(200);
    let id = reply.body["chat"]["id"].as_str().unwrap();
    let get = |id: &str| system.send(Request::get(&format!("/api/v1/chats/{id}")).bearer(&bob.access));
    let hidden = get(id).await.expect_error(404, "chat_not_found");
    let missing = get("01JGXQ0000000000000000000A")
        .await
        .expect_error(404, "chat_not_found");
    assert_eq!(hidden.body["detail"], missing.body["detail"]);
    for rubbish in [
        "x",
        "USER",
        "%2e%2e",
        "01jgxq0000000000000000000a",
        "01JGXQ0000000000000000000A%00",
        &"0".repeat(5_000),
    ] {
        get(rubbish).await.expect_error(404, "chat_not_found");
    }
    assert!(
        history(&system, &bob, &[]).await.body["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_must_be_a_text_with_something_in_it() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let send = |body: Value| system.send(Request::post("/api/v1/chats", &body).bearer(&ada.access));
    for body in [
        json!({}),
        json!({"message": null}),
        json!({"message": ""}),
        json!({"message": " \n\t"}),
    ] {
        let reply = send(body).await.expect_error(400, "invalid");
        assert_eq!(reply.body["error"], "Message is required");
        assert_eq!(reply.body["member"], "message");
    }
    let reply = send(json!({"message": "x".repeat(8_001)}))
        .await
        .expect_error(400, "invalid");
    assert_eq!(reply.body["error"], "Message must be at most 8000 characters long");
    for body in [
        json!({"message": 5}),
        json!({"message": ["a"]}),
        json!({"message": {"a": "b"}}),
        json!({"message": true}),
    ] {
        let reply = send(body).await.expect_error(400, "malformed");
        assert_eq!(reply.body["error"], "Member `message` must be a string");
    }
    assert_eq!(system.balance(&ada).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_item_stays_within_one_write_unit() {
    // 5 sessions, 4 holds, a name of 32 characters and an address of 40: every update must cost one unit.
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "4000")]).await;
    let name = "a-name-of-just-thirty-two-letters"[..32].to_owned();
    let body = json!({
        "username": name, "password": "correct horse battery", "email": "thirty-one-characters-here@example.com.a",
    });
    system
        .send(Request::post("/api/v1/users", &body))
        .await
        .expect_status(201);
    let mut ada = system.login(&name, "correct horse battery").await;
    for _ in 0..4 {
        ada = system.login(&name, "correct horse battery").await;
    }
    for _ in 0..4 {
        system.spawn("chats-send");
    }
    system
        .send(Request::new("POST", "/api/v1/chats").bearer(&ada.access))
        .await
        .expect_status(400);
    let chat = || system.chat(&ada, "hello");
    let watch = async {
        for _ in 0..400 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let items = system.items(&name).await;
            let user = items.iter().find(|item| item["sk"].as_s().unwrap() == "USER").unwrap();
            if user["holds"].as_m().unwrap().len() == 4 {
                assert_eq!(user["sessions"].as_m().unwrap().len(), 5);
                return user
                    .iter()
                    .map(|(name, value)| name.len() + size_of_value(value))
                    .sum::<usize>();
            }
        }
        panic!("the four calls never overlapped")
    };
    let (a, b, c, d, size) = tokio::join!(chat(), chat(), chat(), chat(), watch);
    for reply in [a, b, c, d] {
        reply.expect_status(200);
    }
    println!("user item with 5 sessions and 4 holds: {size} bytes");
    assert!(size <= 1024, "{size}");
}

/// What an attribute value counts for (the DynamoDB developer guide, "DynamoDB item sizes and formats").
fn size_of_value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::M(members) => {
            3 + members
                .iter()
                .map(|(name, value)| 1 + name.len() + size_of_value(value))
                .sum::<usize>()
        }
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        other => panic!("no user has {other:?}"),
    }
}
