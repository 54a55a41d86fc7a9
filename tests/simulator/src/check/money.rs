//! Money: what the gateways say against what is known, booked and asked for.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::facts::RefundStatus;
use tillway_core::journal::Role;
use tillway_core::state::OrderState;

use super::{Checker, Promise, Stored};
use crate::draw::OrderPlan;
use crate::exec::lock;
use crate::memory::people::Outside;
use crate::staff::{Deeds, wire};
use crate::truth::PaymentTruth;

impl Checker<'_> {
    pub(super) fn charges(&mut self, name: &str, plan: &OrderPlan, deeds: &Deeds, truth: &[PaymentTruth]) {
        let alive = truth.iter().filter(|p| p.stands).count();
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
            if p.captured - p.voided > p.authorized {
                let what = format!("{}: captured {} of {} authorized", p.payment, p.captured, p.authorized);
                self.say(Promise::NothingTwice, Some(name), what);
            }
            if p.refunded > p.captured {
                let what = format!("{}: refunded {} of {} captured", p.payment, p.refunded, p.captured);
                self.say(Promise::NothingTwice, Some(name), what);
            }
            for what in &p.wrong {
                self.say(Promise::NothingTwice, Some(name), what.clone());
            }
            if p.charges > 1 {
                self.say(Promise::NothingTwice, Some(name), format!("{}: charged twice", p.payment));
            }
        }
        let held = truth.iter().filter(|p| p.holds).count();
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
            if let Some(command) = &p.command
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
    pub(super) fn refunds(&mut self, name: &str, plan: &OrderPlan, deeds: &Deeds, truth: &[PaymentTruth]) {
        let mut requests: BTreeMap<&str, i64> = BTreeMap::new();
        for refund in truth.iter().flat_map(|p| &p.refunds) {
            let minor = refund.amount / wire(plan.currency);
            match &refund.request {
                // Commands are looked into by themselves.
                None if refund.command.is_some() || refund.undoes => {}
                None if deeds.dashboard_refunds.contains(&refund.id) || deeds.review_refunds => {}
                None => {
                    let what = format!("nobody asked for refund {}", refund.id);
                    self.say(Promise::NothingTwice, Some(name), what);
                }
                Some(request) => {
                    let asked = deeds.asked.get(request).copied();
                    // What a review refused is shown to the shop as cancelled; what is found to be captured later goes back
                    // as from any cancelled order.
                    let own = request.starts_with("cancelled:") && (deeds.cancelled || deeds.rejected)
                        || request.starts_with("lowered:") && deeds.changed;
                    if asked.is_some_and(|asked| asked != minor) {
                        let what = format!("{request}: asked for {asked:?}, refunded {minor}");
                        self.say(Promise::NothingTwice, Some(name), what);
                    } else if asked.is_none() && !own {
                        let what = format!("nobody asked for refund {} ({request})", refund.id);
                        self.say(Promise::NothingTwice, Some(name), what);
                    }
                    let times = requests.entry(request).or_default();
                    *times += i64::from(!refund.failed);
                    if *times == 2 && !refund.failed {
                        self.say(Promise::NothingTwice, Some(name), format!("{request}: refunded twice"));
                    }
                }
            }
        }
    }

    /// Voids name a command and no request: it is one of this order's, and the request was not refunded besides.
    pub(super) fn made_by_commands(&mut self, name: &str, stored: &Stored, truth: &[PaymentTruth]) {
        let refunds = || truth.iter().flat_map(|p| &p.refunds);
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for (refund, command) in refunds().filter_map(|r| Some((r, r.command.as_deref()?))) {
            let of = stored.commands.iter().find(|c| c.id.as_str() == command);
            let Some(of) = of else {
                let what = format!("{} was made by command {command}, which this order never had", refund.id);
                self.say(Promise::NothingTwice, Some(name), what);
                continue;
            };
            if !made.insert(command) {
                self.say(
                    Promise::NothingTwice,
                    Some(name),
                    format!("{} {command} was done twice", of.action),
                );
            }
            // The object of the step, which is what asks: `void-requested/R-1` of R-1.
            let object = |step: &str| step.split_once('/').map(|(_, object)| object.to_owned());
            let asks: Vec<String> = of.listeners.iter().filter_map(|l| object(&l.step)).collect();
            let names = |request: &str| {
                asks.iter().any(|a| request == a || request.split_once(':').is_some_and(|(_, of)| of == a))
            };
            let beside = refunds().find(|r| !r.failed && r.request.as_deref().is_some_and(names));
            if let Some(other) = beside {
                let what = format!("{} was voided and refunded ({}) for one request", refund.id, other.id);
                self.say(Promise::NothingTwice, Some(name), what);
            }
        }
    }

    pub(super) fn books(
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
        let out = sum(&|p| p.disputed);
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
    pub(super) fn state(
        &mut self,
        name: &str,
        plan: &OrderPlan,
        deeds: &Deeds,
        state: &OrderState,
        truth: &[PaymentTruth],
    ) {
        let wire = wire(plan.currency);
        let sum = |f: &dyn Fn(&PaymentTruth) -> i64| truth.iter().map(f).sum::<i64>() / wire;
        // What was undone to be sent again counts for nothing in the order, and at the gateway it came and went.
        let resent: i64 = state.refunds.values().filter(|r| r.resent).map(|r| r.amount.minor).sum();
        let undone = sum(&|p| p.refunds.iter().filter(|r| r.undoes).map(|r| r.amount).sum());
        if resent > undone {
            let what = format!("undone and sent again: known {resent}, really {undone} {}", plan.currency);
            self.say(Promise::NothingLost, Some(name), what);
        }
        for (what, known, really) in [
            ("captured", state.captured() + resent, sum(&|p| p.captured)),
            ("refunded", state.refunded() + resent, sum(&|p| p.refunded)),
            ("disputed", state.disputed(), sum(&|p| p.disputed)),
        ] {
            if known != really {
                let what = format!("{what}: known {known}, really {really} {}", plan.currency);
                self.say(Promise::NothingLost, Some(name), what);
            }
        }
        // Of a hold that ran out nobody is told.
        let (known, holds, lapsed) = (state.capturable(), sum(&|p| p.capturable), sum(&|p| p.lapsed));
        if known < holds || known > holds + lapsed {
            let what =
                format!("capturable: known {known}, really {holds} ({lapsed} ran out) {}", plan.currency);
            self.say(Promise::NothingLost, Some(name), what);
        }
        if state.captured() + resent - sum(&|p| p.voided) > state.authorized()
            || state.refunded() > state.captured()
        {
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
    pub(super) fn worth(
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
        let worth = if deeds.cancelled || deeds.rejected { 0 } else { total };
        let gone = |p: &PaymentTruth| p.refunded + p.disputed;
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
}
