//! `GET /api/v1/conversations`: a page of the caller's conversations.

use shared::{
    Error,
    api::{self, Call, ChatPageRequest, SignedIn},
    conversations::{ConversationPage, Conversations},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::CONVERSATIONS_LIST,
        async |store| Ok(Conversations::new(store)),
        list,
    )
    .await
}

async fn list(conversations: &Conversations, call: Call<SignedIn, ChatPageRequest>) -> Result<ConversationPage, Error> {
    let ChatPageRequest { cursor, size } = call.input;
    conversations.list(&call.caller, cursor.as_deref(), size).await
}
