//! One outcome of each endpoint, for the examples.

use serde_json::{Value, json};

use super::NOW;
use crate::{
    accounts::UserPage,
    admin::{Adjusted, AuditPage, LedgerPage, SearchPage},
    api::{
        ApiKeyList, Balance, Completion, Done, Family, Health, KeySet, LoggedIn, LoggedOut, OpenApi, Profile,
        Refreshed, Registered,
    },
    api_keys::MadeApiKey,
    auth::PublicKey,
    chats::{ChatPage, Models, Sent},
    conversations::{ConversationPage, OneConversation},
    domain::{
        ApiKey, ApiKeyUse, AuditEntry, AuthKey, Chat, Conversation, Counts, Day, Figures, HOURS, IssuedApiKey,
        LedgerEntry, ModelName, PageSize, User,
    },
    sessions::{Opened, TokenPair},
    store::FoundUser,
};

pub(super) const USER_ID: &str = "01JGXQ00000000000000000001";
pub(super) const CHAT_ID: &str = "01JGXQ0000000000000000000A";
pub(super) const CONVERSATION_ID: &str = "01JGXQ0000000000000000000C";
pub(super) const API_KEY_ID: &str = "AAAAAAAAAAAAAAAA";

/// As the table has it.
fn stored<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a sample is what could be stored")
}

pub(super) fn user(_family: Family) -> User {
    let now = NOW.as_millis();
    stored(json!({
        "id": USER_ID, "username": "ada", "email": "ada@example.com", "password_hash": "", "role": "user", "active": true,
        "token_version": 1, "balance": 3900, "signup_grant": 4000, "created_at": now,
        "sessions": {"a": {"g": 1, "r": now, "e": now + 1_800_000}},
        "holds": {"h": {"c": 100, "a": "a", "p": now, "l": now + 60_000}},
    }))
}

fn tokens() -> TokenPair {
    TokenPair {
        access: "eyJ0eXAiOiJhdCtqd3QifQ.e30.c2lnbmVk".into(),
        refresh: "eyJ0eXAiOiJydCtqd3QifQ.e30.c2lnbmVk".into(),
    }
}

fn opened(family: Family) -> Opened {
    let auth_key = (family == Family::Classic).then(|| AuthKey::from_bytes(&[0xa5; 20]));
    Opened {
        tokens: tokens(),
        auth_key,
    }
}

pub(super) fn registered(family: Family) -> Registered {
    Registered {
        user: user(family),
        opened: (family == Family::Classic).then(|| opened(family)),
    }
}

pub(super) fn logged_in(family: Family) -> LoggedIn {
    LoggedIn {
        username: user(family).username,
        opened: opened(family),
    }
}

pub(super) fn refreshed(family: Family) -> Refreshed {
    let TokenPair { access, refresh } = tokens();
    Refreshed {
        access,
        refresh: (family == Family::V1).then_some(refresh),
    }
}

pub(super) fn logged_out(_family: Family) -> LoggedOut {
    LoggedOut
}

pub(super) fn done(_family: Family) -> Done {
    Done
}

fn found() -> FoundUser {
    stored(json!({"listed_as": "ada#ada", "active": true, "role": "user", "created_at": NOW.as_millis()}))
}

pub(super) fn user_page(_family: Family) -> UserPage {
    UserPage {
        users: vec![found()],
        next_cursor: None,
    }
}

pub(super) fn balance(family: Family) -> Balance {
    Balance(user(family))
}

pub(super) fn profile(family: Family) -> Profile {
    Profile(user(family))
}

fn issued() -> IssuedApiKey {
    stored(json!({
        "id": API_KEY_ID, "hash": "", "owner": {"id": USER_ID, "username": "ada"}, "name": "my laptop", "prefix": "sk-AAAA…",
        "created_at": NOW.as_millis(), "valid_until": NOW.as_millis() + 86_400_000, "cap": 1000, "models": ["echo"],
    }))
}

pub(super) fn made_api_key(_family: Family) -> MadeApiKey {
    MadeApiKey {
        key: ApiKey::parse(&format!("sk-{}", "A".repeat(43))).expect("a key has 43 digits"),
        issued: issued(),
    }
}

pub(super) fn api_keys(_family: Family) -> ApiKeyList {
    let used: ApiKeyUse = stored(json!({"s": 100, "u": NOW.as_millis()}));
    ApiKeyList(vec![(issued(), used)])
}

pub(super) fn chat(family: Family) -> Chat {
    let conversation = (family == Family::V1).then_some(CONVERSATION_ID);
    stored(json!({
        "id": CHAT_ID, "conversation": conversation, "message": "Hello AI", "response": "Hello! You said: Hello AI",
        "model": "echo", "usage": {"i": 7, "o": 7, "e": true}, "cost": 100, "balance_after": 3900, "created_at": NOW.as_millis(),
    }))
}

pub(super) fn sent(family: Family) -> Sent {
    let user = user(family);
    Sent {
        user: user.id,
        username: user.username,
        chat: chat(family),
        balance: user.balance,
        replayed: false,
    }
}

pub(super) fn chats(family: Family) -> ChatPage {
    ChatPage {
        user: user(family).id,
        size: PageSize::parse(None, 100, 50).expect("there is a usual size"),
        chats: vec![chat(family)],
        // Only a classic page says it in a header, which the document must know.
        next_cursor: (family == Family::Classic).then(|| "AAAA".into()),
    }
}

pub(super) fn conversation(_family: Family) -> Conversation {
    stored(json!({"id": CONVERSATION_ID, "title": "Hello AI", "updated_at": NOW.as_millis()}))
}

pub(super) fn conversations(family: Family) -> ConversationPage {
    ConversationPage {
        conversations: vec![conversation(family)],
        next_cursor: None,
    }
}

pub(super) fn one_conversation(family: Family) -> OneConversation {
    OneConversation {
        conversation: conversation(family),
        chats: chats(family),
    }
}

pub(super) fn completion(family: Family) -> Completion {
    Completion(sent(family))
}

pub(super) fn models(_family: Family) -> Models {
    Models(vec![ModelName::parse("echo").expect("it is a name")])
}

pub(super) fn search(_family: Family) -> SearchPage {
    SearchPage {
        users: vec![found()],
        next_cursor: None,
    }
}

fn entry() -> LedgerEntry {
    stored(json!({
        "id": "01JGXQ0000000000000000000E", "amount": 500, "reason": "a gift", "actor": {"id": USER_ID, "username": "root"},
        "balance_after": 4400, "created_at": NOW.as_millis(),
    }))
}

pub(super) fn adjusted(family: Family) -> Adjusted {
    Adjusted {
        user: user(family).key(),
        entry: entry(),
        replayed: false,
    }
}

pub(super) fn ledger(family: Family) -> LedgerPage {
    LedgerPage {
        user: user(family),
        entries: vec![entry()],
        ends: true,
        next_cursor: None,
    }
}

pub(super) fn audit(_family: Family) -> AuditPage {
    let person = json!({"id": USER_ID, "username": "grace"});
    let entry: AuditEntry = stored(json!({
        "id": "01JGXQ0000000000000000000G", "action": "user_changed", "actor": {"id": USER_ID, "username": "root"},
        "target": person, "changes": [{"member": "role", "from": "user", "to": "staff"}], "reason": "joined the team",
        "created_at": NOW.as_millis(),
    }));
    AuditPage {
        entries: vec![entry],
        next_cursor: None,
    }
}

pub(super) fn figures(_family: Family) -> Figures {
    let mut hours = [Counts::default(); HOURS];
    hours[HOURS - 1] = Counts {
        sign_ups: 3,
        messages: 10,
        tokens_charged: 1000,
        requests: 50,
        errors: 0,
    };
    Figures {
        day: Day::until(NOW),
        hours,
        holds_open: 2,
    }
}

pub(super) fn health(_family: Family) -> Health {
    Health::OK
}

pub(super) fn keys(_family: Family) -> KeySet {
    KeySet(vec![PublicKey {
        kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
        x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
    }])
}

pub(super) fn document(_family: Family) -> OpenApi {
    OpenApi::at("/").expect("the snapshot is JSON")
}
