use std::time::Duration;

use super::Answer;
use crate::{domain::Message, error::Error};

/// A model that needs no network: it names the message, after a delay, or fails. For tests and demonstrations.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub(super) delay: Duration,
    pub(super) fails: bool,
}

impl Echo {
    pub(super) async fn answer(&self, message: &Message) -> Result<Answer, Error> {
        // Registering a timer costs a turn of the event loop even for no delay.
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.fails {
            return Err(Error::ModelFailed("The model failed; nothing was charged".into()));
        }
        Ok(Answer {
            text: format!("AI Response to: {}", message.as_str()),
            model: "echo".into(),
        })
    }
}
