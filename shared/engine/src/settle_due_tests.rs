//! When a connection is settled, against the gateway's sandbox.

use super::*;

impl Trade {
    /// The webhooks that wait are worked; answers how many told of payouts.
    async fn pay_out_and_hear(&self) -> String {
        let payout = self.stripe(|s, now| s.pay_out(now, "usd")).unwrap();
        self.hear().await;
        payout
    }
    async fn due(&self) -> Vec<RunReport> {
        let report = self.w.engine.settle_due(&gate(), &quiet).await.unwrap();
        assert!(!report.busy && !report.more);
        report.runs
    }
    async fn overdue(&self) -> (u64, u64) {
        self.w.engine.gauges().await.unwrap();
        let gauges = self.w.memory.gauges.lock().unwrap();
        (gauges["settlement_overdue_seconds"], gauges["settlement_open_days"])
    }
}

#[tokio::test]
async fn each_day_is_settled_once_on_the_next_morning() {
    let t = Trade::new().await;
    t.busy_day().await;
    assert_eq!(t.overdue().await, (0, 0));
    let payout = t.pay_out();
    assert!(t.due().await.is_empty(), "the day is not over");
    // From 8:00 of the 21st to 5:59 of the next morning.
    t.w.pass(Millis::mins(21 * 60 + 58));
    assert!(t.due().await.is_empty(), "it is not six o'clock");
    t.w.pass(Millis::mins(2));
    let runs = t.due().await;
    assert_eq!((runs.len(), &*runs[0].batches[0].batch.id), (1, payout.as_str()));
    assert!(runs[0].is_clean(), "{runs:?}");
    assert_eq!(t.w.alerted("settlement"), 1);
    assert!(t.due().await.is_empty());
    // A machine that stood still for three days makes up for them in order.
    t.w.pass(Millis::days(3));
    assert_eq!(t.overdue().await.0, 2 * 86_400 + 10);
    let days: Vec<Day> = t.due().await.iter().map(|run| run.day).collect();
    assert_eq!(days, [-3, -2, -1].map(|n| t.today().plus(n)));
    assert_eq!(t.overdue().await.0, 0);
}

#[tokio::test]
async fn an_announced_payout_is_settled_at_once_and_again_where_it_failed() {
    let t = Trade::new().await;
    t.busy_day().await;
    let payout = t.pay_out_and_hear().await;
    let runs = t.due().await;
    assert_eq!((runs.len(), runs[0].day), (1, t.today()), "both of its webhooks are one run");
    assert_eq!(&*runs[0].batches[0].batch.id, payout.as_str());
    assert!(t.due().await.is_empty());
    let unhandled = t.w.engine.unhandled().await.unwrap();
    assert!(unhandled.iter().all(|u| !u.kind.starts_with("payout.")));
    let before = t.journal();
    t.stripe(|s, now| s.fail_payout(now, &payout)).unwrap();
    t.hear().await;
    assert_eq!(t.due().await[0].unchanged, [payout.as_str().into()]);
    assert_eq!(t.w.alerted("payout_failed"), 1);
    assert_eq!(t.journal(), before);
}

#[tokio::test]
async fn what_is_announced_while_a_run_is_at_work_is_another_run() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    let engine = &t.w.engine;
    let heard = Mutex::new(false);
    let watch = |step: &Step| {
        if *step == Step::At("planned") && !std::mem::replace(&mut *heard.lock().unwrap(), true) {
            t.w.pass(Millis::secs(1));
            t.charge("A-7", 1_200);
            t.stripe(|s, now| s.pay_out(now, "usd")).unwrap();
            assert!(futures_util::FutureExt::now_or_never(t.hear()).is_some());
        }
        true
    };
    let runs = engine.settle_due(&gate(), &watch).await.unwrap().runs;
    assert_eq!(runs.iter().map(|r| r.batches.len()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_run_without_time_is_gone_on_with_until_all_is_posted_once() {
    let whole = {
        let t = Trade::new().await;
        t.busy_day().await;
        t.pay_out_and_hear().await;
        t.due().await;
        t.journal()
    };
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 50, "it never ends");
        // Each round has time for one step more than the one before had: some steps leave nothing behind.
        let left = std::sync::atomic::AtomicI64::new(rounds);
        let watch = |_: &Step| left.fetch_sub(1, Ordering::SeqCst) > 1;
        let report = t.w.engine.settle_due(&gate(), &watch).await.unwrap();
        assert!(!report.busy, "the lease was given back");
        if !report.more {
            assert_eq!(report.runs[0].batches[0].standing, Standing::Closed);
            break;
        }
    }
    assert!(rounds > 4, "{rounds}");
    assert_eq!(t.journal(), whole);
    assert_eq!((t.w.alerted("settlement"), t.w.alerted("settlement_stopped")), (1, 0));
    assert!(t.due().await.is_empty());
}

#[tokio::test]
async fn what_was_read_before_the_time_was_over_is_not_read_again() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    let stops = |step: &Step| !matches!(step, Step::Read(..));
    assert!(t.w.engine.settle_due(&gate(), &stops).await.unwrap().more);
    // What the gateway says from now on of the rows would be refused.
    *t.bent.lock().unwrap() = Some(("\"net\":".to_owned(), "\"nett\":".to_owned()));
    let runs = t.due().await;
    assert!(runs[0].is_clean(), "{runs:?}");
    assert_eq!(runs[0].batches[0].sums.matched, 6);
}

#[tokio::test]
async fn words_nobody_knows_are_told_by_whoever_reads_on() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    let category = |word: &str| format!("\"reporting_category\":\"{word}\"");
    *t.bent.lock().unwrap() = Some((category("refund"), category("moon_dust")));
    let stops = |step: &Step| !matches!(step, Step::Read(..));
    assert!(t.w.engine.settle_due(&gate(), &stops).await.unwrap().more);
    assert_eq!(t.w.alerted("settlement_unfamiliar"), 0, "it had no time to say so");
    // The lines lie on the shelf: nobody reads the word again.
    *t.bent.lock().unwrap() = None;
    t.due().await;
    assert_eq!(t.w.alerted("settlement_unfamiliar"), 1);
    let alerts = t.w.memory.alerts.lock().unwrap();
    let told = alerts.iter().find(|a| a.code == "settlement_unfamiliar").unwrap();
    assert!(told.text.contains("moon_dust"), "{}", told.text);
}

#[tokio::test]
async fn a_gateway_that_refuses_is_left_alone_for_a_while() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    *t.bent.lock().unwrap() = Some(("\"object\":\"list\"".to_owned(), "\"object\":".to_owned()));
    let mut failed = Vec::new();
    for minute in 0..120 {
        if t.w.engine.settle_due(&gate(), &quiet).await.is_err() {
            failed.push(minute);
        }
        t.w.pass(Millis::mins(1));
    }
    assert_eq!(failed, [0, 15, 45, 105]);
    *t.bent.lock().unwrap() = None;
    t.w.pass(Millis::hours(2));
    assert_eq!(t.due().await.len(), 1);
}

#[tokio::test]
async fn what_is_open_for_long_is_told() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.charge("foreign", 100);
    t.lose();
    t.pay_out();
    t.settle().await;
    t.w.pass(Millis::days(4));
    // Its money was to be available on the second day.
    assert_eq!(t.overdue().await.1, 2);
}

#[tokio::test]
async fn the_many_entries_of_a_batch_are_one_item_of_the_journal() {
    let t = Trade::new().await;
    for n in 0..800 {
        t.charge(&format!("B-{n}"), 1_000 + n);
    }
    t.hear().await;
    let payout = t.pay_out();
    let report = t.settle().await;
    assert_eq!(report.batches[0].sums.matched, 800);
    let items = t.w.memory.items.lock().unwrap().keys().filter(|k| k.sk.starts_with("jrns#")).count();
    assert_eq!(items, 1);
    // Nothing that the store keeps of settlement grows with the lines.
    let largest =
        t.w.memory
            .items
            .lock()
            .unwrap()
            .values()
            .filter(|i| i.key.pk.starts_with("settle#"))
            .map(|i| i.body.len())
            .max();
    assert!(largest.is_some_and(|bytes| bytes < 4_000), "{largest:?}");
    let checked = t.w.engine.check_batch(&t.batch(&payout).await).await.unwrap();
    assert!(checked.rejected.is_empty() && checked.entries > 800, "{checked:?}");
}

#[tokio::test]
async fn a_payout_of_the_same_day_whose_webhook_is_lost_is_settled_by_the_morning() {
    let t = Trade::new().await;
    t.busy_day().await;
    let first = t.pay_out_and_hear().await;
    assert_eq!(t.due().await.len(), 1);
    t.w.pass(Millis::hours(3));
    t.charge("A-8", 2_200);
    t.hear().await;
    let second = t.pay_out();
    assert!(t.due().await.is_empty());
    t.w.pass(Millis::hours(20));
    let runs = t.due().await;
    assert_eq!((runs.len(), runs[0].unchanged.as_slice()), (1, &[first.as_str().into()][..]));
    assert!(runs[0].batches.iter().any(|b| *b.batch.id == *second && b.standing == Standing::Closed));
    assert!(t.due().await.is_empty());
}

#[tokio::test]
async fn a_plan_that_is_carried_out_the_next_morning_is_no_look_at_the_gateway() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    // Out of time while it posts.
    let stop = |step: &Step| !matches!(step, Step::Posted(_));
    assert!(t.w.engine.settle_due(&gate(), &stop).await.unwrap().more);
    t.charge("A-8", 2_200);
    t.hear().await;
    let second = t.pay_out();
    t.w.pass(Millis::hours(23));
    let runs = t.due().await;
    let batches = || runs.iter().flat_map(|run| &run.batches).filter(|b| *b.batch.id == *second);
    assert_eq!(batches().map(|b| b.standing).collect::<Vec<_>>(), [Standing::Closed], "{runs:?}");
}

#[tokio::test]
async fn a_run_that_is_killed_again_and_again_is_told_and_rests() {
    use futures_util::FutureExt as _;
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    let kill = |_: &Step| panic!("killed");
    for _ in 0..3 {
        let name = gate();
        let run = std::panic::AssertUnwindSafe(t.w.engine.settle_due(&name, &kill)).catch_unwind();
        assert!(run.await.is_err());
        assert_eq!(t.w.alerted("settlement_killed"), 0);
        // The lease of the dead runs out.
        t.w.pass(Millis::mins(3));
    }
    assert!(t.due().await.is_empty());
    assert_eq!(t.w.alerted("settlement_killed"), 1);
    t.w.pass(Millis::mins(14));
    assert!(t.due().await.is_empty(), "it rests");
    t.w.pass(Millis::mins(2));
    assert_eq!(t.due().await.len(), 1);
    assert_eq!(t.w.alerted("settlement_killed"), 1);
}

/// Whoever looked at the agenda before another's run had ended finds its lease free, and the day settled.
#[tokio::test]
async fn a_look_that_comes_too_late_settles_and_tells_nothing() {
    let t = Trade::new().await;
    t.busy_day().await;
    t.pay_out_and_hear().await;
    let (day, before) = (t.today(), t.w.alerted("settlement"));
    assert_eq!(t.due().await.len(), 1);
    let items = t.w.memory.items.lock().unwrap().len();
    let cut_off = t.w.engine.settled_by_itself(&gate()).unwrap();
    let late = t.w.engine.settle_day_due(&gate(), day, Some(&cut_off), &quiet).await.unwrap();
    assert!(late.busy && late.batches.is_empty(), "{late:?}");
    assert_eq!((t.w.alerted("settlement"), t.w.memory.items.lock().unwrap().len()), (before + 1, items));
    // By command it is settled whatever the agenda says.
    assert!(!t.w.engine.settle_day(&gate(), day, &quiet).await.unwrap().busy);
}
