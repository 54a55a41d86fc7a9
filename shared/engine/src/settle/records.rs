//! What is stored of settlement.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tillway_core::ids::ConnectionName;
use tillway_core::journal::{Entry, Role, TrialBalance};
use tillway_core::money::{Currency, Money};
use tillway_core::settle::accepted::Acceptance;
use tillway_core::settle::certificate::Certificate;
use tillway_core::settle::check::{Tally, Verdict};
use tillway_core::settle::rates::Rate;
use tillway_core::settle::watch::Finding;
use tillway_core::settle::{
    Batch, Class, Day, Exception, Expected, Explained, Kind, RuleBook, SettlementLine,
};
use tillway_core::time::Timestamp;

use super::accept::{AcceptedExpected, AcceptedRecord, CameAfterAll};
use super::report::RunRecord;
use super::watched::WatchedMonth;
use crate::ports::Key;

/// Where the settlement of a connection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookRecord {
    /// Raised with every plan that was carried out.
    pub version: u64,
    /// The journal was read up to here for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Timestamp>,
    /// The document of what is carried on ([`BookDoc`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The plan that stands and is being carried out ([`PlanDoc`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Newest day that was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub today: Option<Day>,
    /// A run of this day had no time left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Day>,
    /// Lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// Raised with every lease.
    #[serde(default)]
    pub fence: u64,
    /// Documents of a large run whose plan does not stand yet: whoever comes next throws them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// The plan that was carried out, until all that it made useless is thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trash: Option<String>,
}

/// Documents that one lease numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scratch {
    /// The lease.
    pub fence: u64,
    /// All its documents have lower numbers.
    pub below: u32,
}

/// What is carried from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookDoc {
    /// Expectations that no run has matched.
    #[serde(default, alias = "held")]
    pub expected: Vec<Expected>,
    /// More of them, not due yet and met by no line, in documents of their own: there are too many to be held at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Piece>,
    /// Lines that no run has matched or explained.
    pub lines: Vec<SettlementLine>,
    /// Entries of the journal newer than the cursor that were matched already.
    pub ahead: Vec<Box<str>>,
    /// What a line proved of an unknown effect before the books had it: its entry is settled when it comes.
    pub proven: Vec<Proven>,
    /// Expectations that a person accepted, as long as a line may come for them.
    #[serde(default)]
    pub accepted: Vec<AcceptedExpected>,
    /// Of these lines, which are open, the object was settled by another line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doubles: BTreeMap<Box<str>, Box<str>>,
    /// What the journal holds of the connection, as far as it was read for good and with all that was posted.
    pub balance: Vec<(Currency, Role, i64)>,
}

/// A document of many items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name.
    pub doc: Box<str>,
    /// Items in it.
    pub items: usize,
}

/// A book with documents beside it. The version before this one does not know them: it finds no `expected` here, and stops, where it
/// would otherwise go on without them.
#[derive(Serialize)]
pub(super) struct LargeBook<'a> {
    held: &'a [Expected],
    waiting: &'a [Piece],
    lines: &'a [SettlementLine],
    ahead: &'a [Box<str>],
    proven: &'a [Proven],
    accepted: &'a [AcceptedExpected],
    doubles: &'a BTreeMap<Box<str>, Box<str>>,
    balance: &'a [(Currency, Role, i64)],
}

impl<'a> LargeBook<'a> {
    /// A book as it is kept where it has documents beside it.
    pub(super) fn of(book: &'a BookDoc) -> Option<Self> {
        let BookDoc { expected, waiting, lines, ahead, proven, accepted, doubles, balance } = book;
        (!waiting.is_empty()).then_some(Self {
            held: expected,
            waiting,
            lines,
            ahead,
            proven,
            accepted,
            doubles,
            balance,
        })
    }
}

impl BookDoc {
    /// The same as a trial balance.
    #[must_use]
    pub fn trial_balance(&self) -> TrialBalance {
        TrialBalance(self.balance.iter().map(|&(c, role, sum)| ((c, role), i128::from(sum))).collect())
    }
    /// Keeps a trial balance.
    pub fn keep_balance(&mut self, balance: &TrialBalance) {
        let narrow = |sum: &i128| i64::try_from(*sum).unwrap_or(i64::MAX);
        self.balance = balance.0.iter().map(|((c, role), sum)| (*c, *role, narrow(sum))).collect();
    }
}

/// A movement that a line proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// What it is.
    pub kind: Kind,
    /// The gateway's id of the object.
    pub own: Box<str>,
    /// When.
    pub day: Day,
}

/// A run's decisions: what is posted, and what stands after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDoc {
    /// The day that was settled.
    pub day: Day,
    /// When its run began: what the gateway had by then was looked at.
    pub at: Timestamp,
    /// The book after it: cursor, document and day.
    pub after: BookRecord,
    /// Batches to be posted.
    pub batches: Vec<BatchRecord>,
    /// Everything that is open.
    pub open: Vec<OpenRecord>,
    /// Effects that lines prove.
    pub proofs: Vec<Proof>,
    /// Objects of the gateway that the books know nothing of, to be asked for.
    pub unknown: Vec<Box<str>>,
    /// Parts of what was read, to be thrown away.
    pub read: Vec<Box<str>>,
    /// The batches they are of.
    #[serde(default)]
    pub read_of: Vec<Box<str>>,
    /// What people accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<AcceptedRecord>,
    /// What had been accepted and came after all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came: Vec<CameAfterAll>,
    /// Entries of these two, which are no batch's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    /// The figures of the month of its day, with the month's first day; nothing where the gateway was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<(Day, WatchedMonth)>,
    /// What was noticed; nothing where the gateway was not looked at.
    pub run: Option<RunRecord>,
    /// The morning's line; none where a person sees what was done.
    pub headline: String,
}

/// An effect that a line proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Where the command's record is.
    pub record: (String, String),
    /// The gateway's id to be read.
    pub object: Box<str>,
    /// The line.
    pub line: Box<str>,
    /// Its batch.
    pub batch: Box<str>,
}

/// How a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Funded, every line matched or explained.
    Closed,
    /// Funded and in balance, with lines in suspense.
    Open,
    /// Submitted; clearing stays open until funding is known.
    Submitted,
}

impl Standing {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Submitted => "submitted",
        }
    }
}

impl From<Verdict> for Standing {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Closed => Self::Closed,
            Verdict::Open => Self::Open,
            Verdict::Submitted => Self::Submitted,
        }
    }
}

/// What a batch comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Lines.
    pub lines: usize,
    /// Of them matched under a certificate.
    pub matched: usize,
    /// Of them explained by a rule.
    pub explained: usize,
    /// Of them open.
    pub open: usize,
    /// Charges.
    pub payments: usize,
    /// Refunds.
    pub refunds: usize,
    /// Disputes.
    pub disputes: usize,
    /// Sum of charges, minor units.
    pub gross: i64,
    /// Sum of refunds.
    pub refunded: i64,
    /// Fees, on lines and on lines of their own.
    pub fees: i64,
    /// Everything but the payout's own line.
    pub net: i64,
}

impl Sums {
    /// Takes another part of the same batch in.
    pub fn add(&mut self, other: &Self) {
        let Self { lines, matched, explained, open, payments, refunds, disputes, .. } = self;
        for (sum, more) in [
            (lines, other.lines),
            (matched, other.matched),
            (explained, other.explained),
            (open, other.open),
            (payments, other.payments),
            (refunds, other.refunds),
            (disputes, other.disputes),
        ] {
            *sum = sum.saturating_add(more);
        }
        let Self { gross, refunded, fees, net, .. } = self;
        let more = [other.gross, other.refunded, other.fees, other.net];
        for (sum, more) in [gross, refunded, fees, net].into_iter().zip(more) {
            *sum = sum.saturating_add(more);
        }
    }
}

/// The booking on the bank's statement that paid a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidBy {
    /// The bank, as its layout is named.
    pub bank: String,
    /// A digest of the account: another name of the bank is no other account.
    pub account: String,
    /// The bank's id of the booking.
    pub booking: Box<str>,
    /// Its day.
    pub day: Day,
    /// Its amount, minor units; several batches may share it.
    pub amount: i64,
    /// SHA-256 of the statement.
    pub statement: String,
    /// Who said that it pays the batch, where the statement alone did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A settled batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// The batch.
    pub batch: Batch,
    /// The day it was settled under.
    pub day: Day,
    /// When it was last posted.
    pub at: Timestamp,
    /// Raised each time something of it is posted.
    pub revision: u32,
    /// How it stands.
    pub standing: Standing,
    /// SHA-256 over all its lines: a batch that is issued again with changes is noticed.
    pub digest: String,
    /// The document with lines, certificates and entries ([`BatchDoc`]).
    pub doc: String,
    /// How many entries are new with this revision; which, the document says, for a record has no room for all.
    pub posted: usize,
    /// What it comes to.
    pub sums: Sums,
    /// Days of what it settles, first and last.
    pub span: (Day, Day),
    /// The booking that paid it, where the gateway did not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_by: Option<PaidBy>,
}

/// Everything a batch rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchDoc {
    /// The batch.
    pub batch: Batch,
    /// All its lines.
    pub lines: Vec<SettlementLine>,
    /// Lines of other batches that share a group with them.
    pub other_lines: Vec<SettlementLine>,
    /// The expectations its certificates name.
    pub expected: Vec<Expected>,
    /// A certificate for each group.
    pub certificates: Vec<Certificate>,
    /// Lines that need no expectation.
    pub explained: Vec<Explained>,
    /// The words of people that explain some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Acceptance>,
    /// Lines that stay open.
    pub open_lines: Vec<Box<str>>,
    /// Every entry of the batch.
    pub entries: Vec<Entry>,
    /// Those that are new with this revision.
    pub fresh: BTreeSet<String>,
    /// The rules of each line, as they were when it was matched.
    pub rules: RuleBook,
    /// The books' rates for lines that were settled in another currency than they are booked in, by line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<Box<str>, Rate>,
    /// What is wrong with what was matched: late, or with an unexpected fee.
    pub flaws: Vec<Exception>,
    /// Where the batch is large: what is matched plainly, in documents of their own. `lines` and all other lists are of what is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
}

/// A section of a large batch: lines that are each matched, alone with its expectation, by the gateway's own id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its places, first and last ([`tillway_core::settle::section_of`]).
    pub parts: (u16, u16),
    /// The document ([`SectionDoc`]).
    pub doc: Box<str>,
    /// The document of its entries; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Box<str>>,
    /// How many entries.
    pub booked: usize,
    /// Whether they are new with this revision.
    pub fresh: bool,
    /// Digest of its lines ([`super::digest::Digest`]).
    pub digest: String,
    /// What it adds to the batch's sums.
    pub tally: Tally,
    /// What it comes to.
    pub sums: Sums,
    /// Days of what it settles, first and last.
    pub span: (Day, Day),
}

impl Section {
    /// One of which nothing is known yet.
    pub(super) fn bare(parts: (u16, u16), day: Day) -> Self {
        Self {
            parts,
            doc: "".into(),
            entries: None,
            booked: 0,
            fresh: false,
            digest: String::new(),
            tally: Tally::default(),
            sums: Sums::default(),
            span: (day, day),
        }
    }
}

/// What a section rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionDoc {
    /// Its lines.
    pub lines: Vec<SettlementLine>,
    /// Their expectations.
    pub expected: Vec<Expected>,
    /// A certificate for each.
    pub certificates: Vec<Certificate>,
    /// The rules they were matched by.
    pub rules: RuleBook,
}

impl BatchDoc {
    /// The entries that are new with this revision.
    pub fn new_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| self.fresh.contains(e.id.as_str()))
    }
}

/// Something open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    /// Identity: the same cause is one item.
    pub id: String,
    /// What is wrong.
    pub exception: Exception,
    /// Orders it is about, where known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Box<str>>,
    /// Batches of its lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<Box<str>>,
    /// The gateway's ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Box<str>>,
}

/// What was read of a batch so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRecord {
    /// Parts on the shelf.
    pub parts: Vec<Box<str>>,
    /// Lines in them.
    pub lines: usize,
    /// Where to go on; `None`: all was read.
    pub next: Option<String>,
    /// All was read.
    pub done: bool,
    /// Words of the gateway's that nobody here knows: whoever goes on tells of them as well.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unfamiliar: BTreeSet<String>,
}

/// What an item of the journal holds of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Posted {
    /// The entries.
    Entries(Vec<Entry>),
    /// The document where they lie: there are many of them.
    Doc {
        /// Its name.
        doc: Box<str>,
    },
    /// The documents where those of a large batch lie.
    Docs {
        /// Their names.
        docs: Vec<Box<str>>,
    },
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The connection.
    pub connection: ConnectionName,
    /// The day.
    pub day: Day,
    /// When it looked at the gateway; where a plan that stood was carried out, when that one's run did.
    pub at: Timestamp,
    /// Another process settles it, or after a restore a sweep comes first.
    pub busy: bool,
    /// The plan of an earlier run was carried out first.
    pub resumed: bool,
    /// Batches as they stand now.
    pub batches: Vec<BatchRecord>,
    /// Batches that were settled before and say the same.
    pub unchanged: Vec<Box<str>>,
    /// Batches that cannot be read yet, with why.
    pub waiting: Vec<Waiting>,
    /// Batches that are not posted, with every reason.
    pub refused: Vec<Refused>,
    /// Everything open.
    pub open: Vec<OpenRecord>,
    /// What is out of the ordinary in the day's figures although it may all be matched.
    pub findings: Vec<Finding>,
    /// The morning's line.
    pub headline: String,
}

/// A batch that has to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The batch; empty where the day's list itself is not there.
    pub batch: Box<str>,
    /// Why.
    pub why: String,
    /// Ask again then.
    pub again_at: Option<Timestamp>,
}

/// A batch that is not posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The batch.
    pub batch: Box<str>,
    /// Every reason.
    pub why: Vec<String>,
}

impl RunReport {
    pub(super) fn of(connection: &ConnectionName, day: Day, at: Timestamp) -> Self {
        Self {
            connection: connection.clone(),
            day,
            at,
            busy: false,
            resumed: false,
            batches: Vec::new(),
            unchanged: Vec::new(),
            waiting: Vec::new(),
            refused: Vec::new(),
            open: Vec::new(),
            findings: Vec::new(),
            headline: String::new(),
        }
    }

    /// Whether a person has nothing to do and nothing is waited for.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.busy && self.waiting.is_empty() && self.refused.is_empty() && self.open.is_empty()
    }
}

impl OpenRecord {
    /// Whether it is so by itself, without anything to be done.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.exception.class == Class::Late
    }
    /// What is at stake.
    #[must_use]
    pub const fn amount(&self) -> Money {
        self.exception.amount
    }
}

fn pk(connection: &ConnectionName) -> String {
    format!("settle#{connection}")
}
/// The book of a connection.
#[must_use]
pub fn book_key(connection: &ConnectionName) -> Key {
    Key::new(pk(connection), "book")
}
/// A settled batch.
#[must_use]
pub fn batch_key(connection: &ConnectionName, batch: &str) -> Key {
    Key::new(pk(connection), format!("batch#{batch}"))
}
/// Begins the batches of a connection.
pub(super) const BATCHES: &str = "batch#";
/// What was read of a batch.
#[must_use]
pub fn read_key(connection: &ConnectionName, batch: &str) -> Key {
    Key::new(pk(connection), format!("read#{batch}"))
}
/// What a run noticed of a day.
#[must_use]
pub fn run_key(connection: &ConnectionName, day: Day) -> Key {
    Key::new(pk(connection), format!("run#{day}"))
}
/// Something open.
#[must_use]
pub fn open_key(connection: &ConnectionName, id: &str) -> Key {
    Key::new(pk(connection), format!("{OPEN}{id}"))
}
/// What was accepted under an item's id.
#[must_use]
pub fn accepted_key(connection: &ConnectionName, item: &str) -> Key {
    Key::new(pk(connection), format!("accepted#{item}"))
}
/// An acceptance that was taken back.
#[must_use]
pub fn came_key(connection: &ConnectionName, came: &CameAfterAll) -> Key {
    let what = tillway_core::ids::digest(&[&came.expected]);
    Key::new(pk(connection), format!("came#{}#{what}", came.item))
}
/// What acceptances of one plan posted, as one item of the journal.
#[must_use]
pub fn accepted_entries_key(connection: &ConnectionName, version: u64) -> Key {
    Key::new(format!("settle#{connection}#@accepted"), format!("jrns#{version:010}"))
}
/// The first day of a day's month.
pub(super) fn first_of_month(day: Day) -> Day {
    let text = day.to_string();
    text.get(..8).and_then(|head| Day::parse(&format!("{head}01"))).unwrap_or(day)
}
/// A month as people write it: `2026-11`.
fn month(first: Day) -> String {
    first.to_string().get(..7).unwrap_or_default().to_owned()
}
/// The books' rates of the month that begins with this day; of all connections.
#[must_use]
pub fn rates_key(first: Day) -> Key {
    Key::new("rates", month(first))
}
/// The figures of a connection in the month that begins with this day.
#[must_use]
pub fn watch_key(connection: &ConnectionName, first: Day) -> Key {
    Key::new(pk(connection), format!("watch#{}", month(first)))
}
/// Begins what is open.
pub(super) const OPEN: &str = "open#";
/// The partition of a connection's settlement.
#[must_use]
pub fn settle_pk(connection: &ConnectionName) -> String {
    pk(connection)
}
/// What is to be settled of a connection, and when.
#[must_use]
pub fn agenda_key(connection: &ConnectionName) -> Key {
    Key::new(pk(connection), "agenda")
}
/// What a revision of a batch posted, as one item of the journal.
#[must_use]
pub fn entries_key(connection: &ConnectionName, batch: &str, revision: u32) -> Key {
    Key::new(format!("settle#{connection}#{batch}"), format!("jrns#{revision:04}"))
}
