//! A provider that speaks OpenAI's API and fails as providers do: what the client gets, what was charged, how often the provider was asked.
//!
//! Needs llmock (`tests/support/rigs.rs`). It cuts and spoils streams, but never a whole answer: those faults are in `models.rs`, whose
//! server is our own.

use serde_json::{Value, json};

use crate::support::{FailingProvider, Request, System};

/// What goes wrong, as llmock is told, and what comes of a whole answer: the status, and the code of the error. Without one it is answered
/// and charged.
fn faults() -> Vec<(Value, u16, Option<&'static str>)> {
    let status = |status: u16| json!([{"type": "fail", "status": status}]);
    let coded = |status: u16, code: &str| json!([{"type": "fail", "status": status, "code": code, "message": "No."}]);
    let reply = |text: &str, finish: &str| json!([{"type": "reply", "text": text, "finish_reason": finish}]);
    vec![
        (json!([]), 200, None),
        (
            json!([{"type": "fail", "status": 429, "retry_after": 7}]),
            503,
            Some("model_busy"),
        ),
        (
            json!([{"type": "fail", "status": 503, "retry_after": 7}]),
            503,
            Some("model_busy"),
        ),
        (status(500), 502, Some("model_failed")),
        (status(502), 502, Some("model_failed")),
        (status(504), 502, Some("model_failed")),
        (status(529), 502, Some("model_failed")),
        (status(400), 502, Some("model_failed")),
        (status(401), 502, Some("model_failed")),
        (coded(402, "insufficient_quota"), 502, Some("model_failed")),
        (coded(404, "model_not_found"), 502, Some("model_failed")),
        (status(408), 502, Some("model_failed")),
        (
            coded(400, "context_length_exceeded"),
            400,
            Some("context_length_exceeded"),
        ),
        (coded(400, "content_filter"), 422, Some("content_filtered")),
        (reply("I would rather", "content_filter"), 422, Some("content_filtered")),
        (reply("", "content_filter"), 422, Some("content_filtered")),
        (reply("", "stop"), 502, Some("model_failed")),
        (
            json!([{"type": "reply", "tool_calls": [{"name": "f", "arguments": {}}]}]),
            502,
            Some("model_failed"),
        ),
        (json!([{"type": "delay", "seconds": 5}]), 504, Some("model_timed_out")),
        (reply("as far as it goes", "length"), 200, None),
        (reply("all of it", "a reason of its own"), 200, None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_does_a_whole_answer_is_charged_or_it_is_free() {
    let Some(provider) = FailingProvider::start().await else {
        return;
    };
    let system = System::start_with(&[
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", provider.base_url.as_str()),
        ("MODEL_NAME", "gpt-4o-mini"),
        ("MODEL_TIMEOUT_MILLISECONDS", "3000"),
    ])
    .await;
    let ada = system.account("ada").await;
    let mut balance = 4000;
    for (index, (fault, status, code)) in faults().into_iter().enumerate() {
        provider.tell(&fault).await;
        let request = Request::post("/api/v1/chats", &json!({"message": "hello there, provider"}));
        let request = request
            .header("Idempotency-Key", &format!("key-{index}"))
            .bearer(&ada.access);
        let reply = system.send(request.clone()).await;
        let asked = provider.asked().await;
        println!(
            "{fault}: {} {}, asked {}",
            reply.status,
            reply.body["code"],
            asked.len()
        );
        assert_eq!(reply.status, status, "{fault}: {}", reply.text);
        assert_eq!(asked.len(), 1, "{fault}: {asked:#?}");
        assert_eq!(provider.complaints().await, Vec::<String>::new(), "{fault}");
        if let Some(code) = code {
            let reply = reply.expect_error(status, code);
            if code == "model_busy" {
                assert_eq!(reply.header("retry-after"), "7");
            }
            system.wait_for_holds("ada", 0).await;
            assert_eq!(system.balance(&ada).await, balance, "{fault}");
            // The key is free, and the provider is well again.
            provider.tell(&json!([])).await;
            system.send(request).await.expect_status(200);
        }
        balance -= 100;
        assert_eq!(system.balance(&ada).await, balance, "{fault}");
    }
    system.check_ledger("ada").await;
}
