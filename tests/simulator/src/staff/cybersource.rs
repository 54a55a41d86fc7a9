//! What people do in the Business Center, and what issuers do.

use tillway_core::money::{Currency, Money};
use tillway_core::time::Timestamp;
use tillway_sandbox::cybersource::{
    CybersourceSandbox, Decision, Kind, PaymentTruth, ShopPayment, TransactionTruth,
};

use super::{Deeds, Done, done, share, total};
use crate::draw::{Act, Card, OrderPlan, Verdict};
use crate::memory::gateway::Gateway;

/// A capture that stands, the newest first.
fn captures(payment: &PaymentTruth) -> impl Iterator<Item = &TransactionTruth> {
    payment.transactions.iter().rev().filter(|t| (t.kind == Kind::Capture || t.sale) && t.stands)
}

/// The shop makes the payment itself, unless one stands already: then its checkout shows no form any more.
pub(super) fn pay(gateway: &mut Gateway, now: Timestamp, order: &OrderPlan, card: Card, n: usize) -> Done {
    let Gateway::Cybersource(cyber) = gateway else { return Done::Never };
    let (id, Ok(currency)) = (order.id(), Currency::parse(order.currency)) else { return Done::Never };
    let stands = |p: &PaymentTruth| p.held > 0 || p.captured > 0 || p.refunded > 0 || p.case_open;
    if cyber.order_truth(&id).payments.iter().any(stands) {
        return Done::Never;
    }
    let payment = ShopPayment {
        order_id: &id,
        token: &card.token(&id, n),
        amount: Money::new(total(order), currency),
        sale: order.by_shop == Some(true),
        street: order.word.unwrap_or("1 Main Street"),
    };
    done(cyber.pay_as_shop(now, &payment))
}

pub(super) fn at_gateway(
    cyber: &mut CybersourceSandbox,
    now: Timestamp,
    id: &str,
    act: Act,
    deeds: &mut Deeds,
) -> Done {
    let all = cyber.order_truth(id).payments;
    let with = |fits: &dyn Fn(&PaymentTruth) -> bool| all.iter().rev().find(|p| fits(p)).cloned();
    let taken = || with(&|p| p.captured > 0);
    match act {
        Act::Review(verdict) => {
            let Some(p) = with(&|p| p.case_open) else { return Done::Later };
            let decision = match verdict {
                Verdict::Approved => Decision::Accept,
                Verdict::Acknowledged => Decision::AcceptAndCapture,
                Verdict::Refunded => Decision::RejectAndReverse,
                Verdict::Fraud => Decision::Reject,
            };
            // What was taken cannot be let go: then it is rejected alone.
            let decision = if p.captured > 0 && decision == Decision::RejectAndReverse {
                Decision::Reject
            } else {
                decision
            };
            deeds.rejected |= matches!(decision, Decision::Reject | Decision::RejectAndReverse);
            done(cyber.decide(now, &p.payment, decision))
        }
        Act::DashboardRefund(percent) => {
            let Some(p) = taken() else { return Done::Later };
            let of = captures(&p).find_map(|c| {
                let back = |t: &&TransactionTruth| {
                    t.kind == Kind::Refund && t.stands && t.target.as_ref() == Some(&c.id)
                };
                let left = c.amount - p.transactions.iter().filter(back).map(|t| t.amount).sum::<i64>();
                let left = left.min(p.captured - p.refunded);
                (left > 0).then(|| (c.id.clone(), left))
            });
            let Some((capture, left)) = of else { return Done::Never };
            let amount = share(left, percent, p.currency).min(left);
            match cyber.refund_by_hand(now, &capture, amount) {
                Ok(refund) => {
                    deeds.dashboard_refunds.insert(refund);
                    Done::Yes
                }
                Err(_) => Done::Later,
            }
        }
        Act::DashboardVoid => {
            let Some(p) = taken() else { return Done::Later };
            let Some(capture) = captures(&p).next() else { return Done::Never };
            match cyber.void_by_hand(now, &capture.id) {
                Ok(void) => {
                    deeds.dashboard_refunds.insert(void);
                    Done::Yes
                }
                Err(_) => Done::Never,
            }
        }
        Act::Dispute(percent) => {
            let Some(p) = taken() else { return Done::Later };
            let Some(capture) = captures(&p).next() else { return Done::Never };
            let amount = share(capture.amount, percent, p.currency).min(capture.amount);
            deeds.disputes.push(format!("{}:{amount}", capture.id));
            done(cyber.charge_back(now, &capture.id, amount, "10.4", false))
        }
        Act::Decide(true) => {
            let last = deeds.disputes.last().and_then(|d| d.split_once(':'));
            let Some((capture, Ok(amount))) = last.map(|(c, a)| (c, a.parse())) else { return Done::Later };
            done(cyber.charge_back(now, capture, amount, "10.4", true))
        }
        Act::DashboardCapture(percent) => {
            let Some(p) = with(&|p| p.held > 0) else { return Done::Later };
            let amount = share(p.held, percent, p.currency).min(p.held);
            done(cyber.capture_by_hand(now, &p.payment, Some(amount)))
        }
        Act::DashboardCancel => match with(&|p| p.captured == 0 && p.held > 0) {
            Some(p) => done(cyber.reverse_by_hand(now, &p.payment)),
            None => Done::Later,
        },
        Act::Expire => match with(&|p| p.held > 0) {
            Some(p) => done(cyber.expire_authorization(now, &p.payment)),
            None => Done::Later,
        },
        Act::CutOff => {
            cyber.cut_off_now(now);
            Done::Yes
        }
        Act::Manner { merchant, manner } => {
            let config = cyber.config_mut();
            let further = merchant.checked_sub(1);
            let place = match further {
                None => Some(&mut config.manner),
                Some(n) => config.merchants.get_mut(n).map(|m| &mut m.manner),
            };
            place.map_or(Done::Never, |place| {
                *place = manner;
                Done::Yes
            })
        }
        _ => Done::Never,
    }
}
