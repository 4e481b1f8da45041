//! Sessions: who is calling, and the tokens that say so.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    accounts::Authenticated,
    auth::{Claims, PublicKey, Purpose, Signer, Verifier},
    config::TokenConfig,
    domain::{
        ApiKey, AuthKey, AuthKeyHash, Caller, Generation, IssuedApiKey, Network, OwnerCaller, Proof, RefreshGrant,
        Session, SessionId, Timestamp, TokenVersion, User, UserId, UserKey,
    },
    error::Error,
    store::{Opening, Store},
};

/// An access token and the refresh token for the next pair.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// A JWT that authenticates calls.
    pub access: String,
    /// A JWT that is good for one refresh.
    pub refresh: String,
}

impl fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What authenticates the calls of a session that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// Its first tokens.
    pub tokens: TokenPair,
    /// The user's key for the `Token` scheme, if it was asked for.
    pub auth_key: Option<AuthKey>,
}

/// Tells from a token or a key who is calling. Any function has one: it needs only what is published.
#[derive(Debug)]
pub struct Authenticator {
    store: Store,
    config: TokenConfig,
    verifiers: Mutex<Verifiers>,
    key_owners: Known<(UserKey, UserId)>,
    api_keys: Known<Arc<IssuedApiKey>>,
    /// How many keys that are nobody's each network has sent, and since when.
    guesses: Mutex<HashMap<Network, (Timestamp, u32)>>,
}

/// How many owners of keys a process remembers, about 200 bytes each.
const MAX_KEY_OWNERS: usize = 10_000;
/// How many API keys a process remembers, about 500 bytes each and 6 KB at the most.
const MAX_KNOWN_API_KEYS: usize = 2_000;
/// How many keys that are nobody's a process looks up for one network in a minute.
const MAX_GUESSES: u32 = 20;
const GUESSES_WINDOW: Duration = Duration::from_secs(60);

/// What a process remembers of keys that it has looked up in the table, because it never changes there.
#[derive(Debug)]
struct Known<T> {
    by_hash: Mutex<HashMap<AuthKeyHash, T>>,
    most: usize,
}

impl<T: Clone> Known<T> {
    fn at_most(most: usize) -> Self {
        Self {
            by_hash: Mutex::default(),
            most,
        }
    }

    fn get(&self, hash: &AuthKeyHash) -> Option<T> {
        self.lock().get(hash).cloned()
    }

    fn keep(&self, hash: AuthKeyHash, known: T) {
        let mut by_hash = self.lock();
        if by_hash.len() >= self.most {
            by_hash.clear();
        }
        by_hash.insert(hash, known);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AuthKeyHash, T>> {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Verifiers {
    by_kid: HashMap<String, Arc<Verifier>>,
    reloads: Reloads,
}

/// Bounds what unknown key ids cost: each makes the keys load again, and anybody can make one up. A few loads may follow each other at
/// once, because a key may be published just after a function started; after that it is one a second.
#[derive(Debug)]
struct Reloads {
    left: u64,
    counted_at: Option<Timestamp>,
}

impl Reloads {
    const BURST: u64 = 5;

    fn take(&mut self, now: Timestamp) -> bool {
        let earned = self.counted_at.map_or(0, |counted_at| now.since(counted_at).as_secs());
        if earned > 0 || self.counted_at.is_none() {
            self.left = Self::BURST.min(self.left + earned);
            self.counted_at = Some(now);
        }
        let allowed = self.left > 0;
        self.left -= u64::from(allowed);
        allowed
    }
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            left: Self::BURST,
            counted_at: None,
        }
    }
}

impl Authenticator {
    /// Loads the published keys, which also opens the connection that the first request will use.
    pub async fn start(store: Store, config: TokenConfig, now: Timestamp) -> Self {
        let authenticator = Self {
            store,
            config,
            verifiers: Mutex::default(),
            key_owners: Known::at_most(MAX_KEY_OWNERS),
            api_keys: Known::at_most(MAX_KNOWN_API_KEYS),
            guesses: Mutex::default(),
        };
        if let Err(error) = authenticator.load(now).await {
            // The first token finds its key unknown and loads again; that request fails if the table is still out of reach.
            tracing::warn!(?error, "keys could not be loaded at start");
        }
        authenticator
    }

    /// The caller whose access token this is. Whether the session still exists is for the operation to check.
    ///
    /// # Errors
    /// [`Error::AccessTokenNotValid`].
    pub async fn caller(&self, access: &str, now: Timestamp) -> Result<Caller, Error> {
        let claims = self
            .verify(access, Purpose::Access, now)
            .await?
            .ok_or(Error::AccessTokenNotValid)?;
        Ok(Caller {
            user: UserKey::from_stored(claims.key),
            id: claims.user,
            proof: Proof::Session {
                session: claims.session,
                token_version: claims.token_version,
            },
        })
    }

    /// The caller to whom this key of the `Token` scheme was given. Whether it is still theirs is for the operation to check.
    ///
    /// Whose a key was never changes, so a process asks the table once for each.
    ///
    /// # Errors
    /// [`Error::AuthKeyNotValid`]; [`Error::Paced`] after too many keys of one network that are nobody's.
    pub async fn caller_with_key(&self, key: &str, network: &Network, now: Timestamp) -> Result<Caller, Error> {
        let hash = AuthKey::parse(key).ok_or(Error::AuthKeyNotValid)?.hash();
        let owner = self.look_up(&self.key_owners, &hash, self.store.owner_of_key(&hash), network, now);
        let (user, id) = owner.await?.ok_or(Error::AuthKeyNotValid)?;
        Ok(Caller {
            user,
            id,
            proof: Proof::Key(hash),
        })
    }

    /// The caller to whom this API key was given. Whether it is still one of its owner's is for the operation to check; whether it has
    /// expired is seen here, as that never changes either.
    ///
    /// # Errors
    /// [`Error::ApiKeyNotValid`]; [`Error::Paced`] as [`Authenticator::caller_with_key`].
    pub async fn caller_with_api_key(&self, key: &str, network: &Network, now: Timestamp) -> Result<Caller, Error> {
        let key = ApiKey::parse(key).ok_or(Error::ApiKeyNotValid)?;
        let find = async { Ok(self.store.find_api_key(&key).await?.map(Arc::new)) };
        let issued = self.look_up(&self.api_keys, &key.hash(), find, network, now).await?;
        let issued = issued.filter(|issued| !issued.is_expired(now));
        let issued = issued.ok_or(Error::ApiKeyNotValid)?;
        Ok(Caller {
            user: issued.owner.username.clone(),
            id: issued.owner.id,
            proof: Proof::ApiKey(issued),
        })
    }

    /// The caller, unless they have only an API key.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`]; whoever may not call at all hears that first.
    pub async fn owner(&self, caller: Caller) -> Result<OwnerCaller, Error> {
        if caller.api_key().is_some() {
            self.store.read_user(&caller).await?;
            return Err(Error::PermissionDenied);
        }
        Ok(OwnerCaller(caller))
    }

    /// What is known of a key, from before or by asking the table; `None` if it is nobody's.
    async fn look_up<T: Clone>(
        &self,
        known: &Known<T>,
        hash: &AuthKeyHash,
        ask: impl Future<Output = Result<Option<T>, Error>>,
        network: &Network,
        now: Timestamp,
    ) -> Result<Option<T>, Error> {
        if let Some(found) = known.get(hash) {
            return Ok(Some(found));
        }
        // Anybody can make a key up, and each costs a read of the table.
        self.check_guesses(network, now)?;
        let found = ask.await?;
        match &found {
            Some(found) => known.keep(hash.clone(), found.clone()),
            None => self.count_guess(network, now),
        }
        Ok(found)
    }

    fn check_guesses(&self, network: &Network, now: Timestamp) -> Result<(), Error> {
        let guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        match guesses.get(network) {
            Some((since, count)) if *count >= MAX_GUESSES && now.since(*since) < GUESSES_WINDOW => {
                Err(Error::Paced(GUESSES_WINDOW - now.since(*since)))
            }
            _ => Ok(()),
        }
    }

    fn count_guess(&self, network: &Network, now: Timestamp) {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= MAX_KEY_OWNERS {
            guesses.clear();
        }
        let (since, count) = guesses.entry(network.clone()).or_insert((now, 0));
        if now.since(*since) >= GUESSES_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }

    /// What this refresh token grants. Whether its session still exists is for the operation to check.
    ///
    /// # Errors
    /// [`Error::RefreshTokenNotValid`].
    pub async fn refresh_grant(&self, refresh: &str, now: Timestamp) -> Result<RefreshGrant, Error> {
        let claims = self
            .verify(refresh, Purpose::Refresh, now)
            .await?
            .ok_or(Error::RefreshTokenNotValid)?;
        Ok(RefreshGrant {
            user: UserKey::from_stored(claims.key),
            id: claims.user,
            session: claims.session,
            token_version: claims.token_version,
            generation: claims.generation,
        })
    }

    async fn verify(&self, token: &str, purpose: Purpose, now: Timestamp) -> Result<Option<Claims>, Error> {
        let Some(kid) = Verifier::key_id(token) else {
            return Ok(None);
        };
        let verifier = match self.known(&kid) {
            Some(verifier) => Some(verifier),
            None if self.lock().reloads.take(now) => {
                self.load(now).await?;
                self.known(&kid)
            }
            None => None,
        };
        Ok(verifier.and_then(|verifier| verifier.verify(token, purpose, now)))
    }

    fn known(&self, kid: &str) -> Option<Arc<Verifier>> {
        self.lock().by_kid.get(kid).cloned()
    }

    async fn load(&self, now: Timestamp) -> Result<(), Error> {
        let keys = self.store.published_keys(now).await?;
        let verifier = |key: &PublicKey| Ok((key.kid.clone(), Arc::new(Verifier::new(key, &self.config)?)));
        let by_kid = keys.iter().map(verifier).collect::<Result<_, Error>>()?;
        self.lock().by_kid = by_kid;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Verifiers> {
        // Nothing panics while holding it, and a map of keys is never half-written.
        self.verifiers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens sessions and moves them on. Only the functions with the signing seed have one.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    signer: Signer,
    published_at: Mutex<Option<Timestamp>>,
}

/// A key stays published this much longer than the tokens it signs.
const KEY_MARGIN: Duration = Duration::from_secs(24 * 60 * 60);
/// A process publishes its key again after this, so that it never expires while it signs.
const REPUBLISH: Duration = Duration::from_secs(12 * 60 * 60);

impl Sessions {
    /// Publishes the signer's public key, so that every function can verify what this one signs.
    pub async fn start(store: Store, signer: Signer, now: Timestamp) -> Self {
        let sessions = Self {
            store,
            signer,
            published_at: Mutex::new(None),
        };
        if let Err(error) = sessions.publish(now).await {
            tracing::warn!(
                ?error,
                "key could not be published at start; trying again before the first signature"
            );
        }
        sessions
    }

    /// Opens a session for a user who has just proved to be one, and gives them their key if it is wanted.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] if the account changed meanwhile so that the proof is worth nothing.
    pub async fn open(&self, authenticated: Authenticated, wants_key: bool, now: Timestamp) -> Result<Opened, Error> {
        self.publish(now).await?;
        let Authenticated { user, attempt, rehash } = authenticated;
        let (id, state) = (SessionId::random(), self.generation(Generation::FIRST, now));
        let tokens = self.sign(user.id, &user.key(), &id, user.token_version, &state)?;
        let auth_key = wants_key.then(|| self.signer.auth_key(user.id, user.token_version));
        let new_key = auth_key
            .as_ref()
            .map(AuthKey::hash)
            .filter(|hash| user.auth_key.as_ref() != Some(hash));
        if let Some(hash) = &new_key {
            // Before the account names the key: until it does, the key lets nobody in.
            self.store.publish_auth_key(hash, &user).await?;
        }
        let access_lifetime = self.signer.config().access_lifetime;
        let opening = Opening {
            session: &id,
            state: &state,
            rehash: rehash.as_ref(),
            new_key: new_key.as_ref(),
        };
        let (opened, forgotten) = tokio::join!(
            self.store.open_session(user, &opening, now, access_lifetime),
            self.store.forget_failures(&attempt.name, &attempt.network)
        );
        opened?;
        if let Err(error) = forgotten {
            // It counts as one failure more than there was; the next success forgets them all.
            tracing::warn!(?error, "failed logins could not be forgotten");
        }
        Ok(Opened { tokens, auth_key })
    }

    /// Gives an account that is about to be stored its first session and its key.
    ///
    /// # Errors
    /// Only if the table or the cryptography library fails.
    pub async fn open_first(&self, user: &mut User, now: Timestamp) -> Result<Opened, Error> {
        self.publish(now).await?;
        let (id, state) = (SessionId::random(), self.generation(Generation::FIRST, now));
        let tokens = self.sign(user.id, &user.key(), &id, user.token_version, &state)?;
        let auth_key = self.signer.auth_key(user.id, user.token_version);
        user.sessions.insert(id, state);
        user.auth_key = Some(auth_key.hash());
        Ok(Opened {
            tokens,
            auth_key: Some(auth_key),
        })
    }

    /// Trades a refresh token for the next pair of its session.
    ///
    /// # Errors
    /// [`Error::RefreshTokenNotValid`]; a token that was traded before ends its session.
    pub async fn rotate(&self, grant: &RefreshGrant, now: Timestamp) -> Result<TokenPair, Error> {
        self.publish(now).await?;
        let next = self.generation(grant.generation.next(), now);
        // Within the grace this is the pair that the first trade got: the same state makes the same tokens.
        let state = self.store.rotate_session(grant, next, now).await?;
        self.sign(grant.id, &grant.user, &grant.session, grant.token_version, &state)
    }

    /// Makes another access token for the session of a refresh token, which stays as it is.
    ///
    /// # Errors
    /// As [`Sessions::rotate`].
    pub async fn renew(&self, grant: &RefreshGrant, now: Timestamp) -> Result<String, Error> {
        self.publish(now).await?;
        let state = self.store.read_session(grant, now).await?;
        let access_until = now.plus(self.signer.config().access_lifetime);
        self.signer.sign(&Claims {
            user: grant.id,
            key: grant.user.as_str().to_owned(),
            session: grant.session.clone(),
            token_version: grant.token_version,
            generation: state.generation,
            purpose: Purpose::Access,
            issued_at: now.as_secs(),
            expires_at: access_until.as_secs(),
        })
    }

    fn generation(&self, generation: Generation, now: Timestamp) -> Session {
        Session {
            generation,
            rotated_at: now,
            expires_at: now.plus(self.signer.config().refresh_lifetime),
        }
    }

    fn sign(
        &self,
        user: UserId,
        key: &UserKey,
        session: &SessionId,
        token_version: TokenVersion,
        state: &Session,
    ) -> Result<TokenPair, Error> {
        let access_until = state.rotated_at.plus(self.signer.config().access_lifetime);
        let claims = |purpose, expires_at: Timestamp| Claims {
            user,
            key: key.as_str().to_owned(),
            session: session.clone(),
            token_version,
            generation: state.generation,
            purpose,
            issued_at: state.rotated_at.as_secs(),
            expires_at: expires_at.as_secs(),
        };
        Ok(TokenPair {
            access: self.signer.sign(&claims(Purpose::Access, access_until))?,
            refresh: self.signer.sign(&claims(Purpose::Refresh, state.expires_at))?,
        })
    }

    async fn publish(&self, now: Timestamp) -> Result<(), Error> {
        let published_at = *self.published_at.lock().unwrap_or_else(PoisonError::into_inner);
        if published_at.is_some_and(|at| now.since(at) < REPUBLISH) {
            return Ok(());
        }
        let lifetime = self.signer.config().refresh_lifetime + KEY_MARGIN;
        self.store.publish_key(self.signer.public_key(), now, lifetime).await?;
        *self.published_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }
}

/// Ends sessions.
#[derive(Debug)]
pub struct Logout {
    store: Store,
}

impl Logout {
    /// Ends sessions of the users in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Ends the session of a refresh token of the caller. `grant` is what the token grants, if it is genuine.
    ///
    /// # Errors
    /// [`Error::LogoutTokenNotValid`] for a token that is no live one of the caller; a caller whose claims no longer hold is told that
    /// first.
    pub async fn end(&self, caller: &Caller, grant: Result<RefreshGrant, Error>) -> Result<(), Error> {
        let grant = match grant {
            Ok(grant) if grant.user == caller.user && grant.id == caller.id => grant,
            Ok(_) | Err(Error::RefreshTokenNotValid) => {
                self.store.read_user(caller).await?;
                return Err(Error::LogoutTokenNotValid);
            }
            Err(error) => return Err(error),
        };
        self.store.end_session(caller, &grant.session).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_make_five_loads_at_once_and_then_one_a_second() {
        let start = Timestamp::from_millis(1_000_000);
        let mut reloads = Reloads::default();
        let at = |milliseconds| start.plus(Duration::from_millis(milliseconds));
        let taken = (0..50).filter(|_| reloads.take(at(0))).count();
        assert_eq!(taken, 5);
        assert!(!reloads.take(at(999)));
        assert!(reloads.take(at(1_000)));
        assert!(!reloads.take(at(1_500)));
        let later = (0..50).filter(|_| reloads.take(at(60_000))).count();
        assert_eq!(later, 5);
    }
}
