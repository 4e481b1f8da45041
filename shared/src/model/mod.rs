//! The models that answer.
//!
//! A provider opens an answer as a stream of pieces; what is the same for all of them is here: the time that an answer may take, when it
//! is asked for again, and what of an answer counts when its provider breaks off.

mod bedrock;
mod echo;
mod http;
mod key;
mod openai;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::time::Instant;

use crate::{
    aws,
    config::{ConfigError, ModelConfig, ProviderConfig},
    domain::{Finish, ModelName, Prompt, Usage, about_tokens},
    error::Error,
    meter::count,
};

/// The longest answer, in bytes: it is stored in one item of at most 400 KB, beside the message.
const MAX_ANSWER: usize = 256 * 1024;
/// For how long a model that has said all is listened to for what it says of its usage.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often the same model is asked, as long as it has said nothing.
const TRIES: u32 = 2;
/// How long to wait before the second time.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a busy provider is left alone that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// For how long a call waits for a busy provider itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a model said.
#[derive(Debug)]
pub struct Answer {
    /// The text. Empty if the model ended without a word, as one does whose room is used up by what it thinks.
    pub text: String,
    /// The name of the model as the deployment has it, by which it is priced.
    pub model: ModelName,
    /// The name by which the provider calls it.
    pub called: String,
    /// What it read and wrote.
    pub usage: Usage,
    /// Why it stopped.
    pub finish: Finish,
    /// What went wrong after it had begun, if it did not come to an end: this is only a part of an answer.
    pub broken: Option<Error>,
}

/// Something of an answer.
#[derive(Debug)]
enum Piece {
    /// The next words.
    Delta(String),
    /// It is at work.
    Alive,
    /// It has said all.
    Finished(Finish),
    /// What it read and wrote.
    Used(Usage),
    /// The provider's name for the model.
    Called(String),
}

type Pieces = BoxStream<'static, Result<Piece, Failed>>;

/// Why there is no answer, or no more of it.
#[derive(Debug)]
struct Failed {
    error: Error,
    again: Again,
}

/// Whether asking again may help, if nothing has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It is the message: no model would answer it.
    Never,
    /// Another model may.
    Elsewhere,
    /// The same may, after this much time.
    After(Duration),
}

impl Again {
    /// A call waits itself for a short time only.
    fn after(wait: Duration) -> Self {
        if wait <= LONGEST_PAUSE {
            Self::After(wait)
        } else {
            Self::Elsewhere
        }
    }
}

/// What a `Retry-After` says: seconds; a date is not understood, and nobody is sent away for more than ten minutes.
fn wait(retry_after: Option<&str>) -> Option<Duration> {
    let seconds = retry_after?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 600)))
}

impl Failed {
    fn elsewhere(error: Error) -> Self {
        let again = Again::Elsewhere;
        Self { error, again }
    }

    fn never(error: Error) -> Self {
        let again = Again::Never;
        Self { error, again }
    }

    fn after_a_pause(error: Error) -> Self {
        let again = Again::After(PAUSE);
        Self { error, again }
    }

    /// A provider that is busy, with what its `Retry-After` says.
    fn busy(retry_after: Option<&str>) -> Self {
        let wait = wait(retry_after).unwrap_or(DEFAULT_WAIT);
        let (error, again) = (Error::ModelBusy(wait), Again::after(wait));
        Self { error, again }
    }

    /// A provider that failed and may not fail again, with what its `Retry-After` says.
    fn for_now(retry_after: Option<&str>) -> Self {
        let (error, again) = (Error::model_failed(), Again::after(wait(retry_after).unwrap_or(PAUSE)));
        Self { error, again }
    }

    /// A reply that cannot be used.
    fn unusable(why: &'static str) -> Self {
        tracing::error!(why, "the model's reply cannot be used");
        Self::elsewhere(Error::model_failed())
    }
}

/// The models that this deployment talks to.
#[derive(Debug, Clone)]
pub struct Model {
    provider: Provider,
    config: ModelConfig,
}

#[derive(Debug, Clone)]
enum Provider {
    Echo(echo::Echo),
    OpenAi(openai::OpenAi),
    Bedrock(bedrock::Bedrock),
}

impl Provider {
    async fn open(&self, model: &ModelName, prompt: &Prompt) -> Result<Pieces, Failed> {
        match self {
            Self::Echo(echo) => echo.open(prompt).await,
            Self::OpenAi(server) => server.open(model, prompt).await,
            Self::Bedrock(bedrock) => bedrock.open(model, prompt).await,
        }
    }
}

/// What was said so far.
#[derive(Debug, Default)]
struct Said {
    text: String,
    called: Option<String>,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

/// When a model must have said something.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The whole answer.
    until: Instant,
    /// The next piece.
    silence: Duration,
}

/// Time ran out.
#[derive(Debug)]
enum Late {
    /// For the whole answer.
    Deadline,
    /// For the next piece.
    Silence,
}

impl Limits {
    async fn keep<T>(self, work: impl Future<Output = T>) -> Result<T, Late> {
        let next = Instant::now() + self.silence;
        let (at, late) = if next < self.until {
            (next, Late::Silence)
        } else {
            (self.until, Late::Deadline)
        };
        tokio::time::timeout_at(at, work).await.map_err(|_| late)
    }
}

impl Model {
    /// The configured models; reads the key of their provider, if it is kept in a secret.
    ///
    /// # Errors
    /// Names the secret that cannot be read.
    pub async fn start(config: &ModelConfig) -> Result<Self, ConfigError> {
        let provider = match &config.provider {
            ProviderConfig::Echo(echo) => Provider::Echo(echo::Echo::new(echo)),
            ProviderConfig::OpenAi(server) => Provider::OpenAi(openai::OpenAi::start(server).await?),
            ProviderConfig::Bedrock => Provider::Bedrock(bedrock::Bedrock::new(aws::config().into())),
        };
        Ok(Self {
            provider,
            config: config.clone(),
        })
    }

    /// The model that is asked when `wanted` is: the deployment's first choice if nothing is.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] for one that this deployment does not serve.
    pub fn choose(&self, wanted: Option<&ModelName>) -> Result<&ModelName, Error> {
        let served = &self.config.served;
        match wanted {
            None => Ok(&served.first),
            Some(wanted) => served.all().find(|model| *model == wanted).ok_or(Error::ModelNotFound),
        }
    }

    /// The model that is asked when `chosen` says nothing, if there is one.
    pub fn fallback_of(&self, chosen: &ModelName) -> Option<&ModelName> {
        self.config.served.fallback.as_ref().filter(|other| *other != chosen)
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// How long an answer may be, in the model's tokens.
    pub fn max_output_tokens(&self) -> u32 {
        self.config.max_output_tokens
    }

    /// Answers a prompt within the configured time. `heard` gets the words as they come.
    ///
    /// As long as nothing was said, the same model is asked once more where that may help, and then `fallback`.
    ///
    /// # Errors
    /// If no model said anything.
    pub async fn answer(
        &self,
        chosen: &ModelName,
        fallback: Option<&ModelName>,
        prompt: &Prompt,
        heard: &mut dyn FnMut(&str),
    ) -> Result<Answer, Error> {
        let limits = Limits {
            until: Instant::now() + self.config.timeout,
            silence: self.config.silence,
        };
        let (mut model, mut tries) = (chosen, 0);
        loop {
            tries += 1;
            let mut said = Said::default();
            let failed = match self.ask(model, prompt, limits, heard, &mut said).await {
                Ok(()) => return Ok(said.into_answer(model, prompt, None)),
                Err(failed) => failed,
            };
            if !said.text.is_empty() {
                return Ok(said.into_answer(model, prompt, Some(failed.error)));
            }
            let fallback = fallback.filter(|other| *other != model);
            match (failed.again, fallback) {
                (Again::After(wait), _) if tries < TRIES && Instant::now() + wait < limits.until => {
                    tokio::time::sleep(wait).await;
                }
                (Again::After(_) | Again::Elsewhere, Some(other)) if Instant::now() < limits.until => {
                    tracing::warn!(code = failed.error.code(), "asking the fallback model");
                    // Once.
                    (model, tries) = (other, TRIES);
                }
                _ => return Err(failed.error),
            }
        }
    }

    async fn ask(
        &self,
        model: &ModelName,
        prompt: &Prompt,
        limits: Limits,
        heard: &mut dyn FnMut(&str),
        said: &mut Said,
    ) -> Result<(), Failed> {
        // A defect in a provider must not leave a hold to its lease: it is one more way to fail.
        let started = Instant::now();
        let asked = AssertUnwindSafe(self.listen(model, prompt, limits, heard, said)).catch_unwind();
        let outcome = asked.await.unwrap_or_else(|_panic| {
            tracing::error!("the model panicked");
            Err(Failed::elsewhere(Error::model_failed()))
        });
        count(|tally| {
            tally.provider_calls += 1;
            tally.provider_time += started.elapsed();
            // What no model would answer says nothing of the provider.
            tally.provider_errors += u32::from(outcome.as_ref().is_err_and(|failed| failed.again != Again::Never));
        });
        outcome
    }

    async fn listen(
        &self,
        model: &ModelName,
        prompt: &Prompt,
        limits: Limits,
        heard: &mut dyn FnMut(&str),
        said: &mut Said,
    ) -> Result<(), Failed> {
        let opened = limits.keep(self.provider.open(model, prompt)).await;
        let mut pieces = opened.map_err(|late| Failed::late(&late, said))??;
        loop {
            let limits = match said.finish {
                None => limits,
                Some(_) => Limits {
                    silence: LAST_WORDS,
                    ..limits
                },
            };
            let piece = match limits.keep(pieces.next()).await {
                Ok(Some(Ok(piece))) => piece,
                // It has said all, whatever happens then.
                _ if said.finish.is_some() => break,
                Ok(Some(Err(failed))) => return Err(failed),
                Ok(None) => break,
                Err(late) => return Err(Failed::late(&late, said)),
            };
            match piece {
                Piece::Delta(text) => {
                    let room = MAX_ANSWER - said.text.len();
                    let text = &text[..text.floor_char_boundary(room)];
                    said.text.push_str(text);
                    if !text.is_empty() {
                        heard(text);
                        // Some servers name a reason for each piece; it is over when nothing follows.
                        said.finish = None;
                    }
                    if said.text.len() + 4 > MAX_ANSWER {
                        said.finish = Some(Finish::Length);
                        break;
                    }
                }
                Piece::Alive => {}
                Piece::Finished(finish) => said.finish = Some(finish),
                Piece::Used(usage) => said.usage = Some(usage),
                Piece::Called(name) => said.called = Some(name),
            }
        }
        match said.finish {
            None => Err(Failed::unusable("it ends without an end")),
            Some(Finish::ContentFilter) if said.text.is_empty() => Err(Failed::never(Error::ContentFiltered)),
            // Asked again, it would say nothing again: that is an answer, if it says that it read and wrote something for it.
            Some(_) if said.text.is_empty() && said.usage.is_none() => Err(Failed::unusable("it says nothing")),
            Some(_) => Ok(()),
        }
    }
}

impl Failed {
    fn late(late: &Late, said: &mut Said) -> Self {
        if let Late::Deadline = late {
            said.finish = Some(Finish::Deadline);
        }
        tracing::warn!(?late, "the model did not answer in time");
        Self::elsewhere(Error::ModelTimedOut)
    }
}

impl Said {
    fn into_answer(self, model: &ModelName, prompt: &Prompt, broken: Option<Error>) -> Answer {
        let mut usage = self.usage.unwrap_or_default();
        // Nothing is read for nothing, nor written: a zero is said by who does not know.
        if usage.input == 0 {
            (usage.input, usage.estimated) = (prompt.about_tokens(), true);
        }
        if usage.output == 0 && !self.text.is_empty() {
            (usage.output, usage.estimated) = (about_tokens(&self.text), true);
        }
        Answer {
            text: self.text,
            model: model.clone(),
            called: self
                .called
                .filter(|name| (1..=256).contains(&name.len()))
                .unwrap_or_else(|| model.as_str().to_owned()),
            usage,
            finish: self.finish.unwrap_or(Finish::Interrupted),
            broken,
        }
    }
}
