//! `POST /api/v1/chats/stream`: send a message to the model, for its price, and hear the answer as it comes.

use shared::{
    Error,
    api::{self, Call, SignedIn, StreamRequest},
    chats::{Chats, Listener, Sent},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_streaming(api::CHATS_STREAM, async |store| Ok(Chats::start(store).await?), send).await
}

async fn send(chats: &Chats, call: Call<SignedIn, StreamRequest>, listener: Listener<'_>) -> Result<Sent, Error> {
    let StreamRequest(request) = call.input;
    chats.send(&call.caller, request.question, call.now, listener).await
}
