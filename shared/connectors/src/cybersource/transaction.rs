//! A transaction as search and detail show it (`/tss/v2`): what kind it is, how it went, and its facts.
//!
//! A detail names no status for a plain authorization; what happened is told by its applications' codes: 1 went well, 0
//! was declined, -1 failed. Reasons 480 and 481 are Decision Manager's review and refusal.

use tillway_core::doc::Json;
use tillway_core::facts::{AuthorizationEnd, Fact, RefundStatus};
use tillway_core::money::Money;
use tillway_core::time::Timestamp;

use super::errors;
use super::facts::{self, AUTHORIZED, CURRENCY, Paid, TOTAL, Went, amounts};
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

/// Reasons of errors with which nothing was begun: data that is missing or invalid, a duplicate, an account that is not set
/// up. What is not listed, time-outs above all, leaves it open.
const NOT_BEGUN: [&str; 4] = ["101", "102", "104", "234"];

/// Statuses of a payment's detail that say what became of it later, or of a sale's bill, and not what the bank did: its codes
/// tell that. Details of plain authorizations mostly show none.
const LATER: [&str; 8] =
    ["", "PENDING", "TRANSMITTED", "BATCHED", "SUCCEEDED", "VOIDED", "CANCELLED", "REVERSED"];

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

    /// The one transaction it is linked with: what it acts on, while nothing acts on it.
    fn only_related(&self) -> Option<&'a str> {
        let mut others = self.related().filter(|id| *id != self.id);
        others.next().filter(|first| others.all(|other| other == *first))
    }

    fn application(&self) -> Option<Json<'a>> {
        applications(self.detail).find(|a| text(*a, &["name"]) == Some(self.kind.application()))
    }

    /// What of ours made it, where it says so in any way.
    pub(super) fn mark(&self) -> Option<Mark<'a>> {
        mark(self.connection, self.detail).or_else(|| sent_as(self.detail))
    }

    /// The status it shows, in the vendor's words; empty where it shows none.
    pub(super) fn status(&self) -> &'a str {
        let own = self.application().and_then(|a| text(a, &["status"]));
        let whole = || text(self.detail, &["applicationInformation", "status"]);
        own.or_else(whole).or_else(|| text(self.detail, &["status"])).unwrap_or("")
    }

    /// The reason of the whole, else of the application that decides; empty where none is told.
    fn reason_code(&self) -> String {
        let own = || self.application().and_then(|a| scalar(a, &["reasonCode"]));
        let whole = scalar(self.detail, &["applicationInformation", "reasonCode"]);
        whole.or_else(own).unwrap_or_default()
    }

    fn code(&self, application: Option<Json<'_>>) -> Option<String> {
        let own = application.and_then(|a| scalar(a, &["rCode"]));
        own.or_else(|| scalar(self.detail, &["applicationInformation", "rCode"]))
    }

    /// Cybersource had an error of its own: whether it was carried out, nobody can tell from this.
    pub(super) fn is_unclear(&self) -> bool {
        let error =
            self.code(self.application()).as_deref() == Some("-1") && Went::of(self.status()).is_none();
        error && !NOT_BEGUN.contains(&self.reason_code().as_str())
    }

    /// Whether a status says that it was taken back.
    pub(super) fn is_undone(&self) -> bool {
        matches!(self.status(), "VOIDED" | "CANCELLED" | "REVERSED")
    }

    /// Whether it was sent to the processor with its batch: then it can be voided no more.
    pub(super) fn went_out(&self) -> bool {
        let moves = |a: &Json<'_>| matches!(text(*a, &["name"]), Some("ics_bill" | "ics_credit"));
        let own = applications(self.detail).find(moves).and_then(|a| text(a, &["status"]));
        let whole = || text(self.detail, &["applicationInformation", "status"]);
        matches!(own.filter(|s| !s.is_empty()).or_else(whole), Some("TRANSMITTED" | "BATCHED"))
    }

    /// Whether it was carried out; an error for a code nobody here knows, or one that leaves it open.
    pub(super) fn done(&self) -> Result<bool, Fault> {
        match self.code(self.application()).as_deref() {
            Some("1") => Ok(true),
            Some("0") => Ok(false),
            Some("-1") if NOT_BEGUN.contains(&self.reason_code().as_str()) => Ok(false),
            Some("-1") => {
                let what = format!(
                    "Cybersource had a system error with this {}, and may have carried it out; look at it in the \
                     Business Center",
                    self.kind.name()
                );
                Err(Fault::new("outcome_unclear", "applicationInformation.applications.rCode", what))
            }
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
        self.known_status(&LATER)?;
        let reason = errors::reason(self.detail).unwrap_or_default();
        let says = |code: &str, word: &str| self.reason_code() == code || reason == word;
        // Held by a check of address or security code, or because the bank wants to be asked: the code reads like a decline,
        // the money is reserved (200, 201 and 230 from memory).
        let checked =
            says("200", "AVS_FAILED") || says("201", "CONTACT_PROCESSOR") || says("230", "CV_FAILED");
        if checked || says("480", "DECISION_PROFILE_REVIEW") {
            return Ok(Went::Held);
        }
        // Asked before the codes: they may read like a decline where the bank reserved and the risk check refused.
        if says("481", "DECISION_PROFILE_REJECT") {
            return Ok(Went::RiskDeclined);
        }
        if !self.done()? {
            return Ok(Went::Declined);
        }
        match self.reason_code().as_str() {
            "" | "100" => Ok(Went::Reserved),
            // Approved in part.
            "110" => Ok(Went::ReservedInPart),
            other => Err(wire::unknown(
                self.kind.name(),
                "reason code",
                "applicationInformation.reasonCode",
                other,
            )),
        }
    }

    pub(super) fn amount(&self) -> Result<Money, Fault> {
        money(self.connection, self.detail, &TOTAL, &CURRENCY, None)
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        wire::submitted(self.detail)
    }

    /// A sale: whether the money was taken as well.
    fn is_billed(&self) -> bool {
        let bill = applications(self.detail).find(|a| text(*a, &["name"]) == Some("ics_bill"));
        bill.is_some() && matches!(self.code(bill).as_deref(), Some("1") | None)
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
            taken: went.may_be_taken() && self.is_billed(),
            at: self.at(),
            answer: self.detail,
        })
    }

    /// Facts. `target` is the transaction that a void undid or a reversal let go.
    pub(super) fn facts(&self, target: Option<&Transaction<'_>>) -> Result<Vec<Fact>, Fault> {
        match self.kind {
            Kind::Authorization | Kind::Sale => {
                let paid = self.paid()?;
                // Of ours the answer was judged, and parked.
                if paid.went == Went::ReservedInPart && self.mark().is_none() && paid.asks_about_part() {
                    let what = "somebody else's payment was reserved in part; to keep it, drop the item; else reverse it in \
                                the Business Center (setting partial_authorization)";
                    return Err(Fault::new("partial_authorization", AUTHORIZED.join("."), what));
                }
                let mut facts = paid.facts();
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
                let root = self.needed_root()?;
                Ok(vec![facts::refund(self.id, root, self.amount()?, status, request, self.only_related())])
            }
            Kind::Reversal => self.let_go(target),
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
                Ok(vec![facts::refund(refund.id, root, amount, RefundStatus::Cancelled, request, None)])
            }
            Some(capture) => {
                let resent = is_undoing(self.detail);
                Ok(vec![facts::void(self.id, root, (capture.id, capture.amount()?), request, resent)])
            }
            // A withdrawn refund would else read as one more.
            None => Err(self.alone("voided")),
        }
    }

    /// A reversal of all that was reserved. Of a part of it nobody here can tell what is to follow.
    fn let_go(&self, target: Option<&Transaction<'_>>) -> Result<Vec<Fact>, Fault> {
        let root = self.needed_root()?;
        let payment = target.ok_or_else(|| self.alone("reversed"))?.paid()?;
        let amount = self.amount()?;
        if payment.reserved.is_some_and(|reserved| amount.minor < reserved.minor) {
            let what = format!(
                "{amount} of this payment were reversed, and the rest is still reserved; reverse that in the Business \
                 Center too, or capture what is owed there"
            );
            return Err(Fault::new("reversed_in_part", TOTAL.join("."), what));
        }
        Ok(reversed(root, "reversed"))
    }

    fn alone(&self, verb: &str) -> Fault {
        let what = format!(
            "what this {} {verb} could not be read; look at it in the Business Center and book it by hand",
            self.kind.name()
        );
        Fault::new(UNREAD, "_links.relatedTransactions", what)
    }
}

/// Facts of a capture and of the void that took it back: the void first, so that what is taken instead is not above what was
/// authorized.
pub(super) fn taken_back(capture: &Transaction<'_>, void: &Transaction<'_>) -> Result<Vec<Fact>, Fault> {
    let mut facts = void.facts(Some(capture))?;
    facts.extend(capture.facts(None)?);
    Ok(facts)
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

/// Facts of a hold that is no longer there, without anybody having taken it or let it go. `untouched`: nothing of it was taken.
pub(super) fn ran_out(payment: &str, untouched: bool) -> Vec<Fact> {
    let payment = payment.to_owned();
    let how = AuthorizationEnd::Expired;
    let mut facts = vec![Fact::AuthorizationEnded { payment: payment.clone(), charge: payment.clone(), how }];
    if untouched {
        facts.push(Fact::PaymentCancelled { payment, reason: "expired".to_owned() });
    }
    facts
}

fn defined<'a>(connection: &Connection, object: Json<'a>, further: i64) -> Option<&'a str> {
    let key = connection.number("command_field", 20).saturating_add(further).to_string();
    let mut fields = object.get("merchantDefinedInformation")?.items();
    fields.find(|f| scalar(*f, &["key"]).as_deref() == Some(&key)).and_then(|f| text(f, &["value"]))
}

/// What of ours made a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark<'a> {
    /// The command.
    pub(super) command: &'a str,
    /// Which of its sendings, from 0.
    pub(super) sending: u32,
}

impl<'a> Mark<'a> {
    /// `<command>` or `<command>.<sending>`. Commands are hexadecimal; whatever else stands there is somebody else's.
    fn read(text: &'a str) -> Option<Self> {
        let (command, sending) = match text.split_once('.') {
            Some((command, sending)) => (command, sending.parse().ok()?),
            None => (text, 0),
        };
        let hex = !command.is_empty() && command.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then_some(Self { command, sending })
    }
    /// As it is written.
    pub(super) fn text(command: &str, sending: u32) -> String {
        if sending == 0 { command.to_owned() } else { format!("{command}.{sending}") }
    }
}

/// The mark on a transaction: captures, payments and refunds have a merchant-defined field, and all of them comments.
pub(super) fn mark<'a>(connection: &Connection, object: Json<'a>) -> Option<Mark<'a>> {
    let comment =
        || text(object, &["clientReferenceInformation", "comments"]).and_then(|c| c.strip_prefix(COMMENT));
    defined(connection, object, 0).or_else(comment).and_then(Mark::read)
}

/// The transaction id a request bore, which is not shown by every account. That one is there proves nothing about others.
pub(super) fn sent_as(object: Json<'_>) -> Option<Mark<'_>> {
    text(object, &["clientReferenceInformation", "transactionId"]).and_then(Mark::read)
}

/// Code of what cannot be told before another transaction was read.
pub(super) const UNREAD: &str = "related_unread";

/// Begins the comment that carries a command.
pub(super) const COMMENT: &str = "tillway ";

/// Begins the comment on what undoes a sending whose answer was lost. The sending follows, so that each is undone under a
/// mark of its own.
pub(super) const UNDOING: &str = "tillway-undoes:";

/// Whether it was made to undo a sending of ours, so that the same could be sent again.
pub(super) fn is_undoing(object: Json<'_>) -> bool {
    text(object, &["clientReferenceInformation", "comments"]).is_some_and(|c| c.starts_with(UNDOING))
}

/// The refund request of ours that a transaction serves.
pub(super) fn request_mark<'a>(connection: &Connection, object: Json<'a>) -> Option<&'a str> {
    defined(connection, object, 1)
}
