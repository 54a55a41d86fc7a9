//! Outside systems that answer badly, late, or not at all.

use anyhow::ensure;
use tillway_core::facts::OrderStatus;
use tillway_core::time::Millis;
use tillway_sandbox::{ApiFault, Sandbox as _};

use super::super::run::{End, Run};
use super::back;

async fn paid_in_spite_of(run: &mut Run<'_>, fault: ApiFault, times: u32, what: &str) -> anyhow::Result<()> {
    let order = run.new_order("USD", Some("pm_card_visa"))?;
    run.break_gateway("", "/confirm", fault, times, what);
    let order = run.place(order)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn throttled(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in_spite_of(run, ApiFault::Refuse(429), 3, "Stripe will answer 429 to the next three charges").await
}

pub async fn failed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let what = "Stripe will answer 500 to the next charge without charging, and keep the answer";
    paid_in_spite_of(run, ApiFault::Fail500, 1, what).await
}

pub async fn failed_after(run: &mut Run<'_>) -> anyhow::Result<()> {
    let what = "Stripe will charge, answer 500 all the same, and keep the answer";
    paid_in_spite_of(run, ApiFault::Fail500AfterEffect, 1, what).await
}

pub async fn silent_after(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in_spite_of(run, ApiFault::SilenceAfter, 1, "Stripe will charge and then not answer").await
}

pub async fn silent_before(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in_spite_of(run, ApiFault::SilenceBefore, 1, "Stripe will neither charge nor answer").await
}

pub async fn silent_refund(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = back::paid(run, "pm_card_visa").await?;
    let amount = run.draw.range(100, seen.total() / 2);
    run.break_gateway(
        &order,
        "/refunds",
        ApiFault::SilenceAfter,
        1,
        "Stripe will refund and then not answer",
    );
    run.shop(&order, "asks for a refund", |c, now| {
        c.request_refund(now, &order, Some(&format!("{order}-R1")), amount, "goods_returned")
    })?;
    let end = End::paid(seen.total()).refunded(amount);
    run.ends(&order, end.status("Partially Refunded", OrderStatus::PartiallyRefunded)).await
}

pub async fn silent_capture(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order("pm_card_visa")?;
    let seen = run.until_status(&order, OrderStatus::Authorized).await?;
    run.break_gateway(
        &order,
        "/capture",
        ApiFault::SilenceAfter,
        1,
        "Stripe will capture and then not answer",
    );
    run.shop(&order, "ships everything", |c, now| c.ship(now, &order, None))?;
    run.ends(&order, End::paid(seen.total()).shop("Shipped")).await?;
    let seen = run.look(&order).await?;
    ensure!(seen.payment().is_some_and(|p| p.captures == 1), "captured more than once");
    Ok(())
}

pub async fn clarity_down(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order("pm_card_visa")?;
    let until = run.now() + Millis::mins(20);
    run.tell(&order, "world", "Clarity goes down for twenty minutes");
    run.merchant.clarity().down_until(until);
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, End::paid(seen.total())).await
}
