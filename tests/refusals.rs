//! Who may call what: every endpoint against every kind of caller, driven from the endpoint table.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use shared::api::AccessKind;

use crate::support::{About, Account, Example, Forge, Request, System, protected};

/// A kind of caller and how they authenticate.
enum Caller {
    Nobody,
    Bearer(Account),
    Token(String),
    /// A token of another deployment, or an API key.
    Other(String),
}

impl Caller {
    fn sign(&self, request: Request) -> Request {
        match self {
            Self::Nobody => request,
            Self::Bearer(account) => request.bearer(&account.access),
            Self::Token(key) => request.auth_key(key),
            Self::Other(token) => request.bearer(token),
        }
    }
}

/// What a caller of this kind gets from an endpoint of this access: a status and a code, or `None` for whatever the endpoint itself says.
fn expected(kind: &str, access: AccessKind) -> Option<(u16, &'static str)> {
    let role = match kind {
        "nobody" => return Some((401, "not_authenticated")),
        "foreign"
        | "logged-out"
        | "unknown key"
        | "key of another password"
        | "unknown API key"
        | "revoked API key"
        | "expired API key"
        | "API key of another password" => return Some((401, "token_not_valid")),
        "inactive" | "inactive with key" | "inactive with API key" => return Some((401, "user_inactive")),
        _ if kind.ends_with("with API key") && access == AccessKind::Owner => return Some((403, "permission_denied")),
        "user" | "user with key" | "user with API key" => 0,
        "staff" | "staff with key" | "staff with API key" => 1,
        "admin" | "admin with key" | "admin with API key" => 2,
        other => panic!("what of {other}?"),
    };
    let needed = match access {
        AccessKind::Public | AccessKind::SignedIn | AccessKind::Owner => 0,
        AccessKind::Staff => 1,
        AccessKind::Admin => 2,
    };
    (role < needed).then_some((403, "permission_denied"))
}

async fn key_of(system: &System, account: &Account) -> String {
    let credentials = json!({"username": account.username, "password": account.password});
    let reply = system.send(Request::post("/api/login", &credentials)).await;
    reply.expect_status(200).text_of("token")
}

/// A caller of a kind, made anew: some requests end what they authenticate with.
async fn caller(system: &System, kind: &str, name: &str) -> (Caller, Account) {
    let account = system.account(name).await;
    let role = kind.split_whitespace().next().unwrap();
    if ["staff", "admin"].contains(&role) {
        system.set_text(&account, "role", role).await;
    }
    let caller = match kind {
        "nobody" => Caller::Nobody,
        "foreign" => Caller::Other(Forge::of(&account.access).sign_with(b"the seed of another system......")),
        "logged-out" => {
            let logout = Request::post("/api/v1/users/logout", &json!({"refresh": account.refresh}));
            system.send(logout.bearer(&account.access)).await.expect_status(200);
            Caller::Bearer(account.clone())
        }
        "unknown key" => Caller::Token("0123456789abcdef0123456789abcdef01234567".into()),
        "unknown API key" => Caller::Other(format!("sk-{}", "A".repeat(43))),
        "key of another password" | "API key of another password" => {
            let key = key_of(system, &account).await;
            let (api_key, _) = system.api_key(&account, &json!({})).await;
            let change = json!({"old": account.password, "new": "another horse battery"});
            let change = Request::post("/api/v1/users/password", &change).auth_key(&key);
            system.send(change).await.expect_status(204);
            if kind == "key of another password" {
                Caller::Token(key)
            } else {
                Caller::Other(api_key)
            }
        }
        "revoked API key" => {
            let (key, id) = system.api_key(&account, &json!({})).await;
            let revoke = Request::new("DELETE", &format!("/api/v1/api-keys/{id}"));
            system.send(revoke.bearer(&account.access)).await.expect_status(204);
            Caller::Other(key)
        }
        "expired API key" => {
            let (key, _) = system.api_key(&account, &json!({"expires_in_seconds": 1})).await;
            tokio::time::sleep(std::time::Duration::from_millis(1_001)).await;
            Caller::Other(key)
        }
        "inactive" | "inactive with key" | "inactive with API key" => {
            let key = key_of(system, &account).await;
            let (api_key, _) = system.api_key(&account, &json!({})).await;
            system.set(&account, "active", AttributeValue::Bool(false)).await;
            match kind {
                "inactive" => Caller::Bearer(account.clone()),
                "inactive with key" => Caller::Token(key),
                _ => Caller::Other(api_key),
            }
        }
        _ if kind.ends_with("with API key") => Caller::Other(system.api_key(&account, &json!({})).await.0),
        _ if kind.ends_with("with key") => Caller::Token(key_of(system, &account).await),
        _ => Caller::Bearer(account.clone()),
    };
    (caller, account)
}

const KINDS: [&str; 21] = [
    "nobody",
    "foreign",
    "logged-out",
    "unknown key",
    "key of another password",
    "inactive",
    "inactive with key",
    "user",
    "user with key",
    "staff",
    "staff with key",
    "admin",
    "admin with key",
    "unknown API key",
    "revoked API key",
    "expired API key",
    "API key of another password",
    "inactive with API key",
    "user with API key",
    "staff with API key",
    "admin with API key",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_refuses_the_wrong_caller() {
    let system = System::start().await;
    system.account("target").await;
    let (mut cases, mut refused) = (0, 0);
    for kind in KINDS {
        let (mut calling, mut account) = caller(&system, kind, &kind.replace(' ', "-")).await;
        let count = protected(&About::caller(&account)).len();
        for index in 0..count {
            let about = About {
                target: "target",
                ..About::caller(&account)
            };
            let example: Example = protected(&about).swap_remove(index);
            let reply = system.send(calling.sign(example.request())).await;
            let place = format!("{kind}: {} {}: {}", example.method(), example.path, reply.text);
            cases += 1;
            match expected(kind, example.entry.access) {
                Some((status, code)) => {
                    assert_eq!((reply.status, reply.told(code)), (status, Some(code)), "{place}");
                    let scheme = match calling {
                        Caller::Token(_) => "Token",
                        _ => "Bearer realm=\"api\"",
                    };
                    if status == 401 {
                        assert_eq!(reply.header("www-authenticate"), scheme, "{place}");
                    }
                    reply.expect_error(status, code);
                    refused += 1;
                }
                // An admin's account cannot be deleted, and the example's chat, conversation and API key are nobody's; none of it is about
                // who calls.
                None => assert!(
                    reply.status == example.entry.success
                        || [
                            ("users-delete", 409),
                            ("chats-get", 404),
                            ("api-keys-revoke", 404),
                            ("conversations-get", 404),
                            ("conversations-update", 404),
                            ("conversations-delete", 404)
                        ]
                        .contains(&(example.entry.name, reply.status)),
                    "{place}"
                ),
            }
            if ["users-password", "users-delete", "users-logout"].contains(&example.entry.name)
                && expected(kind, example.entry.access).is_none()
            {
                (calling, account) = caller(&system, kind, &format!("{}-{index}", kind.replace(' ', "-"))).await;
            }
        }
    }
    println!("{cases} cases, {refused} refused");
    let target = system.items("target").await;
    let user = target.iter().find(|item| item["sk"].as_s().unwrap() == "USER").unwrap();
    // Three kinds of admin adjusted it by 500 and gave it a role; nobody else changed anything.
    assert_eq!(user["balance"], AttributeValue::N("5500".into()));
    assert_eq!(user["role"], AttributeValue::S("staff".into()));
    system.check_ledger("target").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_scheme_refuses_in_the_words_of_django_rest_framework() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let key = key_of(&system, &ada).await;
    let with = |header: String| system.send(Request::get("/api/v1/users/me").header("Authorization", &header));
    with(format!("Token {key}")).await.expect_status(200);
    with(format!("token  {key}")).await.expect_status(200);
    for (header, code, text) in [
        (
            "Token".to_owned(),
            "bad_authorization_header",
            "Invalid token header. No credentials provided.",
        ),
        (
            format!("Token {key} {key}"),
            "bad_authorization_header",
            "Invalid token header. Token string should not contain spaces.",
        ),
        (
            format!("Token {}", key.to_uppercase()),
            "token_not_valid",
            "Invalid token.",
        ),
        (format!("Token {}", &key[1..]), "token_not_valid", "Invalid token."),
        (format!("Token {}", ada.access), "token_not_valid", "Invalid token."),
    ] {
        let reply = with(header).await.expect_error(401, code);
        assert_eq!(reply.body["detail"], text);
        assert_eq!(reply.header("www-authenticate"), "Token");
    }
    system.set(&ada, "active", AttributeValue::Bool(false)).await;
    let reply = with(format!("Token {key}")).await.expect_error(401, "user_inactive");
    assert_eq!(reply.body["detail"], "User inactive or deleted.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_the_same_at_every_login_and_stored_only_as_a_hash() {
    let system = System::start().await;
    let sign_up = json!({"username": "ada", "password": "correct horse battery"});
    let registered = system
        .send(Request::post("/api/register", &sign_up))
        .await
        .expect_status(201);
    let key = registered.text_of("token");
    assert!(key.len() == 40 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    for _ in 0..2 {
        let login = system
            .send(Request::post("/api/login", &sign_up))
            .await
            .expect_status(200);
        assert_eq!(login.text_of("token"), key);
    }
    let change = json!({"old": "correct horse battery", "new": "another horse battery"});
    let stored = system.client.scan().table_name(&system.table).send().await.unwrap();
    assert!(
        !format!("{:?}", stored.items()).contains(&key),
        "only its hash is stored"
    );
    system
        .send(Request::post("/api/v1/users/password", &change).auth_key(&key))
        .await
        .expect_status(204);
    let again = json!({"username": "ada", "password": "another horse battery"});
    let login = system
        .send(Request::post("/api/login", &again))
        .await
        .expect_status(200);
    assert_ne!(login.text_of("token"), key, "a new password, a new key");
    let old = system.send(Request::get("/api/tokens").auth_key(&key)).await;
    old.expect_error(401, "token_not_valid");
    let tokens = system
        .send(Request::get("/api/tokens").auth_key(&login.text_of("token")))
        .await;
    assert_eq!(tokens.expect_status(200).body, json!({"tokens": 4000}));
    // The old key leads nowhere any more.
    let stored = system.client.scan().table_name(&system.table).send().await.unwrap();
    let lookups = stored
        .items()
        .iter()
        .filter(|item| item["pk"].as_s().unwrap().starts_with("TOKEN#"));
    assert_eq!(lookups.count(), 1);
}
