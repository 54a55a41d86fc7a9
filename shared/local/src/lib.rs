//! The ports on one machine: SQLite for store and queues, a file for secrets, SMTP and webhooks for people,
//! and the HTTP front.

pub mod alerts;
pub mod clock;
pub mod entropy;
pub mod notify;
pub mod runtime;
pub mod secrets;
pub mod server;
pub mod sqlite;
