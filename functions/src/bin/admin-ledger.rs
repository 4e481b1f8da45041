//! `GET /api/v1/admin/users/{username}/ledger`: a page of somebody's ledger, for staff.

use shared::{
    Error,
    admin::{Administration, LedgerPage},
    api::{self, Call, Staff, UserLedgerRequest},
    config::{TableConfig, TokenConfig},
    lambda::{self, BoxError},
    sessions::Authenticator,
    store::Store,
};

struct App {
    authenticator: Authenticator,
    administration: Administration,
}

impl AsRef<Authenticator> for App {
    fn as_ref(&self) -> &Authenticator {
        &self.authenticator
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::ADMIN_LEDGER,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                administration: Administration::new(store),
            })
        },
        list,
    )
    .await
}

async fn list(app: &App, call: Call<Staff, UserLedgerRequest>) -> Result<LedgerPage, Error> {
    let UserLedgerRequest { user, page } = call.input;
    app.administration
        .ledger(&call.caller, &user, page.cursor.as_deref(), page.size)
        .await
}
