//! Tillway's pure core: money, facts, flows, mappings, the journal and the decision function.
//!
//! Nothing in this crate does I/O, reads a clock, draws randomness or names a vendor. Given the same
//! arguments every function returns the same bytes, so that any run can be replayed.

pub mod http;
pub mod ids;
pub mod money;
pub mod time;
pub mod value;
pub mod facts;
pub mod journal;
pub mod state;
pub mod check;
pub mod yaml;
pub mod scope;
pub mod pan;
pub mod decide;
pub mod expr;
pub mod transforms;
pub mod lookup;
pub mod mapping;
pub mod flow;
pub mod bundle;
mod expr_check;
mod mapping_check;
mod flow_graph;
mod merge;
mod expr_types;
mod mapping_types;
