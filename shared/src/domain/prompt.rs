use serde::{Deserialize, Serialize};

use super::Invalid;

/// Who says something in a conversation with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Whoever operates the deployment or the client: how to answer.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Speaker {
    /// Its name in the APIs of models.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// What one of them said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

impl Turn {
    /// What `speaker` said.
    pub fn new(speaker: Speaker, text: impl Into<String>) -> Self {
        Self {
            speaker,
            text: text.into(),
        }
    }
}

/// How a model is to choose its words. What is `None` is left to the provider.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// From 0 (always the likeliest word) to 2.
    pub temperature: Option<f64>,
    /// Choose among the likeliest words that have this probability together, from 0 to 1.
    pub top_p: Option<f64>,
    /// From -2 to 2: how much to avoid words that were said.
    pub presence_penalty: Option<f64>,
    /// From -2 to 2: how much to avoid words by how often they were said.
    pub frequency_penalty: Option<f64>,
    /// Makes choices repeatable, where the provider can.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

/// Everything that a model is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// What was said so far, in order; the last is what to answer.
    pub turns: Vec<Turn>,
    /// How long the answer may be, in the model's tokens.
    pub max_output_tokens: u32,
    /// How to choose words.
    pub sampling: Sampling,
}

impl Prompt {
    /// The most tokens of any model that this can be: no tokenizer makes more than one token of a byte, and what servers put around each
    /// turn and the whole is less than this adds.
    pub fn most_tokens(&self) -> u64 {
        const AROUND_ALL: u64 = 64;
        const AROUND_A_TURN: u64 = 16;
        self.turns.iter().fold(AROUND_ALL, |sum, turn| {
            sum.saturating_add(AROUND_A_TURN).saturating_add(length(&turn.text))
        })
    }

    /// About how many tokens this is, for providers that do not say.
    pub fn about_tokens(&self) -> u64 {
        self.turns.iter().map(|turn| about_tokens(&turn.text) + 4).sum()
    }
}

/// About how many tokens a text is: four bytes each, which is OpenAI's rule of thumb for English
/// (<https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them>).
pub fn about_tokens(text: &str) -> u64 {
    length(text).div_ceil(4)
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The name by which a provider knows one of its models: 1 to 256 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelName(String);

impl ModelName {
    /// Reads a name.
    ///
    /// # Errors
    /// Says what a name is.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("model", "Model must be 1 to 256 visible ASCII characters"))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_never_more_tokens_than_it_is_said_to_be() {
        let turns = vec![Turn::new(Speaker::System, "be brief"), Turn::new(Speaker::User, "é")];
        let prompt = Prompt {
            turns,
            max_output_tokens: 1,
            sampling: Sampling::default(),
        };
        assert_eq!(prompt.most_tokens(), 64 + 16 + 8 + 16 + 2);
        assert_eq!(prompt.about_tokens(), 2 + 4 + 1 + 4);
        assert!(prompt.about_tokens() <= prompt.most_tokens());
    }

    #[test]
    fn a_model_has_a_visible_name() {
        assert_eq!(ModelName::parse("gpt-4o-mini").unwrap().as_str(), "gpt-4o-mini");
        for text in ["", "two words", "caf\u{e9}", &"x".repeat(257)] {
            assert!(ModelName::parse(text).is_err(), "{text}");
        }
    }
}
