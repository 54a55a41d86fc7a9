//! The scenarios, by name.

mod back;
mod capturing;
mod cases;
mod disputes;
mod follow;
mod hooks;
mod money;
mod outages;
mod paying;
mod routed;
mod sealed;
mod voids;

use super::gateway::System;
use super::run::Run;
use super::stage::system_of;

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

impl Scenario {
    /// The gateway it plays at.
    pub fn system(&self) -> &'static System {
        system_of(self.merchant)
    }
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
    "cyb-paid-at-once" "cnow" "paid at once" => paying::at_once;
    "cyb-declined-then-paid" "cnow" "declined, then paid with another card" => paying::declined_then_paid;
    "cyb-review-accepted" "cnow" "held for review, accepted: the webhook tells" => cases::accepted;
    "cyb-review-accepted-webhook-lost" "cnow" "held for review, accepted: the webhook is lost, found by the sweep" => cases::accepted_unheard;
    "cyb-review-rejected" "cnow" "held for review, rejected: the authorization is reversed" => cases::rejected;
    "cyb-review-rejected-and-reversed" "cship" "held for review, rejected and reversed in the Business Center" => cases::rejected_and_reversed;
    "cyb-review-accepted-and-captured" "cnow" "held for review, accepted and captured in the Business Center: adopted" => cases::accepted_and_captured;
    "cyb-captured-during-review" "cnow" "captured in the Business Center during the review: adopted, not taken twice" => cases::captured_elsewhere;
    "cyb-risk-declined" "cnow" "approved by the bank, declined by Decision Manager: reversed" => cases::risk_declined;
    "cyb-risk-declined-address" "cnow" "the IP address the order came from is on Decision Manager's list: declined, and reversed" => cases::listed_address;
    "cyb-review-goods" "cnow" "a hundred pieces of one article: held for review by a rule about the lines, accepted here with `tillway review`" => cases::many_pieces;
    "cyb-partial-authorization" "cnow" "the bank approves a part: a person is asked" => cases::partial;
    "cyb-unheard-status" "cnow" "a status never seen before: parked with the raw word" => cases::unheard_status;
    "cyb-routed-soft-decline" "croute" "two merchant ids: a soft decline at one is tried once at the other" => routed::soft_decline;
    "cyb-routed-id-down" "croute" "two merchant ids: one fails, the orders go on at the other" => routed::id_down;
    "cyb-screened" "cscreen" "Decision Manager alone first, and the bank after it let pass" => cases::screened;
    "cyb-screened-refused" "cscreen" "Decision Manager refuses first: the bank is never asked" => cases::screened_refused;
    "cyb-screened-goods" "cscreen" "Decision Manager alone holds an order by its goods, and lets it pass by a person's word" => cases::screened_goods;
    "cyb-screened-address-refused" "cscreen" "Decision Manager alone refuses an order by its IP address" => cases::screened_address;
    "cyb-screened-review-accepted" "cscreen" "Decision Manager holds first; a person accepts, then the bank is asked" => cases::screened_review;
    "cyb-profile" "cnow" "a customer's account: one token at Cybersource, its id with the customer in Clarity" => paying::profile;
    "cyb-yen" "cnow" "an order in JPY: no decimals" => money::yen;
    "cyb-captured-on-shipment" "cship" "authorized, captured in full on shipment" => capturing::full;
    "cyb-captured-in-part" "cship" "authorized, part shipped and captured, the rest runs out" => capturing::part;
    "cyb-captured-several-times" "cship" "authorized, captured with each of several shipments" => capturing::several;
    "cyb-cancelled-before-capture" "cship" "cancelled before capture: the authorization is reversed" => capturing::cancelled;
    "cyb-total-lowered-before-capture" "cship" "total lowered before capture: only that much is taken" => capturing::lowered;
    "cyb-total-raised-before-capture" "cship" "total raised before capture: a person is asked" => capturing::raised;
    "cyb-cancelled-before-cut-off" "cnow" "cancelled after capture, before the cut-off: voided, not refunded" => voids::cancelled_before;
    "cyb-cancelled-after-cut-off" "cnow" "cancelled after the cut-off: the void is refused, then refunded" => voids::cancelled_after;
    "cyb-total-lowered-after-capture" "cnow" "total lowered after capture: the difference is refunded" => back::lowered;
    "cyb-total-raised-after-capture" "cnow" "total raised after capture: a person is asked" => back::raised;
    "cyb-refund-requested" "cnow" "a refund asked for by Clarity" => back::requested;
    "cyb-refund-requested-whole" "cnow" "everything asked back by Clarity before the cut-off: voided" => voids::requested_whole;
    "cyb-refund-by-hand" "cnow" "a refund made in the Business Center, told by webhook" => voids::by_hand;
    "cyb-refund-by-hand-webhook-lost" "cnow" "a refund made in the Business Center, found by the sweep" => voids::by_hand_unheard;
    "cyb-chargeback" "cnow" "a chargeback, which no webhook tells: read from the report by the sweep" => voids::charged_back;
    "cyb-chargeback-lost" "cnow" "a chargeback whose end no report tells: staff says that it is lost" => voids::chargeback_lost;
    "cyb-chargeback-won" "cnow" "a chargeback that was given back: staff says that it is won" => voids::chargeback_won;
    "cyb-webhook-duplicated" "cnow" "webhooks delivered three times, each under another trace id" => hooks::duplicated;
    "cyb-webhook-reordered" "cnow" "the capture's webhook overtakes the reservation's" => sealed::reordered;
    "cyb-webhook-late" "cship" "a webhook that comes forty minutes late" => sealed::late;
    "cyb-webhook-lost" "cship" "a capture's webhook is lost, found by the sweep" => sealed::lost;
    "cyb-order-webhook-lost" "cnow" "the shop's webhook is lost, found by the sweep" => hooks::order_lost;
    "cyb-webhook-forged" "cnow" "forged and stale webhooks are refused" => sealed::forged;
    "cyb-webhook-malformed" "cnow" "encrypted webhooks that are malformed are refused" => sealed::malformed;
    "cyb-webhook-replayed" "cnow" "a genuine webhook sent again under another trace id is dropped" => sealed::replayed;
    "cyb-clock-skew" "cnow" "Cybersource's clock is nearly two minutes ahead" => sealed::skewed;
    "cyb-card-number" "cnow" "a card number in a text field: removed, parked, alarmed" => hooks::card_number;
    "cyb-429" "cnow" "Cybersource answers 429" => outages::throttled;
    "cyb-502-after-authorization" "cnow" "Cybersource answers 502, but authorized" => outages::failed_after_unkept;
    "cyb-502-after-capture" "cship" "Cybersource answers 502, but captured" => outages::failed_capture;
    "cyb-timeout-after-authorization" "cnow" "Cybersource times out after it authorized" => outages::silent_after;
    "cyb-timeout-before-authorization" "cnow" "Cybersource times out before it authorized" => outages::silent_before;
    "cyb-timeout-authorization-unlisted" "cnow" "it authorized, and no search shows it in time: reversed, and authorized anew" => outages::silent_and_unlisted;
    "cyb-timeout-after-capture" "cship" "Cybersource times out after it captured" => outages::silent_capture;
    "cyb-timeout-before-capture" "cship" "Cybersource times out before it captured" => outages::silent_before_capture;
    "cyb-timeout-after-refund" "cnow" "Cybersource times out after it refunded" => outages::silent_refund;
    "cyb-timeout-before-refund" "cnow" "Cybersource times out before it refunded" => outages::silent_before_refund;
    "cyb-timeout-after-void" "cnow" "Cybersource times out after it voided" => outages::silent_void;
    "cyb-timeout-before-void" "cnow" "Cybersource times out before it voided" => outages::silent_before_void;
    "cyb-clarity-down" "cnow" "Clarity is down for twenty minutes" => outages::clarity_down;
    "cyb-authorization-expiring" "cship" "authorization about to expire: staff is told a day before, then shipped" => capturing::expiring;
    "cyb-authorization-expired" "cship" "authorization expires unheard: Cybersource is asked, the order has failed, and what ships goes to a person" => capturing::expired_unheard;
}
