//! How things stand, told once a minute: what no counter can tell, because nothing happens.

use tillway_core::time::Millis;

use crate::engine::{Engine, WorkError};
use crate::ports::DUE_SHARDS;
use crate::records::{CommandRecord, CommandState};

/// Parked items are counted up to this many.
const MOST_PARKED: usize = 300;

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// For how long the oldest due piece of work has waited.
    pub due_oldest: Millis,
    /// For how long the oldest outcome has been unknown.
    pub unknown_oldest: Millis,
    /// Items that wait for a person.
    pub parked: usize,
    /// For how long the settlement of a day has been overdue.
    pub settlement_overdue: Millis,
    /// Days that the oldest open item of settlement has stood.
    pub settlement_open: i32,
}

impl Engine {
    /// Looks how things stand and tells the gauges `due_oldest_seconds`, `unknown_oldest_seconds`, `parked_open`,
    /// `settlement_overdue_seconds` and `settlement_open_days`, zeros included: where they are silent, nobody looks. To be called before
    /// [`Engine::tick`], which works what is due.
    ///
    /// # Errors
    /// The store.
    pub async fn gauges(&self) -> Result<Gauges, WorkError> {
        let now = self.now();
        let store = &self.ports.store;
        let mut gauges = Gauges::default();
        for shard in 0..DUE_SHARDS {
            for item in store.due(shard, now, 1).await? {
                let waited = item.due.map_or(Millis(0), |due| now.since(due.at));
                gauges.due_oldest = gauges.due_oldest.max(waited);
            }
        }
        // In the order they were decided in; the first few are the oldest, give or take a look-up.
        for item in store.list("unknown", None, false, 10).await?.items {
            let record: CommandRecord = serde_json::from_slice(&item.body)?;
            if let CommandState::Unknown { since, .. } = record.state {
                gauges.unknown_oldest = gauges.unknown_oldest.max(now.since(since));
            }
        }
        let mut after = None;
        while gauges.parked < MOST_PARKED {
            let page = store.list("parked", after.as_deref(), false, 100).await?;
            gauges.parked = gauges.parked.saturating_add(page.items.len());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for name in self.config.connections.keys() {
            let Some(cut_off) = self.settled_by_itself(name) else { continue };
            let (agenda, _) = self.agenda(name, &cut_off).await?;
            gauges.settlement_overdue = gauges.settlement_overdue.max(agenda.overdue(&cut_off, now));
        }
        gauges.settlement_open = self.oldest_open().await?;
        let seconds = |length: Millis| u64::try_from(length.0 / 1000).unwrap_or(0);
        let alerts = &self.ports.alerts;
        alerts.gauge("due_oldest_seconds", seconds(gauges.due_oldest));
        alerts.gauge("unknown_oldest_seconds", seconds(gauges.unknown_oldest));
        alerts.gauge("parked_open", u64::try_from(gauges.parked).unwrap_or(u64::MAX));
        alerts.gauge("settlement_overdue_seconds", seconds(gauges.settlement_overdue));
        alerts.gauge("settlement_open_days", u64::try_from(gauges.settlement_open).unwrap_or(0));
        Ok(gauges)
    }
}
