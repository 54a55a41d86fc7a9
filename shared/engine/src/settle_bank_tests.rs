//! Batches that only the bank's statement closes.

use tillway_connectors::bank::{self, BankStatement, Layout};
use tillway_core::journal::{Entry, Role};

use super::*;
use crate::ports::{Guard, NewItem, Write};
use crate::settle::records::agenda_key;
use crate::settle::{Agenda, BankReport, Received};

const LAYOUT: &str = "{bank: main, format: csv, account: DE021203, currency: USD, ours: GATEWAY, columns: {date: day, amount: amount, \
                      id: id, balance: balance, text: text}}";

/// Bookings: id, day, amount in cents, text.
type Booking<'a> = (&'a str, Day, i64, String);

fn statement(bookings: &[Booking<'_>]) -> BankStatement {
    let major = |minor: i64| {
        format!("{}{}.{:02}", if minor < 0 { "-" } else { "" }, minor.abs() / 100, minor.abs() % 100)
    };
    let mut text = "id,day,amount,balance,text\n".to_owned();
    let mut balance = 100_000;
    for (id, day, minor, purpose) in bookings {
        balance += minor;
        text.push_str(&format!("{id},{day},{},{},GATEWAY {purpose}\n", major(*minor), major(balance)));
    }
    let read = bank::read(&layout(), text.as_bytes()).unwrap();
    read.prove(u64::try_from(text.len()).ok()).unwrap();
    read
}

fn layout() -> Layout {
    Layout::load("bank.yaml", LAYOUT).unwrap()
}

/// Two days of trade, submitted: 10.00 on the first, 20.00 on the second.
struct Waits {
    t: Trade,
    first: Day,
    batches: [String; 2],
}

impl Waits {
    async fn new() -> Self {
        Self::of(&CONFIG.replace(", settlement.funding: net_fundings", ""), None).await
    }
    async fn of(config: &str, funded_after: Option<Millis>) -> Self {
        let t = Trade::with(config, funded_after).await;
        let first = Day::of(t.w.memory.now());
        t.paid("A-1").await;
        t.w.pass(Millis::hours(20));
        let one = t.settle(first).await;
        t.paid("A-2").await;
        t.paid("A-3").await;
        t.w.pass(Millis::hours(24));
        let two = t.settle(first.plus(1)).await;
        let ids = [one, two].map(|r| {
            assert_eq!(r.batches[0].standing, Standing::Submitted);
            r.batches[0].batch.id.to_string()
        });
        Self { t, first, batches: ids }
    }
    async fn take(&self, statement: &BankStatement, pays: &[(&str, &[&str])]) -> Result<BankReport, String> {
        let pays: Vec<(Box<str>, Vec<Box<str>>)> =
            pays.iter().map(|(b, to)| ((*b).into(), to.iter().map(|id| (*id).into()).collect())).collect();
        let layout = layout();
        let told = Received { layout: &layout, statement, within: 5, pays: &pays, by: "ada" };
        self.t.w.engine.settle_bank(&signed(), &told, &quiet).await.map_err(|e| e.to_string())
    }
    /// The gateway's own name of a batch.
    fn named(&self, n: usize) -> String {
        self.batches[n].split('@').next().unwrap().to_owned()
    }
    fn journal(&self) -> Vec<Entry> {
        self.t.w.journal()
    }
}

#[tokio::test]
async fn a_booking_gives_its_batch_the_money_once() {
    let w = Waits::new().await;
    let paid = w.first.plus(3);
    let bookings = [("b1", paid, 970, format!("batch {}", w.named(0)))];
    let report = w.take(&statement(&bookings), &[]).await.unwrap();
    let closed = &report.closed[0];
    assert_eq!((closed.batch.as_ref(), closed.booking.as_ref()), (w.batches[0].as_str(), "b1"));
    assert_eq!((closed.amount.minor, closed.difference.minor, closed.standing), (970, -30, Standing::Closed));
    assert_eq!((report.closed.len(), report.open.len(), report.refused.len()), (1, 0, 0), "{report:?}");
    let waits: Vec<_> = report.waiting.iter().map(|b| (b.batch.as_ref(), b.net.minor)).collect();
    assert_eq!(waits, [(w.batches[1].as_str(), 2_000)]);
    let accounts = || [Role::Bank, Role::Fees, Role::GatewayClearing].map(|role| w.t.w.account(role));
    assert_eq!(accounts(), [970, 30, 2_000]);
    let view = w.t.w.engine.settled_batch(None, &w.batches[0]).await.unwrap().unwrap();
    let checked = w.t.w.engine.check_batch(&view).await.unwrap();
    assert_eq!(checked.standing, Some(Standing::Closed), "{checked:?}");
    assert_eq!((view.record.day, view.record.paid_by.unwrap().by), (paid, None));
    // The same statement, a longer one, and one that names its bookings otherwise.
    let before = w.journal();
    for (id, also) in [("b1", None), ("b1", Some("b0")), ("x7", None)] {
        let mut all = vec![(id, paid, 970, format!("batch {}", w.named(0)))];
        all.extend(also.map(|id| (id, paid, 5, String::new())));
        let report = w.take(&statement(&all), &[]).await.unwrap();
        assert_eq!((report.closed.len(), report.before.len()), (0, 1), "{report:?}");
        assert_eq!(report.open.len(), usize::from(also.is_some()));
        assert_eq!(w.journal(), before);
    }
    // The day at the gateway is as it was.
    let again = w.t.settle(w.first).await;
    assert_eq!((again.unchanged.len(), again.refused.len()), (1, 0), "{again:?}");
    assert_eq!(accounts(), [970, 30, 2_000]);
}

#[tokio::test]
async fn an_instalment_is_no_fee() {
    let w = Waits::new().await;
    let half = [("b1", w.first.plus(3), 600, format!("batch {}", w.named(0)))];
    let before = w.journal();
    let report = w.take(&statement(&half), &[]).await.unwrap();
    assert_eq!((report.closed.len(), w.journal()), (0, before));
    assert_eq!(report.open[0].candidates, [w.batches[0].as_str().into()]);
    assert!(report.open[0].action.contains("an instalment"), "{report:?}");
    // A person may know better.
    let report = w.take(&statement(&half), &[("b1", &[&w.batches[0]])]).await.unwrap();
    assert_eq!((report.closed.len(), w.t.w.account(Role::Bank)), (1, 600), "{report:?}");
}

#[tokio::test]
async fn an_amount_alone_says_nothing_while_a_day_before_is_not_settled() {
    let w = Waits::new().await;
    let paid = [("b1", w.first.plus(3), 1_000, String::new())];
    let agenda = Agenda {
        through: w.first.plus(3),
        announced: [].into(),
        waiting: [(w.first.plus(2), w.t.w.memory.now())].into(),
        failed: 0,
        begun: 0,
        rests_until: None,
    };
    let keep = |agenda: &Agenda| {
        let body = serde_json::to_vec(agenda).unwrap();
        let new = NewItem { key: agenda_key(&signed()), body, due: None, list: None, expires: None };
        w.t.w.engine.ports.store.transact(vec![Write::Put(new, Guard::Any)])
    };
    keep(&agenda).await.unwrap();
    let report = w.take(&statement(&paid), &[]).await.unwrap();
    assert_eq!(report.closed.len(), 0);
    assert!(report.open[0].action.contains("a day before it is not settled yet"), "{report:?}");
    keep(&Agenda { waiting: [].into(), ..agenda }).await.unwrap();
    assert_eq!(w.take(&statement(&paid), &[]).await.unwrap().closed.len(), 1);
}

#[tokio::test]
async fn what_a_booking_cannot_tell_a_person_says() {
    let w = Waits::new().await;
    let paid = w.first.plus(3);
    // One deposit for both, which names neither.
    let both = statement(&[("b1", paid, 2_900, "deposit".into()), ("b2", paid, -50, "correction".into())]);
    let report = w.take(&both, &[]).await.unwrap();
    assert_eq!((report.closed.len(), report.waiting.len()), (0, 2));
    let open: Vec<_> = report.open.iter().map(|o| (o.booking.as_ref(), o.candidates.len())).collect();
    assert_eq!(open, [("b1", 0), ("b2", 0)]);
    assert!(report.open[0].action.contains("--pays"), "{report:?}");
    let [one, two] = [w.batches[0].as_str(), w.batches[1].as_str()];
    for (pays, said) in [
        (("b9", &[one][..]), "no booking b9"),
        (("b1", &["none@2026-01-01"][..]), "does not wait for money"),
        (("b2", &[one][..]), "does not suffice"),
        (("b1", &[one, one][..]), "does not wait for money"),
    ] {
        let before = w.journal();
        let refused = w.take(&both, &[pays]).await.unwrap_err();
        assert!(refused.contains(said), "{refused}");
        assert_eq!(w.journal(), before);
    }
    let report = w.take(&both, &[("b1", &[one, two])]).await.unwrap();
    let closed: Vec<_> = report.closed.iter().map(|c| (c.amount.minor, c.difference.minor)).collect();
    let mut wanted = [(one, (1_000, 0)), (two, (1_900, -100))];
    wanted.sort_unstable();
    assert_eq!(closed, wanted.iter().map(|w| w.1).collect::<Vec<_>>());
    assert_eq!([Role::Bank, Role::Fees, Role::GatewayClearing].map(|r| w.t.w.account(r)), [2_900, 100, 0]);
    let view = w.t.w.engine.settled_batch(None, one).await.unwrap().unwrap();
    assert_eq!(view.record.paid_by.unwrap().by.as_deref(), Some("ada"));
    // Said again it is as it was; said otherwise it is refused.
    let again = w.take(&both, &[("b1", &[two, one])]).await.unwrap();
    assert_eq!((again.closed.len(), again.before.len()), (0, 1));
    assert!(w.take(&both, &[("b1", &[one])]).await.unwrap_err().contains("has paid"));
}

#[tokio::test]
async fn two_that_could_be_paid_stay_open_on_both_sides() {
    let w = Waits::new().await;
    // A third day like the first.
    w.t.paid("A-4").await;
    w.t.w.pass(Millis::hours(24));
    let third = w.t.settle(w.first.plus(2)).await.batches[0].batch.id.to_string();
    let alike = statement(&[("b1", w.first.plus(4), 1_000, "deposit".into())]);
    let report = w.take(&alike, &[]).await.unwrap();
    assert_eq!((report.closed.len(), report.open[0].candidates.len()), (0, 2));
    let waits = report.waiting.iter().filter(|b| b.candidates == ["b1".into()]).count();
    assert_eq!((waits, report.waiting.len()), (2, 3));
    let report = w.take(&alike, &[("b1", &[third.as_str()])]).await.unwrap();
    assert_eq!(report.closed[0].batch.as_ref(), third);
    // Two bookings like one that has paid: which of them it was nobody knows.
    let twice =
        [("x1", w.first.plus(4), 1_000, String::new()), ("x2", w.first.plus(4), 1_000, String::new())];
    let report = w.take(&statement(&twice), &[]).await.unwrap();
    assert_eq!((report.closed.len(), report.open.len()), (0, 2), "{report:?}");
    assert!(report.open[0].action.contains("under other ids"));
    let report = w.take(&statement(&twice), &[("x2", &[w.batches[0].as_str()])]).await.unwrap();
    assert_eq!((report.closed.len(), report.before.len(), report.open.len()), (1, 1, 0), "{report:?}");
}

#[tokio::test]
async fn what_a_rule_does_not_explain_of_a_booking_stays_open() {
    let w = Waits::new().await;
    let more = [("b1", w.first.plus(3), 1_090, format!("batch {}", w.named(0)))];
    let report = w.take(&statement(&more), &[]).await.unwrap();
    assert_eq!((report.closed[0].standing, report.closed[0].open), (Standing::Open, 1));
    assert_eq!(w.t.open().await, [Class::MissingHere]);
    assert_eq!(
        [Role::Bank, Role::Suspense, Role::GatewayClearing].map(|r| w.t.w.account(r)),
        [1_090, -90, 2_000]
    );
    let again = w.t.settle(w.first).await;
    assert_eq!((again.unchanged.len(), again.refused.len()), (1, 0), "{again:?}");
}

#[tokio::test]
async fn the_gateway_and_the_bank_may_both_tell_of_the_money() {
    let w = Waits::of(CONFIG, Some(Millis::days(2))).await;
    // The bank has it before the gateway says so.
    let bookings = [("b1", w.first.plus(2), 1_000, format!("batch {}", w.named(0)))];
    let early = w.take(&statement(&bookings), &[]).await.unwrap();
    let mut closed = early.closed.len();
    let mut last = w.first.plus(1);
    for _ in 0..5 {
        w.t.w.pass(Millis::days(1));
        last = last.plus(1);
        let report = w.t.settle(last).await;
        // What it kept back the statement did not know of, so the two differ, and a person is told.
        closed +=
            report.batches.iter().filter(|r| r.standing == Standing::Closed && r.paid_by.is_none()).count();
    }
    assert_eq!((early.closed.len(), closed), (1, 2));
    let second = w.t.w.engine.settled_batch(None, &w.batches[1]).await.unwrap().unwrap().record;
    let tillway_core::settle::Funding::Funded { payout, day } = second.batch.funding else {
        panic!("{second:?}")
    };
    let told = w.take(&statement(&[("b2", day, payout, "deposit".into())]), &[]).await.unwrap();
    assert_eq!((told.confirmed.len(), told.closed.len(), told.open.len()), (1, 0, 0), "{told:?}");
    assert_eq!(told.confirmed[0].batches, [w.batches[1].as_str().into()]);
    let other = w.take(&statement(&[("b3", day, payout - 1, w.named(1))]), &[]).await.unwrap();
    assert_eq!((other.confirmed.len(), other.open.len()), (0, 1));
    assert!(other.open[0].action.contains("another amount"));
}

#[tokio::test]
async fn a_statement_that_dies_at_any_write_is_read_again_and_posts_once() {
    let trade = async |fuse: i64, lost: bool| {
        let w = Waits::new().await;
        let paid = w.first.plus(3);
        // No statement tells of days to come.
        w.t.w.pass(Millis::days(2));
        let both = statement(&[
            ("b1", paid, 970, format!("batch {}", w.named(0))),
            ("b2", paid, 2_000, "deposit".into()),
        ]);
        w.t.w.memory.fuse.store(fuse, Ordering::SeqCst);
        w.t.w.memory.fuse_after.store(lost, Ordering::SeqCst);
        let broke = w.take(&both, &[]).await.is_err();
        w.t.w.memory.fuse.store(i64::MAX, Ordering::SeqCst);
        w.t.w.pass(Millis::mins(3));
        let report = w.take(&both, &[]).await.unwrap();
        assert_eq!(report.closed.len() + report.before.len(), 2, "after {fuse}: {report:?}");
        assert_eq!((report.open.len(), report.waiting.len()), (0, 0), "after {fuse}");
        let shelf = w.t.w.memory.items.lock().unwrap().keys().filter(|k| k.sk == "head").count();
        (broke, w.journal(), shelf)
    };
    let (_, whole, shelf) = trade(i64::MAX, false).await;
    for lost in [false, true] {
        let mut died = 0;
        for fuse in 0.. {
            let (broke, journal, left) = trade(fuse, lost).await;
            assert_eq!(journal, whole, "after {fuse} writes, answer lost: {lost}");
            assert!(left <= shelf + 6, "{left} documents");
            if !broke {
                break;
            }
            died += 1;
        }
        assert!(died > 10, "{died}");
    }
}
