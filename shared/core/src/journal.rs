//! The journal: balanced double-entry bookings of every movement of money, by account role.
//!
//! Entries are expanded from facts and never edited (reference `zoho.md` section 8). Each currency of an
//! entry balances alone. An entry's id is made of the kind of fact and the provider's object id, so the
//! same movement cannot be booked twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ConnectionName;
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// What an account is for. Which account of the books a role means is the merchant's mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What customers owe.
    Receivable,
    /// What was sold, without tax.
    Sales,
    /// Tax collected for the state.
    Tax,
    /// Returns and allowances: contra income.
    Refunds,
    /// Money at the gateway, one account per gateway and currency.
    GatewayClearing,
    /// Money at the bank.
    Bank,
    /// What the gateway charges.
    Fees,
    /// Disputed payments that may come back.
    Disputed,
    /// Disputes lost.
    ChargebackLoss,
    /// Exchange gain or loss.
    Fx,
    /// Given in one currency and got in another: at the books' rates both are worth the same.
    Conversion,
    /// Held back by the processor.
    Reserve,
    /// Differences nobody has explained yet.
    Suspense,
}

impl Role {
    /// All accounts.
    pub const ALL: [Self; 13] = [
        Self::Receivable,
        Self::Sales,
        Self::Tax,
        Self::Refunds,
        Self::GatewayClearing,
        Self::Bank,
        Self::Fees,
        Self::Disputed,
        Self::ChargebackLoss,
        Self::Fx,
        Self::Conversion,
        Self::Reserve,
        Self::Suspense,
    ];
    /// Name as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receivable => "receivable",
            Self::Sales => "sales",
            Self::Tax => "tax",
            Self::Refunds => "refunds",
            Self::GatewayClearing => "gateway_clearing",
            Self::Bank => "bank",
            Self::Fees => "fees",
            Self::Disputed => "disputed",
            Self::ChargebackLoss => "chargeback_loss",
            Self::Fx => "fx",
            Self::Conversion => "conversion",
            Self::Reserve => "reserve",
            Self::Suspense => "suspense",
        }
    }
}

/// One line of an entry: positive is debit, negative is credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Account role.
    pub role: Role,
    /// Signed amount.
    pub amount: Money,
}

/// A balanced booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `<kind>:<provider's object id>`, unique within its connection.
    pub id: String,
    /// The gateway account the money moved at; names the clearing account together with the currency.
    pub connection: ConnectionName,
    /// When it was booked.
    pub at: Timestamp,
    /// What it is, for people.
    pub memo: String,
    /// Its lines; never a zero.
    pub postings: Vec<Posting>,
}

impl Entry {
    /// Whether it is about money at a gateway, or on its way from there: what a sale or a return of goods books, owed and sold, is
    /// not.
    #[must_use]
    pub fn is_at_gateway(&self) -> bool {
        let owed = |p: &Posting| matches!(p.role, Role::Receivable | Role::Sales | Role::Tax | Role::Refunds);
        !self.postings.iter().all(owed)
    }
}

/// An entry that does not balance. This is always a defect of ours, and it is never stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal entry {id} does not balance in {currency}: {sum} minor units over")]
pub struct Unbalanced {
    /// The entry.
    pub id: String,
    /// The currency at fault.
    pub currency: Currency,
    /// By how much debits exceed credits.
    pub sum: i128,
}

impl Entry {
    /// Builds an entry from signed lines, leaving out zeros.
    ///
    /// # Errors
    /// [`Unbalanced`] where a currency does not sum to zero.
    pub fn new(
        id: impl Into<String>,
        connection: &ConnectionName,
        at: Timestamp,
        memo: impl Into<String>,
        lines: &[(Role, Money)],
    ) -> Result<Self, Unbalanced> {
        let postings = lines
            .iter()
            .filter(|(_, m)| m.minor != 0)
            .map(|&(role, amount)| Posting { role, amount })
            .collect();
        let entry = Self { id: id.into(), connection: connection.clone(), at, memo: memo.into(), postings };
        entry.check()?;
        Ok(entry)
    }

    /// Whether every currency sums to zero.
    ///
    /// # Errors
    /// [`Unbalanced`].
    pub fn check(&self) -> Result<(), Unbalanced> {
        let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
        for posting in &self.postings {
            let sum = sums.entry(posting.amount.currency).or_default();
            *sum = sum.saturating_add(i128::from(posting.amount.minor));
        }
        match sums.into_iter().find(|(_, sum)| *sum != 0) {
            Some((currency, sum)) => Err(Unbalanced { id: self.id.clone(), currency, sum }),
            None => Ok(()),
        }
    }
}

/// Sums by role and currency: debit minus credit, minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrialBalance(pub BTreeMap<(Currency, Role), i128>);

impl TrialBalance {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        for posting in &entry.postings {
            let sum = self.0.entry((posting.amount.currency, posting.role)).or_default();
            *sum = sum.saturating_add(i128::from(posting.amount.minor));
        }
    }
    /// Debit minus credit of a role in a currency.
    #[must_use]
    pub fn of(&self, role: Role, currency: Currency) -> i128 {
        self.0.get(&(currency, role)).copied().unwrap_or(0)
    }
    /// Currencies whose debits and credits differ; empty in sound books.
    #[must_use]
    pub fn unbalanced(&self) -> Vec<(Currency, i128)> {
        let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
        for ((currency, _), value) in &self.0 {
            let sum = sums.entry(*currency).or_default();
            *sum = sum.saturating_add(*value);
        }
        sums.into_iter().filter(|(_, sum)| *sum != 0).collect()
    }
}

impl fmt::Display for TrialBalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<4} {:<18} {:>16} {:>16}", "", "account", "debit", "credit")?;
        for ((currency, role), sum) in &self.0 {
            let minor = i64::try_from(sum.unsigned_abs()).unwrap_or(i64::MAX);
            let amount = Money::new(minor, *currency).to_major().to_string();
            let (debit, credit) = if *sum >= 0 { (amount, String::new()) } else { (String::new(), amount) };
            writeln!(f, "{:<4} {:<18} {debit:>16} {credit:>16}", currency.code(), role.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::parse("USD").unwrap())
    }

    #[test]
    fn an_unbalanced_entry_cannot_be_built() {
        let lines = [(Role::GatewayClearing, usd(100)), (Role::Receivable, usd(-99))];
        let error = Entry::new("x", &"g".into(), Timestamp(0), "", &lines).unwrap_err();
        assert_eq!(error.sum, 1);
    }

    #[test]
    fn each_currency_balances_alone() {
        let eur = Money::new(-100, Currency::parse("EUR").unwrap());
        assert!(
            Entry::new("x", &"g".into(), Timestamp(0), "", &[(Role::Bank, usd(100)), (Role::Bank, eur)])
                .is_err()
        );
    }

    #[test]
    fn a_trial_balance_sums_by_role() {
        let mut balance = TrialBalance::default();
        let lines = [(Role::GatewayClearing, usd(100)), (Role::Receivable, usd(-100)), (Role::Tax, usd(0))];
        let entry = Entry::new("x", &"g".into(), Timestamp(0), "", &lines).unwrap();
        assert_eq!(entry.postings.len(), 2);
        balance.add(&entry);
        balance.add(&entry);
        assert_eq!(balance.of(Role::GatewayClearing, usd(0).currency), 200);
        assert!(balance.unbalanced().is_empty());
    }
}
