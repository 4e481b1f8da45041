//! `POST /api/v1/admin/users/{username}/tokens`: put tokens on a balance or take them off.

use shared::{
    Error,
    admin::{Adjusted, Administration},
    api::{self, AdjustRequest, Admin, Call},
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
        api::ADMIN_ADJUST,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                administration: Administration::new(store),
            })
        },
        adjust,
    )
    .await
}

async fn adjust(app: &App, call: Call<Admin, AdjustRequest>) -> Result<Adjusted, Error> {
    let AdjustRequest {
        user,
        amount,
        reason,
        idempotency_key,
    } = call.input;
    app.administration
        .adjust(&call.caller, &user, amount, &reason, idempotency_key, call.now)
        .await
}
