//! `GET /api/v1/admin/audit`: a page of the audit trail, for staff.

use shared::{
    Error,
    admin::{Administration, AuditPage},
    api::{self, AuditPageRequest, Call, Staff},
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
        api::ADMIN_AUDIT,
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

async fn list(app: &App, call: Call<Staff, AuditPageRequest>) -> Result<AuditPage, Error> {
    let page = call.input.page;
    app.administration
        .audit(&call.caller, page.cursor.as_deref(), page.size)
        .await
}
