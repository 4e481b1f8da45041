//! A provider that speaks OpenAI's API and fails as providers do: what the client gets, what was charged, how often the provider was asked,
//! in each form in which an answer can be had. `--nocapture` prints it as a table.
//!
//! Needs llmock (`tests/support/rigs.rs`). Faults that it does not have are in `models.rs`, whose server is our own.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{Account, FailingProvider, Reply, Request, System, ToldEvent};

/// One token for each that is read, two for each that is written.
const PRICES: &str = r#"{"version": "1", "models": {"gpt-4o-mini": {"input": 1000000, "output": 2000000}}}"#;

/// What comes of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// An error with this status and code.
    Refused(u16, &'static str),
    /// An answer, which ended for this reason.
    Said(&'static str),
}

use Gets::{Refused, Said};

const FAILED: Gets = Refused(502, "model_failed");
const LATE: Gets = Refused(504, "model_timed_out");
const BUSY: Gets = Refused(503, "model_busy");
const FILTERED: Gets = Refused(422, "content_filtered");

/// A fault, as it is called and as llmock is told.
struct Fault {
    name: &'static str,
    told: Value,
    /// What comes of it as a document, and as a stream.
    gets: [Gets; 2],
    /// How often the provider is asked: again where it may help, as long as nothing was said.
    asked: usize,
}

fn fault(name: &'static str, told: Value, gets: [Gets; 2], asked: usize) -> Fault {
    Fault {
        name,
        told,
        gets,
        asked,
    }
}

fn faults() -> Vec<Fault> {
    let fails = |status: u16, times: u32| json!([{"type": "fail", "status": status, "times": times}]);
    let waits = |status: u16, seconds: u32| json!([{"type": "fail", "status": status, "retry_after": seconds}]);
    let coded = |status: u16, code: &str| json!([{"type": "fail", "status": status, "code": code, "message": "No."}]);
    let reply = |text: &str, finish: &str| json!([{"type": "reply", "text": text, "finish_reason": finish}]);
    let breaks =
        |kind: &str, after: u32| json!([{"type": "stream_fault", "kind": kind, "after_chunks": after, "times": 9}]);
    let stalls = |after: u32, seconds: f64| json!([{"type": "stream_fault", "kind": "stall", "after_chunks": after, "stall_seconds": seconds}]);
    let both = |gets| [gets, gets];
    let part = |otherwise| [otherwise, Said("interrupted")];
    let whole = || both(Said("stop"));
    vec![
        fault("nothing", json!([]), whole(), 1),
        fault("429, wait 7 s", waits(429, 7), both(BUSY), 1),
        fault("429, wait 1 s", waits(429, 1), whole(), 2),
        fault("503, wait 7 s", waits(503, 7), both(BUSY), 1),
        fault("500 once", fails(500, 1), whole(), 2),
        fault("500", fails(500, 9), both(FAILED), 2),
        fault("502", fails(502, 9), both(FAILED), 2),
        // It asks for a second, which is waited for.
        fault("504", fails(504, 9), both(FAILED), 2),
        fault("529, wait 7 s", waits(529, 7), both(BUSY), 1),
        fault("500, wait 7 s", waits(500, 7), both(FAILED), 1),
        fault("400", fails(400, 1), both(FAILED), 1),
        fault("401", fails(401, 1), both(FAILED), 1),
        fault("402, no quota", coded(402, "insufficient_quota"), both(FAILED), 1),
        fault("404, no model", coded(404, "model_not_found"), both(FAILED), 1),
        fault("408", fails(408, 1), both(FAILED), 1),
        fault(
            "400, context length",
            coded(400, "context_length_exceeded"),
            both(Refused(400, "context_length_exceeded")),
            1,
        ),
        fault("400, content filter", coded(400, "content_filter"), both(FILTERED), 1),
        fault("filtered at once", reply("", "content_filter"), both(FILTERED), 1),
        fault(
            "filtered later",
            reply("I would rather", "content_filter"),
            [FILTERED, Said("content_filter")],
            1,
        ),
        // It has read and written something for it, and says so.
        fault("no words", reply("", "stop"), whole(), 1),
        fault(
            "calls a tool",
            json!([{"type": "reply", "tool_calls": [{"name": "f", "arguments": {}}]}]),
            whole(),
            1,
        ),
        fault(
            "answers late",
            json!([{"type": "delay", "seconds": 2.5}]),
            both(LATE),
            1,
        ),
        fault(
            "a slow first word",
            json!([{"type": "slow_first_token", "seconds": 0.3}]),
            whole(),
            1,
        ),
        fault("stalls at first", stalls(0, 2.5), both(LATE), 1),
        fault("stalls", stalls(3, 2.5), part(LATE), 1),
        fault("stalls a moment", stalls(3, 0.3), whole(), 1),
        fault("ends before a word", breaks("truncate", 0), both(FAILED), 1),
        fault("ends in the middle", breaks("truncate", 3), part(FAILED), 1),
        // The role, three words and the reason for the end have come; what it used has not.
        fault(
            "ends before usage",
            json!([{"type": "reply", "text": "one two three"}, {"type": "stream_fault", "kind": "truncate", "after_chunks": 5}]),
            whole(),
            1,
        ),
        fault("hangs up at first", breaks("disconnect", 0), both(FAILED), 2),
        fault("hangs up", breaks("disconnect", 3), part(FAILED), 1),
        fault("nonsense at first", breaks("malformed", 0), both(FAILED), 1),
        fault("nonsense", breaks("malformed", 3), part(FAILED), 1),
        fault(
            "out of room",
            reply("as far as it goes", "length"),
            both(Said("length")),
            1,
        ),
        fault("its own reason", reply("all of it", "a reason of its own"), whole(), 1),
    ]
}

/// The forms in which an answer can be had.
const FORMS: [(&str, bool); 4] = [
    ("/api/v1/chats", false),
    ("/api/v1/chats/stream", true),
    ("/v1/chat/completions", false),
    ("/v1/chat/completions", true),
];

/// What a client was told, whatever the form.
#[derive(Debug)]
struct Told {
    status: u16,
    /// The code of an error, before an answer or in its middle.
    code: Option<String>,
    finish: Option<String>,
    /// What it cost, what was read and what was written.
    cost: Option<u64>,
    usage: Option<[u64; 2]>,
    retry_after: Option<String>,
}

impl Told {
    fn of(reply: &Reply) -> Self {
        let events = ToldEvent::all(&reply.text);
        let documents = || events.iter().map(|event| &event.data).chain([&reply.body]);
        let find = |pointers: [&str; 2]| {
            let found = |document: &Value| {
                let mut members = pointers.iter().map(|pointer| document.pointer(pointer));
                members.find_map(|member| member.filter(|member| !member.is_null()).cloned())
            };
            documents().find_map(found)
        };
        let text = |pointers| find(pointers).and_then(|value| value.as_str().map(str::to_owned));
        let number = |pointers| find(pointers).and_then(|value| value.as_u64());
        let usage = [
            number(["/chat/usage/input_tokens", "/usage/prompt_tokens"]),
            number(["/chat/usage/output_tokens", "/usage/completion_tokens"]),
        ];
        Self {
            status: reply.status,
            code: text(["/code", "/error/code"]),
            finish: text(["/chat/finish_reason", "/choices/0/finish_reason"]),
            cost: number(["/chat/cost", "/usage/cost"]),
            usage: usage[0].zip(usage[1]).map(|(input, output)| [input, output]),
            retry_after: reply.headers.get("retry-after").cloned(),
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        for word in [&self.finish, &self.code].into_iter().flatten() {
            write!(f, " {word}")?;
        }
        write!(f, ", {}", self.cost.unwrap_or(0))
    }
}

fn request(ada: &Account, (path, streams): (&str, bool)) -> Request {
    let text = "hello there, provider";
    let body = if path.starts_with("/api") {
        json!({"message": text})
    } else {
        let options = streams.then(|| json!({"include_usage": true}));
        json!({
            "model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "stream": streams, "stream_options": options,
        })
    };
    Request::post(path, &body).bearer(&ada.access)
}

/// What the door calls what is called so elsewhere, and what it says of an answer that ended for a reason that OpenAI has no word for.
fn at_the_door(gets: Gets) -> (u16, Option<&'static str>, Option<&'static str>) {
    match gets {
        Refused(422, _) => (400, Some("content_filter"), None),
        Refused(status, code) => (status, Some(code), None),
        // An error that libraries raise.
        Said("interrupted") => (200, Some("model_failed"), None),
        Said(finish) => (200, None, Some(finish)),
    }
}

/// Meets every fault in every form, and prints what came of it.
async fn meet_every_fault(prices: &str) {
    let Some(provider) = FailingProvider::start().await else {
        return;
    };
    let system = System::start_with(&[
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", provider.base_url.as_str()),
        ("MODEL_NAME", "gpt-4o-mini"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
        ("MODEL_TIMEOUT_MILLISECONDS", "4000"),
        ("MODEL_SILENCE_MILLISECONDS", "800"),
        ("MODEL_PRICES", prices),
        ("SIGNUP_TOKENS", "1000000"),
        ("CHATS_PER_MINUTE", "0"),
    ])
    .await;
    let ada = system.account("ada").await;
    let flat = prices.is_empty();
    let mut table = format!("| the provider{:12} | asked |", "");
    for (path, streams) in FORMS {
        let form = format!(
            "{path}{}",
            if streams && path.starts_with("/v1") {
                ", streamed"
            } else {
                ""
            }
        );
        let _ = write!(table, " {form:34} |");
    }
    let mut balance = 1_000_000;
    for (number, fault) in faults().iter().enumerate() {
        let _ = write!(table, "\n| {:24} | {:5} |", fault.name, fault.asked);
        for (index, form) in FORMS.into_iter().enumerate() {
            let context = format!("{} at {form:?}", fault.name);
            provider.tell(&fault.told).await;
            let request = request(&ada, form).header("Idempotency-Key", &format!("key-{number}-{index}"));
            let reply = system.send(request.clone()).await;
            let told = Told::of(&reply);
            let _ = write!(table, " {:34} |", told.to_string());
            assert_eq!(provider.asked(fault.asked).await.len(), fault.asked, "{context}");
            let mut complaints = provider.complaints().await;
            // It takes who does not ask again for somebody who has taken a part for the whole. What the client gets tells.
            complaints.retain(|complaint| complaint != "truncated_stream_accepted");
            assert_eq!(complaints, Vec::<String>::new(), "{context}");
            let gets = fault.gets[usize::from(form.1)];
            let expected = match gets {
                _ if form.0.starts_with("/v1") => at_the_door(gets),
                Refused(status, code) => (status, Some(code), None),
                Said(finish) => (200, None, Some(finish)),
            };
            assert_eq!(
                (told.status, told.code.as_deref(), told.finish.as_deref()),
                expected,
                "{context}: {}",
                reply.text
            );
            assert_eq!(told.retry_after.as_deref(), (gets == BUSY).then_some("7"), "{context}");
            // The charge: what was used, and with a flat price all or nothing; nothing for an error.
            system.wait_for_holds("ada", 0).await;
            let wordless = matches!(fault.name, "no words" | "calls a tool");
            let cost = match gets {
                Refused(..) => 0,
                Said("interrupted" | "content_filter") if flat => 0,
                Said(_) if flat && wordless => 0,
                Said(_) if flat => 100,
                Said(_) => {
                    let [input, output] = told.usage.unwrap_or_else(|| panic!("{context}: {}", reply.text));
                    assert!(input > 0 && (output > 0), "{context}: {}", reply.text);
                    input + 2 * output
                }
            };
            assert_eq!(told.cost.unwrap_or(0), cost, "{context}: {}", reply.text);
            balance -= cost;
            assert_eq!(system.balance(&ada).await, balance, "{context}");
            // What was free left its key free, and the provider is well again.
            if cost == 0 && !form.0.starts_with("/v1") {
                provider.tell(&json!([])).await;
                let again = Told::of(&system.send(request).await);
                assert_eq!(
                    (again.status, again.finish.as_deref()),
                    (200, Some("stop")),
                    "{context}"
                );
                balance -= again.cost.unwrap();
            }
        }
    }
    println!("{table}");
    assert_eq!(system.balance(&ada).await, balance);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_does_a_flat_price_buys_a_whole_answer() {
    meet_every_fault("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_does_what_was_used_for_what_was_heard_is_paid() {
    meet_every_fault(PRICES).await;
}
