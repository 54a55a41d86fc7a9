//! Stripe's side.

use tillway_core::time::Millis;
use tillway_sandbox::stripe::{PaymentTruth, StripeConfig, StripeSandbox};

use super::{Deliveries, Gateway, Payment, System};

/// Its words.
pub const STRIPE: System = System {
    pair: "stripe-clarity",
    name: "Stripe",
    key: "stripe",
    settings: "multicapture: if_available",
    desk: "in the dashboard",
    cards: ["pm_card_visa", "pm_card_mastercard"],
    declined: &[
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "pm_card_visa_chargeDeclinedExpiredCard",
        "pm_card_visa_chargeDeclinedIncorrectCvc",
        "pm_card_visa_chargeDeclinedLostCard",
        "pm_card_visa_chargeDeclined",
    ],
    paid: "Paid",
    statuses: ["succeeded", "canceled", "requires_payment_method"],
    paths: ["/confirm", "/refunds"],
};

/// What the demo's own accounts are opened with. They exist on loopback for as long as the demo runs.
const API_KEY: &str = "sk_test_sandbox";
/// Signs what the sandbox sends.
pub const WEBHOOK_SECRET: &str = "whsec_sandbox_stripe";
/// Metadata keys under which a payment names its order.
const ORDER_KEYS: [&str; 2] = ["clarity_order_id", "clarityorderid"];

pub(super) fn secrets() -> Vec<(&'static str, String)> {
    vec![("api_key", API_KEY.to_owned()), ("webhook_secret", WEBHOOK_SECRET.to_owned())]
}

pub(super) fn sandbox(seed: u64) -> StripeSandbox {
    let mut config = StripeConfig::new(API_KEY, WEBHOOK_SECRET, seed);
    // Charges settle and refunds change their mind some time after, as they do.
    config.async_settlement = Millis::secs(2);
    config.refund_delay = Millis::mins(5);
    StripeSandbox::new(config).with_schema_beside()
}

fn payment(p: PaymentTruth) -> Payment {
    let order = p.metadata.iter().find(|(k, _)| k.contains("clarity")).map(|(_, order)| order.clone());
    Payment {
        id: p.payment,
        order,
        status: p.status.name(),
        currency: p.currency.to_ascii_uppercase(),
        amount: p.amount,
        authorized: p.authorized,
        held: p.capturable,
        captured: p.captured,
        voided: 0,
        let_go: 0,
        refunded: p.refunded,
        came_back: p.refunds_failed,
        withdrawn: p.disputed_withdrawn,
        reinstated: p.disputed_reinstated,
        attempts: p.attempts,
        charges: p.charges_succeeded,
        standing: p.charges_succeeded,
        captures: usize::try_from(p.captures).unwrap_or(usize::MAX),
        refunds: p.refunds,
    }
}

impl Gateway for StripeSandbox {
    fn made_for(&self, order: &str) -> Vec<Payment> {
        ORDER_KEYS.iter().flat_map(|key| self.payments_by_metadata(key, order)).map(payment).collect()
    }

    fn payments(&self) -> Vec<Payment> {
        self.all_payments().map(payment).collect()
    }

    fn told(&self) -> Vec<(String, String)> {
        self.all_events().map(|(id, kind, _)| (id, kind)).collect()
    }

    fn only_swept(&self, _event: &str) -> bool {
        false
    }

    fn deliveries(&self) -> Deliveries {
        let lost = self.counters().hook_faults_struck.get("lose").copied().unwrap_or(0);
        Deliveries {
            lost: usize::try_from(lost).unwrap_or(usize::MAX),
            given_up: self.counters().deliveries_given_up,
            open: self.deliveries_open(),
        }
    }

    fn customers(&self) -> Vec<String> {
        self.all_customers().map(|(_, email)| email.unwrap_or_default()).collect()
    }

    fn done_twice(&self) -> Vec<String> {
        // An idempotency key keeps Stripe from it; what it charged is counted above.
        Vec::new()
    }
}
