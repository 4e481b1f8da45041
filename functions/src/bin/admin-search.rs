//! `GET /api/v1/admin/users`: the users whose names begin alike, for staff.

use shared::{
    Error,
    admin::{Administration, SearchPage},
    api::{self, Call, SearchRequest, Staff},
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
        api::ADMIN_SEARCH,
        async |now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            Ok(App {
                authenticator: Authenticator::start(store.clone(), TokenConfig::from_env()?, now).await,
                administration: Administration::new(store),
            })
        },
        search,
    )
    .await
}

async fn search(app: &App, call: Call<Staff, SearchRequest>) -> Result<SearchPage, Error> {
    let SearchRequest {
        prefix,
        active,
        cursor,
        size,
    } = call.input;
    app.administration
        .search(&call.caller, &prefix, active, cursor.as_deref(), size)
        .await
}
