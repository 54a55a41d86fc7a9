//! Capture: whole, in part (the rest is released), or in several steps.

use std::sync::Arc;

use super::StripeSandbox;
use super::currency;
use super::customers::merge_metadata;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::ledger::charge_fee;
use super::model::{Charge, PaymentStatus, Source};

impl StripeSandbox {
    pub(super) fn capture_payment(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.row_at(Kind::Payment, id)?;
        let payment = self.payment(row)?;
        Self::expand(Kind::Payment, form, false)?;
        if payment.status != PaymentStatus::RequiresCapture {
            let message = format!(
                "This PaymentIntent could not be captured because it has a status of {}. Only a PaymentIntent with \
                 one of the following statuses may be captured: requires_capture.",
                payment.status.name()
            );
            let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
            return Err(error.payment(row).executed());
        }
        let amount = form.int("amount_to_capture").unwrap_or(payment.amount_capturable);
        currency::check_unit(&payment.currency, amount, "amount_to_capture")?;
        if amount > payment.amount_capturable {
            let message = format!(
                "The amount to capture is too large: {} can be captured at most.",
                payment.amount_capturable
            );
            let error = ApiError::invalid(message).code("amount_too_large").param("amount_to_capture");
            return Err(error.payment(row).executed());
        }
        if form.flag("final_capture") == Some(false) && !payment.multicapture {
            let message =
                "You can only use `final_capture` when multicapture is available for this PaymentIntent.";
            return Err(ApiError::invalid(message).param("final_capture").payment(row).executed());
        }
        let rest = payment.amount_capturable - amount;
        let last = form.flag("final_capture").unwrap_or(true) || rest == 0;
        let metadata = merge_metadata(&payment.metadata, form);
        let charge = payment.latest_charge.ok_or_else(ApiError::bug)?;
        let payment = self.payment_mut(row)?;
        payment.metadata = metadata;
        payment.amount_received += amount;
        payment.amount_capturable = if last { 0 } else { rest };
        if last {
            payment.status = PaymentStatus::Succeeded;
        }
        self.book_capture(row, charge, amount, last)?;
        self.emit_of(Kind::Charge, charge, "charge.captured", None);
        let event =
            if last { "payment_intent.succeeded" } else { "payment_intent.amount_capturable_updated" };
        self.emit_of(Kind::Payment, row, event, None);
        self.shown(Kind::Payment, row, form)
    }

    fn book_capture(&mut self, payment: Row, row: Row, amount: i64, last: bool) -> Result<(), ApiError> {
        let charge: Arc<Charge> = self.charges.get(row).cloned().ok_or_else(ApiError::bug)?;
        let first = charge.amount_captured == 0;
        let fee = charge_fee(amount, first);
        let rest = charge.amount - charge.amount_captured - amount;
        let source = Source::Charge(row);
        let whole_then_back = self.config.partial_capture_reversal && first && last && rest > 0;
        let booked = if whole_then_back { charge.amount } else { amount };
        let txn = self.book(source, ("charge", "charge"), booked, fee, &charge.currency);
        if whole_then_back {
            self.book(source, ("refund", "partial_capture_reversal"), -rest, 0, &charge.currency);
        }
        let marks = self.config.release_marks_refunded;
        let charge = self.charges.edit(row).ok_or_else(ApiError::bug)?;
        charge.amount_captured += amount;
        charge.captured = last;
        if last && marks {
            charge.amount_refunded = rest;
        }
        if charge.txn.is_none() {
            charge.txn = Some(txn);
        }
        if let Some(links) = self.links.get_mut(payment) {
            links.captures += 1;
        }
        Ok(())
    }

    /// Ends a payment that was captured in part: the rest is released, what was taken stays. \[from memory\]
    pub(super) fn finish_capture(&mut self, row: Row) -> Result<(), ApiError> {
        let payment = self.payment_mut(row)?;
        payment.amount_capturable = 0;
        payment.status = PaymentStatus::Succeeded;
        let charge = payment.latest_charge.ok_or_else(ApiError::bug)?;
        let marks = self.config.release_marks_refunded;
        let charge = self.charges.edit(charge).ok_or_else(ApiError::bug)?;
        charge.captured = true;
        if marks {
            charge.amount_refunded = charge.amount - charge.amount_captured;
        }
        self.emit_of(Kind::Payment, row, "payment_intent.succeeded", None);
        Ok(())
    }
}
