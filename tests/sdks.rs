//! OpenAI's own libraries, as they are, in front of the whole system: what a program gets that was written for OpenAI, and what it pays
//! when its library sends by itself again what was lost, slow or refused.
//!
//! Needs the programs of `tests/support/rigs.rs`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    Account, Cut, FailingProvider, LlamaServer, Proxy, Request, Running, Sdk, Site, System, busy, free_port,
    readme_blocks, readme_line,
};

/// What an answer costs.
const COST: u64 = 100;
/// What an account is given.
const GRANT: u64 = 400;

/// A deployment whose users soon have to wait, and soon have nothing left.
const VARIABLES: [(&str, &str); 5] = [
    ("MODEL_PROVIDER", "openai"),
    ("MODEL_NAME", "gpt-4o-mini"),
    ("SIGNUP_TOKENS", "400"),
    ("CHATS_PER_MINUTE", "60"),
    ("CHAT_BURST", "2"),
];

/// A deployment, the provider behind it, and a connection to it that breaks where it is told to.
struct Place {
    site: Site,
    provider: FailingProvider,
    proxy: Proxy,
    visitors: AtomicU32,
}

/// A library with an account of its own.
struct Visitor<'a> {
    place: &'a Place,
    sdk: Sdk,
    account: Account,
    key: String,
}

impl Place {
    async fn new(site: Site, provider: FailingProvider) -> Self {
        let proxy = Proxy::open(site.url.trim_start_matches("http://")).await;
        Self {
            site,
            provider,
            proxy,
            visitors: AtomicU32::new(0),
        }
    }

    async fn visitor(&self, sdk: Sdk) -> Visitor<'_> {
        let number = self.visitors.fetch_add(1, Ordering::Relaxed);
        let account = self.site.account(&format!("visitor{number}")).await;
        let key = self.site.api_key(&account).await;
        Visitor {
            place: self,
            sdk,
            account,
            key,
        }
    }
}

impl Visitor<'_> {
    async fn run(&self, scenario: &str) -> Value {
        let base_url = format!("http://{}/v1", self.place.proxy.address);
        let variables = [
            ("OPENAI_BASE_URL", base_url.as_str()),
            ("OPENAI_API_KEY", &self.key),
            ("CLIENT_MODEL", "gpt-4o-mini"),
            ("CLIENT_TIMEOUT", "1.5"),
        ];
        let said = self.sdk.run(scenario, &variables).await.expect("it was there before");
        println!("{said}");
        assert!(self.place.proxy.has_cut());
        said
    }

    /// Runs a scenario in which nothing is sent twice.
    async fn run_once(&self, scenario: &str) -> Value {
        let said = self.run(scenario).await;
        assert_eq!(said["requests"], 1, "{said}");
        said
    }

    /// Runs a scenario in which one question is sent more than once.
    async fn run_again(&self, scenario: &str) -> Value {
        let said = self.run(scenario).await;
        assert!(said["requests"].as_u64() >= Some(2), "{said}");
        assert!(matches!(said["calls"].as_u64(), None | Some(1)), "{said}");
        said
    }

    /// Checks what all answers so far have cost, once nothing is under way any more: in the table and as the user is told.
    async fn expect_spent(&self, answers: u64) {
        let mut books = self.place.site.books(&self.account).await;
        for _ in 0..500 {
            if books.holds.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            books = self.place.site.books(&self.account).await;
        }
        books.check();
        assert_eq!(books.holds, [], "{books:?}");
        assert_eq!(
            self.place.site.balance(&self.account).await,
            GRANT - answers * COST,
            "{books:?}"
        );
    }

    /// What the history says of the newest answer.
    async fn newest(&self) -> Value {
        self.place.site.chats(&self.account).await.remove(0)
    }

    async fn ask(&self) -> u16 {
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]});
        let request = Request::post("/v1/chat/completions", &body).bearer(&self.key);
        self.place.site.send(&request).await.status
    }
}

async fn answers(place: &Place, sdk: Sdk) {
    place.provider.tell(&json!([])).await;
    let visitor = place.visitor(sdk).await;
    assert_eq!(visitor.run_once("models").await["models"], json!(["gpt-4o-mini"]));
    let whole = visitor.run_once("chat").await;
    let chat = visitor.newest().await;
    assert_eq!(whole["id"], format!("chatcmpl-{}", chat["id"].as_str().unwrap()));
    assert_eq!(
        (&whole["text"], &whole["model"]),
        (&chat["response"], &json!("gpt-4o-mini"))
    );
    let streamed = visitor.run_once("stream-usage").await;
    assert!(streamed["pieces"].as_u64() > Some(1), "{streamed}");
    for member in ["text", "finish", "prompt_tokens", "completion_tokens"] {
        assert_eq!(whole[member], streamed[member], "{member}");
    }
    visitor.expect_spent(2).await;
    let visitor = place.visitor(sdk).await;
    visitor.run_once("history").await;
    visitor.run_once("stream").await;
    visitor.expect_spent(2).await;
}

async fn refusals(place: &Place, sdk: Sdk) {
    let visitor = place.visitor(sdk).await;
    for scenario in ["bad-key", "bad-key-stream", "unknown-model"] {
        visitor.run_once(scenario).await;
    }
    place
        .provider
        .tell(
            &json!([{"type": "fail", "status": 400, "code": "context_length_exceeded", "message": "It is too long."}]),
        )
        .await;
    visitor.run_once("too-long").await;
    visitor.expect_spent(0).await;
    // Without a balance: said once, because it is no use to send it again.
    let mut status = 200;
    while status != 402 {
        status = visitor.ask().await;
        assert!(matches!(status, 200 | 402 | 429), "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    visitor.run_once("no-balance").await;
    visitor.run_once("no-balance-stream").await;
    visitor.expect_spent(4).await;
}

/// Who is too fast is told for how long to wait, and the library does.
async fn patience(place: &Place, sdk: Sdk) {
    for scenario in ["retried", "retried-stream"] {
        let visitor = place.visitor(sdk).await;
        let said = visitor.run(scenario).await;
        let calls = said["calls"].as_u64().unwrap();
        assert_eq!(said["requests"], calls + 1, "{said}");
        assert!(said["seconds"].as_f64() >= Some(1.0), "{said}");
        visitor.expect_spent(calls).await;
    }
    // What the provider asks to wait is handed on.
    let visitor = place.visitor(sdk).await;
    place
        .provider
        .tell(&json!([{"type": "fail", "status": 429, "retry_after": 2}]))
        .await;
    let said = visitor.run_again("retried").await;
    assert!(said["seconds"].as_f64() >= Some(2.0), "{said}");
    visitor.expect_spent(1).await;
    // A provider that fails is asked twice, and the library asks once more.
    place
        .provider
        .tell(&json!([{"type": "fail", "status": 500, "times": 2}]))
        .await;
    visitor.run_again("retried-stream").await;
    visitor.expect_spent(2).await;
    assert_eq!(place.provider.asked(3).await.len(), 3);
}

/// An answer that does not reach the library is paid once, whether the library asks again or gives up.
async fn lost_answers(place: &Place, sdk: Sdk) {
    let visitor = place.visitor(sdk).await;
    for (paid, scenario) in (1..).zip(["retried", "retried-stream"]) {
        place.provider.tell(&json!([])).await;
        place.proxy.cut(Cut::BeforeHeaders);
        let said = visitor.run_again(scenario).await;
        visitor.expect_spent(paid).await;
        assert_eq!(
            said["id"],
            format!("chatcmpl-{}", visitor.newest().await["id"].as_str().unwrap())
        );
        assert_eq!(place.provider.asked(1).await.len(), 1);
    }
    let visitor = place.visitor(sdk).await;
    for (paid, cut) in (1..).zip([Cut::AfterHeaders, Cut::InBody]) {
        place.proxy.cut(cut);
        match sdk {
            Sdk::Python => visitor.run_again("retried").await,
            // It has had the headers, and takes that for the answer.
            Sdk::Node => visitor.run_once("broken-answer").await,
        };
        visitor.expect_spent(paid).await;
    }
    // Nobody asks again for a stream that has begun. It is finished, paid and in the history.
    let visitor = place.visitor(sdk).await;
    for (paid, cut) in (1..).zip([Cut::AfterHeaders, Cut::InBody]) {
        place.proxy.cut(cut);
        visitor.run_once("broken-stream").await;
        visitor.expect_spent(paid).await;
        let chat = visitor.newest().await;
        assert_eq!((&chat["finish_reason"], &chat["cost"]), (&json!("stop"), &json!(COST)));
    }
    // A key of the program's own says the same.
    let visitor = place.visitor(sdk).await;
    place.proxy.cut(Cut::BeforeHeaders);
    visitor.run_again("retried-keyed").await;
    visitor.expect_spent(1).await;
}

/// A library that waits for less time than an answer takes asks again while it is given.
async fn impatience(place: &Place, sdk: Sdk) {
    let visitor = place.visitor(sdk).await;
    for (paid, scenario) in (1..).zip(["impatient", "impatient-stream"]) {
        place.provider.tell(&json!([{"type": "delay", "seconds": 2.5}])).await;
        visitor.run_again(scenario).await;
        visitor.expect_spent(paid).await;
        assert_eq!(place.provider.asked(1).await.len(), 1);
    }
}

async fn broken_streams(place: &Place, sdk: Sdk) {
    let visitor = place.visitor(sdk).await;
    // The provider breaks off: the library raises what the stream says of it. A flat price buys a whole answer.
    place
        .provider
        .tell(&json!([{"type": "stream_fault", "kind": "disconnect", "after_chunks": 4}]))
        .await;
    let said = visitor.run_once("broken-stream").await;
    assert_eq!(
        (&said["error"], &said["code"]),
        (&json!("APIError"), &json!("model_failed"))
    );
    visitor.expect_spent(0).await;
    // The library leaves.
    place
        .provider
        .tell(&json!([{"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 1}]))
        .await;
    let said = visitor.run_once("leave").await;
    visitor.expect_spent(1).await;
    let chat = visitor.newest().await;
    assert_eq!((&chat["finish_reason"], &chat["cost"]), (&json!("stop"), &json!(COST)));
    assert!(
        chat["response"].as_str().unwrap().len() > said["text"].as_str().unwrap().len(),
        "{chat} {said}"
    );
}

/// README's session, and what it says of OpenAI's library, with a library that is installed already.
fn paste_readme(running: &Running) -> String {
    let blocks = readme_blocks();
    let session = blocks.iter().find(|block| block.contains("curl")).unwrap();
    let library = blocks
        .iter()
        .find(|block| block.contains("pip install openai"))
        .unwrap();
    let python = std::env::var("OPENAI_PYTHON").unwrap();
    let library = library.replace("pip install openai", "").replace("python3", &python);
    running.paste(&format!("{{ {session} }} >/dev/null\n{library}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn readmes_line_for_any_server_serves_openais_libraries() {
    let Some(provider) = FailingProvider::start()
        .await
        .filter(|_| Sdk::ALL.into_iter().all(Sdk::is_there))
    else {
        return;
    };
    let line = readme_line("MODEL_PROVIDER=openai");
    let line = line
        .replace("https://api.openai.com/v1", &provider.base_url)
        .replace("sk-…", "sk-the-providers-key");
    let Some(running) = Running::start_as(&line, &["--memory"], &VARIABLES[2..]) else {
        return;
    };
    assert_eq!(paste_readme(&running), "Hello! You said: Hello AI");
    let place = Place::new(running.site(), provider).await;
    for sdk in Sdk::ALL {
        answers(&place, sdk).await;
        refusals(&place, sdk).await;
        patience(&place, sdk).await;
        lost_answers(&place, sdk).await;
        impatience(&place, sdk).await;
        broken_streams(&place, sdk).await;
    }
    running.stop("-INT");
}

#[tokio::test(flavor = "multi_thread")]
async fn readmes_line_for_the_small_model_serves_openais_libraries() {
    if !LlamaServer::is_there() || !Sdk::ALL.into_iter().all(Sdk::is_there) {
        return;
    }
    let port = free_port().to_string();
    let model = format!("http://127.0.0.1:{port}");
    let variables = [("PORT", port.as_str()), ("MODEL_MAX_OUTPUT_TOKENS", "128")];
    let Some(running) = Running::start_as(&readme_line("local/smollm2/run"), &["--memory"], &variables) else {
        return;
    };
    assert!(!paste_readme(&running).trim().is_empty());
    let site = running.site();
    let ada = site.account("grace").await;
    let key = site.api_key(&ada).await;
    let question = json!({"model": LlamaServer::MODEL, "messages": [{"role": "user", "content": "What is a ledger?"}], "stream": true});
    for request in [
        Request::post("/api/v1/chats/stream", &json!({"message": "What is a ledger?"})),
        Request::post("/v1/chat/completions", &question),
    ] {
        let (events, gap, at_work) = site.hear(&request.bearer(&key), busy(&model)).await;
        println!("{} events, first words {gap:?} before the last", events.len());
        assert_eq!(at_work, 1, "the model is at work when its first words are here");
        assert!(gap > Duration::from_millis(50), "{gap:?}");
    }
    let base_url = format!("{}/v1", site.url);
    let variables = [
        ("OPENAI_BASE_URL", base_url.as_str()),
        ("OPENAI_API_KEY", &key),
        ("CLIENT_MODEL", LlamaServer::MODEL),
    ];
    for sdk in Sdk::ALL {
        for scenario in ["models", "chat", "stream-usage"] {
            let said = sdk.run(scenario, &variables).await.unwrap();
            println!("{said}");
            assert_eq!(said["requests"], 1, "{said}");
        }
    }
    site.books(&ada).await.check();
    assert_eq!(site.balance(&ada).await, 4000 - 6 * COST);
    running.stop("-TERM");
    // It ends a moment after it was told to.
    let is_there = || std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).is_ok();
    for _ in 0..100 {
        if !is_there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the model is left behind");
}

async fn in_the_test_gateway(sdk: Sdk) {
    let Some(provider) = FailingProvider::start().await.filter(|_| sdk.is_there()) else {
        return;
    };
    let mut variables = VARIABLES.to_vec();
    variables.push(("OPENAI_BASE_URL", &provider.base_url));
    let system = Arc::new(System::start_with(&variables).await);
    for _ in 0..3 {
        system.spawn("completions-create");
    }
    let site = Site::new(system.serve().await, system.client.clone(), &system.table);
    let place = Place::new(site, provider).await;
    answers(&place, sdk).await;
    refusals(&place, sdk).await;
    patience(&place, sdk).await;
    lost_answers(&place, sdk).await;
    impatience(&place, sdk).await;
    broken_streams(&place, sdk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_library_for_python_is_answered_and_pays_once() {
    in_the_test_gateway(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_library_for_node_is_answered_and_pays_once() {
    in_the_test_gateway(Sdk::Node).await;
}
