//! `GET /.well-known/jwks.json`: the keys that access tokens can be verified with.

use shared::{
    Error,
    api::{self, Call, KeySet, Nothing, Public},
    config::TableConfig,
    lambda::{self, BoxError},
    store::Store,
};

struct App {
    store: Store,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::KEYS_LIST,
        async |_now| {
            Ok(App {
                store: Store::connect(&TableConfig::from_env()?),
            })
        },
        list,
    )
    .await
}

async fn list(app: &App, call: Call<Public, Nothing>) -> Result<KeySet, Error> {
    app.store.published_keys(call.now).await.map(KeySet)
}
