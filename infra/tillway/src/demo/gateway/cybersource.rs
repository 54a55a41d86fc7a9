//! Cybersource's side.

use anyhow::Context as _;
use tillway_sandbox::cybersource::{
    Credentials, CybersourceConfig, CybersourceSandbox, Encryption, Kind, Manner, Merchant, PaymentTruth,
    WebhookConfig,
};

use super::{Deliveries, Gateway, Payment, System};

/// Its words.
pub const CYBERSOURCE: System = System {
    pair: "cybersource-clarity",
    name: "Cybersource",
    key: "cybersource",
    // Who signs its calls.
    settings: "merchant_id: acme_test_001, key_id: 11111111-2222-3333-4444-555555555555",
    desk: "in the Business Center",
    cards: ["tok_visa", "tok_mastercard"],
    declined: &["tok_insufficient", "tok_expired", "tok_cvn", "tok_stolen", "tok_declined"],
    paid: "Payment Received",
    // What was let go keeps the status it was answered with.
    statuses: ["AUTHORIZED", "AUTHORIZED", "DECLINED"],
    paths: ["/pts/v2/payments", "/refunds"],
};

const MERCHANT: &str = "acme_test_001";
/// A further merchant id of the account.
pub const FURTHER: &str = "acme_test_002";
const KEY_ID: &str = "11111111-2222-3333-4444-555555555555";
/// Made up: the bytes 0 to 31. Signs calls.
const SHARED_SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Names the key that signs webhooks.
pub const WEBHOOK_KEY_ID: &str = "aaaabbbb-cccc-dddd-eeee-ffff00001111";
/// Made up: the bytes 32 to 63. Signs what the sandbox sends.
pub const WEBHOOK_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// The key pair that webhooks about payments are encrypted for. Made at start, gone with the demo.
#[derive(Clone)]
pub struct Keys {
    /// For the sandboxes.
    pub encryption: Encryption,
    private: String,
}

impl Keys {
    /// Makes it.
    ///
    /// # Errors
    /// Where no such key can be made.
    pub fn make(seed: u64) -> anyhow::Result<Self> {
        let drawn = format!("demo {seed}");
        let (encryption, private) = Encryption::made_of(drawn.as_bytes()).context("no key could be made")?;
        Ok(Self { encryption, private })
    }
}

pub(super) fn secrets(keys: &Keys) -> Vec<(&'static str, String)> {
    vec![
        ("shared_secret", SHARED_SECRET.to_owned()),
        ("webhook_secret", format!("{WEBHOOK_KEY_ID}:{WEBHOOK_KEY}")),
        ("mle_private_key", keys.private.clone()),
    ]
}

pub(super) fn sandbox(seed: u64, keys: &Keys) -> CybersourceSandbox {
    let hooks = WebhookConfig::new(WEBHOOK_KEY_ID, WEBHOOK_KEY, Some(keys.encryption.clone()));
    let credentials = Credentials::new(MERCHANT, KEY_ID, SHARED_SECRET);
    let mut config = CybersourceConfig::new(credentials, hooks, seed);
    // Where a merchant's connection does not name it, nothing is asked of it.
    let further = Credentials::new(FURTHER, KEY_ID, SHARED_SECRET);
    config.merchants = vec![Merchant { credentials: further, manner: Manner::Usual }];
    CybersourceSandbox::new(config)
}

fn payment(order: &str, p: PaymentTruth) -> Payment {
    let moved = |kind| p.transactions.iter().filter(move |t| t.kind == kind && t.stands);
    let standing = usize::from(p.held > 0 || p.captured > 0);
    let failed = |t: &&tillway_sandbox::cybersource::TransactionTruth| t.status == "FAILED";
    Payment {
        order: Some(order.to_owned()),
        status: p.status,
        currency: p.currency.to_owned(),
        amount: p.transactions.first().map_or(0, |t| t.amount).max(p.authorized),
        authorized: p.authorized,
        held: p.held,
        captured: p.captured,
        voided: moved(Kind::Void).map(|t| t.amount).sum(),
        let_go: p.reversed,
        refunded: p.refunded,
        came_back: p
            .transactions
            .iter()
            .filter(|t| t.kind == Kind::Refund)
            .filter(failed)
            .map(|t| t.amount)
            .sum(),
        withdrawn: p.withdrawn,
        reinstated: p.reinstated,
        attempts: 1,
        charges: usize::from(p.authorized > 0),
        standing,
        captures: moved(Kind::Capture).count(),
        refunds: p.transactions.iter().filter(|t| t.kind == Kind::Refund).count(),
        id: p.payment,
    }
}

impl Gateway for CybersourceSandbox {
    fn made_for(&self, order: &str) -> Vec<Payment> {
        self.order_truth(order).payments.into_iter().map(|p| payment(order, p)).collect()
    }

    fn payments(&self) -> Vec<Payment> {
        self.references().flat_map(|order| self.made_for(order)).collect()
    }

    fn told(&self) -> Vec<(String, String)> {
        // Events bear no id; Tillway names them by what they say.
        self.all_events().map(|e| (format!("{}:{}:{}", e.kind, e.id, e.status), e.kind.clone())).collect()
    }

    fn only_swept(&self, event: &str) -> bool {
        // When the processor has a refund, no webhook says so.
        let told = event.strip_prefix("tillway.transaction:").and_then(|e| e.strip_suffix(":TRANSMITTED"));
        let Some(id) = told else { return false };
        let refund = |p: &PaymentTruth| p.transactions.iter().any(|t| t.kind == Kind::Refund && t.id == id);
        self.all_payments().any(|p| refund(&p))
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
        self.all_customers().map(|(_, reference)| reference.unwrap_or_default().to_owned()).collect()
    }

    fn done_twice(&self) -> Vec<String> {
        let orders = self.references().map(|order| (order, self.order_truth(order)));
        orders
            .flat_map(|(order, truth)| {
                let twice = truth.by_mark.into_iter().filter(|(_, n)| *n > 1);
                twice.map(move |((_, kind), n)| format!("order {order}: one command made {n} {kind:?}s"))
            })
            .collect()
    }
}
