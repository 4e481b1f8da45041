//! `POST /v1/chat/completions`: an answer for clients of OpenAI's API, for its price, as a document or as it comes.

use shared::{
    Error,
    api::{self, Call, Completion, CompletionRequest, SignedIn},
    chats::{Chats, Listener},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_streaming(
        api::COMPLETIONS_CREATE,
        async |store| Ok(Chats::start(store).await?),
        create,
    )
    .await
}

async fn create(
    chats: &Chats,
    call: Call<SignedIn, CompletionRequest>,
    listener: Listener<'_>,
) -> Result<Completion, Error> {
    let sent = chats.send(&call.caller, call.input.question, call.now, listener).await;
    sent.map(Completion)
}
