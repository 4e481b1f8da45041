//! Random sequences of requests to all endpoints, each answer compared with what a simple book of accounts says it should be.
//!
//! A sequence follows from a seed; `PROPTEST_RNG_SEED` sets another. A failure prints the last requests.

mod book;

use serde_json::{Value, json};

use crate::support::{Account, Random, Reply, Request, System};
use book::{Adjustment, Book, COST, Conversation, Credential, GRANT, MOST, Refresh, Refusal, Role};

const STEPS: usize = 560;

/// Names by their keys, in some spellings: as sent, and as shown.
const NAMES: [(&str, &[(&str, &str)]); 5] = [
    ("ada", &[("ada", "ada"), ("Ada", "Ada"), ("ＡＤＡ", "ADA")]),
    ("bob", &[("bob", "bob"), ("BOB", "BOB")]),
    ("d.n", &[("d.n", "d.n"), ("D.N", "D.N")]),
    ("root", &[("root", "root"), ("Root", "Root")]),
    (
        "strasse",
        &[("Straße", "Straße"), ("STRASSE", "STRASSE"), ("strasse", "strasse")],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_requests_is_answered_as_the_book_says() {
    for seed in Random::seeds(&[1, 2, 3]) {
        println!("PROPTEST_RNG_SEED={seed}");
        let (cost, grant) = (COST.to_string(), GRANT.to_string());
        let system = System::start_with(&[("MESSAGE_COST_TOKENS", &cost), ("SIGNUP_TOKENS", &grant)]).await;
        let mut world = World {
            system: &system,
            random: Random::new(seed, 0),
            book: Book::default(),
            trail: Trail(Vec::new()),
            counter: 0,
        };
        world.begin().await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.check_table().await;
    }
}

/// The requests so far, printed if the test fails.
struct Trail(Vec<String>);

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("after {} requests, the last of them:", self.0.len());
            for line in self.0.iter().rev().take(25).rev() {
                println!("  {line:.300}");
            }
        }
    }
}

struct World<'a> {
    system: &'a System,
    random: Random,
    book: Book,
    trail: Trail,
    counter: usize,
}

/// A success, or which refusal.
type Expected = Result<(), Refusal>;

impl World<'_> {
    async fn begin(&mut self) {
        let root = self.system.account("root").await;
        self.system.set_text(&root, "role", "admin").await;
        let Account {
            access,
            refresh,
            password,
            ..
        } = root;
        self.book.register("root", "root", &password, None);
        self.book.open("root", access, refresh);
        self.book.users.get_mut("root").unwrap().role = Role::Admin;
    }

    async fn step(&mut self) {
        match self.random.below(116) {
            0..9 => self.register().await,
            9..21 => self.log_in().await,
            21..30 => self.refresh().await,
            30..34 => self.log_out().await,
            34..39 => self.balance().await,
            39..43 => self.profile().await,
            43..60 => self.chat().await,
            60..65 => self.history().await,
            65..68 => self.one_chat().await,
            68..71 => self.list().await,
            71..74 => self.password().await,
            74..77 => self.delete().await,
            77..80 => self.search().await,
            80..83 => self.user().await,
            83..88 => self.update().await,
            88..94 => self.adjust().await,
            94..96 => self.chats_of().await,
            96..98 => self.ledger_of().await,
            98..100 => self.audit().await,
            100..103 => self.conversations().await,
            103..108 => self.conversation().await,
            108..111 => self.rename().await,
            _ => self.delete_conversation().await,
        }
    }

    // What requests are made of.

    fn number(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    fn name(&mut self) -> (&'static str, &'static str, &'static str) {
        let (key, spellings) = *self.random.one_of(&NAMES);
        let (sent, shown) = *self.random.one_of(spellings);
        (key, sent, shown)
    }

    /// Anything that somebody may still have, good or not.
    fn any_credential(&mut self) -> Credential {
        let (logins, keys) = (self.book.logins.len(), self.book.keys.len());
        match self.random.below(logins + keys + 2) {
            0 => Credential::Nothing,
            1 => Credential::Rubbish,
            index if index - 2 < logins => {
                let accesses = self.book.logins[index - 2].accesses();
                Credential::Access(index - 2, self.random.one_of(&accesses).clone())
            }
            index => Credential::Key(index - 2 - logins),
        }
    }

    /// Mostly one that is good for this role.
    fn credential(&mut self, role: Role) -> Credential {
        let good = self.book.credentials_of(role);
        if good.is_empty() || self.random.percent(15) {
            self.any_credential()
        } else {
            self.random.one_of(&good).clone()
        }
    }

    async fn send(&mut self, request: Request, credential: &Credential) -> Reply {
        let request = match credential {
            Credential::Nothing => request,
            Credential::Rubbish => request.bearer("rubbish"),
            Credential::Access(_, access) => request.bearer(access),
            Credential::Key(key) => request.auth_key(&self.book.keys[*key].text),
        };
        let who = match credential {
            Credential::Access(login, _) => format!("login {login} of {}", self.book.logins[*login].user),
            Credential::Key(key) => format!("key {key} of {}", self.book.keys[*key].user),
            other => format!("{other:?}"),
        };
        let event = request.rest_event();
        let (method, path, body) = (&event["httpMethod"], &event["path"], &event["body"]);
        self.trail.0.push(format!("{method} {path} by {who} {body:.120}"));
        let reply = if self.random.percent(50) {
            self.system.send(request).await
        } else {
            self.system.send_v2(request).await
        };
        let line = self.trail.0.last_mut().unwrap();
        *line = format!("{} {line} {}", reply.status, reply.text);
        reply
    }

    /// Sends a request that should be answered like this.
    async fn expect(
        &mut self,
        request: Request,
        credential: &Credential,
        success: u16,
        expected: Expected,
    ) -> Option<Reply> {
        let reply = self.send(request, credential).await;
        match expected {
            Ok(()) => Some(reply.expect_status(success)),
            Err((status, code)) => {
                reply.expect_error(status, code);
                None
            }
        }
    }

    /// Pages through a listing with pages of random length; `None` if it is refused, as it should be.
    async fn pages(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        credential: &Credential,
        expected: Expected,
    ) -> Option<Vec<Value>> {
        let limit = *self.random.one_of(&[1, 2, 3, 5, 50]);
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut request = Request::get(path).query("limit", &limit.to_string());
            for (name, value) in query {
                request = request.query(name, value);
            }
            if let Some(cursor) = &cursor {
                request = request.query("cursor", cursor);
            }
            let reply = self.expect(request, credential, 200, expected).await?;
            let page = if reply.body.is_array() {
                &reply.body
            } else {
                &reply.body["data"]
            };
            let page = page.as_array().unwrap();
            assert!(page.len() <= limit + 1, "a ledger has its first entry besides");
            seen.extend(page.iter().cloned());
            let next = match reply.headers.get("link") {
                Some(link) => Some(
                    link.split("cursor=")
                        .nth(1)
                        .unwrap()
                        .split('>')
                        .next()
                        .unwrap()
                        .to_owned(),
                ),
                None => reply.body["next_cursor"].as_str().map(str::to_owned),
            };
            match next {
                Some(next) => cursor = Some(next),
                None => return Some(seen),
            }
        }
    }

    // The endpoints.

    async fn register(&mut self) {
        let (name, sent, shown) = self.name();
        let password = format!("horse battery {}", self.number());
        let (bad, email, classic) = (
            self.random.percent(10),
            self.random.percent(30),
            self.random.percent(50),
        );
        let email = email.then_some("somebody@example.com");
        let mut body = json!({"username": sent, "password": if bad { "short" } else { password.as_str() }});
        if let Some(email) = email {
            body["email"] = json!(email);
        }
        let expected = match (bad, self.book.users.contains_key(name)) {
            (true, _) => Err((400, "invalid")),
            (false, true) => Err((400, "username_taken")),
            (false, false) => Ok(()),
        };
        let path = if classic { "/api/register" } else { "/api/v1/users" };
        let request = Request::post(path, &body);
        let Some(reply) = self.expect(request, &Credential::Nothing, 201, expected).await else {
            return;
        };
        self.book.register(name, shown, &password, email);
        if classic {
            assert_eq!(reply.body["user"]["username"], shown);
            assert_eq!(reply.body["user"]["email"], email.unwrap_or_default());
            assert_eq!(reply.body["user"]["tokens"], GRANT);
            self.book.open(name, reply.text_of("access"), reply.text_of("refresh"));
            self.book.tell_key(name, reply.text_of("token"));
        } else {
            assert_eq!(reply.body["data"], json!({"username": shown, "token": GRANT}));
        }
    }

    async fn log_in(&mut self) {
        let (name, sent, _) = self.name();
        let is_right = self.random.percent(90);
        let user = self.book.users.get(name);
        let known = user.map_or("horse battery 0".to_owned(), |user| user.password.clone());
        let body = json!({"username": sent, "password": if is_right { known } else { "wrong horse battery".into() }});
        let shown = user
            .filter(|user| user.active && is_right)
            .map(|user| user.written.clone());
        let (path, status) =
            *self
                .random
                .one_of(&[("/api/v1/users/login", 401), ("/api/login", 400), ("/api/token", 401)]);
        let expected = shown.as_ref().map(|_| ()).ok_or((status, "invalid_credentials"));
        let request = Request::post(path, &body);
        let Some(reply) = self.expect(request, &Credential::Nothing, 200, expected).await else {
            return;
        };
        self.book.open(name, reply.text_of("access"), reply.text_of("refresh"));
        if path == "/api/v1/users/login" {
            assert_eq!(reply.body["username"], json!(shown));
        } else {
            self.book.tell_key(name, reply.text_of("token"));
        }
    }

    async fn refresh(&mut self) {
        let (path, rotates) = *self.random.one_of(&[
            ("/api/v1/token/refresh", true),
            ("/api/v1/users/refresh", true),
            ("/api/token/refresh", false),
        ]);
        // Mostly of one of the last logins, which may still live.
        let count = self.book.logins.len();
        let back = if self.random.percent(80) { 8 } else { count };
        let login = count - 1 - self.random.below(back.min(count));
        let newest = self.book.logins[login].pairs.len() - 1;
        let generation = newest - self.random.below(3).min(newest);
        let outcome = self.book.refresh(login, generation, rotates);
        let expected = match outcome {
            Refresh::Refused(refusal) => Err(refusal),
            Refresh::TooCloseToTell => return,
            Refresh::Next | Refresh::Same => Ok(()),
        };
        let request = Request::post(path, &json!({"refresh": self.book.logins[login].pairs[generation].1}));
        let Some(reply) = self.expect(request, &Credential::Nothing, 200, expected).await else {
            return;
        };
        let held = &mut self.book.logins[login];
        let access = reply.text_of("access");
        match (rotates, outcome) {
            (false, _) => {
                assert_eq!(reply.body["refresh"], Value::Null);
                held.more.push(access);
            }
            (true, Refresh::Next) => {
                held.pairs.push((access, reply.text_of("refresh")));
                held.rotated = std::time::Instant::now();
            }
            (true, _) => assert_eq!(held.pairs.last(), Some(&(access, reply.text_of("refresh")))),
        }
    }

    async fn log_out(&mut self) {
        let credential = self.credential(Role::User);
        let own = match &credential {
            Credential::Access(login, _) if self.random.percent(60) => Some(*login),
            _ => None,
        };
        let login = own.unwrap_or_else(|| self.random.below(self.book.logins.len()));
        let expected = self.book.caller(&credential).and_then(|name| {
            let user = &self.book.users[&name];
            if user.sessions.contains(&login) {
                Ok(name)
            } else {
                Err((400, "token_not_valid"))
            }
        });
        let refresh = self.random.one_of(&self.book.logins[login].pairs).1.clone();
        let request = Request::post("/api/v1/users/logout", &json!({"refresh": refresh}));
        let done = self.expect(request, &credential, 200, expected.clone().map(drop)).await;
        if let (Some(_), Ok(name)) = (done, expected) {
            self.book
                .users
                .get_mut(&name)
                .unwrap()
                .sessions
                .retain(|session| *session != login);
        }
    }

    async fn balance(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let path = *self.random.one_of(&[
            "/api/v1/users/token-balance",
            "/api/tokens",
            "/api/user/balance",
            "/api/token-balance",
        ]);
        let done = self
            .expect(Request::get(path), &credential, 200, caller.clone().map(drop))
            .await;
        let (Some(reply), Ok(name)) = (done, caller) else {
            return;
        };
        let user = &self.book.users[&name];
        if path.starts_with("/api/v1") {
            assert_eq!(reply.body["username"], user.written);
            assert_eq!(reply.body["token_balance"], user.balance);
        } else {
            assert_eq!(reply.body, json!({"tokens": user.balance}));
        }
    }

    async fn profile(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let path = *self.random.one_of(&["/api/v1/users/me", "/api/user/profile"]);
        let done = self
            .expect(Request::get(path), &credential, 200, caller.clone().map(drop))
            .await;
        let (Some(reply), Ok(name)) = (done, caller) else {
            return;
        };
        let user = &self.book.users[&name];
        assert_eq!(reply.body["username"], user.written);
        assert_eq!(reply.body["role"], user.role.name());
        if path.starts_with("/api/v1") {
            assert_eq!(reply.body["email"], json!(user.email));
            assert_eq!(reply.body["token_balance"], user.balance);
        } else {
            assert_eq!(reply.body["email"], user.email.clone().unwrap_or_default());
            assert_eq!(reply.body["tokens"], user.balance);
        }
    }

    async fn chat(&mut self) {
        let credential = self.credential(Role::User);
        let classic = self.random.percent(50);
        let message = format!("message {}", self.number());
        // Nobody pays for nothing; whether that or the caller is refused first is not the book's business.
        let says_nothing = self.random.percent(5) && self.book.caller(&credential).is_ok();
        let short = match (classic, &credential) {
            (true, Credential::Access(..)) => (400, "insufficient_tokens"),
            _ => (402, "insufficient_tokens"),
        };
        let caller = self.book.caller(&credential);
        let conversation = match self.random.below(10) {
            0..4 => None,
            4..6 => Some("new".to_owned()),
            6 if caller.is_ok() => Some("rubbish".to_owned()),
            _ => Some(self.any_conversation(&caller)),
        };
        // The older clients do not talk in conversations, whatever they send.
        let said_in = conversation.clone().filter(|_| !classic);
        let expected = caller.and_then(|name| {
            let user = &self.book.users[&name];
            let is_own = said_in
                .as_ref()
                .is_none_or(|id| id == "new" || user.conversations.iter().any(|own| own.id == *id));
            match user.balance {
                _ if says_nothing => Err((400, "invalid")),
                _ if !is_own => Err((404, "conversation_not_found")),
                balance if balance < COST => Err(short),
                _ => Ok(name),
            }
        });
        let path = if classic { "/api/chat" } else { "/api/v1/chats" };
        let mut body = json!({"message": if says_nothing { "" } else { message.as_str() }});
        if let Some(conversation) = conversation {
            body["conversation_id"] = json!(conversation);
        }
        let request = Request::post(path, &body);
        let done = self.expect(request, &credential, 200, expected.clone().map(drop)).await;
        let (Some(reply), Ok(name)) = (done, expected) else {
            return;
        };
        let user = self.book.users.get_mut(&name).unwrap();
        user.balance -= COST;
        let (chat, left) = if classic {
            (&reply.body, "remaining_tokens")
        } else {
            (&reply.body["chat"], "token_balance")
        };
        assert_eq!(chat["message"], message);
        assert_eq!(chat["response"], format!("AI Response to: {message}"));
        assert_eq!(chat["cost"], COST);
        assert_eq!(reply.body[left], user.balance);
        if !classic {
            assert_eq!(reply.body["user_account"], user.written);
        }
        let id = chat["id"].as_str().unwrap().to_owned();
        match said_in {
            None => assert_eq!(chat.get("conversation_id"), None),
            Some(new) if new == "new" => user.conversations.push(Conversation {
                id: chat["conversation_id"].as_str().unwrap().to_owned(),
                title: message.clone(),
                chats: vec![id.clone()],
            }),
            Some(own) => {
                assert_eq!(chat["conversation_id"], own);
                let conversation = user.conversations.iter_mut().find(|known| known.id == own);
                conversation.unwrap().chats.push(id.clone());
            }
        }
        user.chats.push((id, message));
    }

    /// Mostly one of the caller's own conversations, or somebody else's, or one that there is not.
    fn any_conversation(&mut self, caller: &Result<String, Refusal>) -> String {
        let own = caller.as_ref().ok().map(|name| &self.book.users[name].conversations);
        let own: Vec<_> = own.into_iter().flatten().map(|own| own.id.clone()).collect();
        if !own.is_empty() && self.random.percent(80) {
            return self.random.one_of(&own).clone();
        }
        let all = self.book.users.values().flat_map(|user| &user.conversations);
        let mut all: Vec<_> = all.map(|conversation| conversation.id.clone()).collect();
        all.push("01JGXQ0000000000000000000C".into());
        self.random.one_of(&all).clone()
    }

    /// Somebody who calls about a conversation: who, which, where it is, and what they should hear.
    fn about_conversation(&mut self) -> (Credential, String, String, Result<String, Refusal>) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let id = self.any_conversation(&caller);
        let expected = caller.and_then(|name| {
            let mut own = self.book.users[&name].conversations.iter();
            own.any(|own| own.id == id)
                .then_some(name)
                .ok_or((404, "conversation_not_found"))
        });
        let path = format!("/api/v1/conversations/{id}");
        (credential, id, path, expected)
    }

    async fn conversations(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let pages = self.pages("/api/v1/conversations", &[], &credential, caller.clone().map(drop));
        let (Some(seen), Ok(name)) = (pages.await, caller) else {
            return;
        };
        let seen = seen.iter().map(|one| (one["id"].clone(), one["title"].clone()));
        let known = self.book.users[&name].conversations.iter().rev();
        let expected: Vec<_> = known.map(|one| (json!(one.id), json!(one.title))).collect();
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }

    async fn conversation(&mut self) {
        let (credential, id, path, expected) = self.about_conversation();
        let pages = self.pages(&path, &[], &credential, expected.clone().map(drop)).await;
        let (Some(seen), Ok(name)) = (pages, expected) else {
            return;
        };
        let user = &self.book.users[&name];
        let known = user.conversations.iter().find(|known| known.id == id).unwrap();
        let seen: Vec<_> = seen.iter().map(|chat| chat["id"].clone()).collect();
        let expected: Vec<_> = known.chats.iter().rev().map(|id| json!(id)).collect();
        assert_eq!(seen, expected);
    }

    async fn rename(&mut self) {
        let (credential, id, path, expected) = self.about_conversation();
        let title = format!("title {}", self.number());
        let request = Request::with_body("PATCH", &path, &json!({"title": title}));
        let done = self.expect(request, &credential, 200, expected.clone().map(drop)).await;
        if let (Some(reply), Ok(name)) = (done, expected) {
            assert_eq!(reply.body["conversation"]["title"], title);
            let user = self.book.users.get_mut(&name).unwrap();
            let known = user.conversations.iter_mut().find(|known| known.id == id);
            known.unwrap().title = title;
        }
    }

    async fn delete_conversation(&mut self) {
        let (credential, id, path, expected) = self.about_conversation();
        let request = Request::new("DELETE", &path);
        let done = self.expect(request, &credential, 204, expected.clone().map(drop)).await;
        if let (Some(_), Ok(name)) = (done, expected) {
            let user = self.book.users.get_mut(&name).unwrap();
            let index = user.conversations.iter().position(|known| known.id == id).unwrap();
            let gone = user.conversations.remove(index).chats;
            user.chats.retain(|(id, _)| !gone.contains(id));
            let cost = COST * u64::try_from(gone.len()).unwrap();
            user.ledger.push((-i64::try_from(cost).unwrap(), None));
        }
    }

    async fn history(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let path = *self.random.one_of(&["/api/v1/chats", "/api/chat"]);
        let pages = self.pages(path, &[], &credential, caller.clone().map(drop)).await;
        if let (Some(chats), Ok(name)) = (pages, caller) {
            self.check_chats(&chats, &name);
        }
    }

    fn check_chats(&self, seen: &[Value], name: &str) {
        let chats = self.book.users[name].chats.iter().rev();
        let expected: Vec<_> = chats.map(|(id, message)| (json!(id), json!(message))).collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|chat| (chat["id"].clone(), chat["message"].clone()))
            .collect();
        assert_eq!(seen, expected);
    }

    async fn one_chat(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let all = self.book.users.iter();
        let mut all: Vec<_> = all
            .flat_map(|(name, user)| user.chats.iter().map(move |chat| (name.clone(), chat.clone())))
            .collect();
        all.push((String::new(), ("01JGXQ0000000000000000000A".into(), String::new())));
        let own: Vec<_> = all
            .iter()
            .filter(|(name, _)| caller.as_ref() == Ok(name))
            .cloned()
            .collect();
        let from = if own.is_empty() || self.random.percent(30) {
            &all
        } else {
            &own
        };
        let (owner, (id, message)) = self.random.one_of(from).clone();
        let expected = caller.and_then(|name| {
            if name == owner {
                Ok(())
            } else {
                Err((404, "chat_not_found"))
            }
        });
        let request = Request::get(&format!("/api/v1/chats/{id}"));
        if let Some(reply) = self.expect(request, &credential, 200, expected).await {
            assert_eq!(reply.body["chat"]["message"], message);
        }
    }

    async fn list(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential).map(drop);
        if let Some(seen) = self.pages("/api/v1/users/all", &[], &credential, caller).await {
            let active = self.book.search("", Some(true));
            let expected: Vec<_> = active.iter().map(|user| json!({"username": user.written})).collect();
            assert_eq!(seen, expected);
        }
    }

    /// The caller's password, or sometimes another.
    fn password_of(&mut self, caller: &Result<String, Refusal>) -> (String, bool) {
        match caller {
            Ok(name) if self.random.percent(75) => (self.book.users[name].password.clone(), true),
            _ => ("wrong horse battery".into(), false),
        }
    }

    async fn password(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let (old, is_right) = self.password_of(&caller);
        let is_good = self.random.percent(80);
        let new = if is_good {
            format!("horse battery {}", self.number())
        } else {
            "short".into()
        };
        let expected = caller.and_then(|name| match (is_right, is_good) {
            (false, _) => Err((400, "wrong_password")),
            (true, false) => Err((400, "invalid")),
            (true, true) => Ok(name),
        });
        let request = Request::post("/api/v1/users/password", &json!({"old": old, "new": new}));
        let done = self.expect(request, &credential, 204, expected.clone().map(drop)).await;
        if let (Some(_), Ok(name)) = (done, expected) {
            let user = self.book.users.get_mut(&name).unwrap();
            user.password = new;
            user.version += 1;
            user.sessions.clear();
            user.key = None;
        }
    }

    async fn delete(&mut self) {
        let credential = self.credential(Role::User);
        let caller = self.book.caller(&credential);
        let (password, is_right) = self.password_of(&caller);
        let expected = caller.and_then(|name| match (is_right, self.book.users[&name].role) {
            (false, _) => Err((400, "wrong_password")),
            (true, Role::Admin) => Err((409, "admin_account")),
            (true, _) => Ok(name),
        });
        let request = Request::with_body("DELETE", "/api/v1/users/me", &json!({"password": password}));
        let done = self.expect(request, &credential, 204, expected.clone().map(drop)).await;
        if let (Some(_), Ok(name)) = (done, expected) {
            self.book.users.remove(&name);
        }
    }

    async fn search(&mut self) {
        let credential = self.credential(Role::Staff);
        let caller = self.book.caller_with(&credential, Role::Staff).map(drop);
        let (sent, folded) = *self.random.one_of(&[
            ("", ""),
            ("A", "a"),
            ("stra", "stra"),
            ("Straß", "strass"),
            ("ro", "ro"),
            ("x", "x"),
        ]);
        let (flag, active) =
            *self
                .random
                .one_of(&[(None, None), (Some("true"), Some(true)), (Some("false"), Some(false))]);
        let mut query = vec![("prefix", sent)];
        query.extend(flag.map(|flag| ("active", flag)));
        let Some(seen) = self.pages("/api/v1/admin/users", &query, &credential, caller).await else {
            return;
        };
        let found = |user: &Value| (user["username"].clone(), user["role"].clone(), user["active"].clone());
        let expected = self.book.search(folded, active).into_iter();
        let expected: Vec<_> = expected
            .map(|user| (json!(user.written), json!(user.role.name()), json!(user.active)))
            .collect();
        assert_eq!(seen.iter().map(found).collect::<Vec<_>>(), expected);
    }

    /// Somebody that somebody with a role looks at or changes, and what comes of that so far.
    fn target(&mut self, credential: &Credential, role: Role) -> (&'static str, String, Result<String, Refusal>) {
        let (name, sent, _) = self.name();
        let caller = self.book.caller_with(credential, role);
        let exists = self.book.users.contains_key(name);
        let expected = caller.and_then(|caller| {
            if exists {
                Ok(caller)
            } else {
                Err((404, "user_not_found"))
            }
        });
        (name, format!("/api/v1/admin/users/{sent}"), expected)
    }

    fn check_user(&self, seen: &Value, name: &str) {
        let user = &self.book.users[name];
        assert_eq!(seen["username"], user.written);
        assert_eq!(seen["email"], json!(user.email));
        assert_eq!(seen["role"], user.role.name());
        assert_eq!(seen["active"], user.active);
        assert_eq!(seen["token_balance"], user.balance);
        assert_eq!(seen["held_tokens"], 0);
        assert_eq!(seen["signup_grant"], GRANT);
        assert_eq!(seen["sessions"].as_array().unwrap().len(), user.sessions.len());
    }

    async fn user(&mut self) {
        let credential = self.credential(Role::Staff);
        let (name, path, expected) = self.target(&credential, Role::Staff);
        if let Some(reply) = self
            .expect(Request::get(&path), &credential, 200, expected.map(drop))
            .await
        {
            self.check_user(&reply.body["user"], name);
        }
    }

    async fn update(&mut self) {
        let credential = self.credential(Role::Admin);
        let (name, path, expected) = self.target(&credential, Role::Admin);
        let role = *self
            .random
            .one_of(&[None, Some(Role::User), Some(Role::Staff), Some(Role::Admin)]);
        let active = match (role, self.random.below(4)) {
            (_, 0 | 1) | (None, 2) => Some(true),
            (_, 3) => Some(false),
            _ => None,
        };
        let expected = expected.and_then(|caller| {
            let takes_own = caller == name && (active == Some(false) || role.is_some_and(|role| role != Role::Admin));
            if takes_own {
                Err((409, "own_rights"))
            } else {
                Ok(caller)
            }
        });
        let body = json!({"active": active, "role": role.map(Role::name)});
        let request = Request::with_body("PATCH", &path, &body);
        let done = self.expect(request, &credential, 200, expected.clone().map(drop)).await;
        let (Some(reply), Ok(caller)) = (done, expected) else {
            return;
        };
        let user = self.book.users.get_mut(name).unwrap();
        let before = (user.role, user.active);
        user.role = role.unwrap_or(user.role);
        user.active = active.unwrap_or(user.active);
        if !user.active {
            user.sessions.clear();
        }
        if user.active && !before.1 {
            // Whoever comes back begins anew, with another key.
            user.version += 1;
            user.key = None;
        }
        if before != (user.role, user.active) {
            self.book.audit.push(("user_changed", caller, name.to_owned()));
        }
        self.check_user(&reply.body["user"], name);
    }

    async fn adjust(&mut self) {
        let credential = self.credential(Role::Admin);
        let (name, path, expected) = self.target(&credential, Role::Admin);
        let most = i64::try_from(MOST).unwrap();
        let amount = *self
            .random
            .one_of(&[1, 50, 250, 250, 1_000, -30, -250, -100_000, most, -most]);
        let reason = *self.random.one_of(&["a test", "another test"]);
        let key = self.random.percent(60).then(|| format!("key-{}", self.random.below(4)));
        let adjustment: Adjustment = (name.to_owned(), amount, reason);
        // A key is looked up before the account that is to be adjusted: what was done for one since deleted is told all the same.
        let caller = self.book.caller_with(&credential, Role::Admin);
        let done_before = match (&caller, &key) {
            (Ok(caller), Some(key)) => self.book.users[caller].done.get(key).cloned(),
            _ => None,
        };
        let balance = self.book.users.get(name).map_or(0, |user| user.balance);
        let after = i128::from(balance) + i128::from(amount);
        let expected = match &done_before {
            Some((done, _)) if *done != adjustment => Err((422, "idempotency_mismatch")),
            Some(_) => caller,
            None => expected.and_then(|caller| {
                if (0..=MOST).contains(&after) {
                    Ok(caller)
                } else {
                    Err((400, "invalid"))
                }
            }),
        };
        let mut request = Request::post(&format!("{path}/tokens"), &json!({"amount": amount, "reason": reason}));
        if let Some(key) = &key {
            request = request.header("Idempotency-Key", key);
        }
        let done = self.expect(request, &credential, 200, expected.clone().map(drop)).await;
        let (Some(reply), Ok(caller)) = (done, expected) else {
            return;
        };
        assert_eq!(
            reply.headers.contains_key("idempotency-replayed"),
            done_before.is_some()
        );
        if let Some((_, answer)) = done_before {
            assert_eq!(reply.body, answer);
            return;
        }
        let user = self.book.users.get_mut(name).unwrap();
        user.balance = u64::try_from(after).unwrap();
        user.ledger.push((amount, Some(user.balance)));
        assert_eq!(reply.body["username"], name);
        assert_eq!(reply.body["token_balance"], user.balance);
        assert_eq!(reply.body["entry"]["actor"], caller);
        self.book
            .audit
            .push(("balance_adjusted", caller.clone(), name.to_owned()));
        if let Some(key) = key {
            let done = &mut self.book.users.get_mut(&caller).unwrap().done;
            done.insert(key, (adjustment, reply.body));
        }
    }

    async fn chats_of(&mut self) {
        let credential = self.credential(Role::Staff);
        let (name, path, expected) = self.target(&credential, Role::Staff);
        if let Some(seen) = self
            .pages(&format!("{path}/chats"), &[], &credential, expected.map(drop))
            .await
        {
            self.check_chats(&seen, name);
        }
    }

    async fn ledger_of(&mut self) {
        let credential = self.credential(Role::Staff);
        let (name, path, expected) = self.target(&credential, Role::Staff);
        let Some(seen) = self
            .pages(&format!("{path}/ledger"), &[], &credential, expected.map(drop))
            .await
        else {
            return;
        };
        let seen: Vec<_> = seen
            .iter()
            .map(|entry| (entry["amount"].clone(), entry["balance_after"].clone()))
            .collect();
        let entries = self.book.users[name].ledger.iter().rev();
        let mut expected: Vec<_> = entries.map(|(amount, after)| (json!(amount), json!(after))).collect();
        expected.push((json!(GRANT), json!(GRANT)));
        assert_eq!(seen, expected);
    }

    async fn audit(&mut self) {
        let credential = self.credential(Role::Staff);
        let caller = self.book.caller_with(&credential, Role::Staff).map(drop);
        let Some(seen) = self.pages("/api/v1/admin/audit", &[], &credential, caller).await else {
            return;
        };
        let seen: Vec<_> = seen
            .iter()
            .map(|entry| json!([entry["action"], entry["actor"], entry["target"]]))
            .collect();
        let expected: Vec<_> = self.book.audit.iter().rev().map(|entry| json!(entry)).collect();
        assert_eq!(seen, expected);
    }

    /// What is in the table in the end: every balance follows from its ledger, and nothing is there that nobody asked for.
    async fn check_table(&self) {
        for (name, _) in NAMES {
            let items = self.system.items(name).await.len();
            let Some(user) = self.book.users.get(name) else {
                assert_eq!(items, 0, "{name} is gone");
                continue;
            };
            self.system.check_ledger(name).await;
            assert_eq!(
                items,
                1 + user.chats.len()
                    + user.conversations.iter().map(|one| 1 + one.chats.len()).sum::<usize>()
                    + user.ledger.len()
                    + user.done.len(),
                "{name}"
            );
        }
    }
}
