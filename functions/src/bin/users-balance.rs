//! `GET /api/v1/users/token-balance`, `GET /api/tokens`, `GET /api/user/balance`, `GET /api/token-balance`: what the caller can spend.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Balance, Call, Nothing, SignedIn},
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
        api::USERS_BALANCE,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                accounts: Accounts::new(store),
            })
        },
        balance,
    )
    .await
}

async fn balance(app: &App, call: Call<SignedIn, Nothing>) -> Result<Balance, Error> {
    app.accounts.own(&call.caller, call.now).await.map(Balance)
}
