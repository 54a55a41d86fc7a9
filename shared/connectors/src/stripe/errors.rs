//! Stripe's errors and declines, and what they mean to us (reference `stripe.md` section 3).

use tillway_core::doc::Json;
use tillway_core::facts::Fact;

use super::wire::{id, is_id, text};

/// Declines where the same card may work later. An open set: what is not listed is hard.
const SOFT: &[&str] = &[
    "approve_with_id",
    "card_velocity_exceeded",
    "do_not_honor",
    "generic_decline",
    "insufficient_funds",
    "issuer_not_available",
    "processing_error",
    "reenter_transaction",
    "try_again_later",
    "withdrawal_count_limit_exceeded",
];

/// Reasons the shopper must never be told: they would warn a thief, or insult an honest customer.
const SECRET: &[&str] = &[
    "elevated_risk_level",
    "fraudulent",
    "highest_risk_level",
    "lost_card",
    "merchant_blacklist",
    "pickup_card",
    "restricted_card",
    "rule",
    "security_violation",
    "stolen_card",
];

/// Codes that say the wish is fulfilled already; believed only after a look.
const ALREADY: &[&str] =
    &["charge_already_captured", "charge_already_refunded", "payment_intent_unexpected_state"];

/// Whether a refusal may mean that it was done before.
pub(super) fn says_already(code: &str) -> bool {
    ALREADY.contains(&code)
}

/// Whether trying the same card again makes sense. The network's advice wins over the table.
pub(super) fn is_soft(code: &str, advice: Option<&str>) -> bool {
    match advice {
        Some("try_again_later") => true,
        Some("do_not_try_again" | "confirm_card_data") => false,
        _ => SOFT.contains(&code),
    }
}

/// A reason that may be shown to the shopper.
pub(super) fn shopper_reason(code: &str) -> &str {
    if SECRET.contains(&code) { "generic_decline" } else { code }
}

/// The code of an error object: the issuer's reason, else Stripe's code, else its type.
pub(super) fn decline_code(error: Json<'_>) -> &str {
    text(error, "decline_code").unwrap_or_else(|| code(error))
}

/// Stripe's code of an error object, else its type.
pub(super) fn code(error: Json<'_>) -> &str {
    text(error, "code").or_else(|| text(error, "type")).unwrap_or("unknown_error")
}

/// A failed attempt from an error object (`last_payment_error`, or the error of a 402). The failed charge
/// names the attempt; where none was made (3-D Secure failed), the payment method or the code does.
pub(super) fn attempt_failed(payment: &str, error: Json<'_>) -> Fact {
    let reason = decline_code(error);
    let named = |name: &str| id(error, name).filter(|i| is_id(i)).map(str::to_owned);
    let attempt = named("charge")
        .unwrap_or_else(|| format!("{payment}:{}", named("payment_method").unwrap_or_else(|| safe(reason))));
    failed(payment, attempt, reason, text(error, "advice_code"))
}

/// A failed attempt from a failed charge: the same attempt under the same id.
pub(super) fn charge_failed(payment: &str, charge: Json<'_>) -> Fact {
    let outcome = charge.get("outcome").unwrap_or(Json::null());
    // A block by Radar reads `fraudulent` in the payment's error and `highest_risk_level` or `rule` here.
    let reason = match text(outcome, "type") {
        Some("blocked") => Some("fraudulent"),
        Some("issuer_declined") => text(outcome, "reason"),
        _ => None,
    };
    let reason = reason.or_else(|| text(charge, "failure_code")).unwrap_or("card_declined");
    let attempt = text(charge, "id").unwrap_or(payment).to_owned();
    failed(payment, attempt, reason, text(outcome, "advice_code"))
}

fn failed(payment: &str, attempt: String, code: &str, advice: Option<&str>) -> Fact {
    Fact::AttemptFailed {
        payment: payment.to_owned(),
        attempt,
        code: safe(code),
        shopper_reason: safe(shopper_reason(code)),
        soft: is_soft(code, advice),
    }
}

/// A code fit to be shown: Stripe's codes are short identifiers, anything else is not repeated.
pub(super) fn safe(code: &str) -> String {
    let fine = (1..=80).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fine { code.to_owned() } else { "unknown_error".to_owned() }
}

/// A status nobody here knows, fit to be shown: Stripe's are small letters with underscores.
pub(super) fn word(raw: &str) -> String {
    let fine = raw.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    match raw.chars().count() {
        0 => "(none)".to_owned(),
        1..=40 if fine => format!("`{raw}`"),
        n => format!("of {n} characters that is no plain word"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::doc::Doc;

    use super::*;

    #[test]
    fn fraud_is_never_shown_to_the_shopper() {
        for code in ["fraudulent", "lost_card", "stolen_card", "merchant_blacklist", "pickup_card"] {
            let error = json!({"code": "card_declined", "decline_code": code, "charge": "ch_1"});
            let fact = attempt_failed("pi_1", Doc::from(&error).json());
            let Fact::AttemptFailed { code: told, shopper_reason, soft, attempt, .. } = fact else {
                panic!()
            };
            assert_eq!((told.as_str(), shopper_reason.as_str(), soft), (code, "generic_decline", false));
            assert_eq!(attempt, "ch_1");
        }
    }

    #[test]
    fn the_networks_advice_wins_over_the_table() {
        assert!(is_soft("insufficient_funds", None));
        assert!(!is_soft("insufficient_funds", Some("do_not_try_again")));
        assert!(is_soft("never_heard_of", Some("try_again_later")));
        assert!(!is_soft("never_heard_of", None));
    }

    #[test]
    fn the_charge_and_the_payment_tell_of_one_attempt() {
        let error = json!({"code": "card_declined", "decline_code": "fraudulent", "charge": "ch_9"});
        let charge = json!({"id": "ch_9", "failure_code": "card_declined",
            "outcome": {"type": "blocked", "reason": "highest_risk_level"}});
        let (error, charge) = (Doc::from(&error), Doc::from(&charge));
        assert_eq!(attempt_failed("pi_1", error.json()), charge_failed("pi_1", charge.json()));
    }

    #[test]
    fn a_code_that_is_no_identifier_is_not_repeated() {
        assert_eq!(safe("card_declined"), "card_declined");
        assert_eq!(safe("No such customer: a@b.c"), "unknown_error");
    }
}
