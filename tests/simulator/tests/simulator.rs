//! The simulator's own proof.

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
fn a_few_orders_without_faults() {
    let outcome = hold(&Options { orders: 200, faults: FaultLevel::None, ..Options::default() });
    println!("{outcome}");
}
