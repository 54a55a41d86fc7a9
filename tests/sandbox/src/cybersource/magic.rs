//! What becomes of a payment, by its amount or its token. The table is at the top of the folder's `mod.rs`.

use super::model::Card;

/// Answers of the issuer and of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Approved,
    /// 201 DECLINED with this reason and the issuer's code.
    Declined(&'static str, &'static str),
    /// Approved, and marked for review by what the issuer said of the cardholder.
    Review(&'static str),
    /// Three fifths are approved.
    Partial,
    /// 201 INVALID_REQUEST.
    Invalid,
    /// 400 with this reason; nothing is kept.
    Refused(&'static str),
    /// 502; carried out or not.
    Broken(&'static str, bool),
    /// Approved, under a status nobody has seen before.
    Unheard,
    /// 201 PENDING_AUTHENTICATION: nothing is reserved.
    Challenge,
    /// 201 PENDING_REVIEW: nothing is reserved.
    Pending,
}

/// What becomes of refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefundFate {
    Goes,
    /// 201 DECLINED.
    Declined,
    /// Taken, and turned away by the processor after the batch.
    Fails,
}

/// The status nobody has seen before.
pub(super) const UNHEARD: &str = "AUTHORIZED_PENDING_NETWORK_ATTESTATION";

/// Amount in major units, token's stem, fate.
pub(super) const FATES: &[(i64, &str, Fate)] = &[
    (4001, "tok_insufficient", Fate::Declined("INSUFFICIENT_FUND", "51")),
    (4002, "tok_expired", Fate::Declined("EXPIRED_CARD", "54")),
    (4003, "tok_stolen", Fate::Declined("STOLEN_LOST_CARD", "43")),
    (4004, "tok_declined", Fate::Declined("PROCESSOR_DECLINED", "05")),
    (4005, "tok_issuer", Fate::Declined("ISSUER_UNAVAILABLE", "91")),
    (4006, "tok_cvn", Fate::Declined("CVN_NOT_MATCH", "N7")),
    (4007, "tok_limit", Fate::Declined("EXCEEDS_CREDIT_LIMIT", "61")),
    (4010, "tok_avs", Fate::Review("AVS_FAILED")),
    (4011, "tok_cv", Fate::Review("CV_FAILED")),
    (4012, "tok_contact", Fate::Review("CONTACT_PROCESSOR")),
    (4020, "tok_partial", Fate::Partial),
    (4030, "tok_invalid", Fate::Invalid),
    (4031, "tok_unavailable", Fate::Refused("PROCESSOR_UNAVAILABLE")),
    (4032, "tok_badcard", Fate::Refused("INVALID_CARD")),
    (4033, "tok_noaccept", Fate::Refused("CARD_TYPE_NOT_ACCEPTED")),
    (4040, "tok_timeout", Fate::Broken("SERVER_TIMEOUT", true)),
    (4041, "tok_system", Fate::Broken("SYSTEM_ERROR", false)),
    (4042, "tok_service", Fate::Broken("SERVICE_TIMEOUT", true)),
    (4050, "tok_unheard", Fate::Unheard),
    (4060, "tok_challenge", Fate::Challenge),
    (4070, "tok_pending", Fate::Pending),
];

/// Amount of a refund in major units, token's stem, fate.
const REFUNDS: &[(i64, &str, RefundFate)] =
    &[(4101, "tok_refunddeclined", RefundFate::Declined), (4102, "tok_refundfails", RefundFate::Fails)];

/// Tokens of cards with nothing wrong: stem, type, first six digits, last four.
const CARDS: &[(&str, &str, &str, &str)] = &[
    ("tok_visa", "001", "411111", "1111"),
    ("tok_mastercard", "002", "555555", "4444"),
    ("tok_amex", "003", "378282", "0005"),
];

/// A token's name without what makes it unique: `tok_visa_x17` is `tok_visa`, and so is `tok_visa-x17`.
fn stem(token: &str) -> &str {
    let Some(rest) = token.strip_prefix("tok_") else { return token };
    let end = rest.find(['_', '-']).map_or(token.len(), |at| at.saturating_add(4));
    token.get(..end).unwrap_or(token)
}

/// What the vault would say of a magic token; `None` for any other.
pub(super) fn card_of(token: &str) -> Option<Card> {
    let stem = stem(token);
    let known = FATES.iter().any(|(_, s, _)| *s == stem) || REFUNDS.iter().any(|(_, s, _)| *s == stem);
    let fine = CARDS.iter().find(|(s, ..)| *s == stem);
    let (_, kind, prefix, suffix) = fine.or_else(|| CARDS.first().filter(|_| known))?;
    Some(Card { kind, prefix, suffix, month: "12".into(), year: "2031".into() })
}

/// Whole major units, where the amount has no minor part.
fn whole(minor: i64, exponent: u32) -> Option<i64> {
    let unit = 10_i64.checked_pow(exponent)?;
    (minor % unit == 0).then_some(minor / unit)
}

/// The fate of a payment: by its token, else by its amount.
pub(super) fn fate(token: Option<&str>, minor: i64, exponent: u32) -> Fate {
    let by_token = token.map(stem).and_then(|stem| FATES.iter().find(|(_, s, _)| *s == stem));
    let by_amount = || whole(minor, exponent).and_then(|m| FATES.iter().find(|(a, _, _)| *a == m));
    by_token.or_else(by_amount).map_or(Fate::Approved, |(_, _, fate)| *fate)
}

/// The issuer's code behind a decline.
pub(super) fn response_code(reason: Option<&str>) -> Option<&'static str> {
    FATES.iter().find_map(|(_, _, fate)| match fate {
        Fate::Declined(known, code) if Some(*known) == reason => Some(*code),
        _ => None,
    })
}

/// The fate of refunds of a payment made with this token.
pub(super) fn refunds_of(token: Option<&str>) -> RefundFate {
    let found = token.map(stem).and_then(|stem| REFUNDS.iter().find(|(_, s, _)| *s == stem));
    found.map_or(RefundFate::Goes, |(_, _, fate)| *fate)
}

/// The fate of one refund by its amount.
pub(super) fn refund_amount(minor: i64, exponent: u32) -> RefundFate {
    let found = whole(minor, exponent).and_then(|m| REFUNDS.iter().find(|(a, _, _)| *a == m));
    found.map_or(RefundFate::Goes, |(_, _, fate)| *fate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_amounts_have_one_fate_each() {
        assert_eq!(fate(Some("tok_visa_x17"), 1000, 2), Fate::Approved);
        assert_eq!(fate(Some("tok_partial-9"), 1000, 2), Fate::Partial);
        assert_eq!(fate(None, 400_100, 2), Fate::Declined("INSUFFICIENT_FUND", "51"));
        assert_eq!(fate(None, 400_101, 2), Fate::Approved, "whole amounts alone");
        assert_eq!(fate(None, 4001, 0), Fate::Declined("INSUFFICIENT_FUND", "51"), "yen");
        assert_eq!(card_of("tok_mastercard_1").map(|c| c.kind), Some("002"));
        assert!(card_of("tok_partial").is_some() && card_of("5A9F").is_none() && card_of("tok_").is_none());
        let mut stems: Vec<&str> = FATES.iter().map(|(_, s, _)| *s).collect();
        stems.sort_unstable();
        stems.dedup();
        assert_eq!(stems.len(), FATES.len());
    }
}
