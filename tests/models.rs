//! Models that are asked over a network, and everything that can go wrong between: whatever it is, nobody pays for an answer they did not get.

use serde_json::json;

use crate::support::{ModelServer, Request, System, Told};

async fn start(server: &ModelServer, more: &[(&str, &str)]) -> System {
    let base_url = server.base_url.clone();
    let mut overrides = vec![
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", base_url.as_str()),
        ("OPENAI_API_KEY", "sk-the-providers-key"),
        ("MODEL_NAME", "stub"),
        ("MODEL_TIMEOUT_MILLISECONDS", "700"),
    ];
    overrides.extend_from_slice(more);
    System::start_with(&overrides).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_by_a_server_that_speaks_openais_api() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    let reply = system.chat(&ada, "what is a ledger?").await.expect_status(200);
    assert_eq!(reply.body["chat"]["response"], "Heard: what is a ledger?");
    assert_eq!(reply.body["chat"]["model"], "stub-1");
    assert_eq!(reply.body["token_balance"], 3900);
    let (headers, request) = server.take_asked().remove(0);
    assert_eq!(headers["authorization"], "Bearer sk-the-providers-key");
    assert_eq!(request["model"], "stub");
    assert_eq!(
        request["messages"],
        json!([{"role": "user", "content": "what is a ledger?"}])
    );
    assert_eq!(
        (&request["max_tokens"], &request["stream"]),
        (&json!(1024), &json!(true))
    );
    assert_eq!(request["stream_options"], json!({"include_usage": true}));
    let usage = json!({"input_tokens": 5, "cached_input_tokens": 0, "output_tokens": 7, "estimated": false});
    assert_eq!(reply.body["chat"]["usage"], usage);
    assert_eq!(reply.body["chat"]["finish_reason"], "stop");
    system.check_ledger("ada").await;
}

/// Each fault, what the client gets, and how often the model was asked.
const FAULTS: [(Told, u16, &str); 22] = [
    (Told::Disconnect, 502, "model_failed"),
    (Told::Truncate, 502, "model_failed"),
    (Told::Stall, 504, "model_timed_out"),
    (Told::Delay(5_000), 504, "model_timed_out"),
    (Told::Flood, 502, "model_failed"),
    (Told::Reply(500, "{}"), 502, "model_failed"),
    (Told::Reply(502, "<html>bad gateway</html>"), 502, "model_failed"),
    (Told::Reply(503, ""), 503, "model_busy"),
    (
        Told::Reply(429, r#"{"error":{"code":"rate_limit_exceeded"}}"#),
        503,
        "model_busy",
    ),
    (Told::Reply(401, r#"{"error":{"code":401}}"#), 502, "model_failed"),
    (Told::Reply(307, ""), 502, "model_failed"),
    (
        Told::Reply(
            400,
            r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#,
        ),
        400,
        "context_length_exceeded",
    ),
    (
        Told::Reply(400, r#"[{"error":{"code":400,"message":"exceeds the context size"}}]"#),
        400,
        "context_length_exceeded",
    ),
    (
        Told::Reply(400, r#"{"error":{"code":"content_filter"}}"#),
        422,
        "content_filtered",
    ),
    (
        Told::Reply(
            200,
            r#"{"choices":[{"finish_reason":"content_filter","message":{"content":""}}]}"#,
        ),
        422,
        "content_filtered",
    ),
    (
        Told::Reply(200, r#"{"error":{"message":"overloaded"}}"#),
        502,
        "model_failed",
    ),
    (Told::Reply(200, r#"{"choices":[]}"#), 502, "model_failed"),
    (
        Told::Reply(200, r#"{"choices":[{"message":{"content":null}}]}"#),
        502,
        "model_failed",
    ),
    (
        Told::Reply(200, r#"{"choices":[{"message":{"content":""}}]}"#),
        502,
        "model_failed",
    ),
    (Told::Reply(200, "not json"), 502, "model_failed"),
    (Told::Reply(200, ""), 502, "model_failed"),
    (Told::Reply(204, ""), 502, "model_failed"),
];

/// How often the model is asked: once more where it may only have been a moment.
fn tries(told: Told) -> usize {
    match told {
        Told::Disconnect | Told::Truncate | Told::Reply(500 | 502, _) => 2,
        _ => 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_model_costs_nothing_and_leaves_the_key_free() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    let send = async |key: Option<&str>| {
        let request = Request::post("/api/v1/chats", &json!({"message": "hello there, model"}));
        let request = key
            .into_iter()
            .fold(request, |request, key| request.header("Idempotency-Key", key));
        system.send(request.bearer(&ada.access)).await
    };
    let mut charged = 0;
    for (index, (told, status, code)) in FAULTS.into_iter().enumerate() {
        let key = format!("key-{index}");
        for key in [None, Some(key.as_str())] {
            server.tell(told);
            let reply = send(key).await;
            assert_eq!(
                (reply.status, reply.body["code"].as_str()),
                (status, Some(code)),
                "{told:?}: {}",
                reply.text
            );
            let reply = reply.expect_error(status, code);
            if code == "model_busy" {
                let wait = if matches!(told, Told::Reply(429, _)) { "7" } else { "5" };
                assert_eq!(reply.header("retry-after"), wait);
            }
            system.wait_for_holds("ada", 0).await;
            assert_eq!(system.balance(&ada).await, 4000 - charged, "{told:?}");
            assert_eq!(server.take_asked().len(), tries(told), "{told:?}");
        }
        // The same key is answered once the model is well again.
        server.tell(Told::Answer);
        send(Some(&key)).await.expect_status(200);
        server.take_asked();
        charged += 100;
        if charged == 4000 {
            break;
        }
    }
    system.check_ledger("ada").await;
    println!(
        "{} faults of the model, each with and without a key: nothing charged",
        FAULTS.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_there_costs_nothing() {
    let server = ModelServer::start().await;
    let nowhere = [("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")];
    let system = start(&server, &nowhere).await;
    let ada = system.account("ada").await;
    system
        .chat(&ada, "hello there, model")
        .await
        .expect_error(502, "model_failed");
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
    assert!(!system.logs().join("\n").contains("sk-the-providers-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_killed_while_the_model_answers_costs_nothing_in_the_end() {
    let server = ModelServer::start().await;
    server.tell(Told::Stall);
    let system = start(
        &server,
        &[("HOLD_LEASE_SECONDS", "2"), ("MODEL_TIMEOUT_MILLISECONDS", "60000")],
    )
    .await;
    let ada = system.account("ada").await;
    let event = Request::post("/api/v1/chats", &json!({"message": "hello there, model"}))
        .header("Idempotency-Key", "k")
        .bearer(&ada.access)
        .rest_event();
    let kill = async {
        while server.take_asked().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        system.kill("chats-send").await;
    };
    let (answer, ()) = tokio::join!(system.invoke("chats-send", event), kill);
    assert!(answer.is_none());
    system.check_ledger("ada").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(system.balance(&ada).await, 4000);
    server.tell(Told::Answer);
    let request = Request::post("/api/v1/chats", &json!({"message": "hello there, model"}));
    let request = request.header("Idempotency-Key", "k").bearer(&ada.access);
    system.send(request).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_used_stops_the_start_and_is_named() {
    for (overrides, word) in [
        ([("MODEL_PROVIDER", "openai"), ("MODEL_NAME", "")], "MODEL_NAME"),
        (
            [("MODEL_PROVIDER", "openai"), ("OPENAI_BASE_URL", "ftp://x")],
            "OPENAI_BASE_URL",
        ),
        ([("MODEL_PROVIDER", "bedrock"), ("MODEL_NAME", "")], "MODEL_NAME"),
        ([("MODEL_PROVIDER", "gpt"), ("MODEL_NAME", "x")], "MODEL_PROVIDER"),
    ] {
        let system = System::start_with(&overrides).await;
        assert!(system.invoke("chats-send", json!({})).await.is_none());
        for _ in 0..100 {
            if system.logs().join("\n").contains(word) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(system.logs().join("\n").contains(word), "{word}: {:?}", system.logs());
    }
}
