use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Invalid;

/// A name that a client gives to what it wants done once, however often it asks
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>). Kept as a hash: it is the client's own text, and may
/// be long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the header: 1 to 255 visible ASCII characters.
    ///
    /// # Errors
    /// Says what a key may be.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !(1..=255).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::new(
                "Idempotency-Key",
                "Idempotency-Key must be 1 to 255 visible ASCII characters",
            ));
        }
        Ok(Self(URL_SAFE_NO_PAD.encode(Sha256::digest(text))))
    }

    /// The name of the question itself, for clients that give none but say when they send it again.
    pub(crate) fn of_question(fingerprint: &Fingerprint) -> Self {
        // No text that a client can give as a key has a zero in it.
        let hash = Sha256::new().chain_update(b"question\0").chain_update(&fingerprint.0);
        Self(URL_SAFE_NO_PAD.encode(hash.finalize()))
    }

    /// Its hash, in base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a client says that it sends the same again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeats {
    /// Not at all: whatever it sends is something new.
    Unsaid,
    /// By the name that it gives to what is to be done once.
    Key(IdempotencyKey),
    /// By counting how often it has sent the same before, as OpenAI's libraries do in `X-Stainless-Retry-Count`. What it sends for the
    /// first time is something new, also if it asks for the same as something else.
    Count(u32),
}

/// A request that is to be carried out once.
#[derive(Debug, Clone)]
pub struct Once {
    /// The client's name for it.
    pub key: IdempotencyKey,
    /// What it asks for.
    pub fingerprint: Fingerprint,
    /// How long and against whom the name stands.
    pub scope: Scope,
}

/// For what an idempotency key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// For one request, for a day.
    One,
    /// For the newest that asks this, for half an hour: clients wait ten minutes for each of three attempts at the most.
    Newest,
}

/// What was asked for under a key, so that asking for something else under it is noticed: 128 bits of a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a request that consists of these parts.
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self(URL_SAFE_NO_PAD.encode(&hash.finalize()[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        assert!(IdempotencyKey::parse("a").is_ok());
        assert!(IdempotencyKey::parse(&"~".repeat(255)).is_ok());
        for text in ["", " ", "a b", "é", "a\n", &"x".repeat(256)] {
            assert!(IdempotencyKey::parse(text).is_err(), "{text:?}");
        }
        assert_ne!(IdempotencyKey::parse("a"), IdempotencyKey::parse("A"));
    }

    #[test]
    fn a_fingerprint_keeps_its_parts_apart() {
        assert_eq!(Fingerprint::of(&["a", "b"]), Fingerprint::of(&["a", "b"]));
        assert_ne!(Fingerprint::of(&["ab", "c"]), Fingerprint::of(&["a", "bc"]));
        assert_ne!(Fingerprint::of(&["a"]), Fingerprint::of(&["a", ""]));
    }
}
