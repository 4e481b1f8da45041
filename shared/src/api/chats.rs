use serde::{Deserialize, Serialize};

use super::{
    ByFamily, Endpoint, Event, Events, Family, Input, Method, Outcome, PageLimit, Parameter, Parts, Scheme, SignedIn,
    Streamed, Wording,
};
#[cfg(test)]
use crate::domain::Finish;
use crate::{
    chats::{ChatPage, Question, Sent},
    domain::{Amount, Chat, ChatId, ConversationRef, Message, PageSize, Timestamp, Usage, Username},
    error::Error,
};

/// `POST /api/v1/chats`, `POST /api/chat`
pub const SEND: Endpoint<SignedIn, SendRequest, Sent> =
    Endpoint::new("chats-send", Method::Post, &["/api/v1/chats", "/api/chat"], 200).with_wordings(&[Wording {
        path: "/api/chat",
        // Two older systems share this path: the one with access tokens says 400, the one with keys says 402.
        scheme: Some(Scheme::Bearer),
        code: "insufficient_tokens",
        status: 400,
        text: "Insufficient tokens",
        also: None,
    }]);
/// `POST /api/v1/chats/stream`
pub const STREAM: Endpoint<SignedIn, StreamRequest, Sent> =
    Endpoint::new("chats-stream", Method::Post, &["/api/v1/chats/stream"], 200).streaming();
/// `GET /api/v1/chats`, `GET /api/chat`
pub const LIST: Endpoint<SignedIn, ChatPageRequest, ChatPage> =
    Endpoint::new("chats-list", Method::Get, &["/api/v1/chats", "/api/chat"], 200);
/// `GET /api/v1/chats/{id}`
pub const GET: Endpoint<SignedIn, ChatRequest, Chat> =
    Endpoint::new("chats-get", Method::Get, &["/api/v1/chats/{id}"], 200);

/// A message to the model.
#[derive(Debug)]
pub struct SendRequest {
    /// What is asked.
    pub question: Question,
}

/// A message.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct SendMembers {
    /// What to say to the model: not only white space.
    #[cfg_attr(test, schemars(required, length(min = 1, max = Message::DEFAULT_MAX_CHARS), regex(pattern = r"\S")))]
    message: Option<String>,
    /// The conversation that it belongs to; `new` for a new one. Without it the message is answered by itself.
    conversation_id: Option<String>,
}

/// A message of a client that knows no conversations.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicSendMembers {
    /// What to say to the model: not only white space.
    #[cfg_attr(test, schemars(required, length(min = 1, max = Message::DEFAULT_MAX_CHARS), regex(pattern = r"\S")))]
    message: Option<String>,
}

impl Input for SendRequest {
    type Body = ByFamily<SendMembers, ClassicSendMembers>;
    const READS_BODY: bool = true;
    const TAKES_KEY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let (idempotency_key, now) = (parts.idempotency_key()?, parts.now);
        let wire = match parts.family {
            Family::V1 | Family::OpenAi => parts.body()?,
            // To clients of the older systems a conversation is one of the members that mean nothing.
            Family::Classic => {
                let ClassicSendMembers { message } = parts.body()?;
                let conversation_id = None;
                SendMembers {
                    message,
                    conversation_id,
                }
            }
        };
        let message = Message::parse(wire.message.unwrap_or_default())?;
        let conversation = wire.conversation_id.map(|text| ConversationRef::parse(&text));
        // What is no id is the id of nothing.
        let conversation = conversation
            .map(|conversation| conversation.ok_or(Error::ConversationNotFound))
            .transpose()?;
        Ok(Self {
            question: Question {
                conversation,
                ..Question::of(message, idempotency_key, now)
            },
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct SentBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    user_account: Username,
    chat: ChatBody,
    token_balance: Amount,
}

/// A chat on the wire.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ChatBody {
    id: String,
    message: String,
    response: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    timestamp: String,
    model: String,
    #[cfg_attr(test, schemars(with = "Finish"))]
    finish_reason: &'static str,
    usage: Option<UsageBody>,
    cost: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
}

/// What a model read and wrote, in its own tokens.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct UsageBody {
    input_tokens: u64,
    cached_input_tokens: u64,
    output_tokens: u64,
    /// Whether it is counted from the length of the texts, because the provider did not say.
    estimated: bool,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input,
            cached_input_tokens: usage.cached_input,
            output_tokens: usage.output,
            estimated: usage.estimated,
        }
    }
}

impl From<Chat> for ChatBody {
    fn from(chat: Chat) -> Self {
        Self {
            id: chat.id.to_string(),
            message: chat.message,
            response: chat.response,
            timestamp: chat.created_at.to_string(),
            model: chat.model,
            finish_reason: chat.finish.as_str(),
            usage: chat.usage.map(UsageBody::from),
            cost: chat.cost,
            conversation_id: chat.conversation.map(|id| id.to_string()),
        }
    }
}

/// A chat as classic clients read it, where `user` is the id of whose it is.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicChatBody {
    user: String,
    #[serde(flatten)]
    chat: ChatBody,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ClassicSentBody {
    #[serde(flatten)]
    chat: ClassicChatBody,
    remaining_tokens: Amount,
}

impl Outcome for Sent {
    type Body = ByFamily<SentBody, ClassicSentBody>;

    fn headers(&self, _family: Family) -> Vec<(&'static str, String)> {
        super::replayed(self.replayed)
    }

    fn render(self, family: Family) -> Self::Body {
        match family {
            Family::V1 | Family::OpenAi => ByFamily::V1(SentBody {
                status: "success",
                message: "New Chats record",
                user_account: self.username,
                chat: self.chat.into(),
                token_balance: self.balance,
            }),
            Family::Classic => ByFamily::Classic(ClassicSentBody {
                chat: ClassicChatBody {
                    user: self.user.to_string(),
                    chat: self.chat.into(),
                },
                remaining_tokens: self.balance,
            }),
        }
    }
}

/// A message to the model whose answer is told as it comes: as `message` events with the next words in `delta`, then either `done` with
/// the chat, its cost and the balance, or `error` with what an error's body says.
#[derive(Debug)]
pub struct StreamRequest(pub SendRequest);

impl Input for StreamRequest {
    type Body = <SendRequest as Input>::Body;
    const READS_BODY: bool = true;
    const TAKES_KEY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        SendRequest::read(parts).map(Self)
    }
}

impl Streamed<Sent> for StreamRequest {
    type Events = ChatEvents;

    fn events(&self, _now: Timestamp) -> Option<ChatEvents> {
        Some(ChatEvents::default())
    }
}

/// The events of an answer.
#[derive(Debug, Default)]
pub struct ChatEvents {
    begun: bool,
}

/// The next words.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DeltaBody<'a> {
    delta: &'a str,
}

/// The end of an answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DoneBody {
    chat: ToldChatBody,
    token_balance: Amount,
    replayed: bool,
}

/// A chat without its texts, which the client knows by then.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ToldChatBody {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    timestamp: String,
    model: String,
    #[cfg_attr(test, schemars(with = "Finish"))]
    finish_reason: &'static str,
    usage: Option<UsageBody>,
    cost: Amount,
}

impl ChatEvents {
    fn event(name: &'static str, data: impl Serialize) -> Vec<Event> {
        let data = serde_json::to_string(&data).unwrap_or_default();
        let name = Some(name);
        vec![Event { name, data }]
    }
}

impl Events<Sent> for ChatEvents {
    fn delta(&mut self, text: &str) -> Vec<Event> {
        self.begun = true;
        Self::event("message", DeltaBody { delta: text })
    }

    fn done(&mut self, sent: Sent) -> Vec<Event> {
        let mut events = if self.begun {
            Vec::new()
        } else {
            self.delta(&sent.chat.response)
        };
        let Sent {
            chat,
            balance,
            replayed,
            ..
        } = sent;
        events.extend(Self::event(
            "done",
            DoneBody {
                chat: ToldChatBody {
                    id: chat.id.to_string(),
                    conversation_id: chat.conversation.map(|id| id.to_string()),
                    timestamp: chat.created_at.to_string(),
                    model: chat.model,
                    finish_reason: chat.finish.as_str(),
                    usage: chat.usage.map(UsageBody::from),
                    cost: chat.cost,
                },
                token_balance: balance,
                replayed,
            },
        ));
        events
    }

    fn failed(&mut self, envelope: serde_json::Value) -> Vec<Event> {
        Self::event("error", envelope)
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

impl ChatPageRequest {
    pub(super) const SIZE: PageLimit = PageLimit { most: 100, usual: 50 };
    pub(super) const QUERY: &'static [Parameter] = &[Parameter::Limit(Self::SIZE), Parameter::Cursor];

    pub(super) fn of(parts: &Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            cursor: parts.query("cursor")?.map(str::to_owned),
            size: parts.page_size(Self::SIZE)?,
        })
    }
}

impl Input for ChatPageRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = Self::QUERY;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Self::of(&parts)
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ChatPageBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: Vec<ChatBody>,
    next_cursor: Option<String>,
}

impl Outcome for ChatPage {
    type Body = ByFamily<ChatPageBody, Vec<ClassicChatBody>>;

    /// A bare array has no room for a cursor, so it is in a `Link` (RFC 8288). The reference is relative to the request (RFC 3986 section
    /// 4.2): it holds behind any host and stage.
    fn headers(&self, family: Family) -> Vec<(&'static str, String)> {
        match (&self.next_cursor, family) {
            (Some(cursor), Family::Classic) => {
                let link = format!("<?limit={}&cursor={cursor}>; rel=\"next\"", self.size.get());
                vec![("link", link)]
            }
            _ => Vec::new(),
        }
    }

    fn render(self, family: Family) -> Self::Body {
        let chats = self.chats.into_iter().map(ChatBody::from);
        match family {
            Family::V1 | Family::OpenAi => ByFamily::V1(ChatPageBody {
                status: "success",
                message: "Chat history",
                data: chats.collect(),
                next_cursor: self.next_cursor,
            }),
            Family::Classic => {
                let user = self.user.to_string();
                let body = |chat| ClassicChatBody {
                    user: user.clone(),
                    chat,
                };
                ByFamily::Classic(chats.map(body).collect())
            }
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
    type Body = ();
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct OneChatBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    chat: ChatBody,
}

impl Outcome for Chat {
    type Body = OneChatBody;

    fn render(self, _family: Family) -> OneChatBody {
        OneChatBody {
            status: "success",
            message: "Chat record",
            chat: self.into(),
        }
    }
}
