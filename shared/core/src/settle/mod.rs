//! Settlement.
mod bucket;
pub mod certificate;
pub mod check;
mod entries;
mod line;
pub mod market;
mod matching;
mod outcome;
mod packing;
mod rules;

#[cfg(test)]
mod brute;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod matching_tests;

pub use entries::entries;
pub use line::{Batch, Card, Day, Expected, Funding, Ids, Kind, SettlementLine, Standing};
pub use matching::{Conclusion, expected_partition, line_partition, pass, settle};
pub use outcome::{
    Ambiguous, Class, Evidence, Exception, Explained, Group, Miss, Open, Outcome, Pass, Reason, Tier,
    Undecided,
};
pub use rules::{Explain, FeeRule, MAX_DAYS, Rules, Tolerance, Window};
