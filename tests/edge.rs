//! What every endpoint has in common: routes, headers, event formats, the log.

use serde_json::{Value, json};

use crate::support::{Reply, Request, System};

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_the_version_without_the_table() {
    let system = System::start().await;
    for path in ["/api/v1/health", "/api/v1/health/"] {
        let reply = system.send(Request::get(path)).await.expect_status(200);
        assert_eq!(
            reply.body,
            json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})
        );
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    assert!(system.take_recorded().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_keys_verify_what_was_signed() {
    let system = System::start().await;
    let empty = system
        .send(Request::get("/.well-known/jwks.json"))
        .await
        .expect_status(200);
    assert_eq!(empty.body, json!({"keys": []}));
    let ada = system.account("ada").await;
    let reply = system
        .send(Request::get("/.well-known/jwks.json"))
        .await
        .expect_status(200);
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(reply.body.clone()).unwrap();
    let kid = jsonwebtoken::decode_header(&ada.access).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["ai-chat-system"]);
    jsonwebtoken::decode::<Value>(&ada.access, &key, &validation).unwrap();
    let members: Vec<_> = reply.body["keys"][0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "no private member");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_are_404_and_other_methods_405() {
    let system = System::start().await;
    for path in [
        "/api",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/chats/a/b",
        "//api/v1/chats",
        "/API/v1/chats",
        "/api/v1/users//",
        "/%00",
        "/api/v1/users/all/x",
        "/assets",
        "/assets/a/b",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            system
                .send(Request::new(method, path))
                .await
                .expect_error(404, "not_found");
        }
    }
    for entry in shared::api::TABLE {
        for pattern in entry.paths {
            let allowed: Vec<_> = shared::api::methods_of(pattern)
                .iter()
                .map(|method| method.as_str())
                .collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
                for path in [(*pattern).to_owned(), format!("{pattern}/")] {
                    let reply = system.send(Request::new(method, &path)).await;
                    if allowed.contains(&method) {
                        assert_ne!(reply.status, 405, "{method} {path}");
                    } else {
                        assert_eq!(
                            reply.expect_error(405, "method_not_allowed").header("allow"),
                            allowed.join(", ")
                        );
                    }
                }
            }
            // The function itself refuses too, should a gateway send it what is not its own.
            let wrong = json!({"httpMethod": "PUT", "path": pattern, "requestContext": {"requestId": "request-x"}});
            system
                .deliver(entry.name, wrong)
                .await
                .expect_error(405, "method_not_allowed");
            let elsewhere =
                json!({"httpMethod": "GET", "path": "/elsewhere", "requestContext": {"requestId": "request-x"}});
            system
                .deliver(entry.name, elsewhere)
                .await
                .expect_error(404, "not_found");
        }
    }
}

/// A whole session, each request sent through `send`.
async fn session<F: Future<Output = Reply>>(send: impl Fn(Request) -> F) {
    let credentials = json!({"username": "Ada", "password": "correct horse battery"});
    send(Request::post("/api/v1/users/", &credentials))
        .await
        .expect_status(201);
    send(Request::post("/api/v1/users/", &credentials))
        .await
        .expect_error(400, "username_taken");
    let login = send(Request::post("/api/v1/users/login/", &credentials))
        .await
        .expect_status(200);
    let pair = send(Request::post(
        "/api/v1/token/refresh/",
        &json!({"refresh": login.text_of("refresh")}),
    ));
    let pair = pair.await.expect_status(200);
    let (access, refresh) = (pair.text_of("access"), pair.text_of("refresh"));
    for message in ["first", "zweite Nachricht: ü🙂"] {
        let request = Request::post("/api/v1/chats/", &json!({"message": message})).bearer(&access);
        send(request).await.expect_status(200);
    }
    let page = send(Request::get("/api/v1/chats/").query("limit", "1").bearer(&access))
        .await
        .expect_status(200);
    assert_eq!(page.body["data"][0]["message"], "zweite Nachricht: ü🙂");
    let next = Request::get("/api/v1/chats/")
        .query("limit", "1")
        .query("cursor", &page.text_of("next_cursor"));
    let page = send(next.bearer(&access)).await.expect_status(200);
    assert_eq!(page.body["data"][0]["message"], "first");
    let id = page.body["data"][0]["id"].as_str().unwrap();
    send(Request::get(&format!("/api/v1/chats/{id}/")).bearer(&access))
        .await
        .expect_status(200);
    let balance = send(Request::get("/api/v1/users/token-balance/").bearer(&access))
        .await
        .expect_status(200);
    assert_eq!(balance.body["token_balance"], 3800);
    send(Request::get("/api/v1/users/me/").bearer(&access))
        .await
        .expect_status(200);
    send(Request::get("/api/v1/users/all/").bearer(&access))
        .await
        .expect_status(200);
    send(Request::get("/.well-known/jwks.json/")).await.expect_status(200);
    send(Request::get("/api/v1/health/")).await.expect_status(200);
    send(Request::get("/api/v1/nothing/"))
        .await
        .expect_error(404, "not_found");
    send(Request::get("/api/v1/users/login/"))
        .await
        .expect_error(405, "method_not_allowed");
    let logout = Request::post("/api/v1/users/logout/", &json!({"refresh": refresh})).bearer(&access);
    send(logout).await.expect_status(200);
    send(Request::get("/api/v1/users/me/").bearer(&access))
        .await
        .expect_error(401, "token_not_valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_works_with_events_of_the_rest_api() {
    let system = System::start().await;
    session(|request| system.send(request)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_works_with_events_of_the_http_api() {
    let system = System::start().await;
    session(|request| system.send_v2(request)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_may_read_answers() {
    let system = System::start_with(&[("ALLOWED_ORIGINS", "https://chat.example, https://app.example")]).await;
    let from = |origin: &str| system.send(Request::get("/api/v1/health").header("Origin", origin));
    let reply = from("https://app.example").await;
    assert_eq!(reply.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(reply.header("vary"), "Origin");
    for other in [
        "https://evil.example",
        "https://chat.example.evil",
        "null",
        "http://chat.example",
        "https://CHAT.example",
        "*",
    ] {
        let reply = from(other).await;
        assert!(!reply.headers.contains_key("access-control-allow-origin"), "{other}");
        assert_eq!(reply.header("vary"), "Origin");
    }
    let open = System::start().await;
    let reply = open
        .send(Request::get("/api/v1/users/me").header("Origin", "https://any.example"))
        .await;
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert!(!reply.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_for_listed_origins_alone_and_as_the_deployed_gateway_does() {
    let system = System::start_with(&[("ALLOWED_ORIGINS", "https://chat.example, https://app.example")]).await;
    let preflight = |path: &str, origin: &str| {
        let request = Request::new("OPTIONS", path).header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        system.send(request.header("Access-Control-Request-Headers", "authorization,content-type"))
    };
    // The gateway's own answer is a template, which `tests/preflight.py` runs; the header values stand in both.
    let template = std::fs::read_to_string(crate::support::root().join("template.yaml")).unwrap();
    let paths = shared::api::TABLE.iter().flat_map(|entry| entry.paths);
    for path in paths.copied().chain(["/nothing"]) {
        for origin in ["https://chat.example", "https://app.example"] {
            let reply = preflight(path, origin).await.expect_status(204);
            assert_eq!(reply.header("access-control-allow-origin"), origin, "{path}");
            assert_eq!(reply.header("vary"), "Origin");
            assert!(!reply.headers.contains_key("access-control-allow-credentials"));
            for name in ["methods", "headers"] {
                let value = reply.header(&format!("access-control-allow-{name}"));
                assert!(
                    template.contains(&format!("= '{value}'")),
                    "the template does not say {value}"
                );
            }
        }
    }
    for other in [
        "https://evil.example",
        "https://chat.example.evil",
        "https://evil-chat.example",
        "https://chat.example:8443",
        "http://chat.example",
        "HTTPS://chat.example",
        "https://chat.example/",
        "null",
        "*",
        "",
    ] {
        let reply = preflight("/api/v1/chats", other).await.expect_status(204);
        let granted: Vec<_> = reply
            .headers
            .keys()
            .filter(|name| name.starts_with("access-control"))
            .collect();
        assert!(granted.is_empty(), "{other}: {granted:?}");
        assert_eq!(reply.header("vary"), "Origin");
    }
    let open = System::start().await;
    let request = Request::new("OPTIONS", "/api/chat/").header("Origin", "https://any.example");
    let reply = open.send(request).await.expect_status(204);
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert!(!reply.headers.contains_key("access-control-allow-credentials") && !reply.headers.contains_key("vary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_logged_once_and_no_secret_is() {
    let system = System::start().await;
    let ada = system.account("Adelheid").await;
    let reply = system.chat(&ada, "a private thing").await.expect_status(200);
    system
        .send(Request::get("/api/v1/chats").bearer(&ada.access))
        .await
        .expect_status(200);
    let wrong = json!({"username": "Adelheid", "password": "not the password"});
    system
        .send(Request::post("/api/v1/users/login", &wrong))
        .await
        .expect_status(401);
    system
        .send(Request::post(
            "/api/v1/users",
            &json!({"username": "Adelheid", "password": 12}),
        ))
        .await
        .expect_status(400);
    let logs = wait_for_lines(&system, 6).await;
    for line in &logs {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string());
    }
    let id = reply.header("x-request-id");
    let of_chat: Vec<Value> = logs
        .iter()
        .filter(|line| line.contains(id))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(of_chat.len(), 1, "one line for one request");
    let line = &of_chat[0];
    assert_eq!(
        (&line["endpoint"], &line["method"], &line["status"], &line["code"]),
        (&json!("chats-send"), &json!("POST"), &json!(200), &json!("ok"))
    );
    assert_eq!(line["route"], "/api/v1/chats");
    assert_eq!(line["dynamodb_calls"], 2);
    if system.is_embedded() {
        assert_eq!(line["dynamodb_write_units"], 5.0);
    }
    assert!(line["duration_ms"].is_u64());
    let all = logs.join("\n");
    let seed = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        b"a seed that only the tests know!",
    );
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in [
        "correct horse",
        "not the password",
        "private thing",
        "argon2",
        "Adelheid",
        "adelheid",
        &seed,
        &signature(&ada.access),
        &signature(&ada.refresh),
    ] {
        assert!(!all.contains(secret), "{secret} is in the log");
    }
}

async fn wait_for_lines(system: &System, count: usize) -> Vec<String> {
    for _ in 0..100 {
        let logs = system.logs();
        if logs
            .iter()
            .filter(|line| line.contains("\"message\":\"request\""))
            .count()
            >= count
        {
            return logs;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("fewer than {count} lines: {:#?}", system.logs())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_variable_is_named_at_start() {
    let system = System::start_with(&[("TABLE_NAME", "")]).await;
    let reply = system
        .invoke("users-balance", json!({"httpMethod": "GET", "path": "/"}))
        .await;
    assert!(reply.is_none(), "it does not start");
    wait_for_words(&system, &["TABLE_NAME"]).await;
    let system = System::start_with(&[("ACCESS_TOKEN_SECONDS", "forever")]).await;
    assert!(system.invoke("users-login", json!({})).await.is_none());
    wait_for_words(&system, &["ACCESS_TOKEN_SECONDS", "forever"]).await;
    let short = [("PASSWORD_MIN_BYTES", "20"), ("PASSWORD_MAX_BYTES", "10")];
    let system = System::start_with(&short).await;
    assert!(system.invoke("users-register", json!({})).await.is_none());
    wait_for_words(&system, &["PASSWORD_MAX_BYTES"]).await;
}

async fn wait_for_words(system: &System, words: &[&str]) {
    for _ in 0..100 {
        let said = system.logs().join("\n");
        if words.iter().all(|word| said.contains(word)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("none of it says {words:?}: {:#?}", system.logs())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_out_of_reach_is_503_and_says_to_try_again() {
    let system = System::start_with(&[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")]).await;
    let body = json!({"username": "ada", "password": "correct horse battery"});
    for path in ["/api/v1/users", "/api/v1/users/login"] {
        let reply = system.send(Request::post(path, &body)).await.expect_error(503, "busy");
        assert_eq!(reply.header("retry-after"), "1");
        assert!(!reply.text.contains("127.0.0.1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_for_its_address_and_asked_for_again() {
    let system = System::start().await;
    // The root, a page, its other spelling; in both formats, with the stage that the harness puts before or not.
    for path in ["/", "/admin", "/admin/", "/docs"] {
        let rest = system.send(Request::get(path)).await.expect_status(200);
        assert!(rest.text.contains("<base href=\"/dev/\">"), "{path}: {}", rest.text);
        let http = system.send_v2(Request::get(path)).await.expect_status(200);
        assert!(http.text.contains("<base href=\"/\">"), "{path}: {}", http.text);
        for reply in [&rest, &http] {
            assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
            assert_eq!(reply.header("cache-control"), "no-cache");
            assert_eq!(reply.header("x-content-type-options"), "nosniff");
            assert_eq!(reply.header("referrer-policy"), "no-referrer");
            assert_eq!(reply.header("cross-origin-opener-policy"), "same-origin");
            let policy = reply.header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
                "{policy}"
            );
        }
        let tag = rest.header("etag").to_owned();
        for known in [
            tag.clone(),
            tag.replace("W/", ""),
            format!("\"other\", {tag}"),
            "*".into(),
        ] {
            let again = system.send(Request::get(path).header("If-None-Match", &known)).await;
            assert_eq!((again.status, again.text.as_str()), (304, ""), "{known}");
            assert_eq!(again.header("etag"), tag);
            assert!(!again.headers.contains_key("content-type"));
        }
        let other = Request::get(path).header("If-None-Match", "W/\"other\"");
        system.send(other).await.expect_status(200);
    }
    assert!(system.take_recorded().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_is_made_of_is_kept_for_good_and_never_missing() {
    let system = System::start().await;
    for asset in pages::ASSETS {
        let reply = system.send(Request::get(&format!("/assets/{}", asset.file))).await;
        let reply = reply.expect_status(200);
        assert_eq!(reply.text, asset.text);
        assert_eq!(reply.header("content-type"), asset.media_type);
        assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable");
        // A page of the version before asks for its own files while this version is being deployed.
        let (name, rest) = asset.file.rsplit_once('-').unwrap();
        let (_, extension) = rest.split_once('.').unwrap();
        let other = system
            .send(Request::get(&format!("/assets/{name}-00000000.{extension}")))
            .await;
        let other = other.expect_status(200);
        assert_eq!(other.text, asset.text);
        assert_eq!(other.header("cache-control"), "no-store");
    }
    for nothing in [
        "nothing-00000000.js",
        "chat.js",
        "..%2Fchat.js",
        "%00",
        "chat-00000000.png",
    ] {
        let reply = system.send(Request::get(&format!("/assets/{nothing}"))).await;
        reply.expect_error(404, "not_found");
    }
}
