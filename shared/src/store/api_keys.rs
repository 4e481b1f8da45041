use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use super::{
    Store,
    key::{self, Item},
    request::{Cancelled, Placeholders, from_item, to_item},
    users::{admit, admit_user, claims_of, holds_for},
};
use crate::{
    domain::{ApiKey, ApiKeyId, ApiKeyUse, Caller, IssuedApiKey, MAX_API_KEYS, OwnerCaller, User},
    error::Error,
};

/// How often a write starts over because nobody knows whether it was carried out, or because the account has another form than most.
const ROUNDS: usize = 4;

/// The live API keys on an account. One from before there were any has no such attribute.
const API_KEYS: &str = "api_keys";

impl Store {
    /// The key as it was issued. Nothing of that ever changes; whether the key still is one of its owner's, the account says.
    ///
    /// # Errors
    /// Only if the table cannot be read.
    pub async fn find_api_key(&self, key: &ApiKey) -> Result<Option<IssuedApiKey>, Error> {
        let hash = key.hash();
        let item = self.get(key::api_key(&ApiKeyId::of(&hash))).await?;
        let issued = item.map(from_item::<IssuedApiKey>).transpose()?;
        // The name is not all of the hash.
        Ok(issued.filter(|issued| issued.hash == hash))
    }

    /// Stores a new API key of the caller. Stored twice it is stored once.
    ///
    /// # Errors
    /// [`Error::TooManyApiKeys`]; [`Error::OutcomeUnknown`] if nobody can say; as [`Store::read_user`].
    pub async fn add_api_key(&self, caller: &OwnerCaller, issued: &IssuedApiKey) -> Result<(), Error> {
        let mut has_map = true;
        let mut unknown = false;
        for _ in 0..ROUNDS {
            let mut item = to_item(issued)?;
            item.extend(key::api_key(&issued.id));
            let writes = vec![
                self.api_key_update(caller, issued, has_map)?,
                self.transact_put(item, Some("attribute_not_exists(pk)"))?,
            ];
            let account = match self.transact(writes).await {
                Ok(()) => return Ok(()),
                // This one surely did nothing, but one before it may have.
                Err(Cancelled::NotNow(_)) if unknown => break,
                Err(Cancelled::NotNow(source)) => return Err(Error::Busy(source)),
                // It may have been stored. Sent again, it is found if it was.
                Err(Cancelled::Failed(Error::Busy(source))) => {
                    tracing::warn!(error = %source, "nobody knows whether an API key was stored; sending it again");
                    unknown = true;
                    continue;
                }
                Err(Cancelled::Failed(error)) => return Err(error),
                Err(Cancelled::Conditions(refused)) => account_in(refused)?,
            };
            unknown = false;
            has_map = account.as_ref().is_none_or(|item| item.contains_key(API_KEYS));
            let user = account.map(from_item::<User>).transpose()?;
            if user.as_ref().is_some_and(|user| user.api_keys.contains_key(&issued.id)) {
                // Sent again after a lost reply.
                return Ok(());
            }
            if admit_user(user, &caller.0)?.api_keys.len() >= MAX_API_KEYS {
                return Err(Error::TooManyApiKeys);
            }
        }
        if unknown {
            return Err(Error::OutcomeUnknown);
        }
        Err(Error::Busy(
            "the account kept changing while an API key was stored".into(),
        ))
    }

    /// The write that makes a key one of its owner's.
    fn api_key_update(
        &self,
        caller: &OwnerCaller,
        issued: &IssuedApiKey,
        has_map: bool,
    ) -> Result<TransactWriteItem, Error> {
        let placeholders = Placeholders::default().name("#api_keys", API_KEYS);
        let unused = ApiKeyUse::default();
        if has_map {
            // Two keys made at once on the last place: the count lets one of them in. A key that is there already was stored by a request
            // whose reply was lost.
            self.key_change(
                &caller.0,
                "SET #api_keys.#new = :unused",
                "size(#api_keys) < :most AND attribute_not_exists(#api_keys.#new)",
                placeholders
                    .name("#new", issued.id.as_str())
                    .value(":unused", unused)?
                    .value(":most", MAX_API_KEYS)?,
            )
        } else {
            // Two first keys made at once: the second finds the first, and becomes the second.
            self.key_change(
                &caller.0,
                "SET #api_keys = :first",
                "attribute_not_exists(#api_keys)",
                placeholders.value(":first", BTreeMap::from([(&issued.id, unused)]))?,
            )
        }
    }

    /// Ends an API key of the caller. It lets nobody in any more from this write on.
    ///
    /// # Errors
    /// [`Error::ApiKeyNotFound`]; [`Error::OutcomeUnknown`] if nobody can say; as [`Store::read_user`].
    pub async fn remove_api_key(&self, caller: &OwnerCaller, id: &ApiKeyId) -> Result<(), Error> {
        let mut unknown = false;
        for _ in 0..ROUNDS {
            let placeholders = Placeholders::default()
                .name("#api_keys", API_KEYS)
                .name("#revoked", id.as_str());
            // Two revocations at once: the second is told that there is no such key. And whose it is: its item may be removed by nobody else.
            let condition = "attribute_exists(#api_keys.#revoked)";
            let writes = vec![
                self.key_change(&caller.0, "REMOVE #api_keys.#revoked", condition, placeholders)?,
                self.transact_delete(key::api_key(id))?,
            ];
            let account = match self.transact(writes).await {
                Ok(()) => return Ok(()),
                // This one surely did nothing, but one before it may have.
                Err(Cancelled::NotNow(_)) if unknown => break,
                Err(Cancelled::NotNow(source)) => return Err(Error::Busy(source)),
                // It may have been done. Sent again, it is found if it was.
                Err(Cancelled::Failed(Error::Busy(source))) => {
                    tracing::warn!(error = %source, "nobody knows whether an API key was revoked; sending it again");
                    unknown = true;
                    continue;
                }
                Err(Cancelled::Failed(error)) => return Err(error),
                Err(Cancelled::Conditions(refused)) => account_in(refused)?,
            };
            let user = admit(account, &caller.0)?;
            return match user.api_keys.contains_key(id) {
                true => Err(Error::internal("a revocation was refused for no visible reason")),
                // Gone, which is what was asked for; most likely by the request whose reply was lost.
                false if unknown => Ok(()),
                false => Err(Error::ApiKeyNotFound),
            };
        }
        Err(Error::OutcomeUnknown)
    }

    /// An update of the caller's account, as a part of a transaction.
    fn key_change(
        &self,
        caller: &Caller,
        update: &str,
        condition: &str,
        placeholders: Placeholders,
    ) -> Result<TransactWriteItem, Error> {
        let placeholders = placeholders
            .and(claims_of(caller)?)
            .name("#id", "id")
            .value(":id", caller.id)?;
        let (names, values) = placeholders.into_parts();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key::user(&caller.user)))
            .update_expression(update)
            // What is stored beside the account names its owner by the id.
            .condition_expression(format!("{} AND #id = :id AND {condition}", holds_for(caller)))
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The caller's live API keys and what has been done with each, the newest first.
    ///
    /// # Errors
    /// As [`Store::read_user`].
    pub async fn list_api_keys(&self, caller: &Caller) -> Result<Vec<(IssuedApiKey, ApiKeyUse)>, Error> {
        let mut user = self.read_user(caller).await?;
        let keys: Vec<_> = user.api_keys.keys().map(key::api_key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut listed = Vec::with_capacity(keys.len());
        // What was revoked between the two reads is not among these.
        for item in self.get_all(keys).await? {
            let issued: IssuedApiKey = from_item(item)?;
            if let Some(used) = user.api_keys.remove(&issued.id) {
                listed.push((issued, used));
            }
        }
        listed.sort_by(|(one, _), (other, _)| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
        Ok(listed)
    }
}

/// The account, for which the first write of a transaction was refused.
fn account_in(refused: Vec<Result<(), Option<Item>>>) -> Result<Option<Item>, Error> {
    match refused.into_iter().next() {
        Some(Err(account)) => Ok(account),
        _ => Err(Error::internal(
            "an account's keys were refused for what is stored with them",
        )),
    }
}
