//! When a connection is settled: every morning after its cut-off, when a batch is announced, and again where one was
//! waited for. What is to be done stands in the *agenda* of the connection; whoever looks at it does what is due, and
//! two at a time are one, by the lease of the book.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tillway_core::doc::Json;
use tillway_core::ids::ConnectionName;
use tillway_core::settle::{CutOff, Day};
use tillway_core::time::{Millis, Timestamp};

use super::records::{RunReport, agenda_key};
use super::{Watch, item};
use crate::config::Settling;
use crate::engine::{Engine, WorkError};
use crate::ports::{Guard, Severity, StoreError, Write};
use crate::records::Event;

/// Days that are made up for after a pause; what is older is left to a person.
const MADE_UP_FOR: i32 = 31;
/// A day that is waited for is asked again after these, at least and at most.
const AGAIN: (Millis, Millis) = (Millis::mins(5), Millis::hours(6));
/// And for so many days.
const WAITED_FOR: i32 = 14;
/// A connection whose run failed rests: first, and at most.
const REST: (Millis, Millis) = (Millis::mins(15), Millis::hours(4));
/// Runs one after the other that began and came to no end: after so many the process is taken for killed by them, and the
/// connection rests.
const KILLED: u32 = 3;
/// Runs of one look, at most.
const RUNS: usize = 100;
/// How often the agenda is written against others.
const MAX_TRIES: u32 = 8;

/// What is to be settled of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agenda {
    /// Every day up to here had its morning's run.
    pub through: Day,
    /// Days of which a batch was announced since their last run, and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub announced: BTreeMap<Day, Timestamp>,
    /// Days of which something was not there yet, and when to ask again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting: BTreeMap<Day, Timestamp>,
    /// Runs that failed since the last that did not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,
    /// Runs that began since the last that came to an end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub begun: u32,
    /// None begins before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What one look at the agenda did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueReport {
    /// Runs, in order.
    pub runs: Vec<RunReport>,
    /// There was no time for all of it: the next look goes on.
    pub more: bool,
    /// Another process settles, or after a restore a sweep comes first.
    pub busy: bool,
}

impl Agenda {
    /// The day to be settled next, where one is due.
    #[must_use]
    pub fn next(&self, cut_off: &CutOff, now: Timestamp) -> Option<Day> {
        if self.rests_until.is_some_and(|t| t > now) {
            return None;
        }
        let morning = self.through.plus(1);
        if cut_off.due(morning) <= now {
            return Some(morning);
        }
        let due = |days: &BTreeMap<Day, Timestamp>| days.iter().find(|(_, at)| **at <= now).map(|(d, _)| *d);
        due(&self.announced).or_else(|| due(&self.waiting))
    }

    /// For how long a morning's run is overdue.
    #[must_use]
    pub fn overdue(&self, cut_off: &CutOff, now: Timestamp) -> Millis {
        now.since(cut_off.due(self.through.plus(1))).max(Millis(0))
    }

    /// A run of a day came to its end that looked at `looked`. `heard`: what was announced of it before.
    fn done(
        &mut self,
        day: Day,
        (looked, cut_off): (Timestamp, &CutOff),
        heard: Option<Timestamp>,
        again: Option<Timestamp>,
    ) {
        (self.failed, self.begun, self.rests_until) = (0, 0, None);
        // What an announcement brought about before the cut-off is no morning: more may come that day.
        if day == self.through.plus(1) && cut_off.due(day) <= looked {
            self.through = day;
        }
        // What was announced meanwhile is another run.
        if self.announced.get(&day).copied() == heard.filter(|at| *at <= looked) {
            self.announced.remove(&day);
        }
        self.waiting.remove(&day);
        if let Some(at) = again {
            self.waiting.insert(day, at);
        }
    }

    fn failed(&mut self, now: Timestamp) {
        let rest = REST.0.0.saturating_mul(1_i64.checked_shl(self.failed.min(8)).unwrap_or(1));
        (self.failed, self.begun) = (self.failed.saturating_add(1), 0);
        self.rests_until = Some(now + Millis(rest).min(REST.1));
    }
}

impl Engine {
    /// How a connection is settled, where it is settled by itself.
    #[must_use]
    pub fn settled_by_itself(&self, name: &ConnectionName) -> Option<CutOff> {
        let Settling { cut_off, scheduled, .. } =
            self.config.settlement.get(name).cloned().unwrap_or_default();
        (scheduled && self.settles(name)).then_some(cut_off)
    }

    /// Settles what is due of a connection, oldest day first, as long as `watch` lets it.
    ///
    /// # Errors
    /// The run's that failed; the connection rests for a while then.
    pub async fn settle_due(&self, name: &ConnectionName, watch: Watch<'_>) -> Result<DueReport, WorkError> {
        let mut report = DueReport::default();
        let Some(cut_off) = self.settled_by_itself(name) else { return Ok(report) };
        self.leave_out_old(name, &cut_off).await?;
        for _ in 0..RUNS {
            let agenda = self.agenda(name, &cut_off).await?.0;
            let Some(day) = agenda.next(&cut_off, self.now()) else { return Ok(report) };
            if agenda.begun >= KILLED {
                let text = format!(
                    "{name}: {KILLED} runs of {day} began and came to no end; the process was killed each time, for want of \
                     memory or of time: give it more, it is tried again later"
                );
                self.alert("settlement_killed", Severity::Critical, None, text).await;
                let now = self.now();
                self.change_agenda(name, &cut_off, |agenda| agenda.failed(now)).await?;
                return Ok(report);
            }
            self.change_agenda(name, &cut_off, |agenda| agenda.begun = agenda.begun.saturating_add(1))
                .await?;
            let ended = self.settle_day_due(name, day, Some(&cut_off), watch).await;
            match ended {
                Err(WorkError::OutOfTime) => {
                    self.change_agenda(name, &cut_off, |agenda| agenda.begun = 0).await?;
                    report.more = true;
                    return Ok(report);
                }
                Ok(run) if run.busy => {
                    // It never began.
                    let less = |agenda: &mut Agenda| agenda.begun = agenda.begun.saturating_sub(1);
                    self.change_agenda(name, &cut_off, less).await?;
                    report.busy = true;
                    return Ok(report);
                }
                Ok(run) => report.runs.push(run),
                Err(error) => {
                    let now = self.now();
                    self.change_agenda(name, &cut_off, |agenda| agenda.failed(now)).await?;
                    return Err(error);
                }
            }
        }
        report.more = true;
        Ok(report)
    }

    /// A run of a day came to its end. `heard`: what was announced of it before.
    pub(super) async fn day_done(
        &self,
        run: &RunReport,
        cut_off: &CutOff,
        heard: Option<Timestamp>,
    ) -> Result<(), WorkError> {
        let name = &run.connection;
        let again = self.again(name, run).await;
        let looked = (run.at, cut_off);
        self.change_agenda(name, cut_off, |agenda| agenda.done(run.day, looked, heard, again)).await
    }

    /// When to ask again for what was not there yet.
    async fn again(&self, name: &ConnectionName, run: &RunReport) -> Option<Timestamp> {
        let now = self.now();
        let asked = run.waiting.iter().map(|w| w.again_at.unwrap_or(now)).min()?;
        if Day::of(now).since(run.day) <= WAITED_FOR {
            return Some(asked.clamp(now + AGAIN.0, now + AGAIN.1));
        }
        let text = format!(
            "{name}: the settlement of {} did not come in {WAITED_FOR} days and is asked for no more; ask the gateway, \
             then `tillway settle run --connection {name} --date {}`",
            run.day, run.day
        );
        self.alert("settlement_given_up", Severity::Critical, None, text).await;
        None
    }

    /// After a long pause a person decides what becomes of the days before the last month.
    async fn leave_out_old(&self, name: &ConnectionName, cut_off: &CutOff) -> Result<(), WorkError> {
        let (agenda, _) = self.agenda(name, cut_off).await?;
        let first = cut_off.newest(self.now()).plus(MADE_UP_FOR.saturating_neg());
        if agenda.through >= first {
            return Ok(());
        }
        let text = format!(
            "{name}: nothing was settled for more than {MADE_UP_FOR} days; {} to {first} are left out, settle them with \
             `tillway settle run`",
            agenda.through.plus(1)
        );
        self.alert("settlement_left_out", Severity::Critical, None, text).await;
        self.change_agenda(name, cut_off, |agenda| agenda.through = agenda.through.max(first)).await
    }

    /// Takes an event for what it announces. `false`: it announces nothing.
    pub(crate) async fn hear_of_settlement(&self, event: &Event, json: Json<'_>) -> Result<bool, WorkError> {
        let name = &event.connection;
        let Some(cut_off) = self.settled_by_itself(name) else { return Ok(false) };
        let Some((connection, connector)) = self.config.connection(name.as_str()) else { return Ok(false) };
        let announced =
            connector.settlement(connection).and_then(|s| s.announced(connection, &event.kind, json));
        let now = self.now();
        let age = |day: Day| Day::of(now).since(day);
        // What is announced far ahead comes by itself, what is long past nobody waits for.
        let Some(day) = announced.filter(|day| (-1..=MADE_UP_FOR).contains(&age(*day))) else {
            return Ok(false);
        };
        self.change_agenda(name, &cut_off, |agenda| {
            agenda.announced.insert(day, now);
        })
        .await?;
        Ok(true)
    }

    /// The agenda with its revision. A connection that has none begins today.
    pub(crate) async fn agenda(
        &self,
        name: &ConnectionName,
        cut_off: &CutOff,
    ) -> Result<(Agenda, u64), WorkError> {
        let found = self.ports.store.get(&[agenda_key(name)]).await?.into_iter().flatten().next();
        if let Some(found) = found {
            return Ok((serde_json::from_slice(&found.body)?, found.rev));
        }
        let fresh = Agenda {
            through: cut_off.newest(self.now()),
            announced: BTreeMap::new(),
            waiting: BTreeMap::new(),
            failed: 0,
            begun: 0,
            rests_until: None,
        };
        // Written down, so that a run that never comes is missed.
        let write = Write::Put(item(agenda_key(name), serde_json::to_vec(&fresh)?, None), Guard::Absent);
        match self.ports.store.transact(vec![write]).await {
            Ok(()) => Ok((fresh, 1)),
            Err(StoreError::Conflict(_)) => Err(WorkError::Contended),
            Err(error) => Err(error.into()),
        }
    }

    async fn change_agenda(
        &self,
        name: &ConnectionName,
        cut_off: &CutOff,
        change: impl Fn(&mut Agenda),
    ) -> Result<(), WorkError> {
        for _ in 0..MAX_TRIES {
            let (mut agenda, rev) = match self.agenda(name, cut_off).await {
                Err(WorkError::Contended) => continue,
                found => found?,
            };
            change(&mut agenda);
            let write =
                Write::Put(item(agenda_key(name), serde_json::to_vec(&agenda)?, None), Guard::Rev(rev));
            match self.ports.store.transact(vec![write]).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WorkError::Contended)
    }
}
