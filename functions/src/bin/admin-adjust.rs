//! `POST /api/v1/admin/users/{username}/tokens`: put tokens on a balance or take them off.

use shared::{
    Error,
    admin::{Adjusted, Administration},
    api::{self, AdjustRequest, Admin, Call},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_ADJUST, async |store| Ok(Administration::new(store)), adjust).await
}

async fn adjust(administration: &Administration, call: Call<Admin, AdjustRequest>) -> Result<Adjusted, Error> {
    let AdjustRequest {
        user,
        amount,
        reason,
        idempotency_key,
    } = call.input;
    administration
        .adjust(&call.caller, &user, amount, &reason, idempotency_key, call.now)
        .await
}
