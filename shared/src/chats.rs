//! Chats: asking the model and looking back.

use crate::{
    billing::Billing,
    domain::{Amount, Caller, Chat, ChatId, Cursor, Listing, Message, PageSize, Timestamp, Username},
    error::Error,
    model::Model,
    store::{Page, Store},
};

/// A message that was answered and paid for.
#[derive(Debug)]
pub struct Sent {
    /// Who asked.
    pub username: Username,
    /// The message with its answer.
    pub chat: Chat,
    /// The balance after the charge.
    pub balance: Amount,
}

/// One page of a history.
#[derive(Debug)]
pub struct ChatPage {
    /// The chats, newest first.
    pub chats: Vec<Chat>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// Asks the model for callers who can pay.
#[derive(Debug)]
pub struct Conversation {
    billing: Billing,
    model: Model,
}

impl Conversation {
    /// Talks to `model`, charging through `billing`.
    pub fn new(billing: Billing, model: Model) -> Self {
        Self { billing, model }
    }

    /// Answers a message, for its price.
    ///
    /// # Errors
    /// The caller cannot pay, or the model or the table fails: nothing is charged.
    pub async fn send(&self, caller: &Caller, message: Message, now: Timestamp) -> Result<Sent, Error> {
        let placed = self.billing.hold(caller, now).await?;
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
        self.billing.settle(&placed, &chat).await?;
        Ok(Sent {
            username: placed.user.username,
            balance: placed.user.balance,
            chat,
        })
    }
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
        let Page { items, next } = self.store.list_chats(caller, after.as_ref(), size).await?;
        Ok(ChatPage {
            chats: items,
            next_cursor: next.map(|next| next.encode(listing)),
        })
    }

    /// One chat of the caller.
    ///
    /// # Errors
    /// [`Error::ChatNotFound`], also for other people's.
    pub async fn one(&self, caller: &Caller, id: ChatId) -> Result<Chat, Error> {
        self.store.read_chat(caller, id).await
    }
}
