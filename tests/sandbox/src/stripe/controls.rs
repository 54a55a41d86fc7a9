//! What people do outside the API: shoppers, issuers, and merchants in the dashboard. Each control takes
//! the time and answers what a call would be refused with.

use std::borrow::Cow;

use serde_json::Value;
use tillway_core::time::{Millis, Timestamp};

use super::StripeSandbox;
use super::attempt::Terms;
use super::errors::ApiError;
use super::form::Node;
use super::ids::Kind;
use super::json::Obj;
use super::model::{Metadata, PaymentStatus, Snap};
use super::params;

/// A payment made by a shop that charges by itself.
#[derive(Debug, Clone)]
pub struct ShopPayment<'a> {
    /// Minor units.
    pub amount: i64,
    /// Lower-case code.
    pub currency: &'a str,
    /// Where the shop writes its order id: `clarity_order_id` or `clarityorderid`.
    pub metadata_key: &'a str,
    /// The order id.
    pub order_id: &'a str,
    /// `automatic`, `automatic_async` or `manual`.
    pub capture_method: &'a str,
    /// Token, e.g. `pm_card_visa_x17`.
    pub payment_method: &'a str,
    /// The customer, if there is one.
    pub customer: Option<&'a str>,
}

/// How a review ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewVerdict {
    /// The payment is fine.
    Approved,
    /// Given back: refunded where captured, canceled where not.
    Refunded,
    /// Given back as fraud.
    RefundedAsFraud,
    /// Somebody took note, nothing else.
    Acknowledged,
}

impl StripeSandbox {
    /// The shopper finished 3-D Secure: the confirmation goes on, or fails.
    ///
    /// # Errors
    /// Where the payment does not wait for it.
    pub fn authenticate(&mut self, now: Timestamp, payment: &str, success: bool) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payment, payment)?;
        self.challenged(row, success)
    }

    /// Makes and confirms a payment the way a shop does. A decline is no error here: the id is answered in
    /// any case.
    ///
    /// # Errors
    /// Where the parameters are wrong.
    pub fn create_payment_as_shop(
        &mut self,
        now: Timestamp,
        shop: &ShopPayment<'_>,
    ) -> Result<String, ApiError> {
        self.tick(now);
        let amount = shop.amount.to_string();
        let key = format!("metadata[{}]", shop.metadata_key);
        let mut pairs = vec![
            ("amount", amount.as_str()),
            ("currency", shop.currency),
            (key.as_str(), shop.order_id),
            ("capture_method", shop.capture_method),
            ("payment_method", shop.payment_method),
            ("confirm", "true"),
            ("return_url", "https://shop.example/return"),
        ];
        if shop.capture_method == "manual" {
            pairs.push(("payment_method_options[card][request_multicapture]", "if_available"));
        }
        pairs.extend(shop.customer.map(|customer| ("customer", customer)));
        let form = Node::of(&pairs)?;
        params::check(&form, params::CREATE_PAYMENT, "")?;
        let row = self.new_payment(&form)?;
        self.emit_of(Kind::Payment, row, "payment_intent.created", None);
        match self.attempt(row, &Terms::default()) {
            Err(error) if error.status != 402 => Err(error),
            _ => Ok(self.ids.id(Kind::Payment, row)),
        }
    }

    /// The shopper tries another card on a payment that was declined. A decline is no error here.
    ///
    /// # Errors
    /// Where the payment cannot be confirmed.
    pub fn shopper_retries(&mut self, now: Timestamp, payment: &str, token: &str) -> Result<(), ApiError> {
        self.tick(now);
        let form = Node::of(&[("payment_method", token), ("return_url", "https://shop.example/return")])?;
        match self.confirm_payment(payment, &form) {
            Err(error) if error.status != 402 => Err(error),
            _ => Ok(()),
        }
    }

    /// A refund made in the dashboard; everything that is left where `amount` is `None`. Answers its id.
    ///
    /// # Errors
    /// As the API.
    pub fn dashboard_refund(
        &mut self,
        now: Timestamp,
        payment: &str,
        amount: Option<i64>,
        reason: Option<&str>,
    ) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payment, payment)?;
        let charge = self.charge_to_refund(row)?;
        let refund = self.refund(charge, amount, reason, Metadata::default())?;
        Ok(self.ids.id(Kind::Refund, refund))
    }

    /// A pending refund succeeds.
    ///
    /// # Errors
    /// Where it is not pending.
    pub fn succeed_refund(&mut self, now: Timestamp, refund: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Refund, refund)?;
        self.refund_succeeds(row)
    }

    /// A refund fails, also after it succeeded: the money comes back.
    ///
    /// # Errors
    /// Where it failed or was canceled already.
    pub fn fail_refund(&mut self, now: Timestamp, refund: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Refund, refund)?;
        self.refund_fails(row, "lost_or_stolen_card")
    }

    /// A pending refund is canceled.
    ///
    /// # Errors
    /// Where it is not pending.
    pub fn cancel_refund(&mut self, now: Timestamp, refund: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Refund, refund)?;
        self.refund_canceled(row)
    }

    /// The shopper's bank disputes a payment; the whole of it where `amount` is `None`. Answers the id.
    ///
    /// # Errors
    /// Where nothing was captured, or for more than was.
    pub fn open_dispute(
        &mut self,
        now: Timestamp,
        payment: &str,
        amount: Option<i64>,
        reason: &str,
    ) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payment, payment)?;
        let dispute = self.dispute(row, amount, reason)?;
        Ok(self.ids.id(Kind::Dispute, dispute))
    }

    /// A dispute is decided. Won: the funds are reinstated. A lost one can still be won.
    ///
    /// # Errors
    /// Where it is decided that way already.
    pub fn close_dispute(&mut self, now: Timestamp, dispute: &str, won: bool) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Dispute, dispute)?;
        self.decide_dispute(row, won)
    }

    /// The funds come back without a decision.
    ///
    /// # Errors
    /// Where they came back already.
    pub fn reinstate_funds(&mut self, now: Timestamp, dispute: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Dispute, dispute)?;
        self.reinstate(row)
    }

    /// A person closes a review in the dashboard.
    ///
    /// # Errors
    /// Where it is closed already.
    pub fn close_review(
        &mut self,
        now: Timestamp,
        review: &str,
        verdict: ReviewVerdict,
    ) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Review, review)?;
        let (reason, fraud) = match verdict {
            ReviewVerdict::Approved => return self.shut_review(row, "approved"),
            ReviewVerdict::Acknowledged => return self.shut_review(row, "acknowledged"),
            ReviewVerdict::Refunded => ("refunded", false),
            ReviewVerdict::RefundedAsFraud => ("refunded_as_fraud", true),
        };
        self.shut_review(row, reason)?;
        let payment = self.reviews.get(row).ok_or_else(ApiError::bug)?.payment;
        if self.payment(payment)?.status == PaymentStatus::RequiresCapture {
            return self.cancel(payment, Some(if fraud { "fraudulent" } else { "requested_by_customer" }));
        }
        let charge = self.charge_to_refund(payment)?;
        let reason = if fraud { "fraudulent" } else { "requested_by_customer" };
        self.refund(charge, None, Some(reason), Metadata::default()).map(drop)
    }

    /// The open review of a payment.
    #[must_use]
    pub fn open_review_of(&self, payment: &str) -> Option<String> {
        let row = self.row_at(Kind::Payment, payment).ok()?;
        self.payments.get(row)?.review.map(|r| self.ids.id(Kind::Review, r))
    }

    /// The hold of a payment runs out now.
    ///
    /// # Errors
    /// Where nothing is held.
    pub fn expire_authorization(&mut self, now: Timestamp, payment: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payment, payment)?;
        self.expire(row)
    }

    /// Cancels a payment in the dashboard.
    ///
    /// # Errors
    /// As the API.
    pub fn dashboard_cancel(&mut self, now: Timestamp, payment: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payment, payment)?;
        self.cancel(row, Some("requested_by_customer"))
    }

    /// The issuer warns of fraud: `radar.early_fraud_warning.created`. Answers the warning's id.
    ///
    /// # Errors
    /// Where there is no successful charge.
    pub fn warn_of_fraud(
        &mut self,
        now: Timestamp,
        payment: &str,
        actionable: bool,
    ) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.row_at(Kind::Payment, payment)?;
        let charge = self.charge_to_refund(row)?;
        let id = self.other_id(Kind::Warning);
        let mut out = String::new();
        let mut obj = Obj::new(&mut out);
        obj.text("id", &id).text("object", "radar.early_fraud_warning").flag("actionable", actionable);
        obj.text("charge", &self.ids.id(Kind::Charge, charge)).int("created", self.now.unix());
        obj.text("fraud_type", "unauthorized_use_of_card").flag("livemode", self.config.livemode);
        obj.text("payment_intent", payment);
        obj.end();
        self.emit(Cow::Borrowed("radar.early_fraud_warning.created"), Snap::Raw(out.into()), None);
        Ok(id)
    }

    /// Emits any event about any object (`invoice.paid`, `product.updated`, …); an `id` is put in where
    /// the object has none. Answers the event's id.
    pub fn emit_event(&mut self, now: Timestamp, event_type: &str, mut object: Value) -> String {
        self.tick(now);
        let name = event_type.rsplit_once('.').map_or(event_type, |(name, _)| name);
        let id = self.other_id(Kind::Other);
        if let Some(members) = object.as_object_mut() {
            members.entry("id").or_insert_with(|| id.into());
            members.entry("object").or_insert_with(|| name.into());
        }
        let row = self.emit(Cow::Owned(event_type.to_owned()), Snap::Raw(object.to_string().into()), None);
        self.ids.id(Kind::Event, row)
    }

    fn other_id(&mut self, kind: Kind) -> String {
        self.other_serial += 1;
        self.ids.id(kind, self.other_serial)
    }

    /// The next POST that nobody answers (`SilenceBefore`, `SilenceAfter`) stays in flight this long: its
    /// idempotency key is refused with 409 until then.
    pub fn hold_key_in_flight(&mut self, time: Millis) {
        self.gate.hold = Some(time);
    }

    /// An error as the API would answer it.
    #[must_use]
    pub fn error_json(&self, error: &ApiError) -> String {
        self.error_body(error)
    }

    /// An object as the API shows it, by id.
    #[must_use]
    pub fn object(&self, id: &str) -> Option<Value> {
        let kinds = [
            Kind::Payment,
            Kind::Charge,
            Kind::Refund,
            Kind::Dispute,
            Kind::Review,
            Kind::Customer,
            Kind::Txn,
            Kind::Payout,
        ];
        let found = kinds.into_iter().find_map(|kind| self.snap(kind, self.row_at(kind, id).ok()?))?;
        serde_json::from_str(&self.json(&found)).ok()
    }

    /// An event's exact body and type, by id; for replays.
    #[must_use]
    pub fn event_body(&self, id: &str) -> Option<String> {
        match self.retrieve_event(id).ok()? {
            super::gate::Doc::Text(text) => Some(text.to_string()),
            super::gate::Doc::Plain(_) => None,
        }
    }
}
