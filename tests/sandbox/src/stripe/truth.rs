//! What really happened to each payment, for comparing end states.

use super::StripeSandbox;
use super::customers::metadata_key;
use super::ids::{Kind, Row};
use super::model::PaymentStatus;
use super::refunds::counts;

/// The end state of one payment; amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentTruth {
    /// Its id.
    pub payment: String,
    /// Its status.
    pub status: PaymentStatus,
    /// Lower-case code.
    pub currency: String,
    /// What it was to be.
    pub amount: i64,
    /// Approved by the issuer, over all successful charges.
    pub authorized: i64,
    /// Held and neither captured nor released.
    pub capturable: i64,
    /// Taken.
    pub captured: i64,
    /// Given back: succeeded and pending refunds.
    pub refunded: i64,
    /// Refunds that failed or were canceled.
    pub refunds_failed: i64,
    /// Number of refunds, whatever became of them.
    pub refunds: usize,
    /// Taken back by issuers.
    pub disputed_withdrawn: i64,
    /// Returned after disputes.
    pub disputed_reinstated: i64,
    /// Status of each dispute.
    pub disputes: Vec<&'static str>,
    /// Charges tried, approved or not.
    pub attempts: usize,
    /// Charges approved; more than one is a double charge.
    pub charges_succeeded: usize,
    /// Capture calls that took something.
    pub captures: u32,
    /// Metadata.
    pub metadata: Vec<(String, String)>,
}

impl StripeSandbox {
    fn truth(&self, row: Row) -> Option<PaymentTruth> {
        let payment = self.payments.get(row)?;
        let links = self.links.get(row)?;
        let charges =
            || links.charges.iter().filter_map(|c| self.charges.get(*c)).filter(|c| c.failure.is_none());
        let refunds = || links.refunds.iter().filter_map(|r| self.refunds.get(*r));
        let disputes = || links.disputes.iter().filter_map(|d| self.disputes.get(*d));
        Some(PaymentTruth {
            payment: self.ids.id(Kind::Payment, row),
            status: payment.status,
            currency: payment.currency.to_string(),
            amount: payment.amount,
            authorized: charges().map(|c| c.amount).sum(),
            capturable: payment.amount_capturable,
            captured: charges().map(|c| c.amount_captured).sum(),
            refunded: refunds().filter(|r| counts(r)).map(|r| r.amount).sum(),
            refunds_failed: refunds().filter(|r| !counts(r)).map(|r| r.amount).sum(),
            refunds: links.refunds.len(),
            disputed_withdrawn: disputes().map(|d| d.withdrawn).sum(),
            disputed_reinstated: disputes().map(|d| d.reinstated).sum(),
            disputes: disputes().map(|d| d.status).collect(),
            attempts: links.charges.len(),
            charges_succeeded: charges().count(),
            captures: links.captures,
            metadata: payment.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }

    /// The end state of one payment.
    #[must_use]
    pub fn payment_truth(&self, payment: &str) -> Option<PaymentTruth> {
        self.truth(self.row_at(Kind::Payment, payment).ok()?)
    }

    /// The payments that carry this metadata, oldest first.
    #[must_use]
    pub fn payments_by_metadata(&self, key: &str, value: &str) -> Vec<PaymentTruth> {
        let rows = self.index.payments_by_metadata.get(&metadata_key(key, value));
        let carries = |row: &Row| {
            self.payments.get(*row).is_some_and(|p| p.metadata.get(key).is_some_and(|v| v == value))
        };
        rows.into_iter().flatten().filter(|row| carries(row)).filter_map(|row| self.truth(*row)).collect()
    }

    /// All payments, oldest first.
    pub fn all_payments(&self) -> impl Iterator<Item = PaymentTruth> + '_ {
        (0..self.payments.len()).filter_map(|row| self.truth(row))
    }

    /// The refunds of a payment: id, amount, status.
    #[must_use]
    pub fn refunds_of(&self, payment: &str) -> Vec<(String, i64, &'static str)> {
        let links = self.row_at(Kind::Payment, payment).ok().and_then(|row| self.links.get(row));
        let rows = links.into_iter().flat_map(|l| &l.refunds).filter_map(|r| self.refunds.get(*r));
        rows.map(|r| (self.ids.id(Kind::Refund, r.row), r.amount, r.status)).collect()
    }

    /// The disputes of a payment: id, amount, status.
    #[must_use]
    pub fn disputes_of(&self, payment: &str) -> Vec<(String, i64, &'static str)> {
        let links = self.row_at(Kind::Payment, payment).ok().and_then(|row| self.links.get(row));
        let rows = links.into_iter().flat_map(|l| &l.disputes).filter_map(|d| self.disputes.get(*d));
        rows.map(|d| (self.ids.id(Kind::Dispute, d.row), d.amount, d.status)).collect()
    }

    /// Customers that exist, deleted ones aside: id, email.
    pub fn all_customers(&self) -> impl Iterator<Item = (String, Option<String>)> + '_ {
        let rows = (0..self.customers.len()).filter_map(|row| self.customers.get(row));
        rows.filter(|c| !c.deleted).map(|c| (self.ids.id(Kind::Customer, c.row), c.email.clone()))
    }

    /// Events that can be listed: id, type, creation in Unix seconds; oldest first.
    pub fn all_events(&self) -> impl DoubleEndedIterator<Item = (String, String, i64)> + '_ {
        self.events.iter().map(|e| (self.ids.id(Kind::Event, e.row), e.kind.to_string(), e.created))
    }
}
