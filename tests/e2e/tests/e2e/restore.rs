//! After a restore from backup. The store has forgotten what was done since; the gateway's idempotency keys
//! are dead after a day. Nothing may be done again, and nothing may be missing.

use tillway_core::http::Method;
use tillway_core::ids::ConnectionName;
use tillway_core::time::Millis;
use tillway_sandbox::HookFault;
use tillway_sandbox::stripe::PaymentStatus;
use tillway_tests::child::{Place, wait_until};
use tillway_tests::outside::lock;
use tillway_tests::world::{DATABASE, GATEWAY, SHOP, Setup, World, new_order};

use crate::TILLWAY;

/// Requests that left and were no reads, tokens aside.
fn writes(w: &World) -> Vec<String> {
    let writes = |s: &&tillway_tests::outside::Sent| {
        s.request.method != Method::Get && !s.request.path().contains("token")
    };
    let shown = |s: &tillway_tests::outside::Sent| format!("{:?} {}", s.request.method, s.request.path());
    lock(&w.outside.sent).iter().filter(writes).map(shown).collect()
}

/// How a restored Tillway comes to its sweeps.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// Whose sweep comes first.
    first: &'static str,
    then: &'static str,
    /// What a sweep found is worked before the next one begins.
    worked_between: bool,
}

const COURSES: [Course; 4] = [
    Course { first: GATEWAY, then: SHOP, worked_between: false },
    Course { first: GATEWAY, then: SHOP, worked_between: true },
    Course { first: SHOP, then: GATEWAY, worked_between: false },
    Course { first: SHOP, then: GATEWAY, worked_between: true },
];

/// Sweeps until act may act again. Until then nothing is written anywhere, and nobody is told anything.
async fn sweep_through(w: &World, course: Course) {
    for _ in 0..30 {
        for name in [course.first, course.then] {
            w.engine.sweep(&ConnectionName::new(name)).await.unwrap();
            if !w.engine.restoring() {
                return;
            }
            if course.worked_between {
                w.pass(Millis::secs(30)).await;
            }
            assert_eq!(writes(w), Vec::<String>::new(), "{course:?}: act only reads");
            assert!(w.notices.sent().is_empty(), "{course:?}: nobody is told");
        }
        w.pass(Millis::secs(30)).await;
    }
    panic!("{course:?}: it never ends");
}

/// How often the shop showed a status.
fn shown(w: &World, order: &str, status: &str) -> usize {
    w.shop().order(order).unwrap().history.iter().filter(|h| h.status.text() == status).count()
}

#[tokio::test]
async fn after_a_restore_nothing_is_charged_twice_and_nothing_is_lost() {
    for course in COURSES {
        let w = World::start().await;
        w.place("A-0", Some("pm_card_visa"));
        w.until_status("A-0", "Paid").await;
        w.pass(Millis::mins(15)).await;
        for name in [GATEWAY, SHOP] {
            w.engine.sweep(&ConnectionName::new(name)).await.unwrap();
        }
        // The backup catches six orders on their way, each a step further than the next.
        for n in 1..=6 {
            w.place(&format!("A-{n}"), Some("pm_card_visa"));
            w.deliver().await;
            w.decide().await;
            w.act().await;
        }
        let backup = w.backup();
        w.until("all are paid", |w| (1..=6).all(|n| w.status(&format!("A-{n}")) == "Paid")).await;
        // And later life is unknown to it: a new order, a declined one, a refund, an erasure.
        w.place("A-7", Some("pm_card_visa"));
        w.place("D-1", Some("pm_card_chargeDeclined"));
        w.until_status("A-7", "Paid").await;
        w.until_status("D-1", "Payment Failed").await;
        let (now, payment) = (w.now(), w.payment("A-0").payment);
        w.stripe().dashboard_refund(now, &payment, Some(1000), None).unwrap();
        w.until_status("A-0", "Partially Refunded").await;
        let erased = w.engine.erase("a-0@example.com").await.unwrap();
        assert_eq!(erased.keys, 1);
        w.pass_in(Millis::days(2), Millis::hours(6)).await;
        // Moments before the loss: one order paid, one whose webhook found nobody.
        w.place("A-8", Some("pm_card_visa"));
        w.until_status("A-8", "Paid").await;
        w.hook("order.created", HookFault::Lose, 1);
        w.place("A-9", Some("pm_card_visa"));

        let w = w.restored(backup, &erased.persons).await;
        assert!(w.engine.restoring());
        // Commands of the backup fall due, and a new order comes in: it waits like the others.
        w.place("A-10", Some("pm_card_visa"));
        w.pass(Millis::mins(3)).await;
        assert_eq!(writes(&w), Vec::<String>::new(), "{course:?}: act only reads before the sweeps");
        sweep_through(&w, course).await;
        w.until("all are paid", |w| (1..=10).all(|n| w.status(&format!("A-{n}")) == "Paid")).await;
        w.pass(Millis::mins(30)).await;

        for n in 1..=10 {
            let order = format!("A-{n}");
            w.charged_once(&order, 4712);
            assert_eq!(shown(&w, &order, "Paid"), 1, "{course:?}: {order} was moved back and forth");
            assert_eq!(w.balance(&order, "gateway_clearing").await, 4712, "{course:?}: {order}");
            assert_eq!(w.balance(&order, "receivable").await, 0);
        }
        assert_eq!((w.payment("A-0").refunds, w.balance("A-0", "gateway_clearing").await), (1, 3712));
        assert_eq!((w.status("A-0").as_str(), shown(&w, "A-0", "Paid")), ("Partially Refunded", 1));
        // The declined card is not tried again: the last error may be of our attempt or of an earlier one, and
        // with the key dead only a person can say. Who was told of the decline is not told again.
        let item = w.parked_one().await;
        assert_eq!((item.order, item.item.code.as_str()), (Some(World::key("D-1")), "outcome_unknown"));
        w.engine.parked_drop(&item.id, "tester", "seen at Stripe: declined").await.unwrap();
        w.pass(Millis::mins(5)).await;
        assert_eq!((w.status("D-1").as_str(), w.notices.sent().len()), ("Payment Failed", 0), "{course:?}");
        assert_eq!(w.payment("D-1").attempts, 1, "{course:?}");
        assert!(w.parked().await.is_empty(), "{course:?}");
        // The erased stay erased although the shop's order, found by the sweep, names them again.
        assert_eq!(w.engine.erase("a-0@example.com").await.unwrap().keys, 0, "{course:?}: came back");
        assert_eq!(w.engine.erase("a-1@example.com").await.unwrap().keys, 1);
    }
}

#[tokio::test]
async fn after_a_restore_no_shipment_is_captured_again() {
    for course in COURSES {
        for shipped in [1, 2] {
            let w = World::with(Setup::pair("capture: shipment")).await;
            let mut order = new_order("A-1", "USD", Some("pm_card_visa"));
            order.lines[0].quantity = "3".into();
            w.place_with(order);
            w.until("the money is reserved", |w| {
                w.payments("A-1").first().is_some_and(|p| p.status == PaymentStatus::RequiresCapture)
            })
            .await;
            w.pass(Millis::mins(15)).await;
            let backup = w.backup();
            for _ in 0..shipped {
                let now = w.now();
                w.shop().ship(now, "A-1", Some(&[("1", "1")])).unwrap();
                w.pass(Millis::mins(2)).await;
            }
            let before = w.payment("A-1");
            assert_eq!(before.captures, shipped);
            w.pass_in(Millis::days(2), Millis::hours(6)).await;

            let w = w.restored(backup, &[]).await;
            w.pass(Millis::mins(3)).await;
            sweep_through(&w, course).await;
            w.pass(Millis::mins(10)).await;
            let after = w.payment("A-1");
            assert_eq!((after.captures, after.captured), (shipped, before.captured), "{course:?}");
            if shipped == 2 {
                // The payment bears the mark of its last capture: of the one before only a person can tell.
                let item = w.parked_one().await;
                assert_eq!(item.item.code, "outcome_unknown");
                assert!(item.item.what.contains("drop the item, else replay it"), "{}", item.item.what);
                w.engine.parked_drop(&item.id, "tester", "captured, says Stripe").await.unwrap();
                w.pass(Millis::mins(10)).await;
                assert_eq!(w.payment("A-1").captured, before.captured, "{course:?}: the last one again");
            }
            // What is shipped from now on is captured as ever.
            let now = w.now();
            w.shop().ship(now, "A-1", None).unwrap();
            w.pass(Millis::mins(10)).await;
            let total = w.shop().order("A-1").unwrap().total.minor;
            let after = w.payment("A-1");
            assert_eq!((after.captures, after.captured), (shipped + 1, total), "{course:?}");
            assert_eq!(w.balance("A-1", "gateway_clearing").await, total);
            assert!(w.parked().await.is_empty(), "{course:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_marks_a_data_folder_and_serve_sweeps_before_it_acts() {
    let place = Place::open(TILLWAY, "", "times: { call_limit: 2s, resend_after: 1s }\n").await;
    let order = |name: &str| {
        let now = place.now();
        place.shop().place_order(now, new_order(name, "USD", Some("pm_card_visa"))).unwrap();
    };
    let file = place.data().join(DATABASE);
    let serving = place.serve().await;
    order("A-1");
    place.until_status("A-1", "Paid").await;
    assert!(serving.terminate().await.success());
    // Closed in good order, the file is whole by itself.
    let backup = std::fs::read(&file).unwrap();
    let serving = place.serve().await;
    order("A-2");
    place.until_status("A-2", "Paid").await;
    let said = place.on_data(&["erase", "a-1@example.com", "--yes"]).await.ok();
    assert!(said.contains("1 key(s) destroyed"), "{said}");
    serving.kill().await;
    place.unplug();

    for name in [DATABASE.to_owned(), format!("{DATABASE}-wal"), format!("{DATABASE}-shm")] {
        let _gone = std::fs::remove_file(place.data().join(name));
    }
    std::fs::write(&file, &backup).unwrap();
    let erasures = std::fs::read_to_string(place.data().join("erasures")).unwrap();
    assert!(!erasures.is_empty() && !erasures.contains("example.com"), "{erasures}");
    let said = place.on_data(&["restored"]).await.ok();
    assert!(
        said.contains("erasure(s) applied again") && !said.contains(" 0 era") && said.contains("only reads"),
        "{said}"
    );
    let charges = place.stripe().all_payments().count();
    // Nobody was there when this was ordered.
    order("A-3");
    let from = lock(&place.log).len();
    let serving = place.serve().await;
    place.until_status("A-3", "Paid").await;
    wait_until("serve says that it is over", || {
        lock(&place.log)[from..].iter().any(|l| l.contains("every connection was swept after the restore"))
    })
    .await;
    order("A-4");
    place.until_status("A-4", "Paid").await;
    for name in ["A-1", "A-2", "A-3", "A-4"] {
        let payments = place.stripe().payments_by_metadata("clarity_order_id", name);
        let charged: usize = payments.iter().map(|p| p.charges_succeeded).sum();
        assert_eq!((payments.len(), charged), (1, 1), "{name}");
        let shown = place.on_data(&["explain", name, "--json"]).await.json();
        assert_eq!((shown["status"].as_str(), shown["captured"].as_i64()), (Some("paid"), Some(4712)));
    }
    assert_eq!(place.stripe().all_payments().count(), charges + 2);
    let said = place.on_data(&["erase", "a-1@example.com", "--yes"]).await;
    assert!(said.out.contains("nothing personal is kept"), "{}", said.out);
    assert!(serving.terminate().await.success());
}
