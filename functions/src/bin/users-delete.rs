//! `DELETE /api/v1/users/me`: close the account and remove everything of it.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Call, DeleteRequest, Done, Owner},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::USERS_DELETE, async |store| Ok(Accounts::new(store)), delete).await
}

async fn delete(accounts: &Accounts, call: Call<Owner, DeleteRequest>) -> Result<Done, Error> {
    accounts
        .delete(&call.caller, &call.input.password, &call.network, call.now)
        .await?;
    Ok(Done)
}
