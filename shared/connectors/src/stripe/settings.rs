//! Settings and secrets of a Stripe connection.

use super::wire;
use crate::config::Connection;

/// Name, default, meaning.
pub(super) const SETTINGS: &[(&str, &str, &str)] = &[
    ("base_url", super::DEFAULT_BASE, "where the API is"),
    (
        "api_version",
        super::DEFAULT_VERSION,
        "sent as Stripe-Version; make the webhook endpoint with the same one",
    ),
    ("tolerance_seconds", "300", "how far a webhook's signed time may be off, in both directions"),
    (
        "order_metadata_key",
        wire::ORDER_KEY,
        "metadata key of the shop's order id; clarity_order_id and clarityorderid are read besides",
    ),
    ("livemode", "as `production`", "true: live events only; false: test events only"),
    ("rate_limit.per_second", "25", "requests per second over all functions"),
    ("timeout_seconds", "30", "longest wait for one answer"),
    (
        "allow_ugx",
        "no",
        "0 or 2: decimals of Ugandan shillings at your account; sources disagree, so they are off",
    ),
    ("sweep_types", "all that are handled", "event types a sweep asks for, separated by commas"),
    ("return_url", "", "where the shopper comes back to after 3-D Secure, where the flow names nothing"),
    ("allow_redirects", "always", "never: only payment methods that need no redirect"),
    (
        "multicapture",
        "never",
        "if_available: ask for several captures of one authorization; your account must be eligible",
    ),
    (
        "settlement.source",
        "api",
        "report: lines of payouts from the payout-reconciliation report in place of balance transactions",
    ),
];

/// Name and meaning.
pub(super) const SECRETS: &[(&str, &str)] = &[
    ("api_key", "restricted key (rk_…) or secret key (sk_…)"),
    (super::webhook::SECRET, "signing secret of the webhook endpoint (whsec_…); both while it is rolled"),
];

/// Checks a connection's settings.
pub(super) fn check(connection: &Connection) -> Vec<(String, String)> {
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut say = |name: &str, what: &str| wrong.push((name.to_owned(), what.to_owned()));
    let set = |name: &str| connection.settings.get(name).map(String::as_str);

    let base = connection.setting("base_url", super::DEFAULT_BASE);
    let (scheme, rest) = base.split_once("://").unwrap_or(("", ""));
    if !matches!(scheme, "https" | "http") || rest.is_empty() || rest.contains(['?', '#', '@', ' ']) {
        say("base_url", "is no web address; give one such as https://api.stripe.com");
    } else if connection.production && scheme != "https" {
        say("base_url", "must begin with https:// in production");
    }
    let version = connection.setting("api_version", super::DEFAULT_VERSION);
    let dated = version.len() >= 10
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !dated {
        say("api_version", "is no version; give one such as 2026-10-28.endive");
    }
    for (name, low, high) in
        [("tolerance_seconds", 1, 3600), ("timeout_seconds", 1, 300), ("rate_limit.per_second", 1, 10_000)]
    {
        if set(name).is_some_and(|v| !v.parse::<i64>().is_ok_and(|n| (low..=high).contains(&n))) {
            say(name, &format!("is no whole number from {low} to {high}"));
        }
    }
    let key = connection.setting("order_metadata_key", wire::ORDER_KEY);
    if key.is_empty() || key.chars().count() > 40 || key.contains(['[', ']']) {
        say("order_metadata_key", "has 1 to 40 characters and no square brackets");
    }
    for (name, values) in [
        ("livemode", &["true", "false", "yes", "no"][..]),
        ("allow_ugx", &["no", "0", "2"]),
        ("allow_redirects", &["always", "never"]),
        ("multicapture", &["never", "if_available"]),
        ("settlement.source", &["api", "report"]),
    ] {
        if set(name).is_some_and(|v| !values.contains(&v)) {
            say(name, &format!("is one of {}", values.join(", ")));
        }
    }
    if connection.production && set("livemode").is_some_and(|v| matches!(v, "false" | "no")) {
        say("livemode", "a production connection takes live events; make a connection of its own for tests");
    }
    if set("return_url")
        .is_some_and(|u| !u.is_empty() && !u.starts_with("https://") && !u.starts_with("http://"))
    {
        say("return_url", "is no web address");
    }
    let odd =
        |t: &&str| !t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b));
    if set("sweep_types").is_some_and(|v| v.split([',', ' ']).any(|t| odd(&t))) {
        say(
            "sweep_types",
            "is a list of event types separated by commas, e.g. charge.succeeded,refund.created",
        );
    }
    wrong
}
