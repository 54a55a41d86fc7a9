//! Payouts: made by hand, or every day at the cut-off from what is available by then.

use std::sync::Arc;

use tillway_core::time::{Millis, Timestamp};

use super::errors::ApiError;
use super::ids::{Kind, Row};
use super::model::{Payout, Source};
use super::{StripeSandbox, Timer};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Automatic payouts.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Time of day (UTC) at which a payout is made of what is available.
    pub cut_off: Millis,
    /// A row is available this long after it was booked.
    pub available_after: Millis,
    /// The rows of a payout can be listed this long after it was made.
    pub put_together_after: Millis,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cut_off: Millis::hours(6),
            available_after: Millis::days(2),
            put_together_after: Millis::mins(20),
        }
    }
}

impl StripeSandbox {
    /// Pays out everything of one currency that is not paid out yet, available or not: it is at the bank at once.
    /// The rows are tied to the payout, and `payout.paid` and `payout.reconciliation_completed` are sent. Refused
    /// where nothing is owed.
    ///
    /// # Errors
    /// Where the balance is not above zero.
    pub fn pay_out(&mut self, now: Timestamp, currency: &str) -> Result<String, ApiError> {
        self.tick(now);
        let today = self.now.unix().div_euclid(DAY) * DAY;
        let row = self.send_out(&Arc::from(currency), i64::MAX, today)?;
        self.change(row, |p| {
            p.status = "paid";
            p.put_together = true;
        });
        self.emit_of(Kind::Payout, row, "payout.paid", None);
        self.emit_of(Kind::Payout, row, "payout.reconciliation_completed", None);
        Ok(self.ids.id(Kind::Payout, row))
    }

    /// The bank sends a payout back, also after it was paid: the money is owed again.
    ///
    /// # Errors
    /// Where it failed already, or there is none such.
    pub fn fail_payout(&mut self, now: Timestamp, payout: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payout, payout)?;
        let known = self.payouts.get(row).cloned().ok_or_else(ApiError::bug)?;
        if known.status == "failed" {
            return Err(ApiError::invalid("This payout failed already"));
        }
        let names = ("payout_failure", "payout_reversal");
        let txn = self.book(Source::Payout(row), names, known.amount, 0, &known.currency);
        self.change(row, |p| {
            p.status = "failed";
            p.failure_code = Some("account_closed");
            p.failure_txn = Some(txn);
        });
        self.emit_of(Kind::Payout, row, "payout.failed", None);
        Ok(())
    }

    /// Stripe bills the account, on a row of its own. Answers the row's id.
    pub fn bill_account(&mut self, now: Timestamp, amount: i64, currency: &str) -> String {
        self.tick(now);
        let row = self.book(Source::Account, ("stripe_fee", "fee"), -amount, 0, &Arc::from(currency));
        self.ids.id(Kind::Txn, row)
    }

    /// Rows of a payment are left out of payouts from now on, as if the gateway had lost them.
    ///
    /// # Errors
    /// Where there is no such payment.
    pub fn withhold(&mut self, payment: &str) -> Result<(), ApiError> {
        let payment = self.row_at(Kind::Payment, payment)?;
        let charges = self.links.get(payment).map(|l| l.charges.clone()).unwrap_or_default();
        let txns = &self.txns;
        let of_it = |row: &Row| {
            let source = txns.get(*row).map(|t| t.source);
            matches!(source, Some(Source::Charge(charge)) if charges.contains(&charge))
        };
        self.index.not_paid_out.retain(|row| !of_it(row));
        Ok(())
    }

    /// They are found again, and in the next payout.
    ///
    /// # Errors
    /// Where there is no such payment.
    pub fn find_again(&mut self, payment: &str) -> Result<(), ApiError> {
        let payment = self.row_at(Kind::Payment, payment)?;
        let charges = self.links.get(payment).map(|l| l.charges.clone()).unwrap_or_default();
        let of_it = |row: &Row| {
            let open = self.txns.get(*row).filter(|t| t.payout.is_none()).map(|t| t.source);
            matches!(open, Some(Source::Charge(charge)) if charges.contains(&charge))
        };
        let listed = &self.index.not_paid_out;
        let left: Vec<Row> = (0..self.txns.len()).filter(|row| of_it(row) && !listed.contains(row)).collect();
        self.index.not_paid_out.extend(left);
        Ok(())
    }

    /// All payouts so far, oldest first: id, amount, currency, status.
    pub fn all_payouts(&self) -> impl Iterator<Item = (String, i64, String, &'static str)> + '_ {
        (0..self.payouts.len()).filter_map(|row| {
            let p = self.payouts.get(row)?;
            Some((self.ids.id(Kind::Payout, row), p.amount, p.currency.to_string(), p.status))
        })
    }

    /// The next cut-off, once something is to be paid out at one.
    pub(super) fn await_cut_off(&mut self) {
        let Some(schedule) = self.config.payouts else { return };
        if self.cut_off_waits {
            return;
        }
        self.cut_off_waits = true;
        let cut_off = schedule.cut_off.0 / 1000;
        let today = self.now.unix().div_euclid(DAY) * DAY + cut_off;
        let at = if today > self.now.unix() { today } else { today + DAY };
        self.set_timer(Timestamp::from_unix(at), Timer::CutOff);
    }

    /// Pays out what is available of each currency; what is not waits for the next day.
    pub(super) fn cut_off(&mut self) {
        self.cut_off_waits = false;
        let Some(schedule) = self.config.payouts else { return };
        let until = self.now.unix() - schedule.available_after.0 / 1000;
        let mut currencies: Vec<Arc<str>> = Vec::new();
        for row in &self.index.not_paid_out {
            let Some(txn) = self.txns.get(*row) else { continue };
            if !currencies.contains(&txn.currency) {
                currencies.push(txn.currency.clone());
            }
        }
        let arrival = self.now.unix().div_euclid(DAY) * DAY + DAY;
        for currency in currencies {
            // A balance below zero is made up for by the next days' sales.
            let Ok(row) = self.send_out(&currency, until, arrival) else { continue };
            self.emit_of(Kind::Payout, row, "payout.created", None);
            self.set_timer(self.now + schedule.put_together_after, Timer::PutTogether(row));
            self.set_timer(Timestamp::from_unix(arrival), Timer::Arrives(row));
        }
        if !self.index.not_paid_out.is_empty() {
            self.await_cut_off();
        }
    }

    pub(super) fn put_together(&mut self, row: Row) {
        self.change(row, |p| p.put_together = true);
        self.emit_of(Kind::Payout, row, "payout.reconciliation_completed", None);
    }

    pub(super) fn arrives(&mut self, row: Row) {
        self.change(row, |p| p.status = "paid");
        self.emit_of(Kind::Payout, row, "payout.paid", None);
    }

    fn change(&mut self, row: Row, change: impl FnOnce(&mut Payout)) {
        if let Some(payout) = self.payouts.edit(row) {
            change(payout);
        }
    }

    /// Ties the rows of a currency that were booked until then to a new payout, where they are above zero.
    fn send_out(&mut self, currency: &Arc<str>, until: i64, arrival: i64) -> Result<Row, ApiError> {
        let ripe =
            |row: &Row| self.txns.get(*row).is_some_and(|t| t.currency == *currency && t.created <= until);
        let (chosen, rest): (Vec<Row>, Vec<Row>) = self.index.not_paid_out.iter().copied().partition(ripe);
        let amount: i64 = chosen.iter().filter_map(|r| self.txns.get(*r)).map(|t| t.amount - t.fee).sum();
        if amount <= 0 {
            return Err(
                ApiError::invalid("You have insufficient funds for this payout").code("balance_insufficient")
            );
        }
        self.index.not_paid_out = rest;
        let row = self.payouts.len();
        let txn = self.book(Source::Payout(row), ("payout", "payout"), -amount, 0, currency);
        for tied in chosen.iter().chain([&txn]) {
            if let Some(txn) = self.txns.edit(*tied) {
                txn.payout = Some(row);
            }
        }
        self.index.txns_of_payout.insert(row, chosen.into_iter().chain([txn]).collect());
        self.payouts.push(Payout {
            row,
            created: self.now.unix(),
            arrival,
            amount,
            currency: currency.clone(),
            txn,
            status: "in_transit",
            put_together: false,
            failure_code: None,
            failure_txn: None,
        });
        Ok(row)
    }
}
