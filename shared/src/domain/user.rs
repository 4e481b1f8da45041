use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Amount, ApiKeyId, ApiKeyUse, AttemptId, AuthKeyHash, Email, Fingerprint, Generation, HoldId, Invalid, Person,
    SessionId, Timestamp, TokenVersion, UserId, UserKey, Username,
};

/// How many sessions a user may have open; one more login ends the one that would expire first.
pub const MAX_SESSIONS: usize = 5;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Role {
    /// Chats and sees their own account.
    User,
    /// May also look at users, chats and ledgers.
    Staff,
    /// May also change them.
    Admin,
}

impl Role {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Staff => "staff",
            Self::Admin => "admin",
        }
    }

    /// Reads a role.
    ///
    /// # Errors
    /// Says which roles there are.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        [Self::User, Self::Staff, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Invalid::new("role", "Role must be user, staff or admin"))
    }
}

/// An argon2id hash as a PHC string. Prints as `[redacted]`: it is not the password, but it lets one try passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A PHC string that the hasher made.
    pub(crate) fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One login that has not ended, with the state of its refresh tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The only generation that may refresh (and, for a moment, the one before it).
    #[serde(rename = "g")]
    pub generation: Generation,
    /// When this generation began. Its tokens are derived from this, so making them again makes the same ones.
    #[serde(rename = "r")]
    pub rotated_at: Timestamp,
    /// When the refresh token of this generation expires.
    #[serde(rename = "e")]
    pub expires_at: Timestamp,
}

/// Tokens taken off the balance for a call that is still being answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How much.
    #[serde(rename = "c")]
    pub cost: Amount,
    /// The attempt that placed it; nobody else may settle or release it.
    #[serde(rename = "a")]
    pub attempt: AttemptId,
    /// When it was placed.
    #[serde(rename = "p")]
    pub placed_at: Timestamp,
    /// From when on anybody who touches the user gives it back: its function is dead by then.
    #[serde(rename = "l")]
    pub lease_until: Timestamp,
    /// What is asked for, if that is under an idempotency key.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Whether it holds nothing any more and only keeps requests from placing it that may still be on their way.
    #[serde(rename = "v", default, skip_serializing_if = "std::ops::Not::not")]
    pub void: bool,
    /// The API key that it is spent with. Its cost counts as spent with the key, as long as there is the key.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyId>,
}

/// An account as it was read in one operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// The id that outlives a change of the name.
    pub id: UserId,
    /// The name as its owner wrote it.
    pub username: Username,
    /// The e-mail address, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// The argon2id hash, as a PHC string.
    pub password_hash: PasswordHash,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may do anything at all.
    pub active: bool,
    /// What every valid token must have been signed under.
    pub token_version: TokenVersion,
    /// What the user can spend: holds are already taken off.
    pub balance: Amount,
    /// What the account was opened with; the first entry of its ledger.
    pub signup_grant: Amount,
    /// The open sessions.
    pub sessions: BTreeMap<SessionId, Session>,
    /// The open holds.
    pub holds: BTreeMap<HoldId, Hold>,
    /// What is stored of the key for the `Token` scheme, once the user has been given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_key: Option<AuthKeyHash>,
    /// The live API keys, and what has been done with each. Accounts from before there were any have no such attribute.
    #[serde(default)]
    pub api_keys: BTreeMap<ApiKeyId, ApiKeyUse>,
    /// Whether the owner has deleted the account and its items are being removed. It is inactive then and stays so, and its name taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// Until when the messages sent so far keep the user busy at the allowed pace; the theoretical arrival time of [`super::Rate`].
    #[serde(rename = "tat", default, skip_serializing_if = "Option::is_none")]
    pub paced_until: Option<Timestamp>,
    /// When the account was opened.
    pub created_at: Timestamp,
}

impl User {
    /// The key of the user's name.
    pub fn key(&self) -> UserKey {
        self.username.key()
    }

    /// The user, as a trail names them.
    pub fn person(&self) -> Person {
        Person {
            id: self.id,
            username: self.key(),
        }
    }

    /// What all holds hold together; saturates, which no sum of parts of one balance does.
    pub fn held(&self) -> Amount {
        let held = self
            .holds
            .values()
            .try_fold(Amount::ZERO, |sum, hold| sum.checked_add(hold.cost));
        held.unwrap_or(Amount::MAX)
    }

    /// The holds whose lease has run out, which whoever sees them gives back.
    pub fn expired_holds(&self, now: Timestamp) -> BTreeMap<HoldId, Hold> {
        let expired = self.holds.iter().filter(|(_, hold)| hold.lease_until <= now);
        expired.map(|(id, hold)| (id.clone(), hold.clone())).collect()
    }

    /// The sessions to end when one more is opened: those whose last access token has expired, and then as many as leave room, the
    /// one that would expire first going first.
    pub fn sessions_to_end(&self, now: Timestamp, access_lifetime: Duration) -> Vec<SessionId> {
        // An access token may be signed up to the last moment of the refresh token, so a session is dead only one lifetime later.
        let dead = |session: &Session| session.expires_at.plus(access_lifetime) <= now;
        let mut by_expiry: Vec<_> = self.sessions.iter().collect();
        by_expiry.sort_by_key(|(_, session)| session.expires_at);
        let surplus = (by_expiry.len() + 1).saturating_sub(MAX_SESSIONS);
        let ending = by_expiry.iter().enumerate();
        ending
            .filter(|(index, (_, session))| *index < surplus || dead(session))
            .map(|(_, (id, _))| (*id).clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(expiries: &[i64]) -> (User, Vec<SessionId>) {
        let ids: Vec<_> = expiries.iter().map(|_| SessionId::random()).collect();
        let sessions = ids.iter().zip(expiries).map(|(id, expiry)| {
            let session = Session {
                generation: Generation::FIRST,
                rotated_at: Timestamp::from_millis(0),
                expires_at: Timestamp::from_millis(*expiry),
            };
            (id.clone(), session)
        });
        let user = User {
            id: UserId::new(Timestamp::from_millis(0)),
            username: Username::parse("ada").unwrap(),
            email: None,
            password_hash: PasswordHash::new(String::new()),
            role: Role::User,
            active: true,
            token_version: TokenVersion(0),
            balance: Amount::ZERO,
            signup_grant: Amount::ZERO,
            sessions: sessions.collect(),
            holds: BTreeMap::new(),
            auth_key: None,
            api_keys: BTreeMap::new(),
            deleting: false,
            paced_until: None,
            created_at: Timestamp::from_millis(0),
        };
        (user, ids)
    }

    #[test]
    fn a_sixth_login_ends_the_session_that_would_expire_first() {
        let (user, ids) = user(&[500, 100, 300, 400, 200]);
        let ending = user.sessions_to_end(Timestamp::from_millis(50), Duration::ZERO);
        assert_eq!(ending, [ids[1].clone()]);
    }

    #[test]
    fn a_session_lasts_until_its_last_access_token_has_expired() {
        let (user, ids) = user(&[100, 900]);
        let access = Duration::from_millis(360);
        assert!(user.sessions_to_end(Timestamp::from_millis(459), access).is_empty());
        assert_eq!(
            user.sessions_to_end(Timestamp::from_millis(460), access),
            [ids[0].clone()]
        );
    }
}
