//! `POST /api/v1/token/refresh`, `POST /api/v1/users/refresh`: trade a refresh token for the next pair of its session.
//! `POST /api/token/refresh`: only for another access token.

use shared::{
    Error,
    api::{self, Call, Public, RefreshRequest, Refreshed},
    auth::Signer,
    config::{PacingConfig, SigningConfig, TableConfig, TokenConfig},
    lambda::{self, BoxError},
    pacing::Gate,
    sessions::{Authenticator, Sessions},
    store::Store,
};

struct App {
    gate: Gate,
    authenticator: Authenticator,
    sessions: Sessions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::TOKEN_REFRESH,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?);
            let signer = Signer::new(&SigningConfig::from_env()?.seed, TokenConfig::from_env()?)?;
            // Published before the keys are loaded, so that this function knows its own from the start.
            let sessions = Sessions::start(store.clone(), signer, now).await;
            let authenticator = Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await;
            Ok(App {
                gate: Gate::new(store, "REFRESH", PacingConfig::of_refreshes()?),
                authenticator,
                sessions,
            })
        },
        refresh,
    )
    .await
}

async fn refresh(app: &App, call: Call<Public, RefreshRequest>) -> Result<Refreshed, Error> {
    // What is no refresh token is refused without the table, so it needs no pace.
    let grant = app.authenticator.refresh_grant(&call.input.refresh, call.now).await?;
    app.gate.pass(&call.network, call.now).await?;
    if !call.input.rotates {
        let access = app.sessions.renew(&grant, call.now).await?;
        return Ok(Refreshed { access, refresh: None });
    }
    let pair = app.sessions.rotate(&grant, call.now).await?;
    Ok(Refreshed {
        access: pair.access,
        refresh: Some(pair.refresh),
    })
}
