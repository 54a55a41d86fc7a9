//! Routing: which of several merchant ids of one gateway connection an authorization goes to.
//!
//! Rules come first; where a rule leaves several routes, one is drawn by Thompson sampling over the approval rates
//! measured in the order's segment. The draw is seeded from the order's key and the cause of the authorization, so the
//! same counts give the same route on any machine; what was chosen and the counts it saw are recorded as a fact, and
//! whoever replays reads the fact and draws nothing.
//!
//! ```text
//! rules ─▶ candidates ─▶ health ─▶ evidence of each in the segment ─▶ one draw each ─▶ the highest
//!                          ▲              ▲
//!                 outcomes, folded by the tick from one note per authorization
//! ```
//! Nothing of this touches money. Floating point stands in `beta` alone, and leaves it as a whole number.

pub(crate) mod beta;
pub mod choose;
pub mod counts;
pub mod rules;
pub mod segment;
#[cfg(test)]
mod tests;

pub use choose::{Candidate, Choice, How, Standing, choose};
pub use counts::{Ended, Health, Note, Settings, Table, UNIT};
pub use rules::{Routing, Rule};
pub use segment::{Part, Segment};
