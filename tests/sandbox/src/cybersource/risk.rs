//! Decision Manager: rules over what the issuer approved, and cases decided by people.

use serde_json::{Map, Value, json};
use tillway_core::money::Currency;

use super::CybersourceSandbox;
use super::body::{Body, Reference};
use super::errors::ApiError;
use super::ids::Row;
use super::model::{Case, Conversion, Kind, Verdict};

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RiskTest {
    /// So many major units or more; a hundred times as many where the currency has no minor ones.
    AmountFrom(i64),
    /// A word in an address or the e-mail address.
    Word(String),
    /// This IP address.
    Ip(String),
    /// This session of the device fingerprint.
    Session(String),
    /// So many pieces or more in one line.
    PiecesFrom(i64),
    /// This product code or stock-keeping unit in a line.
    Product(String),
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskRule {
    /// Its name.
    pub name: String,
    /// What it looks at.
    pub test: RiskTest,
    /// Rejects what it strikes; else a person reviews it.
    pub reject: bool,
}

impl RiskRule {
    /// The rules of a new account, as in the table at the top.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let rule = |name: &str, test, reject| Self { name: name.into(), test, reject };
        vec![
            rule("Large order", RiskTest::AmountFrom(5000), false),
            rule("Very large order", RiskTest::AmountFrom(10_000), true),
            rule("Review word", RiskTest::Word("review".into()), false),
            rule("Reject word", RiskTest::Word("reject".into()), true),
            rule("Listed address", RiskTest::Ip("198.51.100.66".into()), true),
            rule("Listed device", RiskTest::Session("visit-66".into()), false),
            rule("Many pieces", RiskTest::PiecesFrom(100), false),
            rule("Gift card", RiskTest::Product("GIFTCARD".into()), false),
        ]
    }

    fn strikes(&self, body: Body<'_>, words: &[String], amount: i64, currency: Currency) -> bool {
        let told = |path: &str, value: &str| body.get(path).and_then(Value::as_str) == Some(value);
        let lines = || body.get("orderInformation.lineItems").and_then(Value::as_array).into_iter().flatten();
        match &self.test {
            RiskTest::Ip(address) => told("deviceInformation.ipAddress", address),
            RiskTest::Session(session) => told("deviceInformation.fingerprintSessionId", session),
            RiskTest::PiecesFrom(pieces) => {
                lines().any(|l| l["quantity"].as_i64().is_some_and(|q| q >= *pieces))
            }
            RiskTest::Product(code) => {
                let names = ["productCode", "productSku", "productSKU"];
                lines().any(|l| names.iter().any(|n| l[*n].as_str() == Some(code)))
            }
            RiskTest::AmountFrom(major) => {
                let unit = 10_i64.checked_pow(currency.exponent().max(2)).unwrap_or(100);
                amount >= major.saturating_mul(unit)
            }
            RiskTest::Word(word) => words.contains(word),
        }
    }
}

/// Words of all addresses, in lower case.
fn words(body: Body<'_>) -> Vec<String> {
    let whose = ["orderInformation.billTo", "orderInformation.shipTo"];
    let maps = whose.iter().filter_map(|path| body.get(path)).filter_map(Value::as_object);
    let texts = maps.flat_map(Map::values).filter_map(Value::as_str);
    let split = |text: &str| {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
        words.map(str::to_lowercase).collect::<Vec<_>>()
    };
    texts.flat_map(split).collect()
}

/// What the rules say; of those that strike, the hardest counts.
pub(super) fn verdict(
    rules: &[RiskRule],
    body: Body<'_>,
    amount: i64,
    currency: Currency,
) -> Option<Verdict> {
    let words = words(body);
    let struck = rules.iter().filter(|r| r.strikes(body, &words, amount, currency));
    let rule = struck.max_by_key(|r| r.reject)?;
    let (decision, score) = if rule.reject { ("REJECT", 95) } else { ("REVIEW", 84) };
    Some(Verdict { rule: rule.name.clone(), decision, score })
}

/// How a case is decided.
pub(super) struct Decided<'a> {
    pub(super) accept: bool,
    /// Captures what was accepted, or lets go of what was rejected.
    pub(super) act: bool,
    pub(super) reviewer: &'a str,
    pub(super) comments: &'a str,
}

impl CybersourceSandbox {
    /// `POST /risk/v1/decisions/{id}/actions`.
    pub(super) fn case_action(&mut self, id: &str, body: Body<'_>) -> Result<Value, ApiError> {
        let row = self.find(Kind::Payment, id)?;
        let path = "decisionInformation.decision";
        let accept = match body.needed(path)? {
            "ACCEPT" => true,
            "REJECT" => false,
            _ => return Err(ApiError::invalid(path, "ACCEPT or REJECT")),
        };
        let list = "processingInformation.actionList";
        let actions = body.words(list)?;
        let fitting = if accept { "CAPTURE" } else { "REVERSE" };
        if actions.iter().any(|a| *a != fitting) {
            return Err(ApiError::invalid(list, "does not go with the decision"));
        }
        let comments = body.short("decisionInformation.comments", 255)?.unwrap_or("");
        let act = !actions.is_empty();
        let decided = Decided { accept, act, reviewer: "api", comments };
        let embedded = self.decide_row(row, &decided)?;
        let status = if accept { "ACCEPTED" } else { "REJECTED" };
        Ok(json!({"id": id, "submitTimeUtc": super::errors::time(self.now), "status": status,
            "_embedded": embedded}))
    }

    /// Closes the open case of a payment; answers what followed.
    pub(super) fn decide_row(&mut self, row: Row, decided: &Decided<'_>) -> Result<Value, ApiError> {
        let code = self.tx(row)?.code.clone();
        let payment = self.paid(row)?;
        if payment.case != Case::Open {
            return Err(ApiError::refuse("INVALID_DATA", "no open case").at("id"));
        }
        let held = payment.held();
        self.paid_mut(row)?.case = if decided.accept { Case::Accepted } else { Case::Rejected };
        self.conversions.push(Conversion {
            at: self.now,
            payment: row,
            accepted: decided.accept,
            reviewer: decided.reviewer.to_owned(),
            comments: decided.comments.to_owned(),
        });
        let mut embedded = Map::new();
        if decided.act && held > 0 {
            let reference = Reference { code: &code, merchant_id: None, comments: None };
            let (name, followed) = if decided.accept {
                ("capture", self.take(row, &reference, Value::Array(Vec::new()), held)?)
            } else {
                ("reversal", self.let_go(row, &reference, true, held)?)
            };
            let tx = self.tx(followed)?;
            let href = format!("/pts/v2/{}/{}", tx.kind.plural(), self.ids.tx(followed));
            let links = json!({"self": {"href": href, "method": "GET"}});
            embedded.insert(name.into(), json!({"status": self.status(tx), "_links": links}));
        }
        let embedded = Value::Object(embedded);
        let event = if decided.accept { "accept" } else { "reject" };
        let data = json!({"id": self.ids.tx(row), "referenceNumber": code.as_ref(),
            "notes": [{"comment": decided.comments}], "_embedded": embedded.clone()});
        self.emit(&format!("risk.casemanagement.decision.{event}"), data);
        Ok(embedded)
    }
}
