//! `GET /api/v1/chats`, `GET /api/chat`: the chats of the caller, newest first, a page at a time.

use shared::{
    Error,
    api::{self, Call, ChatPageRequest, SignedIn},
    chats::{ChatPage, History},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::CHATS_LIST, async |store| Ok(History::new(store)), list).await
}

async fn list(history: &History, call: Call<SignedIn, ChatPageRequest>) -> Result<ChatPage, Error> {
    history
        .page(&call.caller, call.input.cursor.as_deref(), call.input.size)
        .await
}
