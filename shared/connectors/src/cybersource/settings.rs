//! Settings and secrets of a Cybersource connection.

use super::auth::{PRIVATE_KEY, SHARED_SECRET, Scheme};
use super::{endpoints, plan_lines, routes, settlement_settings};
use crate::config::Connection;

/// Where production is.
pub(super) const PRODUCTION: &str = "https://api.cybersource.com";
/// Where tests go.
pub(super) const TEST: &str = "https://apitest.cybersource.com";
/// Name of the key webhooks are signed with.
pub(super) const WEBHOOK_SECRET: &str = "webhook_secret";
/// Name of the key encrypted webhooks are opened with.
pub(super) const MLE_KEY: &str = "mle_private_key";

/// Name, default, meaning.
pub(super) const SETTINGS: &[(&str, &str, &str)] = &[
    ("base_url", "api.cybersource.com in production, else apitest", "where the API is (India: api.in.…)"),
    ("merchant_id", "", "merchant id all requests are for; needed"),
    (
        "merchant_ids",
        "",
        "further merchant ids among which authorizations are routed (see the pair's `routing`)",
    ),
    (
        "routes.*",
        "",
        "key of one of them, where one key does not sign for all: routes.<merchant id>.key_id, secret shared_secret.<merchant id>",
    ),
    ("auth", "jwt_shared_secret", "jwt_shared_secret, http_signature or jwt_p12"),
    ("key_id", "", "id of the REST key; needed unless `shared_secret` reads `id:secret`"),
    ("portfolio_id", "", "the portfolio, where a meta key signs"),
    ("certificate_serial", "", "serialNumber of the certificate's subject; needed for jwt_p12"),
    ("rate_limit.per_second", "10", "requests per second over all functions"),
    ("timeout_seconds", "60", "longest wait for one answer"),
    (
        SEARCH_LAG.0,
        "15",
        "minutes (15 to 1440) after which a search shows what was done; longer where yours is seen to lag, for what it does not show \
         by then is undone and sent again",
    ),
    (
        "search_days",
        "90",
        "how far back an order's transactions are searched (six months are kept at Cybersource)",
    ),
    ("reference_prefix", "", "stands before our order ids; transactions without it are nobody's of ours"),
    (
        "command_field",
        "20",
        "merchant-defined field (1 to 100) that carries our command; the next one, our refund request",
    ),
    ("decision_manager", "on", "off: payments are made without Decision Manager (DECISION_SKIP)"),
    (
        plan_lines::LIMIT.0,
        "100",
        "most lines of an order that are sent, those worth most; 0: none. The vendor's own limit is not known to us",
    ),
    ("partial_authorization", "ask", "accept, reverse or ask: what to do where the bank reserves less"),
    (
        "token_kind",
        "auto",
        "what the shop's token is: auto, customer, payment_instrument, instrument_identifier, transient_token, legacy",
    ),
    ("save_card", "no", "yes: make a customer token of a transient token with the payment (TOKEN_CREATE)"),
    ("commerce_indicator", "internet", "how the card was given"),
    ("hold_days", "7", "how long an authorization holds; Cybersource names no end"),
    ("partner.developer_id", "", "sent as clientReferenceInformation.partner.developerId"),
    ("partner.solution_id", "", "sent as clientReferenceInformation.partner.solutionId"),
    (
        "allow_three_decimals",
        "no",
        "yes: send currencies with three decimals; how they are taken is not confirmed",
    ),
    (
        "tolerance_minutes",
        "60",
        "how far a webhook's signed time may be off; not below the span of the retries",
    ),
    (
        "settlement.report",
        settlement_settings::REPORT,
        "name of the daily Payment Batch Detail report; it has to be subscribed to",
    ),
    ("settlement.format", "csv", "csv or xml: the report's format"),
    (
        "settlement.utc_offset",
        "+00:00",
        "the report subscription's local time less UTC, e.g. -08:00: whose midnight ends a day",
    ),
    ("settlement.report_date", "same", "same or next: by which date the report of a day is asked for"),
    (
        "settlement.mixed_currencies",
        "refuse",
        "split: a batch of several currencies becomes one for each, `<batch>-<currency>`",
    ),
    (
        "settlement.funding",
        "none",
        "net_fundings: the net funding API closes batches; only where your processor reports funding. Else the bank's statement does",
    ),
    (
        "settlement.fees",
        "lump",
        "details: the fee of each payment is read from the purchase and refund details (unverified); only with `settlement.funding: \
         net_fundings`",
    ),
    (
        "settlement.chargeback_days",
        "14",
        "for how many days after a day its list of chargebacks is read again; 0: not again, and what is listed late is in no batch",
    ),
    ("settlement.funding_days", "5", "how many days before a net funding what it pays was submitted"),
    ("paths.*", "the vendor's", "path of an endpoint, see README; e.g. paths.case_actions"),
];

/// Name and meaning.
pub(super) const SECRETS: &[(&str, &str)] = &[
    (SHARED_SECRET, "REST shared secret (base64), alone or as `key id:secret`; not for jwt_p12"),
    ("shared_secret.*", "REST shared secret of one of `merchant_ids`, where it has its own"),
    (
        WEBHOOK_SECRET,
        "digital signature key of webhooks (base64), alone or as `key id:key`; both while it is rotated",
    ),
    (
        MLE_KEY,
        "private key (PEM, on one line: `\\n` or nothing where lines broke) that `payments.*` webhooks are encrypted for; \
         both while it is rotated",
    ),
    (PRIVATE_KEY, "private key (PEM, on one line as well) of the P12 certificate, for jwt_p12 alone"),
];

/// Where the API is.
pub(super) fn base_url(connection: &Connection) -> &str {
    let default = if connection.production { PRODUCTION } else { TEST };
    connection.setting("base_url", default).trim_end_matches('/')
}

/// What is done where the bank reserves less than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    Accept,
    Reverse,
    Ask,
}

pub(super) fn partial(connection: &Connection) -> Partial {
    match connection.setting("partial_authorization", "ask") {
        "accept" => Partial::Accept,
        "reverse" => Partial::Reverse,
        _ => Partial::Ask,
    }
}

const CHOICES: [(&str, &[&str]); 6] = [
    ("auth", &Scheme::NAMES),
    ("decision_manager", &["on", "off"]),
    ("partial_authorization", &["accept", "reverse", "ask"]),
    (
        "token_kind",
        &["auto", "customer", "payment_instrument", "instrument_identifier", "transient_token", "legacy"],
    ),
    ("save_card", &["yes", "no", "true", "false"]),
    ("allow_three_decimals", &["yes", "no", "true", "false"]),
];

/// Minutes that a search is waited for, at least what is usual: what it does not show by then is undone and sent again.
pub(super) const SEARCH_LAG: (&str, i64, i64) = ("search_lag_minutes", 15, 1_440);

const NUMBERS: [(&str, i64, i64); 10] = [
    SEARCH_LAG,
    plan_lines::LIMIT,
    ("rate_limit.per_second", 1, 10_000),
    ("timeout_seconds", 1, 300),
    ("search_days", 1, 180),
    ("command_field", 1, 99),
    ("hold_days", 1, 30),
    ("tolerance_minutes", 5, 10_080),
    settlement_settings::FUNDING_DAYS,
    settlement_settings::CHARGEBACK_DAYS,
];

/// Checks a connection's settings.
pub(super) fn check(connection: &Connection) -> Vec<(String, String)> {
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut say = |name: &str, what: &str| wrong.push((name.to_owned(), what.to_owned()));
    let set = |name: &str| connection.settings.get(name).map(String::as_str);

    let base = base_url(connection);
    let (scheme, rest) = base.split_once("://").unwrap_or(("", ""));
    if !matches!(scheme, "https" | "http") || rest.is_empty() || rest.contains(['/', '?', '#', '@', ' ']) {
        say("base_url", "is no address of a host; give one such as https://api.cybersource.com");
    } else if connection.production && scheme != "https" {
        say("base_url", "must begin with https:// in production");
    }
    let plain = |v: &str| {
        (1..=60).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    for name in ["merchant_id", "key_id", "portfolio_id", "certificate_serial"] {
        if set(name).is_some_and(|v| !v.is_empty() && !plain(v)) {
            say(name, "holds letters, digits, `-`, `_` and `.` alone; copy it from the Business Center");
        }
    }
    if connection.setting("merchant_id", "").is_empty() {
        say("merchant_id", "is missing; it is the id your Business Center shows");
    }
    routes::check(connection, plain, &mut say);
    if Scheme::of(connection) == Scheme::JwtP12 && connection.setting("certificate_serial", "").is_empty() {
        say("certificate_serial", "is missing; jwt_p12 names the certificate by its subject's serialNumber");
    }
    for (name, low, high) in NUMBERS {
        if set(name).is_some_and(|v| !v.parse::<i64>().is_ok_and(|n| (low..=high).contains(&n))) {
            say(name, &format!("is no whole number from {low} to {high}"));
        }
    }
    for (name, values) in CHOICES.into_iter().chain(settlement_settings::CHOICES) {
        if set(name).is_some_and(|v| !values.contains(&v)) {
            say(name, &format!("is one of {}", values.join(", ")));
        }
    }
    let prefix = connection.setting("reference_prefix", "");
    if prefix.len() > 20 || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        say("reference_prefix", "has at most 20 letters, digits, `-` and `_`");
    }
    if settlement_settings::parse_offset(connection.setting("settlement.utc_offset", "+00:00")).is_none() {
        say("settlement.utc_offset", "is no offset such as -08:00");
    }
    if set("settlement.fees") == Some("details") && set("settlement.funding") != Some("net_fundings") {
        say(
            "settlement.fees",
            "`details` tell what a funding kept back: set `settlement.funding: net_fundings` as well, or leave it out",
        );
    }
    if !settlement_settings::is_report_name(settlement_settings::report(connection)) {
        say(
            "settlement.report",
            "holds letters, digits, `-`, `_` and `.` alone; copy it from the Business Center",
        );
    }
    for (name, path) in connection.under("paths.") {
        if let Some(what) = endpoints::problem(name, path) {
            say(&format!("paths.{name}"), &what);
        }
    }
    wrong
}
