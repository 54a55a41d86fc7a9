//! What people and banks do outside the API. Each control takes the time and answers what a call would be refused with.

use serde_json::{Value, json};
use tillway_core::money::Money;
use tillway_core::time::Timestamp;

use super::CybersourceSandbox;
use super::body::{Body, Reference};
use super::errors::ApiError;
use super::ids::Row;
use super::model::{Case, Chargeback, Kind};
use super::risk::Decided;

/// A payment that a shop makes by itself.
#[derive(Debug, Clone, Copy)]
pub struct ShopPayment<'a> {
    /// The order: its reference.
    pub order_id: &'a str,
    /// What it is paid with.
    pub token: &'a str,
    /// How much.
    pub amount: Money,
    /// The money is taken at once.
    pub sale: bool,
    /// Street of the billing address, in which rules find words.
    pub street: &'a str,
}

/// How a person decides a case in the Business Center.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The payment is fine.
    Accept,
    /// And is captured in whole at once.
    AcceptAndCapture,
    /// It is not.
    Reject,
    /// And what was reserved is let go.
    RejectAndReverse,
}

impl CybersourceSandbox {
    /// A person decides the case of a payment.
    ///
    /// # Errors
    /// Where it has no open case.
    pub fn decide(&mut self, now: Timestamp, payment: &str, decision: Decision) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.find_any(Kind::Payment, payment)?;
        let accept = matches!(decision, Decision::Accept | Decision::AcceptAndCapture);
        let act = matches!(decision, Decision::AcceptAndCapture | Decision::RejectAndReverse);
        let decided = Decided { accept, act, reviewer: "ann", comments: "decided by a person" };
        self.decide_row(row, &decided).map(drop)
    }

    /// Payments whose case waits for a person, oldest first.
    #[must_use]
    pub fn open_cases(&self) -> Vec<String> {
        let open = |t: &&super::model::Tx| t.payment.as_ref().is_some_and(|p| p.case == Case::Open);
        self.txs.iter().filter(open).map(|t| self.ids.tx(t.row)).collect()
    }

    fn by_hand<T>(
        &mut self,
        row: Row,
        run: impl FnOnce(&mut Self, &Reference<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let code = self.tx(row)?.code.clone();
        run(self, &Reference { code: &code, merchant_id: None, comments: None })
    }

    /// A payment that the shop makes by itself under the order's reference: a sale, or an authorization. Answers its id.
    ///
    /// # Errors
    /// As the API.
    pub fn pay_as_shop(&mut self, now: Timestamp, payment: &ShopPayment<'_>) -> Result<String, ApiError> {
        self.tick(now);
        self.caller = 0;
        let address = json!({"firstName": "Sam", "lastName": "Shopper", "address1": payment.street,
            "locality": "Springfield", "administrativeArea": "IL", "postalCode": "62701", "country": "US", "email": "sam@example.com"});
        let amounts = json!({"totalAmount": payment.amount.to_major().to_string(),
            "currency": payment.amount.currency.code()});
        let body = json!({
            "clientReferenceInformation": {"code": payment.order_id},
            "processingInformation": {"capture": payment.sale},
            "paymentInformation": {"customer": {"id": payment.token}},
            "orderInformation": {"amountDetails": amounts, "billTo": address},
        });
        let answer = self.pay(Body(&body))?;
        Ok(answer.get("id").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// A capture made in the Business Center; everything held where `amount` is `None`. Answers its id.
    ///
    /// # Errors
    /// As the API.
    pub fn capture_by_hand(
        &mut self,
        now: Timestamp,
        payment: &str,
        amount: Option<i64>,
    ) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.find_any(Kind::Payment, payment)?;
        let amount = amount.unwrap_or(self.paid(row)?.held());
        let made = self.by_hand(row, |this, r| this.take(row, r, Value::Array(Vec::new()), amount))?;
        Ok(self.ids.tx(made))
    }

    /// A refund made in the Business Center, of a capture or a sale. Answers its id.
    ///
    /// # Errors
    /// As the API.
    pub fn refund_by_hand(&mut self, now: Timestamp, of: &str, amount: i64) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.find_any(Kind::Capture, of).or_else(|_| self.find_any(Kind::Payment, of))?;
        let made = self.by_hand(row, |this, r| this.give_back(row, r, Value::Array(Vec::new()), amount))?;
        Ok(self.ids.tx(made))
    }

    /// A capture or refund withdrawn in the Business Center before the cut-off. Answers the void's id.
    ///
    /// # Errors
    /// As the API.
    pub fn void_by_hand(&mut self, now: Timestamp, of: &str) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.find_any(Kind::Capture, of).or_else(|_| self.find_any(Kind::Refund, of))?;
        let made = self.by_hand(row, |this, r| this.void_row(row, r, true))?;
        Ok(self.ids.tx(made))
    }

    /// A hold let go in the Business Center. Answers the reversal's id.
    ///
    /// # Errors
    /// As the API.
    pub fn reverse_by_hand(&mut self, now: Timestamp, payment: &str) -> Result<String, ApiError> {
        self.tick(now);
        let row = self.find_any(Kind::Payment, payment)?;
        let held = self.paid(row)?.held();
        let made = self.by_hand(row, |this, r| this.let_go(row, r, true, held))?;
        Ok(self.ids.tx(made))
    }

    /// The cut-off comes now.
    pub fn cut_off_now(&mut self, now: Timestamp) {
        self.tick(now);
        self.batch();
    }

    /// The hold of a payment runs out now.
    ///
    /// # Errors
    /// Where there is no such payment.
    pub fn expire_authorization(&mut self, now: Timestamp, payment: &str) -> Result<(), ApiError> {
        self.tick(now);
        let row = self.find_any(Kind::Payment, payment)?;
        self.expire(row);
        Ok(())
    }

    /// The issuer takes money back, or returns it. It stands in the report alone: no webhook tells.
    ///
    /// # Errors
    /// Where there is no such capture or sale.
    pub fn charge_back(
        &mut self,
        now: Timestamp,
        capture: &str,
        amount: i64,
        reason: &str,
        returned: bool,
    ) -> Result<(), ApiError> {
        self.tick(now);
        let capture =
            self.find_any(Kind::Capture, capture).or_else(|_| self.find_any(Kind::Payment, capture))?;
        let reason = reason.to_owned();
        let listed = self.now + self.config.chargebacks_after;
        self.chargebacks.push(Chargeback { at: self.now, listed, capture, amount, reason, returned });
        Ok(())
    }
}
