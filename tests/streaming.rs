//! Answers that are told as they come: when, what they cost whatever happens meanwhile, and what of them is kept.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Account, Leaving, Lost, ModelServer, Part, Request, Streaming, System, Told, ToldEvent};

const PRICES: &str = r#"{"version": "2026-11", "models": {"stub": {"input": 1000000, "cached_input": 500000, "output": 2000000, "context": 300}}}"#;

fn ask(ada: &Account, message: &str) -> Request {
    Request::post("/api/v1/chats/stream", &json!({"message": message})).bearer(&ada.access)
}

async fn start(server: &ModelServer, more: &[(&str, &str)]) -> System {
    let base_url = server.base_url.clone();
    let mut overrides = vec![
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", base_url.as_str()),
        ("OPENAI_API_KEY", "sk-the-providers-key"),
        ("MODEL_NAME", "stub"),
        ("MODEL_TIMEOUT_MILLISECONDS", "1500"),
        ("MODEL_SILENCE_MILLISECONDS", "500"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
    ];
    overrides.extend_from_slice(more);
    System::start_with(&overrides).await
}

fn names(events: &[ToldEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

fn words(events: &[ToldEvent]) -> String {
    let deltas = events.iter().filter(|event| event.name == "message");
    deltas.map(|event| event.data["delta"].as_str().unwrap()).collect()
}

async fn newest_chat(system: &System, ada: &Account) -> Value {
    let page = Request::get("/api/v1/chats").query("limit", "1").bearer(&ada.access);
    let page = system.send(page).await.expect_status(200);
    page.body["data"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_told_while_it_is_given() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "100"), ("ECHO_PACE_MILLISECONDS", "60")]).await;
    let ada = system.account("ada").await;
    let mut streaming = system.stream(ask(&ada, "one two three")).await;
    assert_eq!(streaming.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(streaming.headers[name], value, "{name}");
    }
    assert!(streaming.headers["x-request-id"].starts_with("request-"));
    let events = streaming.rest().await;
    assert_eq!(words(&events), "AI Response to: one two three");
    assert_eq!(
        names(&events),
        ["message", "message", "message", "message", "message", "message", "done"]
    );
    let gap = events.last().unwrap().at - events[0].at;
    println!("first words {gap:?} before the last");
    assert!(gap >= Duration::from_millis(250), "{gap:?}");
    let done = &events.last().unwrap().data;
    assert_eq!(
        (&done["token_balance"], &done["replayed"]),
        (&json!(3900), &json!(false))
    );
    let chat = newest_chat(&system, &ada).await;
    for member in ["id", "timestamp", "model", "finish_reason", "usage", "cost"] {
        assert_eq!(chat[member], done["chat"][member], "{member}");
    }
    assert_eq!(chat["response"], "AI Response to: one two three");
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_first_word_has_the_status_that_it_has_everywhere() {
    let server = ModelServer::start().await;
    let system = start(
        &server,
        &[("CHATS_PER_MINUTE", "1"), ("CHAT_BURST", "6"), ("SIGNUP_TOKENS", "150")],
    )
    .await;
    let ada = system.account("ada").await;
    let path = "/api/v1/chats/stream";
    let message = json!({"message": "hello"});
    let refused = [
        (Request::post(path, &message), 401, "not_authenticated"),
        (Request::post(path, &message).bearer("x.y.z"), 401, "token_not_valid"),
        (Request::post(path, &json!({})).bearer(&ada.access), 400, "invalid"),
        (
            Request::post(path, &message).raw_body("[]").bearer(&ada.access),
            400,
            "malformed",
        ),
        (
            Request::post(path, &message)
                .header("Content-Type", "text/plain")
                .bearer(&ada.access),
            415,
            "unsupported_media_type",
        ),
        (
            Request::post(path, &json!({"message": "x".repeat(70_000)})).bearer(&ada.access),
            413,
            "body_too_large",
        ),
        (Request::get(path).bearer(&ada.access), 405, "method_not_allowed"),
    ];
    for (request, status, code) in refused {
        let reply = system.send(request).await.expect_error(status, code);
        assert_eq!(reply.header("content-type"), "application/json");
    }
    for (told, status, code) in [
        (Told::Reply(429, "{}"), 503, "model_busy"),
        (Told::Reply(500, "{}"), 502, "model_failed"),
        (Told::Stall, 504, "model_timed_out"),
        (Told::Stream(&[Part::Stall]), 504, "model_timed_out"),
        (
            Told::Stream(&[Part::Event(r#"{"error": {"code": "context_length_exceeded"}}"#)]),
            400,
            "context_length_exceeded",
        ),
        (
            Told::Stream(&[Part::Finish("content_filter"), Part::Done]),
            422,
            "content_filtered",
        ),
    ] {
        server.tell(told);
        let reply = system.send(ask(&ada, "hello")).await.expect_error(status, code);
        assert_eq!(reply.headers.contains_key("retry-after"), code == "model_busy");
        system.wait_for_holds("ada", 0).await;
        assert_eq!(system.balance(&ada).await, 150, "{told:?}");
    }
    // The burst is used up.
    let reply = system
        .send(ask(&ada, "hello"))
        .await
        .expect_error(429, "too_many_requests");
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 1);
    system.override_variable("CHATS_PER_MINUTE", "0");
    system.kill("chats-stream").await;
    server.tell(Told::Answer);
    system.send(ask(&ada, "hello")).await.expect_status(200);
    system
        .send(ask(&ada, "hello"))
        .await
        .expect_error(402, "insufficient_tokens");
    system.check_ledger("ada").await;
}

/// A stream that breaks off, what the client hears of it, and of how many words it is.
const BROKEN: [(&[Part], &str); 7] = [
    (&[Part::Words("one "), Part::Words("two"), Part::Cut], "interrupted"),
    (&[Part::Words("one "), Part::Words("two")], "interrupted"),
    (&[Part::Words("one "), Part::Words("two"), Part::Done], "interrupted"),
    (&[Part::Words("one "), Part::Words("two"), Part::Stall], "interrupted"),
    (
        &[Part::Words("one "), Part::Words("two"), Part::Event("not json")],
        "interrupted",
    ),
    (
        &[
            Part::Words("one "),
            Part::Words("two"),
            Part::Event(r#"{"error": {"code": 500, "message": "overloaded"}}"#),
        ],
        "interrupted",
    ),
    (
        &[
            Part::Words("one "),
            Part::Words("two"),
            Part::Wait(400),
            Part::Raw("data: {}\n\n: a comment\n\n"),
            Part::Wait(400),
            Part::Event(r#"{"choices": []}"#),
            Part::Wait(400),
            Part::Event(r#"{"choices": []}"#),
            Part::Wait(400),
            Part::Words(" three"),
            Part::Finish("stop"),
        ],
        "deadline",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn of_an_answer_that_breaks_off_what_came_is_kept_and_paid_by_what_was_used() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let mut balance = 4000;
    for (parts, finish) in BROKEN {
        server.tell(Told::Stream(parts));
        let mut streaming = system.stream(ask(&ada, "hello there")).await;
        let events = streaming.rest().await;
        assert_eq!(words(&events), "one two", "{parts:?}");
        let done = &events.last().unwrap();
        assert_eq!(done.name, "done", "{parts:?}");
        // The provider did not say, so it is counted from the texts: 11 bytes of a turn are 3 + 4 tokens, 7 bytes 2 at two each.
        let usage = json!({"input_tokens": 7, "cached_input_tokens": 0, "output_tokens": 2, "estimated": true});
        assert_eq!(
            (&done.data["chat"]["finish_reason"], &done.data["chat"]["usage"]),
            (&json!(finish), &usage)
        );
        assert_eq!(done.data["chat"]["cost"], 11);
        balance -= 11;
        assert_eq!(done.data["token_balance"], balance);
        assert_eq!(system.balance(&ada).await, balance);
        let chat = newest_chat(&system, &ada).await;
        assert_eq!(
            (&chat["response"], &chat["finish_reason"]),
            (&json!("one two"), &json!(finish))
        );
        system.check_ledger("ada").await;
        if finish == "deadline" {
            // What time cuts short is an answer, like one whose room is used up.
            let reply = system.chat(&ada, "hello there").await.expect_status(200);
            assert_eq!(
                (&reply.body["chat"]["cost"], &reply.body["chat"]["finish_reason"]),
                (&json!(11), &json!(finish))
            );
            balance -= 11;
        } else {
            // As a document a part is of no use, and costs nothing.
            let stalls = matches!(parts.last(), Some(Part::Stall));
            let (status, code) = if stalls {
                (504, "model_timed_out")
            } else {
                (502, "model_failed")
            };
            system.chat(&ada, "hello there").await.expect_error(status, code);
        }
        system.wait_for_holds("ada", 0).await;
        assert_eq!(system.balance(&ada).await, balance);
    }
    assert_eq!(
        server.take_asked().len(),
        2 * BROKEN.len(),
        "never asked again once something was said"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flat_price_buys_a_whole_answer() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    for (parts, cost) in [(BROKEN[0].0, 0), (BROKEN[6].0, 100)] {
        server.tell(Told::Stream(parts));
        let events = system.stream(ask(&ada, "hello there")).await.rest().await;
        assert_eq!(events.last().unwrap().data["chat"]["cost"], cost);
    }
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_costs_what_the_model_says_that_it_used() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let mut balance = 4000;
    for (usage, cost) in [
        (Part::Usage(100, 0, 10), 120),
        (Part::Usage(100, 60, 10), 90),
        // A zero is said by who does not know: 5 bytes are 2 + 4 tokens, 3 bytes one.
        (Part::Usage(9, 9, 0), 5 + 2),
        (Part::Usage(0, 0, 0), 6 + 2),
        // More than was held: 64 + 16 + 5 of input and 100 of output.
        (Part::Usage(1_000_000, 0, 1_000_000), 285),
        (
            Part::Event(r#"{"choices": [], "usage": {"prompt_tokens": "many"}}"#),
            6 + 2,
        ),
    ] {
        let parts = Vec::leak(vec![Part::Words("one"), Part::Finish("stop"), usage, Part::Done]);
        server.tell(Told::Stream(parts));
        for streams in [true, false] {
            let chat = if streams {
                let events = system.stream(ask(&ada, "hello")).await.rest().await;
                events.last().unwrap().data["chat"].clone()
            } else {
                system.chat(&ada, "hello").await.expect_status(200).body["chat"].clone()
            };
            assert_eq!(chat["cost"], cost, "{usage:?}");
            balance -= cost;
            assert_eq!(system.balance(&ada).await, balance);
            system.check_ledger("ada").await;
        }
    }
    // What is held is the bound: who has less is refused, and nobody is asked.
    server.take_asked();
    system.override_variable("SIGNUP_TOKENS", "284");
    system.kill("users-register").await;
    let ada = system.account("poor").await;
    system
        .send(ask(&ada, "hello"))
        .await
        .expect_error(402, "insufficient_tokens");
    assert!(server.take_asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_has_an_answer_that_is_finished_paid_and_kept() {
    let system = System::start_with(&[("ECHO_PACE_MILLISECONDS", "40")]).await;
    let ada = system.account("ada").await;
    let leave = async |mut streaming: Streaming| {
        streaming.next().await.unwrap();
        drop(streaming);
    };
    for (paid, leaving) in (1..).zip([Leaving::ReadsOn, Leaving::SaysSo, Leaving::HangsUp]) {
        system.when_clients_leave(leaving);
        leave(system.stream(ask(&ada, "one two three four five six")).await).await;
        system.wait_for_holds("ada", 0).await;
        assert_eq!(system.balance(&ada).await, 4000 - 100 * paid, "{leaving:?}");
        let chat = newest_chat(&system, &ada).await;
        assert_eq!(chat["response"], "AI Response to: one two three four five six");
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_stored_before_its_end_is_told() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..20 {
        let mut streaming = system.stream(ask(&ada, "hello")).await;
        let done = loop {
            let event = streaming.next().await.unwrap();
            if event.name == "done" {
                break event;
            }
        };
        // The sandbox may freeze from here on.
        system.kill("chats-stream").await;
        let id = done.data["chat"]["id"].as_str().unwrap();
        let chat = Request::get(&format!("/api/v1/chats/{id}")).bearer(&ada.access);
        system.send(chat).await.expect_status(200);
    }
    assert_eq!(system.balance(&ada).await, 2000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_fails_is_an_error_at_the_end_and_costs_nothing() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.send(ask(&ada, "warm")).await.expect_status(200);
    // For longer than its patience.
    system.lose(Lost::Request, "TransactWriteItems", 1_000);
    let events = system.stream(ask(&ada, "hello")).await.rest().await;
    system.recorder.lose_no_more();
    let last = events.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["code"]), ("error", &json!("busy")));
    assert_eq!(last.data["detail"], last.data["message"]);
    assert!(last.data["request_id"].as_str().unwrap().starts_with("request-"));
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_tells_the_stored_answer_again_in_either_form() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let keyed = |request: Request| request.header("Idempotency-Key", "a-key");
    let first = system.stream(keyed(ask(&ada, "hello"))).await.rest().await;
    let mut again = system.stream(keyed(ask(&ada, "hello"))).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let again = again.rest().await;
    assert_eq!(names(&again), ["message", "done"]);
    assert_eq!(words(&again), words(&first));
    assert_eq!(again[1].data["chat"], first.last().unwrap().data["chat"]);
    assert_eq!(again[1].data["replayed"], true);
    let document = Request::post("/api/v1/chats", &json!({"message": "hello"})).bearer(&ada.access);
    let document = system.send(keyed(document)).await.expect_status(200);
    assert_eq!(document.header("idempotency-replayed"), "true");
    assert_eq!(document.body["chat"]["response"], words(&first));
    let other = ask(&ada, "something else");
    system
        .send(keyed(other))
        .await
        .expect_error(422, "idempotency_mismatch");
    assert_eq!(system.balance(&ada).await, 3900);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_killed_in_mid_answer_costs_nothing_in_the_end() {
    let system = System::start_with(&[("ECHO_PACE_MILLISECONDS", "100"), ("HOLD_LEASE_SECONDS", "2")]).await;
    let ada = system.account("ada").await;
    let request = ask(&ada, "one two three four").header("Idempotency-Key", "k");
    let mut streaming = system.stream(request.clone()).await;
    streaming.next().await.unwrap();
    system.kill("chats-stream").await;
    let rest = streaming.rest().await;
    assert!(rest.iter().all(|event| event.name == "message"), "{rest:?}");
    system
        .send(request.clone())
        .await
        .expect_error(409, "idempotency_in_progress");
    system.check_ledger("ada").await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(system.balance(&ada).await, 4000);
    system.override_variable("ECHO_PACE_MILLISECONDS", "0");
    system.kill("chats-stream").await;
    system.send(request).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_is_settled_however_long_others_are_at_work_on_the_account() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.send(ask(&ada, "warm")).await.expect_status(200);
    for times in [6, 12] {
        let before = system.balance(&ada).await;
        system.lose(Lost::Conflict, "TransactWriteItems", times);
        let events = system.stream(ask(&ada, "hello")).await.rest().await;
        assert_eq!(events.last().unwrap().name, "done", "{times} conflicts");
        assert_eq!(system.balance(&ada).await, before - 100);
        // Replies that are lost are found to have been settled.
        system.lose(Lost::Reply, "TransactWriteItems", 4);
        let events = system.stream(ask(&ada, "hello")).await.rest().await;
        assert_eq!(events.last().unwrap().name, "done");
        assert_eq!(system.balance(&ada).await, before - 200);
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_costs_nothing_leaves_its_key_free_and_one_that_is_paid_does_not() {
    let server = ModelServer::start().await;
    for (prices, replayed) in [("", false), (PRICES, true)] {
        let system = start(&server, &[("MODEL_PRICES", prices)]).await;
        let ada = system.account("ada").await;
        let request = ask(&ada, "hello").header("Idempotency-Key", "k");
        server.tell(Told::Stream(&[Part::Words("one"), Part::Cut]));
        system.stream(request.clone()).await.rest().await;
        server.tell(Told::Answer);
        let mut again = system.stream(request).await;
        assert_eq!(again.headers.contains_key("idempotency-replayed"), replayed);
        let told = words(&again.rest().await);
        assert_eq!(told, if replayed { "one" } else { "Heard: hello" });
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_ends_without_a_word_is_asked_once_and_paid_by_what_it_used() {
    let server = ModelServer::start().await;
    for (prices, cost) in [("", 0), (PRICES, 30)] {
        let system = start(&server, &[("MODEL_PRICES", prices), ("MODEL_FALLBACK", "stub")]).await;
        let ada = system.account("ada").await;
        server.tell(Told::Stream(&[
            Part::Finish("length"),
            Part::Usage(10, 0, 10),
            Part::Done,
        ]));
        let reply = system.chat(&ada, "hello").await.expect_status(200);
        let chat = &reply.body["chat"];
        assert_eq!(
            (&chat["response"], &chat["finish_reason"], &chat["cost"]),
            (&json!(""), &json!("length"), &json!(cost))
        );
        assert_eq!(server.take_asked().len(), 1);
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_are_signs_of_life() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    server.tell(Told::Stream(&[
        Part::Raw("\u{feff}: waiting\n\n"),
        Part::Wait(350),
        Part::Raw(":\n\n"),
        Part::Wait(350),
        Part::Words("one"),
        Part::Raw(": OPENROUTER PROCESSING\n\n"),
        Part::Wait(350),
        Part::Finish("stop"),
    ]));
    let reply = system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(reply.body["chat"]["response"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_filter_stops_is_kept_as_far_as_it_was_heard_and_free_at_a_flat_price() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    server.tell(Told::Stream(&[
        Part::Words("one"),
        Part::Finish("content_filter"),
        Part::Done,
    ]));
    let events = system.stream(ask(&ada, "hello")).await.rest().await;
    let chat = &events.last().unwrap().data["chat"];
    assert_eq!(
        (&chat["finish_reason"], &chat["cost"]),
        (&json!("content_filter"), &json!(0))
    );
    system.chat(&ada, "hello").await.expect_error(422, "content_filtered");
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_answers_only_where_nothing_was_said() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("MODEL_FALLBACK", "other")]).await;
    let ada = system.account("ada").await;
    server.tell(Told::Answer);
    for (told, asked) in [
        (Told::Reply(500, "{}"), vec!["stub", "stub", "other"]),
        (Told::Reply(429, "{}"), vec!["stub", "other"]),
        (Told::Reply(404, "{}"), vec!["stub", "other"]),
        (Told::Stall, vec!["stub", "other"]),
        (
            Told::Stream(&[Part::Event(r#"{"error": "overloaded"}"#)]),
            vec!["stub", "other"],
        ),
        (
            Told::Reply(400, r#"{"error": {"code": "context_length_exceeded"}}"#),
            vec!["stub"],
        ),
        (Told::Stream(&[Part::Words("one"), Part::Cut]), vec!["stub"]),
    ] {
        server.tell_model("stub", told);
        let reply = system.send(ask(&ada, "hello")).await;
        let models: Vec<_> = server
            .take_asked()
            .into_iter()
            .map(|(_, request)| request["model"].clone())
            .collect();
        assert_eq!(models, asked, "{told:?}");
        let answered = reply.text.contains("Heard: ");
        assert_eq!(answered, asked.contains(&"other"), "{told:?}: {}", reply.text);
        system.wait_for_holds("ada", 0).await;
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_in_an_answer_is_bridged_by_comments() {
    let system = System::start_with(&[
        ("ECHO_PACE_MILLISECONDS", "10500"),
        ("MODEL_SILENCE_MILLISECONDS", "11000"),
    ])
    .await;
    let ada = system.account("ada").await;
    system.override_variable("MODEL_TIMEOUT_MILLISECONDS", "22000");
    let text = system.stream(ask(&ada, "x")).await.text().await;
    assert!(text.contains("\n\n: still there\n\n"), "{text}");
    assert!(text.contains("\"finish_reason\":\"deadline\""), "{text}");
}
