//! The models that answer.

mod echo;
mod openai;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

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
    OpenAi(openai::OpenAi),
}

impl Provider {
    async fn answer(&self, message: &Message) -> Result<Answer, Error> {
        match self {
            Self::Echo(echo) => echo.answer(message).await,
            Self::OpenAi(server) => server.answer(message).await,
        }
    }
}

impl Model {
    /// The configured model.
    pub fn new(config: &ModelConfig) -> Self {
        let provider = match &config.provider {
            ProviderConfig::Echo { delay, failure } => Provider::Echo(echo::Echo {
                delay: *delay,
                failure: *failure,
            }),
            ProviderConfig::OpenAi(server) => Provider::OpenAi(openai::OpenAi::new(server)),
        };
        Self {
            provider,
            timeout: config.timeout,
        }
    }

    /// Answers a message, or fails within the configured time.
    ///
    /// # Errors
    /// [`Error::ModelFailed`] and [`Error::ModelTimedOut`]; the caller gives the hold back.
    pub async fn answer(&self, message: &Message) -> Result<Answer, Error> {
        // A defect in a provider must not leave a hold to its lease: it is one more way to fail.
        let answer = AssertUnwindSafe(self.provider.answer(message)).catch_unwind();
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => {
                tracing::error!("the model panicked");
                Err(Error::model_failed())
            }
            Err(_elapsed) => Err(Error::ModelTimedOut),
        }
    }
}
