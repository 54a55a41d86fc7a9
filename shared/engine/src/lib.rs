//! The engine: ports, and the three kinds of work — receive, decide, act — over any adapters.

mod act;
pub mod bugs;
mod commit;
pub mod config;
#[cfg(feature = "contract-tests")]
pub mod contract;
pub mod engine;
mod flows;
mod limits;
mod meaning;
mod notices;
mod orchestrate;
pub mod parking;
mod personal;
mod planted;
pub mod ports;
pub mod receive;
pub mod records;
pub mod sweep;
pub mod tick;
mod tokens;
pub mod vault;
pub mod vocabulary;

pub use engine::{Engine, Ports, WorkError};
pub mod erase;
pub mod explain;
pub mod restore;
pub mod settings;
