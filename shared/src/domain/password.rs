use std::{borrow::Cow, fmt};

use unicode_normalization::UnicodeNormalization;

use super::{Invalid, Username};

/// 7 900 passwords of eight bytes or more that are not all digits, one a line, sorted by byte. They are the ones of that shape among
/// the 20 000 most common in public breaches, as collected by Royce Williams and shipped with Django (BSD-3-Clause).
const COMMON: &str = include_str!("common_passwords.txt");

/// A password somebody typed, in NFC so that one password typed on two keyboards is the same bytes (RFC 8265 section 4.2).
///
/// Prints as `[redacted]`.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// The longest password that is ever hashed, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Takes what was typed at a login. Anything goes: whether it is right is the hash's business.
    pub fn typed(text: &str) -> Self {
        Self(text.nfc().collect())
    }

    /// The bytes to hash, or `None` if they are more than any password here may have.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        (self.0.len() <= Self::MAX_BYTES).then_some(self.0.as_bytes())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How long a new password may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// At least this.
    pub min_bytes: usize,
    /// At most this, and never more than [`Password::MAX_BYTES`].
    pub max_bytes: usize,
}

/// A password that may protect an account: long enough, not among the ones that everybody tries first.
#[derive(Debug, Clone)]
pub struct NewPassword(Password);

impl NewPassword {
    /// Accepts a password for `username`'s account.
    ///
    /// # Errors
    /// Says why a too short, too long, all-numeric, common or name-like password is refused.
    pub fn accept(password: Password, username: &Username, policy: PasswordPolicy) -> Result<Self, Invalid> {
        let invalid = |reason: Cow<'static, str>| Err(Invalid::new("password", reason));
        let typed = &password.0;
        if typed.is_empty() {
            return invalid("Password is required".into());
        }
        if typed.len() < policy.min_bytes {
            return invalid(format!("Password must be at least {} bytes long", policy.min_bytes).into());
        }
        let max_bytes = policy.max_bytes.min(Password::MAX_BYTES);
        if typed.len() > max_bytes {
            return invalid(format!("Password must be at most {max_bytes} bytes long").into());
        }
        if typed.chars().all(char::is_numeric) {
            return invalid("Password must not be entirely numeric".into());
        }
        if is_common(typed) {
            return invalid("Password is too common".into());
        }
        if resembles(typed, username) {
            return invalid("Password is too similar to the username".into());
        }
        Ok(Self(password))
    }

    /// The password as it is typed at every login from now on.
    pub fn as_password(&self) -> &Password {
        &self.0
    }
}

fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    // A search over lines without an index: split at the line around the middle byte.
    let mut rest = COMMON;
    while !rest.is_empty() {
        let middle = rest.floor_char_boundary(rest.len() / 2);
        let start = rest[..middle].rfind('\n').map_or(0, |newline| newline + 1);
        let end = rest[start..].find('\n').map_or(rest.len(), |newline| start + newline);
        match password.as_str().cmp(&rest[start..end]) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => rest = &rest[..start],
            std::cmp::Ordering::Greater => rest = rest.get(end + 1..).unwrap_or(""),
        }
    }
    false
}

/// Whether the password is the name with at most three characters around it, or a part of the name.
fn resembles(password: &str, username: &Username) -> bool {
    let letters = |text: &str| -> String { text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect() };
    let (password, name) = (letters(password), letters(username.as_str()));
    // Too little to compare: a short name is in everything, and a password of symbols is in no name.
    if name.chars().count() < 4 || password.chars().count() < 4 {
        return false;
    }
    let backwards: String = name.chars().rev().collect();
    let around = password.chars().count().saturating_sub(name.chars().count());
    name.contains(&password) || (around <= 3 && (password.contains(&name) || password.contains(&backwards)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(password: &str) -> String {
        let name = Username::parse("Hephzibah").unwrap();
        let policy = PasswordPolicy {
            min_bytes: 8,
            max_bytes: 1024,
        };
        NewPassword::accept(Password::typed(password), &name, policy)
            .map_or_else(|invalid| invalid.reason.into_owned(), |_| "accepted".into())
    }

    #[test]
    fn the_common_list_is_sorted_so_that_it_can_be_searched() {
        assert!(COMMON.lines().is_sorted());
        assert!(COMMON.lines().all(is_common), "each line is found");
        assert!(!is_common("zzzzzzzzzzzzzzzzzzzzzz"));
        assert!(!is_common(" "));
        assert!(!is_common(""));
    }

    #[test]
    fn each_refusal_says_why() {
        assert_eq!(refusal(""), "Password is required");
        assert_eq!(refusal("short"), "Password must be at least 8 bytes long");
        assert_eq!(refusal(&"long".repeat(257)), "Password must be at most 1024 bytes long");
        assert_eq!(refusal(&"long".repeat(900)), "Password must be at most 1024 bytes long");
        assert_eq!(refusal("8675309867530986"), "Password must not be entirely numeric");
        assert_eq!(refusal("Password123"), "Password is too common");
        for similar in [
            "hephzibah",
            "HEPHZIBAH1!",
            "123hephzibah",
            "habizhpeh",
            "Heph-zib-ah",
            "hephziba",
        ] {
            assert_eq!(refusal(similar), "Password is too similar to the username", "{similar}");
        }
    }

    #[test]
    fn passwords_of_the_documented_clients_are_accepted() {
        for password in [
            "testpass123",
            "strongpassword123",
            "correct horse battery",
            "żółta łódź",
            &"long".repeat(256),
        ] {
            assert_eq!(refusal(password), "accepted", "{password}");
        }
    }

    #[test]
    fn one_password_typed_composed_or_decomposed_is_the_same() {
        assert_eq!(
            Password::typed("A\u{30a}ngstrom").bytes(),
            Password::typed("Ångstrom").bytes()
        );
    }

    #[test]
    fn never_prints() {
        let name = Username::parse("ada").unwrap();
        let policy = PasswordPolicy {
            min_bytes: 8,
            max_bytes: 1024,
        };
        let password = NewPassword::accept(Password::typed("correct horse"), &name, policy).unwrap();
        assert_eq!(format!("{password:?}"), "NewPassword([redacted])");
    }
}
