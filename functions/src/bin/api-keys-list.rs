//! `GET /api/v1/api-keys`: the API keys of the caller.

use shared::{
    Error,
    api::{self, ApiKeyList, Call, Nothing, SignedIn},
    api_keys::ApiKeys,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::API_KEYS_LIST, async |store| Ok(ApiKeys::new(store)), list).await
}

async fn list(keys: &ApiKeys, call: Call<SignedIn, Nothing>) -> Result<ApiKeyList, Error> {
    keys.list(&call.caller).await.map(ApiKeyList)
}
