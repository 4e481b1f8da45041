//! `GET /api/v1/health`: the gateway reaches its functions.

use shared::{
    Error,
    api::{self, Call, Health, Nothing, Public},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(api::SYSTEM_HEALTH, async |_now| Ok(()), health).await
}

async fn health(_app: &(), _call: Call<Public, Nothing>) -> Result<Health, Error> {
    Ok(Health::OK)
}
