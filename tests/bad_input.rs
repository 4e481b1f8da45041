//! Bad input: each gets a clear 4xx, never a 5xx, never a panic, and changes nothing.

use serde_json::{Value, json};

use crate::support::{About, Account, Example, Reply, Request, System, examples};

/// Every route that reads a body, with one that it would accept.
fn readers(account: &Account) -> Vec<Example> {
    let mut readers = examples(&About::caller(account));
    readers.retain(|example| example.entry.reads_body);
    readers
}

async fn send(system: &System, account: &Account, reader: &Example, change: impl Fn(Request) -> Request) -> Reply {
    let request = Request::new(reader.method(), &reader.path)
        .header("Content-Type", "application/json")
        .bearer(&account.access);
    system.send(change(request)).await
}

async fn post(system: &System, account: &Account, path: &str, change: impl Fn(Request) -> Request) -> Reply {
    let request = Request::new("POST", path)
        .header("Content-Type", "application/json")
        .bearer(&account.access);
    system.send(change(request)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_object_are_400() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let deep = |depth: usize| format!("{{\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let rubbish = [
        "{".to_owned(),
        "not json".into(),
        "{}{}".into(),
        "[]".into(),
        "[{\"message\":\"hello\"}]".into(),
        "null".into(),
        "\"text\"".into(),
        "5".into(),
        "{'message':'hello'}".into(),
        "{\"message\":\"\\ud800\"}".into(),
        "{\"message\":\"\\udc00\\ud800\"}".into(),
        "{\"message\":\"\u{1}\"}".into(),
        "{\"message\":1e999}".into(),
        "\u{feff}{}".into(),
        "{\"message\":\"a\",\"message\":\"b\"}".into(),
        "{\"username\":\"a\",\"user\\u006eame\":\"b\"}".into(),
        "{\"unknown\":{\"a\":1,\"a\":2}}".into(),
        deep(200),
        deep(32),
        format!("{{\"message\":\"{}", "x".repeat(1_000)),
    ];
    for reader in readers(&ada) {
        let path = &reader.path;
        for body in &rubbish {
            let reply = send(&system, &ada, &reader, |request| request.raw_body(body)).await;
            assert_eq!(
                (reply.status, reply.told("malformed")),
                (400, Some("malformed")),
                "{path}: {body}: {}",
                reply.text
            );
            reply.expect_error(400, "malformed");
        }
        // Invalid UTF-8 can only come in base64, which is how a gateway hands on what is no text.
        for base64 in ["/w==", "eyJtZXNzYWdlIjoi/yJ9", "7aCA"] {
            let reply = send(&system, &ada, &reader, |request| request.base64_body(base64)).await;
            assert_eq!(reply.expect_error(400, "malformed").detail(), "Body is not valid UTF-8");
        }
        // The flag says base64, but it is not.
        for text in ["{\"message\":\"hello\"}", "====", "a", "é"] {
            let reply = send(&system, &ada, &reader, |request| request.base64_body(text)).await;
            assert_eq!(
                reply.expect_error(400, "malformed").detail(),
                "Body is not valid base64"
            );
        }
    }
    assert_eq!(system.balance(&ada).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_be_declared_as_json() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for reader in readers(&ada) {
        let body = reader.body.clone().unwrap();
        for media_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "application/json; charset=latin1",
            "",
        ] {
            let reply = send(&system, &ada, &reader, |request| {
                request.raw_body(&body.to_string()).header("Content-Type", media_type)
            });
            reply.await.expect_error(415, "unsupported_media_type");
        }
        let undeclared = Request::new(reader.method(), &reader.path)
            .bearer(&ada.access)
            .raw_body(&body.to_string());
        system
            .send(undeclared)
            .await
            .expect_error(415, "unsupported_media_type");
    }
    let spelled = post(&system, &ada, "/api/v1/chats", |request| {
        request
            .raw_body("{\"message\":\"hello\"}")
            .header("content-TYPE", "Application/JSON; charset=\"UTF-8\"")
    });
    spelled.await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_its_limit_is_413() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let padded = |body: &Value, length: usize| {
        let text = body.to_string();
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    for reader in readers(&ada) {
        let over = padded(reader.body.as_ref().unwrap(), reader.entry.max_body + 1);
        send(&system, &ada, &reader, |request| request.raw_body(&over))
            .await
            .expect_error(413, "body_too_large");
        let is_door = reader.entry.name == "completions-create";
        assert_eq!(reader.entry.max_body, if is_door { 256 } else { 64 } * 1024);
    }
    let just = padded(&json!({"message": "hello"}), 64 * 1024);
    post(&system, &ada, "/api/v1/chats", |request| request.raw_body(&just))
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_wrong_type_are_named() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for reader in readers(&ada) {
        let (path, body) = (&reader.path, reader.body.clone().unwrap());
        for member in reader.text_members() {
            for wrong in [json!(5), json!(true), json!([]), json!({}), json!(1.5)] {
                let mut body = body.clone();
                body[&member] = wrong;
                let reply = send(&system, &ada, &reader, |request| request.raw_body(&body.to_string())).await;
                let reply = reply.expect_error(400, "malformed");
                let detail = reply.detail();
                assert_eq!(detail, format!("Member `{member}` must be a string"), "{path}");
            }
            if ["admin-update"].contains(&reader.entry.name) {
                // None of its members must be there.
                continue;
            }
            let mut body = body.clone();
            body[&member] = Value::Null;
            let reply = send(&system, &ada, &reader, |request| request.raw_body(&body.to_string())).await;
            let reply = reply.expect_error(400, "invalid");
            assert_eq!(reply.member().as_str(), Some(member.as_str()));
            let detail = reply.detail();
            assert!(
                detail.ends_with(" is required") || detail.starts_with("you must provide"),
                "{path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_could_deceive_or_escape_are_refused() {
    let system = System::start().await;
    let long = "a".repeat(151);
    let growing = "\u{fdfa}".repeat(150);
    let names = [
        "",
        " ",
        "a b",
        "a#b",
        "USER#ada",
        "a/b",
        "a\\b",
        "%2e%2e",
        "..",
        ".",
        "a\u{0}b",
        "a\u{200b}b",
        "a\u{200d}b",
        "a\u{202e}b",
        "a\nb",
        "a\u{7f}b",
        "\u{3164}",
        "a\"b",
        "<b>",
        "😀",
        "a\u{ad}b",
        "\u{feff}ada",
        &long,
        &growing,
    ];
    for name in names {
        let body = json!({"username": name, "password": "correct horse battery"});
        let reply = system.send(Request::post("/api/v1/users", &body)).await;
        assert_eq!(
            (reply.status, reply.member().as_str()),
            (400, Some("username")),
            "{name:?}: {}",
            reply.text
        );
        assert_eq!(reply.expect_error(400, "invalid").body["status"], "An error occurred");
    }
    // Nothing was stored under any of them.
    let stored = system.client.scan().table_name(&system.table).send().await.unwrap();
    let stored = stored.items().iter().map(|item| item["pk"].as_s().unwrap());
    assert!(stored.clone().all(|pk| pk == "KEY"), "{:?}", stored.collect::<Vec<_>>());
    for name in ["李雷", "Ünïcödé", "a.b@c+d-e_f", "ﬁ", &"b".repeat(150)] {
        let body = json!({"username": name, "password": "correct horse battery"});
        system
            .send(Request::post("/api/v1/users", &body))
            .await
            .expect_status(201);
        system.login(name, "correct horse battery").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_that_protect_nothing_are_refused_and_told_why() {
    let system = System::start().await;
    let (long, longer) = ("x".repeat(1_025), "x".repeat(60_000));
    let refused = [
        ("", "Password is required"),
        ("seven77", "Password must be at least 8 bytes long"),
        (&long, "Password must be at most 1024 bytes long"),
        (&longer, "Password must be at most 1024 bytes long"),
        ("password123", "Password is too common"),
        ("QWERTYUIOP", "Password is too common"),
        ("8675309867530986", "Password must not be entirely numeric"),
        ("hephzibah", "Password is too similar to the username"),
        ("Hephzibah99!", "Password is too similar to the username"),
    ];
    for (password, reason) in refused {
        let body = json!({"username": "hephzibah", "password": password});
        let reply = system
            .send(Request::post("/api/v1/users", &body))
            .await
            .expect_error(400, "invalid");
        assert_eq!(reply.detail(), reason);
        assert_eq!(reply.member(), "password");
    }
    let longest = "x".repeat(1_024);
    for (name, password) in [
        ("a1", "testpass123"),
        ("a2", "strongpassword123"),
        ("a3", "pässwörter"),
        ("a4", "\u{0}\u{0}\u{0}\u{0}zzzz"),
        ("a5", longest.as_str()),
    ] {
        let body = json!({"username": name, "password": password});
        system
            .send(Request::post("/api/v1/users", &body))
            .await
            .expect_status(201);
        system.login(name, password).await;
    }
    for email in ["x", "x@", "@x.y", "a b@c.d", &format!("{}@x.yz", "a".repeat(255))] {
        let body = json!({"username": "mail", "password": "correct horse battery", "email": email});
        let reply = system
            .send(Request::post("/api/v1/users", &body))
            .await
            .expect_error(400, "invalid");
        assert_eq!(reply.member(), "email");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_forwarding_headers_change_nothing() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1, 10.0.0.1"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "gopher"),
        ("Forwarded", "for=\"_gazonk\""),
        ("X-Original-URL", "/api/v1/health"),
        ("X-HTTP-Method-Override", "GET"),
        ("X-Request-Id", "chosen by the client"),
        ("Host", "evil.example"),
    ] {
        let request = Request::get("/api/v1/users/me").bearer(&ada.access).header(name, value);
        let reply = system.send(request).await.expect_status(200);
        assert_eq!(reply.body["username"], "ada");
        assert!(
            reply.header("x-request-id").starts_with("request-"),
            "the gateway's id, not the client's"
        );
        assert!(!reply.text.contains("evil"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_no_gateway_sends_are_400_too() {
    let system = System::start().await;
    for entry in shared::api::TABLE {
        for event in [
            json!({}),
            json!([]),
            json!("text"),
            json!(null),
            json!({"httpMethod": 5}),
            json!({"path": "/"}),
        ] {
            system.deliver(entry.name, event).await.expect_error(400, "malformed");
        }
        let sparse = json!({"httpMethod": entry.method.as_str(), "path": entry.paths[0], "headers": null, "requestContext": null});
        let reply = system.deliver(entry.name, sparse).await;
        assert!(reply.status < 500, "{}: {}", entry.name, reply.text);
        let odd = json!({
            "httpMethod": entry.method.as_str(), "path": entry.paths[0],
            "headers": {"": "", "bad name": "x\r\ny", "authorization": "Bearer \u{0}é"},
            "multiValueHeaders": {"é\n": [null, "x"]},
            "queryStringParameters": {"limit": null}, "requestContext": {"requestId": "a\r\nSet-Cookie: x=y"},
        });
        let reply = system.deliver(entry.name, odd).await;
        assert!(reply.status < 500, "{}: {}", entry.name, reply.text);
        assert!(!reply.header("x-request-id").contains('\n'));
    }
}
