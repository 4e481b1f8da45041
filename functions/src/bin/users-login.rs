//! `POST /api/v1/users/login`: trade a username and password for a token pair.

use shared::{
    Error,
    accounts::{Accounts, Credentials},
    api::{self, Call, LoggedIn, Public},
    auth::Signer,
    config::{SigningConfig, TableConfig, TokenConfig},
    lambda::{self, BoxError},
    sessions::Sessions,
    store::Store,
};

struct App {
    accounts: Accounts,
    sessions: Sessions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_LOGIN,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            let signer = Signer::new(&SigningConfig::from_env()?.seed, TokenConfig::from_env()?)?;
            Ok(App {
                accounts: Accounts::new(store.clone()),
                sessions: Sessions::start(store, signer, now).await,
            })
        },
        login,
    )
    .await
}

async fn login(app: &App, call: Call<Public, Credentials>) -> Result<LoggedIn, Error> {
    let authenticated = app.accounts.authenticate(call.input).await?;
    Ok(LoggedIn {
        username: authenticated.user.username.clone(),
        tokens: app.sessions.open(authenticated, call.now).await?,
    })
}
