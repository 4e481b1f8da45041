//! Chats: asking the model and looking back.

use crate::{
    billing::Billing,
    config::MessageConfig,
    domain::{
        Amount, Caller, Chat, ChatId, Cursor, Fingerprint, IdempotencyKey, Listing, Message, Once, PageSize, Timestamp,
        User, UserId, Username,
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

/// Asks the model for callers who can pay.
#[derive(Debug)]
pub struct Conversation {
    store: Store,
    billing: Billing,
    model: Model,
    messages: MessageConfig,
}

impl Conversation {
    /// Talks to `model`, charging through `billing`, which has the same `store`.
    pub fn new(store: Store, billing: Billing, model: Model, messages: MessageConfig) -> Self {
        Self {
            store,
            billing,
            model,
            messages,
        }
    }

    /// Answers a message, for its price; under an idempotency key once, however often it is asked for.
    ///
    /// # Errors
    /// The caller cannot pay, or the model or the table fails: nothing is charged.
    pub async fn send(
        &self,
        caller: &Caller,
        message: Message,
        key: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Sent, Error> {
        message.check_length(self.messages.max_chars)?;
        let Some(key) = key else {
            let placed = self.billing.hold(caller, None, now).await?;
            return self.answer(caller, placed, message, None, now).await;
        };
        let once = Once {
            key,
            fingerprint: Fingerprint::of(&["chat", message.as_str()]),
        };
        // At the same time: whatever the look misses because it comes a moment too early, the settlement's own condition finds.
        let (placed, answered) = tokio::join!(
            self.billing.hold(caller, Some(&once), now),
            self.billing.answered(&caller.user, &once, now)
        );
        match (placed, answered) {
            (Ok(placed), Ok(None)) => self.answer(caller, placed, message, Some(&once), now).await,
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
            (Err(error @ (Error::InsufficientTokens | Error::TooManyInFlight | Error::Paced(_))), Ok(None)) => {
                // The first call may have been settled after the look and before the hold, with the last of the balance.
                match self.billing.answered(&caller.user, &once, now).await? {
                    Some(before) => self.replay(caller, before).await,
                    None => Err(error),
                }
            }
            (Err(error), Ok(None)) => Err(error),
            (Err(error), Err(mismatch)) => Err(match error {
                // Only who may call at all hears of the key.
                Error::InsufficientTokens
                | Error::TooManyInFlight
                | Error::Paced(_)
                | Error::IdempotencyInProgress
                | Error::IdempotencyMismatch => mismatch,
                other => other,
            }),
        }
    }

    async fn answer(
        &self,
        caller: &Caller,
        placed: PlacedHold,
        message: Message,
        once: Option<&Once>,
        now: Timestamp,
    ) -> Result<Sent, Error> {
        let answer = match self.model.answer(&message).await {
            Ok(answer) => answer,
            Err(error) => {
                self.billing.release(&placed).await;
                return Err(error);
            }
        };
        let chat = Chat {
            id: ChatId::new(now),
            message: message.into_string(),
            response: answer.text,
            model: answer.model,
            cost: placed.hold.cost,
            balance_after: placed.user.balance,
            created_at: now,
        };
        match self.billing.settle(&placed, &chat, once).await? {
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
