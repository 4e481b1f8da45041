//! A real model answers: a small one, on this machine. Structure, charges and refusals are looked at, never its words.
//!
//! Needs the programs of `tests/support/rigs.rs`.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::support::{Account, LlamaServer, Reply, Request, Sdk, Site, System, ToldEvent};

/// One token for each that is read, a quarter where it was read before, three for each that is written.
const PRICES: &str = r#"{"version": "1", "models": {"smollm2": {"input": 1000000, "cached_input": 250000, "output": 3000000, "context": 1024}}}"#;

/// The forms in which an answer can be had.
const FORMS: [(&str, bool); 4] = [
    ("/api/v1/chats", false),
    ("/api/v1/chats/stream", true),
    ("/v1/chat/completions", false),
    ("/v1/chat/completions", true),
];

/// A message in one of the forms.
fn ask(ada: &Account, (path, streams): (&str, bool), message: &str) -> Request {
    let body = if path.starts_with("/api") {
        json!({"message": message})
    } else {
        let options = streams.then(|| json!({"include_usage": true}));
        let messages = [json!({"role": "user", "content": message})];
        json!({"model": LlamaServer::MODEL, "messages": messages, "stream": streams, "stream_options": options})
    };
    Request::post(path, &body).bearer(&ada.access)
}

/// What an answer cost, checked against what the model says that it read and wrote.
#[track_caller]
fn fair_cost(chat: &Value) -> u64 {
    let number = |member: &str| chat["usage"][member].as_u64().unwrap_or_else(|| panic!("{chat}"));
    let (input, cached, output) = (
        number("input_tokens"),
        number("cached_input_tokens"),
        number("output_tokens"),
    );
    assert!(input > 0 && output > 0 && cached < input, "{chat}");
    let cost = (4 * (input - cached) + cached + 12 * output).div_ceil(4);
    assert_eq!(chat["cost"], cost, "{chat}");
    cost
}

async fn newest_chat(system: &System, ada: &Account) -> Value {
    let history = system.send(Request::get("/api/v1/chats").bearer(&ada.access)).await;
    history.expect_status(200).body["data"][0].clone()
}

/// A deployment whose model is this server, and whose answers are short, because the model is not fast.
async fn start(model: &LlamaServer, more: &[(&str, &str)]) -> System {
    let mut overrides = vec![
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", model.base_url.as_str()),
        ("MODEL_NAME", LlamaServer::MODEL),
        ("MODEL_MAX_OUTPUT_TOKENS", "24"),
    ];
    overrides.extend_from_slice(more);
    System::start_with(&overrides).await
}

async fn send(system: &System, account: &Account, message: &str, key: &str) -> Reply {
    let request = Request::post("/api/v1/chats", &json!({"message": message}));
    let request = request.header("Idempotency-Key", key).bearer(&account.access);
    system.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_in_every_form_and_is_paid_by_what_it_used() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = start(&model, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let (mut balance, mut cached) = (4000, 0);
    // What was read before is read faster.
    for form in FORMS.into_iter().cycle().take(8) {
        let reply = system
            .send(ask(&ada, form, "What is a ledger?"))
            .await
            .expect_status(200);
        let chat = newest_chat(&system, &ada).await;
        println!("{form:?}: {}", chat["usage"]);
        assert_eq!(chat["usage"]["estimated"], false);
        assert!(
            ["stop", "length"].contains(&chat["finish_reason"].as_str().unwrap()),
            "{chat}"
        );
        balance -= fair_cost(&chat);
        cached += chat["usage"]["cached_input_tokens"].as_u64().unwrap();
        // What the client was told is what is kept.
        let mut told = vec![reply.body.clone()];
        told.extend(ToldEvent::all(&reply.text).into_iter().map(|event| event.data));
        let find = |pointer: &str| {
            told.iter()
                .find_map(|told| told.pointer(pointer).filter(|found| !found.is_null()))
        };
        let said: String = match form {
            ("/api/v1/chats", _) => find("/chat/response").unwrap().as_str().unwrap().to_owned(),
            ("/v1/chat/completions", false) => {
                let content = find("/choices/0/message/content");
                content.unwrap().as_str().unwrap().to_owned()
            }
            _ => {
                let words = told.iter().map(|told| {
                    told["delta"]
                        .as_str()
                        .or(told["choices"][0]["delta"]["content"].as_str())
                });
                words.flatten().collect()
            }
        };
        assert_eq!(chat["response"], said);
        assert!(!said.trim().is_empty(), "{chat}");
        let usage = if form.0.starts_with("/api") {
            assert_eq!(find("/chat/id"), Some(&chat["id"]));
            assert_eq!(find("/chat/usage"), Some(&chat["usage"]));
            assert_eq!(find("/token_balance"), Some(&json!(balance)));
            continue;
        } else {
            find("/usage").unwrap()
        };
        assert_eq!((&usage["cost"], &usage["balance"]), (&chat["cost"], &json!(balance)));
        assert_eq!(usage["prompt_tokens"], chat["usage"]["input_tokens"]);
        assert_eq!(usage["completion_tokens"], chat["usage"]["output_tokens"]);
    }
    assert!(cached > 0, "what was read before is charged as such");
    assert_eq!(system.balance(&ada).await, balance);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_reads_what_was_said_before_and_is_paid_for_that() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = start(&model, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let (mut conversation, mut read, mut balance) = (json!("new"), 0, 4000);
    for message in ["What is a ledger?", "And what is a balance?", "Thank you."] {
        let body = json!({"message": message, "conversation_id": conversation});
        let reply = system
            .send(Request::post("/api/v1/chats", &body).bearer(&ada.access))
            .await;
        let chat = &reply.expect_status(200).body["chat"];
        balance -= fair_cost(chat);
        let input = chat["usage"]["input_tokens"].as_u64().unwrap();
        assert!(input > read, "{chat}");
        // The answer goes with the next message.
        read = input + chat["usage"]["output_tokens"].as_u64().unwrap();
        conversation = chat["conversation_id"].clone();
    }
    assert_eq!(system.balance(&ada).await, balance);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_words_of_a_real_model_are_here_while_it_is_at_work() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = Arc::new(start(&model, &[("MODEL_MAX_OUTPUT_TOKENS", "128")]).await);
    let ada = system.account("ada").await;
    let site = Site::new(system.serve().await, system.client.clone(), &system.table);
    for form in FORMS.into_iter().filter(|(_, streams)| *streams) {
        let request = ask(&ada, form, "Write an essay about the history of accounting.");
        let (events, gap, at_work) = site.hear(&request, model.busy()).await;
        println!("{form:?}: {} events, first words {gap:?} before the last", events.len());
        assert_eq!(at_work, 1);
        assert!(gap > Duration::from_millis(50), "{gap:?}");
    }
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_goes_on_for_a_client_that_has_left_and_is_paid() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let more = [("MODEL_PRICES", PRICES), ("MODEL_MAX_OUTPUT_TOKENS", "128")];
    let system = Arc::new(start(&model, &more).await);
    let ada = system.account("ada").await;
    let site = Site::new(system.serve().await, system.client.clone(), &system.table);
    let mut balance = 4000;
    for form in FORMS.into_iter().filter(|(_, streams)| *streams) {
        let request = ask(&ada, form, "Write an essay about the history of accounting.");
        let mut streaming = site.stream(&request).await;
        assert_eq!(streaming.status, 200);
        streaming.next().await.expect("its first words");
        drop(streaming);
        assert_eq!(model.busy().await, 1);
        system.wait_for_holds("ada", 0).await;
        let chat = newest_chat(&system, &ada).await;
        assert!(
            ["stop", "length"].contains(&chat["finish_reason"].as_str().unwrap()),
            "{chat}"
        );
        assert!(chat["usage"]["output_tokens"].as_u64() > Some(10), "{chat}");
        balance -= fair_cost(&chat);
        assert_eq!(system.balance(&ada).await, balance);
        system.check_ledger("ada").await;
    }
    assert_eq!(model.cancelled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_stops_when_the_function_is_killed_and_nothing_is_paid() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let more = [
        ("MODEL_PRICES", PRICES),
        ("MODEL_MAX_OUTPUT_TOKENS", "900"),
        ("HOLD_LEASE_SECONDS", "3"),
    ];
    let system = start(&model, &more).await;
    let ada = system.account("ada").await;
    let mut streaming = system
        .stream(ask(&ada, FORMS[1], "Write an essay about the history of accounting."))
        .await;
    streaming.next().await.expect("its first words");
    system.kill("chats-stream").await;
    model.wait_for_cancelled(1).await;
    model.wait_for_busy(0).await;
    system.check_ledger("ada").await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_is_told_what_a_real_model_said_and_does_not_ask_it_again() {
    // It would hardly say the same again.
    let Some(model) = LlamaServer::start(&["--temp", "1.5"]).await else {
        return;
    };
    let system = start(&model, &[]).await;
    let ada = system.account("ada").await;
    let first = send(&system, &ada, "Tell me a story.", "k").await.expect_status(200);
    let again = send(&system, &ada, "Tell me a story.", "k").await.expect_status(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body["chat"], first.body["chat"]);
    assert_eq!(system.balance(&ada).await, first.body["token_balance"]);
    let other = send(&system, &ada, "Tell me a story.", "another")
        .await
        .expect_status(200);
    assert_ne!(other.body["chat"]["response"], first.body["chat"]["response"]);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_real_model_has_no_room_for_is_refused_and_free() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = start(&model, &[("MODEL_PRICES", PRICES)]).await;
    let ada = system.account("ada").await;
    let long = "word ".repeat(1500);
    for form in FORMS {
        let refused = system.send(ask(&ada, form, long.trim())).await;
        refused.expect_error(400, "context_length_exceeded");
        system.wait_for_holds("ada", 0).await;
        assert_eq!(system.balance(&ada).await, 4000, "{form:?}");
    }
    send(&system, &ada, long.trim(), "k")
        .await
        .expect_error(400, "context_length_exceeded");
    send(&system, &ada, "Say hello.", "k").await.expect_status(200);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_more_at_once_than_it_has_slots_and_each_is_charged() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = start(&model, &[]).await;
    for _ in 0..5 {
        system.spawn("chats-send");
    }
    let ada = system.account("ada").await;
    let messages = ["one", "two", "three", "four", "five"].map(|word| format!("Tell me about {word}."));
    let replies = futures_util::future::join_all(messages.iter().map(|message| system.chat(&ada, message))).await;
    let charged: u64 = replies
        .into_iter()
        .map(|reply| reply.expect_status(200).body["chat"]["cost"].as_u64().unwrap())
        .sum();
    assert_eq!(system.balance(&ada).await, 4000 - charged);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_that_does_not_take_the_key_costs_nothing_and_the_key_stays_secret() {
    let Some(model) = LlamaServer::start(&["--api-key", "the-right-key"]).await else {
        return;
    };
    let wrong = start(&model, &[("OPENAI_API_KEY", "sk-a-wrong-provider-key")]).await;
    let ada = wrong.account("ada").await;
    let refused = wrong.chat(&ada, "Say hello.").await.expect_error(502, "model_failed");
    assert!(!refused.text.contains("Invalid API Key"), "{}", refused.text);
    assert_eq!(wrong.balance(&ada).await, 4000);
    wrong.check_ledger("ada").await;
    assert!(!wrong.logs().join("\n").contains("sk-a-wrong-provider-key"));
    let right = start(&model, &[("OPENAI_API_KEY", "the-right-key")]).await;
    let ada = right.account("ada").await;
    right.chat(&ada, "Say hello.").await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_real_model_that_dies_in_the_middle_of_an_answer_only_what_was_heard_is_paid() {
    for form in FORMS {
        let Some(mut model) = LlamaServer::start(&[]).await else {
            return;
        };
        let more = [("MODEL_PRICES", PRICES), ("MODEL_MAX_OUTPUT_TOKENS", "900")];
        let system = start(&model, &more).await;
        let ada = system.account("ada").await;
        let request = ask(&ada, form, "Write an essay about the history of accounting.");
        if form.1 {
            let mut streaming = system.stream(request).await;
            let first = streaming.next().await.expect("its first words");
            model.kill().await;
            let events = streaming.rest().await;
            let last = &events.last().unwrap_or(&first).data;
            let chat = newest_chat(&system, &ada).await;
            assert_eq!(
                (&chat["finish_reason"], &chat["usage"]["estimated"]),
                (&json!("interrupted"), &json!(true))
            );
            // Libraries raise an error; our own clients are told what there is.
            let told = [last.pointer("/chat/finish_reason"), last.pointer("/error/code")];
            assert!(
                matches!(
                    told.map(|told| told.and_then(Value::as_str)),
                    [Some("interrupted"), None] | [None, Some("model_failed")]
                ),
                "{last}"
            );
            assert_eq!(system.balance(&ada).await, 4000 - fair_cost(&chat));
        } else {
            let kill = async {
                model.wait_for_busy(1).await;
                model.kill().await;
            };
            let (reply, ()) = tokio::join!(system.send(request), kill);
            reply.expect_error(502, "model_failed");
            system.wait_for_holds("ada", 0).await;
            assert_eq!(system.balance(&ada).await, 4000);
        }
        system.check_ledger("ada").await;
    }
}

/// The programs that use the SDKs must be right about a server that is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn openais_sdks_and_a_real_model_understand_each_other() {
    let Some(model) = LlamaServer::start(&["--temp", "0"]).await else {
        return;
    };
    let variables = [
        ("OPENAI_BASE_URL", model.base_url.as_str()),
        ("OPENAI_API_KEY", "none"),
        ("CLIENT_MODEL", LlamaServer::MODEL),
    ];
    for sdk in Sdk::ALL {
        let mut said: Vec<Value> = Vec::new();
        for scenario in ["models", "history", "chat", "stream", "stream-usage"] {
            let Some(one) = sdk.run(scenario, &variables).await else {
                return;
            };
            assert_eq!(one["requests"], 1, "{one}");
            said.push(one);
        }
        let [.., chat, stream, with_usage] = said.as_slice() else {
            unreachable!()
        };
        assert_eq!((&stream["text"], &with_usage["text"]), (&chat["text"], &chat["text"]));
        assert!(stream["pieces"].as_u64() > Some(1), "{stream}");
        for count in ["prompt_tokens", "completion_tokens"] {
            assert_eq!(chat[count], with_usage[count]);
        }
        let (before, mut leaving) = (model.cancelled(), variables.to_vec());
        leaving.push(("CLIENT_MESSAGE", "Write an essay about the history of accounting."));
        sdk.run("leave", &leaving).await.unwrap();
        model.wait_for_cancelled(before + 1).await;
        model.wait_for_busy(0).await;
    }
}
