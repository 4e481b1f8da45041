//! Every request that no endpoint answers: 404 for an unknown path, 405 for a known one with another method.

use shared::lambda::{self, BoxError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_fallback().await
}
