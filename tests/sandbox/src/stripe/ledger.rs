//! The account's balance: one row for each movement of money, and payouts that empty it.

use std::sync::Arc;

use tillway_core::time::Timestamp;

use super::StripeSandbox;
use super::errors::ApiError;
use super::ids::{Kind, Row};
use super::model::{Payout, Source, Txn};

/// Fee of a dispute, minor units; not returned when it is won.
pub(super) const DISPUTE_FEE: i64 = 1500;

/// 2.9 % rounded half up, and 30 minor units once per charge.
pub(super) const fn charge_fee(amount: i64, fixed: bool) -> i64 {
    (amount * 29 + 500) / 1000 + if fixed { 30 } else { 0 }
}

impl StripeSandbox {
    pub(super) fn book(
        &mut self,
        source: Source,
        (kind, category): (&'static str, &'static str),
        amount: i64,
        fee: i64,
        currency: &Arc<str>,
    ) -> Row {
        let row = self.txns.len();
        let created = self.now.unix();
        let currency = currency.clone();
        self.txns.push(Txn { row, created, amount, fee, currency, kind, category, source, payout: None });
        self.index.txns_of.entry(source).or_default().push(row);
        if !matches!(source, Source::Payout(_)) {
            self.index.not_paid_out.push(row);
        }
        row
    }

    /// Pays out everything of one currency that is not paid out yet: the rows are tied to the payout, and
    /// `payout.paid` and `payout.reconciliation_completed` are sent. Refused where nothing is owed.
    ///
    /// # Errors
    /// Where the balance is not above zero.
    pub fn pay_out(&mut self, now: Timestamp, currency: &str) -> Result<String, ApiError> {
        self.tick(now);
        let of_currency = |row: &Row| self.txns.get(*row).is_some_and(|t| t.currency.as_ref() == currency);
        let (chosen, rest): (Vec<Row>, Vec<Row>) =
            self.index.not_paid_out.iter().copied().partition(of_currency);
        let amount: i64 = chosen.iter().filter_map(|r| self.txns.get(*r)).map(|t| t.amount - t.fee).sum();
        if amount <= 0 {
            return Err(
                ApiError::invalid("You have insufficient funds for this payout").code("balance_insufficient")
            );
        }
        self.index.not_paid_out = rest;
        let row = self.payouts.len();
        let currency: Arc<str> = currency.into();
        let txn = self.book(Source::Payout(row), ("payout", "payout"), -amount, 0, &currency);
        for tied in chosen.iter().chain([&txn]) {
            if let Some(txn) = self.txns.edit(*tied) {
                txn.payout = Some(row);
            }
        }
        self.index.txns_of_payout.insert(row, chosen.into_iter().chain([txn]).collect());
        let created = self.now.unix();
        self.payouts.push(Payout { row, created, amount, currency, txn, status: "paid" });
        self.emit_of(Kind::Payout, row, "payout.paid", None);
        self.emit_of(Kind::Payout, row, "payout.reconciliation_completed", None);
        Ok(self.ids.id(Kind::Payout, row))
    }

    /// Net of all rows of a currency, paid out or not.
    #[must_use]
    pub fn balance(&self, currency: &str) -> i64 {
        let rows = (0..self.txns.len()).filter_map(|row| self.txns.get(row));
        rows.filter(|t| t.currency.as_ref() == currency).map(|t| t.amount - t.fee).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::charge_fee;

    #[test]
    fn fees_are_integers() {
        assert_eq!(charge_fee(1099, true), 62);
        assert_eq!(charge_fee(1000, true), 59);
        assert_eq!(charge_fee(1000, false), 29);
    }
}
