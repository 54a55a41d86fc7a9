//! The simulator's own proof.

#![allow(clippy::panic, clippy::print_stdout, reason = "a test that fails shows the history and panics")]

use tillway_simulator::{FaultLevel, Options, Outcome, run, shrink};

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
fn orders_without_faults_hold_and_one_seed_gives_one_run() {
    let options = Options { orders: 200, faults: FaultLevel::None, ..Options::default() };
    let (one, two) = (hold(&options), hold(&options));
    assert_eq!(one.to_string(), two.to_string());
    assert_eq!(one.orders, 200);
}
