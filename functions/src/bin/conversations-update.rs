//! `PATCH /api/v1/conversations/{id}`: give a conversation another title.

use shared::{
    Error,
    api::{self, Call, RenameRequest, SignedIn},
    conversations::Conversations,
    domain::Conversation,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::CONVERSATIONS_UPDATE,
        async |store| Ok(Conversations::new(store)),
        rename,
    )
    .await
}

async fn rename(conversations: &Conversations, call: Call<SignedIn, RenameRequest>) -> Result<Conversation, Error> {
    let RenameRequest { id, title } = call.input;
    conversations.rename(&call.caller, id, title, call.now).await
}
