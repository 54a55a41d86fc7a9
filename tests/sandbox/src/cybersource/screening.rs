//! Decision Manager asked alone: its rules look at what would be bought, and no bank is asked.

use serde_json::{Value, json};

use super::body::{Body, CURRENCY, Reference, TOTAL, defined};
use super::chain::New;
use super::errors::ApiError;
use super::magic;
use super::model::{Case, Kind, Payment, Way};
use super::{CybersourceSandbox, risk, rules};

impl CybersourceSandbox {
    /// `POST /risk/v1/decisions`.
    pub(super) fn screen(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        if body.get("clientReferenceInformation.transactionId").is_some() {
            let what = "decisions have no transaction id";
            return Err(ApiError::invalid("clientReferenceInformation.transactionId", what));
        }
        let fields = defined(body)?;
        let currency = body.currency(CURRENCY, &self.enabled())?;
        let amount = body.amount(TOTAL, currency)?;
        let source = self.source(body)?;
        rules::payment(body, source.stored, rules::Lines::Decision)?;
        let verdict = risk::verdict(&self.config.rules, body, amount, currency);
        let (status, reason, case) = match verdict.as_ref().map(|v| v.decision) {
            Some("REVIEW") => ("PENDING_REVIEW", Some("DECISION_PROFILE_REVIEW"), Case::Open),
            Some("REJECT") => ("REJECTED", Some("DECISION_PROFILE_REJECT"), Case::Refused),
            _ => ("ACCEPTED", None, Case::None),
        };
        let payment = Payment {
            took: false,
            status,
            authorized: 0,
            captured: 0,
            reversed: 0,
            refunded: 0,
            closed: None,
            closed_at: None,
            lapsed: 0,
            case,
            verdict,
            made: None,
            refund_fate: magic::refunds_of(None),
            card: source.card,
            customer: source.customer,
        };
        let row = self.add(New {
            kind: Kind::Payment,
            reference: &reference,
            named: false,
            target: None,
            defined: fields,
            currency,
            amount,
            reason,
            way: Way::Not,
            payment: Some(Box::new(payment)),
        });
        let mut out = self.data(row)?;
        if let Some(members) = out.as_object_mut() {
            let own = format!("/risk/v1/decisions/{}", self.ids.tx(row));
            members.insert("_links".into(), json!({"self": {"href": own, "method": "GET"}}));
            members.remove("paymentAccountInformation");
        }
        Ok(out)
    }
}
