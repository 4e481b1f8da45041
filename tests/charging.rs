//! The charge under races, crashes and failing models.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Account, Lost, Request, System};

/// How many processes of the chat function race.
const PROCESSES: usize = 8;

async fn race(system: &System, account: &Account, callers: usize) -> (usize, usize) {
    let call = async |caller| system.chat(account, &format!("caller {caller}")).await;
    let mut counts = (0, 0);
    for reply in join_all((0..callers).map(call)).await {
        match reply.status {
            200 => counts.0 += 1,
            402 => counts.1 += 1,
            _ => panic!("{}", reply.text),
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_parallel_chats_on_a_balance_for_40_exactly_40_succeed() {
    let system = System::start().await;
    for _ in 0..PROCESSES {
        system.spawn("chats-send");
    }
    // Each round is a new user with 4000 tokens: 40 chats at 100.
    for round in 0..20 {
        let name = format!("racer{round}");
        let racer = system.account(&name).await;
        let (answered, refused) = race(&system, &racer, 64).await;
        assert_eq!((answered, refused), (40, 24), "round {round}");
        assert_eq!(system.balance(&racer).await, 0, "round {round}");
        let chats = system
            .items(&name)
            .await
            .iter()
            .filter(|item| item["sk"].as_s().unwrap().starts_with("TURN#"))
            .count();
        assert_eq!(chats, 40, "round {round}");
        system.check_ledger(&name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_killed_between_hold_and_settle_costs_nothing_in_the_end() {
    let overrides = [
        ("ECHO_DELAY_MILLISECONDS", "60000"),
        ("MODEL_TIMEOUT_MILLISECONDS", "90000"),
        ("HOLD_LEASE_SECONDS", "8"),
    ];
    let system = System::start_with(&overrides).await;
    let ada = system.account("ada").await;
    assert_eq!(system.balance(&ada).await, 4000);
    let in_flight = system.invoke("chats-send", system.chat_event(&ada, "never answered"));
    let kill = async {
        system.wait_for_holds("ada", 1).await;
        system.kill("chats-send").await;
        assert_eq!(system.balance(&ada).await, 3900, "the lease has not run out");
        system.check_ledger("ada").await;
        tokio::time::sleep(Duration::from_millis(8_100)).await;
        assert_eq!(
            system.balance(&ada).await,
            4000,
            "whoever looks after the lease gives it back"
        );
    };
    let (answer, ()) = tokio::join!(in_flight, kill);
    assert!(answer.is_none(), "the call died with its process");
    system.check_ledger("ada").await;
    assert_eq!(system.items("ada").await.len(), 1, "no chat was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_message_also_gives_back_what_a_dead_call_held() {
    // Enough for one message only, and that is held by a call that died.
    let overrides = [("SIGNUP_TOKENS", "100"), ("HOLD_LEASE_SECONDS", "1")];
    let system = System::start_with(&overrides).await;
    let ada = system.account("ada").await;
    system.leave_dead_hold(&ada, 100, -1).await;
    let reply = system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(reply.body["token_balance"], 0);
    system.check_ledger("ada").await;
    // With tokens to spare it is given back in passing.
    let bob = system.account("bob").await;
    system
        .set(
            &bob,
            "balance",
            aws_sdk_dynamodb::types::AttributeValue::N("300".into()),
        )
        .await;
    system
        .set(
            &bob,
            "signup_grant",
            aws_sdk_dynamodb::types::AttributeValue::N("300".into()),
        )
        .await;
    system.leave_dead_hold(&bob, 100, -1).await;
    let reply = system.chat(&bob, "hello").await.expect_status(200);
    assert_eq!(reply.body["token_balance"], 200);
    assert_eq!(system.balance(&bob).await, 200);
    system.check_ledger("bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_takers_of_expired_holds_give_them_back_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.spawn("users-balance");
        system.spawn("users-profile");
        system.spawn("chats-send");
    }
    for round in 0..20 {
        system.leave_dead_hold(&ada, 700, -1).await;
        system.leave_dead_hold(&ada, 300, -1).await;
        let profile = || system.send(Request::get("/api/v1/users/me").bearer(&ada.access));
        let (a, b, c, d, e, f, g) = tokio::join!(
            system.balance(&ada),
            system.balance(&ada),
            system.balance(&ada),
            profile(),
            profile(),
            profile(),
            system.chat(&ada, "hello"),
        );
        g.expect_status(200);
        for reply in [d, e, f] {
            reply.expect_status(200);
        }
        assert!(a.max(b).max(c) <= 4000 - round * 100);
        assert_eq!(system.balance(&ada).await, 4000 - (round + 1) * 100, "round {round}");
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_hold_is_not_given_back() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.leave_dead_hold(&ada, 4000, 60_000).await;
    assert_eq!(system.balance(&ada).await, 0);
    system
        .chat(&ada, "hello")
        .await
        .expect_error(402, "insufficient_tokens");
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_is_not_paid() {
    let system = System::start_with(&[("ECHO_FAILURE", "error")]).await;
    let ada = system.account("ada").await;
    system.chat(&ada, "hello").await.expect_error(502, "model_failed");
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_panics_is_not_paid_and_the_function_lives_on() {
    let system = System::start_with(&[("ECHO_FAILURE", "panic")]).await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.chat(&ada, "hello").await.expect_error(502, "model_failed");
        system.wait_for_holds("ada", 0).await;
    }
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_too_slow_is_not_paid() {
    let system = System::start_with(&[
        ("ECHO_DELAY_MILLISECONDS", "5000"),
        ("MODEL_TIMEOUT_MILLISECONDS", "50"),
    ])
    .await;
    let ada = system.account("ada").await;
    system.chat(&ada, "hello").await.expect_error(504, "model_timed_out");
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_hold_was_given_back_charges_nothing() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "6000"), ("HOLD_LEASE_SECONDS", "1")]).await;
    let ada = system.account("ada").await;
    assert_eq!(system.balance(&ada).await, 4000);
    let look = async {
        system.wait_for_holds("ada", 1).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(system.balance(&ada).await, 4000, "given back by this look");
    };
    let (late, ()) = tokio::join!(system.chat(&ada, "slow"), look);
    let late = late.expect_error(503, "hold_lost");
    assert_eq!(late.header("retry-after"), "1");
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
    assert_eq!(system.items("ada").await.len(), 1, "no chat was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_during_a_call_ends_the_next_call_and_not_this_one() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "5000")]).await;
    let ada = system.account("ada").await;
    let other = system.login("ada", &ada.password).await;
    let logout =
        |refresh: &str| Request::post("/api/v1/users/logout", &json!({"refresh": refresh})).bearer(&ada.access);
    system.send(logout("rubbish")).await.expect_status(400);
    let log_out = async {
        system.wait_for_holds("ada", 1).await;
        system.send(logout(&ada.refresh)).await.expect_status(200);
        system.wait_for_holds("ada", 1).await;
    };
    let (answered, ()) = tokio::join!(system.chat(&ada, "still answered"), log_out);
    answered.expect_status(200);
    system.chat(&ada, "too late").await.expect_error(401, "token_not_valid");
    assert_eq!(system.balance(&other).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_of_one_user_run_at_once_than_allowed() {
    let system = System::start_with(&[("MAX_OPEN_HOLDS", "2")]).await;
    let ada = system.account("ada").await;
    system.leave_dead_hold(&ada, 100, 600_000).await;
    system.chat(&ada, "the second").await.expect_status(200);
    system.leave_dead_hold(&ada, 100, 600_000).await;
    let refused = system
        .chat(&ada, "the third")
        .await
        .expect_error(429, "too_many_in_flight");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(system.balance(&ada).await, 3700);
    system.check_ledger("ada").await;
}

/// As often as the SDK tries.
const EVERY_ATTEMPT: usize = 3;

async fn chats_of(system: &System, username: &str) -> u64 {
    let items = system.items(username).await;
    items
        .iter()
        .filter(|item| item["sk"].as_s().unwrap().starts_with("TURN#"))
        .count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_reply_is_lost_deducts_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.lose(Lost::Reply, "UpdateItem", 1);
    let reply = system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(reply.body["token_balance"], 3900);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
    assert_eq!(chats_of(&system, "ada").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_every_reply_is_lost_comes_back_when_its_lease_runs_out() {
    let system = System::start_with(&[("HOLD_LEASE_SECONDS", "1")]).await;
    let ada = system.account("ada").await;
    // The hold and the release after it.
    system.lose(Lost::Reply, "UpdateItem", EVERY_ATTEMPT);
    system.lose(Lost::Request, "UpdateItem", EVERY_ATTEMPT);
    system.chat(&ada, "hello").await.expect_error(503, "busy");
    system.wait_for_holds("ada", 1).await;
    system.check_ledger("ada").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
    assert_eq!(chats_of(&system, "ada").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_reply_is_lost_is_found_and_charged_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for (lost, chats) in [(1, 1), (EVERY_ATTEMPT, 2)] {
        system.lose(Lost::Reply, "TransactWriteItems", lost);
        system.chat(&ada, "hello").await.expect_status(200);
        assert_eq!(system.balance(&ada).await, 4000 - 100 * chats);
        assert_eq!(chats_of(&system, "ada").await, chats);
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_never_arrives_charges_nothing() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.lose(Lost::Request, "TransactWriteItems", EVERY_ATTEMPT);
    system.chat(&ada, "hello").await.expect_error(503, "busy");
    assert_eq!(system.balance(&ada).await, 4000, "released, not left to its lease");
    assert_eq!(chats_of(&system, "ada").await, 0);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ups_logins_and_refreshes_whose_reply_is_lost_happen_once() {
    let system = System::start().await;
    // Starts the processes, which publish their key with the same operation that is lost below.
    let warm = system.account("warm").await;
    let refresh = |token: &str| system.send(Request::post("/api/v1/token/refresh", &json!({"refresh": token})));
    refresh("rubbish").await.expect_status(401);
    system.lose(Lost::Reply, "PutItem", 1);
    let credentials = json!({"username": "ada", "password": warm.password});
    system
        .send(Request::post("/api/v1/users", &credentials))
        .await
        .expect_status(201);
    system.lose(Lost::Reply, "UpdateItem", 1);
    let ada = system.login("ada", &warm.password).await;
    system.lose(Lost::Reply, "UpdateItem", 1);
    let refreshed = refresh(&ada.refresh).await.expect_status(200);
    let again = Account {
        access: refreshed.text_of("access"),
        refresh: refreshed.text_of("refresh"),
        ..ada
    };
    assert_eq!(system.balance(&again).await, 4000);
    let items = system.items("ada").await;
    assert_eq!(items[0]["sessions"].as_m().unwrap().len(), 1);
    refresh(&again.refresh).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_holds_given_back_with_a_lost_reply_come_back_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    assert_eq!(system.balance(&ada).await, 4000);
    system.leave_dead_hold(&ada, 1_000, -1).await;
    system.lose(Lost::Reply, "UpdateItem", 1);
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_every_reply_is_lost_is_released_at_once() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "100")]).await;
    let ada = system.account("ada").await;
    system.lose(Lost::Reply, "UpdateItem", EVERY_ATTEMPT);
    system.chat(&ada, "hello").await.expect_error(503, "busy");
    system
        .chat(&ada, "hello again, with the only tokens there are")
        .await
        .expect_status(200);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_know_is_called_unknown_and_still_charged_at_most_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    // Settled, every reply lost, and then the chat cannot be looked for either.
    system.lose(Lost::Reply, "TransactWriteItems", EVERY_ATTEMPT);
    system.lose(Lost::Request, "GetItem", EVERY_ATTEMPT);
    system.chat(&ada, "hello").await.expect_error(503, "outcome_unknown");
    assert_eq!(chats_of(&system, "ada").await, 1);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_waited_out() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.lose(Lost::Conflict, "UpdateItem", 4);
    system.lose(Lost::Conflict, "TransactWriteItems", 4);
    system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_does_not_end_is_503_with_the_hold_released() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.lose(Lost::Conflict, "TransactWriteItems", 5);
    let reply = system.chat(&ada, "hello").await.expect_error(503, "busy");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(system.balance(&ada).await, 4000);
    system.lose(Lost::Conflict, "UpdateItem", 5);
    system.chat(&ada, "hello").await.expect_error(503, "busy");
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
    let credentials = json!({"username": "bob", "password": "correct horse battery"});
    system.lose(Lost::Conflict, "PutItem", 2);
    system
        .send(Request::post("/api/v1/users", &credentials))
        .await
        .expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_503_and_charges_nothing() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    assert_eq!(system.balance(&ada).await, 4000);
    for operation in ["UpdateItem", "TransactWriteItems"] {
        system.lose(Lost::Throttled, operation, EVERY_ATTEMPT);
        system.chat(&ada, "hello").await.expect_error(503, "busy");
        assert_eq!(system.balance(&ada).await, 4000, "{operation}");
    }
    system.lose(Lost::Throttled, "GetItem", EVERY_ATTEMPT);
    let look = Request::get("/api/v1/users/token-balance").bearer(&ada.access);
    system.send(look).await.expect_error(503, "busy");
    assert_eq!(chats_of(&system, "ada").await, 0);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_whose_reply_is_lost_is_a_logout() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let body = json!({"refresh": ada.refresh});
    system.lose(Lost::Reply, "UpdateItem", 1);
    let logout = || system.send(Request::post("/api/v1/users/logout", &body).bearer(&ada.access));
    logout().await.expect_status(200);
    logout().await.expect_error(401, "token_not_valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_fifty_dead_holds_all_come_back() {
    // More than one update can name: DynamoDB allows 4 KB of expression.
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..150 {
        system.leave_dead_hold(&ada, 10, -1).await;
    }
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_placed_for_a_session_that_has_ended_meanwhile_is_released() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let other = system.login("ada", &ada.password).await;
    system.chat(&ada, "starts the process").await.expect_status(200);
    // The hold is applied, its reply lost; before the SDK sends it again the session is gone.
    let session = crate::support::Forge::of(&ada.access).claims["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    system.lose_reply_and_end_session("UpdateItem", &ada, &session);
    system.chat(&ada, "hello").await.expect_error(401, "token_not_valid");
    assert_eq!(system.balance(&other).await, 3900);
    system.check_ledger("ada").await;
}
