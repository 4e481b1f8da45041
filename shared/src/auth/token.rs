use std::fmt;

use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto,
    jwk::{AlgorithmParameters, Jwk, ThumbprintHash},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::TokenConfig,
    domain::{AuthKey, Generation, SessionId, Timestamp, TokenVersion, UserId},
    error::Error,
};

/// No genuine token is longer: its longest part is a username key.
const MAX_TOKEN_BYTES: usize = 4 * 1024;

/// What a token may be used for. A token of one purpose is refused wherever the other is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Calls endpoints.
    Access,
    /// Gets the next pair.
    Refresh,
}

impl Purpose {
    /// The header's `typ`: RFC 9068 section 2.1 for access tokens, its analogue for refresh tokens.
    const fn header_type(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
        }
    }
}

/// What a token says, besides `iss` and `aud`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// `sub`: the user's id.
    #[serde(rename = "sub")]
    pub user: UserId,
    /// `usr`: the key of the user's name, which is the key of the user's item.
    #[serde(rename = "usr")]
    pub key: String,
    /// `sid`: the session.
    #[serde(rename = "sid")]
    pub session: SessionId,
    /// `ver`: what the user's token version must be.
    #[serde(rename = "ver")]
    pub token_version: TokenVersion,
    /// `gen`: which of the session's generations this belongs to.
    #[serde(rename = "gen")]
    pub generation: Generation,
    /// `token_type`: as SimpleJWT names it.
    #[serde(rename = "token_type")]
    pub purpose: Purpose,
    /// `iat`, in seconds.
    #[serde(rename = "iat")]
    pub issued_at: i64,
    /// `exp`, in seconds: the first second in which the token is no longer valid.
    #[serde(rename = "exp")]
    pub expires_at: i64,
}

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(flatten)]
    claims: &'a Claims,
}

/// A public key as it is published: who has it can check tokens but not make them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its RFC 7638 thumbprint, which tokens name in their header.
    pub kid: String,
    /// The `x` of its JWK (RFC 8037 section 2): 32 bytes in base64url.
    pub x: String,
}

/// Makes tokens. Only the functions that get the seed can have one.
pub struct Signer {
    /// The library's own signing takes the key as bytes and derives its public half anew for each token.
    key: Ed25519KeyPair,
    public: PublicKey,
    /// Makes the keys of the `Token` scheme.
    auth_keys: hmac::Key,
    config: TokenConfig,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer {{ kid: {} }}", self.public.kid)
    }
}

impl Signer {
    /// A signer with the Ed25519 key that grows from `seed` (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// Only if the cryptography library refuses the key.
    pub fn new(seed: &[u8; 32], config: TokenConfig) -> Result<Self, Error> {
        use_aws_lc();
        // PKCS #8 (RFC 8410 section 7): everything before an Ed25519 seed is the same 16 bytes.
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ];
        der.extend_from_slice(seed);
        let key = EncodingKey::from_ed_der(&der);
        let jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).map_err(Error::internal)?;
        let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm else {
            return Err(Error::internal("an Ed25519 key is an octet key pair"));
        };
        let public = PublicKey {
            kid: jwk.thumbprint(ThumbprintHash::SHA256).map_err(Error::internal)?,
            x: pair.x.clone(),
        };
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(Error::internal)?;
        // A key of its own for each use of the seed (RFC 5869 section 3.2): nothing made with the one tells of the other.
        let from_seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), b"keys of the Token scheme");
        Ok(Self {
            key,
            public,
            auth_keys: hmac::Key::new(hmac::HMAC_SHA256, from_seed.as_ref()),
            config,
        })
    }

    /// The public half of the key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// How long the tokens live.
    pub fn config(&self) -> &TokenConfig {
        &self.config
    }

    /// The key of a user for the `Token` scheme. Only its hash is stored, and still every login must tell the same one, so it is a
    /// function of whose it is and of the token version, which a new password raises.
    pub fn auth_key(&self, user: UserId, token_version: TokenVersion) -> AuthKey {
        let mut of = user.to_bytes().to_vec();
        of.extend_from_slice(&token_version.0.to_be_bytes());
        let tag = hmac::sign(&self.auth_keys, &of);
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&tag.as_ref()[..20]);
        AuthKey::from_bytes(&bytes)
    }

    /// Signs `claims`. Ed25519 is deterministic, so the same claims make the same token.
    ///
    /// # Errors
    /// Only if the cryptography library fails.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(claims.purpose.header_type().into());
        header.kid = Some(self.public.kid.clone());
        let payload = Payload {
            iss: &self.config.issuer,
            aud: &self.config.audience,
            claims,
        };
        // The compact serialization of RFC 7515 section 7.1.
        let header = serde_json::to_vec(&header).map_err(Error::internal)?;
        let payload = serde_json::to_vec(&payload).map_err(Error::internal)?;
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

/// Checks tokens against one public key.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// A verifier for tokens that `key` signed.
    ///
    /// # Errors
    /// A published key that is not an Ed25519 key.
    pub fn new(key: &PublicKey, config: &TokenConfig) -> Result<Self, Error> {
        use_aws_lc();
        let key = DecodingKey::from_ed_components(&key.x).map_err(Error::internal)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // The library would compare with its own clock and forgive 60 seconds; `verify` compares with the caller's and forgives none.
        validation.validate_exp = false;
        // Setting the expected values is not enough: a token without the claim would pass.
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        Ok(Self { key, validation })
    }

    /// The key id that `token` says it was signed with. Nothing about the token has been checked yet.
    pub fn key_id(token: &str) -> Option<String> {
        // The library would read the whole header, to read it once more when it verifies.
        #[derive(Deserialize)]
        struct KeyId {
            kid: String,
        }
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        serde_json::from_slice::<KeyId>(&header).ok().map(|header| header.kid)
    }

    /// The claims of `token`, if it is genuine, for us, for `purpose`, and not expired at `now`.
    pub fn verify(&self, token: &str, purpose: Purpose, now: Timestamp) -> Option<Claims> {
        // `iss` and `aud` are looked at by the library alone.
        let token = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()?;
        let (header, claims) = (token.header, token.claims);
        let genuine = header.typ.as_deref() == Some(purpose.header_type())
            // RFC 7515 section 4.1.11: extensions that must be understood, and none is.
            && header.crit.is_none()
            && claims.purpose == purpose
            && now.as_secs() < claims.expires_at;
        genuine.then_some(claims)
    }
}

/// jsonwebtoken panics at its first use unless its cryptography was chosen. A second choice is refused and changes nothing.
fn use_aws_lc() {
    let _already_chosen = crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_736_166_896_789);

    fn config() -> TokenConfig {
        TokenConfig {
            issuer: "us".into(),
            audience: "here".into(),
            access_lifetime: Duration::from_secs(360),
            refresh_lifetime: Duration::from_secs(1_800),
        }
    }

    fn claims(purpose: Purpose) -> Claims {
        Claims {
            user: UserId::new(NOW),
            key: "ada".into(),
            session: SessionId::random(),
            token_version: TokenVersion(3),
            generation: Generation(2),
            purpose,
            issued_at: NOW.as_secs(),
            expires_at: NOW.as_secs() + 360,
        }
    }

    #[test]
    fn a_token_says_what_was_signed_until_its_last_second() {
        let signer = Signer::new(&[7; 32], config()).unwrap();
        let verifier = Verifier::new(signer.public_key(), &config()).unwrap();
        let claims = claims(Purpose::Access);
        let token = signer.sign(&claims).unwrap();
        assert_eq!(signer.sign(&claims).unwrap(), token, "signing is deterministic");
        assert_eq!(
            Verifier::key_id(&token).as_deref(),
            Some(signer.public_key().kid.as_str())
        );
        assert_eq!(verifier.verify(&token, Purpose::Access, NOW), Some(claims.clone()));
        let last = Timestamp::from_millis(claims.expires_at * 1000 - 1);
        assert!(verifier.verify(&token, Purpose::Access, last).is_some());
        assert!(
            verifier
                .verify(&token, Purpose::Access, last.plus(Duration::from_millis(1)))
                .is_none()
        );
        assert!(verifier.verify(&token, Purpose::Refresh, NOW).is_none());
    }

    #[test]
    fn an_auth_key_is_its_users_until_the_token_version_changes() {
        let signer = Signer::new(&[7; 32], config()).unwrap();
        let (ada, bob) = (UserId::new(NOW), UserId::new(NOW));
        let key = signer.auth_key(ada, TokenVersion(0));
        assert_eq!(key.as_str().len(), 40);
        assert_eq!(signer.auth_key(ada, TokenVersion(0)), key);
        assert_ne!(signer.auth_key(ada, TokenVersion(1)), key);
        assert_ne!(signer.auth_key(bob, TokenVersion(0)), key);
        let other = Signer::new(&[8; 32], config()).unwrap();
        assert_ne!(other.auth_key(ada, TokenVersion(0)), key);
    }

    #[test]
    fn another_seed_issuer_or_audience_is_refused() {
        let signer = Signer::new(&[7; 32], config()).unwrap();
        let token = signer.sign(&claims(Purpose::Refresh)).unwrap();
        let other = Signer::new(&[8; 32], config()).unwrap();
        assert_ne!(other.public_key(), signer.public_key());
        let with = |key: &PublicKey, config: &TokenConfig| {
            Verifier::new(key, config)
                .unwrap()
                .verify(&token, Purpose::Refresh, NOW)
        };
        assert!(with(signer.public_key(), &config()).is_some());
        assert!(with(other.public_key(), &config()).is_none());
        let issuer = TokenConfig {
            issuer: "them".into(),
            ..config()
        };
        assert!(with(signer.public_key(), &issuer).is_none());
        let audience = TokenConfig {
            audience: "there".into(),
            ..config()
        };
        assert!(with(signer.public_key(), &audience).is_none());
    }

    #[test]
    fn the_public_key_of_a_seed_is_rfc_8032s() {
        // RFC 8032 section 7.1, test 1.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let signer = Signer::new(&seed, config()).unwrap();
        // RFC 8037 appendices A.2 and A.3.
        assert_eq!(signer.public_key().x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(signer.public_key().kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
