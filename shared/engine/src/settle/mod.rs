//! Settlement: what a gateway says it paid out, matched with the books, posted, and kept with its proof.
//!
//! ```text
//! fetch ─▶ parts on the shelf ─▶ match, certify, check ─▶ plan on the shelf ═▶ post ─▶ prove ─▶ book of the day after
//!                                (core::settle, pure)          │ one conditional write: the plan stands
//! ```
//! A run is of one connection and day. It holds a fenced lease and may die anywhere:
//! - before the plan stands, nothing was posted; the next run reads on where the pages stopped, or matches again;
//! - once it stands (`book.pending`), whoever comes next carries it out to its end before anything else. Each of its
//!   steps is conditional and does nothing the second time: journal items under ids made of the batch and the
//!   revision, the batch's record, the open items, the evidence, and last the new book.
//!
//! A day's batches are not all that is planned: a booking on the bank's statement gives a submitted batch its money ([`bank`]), a
//! person accepts what stays open ([`accept`]). Both go the same way from "match" on.
//!
//! What is still expected is carried from run to run in the *book*: expectations and lines that no run has matched,
//! and how far the journal was read. So a run reads the journal's newest days, and not the year. Writes grow with
//! batches and open items: lines, certificates and entries lie in documents on the [`shelf`].

pub mod accept;
pub mod bank;
mod batch;
mod candidates;
mod carry;
mod digest;
mod doubles;
pub mod due;
mod evidence;
mod expect;
mod explain;
mod fetch;
mod late;
mod look;
mod plan;
mod post;
pub mod rates;
pub mod records;
pub mod report;
mod sections;
pub mod settings;
mod shelf;
mod spread;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;

use tillway_connectors::http::kept::Kept;
use tillway_connectors::port::Call;
use tillway_connectors::{Connection, Connector, Secret, Secrets, SettleFault, Settlement};
use tillway_core::ids::{CommandId, ConnectionName};
use tillway_core::settle::{CutOff, Day, Rules};
use tillway_core::time::{Millis, Timestamp};

use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Key, NewItem, Severity, StoreError, Write};
use records::{BookRecord, PaidBy, PlanDoc, RunReport, book_key};

use accept::Taken;
pub use accept::{Accepted, AcceptedRecord, Accepting};
pub use bank::{BankReport, Received};
pub use due::{Agenda, DueReport};
pub use look::{BatchView, Checked, OpenView};
pub use shelf::StoreShelf;
use spread::Drafts;
pub use watched::WatchView;

/// A step of a run, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A plan that an earlier run left was carried out.
    Resumed,
    /// A page of a batch's lines was read: batch, lines so far.
    Read(String, usize),
    /// A section of large batches is matched: how many are done, of how many.
    Section(u16, u16),
    /// Lines and expectations are matched: how many of each.
    Matching(usize, usize),
    /// A batch is posted.
    Posted(String),
    /// Where a test may end a run: a name that is reached once the step before it is done.
    At(&'static str),
}

/// Hears of steps. `false` ends the run there; the next one goes on.
pub type Watch<'a> = &'a (dyn Fn(&Step) -> bool + Send + Sync);

/// What a run is about.
enum Matter {
    /// A day at the gateway.
    Day,
    /// Batches to which the bank's statement gives their money, and the bookings.
    Bank(BTreeMap<Box<str>, PaidBy>),
    /// What a person accepts.
    Accept(Box<Taken>),
}

/// A run at work.
struct Run<'a> {
    connection: &'a Connection,
    connector: &'static dyn Connector,
    api: &'static dyn Settlement,
    rules: Arc<Rules>,
    secrets: Secrets,
    token: Option<Secret>,
    day: Day,
    matter: Matter,
    watch: Watch<'a>,
    book: BookRecord,
    rev: u64,
    command: CommandId,
    /// The run before this one was of the same day and had no time left: what it read is as good as new.
    goes_on: bool,
    /// Secrets were read again after a refusal; once in a run.
    read_again: bool,
    /// Documents of this run.
    drafts: Drafts,
    /// What it downloaded.
    kept: Kept,
}

impl Run<'_> {
    fn name(&self) -> &ConnectionName {
        &self.connection.name
    }
    fn is_of_day(&self) -> bool {
        matches!(self.matter, Matter::Day)
    }
    /// The booking that pays a batch by this run.
    fn paid_by(&self, batch: &str) -> Option<&PaidBy> {
        match &self.matter {
            Matter::Bank(paid) => paid.get(batch),
            Matter::Day | Matter::Accept(_) => None,
        }
    }
    /// What a person accepts by this run.
    fn taken(&self) -> Option<&Taken> {
        match &self.matter {
            Matter::Accept(taken) => Some(taken),
            Matter::Day | Matter::Bank(_) => None,
        }
    }
    fn tell(&self, step: &Step) -> Result<(), WorkError> {
        if (self.watch)(step) { Ok(()) } else { Err(WorkError::OutOfTime) }
    }
}

impl Engine {
    /// Whether a connection settles at all.
    #[must_use]
    pub fn settles(&self, name: &ConnectionName) -> bool {
        let found = self.config.connection(name.as_str());
        found.is_some_and(|(connection, connector)| connector.settlement(connection).is_some())
    }

    /// The rules a connection settles by: the shop's own, else the connector's.
    ///
    /// # Errors
    /// A connection that does not settle.
    pub fn settlement_rules(&self, name: &ConnectionName) -> Result<Arc<Rules>, WorkError> {
        if let Some(own) = self.config.settlement.get(name).and_then(|s| s.rules.clone()) {
            return Ok(own);
        }
        let (connection, _, api) = self.settlement_of(name)?;
        let rules = Rules::load(name.as_str(), api.rules(connection));
        let rules = rules.map_err(|found| {
            let first = found.first().map(ToString::to_string).unwrap_or_default();
            WorkError::Config(format!("the connector's settlement rules: {first}"))
        })?;
        Ok(Arc::new(rules))
    }

    fn settlement_of(
        &self,
        name: &ConnectionName,
    ) -> Result<(&Connection, &'static dyn Connector, &'static dyn Settlement), WorkError> {
        let (connection, connector) = self
            .config
            .connection(name.as_str())
            .ok_or_else(|| WorkError::Config(format!("there is no connection {name}")))?;
        let api = connector.settlement(connection).ok_or_else(|| {
            let system = &connection.system;
            WorkError::Config(format!(
                "{name}: settlement of {system} is not read; choose a gateway's connection"
            ))
        })?;
        Ok((connection, connector, api))
    }

    /// Settles a day of one connection: everything whose money reached the bank on it.
    ///
    /// # Errors
    /// [`WorkError`]; nothing is half posted: the next run goes on.
    pub async fn settle_day(
        &self,
        name: &ConnectionName,
        day: Day,
        watch: Watch<'_>,
    ) -> Result<RunReport, WorkError> {
        self.settle_day_due(name, day, None, watch).await
    }

    /// The same, where the agenda says that the day is due: it is asked once more under the lease, and hears of the end before the
    /// lease is given back. So whoever looked a moment before settles nothing, and tells nothing, a second time.
    pub(crate) async fn settle_day_due(
        &self,
        name: &ConnectionName,
        day: Day,
        due: Option<&CutOff>,
        watch: Watch<'_>,
    ) -> Result<RunReport, WorkError> {
        let mut report = RunReport::of(name, day, self.now());
        let Some(mut run) = self.begin_run(name, Some(day), watch).await? else {
            report.busy = true;
            return Ok(report);
        };
        let done = match due {
            None => self.run_settlement(&mut run, &mut report).await,
            Some(cut_off) => self.run_due(&mut run, &mut report, cut_off).await,
        };
        let stopped = matches!(done, Err(WorkError::OutOfTime));
        run.book.unfinished = stopped.then_some(day);
        self.end_run(run, &format!("the settlement of {day}"), done.as_ref().err()).await?;
        done.map(|()| report)
    }

    /// Takes the lease of a connection's book; `None`: another has it, or after a restore the gateway is swept first. A run that is
    /// of no day counts as one of the newest day that was settled.
    async fn begin_run<'a>(
        &'a self,
        name: &ConnectionName,
        day: Option<Day>,
        watch: Watch<'a>,
    ) -> Result<Option<Run<'a>>, WorkError> {
        let (connection, connector, api) = self.settlement_of(name)?;
        let rules = self.settlement_rules(name)?;
        let key = book_key(name);
        let item = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let known: Option<BookRecord> = item.as_ref().map(|i| serde_json::from_slice(&i.body)).transpose()?;
        let mut book = known.unwrap_or_default();
        if book.held_until.is_some_and(|t| t > self.now()) || self.waits_for_gateway(name).await? {
            return Ok(None);
        }
        book.fence = book.fence.saturating_add(1);
        let secrets = self.secrets(name.as_str(), false).await?;
        let token = match connector.needs_token(connection) {
            true => self.token(connection, connector, None).await?.ok(),
            false => None,
        };
        let rev = item.map_or(0, |i| i.rev);
        let command = CommandId::new("settle");
        let goes_on = day.is_some() && book.unfinished.take() == day;
        let day = day.or(book.today).unwrap_or_else(|| Day::of(self.now()));
        let mut run = Run {
            connection,
            connector,
            api,
            rules,
            secrets,
            token,
            day,
            matter: Matter::Day,
            watch,
            book,
            rev,
            command,
            goes_on,
            read_again: false,
            drafts: Drafts::default(),
            kept: Kept::default(),
        };
        if !self.hold_book(&mut run).await? {
            return Ok(None);
        }
        self.empty_trash(&mut run).await?;
        self.sweep_drafts(&mut run).await?;
        Ok(Some(run))
    }

    /// Gives the lease back.
    async fn end_run(
        &self,
        mut run: Run<'_>,
        what: &str,
        failed: Option<&WorkError>,
    ) -> Result<(), WorkError> {
        run.book.held_until = None;
        // A lease that was lost meanwhile writes nothing: the revision has moved on.
        self.put_book(&mut run).await?;
        if let Some(error) = failed.filter(|e| !matches!(e, WorkError::OutOfTime)) {
            let name = run.name();
            let text = format!("{name}: {what} stopped: {error}; the next run goes on where it stood");
            self.alert("settlement_stopped", Severity::Warning, None, text).await;
        }
        Ok(())
    }

    /// Carries out what an earlier run left, before a run that is of no day; whether there was anything.
    async fn finish_pending(&self, run: &mut Run<'_>) -> Result<bool, WorkError> {
        if self.carry_out(run).await?.is_none() {
            return Ok(false);
        }
        run.tell(&Step::Resumed)?;
        Ok(true)
    }

    async fn run_due(
        &self,
        run: &mut Run<'_>,
        report: &mut RunReport,
        cut_off: &CutOff,
    ) -> Result<(), WorkError> {
        let agenda = self.agenda(run.name(), cut_off).await?.0;
        if agenda.next(cut_off, self.now()) != Some(run.day) {
            report.busy = true;
            return Ok(());
        }
        self.run_settlement(run, report).await?;
        self.day_done(report, cut_off, agenda.announced.get(&run.day).copied()).await
    }

    async fn run_settlement(&self, run: &mut Run<'_>, report: &mut RunReport) -> Result<(), WorkError> {
        if run.book.pending.is_some() {
            // The plan of a run that died stands: it is carried out before anything else is looked at.
            let plan = self.carry_out(run).await?;
            report.resumed = true;
            // Nothing came since: it is this run's own plan.
            let missed = |(code, _): &(String, String)| matches!(code.as_str(), "refused" | "waiting");
            let quiet = |plan: &PlanDoc| plan.run.as_ref().is_some_and(|r| !r.notices.iter().any(missed));
            let whole = |plan: &PlanDoc| plan.day == run.day && quiet(plan);
            if let Some(plan) = plan.filter(|plan| run.goes_on && whole(plan)) {
                let settled = self.settled_batches(run.name()).await?;
                report.batches = settled.into_iter().filter(|record| record.day == run.day).collect();
                (report.at, report.open, report.headline) = (plan.at, plan.open, plan.headline);
                return Ok(());
            }
            run.tell(&Step::Resumed)?;
        }
        let incoming = self.fetch_batches(run, report).await?;
        run.tell(&Step::At("fetched"))?;
        self.make_plan(run, incoming, report).await?;
        run.tell(&Step::At("planned"))?;
        report.headline = self.carry_out(run).await?.map(|plan| plan.headline).unwrap_or_default();
        Ok(())
    }

    /// Takes the lease, or holds it for one more step.
    async fn hold_book(&self, run: &mut Run<'_>) -> Result<bool, WorkError> {
        let step = Millis(self.config.times.call_limit.0.saturating_mul(2));
        run.book.held_until = Some(self.now() + step);
        self.put_book(run).await
    }

    /// The same, where it must not have been lost.
    async fn keep_book(&self, run: &mut Run<'_>) -> Result<(), WorkError> {
        if self.hold_book(run).await? {
            return Ok(());
        }
        Err(WorkError::Config(format!("{}: another process settles it", run.name())))
    }

    /// The same, where half of the lease is over.
    async fn renew_book(&self, run: &mut Run<'_>) -> Result<(), WorkError> {
        let near = self.now() + self.config.times.call_limit;
        if run.book.held_until.is_some_and(|t| t > near) { Ok(()) } else { self.keep_book(run).await }
    }

    async fn put_book(&self, run: &mut Run<'_>) -> Result<bool, WorkError> {
        let guard = if run.rev == 0 { Guard::Absent } else { Guard::Rev(run.rev) };
        let item = NewItem {
            key: book_key(run.name()),
            body: serde_json::to_vec(&run.book)?,
            due: None,
            list: None,
            expires: None,
        };
        match self.ports.store.transact(vec![Write::Put(item, guard)]).await {
            Ok(()) => {
                run.rev = run.rev.saturating_add(1);
                Ok(true)
            }
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// After a 401: secrets read again and a new token, once in a run. Whether it is worth asking again.
    async fn access_again(&self, run: &mut Run<'_>) -> Result<bool, WorkError> {
        if std::mem::replace(&mut run.read_again, true) {
            return Ok(false);
        }
        run.secrets = self.secrets(run.name().as_str(), true).await?;
        if run.connector.needs_token(run.connection) {
            let refused = run.token.take();
            run.token = self.token(run.connection, run.connector, refused.as_ref()).await?.ok();
        }
        Ok(true)
    }

    /// A call's surroundings for the connector.
    fn settle_call<'a>(
        &self,
        run: &'a Run<'_>,
        http: &'a dyn tillway_connectors::http::Http,
        now: Timestamp,
    ) -> Call<'a> {
        Call {
            connection: run.connection,
            secrets: &run.secrets,
            token: run.token.as_ref(),
            http,
            action: "settle",
            command: &run.command,
            generation: 0,
            prepared: &[],
            now,
            limit: self.config.times.call_limit,
        }
    }
}

/// Where an item stands alone: its key.
fn item(key: Key, body: Vec<u8>, list: Option<(String, String)>) -> NewItem {
    NewItem { key, body, due: None, list, expires: None }
}

/// What a fault of reading means for the run. `clock`: what is said where our clock is off.
fn stopped(name: &ConnectionName, fault: &SettleFault, clock: Option<String>) -> WorkError {
    use tillway_connectors::port::NotDone;
    WorkError::Config(match (fault, clock) {
        (SettleFault::NotNow { why: NotDone::Unauthorized, .. }, Some(clock)) => clock,
        (SettleFault::NotNow { why: NotDone::Unauthorized, .. }, None) => {
            format!(
                "{name}: the gateway refuses our credentials for settlement; give the key the right to read it"
            )
        }
        (fault, _) => format!("{name}: {fault}; settle the day again"),
    })
}
