//! The v1 API: users, login and logout, a token balance, chats, and refresh tokens that are replaced each time they are
//! used.

use serde_json::json;

use super::{is_jwt, is_utc, leave_50_tokens};
use crate::support::{Account, Request, System};

pub async fn client(system: &System, name: &str) {
    let username = format!("{name}-Client");
    let credentials = json!({"username": username, "password": "correct horse battery"});
    let refuses_strangers = async |request: Request| {
        let reply = system.send(request).await.expect_status(401);
        assert_eq!(reply.body["detail"], "Authentication credentials were not provided.");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
    };

    // api/v1/users/
    let sign_up = Request::post("/api/v1/users/", &credentials);
    let reply = system.send(sign_up.clone()).await.expect_status(201);
    assert_eq!(reply.body["status"], "success");
    assert_eq!(reply.body["message"], "User Account created");
    assert_eq!(reply.body["data"]["username"], username);
    assert_eq!(reply.body["data"]["token"], 4000);
    let taken = system.send(sign_up).await.expect_status(400);
    assert_eq!(taken.body["status"], "An error occurred");
    assert_eq!(taken.body["error"], "Username already exists");

    // api/v1/users/all/ refuses strangers; with a token it follows below.
    refuses_strangers(Request::get("/api/v1/users/all/")).await;

    // api/v1/users/login/
    let log_in = Request::post("/api/v1/users/login/", &credentials);
    let first = system.send(log_in.clone()).await.expect_status(200);
    assert_eq!(first.body["status"], "200");
    assert_eq!(first.body["message"], "Login successful");
    assert_eq!(first.body["username"], username);
    assert!(is_jwt(&first.text_of("access")) && is_jwt(&first.text_of("refresh")));
    let wrong = json!({"username": username, "password": "wrong horse battery"});
    let reply = system.send(Request::post("/api/v1/users/login/", &wrong)).await;
    let reply = reply.expect_status(401);
    assert_eq!(reply.body["status"], "401");
    assert_eq!(reply.body["message"], "Invalid Credentials");

    let all = Request::get("/api/v1/users/all/").bearer(&first.text_of("access"));
    let all = system.send(all).await.expect_status(200);
    assert_eq!(all.body["message"], "All Users retrieved");
    assert_eq!(all.body["status"], "success");
    let listed = all.body["data"].as_array().unwrap();
    assert!(listed.contains(&json!({"username": username})), "{}", all.text);

    // api/v1/users/logout/
    let log_out = |refresh: &str| Request::post("/api/v1/users/logout/", &json!({"refresh": refresh}));
    refuses_strangers(log_out(&first.text_of("refresh"))).await;
    let bad = log_out("not-a-token").bearer(&first.text_of("access"));
    let bad = system.send(bad).await.expect_status(400);
    assert_eq!(bad.body["status"], "error");
    assert_eq!(bad.body["message"], "Invalid or expired refresh token");
    let out = log_out(&first.text_of("refresh")).bearer(&first.text_of("access"));
    let out = system.send(out).await.expect_status(200);
    assert_eq!(out.body["status"], "success");
    assert_eq!(out.body["message"], "Logged out successfully");

    // api/v1/users/token-balance/, after another login
    let second = system.send(log_in).await.expect_status(200);
    let balance = Request::get("/api/v1/users/token-balance/");
    refuses_strangers(balance.clone()).await;
    let reply = system.send(balance.clone().bearer(&second.text_of("access"))).await;
    let reply = reply.expect_status(200);
    assert_eq!(reply.body["status"], "success");
    assert_eq!(reply.body["message"], "Token balance");
    assert_eq!(reply.body["username"], username);
    assert_eq!(reply.body["token_balance"], 4000);

    // api/v1/chats/
    let chat = Request::post("/api/v1/chats/", &json!({"message": "Hello AI"}));
    refuses_strangers(chat.clone()).await;
    let chat = chat.bearer(&second.text_of("access"));
    let reply = system.send(chat.clone()).await.expect_status(200);
    assert_eq!(reply.body["status"], "success");
    assert_eq!(reply.body["message"], "New Chats record");
    assert_eq!(reply.body["user_account"], username);
    assert_eq!(reply.body["chat"]["message"], "Hello AI");
    assert_eq!(reply.body["chat"]["response"], "AI Response to: Hello AI");
    assert!(is_utc(reply.body["chat"]["timestamp"].as_str().unwrap()));
    let account = Account {
        username: username.clone(),
        password: "correct horse battery".into(),
        access: second.text_of("access"),
        refresh: second.text_of("refresh"),
    };
    leave_50_tokens(system, &account, 100).await;
    let short = system.send(chat).await.expect_status(402);
    assert_eq!(short.body["status"], "error");
    assert_eq!(short.body["message"], "Insufficient tokens");

    // api/v1/token/refresh/, and the path of its example, api/v1/users/refresh/
    let mut refresh = account.refresh.clone();
    for path in ["/api/v1/token/refresh/", "/api/v1/users/refresh/"] {
        let pair = system.send(Request::post(path, &json!({"refresh": refresh}))).await;
        let pair = pair.expect_status(200);
        assert_ne!(pair.text_of("refresh"), refresh, "each use replaces the refresh token");
        refresh = pair.text_of("refresh");
        let reply = system.send(balance.clone().bearer(&pair.text_of("access"))).await;
        assert_eq!(reply.expect_status(200).body["token_balance"], 50);
        let missing = system.send(Request::post(path, &json!({}))).await.expect_status(400);
        assert_eq!(missing.body["error"], "Refresh token is required");
        for dead in ["not-a-token", &first.text_of("refresh")] {
            let reply = system.send(Request::post(path, &json!({"refresh": dead}))).await;
            let reply = reply.expect_status(401);
            assert_eq!(reply.body["detail"], "Token is invalid or expired");
            assert_eq!(reply.body["code"], "token_not_valid");
        }
    }
    let replaced = Request::post("/api/v1/token/refresh/", &json!({"refresh": account.refresh}));
    system.send(replaced).await.expect_status(401);
    system.check_ledger(&username.to_lowercase()).await;
}
