//! The scenarios, by name.

mod back;
mod capturing;
mod disputes;
mod follow;
mod hooks;
mod money;
mod outages;
mod paying;

use super::run::Run;

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name for `--scenario`.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The merchant (pair) it plays at.
    pub merchant: &'static str,
}

macro_rules! scenarios {
    ($($name:literal $merchant:literal $title:literal => $play:path;)*) => {
        /// All of them, in the order they are played.
        pub const ALL: &[Scenario] =
            &[$(Scenario { name: $name, title: $title, merchant: $merchant }),*];

        /// Plays one.
        ///
        /// # Errors
        /// What did not come to be as it must.
        pub async fn play(name: &str, run: &mut Run<'_>) -> anyhow::Result<()> {
            match name {
                $($name => $play(run).await,)*
                other => anyhow::bail!("there is no scenario {other}; `tillway demo --list` lists them"),
            }
        }
    };
}

scenarios! {
    "paid-at-once" "now" "paid at once" => paying::at_once;
    "declined-then-paid" "now" "declined with a reason, then paid with another card" => paying::declined_then_paid;
    "declined-and-changed" "now" "declined, the total changes, then paid with another card" => paying::declined_and_changed;
    "three-ds" "now" "3-D Secure needed, authenticated" => paying::three_ds;
    "three-ds-failed" "now" "3-D Secure needed, failed" => paying::three_ds_failed;
    "review-released" "now" "held for review, released" => paying::review_released;
    "review-rejected-after-capture" "now" "held for review, rejected after the money was taken" => paying::review_rejected_after_capture;
    "repeat-customer" "now" "a guest, the same guest again, then with an account: one Stripe customer" => paying::repeat_customer;
    "yen" "now" "an order in JPY: no decimals" => money::yen;
    "dinar" "now" "an order in KWD: three decimals" => money::dinar;
    "krona" "now" "an order in ISK: no decimals, two on Stripe's wire" => money::krona;
    "captured-on-shipment" "ship" "authorized, captured in full on shipment" => capturing::full;
    "captured-in-part" "ship" "authorized, part shipped and captured, the rest runs out" => capturing::part;
    "captured-several-times" "ship" "authorized, captured with each of several shipments" => capturing::several;
    "review-released-on-shipment" "ship" "held for review and shipped, captured when released" => capturing::review_released;
    "review-rejected" "ship" "held for review, rejected before capture" => capturing::review_rejected;
    "cancelled-before-capture" "ship" "cancelled before capture: the authorization is let go" => capturing::cancelled;
    "total-lowered-before-capture" "ship" "total lowered before capture: only that much is taken" => capturing::lowered;
    "total-raised-before-capture" "ship" "total raised before capture: a person is asked" => capturing::raised;
    "cancelled-after-capture" "now" "cancelled after capture: refunded" => back::cancelled;
    "total-lowered-after-capture" "now" "total lowered after capture: the difference is refunded" => back::lowered;
    "total-raised-after-capture" "now" "total raised after capture: a person is asked" => back::raised;
    "dashboard-refunds" "now" "two partial refunds made in Stripe's dashboard" => back::dashboard;
    "refund-requested" "now" "a refund asked for by Clarity" => back::requested;
    "refund-without-id" "now" "a refund request without an id: parked" => back::without_id;
    "refund-fails-later" "now" "a refund that succeeds and fails later" => back::fails_later;
    "dispute-opened" "now" "a dispute opened" => disputes::opened;
    "dispute-won" "now" "a dispute won" => disputes::won;
    "dispute-lost" "now" "a dispute lost" => disputes::lost;
    "dispute-lost-then-won" "now" "a dispute lost, then won after all" => disputes::lost_then_won;
    "webhook-duplicated" "now" "webhooks delivered three times" => hooks::duplicated;
    "webhook-reordered" "follow" "the payment's webhooks overtake the order's" => hooks::reordered;
    "webhook-late" "follow" "webhooks that come forty minutes late" => hooks::late;
    "webhook-lost" "follow" "the gateway's webhooks are lost, found by the sweep" => hooks::lost;
    "order-webhook-lost" "now" "the shop's webhook is lost, found by the sweep" => hooks::order_lost;
    "webhook-forged" "now" "forged and stale webhooks are refused" => hooks::forged;
    "webhook-replayed" "now" "a genuine webhook sent again within the tolerance is dropped" => hooks::replayed;
    "card-number" "now" "a card number in a text field: removed, parked, alarmed" => hooks::card_number;
    "stripe-429" "now" "Stripe answers 429" => outages::throttled;
    "stripe-500" "now" "Stripe answers 500 and stores it under the key; nothing was done" => outages::failed;
    "stripe-500-after-charge" "now" "Stripe answers 500 and stores it, but charged" => outages::failed_after;
    "stripe-timeout-after-charge" "now" "Stripe times out after it charged" => outages::silent_after;
    "stripe-timeout-before-charge" "now" "Stripe times out before it charged" => outages::silent_before;
    "stripe-timeout-refund" "now" "Stripe times out after it refunded" => outages::silent_refund;
    "stripe-timeout-capture" "ship" "Stripe times out after it captured" => outages::silent_capture;
    "clarity-down" "now" "Clarity is down for twenty minutes" => outages::clarity_down;
    "follow-paid" "follow" "follow mode: the shop's own payment, paid at once" => follow::paid;
    "follow-captured-on-shipment" "follow" "follow mode: the shop's own payment, captured on shipment" => follow::captured;
    "follow-declined-then-paid" "follow" "follow mode: declined, then the shopper pays with another card" => follow::declined;
    "authorization-expiring" "ship" "authorization about to expire: staff is told a day before, then shipped" => capturing::expiring;
    "authorization-expired" "ship" "authorization expires" => capturing::expired;
}
