//! The account's balance: one row for each movement of money.

use std::sync::Arc;

use super::StripeSandbox;
use super::ids::Row;
use super::model::{Source, Txn};

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
        let convert = || self.config.converts.iter().find(|(from, ..)| from.as_str() == currency.as_ref());
        let of_object = matches!(source, Source::Charge(_) | Source::Refund(_) | Source::Dispute(_));
        let (currency, rate) = match convert().filter(|_| of_object) {
            Some((_, into, rate)) => (Arc::from(into.as_str()), Some(*rate)),
            None => (currency.clone(), None),
        };
        // Halves up; both currencies have the same decimals.
        let converted = |minor: i64| rate.map_or(minor, |rate| (minor * rate + 5_000).div_euclid(10_000));
        let (amount, fee) = (converted(amount), converted(fee));
        self.txns.push(Txn {
            row,
            created,
            amount,
            fee,
            currency,
            rate,
            kind,
            category,
            source,
            payout: None,
        });
        self.index.txns_of.entry(source).or_default().push(row);
        if kind != "payout" {
            self.index.not_paid_out.push(row);
            self.await_cut_off();
        }
        row
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
