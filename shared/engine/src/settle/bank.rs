//! The bank's statement closes what was only submitted.
//!
//! Which booking pays which batch for sure, `connectors::bank::close` says. A batch that is paid is listed once more, as funded and
//! with a line of its own for what was kept back; from there on it is matched, checked, planned and posted like a day of the gateway's.
//! The booking stands in the batch's record ([`PaidBy`]), so that a statement that is read again, or one that overlaps it, pays
//! nothing twice:
//! - a booking of the same id, day and amount is the one that paid;
//! - where a statement names bookings otherwise (another format, a whole month), one of the same day and amount is taken for it,
//!   and where there are more of them than have paid, none of them pays anything;
//! - a batch of which the gateway itself said that it was funded may be what a booking pays, too.
//!
//! What the statement cannot tell, a person can ([`Received::pays`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tillway_connectors::bank::{BankLine, BankStatement, Closing, Layout, Unclosed, Waiting, close};
use tillway_connectors::{BatchStanding, ListedBatch};
use tillway_core::ids::{ConnectionName, digest};
use tillway_core::money::Money;
use tillway_core::settle::{Batch, Day, Funding, Kind, SettlementLine};

use super::digest::Digest;
use super::due::Agenda;
use super::fetch::Incoming;
use super::records::{BatchDoc, BatchRecord, PaidBy, Refused, RunReport, Standing};
use super::{Matter, Run, Step, Watch};
use crate::engine::{Engine, WorkError};

/// Begins the ids of lines that a booking adds to its batch.
pub(super) const BY_BANK: &str = "bank:";
/// Days by which the bank may have money before the gateway says it has.
const BEFORE: i32 = 2;

/// A statement, and what is known beside it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The bank's name and account.
    pub layout: &'a Layout,
    /// The statement, read to its end and proven whole.
    pub statement: &'a BankStatement,
    /// Days after which a submitted batch has its money at the latest.
    pub within: i32,
    /// Bookings that a person says pay these batches.
    pub pays: &'a [(Box<str>, Vec<Box<str>>)],
    /// That person.
    pub by: &'a str,
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BankReport {
    /// The connection.
    pub connection: ConnectionName,
    /// The bank.
    pub bank: String,
    /// Bookings on the statement that are the gateway's.
    pub bookings: usize,
    /// Bookings of others, and what is not booked yet.
    pub others: u64,
    /// Another process settles the connection, or after a restore a sweep comes first.
    pub busy: bool,
    /// The plan of an earlier run was carried out first.
    pub resumed: bool,
    /// Batches that were closed now.
    pub closed: Vec<Closed>,
    /// Batches that are paid and not posted, with every reason.
    pub refused: Vec<Refused>,
    /// Bookings that paid batches before.
    pub before: Vec<Told>,
    /// Bookings of batches whose money the gateway itself announced.
    pub confirmed: Vec<Told>,
    /// Bookings that pay nothing for sure.
    pub open: Vec<OpenBooking>,
    /// Batches that still wait for their money.
    pub waiting: Vec<WaitingBatch>,
}

/// A batch that its booking closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The batch.
    pub batch: Box<str>,
    /// The booking.
    pub booking: Box<str>,
    /// The day the bank had the money.
    pub day: Day,
    /// What it got.
    pub amount: Money,
    /// That less the net of the batch's lines.
    pub difference: Money,
    /// How the batch stands.
    pub standing: Standing,
    /// Lines of it that are open.
    pub open: usize,
}

/// A booking with the batches it paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The booking.
    pub booking: Box<str>,
    /// Its day.
    pub day: Day,
    /// Its amount.
    pub amount: Money,
    /// The batches.
    pub batches: Vec<Box<str>>,
}

/// A booking that pays nothing for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenBooking {
    /// The booking.
    pub booking: Box<str>,
    /// Its day.
    pub day: Day,
    /// Its amount.
    pub amount: Money,
    /// Batches it could pay.
    pub candidates: Vec<Box<str>>,
    /// What to do.
    pub action: &'static str,
}

/// A batch that waits for its money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingBatch {
    /// The batch.
    pub batch: Box<str>,
    /// The day it was submitted.
    pub day: Day,
    /// Days since then.
    pub age: i32,
    /// The net of its lines.
    pub net: Money,
    /// Bookings that could pay it.
    pub candidates: Vec<Box<str>>,
    /// What to do.
    pub action: &'static str,
}

const CHOOSE: &str = "say which one it pays: --pays BOOKING=BATCH";
const NOTHING_WAITS: &str = "no batch waits for this amount: settle the days before it first; if it pays several batches, --pays BOOKING=BATCH,BATCH";
const PART: &str = "it names this batch, and its amount is another by more than a tenth: an instalment, or more than fees was kept back; if it is all the money of the batch, --pays BOOKING=BATCH";
const UNSETTLED: &str = "it has the amount of this batch, and a day before it is not settled yet, which may have another of that amount: read the statement again then, or --pays BOOKING=BATCH";
const MONEY_BACK: &str = "money went back: the payout of this batch was returned, or it is none of the gateway's; ask the processor";
const OTHERWISE: &str =
    "the gateway said another amount of this batch, or another day; compare the two, and ask the processor";
const KNOWN_ID: &str = "a booking of this id, of another day or amount, has paid a batch; if this is another booking, --pays BOOKING=BATCH";
const ALIKE: &str = "bookings of its day and amount have paid batches before under other ids; if it is none of them, --pays BOOKING=BATCH";
const REFUSED: &str =
    "its booking was found and the batch is not posted: see why, mend it, and read the statement again";
const NOT_YET: &str = "nothing: the money is under way";
const LATE: &str = "it should be there: look at the statements of the days since, then ask the processor";

impl Engine {
    /// Closes the submitted batches of a connection that the bookings of a statement pay.
    ///
    /// # Errors
    /// [`WorkError`]; nothing is half posted: read again, the statement goes on where it stood.
    pub async fn settle_bank(
        &self,
        name: &ConnectionName,
        told: &Received<'_>,
        watch: Watch<'_>,
    ) -> Result<BankReport, WorkError> {
        let mut report = BankReport {
            connection: name.clone(),
            bank: told.layout.name.clone(),
            bookings: told.statement.lines.len(),
            others: told.statement.others,
            busy: false,
            resumed: false,
            closed: Vec::new(),
            refused: Vec::new(),
            before: Vec::new(),
            confirmed: Vec::new(),
            open: Vec::new(),
            waiting: Vec::new(),
        };
        let Some(mut run) = self.begin_run(name, None, watch).await? else {
            report.busy = true;
            return Ok(report);
        };
        let done = self.take_statement(&mut run, told, &mut report).await;
        self.end_run(run, "closing batches by the bank's statement", done.as_ref().err()).await?;
        done.map(|()| report)
    }

    /// Where mornings settle by themselves it is known which days are.
    async fn unsettled(&self, name: &ConnectionName) -> Result<Unsettled, WorkError> {
        Ok(Unsettled(match self.settled_by_itself(name) {
            Some(cut_off) => Some(self.agenda(name, &cut_off).await?.0),
            None => None,
        }))
    }

    async fn take_statement(
        &self,
        run: &mut Run<'_>,
        told: &Received<'_>,
        report: &mut BankReport,
    ) -> Result<(), WorkError> {
        report.resumed = self.finish_pending(run).await?;
        let records = self.batch_records(run.name()).await?;
        let unsettled = self.unsettled(run.name()).await?;
        let found = Found::of(&records, told, &unsettled)?;
        let mut ran = RunReport::of(run.name(), run.day, self.now());
        if !found.closings.is_empty() {
            let mut incoming = Vec::new();
            let mut paid = BTreeMap::new();
            for closing in &found.closings {
                let Some(record) = records.iter().find(|r| r.batch.id == closing.batch.id) else { continue };
                let doc: BatchDoc = self.shelved(&record.doc).await?;
                paid.insert(closing.batch.id.clone(), found.paid_by(told, closing));
                incoming.push(listed_again(doc, &record.digest, closing));
            }
            run.matter = Matter::Bank(paid);
            self.make_plan(run, incoming, &mut ran).await?;
            run.tell(&Step::At("planned"))?;
            self.carry_out(run).await?;
        }
        found.told(&records, &ran, Day::of(self.now()), told, report);
        report.refused = ran.refused;
        Ok(())
    }
}

/// Days whose batches are not all known.
struct Unsettled(Option<Agenda>);

impl Unsettled {
    /// Whether one of the days in which a booking's batch may have been submitted is among them.
    fn before(&self, booked: Day, within: i32) -> bool {
        let Some(agenda) = &self.0 else { return false };
        let (first, last) = (booked.plus(within.saturating_neg()), booked.plus(-1));
        agenda.through < last || agenda.waiting.keys().any(|day| (first..=last).contains(day))
    }
}

/// The batch as the gateway would list it, had it told of the money. `read`: the digest of its lines so far.
fn listed_again(doc: BatchDoc, read: &str, closing: &Closing) -> Incoming {
    let mut lines = doc.lines;
    let day = match closing.batch.funding {
        Funding::Funded { day, .. } => Some(day),
        Funding::Submitted => None,
    };
    if let Some(day) = day.filter(|_| closing.difference != 0) {
        // What is kept back is a fee until a rule or a person says otherwise; what was paid in excess, nobody knows.
        let kind = if closing.difference < 0 { Kind::Fee } else { Kind::Adjustment };
        let id = format!("{BY_BANK}{}", closing.batch.id);
        lines.push(SettlementLine::of_no_object(id, &closing.batch, kind, closing.difference, day));
    }
    let digest = Digest::parse(read).map(|_| {
        let mut sum = Digest::of(&lines);
        doc.sections.iter().filter_map(|s| Digest::parse(&s.digest)).for_each(|more| sum.add(&more));
        sum
    });
    let listed = ListedBatch { batch: closing.batch.clone(), standing: BatchStanding::Ready };
    Incoming { digest, ..Incoming::new(listed, lines, Vec::new()) }
}

/// What a statement says of the batches of a connection.
struct Found {
    account: String,
    closings: Vec<Closing>,
    /// Batches that a person named.
    by_hand: BTreeSet<Box<str>>,
    before: Vec<(BankLine, Vec<Box<str>>)>,
    confirmed: Vec<(BankLine, Box<str>)>,
    open: Vec<(BankLine, Vec<Box<str>>, &'static str)>,
    bookings: BTreeMap<Box<str>, BankLine>,
}

impl Found {
    fn of(records: &[BatchRecord], told: &Received<'_>, unsettled: &Unsettled) -> Result<Self, WorkError> {
        let account = digest(&[&told.layout.account.to_ascii_uppercase()]);
        let lines = &told.statement.lines;
        let mut found = Self {
            account,
            closings: Vec::new(),
            by_hand: BTreeSet::new(),
            before: Vec::new(),
            confirmed: Vec::new(),
            open: Vec::new(),
            bookings: lines.iter().map(|l| (l.id.clone(), l.clone())).collect(),
        };
        let mut left = found.take_known(records, lines, told);
        let mut waiting: Vec<Waiting> =
            records.iter().filter(|r| r.batch.funding == Funding::Submitted).map(submitted).collect();
        found.take_assigned(&mut left, &mut waiting, told)?;
        let of_gateway: BTreeSet<&str> =
            records.iter().filter(|r| r.paid_by.is_none()).filter_map(funded_by_gateway).collect();
        let announced = records.iter().filter(|r| of_gateway.contains(r.batch.id.as_ref()));
        waiting.extend(announced.filter_map(|r| announced_of(r, &left, told.within)));
        let (closed, open) = close(&waiting, &left, told.within);
        for closing in closed {
            let Some(line) = found.bookings.get(&closing.line).cloned() else { continue };
            if !of_gateway.contains(closing.batch.id.as_ref()) {
                if closing.named || !unsettled.before(line.day, told.within) {
                    found.closings.push(closing);
                } else {
                    found.open.push((line, vec![closing.batch.id], UNSETTLED));
                }
            } else if closing.difference == 0 {
                found.confirmed.push((line, closing.batch.id));
            } else {
                found.open.push((line, vec![closing.batch.id], OTHERWISE));
            }
        }
        for Unclosed { line, candidates } in open {
            let Some(line) = found.bookings.get(&line).cloned() else { continue };
            let action = match candidates.as_slice() {
                [] => NOTHING_WAITS,
                _ if line.amount.minor < 0 => MONEY_BACK,
                [only] if waiting.iter().any(|w| w.batch.id == *only && w.net != line.amount.minor) => PART,
                _ => CHOOSE,
            };
            found.open.push((line, candidates, action));
        }
        found.open.sort_by(|a, b| (a.0.day, &a.0.id).cmp(&(b.0.day, &b.0.id)));
        Ok(found)
    }

    /// Sets aside the bookings that paid before; gives the others.
    fn take_known(
        &mut self,
        records: &[BatchRecord],
        lines: &[BankLine],
        told: &Received<'_>,
    ) -> Vec<BankLine> {
        type Said<'a> = (&'a str, Day, i64);
        let mut paid: BTreeMap<Said<'_>, Vec<Box<str>>> = BTreeMap::new();
        for record in records {
            if let Some(by) = record.paid_by.as_ref().filter(|by| by.account == self.account) {
                let key = (by.booking.as_ref(), by.day, by.amount);
                paid.entry(key).or_default().push(record.batch.id.clone());
            }
        }
        let assigned = |line: &BankLine| told.pays.iter().any(|(booking, _)| *booking == line.id);
        let mut left = Vec::new();
        for line in lines {
            match paid.remove(&(line.id.as_ref(), line.day, line.amount.minor)) {
                Some(batches) => self.before.push((line.clone(), batches)),
                None => left.push(line.clone()),
            }
        }
        // A person who names a booking says that it is another one.
        let known_id = |line: &BankLine| paid.keys().any(|(id, ..)| *id == line.id.as_ref());
        let (same_id, mut left): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|line| known_id(line) && !assigned(line));
        self.open.extend(same_id.into_iter().map(|line| (line, Vec::new(), KNOWN_ID)));
        let mut alike: BTreeMap<(Day, i64), Vec<Vec<Box<str>>>> = BTreeMap::new();
        for ((_, day, amount), batches) in paid {
            alike.entry((day, amount)).or_default().push(batches);
        }
        for ((day, amount), batches) in alike {
            let is_alike = |l: &BankLine| l.day == day && l.amount.minor == amount && !assigned(l);
            let (these, others): (Vec<_>, Vec<_>) = left.into_iter().partition(is_alike);
            left = others;
            if these.len() <= batches.len() {
                self.before.extend(these.into_iter().zip(batches));
            } else {
                let all: Vec<Box<str>> = batches.into_iter().flatten().collect();
                self.open.extend(these.into_iter().map(|line| (line, all.clone(), ALIKE)));
            }
        }
        left
    }

    /// What a person says of bookings.
    fn take_assigned(
        &mut self,
        left: &mut Vec<BankLine>,
        waiting: &mut Vec<Waiting>,
        told: &Received<'_>,
    ) -> Result<(), WorkError> {
        let no = |text: String| Err(WorkError::Config(text));
        for (booking, batches) in told.pays {
            if let Some((_, paid)) = self.before.iter().find(|(line, _)| line.id == *booking) {
                if paid.iter().collect::<BTreeSet<_>>() == batches.iter().collect() {
                    continue;
                }
                return no(format!("booking {booking} has paid {} before", paid.join(", ")));
            }
            let Some(at) = left.iter().position(|l| l.id == *booking) else {
                return no(format!(
                    "there is no booking {booking} of the gateway on this statement; take its id from the list of bookings"
                ));
            };
            let line = left.remove(at);
            let mut rest = line.amount.minor;
            for (n, id) in batches.iter().enumerate() {
                let Some(at) = waiting.iter().position(|w| w.batch.id == *id) else {
                    return no(format!(
                        "batch {id} does not wait for money; `tillway settle show {id}` says how it stands"
                    ));
                };
                let one = waiting.remove(at);
                if one.batch.currency != line.amount.currency {
                    return no(format!(
                        "batch {id} is in {}, and booking {booking} in {}",
                        one.batch.currency, line.amount.currency
                    ));
                }
                // Each gets its net, the last what is left.
                let payout = if n.saturating_add(1) == batches.len() { rest } else { one.net };
                rest = rest.saturating_sub(payout);
                if payout.signum() != one.net.signum() {
                    let amount = line.amount;
                    return no(format!("booking {booking} of {amount} does not suffice for batch {id}"));
                }
                let funding = Funding::Funded { payout, day: line.day };
                self.by_hand.insert(id.clone());
                self.closings.push(Closing {
                    batch: Batch { funding, ..one.batch },
                    line: line.id.clone(),
                    difference: payout.saturating_sub(one.net),
                    named: true,
                });
            }
        }
        Ok(())
    }

    fn paid_by(&self, told: &Received<'_>, closing: &Closing) -> PaidBy {
        let line = self.bookings.get(&closing.line);
        PaidBy {
            bank: told.layout.name.clone(),
            account: self.account.clone(),
            booking: closing.line.clone(),
            day: line.map_or(Day(0), |l| l.day),
            amount: line.map_or(0, |l| l.amount.minor),
            statement: told.statement.digest.clone(),
            by: self.by_hand.contains(&closing.batch.id).then(|| told.by.to_owned()),
        }
    }

    /// Everything in words. `ran` is what became of the closings.
    fn told(
        self,
        records: &[BatchRecord],
        ran: &RunReport,
        today: Day,
        told: &Received<'_>,
        report: &mut BankReport,
    ) {
        for closing in &self.closings {
            let now = ran.batches.iter().find(|r| r.batch.id == closing.batch.id);
            let (Some(now), Funding::Funded { payout, day }) = (now, closing.batch.funding) else { continue };
            let money = |minor| Money::new(minor, closing.batch.currency);
            report.closed.push(Closed {
                batch: closing.batch.id.clone(),
                booking: closing.line.clone(),
                day,
                amount: money(payout),
                difference: money(closing.difference),
                standing: now.standing,
                open: now.sums.open,
            });
        }
        report.closed.sort_by(|a, b| a.batch.cmp(&b.batch));
        let said =
            |line: BankLine, batches| Told { booking: line.id, day: line.day, amount: line.amount, batches };
        report.before = self.before.into_iter().map(|(line, batches)| said(line, batches)).collect();
        report.confirmed = self.confirmed.into_iter().map(|(line, batch)| said(line, vec![batch])).collect();
        for list in [&mut report.before, &mut report.confirmed] {
            list.sort_by(|a, b| (a.day, &a.booking).cmp(&(b.day, &b.booking)));
        }
        let closed: BTreeSet<&str> = report.closed.iter().map(|c| c.batch.as_ref()).collect();
        let still = records
            .iter()
            .filter(|r| r.batch.funding == Funding::Submitted && !closed.contains(r.batch.id.as_ref()));
        for record in still {
            let could = self.open.iter().filter(|(_, candidates, _)| candidates.contains(&record.batch.id));
            let candidates: Vec<Box<str>> = could.map(|(line, ..)| line.id.clone()).collect();
            let age = today.since(record.day);
            let refused = ran.refused.iter().any(|r| r.batch == record.batch.id);
            let action = match candidates.as_slice() {
                _ if refused => REFUSED,
                [] if age <= told.within => NOT_YET,
                [] => LATE,
                _ => CHOOSE,
            };
            let net = Money::new(record.sums.net, record.batch.currency);
            let (batch, day) = (record.batch.id.clone(), record.day);
            report.waiting.push(WaitingBatch { batch, day, age, net, candidates, action });
        }
        report.waiting.sort_by(|a, b| (a.day, &a.batch).cmp(&(b.day, &b.batch)));
        let open = |(line, candidates, action): (BankLine, Vec<Box<str>>, &'static str)| OpenBooking {
            booking: line.id,
            day: line.day,
            amount: line.amount,
            candidates,
            action,
        };
        report.open = self.open.into_iter().map(open).collect();
    }
}

fn submitted(record: &BatchRecord) -> Waiting {
    Waiting { batch: record.batch.clone(), net: record.sums.net, day: record.day }
}

fn funded_by_gateway(record: &BatchRecord) -> Option<&str> {
    matches!(record.batch.funding, Funding::Funded { .. }).then(|| record.batch.id.as_ref())
}

/// A batch whose money the gateway announced about when these bookings came.
fn announced_of(record: &BatchRecord, lines: &[BankLine], within: i32) -> Option<Waiting> {
    let Funding::Funded { payout, day } = record.batch.funding else { return None };
    let first = day.plus(BEFORE.saturating_neg());
    let near = lines.iter().any(|l| (0..=within).contains(&l.day.since(first)));
    near.then(|| Waiting { batch: record.batch.clone(), net: payout, day: first })
}
