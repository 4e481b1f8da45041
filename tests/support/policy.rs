//! What IAM would say of the requests that functions send to DynamoDB: every request of every test is held against the policy that
//! `template.yaml` gives to its function.
//!
//! A request is one call of one action, or of several for a transaction. One statement must allow a call with all its partition keys
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html>): `ForAllValues` wants each of them to be like
//! one of the statement's.

use std::collections::{BTreeMap, BTreeSet};

use local::template::Permission;
use serde_json::Value;

use super::system::functions;

/// One call of an action, as IAM is asked about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Such as `dynamodb:GetItem`.
    pub action: String,
    /// As the template writes it.
    pub resource: String,
    /// The partition keys; none of a scan.
    pub keys: BTreeSet<String>,
}

impl Call {
    fn new(action: &str, keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            action: format!("dynamodb:{action}"),
            resource: "Table.Arn".into(),
            keys: keys.into_iter().collect(),
        }
    }
}

/// The calls that a request is.
///
/// # Panics
/// If nobody has said yet what such a request needs.
pub fn calls(operation: &str, request: &Value) -> Vec<Call> {
    let key_of = |value: &Value| value["pk"]["S"].as_str().unwrap().to_owned();
    match operation {
        action @ ("GetItem" | "UpdateItem" | "DeleteItem") => vec![Call::new(action, [key_of(&request["Key"])])],
        "PutItem" => vec![Call::new("PutItem", [key_of(&request["Item"])])],
        "TransactWriteItems" | "TransactGetItems" => {
            let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for part in request["TransactItems"].as_array().unwrap() {
                let (kind, body) = part.as_object().unwrap().iter().next().unwrap();
                let key = match kind.as_str() {
                    "Put" => &body["Item"],
                    _ => &body["Key"],
                };
                let action = match kind.as_str() {
                    "ConditionCheck" => "ConditionCheckItem".to_owned(),
                    kind => format!("{kind}Item"),
                };
                keys.entry(action).or_default().push(key_of(key));
            }
            keys.into_iter()
                .map(|(action, keys)| Call::new(&action, keys))
                .collect()
        }
        "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().unwrap().values();
            let writes = tables.flat_map(|table| table.as_array().unwrap());
            let keys = writes.map(|write| key_of(&write["DeleteRequest"]["Key"]));
            vec![Call::new("BatchWriteItem", keys)]
        }
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object().unwrap().values();
            let keys = tables.flat_map(|table| table["Keys"].as_array().unwrap());
            vec![Call::new("BatchGetItem", keys.map(key_of))]
        }
        "Query" => {
            let values = request["ExpressionAttributeValues"].as_object().unwrap();
            let condition = request["KeyConditionExpression"].as_str().unwrap();
            let placeholder = condition.split_once("= ").unwrap().1.split_whitespace().next().unwrap();
            let mut call = Call::new("Query", [values[placeholder]["S"].as_str().unwrap().to_owned()]);
            if let Some(index) = request["IndexName"].as_str() {
                call.resource = format!("${{Table.Arn}}/index/{index}");
            }
            vec![call]
        }
        "Scan" => vec![Call::new("Scan", [])],
        other => panic!("say what permission {other} needs"),
    }
}

/// Whether a policy allows a call.
pub fn allows(policy: &[Permission], call: &Call) -> bool {
    policy.iter().any(|statement| {
        let like_one = |key: &String| statement.leading_keys.iter().any(|pattern| is_like(pattern, key));
        statement.action == call.action
            && statement.resource == call.resource
            && (statement.leading_keys.is_empty() || call.keys.iter().all(like_one))
    })
}

/// The calls of a request that the policy of its function does not allow. What is no function of the template has no policy.
pub fn refused(function: &str, operation: &str, request: &Value) -> Vec<Call> {
    let Some(function) = functions().iter().find(|one| one.binary == function) else {
        return Vec::new();
    };
    let mut calls = calls(operation, request);
    calls.retain(|call| !allows(&function.permissions, call));
    calls
}

/// `StringLike`: `*` stands for any text, `?` for any character.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            is_like(rest, text)
                || text
                    .char_indices()
                    .any(|(at, c)| is_like(rest, &text[at + c.len_utf8()..]))
        }
        Some(wanted) => text.chars().next().is_some_and(|c| {
            (wanted == '?' || wanted == c) && is_like(&pattern[wanted.len_utf8()..], &text[c.len_utf8()..])
        }),
    }
}

#[test]
fn a_call_is_allowed_by_one_statement_with_all_its_keys_or_not_at_all() {
    let statement = |keys: &[&str]| Permission {
        action: "dynamodb:BatchGetItem".into(),
        resource: "Table.Arn".into(),
        only_if: None,
        leading_keys: keys.iter().map(|&key| key.to_owned()).collect(),
    };
    let call = |keys: &[&str]| Call::new("BatchGetItem", keys.iter().map(|&key| key.to_owned()));
    let users = [statement(&["USER#*"])];
    assert!(allows(&users, &call(&["USER#ada", "USER#bob"])));
    assert!(!allows(&users, &call(&["USER#ada", "TOKEN#1"])));
    assert!(!allows(&users, &Call::new("GetItem", ["USER#ada".into()])));
    let apart = [statement(&["USER#*"]), statement(&["TOKEN#*"])];
    assert!(!allows(&apart, &call(&["USER#ada", "TOKEN#1"])));
    assert!(allows(
        &[statement(&["USER#*", "TOKEN#*"])],
        &call(&["USER#ada", "TOKEN#1"])
    ));
    assert!(!allows(&[statement(&["KEY"])], &call(&["KEYS"])));
    assert!(allows(&[statement(&["K?Y*"])], &call(&["KEY", "KAY#1"])));
}
