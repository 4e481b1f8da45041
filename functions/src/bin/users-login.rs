//! `POST /api/v1/users/login`, `POST /api/login`, `POST /api/token`: trade a username and password for a token pair.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Call, LoggedIn, LoginRequest, Public},
    auth::Signer,
    config::{PacingConfig, SigningConfig, TableConfig, TokenConfig},
    lambda::{self, BoxError},
    pacing::Gate,
    sessions::Sessions,
    store::Store,
};

struct App {
    gate: Gate,
    accounts: Accounts,
    sessions: Sessions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_LOGIN,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?);
            let signer = Signer::new(&SigningConfig::from_env()?.seed, TokenConfig::from_env()?)?;
            Ok(App {
                gate: Gate::new(store.clone(), "LOGIN", PacingConfig::of_logins()?),
                accounts: Accounts::new(store.clone()),
                sessions: Sessions::start(store, signer, now).await,
            })
        },
        login,
    )
    .await
}

async fn login(app: &App, call: Call<Public, LoginRequest>) -> Result<LoggedIn, Error> {
    app.gate.pass(&call.network, call.now).await?;
    let LoginRequest { credentials, wants_key } = call.input;
    let authenticated = app.accounts.authenticate(credentials, call.network, call.now).await?;
    Ok(LoggedIn {
        username: authenticated.user.username.clone(),
        opened: app.sessions.open(authenticated, wants_key, call.now).await?,
    })
}
