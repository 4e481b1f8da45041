//! Every fault at every call of every flow that changes something.
//!
//! A flow is first run without faults, which tells its calls to the table. Then each call is lost, answered late, refused and so on, once and
//! for good, and the function is killed before and after each. The client is then what a sensible client is: it sends the same again until
//! it gets an answer that is no invitation to do so. What it was told and what the table says, read from the outside, must agree.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Account, Books, Fault, Forge, Place, Reply, Request, Span, System};

/// Whether chats know idempotency keys.
const KEYED_CHAT: bool = true;

const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "another horse battery";
const GRANT: i64 = 4_000;
const COST: i64 = 100;
const AMOUNT: i64 = 50;

/// Longer than an attempt may take and shorter than an operation may: what is sent again overtakes it, and the operation still waits.
const LATE: Duration = Duration::from_millis(1_700);

/// How many cases run at once, besides those that mostly wait.
static AT_ONCE: Semaphore = Semaphore::const_new(6);

/// What an answer costs is the same as elsewhere, and three times that is held for it.
const PRICES: &str = r#"{"version": "1", "models": {"echo": {"input": 20000000, "output": 20000000, "context": 10}}}"#;

/// A client gives up after this many answers that ask it to come back.
const PATIENCE: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Chat,
    KeyedChat,
    /// A dead call's hold lies there, and there are tokens enough.
    ChatBesideDeadHold,
    /// A dead call holds all there is.
    ChatNeedingDeadHold,
    ChatOfFailingModel,
    ChatOfSlowModel,
    /// Killed while the model answers.
    ChatInterrupted,
    /// More is held than it costs.
    ChatWithApiKey,
    ChatWithApiKeyOfFailingModel,
    ChatBeginning,
    KeyedChatBeginning,
    ChatContinuing,
    KeyedChatContinuing,
    RenameConversation,
    /// Of more chats than one transaction removes.
    DeleteConversation,
    BalanceWithDeadHold,
    Adjust,
    KeyedAdjust,
    AdjustNeedingDeadHold,
    Refresh,
    ClassicRefresh,
    ReusedRefresh,
    ClassicReusedRefresh,
    Register,
    ClassicRegister,
    Login,
    ClassicLogin,
    Logout,
    Password,
    Delete,
    Deactivate,
    MakeApiKey,
    RevokeApiKey,
}

impl Flow {
    fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Chat,
            Self::ChatBesideDeadHold,
            Self::ChatNeedingDeadHold,
            Self::ChatOfFailingModel,
            Self::ChatOfSlowModel,
            Self::ChatInterrupted,
            Self::ChatWithApiKey,
            Self::ChatWithApiKeyOfFailingModel,
            Self::ChatBeginning,
            Self::KeyedChatBeginning,
            Self::ChatContinuing,
            Self::KeyedChatContinuing,
            Self::RenameConversation,
            Self::DeleteConversation,
            Self::BalanceWithDeadHold,
            Self::Adjust,
            Self::KeyedAdjust,
            Self::AdjustNeedingDeadHold,
            Self::Refresh,
            Self::ClassicRefresh,
            Self::ReusedRefresh,
            Self::ClassicReusedRefresh,
            Self::Register,
            Self::ClassicRegister,
            Self::Login,
            Self::ClassicLogin,
            Self::Logout,
            Self::Password,
            Self::Delete,
            Self::Deactivate,
            Self::MakeApiKey,
            Self::RevokeApiKey,
        ];
        if KEYED_CHAT {
            all.push(Self::KeyedChat);
        }
        all
    }

    fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::KeyedChat => "chat, with a key",
            Self::ChatBesideDeadHold => "chat beside a dead hold",
            Self::ChatNeedingDeadHold => "chat that needs a dead hold",
            Self::ChatOfFailingModel => "chat, the model fails",
            Self::ChatOfSlowModel => "chat, the model is too slow",
            Self::ChatInterrupted => "chat, killed meanwhile",
            Self::ChatWithApiKey => "chat with an API key",
            Self::ChatWithApiKeyOfFailingModel => "failing chat with an API key",
            Self::ChatBeginning => "begin a conversation",
            Self::KeyedChatBeginning => "begin one under a key",
            Self::ChatContinuing => "talk in a conversation",
            Self::KeyedChatContinuing => "talk in one under a key",
            Self::RenameConversation => "rename a conversation",
            Self::DeleteConversation => "delete a conversation",
            Self::BalanceWithDeadHold => "balance, with a dead hold",
            Self::Adjust => "adjust",
            Self::KeyedAdjust => "adjust, with a key",
            Self::AdjustNeedingDeadHold => "adjust that needs a dead hold",
            Self::Refresh => "refresh",
            Self::ClassicRefresh => "refresh, classic",
            Self::ReusedRefresh => "refresh, reused",
            Self::ClassicReusedRefresh => "refresh, reused, classic",
            Self::Register => "register",
            Self::ClassicRegister => "register, classic",
            Self::Login => "login",
            Self::ClassicLogin => "login, classic, first",
            Self::Logout => "logout",
            Self::Password => "password",
            Self::Delete => "delete",
            Self::Deactivate => "deactivate",
            Self::MakeApiKey => "make an API key",
            Self::RevokeApiKey => "revoke an API key",
        }
    }

    fn is_chat(self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::KeyedChat
                | Self::ChatBesideDeadHold
                | Self::ChatNeedingDeadHold
                | Self::ChatOfFailingModel
                | Self::ChatOfSlowModel
                | Self::ChatInterrupted
                | Self::ChatWithApiKey
                | Self::ChatWithApiKeyOfFailingModel
                | Self::ChatBeginning
                | Self::KeyedChatBeginning
                | Self::ChatContinuing
                | Self::KeyedChatContinuing
        )
    }

    /// Whether there is a conversation with one chat already.
    fn has_conversation(self) -> bool {
        matches!(
            self,
            Self::ChatContinuing | Self::KeyedChatContinuing | Self::RenameConversation | Self::DeleteConversation
        )
    }

    /// Whether what is said is said in a conversation.
    fn is_in_conversation(self) -> bool {
        matches!(
            self,
            Self::ChatBeginning | Self::KeyedChatBeginning | Self::ChatContinuing | Self::KeyedChatContinuing
        )
    }

    fn is_adjustment(self) -> bool {
        matches!(self, Self::Adjust | Self::KeyedAdjust | Self::AdjustNeedingDeadHold)
    }

    /// The user has an API key: the request is sent with it, or something happens to it.
    fn has_api_key(self) -> bool {
        self.is_sent_with_api_key() || matches!(self, Self::RevokeApiKey | Self::Password | Self::Delete)
    }

    fn is_sent_with_api_key(self) -> bool {
        matches!(self, Self::ChatWithApiKey | Self::ChatWithApiKeyOfFailingModel)
    }

    fn has_key(self) -> bool {
        matches!(
            self,
            Self::KeyedChat | Self::KeyedChatBeginning | Self::KeyedChatContinuing | Self::KeyedAdjust
        )
    }

    /// Where money moves, a second fault follows the first.
    fn takes_pairs(self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::KeyedChat
                | Self::ChatBesideDeadHold
                | Self::ChatWithApiKey
                | Self::ChatBeginning
                | Self::ChatContinuing
                | Self::DeleteConversation
                | Self::Adjust
                | Self::KeyedAdjust
        )
    }

    fn overrides(self) -> Vec<(&'static str, &'static str)> {
        let mut overrides = vec![
            ("HOLD_LEASE_SECONDS", "1"),
            ("ACCESS_TOKEN_SECONDS", "3600"),
            ("REFRESH_TOKEN_SECONDS", "7200"),
        ];
        if self.has_conversation() {
            // Its first message may have been paced or not a moment ago, and the hold of the next would take a call more or less.
            overrides.push(("CHATS_PER_MINUTE", "0"));
        }
        match self {
            Self::ChatOfFailingModel | Self::ChatWithApiKeyOfFailingModel => {
                overrides.push(("ECHO_FAILURE", "error"));
            }
            Self::ChatWithApiKey => overrides.extend([("MODEL_PRICES", PRICES), ("MODEL_MAX_OUTPUT_TOKENS", "5")]),
            Self::ChatOfSlowModel => overrides.extend([
                ("ECHO_DELAY_MILLISECONDS", "60000"),
                ("MODEL_TIMEOUT_MILLISECONDS", "20"),
            ]),
            Self::ChatInterrupted => overrides.push(("ECHO_DELAY_MILLISECONDS", "300")),
            _ => {}
        }
        overrides
    }

    /// The answer of a run without faults.
    fn success(self) -> (u16, Option<&'static str>) {
        match self {
            Self::ChatOfFailingModel | Self::ChatWithApiKeyOfFailingModel => (502, Some("model_failed")),
            Self::ChatOfSlowModel => (504, Some("model_timed_out")),
            Self::ReusedRefresh | Self::ClassicReusedRefresh => (401, Some("token_not_valid")),
            Self::Register | Self::ClassicRegister | Self::MakeApiKey => (201, None),
            Self::Password | Self::Delete | Self::RevokeApiKey | Self::DeleteConversation => (204, None),
            _ => (200, None),
        }
    }

    /// What a client may be told that sends again what had been done already.
    fn done_before(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Register | Self::ClassicRegister => Some((400, "username_taken")),
            Self::Logout | Self::Password | Self::Delete => Some((401, "token_not_valid")),
            Self::RevokeApiKey => Some((404, "api_key_not_found")),
            Self::DeleteConversation => Some((404, "conversation_not_found")),
            // It took everything off, and can be told so only under a key.
            Self::AdjustNeedingDeadHold => Some((400, "invalid")),
            _ => None,
        }
    }

    /// The codes of the 503 that the flow has.
    fn unavailable(self) -> &'static [&'static str] {
        match self {
            _ if self.is_chat() => &["busy", "hold_lost", "outcome_unknown"],
            _ if self.is_adjustment() => &["busy", "outcome_unknown"],
            Self::Delete | Self::DeleteConversation => &["busy", "deletion_continues"],
            Self::Password | Self::MakeApiKey | Self::RevokeApiKey => &["busy", "outcome_unknown"],
            _ => &["busy"],
        }
    }
}

/// One fault at one call, or two.
type Case = Vec<(Place, Fault, Span)>;

const FAULTS: [Fault; 10] = [
    Fault::RequestLost,
    Fault::ReplyLost,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::Late(LATE),
    Fault::Throttled,
    Fault::ThrottledInside,
    Fault::Conflict,
    Fault::InProgress,
    Fault::Unprocessed,
];

/// Every fault at every one of `calls`.
fn cases_for(flow: Flow, calls: &[String]) -> Vec<Case> {
    if flow == Flow::ChatInterrupted {
        let hold = Place::new("UpdateItem", 1);
        return vec![vec![(hold, Fault::KilledLater(Duration::from_millis(100)), Span::Once)]];
    }
    let mut cases = Vec::new();
    for (place, operation) in Place::all(calls).into_iter().zip(calls) {
        for fault in FAULTS.into_iter().filter(|fault| fault.applies_to(operation)) {
            for span in [Span::Once, Span::Call, Span::Rest] {
                cases.push(vec![(place.clone(), fault, span)]);
            }
        }
        for fault in [Fault::KilledBefore, Fault::KilledAfter] {
            cases.push(vec![(place.clone(), fault, Span::Once)]);
        }
    }
    // The longest first, so that the shorter ones fill up the end.
    cases.sort_by_key(|case| match &case[0] {
        (_, Fault::Late(_), Span::Rest) => 0,
        (_, Fault::Late(_), Span::Call) => 1,
        (_, Fault::Late(_), Span::Once) => 2,
        _ => 3,
    });
    cases
}

/// The cases in which something goes wrong a second time, in what follows when the first call goes wrong for good.
fn pairs_after(first: &(Place, Fault, Span), calls: &[String]) -> Vec<Case> {
    let seconds = [
        (Fault::RequestLost, Span::Call),
        (Fault::ReplyLost, Span::Call),
        (Fault::Late(LATE), Span::Call),
        (Fault::KilledBefore, Span::Once),
        (Fault::KilledAfter, Span::Once),
    ];
    let places = Place::all(calls);
    let later = places.into_iter().skip_while(|place| *place != first.0).skip(1);
    later
        .flat_map(|at| seconds.map(|(fault, span)| vec![first.clone(), (at.clone(), fault, span)]))
        .collect()
}

/// A deployment that runs the cases of one flow, one after the other.
struct Lane {
    system: System,
    root: Option<Account>,
    /// About how much of what the SDK may spend on retries the process under test has spent.
    spent: AtomicUsize,
}

/// What one case is about.
struct Scene {
    user: Account,
    /// The key of the `Token` scheme, and its hash.
    auth_key: Option<(String, String)>,
    /// The API key, and its name.
    api_key: Option<(String, String)>,
    /// The chat that was said before, and the conversation that it is in.
    before: Option<(String, String)>,
    request: Request,
}

fn next_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("user{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn now_milliseconds() -> u64 {
    u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

fn credentials(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password})
}

impl Lane {
    async fn open(flow: Flow) -> Self {
        let system = System::start_with(&flow.overrides()).await;
        system.recorder.stop_recording();
        let root = if flow.is_adjustment() || flow == Flow::Deactivate {
            let root = system.account("root").await;
            system.set_text(&root, "role", "admin").await;
            Some(root)
        } else {
            None
        };
        Self {
            system,
            root,
            spent: AtomicUsize::new(0),
        }
    }

    /// Sends what belongs to no case. Nothing goes wrong with it, but on a busy machine an attempt may take too long all the same.
    async fn ask(&self, request: Request) -> Reply {
        for _ in 0..PATIENCE {
            let reply = self.system.send(request.clone()).await;
            if reply.body["code"] != "busy" {
                return reply;
            }
            let id = reply.text_of("request_id");
            let logs = self.system.logs();
            let why = logs.iter().find(|line| line.contains(&format!("\"{id}\"")));
            println!("busy without a fault: {why:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("busy without a fault, again and again")
    }

    /// Signs up and in with one request.
    async fn user(&self) -> (Account, String) {
        let username = next_name();
        let request = Request::post("/api/register", &credentials(&username, PASSWORD));
        let reply = self.ask(request).await.expect_status(201);
        let account = Account {
            username,
            password: PASSWORD.into(),
            access: reply.text_of("access"),
            refresh: reply.text_of("refresh"),
        };
        (account, reply.text_of("token"))
    }

    async fn set(&self, flow: Flow) -> Scene {
        let system = &self.system;
        if matches!(flow, Flow::Register | Flow::ClassicRegister) {
            let path = match flow {
                Flow::Register => "/api/v1/users",
                _ => "/api/register",
            };
            let username = next_name();
            let request = Request::post(path, &credentials(&username, PASSWORD));
            let user = Account {
                username,
                password: PASSWORD.into(),
                access: String::new(),
                refresh: String::new(),
            };
            return Scene {
                user,
                auth_key: None,
                api_key: None,
                before: None,
                request,
            };
        }
        if flow == Flow::ClassicLogin {
            // Without a key, so that the login has to make one.
            let user = Account {
                username: next_name(),
                password: PASSWORD.into(),
                access: String::new(),
                refresh: String::new(),
            };
            let body = credentials(&user.username, PASSWORD);
            let signed_up = self.ask(Request::post("/api/v1/users", &body)).await;
            signed_up.expect_status(201);
            return Scene {
                user,
                auth_key: None,
                api_key: None,
                before: None,
                request: Request::post("/api/login", &body),
            };
        }
        let (user, key) = self.user().await;
        let hash = Books::of(system, &user.username).await.auth_key.unwrap();
        match flow {
            Flow::ChatBesideDeadHold | Flow::BalanceWithDeadHold => system.leave_dead_hold(&user, 300, -1).await,
            Flow::ChatNeedingDeadHold | Flow::AdjustNeedingDeadHold => {
                system.leave_dead_hold(&user, GRANT.unsigned_abs(), -1).await;
            }
            Flow::ReusedRefresh | Flow::ClassicReusedRefresh => {
                let body = json!({"refresh": user.refresh});
                let moved_on = self.ask(Request::post("/api/v1/token/refresh", &body)).await;
                moved_on.expect_status(200);
                let session = Forge::of(&user.refresh).claims["sid"].as_str().unwrap().to_owned();
                system.age_session(&user, &session, 11_000).await;
            }
            Flow::Delete => self.leave_chats(&user.username, 60).await,
            _ => {}
        }
        let api_key = if flow.has_api_key() {
            let make = Request::post("/api/v1/api-keys", &json!({"name": "a key", "cap": GRANT}));
            let made = self.ask(make.bearer(&user.access)).await.expect_status(201);
            let of = |member: &str| made.body["api_key"][member].as_str().unwrap().to_owned();
            Some((of("key"), of("id")))
        } else {
            None
        };
        let before = if flow.has_conversation() {
            let body = json!({"message": "the first", "conversation_id": "new"});
            let said = self
                .ask(Request::post("/api/v1/chats", &body).bearer(&user.access))
                .await;
            let said = said.expect_status(200);
            let [chat, conversation] =
                ["id", "conversation_id"].map(|name| said.body["chat"][name].as_str().unwrap().to_owned());
            if flow == Flow::DeleteConversation {
                system.lengthen_conversation(&user.username, &conversation, 60, 2).await;
            }
            Some((chat, conversation))
        } else {
            None
        };
        let conversation = before.as_ref().map_or("new", |(_, conversation)| conversation);
        let request = self.request(flow, &user, api_key.as_ref(), conversation);
        Scene {
            user,
            auth_key: Some((key, hash)),
            api_key,
            before,
            request,
        }
    }

    fn request(&self, flow: Flow, user: &Account, api_key: Option<&(String, String)>, conversation: &str) -> Request {
        let refresh = json!({"refresh": user.refresh});
        let of_root = |request: Request| request.bearer(&self.root.as_ref().unwrap().access);
        let one = format!("/api/v1/conversations/{conversation}");
        let request = match flow {
            _ if flow.is_in_conversation() => {
                let body = json!({"message": "hello", "conversation_id": conversation});
                Request::post("/api/v1/chats", &body).bearer(&user.access)
            }
            Flow::RenameConversation => {
                Request::with_body("PATCH", &one, &json!({"title": "Another"})).bearer(&user.access)
            }
            Flow::DeleteConversation => Request::new("DELETE", &one).bearer(&user.access),
            _ if flow.is_chat() => {
                let request = Request::post("/api/v1/chats", &json!({"message": "hello"}));
                match api_key.filter(|_| flow.is_sent_with_api_key()) {
                    Some((key, _)) => request.bearer(key),
                    None => request.bearer(&user.access),
                }
            }
            Flow::MakeApiKey => Request::post("/api/v1/api-keys", &json!({"name": "a key"})).bearer(&user.access),
            Flow::RevokeApiKey => {
                let (_, id) = api_key.unwrap();
                Request::new("DELETE", &format!("/api/v1/api-keys/{id}")).bearer(&user.access)
            }
            _ if flow.is_adjustment() => {
                // What takes everything off needs what the dead call holds.
                let amount = match flow {
                    Flow::AdjustNeedingDeadHold => -GRANT,
                    _ => AMOUNT,
                };
                let path = format!("/api/v1/admin/users/{}/tokens", user.username);
                of_root(Request::post(&path, &json!({"amount": amount, "reason": "a test"})))
            }
            Flow::BalanceWithDeadHold => Request::get("/api/v1/users/token-balance").bearer(&user.access),
            Flow::Refresh | Flow::ReusedRefresh => Request::post("/api/v1/token/refresh", &refresh),
            Flow::ClassicRefresh | Flow::ClassicReusedRefresh => Request::post("/api/token/refresh", &refresh),
            Flow::Login => Request::post("/api/v1/users/login", &credentials(&user.username, PASSWORD)),
            Flow::Logout => Request::post("/api/v1/users/logout", &refresh).bearer(&user.access),
            Flow::Password => {
                let body = json!({"old": PASSWORD, "new": NEW_PASSWORD});
                Request::post("/api/v1/users/password", &body).bearer(&user.access)
            }
            Flow::Delete => {
                let body = json!({"password": PASSWORD});
                Request::with_body("DELETE", "/api/v1/users/me", &body).bearer(&user.access)
            }
            Flow::Deactivate => {
                let path = format!("/api/v1/admin/users/{}", user.username);
                of_root(Request::with_body("PATCH", &path, &json!({"active": false})))
            }
            _ => unreachable!("{flow:?} is set above"),
        };
        if flow.has_key() {
            request.header("Idempotency-Key", &format!("key-of-{}", user.username))
        } else {
            request
        }
    }

    async fn leave_chats(&self, username: &str, count: usize) {
        let puts = (0..count).map(|index| {
            let text = |text: String| AttributeValue::S(text);
            let item = HashMap::from([
                ("pk".into(), text(format!("USER#{username}"))),
                ("sk".into(), text(format!("TURN#01JGXQ00000000000000{index:06}"))),
                ("message".into(), text("hello".into())),
                ("cost".into(), AttributeValue::N("0".into())),
            ]);
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        let puts: Vec<_> = puts.collect();
        for batch in puts.chunks(25) {
            let write = self.system.client.batch_write_item();
            let write = write.request_items(&self.system.table, batch.to_vec());
            write.send().await.unwrap();
        }
    }

    /// Runs one case. Tells the answer under the fault and the calls that were made.
    async fn run(&self, flow: Flow, case: &Case) -> (String, Vec<String>) {
        let system = &self.system;
        let scene = self.set(flow).await;
        let function = system.route(&scene.request);
        system.ready(&function).await;
        system.recorder.arm(&function, case);
        let first = system.try_send(&scene.request).await;
        let (calls, met) = system.recorder.disarm(&function);
        // What is sent at the same time may be killed before the first of two faults is met.
        let killed_first = case.len() == 2 && first.is_none();
        assert!(met || killed_first, "the fault was never met; the calls were {calls:?}");
        let killed = |fault: &Fault| matches!(fault, Fault::KilledBefore | Fault::KilledAfter | Fault::KilledLater(_));
        assert_eq!(
            first.is_none(),
            case.iter().any(|(_, fault, _)| killed(fault)),
            "{first:?}"
        );
        let label = label(first.as_ref());
        let mut answers = vec![first];
        for _ in 0..PATIENCE {
            let last = answers.last().unwrap();
            let unfinished = last.as_ref().is_none_or(|reply| [503, 409].contains(&reply.status));
            // A client with a key may send the same again whenever it likes.
            let asks_again = flow.has_key() && answers.len() == 1;
            if !(unfinished || asks_again) {
                break;
            }
            if last.is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answers.push(system.try_send(&scene.request).await);
        }
        system.recorder.catch_up().await;
        if case.is_empty() && flow != Flow::Delete {
            let books = Books::of(system, &scene.user.username).await;
            assert!(books.holds.is_empty(), "nothing failed, and a hold is left: {books:?}");
        }
        self.check(flow, &scene, &answers).await;
        // The SDK has 500 tokens to spend on retries in a row, 5 or 10 each, and gets them back for successes. A process that has none left
        // is another one than these cases are about.
        let spent = case.iter().map(|(_, _, span)| match span {
            Span::Once => 10,
            Span::Call => 20,
            Span::Rest => 80,
        });
        if self.spent.fetch_add(spent.sum(), Ordering::Relaxed) > 300 {
            system.kill(&function).await;
            self.spent.store(0, Ordering::Relaxed);
        }
        (label, calls)
    }

    async fn check(&self, flow: Flow, scene: &Scene, answers: &[Option<Reply>]) {
        let describe = || answers.iter().map(|answer| label(answer.as_ref())).collect::<Vec<_>>();
        for (index, answer) in answers.iter().enumerate() {
            let Some(reply) = answer else { continue };
            let told = (reply.status, reply.body["code"].as_str());
            let doubted = answers[..index]
                .iter()
                .any(|earlier| earlier.as_ref().is_none_or(|e| e.status == 503));
            let documented = told == flow.success()
                || told.0 == 503 && flow.unavailable().contains(&told.1.unwrap_or_default())
                || doubted
                    && flow
                        .done_before()
                        .is_some_and(|(status, code)| told == (status, Some(code)))
                || flow.is_chat() && flow.has_key() && told.0 == 409;
            assert!(
                documented,
                "{told:?} is no documented answer of {flow:?}: {:?} {}",
                describe(),
                reply.text
            );
            if told.0 == 503 && told.1 != Some("outcome_unknown") {
                assert_eq!(reply.header("retry-after"), "1");
            }
        }
        let last = answers.last().unwrap().as_ref();
        let last = last.unwrap_or_else(|| panic!("no answer without a fault: {:?}", describe()));
        assert!(![503, 409].contains(&last.status), "never finished: {:?}", describe());
        match flow {
            _ if flow.is_chat() => self.check_chats(flow, scene, answers).await,
            _ if flow.is_adjustment() => self.check_adjustments(flow, scene, answers).await,
            _ => self.check_account(flow, scene, answers).await,
        }
    }

    /// The user's books after the leases have run out and somebody has looked.
    async fn settled_books(&self, user: &Account) -> Books {
        let books = Books::of(&self.system, &user.username).await;
        books.check();
        if let Some(until) = books.holds.iter().map(|(_, lease)| *lease).max() {
            let left = until.saturating_sub(now_milliseconds()) + 5;
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
        let look = Request::get("/api/v1/users/token-balance").bearer(&user.access);
        self.ask(look).await.expect_status(200);
        let books = Books::of(&self.system, &user.username).await;
        books.check();
        assert!(books.holds.is_empty(), "a hold outlives its lease: {books:?}");
        books
    }

    async fn check_chats(&self, flow: Flow, scene: &Scene, answers: &[Option<Reply>]) {
        let books = self.settled_books(&scene.user).await;
        let answered = with_status(answers, 200);
        let told: BTreeSet<_> = answered
            .iter()
            .map(|reply| reply.body["chat"]["id"].as_str().unwrap().to_owned())
            .collect();
        let mut stored: BTreeSet<_> = books.chats.iter().map(|(id, _)| id.clone()).collect();
        if flow.is_in_conversation() {
            let said: BTreeSet<_> = books.said.iter().map(|(_, chat)| chat.clone()).collect();
            assert_eq!(said, stored, "each of them is stored once more");
            let begun = if scene.before.is_some() { 1 } else { stored.len() };
            assert_eq!(books.conversations.len(), begun, "{books:?}");
        }
        let before = scene.before.iter().filter(|(chat, _)| stored.remove(chat)).count();
        assert!(told.is_subset(&stored), "{told:?} were answered, {stored:?} are stored");
        // What was called busy or lost was not charged; only what nobody knows may have been.
        let most = match flow {
            _ if flow.has_key() => 1,
            Flow::ChatOfFailingModel | Flow::ChatOfSlowModel | Flow::ChatWithApiKeyOfFailingModel => 0,
            _ => told.len() + unknown(answers),
        };
        assert!(stored.len() <= most, "{stored:?} are stored, {most} can be explained");
        assert!(books.chats.iter().all(|(_, cost)| *cost == COST));
        if flow.has_key() {
            assert_eq!(told, stored, "one chat for one key");
            assert!(answered.iter().all(|reply| reply.body == answered[0].body));
        } else {
            assert_eq!(answered.len(), told.len(), "each answer is a chat of its own");
        }
        let charged = COST * i64::try_from(before + stored.len()).unwrap();
        assert_eq!(books.balance, GRANT - charged);
        if let Some((_, id)) = &scene.api_key {
            assert_eq!(books.api_keys[id], charged, "what was charged is what was spent");
        }
    }

    async fn check_adjustments(&self, flow: Flow, scene: &Scene, answers: &[Option<Reply>]) {
        let books = self.settled_books(&scene.user).await;
        let answered = with_status(answers, 200);
        let told: BTreeSet<_> = answered
            .iter()
            .map(|reply| reply.body["entry"]["id"].as_str().unwrap().to_owned())
            .collect();
        let stored: BTreeSet<_> = books.ledger.iter().map(|(id, ..)| id.clone()).collect();
        assert!(told.is_subset(&stored), "{told:?} were answered, {stored:?} are stored");
        let most = match flow {
            _ if flow.has_key() => 1,
            _ => told.len() + unknown(answers),
        };
        assert!(stored.len() <= most, "{stored:?} are stored, {most} can be explained");
        if flow.has_key() {
            assert_eq!(told, stored, "one adjustment for one key");
            assert!(answered.iter().all(|reply| reply.body == answered[0].body));
        } else {
            assert_eq!(answered.len(), told.len(), "each answer is an adjustment of its own");
        }
        let mut balance = books.grant;
        for (_, amount, after) in &books.ledger {
            balance += amount;
            assert_eq!(
                Some(balance),
                *after,
                "an entry says a balance that never was: {books:?}"
            );
        }
        assert_eq!(
            self.audited(&scene.user).await,
            stored.len(),
            "one audit entry for one adjustment"
        );
    }

    /// How many entries of the audit trail are about a user.
    async fn audited(&self, user: &Account) -> usize {
        let query = self.system.client.query().table_name(&self.system.table);
        let query = query
            .key_condition_expression("pk = :audit")
            .filter_expression("target.username = :user")
            .expression_attribute_values(":audit", AttributeValue::S("AUDIT".into()))
            .expression_attribute_values(":user", AttributeValue::S(user.username.clone()))
            .consistent_read(true);
        let items = query.into_paginator().items().send();
        items.collect::<Result<Vec<_>, _>>().await.unwrap().len()
    }

    async fn check_account(&self, flow: Flow, scene: &Scene, answers: &[Option<Reply>]) {
        let (system, user) = (&self.system, &scene.user);
        let books = Books::of(system, &user.username).await;
        let successes = with_status(answers, flow.success().0);
        let look = |access: &str| self.ask(Request::get("/api/v1/users/me").bearer(access));
        let log_in = |path: &str, password: &str| self.ask(Request::post(path, &credentials(&user.username, password)));
        match flow {
            Flow::BalanceWithDeadHold => {
                assert_eq!(successes[0].body["token_balance"], GRANT);
                self.settled_books(user).await;
            }
            Flow::Refresh => {
                let newest = &successes[0];
                look(&newest.text_of("access")).await.expect_status(200);
                let next = json!({"refresh": newest.text_of("refresh")});
                let next = self.ask(Request::post("/api/v1/token/refresh", &next)).await;
                next.expect_status(200);
                assert_eq!(books.sessions, 1);
            }
            Flow::ClassicRefresh => {
                look(&successes[0].text_of("access")).await.expect_status(200);
                assert_eq!(books.sessions, 1);
            }
            Flow::ReusedRefresh | Flow::ClassicReusedRefresh => assert_eq!(books.sessions, 0, "the session has ended"),
            Flow::Register | Flow::ClassicRegister => {
                assert_eq!((books.items, books.balance), (1, GRANT));
                assert_eq!(books.sessions, usize::from(flow == Flow::ClassicRegister));
                if flow == Flow::ClassicRegister {
                    for reply in &successes {
                        look(&reply.text_of("access")).await.expect_status(200);
                        let key = Request::get("/api/v1/users/me").auth_key(&reply.text_of("token"));
                        self.ask(key).await.expect_status(200);
                    }
                    let again = log_in("/api/login", PASSWORD).await.expect_status(200);
                    let key = Request::get("/api/v1/users/me").auth_key(&again.text_of("token"));
                    self.ask(key).await.expect_status(200);
                }
                let again = log_in("/api/v1/users/login", PASSWORD).await.expect_status(200);
                look(&again.text_of("access")).await.expect_status(200);
            }
            Flow::Login | Flow::ClassicLogin => {
                for reply in &successes {
                    look(&reply.text_of("access")).await.expect_status(200);
                    if flow == Flow::ClassicLogin {
                        let key = Request::get("/api/v1/users/me").auth_key(&reply.text_of("token"));
                        self.ask(key).await.expect_status(200);
                    }
                }
                // Whoever got no answer may have a session that nobody has the tokens of.
                let before = usize::from(flow == Flow::Login);
                let opened = books.sessions - before;
                assert!((successes.len()..=answers.len()).contains(&opened), "{opened} sessions");
            }
            Flow::Logout => {
                assert_eq!(books.sessions, 0);
                look(&user.access).await.expect_error(401, "token_not_valid");
            }
            Flow::Password => {
                assert_eq!((books.sessions, books.token_version), (0, 1), "changed once");
                assert_eq!(books.auth_key, None);
                assert!(books.api_keys.is_empty());
                self.check_key_is_gone(scene).await;
                self.check_api_key_is_gone(scene).await;
                look(&user.access).await.expect_error(401, "token_not_valid");
                let old = log_in("/api/v1/users/login", PASSWORD).await;
                old.expect_error(401, "invalid_credentials");
                log_in("/api/v1/users/login", NEW_PASSWORD).await.expect_status(200);
            }
            Flow::Delete => {
                assert_eq!(books.items, 0, "something is left of a deleted account");
                self.check_key_is_gone(scene).await;
                self.check_api_key_is_gone(scene).await;
                look(&user.access).await.expect_error(401, "token_not_valid");
                let again = Request::post("/api/register", &credentials(&user.username, PASSWORD));
                let again = self.ask(again).await.expect_status(201);
                look(&again.text_of("access")).await.expect_status(200);
                assert_eq!(system.items(&user.username).await.len(), 1);
            }
            Flow::RenameConversation => {
                let (_, conversation) = scene.before.as_ref().unwrap();
                let one = Request::get(&format!("/api/v1/conversations/{conversation}")).bearer(&user.access);
                let one = self.ask(one).await.expect_status(200);
                assert_eq!(one.body["conversation"]["title"], "Another");
            }
            Flow::DeleteConversation => {
                let books = self.settled_books(user).await;
                assert!(
                    books.chats.is_empty() && books.said.is_empty() && books.conversations.is_empty(),
                    "something is left of a deleted conversation: {books:?}"
                );
                assert_eq!((books.ledger.len(), books.balance), (2, GRANT - COST));
            }
            Flow::Deactivate => {
                assert_eq!((books.active, books.sessions), (false, 0));
                assert_eq!(self.audited(user).await, 1);
                look(&user.access).await.expect_error(401, "user_inactive");
            }
            Flow::MakeApiKey => {
                for reply in &successes {
                    let key = reply.body["api_key"]["key"].as_str().unwrap();
                    look(key).await.expect_status(200);
                }
                // Whoever got no answer may have a key that nobody has the text of.
                let made = books.api_keys.len();
                let most = successes.len() + unknown(answers);
                assert!((successes.len()..=most).contains(&made), "{made} keys");
                for id in books.api_keys.keys() {
                    assert!(
                        self.item(id, "APIKEY").await.is_some(),
                        "nothing leads from the key to its owner"
                    );
                }
            }
            Flow::RevokeApiKey => {
                assert!(books.api_keys.is_empty());
                self.check_api_key_is_gone(scene).await;
            }
            _ => unreachable!("{flow:?} is checked elsewhere"),
        }
    }

    /// What leads from a key to its owner, if there is anything.
    async fn item(&self, key: &str, sk: &str) -> Option<HashMap<String, AttributeValue>> {
        let system = &self.system;
        let get = system.client.get_item().table_name(&system.table);
        let get = get.key("pk", AttributeValue::S(format!("TOKEN#{key}")));
        let get = get.key("sk", AttributeValue::S(sk.into())).consistent_read(true);
        get.send().await.unwrap().item
    }

    async fn check_api_key_is_gone(&self, scene: &Scene) {
        let (key, id) = scene.api_key.as_ref().unwrap();
        assert_eq!(self.item(id, "APIKEY").await, None, "the API key's item is left");
        let look = Request::get("/api/v1/users/me").bearer(key);
        self.ask(look).await.expect_error(401, "token_not_valid");
    }

    async fn check_key_is_gone(&self, scene: &Scene) {
        let (key, hash) = scene.auth_key.as_ref().unwrap();
        assert_eq!(self.item(hash, "TOKEN").await, None, "the key's item is left");
        let look = Request::get("/api/v1/users/me").auth_key(key);
        self.ask(look).await.expect_error(401, "token_not_valid");
    }
}

/// How an answer is counted.
fn label(answer: Option<&Reply>) -> String {
    match answer {
        None => "no answer".into(),
        Some(reply) => match reply.body["code"].as_str() {
            Some(code) if reply.status >= 400 => format!("{} {code}", reply.status),
            _ => reply.status.to_string(),
        },
    }
}

fn with_status(answers: &[Option<Reply>], status: u16) -> Vec<Reply> {
    let replies = answers.iter().flatten();
    replies.filter(|reply| reply.status == status).cloned().collect()
}

/// How many of these tell nobody whether anything was done.
fn unknown(answers: &[Option<Reply>]) -> usize {
    let is_unknown = |reply: &Reply| reply.body["code"] == "outcome_unknown";
    answers
        .iter()
        .filter(|answer| answer.as_ref().is_none_or(is_unknown))
        .count()
}

/// What came of the cases of a flow.
#[derive(Default)]
struct Tally {
    calls: Vec<String>,
    faults: BTreeSet<String>,
    cases: usize,
    answers: BTreeMap<String, usize>,
    failures: Vec<String>,
    seconds: f64,
}

async fn enumerate(flow: Flow) -> Tally {
    let started = tokio::time::Instant::now();
    let lane = Lane::open(flow).await;
    // Twice, because the first run also starts the processes.
    lane.run(flow, &Vec::new()).await;
    let (answer, calls) = lane.run(flow, &Vec::new()).await;
    let expected = match flow.success() {
        (status, None) => status.to_string(),
        (status, Some(code)) => format!("{status} {code}"),
    };
    assert_eq!(answer, expected, "{flow:?} without a fault");
    let cases = cases_for(flow, &calls);
    let late = cases.iter().filter(|case| matches!(case[0].1, Fault::Late(_))).count();
    let tally = Mutex::new(Tally {
        calls,
        ..Tally::default()
    });
    let lanes = join_all((0..late / 5).map(|_| Lane::open(flow))).await;
    let lanes: Vec<_> = lanes.into_iter().chain([lane]).collect();
    let queue = Mutex::new(VecDeque::from(cases));
    let work = async |lane: &Lane| {
        loop {
            let Some(case) = queue.lock().unwrap().pop_front() else {
                return;
            };
            // Late cases wait most of the time. Of the others only a few at once, or attempts take too long for lack of a processor.
            let waits = case.iter().any(|(_, fault, _)| matches!(fault, Fault::Late(_)));
            let permit = if waits {
                None
            } else {
                Some(AT_ONCE.acquire().await.unwrap())
            };
            let outcome = AssertUnwindSafe(lane.run(flow, &case)).catch_unwind().await;
            drop(permit);
            let mut tally = tally.lock().unwrap();
            tally.cases += 1;
            let faults = case.iter().map(|(_, fault, span)| format!("{fault:?} {span:?}"));
            tally.faults.insert(faults.collect::<Vec<_>>().join(", "));
            match outcome {
                Ok((answer, calls)) => {
                    *tally.answers.entry(answer).or_default() += 1;
                    let lost = matches!(case[0].1, Fault::RequestLost | Fault::ReplyLost);
                    if flow.takes_pairs() && lost && case[0].2 == Span::Call && case.len() == 1 {
                        queue.lock().unwrap().extend(pairs_after(&case[0], &calls));
                    }
                }
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    let failure = format!("{}, {case:?}: {}", flow.name(), text.unwrap_or_default());
                    tally.failures.push(failure);
                }
            }
        }
    };
    join_all(lanes.iter().map(work)).await;
    let mut tally = tally.into_inner().unwrap();
    tally.seconds = started.elapsed().as_secs_f64();
    tally
}

/// `FAULTS_ONLY` names flows, separated by commas, to run alone.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_at_every_call_of_every_flow_leaves_the_books_right() {
    let only = std::env::var("FAULTS_ONLY").ok();
    let chosen = |flow: &Flow| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|name| name == flow.name()))
    };
    let flows: Vec<_> = Flow::all().into_iter().filter(chosen).collect();
    let started = tokio::time::Instant::now();
    let tallies = join_all(flows.iter().map(|flow| enumerate(*flow))).await;
    let elapsed = started.elapsed().as_secs_f64();
    println!(
        "{:<30} {:>5} {:>6} {:>5} {:>6}  first answers",
        "flow", "calls", "faults", "cases", "s"
    );
    let mut failures = Vec::new();
    let mut cases = 0;
    for (flow, tally) in flows.iter().zip(tallies) {
        let answers = tally.answers.iter().map(|(answer, count)| format!("{answer} ×{count}"));
        println!(
            "{:<30} {:>5} {:>6} {:>5} {:>6.1}  {}",
            flow.name(),
            tally.calls.len(),
            tally.faults.len(),
            tally.cases,
            tally.seconds,
            answers.collect::<Vec<_>>().join(", ")
        );
        cases += tally.cases;
        failures.extend(tally.failures);
    }
    println!("{cases} cases in {elapsed:.0} s, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The network keeps the first attempt of a hold for longer than the whole call takes, and the settlement for longer than that. The hold is
/// placed by the second attempt and released, because nobody knows whether the settlement went through. Then the first attempt arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_arrives_after_its_release_lets_no_settlement_through() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.ready("chats-send").await;
    let late = |seconds| Fault::Late(Duration::from_secs(seconds));
    system.recorder.arm(
        "chats-send",
        &[
            (Place::new("UpdateItem", 1), late(4), Span::Once),
            (Place::new("TransactWriteItems", 1), late(6), Span::Call),
        ],
    );
    let told = system.chat(&ada, "hello").await.expect_error(503, "busy");
    assert_eq!(told.text_of("detail"), "The service is busy; try again");
    let (_, met) = system.recorder.disarm("chats-send");
    assert!(met);
    system.recorder.catch_up().await;
    let books = Books::of(&system, "ada").await;
    books.check();
    assert!(books.chats.is_empty(), "what is called busy is charged: {books:?}");
}

/// The deletion has read the account, and before it closes it a login gives the account its first key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_login_makes_during_a_deletion_is_gone_too() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let key = Request::post("/api/login", &credentials("ada", PASSWORD));
    system.ready("users-delete").await;
    // The first update counts the password as wrong until it has been looked at.
    let close = (
        Place::new("UpdateItem", 2),
        Fault::Late(Duration::from_millis(1_200)),
        Span::Once,
    );
    system.recorder.arm("users-delete", &[close]);
    let body = json!({"password": PASSWORD});
    let delete = Request::with_body("DELETE", "/api/v1/users/me", &body).bearer(&ada.access);
    let log_in = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        system.send(key).await.expect_status(200)
    };
    let (deleted, _) = tokio::join!(system.send(delete), log_in);
    deleted.expect_status(204);
    let (_, met) = system.recorder.disarm("users-delete");
    assert!(met);
    let left = system.client.scan().table_name(&system.table).send().await.unwrap();
    let left = left.items.unwrap_or_default();
    let left: Vec<_> = left.iter().filter(|item| item["pk"].as_s().unwrap() != "KEY").collect();
    assert!(left.is_empty(), "{left:?}");
}
