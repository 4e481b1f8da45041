use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnConsumedCapacity},
};

use super::{
    Store,
    chats::Page,
    key::{self, Item},
    meter,
    request::{Refused, failure, from_item, to_item, to_value},
};
use crate::{
    domain::{Caller, Cursor, PageSize, User, UserKey, Username},
    error::Error,
};

/// A user as the list of active users shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The name as its owner wrote it.
    pub username: Username,
}

/// The condition under which a caller's claims still hold. [`acting_for`] supplies its names and values.
pub(super) const CALLER_IS_VALID: &str =
    "#active = :true AND #token_version = :token_version AND attribute_exists(#sessions.#session)";

/// Supplies the names and values of [`CALLER_IS_VALID`] and the key of the caller's item.
pub(super) fn acting_for(update: UpdateItemFluentBuilder, caller: &Caller) -> Result<UpdateItemFluentBuilder, Error> {
    Ok(update
        .set_key(Some(key::user(&caller.user)))
        .expression_attribute_names("#active", "active")
        .expression_attribute_names("#token_version", "token_version")
        .expression_attribute_names("#sessions", "sessions")
        .expression_attribute_names("#session", caller.session.as_str())
        .expression_attribute_values(":true", AttributeValue::Bool(true))
        .expression_attribute_values(":token_version", to_value(caller.token_version)?))
}

/// The user in `item`, if `caller`'s claims hold for it: what [`CALLER_IS_VALID`] says, for reads.
pub(super) fn admit(item: Option<Item>, caller: &Caller) -> Result<User, Error> {
    admit_user(item.map(from_item).transpose()?, caller)
}

/// As [`admit`], of an item that was read already.
pub(super) fn admit_user(user: Option<User>, caller: &Caller) -> Result<User, Error> {
    let Some(user) = user else {
        return Err(Error::AccessTokenNotValid);
    };
    // The id differs when the name was deleted and taken again.
    if user.id != caller.id
        || user.token_version != caller.token_version
        || (user.active && !user.sessions.contains_key(&caller.session))
    {
        return Err(Error::AccessTokenNotValid);
    }
    if user.active {
        Ok(user)
    } else {
        Err(Error::UserInactive)
    }
}

impl Store {
    /// Stores a new account and lists it, unless the name is taken.
    ///
    /// # Errors
    /// [`Error::UsernameTaken`].
    pub async fn create_user(&self, user: &User) -> Result<(), Error> {
        let key = user.key();
        let listed_as = format!("{}#{}", key.as_str(), user.username);
        let mut item = to_item(user)?;
        item.extend(key::user(&key));
        item.insert(key::LISTED.into(), AttributeValue::S(key::ACTIVE.into()));
        item.insert(key::LISTED_AS.into(), AttributeValue::S(listed_as));
        // Two sign-ups for one name: the second finds the first.
        let put = self
            .client
            .put_item()
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        match self.put(put).await {
            Ok(()) => Ok(()),
            Err(Refused::Condition(Some(old))) if from_item::<User>(old.clone())?.id == user.id => {
                // The reply to our own put was lost and the SDK sent it again.
                Ok(())
            }
            Err(Refused::Condition(_)) => Err(Error::UsernameTaken),
            Err(Refused::Failed(error)) => Err(error),
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

    /// Reads a page of the active users, by name. A name that has just been taken may be missing for a moment.
    ///
    /// # Errors
    /// As [`Store::read_user`]; the caller is checked in a request of its own, sent at the same time.
    pub async fn list_active_users(
        &self,
        caller: &Caller,
        after: Option<&Cursor>,
        size: PageSize,
    ) -> Result<Page<ListedUser>, Error> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(key::ACTIVE_USERS)
            .key_condition_expression("#listed = :active")
            .expression_attribute_names("#listed", key::LISTED)
            .expression_attribute_values(":active", AttributeValue::S(key::ACTIVE.into()))
            // One more than is shown tells whether there is a next page.
            .limit(i32::try_from(size.get() + 1).map_err(Error::internal)?)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(after) = after {
            query = query
                .key_condition_expression("#listed = :active AND #listed_as > :after")
                .expression_attribute_names("#listed_as", key::LISTED_AS)
                .expression_attribute_values(":after", AttributeValue::S(after.place().into()));
        }
        let (caller, listed) = tokio::join!(self.read_user(caller), query.send());
        caller?;
        let output = listed.map_err(|error| failure("Query", &error))?;
        meter::add_read_units(
            output
                .consumed_capacity
                .as_ref()
                .and_then(|capacity| capacity.capacity_units),
        );
        let more = output.last_evaluated_key.is_some();
        let items = output.items.unwrap_or_default();
        let mut places: Vec<_> = items.into_iter().filter_map(place_of).collect();
        let more = more || places.len() > size.get();
        places.truncate(size.get());
        let next = places.last().filter(|_| more).cloned().map(Cursor::after);
        let items = places.iter().filter_map(|place| {
            let (_, written) = place.split_once('#')?;
            Username::parse(written).ok().map(|username| ListedUser { username })
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }
}

/// What an entry of the index of active users sorts by.
fn place_of(mut item: Item) -> Option<String> {
    match item.remove(key::LISTED_AS) {
        Some(AttributeValue::S(place)) => Some(place),
        _ => None,
    }
}
