//! `GET /api/v1/conversations/{id}`: a conversation of the caller with a page of its chats.

use shared::{
    Error,
    api::{self, Call, ConversationPageRequest, SignedIn},
    conversations::{Conversations, OneConversation},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::CONVERSATIONS_GET, async |store| Ok(Conversations::new(store)), get).await
}

async fn get(
    conversations: &Conversations,
    call: Call<SignedIn, ConversationPageRequest>,
) -> Result<OneConversation, Error> {
    let ConversationPageRequest { id, page } = call.input;
    conversations
        .one(&call.caller, id, page.cursor.as_deref(), page.size)
        .await
}
