//! `DELETE /api/v1/users/me`: close the account and remove everything of it.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Call, DeleteRequest, Done, SignedIn},
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
        api::USERS_DELETE,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                accounts: Accounts::new(store),
            })
        },
        delete,
    )
    .await
}

async fn delete(app: &App, call: Call<SignedIn, DeleteRequest>) -> Result<Done, Error> {
    app.accounts
        .delete(&call.caller, &call.input.password, &call.network, call.now)
        .await?;
    Ok(Done)
}
