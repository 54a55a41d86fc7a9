//! The ports on one machine: SQLite for store and queues, a file for secrets, and the HTTP front. What every
//! machine gives (system clock, entropy, ways to tell people) is `tillway_host`'s.

pub mod alerts;
pub mod clock;
mod keeper;
pub mod runtime;
pub mod secrets;
pub mod server;
pub mod sqlite;

pub use tillway_host::{entropy, notify};
