//! Several merchant ids of one account: where an authorization goes, and where it goes on.

use anyhow::{Context as _, ensure};
use tillway_core::facts::OrderStatus;
use tillway_sandbox::cybersource::Manner;

use super::super::run::Run;

/// Orders placed at most until one has met the id that does not approve.
const MOST: usize = 16;
/// Orders after it.
const MORE: usize = 2;

pub async fn soft_decline(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "the issuers cannot be reached through acme_test_002");
    further(run, Manner::Declines { permille: 1000, reason: "ISSUER_UNAVAILABLE" })?;
    let order = tried_at_both(run).await?;
    further(run, Manner::Usual)?;
    explained(run, &order, "acme_test_002", "acme_test_001").await
}

pub async fn id_down(run: &mut Run<'_>) -> anyhow::Result<()> {
    run.tell("", "world", "acme_test_001 answers that its processor is not available");
    run.merchant.cybersource()?.config_mut().manner = Manner::Unavailable;
    let order = tried_at_both(run).await?;
    run.merchant.cybersource()?.config_mut().manner = Manner::Usual;
    explained(run, &order, "acme_test_001", "acme_test_002").await
}

fn further(run: &Run<'_>, manner: Manner) -> anyhow::Result<()> {
    let mut account = run.merchant.cybersource()?;
    account.config_mut().merchants.first_mut().context("there is no further merchant id")?.manner = manner;
    Ok(())
}

/// Orders until one was tried at both ids, and some after it. Every one is paid once. Answers that one.
async fn tried_at_both(run: &mut Run<'_>) -> anyhow::Result<String> {
    let mut both = None;
    let mut after = 0;
    for _ in 0..MOST {
        let order = run.order(run.good_card())?;
        let seen = run.until_status(&order, OrderStatus::Paid).await?;
        let choices = seen.state.as_ref().map_or(0, |s| s.choices.len());
        run.ends(&order, run.paid(seen.total())).await?;
        ensure!(choices <= 2, "{order} was tried {choices} times");
        if choices == 2 && both.is_none() {
            both = Some(order);
        } else if both.is_some() {
            after += 1;
        }
        if after == MORE {
            break;
        }
    }
    both.context("no order was drawn to the id that does not approve")
}

/// `explain` says why.
async fn explained(run: &mut Run<'_>, order: &str, first: &str, then: &str) -> anyhow::Result<()> {
    let text = run.explained(order).await?;
    let routes: Vec<String> =
        text.lines().map(str::trim).filter(|l| l.starts_with("route ")).map(str::to_owned).collect();
    for line in &routes {
        run.tell(order, "explain", line.clone());
    }
    ensure!(
        matches!(routes.as_slice(), [a, b] if a.starts_with(&format!("route {first}")) && b.starts_with(&format!("route {then}"))),
        "explain does not say where it went: {routes:?}"
    );
    Ok(())
}
