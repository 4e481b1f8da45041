//! `POST /api/v1/users/logout`: end the session of a refresh token.

use shared::{
    Error,
    api::{self, Call, LoggedOut, LogoutRequest, SignedIn},
    config::{TableConfig, TokenConfig},
    lambda::{self, BoxError},
    sessions::{Authenticator, Logout},
    store::Store,
};

struct App {
    authenticator: Authenticator,
    logout: Logout,
}

impl AsRef<Authenticator> for App {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_LOGOUT,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?);
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                logout: Logout::new(store),
            })
        },
        logout,
    )
    .await
}

async fn logout(app: &App, call: Call<SignedIn, LogoutRequest>) -> Result<LoggedOut, Error> {
    let grant = app.authenticator.refresh_grant(&call.input.refresh, call.now).await;
    app.logout.end(&call.caller, grant).await?;
    Ok(LoggedOut)
}
