//! Outside systems that answer badly, late, or not at all.

use anyhow::ensure;
use tillway_core::facts::OrderStatus;
use tillway_core::time::Millis;
use tillway_sandbox::{ApiFault, HookFault, Sandbox as _};

use super::super::run::Run;
use super::super::seen::Seen;
use super::{back, voids};

/// Each of these happens once, whatever becomes of its answer.
fn once(seen: &Seen, what: &str, times: usize) -> anyhow::Result<()> {
    ensure!(times == 1, "{what} {times} times: {}", seen.summary());
    Ok(())
}

async fn paid_in_spite_of(run: &mut Run<'_>, fault: ApiFault, times: u32, what: &str) -> anyhow::Result<()> {
    let order = run.new_order("USD", Some(run.good_card()))?;
    let [charge, _] = run.system().paths;
    run.break_gateway("", charge, fault, times, &format!("{} {what}", run.system().name));
    let order = run.place(order)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await
}

pub async fn throttled(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in_spite_of(run, ApiFault::Refuse(429), 3, "will answer 429 to the next three charges").await
}

pub async fn failed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let what = "will answer 500 to the next charge without charging, and keep the answer";
    paid_in_spite_of(run, ApiFault::Fail500, 1, what).await
}

pub async fn failed_after(run: &mut Run<'_>) -> anyhow::Result<()> {
    let what = "will charge, answer 500 all the same, and keep the answer";
    paid_in_spite_of(run, ApiFault::Fail500AfterEffect, 1, what).await
}

pub async fn failed_after_unkept(run: &mut Run<'_>) -> anyhow::Result<()> {
    let what = "will reserve and answer 502 all the same";
    paid_in_spite_of(run, ApiFault::Fail500AfterEffect, 1, what).await
}

pub async fn silent_after(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in_spite_of(run, ApiFault::SilenceAfter, 1, "will charge and then not answer").await
}

pub async fn silent_before(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in_spite_of(run, ApiFault::SilenceBefore, 1, "will neither charge nor answer").await
}

async fn refunded_in_spite_of(run: &mut Run<'_>, fault: ApiFault, what: &str) -> anyhow::Result<()> {
    let (order, seen) = back::paid(run, run.good_card()).await?;
    let amount = run.draw.range(100, seen.total() / 2);
    let [_, refund] = run.system().paths;
    run.break_gateway(&order, refund, fault, 1, &format!("{} {what}", run.system().name));
    run.shop(&order, "asks for a refund", |c, now| {
        c.request_refund(now, &order, Some(&format!("{order}-R1")), amount, "goods_returned")
    })?;
    let end = run.paid(seen.total()).refunded(amount);
    run.ends(&order, end.status("Partially Refunded", OrderStatus::PartiallyRefunded)).await?;
    let seen = run.look(&order).await?;
    once(&seen, "refunded", seen.payments.iter().map(|p| p.refunds).sum())
}

pub async fn silent_refund(run: &mut Run<'_>) -> anyhow::Result<()> {
    refunded_in_spite_of(run, ApiFault::SilenceAfter, "will refund and then not answer").await
}

pub async fn silent_before_refund(run: &mut Run<'_>) -> anyhow::Result<()> {
    refunded_in_spite_of(run, ApiFault::SilenceBefore, "will neither refund nor answer").await
}

async fn captured_in_spite_of(run: &mut Run<'_>, fault: ApiFault, what: &str) -> anyhow::Result<()> {
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Authorized).await?;
    run.break_gateway(&order, "/capture", fault, 1, &format!("{} {what}", run.system().name));
    run.shop(&order, "ships everything", |c, now| c.ship(now, &order, None))?;
    run.ends(&order, run.paid(seen.total()).shop("Shipped")).await?;
    let seen = run.look(&order).await?;
    once(&seen, "captured", seen.payments.iter().map(|p| p.captures).sum())
}

pub async fn silent_capture(run: &mut Run<'_>) -> anyhow::Result<()> {
    captured_in_spite_of(run, ApiFault::SilenceAfter, "will capture and then not answer").await
}

pub async fn silent_before_capture(run: &mut Run<'_>) -> anyhow::Result<()> {
    captured_in_spite_of(run, ApiFault::SilenceBefore, "will neither capture nor answer").await
}

pub async fn failed_capture(run: &mut Run<'_>) -> anyhow::Result<()> {
    captured_in_spite_of(run, ApiFault::Fail500AfterEffect, "will capture and answer 502 all the same").await
}

async fn voided_in_spite_of(run: &mut Run<'_>, fault: ApiFault, what: &str) -> anyhow::Result<()> {
    voids::well_before_the_cut_off(run).await?;
    let (order, seen) = back::paid(run, run.good_card()).await?;
    let total = seen.total();
    run.break_gateway(&order, "/voids", fault, 1, &format!("{} {what}", run.system().name));
    voids::wants_all_back(run, &order, total)?;
    run.ends(&order, voids::voided(run, total)).await
}

pub async fn silent_void(run: &mut Run<'_>) -> anyhow::Result<()> {
    voided_in_spite_of(run, ApiFault::SilenceAfter, "will void and then not answer").await
}

pub async fn silent_before_void(run: &mut Run<'_>) -> anyhow::Result<()> {
    voided_in_spite_of(run, ApiFault::SilenceBefore, "will neither void nor answer").await
}

pub async fn silent_and_unlisted(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "for an hour, searches will show what was made only after half of one");
    let usual = run.merchant.cybersource()?.config_mut().search_lag;
    let lag = |run: &Run<'_>, lag: Millis| -> anyhow::Result<()> {
        run.merchant.cybersource()?.config_mut().search_lag = lag;
        Ok(())
    };
    lag(run, Millis::mins(30))?;
    run.break_hooks("payments.authorization", HookFault::Lose, 1);
    let order = run.new_order("USD", Some(run.good_card()))?;
    let [charge, _] = run.system().paths;
    let what = "Cybersource will reserve and not answer, and the webhook will be lost";
    run.break_gateway("", charge, ApiFault::SilenceAfter, 1, what);
    let order = run.place(order)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    let total = seen.total();
    run.until_idle(&order).await?;
    lag(run, usual)?;
    // Sent anew after the lag, when the first was undone by its transaction id.
    ensure!(seen.payments.len() == 2, "{} authorizations were made", seen.payments.len());
    let mut end = run.paid(total);
    (end.charges, end.let_go) = (2, total);
    run.ends(&order, end).await
}

pub async fn clarity_down(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order(run.good_card())?;
    let until = run.now() + Millis::mins(20);
    run.tell(&order, "world", "Clarity goes down for twenty minutes");
    run.merchant.clarity().down_until(until);
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await
}
