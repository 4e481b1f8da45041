//! `GET /api/v1/admin/users/{username}`: one account, for staff.

use shared::{
    Error,
    admin::Administration,
    api::{self, Call, Staff, UserRequest},
    domain::User,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_USER, async |store| Ok(Administration::new(store)), user).await
}

async fn user(administration: &Administration, call: Call<Staff, UserRequest>) -> Result<User, Error> {
    administration.user(&call.caller, &call.input.user).await
}
