//! What really happened to an order's payments, in words all gateways share. Amounts are minor units as they go over
//! the gateway's wire.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::time::Timestamp;
use tillway_sandbox::cybersource::{self, Kind, TransactionTruth};
use tillway_sandbox::stripe::{self, PaymentStatus, StripeSandbox};

use crate::memory::gateway::Gateway;

/// A refund, or a void: what is taken back before it is settled is a refund to the books.
#[derive(Debug, Clone)]
pub(crate) struct RefundTruth {
    pub(crate) id: String,
    pub(crate) amount: i64,
    /// The request it names.
    pub(crate) request: Option<String>,
    /// The command that made it, where the refund itself names no request.
    pub(crate) command: Option<String>,
    /// It was tried and came to nothing, of which the gateway makes no second refund's excuse.
    pub(crate) failed: bool,
    /// Undoes what an earlier sending of a command did, before another was sent.
    pub(crate) undoes: bool,
}

/// The end state of one payment.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaymentTruth {
    pub(crate) payment: String,
    /// The merchant id it lies with; empty at a gateway that knows none.
    pub(crate) merchant: String,
    /// When it was made.
    pub(crate) at: Timestamp,
    /// When it held nothing any more; `None` where it still holds or took money.
    pub(crate) until: Option<Timestamp>,
    /// It is not dead: nothing says that it came to nothing.
    pub(crate) stands: bool,
    /// It holds or took money.
    pub(crate) holds: bool,
    /// What it was to be.
    pub(crate) amount: i64,
    pub(crate) authorized: i64,
    pub(crate) capturable: i64,
    /// Reserved until the hold ran out, and the gateway tells nobody that it did.
    pub(crate) lapsed: i64,
    /// Ever taken; what was voided is in `refunded` too.
    pub(crate) captured: i64,
    /// Of it, what was voided: it can be taken once more.
    pub(crate) voided: i64,
    pub(crate) refunded: i64,
    /// Taken back by issuers, less what they returned.
    pub(crate) disputed: i64,
    pub(crate) charges: usize,
    /// Attempts the issuer was asked for.
    pub(crate) attempts: usize,
    /// The command that made it, where a command makes one payment at most.
    pub(crate) command: Option<String>,
    /// The command that it bears the mark of.
    pub(crate) mark: Option<String>,
    /// What people did about it at the gateway itself.
    pub(crate) by_hand: usize,
    pub(crate) refunds: Vec<RefundTruth>,
    /// What was done twice or against what was done before.
    pub(crate) wrong: Vec<String>,
}

/// The payments of an order, in the order they were made.
pub(crate) fn payments(gateway: &Gateway, order: &str) -> Vec<PaymentTruth> {
    match gateway {
        Gateway::Stripe(stripe) => of_order(stripe, order).iter().map(|p| of_stripe(stripe, p)).collect(),
        Gateway::Cybersource(cyber) => of_cybersource(&cyber.order_truth(order).payments),
    }
}

/// What lies at each merchant id of a gateway, by id and currency: taken, less what went back and what issuers hold. None
/// at a gateway that knows no merchant ids.
pub(crate) fn by_merchant(gateway: &Gateway) -> BTreeMap<(String, &'static str), i64> {
    let mut out: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
    if let Gateway::Cybersource(cyber) = gateway {
        for p in cyber.all_payments() {
            let truth = one_of_cybersource(&p);
            let lies = truth.captured - truth.refunded - truth.disputed;
            *out.entry((p.merchant, p.currency)).or_default() += lies;
        }
    }
    out
}

/// Requests a gateway was asked for, by operation.
pub(crate) fn operations(gateway: &Gateway) -> &BTreeMap<&'static str, u64> {
    match gateway {
        Gateway::Stripe(stripe) => &stripe.counters().requests,
        Gateway::Cybersource(cyber) => &cyber.counters().requests,
    }
}

/// The payments that name an order, however the shop spells it.
pub(crate) fn of_order(stripe: &StripeSandbox, order: &str) -> Vec<stripe::PaymentTruth> {
    let mut all = stripe.payments_by_metadata("clarity_order_id", order);
    all.extend(stripe.payments_by_metadata("clarityorderid", order));
    all
}

fn of_stripe(stripe: &StripeSandbox, p: &stripe::PaymentTruth) -> PaymentTruth {
    let refund = |(id, amount, _): (String, i64, &'static str)| {
        let object = stripe.object(&id).unwrap_or_default();
        let request = object.pointer("/metadata/tillway_request").and_then(|v| v.as_str());
        let request = request.map(str::to_owned);
        RefundTruth { id, amount, request, command: None, failed: false, undoes: false }
    };
    PaymentTruth {
        payment: p.payment.clone(),
        merchant: String::new(),
        at: Timestamp(0),
        until: None,
        stands: p.status != PaymentStatus::Canceled,
        holds: p.captured > 0 || p.capturable > 0,
        amount: p.amount,
        authorized: p.authorized,
        capturable: p.capturable,
        lapsed: 0,
        captured: p.captured,
        voided: 0,
        refunded: p.refunded,
        disputed: p.disputed_withdrawn - p.disputed_reinstated,
        charges: p.charges_succeeded,
        attempts: p.attempts,
        command: p.metadata.iter().find(|(k, _)| k == "tillway_command").map(|(_, v)| v.clone()),
        mark: None,
        by_hand: 0,
        refunds: stripe.refunds_of(&p.payment).into_iter().map(refund).collect(),
        wrong: Vec::new(),
    }
}

/// Where a payment's first transaction names a command, that.
fn mark(p: &cybersource::PaymentTruth) -> Option<&str> {
    p.transactions.first().and_then(|t| t.mark.as_deref())
}

/// Whether a sending of a command was undone so that the same could be sent anew.
fn is_undone(p: &cybersource::PaymentTruth) -> bool {
    let Some(command) = mark(p) else { return false };
    let undoing = format!("tillway-undoes:{command}-");
    p.transactions.iter().any(|t| t.mark.as_deref().is_some_and(|m| m.starts_with(&undoing)))
}

/// Whether two payments held money at one time.
fn overlap(a: &cybersource::PaymentTruth, b: &cybersource::PaymentTruth) -> bool {
    let over =
        |p: &cybersource::PaymentTruth, at| p.captured == 0 && p.closed_at.is_some_and(|end| end <= at);
    let later = a.at.max(b.at);
    a.authorized > 0 && b.authorized > 0 && !over(a, later) && !over(b, later)
}

/// Whether another card may be tried while this holds money: what failed after the bank's approval is let go meanwhile, and
/// of a part, or of a status nobody has seen before, a person decides.
fn may_be_followed(p: &cybersource::PaymentTruth) -> bool {
    !matches!(p.status, "AUTHORIZED" | "AUTHORIZED_PENDING_REVIEW")
}

fn of_cybersource(all: &[cybersource::PaymentTruth]) -> Vec<PaymentTruth> {
    let mut out = Vec::new();
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for (n, p) in all.iter().enumerate() {
        let mut truth = one_of_cybersource(p);
        // Sendings of one command are one attempt, which is what the last of them is where those before were undone for it; and of
        // what the issuer refused a person may ask again.
        let resent = is_undone(p) && all.iter().skip(n + 1).any(|later| mark(later) == mark(p));
        let mut first = || mark(p).is_none_or(|m| asked.insert(m));
        truth.attempts = usize::from(p.authorized > 0 && !resent && first());
        for earlier in all.iter().take(n).filter(|e| overlap(e, p)) {
            if mark(earlier).is_some() && mark(earlier) == mark(p) {
                truth
                    .wrong
                    .push(format!("{} and {} stood at one time for one attempt", earlier.payment, p.payment));
            } else if !may_be_followed(earlier) && !may_be_followed(p) {
                truth.wrong.push(format!("{} and {} held money at one time", earlier.payment, p.payment));
            }
        }
        out.push(truth);
    }
    out
}

fn one_of_cybersource(p: &cybersource::PaymentTruth) -> PaymentTruth {
    let of = |kind: Kind| p.transactions.iter().filter(move |t| t.kind == kind);
    let captures = || p.transactions.iter().filter(|t| t.kind == Kind::Capture || t.sale);
    let ever: i64 = captures().map(|t| t.amount).sum();
    let voided: i64 = captures().filter(|t| t.voided).map(|t| t.amount).sum();
    let mut refunds: Vec<RefundTruth> = of(Kind::Refund).map(refund).collect();
    let takes_back = |t: &&TransactionTruth| captures().any(|c| t.target.as_ref() == Some(&c.id));
    refunds.extend(of(Kind::Void).filter(takes_back).map(|t| {
        // A void by the transaction id bears a mark of its own.
        let by_id = t.mark.as_deref().is_some_and(|m| m.starts_with("tillway-undoes:"));
        let undone = captures().find(|c| t.target.as_ref() == Some(&c.id) && c.mark.is_some());
        let command = t.mark.clone().filter(|_| !by_id);
        RefundTruth { command, undoes: by_id && undone.is_some(), ..refund(t) }
    }));
    PaymentTruth {
        payment: p.payment.clone(),
        merchant: p.merchant.clone(),
        at: p.at,
        until: p.closed_at.filter(|_| p.captured == 0),
        stands: p.held > 0 || p.captured > 0,
        holds: p.held > 0 || p.captured > 0,
        amount: p.asked,
        authorized: p.authorized,
        capturable: p.held,
        lapsed: p.lapsed,
        captured: ever,
        voided,
        refunded: p.refunded + voided,
        disputed: p.withdrawn - p.reinstated,
        charges: usize::from(p.authorized > 0),
        attempts: 0,
        // Several payments of one command stand one after another, where the first was undone.
        command: None,
        mark: mark(p).map(str::to_owned),
        by_hand: p.transactions.iter().filter(|t| t.mark.is_none()).count(),
        refunds,
        wrong: wrong(p),
    }
}

fn refund(t: &TransactionTruth) -> RefundTruth {
    RefundTruth {
        id: t.id.clone(),
        amount: t.amount,
        request: t.request.clone(),
        command: None,
        failed: !t.stands,
        undoes: false,
    }
}

/// What within one payment was done twice.
fn wrong(p: &cybersource::PaymentTruth) -> Vec<String> {
    let mut out = Vec::new();
    let mut by_mark: BTreeMap<(&str, Kind), usize> = BTreeMap::new();
    let moves = |t: &&TransactionTruth| matches!(t.kind, Kind::Capture | Kind::Refund) && t.stands;
    for t in p.transactions.iter().filter(moves) {
        if let Some(mark) = t.mark.as_deref() {
            *by_mark.entry((mark, t.kind)).or_default() += 1;
        }
    }
    for ((mark, kind), n) in by_mark.into_iter().filter(|(_, n)| *n > 1) {
        out.push(format!("{}: {n} of {kind:?} stand for command {mark}", p.payment));
    }
    if p.captured > p.authorized {
        out.push(format!("{}: {} stand captured of {} authorized", p.payment, p.captured, p.authorized));
    }
    if p.refunded > p.captured {
        out.push(format!("{}: {} went back of {} that stand captured", p.payment, p.refunded, p.captured));
    }
    for t in p.transactions.iter().filter(|t| t.kind == Kind::Refund && t.stands) {
        let of = p.transactions.iter().find(|c| t.target.as_ref() == Some(&c.id) && c.voided);
        if let Some(capture) = of {
            out.push(format!("refund {} is of capture {}, which was voided", t.id, capture.id));
        }
    }
    out
}
