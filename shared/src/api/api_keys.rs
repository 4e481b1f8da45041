use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Done, Endpoint, Family, Input, Method, Nothing, Outcome, Owner, Parts, SignedIn, users::required};
use crate::{
    api_keys::{MadeApiKey, NewApiKey},
    domain::{Amount, ApiKeyId, ApiKeyName, ApiKeyUse, Invalid, IssuedApiKey, ModelList},
    error::Error,
};

/// `POST /api/v1/api-keys`
pub const CREATE: Endpoint<Owner, CreateApiKeyRequest, MadeApiKey> =
    Endpoint::new("api-keys-create", Method::Post, &["/api/v1/api-keys"], 201);
/// `GET /api/v1/api-keys`
pub const LIST: Endpoint<SignedIn, Nothing, ApiKeyList> =
    Endpoint::new("api-keys-list", Method::Get, &["/api/v1/api-keys"], 200);
/// `DELETE /api/v1/api-keys/{id}`
pub const REVOKE: Endpoint<Owner, RevokeApiKeyRequest, Done> =
    Endpoint::new("api-keys-revoke", Method::Delete, &["/api/v1/api-keys/{id}"], 204);

/// The longest life of a key that has an end: ten years, in seconds.
const MAX_LIFETIME: u64 = 315_360_000;

/// A key to be made.
#[derive(Debug)]
pub struct CreateApiKeyRequest {
    /// What it should be.
    pub new: NewApiKey,
}

/// What a key should be.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct CreateApiKeyMembers {
    /// What it is called by its owner: one line; white space around it is left out.
    #[cfg_attr(test, schemars(required, length(min = 1, max = ApiKeyName::MAX_CHARS), regex(pattern = crate::domain::ONE_LINE)))]
    name: Option<String>,
    /// How long it is valid; for good if it is not said.
    #[cfg_attr(test, schemars(range(min = 1, max = MAX_LIFETIME)))]
    expires_in_seconds: Option<u64>,
    /// How many tokens may be spent with it; as many as there are if it is not said.
    #[cfg_attr(test, schemars(range(max = Amount::MAX.get())))]
    cap: Option<u64>,
    /// The models that it may ask, each once; all if it is not said.
    #[cfg_attr(test, schemars(length(min = 1, max = ModelList::MAX), inner(length(min = 1, max = 256), regex(pattern = crate::domain::VISIBLE_ASCII)), extend("uniqueItems" = true)))]
    models: Option<Vec<String>>,
}

impl Input for CreateApiKeyRequest {
    type Body = CreateApiKeyMembers;
    const READS_BODY: bool = true;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        let wire: CreateApiKeyMembers = parts.body()?;
        let name = ApiKeyName::parse(&required("name", wire.name, "Name is required")?)?;
        let lifetime = match wire.expires_in_seconds {
            None => None,
            Some(seconds @ 1..=MAX_LIFETIME) => Some(Duration::from_secs(seconds)),
            Some(_) => {
                let reason = "Expires_in_seconds must be 1 to 315360000, which is ten years";
                return Err(Invalid::new("expires_in_seconds", reason).into());
            }
        };
        let cap = match wire.cap.map(Amount::new) {
            None => None,
            Some(Some(cap)) => Some(cap),
            Some(None) => return Err(Invalid::new("cap", "Cap is too large").into()),
        };
        Ok(Self {
            new: NewApiKey {
                name,
                lifetime,
                cap,
                models: wire.models.as_deref().map(ModelList::parse).transpose()?,
            },
        })
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct MadeApiKeyBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    api_key: MadeApiKeyData,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MadeApiKeyData {
    id: ApiKeyId,
    name: ApiKeyName,
    key: String,
    prefix: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    created_at: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    expires_at: Option<String>,
    cap: Option<Amount>,
    models: Option<ModelList>,
}

impl Outcome for MadeApiKey {
    type Body = MadeApiKeyBody;

    fn render(self, _family: Family) -> MadeApiKeyBody {
        let Self { key, issued } = self;
        MadeApiKeyBody {
            status: "success",
            message: "API key made; it is shown only now",
            api_key: MadeApiKeyData {
                key: key.as_str().to_owned(),
                created_at: issued.created_at.to_string(),
                expires_at: issued.expires_at.map(|expires_at| expires_at.to_string()),
                id: issued.id,
                name: issued.name,
                prefix: issued.prefix,
                cap: issued.cap,
                models: issued.models,
            },
        }
    }
}

/// The caller's keys, the newest first, with what has been done with each.
#[derive(Debug)]
pub struct ApiKeyList(pub Vec<(IssuedApiKey, ApiKeyUse)>);

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[doc(hidden)]
pub struct ApiKeyListBody {
    #[cfg_attr(test, schemars(extend("const" = "success")))]
    status: &'static str,
    message: &'static str,
    data: Vec<ApiKeyData>,
}

/// A key as its owner sees it: of the key itself no more than one needs to tell it from others.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ApiKeyData {
    id: ApiKeyId,
    name: ApiKeyName,
    prefix: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    created_at: String,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    last_used_at: Option<String>,
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    expires_at: Option<String>,
    cap: Option<Amount>,
    spent: Amount,
    models: Option<ModelList>,
}

impl Outcome for ApiKeyList {
    type Body = ApiKeyListBody;

    fn render(self, _family: Family) -> ApiKeyListBody {
        let data = |(issued, used): (IssuedApiKey, ApiKeyUse)| ApiKeyData {
            created_at: issued.created_at.to_string(),
            last_used_at: used.last_used_at.map(|last_used_at| last_used_at.to_string()),
            expires_at: issued.expires_at.map(|expires_at| expires_at.to_string()),
            id: issued.id,
            name: issued.name,
            prefix: issued.prefix,
            cap: issued.cap,
            spent: used.spent,
            models: issued.models,
        };
        ApiKeyListBody {
            status: "success",
            message: "API keys",
            data: self.0.into_iter().map(data).collect(),
        }
    }
}

/// Which key is to end.
#[derive(Debug)]
pub struct RevokeApiKeyRequest {
    /// Its name.
    pub id: ApiKeyId,
}

impl Input for RevokeApiKeyRequest {
    type Body = ();
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        // What is no name is the name of nothing.
        let id = parts.path.get("id").and_then(|id| ApiKeyId::parse(id));
        Ok(Self {
            id: id.ok_or(Error::ApiKeyNotFound)?,
        })
    }
}
