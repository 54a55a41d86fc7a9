//! What the end-to-end tests share: a whole Tillway between sandboxes, in process under a stepped clock
//! ([`world`]), as a child process on real sockets ([`child`]), and the small tools around both.

// Helpers of tests: a failure here is a failed test, and says where it happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test helpers fail by panicking"
)]

pub mod child;
pub mod clock;
pub mod edges;
pub mod logs;
pub mod outside;
pub mod samples;
pub mod setup;
pub mod taps;
pub mod temp;
pub mod wire;
pub mod world;
