//! Register with the password typed twice, `/token/` and a refresh token that stays the same, chats with their history,
//! balance and profile.

use serde_json::{Value, json};

use super::{is_jwt, is_utc};
use crate::support::{Reply, Request, System};

pub async fn client(system: &System, name: &str) {
    let username = format!("{name}-testuser");
    let post = |path: &str, body: Value| system.send(Request::post(path, &body));

    // POST /register/
    let twice = |password2: &str| json!({"username": username, "password": "testpass123", "password2": password2});
    post("/api/register/", twice("testpass124")).await.expect_status(400);
    let registered = post("/api/register/", twice("testpass123")).await.expect_status(201);
    let user = &registered.body["user"];
    assert_eq!(user["username"], username);
    assert_eq!(user["tokens"], 4000);
    assert!(user["id"].is_string() && user.get("email").is_some(), "{user}");
    assert!(is_jwt(&registered.text_of("access")) && is_jwt(&registered.text_of("refresh")));

    // POST /token/
    let credentials = |password: &str| json!({"username": username, "password": password});
    let refused = post("/api/token/", credentials("testpass124")).await.expect_status(401);
    assert_eq!(
        refused.body["detail"],
        "No active account found with the given credentials"
    );
    let pair = post("/api/token/", credentials("testpass123")).await.expect_status(200);
    let (access, refresh) = (pair.text_of("access"), pair.text_of("refresh"));
    assert!(is_jwt(&access) && is_jwt(&refresh));

    // POST /token/refresh/, which leaves the refresh token as it is
    let mut accesses = vec![registered.text_of("access"), access.clone()];
    for _ in 0..3 {
        let renewed = post("/api/token/refresh/", json!({"refresh": refresh})).await;
        let renewed = renewed.expect_status(200);
        assert!(renewed.body.get("refresh").is_none(), "{}", renewed.text);
        accesses.push(renewed.text_of("access"));
    }
    let missing = post("/api/token/refresh/", json!({})).await.expect_status(400);
    assert_eq!(missing.body["error"], "Refresh token is required");
    let bad = post("/api/token/refresh/", json!({"refresh": "not-a-token"})).await;
    let bad = bad.expect_status(401);
    assert_eq!(bad.body["detail"], "Token is invalid or expired");
    assert_eq!(bad.body["code"], "token_not_valid");

    // POST /chat/, once with each access token so far
    for (index, access) in accesses.iter().enumerate() {
        let message = format!("Hello, AI! {index}");
        let chat = Request::post("/api/chat/", &json!({"message": message})).bearer(access);
        let reply = system.send(chat).await.expect_status(200);
        assert_eq!(reply.body["user"], user["id"]);
        assert_eq!(reply.body["message"], message);
        assert_eq!(reply.body["response"], format!("AI Response to: {message}"));
        assert!(is_utc(&reply.text_of("timestamp")));
        assert_eq!(reply.body["remaining_tokens"], 3900 - 100 * index);
    }

    // GET /chat/, whole and page by page
    let get = |path: &str| system.send(Request::get(path).bearer(&access));
    let whole = get("/api/chat/").await.expect_status(200);
    let whole = whole.body.as_array().expect("the history is a bare array");
    let messages: Vec<_> = whole.iter().map(|chat| chat["message"].as_str().unwrap()).collect();
    let newest_first = [4, 3, 2, 1, 0].map(|index| format!("Hello, AI! {index}"));
    assert_eq!(messages, newest_first);
    assert_eq!(whole[0]["response"], "AI Response to: Hello, AI! 4");
    let mut paged = Vec::new();
    let mut query = Some(vec![("limit".to_owned(), "2".to_owned())]);
    while let Some(parameters) = query {
        let request = Request::get("/api/chat/").bearer(&access);
        let request = parameters
            .iter()
            .fold(request, |request, (name, value)| request.query(name, value));
        let page = system.send(request).await.expect_status(200);
        let chats = page.body.as_array().unwrap();
        assert!((1..=2).contains(&chats.len()), "{}", page.text);
        paged.extend(chats.clone());
        query = next_page(&page);
    }
    assert_eq!(paged, *whole);

    // GET /user/balance/ and GET /user/profile/
    let balance = get("/api/user/balance/").await.expect_status(200);
    assert_eq!(balance.body, json!({"tokens": 3500}));
    let profile = get("/api/user/profile/").await.expect_status(200);
    assert_eq!(profile.body["id"], user["id"]);
    assert_eq!(profile.body["username"], username);
    assert_eq!(profile.body["email"], user["email"]);
    assert_eq!(profile.body["tokens"], 3500);
    assert_eq!(profile.body["role"], "user");
    assert!(is_utc(&profile.text_of("date_joined")));

    // All of it is for signed-in users.
    for path in ["/api/chat/", "/api/user/balance/", "/api/user/profile/"] {
        let reply = system.send(Request::get(path)).await.expect_status(401);
        assert_eq!(reply.body["detail"], "Authentication credentials were not provided.");
    }
    system.check_ledger(&username.to_lowercase()).await;
}

/// The query of the next page, which the `Link` header refers to relative to the path of this one; `None` on the last
/// page.
fn next_page(page: &Reply) -> Option<Vec<(String, String)>> {
    let link = page.headers.get("link")?;
    let query = link
        .strip_prefix("<?")
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let pairs = query
        .unwrap_or_else(|| panic!("no relative link to a next page: {link}"))
        .split('&');
    let parameters = pairs.map(|pair| pair.split_once('=').unwrap());
    Some(
        parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}
