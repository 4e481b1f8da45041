use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::system::SEED;

/// Takes a genuine token apart and puts together ones that must be refused.
#[derive(Debug, Clone)]
pub struct Forge {
    pub header: Value,
    pub claims: Value,
}

impl Forge {
    /// Reads a genuine token.
    pub fn of(token: &str) -> Self {
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        Self {
            header: next(),
            claims: next(),
        }
    }

    /// Changes a claim; null takes it out.
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    /// Changes a header member; null takes it out.
    pub fn header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    /// Signs with the deployment's own key: what only somebody who holds the seed could do.
    pub fn sign(&self) -> String {
        self.sign_with(&SEED)
    }

    /// Signs with the key of a seed.
    pub fn sign_with(&self, seed: &[u8; 32]) -> String {
        use_aws_lc();
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ];
        der.extend_from_slice(seed);
        let message = self.message();
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_ed_der(&der), Algorithm::EdDSA);
        format!("{message}.{}", signature.unwrap())
    }

    /// Signs with HS256 and `secret`, as an attacker does who hopes that the public key is taken for the secret.
    pub fn sign_hs256(mut self, secret: &[u8]) -> String {
        use_aws_lc();
        let header = serde_json::to_value(Header::new(Algorithm::HS256)).unwrap();
        self.header["alg"] = header["alg"].clone();
        let message = self.message();
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256);
        format!("{message}.{}", signature.unwrap())
    }

    /// Says that it needs no signature.
    pub fn unsigned(mut self) -> String {
        self.header["alg"] = json!("none");
        format!("{}.", self.message())
    }

    fn message(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.into(), value);
    }
}

fn use_aws_lc() {
    let _already_chosen = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
