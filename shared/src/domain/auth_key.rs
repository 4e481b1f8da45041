use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a client of Django REST framework sends as `Authorization: Token <key>`: 40 hexadecimal digits, the same at sign-up and at each
/// login until the password changes. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(String);

impl AuthKey {
    /// The key of these 160 bits.
    pub(crate) fn from_bytes(bytes: &[u8; 20]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads a key as it was sent; whatever no key can be is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 40 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// What is stored of it.
    pub fn hash(&self) -> AuthKeyHash {
        AuthKeyHash::of(&self.0)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The SHA-256 of an [`AuthKey`] or an [`ApiKey`](super::ApiKey) in base64url. The key has 160 random-looking bits or more, so nobody finds
/// it from this, and finding an item by it tells a guesser nothing about the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthKeyHash(String);

impl AuthKeyHash {
    /// The hash of a key that was read.
    pub(super) fn of(key: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(key)))
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_forty_lower_case_digits_and_does_not_print() {
        let key = AuthKey::from_bytes(&[0xa1; 20]);
        assert_eq!(key.as_str(), "a1".repeat(20));
        assert_eq!(AuthKey::parse(key.as_str()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert_eq!(key.hash().as_str().len(), 43);
        for text in [
            "",
            "a1",
            &"A1".repeat(20),
            &"g1".repeat(20),
            &"a1".repeat(21),
            &"é".repeat(20),
        ] {
            assert!(AuthKey::parse(text).is_none(), "{text}");
        }
    }
}
