//! `PATCH /api/v1/admin/users/{username}`: activate, deactivate or give another role.

use shared::{
    Error,
    admin::Administration,
    api::{self, Admin, Call, UpdateRequest},
    domain::User,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_UPDATE, async |store| Ok(Administration::new(store)), update).await
}

async fn update(administration: &Administration, call: Call<Admin, UpdateRequest>) -> Result<User, Error> {
    let UpdateRequest { user, change } = call.input;
    administration.update(&call.caller, &user, change, call.now).await
}
