//! A transaction as search and detail show it (`/tss/v2`): what kind it is, how it went, and its facts.
//!
//! A detail names no status for a plain authorization; what happened is told by its applications' codes: 1 went well, 0
//! was declined, -1 failed. Reasons 480 and 481 are Decision Manager's review and refusal.

use tillway_core::doc::Json;
use tillway_core::facts::{AuthorizationEnd, Fact, RefundStatus};
use tillway_core::money::Money;
use tillway_core::time::Timestamp;

use super::errors;
use super::facts::{self, CURRENCY, Paid, TOTAL, Went, amounts};
use super::wire::{self, Fault, money, scalar, text};
use crate::config::Connection;

/// What kind a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reserved money.
    Authorization,
    /// Reserved and took it at once.
    Sale,
    Capture,
    Refund,
    Reversal,
    Void,
    /// A risk decision, a token, whatever else: moves no money.
    Other,
}

impl Kind {
    /// From a summary or a detail.
    pub(super) fn of(transaction: Json<'_>) -> Self {
        let has = |name: &str| applications(transaction).any(|a| text(a, &["name"]) == Some(name));
        match (has("ics_auth"), has("ics_bill")) {
            (true, true) => Self::Sale,
            (true, false) => Self::Authorization,
            (false, true) => Self::Capture,
            _ if has("ics_credit") => Self::Refund,
            _ if has("ics_auth_reversal") => Self::Reversal,
            _ if has("ics_void") => Self::Void,
            _ => Self::Other,
        }
    }
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Sale => "sale",
            Self::Capture => "capture",
            Self::Refund => "refund",
            Self::Reversal => "reversal",
            Self::Void => "void",
            Self::Other => "other",
        }
    }
    /// The application that decides about it.
    const fn application(self) -> &'static str {
        match self {
            Self::Authorization | Self::Sale => "ics_auth",
            Self::Capture => "ics_bill",
            Self::Refund => "ics_credit",
            Self::Reversal => "ics_auth_reversal",
            Self::Void => "ics_void",
            Self::Other => "",
        }
    }
}

fn applications(transaction: Json<'_>) -> impl Iterator<Item = Json<'_>> {
    transaction.at(&["applicationInformation", "applications"]).into_iter().flat_map(Json::items)
}

/// A transaction's detail.
#[derive(Clone, Copy)]
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) detail: Json<'a>,
    pub(super) kind: Kind,
    pub(super) id: &'a str,
}

impl<'a> Transaction<'a> {
    pub(super) fn of(connection: &'a Connection, detail: Json<'a>) -> Result<Self, Fault> {
        Ok(Self { connection, detail, kind: Kind::of(detail), id: wire::id(detail)? })
    }

    /// The payment it belongs to: the first of its chain.
    pub(super) fn root(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Authorization | Kind::Sale => Some(self.id),
            _ => text(self.detail, &["rootId"]).filter(|r| wire::is_id(r) && *r != self.id),
        }
    }

    fn needed_root(&self) -> Result<&'a str, Fault> {
        self.root().ok_or_else(|| {
            let what = "the transaction names no payment it belongs to; look at it in the Business Center";
            Fault::new("payment_unknown", "rootId", what)
        })
    }

    /// Ids of the transactions it is linked with.
    pub(super) fn related(&self) -> impl Iterator<Item = &'a str> {
        let links = self.detail.at(&["_links", "relatedTransactions"]).into_iter().flat_map(Json::items);
        links.filter_map(|l| text(l, &["href"])).filter_map(wire::last_segment)
    }

    fn application(&self) -> Option<Json<'a>> {
        applications(self.detail).find(|a| text(*a, &["name"]) == Some(self.kind.application()))
    }

    /// The command of ours that made it, where it is marked.
    pub(super) fn command(&self) -> Option<&'a str> {
        mark(self.connection, self.detail)
    }

    /// The status it shows, in the vendor's words; empty where it shows none.
    pub(super) fn status(&self) -> &'a str {
        let own = self.application().and_then(|a| text(a, &["status"]));
        let whole = || text(self.detail, &["applicationInformation", "status"]);
        own.or_else(whole).or_else(|| text(self.detail, &["status"])).unwrap_or("")
    }

    fn reason_code(&self) -> String {
        let whole = scalar(self.detail, &["applicationInformation", "reasonCode"]);
        whole.unwrap_or_default()
    }

    /// Whether it was carried out; an error for a code nobody here knows.
    pub(super) fn done(&self) -> Result<bool, Fault> {
        let own = self.application().and_then(|a| scalar(a, &["rCode"]));
        let code = own.or_else(|| scalar(self.detail, &["applicationInformation", "rCode"]));
        match code.as_deref() {
            Some("1") => Ok(true),
            Some("0" | "-1") => Ok(false),
            // Details may leave it out; reason 100 is success.
            None if self.reason_code() == "100" => Ok(true),
            other => {
                let what = format!(
                    "the result code of this {} is {}, which Tillway does not know; look at it in the Business Center",
                    self.kind.name(),
                    wire::shown(other.unwrap_or(""))
                );
                Err(Fault::new("status_unknown", "applicationInformation.applications.rCode", what))
            }
        }
    }

    /// How a payment went.
    pub(super) fn went(&self) -> Result<Went, Fault> {
        if let Some(went) = Went::of(self.status()) {
            return Ok(went);
        }
        let reason = errors::reason(self.detail).unwrap_or_default();
        let says = |code: &str, word: &str| self.reason_code() == code || reason == word;
        // The bank approved and the platform's own check of address or security code held it: the code reads like a
        // decline, the money is reserved (200 and 230 from memory).
        if says("200", "AVS_FAILED") || says("230", "CV_FAILED") {
            return Ok(Went::Held);
        }
        if !self.done()? {
            return Ok(Went::Declined);
        }
        Ok(match () {
            () if says("480", "DECISION_PROFILE_REVIEW") => Went::Held,
            () if says("481", "DECISION_PROFILE_REJECT") => Went::RiskDeclined,
            // 110: approved in part.
            () if self.reason_code() == "110" => Went::ReservedInPart,
            () => Went::Reserved,
        })
    }

    pub(super) fn amount(&self) -> Result<Money, Fault> {
        money(self.connection, self.detail, &TOTAL, &CURRENCY, None)
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        wire::submitted(self.detail)
    }

    /// What a payment's detail tells.
    pub(super) fn paid(&self) -> Result<Paid<'a>, Fault> {
        let went = self.went()?;
        let (total, reserved) = amounts(self.connection, self.detail, went, None)?;
        Ok(Paid {
            connection: self.connection,
            payment: self.id,
            went,
            total,
            reserved,
            taken: self.kind == Kind::Sale && went.reserves(),
            at: self.at(),
            answer: self.detail,
        })
    }

    /// Facts. `target` is the transaction a void undid, where that was read.
    pub(super) fn facts(&self, target: Option<&Transaction<'_>>) -> Result<Vec<Fact>, Fault> {
        match self.kind {
            Kind::Authorization | Kind::Sale => {
                let mut facts = self.paid()?.facts();
                facts.extend(facts::customer(self.detail));
                Ok(facts)
            }
            Kind::Other => Ok(Vec::new()),
            _ if !self.done()? => Ok(Vec::new()),
            Kind::Capture => {
                self.known_status(&[
                    "",
                    "PENDING",
                    "TRANSMITTED",
                    "BATCHED",
                    "VOIDED",
                    "CANCELLED",
                    "REVERSED",
                ])?;
                let root = self.needed_root()?;
                Ok(vec![captured(root, self.id, self.amount()?)])
            }
            Kind::Refund => {
                let status = match self.status() {
                    "" => RefundStatus::Pending,
                    raw => facts::refund_status(raw)?,
                };
                let request = request_mark(self.connection, self.detail);
                Ok(vec![facts::refund(self.id, self.needed_root()?, self.amount()?, status, request)])
            }
            Kind::Reversal => Ok(reversed(self.needed_root()?, "reversed")),
            Kind::Void => self.voided(target),
        }
    }

    fn known_status(&self, known: &[&str]) -> Result<(), Fault> {
        let raw = self.status();
        if known.contains(&raw) { Ok(()) } else { Err(wire::status_unknown(self.kind.name(), raw)) }
    }

    /// A void takes a capture back before it is settled, which to the books is a refund at once; or it withdraws a
    /// refund.
    fn voided(&self, target: Option<&Transaction<'_>>) -> Result<Vec<Fact>, Fault> {
        let root = self.needed_root()?;
        let request = request_mark(self.connection, self.detail);
        match target {
            Some(refund) if refund.kind == Kind::Refund => {
                let request = request_mark(self.connection, refund.detail);
                let amount = refund.amount()?;
                Ok(vec![facts::refund(refund.id, root, amount, RefundStatus::Cancelled, request)])
            }
            Some(capture) => {
                let amount = capture.amount()?;
                Ok(vec![facts::refund(self.id, root, amount, RefundStatus::Succeeded, request)])
            }
            None => Ok(vec![facts::refund(self.id, root, self.amount()?, RefundStatus::Succeeded, request)]),
        }
    }
}

/// The fact of a capture.
pub(super) fn captured(payment: &str, capture: &str, amount: Money) -> Fact {
    let (payment, capture) = (payment.to_owned(), capture.to_owned());
    Fact::CaptureMade { charge: payment.clone(), payment, capture, amount }
}

/// Facts of a reversal.
pub(super) fn reversed(payment: &str, reason: &str) -> Vec<Fact> {
    let payment = payment.to_owned();
    let how = AuthorizationEnd::Voided;
    vec![
        Fact::AuthorizationEnded { payment: payment.clone(), charge: payment.clone(), how },
        Fact::PaymentCancelled { payment, reason: reason.to_owned() },
    ]
}

fn defined<'a>(connection: &Connection, object: Json<'a>, further: i64) -> Option<&'a str> {
    let key = connection.number("command_field", 20).saturating_add(further).to_string();
    let mut fields = object.get("merchantDefinedInformation")?.items();
    fields.find(|f| scalar(*f, &["key"]).as_deref() == Some(&key)).and_then(|f| text(f, &["value"]))
}

/// The command of ours that made a transaction. Three members may carry it: captures, payments and refunds have a
/// merchant-defined field, and voids and reversals comments; the transaction id is not shown by every account.
pub(super) fn mark<'a>(connection: &Connection, object: Json<'a>) -> Option<&'a str> {
    defined(connection, object, 0)
        .or_else(|| {
            text(object, &["clientReferenceInformation", "comments"]).and_then(|c| c.strip_prefix(COMMENT))
        })
        .or_else(|| text(object, &["clientReferenceInformation", "transactionId"]))
        .map(|found| found.split('.').next().unwrap_or(found))
}

/// Begins the comment that carries a command.
pub(super) const COMMENT: &str = "tillway ";

/// The refund request of ours that a transaction serves.
pub(super) fn request_mark<'a>(connection: &Connection, object: Json<'a>) -> Option<&'a str> {
    defined(connection, object, 1)
}
