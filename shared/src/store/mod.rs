//! The table: the only code that speaks to DynamoDB.
//!
//! Every key is formatted here and every condition stands beside its write. A method is named for what it does to the domain, takes and
//! returns domain types, and turns a failed condition into a domain answer with the old item that DynamoDB sends along
//! (`ReturnValuesOnConditionCheckFailure: ALL_OLD`), so that nobody asks twice. What everybody does often is one such write and nothing is read
//! first; what reads first (a login, a new password, what admins do) makes what it read a condition of what it writes.

mod admin;
mod api_keys;
mod auth_keys;
mod chats;
mod conversations;
mod deletion;
mod holds;
mod idempotency;
mod key;
mod keys;
mod meter;
mod pacing;
mod reconcile;
mod request;
mod sessions;
mod users;

pub use admin::UserPatch;
pub use chats::Page;
pub use holds::{PlacedHold, Settled, Terms};
pub use idempotency::Answered;
pub use reconcile::{Books, Page as ScanPage, Part};
pub use sessions::Opening;
pub use users::FoundUser;

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
};

use crate::{aws, config::TableConfig};

/// The table of this deployment.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
}

impl Store {
    /// Connects to the table: credentials, region and endpoint come from the standard AWS environment variables.
    pub fn connect(config: &TableConfig) -> Self {
        // Without an attempt timeout a lost packet would hold a request until the function is killed. Attempts are short because
        // DynamoDB answers in single-digit milliseconds; the bound of an operation leaves a chat time for its
        // hold, its settlement and a release after the model's own time-out.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(Duration::from_millis(1_500))
            .operation_timeout(Duration::from_secs(2))
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_millis(200));
        let client_config = Builder::from(aws::config())
            .timeout_config(timeouts)
            .retry_config(retries)
            .interceptor(meter::CountAttempts);
        Self {
            client: Client::from_conf(client_config.build()),
            table: config.name.clone(),
        }
    }
}
