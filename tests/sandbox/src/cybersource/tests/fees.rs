//! The fee of each payment, where the processor tells it.

use super::*;

fn detailed(more: &[(&str, &str)]) -> World {
    let own = [("settlement.fees", "details")];
    let world = funded_world(&[&own[..], more].concat());
    world.sandbox(|s, _| s.config_mut().fees_after = Some(Millis::days(1)));
    world
}

/// The lines of the one batch that is funded on a day, and what is said of them.
async fn page(world: &World, day: Day) -> Result<tillway_connectors::LinePage, SettleFault> {
    let listed = world.batches(day).await.unwrap();
    let batch = listed.iter().find(|l| matches!(l.batch.funding, Funding::Funded { .. })).unwrap();
    let command = CommandId::new("settle");
    world.api().lines(&world.settling(&command), &batch.batch, None).await
}

fn fees(lines: &[SettlementLine]) -> Vec<(&str, Option<&str>, i64)> {
    let of = |l: &&SettlementLine| l.kind == Lines::Fee;
    lines.iter().filter(of).map(|l| (l.id.as_ref(), l.ids.parent.as_deref(), l.net)).collect()
}

#[tokio::test]
async fn each_payment_has_its_fee_where_all_of_them_are_told() {
    let world = detailed(&[]);
    world.trade().await;
    world.pass(Millis::days(3));
    let page = page(&world, today().plus(2)).await.unwrap();
    // 2.9 % of 10.00 and of 5.00, of which the processor rounds the sum; nothing for the refund.
    let charges: Vec<_> = page.lines.iter().filter(|l| l.kind == Lines::Charge).collect();
    let expected: Vec<_> = charges
        .iter()
        .map(|l| (format!("fee:{}", l.id), l.ids.own.as_deref(), if l.gross == 1000 { -29 } else { -14 }))
        .collect();
    let expected: Vec<_> = expected.iter().map(|(id, own, net)| (id.as_str(), *own, *net)).collect();
    assert_eq!((fees(&page.lines), page.remarks), (expected, vec![]));
    assert_eq!(page.lines.iter().map(|l| l.net).sum::<i64>(), 1500 - 250 - 43);
    assert!(world.sandbox(|s, _| s.counters().auth_refusals.is_empty()));
}

#[tokio::test]
async fn what_is_not_told_in_whole_is_waited_for_and_then_the_sum_is_taken() {
    for (fault, said) in [
        (None, "do not tell of 3 of its payments"),
        (Some(DetailsFault::Missing), "do not tell of 1 of its payments"),
        (Some(DetailsFault::OtherAmount), "another amount of 1"),
        (Some(DetailsFault::Dearer), "add up to 44 and the funding kept back 43"),
        (Some(DetailsFault::Cut), "truncated"),
    ] {
        let world = detailed(&[]);
        // None at all: the processor never tells.
        let never = fault.is_none();
        world.sandbox(|s, _| {
            s.config_mut().details_fault = fault;
            s.config_mut().fees_after = Some(if never { Millis::days(90) } else { Millis::days(1) });
        });
        world.trade().await;
        world.pass(Millis::days(3));
        let waited = page(&world, today().plus(2)).await;
        assert!(matches!(waited, Err(SettleFault::NotReady { .. })), "{fault:?} {waited:?}");
        world.pass(Millis::days(2));
        let lump = page(&world, today().plus(2)).await.unwrap();
        let id = format!("fees:{MERCHANT}:{}:USD", today().plus(2));
        assert_eq!(fees(&lump.lines), [(id.as_str(), None, -43)], "{fault:?}");
        let [remark] = lump.remarks.as_slice() else { panic!("{fault:?} {lump:?}") };
        assert!(remark.contains("its fees are one line, 0.43 USD") && remark.contains(said), "{remark}");
        // What comes in time after all is each payment's own.
        world.sandbox(|s, _| {
            s.config_mut().details_fault = None;
            s.config_mut().fees_after = Some(Millis::days(1));
        });
        assert_eq!(fees(&page(&world, today().plus(2)).await.unwrap().lines).len(), 2);
    }
}

/// A funding pays all batches of its currency that were submitted with a report; what it kept back is kept back from one of them.
#[tokio::test]
async fn the_fees_of_several_batches_stand_in_the_one_that_they_are_kept_back_from() {
    let world = detailed(&[]);
    world.sale("u1", 1000, "USD").await;
    world.sandbox(|s, now| s.cut_off_now(now));
    world.pass(Millis::mins(1));
    world.sale("u2", 2000, "USD").await;
    world.pass(Millis::days(3));
    let listed = world.batches(today().plus(2)).await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let mut all = Vec::new();
    for batch in &listed {
        let lines = world.lines(batch).await.unwrap();
        let Funding::Funded { payout, .. } = batch.batch.funding else { panic!("{batch:?}") };
        assert_eq!(lines.iter().map(|l| l.net).sum::<i64>(), payout);
        all.push(fees(&lines).iter().map(|(_, _, net)| *net).collect::<Vec<_>>());
    }
    all.sort();
    assert_eq!(all, [vec![], vec![-29, -58]]);
}
