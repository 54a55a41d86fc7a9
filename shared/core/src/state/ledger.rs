//! Expanding money facts into journal entries (reference `zoho.md` 8.2).
//!
//! Captures are booked by watermark and refunds by their own id; what depends on the order's tax is booked
//! as soon as the order is known, so a payment event that overtakes the order is in the books at once and
//! its sale follows.

use super::{Applied, Contradiction, OrderState};
use crate::facts::DisputeStatus;
use crate::ids::ConnectionName;
use crate::journal::{Entry, Role};
use crate::money::Money;
use crate::time::Timestamp;

pub(super) fn push(
    out: &mut Applied,
    id: String,
    connection: &ConnectionName,
    at: Timestamp,
    memo: &str,
    lines: &[(Role, Money)],
) {
    match Entry::new(id, connection, at, memo, lines) {
        Ok(entry) if !entry.postings.is_empty() => out.entries.push(entry),
        Ok(_) => {}
        // Unbalanced entries are never stored: the order goes to a person instead.
        Err(error) => out.contradictions.push(Contradiction {
            code: "journal_unbalanced",
            object: error.id.clone(),
            what: error.to_string(),
        }),
    }
}

pub(super) const fn neg(m: Money) -> Money {
    Money::new(m.minor.saturating_neg(), m.currency)
}

impl OrderState {
    /// Books whatever the state implies and the journal does not have yet. `connection` is the gateway
    /// account the fact came from; a payment's own account wins where it is known.
    pub(super) fn book(&mut self, connection: &ConnectionName, at: Timestamp, out: &mut Applied) {
        self.book_sales(at, out);
        self.book_refunds(connection, at, out);
        self.book_losses(connection, at, out);
    }

    /// Tax of `gross` when `before` of the order was booked already: cumulative, so that parts add up to
    /// the order's tax to the last minor unit.
    fn tax_part(&self, before: i64, gross: i64, booked: i64) -> Option<i64> {
        let order = self.order.as_ref()?;
        let tax = Money::new(order.tax, order.total.currency);
        let target = tax.share(before.saturating_add(gross), order.total.minor).ok()?;
        Some(target.minor.saturating_sub(booked))
    }

    fn book_sales(&mut self, at: Timestamp, out: &mut Applied) {
        let Some(currency) = self.order.as_ref().map(|o| o.total.currency) else { return };
        let due: Vec<(String, String, i64)> = self
            .payments
            .iter()
            .flat_map(|(p, payment)| payment.charges.iter().map(move |(c, charge)| (p, c, charge)))
            .filter(|(_, _, c)| c.captured > c.sold && c.authorized.currency == currency)
            .map(|(p, c, charge)| (p.clone(), c.clone(), charge.captured.saturating_sub(charge.sold)))
            .collect();
        for (payment, id, gross) in due {
            let Some(tax) = self.tax_part(self.sold_total, gross, self.tax_booked) else { continue };
            let Some(entry) = self.payments.get_mut(&payment) else { continue };
            let gateway = entry.connection.clone();
            let Some(charge) = entry.charges.get_mut(&id) else { continue };
            charge.sold = charge.captured;
            let name = format!("sale:{id}:{}", charge.captured);
            let lines = [
                (Role::Receivable, Money::new(gross, currency)),
                (Role::Sales, Money::new(tax.saturating_sub(gross), currency)),
                (Role::Tax, Money::new(tax.saturating_neg(), currency)),
            ];
            push(out, name, &gateway, at, "sale", &lines);
            self.sold_total = self.sold_total.saturating_add(gross);
            self.tax_booked = self.tax_booked.saturating_add(tax);
        }
    }

    fn gateway_of(&self, payment: &str, otherwise: &ConnectionName) -> ConnectionName {
        // A gateway may name the capture.
        let of_capture = || self.payments.get(self.payment_of_capture(payment)?);
        let known = self.payments.get(payment).or_else(of_capture);
        known.map_or_else(|| otherwise.clone(), |p| p.connection.clone())
    }

    fn book_refunds(&mut self, connection: &ConnectionName, at: Timestamp, out: &mut Applied) {
        let ids: Vec<String> = self.refunds.keys().cloned().collect();
        for id in ids {
            let Some(refund) = self.refunds.get(&id) else { continue };
            let (amount, mut booked) = (refund.amount, refund.booked);
            let gateway = self.gateway_of(&refund.payment, connection);
            // What came back must have left, even where the event that said so was overtaken.
            let (moved, returned) = (refund.moved || refund.returned, refund.returned);
            if moved && !booked.cash {
                let lines = [(Role::Receivable, amount), (Role::GatewayClearing, neg(amount))];
                push(out, format!("refund:{id}"), &gateway, at, "refund", &lines);
                booked.cash = true;
            }
            // Money of another currency paid for no goods of this order, so none come back for it.
            let ours = self.order.as_ref().is_some_and(|o| o.total.currency == amount.currency);
            if ours && booked.cash && booked.returned_goods.is_none() {
                let done: i64 = self.refunded_goods();
                let done_tax: i64 = self.refunds.values().filter_map(|r| r.booked.returned_goods).sum();
                if let Some(tax) = self.tax_part(done, amount.minor, done_tax) {
                    push(out, format!("return:{id}"), &gateway, at, "return", &return_lines(amount, tax));
                    booked.returned_goods = Some(tax);
                }
            }
            if returned && !booked.cash_reversed {
                let lines = [(Role::GatewayClearing, amount), (Role::Receivable, neg(amount))];
                push(out, format!("refund_failed:{id}"), &gateway, at, "refund came back", &lines);
                booked.cash_reversed = true;
            }
            if let Some(tax) = booked.returned_goods.filter(|_| returned && !booked.goods_reversed) {
                let lines = return_lines(amount, tax).map(|(role, m)| (role, neg(m)));
                push(out, format!("return_reversed:{id}"), &gateway, at, "return reversed", &lines);
                booked.goods_reversed = true;
            }
            if let Some(refund) = self.refunds.get_mut(&id) {
                refund.booked = booked;
            }
        }
    }

    /// Gross amount of returns booked so far; reversed ones count, so that a tax share is never used twice.
    fn refunded_goods(&self) -> i64 {
        self.refunds.values().filter(|r| r.booked.returned_goods.is_some()).map(|r| r.amount.minor).sum()
    }

    /// Joins one movement of a dispute and books it.
    pub(super) fn book_dispute_movement(
        &mut self,
        connection: &ConnectionName,
        (dispute, txn): (&str, &str),
        (amount, fee): (Money, i64),
        at: Timestamp,
        out: &mut Applied,
    ) -> bool {
        let Some(known) = self.disputes.get_mut(dispute) else { return false };
        if known.moved.contains_key(txn) {
            return false;
        }
        known.moved.insert(txn.to_owned(), amount.minor);
        let payment = known.payment.clone();
        let gateway = self.gateway_of(&payment, connection);
        let fee = Money::new(fee, amount.currency);
        let clearing = Money::new(amount.minor.saturating_sub(fee.minor), amount.currency);
        let lines = [(Role::Disputed, neg(amount)), (Role::Fees, fee), (Role::GatewayClearing, clearing)];
        let memo = if amount.minor < 0 { "dispute withdrawn" } else { "dispute reinstated" };
        push(out, format!("dispute:{txn}"), &gateway, at, memo, &lines);
        true
    }

    fn book_losses(&mut self, connection: &ConnectionName, at: Timestamp, out: &mut Applied) {
        let ids: Vec<String> = self.disputes.keys().cloned().collect();
        for id in ids {
            let Some(dispute) = self.disputes.get(&id) else { continue };
            let gateway = self.gateway_of(&dispute.payment, connection);
            let Some(dispute) = self.disputes.get_mut(&id) else { continue };
            let target = if dispute.standing() == DisputeStatus::Lost { dispute.withdrawn() } else { 0 };
            let step = target.saturating_sub(dispute.loss_booked);
            if step != 0 {
                dispute.loss_booked = target;
                dispute.loss_entries = dispute.loss_entries.saturating_add(1);
                let amount = Money::new(step, dispute.amount.currency);
                let lines = [(Role::ChargebackLoss, amount), (Role::Disputed, neg(amount))];
                let name = format!("dispute_lost:{id}:{}", dispute.loss_entries);
                push(out, name, &gateway, at, "dispute lost", &lines);
            }
        }
    }
}

fn return_lines(amount: Money, tax: i64) -> [(Role, Money); 3] {
    [
        (Role::Refunds, Money::new(amount.minor.saturating_sub(tax), amount.currency)),
        (Role::Tax, Money::new(tax, amount.currency)),
        (Role::Receivable, neg(amount)),
    ]
}
