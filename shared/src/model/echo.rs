use std::time::Duration;

use super::Answer;
use crate::{config::EchoFailure, domain::Message, error::Error};

/// A model that needs no network: it names the message, after a delay, or fails. For tests and demonstrations.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub(super) delay: Duration,
    pub(super) failure: EchoFailure,
}

impl Echo {
    pub(super) async fn answer(&self, message: &Message) -> Result<Answer, Error> {
        // Registering a timer costs a turn of the event loop even for no delay.
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match self.failure {
            EchoFailure::None => {}
            EchoFailure::Error => return Err(Error::model_failed()),
            #[expect(
                clippy::panic,
                reason = "what a defect does, so that it can be seen to cost nobody anything"
            )]
            EchoFailure::Panic => panic!("the echo was told to panic"),
        }
        Ok(Answer {
            text: format!("AI Response to: {}", message.as_str()),
            model: "echo".into(),
        })
    }
}
