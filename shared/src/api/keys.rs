use serde::Serialize;

use super::{Caching, Endpoint, Family, Method, Nothing, Outcome, Public};
use crate::auth::PublicKey;

/// `GET /.well-known/jwks.json`
pub const LIST: Endpoint<Public, Nothing, KeySet> =
    Endpoint::new("keys-list", Method::Get, &["/.well-known/jwks.json"], 200).with_caching(Caching::Public);

/// The keys that access tokens can be verified with, as a JWK set (RFC 7517 section 5).
#[derive(Debug)]
pub struct KeySet(pub Vec<PublicKey>);

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct KeySetBody {
    keys: Vec<KeyBody>,
}

/// A public key of Ed25519 (RFC 8037 section 2).
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KeyBody {
    #[cfg_attr(test, schemars(extend("const" = "OKP")))]
    kty: &'static str,
    #[cfg_attr(test, schemars(extend("const" = "Ed25519")))]
    crv: &'static str,
    #[cfg_attr(test, schemars(extend("const" = "EdDSA")))]
    alg: &'static str,
    #[serde(rename = "use")]
    #[cfg_attr(test, schemars(extend("const" = "sig")))]
    usage: &'static str,
    kid: String,
    x: String,
}

impl Outcome for KeySet {
    type Body = KeySetBody;

    fn render(self, _family: Family) -> KeySetBody {
        let body = |key: PublicKey| KeyBody {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            usage: "sig",
            kid: key.kid,
            x: key.x,
        };
        KeySetBody {
            keys: self.0.into_iter().map(body).collect(),
        }
    }
}
