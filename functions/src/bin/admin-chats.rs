//! `GET /api/v1/admin/users/{username}/chats`: a page of somebody's chats, for staff.

use shared::{
    Error,
    admin::Administration,
    api::{self, Call, Staff, UserChatsRequest},
    chats::ChatPage,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_CHATS, async |store| Ok(Administration::new(store)), list).await
}

async fn list(administration: &Administration, call: Call<Staff, UserChatsRequest>) -> Result<ChatPage, Error> {
    let UserChatsRequest { user, page } = call.input;
    administration
        .chats(&call.caller, &user, page.cursor.as_deref(), page.size)
        .await
}
