//! Models of Amazon Bedrock: what they answer, and what goes wrong before and in a stream of events; nobody pays for an answer they did not get.

use serde_json::{Value, json};

use crate::support::{Account, Bedrock, BedrockServer, Converse, Frame, LlamaServer, Request, System, ToldEvent};

const MODEL: &str = "maker.model-v1:0";
const OTHER: &str = "maker.other-v1:0";
const PRICES: &str = r#"{"version": "2026-11", "models": {
    "maker.model-v1:0": {"input": 1000000, "cached_input": 500000, "output": 2000000, "context": 300},
    "maker.other-v1:0": {"input": 1000000, "output": 1000000}
}}"#;

async fn start(url: &str, more: &[(&str, &str)]) -> System {
    let mut overrides = vec![
        ("MODEL_PROVIDER", "bedrock"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url),
        ("MODEL_NAME", MODEL),
        ("MODEL_TIMEOUT_MILLISECONDS", "2000"),
        ("MODEL_SILENCE_MILLISECONDS", "800"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
        ("CHATS_PER_MINUTE", "0"),
        ("SIGNUP_TOKENS", "10000"),
    ];
    overrides.extend_from_slice(more);
    System::start_with(&overrides).await
}

fn ask(ada: &Account, message: &str) -> Request {
    Request::post("/api/v1/chats/stream", &json!({"message": message})).bearer(&ada.access)
}

fn words(events: &[ToldEvent]) -> String {
    let deltas = events.iter().filter(|event| event.name == "message");
    deltas.map(|event| event.data["delta"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_by_bedrock_as_a_document_and_as_it_comes() {
    let server = BedrockServer::start().await;
    let system = start(&server.url, &[("SYSTEM_PROMPT", "Be brief.")]).await;
    let ada = system.account("ada").await;
    let whole = system.chat(&ada, "what is a ledger?").await.expect_status(200);
    let events = system.stream(ask(&ada, "what is a ledger?")).await.rest().await;
    let done = &events.last().unwrap().data;
    assert_eq!(whole.body["chat"]["response"], "Heard: what is a ledger?");
    assert_eq!(words(&events), "Heard: what is a ledger?");
    assert_eq!(events.len(), 6);
    let usage = json!({"input_tokens": 5, "cached_input_tokens": 0, "output_tokens": 7, "estimated": false});
    for chat in [&whole.body["chat"], &done["chat"]] {
        assert_eq!((&chat["model"], &chat["usage"]), (&json!(MODEL), &usage));
        assert_eq!(chat["finish_reason"], "stop");
    }
    assert_eq!(
        (&whole.body["token_balance"], &done["token_balance"]),
        (&json!(9900), &json!(9800))
    );
    let asked = server.take_asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert_eq!(asked.model, MODEL);
        assert!(asked.headers["authorization"].contains("/us-east-1/bedrock/aws4_request"));
        assert_eq!(
            asked.body,
            json!({
                "system": [{"text": "Be brief."}],
                "messages": [{"role": "user", "content": [{"text": "what is a ledger?"}]}],
                "inferenceConfig": {"maxTokens": 100},
            })
        );
    }
    system.check_ledger("ada").await;
}

/// What goes wrong before the first word, what the client gets, and how often the model is asked.
const FAULTS: [(Converse, u16, &str, usize); 22] = [
    (Converse::Disconnect, 502, "model_failed", 2),
    (Converse::Stall, 504, "model_timed_out", 1),
    (Converse::Document("<html>a proxy</html>"), 502, "model_failed", 2),
    (Converse::Document(""), 502, "model_failed", 1),
    (
        Converse::Refuse(429, "ThrottlingException", "No."),
        503,
        "model_busy",
        1,
    ),
    (
        Converse::Refuse(429, "ModelNotReadyException", "No."),
        503,
        "model_busy",
        1,
    ),
    (
        Converse::Refuse(503, "ServiceUnavailableException", "No."),
        503,
        "model_busy",
        2,
    ),
    (
        Converse::Refuse(500, "InternalServerException", "No."),
        502,
        "model_failed",
        2,
    ),
    (
        Converse::Refuse(424, "ModelErrorException", "No."),
        502,
        "model_failed",
        2,
    ),
    (
        Converse::Refuse(408, "ModelTimeoutException", "No."),
        504,
        "model_timed_out",
        2,
    ),
    (
        Converse::Refuse(403, "AccessDeniedException", "No."),
        502,
        "model_failed",
        1,
    ),
    (
        Converse::Refuse(404, "ResourceNotFoundException", "No."),
        502,
        "model_failed",
        1,
    ),
    (
        Converse::Refuse(400, "ValidationException", "No."),
        502,
        "model_failed",
        1,
    ),
    (
        Converse::Refuse(400, "ValidationException", "Input is too long for requested model."),
        400,
        "context_length_exceeded",
        1,
    ),
    (Converse::Stream(&[Frame::Stall]), 504, "model_timed_out", 1),
    (Converse::Stream(&[Frame::Cut]), 502, "model_failed", 2),
    (Converse::Stream(&[Frame::Thought("Hm.")]), 502, "model_failed", 1),
    (Converse::Stream(&[Frame::Stop("end_turn")]), 502, "model_failed", 1),
    (
        Converse::Stream(&[Frame::Exception("throttlingException", "No.")]),
        503,
        "model_busy",
        1,
    ),
    (
        Converse::Stream(&[Frame::Exception("modelStreamErrorException", "No.")]),
        502,
        "model_failed",
        2,
    ),
    (
        Converse::Stream(&[Frame::Exception(
            "validationException",
            "prompt is too long: 2 tokens > 1 maximum",
        )]),
        400,
        "context_length_exceeded",
        1,
    ),
    (
        Converse::Stream(&[Frame::Stop("guardrail_intervened"), Frame::Usage(0, 0, 0, 0)]),
        422,
        "content_filtered",
        1,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_bedrock_before_the_first_word_costs_nothing_in_either_form() {
    let server = BedrockServer::start().await;
    let system = start(&server.url, &[("MODEL_PRICES", PRICES), ("MODEL_CHOICES", OTHER)]).await;
    let ada = system.account("ada").await;
    for (told, status, code, tries) in FAULTS {
        server.tell(told);
        for path in ["/api/v1/chats", "/api/v1/chats/stream"] {
            let request = ask(&ada, "hello there, model").to(path);
            let reply = system.send(request).await;
            assert_eq!(
                (reply.status, reply.body["code"].as_str()),
                (status, Some(code)),
                "{told:?} {path}: {}",
                reply.text
            );
            let reply = reply.expect_error(status, code);
            assert_eq!(
                reply.headers.contains_key("retry-after"),
                code == "model_busy",
                "{told:?}"
            );
            system.wait_for_holds("ada", 0).await;
            assert_eq!(system.balance(&ada).await, 10_000, "{told:?} {path}");
            assert_eq!(server.take_asked().len(), tries, "{told:?} {path}");
            system.check_ledger("ada").await;
        }
    }
    println!(
        "{} faults of Bedrock before the first word, each in both forms: nothing charged",
        FAULTS.len()
    );
}

/// What ends a stream after two words, and what the client hears of it.
const BROKEN: [(&[Frame], &str); 12] = [
    (&[Frame::Cut], "interrupted"),
    (&[], "interrupted"),
    (&[Frame::Usage(5, 0, 0, 7)], "interrupted"),
    (&[Frame::Half], "interrupted"),
    (&[Frame::Spoilt], "interrupted"),
    (&[Frame::Stall], "interrupted"),
    (&[Frame::Error("InternalFailure")], "interrupted"),
    (&[Frame::Exception("throttlingException", "No.")], "interrupted"),
    (&[Frame::Exception("serviceUnavailableException", "No.")], "interrupted"),
    (&[Frame::Exception("modelStreamErrorException", "No.")], "interrupted"),
    (
        &[Frame::Exception(
            "validationException",
            "Input is too long for requested model.",
        )],
        "interrupted",
    ),
    (
        &[
            Frame::Wait(300),
            Frame::Thought("Hm."),
            Frame::Wait(300),
            Frame::Event("somethingNew", "{}"),
            Frame::Wait(300),
            Frame::Thought("Hm."),
            Frame::Wait(300),
            Frame::Thought("Hm."),
            Frame::Wait(300),
            Frame::Thought("Hm."),
            Frame::Wait(300),
            Frame::Thought("Hm."),
            Frame::Wait(300),
            Frame::Words(" three"),
            Frame::Stop("end_turn"),
        ],
        "deadline",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn of_an_answer_of_bedrock_that_breaks_off_what_was_heard_is_paid_by_what_was_used() {
    let server = BedrockServer::start().await;
    let system = start(&server.url, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let mut balance = 10_000;
    for (end, finish) in BROKEN {
        let parts = Vec::leak([&[Frame::Words("one "), Frame::Words("two")], end].concat());
        server.tell(Converse::Stream(parts));
        let events = system.stream(ask(&ada, "hello there")).await.rest().await;
        assert_eq!(words(&events), "one two", "{end:?}");
        let done = events.last().unwrap();
        assert_eq!(
            (done.name.as_str(), &done.data["chat"]["finish_reason"]),
            ("done", &json!(finish)),
            "{end:?}"
        );
        // What was read is told last, and nothing came that far: 7 + 2 tokens, the latter at two each. Only one had told already.
        let told = matches!(end, [Frame::Usage(..)]);
        let cost = if told { 5 + 2 * 7 } else { 7 + 2 * 2 };
        let chat = &done.data["chat"];
        assert_eq!(
            (&chat["cost"], &chat["usage"]["estimated"]),
            (&json!(cost), &json!(!told)),
            "{end:?}"
        );
        balance -= cost;
        assert_eq!(system.balance(&ada).await, balance);
        system.check_ledger("ada").await;
        // As a document it is of no use, and costs nothing; only what the deadline cuts is an answer there too.
        let reply = system.chat(&ada, "hello there").await;
        if finish == "deadline" {
            assert_eq!(
                (reply.status, &reply.body["chat"]["cost"]),
                (200, &json!(cost)),
                "{end:?}"
            );
            balance -= cost;
        } else {
            assert!(matches!(reply.status, 400 | 502 | 503 | 504), "{end:?}: {}", reply.text);
        }
        system.wait_for_holds("ada", 0).await;
        assert_eq!(system.balance(&ada).await, balance, "{end:?}");
        system.check_ledger("ada").await;
    }
    let asked = server.take_asked().len();
    assert_eq!(asked, 2 * BROKEN.len(), "never asked again once something was said");
    println!(
        "{} ends of a stream of Bedrock in mid-answer: words kept and paid, documents free",
        BROKEN.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_bedrock_costs_what_it_says_that_it_used() {
    let server = BedrockServer::start().await;
    let system = start(&server.url, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let mut balance = 10_000;
    for (end, usage, cost) in [
        // 10 and 20 into the cache are read at the full rate, 60 from it at half.
        (
            [Frame::Stop("end_turn"), Frame::Usage(10, 60, 20, 5)],
            (90, 60, 5),
            10 + 20 + 30 + 10,
        ),
        ([Frame::Stop("max_tokens"), Frame::Usage(10, 0, 0, 1)], (10, 0, 1), 12),
        ([Frame::Stop("something_new"), Frame::Usage(1, 0, 0, 1)], (1, 0, 1), 3),
        // It is over, whatever comes then.
        ([Frame::Stop("end_turn"), Frame::Cut], (6, 0, 1), 8),
        (
            [Frame::Stop("end_turn"), Frame::Exception("throttlingException", "No.")],
            (6, 0, 1),
            8,
        ),
        ([Frame::Stop("end_turn"), Frame::Stall], (6, 0, 1), 8),
        // More than was held: 64 + 16 + 5 of input and 100 of output.
        (
            [Frame::Stop("end_turn"), Frame::Usage(1_000_000, 0, 0, 1_000_000)],
            (1_000_000, 0, 1_000_000),
            285,
        ),
    ] {
        let parts = Vec::leak([&[Frame::Words("one")], &end[..]].concat());
        server.tell(Converse::Stream(parts));
        for streams in [true, false] {
            let chat = if streams {
                let events = system.stream(ask(&ada, "hello")).await.rest().await;
                events.last().unwrap().data["chat"].clone()
            } else {
                system.chat(&ada, "hello").await.expect_status(200).body["chat"].clone()
            };
            let number = |name: &str| chat["usage"][name].as_u64().unwrap();
            let used = (
                number("input_tokens"),
                number("cached_input_tokens"),
                number("output_tokens"),
            );
            assert_eq!((used, chat["cost"].as_u64()), (usage, Some(cost)), "{end:?}");
            balance -= cost;
            assert_eq!(system.balance(&ada).await, balance);
            system.check_ledger("ada").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guardrail_stops_is_free_as_a_document_and_paid_by_what_was_used_when_it_was_heard() {
    let server = BedrockServer::start().await;
    let system = start(&server.url, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    server.tell(Converse::Stream(&[
        Frame::Words("I would rather"),
        Frame::Stop("guardrail_intervened"),
        Frame::Usage(10, 0, 0, 3),
    ]));
    system.chat(&ada, "hello").await.expect_error(422, "content_filtered");
    system.wait_for_holds("ada", 0).await;
    assert_eq!(system.balance(&ada).await, 10_000);
    let events = system.stream(ask(&ada, "hello")).await.rest().await;
    let done = &events.last().unwrap().data;
    assert_eq!(
        (&done["chat"]["finish_reason"], &done["chat"]["cost"]),
        (&json!("content_filter"), &json!(16))
    );
    assert_eq!(system.balance(&ada).await, 10_000 - 16);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_of_bedrock_is_asked_only_where_the_first_said_nothing() {
    let server = BedrockServer::start().await;
    let system = start(&server.url, &[("MODEL_FALLBACK", OTHER)]).await;
    let ada = system.account("ada").await;
    for (told, asked) in [
        (Converse::Refuse(429, "ThrottlingException", "No."), vec![MODEL, OTHER]),
        (
            Converse::Refuse(503, "ServiceUnavailableException", "No."),
            vec![MODEL, MODEL, OTHER],
        ),
        (
            Converse::Refuse(403, "AccessDeniedException", "No."),
            vec![MODEL, OTHER],
        ),
        (
            Converse::Stream(&[Frame::Exception("internalServerException", "No.")]),
            vec![MODEL, MODEL, OTHER],
        ),
        (Converse::Stream(&[Frame::Stall]), vec![MODEL, OTHER]),
        (
            Converse::Refuse(400, "ValidationException", "prompt is too long: 2 tokens > 1 maximum"),
            vec![MODEL],
        ),
        (Converse::Stream(&[Frame::Words("one"), Frame::Cut]), vec![MODEL]),
    ] {
        server.tell_model(MODEL, told);
        let reply = system.send(ask(&ada, "hello")).await;
        let models: Vec<_> = server.take_asked().into_iter().map(|asked| asked.model).collect();
        assert_eq!(models, asked, "{told:?}");
        assert_eq!(
            reply.text.contains("Heard: "),
            asked.contains(&OTHER),
            "{told:?}: {}",
            reply.text
        );
        system.wait_for_holds("ada", 0).await;
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bedrock_that_is_not_there_costs_nothing() {
    let system = start("http://127.0.0.1:9", &[]).await;
    let ada = system.account("ada").await;
    for path in ["/api/v1/chats", "/api/v1/chats/stream"] {
        let reply = system.send(ask(&ada, "hello").to(path)).await;
        reply.expect_error(502, "model_failed");
        assert_eq!(system.balance(&ada).await, 10_000);
    }
    system.check_ledger("ada").await;
}

/// Frames that somebody else has written, from a model that answers. Needs the programs of `tests/support/rigs.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_behind_another_bedrock_answers_in_both_forms() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let Some(bedrock) = Bedrock::start(&model).await else {
        return;
    };
    let patient = [
        ("MODEL_TIMEOUT_MILLISECONDS", "60000"),
        ("MODEL_SILENCE_MILLISECONDS", "60000"),
        ("MODEL_MAX_OUTPUT_TOKENS", "24"),
        ("MODEL_NAME", LlamaServer::MODEL),
        ("HOLD_LEASE_SECONDS", "120"),
    ];
    let system = start(&bedrock.url, &patient).await;
    let ada = system.account("ada").await;
    let whole = system.chat(&ada, "What is a ledger?").await.expect_status(200).body["chat"].clone();
    let events = system.stream(ask(&ada, "What is a ledger?")).await.rest().await;
    let done = events.last().unwrap();
    assert_eq!(done.name, "done", "{:?}", done.data);
    let told = words(&events);
    for (chat, text) in [
        (&whole, whole["response"].as_str().unwrap()),
        (&done.data["chat"], told.as_str()),
    ] {
        assert!(!text.trim().is_empty() && !text.starts_with(Bedrock::MADE_UP), "{text}");
        let number = |name: &str| chat["usage"][name].as_u64().unwrap();
        assert!(
            number("input_tokens") > 0 && (1..=24).contains(&number("output_tokens")),
            "{chat}"
        );
        assert_eq!(
            (&chat["usage"]["estimated"], &chat["cost"]),
            (&Value::Bool(false), &json!(100))
        );
    }
    assert_eq!(system.balance(&ada).await, 9_800);
    system.check_ledger("ada").await;
}
