//! Chats: asking the model and looking back.

use std::time::Duration;

use crate::{
    billing::Billing,
    config::{BillingConfig, ConfigError, MessageConfig, ModelConfig, Served},
    domain::{
        Amount, Caller, Chat, ChatId, Conversation, ConversationRef, Cursor, Fingerprint, Finish, Got, IdempotencyKey,
        Invalid, Listing, Message, ModelName, Once, PageSize, Pricing, Prompt, Repeats, Sampling, Scope, Speaker,
        Timestamp, Turn, User, UserId, Username,
    },
    error::Error,
    model::Model,
    store::{Page, PlacedHold, Store},
};

/// A message that was answered and paid for.
#[derive(Debug)]
pub struct Sent {
    /// Who asked.
    pub user: UserId,
    /// Their name.
    pub username: Username,
    /// The message with its answer.
    pub chat: Chat,
    /// The balance after the charge.
    pub balance: Amount,
    /// Whether this had been answered before, under the same idempotency key.
    pub replayed: bool,
}

/// One page of a history.
#[derive(Debug)]
pub struct ChatPage {
    /// Whose.
    pub user: UserId,
    /// How many were asked for.
    pub size: PageSize,
    /// The chats, newest first.
    pub chats: Vec<Chat>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// How long a call may wait for an earlier one and still has time for an answer of its own: with the model's time-out, the patience of
/// a settlement and the table's time-outs that is what a function has that streams.
pub const MOST_WAITED: Duration = Duration::from_secs(6);
/// How long a call waits for an earlier one at the most. A function that died leaves a hold that nobody settles.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// For how long it is tried to settle an answer that was heard.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// What is asked of a model.
#[derive(Debug)]
pub struct Question {
    /// What its chat will be called.
    pub id: ChatId,
    /// What the history keeps of it.
    pub message: Message,
    /// Whether it may be as long as a request, rather than as a message.
    pub long: bool,
    /// What was said, in order, by the client's own account; the last is what to answer.
    pub turns: Vec<Turn>,
    /// The conversation that it is asked in, if it is asked in one. What was said there before comes before `turns`.
    pub conversation: Option<ConversationRef>,
    /// Who is to answer; the deployment's first choice if nobody is named.
    pub model: Option<ModelName>,
    /// How long the answer may be, in the model's tokens, if not as long as the deployment allows.
    pub max_output_tokens: Option<u32>,
    /// How the model is to choose its words.
    pub sampling: Sampling,
    /// How the client says that it asks the same again: that is answered and charged once.
    pub repeats: Repeats,
}

impl Question {
    /// A message by itself.
    pub fn of(message: Message, key: Option<IdempotencyKey>, now: Timestamp) -> Self {
        Self {
            id: ChatId::new(now),
            turns: vec![Turn::new(Speaker::User, message.as_str())],
            message,
            long: false,
            conversation: None,
            model: None,
            max_output_tokens: None,
            sampling: Sampling::default(),
            repeats: key.map_or(Repeats::Unsaid, Repeats::Key),
        }
    }

    /// What makes it the same question.
    fn fingerprint(&self) -> Fingerprint {
        let mut parts = vec!["chat", self.message.as_str()];
        let (sampling, most) = (format!("{:?}", self.sampling), format!("{:?}", self.max_output_tokens));
        if self.turns.len() > 1 || self.sampling != Sampling::default() || self.max_output_tokens.is_some() {
            parts.extend([sampling.as_str(), most.as_str()]);
            parts.extend(
                self.turns
                    .iter()
                    .flat_map(|turn| [turn.speaker.as_str(), turn.text.as_str()]),
            );
        }
        if let Some(model) = &self.model {
            parts.extend(["model", model.as_str()]);
        }
        let conversation = self.conversation.map(|conversation| conversation.to_string());
        if let Some(conversation) = &conversation {
            parts.extend(["conversation", conversation.as_str()]);
        }
        Fingerprint::of(&parts)
    }
}

/// Who hears an answer while it is given.
pub enum Listener<'a> {
    /// Nobody: the answer is of use only as a whole.
    Nobody,
    /// Somebody who gets the words as they come, and keeps what came if there is no more.
    Somebody(&'a mut dyn FnMut(&str)),
}

impl std::fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Somebody(_) => "Somebody",
        })
    }
}

/// The models that a caller may ask.
#[derive(Debug)]
pub struct Models(pub Vec<ModelName>);

/// Tells which models there are.
#[derive(Debug)]
pub struct Catalogue {
    store: Store,
    served: Served,
}

impl Catalogue {
    /// The configured models, for the users in `store`.
    ///
    /// # Errors
    /// Names the environment variable that is unusable.
    pub fn start(store: Store) -> Result<Self, ConfigError> {
        let served = ModelConfig::from_env()?.served;
        Ok(Self { store, served })
    }

    /// The models that `caller` may ask.
    ///
    /// # Errors
    /// As [`Store::read_user`].
    pub async fn of(&self, caller: &Caller) -> Result<Models, Error> {
        self.store.read_user(caller).await?;
        let served = self.served.each().into_iter();
        let allowed = served.filter(|model| caller.may_use(model).is_ok());
        Ok(Models(allowed.cloned().collect()))
    }
}

/// Asks models for callers who can pay.
#[derive(Debug)]
pub struct Chats {
    store: Store,
    billing: Billing,
    model: Model,
    messages: MessageConfig,
}

/// A question with everything that is decided before it is asked.
struct Asked<'a> {
    question: Question,
    /// What remembers the answer.
    once: Option<Once>,
    prompt: Prompt,
    model: &'a ModelName,
    /// Who answers if that model says nothing.
    fallback: Option<&'a ModelName>,
    /// The most that it can cost.
    bound: Amount,
}

impl Chats {
    /// Asks the configured models, and charges against the balances in `store`.
    ///
    /// # Errors
    /// Names the environment variable that is unusable.
    pub async fn start(store: Store) -> Result<Self, ConfigError> {
        let model = ModelConfig::from_env()?;
        Ok(Self {
            billing: Billing::new(store.clone(), BillingConfig::from_env()?),
            store,
            messages: MessageConfig::from_env(&model.served)?,
            model: Model::start(&model).await?,
        })
    }

    /// Answers a question, for its price; under an idempotency key once, however often it is asked for.
    ///
    /// # Errors
    /// The caller cannot pay, or the model or the table fails: nothing is charged.
    pub async fn send(
        &self,
        caller: &Caller,
        question: Question,
        now: Timestamp,
        listener: Listener<'_>,
    ) -> Result<Sent, Error> {
        let asked = self.prepare(caller, question).await?;
        match (&asked.once, &asked.question.repeats) {
            (Some(once), Repeats::Key(_)) => self.send_once(caller, &asked, once, now, listener).await,
            (Some(once), Repeats::Count(count)) => {
                if *count > 0
                    && let Some(before) = self.earlier(caller, once, now).await?
                {
                    return self.replay(caller, before).await;
                }
                let sent = self.ask(caller, &asked, now, listener).await;
                if sent.is_err()
                    && let Err(error) = self.store.forget_older(&caller.user, once, asked.question.id).await
                {
                    // Sent once more, it may be told what it was told before it asked again: an answer that was paid for.
                    tracing::warn!(?error, "what was answered earlier could not be forgotten");
                }
                sent
            }
            _ => self.ask(caller, &asked, now, listener).await,
        }
    }

    /// Answers what is asked under a key.
    async fn send_once(
        &self,
        caller: &Caller,
        asked: &Asked<'_>,
        once: &Once,
        now: Timestamp,
        listener: Listener<'_>,
    ) -> Result<Sent, Error> {
        // At the same time: whatever the look misses because it comes a moment too early, the settlement's own condition finds.
        let (placed, answered) = tokio::join!(
            self.billing.hold(caller, asked.bound, Some(once), now),
            self.billing.answered(&caller.user, once, now)
        );
        match (placed, answered) {
            (Ok(placed), Ok(None)) => {
                // Who hears the words as they come must not hear others than are stored. Nobody else can settle now: all calls under the key
                // share the hold.
                let answered = match &listener {
                    Listener::Nobody => Ok(None),
                    Listener::Somebody(_) => self.billing.answered(&caller.user, once, now).await,
                };
                match answered {
                    Ok(None) => self.answer(caller, placed, asked, now, listener).await,
                    Ok(Some(before)) => {
                        self.billing.release(&placed).await;
                        self.replay(caller, before).await
                    }
                    Err(error) => {
                        self.billing.release(&placed).await;
                        Err(error)
                    }
                }
            }
            (Ok(placed), Ok(Some(before))) => {
                self.billing.release(&placed).await;
                self.replay(caller, before).await
            }
            (Ok(placed), Err(error)) => {
                self.billing.release(&placed).await;
                Err(error)
            }
            // The account may be empty by now, or too busy for another message: what was paid for is told all the same. Whether the
            // caller may hear it is checked once more.
            (Err(_), Ok(Some(before))) => self.replay(caller, before).await,
            (
                Err(
                    error @ (Error::InsufficientTokens
                    | Error::ApiKeyCapReached
                    | Error::TooManyInFlight
                    | Error::Paced(_)),
                ),
                Ok(None),
            ) => {
                // The first call may have been settled after the look and before the hold, with the last of the balance or the cap.
                match self.billing.answered(&caller.user, once, now).await? {
                    Some(before) => self.replay(caller, before).await,
                    None => Err(error),
                }
            }
            (Err(error), Ok(None)) => Err(error),
            (Err(error), Err(mismatch)) => Err(match error {
                // Only who may call at all hears of the key.
                Error::InsufficientTokens
                | Error::ApiKeyCapReached
                | Error::TooManyInFlight
                | Error::Paced(_)
                | Error::IdempotencyInProgress
                | Error::IdempotencyMismatch => mismatch,
                other => other,
            }),
        }
    }

    /// Asks it as something new.
    async fn ask(
        &self,
        caller: &Caller,
        asked: &Asked<'_>,
        now: Timestamp,
        listener: Listener<'_>,
    ) -> Result<Sent, Error> {
        let placed = self.billing.hold(caller, asked.bound, asked.once.as_ref(), now).await?;
        self.answer(caller, placed, asked, now, listener).await
    }

    /// What was answered to a client that now sends the same once more, because the answer did not reach it. If that is still being
    /// answered, it is waited for.
    ///
    /// # Errors
    /// [`Error::IdempotencyInProgress`] if that takes longer than leaves time for another answer; as [`Store::read_user`].
    async fn earlier(&self, caller: &Caller, once: &Once, now: Timestamp) -> Result<Option<ChatId>, Error> {
        let mut waited = Duration::ZERO;
        let mut wait = Duration::from_millis(250);
        loop {
            // In this order: a settlement ends the hold and remembers the answer in the same moment, so one of the two is seen.
            let user = self.store.read_user(caller).await?;
            let answered = self.billing.answered(&caller.user, once, now).await?;
            // What is being answered is what the client waits for, if it was asked after what was answered.
            let since = answered.map_or(Timestamp::from_millis(0), ChatId::time);
            let mut holds = user.holds.iter();
            let in_progress = holds.any(|(id, hold)| {
                id.asks(&once.key) && !hold.void && hold.lease_until > now.plus(waited) && hold.placed_at > since
            });
            if !in_progress && (answered.is_some() || waited <= MOST_WAITED) {
                return Ok(answered);
            }
            if !in_progress || waited >= LONGEST_WAIT {
                return Err(Error::IdempotencyInProgress);
            }
            tokio::time::sleep(wait).await;
            waited += wait;
            wait = (wait * 2).min(Duration::from_secs(2));
        }
    }

    /// What was said before in the conversation that a question is asked in, as much of it as the deployment lets a model know.
    async fn context(&self, caller: &Caller, question: &Question) -> Result<Vec<Turn>, Error> {
        let Some(ConversationRef::Existing(id)) = question.conversation else {
            return Ok(Vec::new());
        };
        let budget = self.messages.context;
        let newest = self.store.read_context(caller, id, budget.most_chats()).await?;
        let turns = |chat: Chat| {
            [
                Turn::new(Speaker::User, chat.message),
                Turn::new(Speaker::Assistant, chat.response),
            ]
        };
        Ok(budget.newest_that_fit(newest).into_iter().flat_map(turns).collect())
    }

    /// A flat price buys an answer to one message and what a conversation would have told the model besides, no more.
    fn check_turns(&self, turns: &[Turn]) -> Result<(), Error> {
        if let Pricing::ByUsage(_) = self.messages.pricing {
            return Ok(());
        }
        let most = self
            .messages
            .max_chars
            .saturating_add(self.messages.context.tokens().saturating_mul(4));
        let chars: usize = turns.iter().map(|turn| turn.text.chars().count()).sum();
        if chars > most {
            let reason = format!("`messages` must be at most {most} characters long in all");
            return Err(Invalid::new("messages", reason).into());
        }
        Ok(())
    }

    async fn prepare(&self, caller: &Caller, mut question: Question) -> Result<Asked<'_>, Error> {
        if question.long {
            self.check_turns(&question.turns)?;
        } else {
            question.message.check_length(self.messages.max_chars)?;
        }
        let model = self.model.choose(question.model.as_ref())?;
        caller.may_use(model)?;
        let fallback = self.model.fallback_of(model);
        let fallback = fallback.filter(|other| caller.may_use(other).is_ok());
        let longest = self.model.max_output_tokens();
        if question.max_output_tokens.is_some_and(|wanted| wanted > longest) {
            let reason = format!("`max_tokens` is too large: an answer has at most {longest} tokens here");
            return Err(Invalid::new("max_tokens", reason).into());
        }
        let once = match &question.repeats {
            Repeats::Unsaid => None,
            Repeats::Key(key) => Some(Once {
                key: key.clone(),
                fingerprint: question.fingerprint(),
                scope: Scope::One,
            }),
            Repeats::Count(_) => {
                let fingerprint = question.fingerprint();
                Some(Once {
                    key: IdempotencyKey::of_question(&fingerprint),
                    fingerprint,
                    scope: Scope::Newest,
                })
            }
        };
        let context = self.context(caller, &question).await?;
        let system = self.messages.system_prompt.iter();
        let system = system.map(|text| Turn::new(Speaker::System, text.as_str()));
        let prompt = Prompt {
            turns: system.chain(context).chain(question.turns.drain(..)).collect(),
            max_output_tokens: question.max_output_tokens.unwrap_or(longest),
            sampling: std::mem::take(&mut question.sampling),
        };
        let candidates = std::iter::once(model).chain(fallback);
        let bound = self.messages.pricing.bound(&prompt, candidates);
        Ok(Asked {
            question,
            once,
            prompt,
            model,
            fallback,
            bound,
        })
    }

    async fn answer(
        &self,
        caller: &Caller,
        placed: PlacedHold,
        asked: &Asked<'_>,
        now: Timestamp,
        listener: Listener<'_>,
    ) -> Result<Sent, Error> {
        let (is_heard, mut nobody): (bool, fn(&str)) = (matches!(listener, Listener::Somebody(_)), |_| ());
        let heard: &mut dyn FnMut(&str) = match listener {
            Listener::Nobody => &mut nobody,
            Listener::Somebody(heard) => heard,
        };
        let answer = self
            .model
            .answer(asked.model, asked.fallback, &asked.prompt, heard)
            .await;
        // Who has heard nothing yet has no use for what a model did not finish, and does not pay for it.
        let answer = answer.and_then(|answer| match (answer.finish, is_heard) {
            (Finish::Interrupted, false) => Err(answer.broken.unwrap_or_else(Error::model_failed)),
            (Finish::ContentFilter, false) => Err(Error::ContentFiltered),
            _ => Ok(answer),
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.billing.release(&placed).await;
                return Err(error);
            }
        };
        let got = match answer.finish {
            Finish::Interrupted | Finish::ContentFilter => Got::Part,
            _ if answer.text.is_empty() => Got::Part,
            _ => Got::All,
        };
        let pricing = &self.messages.pricing;
        let held = placed.hold.cost;
        let cost = pricing.cost(&answer.model, &answer.usage, got, held);
        let too_much = held.saturating_sub(cost);
        let question = &asked.question;
        let begun = (question.conversation == Some(ConversationRef::New))
            .then(|| Conversation::beginning_with(question.message.as_str(), now));
        let chat = Chat {
            id: question.id,
            conversation: match question.conversation {
                Some(ConversationRef::Existing(id)) => Some(id),
                _ => begun.as_ref().map(|conversation| conversation.id),
            },
            message: question.message.as_str().to_owned(),
            response: answer.text,
            priced_as: (answer.called != answer.model.as_str()).then(|| answer.model.as_str().to_owned()),
            model: answer.called,
            finish: answer.finish,
            usage: Some(answer.usage),
            priced_by: pricing.version().map(str::to_owned),
            cost,
            balance_after: placed.user.balance.checked_add(too_much).unwrap_or(Amount::MAX),
            created_at: now,
        };
        let patience = if is_heard { PATIENCE } else { Duration::ZERO };
        // A part that costs nothing leaves its key free: whoever asks again gets a whole answer.
        let once = asked.once.as_ref().filter(|_| got == Got::All || cost > Amount::ZERO);
        let settled = self.billing.settle(&placed, &chat, begun.as_ref(), once, patience);
        match settled.await? {
            Some(before) => self.replay(caller, before).await,
            None => Ok(Sent::new(placed.user, chat, false)),
        }
    }

    /// The stored answer once more.
    async fn replay(&self, caller: &Caller, id: ChatId) -> Result<Sent, Error> {
        let (user, chat) = self.store.read_chat(caller, id).await?;
        Ok(Sent::new(user, chat, true))
    }
}

impl Sent {
    fn new(user: User, chat: Chat, replayed: bool) -> Self {
        Self {
            user: user.id,
            username: user.username,
            balance: chat.balance_after,
            chat,
            replayed,
        }
    }
}

impl ChatPage {
    /// The page, shortened to what fits an answer.
    pub(crate) fn new(user: UserId, size: PageSize, page: Page<Chat>, listing: Listing<'_>) -> Self {
        let Page { mut items, mut next } = page;
        let fitting = fitting(&items);
        if fitting < items.len() {
            items.truncate(fitting);
            next = items.last().map(|chat| Cursor::after(chat.id.to_string()));
        }
        Self {
            user,
            size,
            chats: items,
            next_cursor: next.map(|next| next.encode(listing)),
        }
    }
}

/// How many of these chats fit one answer: Lambda takes at most 6 MB, in which the body is JSON within JSON.
fn fitting(chats: &[Chat]) -> usize {
    const MAX_BYTES: usize = 5_000_000;
    // A control character is six characters of JSON, a quote or backslash two, and each backslash and quote of those is two again.
    let escaped = |byte: u8| match byte {
        0..0x20 => 7,
        b'"' | b'\\' => 4,
        _ => 1,
    };
    let size = |chat: &Chat| {
        chat.message
            .bytes()
            .chain(chat.response.bytes())
            .map(escaped)
            .sum::<usize>()
            + 500
    };
    let mut total = 0;
    let over = chats.iter().position(|chat| {
        total += size(chat);
        total > MAX_BYTES
    });
    // One chat always fits: a body of 64 KiB, with its answer.
    over.map_or(chats.len(), |over| over.max(1))
}

/// Reads chats.
#[derive(Debug)]
pub struct History {
    store: Store,
}

impl History {
    /// The chats in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of the caller's chats, newest first.
    ///
    /// # Errors
    /// A cursor of another listing; a caller whose claims no longer hold.
    pub async fn page(&self, caller: &Caller, cursor: Option<&str>, size: PageSize) -> Result<ChatPage, Error> {
        let listing = Listing::Chats(&caller.id);
        let after = cursor.map(|text| Cursor::decode(text, listing)).transpose()?;
        let page = self.store.list_chats(caller, after.as_ref(), size).await?;
        Ok(ChatPage::new(caller.id, size, page, listing))
    }

    /// One chat of the caller.
    ///
    /// # Errors
    /// [`Error::ChatNotFound`], also for other people's.
    pub async fn one(&self, caller: &Caller, id: ChatId) -> Result<Chat, Error> {
        self.store.read_chat(caller, id).await.map(|(_, chat)| chat)
    }
}
