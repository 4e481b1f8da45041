//! `GET /docs`: the documentation of the API.

use shared::{
    Error,
    api::{self, Call, Document, DocumentRequest, Public},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(api::PAGES_DOCS, async |_now| Ok(()), docs).await
}

async fn docs(_app: &(), call: Call<Public, DocumentRequest>) -> Result<Document, Error> {
    let text = pages::DOCS.html(&call.input.base);
    Ok(Document::page(text, pages::DOCS.version, &call.input))
}
