//! `GET /api/v1/users/all`: the active users, a page at a time.

use shared::{
    Error,
    accounts::{Accounts, UserPage},
    api::{self, Call, SignedIn, UserPageRequest},
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
        api::USERS_LIST,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                accounts: Accounts::new(store),
            })
        },
        list,
    )
    .await
}

async fn list(app: &App, call: Call<SignedIn, UserPageRequest>) -> Result<UserPage, Error> {
    app.accounts
        .list(&call.caller, call.input.cursor.as_deref(), call.input.size)
        .await
}
