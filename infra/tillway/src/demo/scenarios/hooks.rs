//! Webhooks that come twice, late, in the wrong order, not at all, or from somebody else.

use anyhow::{Context as _, ensure};
use tillway_core::facts::OrderStatus;
use tillway_core::http::Request;
use tillway_core::ids::ConnectionName;
use tillway_core::time::Millis;
use tillway_engine::sweep::SweepReport;
use tillway_sandbox::HookFault;
use tillway_sandbox::stripe::{forge, sign};

use super::super::gateway::{STRIPE, STRIPE_WEBHOOK_SECRET};
use super::super::promises::CANARY;
use super::super::run::{End, Run};
use super::{back, follow};

pub async fn duplicated(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "every webhook will be delivered three times");
    // As many as a payment that is taken at once sends, so that no later order's are.
    let events = if run.system().key == STRIPE.key { 5 } else { 2 };
    run.break_hooks("", HookFault::Duplicate(2), events);
    run.break_shop_hooks("order.", HookFault::Duplicate(2), 2);
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await
}

pub async fn reordered(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "the order's webhook and the payment's first one will be held back");
    run.break_shop_hooks("order.created", HookFault::Delay(Millis::mins(1)), 1);
    run.break_hooks("payment_intent.created", HookFault::Delay(Millis::mins(2)), 1);
    run.break_hooks("charge.succeeded", HookFault::Delay(Millis::secs(90)), 1);
    let order = follow::order(run)?;
    run.shop_pays(&order, "pm_card_visa", "automatic", "clarity_order_id")?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.pass(&order, Millis::mins(3), ", and what was held back comes").await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn sweep(
    run: &mut Run<'_>,
    order: &str,
    connection: ConnectionName,
) -> anyhow::Result<SweepReport> {
    let report = run.stage.sweep(&connection).await?;
    let money: Vec<String> = report.money().iter().map(ToString::to_string).collect();
    let money = if money.is_empty() { "no money".to_owned() } else { money.join(", ") };
    let kinds: Vec<&str> = report.lost.iter().map(|l| l.kind.as_str()).collect();
    let lost = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let text = format!(
        "{connection}: {} looked at, {} known, {} late, {} lost{lost}; {money} would have been missed",
        report.seen,
        report.known,
        report.late,
        report.lost.len(),
    );
    run.tell(order, "sweep", text);
    Ok(report)
}

/// Types a payment made by the shop sends, and how many of each.
const OF_PAYMENT: [(&str, u32); 2] = [("payment_intent.", 2), ("charge.", 1)];

pub async fn late(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = follow::order(run)?;
    run.stage.settle().await?;
    for (kind, times) in OF_PAYMENT {
        run.break_hooks(kind, HookFault::Delay(Millis::mins(40)), times);
    }
    run.tell(&order, "world", "the gateway's webhooks will be forty minutes late");
    run.shop_pays(&order, "pm_card_visa", "automatic", "clarity_order_id")?;
    run.pass(&order, Millis::mins(5), "").await?;
    let gateway = run.merchant.gateway.clone();
    let report = sweep(run, &order, gateway).await?;
    ensure!(report.late > 0 && report.lost.is_empty(), "the sweep took them for lost");
    let seen = run.look(&order).await?;
    ensure!(seen.status() == Some(OrderStatus::PendingPayment), "the sweep did not wait");
    run.pass(&order, Millis::mins(36), "").await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn lost(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = follow::order(run)?;
    run.stage.settle().await?;
    for (kind, times) in OF_PAYMENT {
        run.break_hooks(kind, HookFault::Lose, times);
    }
    run.tell(&order, "world", "the gateway's webhooks will be lost");
    run.shop_pays(&order, "pm_card_visa", "automatic", "clarity_order_id")?;
    run.pass(&order, Millis::mins(15), ", and nothing comes").await?;
    let gateway = run.merchant.gateway.clone();
    let report = sweep(run, &order, gateway).await?;
    let seen = run.look(&order).await?;
    let missed: i64 = report.money().iter().map(|m| m.minor).sum();
    ensure!(!report.lost.is_empty(), "the sweep found nothing");
    ensure!(
        missed == seen.total(),
        "the sweep says that {missed} would have been missed, not {}",
        seen.total()
    );
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn order_lost(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.break_shop_hooks("order.created", HookFault::Lose, 1);
    run.tell("", "world", "the shop's next webhook will be lost");
    let order = run.order(run.good_card())?;
    run.pass(&order, Millis::mins(15), ", and nothing comes").await?;
    let shop = run.merchant.shop.clone();
    let report = sweep(run, &order, shop).await?;
    ensure!(report.lost.len() == 1, "the sweep found {} orders", report.lost.len());
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await
}

/// The newest genuine event of a type.
fn genuine(run: &Run<'_>, kind: &str) -> anyhow::Result<String> {
    let stripe = run.merchant.stripe()?;
    let found = stripe.all_events().rfind(|(_, k, _)| k == kind).map(|(id, ..)| id);
    let id = found.with_context(|| format!("there was no {kind}"))?;
    stripe.event_body(&id).context("the event is gone")
}

pub async fn send(
    run: &mut Run<'_>,
    order: &str,
    what: &str,
    request: Request,
    accepted: bool,
) -> anyhow::Result<()> {
    let gateway = run.merchant.gateway.clone();
    let answer = run.stage.post(&gateway, "payments", request).await?;
    let code = String::from_utf8_lossy(&answer.body).into_owned();
    run.tell(order, "tillway", format!("{what}: answered {} {code}", answer.status));
    let (must, range) = if accepted { ("2xx", 200..300) } else { ("4xx", 400..500) };
    ensure!(range.contains(&answer.status), "{what} was answered {}, must be {must}", answer.status);
    Ok(())
}

pub async fn forged(run: &mut Run<'_>) -> anyhow::Result<()> {
    let token = run.token("pm_card_chargeDeclined");
    let mut order = run.new_order("USD", None)?;
    order.payment_token = Some(token);
    let order = run.place(order)?;
    run.until_shop(&order, "Payment Failed").await?;
    run.stage.settle().await?;
    let now = run.now().unix();
    let failed = genuine(run, "payment_intent.payment_failed")?;
    let tampered = failed.replace("payment_intent.payment_failed", "payment_intent.succeeded");
    let wrong = sign(tampered.as_bytes(), "whsec_somebody_else", now);
    let copied = sign(failed.as_bytes(), STRIPE_WEBHOOK_SECRET, now);
    let stale = sign(failed.as_bytes(), STRIPE_WEBHOOK_SECRET, now - 3600);
    let future = sign(failed.as_bytes(), STRIPE_WEBHOOK_SECRET, now + 3600);
    send(run, &order, "a payment forged with a wrong secret", forge(tampered.clone(), &wrong), false).await?;
    send(run, &order, "a changed body under a genuine signature", forge(tampered, &copied), false).await?;
    send(run, &order, "a genuine webhook of an hour ago", forge(failed.clone(), &stale), false).await?;
    send(run, &order, "one from an hour ahead", forge(failed, &future), false).await?;
    let end = End::unpaid("Payment Failed", "requires_payment_method", OrderStatus::PaymentFailed);
    run.ends(&order, end).await
}

pub async fn replayed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = back::paid(run, "pm_card_visa").await?;
    // Later than the queue's own deduplication, so that decide must tell.
    run.pass(&order, Millis::mins(10), "").await?;
    let body = genuine(run, "payment_intent.succeeded")?;
    let signature = sign(body.as_bytes(), STRIPE_WEBHOOK_SECRET, run.now().unix());
    send(run, &order, "the payment's webhook sent once more", forge(body, &signature), true).await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn card_number(run: &mut Run<'_>) -> anyhow::Result<()> {
    let mut order = run.new_order("USD", Some(run.good_card()))?;
    order.note = Some(format!("please charge {CANARY}, thank you"));
    let order = run.place(order)?;
    run.tell(&order, "world", "the customer typed a card number into the note");
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    ensure!(run.stage.alarms("card_number_received").await? > 0, "nobody was alarmed");
    run.ends(&order, run.paid(seen.total()).parked("card_number_removed")).await
}
