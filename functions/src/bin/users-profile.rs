//! `GET /api/v1/users/me`, `GET /api/user/profile`: the account of the caller.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Call, Nothing, Profile, SignedIn},
    config::{TableConfig, TokenConfig},
    lambda::{self, BoxError},
    sessions::Authenticator,
    store::Store,
};

struct App {
    authenticator: Authenticator,
    accounts: Accounts,
}

impl AsRef<Authenticator> for App {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_PROFILE,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                accounts: Accounts::new(store),
            })
        },
        profile,
    )
    .await
}

async fn profile(app: &App, call: Call<SignedIn, Nothing>) -> Result<Profile, Error> {
    app.accounts.own(&call.caller, call.now).await.map(Profile)
}
