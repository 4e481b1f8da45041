//! DRF's Token scheme: one opaque key per user, the same at register and at every login, sent as `Authorization: Token
//! <key>`; 402 when the balance is short.

use serde_json::{Value, json};

use super::{is_utc, leave_50_tokens};
use crate::support::{Account, Request, System};

pub async fn client(system: &System, name: &str) {
    let username = format!("{name}-newuser");
    let password = "strongpassword123";
    let post = |path: &str, body: Value| system.send(Request::post(path, &body));

    // User registration
    let registration = json!({"username": username, "password": password, "email": "user@example.com"});
    let registered = post("/api/register/", registration.clone()).await.expect_status(201);
    assert_eq!(registered.body["message"], "User registered successfully");
    assert_eq!(registered.body["user"]["email"], "user@example.com");
    let key = registered.text_of("token");
    assert_eq!(key.len(), 40);
    assert!(
        key.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')),
        "40 lower-case hex digits"
    );
    post("/api/register/", registration).await.expect_status(400);

    // User login
    for _ in 0..2 {
        let login = post("/api/login/", json!({"username": username, "password": password})).await;
        assert_eq!(login.expect_status(200).text_of("token"), key, "one user has one key");
    }
    let wrong = json!({"username": username, "password": "weakpassword123"});
    post("/api/login/", wrong).await.expect_status(400);

    // Chat interaction
    let with = |request: Request, authorization: &str| request.header("Authorization", authorization);
    let by_token = format!("Token {key}");
    let question = "Hello, how does this work?";
    let chat = Request::post("/api/chat/", &json!({"message": question}));
    let reply = system.send(with(chat.clone(), &by_token)).await.expect_status(200);
    assert_eq!(reply.body["message"], question);
    assert_eq!(reply.body["response"], format!("AI Response to: {question}"));
    assert!(is_utc(&reply.text_of("timestamp")));

    // Token balance
    let balance = Request::get("/api/token-balance/");
    let reply = system.send(with(balance.clone(), &by_token)).await.expect_status(200);
    assert_eq!(reply.body, json!({"tokens": 3900}));

    // A short balance
    let account = Account {
        username: username.clone(),
        password: password.into(),
        access: registered.text_of("access"),
        refresh: registered.text_of("refresh"),
    };
    leave_50_tokens(system, &account, 100).await;
    let short = system.send(with(chat.clone(), &by_token)).await.expect_status(402);
    assert_eq!(short.body["error"], "Insufficient tokens");
    let reply = system.send(with(balance.clone(), &by_token)).await.expect_status(200);
    assert_eq!(reply.body["tokens"], 50, "what is refused costs nothing");

    // Both endpoints require the key, a right one.
    let unknown = format!("Token {}", "0123456789".repeat(4));
    for request in [chat, balance] {
        let reply = system.send(request.clone()).await.expect_status(401);
        assert_eq!(reply.body["detail"], "Authentication credentials were not provided.");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
        let refusals = [
            (unknown.as_str(), "Invalid token."),
            ("Token", "Invalid token header. No credentials provided."),
        ];
        for (authorization, detail) in refusals {
            let reply = system
                .send(with(request.clone(), authorization))
                .await
                .expect_status(401);
            assert_eq!(reply.body["detail"], detail);
            assert_eq!(reply.header("www-authenticate"), "Token");
        }
    }
    system.check_ledger(&username.to_lowercase()).await;
}
