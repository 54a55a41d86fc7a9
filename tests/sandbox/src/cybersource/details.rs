//! How transactions look: in answers and events, in searches, and in details.

use serde_json::{Map, Value, json};

use super::CybersourceSandbox;
use super::errors::{ApiError, time};
use super::ids::Row;
use super::magic;
use super::model::{Case, Kind, Payment, Tx, Way};

/// The numbers the older interface has for reasons.
fn number(tx: &Tx) -> (&'static str, &'static str, &'static str) {
    let status = tx.payment.as_deref().map_or("", |p| p.status);
    match (status, tx.reason) {
        ("PARTIAL_AUTHORIZED", _) => ("110", "1", "SPARTIALAPPROVAL"),
        (_, None) => ("100", "1", "SOK"),
        (_, Some("DECISION_PROFILE_REVIEW")) => ("480", "1", "DREVIEW"),
        (_, Some("DECISION_PROFILE_REJECT")) => ("481", "1", "DREJECT"),
        // Approved by the bank, and marked by the platform. [from memory]
        (_, Some("AVS_FAILED")) => ("200", "0", "DAVSNO"),
        (_, Some("CV_FAILED")) => ("230", "0", "DCV"),
        (_, Some("CONTACT_PROCESSOR")) => ("201", "0", "DCALL"),
        (_, Some("EXPIRED_CARD")) => ("202", "0", "DCARDEXPIRED"),
        (_, Some("INSUFFICIENT_FUND")) => ("204", "0", "DCARDREFUSED"),
        (_, Some("STOLEN_LOST_CARD")) => ("205", "0", "DCARDREFUSED"),
        (_, Some("ISSUER_UNAVAILABLE")) => ("207", "0", "DCARDREFUSED"),
        (_, Some("CVN_NOT_MATCH")) => ("209", "0", "DCARDREFUSED"),
        (_, Some("EXCEEDS_CREDIT_LIMIT")) => ("210", "0", "DCARDREFUSED"),
        (_, Some("CONSUMER_AUTHENTICATION_REQUIRED")) => ("475", "0", "DAUTHENTICATE"),
        (_, Some("INVALID_DATA")) => ("102", "-1", "DINVALIDDATA"),
        (_, Some(_)) => ("203", "0", "DCARDREFUSED"),
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn error(tx: &Tx) -> Option<Value> {
    tx.reason.map(|reason| json!({"reason": reason, "message": "see the reason"}))
}

/// In details a batched row still reads PENDING.
const fn way(tx: &Tx) -> &'static str {
    match tx.way {
        Way::Batched => "PENDING",
        way => way.name(),
    }
}

impl CybersourceSandbox {
    /// The status of a transaction, in the provider's words.
    pub(super) fn status(&self, tx: &Tx) -> &'static str {
        match (&tx.payment, tx.kind) {
            (Some(payment), _) => payment.status,
            (None, Kind::Void) => "VOIDED",
            (None, Kind::Reversal) => "REVERSED",
            (None, _) if !tx.approved => "DECLINED",
            (None, _) => tx.way.name(),
        }
    }

    /// What an answer and an event say of a transaction.
    pub(super) fn data(&self, row: Row) -> Result<Value, ApiError> {
        let tx = self.tx(row)?;
        let mut reference = json!({"code": tx.code.as_ref()});
        if let Some(id) = &tx.merchant_id {
            put(&mut reference, "transactionId", id.as_ref().into());
        }
        let mut out = json!({"id": self.ids.tx(row), "submitTimeUtc": time(tx.at), "status": self.status(tx),
            "reconciliationId": self.ids.number(3, u64::try_from(tx.root).unwrap_or(0), 1 << 40).to_string(),
            "clientReferenceInformation": reference});
        let (amount, currency) = (tx.money(tx.amount), tx.currency.code());
        match (&tx.payment, tx.kind) {
            (Some(payment), _) => self.payment_data(&mut out, tx, payment),
            (None, Kind::Refund) => {
                put(&mut out, "refundAmountDetails", json!({"refundAmount": amount, "currency": currency}));
            }
            (None, Kind::Void) => {
                put(&mut out, "voidAmountDetails", json!({"voidAmount": amount, "currency": currency}));
            }
            (None, Kind::Reversal) => {
                let whole = tx.money(self.tx(tx.root)?.amount);
                let details = json!({"reversedAmount": amount, "originalTransactionAmount": whole,
                    "currency": currency});
                put(&mut out, "reversalAmountDetails", details);
            }
            (None, _) => {
                let details = json!({"amountDetails": {"totalAmount": amount, "currency": currency}});
                put(&mut out, "orderInformation", details);
            }
        }
        if let Some(error) = error(tx) {
            put(&mut out, "errorInformation", error);
        }
        Ok(out)
    }

    fn payment_data(&self, out: &mut Value, tx: &Tx, payment: &Payment) {
        let mut amounts = json!({"currency": tx.currency.code(), "totalAmount": tx.money(tx.amount)});
        if payment.authorized > 0 {
            put(&mut amounts, "authorizedAmount", tx.money(payment.authorized).into());
            put(out, "processorInformation", json!({"approvalCode": "888888", "responseCode": "100"}));
        } else if let Some(code) = magic::response_code(tx.reason) {
            put(out, "processorInformation", json!({"responseCode": code}));
        }
        put(out, "orderInformation", json!({"amountDetails": amounts}));
        put(out, "paymentAccountInformation", json!({"card": {"type": payment.card.kind}}));
        if let Some(customer) = &payment.customer {
            put(out, "paymentInformation", json!({"customer": {"id": customer}}));
        }
        if let Some(identifier) = &payment.made {
            let made = json!({"instrumentIdentifier": {"id": identifier, "state": "ACTIVE"}});
            put(out, "tokenInformation", made);
        }
        if let Some(verdict) = &payment.verdict {
            let risk = json!({
                "profile": {"name": "Sandbox", "desinationQueue": "Review queue"},
                "rules": [{"name": verdict.rule, "decision": verdict.decision}],
                "score": {"result": verdict.score.to_string(), "factorCodes": ["F"], "modelUsed": "default"},
                "casePriority": 3,
            });
            put(out, "riskInformation", risk);
        }
    }

    /// The answer to the call that made a transaction.
    pub(super) fn shown(&self, row: Row) -> Result<Value, ApiError> {
        let tx = self.tx(row)?;
        let mut out = self.data(row)?;
        let own = format!("/pts/v2/{}/{}", tx.kind.plural(), self.ids.tx(row));
        let mut links = Map::new();
        links.insert("self".into(), json!({"href": own, "method": "GET"}));
        let follows: &[(&str, &str)] = match (&tx.payment, tx.kind) {
            (Some(p), _) if p.took => &[("void", "voids"), ("refund", "refunds")],
            (Some(p), _) if p.case == Case::Refused => &[("authReversal", "reversals")],
            (Some(p), _) if p.authorized > 0 => &[("capture", "captures"), ("authReversal", "reversals")],
            (None, Kind::Capture) => &[("void", "voids"), ("refund", "refunds")],
            (None, Kind::Refund) => &[("void", "voids")],
            _ => &[],
        };
        for (name, last) in follows {
            let href = format!("{own}/{last}");
            links.insert((*name).to_owned(), json!({"href": href, "method": "POST"}));
        }
        put(&mut out, "_links", Value::Object(links));
        Ok(out)
    }

    fn application(name: &str, tx: &Tx) -> Value {
        let (reason, code, flag) = number(tx);
        let status = if matches!(name, "ics_bill" | "ics_credit") { way(tx) } else { "" };
        json!({"name": name, "status": status, "reasonCode": reason, "rCode": code, "rFlag": flag})
    }

    fn applications(tx: &Tx) -> Vec<Value> {
        let names: &[&str] = match (&tx.payment, tx.kind) {
            // Nothing was asked of the bank.
            (Some(p), _) if p.status == "PENDING_AUTHENTICATION" => &["ics_pa_enroll"],
            (Some(p), _) if matches!(p.status, "PENDING_REVIEW" | "ACCEPTED" | "REJECTED") => {
                &["ics_decision"]
            }
            (Some(p), _) if p.took => &["ics_auth", "ics_bill"],
            (Some(p), _) if p.verdict.is_some() => &["ics_auth", "ics_decision"],
            (Some(_), _) => &["ics_auth"],
            (None, Kind::Capture) => &["ics_bill"],
            (None, Kind::Refund) => &["ics_credit"],
            (None, Kind::Reversal) => &["ics_auth_reversal"],
            (None, _) => &["ics_void"],
        };
        names.iter().map(|name| Self::application(name, tx)).collect()
    }

    /// What a search and a detail have in common.
    fn common(&self, tx: &Tx) -> Value {
        let mut reference = json!({"code": tx.code.as_ref()});
        if let Some(comments) = tx.comments.as_ref().filter(|_| self.config.shows_comments) {
            put(&mut reference, "comments", comments.as_ref().into());
        }
        let amount = json!({"totalAmount": tx.money(tx.amount), "currency": tx.currency.code()});
        let mut out = json!({"id": self.ids.tx(tx.row), "merchantId": self.config.credentials_of(tx.merchant).merchant_id,
            "clientReferenceInformation": reference, "orderInformation": {"amountDetails": amount}});
        if self.config.shows_defined {
            put(&mut out, "merchantDefinedInformation", tx.defined.clone());
        }
        out
    }

    /// A row of a search.
    pub(super) fn summary(&self, tx: &Tx) -> Value {
        let (reason, code, flag) = number(tx);
        let mut out = self.common(tx);
        put(&mut out, "submitTimeUtc", time(tx.at).into());
        put(
            &mut out,
            "applicationInformation",
            json!({"reasonCode": reason, "rCode": code, "rFlag": flag, "applications": Self::applications(tx)}),
        );
        out
    }

    /// `GET /tss/v2/transactions/{id}`.
    pub(super) fn detail(&self, id: &str) -> Result<Value, ApiError> {
        let row = self.ids.tx_row(id).ok_or_else(ApiError::not_found)?;
        let indexed = |t: &&Tx| t.merchant == self.caller && self.now.since(t.at) >= self.config.detail_lag;
        let tx = self.txs.get(row).filter(indexed).ok_or_else(ApiError::not_found)?;
        let mut out = self.common(tx);
        put(&mut out, "rootId", self.ids.tx(tx.root).into());
        put(&mut out, "submitTimeUTC", time(tx.at).into());
        let (reason, ..) = number(tx);
        let applications = Self::applications(tx);
        let mut information =
            json!({"reasonCode": reason.parse::<i64>().unwrap_or(0), "applications": applications});
        if tx.way != Way::Not {
            put(&mut information, "status", way(tx).into());
        }
        put(&mut out, "applicationInformation", information);
        if let Some(payment) = &tx.payment {
            let mut amounts = json!({"totalAmount": tx.money(tx.amount), "currency": tx.currency.code()});
            if payment.authorized > 0 {
                put(&mut amounts, "authorizedAmount", tx.money(payment.authorized).into());
            }
            put(&mut out, "orderInformation", json!({"amountDetails": amounts}));
            let card = json!({"type": payment.card.kind, "prefix": payment.card.prefix,
                "suffix": payment.card.suffix, "expirationMonth": payment.card.month,
                "expirationYear": payment.card.year});
            let kind = json!({"type": "credit card", "method": payment.card.method()});
            let mut used = json!({"card": card, "paymentType": kind});
            if let Some(customer) = &payment.customer {
                put(&mut used, "customer", json!({"id": customer}));
            }
            put(&mut out, "paymentInformation", used);
        }
        if let Some(error) = error(tx) {
            put(&mut out, "errorInformation", error);
        }
        // What it acts on, and what acts on it: not the whole chain.
        let around = tx.target.into_iter().chain(self.acting_on(row).map(|t| t.row));
        let around: Vec<Value> = around.map(|r| self.link(r)).collect();
        put(&mut out, "_links", json!({"self": self.link(row), "relatedTransactions": around}));
        Ok(out)
    }

    pub(super) fn link(&self, row: Row) -> Value {
        let href = format!("https://apitest.cybersource.com:-1/tss/v2/transactions/{}", self.ids.tx(row));
        json!({"href": href, "method": "GET"})
    }
}
