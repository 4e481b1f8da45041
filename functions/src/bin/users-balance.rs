//! `GET /api/v1/users/token-balance`, `GET /api/tokens`, `GET /api/user/balance`, `GET /api/token-balance`: what the caller can spend.

use shared::{
    Error,
    accounts::Accounts,
    api::{self, Balance, Call, Nothing, SignedIn},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::USERS_BALANCE, async |store| Ok(Accounts::new(store)), balance).await
}

async fn balance(accounts: &Accounts, call: Call<SignedIn, Nothing>) -> Result<Balance, Error> {
    accounts.own(&call.caller, call.now).await.map(Balance)
}
