//! `GET /`: the page to chat on.

use shared::{
    Error,
    api::{self, Call, Document, DocumentRequest, Public},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(api::PAGES_CHAT, async |_now| Ok(()), chat).await
}

async fn chat(_app: &(), call: Call<Public, DocumentRequest>) -> Result<Document, Error> {
    let text = pages::CHAT.html(&call.input.base);
    Ok(Document::page(text, pages::CHAT.version, &call.input))
}
