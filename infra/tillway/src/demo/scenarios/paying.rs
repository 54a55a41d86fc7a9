//! Paying: at once, declined, 3-D Secure, reviews, customers.

use anyhow::{Context as _, ensure};
use tillway_core::facts::OrderStatus;
use tillway_sandbox::clarity::Customer;
use tillway_sandbox::stripe::ReviewVerdict;

use super::super::gateway::STRIPE;
use super::super::run::{End, Run};

pub async fn at_once(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = run.order(run.good_card())?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await
}

async fn decline(run: &mut Run<'_>) -> anyhow::Result<String> {
    let card = run.draw.one_of(run.system().declined);
    let order = run.order(card)?;
    run.until_shop(&order, "Payment Failed").await?;
    run.until_told(&order, "customer", "not accepted").await?;
    run.until_told(&order, "staff", "declined").await?;
    Ok(order)
}

async fn another_card(run: &mut Run<'_>, order: &str) -> anyhow::Result<()> {
    let [_, other] = run.system().cards;
    let token = run.token(other);
    run.shop(order, "the customer gives another card", |c, now| c.set_payment_token(now, order, &token))?;
    let seen = run.until_status(order, OrderStatus::Paid).await?;
    // At Stripe a payment takes several cards; at Cybersource each is one of its own.
    let payments = if run.system().key == STRIPE.key { 1 } else { 2 };
    ensure!(seen.payments.len() == payments, "{} payments were made", seen.payments.len());
    run.ends(order, run.paid(seen.total())).await
}

pub async fn declined_then_paid(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = decline(run).await?;
    another_card(run, &order).await
}

pub async fn declined_and_changed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = decline(run).await?;
    run.shop(&order, "the customer takes three packets instead of two", |c, now| {
        c.change_total(now, &order, "1", Some("3"))
    })?;
    run.until(&order, "the payment's new amount", |s| s.payment().is_some_and(|p| p.amount == s.total()))
        .await?;
    another_card(run, &order).await
}

async fn challenge(run: &mut Run<'_>, passes: bool) -> anyhow::Result<String> {
    let order = run.order("pm_card_threeDSecure2Required")?;
    let seen = run
        .until(&order, "the address where the customer confirms", |s| {
            s.shop.external_ids.contains_key("stripe_next_action")
                && s.payment_status() == Some("requires_action")
        })
        .await?;
    let payment = seen.payment_id()?;
    let what = if passes { "the customer confirms at the bank" } else { "the customer fails at the bank" };
    run.stripe(&order, what, |s, now| s.authenticate(now, &payment, passes))?;
    Ok(order)
}

pub async fn three_ds(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = challenge(run, true).await?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn three_ds_failed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let order = challenge(run, false).await?;
    run.until_told(&order, "customer", "not accepted").await?;
    let end = End::unpaid("Payment Failed", "requires_payment_method", OrderStatus::PaymentFailed);
    run.ends(&order, end).await
}

/// The review that is open for an order's payment, when Tillway knows of it.
pub async fn held(run: &mut Run<'_>) -> anyhow::Result<(String, String)> {
    let order = run.order("pm_card_riskLevelElevated")?;
    let seen = run.until_shop(&order, "On Hold").await?;
    run.until_told(&order, "staff", "held for review").await?;
    let payment = seen.payment_id()?;
    let review = run.merchant.stripe()?.open_review_of(&payment).context("there is no review")?;
    Ok((order, review))
}

pub async fn review_released(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, review) = held(run).await?;
    run.stripe(&order, "staff releases the payment in the dashboard", |s, now| {
        s.close_review(now, &review, ReviewVerdict::Approved)
    })?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, End::paid(seen.total())).await
}

pub async fn review_rejected_after_capture(run: &mut Run<'_>) -> anyhow::Result<()> {
    let (order, review) = held(run).await?;
    run.stripe(&order, "staff refunds the payment as fraud in the dashboard", |s, now| {
        s.close_review(now, &review, ReviewVerdict::RefundedAsFraud)
    })?;
    let seen = run.until_status(&order, OrderStatus::Refunded).await?;
    let total = seen.total();
    run.ends(&order, End::paid(total).refunded(total).status("Refunded", OrderStatus::Refunded)).await
}

pub async fn repeat_customer(run: &mut Run<'_>) -> anyhow::Result<()> {
    let first = run.new_order("USD", Some("pm_card_visa"))?;
    let guest = first.customer.clone();
    let email = guest.email.clone().context("the guest has an address")?;
    let account = Customer { customer_id: Some(format!("K-{}", run.draw.range(100, 999))), ..guest.clone() };
    let orders = [(guest.clone(), "as a guest"), (guest, "as a guest again"), (account, "with an account")];
    let mut first = Some(first);
    for (customer, how) in orders {
        let mut order = match first.take() {
            Some(order) => order,
            None => run.new_order("USD", Some("pm_card_visa"))?,
        };
        order.customer = customer;
        let order = run.place(order)?;
        run.tell(&order, "shop", format!("ordered {how}"));
        let seen = run.until_status(&order, OrderStatus::Paid).await?;
        run.ends(&order, End::paid(seen.total())).await?;
    }
    let known = run.merchant.stripe()?.all_customers().filter(|(_, e)| e.as_deref() == Some(&email)).count();
    ensure!(known == 1, "Stripe has {known} customers for one person");
    Ok(())
}

pub async fn profile(run: &mut Run<'_>) -> anyhow::Result<()> {
    let mut new = run.new_order("USD", Some(run.good_card()))?;
    let account =
        Customer { customer_id: Some(format!("K-{}", run.draw.range(100, 999))), ..new.customer.clone() };
    let email = account.email.clone().context("the customer has an address")?;
    let id = run.shop("", "a customer opens an account", |c, now| {
        anyhow::Ok(c.update_customer(now, account.clone()))
    })?;
    let pointer = |run: &Run<'_>| {
        let shop = run.merchant.clarity();
        shop.customer(&id).and_then(|c| c.external_ids.get("cybersource_customer").cloned())
    };
    // An order of theirs, which brings the stage on until the account is worked as well.
    new.customer = account;
    let order = run.place(new)?;
    let seen = run.until_status(&order, OrderStatus::Paid).await?;
    run.ends(&order, run.paid(seen.total())).await?;
    run.until_idle(&order).await?;
    let token = pointer(run).context("the customer in Clarity has no token of Cybersource's")?;
    run.tell("", "clarity", format!("the customer bears cybersource_customer {token}"));
    let known = run.merchant.cybersource()?.customer_truth(&token).context("there is no such token")?;
    ensure!(known.email.as_deref() == Some(&email), "the token is somebody else's");
    let account = run.merchant.cybersource()?;
    let emails = account.all_customers().filter_map(|(id, _)| account.customer_truth(id)?.email);
    let same = emails.filter(|e| *e == email).count();
    ensure!(same == 1, "Cybersource has {same} customers for one person");
    Ok(())
}
