//! `tillway demo --settle`: orders, a payout, and its settlement to the cent, with two things planted that only the
//! gateway knows.

use anyhow::Context as _;
use serde_json::json;
use tillway_core::facts::OrderStatus;
use tillway_core::ids::OrderKey;
use tillway_core::settle::{Class, Day};
use tillway_engine::settle::Step;
use tillway_engine::settle::records::RunReport;
use tillway_sandbox::HookFault;
use tillway_sandbox::stripe::ShopPayment;

use super::run::{Draw, Run};
use super::story::{Story, say};
use super::world::World;
use super::{Args, month};

/// Orders placed.
const ORDERS: usize = 12;
/// What the planted payment takes, cents.
const FOREIGN: i64 = 4_242;

/// Plays it. `false`: it did not end as it must.
///
/// # Errors
/// What could not be played.
pub async fn play(stage: &dyn World, args: &Args) -> anyhow::Result<bool> {
    let (seed, as_json) = (args.seed, args.json);
    let systems: Vec<_> = stage.merchants().iter().map(|m| m.system).take(1).collect();
    let mut story = Story::new(!as_json, stage.now(), &systems);
    story.head("settle", "a day's orders are paid out, and the payout is settled to the cent");
    let merchant = stage.merchant("now")?;
    let mut run =
        Run { stage, merchant, story: &mut story, draw: Draw::new(seed, "settle"), placed: Vec::new() };
    let placed = trade(&mut run).await?;
    let name = merchant.gateway.clone();
    let first = settle(stage, &mut run).await?;
    let named: Vec<String> =
        first.open.iter().map(|o| format!("{} {}", o.exception.class.code(), o.amount())).collect();
    // The refund's order was told by the settlement; the next run explains its line.
    stage.settle().await?;
    let last = settle(stage, &mut run).await?;
    let engine = stage.engine();
    let day = Day::of(stage.now());
    let report = engine.settlement_report(&name, day).await?;
    let batch = last.batches.first().context("no batch was settled")?.batch.id.clone();
    let view = engine.settled_batch(Some(&name), &batch).await?.context("the batch is gone")?;
    let checked = engine.check_batch(&view).await?;
    let order = placed.first().context("no order was placed")?;
    let told = engine.explain(&OrderKey::of(&merchant.shop, order)).await?.context("the order is gone")?;
    let settled = told.lines.iter().filter(|l| l.what.starts_with("settled in batch"));
    let settled: Vec<String> =
        settled.flat_map(|l| std::iter::once(&l.what).chain(&l.details)).cloned().collect();
    let held = report.holds.first().context("the books hold nothing")?;
    let classes = |r: &RunReport| r.open.iter().map(|o| o.exception.class).collect::<Vec<_>>();
    let wrong: Vec<&str> = [
        (
            classes(&first) == [Class::MissingHere, Class::UnknownRefund],
            "the first run does not name what was planted",
        ),
        (
            classes(&last) == [Class::MissingHere],
            "the second run does not leave the foreign payment alone open",
        ),
        (held.clearing.minor == 0, "clearing did not return to zero"),
        (held.suspense.minor == i128::from(-FOREIGN), "suspense does not hold the foreign payment alone"),
        (checked.rejected.is_empty(), "the checker rejects the posted batch"),
        (settled.len() > 1, "explain does not name the batch"),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, what)| what)
    .collect();
    if as_json {
        let month = of_month(args).await?;
        let ok = wrong.is_empty() && month.as_ref().is_none_or(|m| m.ok);
        let document = json!({
            "seed": seed, "batch": batch, "headline": last.headline, "planted_and_named": named,
            "clearing": held.clearing.minor.to_string(), "suspense": held.suspense.minor.to_string(),
            "certificates": checked.certificates, "entries": checked.entries, "order": settled, "wrong": wrong,
            "month": month.map(|m| m.json), "ok": ok,
        });
        say(&serde_json::to_string_pretty(&document)?);
        return Ok(ok);
    }
    say(&format!("\n{}", last.headline));
    say(&format!("\nclearing after the payout: {}; in suspense: {}", held.clearing, held.suspense));
    say(&format!(
        "checked again: {} certificates and {} entries of batch {batch} {}",
        checked.certificates,
        checked.entries,
        if checked.rejected.is_empty() { "hold" } else { "do NOT hold" }
    ));
    say(&format!("\ntillway explain {order}"));
    for line in &settled {
        say(&format!("  {line}"));
    }
    let verdict = if wrong.is_empty() {
        "All as it must be".to_owned()
    } else {
        format!("NOT as it must be: {}", wrong.join("; "))
    };
    say(&format!(
        "\n{verdict}: planted were a payment no order stands for and a refund whose webhooks were lost; named were {}.",
        named.join(", ")
    ));
    let month = of_month(args).await?;
    Ok(wrong.is_empty() && month.is_none_or(|m| m.ok))
}

/// The invented month, where one is wanted.
async fn of_month(args: &Args) -> anyhow::Result<Option<month::Settled>> {
    let (payments, loud) = (args.payments, !args.json);
    let folder = args.report.clone();
    if payments == 0 {
        return Ok(None);
    }
    month::play((args.seed, payments, args.hold), folder.as_deref(), loud).await.map(Some)
}

/// Orders, a refund, a dispute, and what is planted. Answers the orders.
async fn trade(run: &mut Run<'_>) -> anyhow::Result<Vec<String>> {
    let mut placed = Vec::new();
    for _ in 0..ORDERS {
        let card = run.good_card();
        placed.push(run.order(card)?);
    }
    let mut payments = Vec::new();
    for order in &placed {
        let seen = run.until_status(order, OrderStatus::Paid).await?;
        payments.push(seen.payment_id()?);
    }
    let mut known = placed.iter().zip(&payments);
    if let Some((order, payment)) = known.next() {
        run.stripe(order, "5.00 USD are refunded in the dashboard", |s, now| {
            s.dashboard_refund(now, payment, Some(500), None)
        })?;
        run.until_status(order, OrderStatus::PartiallyRefunded).await?;
    }
    if let Some((order, payment)) = known.next() {
        run.stripe(order, "the cardholder's bank disputes the charge", |s, now| {
            s.open_dispute(now, payment, None, "fraudulent")
        })?;
        run.until_status(order, OrderStatus::Disputed).await?;
    }
    run.stage.settle().await?;
    if let Some((order, payment)) = known.next() {
        for kind in ["refund.", "charge.refund"] {
            run.break_hooks(kind, HookFault::Lose, 3);
        }
        run.stripe(
            order,
            "3.00 USD are refunded in the dashboard; every webhook of it is lost",
            |s, now| s.dashboard_refund(now, payment, Some(300), None),
        )?;
    }
    let shop = ShopPayment {
        amount: FOREIGN,
        currency: "usd",
        metadata_key: "till",
        order_id: "T-1",
        capture_method: "automatic",
        payment_method: "pm_card_visa_x424242",
        customer: None,
    };
    run.stripe("", "somebody charges a card past the shop: 42.42 USD that no order stands for", |s, now| {
        s.create_payment_as_shop(now, &shop)
    })?;
    run.stage.settle().await?;
    run.stripe("", "the balance is paid out", |s, now| s.pay_out(now, "usd"))?;
    run.stage.settle().await?;
    Ok(placed)
}

async fn settle(stage: &dyn World, run: &mut Run<'_>) -> anyhow::Result<RunReport> {
    let (name, day) = (run.merchant.gateway.clone(), Day::of(stage.now()));
    run.tell("", "tillway", format!("settle run --connection {name} --date {day}"));
    let report = stage.engine().settle_day(&name, day, &|_: &Step| true).await?;
    let (matched, lines) = report
        .batches
        .first()
        .map_or((0, 0), |b| (b.sums.matched.saturating_add(b.sums.explained), b.sums.lines));
    run.tell(
        "",
        "tillway",
        format!("{matched} of {lines} lines matched or explained, {} open", report.open.len()),
    );
    Ok(report)
}
