//! The shop makes the payment itself; Tillway follows it.

use tillway_core::facts::OrderStatus;

use super::super::run::{End, Run};

/// An order at a shop that charges by itself.
pub fn order(run: &mut Run<'_>) -> anyhow::Result<String> {
    let order = run.new_order("USD", None)?;
    run.place(order)
}

/// The shop notes its payment on the order.
pub fn note_payment(run: &mut Run<'_>, order: &str, payment: &str) -> anyhow::Result<()> {
    run.shop(order, "notes its payment on the order", |c, now| c.set_payment_intent(now, order, payment))
}

pub async fn paid(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order(run)?;
    // The other spelling of the metadata key.
    let payment = run.shop_pays(&order, "pm_card_visa", "automatic_async", "clarityorderid")?;
    note_payment(run, &order, &payment)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn captured(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order(run)?;
    let payment = run.shop_pays(&order, "pm_card_visa", "manual", "clarity_order_id")?;
    note_payment(run, &order, &payment)?;
    let seen = run.until_status(&order, OrderStatus::Authorized).await?;
    run.shop(&order, "ships everything", |c, now| c.ship(now, &order, None))?;
    run.ends(&order, End::paid(seen.total()).shop("Shipped")).await
}

pub async fn declined(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order(run)?;
    let card = "pm_card_chargeDeclinedInsufficientFunds";
    let payment = run.shop_pays(&order, card, "automatic", "clarity_order_id")?;
    run.until_shop(&order, "Payment Failed").await?;
    run.until_told(&order, "staff", "declined").await?;
    let token = run.token("pm_card_mastercard");
    run.stripe(&order, "the shopper pays with another card", |s, now| {
        s.shopper_retries(now, &payment, &token)
    })?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, End::paid(seen.total())).await
}
