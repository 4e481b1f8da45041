//! `GET /api/v1/admin/users/{username}/chats`: a page of somebody's chats, for staff.

use shared::{
    Error,
    admin::Administration,
    api::{self, Call, Staff, UserChatsRequest},
    chats::ChatPage,
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
        api::ADMIN_CHATS,
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

async fn list(app: &App, call: Call<Staff, UserChatsRequest>) -> Result<ChatPage, Error> {
    let UserChatsRequest { user, page } = call.input;
    app.administration
        .chats(&call.caller, &user, page.cursor.as_deref(), page.size)
        .await
}
