//! `DELETE /api/v1/conversations/{id}`: delete a conversation and everything that was said in it.

use shared::{
    Error,
    api::{self, Call, ConversationRequest, Done, SignedIn},
    conversations::Conversations,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::CONVERSATIONS_DELETE,
        async |store| Ok(Conversations::new(store)),
        delete,
    )
    .await
}

async fn delete(conversations: &Conversations, call: Call<SignedIn, ConversationRequest>) -> Result<Done, Error> {
    conversations.delete(&call.caller, call.input.id, call.now).await?;
    Ok(Done)
}
