//! `GET /v1/models`: the models that the caller may ask, for clients of OpenAI's API.

use shared::{
    Error,
    api::{self, Call, Nothing, SignedIn},
    chats::{Catalogue, Models},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::MODELS_LIST, async |store| Ok(Catalogue::start(store)?), list).await
}

async fn list(catalogue: &Catalogue, call: Call<SignedIn, Nothing>) -> Result<Models, Error> {
    catalogue.of(&call.caller).await
}
