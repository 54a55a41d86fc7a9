//! Cybersource: giving back before and after the cut-off, what staff gives back by hand, and chargebacks.

use anyhow::{Context as _, ensure};
use tillway_core::facts::OrderStatus;
use tillway_core::ids::OrderKey;
use tillway_core::time::Millis;
use tillway_engine::dispute::Word;
use tillway_sandbox::HookFault;
use tillway_sandbox::cybersource::Kind;

use super::super::run::{End, Run};
use super::super::seen::Seen;
use super::back::paid;
use super::hooks::sweep;

const DAY: i64 = 24 * 60;

/// Lets the time pass to the next morning where today's cut-off may come before the scenario is over.
pub async fn well_before_the_cut_off(run: &mut Run<'_>) -> anyhow::Result<()> {
    let minute = run.now().0.div_euclid(Millis::mins(1).0).rem_euclid(DAY);
    if minute > 12 * 60 {
        let rest = Millis::mins(DAY.saturating_sub(minute).saturating_add(6 * 60));
        run.pass("", rest, ": the cut-off is far again").await?;
    }
    Ok(())
}

/// Everything was taken and voided, and what the bank still held for it was let go.
pub fn voided(run: &Run<'_>, total: i64) -> End {
    let mut end = run.paid(total).voided(total).status("Refunded", OrderStatus::Refunded);
    end.let_go = total;
    end
}

/// The shop asks for everything back.
pub fn wants_all_back(run: &mut Run<'_>, order: &str, total: i64) -> anyhow::Result<()> {
    run.shop(order, "asks for a refund of everything", |c, now| {
        c.request_refund(now, order, Some(&format!("{order}-R1")), total, "goods_returned")
    })
    .map(drop)
}

pub async fn cancelled_before(run: &mut Run<'_>) -> anyhow::Result<()> {
    well_before_the_cut_off(run).await?;
    let (order, seen) = paid(run, run.good_card()).await?;
    run.shop(&order, "cancels the order", |c, now| c.cancel(now, &order))?;
    run.ends(&order, voided(run, seen.total())).await
}

async fn paid_and_batched(run: &mut Run<'_>) -> anyhow::Result<(String, Seen)> {
    let (order, seen) = paid(run, run.good_card()).await?;
    run.tell(&order, "cybersource", "the cut-off comes: what was taken goes to the processor");
    let now = run.now();
    run.merchant.cybersource()?.cut_off_now(now);
    run.stage.settle().await?;
    Ok((order, seen))
}

pub async fn cancelled_after(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = paid_and_batched(run).await?;
    run.shop(&order, "cancels the order", |c, now| c.cancel(now, &order))?;
    let total = seen.total();
    run.ends(&order, run.paid(total).refunded(total).status("Refunded", OrderStatus::Refunded)).await
}

pub async fn requested_whole(run: &mut Run<'_>) -> anyhow::Result<()> {
    well_before_the_cut_off(run).await?;
    let (order, seen) = paid(run, run.good_card()).await?;
    wants_all_back(run, &order, seen.total())?;
    run.ends(&order, voided(run, seen.total())).await
}

/// The capture that stands of an order.
fn capture_of(run: &Run<'_>, order: &str) -> anyhow::Result<String> {
    let truth = run.merchant.cybersource()?.order_truth(order);
    let mut made = truth.payments.iter().flat_map(|p| &p.transactions);
    let capture = made.find(|t| t.kind == Kind::Capture && t.stands).context("nothing was captured")?;
    Ok(capture.id.clone())
}

async fn refunded_by_hand(run: &mut Run<'_>, heard: bool) -> anyhow::Result<()> {
    let (order, seen) = paid_and_batched(run).await?;
    let (capture, amount) = (capture_of(run, &order)?, run.draw.range(50, seen.total() / 2));
    if !heard {
        run.break_hooks("payments.refund", HookFault::Lose, 2);
        run.tell(&order, "world", "the webhooks of the next refund will be lost");
    }
    run.cybersource(&order, "staff makes a partial refund in the Business Center", |c, now| {
        c.refund_by_hand(now, &capture, amount)
    })?;
    let booked = |s: &Seen| s.state.as_ref().is_some_and(|state| state.refunded() == amount);
    if !heard {
        run.pass(&order, Millis::mins(15), ", and nothing comes").await?;
        ensure!(!booked(&run.look(&order).await?), "the books have it already");
        let gateway = run.merchant.gateway.clone();
        let report = sweep(run, &order, gateway).await?;
        let missed: i64 = report.money().iter().map(|m| m.minor).sum();
        ensure!(missed == amount, "the sweep says that {missed} would have been missed, not {amount}");
    }
    run.until(&order, "Tillway's books to have it", booked).await?;
    let end = run.paid(seen.total()).refunded(amount);
    run.ends(&order, end.status("Partially Refunded", OrderStatus::PartiallyRefunded)).await
}

pub async fn by_hand(run: &mut Run<'_>) -> anyhow::Result<()> {
    refunded_by_hand(run, true).await
}

pub async fn by_hand_unheard(run: &mut Run<'_>) -> anyhow::Result<()> {
    refunded_by_hand(run, false).await?;
    // The second of the two lost webhooks is that of the batch: no later order's.
    let now = run.now();
    run.merchant.cybersource()?.cut_off_now(now);
    run.stage.settle().await
}

pub async fn charged_back(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, total) = disputed(run).await?;
    run.ends(&order, run.paid(total).disputed(total).status("Disputed", OrderStatus::Disputed)).await
}

/// Nothing tells how it ended but a person who saw it in the Business Center.
async fn said(run: &mut Run<'_>, order: &str, won: bool) -> anyhow::Result<()> {
    let what = if won { "staff says that it is won" } else { "staff says that it is lost" };
    run.tell(order, "staff", what);
    let key = OrderKey::of(&run.merchant.shop, order);
    let word = Word { dispute: None, won, by: "demo", reason: "seen in the Business Center" };
    run.stage.engine().dispute_close(&key, word).await?;
    let status = if won { OrderStatus::Paid } else { OrderStatus::ChargedBack };
    run.until_status(order, status).await?;
    run.until_told(order, "staff", "is decided").await
}

pub async fn chargeback_lost(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, total) = disputed(run).await?;
    said(run, &order, false).await?;
    run.ends(&order, run.paid(total).disputed(total).status("Refunded", OrderStatus::ChargedBack)).await
}

pub async fn chargeback_won(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, total) = disputed(run).await?;
    let capture = capture_of(run, &order)?;
    run.cybersource(&order, "the bank gives everything back", |c, now| {
        c.charge_back(now, &capture, total, "2nd", true)
    })?;
    run.pass(&order, Millis::mins(15), "; no webhook tells of it either").await?;
    let gateway = run.merchant.gateway.clone();
    sweep(run, &order, gateway).await?;
    said(run, &order, true).await?;
    run.ends(&order, run.paid(total)).await
}

async fn disputed(run: &mut Run<'_>) -> anyhow::Result<(String, i64)> {
    let (order, seen) = paid_and_batched(run).await?;
    let capture = capture_of(run, &order)?;
    let (reason, total) = (run.draw.one_of(&["10.4", "13.1", "4837", "4853"]), seen.total());
    run.cybersource(&order, format!("the cardholder's bank takes everything back ({reason})"), |c, now| {
        c.charge_back(now, &capture, total, reason, false)
    })?;
    run.pass(&order, Millis::mins(15), "; no webhook tells of chargebacks").await?;
    let gateway = run.merchant.gateway.clone();
    let report = sweep(run, &order, gateway).await?;
    ensure!(report.lost.iter().any(|l| l.kind.contains("chargeback")), "the sweep did not find it");
    run.until_told(&order, "staff", "the payment is disputed").await?;
    Ok((order, total))
}
