use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::{Failed, Piece, Pieces};
use crate::{
    config::{EchoConfig, EchoFailure},
    domain::{Finish, Prompt, Usage},
    error::Error,
};

/// A model that needs no network: it names the message, after a delay and word for word, or fails. For tests and demonstrations.
///
/// It counts a token for each word.
#[derive(Debug, Clone)]
pub(super) struct Echo(EchoConfig);

impl Echo {
    pub(super) fn new(config: &EchoConfig) -> Self {
        Self(config.clone())
    }

    pub(super) async fn open(&self, prompt: &Prompt) -> Result<Pieces, Failed> {
        pause(self.0.delay).await;
        match self.0.failure {
            EchoFailure::None | EchoFailure::Midway => {}
            EchoFailure::Error => return Err(Failed::elsewhere(Error::model_failed())),
            #[expect(
                clippy::panic,
                reason = "what a defect does, so that it can be seen to cost nobody anything"
            )]
            EchoFailure::Panic => panic!("the echo was told to panic"),
        }
        let message = prompt.turns.last().map_or("", |turn| turn.text.as_str());
        let words: Vec<String> = format!("AI Response to: {message}")
            .split_inclusive(' ')
            .map(str::to_owned)
            .collect();
        // As many as it may say.
        let most = usize::try_from(prompt.max_output_tokens).unwrap_or(usize::MAX);
        let finish = if words.len() > most {
            Finish::Length
        } else {
            Finish::Stop
        };
        let said = words.len().min(most);
        let usage = Usage {
            input: prompt
                .turns
                .iter()
                .map(|turn| count(turn.text.split_whitespace()))
                .sum(),
            output: u64::try_from(said).unwrap_or(u64::MAX),
            ..Usage::default()
        };
        let pace = self.0.pace;
        let mut pieces: Vec<_> = words
            .into_iter()
            .take(most)
            .map(|word| Ok(Piece::Delta(word)))
            .collect();
        if self.0.failure == EchoFailure::Midway {
            pieces.truncate(said.div_ceil(2));
            pieces.push(Err(Failed::elsewhere(Error::model_failed())));
        } else {
            pieces.push(Ok(Piece::Finished(finish)));
            pieces.push(Ok(Piece::Used(usage)));
        }
        let pieces = stream::iter(pieces).then(move |piece| async move {
            pause(pace).await;
            piece
        });
        Ok(pieces.boxed())
    }
}

fn count<'a>(words: impl Iterator<Item = &'a str>) -> u64 {
    u64::try_from(words.count()).unwrap_or(u64::MAX)
}

async fn pause(time: Duration) {
    // Registering a timer costs a turn of the event loop even for no time.
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
