//! What any machine gives, one of the merchant's or a Lambda: the system's clock and entropy, the ways to tell
//! people, the configuration folder, the keeping of secrets, and the shape of the answers to webhooks.

pub mod clock;
pub mod config;
pub mod entropy;
pub mod keeping;
pub mod notify;
pub mod panics;
pub mod people;
pub mod quiet;
pub mod settle;
pub mod webhook;
