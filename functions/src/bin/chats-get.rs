//! `GET /api/v1/chats/{id}`: one chat of the caller.

use shared::{
    Error,
    api::{self, Call, ChatRequest, SignedIn},
    chats::History,
    domain::Chat,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::CHATS_GET, async |store| Ok(History::new(store)), get).await
}

async fn get(history: &History, call: Call<SignedIn, ChatRequest>) -> Result<Chat, Error> {
    history.one(&call.caller, call.input.id).await
}
