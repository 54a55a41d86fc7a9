//! Refunds, of a capture or of a payment as a whole.

use serde_json::Value;

use super::CybersourceSandbox;
use super::body::{Body, CURRENCY, Reference, TOTAL, defined};
use super::chain::New;
use super::errors::ApiError;
use super::ids::Row;
use super::magic::{self, RefundFate};
use super::model::{Kind, Way};

impl CybersourceSandbox {
    /// `POST /pts/v2/{captures|payments}/{id}/refunds`.
    pub(super) fn refund(&mut self, of: Kind, id: &str, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let fields = defined(body)?;
        let row = self.find(of, id)?;
        let currency = self.same_currency(body, CURRENCY, row)?;
        let amount = body.amount(TOTAL, currency)?;
        self.unused(&reference)?;
        let refund = self.give_back(row, &reference, fields, amount)?;
        self.shown(refund)
    }

    /// What can still be given back of a capture or a payment.
    fn refundable(&self, row: Row) -> Result<i64, ApiError> {
        let tx = self.tx(row)?;
        let payment = self.paid(tx.root)?;
        let whole = payment.captured - payment.refunded;
        if tx.kind == Kind::Payment {
            return Ok(whole);
        }
        let given = self.acting_on(row).filter(|t| t.kind == Kind::Refund && t.way.counts());
        Ok(whole.min(tx.amount - given.map(|t| t.amount).sum::<i64>()))
    }

    /// Gives money back.
    pub(super) fn give_back(
        &mut self,
        row: Row,
        reference: &Reference<'_>,
        fields: Value,
        amount: i64,
    ) -> Result<Row, ApiError> {
        let tx = self.tx(row)?;
        let (root, currency) = (tx.root, tx.currency);
        let lenient = self.config.lenient;
        if tx.way == Way::Voided && !lenient {
            return Err(ApiError::refuse("CAPTURE_ALREADY_VOIDED", "the capture was voided"));
        }
        if self.paid(root)?.captured == 0 && !lenient {
            return Err(ApiError::refuse("MISSING_AUTH", "nothing was captured"));
        }
        if amount > self.refundable(row)? && !lenient {
            return Err(ApiError::refuse("INVALID_AMOUNT", "more than was captured").at(TOTAL));
        }
        let by_amount = magic::refund_amount(amount, currency.exponent());
        let fate = if by_amount == RefundFate::Goes { self.paid(root)?.refund_fate } else { by_amount };
        let declined = fate == RefundFate::Declined;
        if !declined {
            self.paid_mut(root)?.refunded += amount;
        }
        let refund = self.add(New {
            kind: Kind::Refund,
            reference,
            named: true,
            target: Some(row),
            defined: fields,
            currency,
            amount,
            reason: declined.then_some("PROCESSOR_DECLINED"),
            way: if declined { Way::Not } else { Way::Pending },
            payment: None,
        });
        if !declined {
            self.enqueue(refund);
            self.tell(refund, "payments.refund.status.accepted")?;
        }
        Ok(refund)
    }

    /// Whether the processor turns a refund away after the batch.
    pub(super) fn refund_fails(&self, row: Row) -> bool {
        let Some(tx) = self.txs.get(row).filter(|t| t.kind == Kind::Refund) else { return false };
        let by_amount = magic::refund_amount(tx.amount, tx.currency.exponent());
        let by_token = self.payment(tx.root).map(|p| p.refund_fate);
        by_amount == RefundFate::Fails || by_token == Some(RefundFate::Fails)
    }
}
