//! What the order is worth against what was reserved, taken and given back: too little, too much, or money
//! of another currency. Whatever order the events come in, these are asked anew of the facts each time.

use std::collections::BTreeMap;

use super::{Charge, Contradiction, OrderState, Payment};
use crate::facts::{OrderStatus, RefundStatus};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// An imbalance that stands, and since when.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Imbalance {
    /// Which one: kind and key.
    pub key: String,
    /// Since when it has stood.
    pub since: Timestamp,
}

/// Less is reserved or taken than the order is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// Identity: the version that brought the total, and which way it is short.
    pub key: String,
    /// What is missing.
    pub missing: Money,
    /// What was agreed covered a total the order had before.
    pub raised: bool,
    /// Enough was agreed once, and part of it was let go before it was taken.
    pub lapsed: bool,
}

/// More is kept than the order is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overpaid {
    /// Identity: the version that brought the total, and how much was captured.
    pub key: String,
    /// The payment that keeps most.
    pub payment: String,
    /// What is kept too much.
    pub amount: Money,
    /// Of it, what may be given back without asking: nothing where a lowered total does not explain all of
    /// it, where no single payment holds it, or where a refund that came back is part of it.
    pub refundable: Money,
    /// A lowered total explains it.
    pub lowered: bool,
}

impl OrderState {
    /// What the order is worth now; nothing is known of one that was cancelled.
    fn worth(&self) -> Option<Money> {
        self.order.as_ref().filter(|_| !self.cancelled_by_shop).map(|o| o.total)
    }

    fn charges_in(&self, currency: Currency) -> impl Iterator<Item = (&Payment, &Charge)> {
        let all = self.payments.values().flat_map(|p| p.charges.values().map(move |c| (p, c)));
        all.filter(move |(_, c)| c.authorized.currency == currency)
    }

    /// The totals the order ever had in its present currency, minor units, the present one included.
    fn totals(&self, worth: Money) -> impl Iterator<Item = i64> {
        let all = self.total_changes.iter().flat_map(|c| [c.before, c.after]);
        all.chain([worth]).filter(move |t| t.currency == worth.currency).map(|t| t.minor)
    }

    /// The version that brought the present total; 0 where it is the first.
    fn total_version(&self) -> i64 {
        self.total_changes.last().map_or(0, |c| c.version)
    }

    /// What the customer agreed to: reserved or taken, with what lapsed after a part of it was taken.
    fn agreed(&self, currency: Currency) -> i64 {
        let taken = self.charges_in(currency).map(|(p, c)| (c, c.taken(&p.undone)));
        let alive = taken.filter(|(c, taken)| c.holds() || *taken > 0);
        alive.map(|(c, taken)| c.authorized.minor.max(taken)).sum()
    }

    /// Whether the shop has shipped a part, and the rest is still to come.
    fn partly_shipped(&self) -> bool {
        let status = self.order.as_ref().map(|o| o.status);
        let over = matches!(status, Some(OrderStatus::Shipped | OrderStatus::Completed));
        !over && self.shipment_amounts().last().is_some_and(|s| !s.last)
    }

    /// Whether the customer never agreed to any total the order had: such an order is not paid.
    pub(super) fn never_covered(&self) -> bool {
        let Some(worth) = self.worth() else { return false };
        let agreed = self.agreed(worth.currency);
        self.totals(worth).all(|total| agreed < total)
    }

    /// Whether what was taken is what the order is worth. Another hold beside it changes nothing of that: an authorization
    /// whose answer was lost may be told of long after it was let go.
    pub(super) fn is_covered(&self) -> bool {
        self.worth().is_some_and(|worth| self.captured() >= worth.minor)
    }

    /// Whether what was given back was too much: the order keeps the most it ever was worth.
    pub(super) fn keeps_all(&self) -> bool {
        let Some(worth) = self.worth() else { return false };
        let kept = self.captured().saturating_sub(self.refunded());
        self.totals(worth).all(|total| kept >= total)
    }

    /// Whether less is reserved or taken than the order is worth. Captures that follow shipments are waited
    /// for while the order is shipped in parts.
    #[must_use]
    pub fn short(&self) -> Option<Short> {
        let worth = self.worth()?;
        if self.captured() == 0 && self.capturable() == 0 {
            return None;
        }
        let agreed = self.agreed(worth.currency);
        let lapsed = agreed >= worth.minor;
        let there = self.captured().saturating_add(self.capturable());
        if there >= worth.minor || lapsed && self.partly_shipped() {
            return None;
        }
        let raised = !lapsed && !self.never_covered();
        let which = match (lapsed, raised) {
            (true, _) => ":lapsed",
            (false, true) => ":raised",
            (false, false) => "",
        };
        let missing = Money::new(worth.minor.saturating_sub(there), worth.currency);
        Some(Short { key: format!("{}{which}", self.total_version()), missing, raised, lapsed })
    }

    /// Whether more is kept than the order is worth.
    #[must_use]
    pub fn overpaid(&self) -> Option<Overpaid> {
        let worth = self.worth()?;
        let captured = self.captured();
        let back = self.refunded().saturating_add(self.disputed());
        let amount = captured.saturating_sub(back).saturating_sub(worth.minor);
        if amount <= 0 {
            return None;
        }
        let highest = self.totals(worth).max().unwrap_or(worth.minor);
        let lowered = amount <= highest.saturating_sub(worth.minor);
        // A refund that came back is in a person's hands: it is not sent a second time.
        let came_back: i64 = self
            .refunds
            .values()
            .filter(|r| r.amount.currency == worth.currency && !r.status.stands())
            .map(|r| r.amount.minor)
            .sum();
        let wanted = amount.saturating_sub(came_back);
        let kept = |id: &str, p: &Payment| p.captured().saturating_sub(self.refunded_of(id, worth.currency));
        let ours = self.payments.iter().filter(|(_, p)| p.is_in(worth.currency));
        let (payment, holds) = ours.map(|(id, p)| (id.clone(), kept(id, p))).max_by_key(|(_, kept)| *kept)?;
        let refundable = if lowered && holds >= wanted { wanted.max(0) } else { 0 };
        Some(Overpaid {
            key: format!("{}:{captured}", self.total_version()),
            payment,
            amount: Money::new(amount, worth.currency),
            refundable: Money::new(refundable, worth.currency),
            lowered,
        })
    }

    /// Returned of one payment or on its way back, minor units.
    fn refunded_of(&self, payment: &str, currency: Currency) -> i64 {
        let ours = |r: &&super::Refund| r.payment == payment && r.amount.currency == currency;
        let standing = self.refunds.values().filter(ours).filter(|r| r.status.stands() && !r.resent);
        standing.map(|r| r.amount.minor).sum()
    }

    /// Notes since when the present imbalance has stood.
    pub(super) fn note_imbalance(&mut self, at: Timestamp) {
        let short = self.short().map(|s| format!("short:{}", s.key));
        let key = short.or_else(|| self.overpaid().map(|o| format!("overpaid:{}", o.key)));
        if self.imbalance.as_ref().map(|i| &i.key) != key.as_ref() {
            self.imbalance = key.map(|key| Imbalance { key, since: at });
        }
    }

    /// Payments in another currency than the order's, with it.
    pub(super) fn foreign_payments(&self) -> BTreeMap<String, Currency> {
        let Some(order) = &self.order else { return BTreeMap::new() };
        let own = order.total.currency;
        self.payments.iter().filter_map(|(id, p)| Some((id.clone(), p.other_than(own)?))).collect()
    }

    /// Contradictions for payments that are found to be in another currency than the order's.
    pub(super) fn currency_contradictions(&self, before: &BTreeMap<String, Currency>) -> Vec<Contradiction> {
        let Some(order) = &self.order else { return Vec::new() };
        let own = order.total.currency;
        let now = self.foreign_payments();
        let news = now.into_iter().filter(|(id, currency)| before.get(id) != Some(currency));
        news.map(|(payment, currency)| Contradiction {
            code: "currency_differs",
            what: format!(
                "payment {payment} is in {currency} and the order in {own}, so it pays nothing of it; give it \
                 back at the gateway or mend the order, then drop the item"
            ),
            object: payment,
        })
        .collect()
    }

    /// What each capture still has to give back, in the order captures are listed: a refund is charged to the
    /// capture it was made at, or that its request names, all others to the captures of their payment in turn, and
    /// what is left of them to any. The sum is what was captured and not returned.
    pub(super) fn refundables(&self) -> Vec<CaptureLeft> {
        let mut out: Vec<CaptureLeft> = Vec::new();
        for (payment, p) in &self.payments {
            for (id, charge) in &p.charges {
                let mut before = 0;
                for level in &charge.captures {
                    let amount = Money::new(level.saturating_sub(before), charge.authorized.currency);
                    before = *level;
                    let (key, payment) = (charge.capture_key(id, *level), payment.clone());
                    let capture = charge.capture_at(*level).map(str::to_owned);
                    if p.counts_for_nothing(&key) {
                        continue;
                    }
                    out.push(CaptureLeft { key, payment, capture, amount, left: amount.minor });
                }
            }
        }
        let standing = self.refunds.values().filter(|r| r.status.stands() && !r.resent);
        let mut open: Vec<(&super::Refund, i64)> = standing.map(|r| (r, r.amount.minor)).collect();
        for fits in [
            CaptureLeft::was_returned_by,
            CaptureLeft::is_named_by,
            CaptureLeft::is_of_payment_of,
            CaptureLeft::is_any,
        ] {
            for (refund, sum) in &mut open {
                let of =
                    |c: &&mut CaptureLeft| c.amount.currency == refund.amount.currency && fits(c, refund);
                for capture in out.iter_mut().filter(of) {
                    let part = capture.left.min(*sum);
                    capture.left = capture.left.saturating_sub(part);
                    *sum = sum.saturating_sub(part);
                }
            }
        }
        out
    }
}

/// A capture, and what of it was not returned.
pub(super) struct CaptureLeft {
    pub(super) key: String,
    pub(super) payment: String,
    /// The gateway's id, where it has one.
    pub(super) capture: Option<String>,
    pub(super) amount: Money,
    /// Minor units.
    pub(super) left: i64,
}

impl CaptureLeft {
    /// The gateway made the refund at this capture, and keeps account of it there.
    fn was_returned_by(&self, refund: &super::Refund) -> bool {
        let at = refund.of.as_deref().or(refund.undoes.as_deref());
        at.is_some() && at == self.capture.as_deref()
    }
    /// The refund's request ends with this capture's key (`cancelled:` and the key).
    fn is_named_by(&self, refund: &super::Refund) -> bool {
        let request = refund.request.as_deref().and_then(|r| r.strip_suffix(self.key.as_str()));
        self.is_of_payment_of(refund) && request.is_some_and(|rest| rest.is_empty() || rest.ends_with(':'))
    }
    fn is_of_payment_of(&self, refund: &super::Refund) -> bool {
        self.payment == refund.payment
    }
    const fn is_any(&self, _: &super::Refund) -> bool {
        true
    }
}

impl Payment {
    /// What it was heard of with, before money moved.
    fn told(&self) -> impl Iterator<Item = Money> {
        self.amount.into_iter().chain(self.other_amounts.iter().copied())
    }

    /// Whether it was ever made out for this sum.
    pub(super) fn was_for(&self, sum: Money) -> bool {
        self.told().any(|amount| amount == sum)
    }

    /// Whether it is in this currency, as far as is known: what moved decides, else what it was made out for.
    #[must_use]
    pub fn is_in(&self, currency: Currency) -> bool {
        self.other_than(currency).is_none()
    }

    /// The currency it is in, where that is not this one.
    pub(super) fn other_than(&self, currency: Currency) -> Option<Currency> {
        let mut moved = self.charges.values().map(|c| c.authorized.currency).peekable();
        if moved.peek().is_some() {
            return moved.find(|c| *c != currency);
        }
        let first = self.told().next()?.currency;
        self.told().all(|a| a.currency != currency).then_some(first)
    }
}

impl RefundStatus {
    /// Whether the money is returned or on its way: what failed or was withdrawn is not.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Pending | Self::Succeeded)
    }
}
