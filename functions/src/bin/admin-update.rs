//! `PATCH /api/v1/admin/users/{username}`: activate, deactivate or give another role.

use shared::{
    Error,
    admin::Administration,
    api::{self, Admin, Call, UpdateRequest},
    config::{TableConfig, TokenConfig},
    domain::User,
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
        api::ADMIN_UPDATE,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                administration: Administration::new(store),
            })
        },
        update,
    )
    .await
}

async fn update(app: &App, call: Call<Admin, UpdateRequest>) -> Result<User, Error> {
    let UpdateRequest { user, change } = call.input;
    app.administration.update(&call.caller, &user, change, call.now).await
}
