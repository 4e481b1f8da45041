//! `GET /api/v1/users/me`, `GET /api/user/profile`: the account of the caller.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Call, Nothing, Profile, SignedIn},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::USERS_PROFILE, async |store| Ok(Accounts::new(store)), profile).await
}

async fn profile(accounts: &Accounts, call: Call<SignedIn, Nothing>) -> Result<Profile, Error> {
    accounts.own(&call.caller, call.now).await.map(Profile)
}
