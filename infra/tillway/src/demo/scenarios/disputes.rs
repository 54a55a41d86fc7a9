//! Disputes.

use tillway_core::facts::OrderStatus;

use super::super::run::{End, Run};
use super::back::paid;

/// Reasons banks give.
const REASONS: [&str; 4] = ["fraudulent", "product_not_received", "unrecognized", "duplicate"];

async fn dispute(run: &mut Run<'_>) -> anyhow::Result<(String, String, i64)> {
    let (order, seen) = paid(run, "pm_card_visa").await?;
    let reason = run.draw.one_of(&REASONS);
    let payment = seen.payment_id()?;
    let dispute =
        run.stripe(&order, format!("the cardholder's bank disputes the charge ({reason})"), |s, now| {
            s.open_dispute(now, &payment, None, reason)
        })?;
    run.until_shop(&order, "Disputed").await?;
    run.until_told(&order, "staff", "the payment is disputed").await?;
    run.stage.settle().await?;
    Ok((order, dispute, seen.total()))
}

async fn decided(run: &mut Run<'_>, order: &str, dispute: &str, won: bool) -> anyhow::Result<()> {
    let what = if won { "the bank decides for the merchant" } else { "the bank decides for the cardholder" };
    run.stripe(order, what, |s, now| s.close_dispute(now, dispute, won))?;
    let status = if won { OrderStatus::Paid } else { OrderStatus::ChargedBack };
    run.until_status(order, status).await?;
    run.until_told(order, "staff", "is decided").await
}

pub async fn opened(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, _, total) = dispute(run).await?;
    run.ends(&order, End::paid(total).disputed(total).status("Disputed", OrderStatus::Disputed)).await
}

pub async fn won(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, dispute, total) = dispute(run).await?;
    decided(run, &order, &dispute, true).await?;
    run.ends(&order, End::paid(total)).await
}

pub async fn lost(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, dispute, total) = dispute(run).await?;
    decided(run, &order, &dispute, false).await?;
    run.ends(&order, End::paid(total).disputed(total).status("Refunded", OrderStatus::ChargedBack)).await
}

pub async fn lost_then_won(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, dispute, total) = dispute(run).await?;
    decided(run, &order, &dispute, false).await?;
    run.stage.settle().await?;
    decided(run, &order, &dispute, true).await?;
    run.ends(&order, End::paid(total)).await
}
