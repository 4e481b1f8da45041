//! What should be true, kept as simply as can be: who there is, what they have, and what their credentials are worth.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;

/// A status and a code.
pub type Refusal = (u16, &'static str);

pub const GRANT: u64 = 1_000;
pub const COST: u64 = 100;
pub const MOST: i128 = (1 << 53) - 1;

const NOT_VALID: Refusal = (401, "token_not_valid");
const INACTIVE: Refusal = (401, "user_inactive");

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    User,
    Staff,
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Staff => "staff",
            Self::Admin => "admin",
        }
    }
}

/// One account.
#[derive(Debug, Clone)]
pub struct User {
    /// Tells two accounts apart that had the same name one after the other.
    pub number: usize,
    pub written: String,
    pub email: Option<String>,
    pub password: String,
    pub role: Role,
    pub active: bool,
    pub balance: u64,
    /// Ids and messages, oldest first.
    pub chats: Vec<(String, String)>,
    /// What is said in conversations, oldest first.
    pub conversations: Vec<Conversation>,
    /// Amounts and the balances after them, oldest first; of deletions there is none.
    pub ledger: Vec<(i64, Option<u64>)>,
    /// How often the password was changed or the account came back.
    pub version: u32,
    /// The logins that have not ended, the one that would expire first at the front.
    pub sessions: Vec<usize>,
    /// The key of the `Token` scheme.
    pub key: Option<String>,
    /// What was done under idempotency keys, and what was answered.
    pub done: BTreeMap<String, (Adjustment, Value)>,
}

/// Some of the chats of a user.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub id: String,
    pub title: String,
    /// The ids of its chats, oldest first.
    pub chats: Vec<String>,
}

/// Whose balance, by how much, and why.
pub type Adjustment = (String, i64, &'static str);

/// What a client has got from one login, good or not.
#[derive(Debug)]
pub struct Login {
    pub user: String,
    pub number: usize,
    pub version: u32,
    /// The pairs of its generations.
    pub pairs: Vec<(String, String)>,
    /// Access tokens besides those.
    pub more: Vec<String>,
    pub rotated: Instant,
}

impl Login {
    pub fn accesses(&self) -> Vec<String> {
        self.pairs
            .iter()
            .map(|(access, _)| access)
            .chain(&self.more)
            .cloned()
            .collect()
    }
}

/// A key that a client has got.
#[derive(Debug)]
pub struct Key {
    pub user: String,
    pub number: usize,
    pub text: String,
}

/// What a request is sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Nothing,
    Rubbish,
    Access(usize, String),
    Key(usize),
}

/// What should come of a refresh.
#[derive(Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The next generation.
    Next,
    /// The generation that is the newest already.
    Same,
    Refused(Refusal),
    /// It depends on which side of the ten seconds it arrives.
    TooCloseToTell,
}

#[derive(Debug, Default)]
pub struct Book {
    pub users: BTreeMap<String, User>,
    pub logins: Vec<Login>,
    pub keys: Vec<Key>,
    /// Actions, actors and targets, oldest first.
    pub audit: Vec<(&'static str, String, String)>,
    accounts: usize,
}

impl Book {
    pub fn register(&mut self, name: &str, written: &str, password: &str, email: Option<&str>) {
        let user = User {
            number: self.accounts,
            written: written.to_owned(),
            email: email.map(str::to_owned),
            password: password.to_owned(),
            role: Role::User,
            active: true,
            balance: GRANT,
            chats: Vec::new(),
            conversations: Vec::new(),
            ledger: Vec::new(),
            version: 0,
            sessions: Vec::new(),
            key: None,
            done: BTreeMap::new(),
        };
        self.accounts += 1;
        assert!(self.users.insert(name.to_owned(), user).is_none());
    }

    /// A login, which ends the oldest of five.
    pub fn open(&mut self, name: &str, access: String, refresh: String) {
        let login = self.logins.len();
        let user = self.users.get_mut(name).unwrap();
        if user.sessions.len() == 5 {
            user.sessions.remove(0);
        }
        user.sessions.push(login);
        self.logins.push(Login {
            user: name.to_owned(),
            number: user.number,
            version: user.version,
            pairs: vec![(access, refresh)],
            more: Vec::new(),
            rotated: Instant::now(),
        });
    }

    /// The key that a classic client is told: always the same one until the password changes.
    pub fn tell_key(&mut self, name: &str, text: String) {
        let user = self.users.get_mut(name).unwrap();
        match &user.key {
            Some(known) => assert_eq!(*known, text),
            None => {
                assert!(self.keys.iter().all(|key| key.text != text), "a key that was another's");
                user.key = Some(text.clone());
                self.keys.push(Key {
                    user: name.to_owned(),
                    number: user.number,
                    text,
                });
            }
        }
    }

    /// Who calls with this, or what they hear.
    pub fn caller(&self, credential: &Credential) -> Result<String, Refusal> {
        let (name, number) = match credential {
            Credential::Nothing => return Err((401, "not_authenticated")),
            Credential::Rubbish => return Err(NOT_VALID),
            Credential::Access(login, _) => (&self.logins[*login].user, self.logins[*login].number),
            Credential::Key(key) => (&self.keys[*key].user, self.keys[*key].number),
        };
        let user = self
            .users
            .get(name)
            .filter(|user| user.number == number)
            .ok_or(NOT_VALID)?;
        let current = match credential {
            Credential::Access(login, _) => user.version == self.logins[*login].version,
            Credential::Key(key) => user.key.as_ref() == Some(&self.keys[*key].text),
            _ => false,
        };
        if !current {
            return Err(NOT_VALID);
        }
        if !user.active {
            return Err(INACTIVE);
        }
        match credential {
            Credential::Access(login, _) if !user.sessions.contains(login) => Err(NOT_VALID),
            _ => Ok(name.clone()),
        }
    }

    /// As [`Book::caller`], of somebody with at least this role.
    pub fn caller_with(&self, credential: &Credential, role: Role) -> Result<String, Refusal> {
        let name = self.caller(credential)?;
        if self.users[&name].role < role {
            return Err((403, "permission_denied"));
        }
        Ok(name)
    }

    /// Every credential that is good for this role.
    pub fn credentials_of(&self, role: Role) -> Vec<Credential> {
        let accesses = self.logins.iter().enumerate().flat_map(|(login, held)| {
            let accesses = held.accesses().into_iter();
            accesses.map(move |access| Credential::Access(login, access))
        });
        let keys = (0..self.keys.len()).map(Credential::Key);
        accesses
            .chain(keys)
            .filter(|credential| self.caller_with(credential, role).is_ok())
            .collect()
    }

    /// What a refresh with a login's refresh token of some generation does.
    pub fn refresh(&mut self, login: usize, generation: usize, rotates: bool) -> Refresh {
        let Login {
            user,
            number,
            version,
            pairs,
            rotated,
            ..
        } = &self.logins[login];
        let found = self
            .users
            .get_mut(user)
            .filter(|user| user.number == *number && user.version == *version);
        let Some(user) = found else {
            return Refresh::Refused(NOT_VALID);
        };
        if !user.active {
            return Refresh::Refused(INACTIVE);
        }
        let Some(place) = user.sessions.iter().position(|session| *session == login) else {
            return Refresh::Refused(NOT_VALID);
        };
        let newest = pairs.len() - 1;
        if generation == newest {
            if rotates {
                // It lasts as long again from now.
                user.sessions.remove(place);
                user.sessions.push(login);
                return Refresh::Next;
            }
            return Refresh::Same;
        }
        let age = rotated.elapsed();
        if generation + 1 == newest && age < Duration::from_secs(13) {
            return if age < Duration::from_secs(7) {
                Refresh::Same
            } else {
                Refresh::TooCloseToTell
            };
        }
        user.sessions.remove(place);
        Refresh::Refused(NOT_VALID)
    }

    /// Whose names begin so, as they are written, with those that are not active or only those.
    pub fn search(&self, prefix: &str, active: Option<bool>) -> Vec<&User> {
        // By the key, `#` and the name as written; nobody here has a name that begins with another's.
        let found = self.users.iter().filter(|(name, _)| name.starts_with(prefix));
        found
            .map(|(_, user)| user)
            .filter(|user| active.is_none_or(|active| active == user.active))
            .collect()
    }
}
