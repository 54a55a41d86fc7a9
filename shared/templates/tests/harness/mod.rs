//! An order, or a profile, that a shipped flow decides on, fact by fact.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]
#![allow(dead_code, reason = "each flow's tests use their part of it")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tillway_core::bundle::Bundle;
use tillway_core::decide::{Command, Input, Plan, decide};
use tillway_core::facts::{CommandEnd, Fact, Line, OrderSnapshot, OrderStatus};
use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::money::{Currency, Money};
use tillway_core::state::{OrderState, view};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let vocabulary = tillway_engine::vocabulary::vocabulary(&[
        &tillway_connectors::stripe::Stripe,
        &tillway_connectors::clarity::Clarity,
        &tillway_connectors::cybersource::Cybersource,
    ]);
    Bundle::load(&tillway_templates::sources(), &[], &vocabulary).unwrap()
});

/// One order, decided on as time goes by.
pub struct Order {
    flow: &'static str,
    pub state: OrderState,
    options: BTreeMap<String, String>,
    pub personal: Value,
    /// A desk for cases is connected.
    pub desk: bool,
    now: Timestamp,
    /// Commands that were sent and not answered.
    pub out: Vec<Command>,
    wake_at: Option<Timestamp>,
}

impl Order {
    /// An order of this flow and gateway.
    pub fn new(flow: &'static str, gateway: &str, options: &[(&str, &str)]) -> Self {
        let defaults = view::PAIR_OPTIONS.iter().map(|(n, all, _)| (*n, all.first().copied().unwrap_or("")));
        let given = options.iter().copied();
        let fixed = [("name", "main"), ("gateway", gateway), ("shop", "clarity")];
        let all = defaults.chain(fixed).chain(given);
        let customer = Value::map([("email", Value::text("a@example.com"))]);
        Self {
            flow,
            state: OrderState::new(OrderKey::new("shop/A"), Timestamp(0)),
            options: all.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            personal: Value::map([("order", Value::map([("customer", customer)]))]),
            desk: false,
            now: Timestamp(0),
            out: Vec::new(),
            wake_at: None,
        }
    }

    /// Tells facts; answers the steps whose commands go out.
    pub fn tell(&mut self, facts: impl IntoIterator<Item = Fact>) -> Vec<String> {
        self.now = self.now + Millis::secs(1);
        let gateway = self.options["gateway"].as_str();
        let systems = [(gateway, "gate"), ("clarity", "shop"), ("tillway", "tillway"), ("notify", "notify")];
        let desk = self.desk.then_some(("case", "desk"));
        let systems = systems.into_iter().chain(desk);
        let systems = systems.map(|(s, c)| (s.to_owned(), ConnectionName::new(c))).collect();
        let plan = Plan {
            flow: BUNDLE.flow(self.flow).unwrap(),
            bundle: &BUNDLE,
            options: &self.options,
            systems: &systems,
            per_person: &|_| false,
            personal: Some(&self.personal),
            masking: None,
            erased: false,
            routes: None,
        };
        let facts = facts.into_iter().collect();
        let input = Input { connection: "gate".into(), facts, answer: ("answer".into(), None) };
        let decision = decide(&self.state, &input, &plan, self.now).unwrap();
        self.state = decision.state;
        self.wake_at = decision.wake_at;
        let sent = decision.commands.iter().map(|c| c.step.clone()).collect();
        self.out.extend(decision.commands);
        sent
    }

    /// A command ends, with the facts its answer brings.
    pub fn end(&mut self, step: &str, end: CommandEnd, facts: impl IntoIterator<Item = Fact>) -> Vec<String> {
        let command = self.sent(step);
        self.out.retain(|c| c.id != command.id);
        let ended = Fact::CommandEnded { command: command.id, step: command.step, end };
        self.tell(facts.into_iter().chain([ended]))
    }

    pub fn done(&mut self, step: &str, facts: impl IntoIterator<Item = Fact>) -> Vec<String> {
        self.end(step, CommandEnd::Done, facts)
    }

    /// The command that is out for a step.
    pub fn sent(&self, step: &str) -> Command {
        let of = |c: &&Command| c.step == step || c.step.split('/').next() == Some(step);
        self.out.iter().find(of).unwrap_or_else(|| panic!("{step} was not sent")).clone()
    }

    pub fn money(&self, step: &str) -> i64 {
        self.sent(step).params.get("amount").and_then(Value::as_money).unwrap().minor
    }

    pub fn is_out(&self, step: &str) -> bool {
        self.out.iter().any(|c| c.step.split('/').next() == Some(step))
    }

    pub fn parked(&self) -> Vec<&str> {
        self.state.parked.values().map(|p| p.code.as_str()).collect()
    }

    /// Lets time pass, waking the order when it asked for it.
    pub fn pass(&mut self, length: Millis) {
        let end = self.now + length;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            self.now = at;
            self.tell([]);
        }
        self.now = end;
    }
}

pub fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}

pub fn snapshot(version: i64, total: Money, change: impl FnOnce(&mut OrderSnapshot)) -> Fact {
    let mut order = OrderSnapshot {
        order_id: "A".into(),
        number: "1".into(),
        version,
        placed_at: None,
        status: OrderStatus::PendingPayment,
        total,
        tax: 0,
        shipping: 0,
        lines: vec![Line {
            line_id: "1".into(),
            sku: "S".into(),
            quantity: 4.into(),
            total: total.minor,
            tax: 0,
            name: Some("Tea".into()),
            unit_price: Some(2.into()),
            discount: 0,
        }],
        shipments: Vec::new(),
        token: None,
        payment: None,
        gateway: None,
        guest: true,
        customer_ref: None,
        gateway_customer: None,
        test: false,
    };
    change(&mut order);
    Fact::Order(Box::new(order))
}

pub fn plain(version: i64, minor: i64) -> Fact {
    snapshot(version, usd(minor), |_| {})
}
pub fn refused(code: &str) -> CommandEnd {
    CommandEnd::Refused { code: code.into() }
}
pub fn cancelled(version: i64, minor: i64) -> Fact {
    snapshot(version, usd(minor), |o| o.status = OrderStatus::Cancelled)
}
