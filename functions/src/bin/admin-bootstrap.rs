//! Makes an admin. No route leads here: operators of the deployment invoke it by name.

use shared::{
    Error,
    admin::{AdminMade, AdminRequest, Bootstrap},
    config::{AccountConfig, TableConfig},
    domain::Timestamp,
    lambda::{self, BoxError},
    store::Store,
};

struct App {
    bootstrap: Bootstrap,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_operator(
        "admin-bootstrap",
        async |_now| {
            let store = Store::connect(&TableConfig::from_env()?);
            Ok(App {
                bootstrap: Bootstrap::new(store, AccountConfig::from_env()?),
            })
        },
        make_admin,
    )
    .await
}

async fn make_admin(app: &App, request: AdminRequest, now: Timestamp) -> Result<AdminMade, Error> {
    app.bootstrap.make_admin(request, now).await
}
