//! What the answer to a payment says, as facts: the table of statuses, total. A status that stands in no row is
//! parked with its raw name, and never taken for success or failure.
//!
//! | status | meaning |
//! |---|---|
//! | AUTHORIZED | reserved; with `capture: true` taken as well |
//! | PARTIAL_AUTHORIZED | reserved in part; setting `partial_authorization` says what follows |
//! | AUTHORIZED_PENDING_REVIEW | reserved, and held by a review |
//! | PENDING_REVIEW | held by a review before anything was reserved |
//! | AUTHORIZED_RISK_DECLINED | reserved, and failed all the same: it has to be let go |
//! | PENDING_AUTHENTICATION | the cardholder must act |
//! | DECLINED | failed |
//! | INVALID_REQUEST | refused, as a 400 |
//! | SERVER_ERROR | unknown |

use serde_json::Value;
use tillway_core::doc::Json;
use tillway_core::facts::{Fact, RefundStatus};
use tillway_core::money::{Currency, Money};
use tillway_core::time::{Millis, Timestamp};

use super::errors;
use super::plan::Plan;
use super::settings::{self, Partial};
use super::wire::{self, Fault, money, text};
use crate::config::Connection;

/// Where an order's amounts stand.
pub(super) const TOTAL: [&str; 3] = ["orderInformation", "amountDetails", "totalAmount"];
/// What the bank reserved of it.
pub(super) const AUTHORIZED: [&str; 3] = ["orderInformation", "amountDetails", "authorizedAmount"];
/// Their currency.
pub(super) const CURRENCY: [&str; 3] = ["orderInformation", "amountDetails", "currency"];

/// How a payment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Reserved,
    ReservedInPart,
    Held,
    HeldUnreserved,
    RiskDeclined,
    MustAct,
    Declined,
    Invalid,
    Unclear,
}

impl Went {
    /// The row of a status; `None` for one that nobody here knows.
    pub(super) fn of(status: &str) -> Option<Self> {
        Some(match status {
            "AUTHORIZED" => Self::Reserved,
            "PARTIAL_AUTHORIZED" => Self::ReservedInPart,
            "AUTHORIZED_PENDING_REVIEW" => Self::Held,
            "PENDING_REVIEW" => Self::HeldUnreserved,
            "AUTHORIZED_RISK_DECLINED" => Self::RiskDeclined,
            "PENDING_AUTHENTICATION" => Self::MustAct,
            "DECLINED" => Self::Declined,
            "INVALID_REQUEST" => Self::Invalid,
            "SERVER_ERROR" => Self::Unclear,
            _ => return None,
        })
    }
    /// Whether a sale that went so was taken as well.
    pub(super) const fn may_be_taken(self) -> bool {
        matches!(self, Self::Reserved | Self::ReservedInPart)
    }
    /// Whether money is reserved.
    pub(super) const fn reserves(self) -> bool {
        matches!(self, Self::Reserved | Self::ReservedInPart | Self::Held | Self::RiskDeclined)
    }
}

/// What a payment's answer tells, from wherever it is heard.
pub(super) struct Paid<'a> {
    pub(super) connection: &'a Connection,
    /// The gateway's id.
    pub(super) payment: &'a str,
    pub(super) went: Went,
    /// What was asked for, where told.
    pub(super) total: Option<Money>,
    /// What was reserved.
    pub(super) reserved: Option<Money>,
    /// It was taken with the same request.
    pub(super) taken: bool,
    pub(super) at: Option<Timestamp>,
    /// The answer, for its reasons.
    pub(super) answer: Json<'a>,
}

impl Paid<'_> {
    /// The vendor's reason, else the status' own name.
    pub(super) fn reason(&self) -> String {
        let by_status = match self.went {
            Went::RiskDeclined => "AUTHORIZED_RISK_DECLINED",
            Went::ReservedInPart => "PARTIAL_AUTHORIZED",
            Went::Invalid => "INVALID_REQUEST",
            _ => "DECLINED",
        };
        errors::code(self.answer).unwrap_or_else(|| by_status.to_owned())
    }

    /// Whether less was reserved than asked for, and that is not wanted.
    pub(super) fn unwanted_part(&self) -> bool {
        let part = self.went == Went::ReservedInPart && !self.taken;
        part && settings::partial(self.connection) == Partial::Reverse
    }

    /// Whether a person decides about a part.
    pub(super) fn asks_about_part(&self) -> bool {
        settings::partial(self.connection) == Partial::Ask
    }

    /// The facts.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let payment = || self.payment.to_owned();
        let mut facts = Vec::new();
        facts.extend(self.total.map(|amount| Fact::Payment { payment: payment(), amount }));
        if let Some(amount) = self.reserved.filter(|_| self.went.reserves()) {
            let expires_at = self.at.map(|at| expires_at(self.connection, at));
            facts.push(Fact::Authorized { payment: payment(), charge: payment(), amount, expires_at });
            if self.taken {
                let capture = payment();
                facts.push(Fact::CaptureMade { payment: payment(), charge: payment(), capture, amount });
            }
        }
        match self.went {
            Went::Held | Went::HeldUnreserved => {
                facts.push(Fact::ReviewOpened { review: payment(), payment: payment() });
            }
            Went::MustAct => facts.push(Fact::ActionRequired { payment: payment(), attempt: payment() }),
            Went::Declined | Went::RiskDeclined => facts.push(self.failed()),
            Went::ReservedInPart if self.unwanted_part() => facts.push(self.failed()),
            _ => {}
        }
        facts
    }

    fn failed(&self) -> Fact {
        errors::attempt_failed(self.payment, &self.reason(), self.answer)
    }
}

/// Reads the amounts of a payment: what was asked for and what was reserved. A decline may tell neither.
pub(super) fn amounts(
    connection: &Connection,
    answer: Json<'_>,
    went: Went,
    currency: Option<Currency>,
) -> Result<(Option<Money>, Option<Money>), Fault> {
    let read = |path: &[&str]| money(connection, answer, path, &CURRENCY, currency);
    let total = answer.at(&TOTAL).map(|_| read(&TOTAL)).transpose()?;
    let reserved = match (answer.at(&AUTHORIZED), total) {
        (Some(_), _) => Some(read(&AUTHORIZED)?),
        // A partial reservation without its amount is no amount.
        (None, Some(total)) if went != Went::ReservedInPart => Some(total),
        _ if went.reserves() => Some(read(&AUTHORIZED)?),
        _ => None,
    };
    Ok((total, reserved))
}

/// When the time of a hold is over, by what the merchant says of how long they last: Cybersource tells nothing of it.
pub(super) fn expires_at(connection: &Connection, made: Timestamp) -> Timestamp {
    made + Millis::days(connection.number("hold_days", 7))
}

/// The stored customer an answer names.
pub(super) fn customer(answer: Json<'_>) -> Option<Fact> {
    let id = text(answer, &["tokenInformation", "customer", "id"])
        .or_else(|| text(answer, &["paymentInformation", "customer", "id"]))?;
    wire::is_id(id).then(|| Fact::Customer { id: id.to_owned() })
}

/// The reusable token of a payment: one that the payment made (`TOKEN_CREATE`), or that it was made with.
pub(super) fn instrument(plan: &Plan, answer: Json<'_>) -> Option<Fact> {
    let given = || plan.body.pointer("/paymentInformation/instrumentIdentifier/id").and_then(Value::as_str);
    let id = text(answer, &["tokenInformation", "instrumentIdentifier", "id"]).or_else(given)?;
    wire::is_id(id).then(|| Fact::Instrument { id: id.to_owned() })
}

/// How far a refund got.
pub(super) fn refund_status(raw: &str) -> Result<RefundStatus, Fault> {
    match raw {
        "PENDING" => Ok(RefundStatus::Pending),
        "TRANSMITTED" | "BATCHED" | "SUCCEEDED" => Ok(RefundStatus::Succeeded),
        "VOIDED" | "CANCELLED" | "REVERSED" => Ok(RefundStatus::Cancelled),
        "FAILED" | "DECLINED" => Ok(RefundStatus::Failed),
        other => Err(wire::status_unknown("refund", other)),
    }
}

/// The fact of a refund. It is in the books from the moment Cybersource took it, as a capture is: both go to the
/// processor with the same batch. `of`: the capture it was made at; Cybersource refuses what that one no longer has.
pub(super) fn refund(
    id: &str,
    payment: &str,
    amount: Money,
    status: RefundStatus,
    request: Option<&str>,
    of: Option<&str>,
) -> Fact {
    let returned = matches!(status, RefundStatus::Cancelled | RefundStatus::Failed);
    Fact::Refund {
        refund: id.to_owned(),
        payment: payment.to_owned(),
        amount,
        status,
        moved: true,
        returned,
        request: request.map(str::to_owned),
        of: of.map(str::to_owned),
        undoes: None,
        resent: false,
    }
}

/// The fact of a void of a capture: money that was not settled yet went back. `resent`: the capture's answer was lost, and it
/// was undone so that it could be sent again.
pub(super) fn void(
    id: &str,
    payment: &str,
    capture: (&str, Money),
    request: Option<&str>,
    resent: bool,
) -> Fact {
    Fact::Refund {
        refund: id.to_owned(),
        payment: payment.to_owned(),
        amount: capture.1,
        status: RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: request.map(str::to_owned),
        of: Some(capture.0.to_owned()),
        undoes: Some(capture.0.to_owned()),
        resent,
    }
}
