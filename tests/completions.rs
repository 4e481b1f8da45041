//! The door for clients of OpenAI's API: its words, its errors, and what its libraries do by themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Account, Lost, ModelServer, Part, Request, System, Told};

const PATH: &str = "/v1/chat/completions";

fn body(message: &str) -> Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": message}]})
}

fn with(message: &str, members: Value) -> Value {
    let mut body = body(message);
    let Value::Object(members) = members else {
        panic!("members are an object");
    };
    body.as_object_mut().unwrap().extend(members);
    body
}

fn ask(ada: &Account, body: &Value) -> Request {
    Request::post(PATH, body).bearer(&ada.access)
}

fn retried(request: &Request, count: u32) -> Request {
    request.clone().header("X-Stainless-Retry-Count", &count.to_string())
}

async fn start(server: &ModelServer, more: &[(&str, &str)]) -> System {
    let base_url = server.base_url.clone();
    let mut overrides = vec![
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", base_url.as_str()),
        ("OPENAI_API_KEY", "sk-the-providers-key"),
        ("MODEL_NAME", "stub"),
        ("MODEL_CHOICES", "other, third"),
        ("MODEL_TIMEOUT_MILLISECONDS", "1500"),
        ("MODEL_SILENCE_MILLISECONDS", "500"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
    ];
    overrides.extend_from_slice(more);
    System::start_with(&overrides).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_says_what_openais_says_and_charges_as_a_message_does() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let reply = system.send(ask(&ada, &body("one two"))).await.expect_status(200);
    assert_eq!(reply.header("content-type"), "application/json");
    let completion = &reply.body;
    assert!(completion["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(
        (&completion["object"], &completion["model"]),
        (&json!("chat.completion"), &json!("echo"))
    );
    assert!(completion["created"].as_i64().unwrap() > 1_700_000_000);
    let choice = json!({
        "index": 0, "message": {"role": "assistant", "content": "AI Response to: one two", "refusal": null},
        "logprobs": null, "finish_reason": "stop",
    });
    assert_eq!(completion["choices"], json!([choice]));
    let usage = json!({
        "prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0},
        "cost": 100, "balance": 3900,
    });
    assert_eq!(completion["usage"], usage);
    assert_eq!(system.balance(&ada).await, 3900);
    // It is in the history like every chat.
    let page = system.send(Request::get("/api/v1/chats").bearer(&ada.access)).await;
    let chat = &page.body["data"][0];
    assert_eq!(
        (&chat["message"], &chat["response"]),
        (&json!("one two"), &json!("AI Response to: one two"))
    );
    assert_eq!(completion["id"], format!("chatcmpl-{}", chat["id"].as_str().unwrap()));
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_is_streamed_in_chunks_with_its_usage_at_the_end_if_wanted() {
    let system = System::start_with(&[("ECHO_PACE_MILLISECONDS", "30")]).await;
    let ada = system.account("ada").await;
    for usage_wanted in [false, true] {
        let mut request = with("one two", json!({"stream": true}));
        if usage_wanted {
            request["stream_options"] = json!({"include_usage": true});
        }
        let mut streaming = system.stream(ask(&ada, &request)).await;
        assert_eq!(
            (streaming.status, streaming.headers["content-type"].as_str()),
            (200, "text/event-stream; charset=utf-8")
        );
        let mut chunks = streaming.rest().await;
        assert!(chunks.iter().all(|chunk| chunk.name == "message"));
        assert_eq!(chunks.pop().unwrap().data, json!("[DONE]"));
        assert!(chunks.last().unwrap().at - chunks[0].at > Duration::from_millis(60));
        if usage_wanted {
            let last = chunks.pop().unwrap().data;
            assert_eq!(last["choices"], json!([]));
            assert_eq!(
                (&last["usage"]["total_tokens"], &last["usage"]["cost"]),
                (&json!(7), &json!(100))
            );
            assert!(
                chunks
                    .iter()
                    .all(|chunk| chunk.data["usage"].is_null() && chunk.data.get("usage").is_some())
            );
        } else {
            assert!(chunks.iter().all(|chunk| chunk.data.get("usage").is_none()));
        }
        let choice = |index: usize| chunks[index].data["choices"][0].clone();
        assert_eq!(
            choice(0)["delta"],
            json!({"role": "assistant", "content": "", "refusal": null})
        );
        let end = choice(chunks.len() - 1);
        assert_eq!((&end["delta"], &end["finish_reason"]), (&json!({}), &json!("stop")));
        let text: String = (0..chunks.len())
            .filter_map(|index| choice(index)["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, "AI Response to: one two");
        let first = &chunks[0].data;
        for chunk in &chunks {
            assert_eq!(chunk.data["object"], "chat.completion.chunk");
            for member in ["id", "created", "model"] {
                assert_eq!(chunk.data[member], first[member]);
            }
        }
    }
    assert_eq!(system.balance(&ada).await, 3800);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_hears_the_whole_conversation_and_how_to_choose_its_words() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("SYSTEM_PROMPT", "Be kind.")]).await;
    let ada = system.account("ada").await;
    let request = json!({
        "model": "other", "max_completion_tokens": 50, "temperature": 0.5, "top_p": 1, "presence_penalty": -1, "frequency_penalty": 0.25,
        "seed": 7, "stop": "END", "user": "u-1", "metadata": {"a": "b"}, "n": 1, "response_format": {"type": "text"}, "tools": [],
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ada", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "three"},
            {"role": "user", "content": "four"},
        ],
    });
    let reply = system.send(ask(&ada, &request)).await.expect_status(200);
    assert_eq!(reply.body["choices"][0]["message"]["content"], "Heard: four");
    let (_, asked) = server.take_asked().remove(0);
    let expected = json!({
        "model": "other", "max_tokens": 50, "temperature": 0.5, "top_p": 1.0, "presence_penalty": -1.0, "frequency_penalty": 0.25,
        "seed": 7, "stop": ["END"], "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": "Be kind."}, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "one\ntwo"},
            {"role": "assistant", "content": "three"}, {"role": "user", "content": "four"},
        ],
    });
    assert_eq!(asked, expected);
}

/// Checks an error in the form that OpenAI's libraries read.
fn expect_openai_error(reply: &crate::support::Reply, status: u16, code: &str, param: Option<&str>) {
    let error = &reply.body["error"];
    assert_eq!(
        (reply.status, error["code"].as_str(), error["param"].as_str()),
        (status, Some(code), param),
        "{}",
        reply.text
    );
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(error["type"].is_string());
    assert_eq!(reply.body["request_id"].as_str(), Some(reply.header("x-request-id")));
    assert_eq!(reply.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_refused_and_named() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let image =
        json!([{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "https://x"}}]);
    let refused = [
        (json!({"messages": body("x")["messages"]}), "invalid_value", "model"),
        (json!({"model": "echo"}), "invalid_value", "messages"),
        (json!({"model": "echo", "messages": []}), "invalid_value", "messages"),
        (
            json!({"model": "echo", "messages": [{"role": "system", "content": "x"}]}),
            "invalid_value",
            "messages",
        ),
        (
            json!({"model": "echo", "messages": [{"role": "user", "content": "  "}]}),
            "invalid_value",
            "messages",
        ),
        (
            json!({"model": "echo", "messages": [{"role": "user", "content": "x".repeat(70_000)}]}),
            "invalid_value",
            "messages",
        ),
        (
            json!({"model": "echo", "messages": [{"role": "user"}]}),
            "unsupported_value",
            "messages[0].content",
        ),
        (
            json!({"model": "echo", "messages": [{"content": "x"}]}),
            "unsupported_value",
            "messages[0].role",
        ),
        (
            json!({"model": "echo", "messages": [{"role": "tool", "content": "x"}]}),
            "unsupported_value",
            "messages[0].role",
        ),
        (
            json!({"model": "echo", "messages": [{"role": "user", "content": image}]}),
            "unsupported_value",
            "messages[0].content[1]",
        ),
        (with("x", json!({"max_tokens": 0})), "invalid_value", "max_tokens"),
        (
            with("x", json!({"max_tokens": 1_000_001})),
            "invalid_value",
            "max_tokens",
        ),
        (with("x", json!({"temperature": 2.5})), "invalid_value", "temperature"),
        (with("x", json!({"top_p": -0.1})), "invalid_value", "top_p"),
        (
            with("x", json!({"presence_penalty": 3})),
            "invalid_value",
            "presence_penalty",
        ),
        (
            with("x", json!({"stop": ["1", "2", "3", "4", "5"]})),
            "invalid_value",
            "stop",
        ),
        (with("x", json!({"stop": [1]})), "invalid_value", "stop"),
        (
            with("x", json!({"stream_options": {"include_usage": true}})),
            "invalid_value",
            "stream_options",
        ),
        (with("x", json!({"n": 2})), "unsupported_value", "n"),
        (
            with("x", json!({"tools": [{"type": "function"}]})),
            "unsupported_value",
            "tools",
        ),
        (
            with("x", json!({"response_format": {"type": "json_object"}})),
            "unsupported_value",
            "response_format",
        ),
        (with("x", json!({"logprobs": true})), "unsupported_value", "logprobs"),
        (
            with("x", json!({"logit_bias": {"50256": -100}})),
            "unsupported_value",
            "logit_bias",
        ),
        (with("x", json!({"nonsense": 1})), "unsupported_value", "nonsense"),
    ];
    for (request, code, param) in refused {
        let reply = system.send(ask(&ada, &request)).await;
        expect_openai_error(&reply, 400, code, Some(param));
    }
    for (request, status, code) in [
        (
            ask(&ada, &with("x", json!({"model": "no such"}))),
            404,
            "model_not_found",
        ),
        (
            ask(&ada, &with("x", json!({"model": "gpt-unknown"}))),
            404,
            "model_not_found",
        ),
        (Request::post(PATH, &body("x")), 401, "invalid_api_key"),
        (
            Request::post(PATH, &body("x")).bearer("sk-nobodys"),
            401,
            "invalid_api_key",
        ),
        (ask(&ada, &with("x", json!({"stream": "yes"}))), 400, "invalid_value"),
        (ask(&ada, &body("x")).raw_body("{"), 400, "invalid_value"),
        (
            ask(&ada, &body("x")).header("Content-Type", "text/plain"),
            415,
            "unsupported_media_type",
        ),
        (
            ask(&ada, &with("x", json!({"user": "x".repeat(300_000)}))),
            413,
            "body_too_large",
        ),
        (Request::get(PATH).bearer(&ada.access), 405, "method_not_allowed"),
        (Request::get("/v1/nothing").bearer(&ada.access), 404, "not_found"),
    ] {
        let reply = system.send(request).await;
        let param = (code == "model_not_found").then_some("model");
        expect_openai_error(&reply, status, code, param);
    }
    assert_eq!(system.balance(&ada).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_has_the_status_and_code_that_libraries_know() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("SIGNUP_TOKENS", "150")]).await;
    let ada = system.account("ada").await;
    let request = |streams| {
        ask(
            &ada,
            &json!({"model": "stub", "messages": body("hello")["messages"], "stream": streams}),
        )
    };
    for (told, status, code) in [
        (Told::Reply(429, "{}"), 503, "model_busy"),
        (Told::Reply(500, "{}"), 502, "model_failed"),
        (Told::Stall, 504, "model_timed_out"),
        (
            Told::Reply(400, r#"{"error": {"code": "context_length_exceeded"}}"#),
            400,
            "context_length_exceeded",
        ),
        (
            Told::Reply(400, r#"{"error": {"code": "content_filter"}}"#),
            400,
            "content_filter",
        ),
    ] {
        server.tell(told);
        for streams in [false, true] {
            let reply = system.send(request(streams)).await;
            expect_openai_error(&reply, status, code, None);
            assert_eq!(reply.headers.contains_key("retry-after"), code == "model_busy");
            system.wait_for_holds("ada", 0).await;
            assert_eq!(system.balance(&ada).await, 150);
        }
    }
    // In mid-answer it is an event that libraries raise.
    server.tell(Told::Stream(&[Part::Words("one "), Part::Cut]));
    let events = system.stream(request(true)).await.rest().await;
    assert_eq!(events.last().unwrap().data["error"]["code"], "model_failed");
    server.tell(Told::Answer);
    system.send(request(false)).await.expect_status(200);
    let reply = system.send(request(false)).await;
    expect_openai_error(&reply, 402, "insufficient_quota", None);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_are_those_of_the_deployment() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("MODEL_FALLBACK", "third")]).await;
    let ada = system.account("ada").await;
    let reply = system
        .send(Request::get("/v1/models").bearer(&ada.access))
        .await
        .expect_status(200);
    assert_eq!(reply.body["object"], "list");
    let models: Vec<_> = reply.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].clone())
        .collect();
    assert_eq!(models, ["stub", "third", "other"]);
    assert_eq!(reply.body["data"][0]["object"], "model");
    let reply = system.send(Request::get("/v1/models")).await;
    expect_openai_error(&reply, 401, "invalid_api_key", None);
}

/// The id and the time that every chunk of a stream has.
fn name_of_stream(text: &str) -> Value {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let mut names: Vec<_> = chunks.map(|chunk| json!([chunk["id"], chunk["created"]])).collect();
    names.dedup();
    assert_eq!(names.len(), 1, "{text}");
    names.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_sends_again_what_was_answered_gets_that_answer_and_pays_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for streams in [false, true] {
        let before = system.balance(&ada).await;
        let request = ask(&ada, &with(&format!("hello {streams}"), json!({"stream": streams})));
        let first = system.send(retried(&request, 0)).await.expect_status(200);
        // The reply is lost on its way to the client.
        for count in [1, 2] {
            let again = system.send(retried(&request, count)).await.expect_status(200);
            assert_eq!(again.header("idempotency-replayed"), "true");
            if streams {
                // At once and not word by word, but of the same answer.
                assert_eq!(name_of_stream(&again.text), name_of_stream(&first.text));
            } else {
                assert_eq!(again.body, first.body);
            }
        }
        assert_eq!(system.balance(&ada).await, before - 100);
        // What is asked for the first time is new, also if it asks for the same.
        let other = system.send(retried(&request, 0)).await.expect_status(200);
        assert!(!other.headers.contains_key("idempotency-replayed"));
        assert_eq!(system.balance(&ada).await, before - 200);
        // Something else was never answered, however often it has been sent.
        let else_asked = ask(&ada, &with(&format!("else {streams}"), json!({"stream": streams})));
        let reply = system.send(retried(&else_asked, 2)).await.expect_status(200);
        assert!(!reply.headers.contains_key("idempotency-replayed"));
        assert_eq!(system.balance(&ada).await, before - 300);
    }
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_sends_again_what_is_still_being_answered_waits_for_that() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "1500")]).await;
    let ada = system.account("ada").await;
    for _ in 0..2 {
        system.spawn("completions-create");
    }
    for round in 0..5 {
        let request = ask(&ada, &body(&format!("hello {round}")));
        let (first, again) = tokio::join!(system.send(retried(&request, 0)), async {
            system.wait_for_holds("ada", 1).await;
            tokio::time::sleep(Duration::from_millis(250 * round)).await;
            system.send(retried(&request, 1)).await
        });
        assert_eq!(first.expect_status(200).body, again.expect_status(200).body);
    }
    assert_eq!(system.balance(&ada).await, 3500);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_sends_again_what_failed_is_answered_and_pays_once() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    let request = ask(&ada, &json!({"model": "stub", "messages": body("hello")["messages"]}));
    server.tell(Told::Reply(500, "{}"));
    system.send(retried(&request, 0)).await.expect_status(502);
    server.tell(Told::Answer);
    system.send(retried(&request, 1)).await.expect_status(200);
    system.send(retried(&request, 2)).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_sends_again_is_told_nothing_older_than_what_it_asked() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "700")]).await;
    let ada = system.account("ada").await;
    for _ in 0..2 {
        system.spawn("completions-create");
    }
    let request = ask(&ada, &body("hello"));
    let old = system.send(retried(&request, 0)).await.expect_status(200).body["id"].clone();
    // Asked anew, and the client gives up before the answer comes.
    let (second, again) = tokio::join!(system.send(retried(&request, 0)), async {
        system.wait_for_holds("ada", 1).await;
        system.send(retried(&request, 1)).await
    });
    let second = second.expect_status(200).body["id"].clone();
    assert_ne!(second, old);
    assert_eq!(again.expect_status(200).body["id"], second);
    assert_eq!(system.balance(&ada).await, 3800);
    // Asked anew and refused: what was answered before is no answer to it.
    system.lose(Lost::Request, "UpdateItem", 3);
    system.send(retried(&request, 0)).await.expect_status(503);
    let third = system.send(retried(&request, 1)).await.expect_status(200);
    assert!(!third.headers.contains_key("idempotency-replayed"));
    assert_eq!(system.balance(&ada).await, 3700);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_answers_to_one_question_the_later_is_remembered_whichever_ends_first() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "1500")]).await;
    let ada = system.account("ada").await;
    let request = ask(&ada, &body("hello"));
    let (early, late) = tokio::join!(system.send(retried(&request, 0)), async {
        system.wait_for_holds("ada", 1).await;
        system.override_variable("ECHO_DELAY_MILLISECONDS", "50");
        system.spawn("completions-create");
        system.send(retried(&request, 0)).await
    });
    let (early, late) = (
        early.expect_status(200).body["id"].clone(),
        late.expect_status(200).body["id"].clone(),
    );
    assert_ne!(early, late);
    let again = system.send(retried(&request, 1)).await.expect_status(200);
    assert_eq!(again.body["id"], late);
    assert_eq!(system.balance(&ada).await, 3800);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_sends_again_after_a_crash_is_answered_when_the_lease_is_over() {
    let system = System::start_with(&[
        ("ECHO_DELAY_MILLISECONDS", "60000"),
        ("MODEL_SILENCE_MILLISECONDS", "90000"),
        ("HOLD_LEASE_SECONDS", "3"),
    ])
    .await;
    let ada = system.account("ada").await;
    let request = ask(&ada, &body("hello"));
    let event = retried(&request, 0).rest_event();
    let (answer, ()) = tokio::join!(system.invoke("completions-create", event), async {
        system.wait_for_holds("ada", 1).await;
        system.kill("completions-create").await;
    });
    assert!(answer.is_none());
    system.override_variable("ECHO_DELAY_MILLISECONDS", "0");
    system.kill("completions-create").await;
    // It waits for the dead call until its lease is over, and then there is time for an answer of its own.
    system.send(retried(&request, 1)).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3900);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flat_price_buys_no_more_than_a_message_and_its_conversation() {
    let system = System::start_with(&[("CONTEXT_MAX_TOKENS", "500"), ("MESSAGE_MAX_CHARACTERS", "1000")]).await;
    let ada = system.account("ada").await;
    let turns = |length: usize| {
        let system = json!({"role": "system", "content": "x".repeat(length)});
        json!({"model": "echo", "messages": [system, {"role": "user", "content": "hi"}]})
    };
    system.send(ask(&ada, &turns(2_998))).await.expect_status(200);
    let reply = system.send(ask(&ada, &turns(2_999))).await;
    expect_openai_error(&reply, 400, "invalid_value", Some("messages"));
    let priced = r#"{"version": "1", "models": {"echo": {"input": 1, "output": 1}}}"#;
    system.override_variable("MODEL_PRICES", priced);
    system.kill("completions-create").await;
    system.send(ask(&ada, &turns(2_999))).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_requests_for_the_same_are_each_answered_and_paid() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "20")]).await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.spawn("completions-create");
    }
    let request = ask(&ada, &body("hello"));
    let replies = futures_util::future::join_all((0..12).map(|_| system.send(retried(&request, 0)))).await;
    let mut ids: Vec<_> = replies
        .into_iter()
        .map(|reply| reply.expect_status(200).body["id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 12);
    assert_eq!(system.balance(&ada).await, 2800);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_of_which_nobody_knows_is_found_by_the_library_that_asks_again() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.send(ask(&ada, &body("warm"))).await.expect_status(200);
    let request = ask(&ada, &body("hello"));
    // Settled, and every reply of it is lost: the chat item tells.
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    system.send(retried(&request, 0)).await.expect_status(200);
    system.send(retried(&request, 1)).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3800);
    // Not settled: given back, and asked anew.
    system.lose(Lost::Request, "TransactWriteItems", 3);
    let request = ask(&ada, &body("hello again"));
    system.send(retried(&request, 0)).await.expect_status(503);
    system.send(retried(&request, 1)).await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3700);
    system.check_ledger("ada").await;
}
