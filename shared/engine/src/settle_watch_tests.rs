//! The watch over a month of days.

use tillway_core::settle::watch::Measured;

use super::*;

impl Trade {
    /// A day's payments, paid out and settled. Gives what is said of its figures.
    async fn ordinary_day(&self, n: i64, payments: i64) -> Vec<String> {
        self.trade(n, payments).await;
        let report = self.settle().await;
        assert!(report.is_clean(), "{report:?}");
        let said: Vec<String> = report.findings.iter().map(|f| f.text()).collect();
        for text in &said {
            assert!(report.headline.contains(&format!("\n! {text}")), "{}", report.headline);
        }
        said
    }
    async fn trade(&self, n: i64, payments: i64) {
        for i in 0..payments {
            self.charge(&format!("W-{n}-{i}"), 2_000 + (n * 137 + i * 211) % 900);
        }
        self.hear().await;
        self.pay_out();
    }
    fn next_day(&self) {
        self.w.pass(Millis::days(1));
    }
    async fn figures(&self) -> Vec<Measured> {
        self.w.engine.settlement_watch(&gate(), self.today()).await.unwrap().figures
    }
}

#[tokio::test]
async fn a_plain_month_is_quiet_and_a_day_unlike_it_is_told() {
    let t = Trade::new().await;
    for n in 0..36 {
        let said = t.ordinary_day(n, 5).await;
        assert_eq!(said, [""; 0], "day {n}");
        t.next_day();
    }
    let view = t.w.engine.settlement_watch(&gate(), t.today()).await.unwrap();
    assert!(!view.whole && view.figures.is_empty() && view.days == 36, "{view:?}");
    let said = t.ordinary_day(36, 30).await;
    let day = t.today();
    assert!(said.iter().any(|s| s.starts_with("payments a day 30.0, expected 5.0 ± ")), "{said:?}");
    assert!(said.iter().any(|s| s.starts_with("volume a day in USD ")), "{said:?}");
    assert!(said.iter().all(|s| s.ends_with(&format!("on {day}"))), "{said:?}");
    // It stands wherever the day is looked at, and makes the day no less closed.
    let report = t.w.engine.settlement_report(&gate(), day).await.unwrap();
    assert!(report.headline().starts_with("closed: 30 payments"), "{}", report.headline());
    let notices: Vec<_> = report.notices.iter().map(|n| (n.code.as_str(), n.text.as_str())).collect();
    assert_eq!(notices, said.iter().map(|s| ("watch", s.as_str())).collect::<Vec<_>>());
    let csv = t.csv(day).await;
    let columns = |row: &str| row.split(',').count();
    let told: Vec<&str> = csv.lines().filter(|l| l.starts_with("notice,watch,")).collect();
    assert_eq!((told.len(), columns(csv.lines().next().unwrap())), (said.len(), 26));
    assert!(told[0].contains("payments a day 30.0") || told[1].contains("payments a day 30.0"), "{csv}");
    let last = t.w.memory.alerts.lock().unwrap().last().cloned().unwrap();
    assert!(last.code == "settlement" && last.text.contains("! payments a day"), "{}", last.text);
    // Settled again it says the same and counts nothing twice.
    let before = t.figures().await;
    let again = t.settle().await;
    assert_eq!(again.findings.iter().map(|f| f.text()).collect::<Vec<_>>(), said);
    assert_eq!(t.figures().await, before);
    let delay = before.iter().find(|m| m.figure == Figure::Delay).unwrap();
    assert_eq!((delay.part, delay.of), (0, 30), "booked and settled on one day");
    let fee = before.iter().find(|m| matches!(m.figure, Figure::FeeRate { .. })).unwrap();
    assert!(fee.text().starts_with("fee rate of visa in USD 4."), "{}", fee.text());
    // A record for each month.
    let months = t.w.memory.items.lock().unwrap().keys().filter(|k| k.sk.starts_with("watch#")).count();
    assert!((2..=3).contains(&months), "{months}");
}

#[tokio::test]
async fn a_day_of_which_something_is_waited_for_is_not_judged() {
    let t = Trade::new().await;
    for n in 0..36 {
        assert_eq!(t.ordinary_day(n, 14).await, [""; 0], "day {n}");
        t.next_day();
    }
    t.trade(36, 14).await;
    *t.bent.lock().unwrap() = Some(("\"completed\"".into(), "\"in_progress\"".into()));
    let report = t.settle().await;
    assert_eq!((report.waiting.len(), report.findings.len()), (1, 0), "no fall to nothing");
    let view = t.w.engine.settlement_watch(&gate(), t.today()).await.unwrap();
    assert!(!view.whole && view.figures.is_empty());
    *t.bent.lock().unwrap() = None;
    let report = t.settle().await;
    assert!(report.is_clean() && report.findings.is_empty(), "{report:?}");
    let view = t.w.engine.settlement_watch(&gate(), t.today()).await.unwrap();
    let payments = view.figures.iter().find(|m| m.figure == Figure::Payments).map(|m| m.part);
    assert_eq!((view.whole, payments), (true, Some(14)));
    // A day on which nothing came at all, and nothing is waited for, is a fall.
    t.next_day();
    let report = t.settle().await;
    let fall = report.findings.iter().find(|f| f.figure == Figure::Payments).unwrap();
    assert!(
        (fall.part, fall.of) == (0, 1) && report.headline.contains("nothing was settled on "),
        "{report:?}"
    );
}

/// Tries that fail, on a card of each order that is never charged.
async fn declined(t: &Trade, why: &str, n: i64, tries: i64) -> String {
    let mut last = String::new();
    for i in 0..tries {
        let order = format!("D-{n}-{i}");
        last = t.charge_with(&format!("pm_card_visa_chargeDeclined{why}_x{order}"), &order, 2_000);
    }
    t.hear().await;
    last
}

#[tokio::test]
async fn what_was_declined_is_told_when_it_is_more_than_ever() {
    let t = Trade::new().await;
    for n in 0..30 {
        declined(&t, "InsufficientFunds", n, 1 + n % 2).await;
        assert_eq!(t.ordinary_day(n, 14).await, [""; 0], "day {n}");
        t.next_day();
    }
    let last = declined(&t, "ExpiredCard", 30, 20).await;
    let said = t.ordinary_day(30, 14).await;
    let day = t.today();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("decline rate 58.82 %, expected 9."), "{said:?}");
    assert!(said[0].ends_with(&format!(": 20 declines with expired_card on {day}")), "{said:?}");
    // The same attempt told again, and the day settled again, change nothing.
    let before = t.figures().await;
    t.stripe(|s, now| s.shopper_retries(now, &last, "pm_card_visa_x1")).unwrap();
    t.hear().await;
    t.settle().await;
    let rate = |figures: &[Measured]| {
        let found = figures.iter().find(|m| m.figure == Figure::DeclineRate).unwrap();
        (found.part, found.of)
    };
    assert_eq!((rate(&before), rate(&t.figures().await)), ((20, 34), (20, 35)), "the retry was approved");
}

#[tokio::test]
async fn dozens_of_declines_told_at_once_are_decided() {
    use tillway_core::facts::Fact;
    let t = Trade::new().await;
    let payment = t.charge("A-1", 2_000);
    t.hear().await;
    let tried = |n: u32| Fact::AttemptFailed {
        payment: payment.clone(),
        attempt: format!("ch_{n}"),
        code: "card_declined".into(),
        shopper_reason: "generic_decline".into(),
        soft: true,
    };
    let order = OrderKey::from("shop/A-1");
    let event = Event {
        connection: gate(),
        id: "many".to_owned(),
        kind: "tillway.told".to_owned(),
        origin: Origin::Replay,
        received_at: t.now(),
        created_at: None,
        replay: 0,
        group: "A-1".to_owned(),
        redacted: Vec::new(),
        body: EventBody::Told { order: order.clone(), facts: (0..60).map(tried).collect() },
    };
    t.w.engine.work_event(event).await.unwrap();
    let record: rec::OrderRecord =
        serde_json::from_slice(&t.w.item(&rec::state_key(&order)).unwrap().body).unwrap();
    assert_eq!(record.state.payments[&payment].failures.len(), 60);
    let noted =
        t.w.memory.items.lock().unwrap().keys().filter(|k| k.pk.starts_with("declines#gate#")).count();
    assert!((1..60).contains(&noted), "{noted}: as many as there was room for");
}
