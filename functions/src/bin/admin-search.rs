//! `GET /api/v1/admin/users`: the users whose names begin alike, for staff.

use shared::{
    Error,
    admin::{Administration, SearchPage},
    api::{self, Call, SearchRequest, Staff},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(api::ADMIN_SEARCH, async |store| Ok(Administration::new(store)), search).await
}

async fn search(administration: &Administration, call: Call<Staff, SearchRequest>) -> Result<SearchPage, Error> {
    let SearchRequest {
        prefix,
        active,
        cursor,
        size,
    } = call.input;
    administration
        .search(&call.caller, &prefix, active, cursor.as_deref(), size)
        .await
}
