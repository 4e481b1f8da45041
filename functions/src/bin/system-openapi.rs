//! `GET /openapi.json`: what the API is.

use shared::{
    Error,
    api::{self, Call, OpenApi, OpenApiRequest, Public},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(api::SYSTEM_OPENAPI, async |_now| Ok(()), tell).await
}

async fn tell(_app: &(), call: Call<Public, OpenApiRequest>) -> Result<OpenApi, Error> {
    OpenApi::at(&call.input.base)
}
