//! `GET /admin`: the page for staff and admins.

use shared::{
    Error,
    api::{self, Call, Document, DocumentRequest, Public},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(api::PAGES_ADMIN, async |_now| Ok(()), admin).await
}

async fn admin(_app: &(), call: Call<Public, DocumentRequest>) -> Result<Document, Error> {
    let text = pages::ADMIN.html(&call.input.base);
    Ok(Document::page(text, pages::ADMIN.version, &call.input))
}
