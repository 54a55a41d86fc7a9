//! The checks: what must be true when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::facts::{Fact, OrderStatus, RefundStatus, StepState};
use tillway_core::ids::OrderKey;
use tillway_core::journal::{Entry, Role, TrialBalance};
use tillway_core::state::OrderState;
use tillway_engine::records::{CommandRecord, CommandState, LogRecord, OrderRecord, ParkedRecord};
use tillway_sandbox::stripe::{PaymentStatus, PaymentTruth};

use crate::draw::OrderPlan;
use crate::exec::lock;
use crate::memory::people::{CONNECTIONS, Outside};
use crate::staff::{Deeds, payments, wire};
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
            if !explained(&parked.item, faulty) {
                let order = parked.order.as_ref().map(ToString::to_string);
                let what = format!("parked without a cause: {} ({})", parked.item.code, parked.item.what);
                self.say(Promise::NothingLost, order.as_deref(), what);
            }
        }
    }

    fn order(&mut self, all: &Everything, plan: &OrderPlan, deeds: &Deeds) {
        let shop = CONNECTIONS.get(plan.pair).copied().unwrap_or_default();
        let key = OrderKey::new(format!("{shop}/{}", plan.id()));
        let name = key.to_string();
        let outside = &self.world.shared.outside;
        let truth =
            outside.gateways.get(plan.pair).map(|g| payments(&lock(g), &plan.id())).unwrap_or_default();
        self.charges(&name, plan, deeds, &truth);
        self.refunds(&name, outside, plan, deeds, &truth);
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
        self.asked(&name, outside, deeds, &record.state, &truth);
        self.shown(&name, outside, plan, deeds, &record.state);
    }

    fn charges(&mut self, name: &str, plan: &OrderPlan, deeds: &Deeds, truth: &[PaymentTruth]) {
        let alive = truth.iter().filter(|p| p.status != PaymentStatus::Canceled).count();
        if alive > 1 {
            self.say(Promise::NothingTwice, Some(name), format!("{alive} payments stand for one order"));
        }
        for p in truth {
            let amount = p.amount / wire(plan.currency);
            if !deeds.totals.contains(&amount) {
                let what =
                    format!("{}: is for {amount} {}, which the order never was", p.payment, plan.currency);
                self.say(Promise::BooksBalance, Some(name), what);
            }
            if p.captured > p.authorized {
                let what = format!("{}: captured {} of {} authorized", p.payment, p.captured, p.authorized);
                self.say(Promise::NothingTwice, Some(name), what);
            }
            if p.refunded > p.captured {
                let what = format!("{}: refunded {} of {} captured", p.payment, p.refunded, p.captured);
                self.say(Promise::NothingTwice, Some(name), what);
            }
            if p.charges_succeeded > 1 {
                self.say(Promise::NothingTwice, Some(name), format!("{}: charged twice", p.payment));
            }
        }
        let held = truth.iter().filter(|p| p.captured > 0 || p.capturable > 0).count();
        if held > 1 {
            let all: Vec<&str> = truth.iter().map(|p| p.payment.as_str()).collect();
            self.say(
                Promise::NothingTwice,
                Some(name),
                format!("{held} payments hold money: {}", all.join(", ")),
            );
        }
        let mut commands = BTreeSet::new();
        for p in truth {
            let made_by = p.metadata.iter().find(|(k, _)| k == "tillway_command");
            if let Some((_, command)) = made_by
                && !commands.insert(command.clone())
            {
                let what = format!("{}: a second payment was made for one command", p.payment);
                self.say(Promise::NothingTwice, Some(name), what);
            }
        }
        // Every attempt was asked for by a token of its own.
        let attempts: usize = truth.iter().map(|p| p.attempts).sum();
        let given = 1 + plan.acts.iter().filter(|(_, a)| matches!(a, crate::draw::Act::Pay(_))).count();
        if attempts > given {
            self.say(Promise::NothingTwice, Some(name), format!("{attempts} attempts for {given} card(s)"));
        }
    }

    /// Each refund at the gateway was asked for by somebody, and once.
    fn refunds(
        &mut self,
        name: &str,
        outside: &Outside,
        plan: &OrderPlan,
        deeds: &Deeds,
        truth: &[PaymentTruth],
    ) {
        let Some(gateway) = outside.gateways.get(plan.pair) else { return };
        let mut found = Vec::new();
        {
            let stripe = lock(gateway);
            for p in truth {
                for (refund, amount, status) in stripe.refunds_of(&p.payment) {
                    let object = stripe.object(&refund).unwrap_or_default();
                    let request = object.pointer("/metadata/tillway_request").and_then(|v| v.as_str());
                    found.push((refund, amount, status, request.map(str::to_owned)));
                }
            }
        }
        let mut requests: BTreeMap<String, i64> = BTreeMap::new();
        for (refund, amount, _, request) in found {
            let minor = amount / wire(plan.currency);
            match request {
                None if deeds.dashboard_refunds.contains(&refund) || deeds.review_refunds => {}
                None => {
                    self.say(Promise::NothingTwice, Some(name), format!("nobody asked for refund {refund}"))
                }
                Some(request) => {
                    let asked = deeds.asked.get(&request).copied();
                    let own = request.starts_with("cancelled:") && deeds.cancelled
                        || request.starts_with("lowered:") && deeds.changed;
                    if asked.is_some_and(|asked| asked != minor) {
                        let what = format!("{request}: asked for {asked:?}, refunded {minor}");
                        self.say(Promise::NothingTwice, Some(name), what);
                    } else if asked.is_none() && !own {
                        let what = format!("nobody asked for refund {refund} ({request})");
                        self.say(Promise::NothingTwice, Some(name), what);
                    }
                    let times = requests.entry(request.clone()).or_default();
                    *times += 1;
                    if *times == 2 {
                        self.say(Promise::NothingTwice, Some(name), format!("{request}: refunded twice"));
                    }
                }
            }
        }
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

    fn books(
        &mut self,
        name: &str,
        plan: &OrderPlan,
        stored: &Stored,
        state: &OrderState,
        truth: &[PaymentTruth],
    ) {
        let mut sums: BTreeMap<Role, i64> = BTreeMap::new();
        for entry in stored.entries.values() {
            for posting in &entry.postings {
                *sums.entry(posting.role).or_default() += posting.amount.minor;
            }
        }
        let of = |role: Role| sums.get(&role).copied().unwrap_or(0);
        let wire = wire(plan.currency);
        let sum = |f: &dyn Fn(&PaymentTruth) -> i64| truth.iter().map(f).sum::<i64>() / wire;
        let taken = sum(&|p| p.captured);
        let out = sum(&|p| p.disputed_withdrawn - p.disputed_reinstated);
        let refunded = sum(&|p| p.refunded);
        let cash = of(Role::GatewayClearing) + of(Role::Fees);
        let expected = taken - refunded - out;
        if cash != expected {
            let what =
                format!("clearing and fees are {cash}, the gateway holds {expected} {}", plan.currency);
            self.say(Promise::BooksBalance, Some(name), what);
        }
        let lost = of(Role::Disputed) + of(Role::ChargebackLoss);
        if lost != out {
            let what = format!("disputed and lost are {lost}, withdrawn {out} {}", plan.currency);
            self.say(Promise::BooksBalance, Some(name), what);
        }
        if state.order.is_some() && of(Role::Receivable) != 0 {
            let what = format!("{} stay receivable", of(Role::Receivable));
            self.say(Promise::BooksBalance, Some(name), what);
        }
    }

    /// What is known is what is true.
    fn state(
        &mut self,
        name: &str,
        plan: &OrderPlan,
        deeds: &Deeds,
        state: &OrderState,
        truth: &[PaymentTruth],
    ) {
        let wire = wire(plan.currency);
        let sum = |f: &dyn Fn(&PaymentTruth) -> i64| truth.iter().map(f).sum::<i64>() / wire;
        for (what, known, really) in [
            ("captured", state.captured(), sum(&|p| p.captured)),
            ("capturable", state.capturable(), sum(&|p| p.capturable)),
            ("refunded", state.refunded(), sum(&|p| p.refunded)),
            ("disputed", state.disputed(), sum(&|p| p.disputed_withdrawn - p.disputed_reinstated)),
        ] {
            if known != really {
                let what = format!("{what}: known {known}, really {really} {}", plan.currency);
                self.say(Promise::NothingLost, Some(name), what);
            }
        }
        if state.captured() > state.authorized() || state.refunded() > state.captured() {
            self.say(
                Promise::NothingTwice,
                Some(name),
                "more was taken or returned than there was".to_owned(),
            );
        }
        let outside = &self.world.shared.outside;
        let shown = outside
            .shops
            .get(plan.pair)
            .and_then(|s| lock(s).order(&plan.id()).map(|o| (o.version, o.total.minor)));
        let known = state.order.as_ref().map(|o| (u64::try_from(o.version).unwrap_or(0), o.total.minor));
        if shown != known {
            let what = format!("the shop's order is {shown:?}, known is {known:?} (version, total)");
            self.say(Promise::NothingLost, Some(name), what);
        }
        let missing: Vec<&String> =
            deeds.asked.keys().filter(|id| !state.refund_requests.contains_key(*id)).collect();
        if let Some(id) = missing.first() {
            // The shop has no list of requests: a webhook that never came cannot be found by a sweep.
            if self.world.shared.outside.shops.get(plan.pair).is_some_and(|_| lock(&outside.post).lost == 0) {
                self.say(Promise::NothingLost, Some(name), format!("refund request {id} is unknown"));
            }
        }
    }

    /// Nobody's money is kept in silence: what is held is what the order is worth, or a person was told.
    fn worth(
        &mut self,
        name: &str,
        outside: &Outside,
        plan: &OrderPlan,
        deeds: &Deeds,
        state: &OrderState,
        truth: &[PaymentTruth],
    ) {
        let order =
            outside.shops.get(plan.pair).and_then(|s| lock(s).order(&plan.id()).map(|o| o.total.minor));
        let Some(total) = order else { return };
        let worth = if deeds.cancelled { 0 } else { total };
        let gone = |p: &PaymentTruth| p.refunded + p.disputed_withdrawn - p.disputed_reinstated;
        let held = truth.iter().map(|p| p.captured - gone(p)).sum::<i64>() / wire(plan.currency);
        let prefix = format!("{name}|");
        let told = lock(&self.world.shared.store.data)
            .parked_ever
            .range(prefix.clone()..)
            .next()
            .is_some_and(|id| id.starts_with(&prefix));
        // Of a refund that failed afterwards the staff are told by a notice.
        let failed = state.refunds.values().any(|r| r.returned || r.status == RefundStatus::Failed);
        if held > worth && !told && !failed {
            let what =
                format!("{held} {} are held, the order is worth {worth}, and nobody was told", plan.currency);
            self.say(Promise::BooksBalance, Some(name), what);
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
    fn asked(
        &mut self,
        name: &str,
        outside: &Outside,
        deeds: &Deeds,
        state: &OrderState,
        _truth: &[PaymentTruth],
    ) {
        let _ = outside;
        for (id, amount) in &deeds.asked {
            if !state.refund_requests.contains_key(id) {
                continue;
            }
            let made = state.refunds.values().any(|r| r.request.as_deref() == Some(id));
            let step = state.steps.get(&format!("refund-requested/{id}"));
            let open = match step {
                Some(StepState::Done) => !made,
                Some(StepState::Issued { .. }) => true,
                None => state.money_blocked().is_none(),
                _ => false,
            };
            if open {
                let what = format!("refund request {id} of {amount}: {step:?}, refund made: {made}");
                self.say(Promise::NothingLost, Some(name), what);
            }
        }
        let failed = state.refunds.values().filter(|r| r.status == RefundStatus::Failed).count();
        let _ = failed;
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
            OrderStatus::Paid => "Paid",
            OrderStatus::PaymentFailed => "Payment Failed",
            OrderStatus::PartiallyRefunded => "Partially Refunded",
            OrderStatus::Refunded | OrderStatus::ChargedBack => "Refunded",
            OrderStatus::Disputed => "Disputed",
            OrderStatus::Cancelled => "Cancelled",
            OrderStatus::Processing | OrderStatus::Shipped | OrderStatus::Completed => return,
        };
        let fulfilment = matches!(text.as_str(), "Processing" | "Shipped" | "Completed");
        // The shop's own cancellation stands until what is known changes.
        let own = by_shop && deeds.cancelled && text == "Cancelled";
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
        for (_, email) in lock(gateway).all_customers() {
            *found.entry(email.unwrap_or_default()).or_default() += 1;
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

/// Whether a behaviour explains a parked item, or a fault.
fn explained(item: &tillway_core::facts::Parked, faulty: bool) -> bool {
    let code = item.code.as_str();
    // A failure kept under the key, or days without an answer, leave nothing but a person to ask. A capture
    // that could not be settled while the hold lasted is found to differ when it has ended.
    let of_capture = item.step.as_deref().is_some_and(|s| s.starts_with("capture-"));
    let by_fault = matches!(code, "outcome_unknown" | "unavailable" | "dead_letter")
        || code == "answer_disagrees" && of_capture;
    faulty && by_fault
        || matches!(
            code,
            "total_raised_after_payment"
                | "captured_less_than_total"
                | "captured_above_total"
                | "must_not_run"
                | "authorized_less_than_total"
                | "total_lowered_after_capture"
                | "cancelled_after_capture"
                | "card_number_removed"
                | "await_timed_out"
                | "charge_disputed"
                | "charge_already_refunded"
                | "payment_intent_unexpected_state"
                | "amount_too_large"
                | "invalid_request_error"
                | "amount_forbidden"
        )
}

/// A fact in a few words, for a trace.
pub(crate) fn short(fact: &Fact) -> String {
    let text = format!("{fact:?}");
    text.chars().take(220).collect()
}
