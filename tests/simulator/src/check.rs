//! The checks: what must be true when everything has come to rest.

mod causes;
mod money;
mod routes;

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::facts::{Fact, OrderStatus, StepState};
use tillway_core::ids::OrderKey;
use tillway_core::journal::{Entry, TrialBalance};
use tillway_core::state::OrderState;
use tillway_engine::records::{CommandRecord, CommandState, LogRecord, OrderRecord, ParkedRecord};

use crate::draw::OrderPlan;
use crate::exec::lock;
use crate::memory::gateway::Gateway;
use crate::memory::people::Outside;
use crate::staff::Deeds;
use crate::truth::payments;
use crate::world::World;

/// A promise of DESIGN section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing is lost.
    NothingLost,
    /// Nothing happens twice.
    NothingTwice,
    /// The books balance.
    BooksBalance,
    /// No card number (and nothing personal, and no secret) gets in.
    NothingLeaks,
    /// It explains itself.
    Explains,
}

impl Promise {
    /// In a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NothingLost => "nothing is lost",
            Self::NothingTwice => "nothing happens twice",
            Self::BooksBalance => "the books balance",
            Self::NothingLeaks => "no card number gets in",
            Self::Explains => "it explains itself",
        }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// The order, where it is about one.
    pub order: Option<String>,
    /// What was seen.
    pub what: String,
    /// Seed of the world it happened in.
    pub world: u64,
}

/// What is stored of one order.
#[derive(Default)]
struct Stored {
    record: Option<OrderRecord>,
    record_text: Vec<u8>,
    logs: Vec<LogRecord>,
    entries: BTreeMap<String, Entry>,
    commands: Vec<CommandRecord>,
}

/// All that is stored.
#[derive(Default)]
struct Everything {
    orders: BTreeMap<OrderKey, Stored>,
    known_events: BTreeSet<(String, String)>,
    waiting: Vec<String>,
    parked: Vec<ParkedRecord>,
    trial: TrialBalance,
}

/// What the checks saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) violations: Vec<Violation>,
    pub(crate) parked: BTreeMap<String, u64>,
    pub(crate) statuses: BTreeMap<String, u64>,
    pub(crate) events: u64,
    pub(crate) commands: u64,
    pub(crate) entries: u64,
    /// Customers of the shop whose token at the gateway was compared.
    pub(crate) customers: u64,
    /// What was chosen among merchant ids, and what came of it.
    pub(crate) routes: BTreeMap<String, u64>,
}

struct Checker<'a> {
    world: &'a World,
    out: Seen,
}

/// Checks a world at rest.
pub(crate) fn check(world: &World) -> Seen {
    let mut checker = Checker { world, out: Seen::default() };
    if !world.rested {
        checker.say(Promise::NothingLost, None, "the world did not come to rest".to_owned());
    }
    let all = checker.read();
    checker.edges(&all);
    checker.all_merchants(&all);
    checker.refused_in_manner();
    checker.counted(&all);
    for (place, order) in world.plan.orders.iter().enumerate() {
        let deeds = lock(&world.shared.people).deeds.get(place).cloned().unwrap_or_default();
        if deeds.placed {
            checker.order(&all, order, &deeds);
        }
    }
    checker.customers();
    checker.out
}

impl Checker<'_> {
    fn say(&mut self, promise: Promise, order: Option<&str>, what: String) {
        let order = order.map(str::to_owned);
        self.out.violations.push(Violation { promise, order, what, world: self.world.plan.seed });
    }

    fn read(&mut self) -> Everything {
        let mut all = Everything::default();
        let mut unread = Vec::new();
        let data = lock(&self.world.shared.store.data);
        for (key, item) in &data.items {
            let body = item.body.as_slice();
            if let Some(order) = key.pk.strip_prefix("order#") {
                let stored = all.orders.entry(OrderKey::new(order)).or_default();
                let ok = if key.sk == "state" {
                    stored.record_text = body.to_vec();
                    serde_json::from_slice(body).map(|r| stored.record = Some(r)).is_ok()
                } else if key.sk.starts_with("log#") {
                    serde_json::from_slice(body).map(|l| stored.logs.push(l)).is_ok()
                } else if key.sk.starts_with("jrn#") {
                    serde_json::from_slice(body)
                        .map(|e: Entry| {
                            all.trial.add(&e);
                            stored.entries.insert(format!("{}#{}", e.connection, e.id), e);
                        })
                        .is_ok()
                } else if key.sk.starts_with("cmd#") {
                    serde_json::from_slice(body).map(|c| stored.commands.push(c)).is_ok()
                } else if let Some(rest) = key.sk.strip_prefix("note#") {
                    note_event(&mut all.known_events, rest, '#');
                    true
                } else {
                    true
                };
                if !ok {
                    unread.push(key.clone());
                }
            } else if let Some(rest) = key.pk.strip_prefix("unhandled:") {
                note_event(&mut all.known_events, rest, ':');
            } else if key.sk == "waiting" {
                all.waiting.push(key.pk.clone());
            } else if key.pk.starts_with("parked#")
                && let Ok(record) = serde_json::from_slice::<ParkedRecord>(body)
            {
                all.parked.push(record);
            }
        }
        for id in &data.parked_ever {
            let event = id.split_once("event:").map(|(_, rest)| rest);
            if let Some(rest) = event {
                note_event(&mut all.known_events, rest, ':');
            }
        }
        let wrong = data.wrong.clone();
        self.out.entries = data.entries;
        drop(data);
        for stored in all.orders.values() {
            self.out.commands += u64::try_from(stored.commands.len()).unwrap_or(0);
            for log in &stored.logs {
                self.out.events += 1;
                all.known_events.insert((log.connection.to_string(), log.event.clone()));
            }
        }
        for key in unread {
            self.say(Promise::Explains, None, format!("{} {} cannot be read", key.pk, key.sk));
        }
        for (key, what) in wrong {
            let promise =
                if key.sk.starts_with("jrn#") { Promise::BooksBalance } else { Promise::NothingLeaks };
            let order = key.pk.strip_prefix("order#").map(str::to_owned);
            self.say(promise, order.as_deref(), format!("{}: {what}", key.sk));
        }
        all
    }

    /// Webhooks, queues, trial balance.
    fn edges(&mut self, all: &Everything) {
        let world = self.world;
        let outside = &world.shared.outside;
        let accepted = lock(&outside.post).accepted.clone();
        for (connection, event, kind) in accepted {
            if !all.known_events.contains(&(connection.to_owned(), event.clone())) {
                let what = format!("{connection} {kind} {event} was answered 2xx and is nowhere");
                self.say(Promise::NothingLost, None, what);
            }
        }
        for waiting in &all.waiting {
            self.say(Promise::NothingLost, None, format!("{waiting} still waits for its owner"));
        }
        for (currency, sum) in all.trial.unbalanced() {
            self.say(Promise::BooksBalance, None, format!("the trial balance is {sum} {currency} off"));
        }
        for queue in world.shared.queue.canaries() {
            self.say(Promise::NothingLeaks, None, format!("{queue} holds something in clear"));
        }
        let (_, expired) = world.shared.queue.lost();
        if expired > 0 {
            self.say(Promise::NothingLost, None, format!("{expired} message(s) grew too old in a queue"));
        }
        let twice: Vec<String> =
            lock(&world.shared.notices).iter().filter(|(_, n)| **n > 1).map(|(id, _)| id.clone()).collect();
        for id in twice {
            self.say(Promise::NothingTwice, None, format!("notice {id} went out twice"));
        }
        for parked in &all.parked {
            *self.out.parked.entry(parked.item.code.clone()).or_default() += 1;
            let faulty = world.shared.gate.faults.counts().keys().any(|k| !k.is_empty());
            let order = parked.order.as_ref().map(ToString::to_string);
            let id = order.as_deref().and_then(|o| o.rsplit('/').next());
            let plan = world.plan.orders.iter().find(|p| Some(p.id().as_str()) == id);
            let stored = parked.order.as_ref().and_then(|order| all.orders.get(order));
            if !causes::explained(&world.plan, &parked.item, (plan, stored), faulty) {
                let what = format!("parked without a cause: {} ({})", parked.item.code, parked.item.what);
                self.say(Promise::NothingLost, order.as_deref(), what);
            }
        }
    }

    fn order(&mut self, all: &Everything, plan: &OrderPlan, deeds: &Deeds) {
        let outside = &self.world.shared.outside;
        let shop = outside.names.get(plan.pair).copied().unwrap_or_default();
        let key = OrderKey::new(format!("{shop}/{}", plan.id()));
        let name = key.to_string();
        let truth =
            outside.gateways.get(plan.pair).map(|g| payments(&lock(g), &plan.id())).unwrap_or_default();
        self.charges(&name, plan, deeds, &truth);
        self.refunds(&name, plan, deeds, &truth);
        let Some(stored) = all.orders.get(&key) else {
            return self.say(Promise::NothingLost, Some(&name), "nothing is known of this order".to_owned());
        };
        let Some(record) = &stored.record else {
            return self.say(Promise::NothingLost, Some(&name), "the order has no state".to_owned());
        };
        self.rebuilt(&name, &key, stored, record);
        self.books(&name, plan, stored, &record.state, &truth);
        self.state(&name, plan, deeds, &record.state, &truth);
        self.worth(&name, outside, plan, deeds, &record.state, &truth);
        self.commands(&name, stored);
        self.made_by_commands(&name, stored, &truth);
        self.routes(&name, plan, stored, &record.state, &truth);
        self.asked(&name, deeds, &record.state);
        self.shown(&name, outside, plan, deeds, &record.state);
    }

    /// State and journal come out of the recorded facts byte for byte.
    fn rebuilt(&mut self, name: &str, key: &OrderKey, stored: &Stored, record: &OrderRecord) {
        let facts = stored.logs.iter().flat_map(|l| l.facts.iter().map(move |f| (l.at, &l.connection, f)));
        let (state, entries) = OrderState::rebuild(key.clone(), facts);
        // What is equal is written alike.
        let bytes = |s: Option<&OrderState>| serde_json::to_vec(&s).unwrap_or_default();
        let (state, known) = (state.as_ref(), Some(&record.state));
        if state != known && bytes(state) != bytes(known) {
            self.say(Promise::Explains, Some(name), "the state cannot be rebuilt from its facts".to_owned());
        }
        let rebuilt: BTreeMap<String, Entry> =
            entries.into_iter().map(|e| (format!("{}#{}", e.connection, e.id), e)).collect();
        if rebuilt != stored.entries {
            let what = format!(
                "the journal ({}) is not what the facts say ({})",
                stored.entries.len(),
                rebuilt.len()
            );
            self.say(Promise::Explains, Some(name), what);
        }
        let again = serde_json::to_vec(record).unwrap_or_default();
        if again != stored.record_text {
            self.say(Promise::Explains, Some(name), "the record is not byte-equal to itself read".to_owned());
        }
    }

    fn commands(&mut self, name: &str, stored: &Stored) {
        for command in &stored.commands {
            let told = command.listeners.iter().all(|l| l.told);
            match &command.state {
                CommandState::Ended { .. } if told => {}
                other => {
                    let what = format!("{} {} did not end and report: {other:?}", command.action, command.id);
                    self.say(Promise::NothingLost, Some(name), what);
                }
            }
        }
    }

    /// A refund asked for was made, or a person knows why not.
    fn asked(&mut self, name: &str, deeds: &Deeds, state: &OrderState) {
        for (id, amount) in &deeds.asked {
            if !state.refund_requests.contains_key(id) {
                continue;
            }
            let made = state.refunds.values().any(|r| r.request.as_deref() == Some(id));
            let of = |step: &str| state.steps.get(&format!("{step}/{id}"));
            // A refund may wait for the void that is tried before it, or be served by it.
            let over = |s: &&StepState| matches!(s, StepState::Refused { .. } | StepState::Skipped { .. });
            let before = of("void-requested").filter(|s| !over(s));
            let step = of("refund-requested").or(before);
            let open = match step {
                Some(StepState::Done) => !made,
                Some(StepState::Issued { .. }) => true,
                // A void may have served it.
                Some(StepState::Skipped { why }) => why.contains("served") && !made,
                None => state.money_blocked().is_none(),
                _ => false,
            };
            if open {
                let what = format!("refund request {id} of {amount}: {step:?}, refund made: {made}");
                self.say(Promise::NothingLost, Some(name), what);
            }
        }
        for (step, is) in &state.steps {
            if matches!(is, StepState::Issued { .. }) {
                self.say(Promise::NothingLost, Some(name), format!("{step} still waits for its command"));
            }
        }
    }

    /// The shop shows what is true.
    fn shown(&mut self, name: &str, outside: &Outside, plan: &OrderPlan, deeds: &Deeds, state: &OrderState) {
        let Some(shop) = outside.shops.get(plan.pair) else { return };
        let Some((text, by_shop)) = lock(shop).order(&plan.id()).map(|o| {
            let last = o.history.last().map(|h| h.by);
            (o.status_text.clone(), last == Some(tillway_sandbox::clarity::Actor::Shop))
        }) else {
            return;
        };
        *self.out.statuses.entry(text.clone()).or_default() += 1;
        let (projected, _) = state.project();
        if projected != state.status {
            let what = format!("status is {:?} and should be {projected:?}", state.status);
            self.say(Promise::Explains, Some(name), what);
        }
        let expected = match projected {
            OrderStatus::PendingPayment | OrderStatus::Authorized | OrderStatus::PartiallyPaid => {
                "Pending Payment"
            }
            OrderStatus::OnHold => "On Hold",
            OrderStatus::Paid => self.world.plan.pair.paid(),
            OrderStatus::PaymentFailed => "Payment Failed",
            OrderStatus::PartiallyRefunded => "Partially Refunded",
            OrderStatus::Refunded | OrderStatus::ChargedBack => "Refunded",
            OrderStatus::Disputed => "Disputed",
            OrderStatus::Cancelled => "Cancelled",
            OrderStatus::Processing | OrderStatus::Shipped | OrderStatus::Completed => return,
        };
        let fulfilment = matches!(text.as_str(), "Processing" | "Shipped" | "Completed");
        // The shop's own cancellation stands until what is known changes.
        // And so it does where a review refused the payment and money is found afterwards: that is parked (see `worth`).
        let own = (by_shop && deeds.cancelled || deeds.rejected) && text == "Cancelled";
        let parked =
            state.parked.values().any(|p| p.step.as_deref().is_some_and(|s| s.starts_with("status")))
                || state.steps.iter().any(|(s, is)| {
                    s.starts_with("status/")
                        && matches!(is, StepState::Skipped { why } if why.contains("person"))
                });
        if text != expected && !fulfilment && !own && !parked {
            let what = format!("the shop shows {text}, what is known is {projected:?}");
            self.say(Promise::NothingLost, Some(name), what);
        }
    }

    fn customers(&mut self) {
        let world = self.world;
        let mut wanted: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
        for order in world.plan.orders.iter().filter(|o| o.pair == 0) {
            wanted.entry(format!("canary{}@example.com", order.person)).or_default().insert(order.guest);
        }
        let Some(gateway) = world.shared.outside.gateways.first() else { return };
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        match &*lock(gateway) {
            Gateway::Stripe(stripe) => {
                for (_, email) in stripe.all_customers() {
                    *found.entry(email.unwrap_or_default()).or_default() += 1;
                }
            }
            // A lost answer may leave a token behind that nobody uses, so the shop's pointers count: each leads to a token of
            // that very person.
            Gateway::Cybersource(cyber) => {
                let Some(shop) = world.shared.outside.shops.first() else { return };
                let (mut foreign, mut looked) = (Vec::new(), 0);
                for customer in lock(shop).customers() {
                    let Some(token) = customer.external_ids.get("cybersource_customer") else { continue };
                    looked += 1;
                    let truth = cyber.customer_truth(token);
                    let lower = |email: &Option<String>| email.as_deref().unwrap_or_default().to_lowercase();
                    if truth.is_none_or(|t| lower(&t.email) != lower(&customer.email)) {
                        foreign.push(customer.customer_id.clone().unwrap_or_default());
                    }
                }
                self.out.customers += looked;
                for customer in foreign {
                    let what = format!("customer {customer} points to a token that is not theirs");
                    self.say(Promise::NothingTwice, None, what);
                }
                return;
            }
        }
        for (email, count) in found {
            let most = wanted.get(&email).map_or(0, BTreeSet::len);
            if count > most {
                let who: String = email.chars().filter(char::is_ascii_digit).collect();
                let what = format!("person {who} was made a customer {count} times, {most} at most");
                self.say(Promise::NothingTwice, None, what);
            }
        }
    }
}

fn note_event(known: &mut BTreeSet<(String, String)>, text: &str, separator: char) {
    if let Some((connection, event)) = text.split_once(separator) {
        known.insert((connection.to_owned(), event.to_owned()));
    }
}

/// A fact in a few words, for a trace.
pub(crate) fn short(fact: &Fact) -> String {
    let text = format!("{fact:?}");
    text.chars().take(220).collect()
}
