//! One attempt to charge: approval, decline, or a challenge first.

use std::sync::Arc;

use tillway_core::time::{Millis, Timestamp};

use super::errors::ApiError;
use super::ids::{Kind, Row};
use super::ledger::charge_fee;
use super::model::{Capture, Charge, Failure, LastError, Outcome, Payment, PaymentStatus, Review, Source};
use super::tokens::{self, Behaviour, Decline, RefundFate};
use super::{StripeSandbox, Timer};

/// How a confirmation was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) off_session: bool,
    pub(super) error_on_action: bool,
}

/// A hold lasts this long.
const HOLD: Millis = Millis::days(7);

const CHALLENGE: Decline = Decline {
    code: "authentication_required",
    decline_code: "authentication_required",
    advice_code: None,
    message: "Your card was declined. This transaction requires authentication.",
    blocked: false,
};

impl StripeSandbox {
    /// Charges the payment method of a payment that may be confirmed.
    pub(super) fn attempt(&mut self, row: Row, terms: &Terms) -> Result<(), ApiError> {
        let payment = self.payment(row)?;
        let token = payment.payment_method.clone().ok_or_else(ApiError::bug)?;
        match tokens::behaviour(&token).ok_or_else(ApiError::bug)? {
            Behaviour::Decline(decline) => self.decline(row, &token, decline),
            Behaviour::Challenge if terms.off_session || terms.error_on_action => {
                self.decline(row, &token, CHALLENGE)
            }
            Behaviour::Challenge => {
                let payment = self.payment_mut(row)?;
                payment.status = PaymentStatus::RequiresAction;
                payment.last_error = None;
                self.emit_of(Kind::Payment, row, "payment_intent.requires_action", None);
                Ok(())
            }
            Behaviour::Approve { review, dispute, refund } => {
                self.approve(row, &token, (review, refund), false)?;
                if dispute {
                    self.set_timer(self.now + Millis::secs(1), Timer::OpenDispute(row));
                }
                Ok(())
            }
        }
    }

    /// The shopper came back from the bank.
    pub(super) fn challenged(&mut self, row: Row, success: bool) -> Result<(), ApiError> {
        let payment = self.payment(row)?;
        if payment.status != PaymentStatus::RequiresAction {
            let error =
                ApiError::invalid("There is nothing to authenticate").code("payment_intent_unexpected_state");
            return Err(error.payment(row));
        }
        let token = payment.payment_method.clone().ok_or_else(ApiError::bug)?;
        if success {
            return self.approve(row, &token, (false, RefundFate::Succeeds), true);
        }
        let payment = self.payment_mut(row)?;
        payment.status = PaymentStatus::RequiresPaymentMethod;
        payment.payment_method = None;
        payment.last_error = Some(Arc::new(LastError {
            kind: "invalid_request_error",
            code: "payment_intent_authentication_failure",
            decline_code: None,
            advice_code: None,
            message: "The provided PaymentMethod has failed authentication. You can provide payment_method_data or \
                      a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
            payment_method: token,
            charge: None,
        }));
        self.emit_of(Kind::Payment, row, "payment_intent.payment_failed", None);
        Ok(())
    }

    fn new_charge(&mut self, payment: &Payment, token: &Arc<str>) -> Charge {
        let row = self.charges.len();
        if let Some(links) = self.links.get_mut(payment.row) {
            links.charges.push(row);
        }
        if let Some(customer) = payment.customer {
            self.index.charges_of.entry(customer).or_default().push(row);
        }
        Charge {
            row,
            payment: payment.row,
            created: self.now.unix(),
            amount: payment.amount,
            amount_captured: 0,
            amount_refunded: 0,
            captured: false,
            currency: payment.currency.clone(),
            customer: payment.customer,
            metadata: payment.metadata.clone(),
            payment_method: token.clone(),
            outcome: Outcome::Authorized,
            failure: None,
            authenticated: false,
            capture_before: None,
            multicapture: payment.multicapture,
            txn: None,
            disputed: false,
            review: None,
            description: payment.description.clone(),
            receipt_email: payment.receipt_email.clone(),
            shipping: payment.shipping.clone(),
            descriptor_suffix: payment.descriptor_suffix.clone(),
            refund_fate: RefundFate::Succeeds,
            released: false,
        }
    }

    fn decline(&mut self, row: Row, token: &Arc<str>, d: Decline) -> Result<(), ApiError> {
        let payment = self.payment(row)?;
        let mut charge = self.new_charge(&payment, token);
        charge.outcome = if d.blocked { Outcome::Blocked } else { Outcome::Declined };
        charge.failure = Some(Failure {
            code: d.code,
            decline_code: d.decline_code,
            advice_code: d.advice_code,
            message: d.message,
        });
        let charge_row = charge.row;
        self.charges.push(charge);
        let payment = self.payment_mut(row)?;
        payment.status = PaymentStatus::RequiresPaymentMethod;
        payment.payment_method = None;
        payment.latest_charge = Some(charge_row);
        payment.last_error = Some(Arc::new(LastError {
            kind: "card_error",
            code: d.code,
            decline_code: Some(d.decline_code),
            advice_code: d.advice_code,
            message: d.message,
            payment_method: token.clone(),
            charge: Some(charge_row),
        }));
        self.emit_of(Kind::Charge, charge_row, "charge.failed", None);
        self.emit_of(Kind::Payment, row, "payment_intent.payment_failed", None);
        let mut error = ApiError::invalid(d.message).status(402).kind("card_error").code(d.code);
        error.decline_code = Some(d.decline_code);
        error.advice_code = d.advice_code;
        error.charge = Some(charge_row);
        Err(error.payment(row).executed())
    }

    fn approve(
        &mut self,
        row: Row,
        token: &Arc<str>,
        (review, refund_fate): (bool, RefundFate),
        authenticated: bool,
    ) -> Result<(), ApiError> {
        let payment = self.payment(row)?;
        let manual = payment.capture == Capture::Manual;
        let mut charge = self.new_charge(&payment, token);
        charge.refund_fate = refund_fate;
        charge.authenticated = authenticated;
        let charge_row = charge.row;
        if review {
            charge.outcome = Outcome::ManualReview;
        }
        if manual {
            charge.capture_before = Some((self.now + HOLD).unix());
        } else {
            charge.captured = true;
            charge.amount_captured = charge.amount;
        }
        self.charges.push(charge);
        if review {
            self.open_review(row, charge_row)?;
        }
        match payment.capture {
            Capture::Manual => {
                let at = Timestamp::from_unix((self.now + HOLD).unix());
                self.set_timer(at, Timer::ExpireAuthorization(row));
            }
            Capture::Automatic => self.settle(charge_row)?,
            Capture::AutomaticAsync => {
                self.set_timer(self.now + self.config.async_settlement, Timer::SettleCharge(charge_row));
            }
        }
        let amount = payment.amount;
        let payment = self.payment_mut(row)?;
        payment.latest_charge = Some(charge_row);
        payment.last_error = None;
        if manual {
            payment.status = PaymentStatus::RequiresCapture;
            payment.amount_capturable = amount;
        } else {
            payment.status = PaymentStatus::Succeeded;
            payment.amount_received = amount;
        }
        self.emit_of(Kind::Charge, charge_row, "charge.succeeded", None);
        let event =
            if manual { "payment_intent.amount_capturable_updated" } else { "payment_intent.succeeded" };
        self.emit_of(Kind::Payment, row, event, None);
        if let Some(review) = self.payments.get(row).and_then(|p| p.review).filter(|_| review) {
            self.emit_of(Kind::Review, review, "review.opened", None);
        }
        Ok(())
    }

    fn open_review(&mut self, payment: Row, charge: Row) -> Result<(), ApiError> {
        let row = self.reviews.len();
        self.reviews.push(Review { row, charge, payment, created: self.now.unix(), closed_reason: None });
        if let Some(links) = self.links.get_mut(payment) {
            links.reviews.push(row);
        }
        self.payment_mut(payment)?.review = Some(row);
        self.charges.edit(charge).ok_or_else(ApiError::bug)?.review = Some(row);
        Ok(())
    }

    /// Books a charge that was captured at once.
    fn settle(&mut self, row: Row) -> Result<(), ApiError> {
        let charge = self.charges.get(row).cloned().ok_or_else(ApiError::bug)?;
        let fee = charge_fee(charge.amount, true);
        let txn = self.book(Source::Charge(row), ("charge", "charge"), charge.amount, fee, &charge.currency);
        self.charges.edit(row).ok_or_else(ApiError::bug)?.txn = Some(txn);
        Ok(())
    }

    /// Books a charge whose balance transaction was left open, and tells so.
    pub(super) fn settle_async(&mut self, row: Row) -> Result<(), ApiError> {
        self.settle(row)?;
        self.emit_of(Kind::Charge, row, "charge.updated", Some(r#"{"balance_transaction":null}"#.to_owned()));
        Ok(())
    }
}
