//! `POST /api/v1/api-keys`: make an API key, which is shown only now.

use shared::{
    Error,
    api::{self, Call, CreateApiKeyRequest, Owner},
    api_keys::{ApiKeys, MadeApiKey},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::API_KEYS_CREATE, async |store| Ok(ApiKeys::new(store)), create).await
}

async fn create(keys: &ApiKeys, call: Call<Owner, CreateApiKeyRequest>) -> Result<MadeApiKey, Error> {
    keys.make(&call.caller, call.input.new, call.now).await
}
