//! The key of a provider, as Secrets Manager keeps it: read at the start, read again when it is refused, and never printed.

use std::time::Duration;

use serde_json::json;

use crate::support::{ModelServer, Request, SecretServer, Stored, System};

const NAME: &str = "prod/provider-key";

async fn start(model: &ModelServer, secrets: &SecretServer) -> System {
    System::start_with(&[
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", &model.base_url),
        ("OPENAI_API_KEY_SECRET", NAME),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url),
        ("MODEL_NAME", "stub"),
    ])
    .await
}

/// The keys that the model was asked with.
fn keys(model: &ModelServer) -> Vec<String> {
    let asked = model.take_asked().into_iter();
    asked
        .map(|(headers, _)| headers["authorization"].to_str().unwrap().replace("Bearer ", ""))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_asked_with_the_key_in_its_secret_which_is_read_once() {
    let (model, secrets) = (ModelServer::start().await, SecretServer::start().await);
    for secret in [
        "sk-a-key-of-a-provider\n",
        r#"{"owner": "me", "api_key": "sk-a-key-of-a-provider"}"#,
    ] {
        secrets.store_text(NAME, secret);
        let system = start(&model, &secrets).await;
        system.keep_secret("sk-a-key-of-a-provider");
        let ada = system.account("ada").await;
        for _ in 0..3 {
            system.chat(&ada, "hello").await.expect_status(200);
        }
        let streamed = Request::post("/api/v1/chats/stream", &json!({"message": "hello"})).bearer(&ada.access);
        system.send(streamed).await.expect_status(200);
        assert_eq!(keys(&model), ["sk-a-key-of-a-provider"; 4]);
        assert_eq!(secrets.take_asked(), [NAME; 2], "once for each of two functions");
        system.check_ledger("ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_is_taken_up_by_the_call_that_finds_out() {
    let (model, secrets) = (ModelServer::start().await, SecretServer::start().await);
    secrets.store_text(NAME, "sk-the-first-key");
    model.want_key("sk-the-first-key");
    let system = start(&model, &secrets).await;
    for key in ["sk-the-first-key", "sk-the-second-key", "sk-the-third-key"] {
        system.keep_secret(key);
    }
    let ada = system.account("ada").await;
    system.chat(&ada, "hello").await.expect_status(200);
    secrets.store_text(NAME, "sk-the-second-key");
    model.want_key("sk-the-second-key");
    system.chat(&ada, "hello").await.expect_status(200);
    system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(
        keys(&model),
        [
            "sk-the-first-key",
            "sk-the-first-key",
            "sk-the-second-key",
            "sk-the-second-key"
        ]
    );
    assert_eq!(secrets.take_asked().len(), 2);
    assert_eq!(system.balance(&ada).await, 3700);
    // Twice within a minute is once too often; a function that starts reads it all the same.
    secrets.store_text(NAME, "sk-the-third-key");
    model.want_key("sk-the-third-key");
    system.chat(&ada, "hello").await.expect_error(502, "model_failed");
    assert_eq!(secrets.take_asked().len(), 0);
    system.kill("chats-send").await;
    system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3600);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stays_wrong_costs_nothing_and_its_secret_is_read_again_once() {
    let (model, secrets) = (ModelServer::start().await, SecretServer::start().await);
    secrets.store_text(NAME, "sk-a-wrong-key");
    model.want_key("sk-the-right-key");
    let system = start(&model, &secrets).await;
    system.keep_secret("sk-a-wrong-key");
    let ada = system.account("ada").await;
    for round in 0..3 {
        system.chat(&ada, "hello").await.expect_error(502, "model_failed");
        assert_eq!(keys(&model), ["sk-a-wrong-key"]);
        assert_eq!(
            secrets.take_asked().len(),
            if round == 0 { 2 } else { 0 },
            "round {round}"
        );
        // What cannot be read any more leaves the key that there was.
        secrets.forget(NAME);
    }
    system.wait_for_holds("ada", 0).await;
    assert_eq!(system.balance(&ada).await, 4000);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_read_again_leaves_the_key_that_there_was() {
    let (model, secrets) = (ModelServer::start().await, SecretServer::start().await);
    secrets.store_text(NAME, "sk-the-only-key");
    let system = start(&model, &secrets).await;
    system.keep_secret("sk-the-only-key");
    let ada = system.account("ada").await;
    system.chat(&ada, "hello").await.expect_status(200);
    secrets.store(NAME, Stored::Denied);
    model.want_key("sk-another-key");
    system.chat(&ada, "hello").await.expect_error(502, "model_failed");
    assert_eq!(secrets.take_asked().len(), 2);
    // It was the provider's mistake.
    model.want_key("sk-the-only-key");
    system.chat(&ada, "hello").await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3800);
    assert!(system.logs().join("\n").contains("AccessDeniedException"));
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_no_key_stops_the_start_and_is_named() {
    let (model, secrets) = (ModelServer::start().await, SecretServer::start().await);
    for (secret, word) in [
        (None, "ResourceNotFoundException"),
        (Some(Stored::Denied), "AccessDeniedException"),
        (Some(Stored::Bytes("c2stdGhlLWtleQ==")), "not a text"),
        (
            Some(Stored::Text(r#"{"key": "sk-the-key-elsewhere"}"#.into())),
            "`api_key`",
        ),
        (Some(Stored::Text("sk-a-key with a space".into())), "no key"),
    ] {
        secrets.forget(NAME);
        if let Some(secret) = secret {
            secrets.store(NAME, secret);
        }
        let system = start(&model, &secrets).await;
        for secret in ["c2stdGhlLWtleQ==", "sk-the-key-elsewhere", "sk-a-key with a space"] {
            system.keep_secret(secret);
        }
        stops(&system, &["OPENAI_API_KEY_SECRET", NAME, word]).await;
    }
    let system = start(&model, &secrets).await;
    system.override_variable("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9");
    stops(&system, &["OPENAI_API_KEY_SECRET", NAME, "no answer"]).await;
    let system = start(&model, &secrets).await;
    system.override_variable("OPENAI_API_KEY", "sk-a-key-beside-it");
    system.keep_secret("sk-a-key-beside-it");
    stops(&system, &["OPENAI_API_KEY_SECRET", "beside OPENAI_API_KEY"]).await;
}

/// Checks that the function does not start, and says this.
async fn stops(system: &System, words: &[&str]) {
    assert!(system.invoke("chats-send", json!({})).await.is_none());
    for _ in 0..100 {
        let said = system.logs().join("\n");
        if words.iter().all(|word| said.contains(word)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{words:?} are not in {:#?}", system.logs());
}
