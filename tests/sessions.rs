//! Tokens and sessions: what is refused, how a session moves on, how it ends.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::support::{About, Account, Forge, Reply, Request, System, protected};

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_refuses_every_forged_access_token() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let genuine = Forge::of(&ada.access);
    let refresh = Forge::of(&ada.refresh);
    let public_key = system
        .send(Request::get("/.well-known/jwks.json"))
        .await
        .expect_status(200);
    let x = public_key.body["keys"][0]["x"].as_str().unwrap().to_owned();
    let raw_x = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &x).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{x}\n-----END PUBLIC KEY-----\n");
    let now = genuine.claims["iat"].as_i64().unwrap();
    let mut broken = ada.access.clone();
    broken.pop();
    let forged = [
        ("empty", String::new()),
        ("no JWT", "no-token".into()),
        ("cut off", broken),
        ("two parts", ada.access.rsplit_once('.').unwrap().0.into()),
        ("huge", format!("{}{}", ada.access, "A".repeat(60_000))),
        ("alg none", genuine.clone().unsigned()),
        ("HS256 with the public key's bytes", genuine.clone().sign_hs256(&raw_x)),
        (
            "HS256 with the public key's text",
            genuine.clone().sign_hs256(x.as_bytes()),
        ),
        (
            "HS256 with the public key as PEM",
            genuine.clone().sign_hs256(pem.as_bytes()),
        ),
        ("another key", genuine.sign_with(b"a seed that nobody has published")),
        (
            "unknown kid",
            genuine
                .clone()
                .header("kid", json!("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"))
                .sign(),
        ),
        ("no kid", genuine.clone().header("kid", Value::Null).sign()),
        ("kid no text", genuine.clone().header("kid", json!(5)).sign()),
        ("crit", genuine.clone().header("crit", json!(["exp"])).sign()),
        ("typ JWT", genuine.clone().header("typ", json!("JWT")).sign()),
        ("no typ", genuine.clone().header("typ", Value::Null).sign()),
        ("expired", genuine.clone().claim("exp", json!(now - 1)).sign()),
        ("expires now", genuine.clone().claim("exp", json!(now)).sign()),
        ("no exp", genuine.clone().claim("exp", Value::Null).sign()),
        ("exp no number", genuine.clone().claim("exp", json!("later")).sign()),
        (
            "exp past all time",
            genuine.clone().claim("exp", json!(u64::MAX)).sign(),
        ),
        ("wrong iss", genuine.clone().claim("iss", json!("someone else")).sign()),
        ("no iss", genuine.clone().claim("iss", Value::Null).sign()),
        (
            "wrong aud",
            genuine.clone().claim("aud", json!("somewhere else")).sign(),
        ),
        ("no aud", genuine.clone().claim("aud", Value::Null).sign()),
        ("no sub", genuine.clone().claim("sub", Value::Null).sign()),
        (
            "another sub",
            genuine.clone().claim("sub", json!("01JGXQ0000000000000000000A")).sign(),
        ),
        (
            "another session",
            genuine.clone().claim("sid", json!("AAAAAAAAAAAAAAAA")).sign(),
        ),
        (
            "another user's session",
            genuine.clone().claim("usr", json!("nobody")).sign(),
        ),
        ("another token version", genuine.clone().claim("ver", json!(1)).sign()),
        (
            "purpose refresh",
            genuine.clone().claim("token_type", json!("refresh")).sign(),
        ),
        ("the refresh token", ada.refresh.clone()),
        (
            "the refresh token as at+jwt",
            refresh.clone().header("typ", json!("at+jwt")).sign(),
        ),
    ];
    for example in protected(&About::caller(&ada)) {
        for (what, token) in &forged {
            // The one claim that only reads check; writes are safe by the session's name, which nobody can guess.
            if *what == "another sub"
                && ["chats-send", "chats-stream", "completions-create", "users-logout"].contains(&example.entry.name)
            {
                continue;
            }
            let (method, path) = (example.method(), &example.path);
            let reply = system.send(example.request().bearer(token)).await;
            let code = if token.is_empty() {
                "bad_authorization_header"
            } else {
                "token_not_valid"
            };
            assert_eq!(
                (reply.status, reply.told(code)),
                (401, Some(code)),
                "{what}: {method} {path}: {}",
                reply.text
            );
        }
    }
    // Nothing of it changed anything, and the genuine token, signed again, still works.
    assert_eq!(system.balance(&ada).await, 4000);
    let again = Account {
        access: genuine.sign(),
        ..ada
    };
    assert_eq!(system.balance(&again).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_must_be_there_and_in_one_piece() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for example in protected(&About::caller(&ada)) {
        let reply = system
            .send(example.request())
            .await
            .expect_error(401, "not_authenticated");
        assert_eq!(reply.detail(), "Authentication credentials were not provided.");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"api\"");
    }
    let with = |header: &str| system.send(Request::get("/api/v1/users/me").header("Authorization", header));
    for other_scheme in ["", "Basic YTpi", "Bearerx y", &ada.access] {
        with(other_scheme).await.expect_error(401, "not_authenticated");
    }
    for pieces in ["Bearer", "Bearer ", "Bearer a b", "Bearer a b c"] {
        let reply = with(pieces).await.expect_error(401, "bad_authorization_header");
        assert_eq!(
            reply.detail(),
            "Authorization header must contain two space-delimited values"
        );
    }
    with(&format!("bearer  {}", ada.access)).await.expect_status(200);
}

async fn refresh(system: &System, path: &str, token: &str) -> Reply {
    system.send(Request::post(path, &json!({"refresh": token}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_refresh_paths_rotate_and_the_new_pair_works() {
    let system = System::start().await;
    let mut ada = system.account("ada").await;
    for path in [
        "/api/v1/token/refresh/",
        "/api/v1/users/refresh/",
        "/api/v1/token/refresh",
    ] {
        let reply = refresh(&system, path, &ada.refresh).await.expect_status(200);
        assert_ne!(reply.text_of("refresh"), ada.refresh);
        ada = Account {
            access: reply.text_of("access"),
            refresh: reply.text_of("refresh"),
            ..ada
        };
        assert_eq!(system.balance(&ada).await, 4000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_repeated_within_the_grace_gets_the_very_same_pair() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.spawn("token-refresh");
    }
    let path = "/api/v1/token/refresh";
    let (a, b, c) = tokio::join!(
        refresh(&system, path, &ada.refresh),
        refresh(&system, path, &ada.refresh),
        refresh(&system, path, &ada.refresh),
    );
    let late = refresh(&system, path, &ada.refresh).await;
    for reply in [&a, &b, &c, &late] {
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.body, a.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_refresh_token_reused_after_the_grace_ends_its_session_and_no_other() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let elsewhere = system.login("ada", &ada.password).await;
    let path = "/api/v1/token/refresh";
    let rotated = refresh(&system, path, &ada.refresh).await.expect_status(200);
    let sid = Forge::of(&ada.refresh).claims["sid"].as_str().unwrap().to_owned();
    system.age_session(&ada, &sid, 11_000).await;
    let reply = refresh(&system, path, &ada.refresh)
        .await
        .expect_error(401, "token_not_valid");
    assert_eq!(reply.detail(), "Token is invalid or expired");
    // The thief and the owner are both out; the owner's other session goes on.
    refresh(&system, path, &rotated.text_of("refresh"))
        .await
        .expect_error(401, "token_not_valid");
    let out = Request::get("/api/v1/users/me").bearer(&rotated.text_of("access"));
    system.send(out).await.expect_error(401, "token_not_valid");
    assert_eq!(system.balance(&elsewhere).await, 4000);
    let ended = |line: &String| line.contains("refresh token reused, session ended");
    assert!(system.logs().iter().any(ended), "the reuse is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_two_generations_old_ends_the_session_even_at_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let path = "/api/v1/users/refresh";
    let second = refresh(&system, path, &ada.refresh).await.expect_status(200);
    refresh(&system, path, &second.text_of("refresh"))
        .await
        .expect_status(200);
    refresh(&system, path, &ada.refresh)
        .await
        .expect_error(401, "token_not_valid");
    refresh(&system, path, &second.text_of("refresh"))
        .await
        .expect_error(401, "token_not_valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshing_refuses_what_is_no_refresh_token() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let genuine = Forge::of(&ada.refresh);
    let now = genuine.claims["iat"].as_i64().unwrap();
    let forged = [
        "rubbish".to_owned(),
        ada.access.clone(),
        Forge::of(&ada.access).header("typ", json!("rt+jwt")).sign(),
        genuine.clone().unsigned(),
        genuine.clone().claim("exp", json!(now)).sign(),
        genuine
            .clone()
            .claim("gen", json!(7))
            .claim("sid", json!("AAAAAAAAAAAAAAAA"))
            .sign(),
        genuine
            .clone()
            .claim("sub", json!("01JGXQ0000000000000000000A"))
            .claim("gen", json!(5))
            .sign(),
        genuine.sign_with(b"a seed that nobody has published"),
    ];
    for path in ["/api/v1/token/refresh", "/api/v1/users/refresh", "/api/token/refresh"] {
        for token in &forged {
            let reply = refresh(&system, path, token).await.expect_error(401, "token_not_valid");
            assert_eq!(reply.detail(), "Token is invalid or expired");
        }
        for body in [json!({}), json!({"refresh": null}), json!({"refresh": ""})] {
            let reply = system
                .send(Request::post(path, &body))
                .await
                .expect_error(400, "invalid");
            assert_eq!(reply.body["error"], "Refresh token is required");
        }
        system
            .send(Request::new("POST", path))
            .await
            .expect_error(400, "invalid");
    }
    refresh(&system, "/api/v1/token/refresh", &ada.refresh)
        .await
        .expect_status(200);
}

async fn logout(system: &System, access: &str, refresh: &str) -> Reply {
    system
        .send(Request::post("/api/v1/users/logout/", &json!({"refresh": refresh})).bearer(access))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_session_at_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let elsewhere = system.login("ada", &ada.password).await;
    let reply = logout(&system, &ada.access, &ada.refresh).await.expect_status(200);
    assert_eq!(
        reply.body,
        json!({"status": "success", "message": "Logged out successfully"})
    );
    for example in protected(&About::caller(&ada)) {
        let reply = system.send(example.request().bearer(&ada.access)).await;
        reply.expect_error(401, "token_not_valid");
    }
    refresh(&system, "/api/v1/token/refresh", &ada.refresh)
        .await
        .expect_error(401, "token_not_valid");
    assert_eq!(system.balance(&elsewhere).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_takes_only_a_live_refresh_token_of_the_caller() {
    let system = System::start().await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    let second = system.login("ada", &ada.password).await;
    let now = Forge::of(&ada.refresh).claims["iat"].as_i64().unwrap();
    let expired = Forge::of(&ada.refresh).claim("exp", json!(now)).sign();
    for token in ["rubbish", &bob.refresh, &ada.access, &expired] {
        let reply = logout(&system, &ada.access, token)
            .await
            .expect_error(400, "token_not_valid");
        assert_eq!(reply.body["status"], "error");
        assert_eq!(reply.body["message"], "Invalid or expired refresh token");
    }
    // Bob is still in; another session of one's own can be ended, once.
    assert_eq!(system.balance(&bob).await, 4000);
    logout(&system, &ada.access, &second.refresh).await.expect_status(200);
    logout(&system, &ada.access, &second.refresh)
        .await
        .expect_error(400, "token_not_valid");
    assert_eq!(system.balance(&ada).await, 4000);
    // Whoever is not signed in is told that first.
    logout(&system, &second.access, "rubbish")
        .await
        .expect_error(401, "token_not_valid");
    logout(&system, &second.access, &ada.refresh)
        .await
        .expect_error(401, "token_not_valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_login_ends_the_oldest_session() {
    let system = System::start().await;
    let mut sessions = vec![system.account("ada").await];
    for _ in 0..5 {
        // Sessions opened in one millisecond have no order among them.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        sessions.push(system.login("ada", "correct horse battery").await);
    }
    let first = Request::get("/api/v1/users/me").bearer(&sessions[0].access);
    system.send(first).await.expect_error(401, "token_not_valid");
    for session in &sessions[1..] {
        assert_eq!(system.balance(session).await, 4000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_logins_never_leave_more_than_five_sessions() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..7 {
        system.spawn("users-login");
    }
    let login = || system.login("ada", &ada.password);
    let all = tokio::join!(login(), login(), login(), login(), login(), login(), login(), login());
    let items = system.items("ada").await;
    let user = items.iter().find(|item| item["sk"].as_s().unwrap() == "USER").unwrap();
    assert_eq!(user["sessions"].as_m().unwrap().len(), 5);
    drop(all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_token_version_ends_every_session() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.set(&ada, "token_version", AttributeValue::N("1".into())).await;
    system
        .send(Request::get("/api/v1/users/me").bearer(&ada.access))
        .await
        .expect_error(401, "token_not_valid");
    system.chat(&ada, "hello").await.expect_error(401, "token_not_valid");
    refresh(&system, "/api/v1/token/refresh", &ada.refresh)
        .await
        .expect_error(401, "token_not_valid");
    let again = system.login("ada", &ada.password).await;
    assert_eq!(system.balance(&again).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_published_after_a_function_started_is_found() {
    let system = System::start().await;
    // This process loads the keys when there is none.
    system
        .send(Request::get("/api/v1/users/me").bearer("no-token"))
        .await
        .expect_status(401);
    let ada = system.account("ada").await;
    system
        .send(Request::get("/api/v1/users/me").bearer(&ada.access))
        .await
        .expect_status(200);
}
