//! Finding transactions and adding them: chains, references, transaction ids.

use std::sync::Arc;

use serde_json::Value;
use tillway_core::money::Currency;

use super::CybersourceSandbox;
use super::body::{Body, Reference};
use super::config::Duplicates;
use super::errors::ApiError;
use super::ids::Row;
use super::model::{Case, Kind, Payment, Tx, Way};

/// Where the merchant's transaction id stands.
pub(super) const TRANSACTION_ID: &str = "clientReferenceInformation.transactionId";

/// What is about to be added.
pub(super) struct New<'a> {
    pub(super) kind: Kind,
    pub(super) reference: &'a Reference<'a>,
    /// Whether the reference's transaction id names this transaction, and not the one it undoes.
    pub(super) named: bool,
    pub(super) target: Option<Row>,
    pub(super) defined: Value,
    pub(super) currency: Currency,
    pub(super) amount: i64,
    pub(super) reason: Option<&'static str>,
    pub(super) way: Way,
    pub(super) payment: Option<Box<Payment>>,
}

impl CybersourceSandbox {
    pub(super) fn tx(&self, row: Row) -> Result<&Tx, ApiError> {
        self.txs.get(row).ok_or_else(ApiError::bug)
    }
    pub(super) fn tx_mut(&mut self, row: Row) -> Result<&mut Tx, ApiError> {
        self.txs.get_mut(row).ok_or_else(ApiError::bug)
    }
    pub(super) fn payment(&self, row: Row) -> Option<&Payment> {
        self.txs.get(row)?.payment.as_deref()
    }
    pub(super) fn paid(&self, row: Row) -> Result<&Payment, ApiError> {
        self.payment(row).ok_or_else(ApiError::bug)
    }
    pub(super) fn paid_mut(&mut self, row: Row) -> Result<&mut Payment, ApiError> {
        self.tx_mut(row)?.payment.as_deref_mut().ok_or_else(ApiError::bug)
    }

    /// The transaction of a kind that a path names.
    pub(super) fn find(&self, kind: Kind, id: &str) -> Result<Row, ApiError> {
        let row = self.find_any(kind, id)?;
        if self.tx(row)?.merchant == self.caller {
            Ok(row)
        } else {
            Err(ApiError::refuse("INVALID_PAYMENT_ID", "of another merchant id"))
        }
    }

    /// The same, whichever merchant id it belongs to.
    pub(super) fn find_any(&self, kind: Kind, id: &str) -> Result<Row, ApiError> {
        let row = self.ids.tx_row(id).filter(|row| self.txs.get(*row).is_some_and(|t| t.kind == kind));
        row.ok_or_else(|| ApiError::refuse("INVALID_PAYMENT_ID", "no such transaction"))
    }

    pub(super) fn enabled(&self) -> Vec<Currency> {
        self.config.currencies.iter().filter_map(|c| Currency::parse(c).ok()).collect()
    }

    /// A currency that has to be the chain's.
    pub(super) fn same_currency(&self, body: Body<'_>, path: &str, row: Row) -> Result<Currency, ApiError> {
        let currency = body.currency(path, &self.enabled())?;
        if currency == self.tx(row)?.currency {
            Ok(currency)
        } else {
            Err(ApiError::invalid(path, "not the currency of the payment"))
        }
    }

    /// Refuses a transaction id that was used within the window.
    pub(super) fn unused(&self, reference: &Reference<'_>) -> Result<(), ApiError> {
        let used = reference.merchant_id.and_then(|id| self.by_merchant_id.get(&(self.caller, id.into())));
        let used = used.and_then(|row| self.txs.get(*row));
        if used.is_some_and(|tx| self.now.since(tx.at) < self.config.merchant_id_window) {
            return Err(ApiError::invalid(TRANSACTION_ID, "the transaction id was used before"));
        }
        Ok(())
    }

    /// Refuses a second authorization under one reference within minutes, where the account is set so.
    pub(super) fn no_duplicate(&self, reference: &Reference<'_>) -> Result<(), ApiError> {
        let counts = |tx: &Tx| {
            let Some(payment) = tx.payment.as_deref() else { return false };
            let live = payment.held() > 0 || payment.captured > 0 || payment.case == Case::Open;
            let by_config = match self.config.duplicates {
                Duplicates::Off => false,
                Duplicates::Approved => live,
                Duplicates::Any => true,
            };
            by_config && tx.merchant == self.caller && self.now.since(tx.at) < self.config.duplicate_window
        };
        let rows = self.by_code.get(reference.code).into_iter().flatten();
        if rows.filter_map(|row| self.txs.get(*row)).any(counts) {
            let message = "the reference was used within the last minutes";
            return Err(ApiError::refuse("DUPLICATE_REQUEST", message));
        }
        Ok(())
    }

    /// Adds a transaction.
    pub(super) fn add(&mut self, new: New<'_>) -> Row {
        let row = self.txs.len();
        let target = new.target.and_then(|t| self.txs.get(t));
        let root = target.map_or(row, |t| t.root);
        let merchant = target.map_or(self.caller, |t| t.merchant);
        let code: Arc<str> = new.reference.code.into();
        let merchant_id: Option<Arc<str>> = new.reference.merchant_id.map(Into::into);
        self.chains.entry(root).or_default().push(row);
        self.by_code.entry(code.clone()).or_default().push(row);
        if let Some(id) = merchant_id.clone().filter(|_| new.named) {
            self.by_merchant_id.insert((merchant, id), row);
        }
        self.txs.push(Tx {
            row,
            merchant,
            kind: new.kind,
            at: self.now,
            root,
            target: new.target,
            code,
            merchant_id: merchant_id.filter(|_| new.named),
            comments: new.reference.comments.map(Into::into),
            defined: new.defined,
            currency: new.currency,
            amount: new.amount,
            reason: new.reason,
            approved: new.reason.is_none(),
            way: new.way,
            payment: new.payment,
        });
        row
    }

    /// Transactions that act on one.
    pub(super) fn acting_on(&self, row: Row) -> impl Iterator<Item = &Tx> {
        let root = self.txs.get(row).map_or(row, |t| t.root);
        let chain = self.chains.get(&root).into_iter().flatten();
        chain.filter_map(|r| self.txs.get(*r)).filter(move |t| t.target == Some(row))
    }
}
