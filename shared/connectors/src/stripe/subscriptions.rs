//! Which event types each webhook endpoint subscribes to, by topic.

use crate::port::{Purpose, Subscription};

/// The types that tell something, and no more: every delivery is received, sent and decided on.
///
/// Left out on purpose: `payment_intent.created` (whatever it says a later event says too, and of a payment
/// that Tillway makes the answer tells), `charge.refund.updated` (doubles `refund.updated`). Delivered all the
/// same, they are worked like any other.
pub(super) const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        topic: "payments",
        types: &[
            "charge.captured",
            "charge.expired",
            "charge.failed",
            "charge.succeeded",
            "charge.updated",
            "payment_intent.amount_capturable_updated",
            "payment_intent.canceled",
            "payment_intent.partially_funded",
            "payment_intent.payment_failed",
            "payment_intent.processing",
            "payment_intent.requires_action",
            "payment_intent.succeeded",
            "review.closed",
            "review.opened",
        ],
        purpose: Purpose::Orders,
    },
    Subscription {
        topic: "refunds",
        types: &["charge.refunded", "refund.created", "refund.failed", "refund.updated"],
        purpose: Purpose::Orders,
    },
    Subscription {
        topic: "disputes",
        types: &[
            "charge.dispute.closed",
            "charge.dispute.created",
            "charge.dispute.funds_reinstated",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.updated",
        ],
        purpose: Purpose::Orders,
    },
    Subscription {
        topic: "billing",
        types: &[
            "customer.subscription.created",
            "customer.subscription.deleted",
            "customer.subscription.updated",
            "invoice.paid",
            "invoice.payment_failed",
        ],
        purpose: Purpose::Later,
    },
    Subscription {
        topic: "customers",
        types: &["customer.created", "customer.updated"],
        purpose: Purpose::Later,
    },
    Subscription {
        topic: "payouts",
        types: &["payout.failed", "payout.paid", "payout.reconciliation_completed"],
        purpose: Purpose::Settlement,
    },
];

/// Types with a meaning for an order; a sweep asks for these.
pub(super) fn swept() -> Vec<&'static str> {
    SUBSCRIPTIONS.iter().filter(|s| s.purpose == Purpose::Orders).flat_map(|s| s.types).copied().collect()
}

/// Whether an event of this type says something about an order.
pub(super) fn is_handled(event_type: &str) -> bool {
    event_type == "payment_intent.created"
        || SUBSCRIPTIONS.iter().any(|s| s.purpose == Purpose::Orders && s.types.contains(&event_type))
}
