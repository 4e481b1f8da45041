//! Register, log in, chat and read the token balance: four endpoints with JWTs, and no refresh.

use serde_json::{Value, json};

use super::{is_jwt, is_utc};
use crate::support::{Request, System};

pub async fn client(system: &System, name: &str) {
    let username = format!("{name}-your_username");
    let credentials = json!({"username": username, "password": "your_password_1"});

    // User registration
    let register = Request::post("/api/register/", &credentials);
    let registered = system.send(register.clone()).await.expect_status(201);
    assert_eq!(registered.body["message"], "User registered successfully");
    system.send(register).await.expect_status(400);

    // User login
    let login = system.send(Request::post("/api/login/", &credentials)).await;
    let login = login.expect_status(200);
    let access = login.text_of("access");
    assert!(is_jwt(&access) && is_jwt(&login.text_of("refresh")));

    // Chat with AI
    let chat = Request::post("/api/chat/", &json!({"message": "Hello AI"}));
    let reply = system.send(chat.clone().bearer(&access)).await.expect_status(200);
    assert_eq!(reply.body["user"], registered.body["user"]["id"]);
    assert_ne!(reply.body["user"], Value::Null);
    assert_eq!(reply.body["message"], "Hello AI");
    assert_eq!(reply.body["response"], "AI Response to: Hello AI");
    assert!(is_utc(&reply.text_of("timestamp")));

    // Token balance
    let tokens = Request::get("/api/tokens/");
    let reply = system.send(tokens.clone().bearer(&access)).await.expect_status(200);
    assert_eq!(reply.body["tokens"], 3900);
    system.send(chat.clone().bearer(&access)).await.expect_status(200);
    let reply = system.send(tokens.clone().bearer(&access)).await.expect_status(200);
    assert_eq!(reply.body["tokens"], 3800, "each question costs 100");

    // What its author ran into: an Authorization header that is missing or misses the word Bearer, and a token that is
    // none.
    for request in [chat, tokens] {
        let not_given = "Authentication credentials were not provided.";
        let reply = system.send(request.clone()).await.expect_status(401);
        assert_eq!(reply.body["detail"], not_given);
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
        let bare = request.clone().header("Authorization", &access);
        let reply = system.send(bare).await.expect_status(401);
        assert_eq!(reply.body["detail"], not_given);
        let reply = system.send(request.bearer("not-a-token")).await.expect_status(401);
        assert_eq!(reply.body["detail"], "Given token not valid for any token type");
        assert_eq!(reply.body["code"], "token_not_valid");
    }
    system.check_ledger(&username.to_lowercase()).await;
}
