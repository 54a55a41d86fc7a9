//! The simulator's own proof: the engine holds under faults, every crash point is met, the same seed gives
//! the same run, the memory adapters keep the ports' contract, and each planted bug is caught.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that fails shows the history and panics"
)]

use std::sync::Arc;
use tillway_engine::bugs::Bug;

use tillway_engine::contract::{QueueRig, queue_suite, shelf_suite, store_suite};
use tillway_engine::ports::Shelf;
use tillway_engine::settle::StoreShelf;
use tillway_simulator::contract::{Bench, MAX_RECEIVES};
use tillway_simulator::{FaultLevel, Options, Outcome, Pair, Promise, run, shrink};

/// Orders of the large run, and orders within which each planted bug must be caught.
const ORDERS: u32 = 20_000;
/// The same of Cybersource, whose orders cost more: more runs are made by hand.
const CYBERSOURCE: u32 = 2_000;

/// Faults that strike somewhere in a large run.
const STRUCK: [&str; 18] = [
    "429",
    "503",
    "500, nothing done",
    "500 after the effect",
    "time-out before the effect",
    "time-out after the effect",
    "request arrives late",
    "batch sent in part",
    "store answer lost after commit",
    "worker stalls",
    "two ticks at once",
    "two sweeps at once",
    "flow changed in mid-run",
    "webhook lost",
    "webhook duplicated",
    "webhook reordered",
    "webhook delayed",
    "message handed out twice",
];

/// What Stripe is asked for in a large run.
const ASKED_OF_STRIPE: [&str; 15] = [
    "GET /v1/customers",
    "GET /v1/customers/search",
    "GET /v1/customers/{customer}",
    "GET /v1/events",
    "GET /v1/payment_intents",
    "GET /v1/payment_intents/{intent}",
    "GET /v1/refunds",
    "POST /v1/customers",
    "POST /v1/customers/{customer}",
    "POST /v1/payment_intents",
    "POST /v1/payment_intents/{intent}",
    "POST /v1/payment_intents/{intent}/cancel",
    "POST /v1/payment_intents/{intent}/capture",
    "POST /v1/payment_intents/{intent}/confirm",
    "POST /v1/refunds",
];

/// What Cybersource is asked for in a large run.
const ASKED_OF_CYBERSOURCE: [&str; 18] = [
    "POST /risk/v1/decisions",
    "POST /risk/v1/decisions/{id}/actions",
    "POST /pts/v2/payments",
    "POST /pts/v2/payments/{id}/captures",
    "POST /pts/v2/payments/{id}/reversals",
    "POST /pts/v2/captures/{id}/refunds",
    "POST /pts/v2/captures/{id}/voids",
    "POST /pts/v2/payments/{id}/refunds",
    "POST /pts/v2/payments/{id}/voids",
    "POST /pts/v2/reversals",
    "POST /pts/v2/voids",
    "POST /tss/v2/searches",
    "GET /tss/v2/transactions/{id}",
    "POST /tms/v2/customers",
    "GET /tms/v2/customers/{customerId}/payment-instruments",
    "POST /tms/v2/customers/{customerId}/payment-instruments",
    "GET /reporting/v3/chargeback-details",
    "GET /reporting/v3/conversion-details",
];

/// What is met in a large run over merchant ids: choices, their ends, second attempts, and what people do at each.
const ROUTED: [&str; 23] = [
    "asked where there is one merchant id alone",
    "asked: sim",
    "asked: sim_eu",
    "asked: sim_br",
    "drawn: sim",
    "drawn: sim_eu",
    "drawn: sim_br",
    "done by hand: sim",
    "done by hand: sim_eu",
    "done by hand: sim_br",
    "ended: approved",
    "ended: declined",
    "ended: declined softly",
    "ended: in a way that says nothing about the route",
    "ended: unexecuted: the route does not take such orders",
    "ended: unexecuted: the route failed",
    "failing, and tried again by an order",
    "second attempts after a soft decline",
    "second attempts where nothing was executed",
    "second attempts after an unknown outcome that was settled",
    "screened before the bank",
    "refused at one id alone: captures",
    "refused at one id alone: reads",
];

/// The large run.
fn large() -> Options {
    Options { seed: 1, orders: ORDERS, ..Options::default() }
}

/// The run of each pair in which bugs are planted.
fn of_pair(pair: Pair) -> Options {
    match pair {
        Pair::StripeClarity => large(),
        Pair::CybersourceClarity => Options { seed: 1, orders: CYBERSOURCE, pair, ..Options::default() },
    }
}

/// Every crash point, kind of fault and operation was met: what never happened proves nothing.
fn met(outcome: &Outcome, asked: &[&str]) {
    assert_eq!(outcome.crash_points_missed(), [""; 0], "{outcome}");
    for kind in STRUCK {
        assert!(outcome.faults_by_kind.contains_key(kind), "{kind} never struck: {outcome}");
    }
    for operation in asked {
        assert!(outcome.operations.contains_key(*operation), "{operation} was never asked for: {outcome}");
    }
    for done in ["replayed", "dropped"] {
        assert!(outcome.operated.contains_key(done), "no parked item was {done}: {outcome}");
    }
}

fn hold(options: &Options) -> Outcome {
    let outcome = run(options, &mut |_| {});
    if !outcome.violations.is_empty() {
        println!("{outcome}");
        println!("{}", shrink(options, &outcome));
        panic!("promises were broken");
    }
    outcome
}

#[test]
fn orders_hold_without_faults() {
    let outcome = hold(&Options { seed: 3, orders: 400, faults: FaultLevel::None, ..Options::default() });
    assert!(outcome.faults_by_kind.is_empty(), "{outcome}");
    assert!(outcome.statuses.len() > 6, "{outcome}");
}

#[test]
fn twenty_thousand_orders_hold_under_faults() {
    let outcome = hold(&large());
    println!("{outcome}");
    assert_eq!(outcome.orders, u64::from(ORDERS));
    met(&outcome, &ASKED_OF_STRIPE);
    // What faults may leave to a person is bounded, or a defect could hide there.
    for code in ["outcome_unknown", "unavailable", "dead_letter", "answer_disagrees"] {
        let left = outcome.parked.get(code).copied().unwrap_or(0);
        assert!(left * 200 <= outcome.orders, "{left} parked as {code}: {outcome}");
    }
}

#[test]
fn orders_of_cybersource_hold_without_faults() {
    for routed in [Some(false), Some(true)] {
        let pair = Pair::CybersourceClarity;
        let faults = FaultLevel::None;
        let outcome = hold(&Options { seed: 3, orders: 200, pair, faults, routed, ..Options::default() });
        assert!(outcome.faults_by_kind.is_empty(), "{outcome}");
        assert!(outcome.statuses.len() > 6, "{outcome}");
        assert_eq!(outcome.routes.contains_key("drawn: sim_eu"), routed == Some(true), "{outcome}");
    }
}

#[test]
fn orders_of_cybersource_hold_under_faults() {
    let outcome = hold(&of_pair(Pair::CybersourceClarity));
    println!("{outcome}");
    assert_eq!(outcome.orders, u64::from(CYBERSOURCE));
    for (code, of) in
        [("outcome_unknown", 100), ("unavailable", 200), ("dead_letter", 200), ("answer_disagrees", 50)]
    {
        let left = outcome.parked.get(code).copied().unwrap_or(0);
        assert!(left * of <= outcome.orders, "{left} parked as {code}: {outcome}");
    }
    met(&outcome, &ASKED_OF_CYBERSOURCE);
    for what in ROUTED {
        assert!(outcome.routes.contains_key(what), "never met: {what}: {outcome}");
    }
    let shown = outcome.counted.get("customers with a token").copied().unwrap_or(0);
    assert!(shown > 100, "{shown} customers were looked at: {outcome}");
}

/// What faults may leave to a person is bounded whatever is drawn, or a defect could hide in the seeds nobody runs: of account 5 the
/// merchant ids show so little of whose a transaction is that it once was 29 of 2,000.
#[test]
fn few_outcomes_of_cybersource_stay_unknown_whatever_is_drawn() {
    for (seed, orders) in [(5, 2_000), (2, 600), (3, 600), (8, 200)] {
        let outcome = hold(&Options { seed, orders, ..of_pair(Pair::CybersourceClarity) });
        let left = outcome.parked.get("outcome_unknown").copied().unwrap_or(0);
        println!("seed {seed}: {left} of {orders}");
        assert!(left * 100 <= outcome.orders, "seed {seed}: {left} parked as outcome_unknown: {outcome}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let options = Options { seed: 42, orders: 300, stop_at_first: false, ..Options::default() };
    let once = run(&options, &mut |_| {});
    let again = run(&Options { threads: 1, ..options.clone() }, &mut |_| {});
    assert_eq!(once, again);
    let other = run(&Options { seed: 43, ..options.clone() }, &mut |_| {});
    assert_ne!(once.digest, other.digest);
    let options = Options { pair: Pair::CybersourceClarity, orders: 60, batch: 30, ..options };
    assert_eq!(run(&options, &mut |_| {}), run(&Options { threads: 1, ..options.clone() }, &mut |_| {}));
}

#[test]
fn the_memory_store_keeps_the_contract() {
    let mut bench = Bench::new(1);
    let stores = bench.stores();
    let passed = bench.run(async move { store_suite(&stores).await }).unwrap().unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}

#[test]
fn the_shelf_in_the_memory_store_keeps_the_contract() {
    let mut bench = Bench::new(3);
    let stores = bench.stores();
    let shelves = move || -> Box<dyn Shelf> { Box::new(StoreShelf::new(Arc::from(stores()))) };
    let passed = bench.run(async move { shelf_suite(&shelves).await }).unwrap().unwrap();
    assert_eq!(passed.len(), 4, "{passed:?}");
}

#[test]
fn the_memory_queues_keep_the_contract() {
    let mut bench = Bench::new(2);
    let (queues, advance) = (bench.queues(), bench.advance());
    let work = async move {
        let advance = move |length| -> futures_util::future::BoxFuture<'static, ()> { advance(length) };
        let dead = |queue: &str| Bench::dead(queue);
        queue_suite(QueueRig { make: &queues, advance: &advance, max_receives: MAX_RECEIVES, dead: &dead })
            .await
    };
    let passed = bench.run(work).unwrap().unwrap();
    assert!(passed.len() > 20, "{passed:?}");
}

/// Each bug breaks the promise it is about, in worlds that hold without it: those of the large run of its pair.
fn catch(pair: Pair, bug: Bug, promise: Promise) {
    let orders = of_pair(pair);
    let options = Options { bug: Some(bug), sought: Some(promise), ..orders.clone() };
    let outcome = run(&options, &mut |_| {});
    let caught = outcome.violations.iter().find(|v| v.promise == promise);
    println!("{bug:?}: {} orders, {caught:?}", outcome.orders);
    let seen: Vec<&str> = outcome.violations.iter().map(|v| v.promise.name()).collect();
    assert!(caught.is_some(), "{bug:?} broke no such promise within {} orders; seen {seen:?}", orders.orders);
}

#[test]
fn a_fail_over_from_unknown_to_another_merchant_id_is_caught() {
    let options = Options {
        orders: 200,
        routed: Some(true),
        stop_at_first: false,
        bug: Some(Bug::FailOverFromUnknown),
        ..of_pair(Pair::CybersourceClarity)
    };
    let says = "one card at two merchant ids at once";
    let outcome = run(&options, &mut |_| {});
    let seen = outcome.violations.iter().filter(|v| v.promise == Promise::NothingTwice);
    let caught = seen.filter(|v| v.what.starts_with(says)).count();
    assert!(caught > 3, "{caught} caught: {outcome}");
    // The same worlds hold without it.
    hold(&Options { bug: None, ..options });
}

macro_rules! caught {
    ($($name:ident: $bug:ident breaks $promise:ident of $pair:ident),+ $(,)?) => {$(
        #[test]
        fn $name() {
            catch(Pair::$pair, Bug::$bug, Promise::$promise);
        }
    )+
    #[test]
    fn no_bug_is_forgotten() {
        assert_eq!(Bug::ALL.len(), [$(Bug::$bug),+].len());
    }};
}

caught! {
    commands_sent_before_the_commit_are_caught: SendBeforeCommit breaks NothingTwice of StripeClarity,
    a_command_id_from_the_event_is_caught: IdFromEvent breaks NothingTwice of StripeClarity,
    a_second_charge_from_unknown_is_caught: ChargeAgainFromUnknown breaks NothingTwice of StripeClarity,
    a_tick_that_does_not_send_again_is_caught: TickForgets breaks NothingLost of StripeClarity,
    a_zombie_without_a_fence_is_caught: NoFence breaks NothingTwice of StripeClarity,
    an_older_read_over_a_newer_one_is_caught: OlderReadWins breaks NothingLost of StripeClarity,
    an_event_seen_before_it_was_sent_is_caught: SeenBeforeSent breaks NothingLost of StripeClarity,
    a_refund_from_the_total_is_caught: RefundFromTotal breaks BooksBalance of StripeClarity,
    the_iso_exponent_on_the_wire_is_caught: IsoExponent breaks BooksBalance of StripeClarity,
    a_batch_that_skips_the_rest_of_a_group_is_caught: SkipRestOfGroup breaks NothingLost of StripeClarity,
    a_cursor_moved_before_the_sends_is_caught: CursorFirst breaks NothingLost of StripeClarity,
    a_waiting_event_dropped_at_its_alias_is_caught: DropWaiting breaks NothingLost of StripeClarity,
    a_blind_resend_is_caught: ResendBlind breaks NothingTwice of CybersourceClarity,
    a_fail_over_from_unknown_is_caught: FailOverFromUnknown breaks NothingTwice of CybersourceClarity,
    a_refund_beside_a_pending_void_is_caught: RefundBesideVoid breaks NothingTwice of CybersourceClarity,
    a_capture_that_does_not_look_is_caught: CaptureWithoutLooking breaks NothingTwice of CybersourceClarity,
    a_route_that_is_drawn_anew_is_caught: RouteDrawnAnew breaks NothingTwice of CybersourceClarity,
}
