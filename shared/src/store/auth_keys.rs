use serde::{Deserialize, Serialize};

use super::{
    Store, key,
    request::{Refused, from_item, to_item},
};
use crate::{
    domain::{AuthKeyHash, User, UserId, UserKey},
    error::Error,
};

/// Whose a key for the `Token` scheme is. It never changes: whether the key still is theirs, the account says.
#[derive(Serialize, Deserialize)]
pub(super) struct AuthKeyItem {
    username: UserKey,
    id: UserId,
}

impl AuthKeyItem {
    /// The item that leads from a key to `user`.
    pub(super) fn leading_to(user: &User) -> Self {
        Self {
            username: user.key(),
            id: user.id,
        }
    }
}

impl Store {
    /// To whom the key with this hash was given.
    ///
    /// # Errors
    /// Only if the table cannot be read.
    pub async fn owner_of_key(&self, hash: &AuthKeyHash) -> Result<Option<(UserKey, UserId)>, Error> {
        let item = self.get(key::auth_key(hash)).await?;
        let owner = item.map(from_item::<AuthKeyItem>).transpose()?;
        Ok(owner.map(|owner| (owner.username, owner.id)))
    }

    /// Stores whose the key with this hash is. It lets nobody in until the account names it too.
    ///
    /// # Errors
    /// Only if the table cannot be written.
    pub async fn publish_auth_key(&self, hash: &AuthKeyHash, user: &User) -> Result<(), Error> {
        let mut item = to_item(AuthKeyItem::leading_to(user))?;
        item.extend(key::auth_key(hash));
        // Unconditional on purpose: a key is a function of its user, so everybody who writes this item writes the same.
        match self.put(self.client.put_item().set_item(Some(item))).await {
            Ok(()) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Condition(_)) => Err(Error::internal("a put without a condition was refused for one")),
        }
    }
}
