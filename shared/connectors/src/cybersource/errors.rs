//! Reasons of declines and refusals, and what they mean to us (reference `cybersource.md` sections 3.3 and 6).

use tillway_core::doc::Json;
use tillway_core::facts::Fact;

use super::wire::{scalar, text};
use crate::common::plain_word;

/// Reasons where the same card may work later. An open set: what is not listed is hard.
const SOFT: [&str; 5] = [
    "INSUFFICIENT_FUND",
    "EXCEEDS_CREDIT_LIMIT",
    "ISSUER_UNAVAILABLE",
    "PROCESSOR_ERROR",
    "PROCESSOR_TIMEOUT",
];

/// Soft reasons with which another merchant id, and the processor behind it, may fare better at once. Of what the issuer
/// decided itself (funds, limits) the schemes allow another try as well, but not one that changes nothing within seconds.
const ELSEWHERE: [&str; 3] = ["ISSUER_UNAVAILABLE", "PROCESSOR_ERROR", "PROCESSOR_TIMEOUT"];

/// Whether a soft decline may be tried at another merchant id at once.
pub(super) fn tried_elsewhere(reason: &str) -> bool {
    ELSEWHERE.contains(&reason)
}

/// Whether a refusal or decline is the fault of the merchant id: it is not set up for what was asked. Neither the card nor
/// its bank was asked then.
pub(super) fn blames_route(reason: &str) -> bool {
    reason == "INVALID_MERCHANT_CONFIGURATION"
}

/// Code of a refusal by a merchant id that is set up, and not for the order's currency.
pub(super) const CURRENCY_NOT_ENABLED: &str = "currency_not_enabled";

/// The code of a refusal or decline: the vendor's reason; our own where a merchant id is blamed for the currency alone.
/// Whether Cybersource names the field, the message, or neither is not verified.
pub(super) fn code(body: Json<'_>) -> Option<String> {
    let reason = reason(body)?;
    let about = |text: &str| text.to_ascii_lowercase().contains("currency");
    let message = || text(body, &["errorInformation", "message"]).or_else(|| text(body, &["message"]));
    let field = field(body);
    let currency = || field.as_deref().or_else(message).is_some_and(about);
    Some(if blames_route(&reason) && currency() { CURRENCY_NOT_ENABLED.to_owned() } else { reason })
}

/// Advice of a card scheme that forbids another try: for good (03, 21, 40, 41, 43), or for now (02, 22, 24 to 30) [from
/// memory].
const FORBIDDING: [&str; 16] =
    ["02", "2", "03", "3", "21", "22", "24", "25", "26", "27", "28", "29", "30", "40", "41", "43"];

/// Reasons the shopper may be told, in words all gateways share. Anything else reads `generic_decline`: it would warn a
/// thief, or insult an honest customer.
const TELLABLE: [(&str, &str); 9] = [
    ("INSUFFICIENT_FUND", "insufficient_funds"),
    ("EXCEEDS_CREDIT_LIMIT", "insufficient_funds"),
    ("EXPIRED_CARD", "expired_card"),
    ("INVALID_CVN", "incorrect_cvc"),
    ("CVN_NOT_MATCH", "incorrect_cvc"),
    ("CV_FAILED", "incorrect_cvc"),
    ("AVS_FAILED", "incorrect_address"),
    ("ISSUER_UNAVAILABLE", "processing_error"),
    ("CONSUMER_AUTHENTICATION_REQUIRED", "authentication_required"),
];

/// Refusals that may mean that it was done before: believed only after a look.
const ALREADY: [&str; 8] = [
    "DUPLICATE_REQUEST",
    "AUTH_ALREADY_REVERSED",
    "TRANSACTION_ALREADY_SETTLED",
    "TRANSACTION_ALREADY_REVERSED_OR_SETTLED",
    "EXCEEDS_AUTH_AMOUNT",
    "CAPTURE_ALREADY_VOIDED",
    "NOT_VOIDABLE",
    "INVALID_DATA",
];

/// Whether a refusal may mean that it was done before.
pub(super) fn says_already(reason: &str) -> bool {
    ALREADY.contains(&reason)
}

/// The vendor's reason in an answer, wherever it stands; a plain word, else nothing of it is repeated.
pub(super) fn reason(body: Json<'_>) -> Option<String> {
    let flat = || text(body, &["reason"]);
    let found = text(body, &["errorInformation", "reason"]).or_else(flat);
    let typed = || body.get("errors")?.items().next().and_then(|e| text(e, &["type"]).map(str::to_owned));
    found.map(str::to_owned).or_else(typed).filter(|r| plain_word(r, b"_"))
}

/// The first field an answer names as missing or wrong; a path of names.
pub(super) fn field(body: Json<'_>) -> Option<String> {
    let vault = || body.get("errors")?.items().find_map(|e| e.get("details"));
    let details = body.get("details").or_else(|| body.at(&["errorInformation", "details"])).or_else(vault)?;
    // The token vault says `name` for it.
    let found = details.items().find_map(|d| text(d, &["field"]).or_else(|| text(d, &["name"])))?;
    let fine = found.len() <= 120 && found.bytes().all(|b| b.is_ascii_alphanumeric() || b"._[]".contains(&b));
    fine.then(|| found.to_owned())
}

/// A failed attempt: a decline, or a reservation that is not wanted.
pub(super) fn attempt_failed(payment: &str, code: &str, answer: Json<'_>) -> Fact {
    let advice = scalar(answer, &["processorInformation", "merchantAdvice", "code"]);
    // Advice codes only ever make a decline harder.
    let forbidden = advice.as_deref().is_some_and(|code| FORBIDDING.contains(&code));
    let told = TELLABLE.iter().find(|(known, _)| *known == code).map_or("generic_decline", |(_, told)| told);
    Fact::AttemptFailed {
        payment: payment.to_owned(),
        attempt: payment.to_owned(),
        code: code.to_owned(),
        shopper_reason: told.to_owned(),
        soft: SOFT.contains(&code) && !forbidden,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::doc::Doc;

    use super::*;

    #[test]
    fn the_shopper_hears_of_funds_and_never_of_fraud() {
        for (code, told, soft) in [
            ("INSUFFICIENT_FUND", "insufficient_funds", true),
            ("STOLEN_LOST_CARD", "generic_decline", false),
            ("DECISION_PROFILE_REJECT", "generic_decline", false),
            ("SOMETHING_NEW", "generic_decline", false),
        ] {
            let fact = attempt_failed("7", code, Json::null());
            let Fact::AttemptFailed { shopper_reason, soft: is_soft, code: kept, .. } = fact else {
                panic!()
            };
            assert_eq!((shopper_reason.as_str(), is_soft, kept.as_str()), (told, soft, code));
        }
        let advised = Doc::from(&json!({"processorInformation": {"merchantAdvice": {"code": "03"}}}));
        let fact = attempt_failed("7", "INSUFFICIENT_FUND", advised.json());
        assert!(matches!(fact, Fact::AttemptFailed { soft: false, .. }));
    }

    #[test]
    fn elsewhere_goes_only_what_is_soft_and_what_another_processor_may_do_better() {
        assert!(ELSEWHERE.iter().all(|code| SOFT.contains(code)));
        for code in [
            "INSUFFICIENT_FUND",
            "EXCEEDS_CREDIT_LIMIT",
            "STOLEN_LOST_CARD",
            "PROCESSOR_DECLINED",
            "SOMETHING_NEW",
        ] {
            assert!(!tried_elsewhere(code), "{code}");
        }
        // Advice that forbids another try makes it hard, whatever the reason.
        for advice in ["02", "3", "21", "24", "30", "41"] {
            let told = Doc::from(&json!({"processorInformation": {"merchantAdvice": {"code": advice}}}));
            let fact = attempt_failed("7", "ISSUER_UNAVAILABLE", told.json());
            assert!(matches!(fact, Fact::AttemptFailed { soft: false, .. }), "{advice}");
        }
    }

    #[test]
    fn reasons_and_fields_are_found_wherever_they_stand_and_prose_is_not_repeated() {
        let of = |body: serde_json::Value| reason(Doc::from(&body).json());
        assert_eq!(of(json!({"reason": "INVALID_DATA"})).as_deref(), Some("INVALID_DATA"));
        assert_eq!(of(json!({"errorInformation": {"reason": "AVS_FAILED"}})).as_deref(), Some("AVS_FAILED"));
        assert_eq!(of(json!({"errors": [{"type": "notFound"}]})).as_deref(), Some("notFound"));
        for prose in ["no customer a@b.c", "Ann Canary", "card_4111", "41_11_11"] {
            assert_eq!(of(json!({"reason": prose})), None, "{prose}");
        }
        let body = json!({"details": [{"field": "orderInformation.amountDetails.currency", "reason": "MISSING_FIELD"}]});
        assert_eq!(
            field(Doc::from(&body).json()).as_deref(),
            Some("orderInformation.amountDetails.currency")
        );
    }
}
