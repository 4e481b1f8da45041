use serde_json::Value;

use super::{Caching, Endpoint, Family, Method, Nothing, Outcome, Public};
use crate::auth::{PublicKey, key_set};

/// `GET /.well-known/jwks.json`
pub const LIST: Endpoint<Public, Nothing, KeySet> =
    Endpoint::new("keys-list", Method::Get, &["/.well-known/jwks.json"], 200).with_caching(Caching::Public);

/// The keys that access tokens can be verified with, as a JWK set (RFC 7517 section 5).
#[derive(Debug)]
pub struct KeySet(pub Vec<PublicKey>);

impl Outcome for KeySet {
    type Body = Value;

    fn render(self, _family: Family) -> Value {
        key_set(&self.0)
    }
}
