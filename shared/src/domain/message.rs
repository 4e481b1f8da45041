use super::Invalid;

/// What a person says to the model: some text that is not only white space, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    /// The longest message, in characters (Unicode scalar values).
    pub const MAX_CHARS: usize = 8_000;

    /// Reads a message.
    ///
    /// # Errors
    /// Says that it is missing or too long.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Err(Invalid::new("message", "Message is required"));
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            return Err(Invalid::new("message", "Message must be at most 8000 characters long"));
        }
        Ok(Self(text))
    }

    /// The message as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The message as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_text_of_at_most_8000_characters() {
        assert!(Message::parse("é".repeat(8_000)).is_ok());
        assert!(Message::parse("é".repeat(8_001)).is_err());
        assert!(Message::parse(" \n\t\u{3000}".into()).is_err());
        assert_eq!(Message::parse(" hi ".into()).unwrap().as_str(), " hi ");
    }
}
