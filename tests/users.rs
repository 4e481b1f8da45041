//! `/api/v1/users…`: sign-up, login, the list, the balance, the profile.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Request, System};

fn credentials(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password})
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_gives_4000_tokens_and_says_so() {
    let system = System::start().await;
    let request = Request::post("/api/v1/users/", &credentials("Ada", "correct horse battery"));
    let reply = system.send(request).await.expect_status(201);
    let expected =
        json!({"status": "success", "message": "User Account created", "data": {"username": "Ada", "token": 4000}});
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("cache-control"), "no-store");
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_taken_name_is_taken() {
    let system = System::start().await;
    system.account("Admin").await;
    for spelling in ["Admin", "admin", "ADMIN", "ＡＤＭＩＮ", "ａｄｍｉｎ", "ⓐdmin"] {
        let reply = system
            .send(Request::post(
                "/api/v1/users",
                &credentials(spelling, "another password"),
            ))
            .await;
        let reply = reply.expect_error(400, "username_taken");
        assert_eq!(reply.body["status"], "An error occurred");
        assert_eq!(reply.body["error"], "Username already exists");
    }
    // The password is still the first one's, and any spelling logs in.
    system.login("ａｄｍｉｎ", "correct horse battery").await;
    let reply = system
        .send(Request::post(
            "/api/v1/users/login",
            &credentials("admin", "another password"),
        ))
        .await;
    reply.expect_error(401, "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_sign_ups_for_one_name_make_one_account() {
    let system = System::start().await;
    for _ in 0..4 {
        system.spawn("users-register");
    }
    let spellings = ["grace", "Grace", "GRACE", "ｇｒａｃｅ"];
    let sign_up = async |index: usize| {
        let body = credentials(spellings[index % 4], &format!("password of {index}"));
        system.send(Request::post("/api/v1/users", &body)).await
    };
    let replies = join_all((0..16).map(sign_up)).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 400).count(), 15);
    system.check_ledger("grace").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_tokens_and_a_wrong_one_does_not_say_what_is_wrong() {
    let system = System::start().await;
    system.account("ada").await;
    let login =
        |username, password| system.send(Request::post("/api/v1/users/login/", &credentials(username, password)));
    let reply = login("ada", "correct horse battery").await.expect_status(200);
    assert_eq!(reply.body["status"], "200");
    assert_eq!(reply.body["message"], "Login successful");
    assert_eq!(reply.body["username"], "ada");
    assert_eq!(reply.header("cache-control"), "no-store");
    let wrong = login("ada", "wrong horse battery")
        .await
        .expect_error(401, "invalid_credentials");
    let unknown = login("nobody", "correct horse battery")
        .await
        .expect_error(401, "invalid_credentials");
    let impossible = login("no#body/../\u{0}", "correct horse battery")
        .await
        .expect_error(401, "invalid_credentials");
    for reply in [&wrong, &unknown, &impossible] {
        assert_eq!(reply.body["status"], "401");
        assert_eq!(reply.body["message"], "Invalid Credentials");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_user_cannot_log_in_and_their_tokens_stop_working() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system
        .set(&ada, "active", aws_sdk_dynamodb::types::AttributeValue::Bool(false))
        .await;
    let login = Request::post("/api/v1/users/login", &credentials("ada", &ada.password));
    system.send(login).await.expect_error(401, "invalid_credentials");
    for path in [
        "/api/v1/users/token-balance",
        "/api/v1/users/me",
        "/api/v1/chats",
        "/api/v1/users/all",
    ] {
        system
            .send(Request::get(path).bearer(&ada.access))
            .await
            .expect_error(401, "user_inactive");
    }
    system.chat(&ada, "hello").await.expect_error(401, "user_inactive");
    let refresh = Request::post("/api/v1/token/refresh", &json!({"refresh": ada.refresh}));
    system.send(refresh).await.expect_error(401, "user_inactive");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_and_the_balance_are_the_callers_own() {
    let system = System::start().await;
    let body = json!({"username": "Ada", "password": "correct horse battery", "email": "ada@example.com"});
    system
        .send(Request::post("/api/v1/users", &body))
        .await
        .expect_status(201);
    let ada = system.login("ada", "correct horse battery").await;
    let bob = system.account("bob").await;
    system.chat(&bob, "hello").await.expect_status(200);

    let reply = system
        .send(Request::get("/api/v1/users/token-balance/").bearer(&ada.access))
        .await
        .expect_status(200);
    let expected = json!({"status": "success", "message": "Token balance", "username": "Ada", "token_balance": 4000});
    assert_eq!(reply.body, expected);
    assert_eq!(system.balance(&bob).await, 3900);

    let profile = system
        .send(Request::get("/api/v1/users/me").bearer(&ada.access))
        .await
        .expect_status(200);
    assert_eq!(profile.body["username"], "Ada");
    assert_eq!(profile.body["email"], "ada@example.com");
    assert_eq!(profile.body["role"], "user");
    assert_eq!(profile.body["token_balance"], 4000);
    assert_eq!(profile.text_of("id").len(), 26);
    assert!(profile.text_of("date_joined").ends_with('Z'));
    assert!(!profile.text.contains("argon2"));
    let profile = system
        .send(Request::get("/api/v1/users/me").bearer(&bob.access))
        .await
        .expect_status(200);
    assert_eq!(profile.body["email"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_pages_through_all_active_users_by_name() {
    let system = System::start().await;
    let ada = system.account("Ada").await;
    for name in ["carol", "Bob", "eve", "dan"] {
        system
            .send(Request::post(
                "/api/v1/users",
                &credentials(name, "correct horse battery"),
            ))
            .await
            .expect_status(201);
    }
    let list = |query: &[(&str, &str)]| {
        let request = query
            .iter()
            .fold(Request::get("/api/v1/users/all/"), |request, (name, value)| {
                request.query(name, value)
            });
        system.send(request.bearer(&ada.access))
    };
    let all = list(&[]).await.expect_status(200);
    assert_eq!(all.body["status"], "success");
    assert_eq!(all.body["message"], "All Users retrieved");
    let users = ["Ada", "Bob", "carol", "dan", "eve"].map(|name| json!({"username": name}));
    assert_eq!(all.body["data"], json!(users));
    assert_eq!(all.body["next_cursor"], Value::Null);

    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let query: Vec<_> = [("limit", "2")]
            .into_iter()
            .chain(cursor.as_deref().map(|cursor| ("cursor", cursor)))
            .collect();
        let page = list(&query).await.expect_status(200);
        seen.extend(page.body["data"].as_array().unwrap().clone());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(json!(seen), json!(users));
    for limit in ["0", "1001", "-1", "ten", ""] {
        list(&[("limit", limit)]).await.expect_error(400, "invalid");
    }
    list(&[("limit", "1"), ("limit", "2")])
        .await
        .expect_error(400, "malformed");
}

/// DynamoDB bounds a sort key at 1024 bytes, in a query too, and a page begins one byte behind the name that the one before ended with.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_users_can_end_with_the_longest_name() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.set_text(&ada, "role", "staff").await;
    let sign_up = |name: &str| {
        let request = Request::post("/api/v1/users", &credentials(name, "correct horse battery"));
        system.send(request)
    };
    let longest = format!("{}abc", "\u{20000}".repeat(127));
    sign_up(&longest).await.expect_status(201);
    // One byte more in its key than in itself.
    let too_long = format!("{}aİ", "\u{20000}".repeat(127));
    sign_up(&too_long).await.expect_error(400, "invalid");
    sign_up("\u{20001}").await.expect_status(201);
    for path in ["/api/v1/users/all", "/api/v1/admin/users"] {
        let page = |query: [(&'static str, String); 2]| {
            let request = query
                .iter()
                .fold(Request::get(path), |request, (name, value)| request.query(name, value));
            system.send(request.bearer(&ada.access))
        };
        let first = page([("limit", "2".into()), ("unknown", String::new())])
            .await
            .expect_status(200);
        assert_eq!(first.body["data"][1]["username"], longest.as_str());
        let second = page([("limit", "2".into()), ("cursor", first.text_of("next_cursor"))])
            .await
            .expect_status(200);
        assert_eq!(second.body["data"][0]["username"], "\u{20001}");
        assert_eq!(second.body["next_cursor"], Value::Null);
    }
}
