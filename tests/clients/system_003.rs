//! A browser's API on another origin: CORS on every answer, and 400 for everything that falls short, a wrong password
//! and an empty balance included.

use serde_json::{Value, json};

use super::{is_jwt, is_utc, leave_50_tokens};
use crate::support::{Account, Request, System};

const ORIGIN: &str = "https://app.example";

pub async fn client(system: &System, name: &str) {
    let username = format!("{name}-string");
    let credentials = |password: &str| json!({"username": username, "password": password});
    let send = async |request: Request| {
        let reply = system.send(request.header("Origin", ORIGIN)).await;
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(!reply.headers.contains_key("access-control-allow-credentials"));
        reply
    };
    let post = |path: &str, body: Value| send(Request::post(path, &body));

    // User registration
    let registered = post("/api/register/", credentials("string of words")).await;
    let registered = registered.expect_status(201);
    assert_eq!(registered.body["message"], "User registered successfully");
    let taken = post("/api/register/", credentials("another string")).await;
    assert_eq!(taken.expect_status(400).body["error"], "Username already exists");

    // User login
    let login = post("/api/login/", credentials("string of words"))
        .await
        .expect_status(200);
    assert!(is_jwt(&login.text_of("access")) && is_jwt(&login.text_of("refresh")));
    let refused = post("/api/login/", credentials("another string"))
        .await
        .expect_status(400);
    assert_eq!(refused.body["error"], "Invalid credentials");
    let account = Account {
        username: username.clone(),
        password: "string of words".into(),
        access: login.text_of("access"),
        refresh: login.text_of("refresh"),
    };

    // Chat API: the browser asks first whether it may, then sends the message.
    if system.answers_preflights() {
        let preflight = Request::new("OPTIONS", "/api/chat/")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type");
        let preflight = send(preflight).await.expect_status(204);
        let methods = preflight.header("access-control-allow-methods");
        assert!(methods.split(',').any(|method| method.trim() == "POST"), "{methods}");
        let headers = preflight.header("access-control-allow-headers");
        for wanted in ["Authorization", "Content-Type"] {
            let mut allowed = headers.split(',').map(str::trim);
            assert!(allowed.any(|header| header.eq_ignore_ascii_case(wanted)), "{headers}");
        }
    }

    let balance = async || {
        let tokens = Request::get("/api/tokens/").bearer(&account.access);
        send(tokens).await.expect_status(200).body["tokens"].clone()
    };
    let chat = |body: Value| send(Request::post("/api/chat/", &body).bearer(&account.access));
    for without_message in [json!({}), json!({"message": ""})] {
        let reply = chat(without_message).await.expect_status(400);
        assert_eq!(reply.body["error"], "Message is required");
    }
    assert_eq!(balance().await, 4000, "what is refused costs nothing");
    let reply = chat(json!({"message": "string"})).await.expect_status(200);
    assert_eq!(reply.body["user"], registered.body["user"]["id"]);
    assert!(!reply.text_of("user").is_empty());
    assert_eq!(reply.body["message"], "string");
    assert_eq!(reply.body["response"], "AI Response to: string");
    assert!(is_utc(&reply.text_of("timestamp")));
    assert_eq!(balance().await, 3900);
    leave_50_tokens(system, &account, 100).await;
    let short = chat(json!({"message": "string"})).await.expect_status(400);
    assert_eq!(short.body["error"], "Insufficient tokens");

    // Token balance API
    assert_eq!(balance().await, 50);

    // A page on another origin can read the refusals too.
    for request in [
        Request::get("/api/tokens/"),
        Request::post("/api/chat/", &json!({"message": "string"})),
    ] {
        let reply = send(request).await.expect_status(401);
        assert_eq!(reply.body["detail"], "Authentication credentials were not provided.");
    }
    system.check_ledger(&username.to_lowercase()).await;
}
