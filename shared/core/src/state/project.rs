//! Projections: statuses and amounts computed from the facts, never stored as truth.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{OrderState, Payment};
use crate::facts::{AuthorizationEnd, DisputeStatus, OrderStatus, ReviewOutcome};
use crate::money::{Currency, Money};

/// What one shipment is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipmentAmount {
    /// The shop's shipment id.
    pub id: String,
    /// Amount to capture for it.
    pub amount: Money,
    /// Nothing is left to ship after it.
    pub last: bool,
}

impl Payment {
    /// Whether a capture was undone to be sent again.
    pub(super) fn counts_for_nothing(&self, capture: &str) -> bool {
        self.undone.get(capture).is_some_and(|u| u.resent)
    }
    /// Reserved in total, minor units.
    #[must_use]
    pub fn authorized(&self) -> i64 {
        self.charges.values().map(|c| c.authorized.minor).sum()
    }
    /// Captured in total, minor units.
    #[must_use]
    pub fn captured(&self) -> i64 {
        self.charges.values().map(|c| c.taken(&self.undone)).sum()
    }
    /// Reserved though its attempt failed, and not let go yet, minor units.
    #[must_use]
    pub fn refused_hold(&self) -> i64 {
        let untouched = |c: &&super::Charge| c.ended.is_none() && c.taken(&self.undone) == 0;
        let open = self.charges.values().filter(|c| c.refused).filter(untouched);
        open.map(|c| c.authorized.minor).sum()
    }
    /// Reserved and neither taken nor let go, whether it may be taken or not.
    #[must_use]
    pub fn held(&self) -> Option<Money> {
        let currency = self.charges.values().next()?.authorized.currency;
        let open = self.charges.values().filter(|c| c.ended.is_none() && c.authorized.currency == currency);
        Some(Money::new(open.map(|c| c.open(&self.undone)).sum(), currency))
    }
    /// Still to be captured, minor units.
    #[must_use]
    pub fn capturable(&self) -> i64 {
        let open = self.charges.values().filter(|c| c.holds());
        open.map(|c| c.open(&self.undone)).sum()
    }
}

impl OrderState {
    /// The order's currency, from the shop or else from a payment.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        let from_order = self.order.as_ref().map(|o| o.total.currency);
        let from_payment = || self.payments.values().find_map(|p| p.amount.map(|a| a.currency));
        let from_charge =
            || self.payments.values().flat_map(|p| p.charges.values()).map(|c| c.authorized.currency).next();
        from_order.or_else(from_payment).or_else(from_charge)
    }

    /// The payment that matters now: one in the order's currency that holds or took money, else the newest
    /// that is alive, else any.
    #[must_use]
    pub fn payment(&self) -> Option<(&String, &Payment)> {
        let ours = |p: &Payment| self.currency().is_none_or(|c| p.is_in(c));
        let rank = |p: &Payment| (ours(p), p.captured() > 0, p.capturable() > 0, p.cancelled.is_none());
        self.payments.iter().max_by_key(|(_, p)| rank(p))
    }

    /// A sum over the payments in the order's currency: money of another pays nothing of it.
    fn over_payments(&self, sum: fn(&Payment) -> i64) -> i64 {
        let Some(currency) = self.currency() else { return 0 };
        self.payments.values().filter(|p| p.is_in(currency)).map(sum).sum()
    }
    /// Reserved over all payments, minor units.
    #[must_use]
    pub fn authorized(&self) -> i64 {
        self.over_payments(Payment::authorized)
    }
    /// Captured over all payments, minor units.
    #[must_use]
    pub fn captured(&self) -> i64 {
        self.over_payments(Payment::captured)
    }
    /// Still to be captured over all payments, minor units.
    #[must_use]
    pub fn capturable(&self) -> i64 {
        self.over_payments(Payment::capturable)
    }
    /// Returned or on its way back, minor units: what failed or was withdrawn does not count.
    #[must_use]
    pub fn refunded(&self) -> i64 {
        let currency = self.currency();
        let ours = self.refunds.values().filter(|r| Some(r.amount.currency) == currency);
        ours.filter(|r| r.status.stands() && !r.resent).map(|r| r.amount.minor).sum()
    }
    /// Withdrawn by disputes and not reinstated, minor units.
    #[must_use]
    pub fn disputed(&self) -> i64 {
        let currency = self.currency();
        let ours = self.disputes.values().filter(|d| Some(d.amount.currency) == currency);
        ours.map(|d| d.withdrawn().max(0)).sum()
    }
    /// Whether what was reserved is gone without having been taken, and nothing is reserved or taken in its place.
    #[must_use]
    pub fn lapsed(&self) -> bool {
        let mut charges = self.payments.values().flat_map(|p| p.charges.values());
        let gone = |c: &super::Charge| {
            !c.refused && matches!(c.ended, Some(AuthorizationEnd::Expired | AuthorizationEnd::Voided))
        };
        charges.any(gone) && self.captured() == 0 && self.capturable() == 0 && !self.rejected()
    }
    /// Whether a review is open.
    #[must_use]
    pub fn held(&self) -> bool {
        self.reviews.values().any(|r| r.outcome.is_none())
    }
    /// Whether a review ended in a refusal.
    #[must_use]
    pub fn rejected(&self) -> bool {
        self.reviews.values().any(|r| r.outcome == Some(ReviewOutcome::Rejected))
    }

    /// The order's status and the code that explains it.
    #[must_use]
    pub fn project(&self) -> (OrderStatus, String) {
        let plain = |s: OrderStatus| (s, String::new());
        if let Some(dispute) = self.disputes.values().find(|d| d.standing().is_open()) {
            return (OrderStatus::Disputed, dispute.reason.clone());
        }
        if let Some(dispute) = self.disputes.values().find(|d| d.standing() == DisputeStatus::Lost) {
            return (OrderStatus::ChargedBack, dispute.reason.clone());
        }
        let captured = self.captured();
        if captured > 0 {
            let refunded = self.refunded();
            return plain(if refunded >= captured {
                OrderStatus::Refunded
            } else if refunded > 0 && !self.keeps_all() {
                OrderStatus::PartiallyRefunded
            } else if self.held() {
                OrderStatus::OnHold
            } else if self.capturable() > 0 && !self.is_covered() || self.never_covered() {
                OrderStatus::PartiallyPaid
            } else {
                OrderStatus::Paid
            });
        }
        if self.rejected() {
            return (OrderStatus::Cancelled, "review_rejected".to_owned());
        }
        if self.held() {
            return plain(OrderStatus::OnHold);
        }
        if self.capturable() > 0 {
            return plain(OrderStatus::Authorized);
        }
        if self.cancelled_by_shop {
            return plain(OrderStatus::Cancelled);
        }
        // Nothing is reserved and nothing taken: the newest bad news explains it.
        let Some((_, payment)) = self.payment() else { return plain(OrderStatus::PendingPayment) };
        // Where the attempt failed after the money was reserved, that it was let go then explains nothing.
        let refused = payment.charges.values().any(|c| c.refused);
        if let Some(reason) = payment.cancelled.as_ref().filter(|_| !refused) {
            let ran_out = payment.charges.values().any(|c| c.taken(&payment.undone) == 0);
            let reason = if ran_out { "authorization_ended".to_owned() } else { reason.clone() };
            return (OrderStatus::PaymentFailed, reason);
        }
        match payment.failures.last() {
            Some(failure) => (OrderStatus::PaymentFailed, failure.shopper_reason.clone()),
            None => plain(OrderStatus::PendingPayment),
        }
    }

    /// What each shipment is worth: the lines' share of the total without shipping, cumulative, so that no
    /// minor unit is lost; shipping goes with the first; what is left goes with the one that completes the
    /// order.
    #[must_use]
    pub fn shipment_amounts(&self) -> Vec<ShipmentAmount> {
        let Some(order) = &self.order else { return Vec::new() };
        let currency = order.total.currency;
        if order.shipments.is_empty() {
            let shipped = matches!(order.status, OrderStatus::Shipped | OrderStatus::Completed);
            let all = ShipmentAmount { id: "all".to_owned(), amount: order.total, last: true };
            return if shipped { vec![all] } else { Vec::new() };
        }
        let weight = |line_id: &str, quantity: Decimal| {
            let line = order.lines.iter().find(|l| l.line_id == line_id)?;
            (!line.quantity.is_zero()).then(|| {
                let quantity = quantity.min(line.quantity);
                Decimal::from(line.total).checked_mul(quantity).and_then(|w| w.checked_div(line.quantity))
            })?
        };
        let whole: Decimal = order.lines.iter().map(|l| Decimal::from(l.total)).sum();
        let goods = order.total.minor.saturating_sub(order.shipping);
        let mut shipped = Decimal::ZERO;
        let mut given = 0_i64;
        let mut out = Vec::new();
        for (n, shipment) in order.shipments.iter().enumerate() {
            let part: Decimal = shipment.lines.iter().filter_map(|(l, q)| weight(l, *q)).sum();
            shipped = if shipment.lines.is_empty() { whole } else { shipped.saturating_add(part).min(whole) };
            let last = shipped >= whole;
            let target = if last {
                goods
            } else {
                let exact = Decimal::from(goods).checked_mul(shipped).and_then(|v| v.checked_div(whole));
                exact.and_then(|v| v.round().to_i64()).unwrap_or(0)
            };
            let shipping = if n == 0 { order.shipping } else { 0 };
            let minor = target.saturating_sub(given).saturating_add(shipping);
            given = target;
            out.push(ShipmentAmount { id: shipment.id.clone(), amount: Money::new(minor, currency), last });
        }
        out
    }
}
