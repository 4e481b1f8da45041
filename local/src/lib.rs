//! The whole system on one machine: what `cargo run -p local` does, in parts that the tests use too.

pub mod cloudwatch;
pub mod engine;
pub mod template;
