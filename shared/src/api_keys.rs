//! API keys: what users give to their programs, so that those can do what the users can, within limits.

use std::time::Duration;

use crate::{
    domain::{
        Amount, ApiKey, ApiKeyId, ApiKeyName, ApiKeyUse, Caller, IssuedApiKey, ModelList, OwnerCaller, Timestamp,
    },
    error::Error,
    store::Store,
};

/// What a new key should be.
#[derive(Debug)]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: ApiKeyName,
    /// How long it should be good for; none for ever.
    pub lifetime: Option<Duration>,
    /// How many tokens may be spent with it, ever; none for as many as there are.
    pub cap: Option<Amount>,
    /// The models that it may ask; none for all.
    pub models: Option<ModelList>,
}

/// A key that was just made.
#[derive(Debug)]
pub struct MadeApiKey {
    /// The key itself. It is stored nowhere.
    pub key: ApiKey,
    /// What is stored of it.
    pub issued: IssuedApiKey,
}

/// Makes, lists and revokes API keys.
#[derive(Debug)]
pub struct ApiKeys {
    store: Store,
}

impl ApiKeys {
    /// The keys in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes a key for the caller.
    ///
    /// # Errors
    /// [`Error::TooManyApiKeys`]; a caller whose claims no longer hold. [`Error::OutcomeUnknown`]: nobody can say whether there is one key
    /// more; it is in the list then, and of no use to anybody.
    pub async fn make(&self, caller: &OwnerCaller, new: NewApiKey, now: Timestamp) -> Result<MadeApiKey, Error> {
        let key = ApiKey::random();
        let hash = key.hash();
        let issued = IssuedApiKey {
            id: ApiKeyId::of(&hash),
            hash,
            owner: caller.0.person(),
            name: new.name,
            prefix: key.shown(),
            created_at: now,
            expires_at: new.lifetime.map(|lifetime| now.plus(lifetime)),
            cap: new.cap,
            models: new.models,
        };
        self.store.add_api_key(caller, &issued).await?;
        Ok(MadeApiKey { key, issued })
    }

    /// The caller's keys, the newest first, with what has been done with each.
    ///
    /// # Errors
    /// A caller whose claims no longer hold.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<(IssuedApiKey, ApiKeyUse)>, Error> {
        self.store.list_api_keys(caller).await
    }

    /// Ends a key of the caller, at once and for good.
    ///
    /// # Errors
    /// [`Error::ApiKeyNotFound`], also for other people's; a caller whose claims no longer hold.
    pub async fn revoke(&self, caller: &OwnerCaller, id: &ApiKeyId) -> Result<(), Error> {
        self.store.remove_api_key(caller, id).await
    }
}
