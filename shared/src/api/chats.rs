use serde::{Deserialize, Serialize};

use super::{Endpoint, Input, Method, Outcome, Parts, SignedIn};
use crate::{
    chats::{ChatPage, Sent},
    domain::{Amount, Chat, ChatId, Message, PageSize, Username},
    error::Error,
};

/// `POST /api/v1/chats`
pub const SEND: Endpoint<SignedIn, Message, Sent> = Endpoint::new("chats-send", Method::Post, &["/api/v1/chats"], 200);
/// `GET /api/v1/chats`
pub const LIST: Endpoint<SignedIn, ChatPageRequest, ChatPage> =
    Endpoint::new("chats-list", Method::Get, &["/api/v1/chats"], 200);
/// `GET /api/v1/chats/{id}`
pub const GET: Endpoint<SignedIn, ChatRequest, Chat> =
    Endpoint::new("chats-get", Method::Get, &["/api/v1/chats/{id}"], 200);

impl Input for Message {
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Wire {
            message: Option<String>,
        }
        let wire: Wire = parts.body()?;
        Ok(Self::parse(wire.message.unwrap_or_default())?)
    }
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct SentBody {
    status: &'static str,
    message: &'static str,
    user_account: Username,
    chat: ChatBody,
    token_balance: Amount,
}

/// A chat on the wire.
#[derive(Debug, Serialize)]
struct ChatBody {
    id: String,
    message: String,
    response: String,
    timestamp: String,
    model: String,
    cost: Amount,
}

impl From<Chat> for ChatBody {
    fn from(chat: Chat) -> Self {
        Self {
            id: chat.id.to_string(),
            message: chat.message,
            response: chat.response,
            timestamp: chat.created_at.to_string(),
            model: chat.model,
            cost: chat.cost,
        }
    }
}

impl Outcome for Sent {
    type Body = SentBody;

    fn render(self) -> SentBody {
        SentBody {
            status: "success",
            message: "New Chats record",
            user_account: self.username,
            chat: self.chat.into(),
            token_balance: self.balance,
        }
    }
}

/// Which page of the caller's chats is wanted.
#[derive(Debug)]
pub struct ChatPageRequest {
    /// Where it starts, as the page before told.
    pub cursor: Option<String>,
    /// How long it may be: up to 100, 50 by default.
    pub size: PageSize,
}

impl Input for ChatPageRequest {
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            cursor: parts.query("cursor")?.map(str::to_owned),
            size: PageSize::parse::<100>(parts.query("limit")?, 50)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct ChatPageBody {
    status: &'static str,
    message: &'static str,
    data: Vec<ChatBody>,
    next_cursor: Option<String>,
}

impl Outcome for ChatPage {
    type Body = ChatPageBody;

    fn render(self) -> ChatPageBody {
        ChatPageBody {
            status: "success",
            message: "Chat history",
            data: self.chats.into_iter().map(ChatBody::from).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// Which chat is wanted.
#[derive(Debug)]
pub struct ChatRequest {
    /// Its id.
    pub id: ChatId,
}

impl Input for ChatRequest {
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        // What is no id is the id of nothing.
        let id = parts.path.get("id").and_then(|id| id.parse().ok());
        Ok(Self {
            id: id.ok_or(Error::ChatNotFound)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[doc(hidden)]
pub struct OneChatBody {
    status: &'static str,
    message: &'static str,
    chat: ChatBody,
}

impl Outcome for Chat {
    type Body = OneChatBody;

    fn render(self) -> OneChatBody {
        OneChatBody {
            status: "success",
            message: "Chat record",
            chat: self.into(),
        }
    }
}
