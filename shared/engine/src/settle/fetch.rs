//! Reading the batches of a day: page by page onto the shelf, so that a run that dies reads on where it stood.

use std::collections::BTreeSet;

use tillway_connectors::port::NotDone;
use tillway_connectors::settlement::PATIENCE;
use tillway_connectors::{BatchPage, BatchStanding, LinePage, ListedBatch, SettleFault};
use tillway_core::settle::{Batch, Class, Exception, Funding, SettlementLine};
use tillway_core::time::Millis;

use super::digest::Digest;
use super::records::{BatchDoc, BatchRecord, ReadRecord, Refused, RunReport, Waiting, read_key};
use super::sections::Sectioned;
use super::{Run, Step, item, stopped};
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Severity, Write};

/// Pages of batches, at most: a gateway that never ends its list is no gateway.
pub(super) const MAX_PAGES: usize = 1000;
/// Lines of one part: what a run that dies reads once more, and one write of the store.
const PART: usize = 20_000;
/// Words of a gateway's that nobody here knows, of one batch.
const MOST_WORDS: usize = 50;

/// A batch as it came.
pub(super) struct Incoming {
    pub(super) listed: ListedBatch,
    /// All its lines; of a large one those that no section has.
    pub(super) lines: Vec<SettlementLine>,
    /// Where all lie.
    pub(super) read: Vec<Box<str>>,
    /// Its lines are too many to be held at once.
    pub(super) large: bool,
    /// Of a large one: digest of all its lines.
    pub(super) digest: Option<Digest>,
    /// Of a large one: what is posted of it already.
    pub(super) before: Option<(BatchRecord, BatchDoc)>,
    /// Of a large one: it is posted, and says the same.
    pub(super) same: bool,
    /// Of one whose sections are posted: a line of them is gone, or another now.
    pub(super) changed: bool,
    /// Of a large one: its sections, made in this run.
    pub(super) sectioned: Sectioned,
}

impl Incoming {
    /// One with these lines.
    pub(super) fn new(listed: ListedBatch, lines: Vec<SettlementLine>, read: Vec<Box<str>>) -> Self {
        Self {
            listed,
            lines,
            read,
            large: false,
            digest: None,
            before: None,
            same: false,
            changed: false,
            sectioned: Sectioned::default(),
        }
    }
}

impl Engine {
    /// Lists the day's batches and reads their lines.
    pub(super) async fn fetch_batches(
        &self,
        run: &mut Run<'_>,
        report: &mut RunReport,
    ) -> Result<Vec<Incoming>, WorkError> {
        let mut out = Vec::new();
        let Some(listed) = self.list_batches(run, report).await? else { return Ok(out) };
        let mut unfamiliar = BTreeSet::new();
        let mut held = 0_usize;
        for listed in listed {
            let id = listed.batch.id.clone();
            let why = match &listed.standing {
                BatchStanding::Ready => None,
                BatchStanding::Failed { code } => {
                    let text = format!(
                        "{}: the payout {id} of {} came back from the bank ({code}); {}",
                        run.name(),
                        run.day,
                        Class::PayoutFailedLater.action()
                    );
                    self.alert("payout_failed", Severity::Critical, None, text).await;
                    None
                }
                BatchStanding::Pending { after } => {
                    report.waiting.push(Waiting {
                        batch: id.clone(),
                        why: "it is not finished at the gateway".to_owned(),
                        again_at: Some(self.now() + *after),
                    });
                    continue;
                }
                BatchStanding::Unlisted { why } => Some(why.clone()),
            };
            if let Some(why) = why {
                self.refuse(run, report, &id, vec![why]).await;
                continue;
            }
            let room = self.config.in_memory.saturating_sub(held);
            let read = if run.api.grows(&id) {
                self.read_growing(run, &listed).await
            } else {
                self.read_lines(run, &listed, room, &mut unfamiliar).await.map(|(lines, read)| {
                    let (large, lines) = (lines.is_none(), lines.unwrap_or_default());
                    vec![Incoming { large, ..Incoming::new(listed, lines, read) }]
                })
            };
            match read {
                Ok(incoming) => {
                    held = incoming.iter().map(|i| i.lines.len()).fold(held, usize::saturating_add);
                    out.extend(incoming);
                }
                Err(Stop::Fault(SettleFault::NotReady { after })) => {
                    self.wait_for(run, report, id, after).await;
                }
                Err(Stop::Fault(fault @ SettleFault::Unreadable { .. })) => {
                    self.refuse(run, report, &id, vec![fault.to_string()]).await;
                }
                Err(Stop::Fault(fault)) => {
                    return Err(stopped(run.name(), &fault, self.clock_off(run.name())));
                }
                Err(Stop::Work(error)) => return Err(error),
            }
        }
        if !unfamiliar.is_empty() {
            let words: Vec<String> = unfamiliar.into_iter().collect();
            let text = format!(
                "{}: the settlement of {} has words that nobody here knows: {}; their lines are adjustments and stay open: \
                 look what they are, and tell us",
                run.name(),
                run.day,
                words.join(", ")
            );
            self.alert("settlement_unfamiliar", Severity::Warning, None, text).await;
        }
        Ok(out)
    }

    /// A batch that is not posted: a person has to look.
    pub(super) async fn refuse(&self, run: &Run<'_>, report: &mut RunReport, batch: &str, why: Vec<String>) {
        let reasons = why.join("; ");
        let text = format!("{}: batch {batch} of {} is not posted: {reasons}", run.name(), run.day);
        self.alert("settlement_refused", Severity::Critical, None, text).await;
        report.refused.push(Refused { batch: batch.into(), why });
    }

    async fn wait_for(&self, run: &Run<'_>, report: &mut RunReport, batch: Box<str>, after: Millis) {
        if self.now().since(run.day.plus(1).start()) > PATIENCE {
            let text = format!(
                "{}: the settlement of {} is still not to be had ({batch}); ask the gateway",
                run.name(),
                run.day
            );
            self.alert("settlement_late", Severity::Critical, None, text).await;
        }
        let why = "its report is not there yet".to_owned();
        report.waiting.push(Waiting { batch, why, again_at: Some(self.now() + after) });
    }

    async fn list_batches(
        &self,
        run: &mut Run<'_>,
        report: &mut RunReport,
    ) -> Result<Option<Vec<ListedBatch>>, WorkError> {
        let mut out: Vec<ListedBatch> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut page = self.ask_batches(run, cursor.as_deref()).await;
            if is_refused(&page) && self.access_again(run).await? {
                page = self.ask_batches(run, cursor.as_deref()).await;
            }
            let page = match page {
                Ok(page) => page,
                Err(SettleFault::NotReady { after }) => {
                    self.wait_for(run, report, "".into(), after).await;
                    return Ok(None);
                }
                Err(fault @ SettleFault::Unreadable { .. }) => {
                    self.refuse(run, report, "", vec![fault.to_string()]).await;
                    return Ok(None);
                }
                Err(fault) => return Err(stopped(run.name(), &fault, self.clock_off(run.name()))),
            };
            for listed in page.batches {
                // A page that comes twice lists its batches once; what is submitted and funded on one day is funded.
                match out.iter_mut().find(|known| known.batch.id == listed.batch.id) {
                    None => out.push(listed),
                    Some(known) if brings_the_money(&known.batch, &listed.batch) => *known = listed,
                    Some(_) => {}
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                out.sort_by(|a, b| a.batch.id.cmp(&b.batch.id));
                return Ok(Some(out));
            }
            self.keep_book(run).await?;
        }
        Err(WorkError::Config(format!("{}: the list of batches has no end", run.name())))
    }

    async fn ask_batches(&self, run: &Run<'_>, cursor: Option<&str>) -> Result<BatchPage, SettleFault> {
        let http = self.outbound(run.connection, run.connector, None).keeping(&run.kept);
        run.api.batches(&self.settle_call(run, &http, self.now()), run.day, cursor).await
    }

    pub(super) async fn ask_lines(
        &self,
        run: &Run<'_>,
        batch: &Batch,
        cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault> {
        let http = self.outbound(run.connection, run.connector, None).keeping(&run.kept);
        run.api.lines(&self.settle_call(run, &http, self.now()), batch, cursor).await
    }

    /// All lines of a batch, and where they lie; none where there is no `room` to hold them.
    async fn read_lines(
        &self,
        run: &mut Run<'_>,
        listed: &ListedBatch,
        room: usize,
        unfamiliar: &mut BTreeSet<String>,
    ) -> Result<(Option<Vec<SettlementLine>>, Vec<Box<str>>), Stop> {
        let key = read_key(run.name(), &listed.batch.id);
        let found = self.ports.store.get(std::slice::from_ref(&key)).await.map_err(WorkError::from)?;
        let known = found.into_iter().flatten().next();
        let known: Option<ReadRecord> =
            known.map(|i| serde_json::from_slice(&i.body)).transpose().map_err(WorkError::from)?;
        // What was read to its end by a run whose plan never stood is read anew: it may say something else now.
        let (mut record, stale) = match known {
            Some(known) if run.goes_on || !known.done => (known, Vec::new()),
            known => (ReadRecord::default(), known.map(|k| k.parts).unwrap_or_default()),
        };
        for part in stale {
            self.unshelve(&part).await?;
        }
        let fits = |lines: usize| lines <= room;
        let mut all = Some(Vec::new()).filter(|_| fits(record.lines));
        if let Some(lines) = &mut all {
            for part in &record.parts {
                lines.extend(self.shelved::<Vec<SettlementLine>>(part).await?);
            }
        }
        let mut fresh: Vec<SettlementLine> = Vec::new();
        while !record.done {
            let mut page = self.ask_lines(run, &listed.batch, record.next.as_deref()).await;
            if is_refused(&page) && self.access_again(run).await? {
                page = self.ask_lines(run, &listed.batch, record.next.as_deref()).await;
            }
            let page = page.map_err(Stop::Fault)?;
            fresh.extend(page.lines);
            for remark in page.remarks {
                let text = format!("{}: batch {} of {}: {remark}", run.name(), listed.batch.id, run.day);
                self.alert("settlement_remark", Severity::Warning, None, text).await;
            }
            // A connector bounds what one page tells, and nobody reads more than some.
            let more = MOST_WORDS.saturating_sub(record.unfamiliar.len());
            record.unfamiliar.extend(page.unfamiliar.into_iter().take(more));
            record.next = page.next;
            record.done = record.next.is_none();
            let count = record.lines.saturating_add(fresh.len());
            let told = run.tell(&Step::Read(listed.batch.id.to_string(), count));
            // What a run without time has read is kept for the next.
            if record.done || told.is_err() || fresh.len() >= PART {
                let n = record.parts.len();
                let name = format!("{}/read/{}/{}-{n}", run.name(), listed.batch.id, run.book.fence);
                self.shelve(&name, &fresh).await?;
                record.parts.push(name.into());
                record.lines = count;
                match all.as_mut().filter(|_| fits(count)) {
                    Some(lines) => lines.append(&mut fresh),
                    None => (all, fresh) = (None, Vec::new()),
                }
                let body = serde_json::to_vec(&record).map_err(WorkError::from)?;
                let write = Write::Put(item(key.clone(), body, None), Guard::Any);
                self.ports.store.transact(vec![write]).await.map_err(WorkError::from)?;
                self.keep_book(run).await?;
                told?;
                run.tell(&Step::At("read"))?;
            } else {
                self.renew_book(run).await?;
            }
        }
        unfamiliar.extend(record.unfamiliar);
        Ok((all, record.parts))
    }
}

/// Whether a second listing of a batch has the money that the first lacks.
fn brings_the_money(known: &Batch, listed: &Batch) -> bool {
    matches!((known.funding, listed.funding), (Funding::Submitted, Funding::Funded { .. }))
}

/// Whether the gateway refuses our credentials.
const fn is_refused<T>(page: &Result<T, SettleFault>) -> bool {
    matches!(page, Err(SettleFault::NotNow { why: NotDone::Unauthorized, .. }))
}

/// Why lines were not read.
pub(super) enum Stop {
    Fault(SettleFault),
    Work(WorkError),
}

impl From<WorkError> for Stop {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

/// The exceptions that are about open items, not about what is matched.
pub(super) fn about_open(exception: &Exception, open: impl Fn(&str) -> bool) -> bool {
    exception.lines.iter().chain(&exception.expected).any(|id| open(id))
}
