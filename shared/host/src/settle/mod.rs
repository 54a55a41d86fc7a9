//! Settlement of more than fits in memory: the tiers of [`tillway_core::settle`], partition by partition on disk.
//!
//! ```text
//! Source ──▶ read ──▶ 1-own_id-000.lines … ──▶ pass per partition ──▶ Sink: groups, exceptions, …
//!              │       (by the tier's key)          │ what stays open
//!              │ id comes again                     ▼
//!              ▼                                 files of the next tier at which it has a key … ──▶ end
//!            Sink: duplicates
//! ```
//! The result is that of [`tillway_core::settle::settle`] over the same items, whatever their order; the tests compare
//! them. Two threads work; what they hand over is put into the order of the partitions, so that two runs of the
//! same data write the same bytes.
//!
//! # Memory
//! In memory are the items of two partitions, the buffers of the files, and a table of 128 KB a partition and side that
//! tells which ids may have come before. What is found goes to the [`Sink`] as it is found. Two lists grow: of an id that
//! comes again a few words, and of ids under which many copies lie in several files, these copies. A partition is loaded whole,
//! and a key is never split: a reference that stands on every line puts all that gateway ids did not match into one.
//!
//! # Files
//! A file is named by stage, partition and side, in a folder that only its owner can read. It is a sequence of records:
//!
//! | bytes | |
//! |---|---|
//! | 4 | length of the body, little-endian |
//! | 4 | CRC-32 of what follows |
//! | 8 | hash of the item's id (FNV-1a, mixed) |
//! | n | the open item in postcard: flag, nearest miss, item ([`record`](self)) |
//!
//! An id that comes again is found after reading: a bit table names the ids that may be twice, one look over the
//! records' heads gathers these file by file, one more those that lie in several files, and of each id the least by content
//! stays. The places of the others are listed and passed over from then on.
//!
//! # Going on after a crash
//! When a stage has ended, and the sink has kept what came of it, `manifest` is replaced: the run's fingerprint, the
//! last stage that ended, the totals, and of every file the length, the count of records and a checksum over their
//! checksums. Only then the files of that stage are removed. The next start of the same run cuts every file back to
//! the length in the manifest and begins with the stage after it; every file is compared with its checksums when it is
//! loaded, so that nothing has to be forced to the disk in between. A start of another run, a manifest that cannot be
//! read, or a file that is not what the manifest says, clears the folder and begins anew. Reading is not gone on with
//! in its middle: it begins anew.

mod copies;
mod disk;
mod folder;
mod manifest;
mod parts;
mod record;
mod run;
mod sink;
mod stages;
mod table;
mod totals;
mod turn;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tillway_core::settle::{Day, Expected, Rules, SettlementLine, Tier};

pub use run::settle;
pub use sink::{Collect, Found, Matched, Sink};
pub use table::Table;
pub use totals::{ClassSum, TierSum, Totals};

/// What is to be settled, and where it may lie meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// A folder of its own for this settlement, made where it is not there; removed at the end.
    pub folder: &'a Path,
    /// Names the input: the same name promises the same lines and expectations. A start under another name does
    /// not go on where this one stopped.
    pub run: &'a str,
    /// The rules.
    pub rules: &'a Rules,
    /// What is overdue is seen from this day.
    pub today: Day,
    /// Over how many files a stage is spread: [`Plan::partitions_for`].
    pub partitions: u16,
    /// Whether groups are sealed with a hash over all fields of their items.
    pub seal: bool,
}

impl Plan<'_> {
    /// A number of partitions for so many lines, each with its expectation: about 40,000 lines a partition.
    #[must_use]
    pub fn partitions_for(lines: u64) -> u16 {
        let wanted = lines.div_ceil(40_000).checked_next_power_of_two().unwrap_or(u64::MAX);
        u16::try_from(wanted).unwrap_or(MOST_PARTITIONS).clamp(1, MOST_PARTITIONS)
    }

    /// The number within its bounds.
    fn parts(&self) -> u16 {
        self.partitions.clamp(1, MOST_PARTITIONS)
    }
}

/// More files than that serve nobody.
const MOST_PARTITIONS: u16 = 4_096;

/// Why a source gives no item.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Items as they are read.
pub type Stream<'a, T> = Box<dyn Iterator<Item = Result<T, SourceError>> + Send + 'a>;

/// Gives the items. It may be asked again, for a run that begins anew, and gives the same then.
pub trait Source: Sync {
    /// The lines, in any order.
    ///
    /// # Errors
    /// Where they cannot be opened.
    fn lines(&self) -> Result<Stream<'_, SettlementLine>, SourceError>;
    /// The expectations, in any order.
    ///
    /// # Errors
    /// Where they cannot be opened.
    fn expected(&self) -> Result<Stream<'_, Expected>, SourceError>;
}

/// What a run goes through, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Items are read and spread; ids that come twice are found.
    Read,
    /// One tier.
    Tier(Tier),
    /// What stayed open is named.
    End,
}

impl Stage {
    /// How many there are.
    pub(crate) const COUNT: usize = Tier::ALL.len().saturating_add(2);

    /// Its place in the order.
    #[must_use]
    pub fn rank(self) -> usize {
        match self {
            Self::Read => 0,
            Self::Tier(tier) => Tier::ALL.iter().position(|t| *t == tier).unwrap_or(0).saturating_add(1),
            Self::End => Self::COUNT.saturating_sub(1),
        }
    }
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Tier(tier) => tier.name(),
            Self::End => "end",
        }
    }
    /// All, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        let tiers = Tier::ALL.iter().copied().map(Self::Tier);
        std::iter::once(Self::Read).chain(tiers).chain(std::iter::once(Self::End))
    }
}

/// Why a settlement on disk did not end. Nothing of it is a result; what was handed to the sink of a stage that did not end
/// is dropped when it begins again.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// A file or folder could not be written or read.
    #[error("cannot {doing} {}: {source}; free space or mend the folder and start again", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what was written to it.
    #[error("{} is not what was written to it ({what}); start again: the run begins anew", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// Another process is at work in the folder.
    #[error("another settlement is at work in {}; wait for it or name another folder", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is not empty and no settlement made it; name a folder that may be cleared", folder.display())]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
    /// The source failed.
    #[error("cannot read {what} {number}: {source}")]
    Source {
        /// `line` or `expectation`.
        what: &'static str,
        /// Which, counted from one.
        number: u64,
        /// What the source said.
        source: SourceError,
    },
    /// The sink failed.
    #[error("cannot hand over what stage {stage} found: {source}")]
    Sink {
        /// The stage.
        stage: &'static str,
        /// What the sink said.
        source: std::io::Error,
    },
    /// Another thread failed, and says why.
    #[error("stopped, because another part failed")]
    Stopped,
}
