//! Sweeps: a webhook that never came is found by asking the provider what happened.
//!
//! A sweep holds a fenced lease, looks at an overlapping window, and moves its cursor only after every send
//! was accepted. What the order knows already is left alone; what is news is sent on like a webhook, and is
//! told apart by age: younger than the grace time it is late, older it was lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tillway_connectors::port::Call;
use tillway_connectors::{Interpreted, Rejected, SweptEvent};
use tillway_core::facts::Fact;
use tillway_core::ids::{CommandId, ConnectionName, OrderKey};
use tillway_core::money::Money;
use tillway_core::state::OrderState;
use tillway_core::time::{Millis, Timestamp};

use crate::bugs::Bug;
use crate::engine::{Engine, WorkError};
use crate::meaning::Meaning;
use crate::ports::{Guard, Key, NewItem, Severity, StoreError, Write};
use crate::records::{Event, EventBody, OrderRecord, Origin, RawJson, state_key};

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// The connection swept.
    pub connection: String,
    /// Window begins.
    pub since: Timestamp,
    /// Window ends.
    pub until: Timestamp,
    /// Events or objects looked at.
    pub seen: u64,
    /// Known already.
    pub known: u64,
    /// News, but young enough that the webhook may still come.
    pub late: u64,
    /// News whose webhook never came: event id, type, order and age.
    pub lost: Vec<LostEvent>,
    /// Another process holds the lease.
    pub busy: bool,
    /// What was counted as missed of each charge, refund and movement: several events tell of one.
    #[serde(skip)]
    counted: BTreeMap<String, i64>,
}

/// A webhook that never came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostEvent {
    /// Event id.
    pub event: String,
    /// Event type.
    pub kind: String,
    /// Order, where known.
    pub order: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// Money that would have been missed: captured or refunded by it.
    pub money: Vec<Money>,
}

impl SweepReport {
    /// Money that would have been missed, by currency.
    #[must_use]
    pub fn money(&self) -> Vec<Money> {
        let mut sums: BTreeMap<tillway_core::money::Currency, i64> = BTreeMap::new();
        for money in self.lost.iter().flat_map(|l| &l.money) {
            let sum = sums.entry(money.currency).or_default();
            *sum = sum.saturating_add(money.minor);
        }
        sums.into_iter().map(|(currency, minor)| Money::new(minor, currency)).collect()
    }
}

#[derive(Serialize, Deserialize, Clone)]
struct Cursor {
    /// Everything up to here was seen and sent.
    until: Timestamp,
    /// Lease.
    held_until: Option<Timestamp>,
    /// Fence: raised with every lease.
    fence: u64,
}

/// Pages of one sweep, at most.
const MAX_PAGES: usize = 200;
/// How far back the first sweep of a connection looks.
const FIRST_LOOK: Millis = Millis::hours(24);

impl Engine {
    /// Sweeps one connection.
    ///
    /// # Errors
    /// [`WorkError`]; the cursor has not moved then.
    pub async fn sweep(&self, name: &ConnectionName) -> Result<SweepReport, WorkError> {
        let (connection, connector) = self
            .config
            .connection(name.as_str())
            .ok_or_else(|| WorkError::Config(format!("there is no connection {name}")))?;
        let key = Key::new(format!("sweep#{name}"), "cursor");
        let now = self.now();
        let item = self.ports.store.get(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let known: Option<Cursor> = item.as_ref().map(|i| serde_json::from_slice(&i.body)).transpose()?;
        let mut cursor = known.unwrap_or(Cursor { until: now - FIRST_LOOK, held_until: None, fence: 0 });
        let mut report = SweepReport {
            connection: name.to_string(),
            since: cursor.until - self.config.times.sweep_overlap,
            until: now,
            ..SweepReport::default()
        };
        if cursor.held_until.is_some_and(|t| t > now) {
            report.busy = true;
            return Ok(report);
        }
        cursor.held_until = Some(now + Millis::mins(10));
        cursor.fence = cursor.fence.saturating_add(1);
        let mut rev = item.as_ref().map_or(0, |i| i.rev);
        if !self.put_cursor(&key, &cursor, &mut rev).await? {
            report.busy = true;
            return Ok(report);
        }
        if self.planted.has(Bug::CursorFirst) {
            cursor.until = now;
            self.put_cursor(&key, &cursor, &mut rev).await?;
        }
        let swept = self.sweep_pages(connection, connector, &mut report).await;
        cursor.held_until = None;
        if swept.is_ok() {
            // What happened in the last moments may not be listed yet: the next window overlaps.
            cursor.until = now;
        }
        // A lease that was lost meanwhile writes nothing: the revision has moved on.
        self.put_cursor(&key, &cursor, &mut rev).await?;
        swept?;
        self.swept(name).await?;
        if !report.lost.is_empty() {
            let money: Vec<String> = report.money().iter().map(ToString::to_string).collect();
            let text = format!(
                "{}: {} webhook(s) never came and were found by the sweep; {} would have been missed",
                name,
                report.lost.len(),
                if money.is_empty() { "no money".to_owned() } else { money.join(", ") }
            );
            self.alert("sweep_found_lost", Severity::Warning, None, text).await;
        }
        Ok(report)
    }

    async fn put_cursor(&self, key: &Key, cursor: &Cursor, rev: &mut u64) -> Result<bool, WorkError> {
        let guard = if *rev == 0 { Guard::Absent } else { Guard::Rev(*rev) };
        let item = NewItem {
            key: key.clone(),
            body: serde_json::to_vec(cursor)?,
            due: None,
            list: None,
            expires: None,
        };
        match self.ports.store.transact(vec![Write::Put(item, guard)]).await {
            Ok(()) => {
                *rev = rev.saturating_add(1);
                Ok(true)
            }
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn sweep_pages(
        &self,
        connection: &tillway_connectors::Connection,
        connector: &'static dyn tillway_connectors::Connector,
        report: &mut SweepReport,
    ) -> Result<(), WorkError> {
        let unavailable =
            |why| WorkError::Config(format!("{} cannot be swept now: {why:?}", connection.name));
        let secrets = self.secrets(connection.name.as_str(), false).await?;
        let token = if connector.needs_token(connection) {
            Some(self.token(connection, connector, None).await?.map_err(unavailable)?)
        } else {
            None
        };
        let id = CommandId::new("sweep");
        let mut page_at: Option<String> = None;
        // Pages overlap where the window moves with what was seen.
        let mut ids: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        for _ in 0..MAX_PAGES {
            if let crate::limits::Go::After(wait) = self.limits.go(&connection.name, self.now()) {
                self.ports.clock.sleep(wait).await;
            }
            let call = Call {
                connection,
                secrets: &secrets,
                token: token.as_ref(),
                http: self.ports.http.as_ref(),
                action: "sweep",
                command: &id,
                generation: 0,
                prepared: &[],
                now: self.now(),
                limit: self.config.times.call_limit,
            };
            let page = connector.sweep(call, report.since, page_at.as_deref()).await.map_err(unavailable)?;
            let mut news = Vec::new();
            let mut orders = Known::new();
            for swept in page.events {
                if !ids.insert(swept.event_id.clone()) {
                    continue;
                }
                report.seen = report.seen.saturating_add(1);
                if let Some(event) =
                    self.sweep_event(connection, connector, swept, report, &mut orders).await?
                {
                    news.push(event);
                }
            }
            if !news.is_empty() && !self.send_events(&news).await {
                return Err(WorkError::NotSent);
            }
            match page.next {
                Some(next) => page_at = Some(next),
                None => return Ok(()),
            }
        }
        Err(WorkError::Config(format!("{}: more than {MAX_PAGES} pages in one sweep", connection.name)))
    }

    /// Whether a swept event is news, and then the event to send.
    async fn sweep_event(
        &self,
        connection: &tillway_connectors::Connection,
        connector: &'static dyn tillway_connectors::Connector,
        mut swept: SweptEvent,
        report: &mut SweepReport,
        orders: &mut Known,
    ) -> Result<Option<Event>, WorkError> {
        let redacted = tillway_core::pan::redact_json(&mut swept.body, connector.identifier_fields());
        let json = RawJson::from_value(&swept.body)?;
        let event = Event {
            connection: connection.name.clone(),
            id: swept.event_id,
            kind: swept.event_type,
            origin: Origin::Sweep,
            received_at: report.until,
            created_at: Some(swept.created_at),
            replay: 0,
            group: swept.group,
            redacted: redacted.into_iter().map(|hit| hit.path).collect(),
            body: EventBody::Provider { json },
        };
        let told = connector.interpret(connection, &event.kind, &swept.body);
        let (order, facts, known) = match self.peek(&event, told, orders).await? {
            Peek::Known => {
                report.known = report.known.saturating_add(1);
                return Ok(None);
            }
            Peek::News { order, facts, known } => (order, facts, known),
        };
        if swept.created_at + self.config.times.sweep_grace > report.until {
            // It may just be on its way; the next sweep's window still covers it.
            report.late = report.late.saturating_add(1);
            return Ok(None);
        }
        let counted = &mut report.counted;
        let money =
            facts.iter().filter_map(|f| missed(f, known.as_ref().map(|r| &r.state), counted)).collect();
        report.lost.push(LostEvent {
            event: event.id.clone(),
            kind: event.kind.clone(),
            order: order.map(|o| o.to_string()),
            at: swept.created_at,
            money,
        });
        Ok(Some(event))
    }

    async fn peek(
        &self,
        event: &Event,
        told: Result<Interpreted, Rejected>,
        orders: &mut Known,
    ) -> Result<Peek, WorkError> {
        let (owner, facts) = match told {
            Ok(Interpreted::About { owner, observation, .. }) => (owner, observation.facts),
            // Parked once; a sweep does not park it again.
            Err(rejected) => {
                let id = format!("event:{}:{}", event.connection, event.id);
                return self.known_parked(&rejected.owner, event, &id).await;
            }
            // What has no flow needs no sweep: it moves nothing.
            Ok(_) => return Ok(Peek::Known),
        };
        let order = match owner {
            tillway_connectors::Owner::Order { id } => self.order_key(&event.connection, &id),
            tillway_connectors::Owner::Objects { ids } => self.by_alias(&event.connection, &ids).await?,
            tillway_connectors::Owner::Nobody => None,
        };
        let Some(order) = order else {
            return Ok(if self.is_listed(event).await? {
                Peek::Known
            } else {
                Peek::News { order: None, facts, known: None }
            });
        };
        // Many events of a page are of one order.
        let known = match orders.get(&order) {
            Some(known) => known.clone(),
            None => {
                let item = self.ports.store.get(&[state_key(&order)]).await?.into_iter().flatten().next();
                let read =
                    |i: crate::ports::Item| serde_json::from_slice::<OrderRecord>(&i.body).map(Arc::new);
                let known = item.map(read).transpose()?;
                orders.insert(order.clone(), known.clone());
                known
            }
        };
        let Some(known) = known else { return Ok(Peek::News { order: Some(order), facts, known: None }) };
        let mut state = known.state.clone();
        let news = facts.iter().any(|f| state.apply(f, &event.connection, event.received_at).changed);
        Ok(if news { Peek::News { order: Some(order), facts, known: Some(known) } } else { Peek::Known })
    }

    async fn known_parked(
        &self,
        owner: &tillway_connectors::Owner,
        event: &Event,
        id: &str,
    ) -> Result<Peek, WorkError> {
        let order = match owner {
            tillway_connectors::Owner::Order { id } => self.order_key(&event.connection, id),
            _ => None,
        };
        let parked = order.as_ref().map_or_else(|| id.to_owned(), |o| format!("{o}|{id}"));
        let mut keys = vec![crate::records::parked_key(&parked)];
        keys.extend(order.as_ref().map(state_key));
        let mut items = self.ports.store.get(&keys).await?.into_iter();
        if items.next().flatten().is_some() {
            return Ok(Peek::Known);
        }
        // Dropped or replayed already: the order remembers the event.
        let seen = format!("{}:{}:", event.connection, event.id);
        if let Some(item) = items.next().flatten() {
            let record: OrderRecord = serde_json::from_slice(&item.body)?;
            if record.seen.iter().any(|s| s.starts_with(&seen)) {
                return Ok(Peek::Known);
            }
        }
        Ok(Peek::News { order, facts: Vec::new(), known: None })
    }

    /// Whether an event without an owner stands in a list or waits already.
    async fn is_listed(&self, event: &Event) -> Result<bool, WorkError> {
        let mut keys = vec![
            Key::new(format!("unhandled:{}:{}", event.connection, event.id), "item"),
            crate::records::parked_key(&format!("event:{}:{}", event.connection, event.id)),
        ];
        if let Ok(Meaning::Waits { ids }) = self.mean(event).await {
            keys.extend(ids.first().map(|id| crate::records::waiting_key(&event.connection, id)));
        }
        Ok(self.ports.store.get(&keys).await?.iter().any(Option::is_some))
    }
}

/// Orders that events of one page are about, each read once.
type Known = BTreeMap<OrderKey, Option<Arc<OrderRecord>>>;

enum Peek {
    Known,
    News { order: Option<OrderKey>, facts: Vec<Fact>, known: Option<Arc<OrderRecord>> },
}

/// What a fact says was moved beyond what the order and this sweep know of it already.
fn missed(fact: &Fact, known: Option<&OrderState>, counted: &mut BTreeMap<String, i64>) -> Option<Money> {
    let (name, level, before) = match fact {
        Fact::Captured { payment, charge, total } => {
            let charges = known.and_then(|s| s.payments.get(payment)).map(|p| &p.charges);
            let before = charges.and_then(|c| c.get(charge)).map_or(0, |c| c.captured);
            (format!("captured:{charge}"), *total, before)
        }
        Fact::Refund { refund, amount, .. } => {
            let before = known.and_then(|s| s.refunds.get(refund)).map_or(0, |r| r.amount.minor);
            (format!("refund:{refund}"), *amount, before)
        }
        Fact::DisputeMoved { dispute, txn, amount, .. } => {
            let moved = known.and_then(|s| s.disputes.get(dispute)).map(|d| &d.moved);
            let before = moved.and_then(|m| m.get(txn)).map_or(0, |minor| minor.saturating_abs());
            // Withdrawn or reinstated: money either way.
            (format!("txn:{txn}"), Money::new(amount.minor.saturating_abs(), amount.currency), before)
        }
        _ => return None,
    };
    let before = counted.get(&name).copied().unwrap_or(0).max(before);
    let more = level.minor.saturating_sub(before);
    if more <= 0 {
        return None;
    }
    counted.insert(name, level.minor);
    Some(Money::new(more, level.currency))
}
