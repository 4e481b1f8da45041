use serde::{Deserialize, Serialize};

use super::{
    ChatPageRequest, Done, Endpoint, Family, Input, Method, Outcome, Parameter, Parts, SignedIn, chats::ChatBody,
    users::required,
};
use crate::{
    conversations::{ConversationPage, OneConversation},
    domain::{Conversation, ConversationId, Title},
    error::Error,
};

/// `GET /api/v1/conversations`
pub const LIST: Endpoint<SignedIn, ChatPageRequest, ConversationPage> =
    Endpoint::new("conversations-list", Method::Get, &["/api/v1/conversations"], 200);
/// `GET /api/v1/conversations/{id}`
pub const GET: Endpoint<SignedIn, ConversationPageRequest, OneConversation> =
    Endpoint::new("conversations-get", Method::Get, &["/api/v1/conversations/{id}"], 200);
/// `PATCH /api/v1/conversations/{id}`
pub const UPDATE: Endpoint<SignedIn, RenameRequest, Conversation> = Endpoint::new(
    "conversations-update",
    Method::Patch,
    &["/api/v1/conversations/{id}"],
    200,
);
/// `DELETE /api/v1/conversations/{id}`
pub const DELETE: Endpoint<SignedIn, ConversationRequest, Done> = Endpoint::new(
    "conversations-delete",
    Method::Delete,
    &["/api/v1/conversations/{id}"],
    204,
);

/// The conversation that a path names. What is no id is the id of nothing.
fn id(parts: &Parts<'_>) -> Result<ConversationId, Error> {
    let id = parts.path.get("id").and_then(|id| id.parse().ok());
    id.ok_or(Error::ConversationNotFound)
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ConversationBody {
    id: String,
    title: Title,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    created_at: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    updated_at: String,
}

impl From<Conversation> for ConversationBody {
    fn from(conversation: Conversation) -> Self {
        Self {
            id: conversation.id.to_string(),
            created_at: conversation.created_at().to_string(),
            updated_at: conversation.updated_at.to_string(),
            title: conversation.title,
        }
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ConversationPageBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: Vec<ConversationBody>,
    next_cursor: Option<String>,
}

impl Outcome for ConversationPage {
    type Body = ConversationPageBody;

    fn render(self, _family: Family) -> ConversationPageBody {
        ConversationPageBody {
            status: "success",
            message: "Conversations",
            data: self.conversations.into_iter().map(ConversationBody::from).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// A page of what was said in a conversation.
#[derive(Debug)]
pub struct ConversationPageRequest {
    /// Which conversation.
    pub id: ConversationId,
    /// Which page.
    pub page: ChatPageRequest,
}

impl Input for ConversationPageRequest {
    type Body = ();
    const READS_BODY: bool = false;
    const QUERY: &'static [Parameter] = ChatPageRequest::QUERY;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: id(&parts)?,
            page: ChatPageRequest::of(&parts)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct OneConversationBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    conversation: ConversationBody,
    data: Vec<ChatBody>,
    next_cursor: Option<String>,
}

impl Outcome for OneConversation {
    type Body = OneConversationBody;

    fn render(self, _family: Family) -> OneConversationBody {
        OneConversationBody {
            status: "success",
            message: "Conversation",
            conversation: self.conversation.into(),
            data: self.chats.chats.into_iter().map(ChatBody::from).collect(),
            next_cursor: self.chats.next_cursor,
        }
    }
}

/// Another title for a conversation.
#[derive(Debug)]
pub struct RenameRequest {
    /// Which conversation.
    pub id: ConversationId,
    /// The title.
    pub title: Title,
}

/// Another title.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct RenameMembers {
    /// One line; white space around it is left out.
    #[cfg_attr(test, schemars(required, length(min = 1, max = Title::MAX_CHARS), regex(pattern = crate::domain::ONE_LINE)))]
    title: Option<String>,
}

impl Input for RenameRequest {
    type Body = RenameMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let id = id(&parts)?;
        let wire: RenameMembers = parts.body()?;
        Ok(Self {
            id,
            title: Title::parse(&required("title", wire.title, "Title is required")?)?,
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct RenamedBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    conversation: ConversationBody,
}

impl Outcome for Conversation {
    type Body = RenamedBody;

    fn render(self, _family: Family) -> RenamedBody {
        RenamedBody {
            status: "success",
            message: "Conversation renamed",
            conversation: self.into(),
        }
    }
}

/// Which conversation is meant.
#[derive(Debug)]
pub struct ConversationRequest {
    /// Its id.
    pub id: ConversationId,
}

impl Input for ConversationRequest {
    type Body = ();
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self { id: id(&parts)? })
    }
}
