//! Cybersource's webhooks: signed, those about payments encrypted as well; forged, stale, broken, late, out of order.

use anyhow::{Context as _, ensure};
use tillway_core::facts::OrderStatus;
use tillway_core::http::Request;
use tillway_core::time::{Millis, Timestamp};
use tillway_sandbox::HookFault;
use tillway_sandbox::cybersource::{forge, sign};

use super::super::gateway::{WEBHOOK_KEY, WEBHOOK_KEY_ID};
use super::super::run::{End, Run};
use super::hooks::{send, sweep};

/// Tells that a payment was approved.
const APPROVED: &str = "payments.authorization.status.accepted";

pub async fn reordered(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "the order's webhook and the reservation's will be held back");
    run.break_shop_hooks("order.created", HookFault::Delay(Millis::mins(1)), 1);
    run.break_hooks("payments.authorization", HookFault::Delay(Millis::mins(2)), 1);
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.pass(&order, Millis::mins(3), ", and what was held back comes").await?;
    run.ends(&order, run.paid(seen.total())).await
}

/// An order that staff authorizes and that is captured by hand before its webhook, which comes so late or never.
async fn taken_by_hand(run: &mut Run<'_>, fault: HookFault, what: &str) -> anyhow::Result<(String, i64)> {
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Authorized).await?;
    run.until_idle(&order).await?;
    run.break_hooks("payments.capture", fault, 1);
    run.tell(&order, "world", what);
    let payment = seen.payment_id()?;
    run.cybersource(&order, "staff captures the payment in the Business Center", |c, now| {
        c.capture_by_hand(now, &payment, None)
    })?;
    Ok((order, seen.total()))
}

pub async fn late(run: &mut Run<'_>) -> anyhow::Result<()> {
    let fault = HookFault::Delay(Millis::mins(40));
    let (order, total) = taken_by_hand(run, fault, "the next webhook will be forty minutes late").await?;
    run.pass(&order, Millis::mins(5), "").await?;
    let gateway = run.merchant.gateway.clone();
    let report = sweep(run, &order, gateway).await?;
    ensure!(report.late > 0 && report.lost.is_empty(), "the sweep took it for lost");
    let seen = run.look(&order).await?;
    ensure!(seen.status() == Some(OrderStatus::Authorized), "the sweep did not wait");
    run.pass(&order, Millis::mins(36), "").await?;
    run.ends(&order, run.paid(total)).await
}

pub async fn lost(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, total) = taken_by_hand(run, HookFault::Lose, "the next webhook will be lost").await?;
    run.pass(&order, Millis::mins(15), ", and nothing comes").await?;
    let gateway = run.merchant.gateway.clone();
    let report = sweep(run, &order, gateway).await?;
    let missed: i64 = report.money().iter().map(|m| m.minor).sum();
    ensure!(missed == total, "the sweep says that {missed} would have been missed, not {total}");
    run.ends(&order, run.paid(total)).await
}

/// A declined order, and the genuine webhook of that, signed now.
async fn declined(run: &mut Run<'_>) -> anyhow::Result<(String, Request)> {
    let order = run.order("tok_declined")?;
    let seen = run.until_shop(&order, "Payment Failed").await?;
    run.stage.settle().await?;
    let kind = "payments.authorization.status.rejected";
    let request = run.merchant.cybersource()?.webhook(kind, &seen.payment_id()?);
    Ok((order, request.context("there is no such webhook")?))
}

fn signed(body: &[u8], key: &str, at: Timestamp) -> Request {
    forge(body, &sign(body, WEBHOOK_KEY_ID, key, at.0), APPROVED)
}

pub async fn forged(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, genuine) = declined(run).await?;
    let now = run.now();
    let header = genuine.header("v-c-signature").context("it is signed")?.to_owned();
    let body = genuine.body.to_vec();
    let text = String::from_utf8(body.clone())?;
    let tampered = text.replace("authorization.status.rejected", "authorization.status.accepted");
    ensure!(tampered != text, "nothing was changed");
    // The bytes 64 to 95: somebody else's.
    let other = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";
    send(run, &order, "a payment forged with a wrong key", signed(tampered.as_bytes(), other, now), false)
        .await?;
    let copied = forge(tampered.as_bytes(), &header, APPROVED);
    send(run, &order, "a changed body under a genuine signature", copied, false).await?;
    let stale = signed(&body, WEBHOOK_KEY, now - Millis::hours(2));
    send(run, &order, "a genuine webhook of two hours ago", stale, false).await?;
    let future = signed(&body, WEBHOOK_KEY, now + Millis::hours(2));
    send(run, &order, "one from two hours ahead", future, false).await?;
    run.ends(&order, End::declined_at(run.system())).await
}

pub async fn malformed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, genuine) = declined(run).await?;
    let now = run.now();
    let text = String::from_utf8(genuine.body.to_vec())?;
    let (_, rest) = text.split_once("\"encData\":\"").context("it is encrypted")?;
    let (sealed, _) = rest.split_once('"').context("the text ends")?;
    let (head, parts) = sealed.split_once('.').context("it has parts")?;
    // Another algorithm (`{"alg":"RSA1_5","enc":"A256GCM"}`), a part too few, a header that is no JSON.
    let weak = format!("eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMjU2R0NNIn0.{parts}");
    for (what, broken) in [
        ("one encrypted in a way nobody agreed to", weak),
        ("one whose header is no JSON", format!("{}.{parts}", head.get(..9).unwrap_or_default())),
    ] {
        let body = text.replace(sealed, &broken);
        send(run, &order, what, signed(body.as_bytes(), WEBHOOK_KEY, now), false).await?;
    }
    run.ends(&order, End::declined_at(run.system())).await
}

pub async fn replayed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, _) = declined(run).await?;
    // Later than the queue's own deduplication, so that decide must tell.
    run.pass(&order, Millis::mins(10), "").await?;
    let payment = run.look(&order).await?.payment_id()?;
    let kind = "payments.authorization.status.rejected";
    let again = run.merchant.cybersource()?.webhook(kind, &payment).context("there is no such webhook")?;
    send(run, &order, "the payment's webhook under another trace id", again, true).await?;
    run.ends(&order, End::declined_at(run.system())).await
}

pub async fn skewed(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "Cybersource's clock is 110 seconds ahead");
    run.merchant.cybersource()?.config_mut().clock_skew = Millis::secs(110);
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.stage.settle().await?;
    run.merchant.cybersource()?.config_mut().clock_skew = Millis(0);
    run.ends(&order, run.paid(seen.total())).await
}
