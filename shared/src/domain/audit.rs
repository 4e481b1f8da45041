use serde::{Deserialize, Serialize};

use super::{AuditId, Timestamp, UserId, UserKey};

/// What somebody with the right to did. Written in the same transaction as the deed, and never changed: no function may update or delete
/// in the partition of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Sorts by the time of the deed.
    pub id: AuditId,
    /// What was done.
    pub action: Action,
    /// Who did it; nobody if an operator of the deployment did, who is no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Person>,
    /// To whose account.
    pub target: Person,
    /// What changed.
    pub changes: Vec<Change>,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// Somebody, as a trail that is kept for good names them: by name for people, and by id because a name may be deleted and taken again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The id.
    pub id: UserId,
    /// What every spelling of the name shares.
    pub username: UserKey,
}

/// A kind of deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Action {
    /// An account was activated or deactivated, or got another role.
    UserChanged,
    /// Tokens were put on a balance or taken off.
    BalanceAdjusted,
    /// An operator of the deployment made an admin.
    AdminMade,
    /// An operator's reconciliation made a balance what the ledger says.
    BalanceCorrected,
}

/// One member of an account before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// Such as `role`.
    pub member: String,
    /// Its value before, as JSON would write it without quotes; `null` if there was none.
    pub from: Option<String>,
    /// Its value after.
    pub to: String,
}

impl Change {
    /// A change of `member`.
    pub fn new(member: &str, from: Option<String>, to: String) -> Self {
        Self {
            member: member.to_owned(),
            from,
            to,
        }
    }
}
