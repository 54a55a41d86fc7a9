//! What a file said as a whole: whether all of it came, and what each batch in it adds up to.
//!
//! Lines are handed out while the file is read, so they count only once [`Reader::finish`] gave a [`Statement`] and
//! [`Statement::prove`] found nothing missing: a CSV file that was cut between two rows looks whole.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::ids::ConnectionName;
use tillway_core::money::{Currency, Money};
use tillway_core::settle::{Batch, Day, Funding, Kind, SettlementLine};

use super::fault::FileFault;
use super::source::Seen;
use crate::common::plain_word;

/// Most batches of one file.
const MAX_BATCHES: usize = 10_000;
/// Most names nobody knew that are kept.
const MAX_NOTES: usize = 20;

/// How much of a file is shown by the file itself to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It has an end of its own (the last tag, a closing balance), and that was seen.
    Closed,
    /// It has none; its last line is whole.
    Open,
    /// It has none, and its last line does not end: files of this kind end with a line break.
    Torn,
}

/// What a batch adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSum {
    /// Currency of its lines.
    pub currency: Currency,
    /// Lines and gross by kind; minor units.
    pub kinds: BTreeMap<Kind, (u64, i128)>,
    /// Net of all lines but the movement to the bank.
    pub net: i128,
    /// Where the batch has the movement to the bank among its lines: what reached the bank.
    pub payout: Option<i64>,
    /// The latest day of its lines.
    pub day: Day,
}

impl BatchSum {
    /// The batch as the file tells it. What a gateway only says it submitted has no money yet.
    #[must_use]
    pub fn batch(&self, id: &str, connection: &ConnectionName) -> Batch {
        let funding = match self.payout {
            Some(payout) => Funding::Funded { payout, day: self.day },
            None => Funding::Submitted,
        };
        Batch { id: id.into(), connection: connection.clone(), currency: self.currency, funding }
    }
}

/// Adds up lines by batch, in whatever order they come.
#[derive(Default)]
pub struct Tally {
    batches: BTreeMap<Box<str>, BatchSum>,
}

impl Tally {
    /// Takes a line.
    ///
    /// # Errors
    /// `mixed_currencies`, `overflow`, `too_many_batches`.
    pub fn take(&mut self, line: &SettlementLine) -> Result<(), FileFault> {
        if !self.batches.contains_key(&line.batch) && self.batches.len() >= MAX_BATCHES {
            let what = format!("more than {MAX_BATCHES} batches in one file; have it made for fewer days");
            return Err(FileFault::new("too_many_batches", "batch", what));
        }
        let fresh = || BatchSum {
            currency: line.currency,
            kinds: BTreeMap::new(),
            net: 0,
            payout: None,
            day: line.day,
        };
        let sum = self.batches.entry(line.batch.clone()).or_insert_with(fresh);
        if sum.currency != line.currency {
            let what = format!(
                "a batch holds {} and {}; a batch settles in one currency. If yours do not, see the connector's README",
                sum.currency, line.currency
            );
            return Err(FileFault::new("mixed_currencies", "currency", what));
        }
        let (n, gross) = sum.kinds.entry(line.kind).or_default();
        *n = n.saturating_add(1);
        *gross = gross.saturating_add(line.gross.into());
        if line.kind == Kind::Payout {
            let paid = line.net.checked_neg().and_then(|p| p.checked_add(sum.payout.unwrap_or(0)));
            sum.payout =
                Some(paid.ok_or_else(|| FileFault::new("overflow", "payout", "does not fit 64 bits"))?);
        } else {
            sum.net = sum.net.saturating_add(line.net.into());
        }
        sum.day = sum.day.max(line.day);
        Ok(())
    }

    /// The batches with their sums.
    #[must_use]
    pub fn batches(self) -> BTreeMap<Box<str>, BatchSum> {
        self.batches
    }
}

/// The gateway's words that nobody here knows.
#[derive(Debug, Default, Clone)]
pub(crate) struct Unfamiliar(pub(crate) BTreeSet<String>);

impl Unfamiliar {
    /// Notes a word, where it is a plain one.
    pub(crate) fn note(&mut self, word: &str) {
        let word = if plain_word(word, b"_-.") { word } else { "(no plain word)" };
        if self.0.len() < MAX_NOTES {
            self.0.insert(word.to_owned());
        }
    }
}

/// A whole file, read to its end without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Bytes.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Batches by id.
    pub batches: BTreeMap<Box<str>, BatchSum>,
    /// Whether the file shows its own end.
    pub ending: Ending,
    /// The gateway's words that nobody here knows. Such a line is an adjustment: it stays open and a person looks.
    pub unfamiliar: BTreeSet<String>,
}

/// What is known from elsewhere of how much there should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes of the file, as announced with it.
    pub bytes: Option<u64>,
    /// What the gateway says a payout was, by batch.
    pub payouts: BTreeMap<Box<str>, Money>,
}

impl Statement {
    /// Whether all of it is there. A file without an end of its own needs evidence from elsewhere: its size, a
    /// payout. One whose last line does not end is cut, whatever its size: it may have been when it was sent.
    ///
    /// # Errors
    /// `truncated`, `unproven`, `sum_differs`.
    pub fn prove(&self, evidence: &Evidence) -> Result<(), FileFault> {
        if let Some(bytes) = evidence.bytes.filter(|b| *b != self.bytes) {
            let what = format!("has {} of {bytes} bytes", self.bytes);
            return Err(if self.bytes < bytes {
                FileFault::cut(&what)
            } else {
                FileFault::of_file(
                    "sum_differs",
                    format!("{what}: more came than was announced; fetch it again"),
                )
            });
        }
        if self.ending == Ending::Torn {
            return Err(FileFault::cut("the last line does not end"));
        }
        let mut shown = evidence.bytes.is_some() || self.ending == Ending::Closed;
        let mut all = !self.batches.is_empty();
        for (id, batch) in &self.batches {
            let announced = evidence.payouts.get(id).copied();
            if announced.is_some_and(|m| m.currency != batch.currency) {
                let what = format!("batch {id} is in {}, and its payout is not", batch.currency);
                return Err(FileFault::new("mixed_currencies", "currency", what));
            }
            let announced = announced.map(|m| m.minor);
            for paid in [announced, batch.payout].into_iter().flatten() {
                if i128::from(paid) != batch.net {
                    let what = format!(
                        "the lines of batch {id} add up to {} and its payout is {paid} (minor units); lines are \
                         missing: fetch the file again",
                        batch.net
                    );
                    return Err(FileFault::of_file("sum_differs", what));
                }
            }
            all &= announced.or(batch.payout).is_some();
        }
        if let Some(id) = evidence.payouts.keys().find(|id| !self.batches.contains_key(*id)) {
            return Err(FileFault::cut(&format!("batch {id}, which was paid, is not in it")));
        }
        shown |= all;
        if shown {
            return Ok(());
        }
        let what = if self.lines == 0 {
            "holds no line, and nothing says that none is missing"
        } else {
            "nothing says that all of it is here: give its size or its payouts"
        };
        Err(FileFault::of_file("unproven", format!("{what}; nothing of it was used")))
    }
}

/// A kind of file: gives lines one by one.
pub trait Lines {
    /// The next line; nothing at the end.
    ///
    /// # Errors
    /// The fault; nothing is asked for after it.
    fn line(&mut self) -> Result<Option<SettlementLine>, FileFault>;
    /// Line of the file that the last one came from.
    fn at(&self) -> u64;
}

pub(crate) trait Whole: Lines {
    fn seen(&self) -> Seen;
    fn ending(&self) -> Ending;
    fn unfamiliar(&self) -> &Unfamiliar;
}

/// A file being read: an iterator over its lines that ends after the first fault.
pub struct Reader<L> {
    file: L,
    tally: Tally,
    lines: u64,
    done: bool,
    fault: Option<FileFault>,
}

impl<L: Lines> Reader<L> {
    pub(crate) fn new(file: L) -> Self {
        Self { file, tally: Tally::default(), lines: 0, done: false, fault: None }
    }
}

impl<L: Lines> Iterator for Reader<L> {
    type Item = Result<SettlementLine, FileFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let line = match self.file.line() {
            Ok(Some(line)) => self.tally.take(&line).map(|()| line).map_err(|f| f.at(self.file.at())),
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(fault) => Err(fault),
        };
        match line {
            Ok(line) => {
                self.lines = self.lines.saturating_add(1);
                Some(Ok(line))
            }
            Err(fault) => {
                self.done = true;
                self.fault = Some(fault.clone());
                Some(Err(fault))
            }
        }
    }
}

#[expect(private_bounds, reason = "what a file shows of its end is for these readers alone")]
impl<L: Whole> Reader<L> {
    /// Reads what is left and tells what the file said as a whole.
    ///
    /// # Errors
    /// The first fault, met here or before.
    pub fn finish(mut self) -> Result<Statement, FileFault> {
        for line in self.by_ref() {
            line?;
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let Seen { bytes, .. } = self.file.seen();
        let Unfamiliar(unfamiliar) = self.file.unfamiliar().clone();
        let ending = self.file.ending();
        let batches = self.tally.batches();
        Ok(Statement { bytes, lines: self.lines, batches, ending, unfamiliar })
    }
}
