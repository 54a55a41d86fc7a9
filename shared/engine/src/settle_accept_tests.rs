//! What a person accepts, and what comes after all.

use tillway_core::settle::accepted::Acceptance;

use super::*;
use crate::settle::{Accepted, Accepting};

impl Trade {
    /// The one open item.
    async fn item(&self) -> String {
        let open = self.w.engine.settlement_open(None).await.unwrap();
        assert_eq!(open.len(), 1, "{open:?}");
        open[0].record.id.clone()
    }
    async fn accept(&self, item: &str, reason: &str, account: Option<Role>) -> Result<Accepted, String> {
        let said = Accepting { item, reason, account, by: "ada" };
        self.w.engine.settle_accept(&gate(), &said, &quiet).await.map_err(|e| e.to_string())
    }
    /// A payment of 42.00 that the gateway never pays out, missed by now.
    async fn missed(&self) -> String {
        self.busy_day().await;
        let lost = self.charge("A-9", 4_200);
        self.hear().await;
        self.stripe(|s, _| s.withhold(&lost)).unwrap();
        self.pay_out();
        self.settle().await;
        self.w.pass(Millis::days(9));
        self.settle().await;
        assert_eq!(self.open().await, [Class::MissingAtGateway]);
        lost
    }
    /// A day with a payment of 1.00 that the books know nothing of. Gives its payout.
    async fn foreign(&self) -> String {
        self.busy_day().await;
        self.charge("foreign", 100);
        self.lose();
        let payout = self.pay_out();
        self.settle().await;
        assert_eq!(self.open().await, [Class::MissingHere]);
        payout
    }
}

#[tokio::test]
async fn what_never_came_is_written_off_once_and_put_back_when_it_comes() {
    let t = Trade::new().await;
    let lost = t.missed().await;
    let item = t.item().await;
    assert_eq!((t.account(Role::GatewayClearing), t.account(Role::ChargebackLoss)), (4_200, 0));
    let accepted = t.accept(&item, "  not worth a claim ", Some(Role::ChargebackLoss)).await.unwrap();
    let record = accepted.record.unwrap();
    assert_eq!((&*record.by, &*record.reason, record.sealed.len()), ("ada", "not worth a claim", 1));
    assert_eq!((t.account(Role::GatewayClearing), t.account(Role::ChargebackLoss)), (0, 4_200));
    assert_eq!(t.open().await, []);
    let told = t.w.engine.explain(&OrderKey::new("shop/A-9")).await.unwrap().unwrap().to_string();
    assert!(
        told.contains("accepted by ada to chargeback_loss") && told.contains("not worth a claim"),
        "{told}"
    );
    // Said again it is as it was, said otherwise it is refused by name.
    let before = t.journal();
    let again = t.accept(&item, "not worth a claim", None).await.unwrap();
    assert!(again.before && again.record.unwrap() == record);
    let refused = t.accept(&item, "another reason", None).await.unwrap_err();
    assert!(
        refused.contains("was accepted by ada on ") && refused.contains("not worth a claim"),
        "{refused}"
    );
    t.w.pass(Millis::days(1));
    assert!(t.settle().await.is_clean());
    assert_eq!(t.journal(), before);
    let told = t.w.engine.settlement_report(&gate(), t.today()).await.unwrap();
    assert_eq!((told.holds[0].clearing.minor, told.holds[0].awaited_count), (0, 0), "{told:?}");
    // It comes after all.
    t.stripe(|s, _| s.find_again(&lost)).unwrap();
    let payout = t.pay_out();
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    assert!(report.headline.contains("ada had accepted capture:ch_"), "{}", report.headline);
    assert!(report.headline.contains("closed: 1 payment"), "{}", report.headline);
    assert_eq!((t.account(Role::GatewayClearing), t.account(Role::ChargebackLoss)), (0, 0));
    let checked = t.w.engine.check_batch(&t.batch(&payout).await).await.unwrap();
    assert_eq!((checked.standing, checked.certificates), (Some(Standing::Closed), 1), "{checked:?}");
    // And it is done with.
    let before = t.journal();
    t.w.pass(Millis::days(30));
    assert!(t.settle().await.is_clean());
    assert_eq!(t.journal(), before);
}

#[tokio::test]
async fn a_line_that_a_person_accepts_goes_from_suspense_to_the_account() {
    let t = Trade::new().await;
    let payout = t.foreign().await;
    let fees = t.account(Role::Fees);
    assert_eq!((t.account(Role::Suspense), t.account(Role::GatewayClearing)), (-100, 0));
    let accepted = t.accept(&t.item().await, "the till at the door", Some(Role::Sales)).await.unwrap();
    assert_eq!(accepted.batches[0].standing, Standing::Closed);
    assert_eq!(
        [Role::Suspense, Role::Sales, Role::GatewayClearing].map(|r| t.account(r)),
        [0, t.account(Role::Sales), 0]
    );
    assert_eq!(t.journal().iter().filter(|e| e.id.starts_with("settled:")).count(), 1);
    assert_eq!(t.account(Role::Fees), fees, "its fee is a fee as before");
    let view = t.batch(&payout).await;
    assert_eq!((view.record.standing, view.record.revision, view.record.sums.open), (Standing::Closed, 2, 0));
    let checked = t.w.engine.check_batch(&view).await.unwrap();
    assert_eq!(checked.standing, Some(Standing::Closed), "{checked:?}");
    assert_eq!(t.open().await, []);
    t.w.pass(Millis::days(1));
    assert!(t.settle().await.is_clean());
    // The checker takes nothing less than the word that was given.
    type Change = fn(&mut Acceptance);
    let tampered: [(Change, &str); 4] = [
        (|a| a.reason = "because".into(), "the hash is another"),
        (|a| a.by = " ".into(), "by whom"),
        (|a| a.account = Role::GatewayClearing, "may not take it"),
        (|a| a.item = "txn_other".into(), "does not cover it"),
    ];
    for (change, said) in tampered {
        let mut view = t.batch(&payout).await;
        change(&mut view.doc.accepted[0]);
        let checked = t.w.engine.check_batch(&view).await.unwrap();
        assert!(checked.rejected.iter().any(|r| r.contains(said)), "{said}: {checked:?}");
    }
}

#[tokio::test]
async fn an_acceptance_that_cannot_be_is_refused_and_changes_nothing() {
    let t = Trade::new().await;
    t.foreign().await;
    let item = t.item().await;
    let (before, records) = (t.journal(), t.w.memory.items.lock().unwrap().len());
    for (id, reason, account, said) in [
        ("missing_here-0", "why not", Some(Role::Sales), "nothing open of gate is called missing_here-0"),
        (item.as_str(), "  ", Some(Role::Sales), "say why"),
        (item.as_str(), "the till", None, "say which account takes it"),
        (item.as_str(), "the till", Some(Role::Bank), "bank may not take a charge"),
        (item.as_str(), "the till", Some(Role::GatewayClearing), "may not take"),
    ] {
        let refused = t.accept(id, reason, account).await.unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!((t.journal(), t.w.memory.items.lock().unwrap().len()), (before, records));
    assert_eq!((t.open().await, t.w.alerted("settlement_stopped")), (vec![Class::MissingHere], 0));
}

#[tokio::test]
async fn a_payout_that_came_back_is_taken_note_of() {
    let t = Trade::new().await;
    t.busy_day().await;
    let payout = t.pay_out();
    t.settle().await;
    t.stripe(|s, now| s.fail_payout(now, &payout)).unwrap();
    t.w.pass(Millis::days(1));
    t.charge("A-7", 1_000);
    t.hear().await;
    t.pay_out();
    t.settle().await;
    let (item, before) = (t.item().await, t.journal());
    assert!(t.accept(&item, "seen", Some(Role::Fees)).await.unwrap_err().contains("may not take"));
    let accepted = t.accept(&item, "the account was mended", None).await.unwrap();
    assert_eq!(accepted.batches[0].standing, Standing::Closed);
    assert_eq!((t.open().await, t.journal()), (vec![], before));
}

#[tokio::test]
async fn an_acceptance_that_dies_at_any_write_is_made_once() {
    let trade = async |fuse: i64, lost: bool| {
        let t = Trade::new().await;
        t.missed().await;
        t.charge("foreign", 100);
        t.lose();
        t.pay_out();
        t.settle().await;
        let open = t.w.engine.settlement_open(None).await.unwrap();
        let ids: Vec<String> = open.into_iter().map(|o| o.record.id).collect();
        assert_eq!(ids.len(), 2);
        t.w.memory.fuse.store(fuse, Ordering::SeqCst);
        t.w.memory.fuse_after.store(lost, Ordering::SeqCst);
        let mut broke = false;
        for id in &ids {
            broke |= t.accept(id, "seen", Some(Role::ChargebackLoss)).await.is_err();
        }
        t.w.memory.fuse.store(i64::MAX, Ordering::SeqCst);
        t.w.pass(Millis::mins(3));
        for id in &ids {
            t.accept(id, "seen", Some(Role::ChargebackLoss)).await.unwrap();
        }
        assert_eq!(t.open().await, [], "after {fuse}");
        // Its minute is that of the try that stood.
        let shape = |e: Entry| (e.id, e.postings);
        (broke, t.journal().into_iter().map(shape).collect::<Vec<_>>())
    };
    let (_, whole) = trade(i64::MAX, false).await;
    for lost in [false, true] {
        let mut died = 0;
        for fuse in 0.. {
            let (broke, journal) = trade(fuse, lost).await;
            assert_eq!(journal, whole, "after {fuse} writes, answer lost: {lost}");
            if !broke {
                break;
            }
            died += 1;
        }
        assert!(died > 12, "{died}");
    }
}
