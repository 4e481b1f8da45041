use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{
        AttributeValue, Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        Update,
    },
};
use serde::Deserialize;

use super::{
    Store,
    auth_keys::AuthKeyItem,
    chats::Page,
    key::{self, Item},
    meter,
    request::{Cancelled, Placeholders, Refused, failure, from_item, to_item},
};
use crate::{
    domain::{
        Caller, Cursor, Invalid, NamePrefix, OwnerCaller, PageSize, PasswordHash, Proof, Role, Session, SessionId,
        StaffCaller, Timestamp, User, UserKey,
    },
    error::Error,
};

/// A user as a list of users shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FoundUser {
    /// The name as its owner wrote it, behind its key.
    listed_as: String,
    /// Whether the user may do anything at all.
    pub active: bool,
    /// What the user may do.
    pub role: Role,
    /// When the account was opened.
    pub created_at: Timestamp,
}

impl FoundUser {
    /// The name as its owner wrote it.
    pub fn username(&self) -> &str {
        self.listed_as.split_once('#').map_or("", |(_, written)| written)
    }
}

/// How many queries fill one page at the most.
const MAX_QUERIES: usize = 10;

/// How often a write starts over because the item changed under it in a way that may let it through now.
const ROUNDS: usize = 4;

/// No sessions, and no API keys.
pub(super) const NOTHING: BTreeMap<SessionId, Session> = BTreeMap::new();

/// The condition under which a caller's claims still hold. [`claims_of`] supplies its names and values.
pub(super) fn holds_for(caller: &Caller) -> &'static str {
    match caller.proof {
        Proof::Session { .. } => {
            "#active = :true AND #token_version = :token_version AND attribute_exists(#sessions.#session)"
        }
        Proof::Key(_) => "#active = :true AND #auth_key = :auth_key",
        Proof::ApiKey(_) => "#active = :true AND attribute_exists(#api_keys.#api_key)",
    }
}

/// The names and values of [`holds_for`].
pub(super) fn claims_of(caller: &Caller) -> Result<Placeholders, Error> {
    let claims = Placeholders::default().name("#active", "active").value(":true", true)?;
    match &caller.proof {
        Proof::Session { session, token_version } => claims
            .name("#token_version", "token_version")
            .name("#sessions", "sessions")
            .name("#session", session.as_str())
            .value(":token_version", token_version),
        Proof::Key(hash) => claims.name("#auth_key", "auth_key").value(":auth_key", hash),
        Proof::ApiKey(issued) => Ok(claims
            .name("#api_keys", "api_keys")
            .name("#api_key", issued.id.as_str())),
    }
}

/// The condition that the account's keys are those in `seen`, so that what removes them knows what else leads to them. Its names and values
/// are added to `placeholders`; the names of the attributes are `#auth_key` and `#api_keys`.
pub(super) fn keys_are_as_in(seen: &User, placeholders: Placeholders) -> Result<(String, Placeholders), Error> {
    let mut placeholders = placeholders.name("#auth_key", "auth_key").name("#api_keys", "api_keys");
    let mut condition = match &seen.auth_key {
        Some(hash) => {
            placeholders = placeholders.value(":seen_key", hash)?;
            "#auth_key = :seen_key".to_owned()
        }
        None => "attribute_not_exists(#auth_key)".to_owned(),
    };
    // As many and each of them: what has been spent with them may have changed.
    if seen.api_keys.is_empty() {
        condition.push_str(" AND (attribute_not_exists(#api_keys) OR #api_keys = :no_api_keys)");
        placeholders = placeholders.value(":no_api_keys", &NOTHING)?;
    } else {
        condition.push_str(" AND size(#api_keys) = :seen_api_keys");
        placeholders = placeholders.value(":seen_api_keys", seen.api_keys.len())?;
    }
    for (index, id) in seen.api_keys.keys().enumerate() {
        let name = format!("#seen_api_key{index}");
        condition.push_str(&format!(" AND attribute_exists(#api_keys.{name})"));
        placeholders = placeholders.name(&name, id.as_str());
    }
    Ok((condition, placeholders))
}

/// Supplies the names and values of [`holds_for`] and the key of the caller's item.
pub(super) fn acting_for(update: UpdateItemFluentBuilder, caller: &Caller) -> Result<UpdateItemFluentBuilder, Error> {
    let (names, values) = claims_of(caller)?.into_parts();
    Ok(update
        .set_key(Some(key::user(&caller.user)))
        .set_expression_attribute_names(names)
        .set_expression_attribute_values(values))
}

/// The user in `item`, if `caller`'s claims hold for it: what [`holds_for`] says, for reads.
pub(super) fn admit(item: Option<Item>, caller: &Caller) -> Result<User, Error> {
    admit_user(item.map(from_item).transpose()?, caller)
}

/// As [`admit`], of an item that was read already.
pub(super) fn admit_user(user: Option<User>, caller: &Caller) -> Result<User, Error> {
    let user = admit_also_inactive(user, caller)?;
    let live = match &caller.proof {
        Proof::Session { session, .. } => user.sessions.contains_key(session),
        Proof::Key(_) => true,
        Proof::ApiKey(issued) => user.api_keys.contains_key(&issued.id),
    };
    if !user.active {
        Err(caller.inactive())
    } else if live {
        Ok(user)
    } else {
        Err(caller.not_valid())
    }
}

/// As [`admit_user`], but an account that may do nothing any more is let in: for what goes on with its deletion.
fn admit_also_inactive(user: Option<User>, caller: &Caller) -> Result<User, Error> {
    let user = user.ok_or(caller.not_valid())?;
    let current = match &caller.proof {
        Proof::Session { token_version, .. } => user.token_version == *token_version,
        Proof::Key(hash) => user.auth_key.as_ref() == Some(hash),
        // A new password ends it with all others, and that is seen after whether the account is active.
        Proof::ApiKey(_) => true,
    };
    // The id differs when the name was deleted and taken again.
    if user.id == caller.id && current {
        Ok(user)
    } else {
        Err(caller.not_valid())
    }
}

impl Store {
    /// Stores a new account and lists it, unless the name is taken.
    ///
    /// # Errors
    /// [`Error::UsernameTaken`].
    pub async fn create_user(&self, user: &User) -> Result<(), Error> {
        if let Some(hash) = &user.auth_key {
            // Both or neither: an account whose owner holds a key that leads nowhere would be refused by its own sign-up's answer.
            let mut item = to_item(AuthKeyItem::leading_to(user))?;
            item.extend(key::auth_key(hash));
            let lookup = self.transact_put(item, None)?;
            return self.create_user_with(user, lookup).await;
        }
        // Two sign-ups for one name: the second finds the first.
        let put = self
            .client
            .put_item()
            .set_item(Some(item_of(user)?))
            .condition_expression("attribute_not_exists(pk)");
        match self.put(put).await {
            Ok(()) => Ok(()),
            Err(Refused::Condition(old)) => was_ours(old, user),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    /// As [`Store::create_user`], together with one more item.
    pub(super) async fn create_user_with(&self, user: &User, also: TransactWriteItem) -> Result<(), Error> {
        // As above.
        let put = self.transact_put(item_of(user)?, Some("attribute_not_exists(pk)"))?;
        match self.transact(vec![put, also]).await {
            Ok(()) => Ok(()),
            Err(Cancelled::NotNow(source)) => Err(Error::Busy(source)),
            Err(Cancelled::Failed(error)) => Err(error),
            Err(Cancelled::Conditions(conditions)) => match conditions.into_iter().next() {
                Some(Err(old)) => was_ours(old, user),
                _ => Err(Error::internal("an account was refused for what was stored with it")),
            },
        }
    }

    /// Reads an account by name, for a login.
    ///
    /// # Errors
    /// Only if the table cannot be read.
    pub async fn find_user(&self, user: &UserKey) -> Result<Option<User>, Error> {
        self.get(key::user(user)).await?.map(from_item).transpose()
    }

    /// Reads the caller's account.
    ///
    /// # Errors
    /// [`Error::AccessTokenNotValid`] or [`Error::UserInactive`] if the caller's claims no longer hold.
    pub async fn read_user(&self, caller: &Caller) -> Result<User, Error> {
        admit(self.get(key::user(&caller.user)).await?, caller)
    }

    /// Reads the caller's account, which they may have begun to delete.
    ///
    /// # Errors
    /// As [`Store::read_user`].
    pub async fn read_user_to_delete(&self, caller: &Caller) -> Result<User, Error> {
        let user = self.get(key::user(&caller.user)).await?;
        let user = user.map(from_item::<User>).transpose()?;
        match user {
            Some(user) if user.deleting => admit_also_inactive(Some(user), caller),
            user => admit_user(user, caller),
        }
    }

    /// Gives `user`, whose old password was just checked, another one, and ends every session and key of theirs.
    ///
    /// # Errors
    /// [`Error::WrongPassword`] if the password was changed meanwhile; as [`Store::read_user`].
    pub async fn change_password(&self, caller: &OwnerCaller, user: &User, hash: &PasswordHash) -> Result<(), Error> {
        let caller = &caller.0;
        let mut seen = user.clone();
        let mut unknown = false;
        for _ in 0..ROUNDS {
            let update = self.password_update(caller, &seen, hash)?;
            let mut writes = vec![update];
            writes.extend(self.forget_keys(&seen)?);
            match self.transact(writes).await {
                Ok(()) => return Ok(()),
                // This one surely did nothing, but one before it may have.
                Err(Cancelled::NotNow(_)) if unknown => break,
                Err(Cancelled::NotNow(source)) => return Err(Error::Busy(source)),
                // It may have been set. Sent again, it is found if it was.
                Err(Cancelled::Failed(Error::Busy(source))) => {
                    tracing::warn!(error = %source, "nobody knows whether the password was set; sending it again");
                    unknown = true;
                    continue;
                }
                Err(Cancelled::Failed(error)) => return Err(error),
                Err(Cancelled::Conditions(conditions)) => {
                    unknown = false;
                    let Some(Err(old)) = conditions.into_iter().next() else {
                        return Err(Error::internal("a password change was refused for the keys"));
                    };
                    let current = old.map(from_item::<User>).transpose()?;
                    if current.as_ref().is_some_and(|user| user.password_hash == *hash) {
                        // Sent again after a lost reply. A hash has a salt of its own, so it is ours.
                        return Ok(());
                    }
                    let current = admit_user(current, caller)?;
                    if current.password_hash != seen.password_hash {
                        return Err(Error::WrongPassword);
                    }
                    // Somebody logged in and got a key or made one, which must end too.
                    seen = current;
                }
            }
        }
        if unknown {
            return Err(Error::OutcomeUnknown);
        }
        Err(Error::Busy(
            "the account kept changing while its password was changed".into(),
        ))
    }

    /// The write that gives the account `seen` another password.
    fn password_update(&self, caller: &Caller, seen: &User, hash: &PasswordHash) -> Result<TransactWriteItem, Error> {
        let placeholders = claims_of(caller)?
            .name("#password", "password_hash")
            .name("#token_version", "token_version")
            .name("#sessions", "sessions")
            .value(":old_password", &seen.password_hash)?
            .value(":new_password", hash)?
            .value(":next_version", seen.token_version.next())?
            .value(":nothing", &NOTHING)?
            // A value of its own: an engine may store one that is named twice as one map, in both places.
            .value(":no_keys", &NOTHING)?;
        // The password that was checked must still be the password, and no key may be given out between.
        let (same_keys, placeholders) = keys_are_as_in(seen, placeholders)?;
        let condition = format!("{} AND #password = :old_password AND {same_keys}", holds_for(caller));
        let (names, values) = placeholders.into_parts();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&seen.key())))
            .update_expression(
                "SET #password = :new_password, #token_version = :next_version, #sessions = :nothing, \
                 #api_keys = :no_keys REMOVE #auth_key",
            )
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The writes that remove what leads from a user's keys to the user.
    pub(super) fn forget_keys(&self, user: &User) -> Result<Vec<TransactWriteItem>, Error> {
        let auth_key = user.auth_key.iter().map(key::auth_key);
        let api_keys = user.api_keys.keys().map(key::api_key);
        auth_key.chain(api_keys).map(|key| self.transact_delete(key)).collect()
    }

    /// A delete as a part of a transaction, whether there is anything to delete or not.
    pub(super) fn transact_delete(&self, key: Item) -> Result<TransactWriteItem, Error> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// A put as a part of a transaction.
    pub(super) fn transact_put(&self, item: Item, condition: Option<&str>) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_condition_expression(condition.map(str::to_owned))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Reads a page of the active users, by name. A name that has just been taken may be missing for a moment.
    ///
    /// # Errors
    /// As [`Store::read_user`]; the caller is checked in a request of its own, sent at the same time.
    pub async fn list_active_users(
        &self,
        caller: &Caller,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<FoundUser>, Error> {
        let everybody = NamePrefix::default();
        let (caller, page) = tokio::join!(
            self.read_user(caller),
            self.page_of_users(&everybody, Some(true), after, size)
        );
        caller?;
        page
    }

    /// Reads a page of the users whose names begin with `prefix`, by name, for staff. A name that has just been taken may be missing for a
    /// moment.
    ///
    /// # Errors
    /// A caller who is not staff, who is checked at the same time; a cursor beyond the prefix.
    pub async fn search_users(
        &self,
        caller: &StaffCaller,
        prefix: &NamePrefix,
        active: Option<bool>,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<FoundUser>, Error> {
        let (caller, page) = tokio::join!(self.read_staff(caller), self.page_of_users(prefix, active, after, size));
        caller?;
        page
    }

    async fn page_of_users(
        &self,
        prefix: &NamePrefix,
        active: Option<bool>,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<FoundUser>, Error> {
        // A NUL is in no name, so this is right behind the cursor's place and before every other.
        let mut first = after.map_or_else(|| prefix.as_str().to_owned(), |cursor| format!("{}\0", cursor.place()));
        if first.is_empty() {
            // A key cannot be compared with nothing.
            first.push('\0');
        }
        let last = format!("{}\u{10FFFF}", prefix.as_str());
        if !(prefix.as_str()..last.as_str()).contains(&first.as_str()) {
            return Err(Invalid::new("cursor", "Cursor is not valid here").into());
        }
        // One more than is shown tells whether there is a next page.
        let wanted = size.get() + 1;
        let mut found: Vec<FoundUser> = Vec::new();
        let mut more = true;
        // One query, unless so many users are filtered out that the page is not full after it.
        for _ in 0..MAX_QUERIES {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(key::USERS)
                .key_condition_expression("#listed = :all AND #listed_as BETWEEN :first AND :last")
                .set_filter_expression(active.map(|_| "#active = :active".to_owned()))
                .expression_attribute_names("#listed", key::LISTED)
                .expression_attribute_names("#listed_as", key::LISTED_AS)
                .expression_attribute_values(":all", AttributeValue::S(key::ALL.into()))
                .expression_attribute_values(":first", AttributeValue::S(first.clone()))
                .expression_attribute_values(":last", AttributeValue::S(last.clone()))
                .limit(i32::try_from(wanted).map_err(Error::internal)?)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let query = match active {
                Some(active) => query
                    .expression_attribute_names("#active", "active")
                    .expression_attribute_values(":active", AttributeValue::Bool(active)),
                None => query,
            };
            let output = query.send().await.map_err(|error| failure("Query", &error))?;
            let capacity = output.consumed_capacity;
            meter::add_read_units(capacity.and_then(|capacity| capacity.capacity_units));
            for item in output.items.unwrap_or_default() {
                found.push(from_item(item)?);
            }
            let stopped_at = output.last_evaluated_key.and_then(|mut key| key.remove(key::LISTED_AS));
            match stopped_at {
                Some(AttributeValue::S(place)) => first = format!("{place}\0"),
                _ => {
                    more = false;
                    break;
                }
            }
            if found.len() >= wanted {
                break;
            }
        }
        let shown_all = found.len() <= size.get();
        found.truncate(size.get());
        let next = match found.last() {
            Some(last) if !shown_all => Some(Cursor::after(last.listed_as.clone())),
            // The page is short although there is more: the next begins where the last query stopped.
            _ if more => Some(Cursor::after(first.trim_end_matches('\0').to_owned())),
            _ => None,
        };
        Ok(Page { items: found, next })
    }
}

/// The item of an account, with what lists it.
fn item_of(user: &User) -> Result<Item, Error> {
    let key = user.key();
    let listed_as = format!("{}#{}", key.as_str(), user.username);
    let mut item = to_item(user)?;
    item.extend(key::user(&key));
    item.insert(key::LISTED.into(), AttributeValue::S(key::ALL.into()));
    item.insert(key::LISTED_AS.into(), AttributeValue::S(listed_as));
    Ok(item)
}

/// What it means that the name is taken by `old`: if it is the account itself, the reply to our own write was lost and the SDK sent it
/// again.
fn was_ours(old: Option<Item>, user: &User) -> Result<(), Error> {
    let old = old.map(from_item::<User>).transpose()?;
    if old.is_some_and(|old| old.id == user.id) {
        Ok(())
    } else {
        Err(Error::UsernameTaken)
    }
}
