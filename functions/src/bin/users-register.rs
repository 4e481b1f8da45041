//! `POST /api/v1/users`, `POST /api/register`: open an account with the sign-up grant on its balance.

use shared::{
    Error,
    accounts::Registrar,
    api::{self, Call, Public, RegisterRequest, Registered},
    auth::Signer,
    config::{AccountConfig, PacingConfig, SigningConfig, TableConfig, TokenConfig},
    lambda::{self, BoxError},
    pacing::Gate,
    sessions::Sessions,
    store::Store,
};

struct App {
    gate: Gate,
    registrar: Registrar,
    sessions: Sessions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_REGISTER,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?);
            let signer = Signer::new(&SigningConfig::from_env()?.seed, TokenConfig::from_env()?)?;
            Ok(App {
                gate: Gate::new(store.clone(), "SIGNUP", PacingConfig::of_signups()?),
                registrar: Registrar::new(store.clone(), AccountConfig::from_env()?),
                sessions: Sessions::start(store, signer, now).await,
            })
        },
        register,
    )
    .await
}

async fn register(app: &App, call: Call<Public, RegisterRequest>) -> Result<Registered, Error> {
    app.gate.pass(&call.network, call.now).await?;
    let mut user = app.registrar.prepare(call.input.account, call.now).await?;
    let opened = if call.input.signs_in {
        Some(app.sessions.open_first(&mut user, call.now).await?)
    } else {
        None
    };
    app.registrar.open(&user).await?;
    Ok(Registered { user, opened })
}
