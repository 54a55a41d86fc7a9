//! The whole of Tillway, seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

#[path = "e2e/config.rs"]
mod config;
#[path = "e2e/counts.rs"]
mod counts;
#[path = "e2e/edge.rs"]
mod edge;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/meaning.rs"]
mod meaning;
#[path = "e2e/pains.rs"]
mod pains;
#[path = "e2e/privacy.rs"]
mod privacy;
