//! Everything at once, with faults and kills at random.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Account, Books, Chaos, Dice, Reply, Request, System};

/// How many operations one deployment takes.
const ROUND: u64 = 1_000;
/// How many requests are under way at once.
const CLIENTS: u64 = 8;
const USERS: u64 = 6;
/// Of a thousand requests to the table, how many meet a fault.
const FAULTS_PER_THOUSAND: u64 = 70;
/// The functions at work, each with as many processes.
const FUNCTIONS: [(&str, usize); 7] = [
    ("chats-send", 3),
    ("conversations-delete", 2),
    ("users-balance", 2),
    ("chats-list", 2),
    ("token-refresh", 2),
    ("admin-adjust", 2),
    ("users-login", 2),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Chat,
    KeyedChat,
    /// A message in a conversation.
    Talk,
    /// The end of a conversation, perhaps while messages in it are answered.
    EndTalk,
    Balance,
    History,
    Refresh,
    Login,
    Adjust,
    KeyedAdjust,
}

impl Kind {
    fn of(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..20 => Self::Chat,
            20..33 => Self::KeyedChat,
            33..47 => Self::Talk,
            47..51 => Self::EndTalk,
            51..60 => Self::Balance,
            60..75 => Self::History,
            75..83 => Self::Refresh,
            83..86 => Self::Login,
            86..91 => Self::Adjust,
            _ => Self::KeyedAdjust,
        }
    }

    /// The answers that may come under faults, other than 200.
    fn documented(self) -> &'static [&'static str] {
        match self {
            Self::Chat => &[
                "402 insufficient_tokens",
                "503 busy",
                "503 hold_lost",
                "503 outcome_unknown",
            ],
            Self::KeyedChat => &[
                "402 insufficient_tokens",
                "409 idempotency_in_progress",
                "503 busy",
                "503 hold_lost",
                "503 outcome_unknown",
            ],
            Self::Talk => &[
                "402 insufficient_tokens",
                "404 conversation_not_found",
                "503 busy",
                "503 hold_lost",
                "503 outcome_unknown",
            ],
            Self::EndTalk => &["404 conversation_not_found", "503 busy", "503 deletion_continues"],
            Self::Adjust | Self::KeyedAdjust => &["400 invalid", "503 busy", "503 outcome_unknown"],
            _ => &["503 busy"],
        }
    }
}

/// A user, and what their clients have been told.
struct Witness {
    account: tokio::sync::Mutex<Account>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    chats: BTreeSet<String>,
    entries: BTreeSet<String>,
    /// How often nobody knew whether a chat was stored.
    unknown_chats: usize,
    /// The chats of conversations, and which of these each is in.
    said: BTreeMap<String, String>,
    /// How often nobody knew whether a chat of a conversation was stored.
    unknown_said: usize,
    /// The conversations that go on.
    conversations: Vec<String>,
    /// The others, and whether it is known that they are gone.
    ended: BTreeMap<String, bool>,
    /// How often nobody knew whether a balance was adjusted.
    unknown_entries: usize,
    /// Keys under which an adjustment was asked for and no last word was said.
    open_keys: Vec<(String, i64)>,
    /// Messages under a key of their number of which it is not known whether they were answered.
    open_chats: Vec<u64>,
}

struct Round {
    system: System,
    root: Account,
    users: Vec<Witness>,
    /// Logs in again and again; the sessions of the others must not end.
    newcomer: Account,
    sent: AtomicU64,
    answers: Mutex<BTreeMap<(Kind, String), usize>>,
}

fn label(reply: Option<&Reply>) -> String {
    match reply {
        None => "no answer".into(),
        Some(reply) => match reply.body["code"].as_str() {
            Some(code) if reply.status >= 400 => format!("{} {code}", reply.status),
            _ => reply.status.to_string(),
        },
    }
}

fn is_unknown(reply: Option<&Reply>) -> bool {
    reply.is_none_or(|reply| reply.body["code"] == "outcome_unknown")
}

impl Round {
    async fn open() -> Self {
        let overrides = [
            ("SIGNUP_TOKENS", "3000"),
            ("HOLD_LEASE_SECONDS", "2"),
            ("ECHO_DELAY_MILLISECONDS", "5"),
            ("ACCESS_TOKEN_SECONDS", "3600"),
            ("REFRESH_TOKEN_SECONDS", "7200"),
            ("CHATS_PER_MINUTE", "0"),
        ];
        let system = System::start_with(&overrides).await;
        system.recorder.stop_recording();
        let root = system.account("root").await;
        system.set_text(&root, "role", "admin").await;
        let mut users = Vec::new();
        for index in 0..USERS {
            users.push(Witness {
                account: tokio::sync::Mutex::new(system.account(&format!("user{index}")).await),
                told: Mutex::default(),
            });
        }
        let newcomer = system.account("newcomer").await;
        for (function, count) in FUNCTIONS {
            system.ready(function).await;
            for _ in 1..count {
                system.spawn(function);
            }
        }
        Self {
            system,
            root,
            users,
            newcomer,
            sent: AtomicU64::new(0),
            answers: Mutex::default(),
        }
    }

    async fn send(&self, kind: Kind, request: &Request) -> Option<Reply> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let reply = self.system.try_send(request).await;
        let label = label(reply.as_ref());
        let is_documented =
            ["200", "204", "no answer"].contains(&label.as_str()) || kind.documented().contains(&label.as_str());
        assert!(is_documented, "{kind:?} was answered {label}");
        *self.answers.lock().unwrap().entry((kind, label)).or_default() += 1;
        reply
    }

    /// The operation with this number; a function of the seed.
    async fn operate(&self, seed: u64, number: u64) {
        let mut dice = Dice::new(seed ^ (number << 20));
        let kind = Kind::of(&mut dice);
        let user = &self.users[usize::try_from(dice.below(USERS)).unwrap()];
        let amount = i64::try_from(dice.below(900)).unwrap() - 299;
        match kind {
            Kind::Chat => self.chat(user, number, dice.below(2) == 0).await,
            Kind::KeyedChat => {
                if !self.keyed_chat(user, number, 3).await {
                    user.told.lock().unwrap().open_chats.push(number);
                }
            }
            Kind::Talk => self.talk(user, number, &mut dice).await,
            Kind::EndTalk => {
                let ending = {
                    let mut told = user.told.lock().unwrap();
                    let count = u64::try_from(told.conversations.len()).unwrap();
                    if count == 0 {
                        return;
                    }
                    let ending = usize::try_from(dice.below(count)).unwrap();
                    let ending = told.conversations.swap_remove(ending);
                    told.ended.insert(ending.clone(), false);
                    ending
                };
                self.end_talk(user, &ending, 3).await;
            }
            Kind::Balance => {
                let request = Request::get("/api/v1/users/token-balance");
                self.send(kind, &request.bearer(&self.access(user).await)).await;
            }
            Kind::History => self.look_back(user).await,
            Kind::Refresh => self.refresh(user).await,
            Kind::Login => {
                let body = json!({"username": self.newcomer.username, "password": self.newcomer.password});
                self.send(kind, &Request::post("/api/v1/users/login", &body)).await;
            }
            Kind::Adjust => self.adjust(user, amount + i64::from(amount == 0), None).await,
            Kind::KeyedAdjust => {
                let key = format!("key-{number}");
                self.adjust(user, amount + i64::from(amount == 0), Some(key)).await;
            }
        }
    }

    async fn access(&self, user: &Witness) -> String {
        user.account.lock().await.access.clone()
    }

    async fn chat(&self, user: &Witness, number: u64, tries_again: bool) {
        let request = Request::post("/api/v1/chats", &json!({"message": format!("message {number}")}));
        let request = request.bearer(&self.access(user).await);
        for _ in 0..=u32::from(tries_again) {
            let reply = self.send(Kind::Chat, &request).await;
            let mut told = user.told.lock().unwrap();
            told.unknown_chats += usize::from(is_unknown(reply.as_ref()));
            if let Some(reply) = reply.filter(|reply| reply.status < 500) {
                if reply.status == 200 {
                    let id = reply.body["chat"]["id"].as_str().unwrap().to_owned();
                    assert!(told.chats.insert(id), "two answers are one chat");
                }
                return;
            }
        }
    }

    async fn talk(&self, user: &Witness, number: u64, dice: &mut Dice) {
        let conversation = {
            let told = user.told.lock().unwrap();
            let count = u64::try_from(told.conversations.len()).unwrap();
            // Mostly goes on with one that there is.
            let choice = usize::try_from(dice.below(count + 1 + u64::from(count == 0))).unwrap();
            told.conversations.get(choice).cloned()
        };
        let sent = conversation.clone().unwrap_or_else(|| "new".into());
        let body = json!({"message": format!("message {number}"), "conversation_id": sent});
        let request = Request::post("/api/v1/chats", &body).bearer(&self.access(user).await);
        let reply = self.send(Kind::Talk, &request).await;
        let mut told = user.told.lock().unwrap();
        told.unknown_said += usize::from(is_unknown(reply.as_ref()));
        let Some(reply) = reply else { return };
        if reply.status == 404 {
            let ended = conversation.is_some_and(|conversation| told.ended.contains_key(&conversation));
            assert!(ended, "a conversation is gone that nobody has ended");
            return;
        }
        if reply.status == 200 {
            let [chat, said_in] =
                ["id", "conversation_id"].map(|name| reply.body["chat"][name].as_str().unwrap().to_owned());
            if conversation.is_none() {
                told.conversations.push(said_in.clone());
            }
            assert_eq!(told.said.insert(chat, said_in), None, "two answers are one chat");
        }
    }

    async fn end_talk(&self, user: &Witness, conversation: &str, tries: usize) {
        let path = format!("/api/v1/conversations/{conversation}");
        let request = Request::new("DELETE", &path).bearer(&self.access(user).await);
        for attempt in 0..tries {
            if attempt > 2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let reply = self.send(Kind::EndTalk, &request).await;
            if reply.is_some_and(|reply| reply.status < 500) {
                user.told.lock().unwrap().ended.insert(conversation.to_owned(), true);
                return;
            }
        }
    }

    /// Asks under a key until there is a last word, or as often as this. Tells whether there was one.
    async fn keyed_chat(&self, user: &Witness, number: u64, tries: usize) -> bool {
        let request = Request::post("/api/v1/chats", &json!({"message": format!("message {number}")}));
        let request = request.header("Idempotency-Key", &format!("chat-{number}"));
        let request = request.bearer(&self.access(user).await);
        for attempt in 0..tries {
            if attempt > 2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let Some(reply) = self.send(Kind::KeyedChat, &request).await else {
                continue;
            };
            match reply.status {
                200 => {
                    // A replay tells of the same chat again.
                    let id = reply.body["chat"]["id"].as_str().unwrap().to_owned();
                    user.told.lock().unwrap().chats.insert(id);
                    return true;
                }
                402 => return true,
                _ => {}
            }
        }
        false
    }

    async fn look_back(&self, user: &Witness) {
        let newest = user.told.lock().unwrap().chats.last().cloned();
        let request = Request::get("/api/v1/chats").query("limit", "50");
        let reply = self
            .send(Kind::History, &request.bearer(&self.access(user).await))
            .await;
        let (Some(reply), Some(newest)) = (reply.filter(|reply| reply.status == 200), newest) else {
            return;
        };
        let shown = reply.body["data"].as_array().unwrap();
        assert!(
            shown.iter().any(|chat| chat["id"] == newest.as_str()),
            "{newest} was answered and is not in the history"
        );
    }

    /// Alone on its session, so that nobody else moves it on meanwhile.
    async fn refresh(&self, user: &Witness) {
        let mut account = user.account.lock().await;
        let request = Request::post("/api/v1/token/refresh", &json!({"refresh": account.refresh}));
        let started = Instant::now();
        loop {
            let Some(reply) = self.send(Kind::Refresh, &request).await else {
                continue;
            };
            if reply.status == 200 {
                account.access = reply.text_of("access");
                account.refresh = reply.text_of("refresh");
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(9),
                "the grace for repeats is over"
            );
        }
    }

    async fn adjust(&self, user: &Witness, amount: i64, key: Option<String>) {
        let name = user.account.lock().await.username.clone();
        let body = json!({"amount": amount, "reason": "the soak"});
        let request = Request::post(&format!("/api/v1/admin/users/{name}/tokens"), &body).bearer(&self.root.access);
        let Some(key) = key else {
            let reply = self.send(Kind::Adjust, &request).await;
            let mut told = user.told.lock().unwrap();
            told.unknown_entries += usize::from(is_unknown(reply.as_ref()));
            told.entry_of(reply.as_ref());
            return;
        };
        let request = request.header("Idempotency-Key", &key);
        for _ in 0..3 {
            let reply = self.send(Kind::KeyedAdjust, &request).await;
            let mut told = user.told.lock().unwrap();
            told.entry_of(reply.as_ref());
            if reply.is_some_and(|reply| reply.status < 500) {
                return;
            }
        }
        user.told.lock().unwrap().open_keys.push((key, amount));
    }

    /// Without any more faults: says the last word on every key, lets every lease run out, and holds what was told against the table.
    async fn close(&self) {
        self.system.recorder.catch_up().await;
        for user in &self.users {
            let open = std::mem::take(&mut user.told.lock().unwrap().open_keys);
            for (key, amount) in open {
                self.adjust(user, amount, Some(key)).await;
            }
            assert!(
                user.told.lock().unwrap().open_keys.is_empty(),
                "a key without a last word"
            );
        }
        for user in &self.users {
            let ended = user.told.lock().unwrap().ended.clone();
            for (conversation, _) in ended.iter().filter(|(_, gone)| !**gone) {
                self.end_talk(user, conversation, 60).await;
            }
            let ended = &user.told.lock().unwrap().ended;
            assert!(ended.values().all(|gone| *gone), "a conversation without an end");
        }
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        for user in &self.users {
            let open = std::mem::take(&mut user.told.lock().unwrap().open_chats);
            for number in open {
                assert!(self.keyed_chat(user, number, 60).await, "a key without a last word");
            }
        }
        for user in &self.users {
            let account = user.account.lock().await.clone();
            // Gives back what dead calls hold. On a busy machine an attempt may take too long without any fault.
            let look = Request::get("/api/v1/users/token-balance").bearer(&account.access);
            while self.system.send(look.clone()).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let books = Books::of(&self.system, &account.username).await;
            books.check();
            let told = user.told.lock().unwrap();
            assert!(books.holds.is_empty(), "{books:?}");
            assert_eq!(books.sessions, 1, "{books:?}");
            let said: BTreeSet<_> = books.said.iter().map(|(_, chat)| chat.clone()).collect();
            let chats = books.chats.iter().map(|(id, _)| id.clone());
            let chats: BTreeSet<_> = chats.filter(|id| !said.contains(id)).collect();
            assert!(told.chats.is_subset(&chats), "a 200 without its chat");
            let unexplained = chats.len() - told.chats.len();
            assert!(
                unexplained <= told.unknown_chats,
                "{unexplained} chats that nobody was told of"
            );
            assert!(books.chats.iter().all(|(_, cost)| *cost == 100));
            // What was said in conversations that are gone is in the ledger, once.
            let (removals, adjustments): (Vec<_>, Vec<_>) =
                books.ledger.iter().partition(|(_, _, after)| after.is_none());
            let removed: i64 = removals.iter().map(|(_, amount, _)| -amount / 100).sum();
            let charged = said.len() + usize::try_from(removed).unwrap();
            let unexplained = charged - told.said.len();
            assert!(
                unexplained <= told.unknown_said,
                "{unexplained} chats of conversations that nobody was told of"
            );
            for (chat, conversation) in &told.said {
                let is_gone = told.ended.contains_key(conversation);
                assert_eq!(is_gone, !said.contains(chat), "{chat} of {conversation}");
            }
            for (id, deleting) in &books.conversations {
                assert!(!deleting && !told.ended.contains_key(id), "{id} is not gone");
            }
            let entries: BTreeSet<_> = adjustments.iter().map(|(id, ..)| id.clone()).collect();
            assert!(told.entries.is_subset(&entries), "a 200 without its ledger entry");
            let unexplained = entries.len() - told.entries.len();
            assert!(
                unexplained <= told.unknown_entries,
                "{unexplained} entries that nobody was told of"
            );
        }
        let newcomer = Books::of(&self.system, &self.newcomer.username).await;
        assert!(newcomer.sessions <= 5, "{newcomer:?}");
        let query = self.system.client.query().table_name(&self.system.table);
        let trail = query
            .key_condition_expression("pk = :audit")
            .expression_attribute_values(":audit", aws_sdk_dynamodb::types::AttributeValue::S("AUDIT".into()));
        let trail = trail.into_paginator().items().send();
        let trail = trail.collect::<Result<Vec<_>, _>>().await.unwrap().len();
        let mut entries = 0;
        for user in &self.users {
            let name = user.account.lock().await.username.clone();
            let ledger = Books::of(&self.system, &name).await.ledger;
            entries += ledger.iter().filter(|(_, _, after)| after.is_some()).count();
        }
        assert_eq!(trail, entries, "one audit entry for one adjustment");
    }
}

impl Told {
    /// A replay tells of the same entry again.
    fn entry_of(&mut self, reply: Option<&Reply>) {
        if let Some(reply) = reply.filter(|reply| reply.status == 200) {
            self.entries
                .insert(reply.body["entry"]["id"].as_str().unwrap().to_owned());
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// 2 000 operations; `SOAK_OPERATIONS=20000` makes them more. `SOAK_SEED` repeats what a seed decides: every operation, and what goes wrong
/// with which request of which process. How the processes interleave, no seed can decide.
#[tokio::test(flavor = "multi_thread")]
async fn the_books_are_right_whatever_fails_and_whoever_is_killed() {
    let wanted = variable("SOAK_OPERATIONS").unwrap_or(2 * ROUND);
    let seed = variable("SOAK_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_secs());
    println!("SOAK_SEED={seed}");
    let started = Instant::now();
    let (mut operations, mut rounds, mut looks, mut killed) = (0, 0, 0, 0);
    let mut answers = BTreeMap::<(Kind, String), usize>::new();
    let mut faults = BTreeMap::<&'static str, usize>::new();
    while operations < wanted {
        rounds += 1;
        let seed = Dice::new(seed.wrapping_add(rounds)).next();
        let round = Round::open().await;
        let (done, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        round.system.replace_killed();
        round
            .system
            .recorder
            .set_chaos(Some(Chaos::new(seed, FAULTS_PER_THOUSAND)));
        let clients = (0..CLIENTS).map(async |client| {
            let mut number = client;
            while round.sent.load(Ordering::Relaxed) < ROUND {
                round.operate(seed, number).await;
                number += CLIENTS;
            }
            if done.fetch_add(1, Ordering::Relaxed) + 1 == usize::try_from(CLIENTS).unwrap() {
                stopped.store(true, Ordering::Relaxed);
            }
        });
        let is_over = || stopped.load(Ordering::Relaxed);
        let kill = async {
            let mut dice = Dice::new(!seed);
            let mut killed = 0;
            while !is_over() {
                tokio::time::sleep(Duration::from_millis(200 + dice.below(600))).await;
                let (function, _) = FUNCTIONS[usize::try_from(dice.below(7)).unwrap()];
                round.system.kill_one(function, dice.next());
                killed += 1;
            }
            killed
        };
        let look = async {
            let mut looks = 0;
            while !is_over() {
                for index in 0..USERS {
                    Books::of(&round.system, &format!("user{index}")).await.check();
                    looks += 1;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            looks
        };
        let (_, kills, looked) = tokio::join!(join_all(clients), kill, look);
        let tally = round.system.recorder.set_chaos(None).unwrap().tally;
        round.close().await;
        operations += round.sent.load(Ordering::Relaxed);
        killed += kills;
        looks += looked;
        for (name, count) in tally {
            *faults.entry(name).or_default() += count;
        }
        for (answer, count) in round.answers.lock().unwrap().iter() {
            *answers.entry(answer.clone()).or_default() += count;
        }
        println!(
            "{operations} of {wanted} operations after {:.0} s",
            started.elapsed().as_secs_f64()
        );
    }
    let list = |counts: Vec<String>| counts.join(", ");
    println!(
        "seed {seed}: {operations} operations in {rounds} deployments; books looked at {looks} times while they were written"
    );
    println!("killed at random moments: {killed}");
    let total: usize = faults.values().sum();
    let faults = faults.iter().map(|(name, count)| format!("{name} ×{count}"));
    println!("{total} faults: {}", list(faults.collect()));
    let mut by_kind = BTreeMap::<Kind, Vec<String>>::new();
    for ((kind, answer), count) in &answers {
        by_kind.entry(*kind).or_default().push(format!("{answer} ×{count}"));
    }
    for (kind, answers) in by_kind {
        println!("{:<12} {}", format!("{kind:?}"), list(answers));
    }
}
