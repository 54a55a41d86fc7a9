//! Tillway on AWS: the engine's ports over DynamoDB, SQS, S3, Secrets Manager, SNS and CloudWatch, and the
//! entry points of the Lambda functions. The only crate that knows the AWS SDK.
//!
//! | port | service | module |
//! |---|---|---|
//! | `Store` | one DynamoDB table | [`store`] |
//! | `Queue` | SQS, with S3 for large bodies | [`queue`], [`claims`] |
//! | `Shelf` | S3 | [`shelf`] |
//! | `SecretSource` | Secrets Manager | [`secrets`] |
//! | `Alerts` | SNS, and metrics as log lines | [`alerts`], [`metrics`] |
//! | `SecretKeeper` (for the command line) | Secrets Manager | [`keeper`], [`desk`] |
//!
//! Clock, entropy, notices and configuration are those of any machine (`tillway_host`).

pub mod absent;
pub mod alerts;
pub mod bucket;
pub mod claims;
pub mod clients;
#[cfg(feature = "desk")]
pub mod desk;
pub mod entry;
pub mod env;
mod item;
pub mod keeper;
pub mod metrics;
mod pack;
pub mod queue;
pub mod secrets;
pub mod shelf;
pub mod store;
#[cfg(test)]
mod testing;
mod trouble;
mod way;
