//! `GET /api/v1/admin/audit`: a page of the audit trail, for staff.

use shared::{
    Error,
    admin::{Administration, AuditPage},
    api::{self, AuditPageRequest, Call, Staff},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_AUDIT, async |store| Ok(Administration::new(store)), list).await
}

async fn list(administration: &Administration, call: Call<Staff, AuditPageRequest>) -> Result<AuditPage, Error> {
    let page = call.input.page;
    administration
        .audit(&call.caller, page.cursor.as_deref(), page.size)
        .await
}
