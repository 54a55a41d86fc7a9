//! Currencies whose decimals are not two.

use tillway_core::facts::OrderStatus;

use super::super::run::Run;

async fn paid_in(run: &mut Run<'_>, currency: &str) -> anyhow::Result<()> {
    let order = run.new_order(currency, Some(run.good_card()))?;
    let order = run.place(order)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    let total = seen.total();
    let part = total / 4 / 100 * 100;
    run.shop(&order, "a part is to be refunded", |c, now| {
        let minor = if currency == "ISK" { part / 100 } else { part };
        c.request_refund(now, &order, Some(&format!("{order}-R1")), minor, "goods_returned")
    })?;
    let end = run.paid(total).refunded(part).status("Partially Refunded", OrderStatus::PartiallyRefunded);
    run.ends(&order, end).await
}

pub async fn yen(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in(run, "JPY").await
}

pub async fn dinar(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in(run, "KWD").await
}

pub async fn krona(run: &mut Run<'_>) -> anyhow::Result<()> {
    paid_in(run, "ISK").await
}
