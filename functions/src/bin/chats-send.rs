//! `POST /api/v1/chats`, `POST /api/chat`: send a message to the model, for its price.

use shared::{
    Error,
    api::{self, Call, SendRequest, SignedIn},
    billing::Billing,
    chats::{Conversation, Sent},
    config::{BillingConfig, MessageConfig, ModelConfig},
    lambda::{self, BoxError},
    model::Model,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::CHATS_SEND,
        |store| {
            Ok(Conversation::new(
                store.clone(),
                Billing::new(store, BillingConfig::from_env()?),
                Model::new(&ModelConfig::from_env()?),
                MessageConfig::from_env()?,
            ))
        },
        send,
    )
    .await
}

async fn send(conversation: &Conversation, call: Call<SignedIn, SendRequest>) -> Result<Sent, Error> {
    let SendRequest {
        message,
        idempotency_key,
    } = call.input;
    conversation
        .send(&call.caller, message, idempotency_key, call.now)
        .await
}
