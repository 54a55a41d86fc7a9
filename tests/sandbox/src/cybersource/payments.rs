//! Authorizations, sales and captures.

use serde_json::{Value, json};

use super::body::{Body, CURRENCY, Reference, TOTAL, defined};
use super::chain::New;
use super::errors::ApiError;
use super::ids::Row;
use super::magic::{self, Fate};
use super::model::{Case, Closed, Kind, Payment, Way};
use super::{CybersourceSandbox, Manner, Timer, risk, rules};

impl CybersourceSandbox {
    /// `POST /pts/v2/payments`.
    pub(super) fn pay(&mut self, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let fields = defined(body)?;
        let actions = rules::actions(body)?;
        let mut enabled = self.enabled();
        if let Manner::Without(code) = self.config.manner_of(self.caller) {
            enabled.retain(|currency| currency.code() != code);
        }
        let currency = body.currency(CURRENCY, &enabled)?;
        let amount = body.amount(TOTAL, currency)?;
        let sale = body.flag("processingInformation.capture")?;
        let mut source = self.source(body)?;
        rules::payment(body, source.stored, rules::Lines::Payment)?;
        self.unused(&reference)?;
        self.no_duplicate(&reference)?;
        let fate = self.in_its_manner(magic::fate(source.origin.as_deref(), amount, currency.exponent()));
        let (mut status, mut reason, authorized) = match fate {
            Fate::Refused(reason) => return Err(ApiError::refuse(reason, "refused")),
            Fate::Broken(reason, false) => return Err(ApiError::server(reason)),
            Fate::Approved | Fate::Broken(_, true) => ("AUTHORIZED", None, amount),
            Fate::Declined(reason, _) => ("DECLINED", Some(reason), 0),
            Fate::Review(reason) => ("AUTHORIZED_PENDING_REVIEW", Some(reason), amount),
            Fate::Partial => ("PARTIAL_AUTHORIZED", None, amount.saturating_mul(3) / 5),
            Fate::Invalid => ("INVALID_REQUEST", Some("INVALID_DATA"), 0),
            Fate::Unheard => (magic::UNHEARD, None, amount),
            Fate::Challenge => ("PENDING_AUTHENTICATION", Some("CONSUMER_AUTHENTICATION_REQUIRED"), 0),
            Fate::Pending => ("PENDING_REVIEW", Some("DECISION_PROFILE_REVIEW"), 0),
        };
        let looks = self.config.decision_manager && !actions.contains(&"DECISION_SKIP");
        let verdict = (looks && status == "AUTHORIZED")
            .then(|| risk::verdict(&self.config.rules, body, amount, currency))
            .flatten();
        match verdict.as_ref().map(|v| v.decision) {
            Some("REVIEW") => {
                (status, reason) = ("AUTHORIZED_PENDING_REVIEW", Some("DECISION_PROFILE_REVIEW"));
            }
            Some("REJECT") => {
                (status, reason) = ("AUTHORIZED_RISK_DECLINED", Some("DECISION_PROFILE_REJECT"));
            }
            _ => {}
        }
        let case = match status {
            "AUTHORIZED_PENDING_REVIEW" | "PENDING_REVIEW" => Case::Open,
            "AUTHORIZED_RISK_DECLINED" => Case::Refused,
            _ => Case::None,
        };
        let took = sale && authorized > 0 && case == Case::None;
        let mut made = None;
        if actions.contains(&"TOKEN_CREATE") && authorized > 0 && source.customer.is_none() {
            let (customer, identifier) = self.keep_card(&source, body)?;
            (source.customer, made) = (Some(customer), Some(identifier));
        }
        let payment = Payment {
            took,
            status,
            authorized,
            captured: if took { authorized } else { 0 },
            reversed: 0,
            refunded: 0,
            closed: None,
            closed_at: None,
            lapsed: 0,
            case,
            verdict,
            refund_fate: magic::refunds_of(source.origin.as_deref()),
            card: source.card,
            customer: source.customer,
            made,
        };
        let row = self.add(New {
            kind: Kind::Payment,
            reference: &reference,
            named: true,
            target: None,
            defined: fields,
            currency,
            amount,
            reason,
            way: if took { Way::Pending } else { Way::Not },
            payment: Some(Box::new(payment)),
        });
        if authorized > 0 {
            self.set_timer(self.now + self.config.hold, Timer::ExpireAuthorization(row));
        }
        if took {
            self.enqueue(row);
        }
        self.tell_payment(row)?;
        match fate {
            // Carried out, and the answer says otherwise.
            Fate::Broken(reason, _) => Err(ApiError::server(reason)),
            _ => self.shown(row),
        }
    }

    /// What becomes of a payment at the merchant id that calls.
    fn in_its_manner(&self, fate: Fate) -> Fate {
        match self.config.manner_of(self.caller) {
            Manner::Usual | Manner::Without(_) | Manner::NoCaptures | Manner::NoReads => fate,
            Manner::Unavailable => Fate::Refused("PROCESSOR_UNAVAILABLE"),
            Manner::NotSetUp => Fate::Refused("INVALID_MERCHANT_CONFIGURATION"),
            Manner::Broken => Fate::Broken("SYSTEM_ERROR", false),
            Manner::Declines { permille, reason } => {
                let serial = u64::try_from(self.txs.len()).unwrap_or(0);
                let declined = fate == Fate::Approved && self.ids.number(11, serial, 1000) < permille;
                if declined { Fate::Declined(reason, "91") } else { fate }
            }
        }
    }

    /// `POST /pts/v2/payments/{id}/captures`.
    pub(super) fn capture(&mut self, id: &str, body: Body<'_>) -> Result<Value, ApiError> {
        let reference = Reference::of(body)?;
        let fields = defined(body)?;
        let row = self.find(Kind::Payment, id)?;
        let currency = self.same_currency(body, CURRENCY, row)?;
        let amount = body.amount(TOTAL, currency)?;
        let options = "processingInformation.captureOptions";
        for name in ["captureSequenceNumber", "totalCaptureCount"] {
            let path = format!("{options}.{name}");
            if body.whole(&path)?.is_some_and(|n| !(1..=99).contains(&n)) {
                return Err(ApiError::invalid(path, "expected 1 to 99"));
            }
        }
        self.unused(&reference)?;
        let capture = self.take(row, &reference, fields, amount)?;
        self.shown(capture)
    }

    /// Captures a part of what is held.
    pub(super) fn take(
        &mut self,
        row: Row,
        reference: &Reference<'_>,
        fields: Value,
        amount: i64,
    ) -> Result<Row, ApiError> {
        let currency = self.tx(row)?.currency;
        let payment = self.paid(row)?;
        let refuse = |reason| Err(ApiError::refuse(reason, "cannot be captured"));
        match (payment.closed, payment.case) {
            (Some(Closed::Reversed), _) => return refuse("AUTH_ALREADY_REVERSED"),
            (Some(Closed::Expired), _) | (_, Case::Refused | Case::Rejected) => {
                return refuse("MISSING_AUTH");
            }
            _ => {}
        }
        if payment.authorized == 0 {
            return refuse("MISSING_AUTH");
        }
        if payment.took {
            return refuse("TRANSACTION_ALREADY_SETTLED");
        }
        if amount > payment.held() && !self.config.lenient {
            return refuse("EXCEEDS_AUTH_AMOUNT");
        }
        if payment.case == Case::Open {
            self.counters.captured_under_review += 1;
        }
        self.paid_mut(row)?.captured += amount;
        let capture = self.add(New {
            kind: Kind::Capture,
            reference,
            named: true,
            target: Some(row),
            defined: fields,
            currency,
            amount,
            reason: None,
            way: Way::Pending,
            payment: None,
        });
        self.enqueue(capture);
        self.tell(capture, "payments.capture.status.accepted")?;
        Ok(capture)
    }

    fn tell_payment(&mut self, row: Row) -> Result<(), ApiError> {
        let payment = self.paid(row)?;
        let (took, refused) = (payment.took, payment.case == Case::Refused);
        let event = match payment.status {
            "AUTHORIZED_PENDING_REVIEW" | "PENDING_REVIEW" => "payments.authorization.status.reviewed",
            "PARTIAL_AUTHORIZED" => "payments.authorization.status.partiallyApproved",
            "DECLINED" | "INVALID_REQUEST" | "AUTHORIZED_RISK_DECLINED" => {
                "payments.authorization.status.rejected"
            }
            // The cardholder has to act first: nothing was decided.
            "PENDING_AUTHENTICATION" => return Ok(()),
            _ => "payments.authorization.status.accepted",
        };
        self.tell(row, event)?;
        if took {
            self.tell(row, "payments.capture.status.accepted")?;
        }
        if refused {
            let data = json!({"id": self.ids.tx(row), "referenceNumber": self.tx(row)?.code.as_ref(),
                "status": "AUTHORIZED_RISK_DECLINED"});
            self.emit("risk.profile.decision.reject", data);
        }
        Ok(())
    }
}
