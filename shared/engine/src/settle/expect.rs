//! What the books expect: what the book carries, the journal's newest days, and effects of unknown outcome.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::journal::{Entry, TrialBalance};
use tillway_core::settle::{Day, Expected, Ids, Kind, SettlementLine, Standing, expected_of, section_of};
use tillway_core::time::{Millis, Timestamp};

use super::Run;
use super::records::BookDoc;
use super::spread::Spread;
use crate::engine::{Engine, WorkError};
use crate::ports::Key;
use crate::records::{CommandRecord, OrderRecord, state_key};

/// How far back the first run of a connection reads the journal.
const FIRST_LOOK: i32 = 60;
/// The index of the journal may lag behind: what is newer than this is read again by the next run.
const LAG: Millis = Millis::mins(15);
/// Items of one page.
const PAGE: usize = 500;
/// Begins the partition of an order.
const ORDER: &str = "order#";
/// Orders read at a time.
const AT_A_TIME: usize = 100;

/// What the books expect, and how far the journal was read for it.
pub(super) struct Expectations {
    /// By section; what bears no own id is in `loose`.
    pub(super) spread: Spread<Expected>,
    pub(super) loose: Vec<Expected>,
    /// The journal was read up to here for good.
    pub(super) cursor: Timestamp,
    /// Entries that are newer than that.
    pub(super) ahead: BTreeSet<Box<str>>,
    /// What those entries move; the book holds the others.
    pub(super) newer: TrialBalance,
}

impl Engine {
    /// Gathers what the books expect. What `doc` says was proven is taken out of it as its entries come.
    pub(super) async fn expectations(
        &self,
        run: &mut Run<'_>,
        doc: &mut BookDoc,
    ) -> Result<Expectations, WorkError> {
        let now = self.now();
        let first = run.day.plus(FIRST_LOOK.saturating_neg()).start();
        let from = run.book.cursor.unwrap_or(first);
        let cursor = from.max(now - LAG);
        let known: BTreeSet<Box<str>> =
            doc.expected.iter().map(|e| e.id.clone()).chain(doc.ahead.iter().cloned()).collect();
        let (mut spread, mut loose) = (Spread::new(self.config.in_memory), Vec::new());
        self.expect_all(run, std::mem::take(&mut doc.expected), &mut spread, &mut loose).await?;
        for piece in &std::mem::take(&mut doc.waiting) {
            self.expect_all(run, self.shelved(&piece.doc).await?, &mut spread, &mut loose).await?;
        }
        let mut ahead = BTreeSet::new();
        let (mut balance, mut newer_balance) = (doc.trial_balance(), TrialBalance::default());
        let mut booked = Booked::since(from, self.now());
        while let Some(page) = booked.next(self, run.name()).await? {
            let mut new = Vec::new();
            for (entry, order) in page {
                let newer = entry.at > cursor;
                if newer {
                    newer_balance.add(&entry);
                } else {
                    balance.add(&entry);
                }
                let Some(found) = expected_of(&entry, Some(&order), &run.rules) else { continue };
                if newer {
                    ahead.insert(found.id.clone());
                }
                if !known.contains(&found.id) && !was_proven(doc, &found) {
                    new.extend(run.rules.fee_line_of(&found));
                    new.push(found);
                }
            }
            self.expect_all(run, new, &mut spread, &mut loose).await?;
        }
        doc.keep_balance(&balance);
        Ok(Expectations { spread, loose, cursor, ahead, newer: newer_balance })
    }

    /// Puts expectations where they belong.
    async fn expect_all(
        &self,
        run: &mut Run<'_>,
        all: Vec<Expected>,
        spread: &mut Spread<Expected>,
        loose: &mut Vec<Expected>,
    ) -> Result<(), WorkError> {
        for mut e in all {
            if e.standing == Standing::Booked {
                let order = e.order.as_deref().map(OrderKey::new);
                e.reference = order.and_then(|order| run.api.reference(e.kind, order.order_id()));
            }
            match e.ids.own.as_deref().map(section_of) {
                Some(section) => spread.push(self, run, section, e).await?,
                None => loose.push(e),
            }
        }
        Ok(())
    }

    /// What the journal moved since an instant.
    pub(super) async fn moved_since(
        &self,
        name: &ConnectionName,
        from: Timestamp,
    ) -> Result<TrialBalance, WorkError> {
        let mut balance = TrialBalance::default();
        let mut booked = Booked::since(from, self.now());
        while let Some(page) = booked.next(self, name).await? {
            page.iter().for_each(|(entry, _)| balance.add(entry));
        }
        Ok(balance)
    }

    /// Adds what only the order knows, where no line names the object itself: most need no look at their order.
    pub(super) async fn know_orders(
        &self,
        run: &Run<'_>,
        expected: &mut Vec<Expected>,
        lines: &[SettlementLine],
    ) -> Result<(), WorkError> {
        let named: BTreeSet<&str> = lines.iter().filter_map(|l| l.ids.own.as_deref()).collect();
        let mut wanted: BTreeMap<OrderKey, Vec<&mut Expected>> = BTreeMap::new();
        for e in expected.iter_mut() {
            let own = e.ids.own.as_deref().is_some_and(|own| named.contains(own));
            // One that stays open is looked at each time: a void of it may have been heard of since.
            if own || e.due > run.day {
                continue;
            }
            if let Some(order) = e.order.as_deref() {
                wanted.entry(OrderKey::new(order)).or_default().push(e);
            }
        }
        let mut undone: BTreeSet<Box<str>> = BTreeSet::new();
        let orders: Vec<OrderKey> = wanted.keys().cloned().collect();
        for some in orders.chunks(AT_A_TIME) {
            let keys: Vec<Key> = some.iter().map(state_key).collect();
            for item in self.ports.store.get(&keys).await?.into_iter().flatten() {
                let record: OrderRecord = serde_json::from_slice(&item.body)?;
                for e in wanted.get_mut(&record.state.key).into_iter().flatten() {
                    let (parent, payment) = belongs_to(&record, e);
                    if never_settles(&record, e) {
                        undone.insert(e.id.clone());
                    }
                    // A fee has no id of its own, and bears its capture's.
                    let (known, paid) = (e.ids.parent.take(), e.ids.payment.take());
                    e.ids =
                        Ids { own: e.ids.own.take(), parent: parent.or(known), payment: payment.or(paid) };
                }
            }
        }
        expected.retain(|e| !undone.contains(&e.id));
        Ok(())
    }

    /// Effects whose outcome nobody knows: a line may prove them.
    pub(super) async fn unknown_effects(
        &self,
        run: &Run<'_>,
        expected: &mut Vec<Expected>,
    ) -> Result<BTreeMap<Box<str>, (String, String)>, WorkError> {
        let mut commands = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.list("unknown", after.as_deref(), false, PAGE).await?;
            for item in page.items {
                let record: CommandRecord = serde_json::from_slice(&item.body)?;
                if record.connection != *run.name() {
                    continue;
                }
                if let Some(e) = self.unknown_effect(run, &record).await? {
                    commands.insert(e.id.clone(), (item.key.pk, item.key.sk));
                    expected.push(e);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(commands);
            }
        }
    }

    async fn unknown_effect(
        &self,
        run: &Run<'_>,
        record: &CommandRecord,
    ) -> Result<Option<Expected>, WorkError> {
        let params = record.params.clone().unwrap_or_default();
        let Some(effect) = run.api.effect(run.connection, &record.action, &params) else { return Ok(None) };
        let order = record.listeners.first().map(|l| l.order.clone());
        let mut amount = effect.amount;
        if let (None, Some(order), Some(payment)) = (amount, &order, &effect.payment) {
            let item = self.ports.store.get(&[state_key(order)]).await?.into_iter().flatten().next();
            let known: Option<OrderRecord> = item.map(|i| serde_json::from_slice(&i.body)).transpose()?;
            amount = known.and_then(|r| r.state.payments.get(payment.as_ref())?.amount);
        }
        let Some(amount) = amount else { return Ok(None) };
        let minor = if effect.kind == Kind::Charge { amount.minor } else { amount.minor.saturating_neg() };
        Ok(Some(Expected {
            id: record.id.as_str().into(),
            kind: effect.kind,
            standing: Standing::Unknown,
            ids: Ids { own: None, parent: effect.parent, payment: effect.payment },
            reference: Some(record.id.as_str().into()),
            amount: minor,
            booked_fee: 0,
            currency: amount.currency,
            due: run.rules.due(effect.kind, Day::of(record.created_at)),
            card: None,
            order: order.map(|o| o.as_str().into()),
        }))
    }
}

/// What orders booked at a connection, page by page of the journal.
pub(super) struct Booked {
    after: Option<Timestamp>,
    day: Day,
    last: Day,
    next: Option<String>,
}

impl Booked {
    /// After an instant, until now.
    pub(super) fn since(after: Timestamp, now: Timestamp) -> Self {
        Self { after: Some(after), day: Day::of(after), last: Day::of(now), next: None }
    }

    /// On a day.
    pub(super) const fn of_day(day: Day) -> Self {
        Self { after: None, day, last: day, next: None }
    }

    /// The next entries, with their orders; `None`: that was all.
    pub(super) async fn next(
        &mut self,
        engine: &Engine,
        name: &ConnectionName,
    ) -> Result<Option<Vec<(Entry, String)>>, WorkError> {
        if self.day > self.last {
            return Ok(None);
        }
        let list = format!("journal#{}", self.day);
        let page = engine.ports.store.list(&list, self.next.as_deref(), false, PAGE).await?;
        let mut out = Vec::new();
        for item in &page.items {
            let Some(order) = item.key.pk.strip_prefix(ORDER) else { continue };
            let entry: Entry = serde_json::from_slice(&item.body)?;
            if entry.connection == *name && self.after.is_none_or(|after| entry.at > after) {
                out.push((entry, order.to_owned()));
            }
        }
        self.next = page.next;
        if self.next.is_none() {
            self.day = self.day.plus(1);
        }
        Ok(Some(out))
    }
}

/// Whether a line settled it before it was booked; then it is settled with that.
fn was_proven(doc: &mut BookDoc, found: &Expected) -> bool {
    let own = found.ids.own.as_deref();
    let at = doc.proven.iter().position(|p| p.kind == found.kind && Some(p.own.as_ref()) == own);
    at.map(|at| doc.proven.swap_remove(at)).is_some()
}

/// Whether it is a capture that was voided before settlement, that void, or the fee of either: the gateway lists none of them,
/// and to the books they are nothing together.
fn never_settles(record: &OrderRecord, e: &Expected) -> bool {
    let of = if e.kind == Kind::Fee { &e.ids.parent } else { &e.ids.own };
    let Some(own) = of.as_deref() else { return false };
    let refunds = &record.state.refunds;
    refunds.get(own).is_some_and(|r| r.undoes.is_some())
        || refunds.values().any(|r| r.undoes.as_deref() == Some(own))
}

/// What an expectation belongs to, by its order: authorization or charge, and payment.
fn belongs_to(record: &OrderRecord, e: &Expected) -> (Option<Box<str>>, Option<Box<str>>) {
    let state = &record.state;
    let Some(own) = e.ids.own.as_deref() else { return (None, None) };
    match e.kind {
        Kind::Charge => {
            for (payment, known) in &state.payments {
                for (charge, held) in &known.charges {
                    if charge == own || held.made.contains_key(own) {
                        let parent = (charge != own).then(|| charge.as_str().into());
                        return (parent, Some(payment.as_str().into()));
                    }
                }
            }
            (None, None)
        }
        Kind::Refund | Kind::RefundFailure => {
            (None, state.refunds.get(own).map(|r| r.payment.as_str().into()))
        }
        Kind::Dispute | Kind::DisputeReversal => {
            let found = state.disputes.iter().find(|(_, d)| d.moved.contains_key(own));
            let parent = found.map(|(id, _)| id.as_str().into());
            (parent, found.map(|(_, d)| d.payment.as_str().into()))
        }
        _ => (None, None),
    }
}
