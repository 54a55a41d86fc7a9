//! What Stripe's objects say, as facts. Used alike for webhooks, answers, reads and sweeps, so that one
//! change of a payment says the same from wherever it is heard.

use tillway_core::doc::Json;
use tillway_core::facts::{AuthorizationEnd, DisputeStatus, Fact, RefundStatus, ReviewOutcome};
use tillway_core::money::Money;
use tillway_core::time::Millis;
use tillway_core::value::Value as Data;

use super::errors;
use super::wire::{self, Fault, expanded, flag, id, int, money, signed, text};
use crate::config::Connection;
use crate::port::Observation;

/// An authorization Stripe gives no end for: card networks hold seven days as a rule.
const HOLD: Millis = Millis::days(7);

fn required<'a>(object: Json<'a>, name: &str) -> Result<&'a str, Fault> {
    text(object, name)
        .ok_or_else(|| Fault::new("id_missing", name, "the object carries no id; read it at Stripe"))
}

/// The payment an object belongs to: its PaymentIntent, else the charge (charges made without one).
fn payment_of(object: Json<'_>) -> Option<&str> {
    id(object, "payment_intent").or_else(|| id(object, "charge"))
}

/// Whether a payment's status stands in the table of [`of_payment`].
pub(super) fn is_known(status: &str) -> bool {
    [
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "processing",
        "requires_capture",
        "canceled",
        "succeeded",
    ]
    .contains(&status)
}

/// Facts of a PaymentIntent.
pub(super) fn of_payment(connection: &Connection, pi: Json<'_>) -> Result<Vec<Fact>, Fault> {
    let payment = required(pi, "id")?;
    let amount = money(connection, pi, "amount")?;
    let mut facts = vec![Fact::Payment { payment: payment.to_owned(), amount }];
    let charge = id(pi, "latest_charge");
    if let Some(charge) = expanded(pi, "latest_charge") {
        facts.extend(of_charge_under(connection, charge, payment)?);
    }
    let received = match int(pi, "amount_received") {
        Some(_) => money(connection, pi, "amount_received")?,
        None => Money::zero(amount.currency),
    };
    match (text(pi, "status").unwrap_or(""), charge) {
        ("requires_capture", Some(charge)) => {
            let open = money(connection, pi, "amount_capturable")?;
            let reserved = Money::new(open.minor.saturating_add(received.minor), amount.currency);
            facts.push(authorized(payment, charge, reserved));
            if received.is_positive() {
                facts.push(captured(payment, charge, received));
            }
        }
        ("succeeded", Some(charge)) => {
            // Over-capture takes more than was asked for; the authorization grows with it.
            let reserved = Money::new(amount.minor.max(received.minor), amount.currency);
            facts.push(authorized(payment, charge, reserved));
            facts.push(captured(payment, charge, received));
            if received.minor < amount.minor {
                facts.push(ended(payment, charge, AuthorizationEnd::Released));
            }
        }
        ("canceled", charge) => {
            let reason = errors::safe(text(pi, "cancellation_reason").unwrap_or("unspecified"));
            let how = match reason.as_str() {
                "automatic" | "expired" => AuthorizationEnd::Expired,
                _ => AuthorizationEnd::Voided,
            };
            facts.extend(charge.map(|c| ended(payment, c, how)));
            facts.push(Fact::PaymentCancelled { payment: payment.to_owned(), reason });
        }
        // Both the beginning and the failed state: only the error tells them apart.
        ("requires_payment_method", _) => {
            facts.extend(expanded(pi, "last_payment_error").map(|e| errors::attempt_failed(payment, e)));
        }
        ("requires_action", _) => {
            let method = id(pi, "payment_method").unwrap_or("unknown");
            facts.push(action_required(payment, method));
        }
        (raw, _) if !is_known(raw) => return Err(unknown_status("payment", raw)),
        _ => {}
    }
    facts.extend(review_opened(pi, payment));
    Ok(facts)
}

/// The cardholder must act; the attempt is the payment with the method it was confirmed with.
pub(super) fn action_required(payment: &str, token: &str) -> Fact {
    Fact::ActionRequired { payment: payment.to_owned(), attempt: format!("{payment}:{token}") }
}

/// Where the cardholder has to go, beside the facts: the link is personal.
pub(super) fn action_link(pi: Json<'_>) -> Data {
    let mut next = pi.get("next_action").into_iter().flat_map(Json::members);
    let url = next.find_map(|(kind, details)| match kind {
        "redirect_to_url" | "alipay_handle_redirect" => text(details, "url"),
        // For Stripe's own scripts in the shop's page, not for people.
        "use_stripe_sdk" => None,
        _ => hosted_page(details),
    });
    url.map_or(Data::Null, |url| Data::map([("action", Data::map([("url", Data::text(url))]))]))
}

/// The page Stripe hosts for an action: a voucher, a code to scan, instructions, a verification.
fn hosted_page(details: Json<'_>) -> Option<&str> {
    let hosted = |name: &str| name.starts_with("hosted_") && name.ends_with("_url");
    let (name, _) = details.members().find(|(name, _)| hosted(name))?;
    text(details, name)
}

/// Facts and personal data of a PaymentIntent.
pub(super) fn observe_payment(connection: &Connection, pi: Json<'_>) -> Result<Observation, Fault> {
    Ok(Observation { facts: of_payment(connection, pi)?, personal: action_link(pi), person: None })
}

fn authorized(payment: &str, charge: &str, amount: Money) -> Fact {
    Fact::Authorized { payment: payment.to_owned(), charge: charge.to_owned(), amount, expires_at: None }
}

fn captured(payment: &str, charge: &str, total: Money) -> Fact {
    Fact::Captured { payment: payment.to_owned(), charge: charge.to_owned(), total }
}

/// A review is opened only where the object names it: the outcome `manual_review` alone gives no id.
fn review_opened(object: Json<'_>, payment: &str) -> Option<Fact> {
    let review = id(object, "review")?.to_owned();
    Some(Fact::ReviewOpened { review, payment: payment.to_owned() })
}

/// Facts of a charge.
pub(super) fn of_charge(connection: &Connection, charge: Json<'_>) -> Result<Vec<Fact>, Fault> {
    let own = required(charge, "id")?;
    let Some(payment) = id(charge, "payment_intent") else {
        // A charge without a PaymentIntent is its own payment.
        let mut facts =
            vec![Fact::Payment { payment: own.to_owned(), amount: money(connection, charge, "amount")? }];
        facts.extend(of_charge_under(connection, charge, own)?);
        return Ok(facts);
    };
    of_charge_under(connection, charge, payment)
}

fn of_charge_under(connection: &Connection, charge: Json<'_>, payment: &str) -> Result<Vec<Fact>, Fault> {
    let own = required(charge, "id")?;
    let amount = money(connection, charge, "amount")?;
    let mut facts = Vec::new();
    match text(charge, "status").unwrap_or("") {
        "failed" => facts.push(errors::charge_failed(payment, charge)),
        "succeeded" => {
            let taken = flag(charge, "captured");
            let card = charge.at(&["payment_method_details", "card"]).unwrap_or(Json::null());
            let by_default = || wire::time(charge, "created").filter(|_| !taken).map(|t| t + HOLD);
            facts.push(Fact::Authorized {
                payment: payment.to_owned(),
                charge: own.to_owned(),
                amount,
                expires_at: wire::time(card, "capture_before").or_else(by_default),
            });
            let total = match int(charge, "amount_captured") {
                Some(_) => money(connection, charge, "amount_captured")?,
                None => Money::new(if taken { amount.minor } else { 0 }, amount.currency),
            };
            if total.is_positive() {
                facts.push(captured(payment, own, total));
            }
            // With multicapture a partial capture need not be the last; there the payment's status tells.
            let several = card.get("multicapture").and_then(|m| text(m, "status")) == Some("available");
            if taken && !several && total.minor < amount.minor {
                facts.push(ended(payment, own, AuthorizationEnd::Released));
            }
        }
        "pending" => {}
        raw => return Err(unknown_status("charge", raw)),
    }
    facts.extend(review_opened(charge, payment));
    Ok(facts)
}

fn ended(payment: &str, charge: &str, how: AuthorizationEnd) -> Fact {
    Fact::AuthorizationEnded { payment: payment.to_owned(), charge: charge.to_owned(), how }
}

/// Facts of a charge whose authorization ran out. Its status is not asked: what it reads then is not known.
pub(super) fn of_expired_charge(connection: &Connection, charge: Json<'_>) -> Result<Vec<Fact>, Fault> {
    let own = required(charge, "id")?;
    let payment = id(charge, "payment_intent").unwrap_or(own);
    let reserved = authorized(payment, own, money(connection, charge, "amount")?);
    Ok(vec![reserved, ended(payment, own, AuthorizationEnd::Expired)])
}

/// The fact of a refund.
pub(super) fn of_refund(connection: &Connection, refund: Json<'_>) -> Result<Fact, Fault> {
    let own = required(refund, "id")?;
    let status = match text(refund, "status").unwrap_or("") {
        "pending" | "requires_action" => RefundStatus::Pending,
        "succeeded" => RefundStatus::Succeeded,
        "canceled" => RefundStatus::Cancelled,
        "failed" => RefundStatus::Failed,
        raw => return Err(unknown_status("refund", raw)),
    };
    let left = id(refund, "balance_transaction").is_some();
    let back = id(refund, "failure_balance_transaction").is_some();
    // These two fail while still waiting: nothing ever left the balance.
    let never_left = matches!(
        text(refund, "failure_reason"),
        Some("insufficient_funds" | "charge_for_pending_refund_disputed")
    );
    let returned = match status {
        RefundStatus::Failed => back || left || !never_left,
        RefundStatus::Cancelled => back || left,
        RefundStatus::Pending | RefundStatus::Succeeded => false,
    };
    Ok(Fact::Refund {
        refund: own.to_owned(),
        payment: payment_of(refund).unwrap_or(own).to_owned(),
        amount: money(connection, refund, "amount")?,
        status,
        moved: left || returned || status == RefundStatus::Succeeded,
        returned,
        request: wire::metadata(refund, wire::REQUEST_KEY).map(str::to_owned),
        of: None,
        undoes: None,
        resent: false,
    })
}

/// Never taken for success or failure.
fn unknown_status(what: &str, raw: &str) -> Fault {
    let sentence = format!(
        "Stripe gives this {what} the status {}, which Tillway does not know; read it there and tell us",
        errors::word(raw)
    );
    Fault::new("status_unknown", "status", sentence)
}

/// Facts of a dispute. Its status comes from the object and never from the event's name: `closed` is won
/// as well as lost, and reinstated funds are no verdict.
pub(super) fn of_dispute(connection: &Connection, dispute: Json<'_>) -> Result<Vec<Fact>, Fault> {
    let own = required(dispute, "id")?;
    let payment = payment_of(dispute).unwrap_or(own);
    let status = match text(dispute, "status").unwrap_or("") {
        "warning_needs_response" | "warning_under_review" => DisputeStatus::Inquiry,
        "warning_closed" => DisputeStatus::InquiryClosed,
        "needs_response" | "appeal_needs_response" => DisputeStatus::NeedsResponse,
        "under_review" | "appeal_under_review" => DisputeStatus::UnderReview,
        "prevented" => DisputeStatus::Prevented,
        "lost" => DisputeStatus::Lost,
        "won" => DisputeStatus::Won,
        raw => return Err(unknown_status("dispute", raw)),
    };
    let amount = money(connection, dispute, "amount")?;
    let mut facts = vec![Fact::Dispute {
        dispute: own.to_owned(),
        payment: payment.to_owned(),
        amount,
        status,
        reason: errors::safe(text(dispute, "reason").unwrap_or("general")),
    }];
    let movements = dispute.get("balance_transactions").into_iter().flat_map(Json::items);
    for txn in movements.filter(|t| t.is_object()) {
        facts.push(dispute_movement(connection, (own, payment), amount, txn)?);
    }
    Ok(facts)
}

fn dispute_movement(
    connection: &Connection,
    (dispute, payment): (&str, &str),
    disputed: Money,
    txn: Json<'_>,
) -> Result<Fact, Fault> {
    let moved = signed(connection, txn, "amount")?;
    if moved.currency != disputed.currency {
        // The books carry the sale in the currency it was made in; a loss in another needs a person.
        let what = format!(
            "the dispute is in {} and its money moved in {}; book the movement by hand",
            disputed.currency, moved.currency
        );
        return Err(Fault::new("dispute_currency_differs", "balance_transactions.currency", what));
    }
    let fee = if int(txn, "fee").is_some() { signed(connection, txn, "fee")?.minor } else { 0 };
    Ok(Fact::DisputeMoved {
        dispute: dispute.to_owned(),
        payment: payment.to_owned(),
        txn: required(txn, "id")?.to_owned(),
        amount: moved,
        fee,
    })
}

/// Facts of a review.
pub(super) fn of_review(review: Json<'_>) -> Result<Vec<Fact>, Fault> {
    let own = required(review, "id")?.to_owned();
    let payment = payment_of(review).unwrap_or(&own).to_owned();
    if flag(review, "open") {
        return Ok(vec![Fact::ReviewOpened { review: own, payment }]);
    }
    let reason = text(review, "closed_reason").or_else(|| text(review, "reason"));
    let outcome = match reason.unwrap_or("") {
        "approved" => ReviewOutcome::Approved,
        "refunded" | "refunded_as_fraud" | "canceled" => ReviewOutcome::Rejected,
        // disputed, redacted, acknowledged, payment_never_settled and whatever comes: neither go nor stop.
        _ => ReviewOutcome::Closed,
    };
    Ok(vec![Fact::ReviewClosed { review: own, payment, outcome }])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tillway_core::doc::Doc;

    use super::*;

    #[test]
    fn an_action_leads_to_its_redirect_or_to_the_page_stripe_hosts() {
        let url = |next: Value| {
            let found = action_link(Doc::from(&json!({"next_action": next})).json());
            found.at("action.url").as_text().map(str::to_owned)
        };
        let page = "https://bank.example/3ds";
        let to = |kind: &str, member: &str| url(json!({"type": kind, kind: {member: page}}));
        for (kind, member) in [
            ("redirect_to_url", "url"),
            ("alipay_handle_redirect", "url"),
            ("boleto_display_details", "hosted_voucher_url"),
            ("promptpay_display_qr_code", "hosted_instructions_url"),
            ("verify_with_microdeposits", "hosted_verification_url"),
        ] {
            assert_eq!(to(kind, member).as_deref(), Some(page), "{kind}");
        }
        assert_eq!(to("use_stripe_sdk", "hosted_voucher_url"), None);
        assert_eq!(to("wechat_pay_display_qr_code", "image_url_png"), None);
        assert_eq!(url(Value::Null), None);
    }
}
