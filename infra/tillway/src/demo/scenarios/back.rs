//! Giving money back.

use anyhow::ensure;
use tillway_core::facts::OrderStatus;

use super::super::run::{End, Run};
use super::super::seen::Seen;

/// An order that is paid, and the shop knows.
pub async fn paid(run: &mut Run<'_>, card: &str) -> anyhow::Result<(String, Seen)> {
    let order = run.order(card)?;
    let seen = run.until_shop(&order, run.system().paid).await?;
    run.until_idle(&order).await?;
    Ok((order, seen))
}

pub async fn cancelled(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = paid(run, "pm_card_visa").await?;
    run.shop(&order, "cancels the order", |c, now| c.cancel(now, &order))?;
    let total = seen.total();
    run.ends(&order, End::paid(total).refunded(total).status("Refunded", OrderStatus::Refunded)).await
}

pub async fn lowered(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, before) = paid(run, run.good_card()).await?;
    run.shop(&order, "takes one packet off the order", |c, now| c.change_total(now, &order, "1", Some("1")))?;
    let after = run.look(&order).await?;
    let less = before.total().saturating_sub(after.total());
    ensure!(less > 0, "the total was not lowered");
    let end = run.paid(before.total()).refunded(less);
    run.ends(&order, end.status("Partially Refunded", OrderStatus::PartiallyRefunded)).await
}

pub async fn raised(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, before) = paid(run, run.good_card()).await?;
    run.shop(&order, "puts a packet on top", |c, now| c.change_total(now, &order, "1", Some("3")))?;
    run.ends(&order, run.paid(before.total()).parked("total_raised_after_payment")).await
}

pub async fn dashboard(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = paid(run, "pm_card_visa").await?;
    let payment = seen.payment_id()?;
    let mut given = 0_i64;
    for part in ["first", "second"] {
        let amount = run.draw.range(50, seen.total() / 4);
        given = given.saturating_add(amount);
        run.stripe(&order, format!("staff makes the {part} partial refund in the dashboard"), |s, now| {
            s.dashboard_refund(now, &payment, Some(amount), Some("requested_by_customer"))
        })?;
        run.until(&order, "Tillway's books to have it", |s| {
            s.state.as_ref().is_some_and(|state| state.refunded() == given)
        })
        .await?;
    }
    let end = End::paid(seen.total()).refunded(given);
    run.ends(&order, end.status("Partially Refunded", OrderStatus::PartiallyRefunded)).await
}

pub async fn requested(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = paid(run, run.good_card()).await?;
    let amount = run.draw.range(100, seen.total() / 2);
    for _ in 0..2 {
        // The same request twice is one refund.
        run.shop(&order, "asks for a refund", |c, now| {
            c.request_refund(now, &order, Some(&format!("{order}-R1")), amount, "goods_returned")
        })?;
        run.until_status(&order, OrderStatus::PartiallyRefunded).await?;
    }
    let end = run.paid(seen.total()).refunded(amount);
    run.ends(&order, end.status("Partially Refunded", OrderStatus::PartiallyRefunded)).await
}

pub async fn without_id(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = paid(run, "pm_card_visa").await?;
    let amount = run.draw.range(100, seen.total() / 2);
    run.shop(&order, "asks for a refund and gives the request no id", |c, now| {
        c.request_refund(now, &order, None, amount, "goods_returned")
    })?;
    run.ends(&order, End::paid(seen.total()).parked("refund_without_id")).await
}

pub async fn fails_later(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = paid(run, "pm_card_refundFail").await?;
    let total = seen.total();
    run.shop(&order, "asks for a refund of everything", |c, now| {
        c.request_refund(now, &order, Some(&format!("{order}-R1")), total, "goods_returned")
    })?;
    run.until_status(&order, OrderStatus::Refunded).await?;
    run.until_told(&order, "staff", "a refund came back").await?;
    run.ends(&order, End::paid(total)).await
}
