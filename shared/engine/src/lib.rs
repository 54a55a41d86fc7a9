//! The engine: ports, and the three kinds of work — receive, decide, act — over any adapters.

#[cfg(feature = "contract-tests")]
pub mod contract;
pub mod ports;
