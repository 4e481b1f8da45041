use serde_json::Value;
use shared::api::{AccessKind, Entry, TABLE};

use super::{Account, Request, document};

/// One route of one endpoint, with a request that is right but for its credentials. What attacks every endpoint is driven from these, so
/// that a new endpoint cannot be forgotten.
#[derive(Debug, Clone)]
pub struct Example {
    pub entry: &'static Entry,
    pub path: String,
    pub body: Option<Value>,
}

/// What the requests are about.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// Who calls, or whom the request logs in.
    pub caller: &'a Account,
    /// Whom an admin's request is about.
    pub target: &'a str,
    /// A chat of the caller.
    pub chat: &'a str,
    /// The name of an API key of the caller.
    pub api_key: &'a str,
    /// A conversation of the caller.
    pub conversation: &'a str,
}

impl<'a> About<'a> {
    /// Requests about the caller alone.
    pub fn caller(caller: &'a Account) -> Self {
        Self {
            caller,
            target: &caller.username,
            chat: "01JGXQ0000000000000000000A",
            api_key: "AAAAAAAAAAAAAAAA",
            conversation: "01JGXQ0000000000000000000C",
        }
    }
}

impl Example {
    pub fn method(&self) -> &'static str {
        self.entry.method.as_str()
    }

    pub fn request(&self) -> Request {
        match &self.body {
            Some(body) => Request::with_body(self.method(), &self.path, body),
            None => Request::new(self.method(), &self.path),
        }
    }

    /// The member of its body that must be there and is a text, if it has one.
    pub fn text_members(&self) -> Vec<String> {
        let members = self.body.as_ref().and_then(Value::as_object);
        let members = members.into_iter().flatten();
        members
            .filter(|(_, value)| value.is_string())
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// A request for every route of the endpoint table.
pub fn examples(about: &About<'_>) -> Vec<Example> {
    let of = |entry: &'static Entry| {
        let id = if entry.name.starts_with("api-keys-") {
            about.api_key
        } else if entry.name.starts_with("conversations-") {
            about.conversation
        } else {
            about.chat
        };
        let example = move |path: &&str| Example {
            entry,
            path: path
                .replace("{id}", id)
                .replace("{username}", about.target)
                .replace("{file}", pages::ASSETS[0].file),
            body: body(entry, about),
        };
        entry.paths.iter().map(example)
    };
    TABLE.iter().flat_map(of).collect()
}

/// As [`examples`], only of the endpoints that want credentials.
pub fn protected(about: &About<'_>) -> Vec<Example> {
    let mut all = examples(about);
    all.retain(|example| example.entry.access != AccessKind::Public);
    all
}

/// The body that the OpenAPI document shows, with what the caller really has in the place of what is made up there.
pub fn body(entry: &Entry, about: &About<'_>) -> Option<Value> {
    let operation = &document()["paths"][entry.paths[0]][entry.method.as_str().to_lowercase()];
    let mut body = operation["requestBody"]["content"]["application/json"]["example"].clone();
    let members = body.as_object_mut();
    assert_eq!(
        members.is_some(),
        entry.reads_body,
        "docs/openapi.json shows what {} reads",
        entry.name
    );
    let members = members?;
    let caller = about.caller;
    let own = match entry.name {
        "users-register" => vec![("username", "somebody")],
        "users-login" => vec![("username", caller.username.as_str()), ("password", &caller.password)],
        "token-refresh" | "users-logout" => vec![("refresh", caller.refresh.as_str())],
        "users-password" => vec![("old", caller.password.as_str())],
        "users-delete" => vec![("password", caller.password.as_str())],
        _ => Vec::new(),
    };
    for (member, value) in own {
        let shown = members
            .get_mut(member)
            .unwrap_or_else(|| panic!("{} has no {member}", entry.name));
        *shown = value.into();
    }
    Some(body)
}
