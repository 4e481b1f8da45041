//! `POST /api/v1/users/password`: another password, and the end of every session.

use shared::{
    Error,
    accounts::Registrar,
    api::{self, Call, Done, PasswordRequest, SignedIn},
    config::{AccountConfig, TableConfig, TokenConfig},
    lambda::{self, BoxError},
    sessions::Authenticator,
    store::Store,
};

struct App {
    authenticator: Authenticator,
    registrar: Registrar,
}

impl AsRef<Authenticator> for App {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_PASSWORD,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                registrar: Registrar::new(store, AccountConfig::from_env()?),
            })
        },
        change,
    )
    .await
}

async fn change(app: &App, call: Call<SignedIn, PasswordRequest>) -> Result<Done, Error> {
    let PasswordRequest { old, new } = call.input;
    app.registrar
        .change_password(&call.caller, &old, new, &call.network, call.now)
        .await?;
    Ok(Done)
}
