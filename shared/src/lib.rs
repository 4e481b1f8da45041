//! What the functions of the AI Chat System share.
//!
//! Arrows point only downward: [`lambda`] (the edge) → [`api`] (the endpoint table) → the flows ([`accounts`], [`sessions`],
//! [`api_keys`], [`billing`], [`chats`], [`conversations`]) → [`auth`], [`store`], [`model`], [`metrics`] → [`domain`], [`error`], [`meter`]. `aws_sdk_dynamodb` appears only in `store`,
//! the SDKs of models and their keys only in `model`, CloudWatch's only in `metrics`, `lambda_http` only in `lambda`, `jsonwebtoken` and `argon2` only in `auth`, environment
//! variables only in [`config`].

pub mod accounts;
pub mod admin;
pub mod api;
pub mod api_keys;
pub mod auth;
mod aws;
pub mod billing;
pub mod chats;
pub mod config;
pub mod conversations;
pub mod domain;
pub mod error;
pub mod lambda;
pub mod meter;
pub mod metrics;
pub mod model;
#[cfg(test)]
mod openapi;
pub mod pacing;
pub mod reconcile;
pub mod sessions;
pub mod store;

pub use error::Error;
