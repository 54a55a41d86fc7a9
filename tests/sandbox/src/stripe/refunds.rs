//! Refunds: made by call or in the dashboard, pending, succeeded, failed days later, canceled.

use std::sync::Arc;

use super::customers::merge_metadata;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::model::{Charge, Metadata, Refund, Source};
use super::tokens::RefundFate;
use super::{StripeSandbox, Timer, currency};

/// Whether a refund still counts as money on its way back.
pub(super) fn counts(refund: &Refund) -> bool {
    !matches!(refund.status, "failed" | "canceled")
}

impl StripeSandbox {
    /// What of a charge can still be refunded.
    pub(super) fn refundable(&self, charge: &Charge) -> i64 {
        charge.amount_captured - self.refunded(charge)
    }

    pub(super) fn refunded(&self, charge: &Charge) -> i64 {
        let refunds = self.links.get(charge.payment).map_or(&[][..], |l| &l.refunds);
        let of_charge =
            refunds.iter().filter_map(|r| self.refunds.get(*r)).filter(|r| r.charge == charge.row);
        of_charge.filter(|r| counts(r)).map(|r| r.amount).sum()
    }

    pub(super) fn create_refund(&mut self, form: &Node) -> Result<Doc, ApiError> {
        Self::expand(Kind::Refund, form, false)?;
        let charge = match (form.filled("charge"), form.filled("payment_intent")) {
            (Some(id), None) => self.row_in(Kind::Charge, id, "charge")?,
            (None, Some(id)) => {
                let payment = self.row_in(Kind::Payment, id, "payment_intent")?;
                self.charge_to_refund(payment)?
            }
            (None, None) => {
                let message = "One of the following params should be provided for this request: payment_intent or charge.";
                return Err(ApiError::invalid(message).code("parameter_missing"));
            }
            (Some(_), Some(_)) => {
                let message =
                    "Only one of these parameters may be used at the same time: charge and payment_intent.";
                return Err(ApiError::invalid(message).param("charge"));
            }
        };
        let metadata = merge_metadata(&Metadata::default(), form);
        let row = self.refund(charge, form.int("amount"), form.filled("reason"), metadata)?;
        self.shown(Kind::Refund, row, form)
    }

    /// The charge a refund of this payment takes the money from.
    pub(super) fn charge_to_refund(&self, payment: Row) -> Result<Row, ApiError> {
        let latest = self.payment(payment)?.latest_charge;
        let charge =
            latest.filter(|c| self.charges.get(*c).is_some_and(|c| c.captured && c.failure.is_none()));
        charge.ok_or_else(|| {
            let id = self.ids.id(Kind::Payment, payment);
            ApiError::invalid(format!(
                "This PaymentIntent ({id}) does not have a successful charge to refund."
            ))
            .param("payment_intent")
            .executed()
        })
    }

    /// Refunds part or all of what is left of a charge.
    pub(super) fn refund(
        &mut self,
        charge_row: Row,
        amount: Option<i64>,
        reason: Option<&str>,
        metadata: Metadata,
    ) -> Result<Row, ApiError> {
        let charge = self.charges.get(charge_row).cloned().ok_or_else(ApiError::bug)?;
        let id = self.ids.id(Kind::Charge, charge_row);
        if !charge.captured || charge.failure.is_some() {
            let message = format!("Charge {id} was not captured and cannot be refunded.");
            return Err(ApiError::invalid(message).param("charge").executed());
        }
        if let Some(amount) = amount {
            currency::check_unit(&charge.currency, amount, "amount")?;
        }
        let disputes = self.links.get(charge.payment).map_or(&[][..], |l| &l.disputes);
        let lost =
            |row: &Row| self.disputes.get(*row).is_some_and(|d| d.charge == charge_row && d.status != "won");
        if disputes.iter().any(lost) {
            let message = format!("Charge {id} has been charged back; cannot issue a refund.");
            return Err(ApiError::invalid(message).code("charge_disputed").executed());
        }
        let left = self.refundable(&charge);
        if left <= 0 {
            let message = format!("Charge {id} has already been refunded.");
            return Err(ApiError::invalid(message).code("charge_already_refunded").executed());
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            let message =
                format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
            return Err(ApiError::invalid(message).param("amount").executed());
        }
        let row = self.new_refund(&charge, amount, reason, metadata)?;
        self.emit_of(Kind::Refund, row, "refund.created", None);
        self.emit_of(Kind::Charge, charge_row, "charge.refunded", None);
        if amount == left {
            let closed = if reason == Some("fraudulent") { "refunded_as_fraud" } else { "refunded" };
            self.close_reviews(charge.payment, closed);
        }
        Ok(row)
    }

    fn new_refund(
        &mut self,
        charge: &Charge,
        amount: i64,
        reason: Option<&str>,
        metadata: Metadata,
    ) -> Result<Row, ApiError> {
        let row = self.refunds.len();
        let pending = self
            .config
            .refunds_pending
            .or_else(|| (charge.refund_fate == RefundFate::Pending).then_some(self.config.refund_delay));
        let txn = self.book(Source::Refund(row), ("refund", "refund"), -amount, 0, &charge.currency);
        self.refunds.push(Refund {
            row,
            charge: charge.row,
            payment: charge.payment,
            created: self.now.unix(),
            amount,
            currency: charge.currency.clone(),
            metadata,
            reason: reason.map(Arc::from),
            status: if pending.is_some() { "pending" } else { "succeeded" },
            failure_reason: None,
            txn: Some(txn),
            failure_txn: None,
        });
        if let Some(links) = self.links.get_mut(charge.payment) {
            links.refunds.push(row);
        }
        self.charges.edit(charge.row).ok_or_else(ApiError::bug)?.amount_refunded += amount;
        if let Some(wait) = pending {
            self.set_timer(self.now + wait, Timer::RefundSucceeds(row));
        }
        if charge.refund_fate == RefundFate::Fails {
            self.set_timer(self.now + self.config.refund_delay, Timer::RefundFails(row));
        }
        Ok(row)
    }

    pub(super) fn update_refund(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.row_at(Kind::Refund, id)?;
        Self::expand(Kind::Refund, form, false)?;
        let refund = self.refunds.edit(row).ok_or_else(ApiError::bug)?;
        refund.metadata = merge_metadata(&refund.metadata, form);
        self.emit_of(Kind::Refund, row, "refund.updated", None);
        self.shown(Kind::Refund, row, form)
    }

    pub(super) fn refund_succeeds(&mut self, row: Row) -> Result<(), ApiError> {
        let refund = self.refunds.edit(row).ok_or_else(ApiError::bug)?;
        if refund.status != "pending" {
            return Err(ApiError::invalid("Only a pending refund can succeed"));
        }
        refund.status = "succeeded";
        let previous = r#"{"pending_reason":"processing","status":"pending"}"#;
        self.emit_of(Kind::Refund, row, "refund.updated", Some(previous.to_owned()));
        Ok(())
    }

    /// The bank sends the money back; also after the refund had succeeded.
    pub(super) fn refund_fails(&mut self, row: Row, reason: &'static str) -> Result<(), ApiError> {
        let previous = self.take_back(row, "failed", reason)?;
        self.emit_of(Kind::Refund, row, "refund.updated", Some(previous));
        self.emit_of(Kind::Refund, row, "refund.failed", None);
        Ok(())
    }

    /// A pending refund is called off.
    pub(super) fn refund_canceled(&mut self, row: Row) -> Result<(), ApiError> {
        if self.refunds.get(row).is_none_or(|r| r.status != "pending") {
            return Err(ApiError::invalid("Only a pending refund can be canceled"));
        }
        let previous = self.take_back(row, "canceled", "merchant_request")?;
        self.emit_of(Kind::Refund, row, "refund.updated", Some(previous));
        Ok(())
    }

    fn take_back(
        &mut self,
        row: Row,
        status: &'static str,
        reason: &'static str,
    ) -> Result<String, ApiError> {
        let refund = self.refunds.get(row).cloned().ok_or_else(ApiError::bug)?;
        if !counts(&refund) {
            return Err(ApiError::invalid(format!("This refund is {} already", refund.status)));
        }
        let names = ("refund_failure", "refund_failure");
        let txn = self.book(Source::Refund(row), names, refund.amount, 0, &refund.currency);
        let changed = self.refunds.edit(row).ok_or_else(ApiError::bug)?;
        changed.status = status;
        changed.failure_reason = Some(reason);
        changed.failure_txn = Some(txn);
        self.charges.edit(refund.charge).ok_or_else(ApiError::bug)?.amount_refunded -= refund.amount;
        Ok(format!(r#"{{"status":"{}"}}"#, refund.status))
    }
}
