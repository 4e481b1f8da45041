//! Black-box tests: gateway event → the real binary over the Lambda Runtime API → a real DynamoDB engine.
//!
//! Each test has a table and processes of its own, so all run in parallel. `AWS_ENDPOINT_URL_DYNAMODB` points the suite at another
//! engine than the embedded one.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test reads its environment, prints what it measured and fails by panicking; its modules have no other users"
)]

#[expect(dead_code, reason = "the bench uses more of this than the tests")]
mod support;

mod admin;
mod agreement;
mod api_keys;
mod bad_input;
mod bedrock;
mod charging;
mod chats;
mod clients;
mod closing;
mod completions;
mod conversations;
mod deployed;
mod edge;
mod edge_fuzz;
mod faults;
mod figures;
mod idempotency;
mod model;
mod models;
mod observability;
mod pacing;
mod provider;
mod real;
mod reconcile;
mod refusals;
mod scale;
mod sdks;
mod secrets;
mod sessions;
mod smoke;
mod soak;
mod streaming;
mod usage;
mod users;
