//! The clients of the five older systems that this product replaces, each written after its own documentation: the same
//! paths, the same bodies, the same checks. Only the base URL is another.
//!
//! Each runs against a deployment of its own, and all five run against one deployment at once: the two route families,
//! both authentication schemes and the five dialects of the same few endpoints do not get in each other's way.

mod system_000;
mod system_001;
mod system_002;
mod system_003;
mod system_004;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::support::{Account, System};

/// Leaves a user with 50 tokens, less than a message costs, as if they had been granted no more than that and what they
/// have `spent`.
async fn leave_50_tokens(system: &System, account: &Account, spent: u64) {
    let number = |number: u64| AttributeValue::N(number.to_string());
    system.set(account, "balance", number(50)).await;
    system.set(account, "signup_grant", number(50 + spent)).await;
}

/// Whether this is a moment in UTC, as `2025-01-06T12:34:56.789Z` is.
fn is_utc(timestamp: &str) -> bool {
    let shape: String = timestamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let fraction = shape
        .strip_prefix("0000-00-00T00:00:00")
        .and_then(|rest| rest.strip_suffix('Z'));
    fraction.is_some_and(|fraction| fraction.is_empty() || fraction.starts_with(".0"))
}

/// Whether this looks like a signed JWT: three parts, none empty.
fn is_jwt(token: &str) -> bool {
    token.split('.').count() == 3 && token.split('.').all(|part| !part.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_system_000_works_unchanged() {
    let system = System::start().await;
    system_000::client(&system, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_system_001_works_unchanged() {
    let system = System::start().await;
    system_001::client(&system, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_system_002_works_unchanged() {
    let system = System::start().await;
    system_002::client(&system, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_system_003_works_unchanged() {
    let system = System::start().await;
    system_003::client(&system, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_system_004_works_unchanged() {
    let system = System::start().await;
    system_004::client(&system, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_five_clients_work_against_one_deployment_at_once() {
    all_five(&System::start().await).await;
}

/// Every client twice, all at once.
pub async fn all_five(system: &System) {
    for round in ["first", "second"] {
        let names = [0, 1, 2, 3, 4].map(|number| format!("{round}{number}"));
        tokio::join!(
            system_000::client(system, &names[0]),
            system_001::client(system, &names[1]),
            system_002::client(system, &names[2]),
            system_003::client(system, &names[3]),
            system_004::client(system, &names[4]),
        );
    }
}
