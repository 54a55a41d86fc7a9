//! What is measured of a connection's merchant ids: noted with each decision, counted by the tick, read where a route is
//! drawn.
//!
//! How an authorization ended is a note of its own, written in the transaction that learned of it. The tick takes the notes
//! into the connection's record and removes them in one transaction under their revisions, so whatever crashes or races,
//! each counts once. Nothing of this is read or written where no connection has several merchant ids.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tillway_core::facts::{Fact, RouteEnd};
use tillway_core::ids::{CommandId, ConnectionName};
use tillway_core::routing::{Ended, Note, Settings, Table};
use tillway_core::state::OrderState;
use tillway_core::time::{Millis, Timestamp};

use crate::engine::{Engine, WorkError, guarded};
use crate::ports::{Guard, MAX_WRITES, NewItem, StoreError, Write};
use crate::records::{self as rec, CommandRecord};
use crate::tick::TickReport;

/// Counts this old are read anew.
const FRESH: Millis = Millis::secs(5);
/// Notes counted in one transaction: the record itself is one write more.
const MOST_NOTES: usize = MAX_WRITES - 1;
/// Transactions of one tick for one connection; the next one goes on.
const ROUNDS: usize = 20;

/// Counts this process has read, and when.
#[derive(Default)]
pub(crate) struct RouteCounts(Mutex<BTreeMap<ConnectionName, (Timestamp, Arc<Table>)>>);

impl RouteCounts {
    fn keep(&self, connection: &ConnectionName, at: Timestamp, table: Arc<Table>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(connection.clone(), (at, table));
    }
}

impl Engine {
    /// Whether a refusal is the fault of a merchant id.
    pub(crate) fn blames_route(&self, gateway: &ConnectionName, code: &str) -> bool {
        self.config.connection(gateway.as_str()).is_some_and(|(_, connector)| connector.blames_route(code))
    }

    /// Whether a refusal says that a merchant id does not take such orders.
    pub(crate) fn unfit_route(&self, gateway: &ConnectionName, code: &str) -> bool {
        self.config.connection(gateway.as_str()).is_some_and(|(_, connector)| connector.unfit_route(code))
    }

    /// Whether a soft decline may be tried at another merchant id at once.
    pub(crate) fn tried_elsewhere(&self, gateway: &ConnectionName, code: &str) -> bool {
        self.config.connection(gateway.as_str()).is_some_and(|(_, connector)| connector.tried_elsewhere(code))
    }

    /// What was measured of a connection's merchant ids, as of the last seconds.
    pub(crate) async fn route_counts(&self, gateway: &ConnectionName) -> Result<Arc<Table>, WorkError> {
        let now = self.now();
        let known = self.routes.0.lock().unwrap_or_else(PoisonError::into_inner).get(gateway).cloned();
        if let Some((_, table)) = known.filter(|(at, _)| now.since(*at) < FRESH && *at <= now) {
            return Ok(table);
        }
        let key = rec::routes_key(gateway);
        let item = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let table = Arc::new(match item {
            Some(item) => serde_json::from_slice(&item.body)?,
            None => Table::default(),
        });
        self.routes.keep(gateway, now, Arc::clone(&table));
        Ok(table)
    }

    /// Notes of the authorizations whose end a decision learned of.
    pub(crate) fn route_notes(
        &self,
        state: &OrderState,
        facts: &[Fact],
        at: Timestamp,
    ) -> Result<Vec<Write>, WorkError> {
        let mut writes = Vec::new();
        for fact in facts {
            let Fact::RouteEnded { step, command, end, .. } = fact else { continue };
            let ended = match end {
                RouteEnd::Approved => Ended::Approved,
                RouteEnd::Declined | RouteEnd::SoftDeclined => Ended::Declined,
                RouteEnd::Failed => Ended::Technical,
                RouteEnd::Unfit | RouteEnd::Open => continue,
            };
            let pair = state.binding.as_ref().and_then(|binding| self.config.pair(&binding.pair));
            let (Some(pair), Some(chosen)) = (pair, state.choices.get(step)) else { continue };
            let note = Note { route: chosen.route.clone(), segment: chosen.segment.clone(), ended, at };
            writes.push(note_write(&pair.gateway, command, &note)?);
        }
        Ok(writes)
    }

    /// A merchant id gave no answer: that is noted at once, for the outcome may stay unknown for long.
    pub(crate) fn route_unanswered(
        &self,
        record: &mut CommandRecord,
        at: Timestamp,
    ) -> Result<Vec<Write>, WorkError> {
        let Some(taken) = record.taken.clone().filter(|_| !record.route_told) else { return Ok(Vec::new()) };
        record.route_told = true;
        let note = Note { route: taken.route, segment: taken.segment, ended: Ended::Technical, at };
        Ok(vec![note_write(&record.connection, &record.id, &note)?])
    }

    /// Counts what was noted.
    pub(crate) async fn count_routes(&self, report: &mut TickReport) -> Result<(), WorkError> {
        let mut seen: Vec<&ConnectionName> = Vec::new();
        for pair in &self.config.pairs {
            let Some(routing) = pair.routing.as_deref().filter(|_| !seen.contains(&&pair.gateway)) else {
                continue;
            };
            seen.push(&pair.gateway);
            match guarded(self.count_notes(&pair.gateway, &routing.settings, report)).await {
                Err(error @ WorkError::Store(StoreError::Unavailable(_))) => return Err(error),
                Err(error) => {
                    report.failed = report.failed.saturating_add(1);
                    tracing::error!(connection = %pair.gateway, code = error.code(), "route counts: {error}");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn count_notes(
        &self,
        gateway: &ConnectionName,
        settings: &Settings,
        report: &mut TickReport,
    ) -> Result<(), WorkError> {
        let key = rec::routes_key(gateway);
        // From page to page: an index may go on to name for a while what was counted and removed.
        let mut after: Option<String> = None;
        for _ in 0..ROUNDS {
            let list = rec::route_list(gateway);
            let found = self.ports.store.list(&list, after.as_deref(), false, MOST_NOTES).await?;
            let (page, next) = (found.items, found.next);
            if page.is_empty() {
                if next.is_none() {
                    return Ok(());
                }
                after = next;
                continue;
            }
            let item = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
            let (mut table, guard): (Table, Guard) = match &item {
                Some(item) => (serde_json::from_slice(&item.body)?, Guard::Rev(item.rev)),
                None => (Table::default(), Guard::Absent),
            };
            let mut notes: Vec<Note> = Vec::new();
            for item in &page {
                notes.push(serde_json::from_slice(&item.body)?);
            }
            table.fold(&notes, settings);
            let body = serde_json::to_vec(&table)?;
            let record = NewItem { key: key.clone(), body, due: None, list: None, expires: None };
            let removed = page.into_iter().map(|item| Write::Delete(item.key, Guard::Rev(item.rev)));
            let writes = std::iter::once(Write::Put(record, guard)).chain(removed).collect();
            match self.ports.store.transact(writes).await {
                Ok(()) => {
                    let count = u64::try_from(notes.len()).unwrap_or(u64::MAX);
                    report.counted = report.counted.saturating_add(count);
                    self.routes.keep(gateway, self.now(), Arc::new(table));
                    if next.is_none() {
                        return Ok(());
                    }
                    after = next;
                }
                // Another tick counted some of them: looked at again.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn note_write(gateway: &ConnectionName, command: &CommandId, note: &Note) -> Result<Write, WorkError> {
    let kind = if note.ended == Ended::Technical { "technical" } else { "ended" };
    let item = NewItem {
        key: rec::route_note_key(gateway, command, kind),
        body: serde_json::to_vec(note)?,
        due: None,
        list: Some((rec::route_list(gateway), format!("{}#{command}#{kind}", note.at.rfc3339()))),
        expires: None,
    };
    Ok(Write::Put(item, Guard::Any))
}
