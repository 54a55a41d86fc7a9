//! Tillway's pure core: money, facts, flows, mappings, the journal and the decision function.
//!
//! Nothing in this crate does I/O, reads a clock, draws randomness or names a vendor. Given the same
//! arguments every function returns the same bytes, so that any run can be replayed.

pub mod bundle;
pub mod check;
pub mod decide;
pub mod doc;
pub mod expr;
mod expr_check;
mod expr_types;
pub mod facts;
pub mod flow;
mod flow_graph;
pub mod http;
pub mod ids;
pub mod journal;
pub mod lookup;
pub mod mapping;
mod mapping_check;
mod mapping_types;
pub mod mask;
mod merge;
pub mod money;
pub mod pan;
pub mod profile;
pub mod routing;
pub mod scope;
pub mod settle;
pub mod state;
pub mod time;
pub mod transforms;
pub mod value;
pub mod yaml;
