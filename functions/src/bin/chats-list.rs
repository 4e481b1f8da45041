//! `GET /api/v1/chats`, `GET /api/chat`: the chats of the caller, newest first, a page at a time.

use shared::{
    Error,
    api::{self, Call, ChatPageRequest, SignedIn},
    chats::{ChatPage, History},
    config::{TableConfig, TokenConfig},
    lambda::{self, BoxError},
    sessions::Authenticator,
    store::Store,
};

struct App {
    authenticator: Authenticator,
    history: History,
}

impl AsRef<Authenticator> for App {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::CHATS_LIST,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                history: History::new(store),
            })
        },
        list,
    )
    .await
}

async fn list(app: &App, call: Call<SignedIn, ChatPageRequest>) -> Result<ChatPage, Error> {
    app.history
        .page(&call.caller, call.input.cursor.as_deref(), call.input.size)
        .await
}
