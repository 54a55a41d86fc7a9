//! Which event types each webhook endpoint subscribes to, by topic.

use crate::config::Connection;
use crate::port::{Purpose, Subscription};
use crate::registrar::Endpoint;

/// The types that tell something.
pub(super) const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        topic: "payments",
        types: &[
            "payments.authorization.status.accepted",
            "payments.authorization.status.partiallyApproved",
            "payments.authorization.status.rejected",
            "payments.authorization.status.reviewed",
            "payments.capture.status.accepted",
            "payments.capture.status.updated",
            "payments.reversal.status.accepted",
            "payments.reversal.status.rejected",
            "payments.void.status.accepted",
            "payments.void.status.rejected",
        ],
        purpose: Purpose::Orders,
    },
    Subscription {
        topic: "refunds",
        types: &["payments.refund.status.accepted", "payments.refund.status.updated"],
        purpose: Purpose::Orders,
    },
    Subscription {
        topic: "fraud-decisions",
        types: &[
            "risk.casemanagement.decision.accept",
            "risk.casemanagement.decision.reject",
            "risk.profile.decision.reject",
        ],
        purpose: Purpose::Orders,
    },
];

/// The commissioned names of webhooks, which Cybersource does not have, and the topic whose real types each means. They
/// are topics too, so that an address with such a name works.
pub(super) const COMMISSIONED: [(&str, &str); 3] = [
    ("paymentstatusupdate", "payments"),
    ("refundstatusupdate", "refunds"),
    ("frauddecisionupdate", "fraud-decisions"),
];

/// Topics.
pub(super) const TOPICS: [&str; 6] = [
    "payments",
    "refunds",
    "fraud-decisions",
    "paymentstatusupdate",
    "refundstatusupdate",
    "frauddecisionupdate",
];

/// What a person does in the Business Center so that webhooks come.
pub(super) fn steps(connection: &Connection, endpoints: &[Endpoint]) -> Vec<String> {
    let products = |topic: &str| if topic == "fraud-decisions" { "decisionManager" } else { "payments" };
    let mut out = vec![
        "At Cybersource (Business Center or POST /notification-subscriptions/v2/webhooks), make a webhook for each of \
         these; product `payments` has to be enabled by support, and its events are encrypted:"
            .to_owned(),
    ];
    for endpoint in endpoints {
        out.push(format!(
            "  {}  product {} ({})",
            endpoint.url,
            products(endpoint.topic),
            endpoint.types.join(", ")
        ));
    }
    out.push(
        "Let healthCheckUrl be the same address (a GET or an empty POST is answered 200), securityType KEY, \
         notificationScope SELF, and retries that outlast an outage (e.g. 10 minutes between, 10 times)."
            .to_owned(),
    );
    out.push(format!(
        "Put the digital signature key as `key id:key`: `tillway secrets put … {} webhook_secret`; and the private key \
         of the MLE certificate as `mle_private_key` (PEM on one line: `tr -d '\\n' < key.pem`). Several are accepted \
         while they are rotated.",
        connection.name
    ));
    out
}
