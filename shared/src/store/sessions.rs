use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Store, key, meter,
    request::{Refused, from_item, to_value},
    users::{acting_for, admit_user, holds_for},
};
use crate::{
    domain::{AuthKeyHash, Caller, MAX_SESSIONS, PasswordHash, RefreshGrant, Session, SessionId, Timestamp, User},
    error::Error,
};

/// For how long the refresh token before the newest gets the newest pair again instead of ending the session: two tabs that refresh at
/// once, or a reply that was lost.
const GRACE: Duration = Duration::from_secs(10);

/// How often opening a session starts over because other logins came between.
const ROUNDS: usize = 5;

/// A session about to be opened, with what else a login changes.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Its name.
    pub session: &'a SessionId,
    /// Its state.
    pub state: &'a Session,
    /// A hash of the same password with today's parameters.
    pub rehash: Option<&'a PasswordHash>,
    /// The key for the `Token` scheme, if the account does not name it yet.
    pub new_key: Option<&'a AuthKeyHash>,
}

impl Store {
    /// Opens a session for `user`, whose password was just checked, and ends those that have to make room.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] if the account was deactivated or its password changed since `user` was read.
    pub async fn open_session(
        &self,
        mut user: User,
        opening: &Opening<'_>,
        now: Timestamp,
        access_lifetime: Duration,
    ) -> Result<(), Error> {
        let Opening {
            session,
            state,
            rehash,
            new_key,
        } = opening;
        for _ in 0..ROUNDS {
            let ending = user.sessions_to_end(now, access_lifetime);
            let room = MAX_SESSIONS - 1 + ending.len();
            let mut set = "SET #sessions.#session = :session".to_owned();
            // The password that was checked must still be the password. Two logins at once that each see room for one more must not
            // both take it: the count, and that what makes room is still there to be ended, decide together.
            let mut condition = "#active = :true AND #token_version = :token_version AND #password = :password \
                                 AND size(#sessions) <= :room"
                .to_owned();
            let mut update = self
                .client
                .update_item()
                .set_key(Some(key::user(&user.key())))
                .expression_attribute_names("#active", "active")
                .expression_attribute_names("#token_version", "token_version")
                .expression_attribute_names("#password", "password_hash")
                .expression_attribute_names("#sessions", "sessions")
                .expression_attribute_names("#session", session.as_str())
                .expression_attribute_values(":true", AttributeValue::Bool(true))
                .expression_attribute_values(":token_version", to_value(user.token_version)?)
                .expression_attribute_values(":password", to_value(&user.password_hash)?)
                .expression_attribute_values(":room", to_value(room)?)
                .expression_attribute_values(":session", to_value(state)?);
            if let Some(rehash) = rehash {
                set.push_str(", #password = :rehash");
                update = update.expression_attribute_values(":rehash", to_value(rehash)?);
            }
            if let Some(hash) = new_key {
                set.push_str(", #auth_key = :auth_key");
                update = update
                    .expression_attribute_names("#auth_key", "auth_key")
                    .expression_attribute_values(":auth_key", to_value(hash)?);
            }
            let mut remove = Vec::new();
            for (index, id) in ending.iter().enumerate() {
                remove.push(format!("#sessions.#ending{index}"));
                condition.push_str(&format!(" AND attribute_exists(#sessions.#ending{index})"));
                update = update.expression_attribute_names(format!("#ending{index}"), id.as_str());
            }
            if !remove.is_empty() {
                set.push_str(&format!(" REMOVE {}", remove.join(", ")));
            }
            match self
                .apply(update.update_expression(set).condition_expression(condition))
                .await
            {
                Ok(()) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Condition(None)) => return Err(Error::InvalidCredentials),
                Err(Refused::Condition(Some(old))) => {
                    let current: User = from_item(old)?;
                    if current.sessions.contains_key(*session) {
                        // The reply to our own update was lost and the SDK sent it again.
                        return Ok(());
                    }
                    // A new password raises the token version. The same version with another hash is the same password, hashed anew by
                    // a login that came between.
                    let unchanged =
                        current.id == user.id && current.active && current.token_version == user.token_version;
                    if !unchanged {
                        return Err(Error::InvalidCredentials);
                    }
                    user = current;
                }
            }
        }
        Err(Error::Busy("too many logins of one user at once".into()))
    }

    /// Moves a session to its next generation. The generation before gets the current one again for ten seconds; anything older has been
    /// stolen or copied, and ends the session (RFC 9700 section 4.14.2).
    ///
    /// # Errors
    /// [`Error::RefreshTokenNotValid`] or [`Error::UserInactive`].
    pub async fn rotate_session(&self, grant: &RefreshGrant, next: Session, now: Timestamp) -> Result<Session, Error> {
        let update = self
            .client
            .update_item()
            .set_key(Some(key::user(&grant.user)))
            .update_expression("SET #sessions.#session = :next")
            // Two refreshes with one token: one of them moves the session on, the other finds it moved.
            .condition_expression(
                "#active = :true AND #token_version = :token_version AND #sessions.#session.#generation = :generation",
            )
            .expression_attribute_names("#active", "active")
            .expression_attribute_names("#token_version", "token_version")
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#session", grant.session.as_str())
            .expression_attribute_names("#generation", "g")
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":token_version", to_value(grant.token_version)?)
            .expression_attribute_values(":generation", to_value(grant.generation)?)
            .expression_attribute_values(":next", to_value(&next)?);
        let old = match self.apply(update).await {
            Ok(()) => return Ok(next),
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::Condition(None)) => return Err(Error::RefreshTokenNotValid),
            Err(Refused::Condition(Some(old))) => from_item::<User>(old)?,
        };
        let session = session_of(&old, grant)?;
        if is_within_grace(grant, session, now) {
            return Ok(session.clone());
        }
        self.end_reused_session(grant, session).await?;
        Err(Error::RefreshTokenNotValid)
    }

    /// Reads the session of a refresh token that is not to be traded in.
    ///
    /// # Errors
    /// As [`Store::rotate_session`]: a token that was traded in before ends its session here too.
    pub async fn read_session(&self, grant: &RefreshGrant, now: Timestamp) -> Result<Session, Error> {
        let user = self
            .get(key::user(&grant.user))
            .await?
            .map(from_item::<User>)
            .transpose()?;
        let user = user.ok_or(Error::RefreshTokenNotValid)?;
        let session = session_of(&user, grant)?;
        if session.generation == grant.generation || is_within_grace(grant, session, now) {
            return Ok(session.clone());
        }
        self.end_reused_session(grant, session).await?;
        Err(Error::RefreshTokenNotValid)
    }

    async fn end_reused_session(&self, grant: &RefreshGrant, session: &Session) -> Result<(), Error> {
        let update = self
            .client
            .update_item()
            .set_key(Some(key::user(&grant.user)))
            .update_expression("REMOVE #sessions.#session")
            // Whatever generation it has reached meanwhile, it is the session whose old token turned up. The condition only keeps the
            // update from making an item for a user deleted just now.
            .condition_expression("attribute_exists(#sessions.#session)")
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#session", grant.session.as_str());
        match self.apply(update).await {
            Ok(()) => {
                tracing::warn!(
                    generation = session.generation.0,
                    reused = grant.generation.0,
                    "refresh token reused, session ended"
                );
                Ok(())
            }
            Err(Refused::Condition(_)) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    /// Ends `session` of the caller. Its access and refresh tokens stop working with this write.
    ///
    /// # Errors
    /// [`Error::LogoutTokenNotValid`] if the caller has no such session; as [`Store::read_user`] if the caller's claims do not hold.
    pub async fn end_session(&self, caller: &Caller, session: &SessionId) -> Result<(), Error> {
        let update = acting_for(self.client.update_item(), caller)?
            .update_expression("REMOVE #sessions.#ending")
            // Two logouts of one session: the second is told that it has ended.
            .condition_expression(format!("{} AND attribute_exists(#sessions.#ending)", holds_for(caller)))
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#ending", session.as_str());
        let calls_before = meter::calls();
        let old = match self.apply(update).await {
            Ok(()) => return Ok(()),
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::Condition(old)) => old,
        };
        // Sent more than once, the update may have found its own work done: the session gone, which may be the one that the caller calls
        // from. It is gone, and that is what was asked for.
        let sent_again = meter::calls() - calls_before > 1;
        let current = old.map(from_item::<User>).transpose()?;
        let gone = current
            .as_ref()
            .is_some_and(|user| !user.sessions.contains_key(session));
        match admit_user(current, caller) {
            Ok(_) if sent_again && gone => Ok(()),
            Ok(_) => Err(Error::LogoutTokenNotValid),
            Err(Error::AccessTokenNotValid) if sent_again && gone && caller.session() == Some(session) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The session of a refresh token, if it still lives.
fn session_of<'a>(user: &'a User, grant: &RefreshGrant) -> Result<&'a Session, Error> {
    if user.id != grant.id || user.token_version != grant.token_version {
        return Err(Error::RefreshTokenNotValid);
    }
    if !user.active {
        return Err(Error::UserInactive);
    }
    user.sessions.get(&grant.session).ok_or(Error::RefreshTokenNotValid)
}

/// Whether the refresh token is the one before the session's newest, and that is very new.
fn is_within_grace(grant: &RefreshGrant, session: &Session, now: Timestamp) -> bool {
    session.generation == grant.generation.next() && now.since(session.rotated_at) <= GRACE
}
