//! Cybersource's decisions: cases that people review, what Decision Manager declines, and what the bank gives in part.

use anyhow::{Context as _, ensure};
use tillway_core::facts::OrderStatus;
use tillway_core::ids::OrderKey;
use tillway_core::time::Millis;
use tillway_engine::review::Ruling;
use tillway_sandbox::HookFault;
use tillway_sandbox::clarity::Device;
use tillway_sandbox::cybersource::Decision;

use super::super::run::{End, Run};
use super::super::seen::Seen;
use super::hooks::sweep;

/// An order in whose e-mail address a rule of Decision Manager finds this word.
fn order_with(run: &mut Run<'_>, word: &str) -> anyhow::Result<String> {
    let mut order = run.new_order("USD", Some(run.good_card()))?;
    order.customer.email = Some(format!("{word}.me.{}@example.com", run.draw.range(1000, 999_999)));
    run.place(order)
}

/// An order from an address that Decision Manager has on its list. The visit is another shopper's.
fn order_from_listed(run: &mut Run<'_>) -> anyhow::Result<String> {
    let mut order = run.new_order("USD", Some(run.good_card()))?;
    let session_id = Some(format!("visit-{}", run.draw.range(1000, 999_999)));
    order.device = Some(Device { ip_address: Some("198.51.100.66".to_owned()), session_id });
    run.place(order)
}

/// An order that nothing is wrong with but its goods.
fn order_of_many(run: &mut Run<'_>) -> anyhow::Result<String> {
    let mut order = run.new_order("USD", Some(run.good_card()))?;
    order.device = Some(Device { ip_address: Some("203.0.113.7".to_owned()), session_id: None });
    let bags = order.lines.first_mut().context("there is no line")?;
    (bags.quantity, bags.unit_price, bags.tax) = ("100".to_owned(), 10, 100);
    run.place(order)
}

/// An order whose payment is held for review, when shop and staff know of it.
async fn held(run: &mut Run<'_>) -> anyhow::Result<(String, String, Seen)> {
    let order = order_with(run, "review")?;
    until_held(run, order).await
}

async fn until_held(run: &mut Run<'_>, order: String) -> anyhow::Result<(String, String, Seen)> {
    let seen = run.until_shop(&order, "On Hold").await?;
    run.until_told(&order, "staff", "held for review").await?;
    let payment = seen.payment_id()?;
    run.until(&order, "the case in Clarity", |s| {
        s.shop.external_ids.get("cybersource_case") == Some(&payment)
    })
    .await?;
    ensure!(seen.captured() == 0, "money was taken during the review");
    Ok((order, payment, seen))
}

/// A payment that was held keeps the status it was answered with.
const fn reviewed(mut end: End) -> End {
    end.gateway = "AUTHORIZED_PENDING_REVIEW";
    end
}

fn decide(run: &mut Run<'_>, order: &str, payment: &str, decision: Decision) -> anyhow::Result<()> {
    let what = match decision {
        Decision::Accept => "staff accepts the case in the Business Center",
        Decision::AcceptAndCapture => "staff accepts the case and captures in the Business Center",
        Decision::Reject => "staff rejects the case in the Business Center",
        Decision::RejectAndReverse => "staff rejects the case and reverses in the Business Center",
    };
    run.cybersource(order, what, |c, now| c.decide(now, payment, decision))
}

pub async fn accepted(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, payment, seen) = held(run).await?;
    decide(run, &order, &payment, Decision::Accept)?;
    run.ends(&order, reviewed(run.paid(seen.total()))).await
}

pub async fn many_pieces(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_of_many(run)?;
    let (order, payment, seen) = until_held(run, order).await?;
    run.tell(&order, "staff", "staff accepts the case here: `tillway review accept`");
    let key = OrderKey::of(&run.merchant.shop, &order);
    let ruling = Ruling { review: None, accept: true, by: "demo", note: "a school orders every year" };
    let ruled = run.stage.engine().review_decide(&key, ruling).await?;
    ensure!(ruled.review == payment && !ruled.before, "another review was meant: {}", ruled.review);
    run.ends(&order, reviewed(run.paid(seen.total()))).await
}

pub async fn accepted_unheard(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, payment, seen) = held(run).await?;
    run.until_idle(&order).await?;
    run.break_hooks("risk.casemanagement", HookFault::Lose, 1);
    run.tell(&order, "world", "the webhook of the decision will be lost");
    decide(run, &order, &payment, Decision::Accept)?;
    run.pass(&order, Millis::mins(15), ", and nothing comes").await?;
    let gateway = run.merchant.gateway.clone();
    let report = sweep(run, &order, gateway).await?;
    ensure!(report.lost.iter().any(|l| l.kind.contains("accept")), "the sweep did not find the decision");
    run.ends(&order, reviewed(run.paid(seen.total()))).await
}

pub async fn rejected(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, payment, seen) = held(run).await?;
    decide(run, &order, &payment, Decision::Reject)?;
    run.ends(&order, reviewed(End::let_go_at(run.system(), seen.total()))).await
}

pub async fn rejected_and_reversed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, payment, seen) = held(run).await?;
    decide(run, &order, &payment, Decision::RejectAndReverse)?;
    run.ends(&order, reviewed(End::let_go_at(run.system(), seen.total()))).await
}

pub async fn accepted_and_captured(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, payment, seen) = held(run).await?;
    decide(run, &order, &payment, Decision::AcceptAndCapture)?;
    run.ends(&order, reviewed(run.paid(seen.total()))).await?;
    captured_once(run, &order).await
}

pub async fn captured_elsewhere(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, payment, seen) = held(run).await?;
    run.until_idle(&order).await?;
    // Tillway is not told: it has to look before it takes.
    run.break_hooks("payments.capture", HookFault::Lose, 1);
    run.cybersource(
        &order,
        "staff captures the payment in the Business Center, and the webhook is lost",
        |c, now| c.capture_by_hand(now, &payment, None),
    )?;
    run.pass(&order, Millis::mins(1), "").await?;
    decide(run, &order, &payment, Decision::Accept)?;
    run.ends(&order, reviewed(run.paid(seen.total()))).await?;
    captured_once(run, &order).await
}

async fn captured_once(run: &mut Run<'_>, order: &str) -> anyhow::Result<()> {
    let seen = run.look(order).await?;
    ensure!(seen.payment().is_some_and(|p| p.captures == 1), "captured more than once");
    Ok(())
}

pub async fn risk_declined(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_with(run, "reject")?;
    declined_by_risk(run, order).await
}

pub async fn listed_address(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_from_listed(run)?;
    declined_by_risk(run, order).await
}

async fn declined_by_risk(run: &mut Run<'_>, order: String) -> anyhow::Result<()> {
    let seen = run.until_shop(&order, "Payment Failed").await?;
    run.until_told(&order, "customer", "not accepted").await?;
    let mut end = End::let_go_at(run.system(), seen.total());
    end.gateway = "AUTHORIZED_RISK_DECLINED";
    run.ends(&order, end.status("Payment Failed", OrderStatus::PaymentFailed)).await
}

pub async fn partial(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order("tok_partial")?;
    let seen = run.until(&order, "a person is asked", |s| !s.parked().is_empty()).await?;
    let held = seen.held();
    ensure!(held > 0 && held < seen.total(), "{held} of {} are held", seen.total());
    run.pass(&order, Millis::mins(15), ", and nobody decides").await?;
    let end = run.paid(0).holding(held).parked("answer_disagrees");
    let mut end = end.parked("authorized_less_than_total");
    end.gateway = "PARTIAL_AUTHORIZED";
    run.ends(&order, end.status("Pending Payment", OrderStatus::Authorized)).await
}

pub async fn unheard_status(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order("tok_unheard")?;
    let seen = run.until(&order, "a person is asked", |s| !s.parked().is_empty()).await?;
    let raw = seen.payment_status().unwrap_or_default();
    let named = |s: &Seen| s.state.iter().flat_map(|s| s.parked.values()).any(|p| p.what.contains(raw));
    ensure!(named(&seen), "the parked item does not name the status");
    run.pass(&order, Millis::mins(15), "; then the sweep reads the transaction").await?;
    let gateway = run.merchant.gateway.clone();
    sweep(run, &order, gateway).await?;
    run.until_status(&order, OrderStatus::Authorized).await?;
    // The answer and the webhook bear it: neither is believed, and what the bank holds nobody takes.
    let mut end = run.paid(0).holding(seen.total()).parked("answer_disagrees").parked("status_unknown");
    end.gateway = raw;
    run.ends(&order, end.status("Pending Payment", OrderStatus::Authorized)).await
}

/// The bank was asked only where this is so.
async fn asked_the_bank(run: &mut Run<'_>, order: &str, wanted: bool) -> anyhow::Result<()> {
    let text = run.explained(order).await?;
    ensure!(text.contains("cybersource.screen"), "Decision Manager was not asked first");
    ensure!(text.contains("cybersource.authorize") == wanted, "the bank was asked, or was not: {text}");
    Ok(())
}

pub async fn screened(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await?;
    asked_the_bank(run, &order, true).await
}

pub async fn screened_refused(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_with(run, "reject")?;
    refused_first(run, order).await
}

pub async fn screened_address(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_from_listed(run)?;
    refused_first(run, order).await
}

async fn refused_first(run: &mut Run<'_>, order: String) -> anyhow::Result<()> {
    run.until_shop(&order, "Payment Failed").await?;
    run.until_told(&order, "customer", "not accepted").await?;
    let mut end = End::declined_at(run.system());
    end.gateway = "REJECTED";
    run.ends(&order, end).await?;
    asked_the_bank(run, &order, false).await
}

pub async fn screened_review(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_with(run, "review")?;
    held_first(run, order).await
}

pub async fn screened_goods(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = order_of_many(run)?;
    held_first(run, order).await
}

async fn held_first(run: &mut Run<'_>, order: String) -> anyhow::Result<()> {
    let seen = run.until_shop(&order, "On Hold").await?;
    ensure!(seen.held() == 0, "the bank was asked before the decision");
    let seen = run
        .until(&order, "the case in Clarity", |s| s.shop.external_ids.contains_key("cybersource_case"))
        .await?;
    let case = seen.shop.external_ids.get("cybersource_case").cloned().context("there is no case")?;
    decide(run, &order, &case, Decision::Accept)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await?;
    asked_the_bank(run, &order, true).await
}
