use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{Amount, AuthKeyHash, Invalid, ModelName, Person, Timestamp, id::random};

/// How many API keys a user may have. Each adds about 50 bytes to the account's item.
pub const MAX_API_KEYS: usize = 10;

/// What a program sends as `Authorization: Bearer sk-…`: `sk-` and 256 random bits in base64url. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// What every key begins with, and no access token.
    pub const PREFIX: &str = "sk-";

    /// A new key.
    pub(crate) fn random() -> Self {
        Self(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(random::<32>())))
    }

    /// Reads a key as it was sent; whatever no key can be is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::PREFIX)?;
        (digits.len() == 43 && is_base64url(digits)).then(|| Self(text.to_owned()))
    }

    /// What is stored of it.
    pub fn hash(&self) -> AuthKeyHash {
        AuthKeyHash::of(&self.0)
    }

    /// What its owner sees of it in lists: the first seven characters, of which four are random.
    pub fn shown(&self) -> String {
        self.0.chars().take(7).chain(['…']).collect()
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn is_base64url(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The name of an API key: 96 bits of its hash, 16 characters. Whoever has the key can tell its name and with it where it is stored; so can
/// whoever has only the name, which is all that the account keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiKeyId(String);

impl ApiKeyId {
    /// The name of the key with this hash.
    pub fn of(hash: &AuthKeyHash) -> Self {
        Self(hash.as_str().chars().take(16).collect())
    }

    /// Reads a name as it was sent; whatever no name can be is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16 && is_base64url(text)).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What its owner calls an API key: one line of text, at most 100 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiKeyName(String);

impl ApiKeyName {
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 100;

    /// Reads a name; white space around it is not part of it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Invalid::new("name", "Name is required"));
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            return Err(Invalid::new("name", "Name must be at most 100 characters long"));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("name", "Name must be one line"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The models that an API key may ask: 1 to 20 names, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelList(Vec<ModelName>);

impl ModelList {
    /// The most names.
    pub const MAX: usize = 20;

    /// Reads a list. Whether there is such a model is not asked: a deployment may get it later.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(names: &[String]) -> Result<Self, Invalid> {
        let refused = |reason| Err(Invalid::new("models", reason));
        if !(1..=Self::MAX).contains(&names.len()) {
            return refused("Models must be 1 to 20 names");
        }
        let mut models = Vec::with_capacity(names.len());
        for name in names {
            match ModelName::parse(name) {
                Ok(model) if models.contains(&model) => return refused("Models must not name one twice"),
                Ok(model) => models.push(model),
                Err(_) => return refused("Models must each be 1 to 256 visible ASCII characters"),
            }
        }
        Ok(Self(models))
    }

    /// Whether the list has this name.
    pub fn contains(&self, name: &ModelName) -> bool {
        self.0.contains(name)
    }
}

/// An API key as it was issued. Nothing of this ever changes; whether the key still is one of its owner's, the account says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedApiKey {
    /// Its name.
    pub id: ApiKeyId,
    /// What is stored of it.
    pub hash: AuthKeyHash,
    /// Who may do with it what they may do.
    pub owner: Person,
    /// What its owner calls it.
    pub name: ApiKeyName,
    /// What its owner sees of it.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it lets nobody in. Not stored under this name, which is the table's time to live: an expired key stays listed until it
    /// is revoked.
    #[serde(rename = "valid_until", default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How many tokens may be spent with it, ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Amount>,
    /// The models that it may ask; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelList>,
}

impl IssuedApiKey {
    /// Whether it lets nobody in any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// The most that may have been spent with it before, so that `cost` may be too; `None` if that alone is beyond the cap. A key without a
    /// cap has one that no balance reaches, so that what was spent stays an amount.
    pub fn most_spent_before(&self, cost: Amount) -> Option<Amount> {
        let cap = self.cap.unwrap_or(Amount::MAX);
        cap.get().checked_sub(cost.get()).and_then(Amount::new)
    }
}

/// What has been done with an API key. It is a part of the account, and is there as long as the key is worth something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyUse {
    /// What was spent with it, what is held for it included.
    #[serde(rename = "s")]
    pub spent: Amount,
    /// When a message was last sent with it.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::{
        super::{UserId, UserKey},
        *,
    };

    #[test]
    fn a_key_is_256_random_bits_and_does_not_print() {
        let (key, other) = (ApiKey::random(), ApiKey::random());
        assert_ne!(key, other);
        assert_eq!(key.as_str().len(), 46);
        assert_eq!(ApiKey::parse(key.as_str()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert_eq!(key.shown(), format!("{}…", &key.as_str()[..7]));
        for text in [
            "",
            "sk-",
            &key.as_str()[3..],
            &key.as_str()[..45],
            &format!("{}a", key.as_str()),
            &format!("SK-{}", &key.as_str()[3..]),
            &format!("sk-{}", "+".repeat(43)),
            &format!("sk-{}", "é".repeat(43)),
        ] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_is_named_by_its_hash() {
        let key = ApiKey::random();
        let id = ApiKeyId::of(&key.hash());
        assert_eq!(id, ApiKeyId::of(&key.hash()));
        assert_ne!(id, ApiKeyId::of(&ApiKey::random().hash()));
        assert!(key.hash().as_str().starts_with(id.as_str()));
        assert_eq!(ApiKeyId::parse(id.as_str()), Some(id));
        for text in ["", "short", "0123456789abcde#", "0123456789abcdef0", "é23456789abcdef"] {
            assert!(ApiKeyId::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_trimmed_line() {
        assert_eq!(ApiKeyName::parse(" my laptop ").unwrap().as_str(), "my laptop");
        assert!(ApiKeyName::parse(&"é".repeat(100)).is_ok());
        for text in ["", " \t", "two\nlines", "\u{0}", &"x".repeat(101)] {
            assert!(ApiKeyName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn models_are_a_few_different_names() {
        let parse = |names: &[&str]| ModelList::parse(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let list = parse(&["gpt-4o-mini", "a/b:c"]).unwrap();
        let has = |name| list.contains(&ModelName::parse(name).unwrap());
        assert!(has("a/b:c") && !has("a/b"));
        let longest = "x".repeat(256);
        assert!(parse(&[&longest]).is_ok());
        let numbers: Vec<_> = (0..21).map(|number: u32| number.to_string()).collect();
        assert!(ModelList::parse(&numbers[..20]).is_ok());
        assert!(ModelList::parse(&numbers).is_err());
        for names in [
            &[][..],
            &[""],
            &["a b"],
            &["a\n"],
            &["a", "b", "a"],
            &[&"x".repeat(257)],
        ] {
            assert!(parse(names).is_err(), "{names:?}");
        }
    }

    fn issued(expires_at: Option<i64>, cap: Option<u64>) -> IssuedApiKey {
        let key = ApiKey::random();
        let now = Timestamp::from_millis(0);
        IssuedApiKey {
            id: ApiKeyId::of(&key.hash()),
            hash: key.hash(),
            owner: Person {
                id: UserId::new(now),
                username: UserKey::from_stored("ada".into()),
            },
            name: ApiKeyName::parse("a name").unwrap(),
            prefix: key.shown(),
            created_at: now,
            expires_at: expires_at.map(Timestamp::from_millis),
            cap: cap.and_then(Amount::new),
            models: None,
        }
    }

    #[test]
    fn a_key_is_expired_from_its_last_moment_on() {
        let now = Timestamp::from_millis(1_000);
        assert!(!issued(None, None).is_expired(now));
        assert!(!issued(Some(1_001), None).is_expired(now));
        assert!(issued(Some(1_000), None).is_expired(now));
    }

    #[test]
    fn a_cap_leaves_what_it_does_not_cover() {
        let amount = |tokens| Amount::new(tokens).unwrap();
        let capped = issued(None, Some(250));
        assert_eq!(capped.most_spent_before(amount(100)), Some(amount(150)));
        assert_eq!(capped.most_spent_before(amount(250)), Some(Amount::ZERO));
        assert_eq!(capped.most_spent_before(amount(251)), None);
        assert_eq!(
            issued(None, Some(0)).most_spent_before(Amount::ZERO),
            Some(Amount::ZERO)
        );
        let most = issued(None, None).most_spent_before(amount(1)).unwrap();
        assert_eq!(most.checked_add(amount(1)), Some(Amount::MAX));
    }
}
