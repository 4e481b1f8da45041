//! `GET /api/v1/chats/{id}`: one chat of the caller.

use shared::{
    Error,
    api::{self, Call, ChatRequest, SignedIn},
    chats::History,
    config::{TableConfig, TokenConfig},
    domain::Chat,
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
        api::CHATS_GET,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                history: History::new(store),
            })
        },
        get,
    )
    .await
}

async fn get(app: &App, call: Call<SignedIn, ChatRequest>) -> Result<Chat, Error> {
    app.history.one(&call.caller, call.input.id).await
}
