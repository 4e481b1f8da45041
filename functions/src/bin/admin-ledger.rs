//! `GET /api/v1/admin/users/{username}/ledger`: a page of somebody's ledger, for staff.

use shared::{
    Error,
    admin::{Administration, LedgerPage},
    api::{self, Call, Staff, UserLedgerRequest},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_LEDGER, async |store| Ok(Administration::new(store)), list).await
}

async fn list(administration: &Administration, call: Call<Staff, UserLedgerRequest>) -> Result<LedgerPage, Error> {
    let UserLedgerRequest { user, page } = call.input;
    administration
        .ledger(&call.caller, &user, page.cursor.as_deref(), page.size)
        .await
}
