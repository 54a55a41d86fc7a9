//! Authorized first, captured on shipment; and what can come in between.

use anyhow::ensure;
use tillway_core::facts::OrderStatus;
use tillway_core::time::Millis;
use tillway_sandbox::stripe::ReviewVerdict;

use super::super::gateway::STRIPE;
use super::super::run::{End, Run};
use super::super::seen::Seen;
use super::paying;

/// A little more than six days: within a day of the seventh, when an authorization runs out.
const SIX_DAYS: Millis = Millis::mins(6 * 24 * 60 + 5);

async fn authorized(run: &mut Run<'_>) -> anyhow::Result<(String, Seen)> {
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Authorized).await?;
    Ok((order, seen))
}

fn ship(run: &mut Run<'_>, order: &str, lines: Option<&[(&str, &str)]>, what: &str) -> anyhow::Result<()> {
    run.shop(order, what, |c, now| c.ship(now, order, lines)).map(drop)
}

pub async fn full(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = authorized(run).await?;
    ship(run, &order, None, "ships everything")?;
    run.ends(&order, run.paid(seen.total()).shop("Shipped")).await
}

pub async fn part(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, _) = authorized(run).await?;
    ship(run, &order, Some(&[("1", "2")]), "ships the tea; the pot is sold out")?;
    let seen = run.until_status(&order, OrderStatus::PartiallyPaid).await?;
    let taken = seen.captured();
    ensure!(taken > 0 && taken < seen.total(), "{taken} of {} captured", seen.total());
    run.pass(&order, SIX_DAYS, "").await?;
    run.until_told(&order, "staff", "about to run out").await?;
    run.pass(&order, Millis::days(1), "").await?;
    if run.system().key == STRIPE.key {
        return run.ends(&order, run.paid(taken).shop("Processing")).await;
    }
    // Cybersource names no end of an authorization and tells of none: what is open stays open until a person closes it.
    run.ends(&order, run.paid(taken).status("Processing", OrderStatus::PartiallyPaid)).await
}

pub async fn several(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = authorized(run).await?;
    let parcels: [&[(&str, &str)]; 3] = [&[("1", "1")], &[("2", "1")], &[("1", "1")]];
    for (n, parcel) in parcels.into_iter().enumerate() {
        let captures = n.saturating_add(1);
        ship(run, &order, Some(parcel), &format!("ships parcel {captures} of 3"))?;
        run.until(&order, "its capture", |s| s.payment().is_some_and(|p| p.captures == captures)).await?;
    }
    run.ends(&order, run.paid(seen.total()).shop("Shipped")).await
}

pub async fn review_released(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, review) = paying::held(run).await?;
    ship(run, &order, None, "ships everything in spite of the hold")?;
    let seen = run.until_shop(&order, "Shipped").await?;
    run.stage.settle().await?;
    ensure!(seen.captured() == 0, "money was taken during the review");
    run.stripe(&order, "staff releases the payment in the dashboard", |s, now| {
        s.close_review(now, &review, ReviewVerdict::Approved)
    })?;
    run.ends(&order, End::paid(seen.total()).shop("Shipped")).await
}

pub async fn review_rejected(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, review) = paying::held(run).await?;
    run.stripe(&order, "staff refuses the payment as fraud in the dashboard", |s, now| {
        s.close_review(now, &review, ReviewVerdict::RefundedAsFraud)
    })?;
    run.ends(&order, End::unpaid("Cancelled", "canceled", OrderStatus::Cancelled).authorized_once()).await
}

pub async fn cancelled(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = authorized(run).await?;
    run.shop(&order, "cancels the order", |c, now| c.cancel(now, &order))?;
    run.ends(&order, End::let_go_at(run.system(), seen.total())).await
}

pub async fn lowered(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, before) = authorized(run).await?;
    run.shop(&order, "takes one packet off the order", |c, now| c.change_total(now, &order, "1", Some("1")))?;
    run.stage.settle().await?;
    ship(run, &order, None, "ships everything")?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    ensure!(seen.total() < before.total(), "the total was not lowered");
    // Stripe lets the rest go with the capture; Cybersource holds it until it runs out.
    let rest = if run.system().key == STRIPE.key { 0 } else { before.total().saturating_sub(seen.total()) };
    run.ends(&order, run.paid(seen.total()).holding(rest).shop("Shipped")).await
}

pub async fn raised(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, before) = authorized(run).await?;
    run.shop(&order, "puts a packet on top", |c, now| c.change_total(now, &order, "1", Some("3")))?;
    run.until(&order, "a person is asked", |s| !s.parked().is_empty()).await?;
    ship(run, &order, None, "ships everything")?;
    let end = run.paid(before.total()).shop("Shipped").parked("total_raised_after_payment");
    run.ends(&order, end).await
}

pub async fn expiring(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, seen) = authorized(run).await?;
    run.pass(&order, SIX_DAYS, "").await?;
    run.until_told(&order, "staff", "about to run out").await?;
    ship(run, &order, None, "staff ships in time")?;
    run.ends(&order, run.paid(seen.total()).shop("Shipped")).await
}

pub async fn expired(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, _) = authorized(run).await?;
    run.pass(&order, SIX_DAYS, "").await?;
    run.until_told(&order, "staff", "about to run out").await?;
    run.pass(&order, Millis::days(1), ", and nobody ships").await?;
    let end = End::unpaid("Payment Failed", "canceled", OrderStatus::PaymentFailed).authorized_once();
    run.ends(&order, end).await
}

pub async fn expired_unheard(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, _) = authorized(run).await?;
    run.pass(&order, SIX_DAYS, "").await?;
    run.until_told(&order, "staff", "about to run out").await?;
    run.pass(
        &order,
        Millis::days(1),
        "; Cybersource tells nobody that it ran out, but answers when it is asked to let it go",
    )
    .await?;
    run.until_status(&order, OrderStatus::PaymentFailed).await?;
    ship(run, &order, None, "ships everything all the same")?;
    let end = run.paid(0).status("Shipped", OrderStatus::PaymentFailed);
    run.ends(&order, end.parked("authorization_expired")).await
}
