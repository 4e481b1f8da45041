//! Conversations: what a model is told, what they are called, and their end. Whatever becomes of a conversation, the books are right.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Account, Books, Lost, ModelServer, Part, Reply, Request, System, Told};

fn message(conversation: &str, text: &str) -> Request {
    Request::post(
        "/api/v1/chats",
        &json!({"message": text, "conversation_id": conversation}),
    )
}

async fn say(system: &System, account: &Account, conversation: &str, text: &str) -> Reply {
    system.send(message(conversation, text).bearer(&account.access)).await
}

/// Begins a conversation; tells its id.
async fn begin(system: &System, account: &Account, text: &str) -> String {
    let reply = say(system, account, "new", text).await.expect_status(200);
    reply.body["chat"]["conversation_id"].as_str().unwrap().to_owned()
}

fn path(conversation: &str) -> String {
    format!("/api/v1/conversations/{conversation}")
}

async fn get(system: &System, account: &Account, path: &str) -> Reply {
    system.send(Request::get(path).bearer(&account.access)).await
}

async fn rename(system: &System, account: &Account, conversation: &str, title: &Value) -> Reply {
    let request = Request::with_body("PATCH", &path(conversation), &json!({"title": title}));
    system.send(request.bearer(&account.access)).await
}

async fn delete(system: &System, account: &Account, conversation: &str) -> Reply {
    let request = Request::new("DELETE", &path(conversation));
    system.send(request.bearer(&account.access)).await
}

/// The messages on a page, as it shows them.
fn messages(page: &Reply) -> Vec<String> {
    let chats = page.body["data"].as_array().unwrap().iter();
    chats.map(|chat| chat["message"].as_str().unwrap().to_owned()).collect()
}

/// The titles on a page, as it shows them.
async fn titles(system: &System, account: &Account) -> Vec<String> {
    let page = get(system, account, "/api/v1/conversations").await.expect_status(200);
    let all = page.body["data"].as_array().unwrap().iter();
    all.map(|one| one["title"].as_str().unwrap().to_owned()).collect()
}

/// The turns that a model server was asked, one list for each request.
fn asked(server: &ModelServer) -> Vec<Vec<(String, String)>> {
    let turn = |turn: &Value| {
        let text = |member: &str| turn[member].as_str().unwrap().to_owned();
        (text("role"), text("content"))
    };
    let turns = |request: &Value| request["messages"].as_array().unwrap().iter().map(turn).collect();
    server.take_asked().iter().map(|(_, request)| turns(request)).collect()
}

async fn start(server: &ModelServer, more: &[(&str, &str)]) -> System {
    let mut overrides = vec![
        ("MODEL_PROVIDER", "openai"),
        ("OPENAI_BASE_URL", server.base_url.as_str()),
        ("MODEL_NAME", "stub"),
    ];
    overrides.extend_from_slice(more);
    System::start_with(&overrides).await
}

fn said(turns: &[(&str, &str)]) -> Vec<(String, String)> {
    let turns = turns.iter();
    turns
        .map(|(role, text)| ((*role).to_owned(), (*text).to_owned()))
        .collect()
}

async fn reconcile(system: &System, repair: bool) -> Value {
    let event = json!({"repair": repair});
    let found = system.invoke_operator("ledger-reconcile", event).await.unwrap();
    assert_eq!(
        (&found["drifted"], &found["unchecked"]),
        (&json!(0), &json!(0)),
        "{found}"
    );
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_begins_with_a_message_and_goes_on_with_the_next() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let first = say(&system, &ada, "new", "What is\n a ledger?")
        .await
        .expect_status(200);
    let id = first.body["chat"]["conversation_id"].as_str().unwrap().to_owned();
    assert_eq!(first.body["token_balance"], 3900);
    let second = say(&system, &ada, &id, "And a balance?").await.expect_status(200);
    assert_eq!(second.body["chat"]["conversation_id"], *id);
    assert_eq!(second.body["token_balance"], 3800);
    let alone = system.chat(&ada, "Something else").await.expect_status(200);
    assert_eq!(alone.body["chat"].get("conversation_id"), None);
    let null = Request::post(
        "/api/v1/chats",
        &json!({"message": "And this", "conversation_id": null}),
    );
    let null = system.send(null.bearer(&ada.access)).await.expect_status(200);
    assert_eq!(null.body["chat"].get("conversation_id"), None);

    let listed = get(&system, &ada, "/api/v1/conversations").await.expect_status(200);
    let one = &listed.body["data"][0];
    let expected = json!({
        "id": id,
        "title": "What is a ledger?",
        "created_at": first.body["chat"]["timestamp"],
        "updated_at": second.body["chat"]["timestamp"],
    });
    assert_eq!(
        listed.body,
        json!({"status": "success", "message": "Conversations", "data": [expected], "next_cursor": null})
    );
    let shown = get(&system, &ada, &path(&id)).await.expect_status(200);
    let members: Vec<_> = shown.body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["conversation", "data", "message", "next_cursor", "status"]);
    assert_eq!(shown.body["conversation"], *one);
    assert_eq!(
        shown.body["data"],
        json!([second.body["chat"], first.body["chat"]]),
        "newest first, as they were answered"
    );

    // The history and each chat say which conversation it is of.
    let history = get(&system, &ada, "/api/v1/chats").await.expect_status(200);
    let history: Vec<_> = history.body["data"].as_array().unwrap().iter().collect();
    let of: Vec<_> = history
        .iter()
        .map(|chat| chat.get("conversation_id").is_some())
        .collect();
    assert_eq!(of, [false, false, true, true]);
    let chat = format!("/api/v1/chats/{}", first.body["chat"]["id"].as_str().unwrap());
    let chat = get(&system, &ada, &chat).await.expect_status(200);
    assert_eq!(chat.body["chat"], first.body["chat"]);
    system.check_ledger("ada").await;
    Books::of(&system, "ada").await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_older_systems_talk_outside_conversations() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    server.take_asked();
    for whatever in [json!(id), json!("new"), json!("rubbish"), json!(5), json!({"a": [1]})] {
        let body = json!({"message": "hello", "conversation_id": whatever});
        let request = Request::post("/api/chat", &body).bearer(&ada.access);
        let reply = system.send(request).await.expect_status(200);
        assert_eq!(reply.body.get("conversation_id"), None);
        assert_eq!(asked(&server), [said(&[("user", "hello")])]);
    }
    assert_eq!(titles(&system, &ada).await, ["first"]);
    assert_eq!(
        messages(&get(&system, &ada, &path(&id)).await.expect_status(200)),
        ["first"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_told_what_was_said_before_and_nothing_of_other_conversations() {
    let server = ModelServer::start().await;
    let system = start(&server, &[("SYSTEM_PROMPT", "Be brief.")]).await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "one").await;
    let other = begin(&system, &ada, "other").await;
    system.chat(&ada, "alone").await.expect_status(200);
    say(&system, &ada, &id, "two").await.expect_status(200);
    say(&system, &ada, &other, "another").await.expect_status(200);
    say(&system, &ada, &id, "three").await.expect_status(200);
    let system_prompt = ("system", "Be brief.");
    assert_eq!(
        asked(&server),
        [
            said(&[system_prompt, ("user", "one")]),
            said(&[system_prompt, ("user", "other")]),
            said(&[system_prompt, ("user", "alone")]),
            said(&[
                system_prompt,
                ("user", "one"),
                ("assistant", "Heard: one"),
                ("user", "two")
            ]),
            said(&[
                system_prompt,
                ("user", "other"),
                ("assistant", "Heard: other"),
                ("user", "another")
            ]),
            said(&[
                system_prompt,
                ("user", "one"),
                ("assistant", "Heard: one"),
                ("user", "two"),
                ("assistant", "Heard: two"),
                ("user", "three")
            ]),
        ]
    );
    // What failed was not said.
    server.tell(Told::Reply(400, "{}"));
    say(&system, &ada, &id, "lost").await.expect_error(502, "model_failed");
    server.tell(Told::Answer);
    server.take_asked();
    say(&system, &ada, &id, "four").await.expect_status(200);
    let turns = asked(&server).remove(0);
    assert_eq!(turns.len(), 8);
    assert!(turns.iter().all(|(_, text)| text != "lost"));
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_conversation_the_newest_that_fits_the_budget_is_told() {
    let server = ModelServer::start().await;
    // `message N` and `Heard: message N` of 9 and 16 bytes are 3 + 8 and 4 + 8 tokens together.
    let system = start(&server, &[("CONTEXT_MAX_TOKENS", "69")]).await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "message 1").await;
    for number in 2..=5 {
        say(&system, &ada, &id, &format!("message {number}"))
            .await
            .expect_status(200);
    }
    let told = asked(&server);
    let lengths: Vec<_> = told.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 3, 5, 7, 7], "three chats of 23 tokens fit 69");
    assert_eq!(
        told[4],
        said(&[
            ("user", "message 2"),
            ("assistant", "Heard: message 2"),
            ("user", "message 3"),
            ("assistant", "Heard: message 3"),
            ("user", "message 4"),
            ("assistant", "Heard: message 4"),
            ("user", "message 5")
        ])
    );
    // Something long ends it: what is older would tell half a story.
    say(&system, &ada, &id, &"x".repeat(200)).await.expect_status(200);
    say(&system, &ada, &id, "message 7").await.expect_status(200);
    assert_eq!(asked(&server)[1], said(&[("user", "message 7")]));
    say(&system, &ada, &id, "message 8").await.expect_status(200);
    assert_eq!(asked(&server)[0].len(), 3);

    system.kill("chats-send").await;
    system.override_variable("CONTEXT_MAX_TOKENS", "0");
    system.take_recorded();
    say(&system, &ada, &id, "message 9").await.expect_status(200);
    assert_eq!(asked(&server), [said(&[("user", "message 9")])]);
    let recorded = system.take_recorded();
    let queries = recorded.iter().filter(|one| one.operation == "Query").count();
    assert_eq!(queries, 1, "only the keys: nothing is read that is not told");
    // Whose conversation it is counts all the same.
    let bob = system.account("bob").await;
    say(&system, &bob, &id, "mine")
        .await
        .expect_error(404, "conversation_not_found");
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_of_other_peoples_conversations() {
    let system = System::start().await;
    let (ada, bob) = (system.account("ada").await, system.account("bob").await);
    let own = begin(&system, &ada, "private").await;
    let of_bob = begin(&system, &bob, "his").await;
    let nobody = "01JGXQ0000000000000000000C".to_owned();
    let chat = get(&system, &ada, "/api/v1/chats").await.body["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let none = [
        own.clone(),
        nobody,
        own.to_lowercase(),
        "New".into(),
        "x".into(),
        "..".into(),
        chat,
        format!("{of_bob}#"),
        format!("{own}%23"),
        "new".into(),
    ];
    let before = system.scan().await.len();
    for id in &none {
        if id != "new" {
            say(&system, &bob, id, "hello")
                .await
                .expect_error(404, "conversation_not_found");
        }
        get(&system, &bob, &path(id))
            .await
            .expect_error(404, "conversation_not_found");
        rename(&system, &bob, id, &json!("Mine"))
            .await
            .expect_error(404, "conversation_not_found");
        delete(&system, &bob, id)
            .await
            .expect_error(404, "conversation_not_found");
    }
    say(&system, &bob, "", "hello")
        .await
        .expect_error(404, "conversation_not_found");
    let wrong = Request::post("/api/v1/chats", &json!({"message": "hello", "conversation_id": 5}));
    let wrong = system
        .send(wrong.bearer(&bob.access))
        .await
        .expect_error(400, "malformed");
    assert_eq!(wrong.text_of("detail"), "Member `conversation_id` must be a string");
    assert_eq!(system.balance(&bob).await, 3900);
    assert_eq!(system.scan().await.len(), before, "nothing came of it");
    assert_eq!(titles(&system, &ada).await, ["private"]);
    assert_eq!(titles(&system, &bob).await, ["his"]);

    // Whoever may not call at all hears that first, and nothing of what there is.
    let logout = Request::post("/api/v1/users/logout", &json!({"refresh": ada.refresh}));
    system.send(logout.bearer(&ada.access)).await.expect_status(200);
    for id in [&own, &of_bob] {
        say(&system, &ada, id, "hello")
            .await
            .expect_error(401, "token_not_valid");
        get(&system, &ada, &path(id)).await.expect_error(401, "token_not_valid");
        rename(&system, &ada, id, &json!("Mine"))
            .await
            .expect_error(401, "token_not_valid");
        delete(&system, &ada, id).await.expect_error(401, "token_not_valid");
    }
    get(&system, &ada, "/api/v1/conversations")
        .await
        .expect_error(401, "token_not_valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_gets_another_title() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    let before = get(&system, &ada, &path(&id)).await.body["conversation"].clone();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let renamed = rename(&system, &ada, &id, &json!("  Ledgers, old and new "))
        .await
        .expect_status(200);
    assert_eq!(renamed.body["conversation"]["title"], "Ledgers, old and new");
    assert_eq!(renamed.body["conversation"]["created_at"], before["created_at"]);
    // A whole second is written without its fraction, so the texts sort by time only without the zone.
    let time_of = |conversation: &Value| {
        conversation["updated_at"]
            .as_str()
            .unwrap()
            .trim_end_matches('Z')
            .to_owned()
    };
    assert!(time_of(&renamed.body["conversation"]) > time_of(&before));
    let after = get(&system, &ada, &path(&id)).await.expect_status(200);
    assert_eq!(after.body["conversation"], renamed.body["conversation"]);
    for (title, problem) in [
        (json!(""), "Title is required"),
        (json!(null), "Title is required"),
        (json!("two\nlines"), "Title must be one line"),
        (json!("x".repeat(201)), "Title must be at most 200 characters long"),
    ] {
        let refused = rename(&system, &ada, &id, &title).await.expect_error(400, "invalid");
        assert_eq!(
            (refused.body["member"].as_str(), refused.text_of("detail").as_str()),
            (Some("title"), problem)
        );
    }
    // A message that follows leaves it as it is.
    say(&system, &ada, &id, "second").await.expect_status(200);
    assert_eq!(titles(&system, &ada).await, ["Ledgers, old and new"]);
    let mut longest = "é".repeat(200);
    rename(&system, &ada, &id, &json!(longest)).await.expect_status(200);
    assert_eq!(titles(&system, &ada).await, [longest.clone()]);
    // The reply is lost, and the client asks again.
    longest = "x".into();
    system.lose(Lost::Reply, "TransactWriteItems", 3);
    rename(&system, &ada, &id, &json!(longest))
        .await
        .expect_error(503, "busy");
    assert_eq!(titles(&system, &ada).await, [longest]);
}

/// The claims are checked in the moment of the write, not before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_right_before_the_write_renames_and_deletes_nothing() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    for action in ["rename", "delete"] {
        let other = system.login("ada", &ada.password).await;
        let (client, table) = (system.client.clone(), system.table.clone());
        system.before_transaction(async move {
            let update = client.update_item().table_name(table);
            update
                .key("pk", AttributeValue::S("USER#ada".into()))
                .key("sk", AttributeValue::S("USER".into()))
                .update_expression("SET sessions = :none")
                .expression_attribute_values(":none", AttributeValue::M(HashMap::new()))
                .send()
                .await
                .unwrap();
        });
        let refused = match action {
            "rename" => rename(&system, &other, &id, &json!("Mine")).await,
            _ => delete(&system, &other, &id).await,
        };
        refused.expect_error(401, "token_not_valid");
    }
    let ada = system.login("ada", &ada.password).await;
    assert_eq!(titles(&system, &ada).await, ["first"]);
    assert_eq!(messages(&get(&system, &ada, &path(&id)).await), ["first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_and_their_chats_come_in_pages_newest_first() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(begin(&system, &ada, &format!("conversation {number}")).await);
        // Ids of one millisecond have no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for number in 1..5 {
        say(&system, &ada, &ids[0], &format!("message {number}"))
            .await
            .expect_status(200);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let pages = async |path: &str, name: &str| {
        let (mut seen, mut cursors) = (Vec::<String>::new(), Vec::<String>::new());
        loop {
            let request = Request::get(path).query("limit", "2");
            let request = match cursors.last() {
                Some(cursor) => request.query("cursor", cursor),
                None => request,
            };
            let page = system.send(request.bearer(&ada.access)).await.expect_status(200);
            let items = page.body["data"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item[name].as_str().unwrap().to_owned()));
            match page.body["next_cursor"].as_str() {
                Some(next) => cursors.push(next.to_owned()),
                None => return (seen, cursors),
            }
        }
    };
    let (seen, cursors) = pages("/api/v1/conversations", "id").await;
    assert_eq!(seen, ids.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(cursors.len(), 2);
    let (seen, in_first) = pages(&path(&ids[0]), "message").await;
    let expected = ["message 4", "message 3", "message 2", "message 1", "conversation 0"];
    assert_eq!(seen, expected);
    // A cursor of one listing means nothing in another.
    for (path, cursor) in [
        (path(&ids[1]), &in_first[0]),
        (path(&ids[0]), &cursors[0]),
        ("/api/v1/conversations".into(), &in_first[0]),
        ("/api/v1/chats".into(), &in_first[0]),
    ] {
        let request = Request::get(&path).query("cursor", cursor);
        let refused = system
            .send(request.bearer(&ada.access))
            .await
            .expect_error(400, "invalid");
        assert_eq!(refused.body["member"], "cursor");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_at_once_in_one_conversation_are_both_answered() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    system.spawn("chats-send");
    system.spawn("chats-send");
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    server.take_asked();
    // Both have read what was said before either of them is answered.
    server.tell(Told::Delay(500));
    let (one, two) = tokio::join!(say(&system, &ada, &id, "one"), say(&system, &ada, &id, "two"));
    one.expect_status(200);
    two.expect_status(200);
    for turns in asked(&server) {
        assert_eq!(turns.len(), 3, "{turns:?}");
    }
    server.tell(Told::Answer);
    say(&system, &ada, &id, "last").await.expect_status(200);
    assert_eq!(asked(&server)[0].len(), 7, "and what follows knows both");
    assert_eq!(system.balance(&ada).await, 3600);
    Books::of(&system, "ada").await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_paid_begins_no_conversation() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "50"), ("ECHO_FAILURE", "error")]).await;
    let ada = system.account("ada").await;
    say(&system, &ada, "new", "too poor")
        .await
        .expect_error(402, "insufficient_tokens");
    system.kill("chats-send").await;
    system.override_variable("MESSAGE_COST_TOKENS", "10");
    say(&system, &ada, "new", "no answer")
        .await
        .expect_error(502, "model_failed");
    assert!(titles(&system, &ada).await.is_empty());
    let books = Books::of(&system, "ada").await;
    assert_eq!((books.items, books.balance), (1, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_key_a_conversation_begins_once() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "5")]).await;
    for _ in 0..5 {
        system.spawn("chats-send");
    }
    let ada = system.account("ada").await;
    let keyed = |key: &str, conversation: &str, text: &str| {
        let request = message(conversation, text).header("Idempotency-Key", key);
        system.send(request.bearer(&ada.access))
    };
    let mut ids = BTreeSet::new();
    for round in 0..10 {
        let key = format!("key-{round}");
        let replies = join_all((0..8).map(|_| keyed(&key, "new", "hello"))).await;
        assert!(replies.iter().all(|reply| [200, 409].contains(&reply.status)));
        let answers: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert!(answers.iter().all(|reply| reply.body == answers[0].body));
        ids.insert(answers[0].body["chat"]["conversation_id"].as_str().unwrap().to_owned());
    }
    let books = Books::of(&system, "ada").await;
    books.check();
    let stored: BTreeSet<_> = books.conversations.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((ids.len(), books.chats.len(), books.said.len()), (10, 10, 10));
    assert_eq!(stored, ids);

    // The same message in another conversation, or in none, is another request.
    let id = ids.pop_first().unwrap();
    let first = keyed("k", &id, "hello").await.expect_status(200);
    let again = keyed("k", &id, "hello").await.expect_status(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body);
    for other in ["new", ids.first().unwrap()] {
        keyed("k", other, "hello")
            .await
            .expect_error(422, "idempotency_mismatch");
    }
    let alone = Request::post("/api/v1/chats", &json!({"message": "hello"})).header("Idempotency-Key", "k");
    let alone = system.send(alone.bearer(&ada.access)).await;
    alone.expect_error(422, "idempotency_mismatch");
    assert_eq!(system.balance(&ada).await, 4000 - 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_conversation_is_gone_with_everything_that_was_said_and_stays_paid() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let keyed = message("new", "a secret, under a key").header("Idempotency-Key", "k");
    let keyed = system.send(keyed.bearer(&ada.access)).await.expect_status(200);
    let id = keyed.body["chat"]["conversation_id"].as_str().unwrap().to_owned();
    let first = keyed.body["chat"]["id"].as_str().unwrap();
    for number in 0..3 {
        say(&system, &ada, &id, &format!("a secret too, {number}"))
            .await
            .expect_status(200);
    }
    let kept = begin(&system, &ada, "kept").await;
    system.chat(&ada, "alone").await.expect_status(200);
    assert!(delete(&system, &ada, &id).await.expect_status(204).text.is_empty());

    for reply in [
        delete(&system, &ada, &id).await,
        get(&system, &ada, &path(&id)).await,
        rename(&system, &ada, &id, &json!("Again")).await,
        say(&system, &ada, &id, "hello").await,
    ] {
        reply.expect_error(404, "conversation_not_found");
    }
    get(&system, &ada, &format!("/api/v1/chats/{first}"))
        .await
        .expect_error(404, "chat_not_found");
    let again = message("new", "a secret, under a key").header("Idempotency-Key", "k");
    let again = system.send(again.bearer(&ada.access)).await;
    again.expect_error(404, "chat_not_found");
    let history = get(&system, &ada, "/api/v1/chats").await.expect_status(200);
    assert_eq!(messages(&history), ["alone", "kept"]);
    assert_eq!(titles(&system, &ada).await, ["kept"]);
    assert_eq!(messages(&get(&system, &ada, &path(&kept)).await), ["kept"]);
    let stored = format!("{:?}", system.scan().await);
    assert!(!stored.contains("secret"), "nothing of its text is left");

    // What was spent stays spent, and the ledger says where it went.
    assert_eq!(system.balance(&ada).await, 4000 - 600);
    system.check_ledger("ada").await;
    system.set_text(&ada, "role", "staff").await;
    let ledger = get(&system, &ada, "/api/v1/admin/users/ada/ledger")
        .await
        .expect_status(200);
    let entries = ledger.body["data"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for (member, value) in [
        ("kind", json!("deletion")),
        ("amount", json!(-400)),
        ("reason", json!("Conversation deleted")),
        ("actor", json!("ada")),
        ("balance_after", json!(null)),
    ] {
        assert_eq!(entries[0][member], value, "{member}");
    }
    for repair in [false, true] {
        let found = reconcile(&system, repair).await;
        assert_eq!((&found["chats"], &found["repaired"]), (&json!(2), &json!(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_250_chats_is_removed_in_batches_that_the_ledger_accounts_for() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    system.lengthen_conversation("ada", &id, 249, 3).await;
    system.check_ledger("ada").await;
    system.take_recorded();
    delete(&system, &ada, &id).await.expect_status(204);
    let recorded = system.take_recorded();
    let transactions = recorded.iter().filter(|one| one.operation == "TransactWriteItems");
    // One to mark it; 250 in batches of 49.
    assert_eq!(transactions.count(), 1 + 6);
    let books = Books::of(&system, "ada").await;
    books.check();
    assert!(books.chats.is_empty() && books.said.is_empty() && books.conversations.is_empty());
    assert_eq!(books.ledger.len(), 6);
    let moved: i64 = books.ledger.iter().map(|(_, amount, _)| amount).sum();
    assert_eq!(moved, -(100 + 249 * 3));
    assert!(books.ledger.iter().all(|(_, _, after)| after.is_none()));
    assert_eq!(system.balance(&ada).await, 3900);
    reconcile(&system, true).await;

    // Long answers make smaller batches, and what costs nothing leaves no entry.
    let id = begin(&system, &ada, "second").await;
    system.lengthen_conversation("ada", &id, 60, 0).await;
    for (index, item) in system.items("ada").await.into_iter().enumerate() {
        if item["sk"].as_s().unwrap().contains("#7ZZZ") && index % 3 == 0 {
            let mut item = item;
            item.insert("response".into(), AttributeValue::S("y".repeat(60_000)));
            let put = system.client.put_item().table_name(&system.table);
            put.set_item(Some(item)).send().await.unwrap();
        }
    }
    delete(&system, &ada, &id).await.expect_status(204);
    let books = Books::of(&system, "ada").await;
    books.check();
    assert_eq!((books.items, books.ledger.len()), (1 + 6 + 1, 7));
    assert_eq!(system.balance(&ada).await, 3800);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_killed_in_the_middle_is_finished_by_the_next() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for finisher in ["the client", "the reconciliation"] {
        let id = begin(&system, &ada, "first").await;
        system.lengthen_conversation("ada", &id, 250, 2).await;
        system.ready("conversations-delete").await;
        let event = Request::new("DELETE", &path(&id)).bearer(&ada.access).rest_event();
        // Slow enough to be caught in the middle.
        system.set_latency(Duration::from_millis(50));
        let kill = async {
            loop {
                let left = Books::of(&system, "ada").await;
                left.check();
                if left.said.len() < 251 {
                    system.kill("conversations-delete").await;
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (answer, ()) = tokio::join!(system.invoke("conversations-delete", event), kill);
        system.set_latency(Duration::ZERO);
        let left = Books::of(&system, "ada").await;
        left.check();
        assert!(answer.is_none() && left.said.len() > 50, "{} are left", left.said.len());
        assert_eq!(left.conversations, [(id.clone(), true)]);

        // For its owner it is deleted; what is left in the history goes too.
        for reply in [
            get(&system, &ada, &path(&id)).await,
            rename(&system, &ada, &id, &json!("Again")).await,
            say(&system, &ada, &id, "hello").await,
        ] {
            reply.expect_error(404, "conversation_not_found");
        }
        assert!(titles(&system, &ada).await.is_empty());
        if finisher == "the client" {
            delete(&system, &ada, &id).await.expect_status(204);
        } else {
            let found = reconcile(&system, false).await;
            assert_eq!(found["conversations_removed"], 1, "{found}");
        }
        let books = Books::of(&system, "ada").await;
        books.check();
        assert_eq!(
            (books.chats.len(), books.said.len(), books.conversations.len()),
            (0, 0, 0)
        );
    }
    assert_eq!(system.balance(&ada).await, 3800);
    let found = reconcile(&system, true).await;
    assert_eq!(found["conversations_removed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_takes_longer_than_a_call_may_goes_on_with_the_next() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    system.lengthen_conversation("ada", &id, 500, 1).await;
    system.ready("conversations-delete").await;
    system.set_latency(Duration::from_millis(1_200));
    let cut_off = delete(&system, &ada, &id).await.expect_error(503, "deletion_continues");
    assert_eq!(cut_off.header("retry-after"), "1");
    assert!(cut_off.text_of("detail").starts_with("The conversation is deleted"));
    system.set_latency(Duration::ZERO);
    let left = Books::of(&system, "ada").await;
    left.check();
    assert!((1..500).contains(&left.said.len()), "{} are left", left.said.len());
    delete(&system, &ada, &id).await.expect_status(204);
    let books = Books::of(&system, "ada").await;
    books.check();
    assert_eq!(
        (books.chats.len(), books.said.len(), books.conversations.len()),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_replies_are_lost_moves_each_cost_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for (after, times) in [(0, 1), (0, 3), (1, 1), (1, 3), (2, 3)] {
        for lost in [Lost::Reply, Lost::Request, Lost::Conflict] {
            let id = begin(&system, &ada, "first").await;
            system.lengthen_conversation("ada", &id, 60, 5).await;
            let before = Books::of(&system, "ada").await;
            let entries = before.ledger.len();
            system.lose_after("TransactWriteItems", after, lost, times);
            let mut reply = delete(&system, &ada, &id).await;
            for _ in 0..5 {
                if reply.status != 503 {
                    break;
                }
                Books::of(&system, "ada").await.check();
                reply = delete(&system, &ada, &id).await;
            }
            // Done by a call that could not say so.
            assert!([204, 404].contains(&reply.status), "{}", reply.text);
            let books = Books::of(&system, "ada").await;
            books.check();
            assert!(books.said.is_empty() && books.conversations.is_empty(), "{books:?}");
            let moved: i64 = books.ledger[entries..].iter().map(|(_, amount, _)| amount).sum();
            assert_eq!(moved, -(100 + 300), "{after} {times} {lost:?}");
            assert_eq!(books.balance, before.balance);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_deleted_while_a_message_is_answered_takes_no_answer_and_no_tokens() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "1500")]).await;
    let ada = system.account("ada").await;
    for key in [None, Some("k")] {
        let id = begin(&system, &ada, "first").await;
        let request = message(&id, "second").bearer(&ada.access);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        let meanwhile = async {
            system.wait_for_holds("ada", 1).await;
            delete(&system, &ada, &id).await.expect_status(204);
        };
        let (answered, ()) = tokio::join!(system.send(request), meanwhile);
        answered.expect_error(404, "conversation_not_found");
        let books = Books::of(&system, "ada").await;
        books.check();
        assert!(
            books.holds.is_empty() && books.chats.is_empty() && books.said.is_empty(),
            "{books:?}"
        );
    }
    assert_eq!(system.balance(&ada).await, 3800, "only the first messages were paid");
}

/// A message, another, a deletion and a reading of the books, all at once, many times.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_among_messages_leaves_nothing_behind_and_the_books_right_in_every_order() {
    const ROUNDS: u64 = 40;
    let system = System::start_with(&[("MESSAGE_COST_TOKENS", "7"), ("CHATS_PER_MINUTE", "0")]).await;
    for _ in 0..2 {
        system.spawn("chats-send");
        system.spawn("conversations-delete");
    }
    let ada = system.account("ada").await;
    let mut outcomes = BTreeSet::new();
    for round in 0..ROUNDS {
        let before = Books::of(&system, "ada").await.balance;
        let began = Instant::now();
        let id = begin(&system, &ada, "first").await;
        let message_takes = began.elapsed();
        let after = |wait: Duration, request: Request| {
            let request = request.bearer(&ada.access);
            let system = &system;
            async move {
                tokio::time::sleep(wait).await;
                system.send(request).await
            }
        };
        // The deletion begins anywhere from before the messages to after them, however fast the machine and the engine are.
        let share = |of: u32, step: u64| message_takes * u32::try_from(round * step % 14).unwrap() / of;
        let (one, two, deleted, look) = tokio::join!(
            after(Duration::ZERO, message(&id, "one")),
            after(share(28, 3), message(&id, "two")),
            after(share(7, 1), Request::new("DELETE", &path(&id))),
            Books::of(&system, "ada")
        );
        look.check();
        deleted.expect_status(204);
        for reply in [&one, &two] {
            assert!([200, 404].contains(&reply.status), "round {round}: {}", reply.text);
        }
        outcomes.insert((one.status, two.status));
        let books = Books::of(&system, "ada").await;
        books.check();
        assert!(books.holds.is_empty(), "round {round}: {books:?}");
        assert!(
            books.chats.is_empty() && books.said.is_empty() && books.conversations.is_empty(),
            "round {round}: {books:?}"
        );
        let answered = [&one, &two].iter().filter(|reply| reply.status == 200).count();
        let paid = before - books.balance;
        assert_eq!(
            paid,
            7 * (1 + i64::try_from(answered).unwrap()),
            "round {round}: what was answered, and nothing else"
        );
    }
    println!("what became of two messages beside a deletion: {outcomes:?}");
    assert!(
        outcomes.len() > 1,
        "the deletion always came first or always last: {outcomes:?}"
    );
    reconcile(&system, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_deletions_of_one_conversation_at_once_account_for_it_once() {
    let system = System::start().await;
    for _ in 0..4 {
        system.spawn("conversations-delete");
    }
    let ada = system.account("ada").await;
    for round in 0..10 {
        let id = begin(&system, &ada, "first").await;
        system.lengthen_conversation("ada", &id, 110, 5).await;
        let before = Books::of(&system, "ada").await;
        let replies = join_all((0..4).map(|_| delete(&system, &ada, &id))).await;
        for reply in &replies {
            assert!([204, 404, 503].contains(&reply.status), "round {round}: {}", reply.text);
        }
        if !replies.iter().any(|reply| reply.status == 204) {
            delete(&system, &ada, &id).await.expect_status(204);
        }
        let books = Books::of(&system, "ada").await;
        books.check();
        assert!(books.said.is_empty() && books.conversations.is_empty(), "round {round}");
        let moved: i64 = books.ledger[before.ledger.len()..]
            .iter()
            .map(|(_, amount, _)| amount)
            .sum();
        assert_eq!(moved, -(100 + 550), "round {round}");
        assert_eq!(books.balance, before.balance, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_with_its_conversations() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    say(&system, &ada, &id, "second").await.expect_status(200);
    begin(&system, &ada, "another").await;
    let close = |account: &Account| {
        let body = json!({"password": account.password});
        let request = Request::with_body("DELETE", "/api/v1/users/me", &body).bearer(&account.access);
        system.send(request)
    };
    close(&ada).await.expect_status(204);
    assert!(system.items("ada").await.is_empty());

    // A conversation is being removed when its account is: nothing is left for whoever takes the name next.
    for round in 0..10_u64 {
        let ada = system.account("ada").await;
        let id = begin(&system, &ada, "first").await;
        system.lengthen_conversation("ada", &id, 120, 1).await;
        let pause = Duration::from_millis(25 + 2 * round);
        let (deleted, closed) = tokio::join!(delete(&system, &ada, &id), async {
            // The password is looked at first.
            let close = close(&ada);
            if round % 2 == 0 {
                tokio::time::sleep(pause).await;
            }
            close.await
        });
        assert!([204, 401, 404].contains(&deleted.status), "{}", deleted.text);
        closed.expect_status(204);
        assert!(system.items("ada").await.is_empty(), "round {round}");
    }
}

/// The settlement went through and nobody heard of it; then the conversation was deleted. Whether it was charged cannot be told any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_nobody_heard_of_in_a_conversation_that_is_deleted_is_called_unknown() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for kept in [true, false] {
        let id = begin(&system, &ada, "first").await;
        let (client, table, sought) = (system.client.clone(), system.table.clone(), id.clone());
        system.recorder.lose_then("TransactWriteItems", async move {
            if kept {
                return;
            }
            let query = client.query().table_name(&table).key_condition_expression("pk = :pk");
            let query = query.expression_attribute_values(":pk", AttributeValue::S("USER#ada".into()));
            for item in query.send().await.unwrap().items() {
                let of = item.get("conversation").or(item.get("id"));
                if of.is_some_and(|of| *of == AttributeValue::S(sought.clone())) {
                    let delete = client.delete_item().table_name(&table);
                    let delete = delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
                    delete.send().await.unwrap();
                }
            }
        });
        system.lose(Lost::Reply, "TransactWriteItems", 2);
        let reply = say(&system, &ada, &id, "second").await;
        if kept {
            reply.expect_status(200);
            system.check_ledger("ada").await;
        } else {
            reply.expect_error(503, "outcome_unknown");
        }
    }
}

/// Somebody with access to the table has removed a chat, and not its copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_its_chat_does_not_keep_a_conversation_from_being_deleted() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let id = begin(&system, &ada, "first").await;
    say(&system, &ada, &id, "second").await.expect_status(200);
    say(&system, &ada, &id, "third").await.expect_status(200);
    let history = get(&system, &ada, "/api/v1/chats").await.expect_status(200);
    let ids: Vec<_> = history.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chat| chat["id"].as_str().unwrap())
        .collect();
    let key = |request: &str| AttributeValue::S(format!("TURN#{request}"));
    let pk = AttributeValue::S("USER#ada".into());
    let remove = system.client.delete_item().table_name(&system.table);
    remove
        .key("pk", pk.clone())
        .key("sk", key(ids[0]))
        .send()
        .await
        .unwrap();
    // And what another cost is not what its copy says.
    let change = system.client.update_item().table_name(&system.table);
    let change = change
        .key("pk", pk)
        .key("sk", key(ids[1]))
        .update_expression("SET cost = :cost");
    let cost = AttributeValue::N("60".into());
    change.expression_attribute_values(":cost", cost).send().await.unwrap();
    system
        .invoke_operator("ledger-reconcile", json!({"repair": true}))
        .await
        .unwrap();
    system.check_ledger("ada").await;
    delete(&system, &ada, &id).await.expect_status(204);
    system.check_ledger("ada").await;
    let books = Books::of(&system, "ada").await;
    assert_eq!((books.said.len(), books.chats.len(), books.balance), (0, 0, 3840));
    reconcile(&system, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_streamed_is_said_in_a_conversation_too() {
    let server = ModelServer::start().await;
    let system = start(&server, &[]).await;
    let ada = system.account("ada").await;
    let stream = |conversation: &str, text: &str| {
        let request = message(conversation, text).to("/api/v1/chats/stream");
        system.stream(request.bearer(&ada.access))
    };
    let events = stream("new", "one").await.rest().await;
    let done = events.last().unwrap();
    assert_eq!(done.name, "done");
    let id = done.data["chat"]["conversation_id"].as_str().unwrap().to_owned();
    stream(&id, "two").await.rest().await;
    say(&system, &ada, &id, "three").await.expect_status(200);
    let lengths: Vec<_> = asked(&server).iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 3, 5]);
    assert_eq!(messages(&get(&system, &ada, &path(&id)).await), ["three", "two", "one"]);
    // What is wrong with the conversation has its status, because nothing has been told yet.
    let none = message("rubbish", "four")
        .to("/api/v1/chats/stream")
        .bearer(&ada.access);
    let none = system.send(none).await;
    none.expect_error(404, "conversation_not_found");

    // It is deleted while the answer comes: the words were heard, and cost nothing.
    server.tell(Told::Stream(&[
        Part::Words("Heard"),
        Part::Wait(1_000),
        Part::Finish("stop"),
        Part::Done,
    ]));
    let mut hearing = stream(&id, "four").await;
    let meanwhile = async {
        system.wait_for_holds("ada", 1).await;
        delete(&system, &ada, &id).await.expect_status(204);
    };
    let (events, ()) = tokio::join!(hearing.rest(), meanwhile);
    let last = events.last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["code"]),
        ("error", &json!("conversation_not_found"))
    );
    let books = Books::of(&system, "ada").await;
    books.check();
    assert!(books.chats.is_empty() && books.holds.is_empty(), "{books:?}");
    assert_eq!(books.balance, 3700);
}
