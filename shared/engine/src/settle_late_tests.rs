//! Chargebacks that are listed after their day was settled.

use super::*;

fn chargebacks(of: &[crate::settle::records::BatchRecord]) -> Vec<(&str, i64)> {
    let ours = of.iter().filter(|b| b.batch.id.starts_with("chargebacks"));
    ours.map(|b| (b.batch.id.as_ref(), b.sums.net)).collect()
}

#[tokio::test]
async fn a_chargeback_that_is_listed_late_has_a_batch_of_the_day_on_which_it_was_seen() {
    let config = CONFIG.replace(", settlement.funding: net_fundings", "");
    let t = Trade::with(&config, None).await;
    let first = Day::of(t.w.memory.now());
    let (one, two, three) = (t.paid("A-1").await, t.paid("A-2").await, t.paid("A-3").await);
    t.w.pass(Millis::hours(20));
    t.settle(first).await;
    t.w.pass(Millis::hours(12));
    let taken = first.plus(1);
    let list_later = |after| t.gateway(|g, _| g.config_mut().chargebacks_after = after);
    let take =
        |capture: &str, minor| t.gateway(|g, now| g.charge_back(now, capture, minor, "10.4", false)).unwrap();
    take(&one, 300);
    list_later(Millis::hours(60));
    take(&two, 200);
    t.w.pass(Millis::days(1));
    t.sweep().await;
    let (base, late) =
        (format!("chargebacks-USD@{taken}"), format!("chargebacks-USD@{taken}~{}", taken.plus(2)));
    let on_time = t.settle(taken).await;
    assert_eq!(chargebacks(&on_time.batches), [(base.as_str(), -300)]);
    t.w.pass(Millis::days(1));
    let quiet = t.settle(taken.plus(1)).await;
    assert_eq!((chargebacks(&quiet.batches), quiet.refused.len()), (vec![], 0), "{quiet:?}");
    t.w.pass(Millis::days(1));
    t.sweep().await;
    let seen = t.settle(taken.plus(2)).await;
    assert_eq!(
        (chargebacks(&seen.batches), seen.refused.len()),
        (vec![(late.as_str(), -200)], 0),
        "{seen:?}"
    );
    assert_eq!(t.open().await, [], "both are matched with the books");
    // Whatever day is settled again, it says the same, and nothing is posted twice.
    let posted = t.w.journal();
    for day in [taken, taken.plus(1), taken.plus(2), taken.plus(3)] {
        t.w.pass(Millis::hours(7));
        let again = t.settle(day).await;
        let expected: &[(&str, i64)] = match day.since(taken) {
            0 => &[(&base, -300)],
            2 => &[(&late, -200)],
            _ => &[],
        };
        assert_eq!(
            (chargebacks(&again.batches).as_slice(), again.refused.len()),
            (expected, 0),
            "{day} {again:?}"
        );
    }
    assert_eq!(t.w.journal(), posted);
    // One of a day that had none on time, and one more of the first day, seen when that is settled again.
    list_later(Millis::days(2));
    take(&three, 100);
    t.w.pass(Millis::days(3));
    t.sweep().await;
    let of = t.w.memory.now();
    let day = Day::of(of).plus(-1);
    let seen = t.settle(day).await;
    let [(id, -100)] = chargebacks(&seen.batches)[..] else { panic!("{seen:?}") };
    assert_eq!(id, format!("chargebacks-USD@{}", day.plus(-2)));
    assert_eq!(t.open().await, []);
}
