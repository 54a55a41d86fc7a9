//! Merchant ids: where an authorization goes is drawn once and kept to, no card's money is held at two of them at once, and
//! what lies with each is what is known and booked.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::decide::ROUTE_UNAVAILABLE;
use tillway_core::facts::{CommandEnd, Fact, RouteEnd};
use tillway_core::ids::{CommandId, ConnectionName};
use tillway_core::journal::Role;
use tillway_core::money::Currency;
use tillway_core::routing::{Choice, How, Table};
use tillway_core::state::OrderState;
use tillway_engine::records::{CommandState, routes_key};

use super::{Checker, Everything, Promise, Stored};
use crate::draw::OrderPlan;
use crate::exec::lock;
use crate::memory::gateway::Gateway;
use crate::truth::{PaymentTruth, by_merchant};

/// What asks Decision Manager alone.
const SCREEN: &str = "cybersource.screen";
/// Stands between a token and what a second attempt with it follows, in the name of a step.
const AGAIN: &str = "~after:";

/// A choice as it was recorded, and how its authorization ended.
struct Drawn<'a> {
    step: &'a str,
    choice: &'a Choice,
    ended: Option<(RouteEnd, Option<&'a str>)>,
}

impl Drawn<'_> {
    /// The card it is made with, as the name of its step has it.
    fn card(&self) -> &str {
        let object = self.step.split_once('/').map_or(self.step, |(_, object)| object);
        object.split_once(AGAIN).map_or(object, |(card, _)| card)
    }
}

impl Checker<'_> {
    pub(super) fn routes(
        &mut self,
        name: &str,
        plan: &OrderPlan,
        stored: &Stored,
        state: &OrderState,
        truth: &[PaymentTruth],
    ) {
        let routed = self.world.plan.routed.get(plan.pair).copied().unwrap_or(false);
        let drawn = self.drawn(name, stored);
        if !routed {
            let alone = truth.iter().filter(|p| !p.merchant.is_empty()).count();
            self.tally("asked where there is one merchant id alone", alone);
            if !drawn.is_empty() {
                let what = "a route was chosen where there is one merchant id".to_owned();
                self.say(Promise::Explains, Some(name), what);
            }
            return;
        }
        self.kept_to(name, stored, &drawn, truth);
        self.one_at_a_time(name, &drawn, truth);
        self.lies_with(name, state, truth);
    }

    fn tally(&mut self, what: &str, by: usize) {
        if by > 0 {
            *self.out.routes.entry(what.to_owned()).or_default() += u64::try_from(by).unwrap_or(0);
        }
    }

    /// Each authorization's choice, once, and each second one after settled evidence that the first came to nothing.
    fn drawn<'s>(&mut self, name: &str, stored: &'s Stored) -> BTreeMap<&'s CommandId, Drawn<'s>> {
        let mut drawn: BTreeMap<&CommandId, Drawn<'_>> = BTreeMap::new();
        for fact in stored.logs.iter().flat_map(|l| &l.facts) {
            match fact {
                Fact::RouteChosen { step, command, choice } => {
                    if let Some(before) = drawn.get(command) {
                        let what = format!(
                            "{step}: drawn anew, {} after {}, for one command",
                            choice.route, before.choice.route
                        );
                        self.say(Promise::NothingTwice, Some(name), what);
                        continue;
                    }
                    if !choice.candidates.iter().any(|c| c.route == choice.route) {
                        let what = format!("{step}: {} was taken and is no candidate", choice.route);
                        self.say(Promise::Explains, Some(name), what);
                    }
                    if choice.how == How::Trial {
                        self.tally("failing, and tried again by an order", 1);
                    }
                    if let Some(cause) = &choice.after {
                        self.follows(name, step, choice, cause, &drawn, stored);
                    }
                    self.tally(&format!("drawn: {}", choice.route), 1);
                    drawn.insert(command, Drawn { step, choice, ended: None });
                }
                Fact::RouteEnded { command, end, cause, .. } => {
                    self.tally(&format!("ended: {}", end.name()), 1);
                    if let Some(first) = drawn.get_mut(command) {
                        first.ended = Some((*end, cause.as_deref()));
                    }
                }
                _ => {}
            }
        }
        drawn
    }

    /// A second authorization goes out after a final decline, or where for certain nothing was executed: never from Unknown.
    fn follows(
        &mut self,
        name: &str,
        step: &str,
        choice: &Choice,
        cause: &str,
        drawn: &BTreeMap<&CommandId, Drawn<'_>>,
        stored: &Stored,
    ) {
        let first = drawn.iter().find(|(_, d)| d.ended.is_some_and(|(_, c)| c == Some(cause)));
        let Some((command, first)) = first else {
            let what = format!("{step}: follows {cause}, of which nobody knew how it had ended");
            return self.say(Promise::NothingTwice, Some(name), what);
        };
        let end = first.ended.map(|(end, _)| end);
        let after = match end {
            Some(RouteEnd::SoftDeclined) => "second attempts after a soft decline",
            _ => "second attempts where nothing was executed",
        };
        self.tally(after, 1);
        let record = stored.commands.iter().find(|c| c.id == **command);
        let unknown = record.is_some_and(|c| c.unknown_since.is_some());
        self.tally("second attempts after an unknown outcome that was settled", usize::from(unknown));
        if !matches!(end, Some(RouteEnd::SoftDeclined | RouteEnd::Failed | RouteEnd::Unfit)) {
            let what = format!("{step}: tried at {} after {end:?} at {}", choice.route, first.choice.route);
            self.say(Promise::NothingTwice, Some(name), what);
        }
        if first.choice.route == choice.route {
            let what = format!("{step}: tried again at {}, which had just come to nothing", choice.route);
            self.say(Promise::Explains, Some(name), what);
        }
        let given_up =
            CommandState::Ended { end: CommandEnd::Refused { code: ROUTE_UNAVAILABLE.to_owned() } };
        if unknown && record.is_some_and(|c| c.state == given_up) {
            let what = format!("{step}: tried at {} while an outcome was unknown", choice.route);
            self.say(Promise::NothingTwice, Some(name), what);
        }
    }

    /// What was drawn is where it went, however often it was sent.
    fn kept_to(
        &mut self,
        name: &str,
        stored: &Stored,
        drawn: &BTreeMap<&CommandId, Drawn<'_>>,
        truth: &[PaymentTruth],
    ) {
        for p in truth {
            self.tally(&format!("done by hand: {}", p.merchant), p.by_hand);
            let Some(mark) = &p.mark else { continue };
            let command = stored.commands.iter().find(|c| c.id.as_str() == mark);
            let Some(command) = command else {
                let what = format!("{}: bears command {mark}, which this order never had", p.payment);
                self.say(Promise::NothingTwice, Some(name), what);
                continue;
            };
            if command.action == SCREEN {
                // No bank was asked, so it is drawn for nowhere.
                self.tally("screened before the bank", 1);
                continue;
            }
            match drawn.get(&command.id) {
                None => {
                    let what = format!("{}: was made at {} and never routed", p.payment, p.merchant);
                    self.say(Promise::Explains, Some(name), what);
                }
                Some(d) if d.choice.route != p.merchant => {
                    let what =
                        format!("{}: drawn for {} and made at {}", p.payment, d.choice.route, p.merchant);
                    self.say(Promise::NothingTwice, Some(name), what);
                }
                Some(_) => self.tally(&format!("asked: {}", p.merchant), 1),
            }
        }
    }

    /// No card is tried at a merchant id while another one may hold its money.
    fn one_at_a_time(&mut self, name: &str, drawn: &BTreeMap<&CommandId, Drawn<'_>>, truth: &[PaymentTruth]) {
        let of = |p: &PaymentTruth| drawn.iter().find(|(id, _)| Some(id.as_str()) == p.mark.as_deref());
        let holds =
            |p: &PaymentTruth, at| p.authorized > 0 && p.at <= at && p.until.is_none_or(|end| end > at);
        for second in truth {
            let Some((_, b)) = of(second).filter(|(_, d)| d.choice.after.is_some()) else { continue };
            for first in truth.iter().filter(|p| p.merchant != second.merchant) {
                let Some((_, a)) = of(first).filter(|(_, d)| d.card() == b.card()) else { continue };
                let both = second.authorized > 0 && holds(second, first.at) && first.authorized > 0;
                if holds(first, second.at) || both {
                    let what = format!(
                        "one card at two merchant ids at once: {} at {} and {} at {}",
                        first.payment, a.choice.route, second.payment, b.choice.route
                    );
                    self.say(Promise::NothingTwice, Some(name), what);
                }
            }
        }
    }

    /// Where a payment lies is known, and what was taken at each merchant id.
    fn lies_with(&mut self, name: &str, state: &OrderState, truth: &[PaymentTruth]) {
        for p in truth {
            let known = state.payments.get(&p.payment);
            let route = known.and_then(|k| k.route.as_deref());
            if known.is_some() && p.authorized > 0 && route != Some(p.merchant.as_str()) {
                let what = format!("{}: known at {route:?}, really at {}", p.payment, p.merchant);
                self.say(Promise::NothingLost, Some(name), what);
            }
        }
        let merchants: BTreeSet<&str> = truth.iter().map(|p| p.merchant.as_str()).collect();
        for merchant in merchants {
            let here = |payment: &str| truth.iter().any(|p| p.payment == payment && p.merchant == merchant);
            let resent = state.refunds.values().filter(|r| r.resent && here(&r.payment));
            let resent: i64 = resent.map(|r| r.amount.minor).sum();
            let taken =
                state.payments.iter().filter(|(id, _)| here(id)).map(|(_, p)| p.captured()).sum::<i64>();
            let really: i64 = truth.iter().filter(|p| p.merchant == merchant).map(|p| p.captured).sum();
            if taken + resent != really {
                let what = format!("captured at {merchant}: known {}, really {really}", taken + resent);
                self.say(Promise::NothingLost, Some(name), what);
            }
        }
    }

    /// How each authorization ended is noted once, whatever crashed and raced: notes counted and notes left are what orders
    /// tell. A merchant id that gave no answer and failed afterwards may be noted as both or as one.
    pub(super) fn counted(&mut self, all: &Everything) {
        let outside = &self.world.shared.outside;
        for (place, _) in self.world.plan.routed.iter().enumerate().filter(|(_, routed)| **routed) {
            let Some(gateway) = outside.names.get(place + 2).map(|name| ConnectionName::new(*name)) else {
                continue;
            };
            let commands =
                || all.orders.values().flat_map(|o| &o.commands).filter(|c| c.connection == gateway);
            let unanswered: BTreeSet<&CommandId> =
                commands().filter(|c| c.route_told).map(|c| &c.id).collect();
            let ended =
                all.orders.values().flat_map(|o| &o.logs).flat_map(|l| &l.facts).filter_map(|f| match f {
                    Fact::RouteEnded { command, end, .. } => Some((command, *end)),
                    _ => None,
                });
            let ended: Vec<(&CommandId, RouteEnd)> =
                ended.filter(|(id, _)| commands().any(|c| c.id == **id)).collect();
            let count = |of: &[RouteEnd]| ended.iter().filter(|(_, end)| of.contains(end)).count();
            let judged = count(&[RouteEnd::Approved, RouteEnd::Declined, RouteEnd::SoftDeclined]);
            let failed = count(&[RouteEnd::Failed]);
            let both =
                ended.iter().filter(|(id, end)| *end == RouteEnd::Failed && unanswered.contains(id)).count();
            let most = judged + failed + unanswered.len();
            let (counted, left) = self.notes(&gateway);
            let noted = usize::try_from(counted).unwrap_or(usize::MAX).saturating_add(left);
            if noted > most || noted < most - both {
                let what = format!(
                    "{gateway}: {most} ends of authorizations ({both} twofold), {noted} notes of them"
                );
                self.say(Promise::NothingTwice, None, what);
            }
        }
    }

    /// Notes that were counted, and that are left.
    fn notes(&self, gateway: &ConnectionName) -> (u64, usize) {
        let data = lock(&self.world.shared.store.data);
        let key = routes_key(gateway);
        let of = || data.items.iter().filter(|(k, _)| k.pk == key.pk);
        let table =
            of().find(|(k, _)| **k == key).map(|(_, item)| serde_json::from_slice::<Table>(&item.body));
        let left = of().filter(|(k, _)| **k != key).count();
        (table.and_then(Result::ok).map_or(0, |table| table.folded), left)
    }

    /// Merchant ids that took payments and no captures, or told nothing, while others did.
    pub(super) fn refused_in_manner(&mut self) {
        for gateway in &self.world.shared.outside.gateways {
            let refused = match &*lock(gateway) {
                Gateway::Cybersource(cyber) => cyber.counters().refused_in_manner.clone(),
                Gateway::Stripe(_) => continue,
            };
            for (what, times) in refused {
                self.tally(&format!("refused at one id alone: {what}"), usize::try_from(times).unwrap_or(0));
            }
        }
    }

    /// What lies at all merchant ids together is what the journal says.
    pub(super) fn all_merchants(&mut self, all: &Everything) {
        let mut sums: BTreeMap<&'static str, i64> = BTreeMap::new();
        let mut merchants: BTreeSet<String> = BTreeSet::new();
        for gateway in &self.world.shared.outside.gateways {
            for ((merchant, currency), lies) in by_merchant(&lock(gateway)) {
                *sums.entry(currency).or_default() += lies;
                merchants.insert(merchant);
            }
        }
        for (currency, really) in sums {
            let Ok(of) = Currency::parse(currency) else { continue };
            let booked = all.trial.of(Role::GatewayClearing, of) + all.trial.of(Role::Fees, of);
            if booked != i128::from(really) {
                let what = format!(
                    "{} merchant id(s) hold {really} {currency}, the journal says {booked}",
                    merchants.len()
                );
                self.say(Promise::BooksBalance, None, what);
            }
        }
    }
}
