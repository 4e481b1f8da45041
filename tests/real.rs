//! A real model answers: a small one, on this machine. Structure, charges and refusals are looked at, never its words.
//!
//! Needs the programs of `tests/support/rigs.rs`.

use serde_json::{Value, json};

use crate::support::{Account, LlamaServer, Reply, Request, Sdk, System};

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
async fn a_real_model_answers_and_the_answer_is_charged_and_kept() {
    let Some(model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = start(&model, &[]).await;
    let ada = system.account("ada").await;
    let reply = system.chat(&ada, "What is a ledger?").await.expect_status(200);
    let chat = &reply.body["chat"];
    assert!(
        chat["response"].as_str().is_some_and(|text| !text.trim().is_empty()),
        "{chat}"
    );
    assert_eq!(chat["model"], LlamaServer::MODEL);
    let charged = chat["cost"].as_u64().unwrap();
    assert_eq!(reply.body["token_balance"], 4000 - charged);
    let history = system.send(Request::get("/api/v1/chats").bearer(&ada.access)).await;
    let kept = &history.expect_status(200).body["data"][0];
    assert_eq!((&kept["id"], &kept["response"]), (&chat["id"], &chat["response"]));
    assert_eq!(system.balance(&ada).await, 4000 - charged);
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
    let system = start(&model, &[]).await;
    let ada = system.account("ada").await;
    let long = "word ".repeat(1500);
    let refused = send(&system, &ada, long.trim(), "k").await;
    refused.expect_error(400, "context_length_exceeded");
    assert_eq!(system.balance(&ada).await, 4000);
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
async fn a_real_model_that_dies_in_the_middle_of_an_answer_costs_nothing() {
    let Some(mut model) = LlamaServer::start(&[]).await else {
        return;
    };
    let system = start(&model, &[("MODEL_MAX_OUTPUT_TOKENS", "900")]).await;
    let ada = system.account("ada").await;
    let story = "Write an essay about the history of accounting.";
    let kill = async {
        model.wait_for_busy(1).await;
        model.kill().await;
    };
    let (reply, ()) = tokio::join!(system.chat(&ada, story), kill);
    reply.expect_error(502, "model_failed");
    system.wait_for_holds("ada", 0).await;
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
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
