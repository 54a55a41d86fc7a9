//! A deterministic simulator: the same engine over ports in memory, under a virtual clock.
//!
//! From one seed it draws orders, what customers, staff and banks do, and faults: of webhooks, of calls, of
//! store and queues, and crashes at every port call, before and after its effect. Several workers race;
//! which of them goes on is drawn too. It runs until nothing is left to do and then checks the five
//! promises of DESIGN section 1 against the truth in the sandboxes. The same seed gives the same run; of a
//! failing one [`shrink`] finds the shortest history it can.
//!
//! There is no wall clock inside: whoever calls measures orders per second.

mod check;
#[cfg(feature = "planted-bugs")]
pub mod contract;
mod dice;
mod draw;
mod exec;
mod faults;
mod memory;
mod pair;
mod report;
mod shrink;
mod staff;
mod truth;
mod world;

use tillway_engine::bugs::Planted;

pub use check::{Promise, Violation};
pub use faults::{FaultLevel, Op};
pub use pair::Pair;
pub use report::{Outcome, Progress};
pub use shrink::{history, shrink};

use draw::Plan;
use faults::Mask;
use world::{Setup, World};

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything is drawn from it.
    pub seed: u64,
    /// What gateway and shop are.
    pub pair: Pair,
    /// How many orders.
    pub orders: u32,
    /// How hard it is.
    pub faults: FaultLevel,
    /// Orders in one world; memory is bounded by one world for each thread.
    pub batch: u32,
    /// Ends after the first world in which a promise was broken.
    pub stop_at_first: bool,
    /// Ends only where this promise was broken, whatever else was before.
    pub sought: Option<Promise>,
    /// Threads; the outcome does not depend on them.
    pub threads: u32,
    /// Whether gateways that can have several merchant ids do; drawn for each of a world's where `None`.
    pub routed: Option<bool>,
    /// A bug to plant.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<tillway_engine::bugs::Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            pair: Pair::default(),
            orders: 1000,
            faults: FaultLevel::Heavy,
            batch: 100,
            stop_at_first: true,
            sought: None,
            threads: 2,
            routed: None,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

impl Options {
    pub(crate) fn planted(&self) -> Planted {
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = self.bug {
            return Planted::with(bug);
        }
        Planted::default()
    }
    pub(crate) fn plan(&self, world: u32) -> Plan {
        let batch = self.batch.max(1);
        let first = world.saturating_mul(batch);
        let mut dice = dice::Dice::new(self.seed, 1000 + u64::from(world));
        let count = batch.min(self.orders.saturating_sub(first));
        Plan::draw(self.pair, dice.seed(), first, count, self.routed)
    }
    fn is_over(&self, so_far: &Outcome) -> bool {
        let fits = |v: &Violation| self.sought.is_none_or(|promise| promise == v.promise);
        self.stop_at_first && so_far.violations.iter().any(fits)
    }
    fn worlds(&self) -> u32 {
        self.orders.div_ceil(self.batch.max(1))
    }
}

/// Runs one world and checks it.
pub(crate) fn run_world(plan: Plan, setup: &Setup) -> (Outcome, Vec<String>) {
    let mut outcome =
        Outcome { orders: plan.orders.len().try_into().unwrap_or(u64::MAX), ..Outcome::default() };
    match World::new(plan, setup) {
        Ok(mut world) => {
            world.run();
            let seen = check::check(&world);
            let lines = report::collect(&mut outcome, &world, seen);
            (outcome, lines)
        }
        Err(what) => {
            outcome.violations.push(Violation {
                promise: Promise::Explains,
                order: None,
                what: format!("the world could not be made: {what}"),
                world: 0,
            });
            (outcome, Vec::new())
        }
    }
}

/// Simulates.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress)) -> Outcome {
    let setup =
        Setup { level: options.faults, mask: Mask::default(), planted: options.planted(), trace: false };
    let worlds = options.worlds();
    let threads = options.threads.clamp(1, 16);
    let mut all = Outcome { seed: options.seed, ..Outcome::default() };
    let mut next = 0;
    let (to, from) = std::sync::mpsc::channel();
    let claimed = std::sync::atomic::AtomicU32::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (to, setup, claimed, stop) = (to.clone(), &setup, &claimed, &stop);
            scope.spawn(move || {
                while !stop.load(order) {
                    let world = claimed.fetch_add(1, order);
                    if world >= worlds {
                        break;
                    }
                    let (outcome, _) = run_world(options.plan(world), setup);
                    if to.send((world, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(to);
        // Worlds are taken in their order, so that the outcome does not depend on the threads.
        let mut early = std::collections::BTreeMap::new();
        for (world, outcome) in from {
            early.insert(world, outcome);
            while let Some(outcome) = early.remove(&next) {
                next += 1;
                if options.is_over(&all) {
                    continue;
                }
                all.add(outcome);
                progress(Progress {
                    orders: all.orders,
                    of: u64::from(options.orders),
                    violations: all.violations.len(),
                });
                if options.is_over(&all) {
                    stop.store(true, order);
                }
            }
        }
    });
    all
}
