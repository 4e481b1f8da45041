//! `POST /api/v1/users`: open an account with the sign-up grant on its balance.

use shared::{
    Error,
    accounts::{NewAccount, Registrar},
    api::{self, Call, Public, Registered},
    config::{AccountConfig, TableConfig},
    lambda::{self, BoxError},
    store::Store,
};

struct App {
    registrar: Registrar,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(
        api::USERS_REGISTER,
        async |_now| {
            let store = Store::connect(&TableConfig::from_env()?).await;
            let registrar = Registrar::new(store, AccountConfig::from_env()?);
            Ok(App { registrar })
        },
        register,
    )
    .await
}

async fn register(app: &App, call: Call<Public, NewAccount>) -> Result<Registered, Error> {
    let user = app.registrar.register(call.input, call.now).await?;
    Ok(Registered {
        username: user.username,
        balance: user.balance,
    })
}
