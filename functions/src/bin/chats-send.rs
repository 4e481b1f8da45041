//! `POST /api/v1/chats`, `POST /api/chat`: send a message to the model, for its price.

use shared::{
    Error,
    api::{self, Call, SendRequest, SignedIn},
    chats::{Chats, Listener, Sent},
    config::{BillingConfig, MessageConfig, ModelConfig},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::CHATS_SEND,
        |store| {
            let model = ModelConfig::from_env()?;
            let messages = MessageConfig::from_env(&model.served)?;
            Ok(Chats::new(store, BillingConfig::from_env()?, &model, messages))
        },
        send,
    )
    .await
}

async fn send(chats: &Chats, call: Call<SignedIn, SendRequest>) -> Result<Sent, Error> {
    chats
        .send(&call.caller, call.input.question, call.now, Listener::Nobody)
        .await
}
