//! Reversals and voids, by the id of what they undo or by the merchant's transaction id.

use serde_json::Value;

use super::CybersourceSandbox;
use super::body::{Body, Reference};
use super::chain::{New, TRANSACTION_ID};
use super::errors::ApiError;
use super::ids::Row;
use super::model::{Closed, Kind, Way};

const AMOUNT: &str = "reversalInformation.amountDetails.totalAmount";
const CURRENCY: &str = "reversalInformation.amountDetails.currency";

impl CybersourceSandbox {
    /// `POST /pts/v2/payments/{id}/reversals`.
    pub(super) fn reverse(&mut self, id: &str, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let row = self.find(Kind::Payment, id)?;
        let currency = self.same_currency(body, CURRENCY, row)?;
        let amount = body.amount(AMOUNT, currency)?;
        self.unused(&reference)?;
        let reversal = self.let_go(row, &reference, true, amount)?;
        self.shown(reversal)
    }

    /// `POST /pts/v2/reversals`.
    pub(super) fn timeout_reversal(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let row = self.sent_as(&reference)?;
        let tx = self.tx(row)?;
        body.amount(AMOUNT, tx.currency)?;
        if tx.kind != Kind::Payment {
            return Err(ApiError::refuse("MISSING_AUTH", "no authorization"));
        }
        let held = self.paid(row)?.held();
        let reversal = self.let_go(row, &reference, false, held)?;
        self.shown(reversal)
    }

    /// `POST /pts/v2/{payments|captures|refunds}/{id}/voids`.
    pub(super) fn void(&mut self, of: Kind, id: &str, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let row = self.find(of, id)?;
        self.unused(&reference)?;
        let void = self.void_row(row, &reference, true)?;
        self.shown(void)
    }

    /// `POST /pts/v2/voids`.
    pub(super) fn timeout_void(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let row = self.sent_as(&reference)?;
        let void = self.void_row(row, &reference, false)?;
        self.shown(void)
    }

    /// The transaction that was sent under the reference's transaction id.
    fn sent_as(&self, reference: &Reference<'_>) -> Result<Row, ApiError> {
        let id = reference.merchant_id.ok_or_else(|| ApiError::missing(TRANSACTION_ID))?;
        self.by_merchant_id.get(&(self.caller, id.into())).copied().ok_or_else(|| {
            if self.config.unknown_is_404 {
                ApiError::not_found()
            } else {
                ApiError::invalid(TRANSACTION_ID, "no such transaction")
            }
        })
    }

    /// Lets go of what is held.
    pub(super) fn let_go(
        &mut self,
        row: Row,
        reference: &Reference<'_>,
        named: bool,
        amount: i64,
    ) -> Result<Row, ApiError> {
        let currency = self.tx(row)?.currency;
        let payment = self.paid(row)?;
        let refuse = |reason| Err(ApiError::refuse(reason, "cannot be reversed"));
        match payment.closed {
            Some(Closed::Reversed) => return refuse("AUTH_ALREADY_REVERSED"),
            Some(Closed::Expired) => return refuse("MISSING_AUTH"),
            None => {}
        }
        if payment.captured > 0 {
            return refuse("TRANSACTION_ALREADY_SETTLED");
        }
        let held = payment.held();
        if held == 0 {
            return refuse("MISSING_AUTH");
        }
        if amount > held {
            return Err(ApiError::refuse("INVALID_AMOUNT", "more than is held").at(AMOUNT));
        }
        let now = self.now;
        let payment = self.paid_mut(row)?;
        payment.reversed += amount;
        if amount == held {
            payment.closed = Some(Closed::Reversed);
            payment.closed_at = Some(now);
        }
        let reversal = self.add(New {
            kind: Kind::Reversal,
            reference,
            named,
            target: Some(row),
            defined: Value::Array(Vec::new()),
            currency,
            amount,
            reason: None,
            way: Way::Not,
            payment: None,
        });
        self.tell(reversal, "payments.reversal.status.accepted")?;
        Ok(reversal)
    }

    /// Withdraws what no batch holds yet.
    pub(super) fn void_row(
        &mut self,
        row: Row,
        reference: &Reference<'_>,
        named: bool,
    ) -> Result<Row, ApiError> {
        let tx = self.tx(row)?;
        let (root, currency, kind) = (tx.root, tx.currency, tx.kind);
        let refunded = self.acting_on(row).any(|t| t.kind == Kind::Refund && t.way.counts());
        if tx.way != Way::Pending || refunded {
            return Err(ApiError::refuse("NOT_VOIDABLE", "not to be voided, or no longer"));
        }
        let payment = self.paid(root)?;
        let amount = match kind {
            Kind::Payment => payment.captured,
            _ => tx.amount,
        };
        // What went back through the payment names no capture, and cannot be taken back with one.
        if kind != Kind::Refund && payment.captured - payment.refunded < amount {
            return Err(ApiError::refuse("NOT_VOIDABLE", "a refund of it was made"));
        }
        let payment = self.paid_mut(root)?;
        if kind == Kind::Refund {
            payment.refunded -= amount;
        } else {
            payment.captured -= amount;
        }
        self.tx_mut(row)?.way = Way::Voided;
        let void = self.add(New {
            kind: Kind::Void,
            reference,
            named,
            target: Some(row),
            defined: Value::Array(Vec::new()),
            currency,
            amount,
            reason: None,
            way: Way::Not,
            payment: None,
        });
        self.tell(void, "payments.void.status.accepted")?;
        Ok(void)
    }
}
