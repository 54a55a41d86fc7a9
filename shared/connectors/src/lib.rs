//! Connectors: one folder for each outside system, behind one small trait.
//!
//! A connector translates. It verifies and reads webhooks, turns a flow's parameters into requests, and
//! turns answers into facts. It keeps nothing, retries nothing and decides nothing: that is the engine's.
//! A gateway call ends in [`Outcome`]: there is no way to turn `Unknown` into a second charge.

pub mod bank;
pub mod capabilities;
pub mod clarity;
mod common;
pub mod config;
pub mod cybersource;
pub mod http;
mod intake;
pub mod port;
pub mod rates;
pub mod registrar;
pub mod settlement;
pub mod stripe;
#[cfg(test)]
mod testing;

pub use capabilities::Capabilities;
pub use config::{Connection, Secret, Secrets};
pub use port::{
    Action, Call, Connector, EdgeFault, Finding, Inbound, Interpreted, Needed, Observation, Outcome, Owner,
    Prepared, Purpose, Rejected, Subscription, SweepPage, SweptEvent, Verified,
};
pub use settlement::{BatchPage, BatchStanding, Effect, LinePage, ListedBatch, SettleFault, Settlement};

/// All connectors, by system name. Adding a system touches its folder and one line here.
#[must_use]
pub fn registry() -> Vec<&'static dyn Connector> {
    vec![&stripe::Stripe, &clarity::Clarity, &cybersource::Cybersource]
}

/// All connectors, for whoever only takes webhooks in.
#[must_use]
pub fn receiving() -> Vec<&'static dyn Connector> {
    use intake::Intake;
    vec![&Intake(stripe::Stripe), &Intake(clarity::Clarity), &Intake(cybersource::Cybersource)]
}

/// Finds a connector by system name.
#[must_use]
pub fn find(system: &str) -> Option<&'static dyn Connector> {
    registry().into_iter().find(|c| c.system() == system)
}
