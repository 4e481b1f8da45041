use super::Invalid;

/// What a person says to the model: some text that is not only white space, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    /// The longest message where the deployment says nothing else, in characters (Unicode scalar values).
    pub const DEFAULT_MAX_CHARS: usize = 8_000;

    /// Reads a message.
    ///
    /// # Errors
    /// Says that it is missing.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Err(Invalid::new("message", "Message is required"));
        }
        Ok(Self(text))
    }

    /// Checks the length against what the deployment allows.
    ///
    /// # Errors
    /// Says how long a message may be.
    pub fn check_length(&self, max_chars: usize) -> Result<(), Invalid> {
        if self.0.chars().nth(max_chars).is_some() {
            let reason = format!("Message must be at most {max_chars} characters long");
            return Err(Invalid::new("message", reason));
        }
        Ok(())
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
    fn a_message_is_kept_as_it_was_written_and_counted_in_characters() {
        assert_eq!(Message::parse(" hi ".into()).unwrap().as_str(), " hi ");
        assert!(Message::parse(" \n\t\u{3000}".into()).is_err());
        let message = Message::parse("é".repeat(8)).unwrap();
        assert!(message.check_length(8).is_ok());
        assert!(message.check_length(7).is_err());
    }
}
