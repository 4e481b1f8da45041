//! What the table says about one user, read from the outside.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::System;

type Item = HashMap<String, AttributeValue>;

/// A user's whole partition at one moment.
#[derive(Debug, Default)]
pub struct Books {
    pub balance: i64,
    pub grant: i64,
    /// What each open hold holds, and when its lease ends in milliseconds.
    pub holds: Vec<(i64, u64)>,
    /// The id and the cost of each chat.
    pub chats: Vec<(String, i64)>,
    /// The id, the amount and the balance afterwards of each entry in the ledger, the oldest first. A deletion changes no balance.
    pub ledger: Vec<(String, i64, Option<i64>)>,
    /// The id of each conversation, and whether it is marked as deleted.
    pub conversations: Vec<(String, bool)>,
    /// The conversation and the chat of each chat that is stored once more.
    pub said: Vec<(String, String)>,
    pub sessions: usize,
    pub token_version: i64,
    pub active: bool,
    pub auth_key: Option<String>,
    /// The live API keys, and what was spent with each.
    pub api_keys: BTreeMap<String, i64>,
    /// How many items there are.
    pub items: usize,
}

fn number(value: &AttributeValue) -> i64 {
    value.as_n().unwrap().parse().unwrap()
}

/// The rest of a sort key that begins with `prefix`.
fn below(item: &Item, prefix: &str) -> Option<String> {
    item["sk"].as_s().unwrap().strip_prefix(prefix).map(str::to_owned)
}

impl Books {
    /// Reads them. One query is one moment as long as the partition fits its 1 MB.
    pub async fn of(system: &System, username: &str) -> Self {
        Self::from(&system.items(username).await)
    }

    /// Reads them from items.
    pub fn from(items: &[Item]) -> Self {
        let mut books = Self {
            items: items.len(),
            ..Self::default()
        };
        for item in items {
            if let Some(id) = below(item, "TURN#") {
                books.chats.push((id, number(&item["cost"])));
            } else if let Some(id) = below(item, "LEDGER#") {
                let after = item.get("balance_after").map(number);
                books.ledger.push((id, number(&item["amount"]), after));
            } else if let Some(id) = below(item, "CONV#") {
                books.conversations.push((id, item.contains_key("deleting")));
            } else if let Some(ids) = below(item, "SAID#") {
                let (conversation, chat) = ids.split_once('#').unwrap();
                books.said.push((conversation.to_owned(), chat.to_owned()));
            } else if below(item, "USER").is_some() {
                books.balance = number(&item["balance"]);
                books.grant = number(&item["signup_grant"]);
                let holds = item["holds"].as_m().unwrap().values();
                let holds = holds.map(|hold| hold.as_m().unwrap());
                books.holds = holds
                    .map(|hold| (number(&hold["c"]), number(&hold["l"]).unsigned_abs()))
                    .collect();
                books.sessions = item["sessions"].as_m().unwrap().len();
                books.token_version = number(&item["token_version"]);
                books.active = *item["active"].as_bool().unwrap();
                books.auth_key = item.get("auth_key").map(|key| key.as_s().unwrap().clone());
                let api_keys = item["api_keys"].as_m().unwrap().iter();
                let spent = |used: &AttributeValue| number(&used.as_m().unwrap()["s"]);
                books.api_keys = api_keys.map(|(id, used)| (id.clone(), spent(used))).collect();
            }
        }
        books
    }

    /// The equation that always holds, calls under way or not: balance + Σ holds + Σ chat costs = Σ ledger, and nothing is negative.
    #[track_caller]
    pub fn check(&self) {
        let held: i64 = self.holds.iter().map(|(cost, _)| cost).sum();
        let spent: i64 = self.chats.iter().map(|(_, cost)| cost).sum();
        let adjusted: i64 = self.ledger.iter().map(|(_, amount, _)| amount).sum();
        assert!(self.balance >= 0 && held >= 0, "{self:?}");
        assert_eq!(self.balance + held + spent, self.grant + adjusted, "{self:?}");
        // What is said in a conversation is in the history too, and the conversation is there, unless the account is going.
        for (conversation, chat) in self.said.iter().filter(|_| self.active) {
            assert!(self.conversations.iter().any(|(id, _)| id == conversation), "{self:?}");
            assert!(self.chats.iter().any(|(id, _)| id == chat), "{self:?}");
        }
    }
}
