//! The whole of Tillway, seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

/// The `tillway` command.
const TILLWAY: &str = env!("CARGO_BIN_EXE_tillway-under-test");

#[path = "e2e/bank.rs"]
mod bank;
#[path = "e2e/check.rs"]
mod check;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/config.rs"]
mod config;
#[path = "e2e/counts.rs"]
mod counts;
#[path = "e2e/cybersource.rs"]
mod cybersource;
#[path = "e2e/edge.rs"]
mod edge;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/keeping.rs"]
mod keeping;
#[path = "e2e/meaning.rs"]
mod meaning;
#[path = "e2e/pains.rs"]
mod pains;
#[path = "e2e/parking.rs"]
mod parking;
#[path = "e2e/privacy.rs"]
mod privacy;
#[path = "e2e/restore.rs"]
mod restore;
#[path = "e2e/serve.rs"]
mod serve;
#[path = "e2e/settle.rs"]
mod settle;
#[path = "e2e/unknown.rs"]
mod unknown;
