//! `DELETE /api/v1/api-keys/{id}`: end an API key of the caller.

use shared::{
    Error,
    api::{self, Call, Done, Owner, RevokeApiKeyRequest},
    api_keys::ApiKeys,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::API_KEYS_REVOKE, async |store| Ok(ApiKeys::new(store)), revoke).await
}

async fn revoke(keys: &ApiKeys, call: Call<Owner, RevokeApiKeyRequest>) -> Result<Done, Error> {
    keys.revoke(&call.caller, &call.input.id).await?;
    Ok(Done)
}
