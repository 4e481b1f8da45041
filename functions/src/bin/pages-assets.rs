//! `GET /assets/{file}`: the scripts and styles that pages are made of.

use pages::Found;
use shared::{
    Error,
    api::{self, Call, Document, DocumentRequest, Public},
    lambda::{self, BoxError},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve(api::PAGES_ASSETS, async |_now| Ok(()), asset).await
}

async fn asset(_app: &(), call: Call<Public, DocumentRequest>) -> Result<Document, Error> {
    match pages::find(&call.input.file) {
        Some(Found::Itself(asset)) => Ok(Document::lasting(asset.media_type, asset.text)),
        Some(Found::OtherVersion(asset)) => Ok(Document::instead(asset.media_type, asset.text)),
        None => Err(Error::NoSuchPath),
    }
}
