//! `Idempotency-Key` at chats: answered and charged once, however often and in whatever circumstances it is asked for.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Account, Lost, Reply, Request, System};

fn request(key: &str, message: &str) -> Request {
    Request::post("/api/v1/chats", &json!({"message": message})).header("Idempotency-Key", key)
}

async fn chat(system: &System, account: &Account, key: &str, message: &str) -> Reply {
    system.send(request(key, message).bearer(&account.access)).await
}

async fn chats_of(system: &System, username: &str) -> usize {
    let items = system.items(username).await;
    items
        .iter()
        .filter(|item| item["sk"].as_s().unwrap().starts_with("TURN#"))
        .count()
}

#[track_caller]
fn assert_replayed(reply: &Reply, first: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("idempotency-replayed"), "true");
    assert_eq!(reply.body, first.body, "the stored answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_get_the_stored_answer_and_no_charge() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "200")]).await;
    let ada = system.account("ada").await;
    let first = chat(&system, &ada, "k", "hello").await.expect_status(200);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_replayed(&chat(&system, &ada, "k", "hello").await, &first);
    chat(&system, &ada, "other", "hello").await.expect_status(200);
    // The balance is empty, and what was paid for is told all the same.
    assert_replayed(&chat(&system, &ada, "k", "hello").await, &first);
    chat(&system, &ada, "new", "hello")
        .await
        .expect_error(402, "insufficient_tokens");
    assert_eq!(chats_of(&system, "ada").await, 2);
    system.check_ledger("ada").await;
    // The classic route renders the same chat its own way.
    let classic = Request::post("/api/chat", &json!({"message": "hello"})).header("Idempotency-Key", "k");
    let classic = system.send(classic.bearer(&ada.access)).await.expect_status(200);
    assert_eq!(classic.header("idempotency-replayed"), "true");
    assert_eq!(classic.body["remaining_tokens"], 100);
    assert_eq!(classic.body["id"], first.body["chat"]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_is_422_and_another_user_or_key_is_another_request() {
    let system = System::start().await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    chat(&system, &ada, "k", "hello").await.expect_status(200);
    chat(&system, &ada, "k", "hello!")
        .await
        .expect_error(422, "idempotency_mismatch");
    for (account, key) in [(&bob, "k"), (&ada, "K")] {
        let reply = chat(&system, account, key, "hello").await.expect_status(200);
        assert!(!reply.headers.contains_key("idempotency-replayed"));
    }
    for bad in ["", " ", "a b", "é", "a\tb", &"x".repeat(256)] {
        let reply = chat(&system, &ada, bad, "hello").await.expect_error(400, "invalid");
        assert_eq!(reply.body["member"], "Idempotency-Key");
    }
    chat(&system, &ada, &"x".repeat(255), "hello").await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3700);
    // A key of an adjustment is no key of a chat, in the same account.
    system.set_text(&ada, "role", "admin").await;
    let adjust = Request::post(
        "/api/v1/admin/users/bob/tokens",
        &json!({"amount": 1, "reason": "a test"}),
    );
    let adjust = |key: &str| system.send(adjust.clone().header("Idempotency-Key", key).bearer(&ada.access));
    adjust("k").await.expect_error(422, "idempotency_mismatch");
    adjust("a").await.expect_status(200);
    chat(&system, &ada, "a", "hello")
        .await
        .expect_error(422, "idempotency_mismatch");
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_call_is_its_own_charge() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    assert_eq!(system.balance(&ada).await, 3700);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_first_is_answered_the_second_is_409() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "2500")]).await;
    system.spawn("chats-send");
    system.spawn("chats-send");
    let ada = system.account("ada").await;
    let meanwhile = async {
        system.wait_for_holds("ada", 1).await;
        let reply = chat(&system, &ada, "k", "hello")
            .await
            .expect_error(409, "idempotency_in_progress");
        assert_eq!(reply.header("retry-after"), "1");
        chat(&system, &ada, "k", "another")
            .await
            .expect_error(422, "idempotency_mismatch");
    };
    let (first, ()) = tokio::join!(chat(&system, &ada, "k", "hello"), meanwhile);
    let first = first.expect_status(200);
    assert_replayed(&chat(&system, &ada, "k", "hello").await, &first);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_at_once_under_one_key_one_is_charged() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "5")]).await;
    for _ in 0..7 {
        system.spawn("chats-send");
    }
    let ada = system.account("ada").await;
    for round in 0..20 {
        let key = format!("race {round}").replace(' ', "-");
        let replies = join_all((0..16).map(|_| chat(&system, &ada, &key, "hello"))).await;
        let answers: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert!(!answers.is_empty());
        assert!(
            answers.iter().all(|reply| reply.body == answers[0].body),
            "round {round}"
        );
        let fresh = answers
            .iter()
            .filter(|reply| !reply.headers.contains_key("idempotency-replayed"));
        assert_eq!(fresh.count(), 1, "round {round}");
        for reply in &replies {
            assert!([200, 409].contains(&reply.status), "round {round}: {}", reply.text);
        }
        assert_eq!(system.balance(&ada).await, 4000 - 100 * (round + 1), "round {round}");
    }
    assert_eq!(chats_of(&system, "ada").await, 20);
    system.check_ledger("ada").await;
}

/// The first call settles between the second's look and its hold: the second holds, asks the model, and its settlement finds the first's.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_that_settles_between_the_look_and_the_hold_of_the_second_is_the_only_charge() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let first = chat(&system, &ada, "k", "hello").await.expect_status(200);
    // What the second would have seen, had it looked a moment earlier.
    let item = system.items("ada").await;
    let item = item
        .into_iter()
        .find(|item| item["sk"].as_s().unwrap().starts_with("IDEM#"))
        .unwrap();
    let (client, table) = (system.client.clone(), system.table.clone());
    let delete = client
        .delete_item()
        .table_name(&table)
        .key("pk", item["pk"].clone())
        .key("sk", item["sk"].clone());
    delete.send().await.unwrap();
    system.before_transaction(async move {
        client
            .put_item()
            .table_name(table)
            .set_item(Some(item))
            .send()
            .await
            .unwrap();
    });
    let second = chat(&system, &ada, "k", "hello").await;
    assert_replayed(&second, &first);
    assert_eq!(system.balance(&ada).await, 3900);
    assert_eq!(chats_of(&system, "ada").await, 1);
    system.check_ledger("ada").await;
}

/// As above, but the first call took the last of the balance, so that the second's hold is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_that_takes_the_last_tokens_is_told_again_and_not_402() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "100")]).await;
    let ada = system.account("ada").await;
    let first = chat(&system, &ada, "k", "hello").await.expect_status(200);
    let item = system.items("ada").await;
    let item = item
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
    assert_replayed(&chat(&system, &ada, "k", "hello").await, &first);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_same_key_waits_for_the_lease_and_is_charged_once() {
    let overrides = [
        ("ECHO_DELAY_MILLISECONDS", "60000"),
        ("MODEL_TIMEOUT_MILLISECONDS", "90000"),
        ("HOLD_LEASE_SECONDS", "3"),
    ];
    let system = System::start_with(&overrides).await;
    let ada = system.account("ada").await;
    let event = request("k", "hello").bearer(&ada.access).rest_event();
    let kill = async {
        system.wait_for_holds("ada", 1).await;
        system.kill("chats-send").await;
    };
    let (answer, ()) = tokio::join!(system.invoke("chats-send", event), kill);
    assert!(answer.is_none());
    chat(&system, &ada, "k", "hello")
        .await
        .expect_error(409, "idempotency_in_progress");
    system.kill("chats-send").await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    // The same deployment with a quick model.
    system.override_variable("ECHO_DELAY_MILLISECONDS", "0");
    let answered = chat(&system, &ada, "k", "hello").await.expect_status(200);
    assert!(!answered.headers.contains_key("idempotency-replayed"));
    assert_eq!(answered.body["token_balance"], 3900);
    assert_replayed(&chat(&system, &ada, "k", "hello").await, &answered);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_leaves_its_key_free() {
    let system = System::start_with(&[("ECHO_FAILURE", "error")]).await;
    let ada = system.account("ada").await;
    chat(&system, &ada, "k", "hello")
        .await
        .expect_error(502, "model_failed");
    chat(&system, &ada, "k", "another body")
        .await
        .expect_error(502, "model_failed");
    system.kill("chats-send").await;
    system.override_variable("ECHO_FAILURE", "none");
    chat(&system, &ada, "k", "hello").await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_under_a_key_are_charged_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for (index, operation) in ["UpdateItem", "GetItem", "TransactWriteItems"].into_iter().enumerate() {
        for lost in [Lost::Reply, Lost::Request] {
            for times in [1, 3] {
                let key = format!("{operation}-{lost:?}-{times}-{index}");
                system.lose(lost, operation, times);
                let mut reply = chat(&system, &ada, &key, "hello").await;
                for _ in 0..5 {
                    if reply.status != 503 && reply.status != 409 {
                        break;
                    }
                    reply = chat(&system, &ada, &key, "hello").await;
                }
                reply.expect_status(200);
                system.check_ledger("ada").await;
            }
        }
    }
    assert_eq!(chats_of(&system, "ada").await, 12);
    assert_eq!(system.balance(&ada).await, 4000 - 1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_remembered_for_a_day_and_only_for_who_may_call() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    chat(&system, &ada, "k", "hello").await.expect_status(200);
    let logout = Request::post("/api/v1/users/logout", &json!({"refresh": ada.refresh}));
    system.send(logout.bearer(&ada.access)).await.expect_status(200);
    for message in ["hello", "another body"] {
        chat(&system, &ada, "k", message)
            .await
            .expect_error(401, "token_not_valid");
    }
    let ada = system.login("ada", &ada.password).await;
    let items = system.items("ada").await;
    let item = items
        .iter()
        .find(|item| item["sk"].as_s().unwrap().starts_with("IDEM#"))
        .unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let expires = item["expires_at"].as_n().unwrap().parse::<u64>().unwrap();
    assert!((86_300..=86_400).contains(&(expires - now)));
    let update = system.client.update_item().table_name(&system.table);
    let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
    let update = update.update_expression("SET expires_at = :past");
    let past = AttributeValue::N((now - 1).to_string());
    update.expression_attribute_values(":past", past).send().await.unwrap();
    // DynamoDB may take days to delete what has expired; nobody waits for it.
    let again = chat(&system, &ada, "k", "another body").await.expect_status(200);
    assert!(!again.headers.contains_key("idempotency-replayed"));
    assert_eq!(system.balance(&ada).await, 3800);
}
