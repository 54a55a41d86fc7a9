//! Fees payment by payment, from the details that a processor tells late, or never.

use tillway_core::settle::Kind;
use tillway_core::settle::watch::Figure;
use tillway_sandbox::cybersource::DetailsFault;

use super::*;

/// Trade of 10.00 and 10.00, submitted; its details are told a day after its cut-off where `told`.
async fn traded(told: bool) -> (Trade, Day) {
    let config = CONFIG.replace("net_fundings", "net_fundings, settlement.fees: details");
    let t = Trade::with(&config, Some(Millis::days(2))).await;
    let day = Day::of(t.w.memory.now());
    t.gateway(|g, _| g.config_mut().fees_after = told.then_some(Millis::days(1)));
    t.paid("A-1").await;
    t.paid("A-2").await;
    t.w.pass(Millis::hours(20));
    assert_eq!(t.settle(day).await.batches[0].standing, Standing::Submitted);
    (t, day)
}

impl Trade {
    async fn fees(&self, report: &RunReport) -> Vec<(bool, i64)> {
        let id = &report.batches[0].batch.id;
        let view = self.w.engine.settled_batch(None, id).await.unwrap().unwrap();
        let fees = view.doc.lines.iter().filter(|l| l.kind == Kind::Fee);
        fees.map(|l| (l.ids.parent.is_some(), l.net)).collect()
    }
}

#[tokio::test]
async fn each_payment_of_a_funding_has_its_fee_and_the_batch_closes() {
    let (t, day) = traded(true).await;
    t.w.pass(Millis::days(2));
    let report = t.settle(day.plus(2)).await;
    assert!(report.refused.is_empty() && report.waiting.is_empty(), "{report:?}");
    assert_eq!((report.batches[0].standing, report.batches[0].revision), (Standing::Closed, 2));
    assert_eq!(t.fees(&report).await, [(true, -29), (true, -29)]);
    assert_eq!(
        (t.clearing(day.plus(2)).await, t.open().await, t.w.alerted("settlement_remark")),
        (0, vec![], 0)
    );
    // The day's fee rate by card rests on them.
    let watched = t.w.engine.settlement_watch(&signed(), day.plus(2)).await.unwrap();
    let rate = watched
        .figures
        .iter()
        .find(|m| matches!(&m.figure, Figure::FeeRate { brand, .. } if &**brand == "visa"));
    assert_eq!(rate.map(|m| (m.part, m.of)), Some((58, 2_000)));
    // Settled again, early or late, it says the same.
    for later in [Millis::hours(1), Millis::days(5)] {
        t.w.pass(later);
        let again = t.settle(day.plus(2)).await;
        assert_eq!((again.unchanged.len(), again.refused.len()), (1, 0), "{again:?}");
    }
}

#[tokio::test]
async fn details_that_do_not_come_are_waited_for_and_then_the_fees_are_one_line() {
    let (t, day) = traded(false).await;
    t.w.pass(Millis::days(2));
    let funded = day.plus(2);
    let waits = t.settle(funded).await;
    assert_eq!((waits.waiting.len(), waits.batches.len()), (1, 0), "{waits:?}");
    assert_eq!(t.clearing(funded).await, 2_000, "nothing is posted of it");
    t.w.pass(Millis::days(1));
    t.w.pass(Millis::hours(12));
    let report = t.settle(funded).await;
    assert_eq!(report.batches[0].standing, Standing::Closed, "{report:?}");
    assert_eq!((t.fees(&report).await, t.open().await), (vec![(false, -58)], vec![]));
    assert_eq!((t.w.alerted("settlement_remark"), t.w.alerted("settlement_late")), (1, 0));
    let text = {
        let alerts = t.w.memory.alerts.lock().unwrap();
        alerts.iter().find(|a| a.code == "settlement_remark").unwrap().text.clone()
    };
    assert!(text.contains("0.58 USD") && text.contains("do not tell of 2 of its payments"), "{text}");
    // They come after all, and say of the fees what was taken for them in one: it is the same batch.
    t.gateway(|g, _| g.config_mut().fees_after = Some(Millis::days(1)));
    let again = t.settle(funded).await;
    assert_eq!((again.unchanged.len(), again.refused.len()), (1, 0), "{again:?}");
    assert_eq!(t.fees(&again).await, [(false, -58)]);
}

#[tokio::test]
async fn details_whose_sum_is_another_are_not_believed() {
    let (t, day) = traded(true).await;
    t.gateway(|g, _| g.config_mut().details_fault = Some(DetailsFault::Dearer));
    t.w.pass(Millis::days(2));
    assert_eq!(t.settle(day.plus(2)).await.waiting.len(), 1);
    // It is mended in time.
    t.gateway(|g, _| g.config_mut().details_fault = None);
    t.w.pass(Millis::hours(2));
    let report = t.settle(day.plus(2)).await;
    assert_eq!(t.fees(&report).await, [(true, -29), (true, -29)]);
}
