//! What really happened to each order, for comparing end states.

use std::collections::BTreeMap;

use serde_json::Value;
use tillway_core::time::Timestamp;

use super::CybersourceSandbox;
use super::ids::Row;
use super::model::{Case, Chargeback, Kind, Tx, Way};

/// One transaction; the amount in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionTruth {
    /// Its id.
    pub id: String,
    /// What kind it is.
    pub kind: Kind,
    /// Its status, in the provider's words.
    pub status: &'static str,
    /// Of payments what was reserved, of others what they moved.
    pub amount: i64,
    /// The caller's command: merchant-defined field 20, else the comment's last word.
    pub mark: Option<String>,
    /// The caller's refund request: merchant-defined field 21.
    pub request: Option<String>,
    /// Whether it stands: approved, and neither voided, reversed nor turned away.
    pub stands: bool,
    /// Whether it was withdrawn before the cut-off.
    pub voided: bool,
    /// A payment that took the money at once.
    pub sale: bool,
    /// What it acts on.
    pub target: Option<String>,
}

/// The end state of one payment; amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentTruth {
    /// Its id.
    pub payment: String,
    /// The merchant id it lies with.
    pub merchant: String,
    /// The status it was answered with.
    pub status: &'static str,
    /// Three letters.
    pub currency: &'static str,
    /// Asked for.
    pub asked: i64,
    /// Reserved by the issuer.
    pub authorized: i64,
    /// Held and neither captured nor released.
    pub held: i64,
    /// Taken and not voided.
    pub captured: i64,
    /// Given back.
    pub refunded: i64,
    /// Let go.
    pub reversed: i64,
    /// Taken back by issuers.
    pub withdrawn: i64,
    /// Returned after chargebacks.
    pub reinstated: i64,
    /// Held when the authorization ran out, of which nobody is told.
    pub lapsed: i64,
    /// When it was made.
    pub at: Timestamp,
    /// When the authorization was let go or ran out.
    pub closed_at: Option<Timestamp>,
    /// Its case waits for a person.
    pub case_open: bool,
    /// All that happened to it, itself first.
    pub transactions: Vec<TransactionTruth>,
}

/// The end state of one order reference; amounts in minor units, over all its payments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderTruth {
    /// Held now.
    pub held: i64,
    /// Taken and not voided.
    pub captured: i64,
    /// Given back.
    pub refunded: i64,
    /// Payments that hold or took money now; more than one is a double charge.
    pub charges: usize,
    /// Its payments, oldest first.
    pub payments: Vec<PaymentTruth>,
    /// By mark and kind: transactions that stand. More than one to a mark is one intent carried out twice.
    pub by_mark: BTreeMap<(String, Kind), usize>,
}

fn defined(tx: &Tx, key: &str) -> Option<String> {
    let mut fields = tx.defined.as_array()?.iter();
    let found = fields.find(|f| f.get("key").and_then(Value::as_str) == Some(key))?;
    found.get("value").and_then(Value::as_str).map(str::to_owned)
}

impl CybersourceSandbox {
    fn transaction(&self, tx: &Tx) -> TransactionTruth {
        let comment = || tx.comments.as_deref()?.rsplit(' ').next().map(str::to_owned);
        let payment = tx.payment.as_deref();
        let stands = match (payment, tx.kind) {
            (Some(p), _) => p.held() > 0 || p.captured > 0,
            (None, Kind::Capture | Kind::Refund) => tx.way.counts(),
            (None, _) => true,
        };
        TransactionTruth {
            id: self.ids.tx(tx.row),
            kind: tx.kind,
            status: self.status(tx),
            amount: payment.map_or(tx.amount, |p| p.authorized),
            // All sendings of a command are one intent.
            mark: defined(tx, "20")
                .or_else(comment)
                .map(|m| m.split_once('.').map_or(m.clone(), |(command, _)| command.to_owned())),
            request: defined(tx, "21"),
            stands,
            voided: tx.way == Way::Voided,
            sale: payment.is_some_and(|p| p.took),
            target: tx.target.map(|row| self.ids.tx(row)),
        }
    }

    fn truth(&self, row: Row) -> Option<PaymentTruth> {
        let tx = self.txs.get(row)?;
        let payment = tx.payment.as_deref()?;
        let chain = self.chains.get(&row).into_iter().flatten().filter_map(|r| self.txs.get(*r));
        let charged_back = |returned: bool| -> i64 {
            let of_it = |c: &&Chargeback| {
                c.returned == returned && self.txs.get(c.capture).is_some_and(|t| t.root == row)
            };
            self.chargebacks.iter().filter(of_it).map(|c| c.amount).sum()
        };
        Some(PaymentTruth {
            payment: self.ids.tx(row),
            merchant: self.config.credentials_of(tx.merchant).merchant_id.clone(),
            status: payment.status,
            currency: tx.currency.code(),
            asked: tx.amount,
            authorized: payment.authorized,
            held: payment.held(),
            captured: payment.captured,
            refunded: payment.refunded,
            reversed: payment.reversed,
            withdrawn: charged_back(false),
            reinstated: charged_back(true),
            lapsed: payment.lapsed,
            at: tx.at,
            closed_at: payment.closed_at,
            case_open: payment.case == Case::Open,
            transactions: chain.map(|t| self.transaction(t)).collect(),
        })
    }

    /// The end state of one payment.
    #[must_use]
    pub fn payment_truth(&self, payment: &str) -> Option<PaymentTruth> {
        self.truth(self.ids.tx_row(payment)?)
    }

    /// All payments, oldest first.
    pub fn all_payments(&self) -> impl Iterator<Item = PaymentTruth> + '_ {
        (0..self.txs.len()).filter_map(|row| self.truth(row))
    }

    /// References there are.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.by_code.keys().map(AsRef::as_ref)
    }

    /// The end state of an order reference; empty where nothing bears it.
    #[must_use]
    pub fn order_truth(&self, code: &str) -> OrderTruth {
        let rows = self.by_code.get(code).into_iter().flatten();
        let mut out = OrderTruth::default();
        for payment in rows.filter_map(|row| self.truth(*row)) {
            out.held += payment.held;
            out.captured += payment.captured;
            out.refunded += payment.refunded;
            out.charges += usize::from(payment.held > 0 || payment.captured > 0);
            for tx in payment.transactions.iter().filter(|t| t.stands) {
                if let Some(mark) = tx.mark.clone() {
                    *out.by_mark.entry((mark, tx.kind)).or_default() += 1;
                }
            }
            out.payments.push(payment);
        }
        out
    }
}
