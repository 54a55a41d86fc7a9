//! Cybersource (work in progress).
#![allow(dead_code, unused_imports, reason = "filled by the next commits of this branch")]
mod auth;
mod endpoints;
mod settings;
#[cfg(test)]
mod testing;
