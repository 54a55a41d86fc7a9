//! Sweeps: a webhook that never came is found by asking the provider what happened.
//!
//! A sweep holds a fenced lease, looks at an overlapping window, and moves its cursor only after every send
//! was accepted. A window of more pages than one sweep reads is gone on with by the next one, page by page, to
//! its end. What the order knows already is left alone; what is news is sent on like a webhook, and is
//! told apart by age: younger than the grace time it is late, older it was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tillway_connectors::port::{Call, NotDone};
use tillway_connectors::{
    Connection, Connector, Interpreted, Owner, Rejected, Secret, Secrets, SweepPage, SweptEvent,
};
use tillway_core::facts::Fact;
use tillway_core::ids::{CommandId, ConnectionName, OrderKey};
use tillway_core::money::Money;
use tillway_core::state::OrderState;
use tillway_core::time::{Millis, Timestamp};

use crate::bugs::Bug;
use crate::engine::{Engine, WorkError, guarded};
use crate::meaning::event_parked;
use crate::ports::{Guard, Key, MAX_MESSAGE, NewItem, Severity, StoreError, Write};
use crate::records::{self as rec, Event, EventBody, OrderRecord, Origin, RawJson, Waiting, state_key};

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
    /// Another process holds the lease, or after a restore a gateway comes first.
    pub busy: bool,
    /// The window has more pages: the next sweep goes on with them.
    pub more: bool,
    /// News from before a restore: while there is any, act may only read.
    pub forgotten: u64,
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
    /// A window whose first pages were seen and sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Open>,
}

/// A window that is being swept.
#[derive(Serialize, Deserialize, Clone)]
struct Open {
    since: Timestamp,
    until: Timestamp,
    /// The next page.
    page: String,
    /// What its earlier pages told of the time before a restore.
    forgotten: u64,
}

/// A cursor as held by one process.
struct Lease {
    key: Key,
    cursor: Cursor,
    rev: u64,
}

/// Pages of one sweep, at most; the next one goes on.
const MAX_PAGES: usize = 200;
/// Begins the pages of customers; no connector's own page begins so.
const CUSTOMERS: &str = "~customers:";
/// How far back the first sweep of a connection looks.
const FIRST_LOOK: Millis = Millis::hours(24);
/// And after a restore, where the backup knows of no sweep: as far as gateways keep their events.
const LONGEST_LOOK: Millis = Millis::days(30);

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
        let first = if self.restoring() { LONGEST_LOOK } else { FIRST_LOOK };
        let mut cursor =
            known.unwrap_or(Cursor { until: now - first, held_until: None, fence: 0, open: None });
        // A window begun before a restore is begun anew: what its first pages told may be lost.
        cursor.open = cursor.open.filter(|open| !self.forgotten(open.until));
        // What was late is looked at again, at the provider too: what it lists only after a while has to lie in a window
        // that begins before and ends after that.
        let times = &self.config.times;
        let back = times.sweep_overlap.max(times.sweep_grace).max(connector.lag_of(connection));
        let mut report = SweepReport {
            connection: name.to_string(),
            since: cursor.open.as_ref().map_or(cursor.until - back, |open| open.since),
            until: cursor.open.as_ref().map_or(now, |open| open.until),
            forgotten: cursor.open.as_ref().map_or(0, |open| open.forgotten),
            ..SweepReport::default()
        };
        if cursor.held_until.is_some_and(|t| t > now) || self.waits_for_gateway(name).await? {
            report.busy = true;
            return Ok(report);
        }
        let mut lease = Lease { key, cursor, rev: item.as_ref().map_or(0, |i| i.rev) };
        lease.cursor.fence = lease.cursor.fence.saturating_add(1);
        if !self.hold(&mut lease).await? {
            report.busy = true;
            return Ok(report);
        }
        if self.planted.has(Bug::CursorFirst) {
            lease.cursor.until = now;
            self.put_cursor(&mut lease).await?;
        }
        let swept = self.sweep_pages(connection, connector, &mut report, &mut lease).await;
        lease.cursor.held_until = None;
        // After a restore the same window is swept until all of it is known.
        if swept.is_ok() && !report.more && self.swept(name, report.forgotten).await? {
            // What happened in the last moments may not be listed yet: the next window overlaps.
            lease.cursor.until = report.until;
        }
        // A lease that was lost meanwhile writes nothing: the revision has moved on.
        self.put_cursor(&mut lease).await?;
        swept?;
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

    /// Takes the lease, or holds it for one more page: whoever dies with it keeps it no longer than that.
    async fn hold(&self, lease: &mut Lease) -> Result<bool, WorkError> {
        let page = Millis(self.config.times.call_limit.0.saturating_mul(2));
        lease.cursor.held_until = Some(self.now() + page);
        self.put_cursor(lease).await
    }

    async fn put_cursor(&self, lease: &mut Lease) -> Result<bool, WorkError> {
        let guard = if lease.rev == 0 { Guard::Absent } else { Guard::Rev(lease.rev) };
        let item = NewItem {
            key: lease.key.clone(),
            body: serde_json::to_vec(&lease.cursor)?,
            due: None,
            list: None,
            expires: None,
        };
        match self.ports.store.transact(vec![Write::Put(item, guard)]).await {
            Ok(()) => {
                lease.rev = lease.rev.saturating_add(1);
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
        lease: &mut Lease,
    ) -> Result<(), WorkError> {
        let id = CommandId::new("sweep");
        let mut access = self.sweep_access(connection, connector, None).await?;
        let resumed = lease.cursor.open.as_ref().map(|open| open.page.clone());
        let mut page_at = resumed.clone();
        // Pages overlap where the window moves with what was seen.
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for _ in 0..MAX_PAGES {
            let mut page = self.ask_page(connection, connector, &access, report.since, &id, &page_at).await;
            if matches!(page, Err(NotDone::Unauthorized)) {
                access = self.sweep_access(connection, connector, Some(&access)).await?;
                page = self.ask_page(connection, connector, &access, report.since, &id, &page_at).await;
            }
            let page = match page {
                Ok(page) => page,
                Err(why) => {
                    if page_at == resumed {
                        // The provider may not know this page any more: the window is begun anew.
                        lease.cursor.open = None;
                    }
                    let clock = self.clock_off(&connection.name).filter(|_| why == NotDone::Unauthorized);
                    return Err(clock.map_or_else(|| not_now(connection, why), WorkError::Config));
                }
            };
            let mut news = Vec::new();
            let mut orders = Known::new();
            for swept in page.events {
                if !ids.insert(swept.event_id.clone()) {
                    continue;
                }
                report.seen = report.seen.saturating_add(1);
                news.extend(self.sweep_event(connection, connector, swept, report, &mut orders).await?);
            }
            if !news.is_empty() && !self.send_events(&news).await {
                return Err(WorkError::NotSent);
            }
            let (since, until, forgotten) = (report.since, report.until, report.forgotten);
            let next = self.next_page(&connection.name, page_at.as_deref(), page.next);
            lease.cursor.open = next.map(|page| Open { since, until, page, forgotten });
            page_at = lease.cursor.open.as_ref().map(|open| open.page.clone());
            if page_at.is_none() {
                return Ok(());
            }
            if !self.hold(lease).await? {
                return Err(WorkError::Config(format!("{}: another process sweeps it", connection.name)));
            }
        }
        report.more = true;
        Ok(())
    }

    async fn ask_page(
        &self,
        connection: &Connection,
        connector: &'static dyn Connector,
        (secrets, token): &(Secrets, Option<Secret>),
        since: Timestamp,
        id: &CommandId,
        page: &Option<String>,
    ) -> Result<SweepPage, NotDone> {
        let out = self.outbound(connection, connector, None);
        let call = Call {
            connection,
            secrets,
            token: token.as_ref(),
            http: &out,
            action: "sweep",
            command: id,
            generation: 0,
            prepared: &[],
            now: self.now(),
            limit: self.config.times.call_limit,
        };
        match page.as_deref().map(|page| (page, page.strip_prefix(CUSTOMERS))) {
            Some((_, Some(page))) => {
                connector.sweep_customers(call, since, Some(page).filter(|p| !p.is_empty())).await
            }
            Some((page, None)) => connector.sweep(call, since, Some(page)).await,
            None => connector.sweep(call, since, None).await,
        }
    }

    /// The page after this one. Where a pair of the connection keeps profiles, the customers follow the orders.
    fn next_page(
        &self,
        connection: &ConnectionName,
        page: Option<&str>,
        next: Option<String>,
    ) -> Option<String> {
        let of_customers = page.is_some_and(|page| page.starts_with(CUSTOMERS));
        match next {
            Some(next) if of_customers => Some(format!("{CUSTOMERS}{next}")),
            None if !of_customers && self.config.profile_pair(connection).is_some() => {
                Some(CUSTOMERS.to_owned())
            }
            next => next,
        }
    }

    /// Secrets and token for a sweep; both anew where they were refused.
    async fn sweep_access(
        &self,
        connection: &Connection,
        connector: &dyn Connector,
        refused: Option<&(Secrets, Option<Secret>)>,
    ) -> Result<(Secrets, Option<Secret>), WorkError> {
        let secrets = self.secrets(connection.name.as_str(), refused.is_some()).await?;
        if !connector.needs_token(connection) {
            return Ok((secrets, None));
        }
        let token = self.token(connection, connector, refused.and_then(|(_, token)| token.as_ref())).await?;
        Ok((secrets, Some(token.map_err(|why| not_now(connection, why))?)))
    }

    /// Looks at one event; answers it where it is to be sent. One that cannot be looked at, or is too large to
    /// be sent, goes to the parking lot alone.
    async fn sweep_event(
        &self,
        connection: &Connection,
        connector: &'static dyn Connector,
        swept: SweptEvent,
        report: &mut SweepReport,
        orders: &mut Known,
    ) -> Result<Option<Event>, WorkError> {
        let until = report.until;
        let judged = guarded(self.judge(connection, connector, &swept, report, orders)).await;
        // Nearly every event of a window is known: only what goes on is written down.
        if let Ok(false) = judged {
            return Ok(None);
        }
        let event = swept_event(connection, connector, swept, until)?;
        let (code, what) = match judged {
            Ok(_) if self.seal_event(&event).len() <= MAX_MESSAGE => return Ok(Some(event)),
            Ok(_) => {
                let what = "this event is too large to be worked; look at the object at the provider, do by hand \
                            what is to be done, then drop the item";
                ("too_large", what.to_owned())
            }
            Err(error @ WorkError::Store(StoreError::Unavailable(_))) => return Err(error),
            Err(error) => {
                let what = format!(
                    "this event was found by a sweep and could not be looked at ({error}); replay the item"
                );
                ("sweep_failed", what)
            }
        };
        self.park_event(&event, event_parked(&event, code, what), None).await?;
        Ok(None)
    }

    /// Whether a swept event is news that is to be sent.
    async fn judge(
        &self,
        connection: &Connection,
        connector: &'static dyn Connector,
        swept: &SweptEvent,
        report: &mut SweepReport,
        orders: &mut Known,
    ) -> Result<bool, WorkError> {
        let told = connector.interpret_read(connection, &swept.event_type, swept.body.json());
        let seen = Seen { connection: &connection.name, id: &swept.event_id, at: report.until };
        let (order, facts, known) = match self.peek(seen, told, orders).await? {
            Peek::Known => {
                report.known = report.known.saturating_add(1);
                return Ok(false);
            }
            Peek::News { order, facts, known } => (order, facts, known),
        };
        let at = swept.created_at;
        if self.forgotten(at) {
            report.forgotten = report.forgotten.saturating_add(1);
        } else if at + self.config.times.sweep_grace > report.until {
            // It may just be on its way; the next sweep's window still covers it.
            report.late = report.late.saturating_add(1);
            return Ok(false);
        }
        let counted = &mut report.counted;
        let money =
            facts.iter().filter_map(|f| missed(f, known.as_ref().map(|r| &r.state), counted)).collect();
        report.lost.push(LostEvent {
            event: swept.event_id.clone(),
            kind: swept.event_type.clone(),
            order: order.map(|o| o.to_string()),
            at,
            money,
        });
        Ok(true)
    }

    async fn peek(
        &self,
        event: Seen<'_>,
        told: Result<Interpreted, Rejected>,
        orders: &mut Known,
    ) -> Result<Peek, WorkError> {
        let (owner, facts) = match self.heard(event.connection, told) {
            Ok(Interpreted::About { owner, observation, .. }) => (owner, observation.facts),
            // Parked once; a sweep does not park it again.
            Err(rejected) => return self.known_parked(&rejected.owner, event).await,
            // What it says is not known before it is read: it is news where it was not read for yet.
            Ok(Interpreted::ReadAgain { owner, .. }) => return self.known_parked(&owner, event).await,
            // What has no flow needs no sweep: it moves nothing.
            Ok(Interpreted::Unhandled) => return Ok(Peek::Known),
        };
        let order = self.owner_of(event, &owner).await?;
        let Some(order) = order else {
            return Ok(if self.is_listed(event.connection, event.id, &owner).await? {
                Peek::Known
            } else {
                Peek::News { order: None, facts, known: None }
            });
        };
        // Many events of a page are of one order.
        if !orders.contains_key(&order) {
            let item = self.ports.store.get(&[state_key(&order)]).await?.into_iter().flatten().next();
            let known = item.map(|item| self.orders.read(&item)).transpose()?;
            let known = known.map(|record| Scratch { joined: record.state.clone(), record });
            orders.insert(order.clone(), known);
        }
        let Some(known) = orders.get_mut(&order).and_then(Option::as_mut) else {
            // It may stand in the parking lot: no pair takes it, say.
            let listed = self.is_listed(event.connection, event.id, &owner).await?;
            let news = Peek::News { order: Some(order), facts, known: None };
            return Ok(if listed { Peek::Known } else { news });
        };
        let news = known.is_news(&facts, event);
        let known = Some(known.record.clone());
        Ok(if news { Peek::News { order: Some(order), facts, known } } else { Peek::Known })
    }

    async fn owner_of(&self, event: Seen<'_>, owner: &Owner) -> Result<Option<OrderKey>, WorkError> {
        match owner {
            Owner::Order { id } => Ok(self.order_key(event.connection, id)),
            Owner::Customer { id } => Ok(self.customer_key(event.connection, id)),
            Owner::Objects { ids } => self.by_alias(event.connection, ids).await,
            Owner::Nobody => Ok(None),
        }
    }

    /// For an event that says nothing by itself: whether it stands in a list or was worked already.
    async fn known_parked(&self, owner: &Owner, event: Seen<'_>) -> Result<Peek, WorkError> {
        let order = self.owner_of(event, owner).await?;
        if let Some(order) = &order {
            let parked = rec::parked_key(&format!("{order}|event:{}:{}", event.connection, event.id));
            let mut items = self.ports.store.get(&[parked, state_key(order)]).await?.into_iter();
            if items.next().flatten().is_some() {
                return Ok(Peek::Known);
            }
            // Dropped or replayed already: the order remembers the event.
            let seen = format!("{}:{}:", event.connection, event.id);
            if let Some(item) = items.next().flatten() {
                let record = self.orders.read(&item)?;
                if record.seen.iter().any(|s| s.starts_with(&seen)) {
                    return Ok(Peek::Known);
                }
            }
        }
        if self.is_listed(event.connection, event.id, owner).await? {
            return Ok(Peek::Known);
        }
        Ok(Peek::News { order, facts: Vec::new(), known: None })
    }

    /// Whether this very event stands in a list, was dealt with by a person, or waits already.
    pub(crate) async fn is_listed(
        &self,
        connection: &ConnectionName,
        event: &str,
        owner: &Owner,
    ) -> Result<bool, WorkError> {
        let id = format!("event:{connection}:{event}");
        let keys = [
            Key::new(format!("unhandled:{connection}:{event}"), "item"),
            rec::parked_key(&id),
            rec::dealt_key(&id),
        ];
        if self.ports.store.get(&keys).await?.iter().any(Option::is_some) {
            return Ok(true);
        }
        let Owner::Objects { ids } = owner else { return Ok(false) };
        let Some(first) = ids.first() else { return Ok(false) };
        let key = rec::waiting_key(connection, first);
        let Some(item) = self.ports.store.get(&[key]).await?.into_iter().flatten().next() else {
            return Ok(false);
        };
        // Another event of the same payment may wait where this one was lost.
        let waiting: Waiting = serde_json::from_slice(&item.body)?;
        let own = format!("{connection}:{event}:");
        Ok(waiting.events.iter().any(|e| e.dedup.starts_with(&own)))
    }
}

/// Why a connection cannot be swept, and what to do about it.
fn not_now(connection: &Connection, why: NotDone) -> WorkError {
    let (name, system) = (&connection.name, &connection.system);
    WorkError::Config(match why {
        NotDone::Unauthorized => {
            format!(
                "{name}: {system} refuses our credentials; put new ones into the secrets, then sweep again"
            )
        }
        NotDone::Throttled => {
            format!("{name}: {system} limits our requests now; sweep again in some minutes")
        }
        NotDone::Unavailable | NotDone::Conflict => {
            format!(
                "{name}: {system} does not answer as it should; see that its address is right, then sweep again"
            )
        }
    })
}

/// An event found, as far as asking for it goes.
#[derive(Clone, Copy)]
struct Seen<'a> {
    connection: &'a ConnectionName,
    id: &'a str,
    /// When it was found.
    at: Timestamp,
}

/// Orders that events of one page are about, each read once.
type Known = BTreeMap<OrderKey, Option<Scratch>>;

/// An order as stored, and a copy of it that facts are joined into to see whether they are news.
struct Scratch {
    record: Arc<OrderRecord>,
    joined: OrderState,
}

impl Scratch {
    fn is_news(&mut self, facts: &[Fact], event: Seen<'_>) -> bool {
        let joined = &mut self.joined;
        let news = facts.iter().any(|fact| joined.apply(fact, event.connection, event.at).changed);
        // The next event is held against what is stored, too. Usually that is what the copy still is.
        if news || *joined != self.record.state {
            joined.clone_from(&self.record.state);
        }
        news
    }
}

/// A swept event as it goes on. Card numbers were taken out of the answer as a whole; what is kept is looked at
/// by itself all the same.
fn swept_event(
    connection: &Connection,
    connector: &dyn Connector,
    swept: SweptEvent,
    until: Timestamp,
) -> Result<Event, WorkError> {
    let mut json = RawJson::from_json(swept.body.json())?;
    let mut redacted = Vec::new();
    if tillway_core::pan::scan_bytes(json.text().as_bytes()) {
        (json, redacted) = json.redacted(connector.identifier_fields())?;
    }
    Ok(Event {
        connection: connection.name.clone(),
        id: swept.event_id,
        kind: swept.event_type,
        origin: Origin::Sweep,
        received_at: until,
        created_at: Some(swept.created_at),
        replay: 0,
        group: swept.group,
        redacted,
        body: EventBody::Provider { json },
    })
}

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
        Fact::CaptureMade { payment, charge, capture, amount } => {
            let charges = known.and_then(|s| s.payments.get(payment)).map(|p| &p.charges);
            let made = charges.and_then(|c| c.get(charge)).and_then(|c| c.made.get(capture));
            (format!("captured:{capture}"), *amount, made.map_or(0, |m| m.amount))
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

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
