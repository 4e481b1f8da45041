//! The models that answer.

mod echo;

use std::time::Duration;

use crate::{
    config::{ModelConfig, ProviderConfig},
    domain::Message,
    error::Error,
};

/// What a model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The name of the model that said it.
    pub model: String,
}

/// The model that this deployment talks to.
#[derive(Debug, Clone)]
pub struct Model {
    provider: Provider,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Provider {
    Echo(echo::Echo),
}

impl Model {
    /// The configured model.
    pub fn new(config: &ModelConfig) -> Self {
        let ProviderConfig::Echo { delay, fails } = config.provider;
        Self {
            provider: Provider::Echo(echo::Echo { delay, fails }),
            timeout: config.timeout,
        }
    }

    /// Answers a message, or fails within the configured time.
    ///
    /// # Errors
    /// [`Error::ModelFailed`] and [`Error::ModelTimedOut`]; the caller gives the hold back.
    pub async fn answer(&self, message: &Message) -> Result<Answer, Error> {
        let Provider::Echo(echo) = &self.provider;
        tokio::time::timeout(self.timeout, echo.answer(message))
            .await
            .unwrap_or(Err(Error::ModelTimedOut))
    }
}
