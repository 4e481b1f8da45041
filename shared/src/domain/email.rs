use serde::{Deserialize, Serialize};

use super::Invalid;

/// An e-mail address that a user gave. Nothing is ever sent to it, so it is only checked for its shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Email(String);

impl Email {
    /// The longest address, in bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets).
    pub const MAX_BYTES: usize = 254;

    /// Reads an address of at most 254 bytes (RFC 5321 section 4.5.3.1.3, as corrected by its erratum 1690); an empty text is none.
    ///
    /// # Errors
    /// Says that the text is not an address.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }
        let shape = text.rsplit_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && domain.split('.').count() > 1 && domain.split('.').all(|label| !label.is_empty())
        });
        if text.len() > Self::MAX_BYTES || !shape || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Invalid::new("email", "Email is not an e-mail address"));
        }
        Ok(Some(Self(text.to_owned())))
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_local_part_and_a_domain_with_a_dot() {
        assert_eq!(Email::parse(""), Ok(None));
        assert_eq!(
            Email::parse("user@example.com").unwrap().unwrap().as_str(),
            "user@example.com"
        );
        for text in [
            "user",
            "@example.com",
            "user@",
            "user@example",
            "user@.com",
            "us er@example.com",
            "u\0@example.com",
        ] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
        assert!(Email::parse(&format!("{}@example.com", "a".repeat(250))).is_err());
    }
}
