//! `POST /api/v1/chats`, `POST /api/chat`: send a message to the model, for its price.

use shared::{
    Error,
    api::{self, Call, SendRequest, SignedIn},
    billing::Billing,
    chats::{Conversation, Sent},
    config::{BillingConfig, MessageConfig, ModelConfig, TableConfig, TokenConfig},
    lambda::{self, BoxError},
    model::Model,
    sessions::Authenticator,
    store::Store,
};

struct App {
    authenticator: Authenticator,
    conversation: Conversation,
}

impl AsRef<Authenticator> for App {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::CHATS_SEND,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            let billing = Billing::new(store.clone(), BillingConfig::from_env()?);
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                conversation: Conversation::new(
                    store,
                    billing,
                    Model::new(&ModelConfig::from_env()?),
                    MessageConfig::from_env()?,
                ),
            })
        },
        send,
    )
    .await
}

async fn send(app: &App, call: Call<SignedIn, SendRequest>) -> Result<Sent, Error> {
    let SendRequest {
        message,
        idempotency_key,
    } = call.input;
    app.conversation
        .send(&call.caller, message, idempotency_key, call.now)
        .await
}
