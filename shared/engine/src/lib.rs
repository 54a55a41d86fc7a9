//! The engine: ports, and the three kinds of work — receive, decide, act — over any adapters.

mod act;
pub mod allow;
pub mod bugs;
mod commit;
pub mod config;
#[cfg(feature = "contract-tests")]
pub mod contract;
pub mod dispute;
pub mod engine;
mod flows;
pub mod gauges;
mod limits;
mod meaning;
mod notices;
mod orchestrate;
mod outbound;
mod owner;
pub mod parking;
mod parsed;
mod personal;
mod planted;
pub mod ports;
pub mod profile;
pub mod receive;
pub mod records;
pub mod sweep;
pub mod tick;
mod tokens;
pub mod vault;
pub mod vocabulary;
#[cfg(test)]
mod work_tests;

pub use engine::{Engine, INTAKE, OWN, Ports, WorkError, guarded};
pub mod erase;
pub mod explain;
pub mod restore;
pub mod review;
mod routes;
pub mod settings;
pub mod settle;
mod shrink;
mod word;
