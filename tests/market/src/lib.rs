//! A gateway that settled an invented month (`core::settle::market`): the engine lists its batches, reads their lines page by page, matches,
//! checks and posts them as a real gateway's, and what was planted is compared with what it says.
//!
//! Left out of the month: effects of unknown outcome, for no command stands behind them here, and lines read twice under one id, for a batch that
//! holds one does not add up and is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tillway_connectors::http::Http;
use tillway_connectors::port::{
    Action, Call, EdgeFault, Inbound, Interpreted, Needed, NotDone, Observation, Owner, Rejected, Verified,
};
use tillway_connectors::{
    BatchPage, BatchStanding, Connection, Connector, Finding, LinePage, ListedBatch, Outcome, Prepared,
    Secret, Secrets, SettleFault, Settlement, SweepPage,
};
use tillway_core::doc::Json;
use tillway_core::facts::RefundStatus;
use tillway_core::ids::{CommandId, ConnectionName, OrderKey};
use tillway_core::journal::Entry;
use tillway_core::money::Money;
use tillway_core::settle::market::{Month, Plan, Planted, RULES};
use tillway_core::settle::{Batch, Class, Day, Funding, Kind, Standing};
use tillway_core::state::{OrderState, Refund, RefundBooked};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

/// Lines of one page.
const PAGE: usize = 1_000;
/// The name of the gateway's connection.
pub const NAME: &str = "gateway";

/// The invented month as it lies at the gateway.
#[derive(Debug)]
pub struct Market {
    /// The month; its lines by batch.
    pub month: Month,
    /// A day on which all of it is overdue: its batches are listed then.
    pub day: Day,
    /// How its batches are listed.
    pub manner: Manner,
    of_batch: BTreeMap<Box<str>, std::ops::Range<usize>>,
}

/// When a batch is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// All on the market's day.
    AtOnce,
    /// Those of the first days on this one, the others on the market's day.
    InTwo(Day),
    /// All on this day, as submitted; on the market's day, with their money.
    SubmittedFirst(Day),
}

impl Market {
    /// Invents it.
    ///
    /// # Errors
    /// The text of a defect in the market's own rules.
    pub fn of(plan: &Plan) -> Result<Self, String> {
        let mut month = Month::of(plan)?;
        let number = |id: &str| id.split(['_', ':']).nth(1).map(str::to_owned);
        let unknown: BTreeSet<String> = month
            .expected
            .iter()
            .filter(|e| e.standing == Standing::Unknown)
            .filter_map(|e| number(&e.id))
            .collect();
        month.expected.retain(|e| e.standing != Standing::Unknown);
        let mut seen = BTreeSet::new();
        let mut gone: BTreeMap<Box<str>, i64> = BTreeMap::new();
        month.lines.retain(|l| {
            let twice = !seen.insert(l.id.clone());
            let proof = l.kind == Kind::Charge && number(&l.id).is_some_and(|n| unknown.contains(&n));
            if proof {
                let net = gone.entry(l.batch.clone()).or_default();
                *net = net.saturating_add(l.net);
            }
            !twice && !proof
        });
        for batch in &mut month.batches {
            let less = gone.get(&batch.id).copied().unwrap_or(0);
            if let Funding::Funded { payout, .. } = &mut batch.funding {
                *payout = payout.saturating_sub(less);
            }
        }
        for line in month.lines.iter_mut().filter(|l| l.kind == Kind::Payout) {
            let less = gone.get(&line.batch).copied().unwrap_or(0);
            line.gross = line.gross.saturating_add(less);
            line.net = line.gross;
        }
        let copy = |p: &Planted| p.class == Class::Duplicate && p.lines.len() == 1 && p.expected.is_empty();
        month.planted.retain(|p| !copy(p));
        month.lines.sort_by(|a, b| (&a.batch, &a.id).cmp(&(&b.batch, &b.id)));
        let mut of_batch = BTreeMap::new();
        let mut from = 0;
        for lines in month.lines.chunk_by(|a, b| a.batch == b.batch) {
            let to = from + lines.len();
            of_batch.extend(lines.first().map(|l| (l.batch.clone(), from..to)));
            from = to;
        }
        Ok(Self { month, day: plan.end(), manner: Manner::AtOnce, of_batch })
    }

    /// The same as a connector for the engine. Everything that is no settlement is another connector's.
    #[must_use]
    pub fn connector(self: Arc<Self>, other: &'static dyn Connector) -> &'static dyn Connector {
        Box::leak(Box::new(Gateway { market: self, other }))
    }

    /// What the books hold of it: the entry of each expectation, with its order.
    ///
    /// # Errors
    /// The text of a defect: an entry that does not balance.
    pub fn journal(&self) -> Result<Vec<(OrderKey, Entry)>, String> {
        let entry = |e| -> Result<(OrderKey, Entry), String> {
            Ok((OrderKey::new(order_of(e)), self.month.booked(e)?))
        };
        self.month.expected.iter().map(entry).collect()
    }

    /// Orders that know of refunds what no entry says.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderState> {
        let mut out: BTreeMap<&str, OrderState> = BTreeMap::new();
        for e in self.month.expected.iter().filter(|e| e.kind == Kind::Refund) {
            let (Some(own), Some(payment)) = (&e.ids.own, &e.ids.payment) else { continue };
            let key = order_of(e);
            let order = out.entry(key).or_insert_with(|| OrderState::new(OrderKey::new(key), Timestamp(0)));
            let amount = Money::new(e.amount.saturating_neg(), e.currency);
            order.refunds.insert(own.to_string(), refund(payment, amount));
        }
        out.into_values().collect()
    }
}

fn order_of(e: &tillway_core::settle::Expected) -> &str {
    e.order.as_deref().unwrap_or_default()
}

fn refund(payment: &str, amount: Money) -> Refund {
    Refund {
        payment: payment.to_owned(),
        amount,
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        since: None,
        undoes: None,
        resent: false,
        booked: RefundBooked::default(),
    }
}

struct Gateway {
    market: Arc<Market>,
    other: &'static dyn Connector,
}

#[async_trait]
impl Settlement for Gateway {
    fn rules(&self, _connection: &Connection) -> &'static str {
        RULES
    }

    async fn batches(
        &self,
        _call: &Call<'_>,
        day: Day,
        _cursor: Option<&str>,
    ) -> Result<BatchPage, SettleFault> {
        let Market { month, day: last, manner, .. } = &*self.market;
        let funded = |batch: &Batch| match batch.funding {
            Funding::Funded { day, .. } => day,
            Funding::Submitted => *last,
        };
        let listed = |batch: &Batch| {
            let mut batch = batch.clone();
            let comes = match manner {
                Manner::AtOnce => day == *last,
                Manner::InTwo(first) if funded(&batch) <= *first => day == *first,
                Manner::InTwo(_) => day == *last,
                Manner::SubmittedFirst(first) => {
                    if day == *first {
                        batch.funding = Funding::Submitted;
                    }
                    day == *first || day == *last
                }
            };
            comes.then_some(ListedBatch { batch, standing: BatchStanding::Ready })
        };
        Ok(BatchPage { batches: month.batches.iter().filter_map(listed).collect(), next: None })
    }

    async fn lines(
        &self,
        _call: &Call<'_>,
        batch: &Batch,
        cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault> {
        let from: usize = cursor.and_then(|c| c.parse().ok()).unwrap_or(0);
        let own = self.market.of_batch.get(&batch.id).cloned().unwrap_or_default();
        let lines = self.market.month.lines.get(own).unwrap_or_default();
        let page: Vec<_> = lines.iter().skip(from).take(PAGE).cloned().collect();
        let next = from + page.len();
        let next = (next < lines.len()).then(|| next.to_string());
        Ok(LinePage { lines: page, next, ..LinePage::default() })
    }

    fn reference(&self, _kind: Kind, order_id: &str) -> Option<Box<str>> {
        Some(order_id.into())
    }
}

#[async_trait]
impl Connector for Gateway {
    fn system(&self) -> &'static str {
        self.other.system()
    }
    fn capabilities(&self) -> &'static tillway_connectors::capabilities::Capabilities {
        self.other.capabilities()
    }
    fn topics(&self) -> &'static [&'static str] {
        self.other.topics()
    }
    fn settlement(&self, _connection: &Connection) -> Option<&'static dyn Settlement> {
        Some(Box::leak(Box::new(Self { market: Arc::clone(&self.market), other: self.other })))
    }
    fn actions(&self) -> &'static [Action] {
        self.other.actions()
    }
    fn settings(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        self.other.settings()
    }
    fn secrets(&self) -> &'static [(&'static str, &'static str)] {
        self.other.secrets()
    }
    fn lacks(&self, connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str> {
        self.other.lacks(connection, secrets, what)
    }
    fn check_settings(&self, connection: &Connection) -> Vec<(String, String)> {
        self.other.check_settings(connection)
    }
    fn verify(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        inbound: Inbound<'_>,
        now: Timestamp,
    ) -> Result<Verified, EdgeFault> {
        self.other.verify(connection, secrets, inbound, now)
    }
    fn identifier_fields(&self) -> &'static [&'static str] {
        self.other.identifier_fields()
    }
    fn interpret(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected> {
        self.other.interpret(connection, event_type, body)
    }
    fn prepare(
        &self,
        connection: &Connection,
        action: &str,
        command: &CommandId,
        params: &Value,
    ) -> Result<Prepared, Rejected> {
        self.other.prepare(connection, action, command, params)
    }
    async fn call(&self, call: Call<'_>) -> Outcome {
        self.other.call(call).await
    }
    async fn find_out(&self, call: Call<'_>) -> Finding {
        self.other.find_out(call).await
    }
    fn indexing_lag(&self) -> Millis {
        self.other.indexing_lag()
    }
    fn key_lifetime(&self) -> Millis {
        self.other.key_lifetime()
    }
    fn needs_token(&self, _connection: &Connection) -> bool {
        false
    }
    async fn fetch_token(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        http: &dyn Http,
        limit: Millis,
    ) -> Result<(Secret, Millis), NotDone> {
        self.other.fetch_token(connection, secrets, http, limit).await
    }
    async fn sweep(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        self.other.sweep(call, since, cursor).await
    }
    /// The gateway knows nothing beside its batches.
    async fn resolve(&self, _call: Call<'_>, _object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        Ok(None)
    }
}

/// The connection's name.
#[must_use]
pub fn name() -> ConnectionName {
    ConnectionName::new(NAME)
}
