//! Random events to every function: whatever comes in, an answer goes out, and never one that says that the system has failed.
//!
//! Which events these are follows from a seed; `PROPTEST_RNG_SEED` sets another.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shared::api::{AccessKind, FALLBACK};

use crate::support::{About, Account, Example, Random, Request, System, examples};

const EVENTS_OF_EACH_FUNCTION: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn no_event_gets_an_answer_that_is_not_one() {
    let system = System::start().await;
    system.account("target").await;
    for seed in Random::seeds(&[20_250_106]) {
        println!("PROPTEST_RNG_SEED={seed}");
        let mut binaries: Vec<_> = shared::api::TABLE.iter().map(|entry| entry.name).collect();
        binaries.push(FALLBACK);
        let fuzz = binaries.iter().zip(0..).map(|(binary, stream)| {
            let attack = Attack {
                system: &system,
                binary,
                random: Random::new(seed, stream),
            };
            attack.run()
        });
        let answers: usize = join_all(fuzz).await.into_iter().sum();
        assert_eq!(answers, binaries.len() * EVENTS_OF_EACH_FUNCTION);
    }
}

/// Prints the event that the test failed with. The other functions' are dropped after it.
struct Shown<'a>(&'a str, Value);

static IS_SHOWN: AtomicBool = AtomicBool::new(false);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !IS_SHOWN.swap(true, Ordering::Relaxed) {
            println!("{} got {}", self.0, self.1);
        }
    }
}

/// One function under fire.
struct Attack<'a> {
    system: &'a System,
    binary: &'a str,
    random: Random,
}

impl Attack<'_> {
    async fn run(mut self) -> usize {
        let (mut caller, mut ids) = self.caller(0).await;
        let (mut answers, mut successes) = (0, 0);
        for index in 1..=EVENTS_OF_EACH_FUNCTION {
            let event = self.event(&caller, &ids);
            let shown = Shown(self.binary, event.clone());
            let reply = self.system.deliver(self.binary, event).await;
            match reply.status {
                200..300 => {
                    successes += 1;
                    // What may have ended the caller's session or key, or the conversation; the events that follow should have one.
                    let ending = [
                        "users-logout",
                        "users-password",
                        "users-delete",
                        "api-keys-revoke",
                        "conversations-delete",
                    ];
                    if ending.contains(&self.binary) {
                        (caller, ids) = self.caller(index).await;
                    }
                }
                400..500 => {
                    let code = reply.code().to_owned();
                    reply.clone().expect_error(reply.status, &code);
                }
                status => panic!("{status}: {}", reply.text),
            }
            drop(shown);
            answers += 1;
        }
        // Otherwise what is behind the first checks was never reached.
        let few = successes < 5 && self.binary != FALLBACK;
        assert!(!few, "only {successes} of the events were right for {}", self.binary);
        answers
    }

    /// Somebody who may call the function, with the ids of a chat of theirs, its conversation and an API key of theirs.
    async fn caller(&self, index: usize) -> (Account, [String; 3]) {
        let account = self.system.account(&format!("{}.{index}", self.binary)).await;
        let entry = shared::api::TABLE.iter().find(|entry| entry.name == self.binary);
        if entry.is_some_and(|entry| matches!(entry.access, AccessKind::Staff | AccessKind::Admin)) {
            self.system.set_text(&account, "role", "admin").await;
        }
        let chat = json!({"message": "hello", "conversation_id": "new"});
        let chat = Request::post("/api/v1/chats", &chat).bearer(&account.access);
        let chat = self.system.send(chat).await.expect_status(200);
        let [id, conversation] =
            ["id", "conversation_id"].map(|name| chat.body["chat"][name].as_str().unwrap().to_owned());
        let (_, api_key) = self.system.api_key(&account, &json!({})).await;
        (account, [id, conversation, api_key])
    }

    fn event(&mut self, caller: &Account, [chat, conversation, api_key]: &[String; 3]) -> Value {
        let about = About {
            caller,
            target: "target",
            chat,
            api_key,
            conversation,
        };
        let all = examples(&about);
        let own: Vec<_> = all.iter().filter(|example| example.entry.name == self.binary).collect();
        // The fallback gets what belongs to others.
        let example = if own.is_empty() {
            self.random.one_of(&all)
        } else {
            *self.random.one_of(&own)
        };
        let method = if self.random.percent(92) {
            example.method().to_owned()
        } else {
            self.method()
        };
        let path = if self.random.percent(75) {
            example.path.clone()
        } else {
            self.path(&example.path)
        };
        let (query, headers) = (self.query(), self.headers(caller));
        let (body, base64) = self.body(example);
        if self.random.percent(50) {
            self.rest_event(&method, &path, &query, &headers, body.as_deref(), base64)
        } else {
            http_event(&method, &path, &query, &headers, body.as_deref(), base64)
        }
    }

    fn method(&mut self) -> String {
        self.random.draw(prop_oneof![
            "GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS",
            "[a-zA-Z]{0,8}",
            any::<String>()
        ])
    }

    fn path(&mut self, path: &str) -> String {
        let odd = prop_oneof![
            any::<String>(),
            "(%[0-9a-fA-F]{2}){1,9}",
            "[a-z%#?;&.@+ -]{0,12}",
            "[a-z]{5000}"
        ];
        let odd = self.random.draw(odd);
        match self.random.below(5) {
            0 => odd,
            1 => format!("{path}/"),
            2 => format!("{path}{odd}"),
            3 => format!("{path}/{odd}"),
            _ => path
                .rsplit_once('/')
                .map_or(odd.clone(), |(before, _)| format!("{before}/{odd}")),
        }
    }

    fn query(&mut self) -> Vec<(String, String)> {
        let names = prop_oneof![
            8 => prop::sample::select(&["limit", "cursor", "prefix", "active"][..]).prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        let values = prop_oneof![
            4 => "[0-9]{1,3}",
            2 => "true|false",
            2 => "[A-Za-z0-9_-]{0,60}",
            2 => any::<String>(),
            1 => "[A-Za-z]{9000}",
        ];
        let most = if self.random.percent(60) { 0 } else { 5 };
        self.random.draw(prop::collection::vec((names, values), 0..=most))
    }

    fn headers(&mut self, caller: &Account) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        match self.random.below(20) {
            0..13 => headers.push(("Authorization".into(), format!("Bearer {}", caller.access))),
            13..15 => headers.push((
                "authorization".into(),
                format!("Bearer {}", self.broken(&caller.access)),
            )),
            15 => headers.push(("AUTHORIZATION".into(), format!("Bearer {}", caller.refresh))),
            16 => headers.push((
                "Authorization".into(),
                format!("Token {}", self.random.draw("[0-9a-f]{40}")),
            )),
            17 => headers.push(("Authorization".into(), self.random.draw(any::<String>()))),
            18 => {
                let key = self.random.draw("Bearer sk-[0-9A-Za-z_-]{42,43}");
                headers.push(("Authorization".into(), key));
            }
            _ => {}
        }
        let json = self.random.percent(90);
        headers.push((
            "Content-Type".into(),
            if json {
                "application/json".into()
            } else {
                self.random.draw(any::<String>())
            },
        ));
        let most = if self.random.percent(70) { 0 } else { 4 };
        let names = prop_oneof![
            "Origin|Accept|Cookie|Host|X-Request-Id|Idempotency-Key|Content-Length|Transfer-Encoding|Authorization|Content-Type",
            any::<String>(),
        ];
        let values = prop_oneof![any::<String>(), "[!-~]{1,30}", "[ -~]{8000}"];
        headers.extend(self.random.draw(prop::collection::vec((names, values), 0..=most)));
        headers
    }

    /// A text with one of its characters another.
    fn broken(&mut self, text: &str) -> String {
        let mut characters: Vec<_> = text.chars().collect();
        let at = self.random.below(characters.len());
        characters[at] = self.random.draw(any::<char>());
        characters.into_iter().collect()
    }

    /// A body, and whether it is in base64.
    fn body(&mut self, example: &Example) -> (Option<String>, bool) {
        let mut right = example.body.clone().unwrap_or(json!({"message": "hello"}));
        if self.binary == "users-register" {
            // The name of the example is soon taken.
            right["username"] = json!(self.random.draw("[a-z]{12}"));
        }
        let text = match self.random.below(20) {
            0..5 => return (example.body.is_some().then(|| right.to_string()), false),
            5..11 => self.changed(&right).to_string(),
            11..14 => self.broken(&right.to_string()),
            14 => return (Some(STANDARD.encode(self.random.draw(any::<Vec<u8>>()))), true),
            15 => {
                let mut bytes = right.to_string().into_bytes();
                let at = self.random.below(bytes.len());
                bytes[at] = self.random.draw(any::<u8>());
                return (Some(STANDARD.encode(bytes)), true);
            }
            16 => self.random.draw(any::<String>()),
            17 => format!(
                "{}{}",
                self.random.draw("[\\[{]{0,300}"),
                self.random.draw("[\\[{\":,a1}\\]]{0,40}")
            ),
            18 => json!({"message": "x".repeat(self.random.below(80_000)), "username": "x".repeat(70_000)}).to_string(),
            _ => return (None, false),
        };
        (Some(text), false)
    }

    /// A body with some of its members others, more or none.
    fn changed(&mut self, body: &Value) -> Value {
        let mut members: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
        for _ in 0..=self.random.below(2) {
            let names: Vec<_> = members.keys().cloned().chain(["extra".to_owned()]).collect();
            let name = self.random.one_of(&names).clone();
            if self.random.percent(15) {
                members.remove(&name);
            } else {
                let value = self.random.draw(value());
                members.insert(name, value);
            }
        }
        Value::Object(members)
    }

    /// Format 1.0, sometimes with something in it that no gateway sends.
    fn rest_event(
        &mut self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        headers: &[(String, String)],
        body: Option<&str>,
        base64: bool,
    ) -> Value {
        let multiple = |pairs: &[(String, String)]| {
            let mut multiple = Map::new();
            for (name, value) in pairs {
                let values = multiple.entry(name.clone()).or_insert_with(|| json!([]));
                values.as_array_mut().unwrap().push(json!(value));
            }
            Value::Object(multiple)
        };
        let mut event = json!({
            "httpMethod": method, "path": path, "multiValueHeaders": multiple(headers),
            "multiValueQueryStringParameters": multiple(query), "body": body, "isBase64Encoded": base64,
            "requestContext": {"requestId": self.random.draw(prop_oneof!["[!-~]{1,40}", any::<String>()]), "stage": "prod"},
        });
        if self.random.percent(10) {
            let members: Vec<_> = event.as_object().unwrap().keys().cloned().collect();
            let member = self.random.one_of(&members).clone();
            event[member] = self.random.draw(value());
        }
        event
    }
}

/// Format 2.0, where equal headers are joined and the query is text.
fn http_event(
    method: &str,
    path: &str,
    query: &[(String, String)],
    headers: &[(String, String)],
    body: Option<&str>,
    base64: bool,
) -> Value {
    let headers: Map<_, _> = headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), json!(value)))
        .collect();
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "version": "2.0", "httpMethod": "GET", "rawPath": path, "rawQueryString": query.join("&"), "headers": headers,
        "body": body, "isBase64Encoded": base64, "requestContext": {"stage": "$default", "http": {"method": method}},
    })
}

/// Any JSON value, and more often than not one of those that are hard to get right.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[a-z0-9]{0,20}",
        "[ -~]{150,160}",
        "[\u{300}-\u{36f}ßİﷺ𠀀]{0,200}",
        Just("\u{fdfa}".repeat(150)),
        "[a-z]{1030}",
    ];
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::sample::select(&[0, 1, -1, i64::MAX, i64::MIN, 1 << 53, -(1 << 53)][..]).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        3 => text.prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
