use std::fmt;

use caseless::Caseless;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::Invalid;

/// A name as its owner wrote it, after Unicode normalisation form KC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Username(String);

/// What two spellings of one name share: NFKC, full case folding, NFKC again. `Admin`, `admin` and `ＡＤＭＩＮ` have one key, so
/// they are one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UserKey(String);

impl Username {
    /// The longest name, in characters: what Django's `AbstractUser` allows, so every name of the older systems fits.
    pub const MAX_CHARS: usize = 150;

    /// What a name looks like to those who know only patterns. Not everything that looks so is a name.
    #[cfg(test)]
    pub(crate) const PATTERN: &str = r"^[\p{L}\p{M}\p{N}_.@+-]+$";

    /// Reads a name: letters and digits of any script, and `_ . @ + -` (the rule of Django's `UnicodeUsernameValidator`), with at
    /// least one letter or digit.
    ///
    /// # Errors
    /// Says what is wrong with an empty, too long or unusable name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason| Err(Invalid::new("username", reason));
        // NFKC can grow text 18-fold; a bound on what comes in keeps that cheap.
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            return invalid("Username must be at most 150 characters long");
        }
        let name: String = text.nfkc().collect();
        if name.is_empty() {
            return invalid("Username is required");
        }
        if name.chars().nth(Self::MAX_CHARS).is_some() {
            return invalid("Username must be at most 150 characters long");
        }
        // The list of users sorts by the key, a `#` and the name; DynamoDB bounds a sort key at 1024 bytes, and a page begins one byte
        // behind the last name of the page before.
        if name.len() + 1 + fold(&name).len() >= 1024 {
            return invalid("Username is too long");
        }
        if !name.chars().all(is_name_char) {
            return invalid("Username may contain only letters, digits and the characters _ . @ + -");
        }
        // A letter that is newer than the folding tables would make another name in capitals than in small letters.
        if fold(&name.to_lowercase()) != fold(&name) {
            return invalid("Username contains a letter that is not supported");
        }
        if !name.chars().any(char::is_alphanumeric) {
            return invalid("Username must contain a letter or a digit");
        }
        Ok(Self(name))
    }

    /// The key that every spelling of this name shares.
    pub fn key(&self) -> UserKey {
        UserKey(fold(&self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UserKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key that was made by [`Username::key`] before and has been stored or signed since.
    pub(crate) fn from_stored(key: String) -> Self {
        Self(key)
    }
}

/// How the names that somebody looks for begin, folded like a [`UserKey`]; empty for all names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamePrefix(String);

impl NamePrefix {
    /// Reads the beginning of a name, in any spelling.
    ///
    /// # Errors
    /// Says that no name begins like this.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let too_long = text.chars().nth(Username::MAX_CHARS).is_some();
        let normal: String = if too_long { String::new() } else { text.nfkc().collect() };
        let folded = fold(&normal);
        // Looked at before folding, as names are: what a letter folds to is not always letters. DynamoDB bounds a sort key at 1024 bytes,
        // and the last one that begins like this is four bytes longer.
        if too_long || folded.len() > 1020 || !normal.chars().all(is_name_char) {
            return Err(Invalid::new("prefix", "No username begins like this prefix"));
        }
        Ok(Self(folded))
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn fold(name: &str) -> String {
    name.chars().default_case_fold().nfkc().collect()
}

/// Hangul fillers and blank hieroglyphs are letters to Unicode but show as nothing, so a name made of them would look empty or like
/// another's.
fn is_name_char(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{13441}' | '\u{13442}'
    );
    (c.is_alphanumeric() && !invisible) || matches!(c, '_' | '.' | '@' | '+' | '-')
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> String {
        Username::parse(name).unwrap().key().0
    }

    #[test]
    fn every_spelling_of_a_name_has_one_key() {
        for spelling in ["admin", "Admin", "ADMIN", "ＡＤＭＩＮ", "ａｄｍｉｎ", "𝒜dmin", "ⓐdmin"] {
            assert_eq!(key(spelling), "admin", "{spelling}");
        }
        assert_eq!(key("Straße"), key("STRASSE"));
        assert_eq!(key("ÅSA"), key("a\u{30a}sa"));
    }

    #[test]
    fn a_key_is_the_key_of_itself() {
        for name in [
            "Straße",
            "ﬁne",
            "İstanbul",
            "ǅungla",
            "ᾳ",
            "Ünïcödé",
            "a.b@c+d-e_f",
            "李雷",
            "ΑΣ",
            "Ꭰ",
        ] {
            let once = key(name);
            assert_eq!(fold(&once), once, "{name}");
        }
    }

    #[test]
    fn a_prefix_is_folded_like_the_names_it_finds() {
        let name = key("Straßenbahn");
        for prefix in ["", "S", "stra", "STRASS", "Straße", "ｓｔｒ"] {
            let prefix = NamePrefix::parse(prefix).unwrap();
            assert!(name.starts_with(prefix.as_str()), "{prefix:?}");
        }
        // The capital dotted i folds to an i and a combining dot, which is no letter.
        let prefix = NamePrefix::parse("İs").unwrap();
        assert!(key("İstanbul").starts_with(prefix.as_str()));
        for prefix in ["a b", "a#", "\u{0}", "*", &"a".repeat(151)] {
            assert!(NamePrefix::parse(prefix).is_err(), "{prefix:?}");
        }
    }

    #[test]
    fn names_that_could_deceive_or_escape_are_refused() {
        let refused = [
            "",
            " ",
            "a b",
            "a#b",
            "a/b",
            "a\\b",
            "%2e%2e",
            "..",
            ".",
            "-",
            "a\0b",
            "a\u{200b}b",
            "a\u{200d}b",
            "a\u{feff}b",
            "a\u{202e}b",
            "a\nb",
            "\u{3164}",
            "\u{1160}a",
            "\u{13441}",
            "ada\u{13442}",
            // A capital of Unicode 17.
            "\u{16ea0}",
            "a'b",
            "a\"b",
            "<b>",
            "a\u{ad}b",
            "😀",
        ];
        for name in refused {
            assert!(Username::parse(name).is_err(), "{name:?}");
        }
        assert!(Username::parse(&"a".repeat(151)).is_err());
        assert!(Username::parse(&"a".repeat(150)).is_ok());
        // 150 characters, but of four bytes each, in the name and in its key.
        assert!(Username::parse(&"\u{20000}".repeat(150)).is_err());
        assert!(Username::parse(&"\u{20000}".repeat(127)).is_ok());
        assert!(Username::parse(&"\u{20000}".repeat(128)).is_err());
        // One character of three hundred normalised ones.
        assert!(Username::parse(&"\u{fdfa}".repeat(100)).is_err());
    }
}
