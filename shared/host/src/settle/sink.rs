//! Who is handed what was found, as it is found.

use std::collections::BTreeMap;
use std::io;

use tillway_core::settle::{Expected, Group, Outcome, SettlementLine};

use super::Stage;

/// A matched group with what it is made of.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The group.
    pub group: Group,
    /// SHA-256 over all fields of its items ([`tillway_core::settle::certificate`]), hex; where the plan seals.
    pub hash: Option<String>,
    /// Its lines, sorted by id.
    pub lines: Vec<&'a SettlementLine>,
    /// Its expectations, sorted by id.
    pub expected: Vec<&'a Expected>,
}

/// What one partition of one stage gave. Everything is final.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// Groups, sorted.
    pub matched: Vec<Matched<'a>>,
    /// All but the groups; every list is sorted.
    pub rest: Outcome,
}

/// Takes what is found: in the order of stages, and within a stage of partitions, never two at a time. An item is in
/// one call at most as matched, explained or open.
pub trait Sink: Send {
    /// The last stage of this run of which everything is kept from an earlier process. Where that is less than the run
    /// remembers having handed over, the run begins anew.
    fn kept(&mut self, _run: &str) -> Option<Stage> {
        None
    }
    /// A stage begins: whatever came of it or of a later one before is dropped; at [`Stage::Read`], all. `run` is the
    /// run's fingerprint.
    ///
    /// # Errors
    /// What ends the run, here and below.
    fn begin(&mut self, run: &str, stage: Stage) -> io::Result<()>;
    /// What a partition gave.
    ///
    /// # Errors
    /// What ends the run.
    fn take(&mut self, stage: Stage, part: u16, found: Found<'_>) -> io::Result<()>;
    /// The stage has ended. It is not handed over again to a later process that [kept](Self::kept) it.
    ///
    /// # Errors
    /// What ends the run.
    fn end(&mut self, stage: Stage) -> io::Result<()>;
}

/// Keeps everything in memory: for runs that are not so large, and for tests.
#[derive(Debug, Default)]
pub struct Collect {
    parts: BTreeMap<Stage, Vec<Outcome>>,
}

impl Collect {
    /// All of it, sorted as [`tillway_core::settle::settle`] does.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        Outcome::joined(self.parts.into_values().flatten())
    }
}

impl Sink for Collect {
    fn begin(&mut self, _run: &str, stage: Stage) -> io::Result<()> {
        self.parts.split_off(&stage);
        Ok(())
    }
    fn take(&mut self, stage: Stage, _part: u16, found: Found<'_>) -> io::Result<()> {
        let Found { matched, mut rest } = found;
        rest.groups = matched.into_iter().map(|m| m.group).collect();
        self.parts.entry(stage).or_default().push(rest);
        Ok(())
    }
    fn end(&mut self, _stage: Stage) -> io::Result<()> {
        Ok(())
    }
}
