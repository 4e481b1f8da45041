//! `GET /api/v1/admin/users/{username}`: one account, for staff.

use shared::{
    Error,
    admin::Administration,
    api::{self, Call, Staff, UserRequest},
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
        api::ADMIN_USER,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                administration: Administration::new(store),
            })
        },
        user,
    )
    .await
}

async fn user(app: &App, call: Call<Staff, UserRequest>) -> Result<User, Error> {
    app.administration.user(&call.caller, &call.input.user).await
}
