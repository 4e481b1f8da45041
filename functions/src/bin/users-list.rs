//! `GET /api/v1/users/all`: the active users, a page at a time.

use shared::{
    Error,
    accounts::{Accounts, UserPage},
    api::{self, Call, SignedIn, UserPageRequest},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::USERS_LIST, async |store| Ok(Accounts::new(store)), list).await
}

async fn list(accounts: &Accounts, call: Call<SignedIn, UserPageRequest>) -> Result<UserPage, Error> {
    accounts
        .list(&call.caller, call.input.cursor.as_deref(), call.input.size)
        .await
}
