//! `POST /api/v1/users/password`: another password, and the end of every session.

use shared::{
    Error,
    accounts::Registrar,
    api::{self, Call, Done, Owner, PasswordRequest},
    config::AccountConfig,
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::USERS_PASSWORD,
        async |store| Ok(Registrar::new(store, AccountConfig::from_env()?)),
        change,
    )
    .await
}

async fn change(registrar: &Registrar, call: Call<Owner, PasswordRequest>) -> Result<Done, Error> {
    let PasswordRequest { old, new } = call.input;
    registrar
        .change_password(&call.caller, &old, new, &call.network, call.now)
        .await?;
    Ok(Done)
}
