//! Customers, the shop's staff and the banks: they do what was drawn for them, as far as it can be done.

mod cybersource;

use std::collections::{BTreeMap, BTreeSet};

use tillway_connectors::Secret;
use tillway_core::http::{Method, Request};
use tillway_core::money::Currency;
use tillway_core::time::Timestamp;
use tillway_sandbox::Sandbox;
use tillway_sandbox::clarity::{Address, ClaritySandbox, Customer, NewLine, NewOrder};
use tillway_sandbox::stripe::{
    API_VERSION, PaymentStatus, PaymentTruth, ReviewVerdict, ShopPayment, StripeSandbox,
};

use crate::draw::{Act, Card, OrderPlan, Verdict};
use crate::memory::gateway::Gateway;
use crate::memory::people::Outside;
use crate::memory::small::STRIPE_KEY;
use crate::truth::of_order;

/// Whether an act could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Yes,
    /// Not yet; it is tried again a few times.
    Later,
    Never,
}

/// What people did about one order: the yardstick of the checks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deeds {
    pub(crate) placed: bool,
    /// The payment the shop made.
    pub(crate) payment: Option<String>,
    /// Refunds made in the dashboard, by their id.
    pub(crate) dashboard_refunds: BTreeSet<String>,
    /// Refunds asked for: id and amount in minor units.
    pub(crate) asked: BTreeMap<String, i64>,
    /// Payments given back by closing their review.
    pub(crate) review_refunds: bool,
    pub(crate) tokens: usize,
    pub(crate) cancelled: bool,
    /// A review was decided against it.
    pub(crate) rejected: bool,
    pub(crate) changed: bool,
    pub(crate) disputes: Vec<String>,
    /// Every total the order had, minor units.
    pub(crate) totals: BTreeSet<i64>,
}

/// All of them.
pub(crate) struct People {
    pub(crate) deeds: Vec<Deeds>,
}

/// What the gateway's wire counts for one of our minor units.
pub(crate) fn wire(currency: &str) -> i64 {
    if currency.eq_ignore_ascii_case("isk") { 100 } else { 1 }
}

fn share(amount: i64, percent: u8, currency: &str) -> i64 {
    let step = match currency {
        "kwd" | "KWD" => 10,
        "isk" => 100,
        _ => 1,
    };
    let part = amount.saturating_mul(i64::from(percent)) / 100;
    (part / step * step).max(step)
}

impl People {
    pub(crate) fn new(orders: usize) -> Self {
        Self { deeds: vec![Deeds::default(); orders] }
    }

    /// Does an act; `None`: places the order.
    pub(crate) fn act(
        &mut self,
        outside: &Outside,
        now: Timestamp,
        place: usize,
        order: &OrderPlan,
        act: Option<Act>,
        n: usize,
    ) -> Done {
        let Some(deeds) = self.deeds.get_mut(place) else { return Done::Never };
        let Some(act) = act else { return place_order(outside, now, order, deeds) };
        if !deeds.placed {
            return Done::Later;
        }
        let id = order.id();
        match act {
            Act::Pay(card) => pay(outside, now, order, deeds, card, n),
            Act::Cancel | Act::Change { .. } | Act::Ship { .. } | Act::Complete | Act::AskRefund { .. } => {
                outside
                    .shop(order.pair, |shop| in_shop(shop, now, order, &id, act, deeds))
                    .unwrap_or(Done::Never)
            }
            _ => outside
                .gateway(order.pair, |gateway| match gateway {
                    Gateway::Stripe(stripe) => at_gateway(stripe, now, &id, act, deeds),
                    Gateway::Cybersource(cyber) => cybersource::at_gateway(cyber, now, &id, act, deeds),
                })
                .unwrap_or(Done::Never),
        }
    }
}

fn done<T, E>(result: Result<T, E>) -> Done {
    if result.is_ok() { Done::Yes } else { Done::Later }
}

fn new_order(order: &OrderPlan, token: Option<String>, payment: Option<String>) -> Option<NewOrder> {
    let mut new = NewOrder::new(Currency::parse(order.currency).ok()?);
    new.order_id = Some(order.id());
    let person = order.person;
    let email = format!("canary{person}@example.com");
    let address = Address {
        first_name: Some(format!("Canary{person}")),
        last_name: Some("canaryson".into()),
        street1: Some(match order.word {
            Some(word) => format!("{person} canary street, {word}"),
            None => format!("{person} canary street"),
        }),
        city: Some("Springfield".into()),
        region: Some("IL".into()),
        postal_code: Some("62701".into()),
        country: Some("US".into()),
        ..Address::default()
    };
    new.customer = Customer {
        customer_id: (!order.guest).then(|| format!("K-{person}")),
        email: Some(email),
        first_name: Some(format!("Canary{person}")),
        last_name: Some("canaryson".into()),
        ..Customer::default()
    };
    new.billing_address = Some(address);
    new.lines = order
        .lines
        .iter()
        .enumerate()
        .map(|(n, (pieces, unit_price, discount, tax))| NewLine {
            sku: format!("SKU-{n}"),
            name: "thing".into(),
            quantity: pieces.to_string(),
            unit_price: *unit_price,
            discount: *discount,
            tax: *tax,
        })
        .collect();
    new.shipping = order.shipping;
    new.payment_token = token;
    new.payment_intent_id = payment;
    if order.card_in_note {
        new.note = Some("call me, my card is 4111 1111 1111 1111".into());
    }
    Some(new)
}

pub(crate) fn total(order: &OrderPlan) -> i64 {
    let lines: i64 = order.lines.iter().map(|(n, price, off, tax)| i64::from(*n) * price - off + tax).sum();
    lines + order.shipping
}

fn place_order(outside: &Outside, now: Timestamp, order: &OrderPlan, deeds: &mut Deeds) -> Done {
    deeds.placed = true;
    deeds.tokens += 1;
    deeds.totals.insert(total(order));
    let id = order.id();
    let token = order.card.token(&id, 0);
    if order.by_token(outside.pair) {
        let Some(new) = new_order(order, Some(token), None) else { return Done::Never };
        return outside.shop(order.pair, |shop| done(shop.place_order(now, new))).unwrap_or(Done::Never);
    }
    if order.by_shop.is_some() {
        let paid = || outside.gateway(order.pair, |g| cybersource::pay(g, now, order, order.card, 0));
        if order.payment_first {
            let _paid = paid();
        }
        let Some(new) = new_order(order, None, None) else { return Done::Never };
        let placed = outside.shop(order.pair, |shop| done(shop.place_order(now, new))).unwrap_or(Done::Never);
        if !order.payment_first {
            let _paid = paid();
        }
        return placed;
    }
    let make = |outside: &Outside| {
        let currency = order.currency.to_lowercase();
        let payment = ShopPayment {
            amount: total(order) * wire(order.currency),
            currency: &currency,
            metadata_key: if order.short_key { "clarityorderid" } else { "clarity_order_id" },
            order_id: &id,
            capture_method: capture_method(order),
            payment_method: &token,
            customer: None,
        };
        outside.stripe(1, |stripe| stripe.create_payment_as_shop(now, &payment).ok()).flatten()
    };
    if order.payment_first {
        deeds.payment = make(outside);
    }
    let Some(new) = new_order(order, None, deeds.payment.clone()) else { return Done::Never };
    let placed = outside.shop(1, |shop| done(shop.place_order(now, new))).unwrap_or(Done::Never);
    if !order.payment_first {
        deeds.payment = make(outside);
    }
    placed
}

fn capture_method(order: &OrderPlan) -> &'static str {
    match order.n % 4 {
        0 | 1 => "manual",
        2 => "automatic",
        _ => "automatic_async",
    }
}

fn pay(
    outside: &Outside,
    now: Timestamp,
    order: &OrderPlan,
    deeds: &mut Deeds,
    card: Card,
    n: usize,
) -> Done {
    let id = order.id();
    let token = card.token(&id, n);
    deeds.tokens += 1;
    if order.by_token(outside.pair) {
        let given = |shop: &mut ClaritySandbox| done(shop.set_payment_token(now, &id, &token));
        return outside.shop(order.pair, given).unwrap_or(Done::Never);
    }
    if order.by_shop.is_some() {
        let paid = |g: &mut Gateway| cybersource::pay(g, now, order, card, n);
        return outside.gateway(order.pair, paid).unwrap_or(Done::Never);
    }
    let Some(payment) = deeds.payment.clone() else { return Done::Never };
    outside.stripe(1, |stripe| done(stripe.shopper_retries(now, &payment, &token))).unwrap_or(Done::Never)
}

fn in_shop(
    shop: &mut ClaritySandbox,
    now: Timestamp,
    order: &OrderPlan,
    id: &str,
    act: Act,
    deeds: &mut Deeds,
) -> Done {
    let paid = |shop: &ClaritySandbox| {
        let paid = |status: &str| matches!(status, "Paid" | "Payment Received");
        shop.order(id).is_some_and(|o| o.history.iter().any(|h| paid(h.status.text())))
    };
    match act {
        Act::Cancel => {
            deeds.cancelled = true;
            done(shop.cancel(now, id))
        }
        Act::Change { line, pieces } => {
            deeds.changed = true;
            let pieces = pieces.map(|p| p.to_string());
            let changed = shop.change_total(now, id, &line.to_string(), pieces.as_deref());
            deeds.totals.extend(shop.order(id).map(|o| o.total.minor));
            done(changed)
        }
        Act::Ship { all: true } => done(shop.ship(now, id, None)),
        Act::Ship { all: false } => done(shop.ship(now, id, Some(&[("1", "1")]))),
        Act::Complete => done(shop.complete(now, id)),
        Act::AskRefund { id: request, percent, early } => {
            if !early && !paid(shop) {
                return Done::Later;
            }
            let name = format!("R-{id}-{request}");
            let amount = share(total(order), percent, order.currency);
            let asked = shop.request_refund(now, id, Some(&name), amount, "requested by customer");
            if asked.is_ok() {
                deeds.asked.insert(name, amount);
            }
            done(asked)
        }
        _ => Done::Never,
    }
}

fn at_gateway(stripe: &mut StripeSandbox, now: Timestamp, id: &str, act: Act, deeds: &mut Deeds) -> Done {
    let all = of_order(stripe, id);
    let with = |fits: &dyn Fn(&PaymentTruth) -> bool| all.iter().rev().find(|p| fits(p)).cloned();
    let taken = || with(&|p| p.captured > 0);
    match act {
        Act::Authenticate(success) => match with(&|p| p.status == PaymentStatus::RequiresAction) {
            Some(p) => done(stripe.authenticate(now, &p.payment, success)),
            None => Done::Later,
        },
        Act::Review(verdict) => {
            let open = all.iter().find_map(|p| stripe.open_review_of(&p.payment));
            let Some(review) = open else { return Done::Later };
            let verdict = match verdict {
                Verdict::Approved => ReviewVerdict::Approved,
                Verdict::Refunded => ReviewVerdict::Refunded,
                Verdict::Fraud => ReviewVerdict::RefundedAsFraud,
                Verdict::Acknowledged => ReviewVerdict::Acknowledged,
            };
            deeds.review_refunds |=
                matches!(verdict, ReviewVerdict::Refunded | ReviewVerdict::RefundedAsFraud);
            done(stripe.close_review(now, &review, verdict))
        }
        Act::DashboardRefund(percent) => {
            let Some(p) = taken() else { return Done::Later };
            let left = p.captured - p.refunded;
            if left <= 0 {
                return Done::Never;
            }
            let amount = share(left, percent, &p.currency).min(left);
            match stripe.dashboard_refund(now, &p.payment, Some(amount), None) {
                Ok(refund) => {
                    deeds.dashboard_refunds.insert(refund);
                    Done::Yes
                }
                Err(_) => Done::Later,
            }
        }
        Act::FailRefund => {
            let newest = all.iter().flat_map(|p| stripe.refunds_of(&p.payment)).rfind(|r| r.2 == "succeeded");
            let Some((refund, ..)) = newest else { return Done::Later };
            done(stripe.fail_refund(now, &refund))
        }
        Act::Dispute(percent) => {
            let Some(p) = taken() else { return Done::Later };
            let amount = share(p.captured, percent, &p.currency).min(p.captured);
            match stripe.open_dispute(now, &p.payment, Some(amount), "fraudulent") {
                Ok(dispute) => {
                    deeds.disputes.push(dispute);
                    Done::Yes
                }
                Err(_) => Done::Never,
            }
        }
        Act::Decide(won) => match deeds.disputes.last() {
            Some(dispute) => done(stripe.close_dispute(now, dispute, won)),
            None => Done::Later,
        },
        Act::Reinstate => match deeds.disputes.last() {
            Some(dispute) => done(stripe.reinstate_funds(now, dispute)),
            None => Done::Later,
        },
        Act::DashboardCapture(percent) => {
            let Some(p) = with(&|p| p.capturable > 0) else { return Done::Later };
            let amount = share(p.capturable, percent, &p.currency).min(p.capturable);
            let key = Secret::new(STRIPE_KEY);
            let url = format!("https://stripe.sim.example/v1/payment_intents/{}/capture", p.payment);
            let request = Request::new(Method::Post, url)
                .with_header("authorization", format!("Bearer {}", key.expose()))
                .with_header("stripe-version", API_VERSION)
                .with_body("application/x-www-form-urlencoded", format!("amount_to_capture={amount}"));
            stripe.handle(now, &request);
            Done::Yes
        }
        Act::DashboardCancel => match with(&|p| p.captured == 0) {
            Some(p) => done(stripe.dashboard_cancel(now, &p.payment)),
            None => Done::Later,
        },
        Act::Expire => match with(&|p| p.capturable > 0) {
            Some(p) => done(stripe.expire_authorization(now, &p.payment)),
            None => Done::Later,
        },
        _ => Done::Never,
    }
}
