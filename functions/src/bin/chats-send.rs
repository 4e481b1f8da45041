//! `POST /api/v1/chats`, `POST /api/chat`: send a message to the model, for its price.

use shared::{
    Error,
    api::{self, Call, SendRequest, SignedIn},
    chats::{Chats, Listener, Sent},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::CHATS_SEND, async |store| Ok(Chats::start(store).await?), send).await
}

async fn send(chats: &Chats, call: Call<SignedIn, SendRequest>) -> Result<Sent, Error> {
    chats
        .send(&call.caller, call.input.question, call.now, Listener::Nobody)
        .await
}
