//! The shortest history of a failure that can be found: fewer orders, fewer acts, fewer faults.

use std::collections::BTreeSet;

use crate::check::Violation;
use crate::draw::Plan;
use crate::faults::Mask;
use crate::pair::Pair;
use crate::report::Outcome;
use crate::world::Setup;
use crate::{Options, run_world};

/// Worlds tried at most.
const TRIES: u32 = 400;

struct Search {
    setup: Setup,
    wanted: Violation,
    left: u32,
}

impl Search {
    /// Whether a shorter history breaks the same promise.
    fn fails(&mut self, plan: &Plan, mask: &Mask) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let setup = Setup { mask: mask.clone(), ..self.setup.clone() };
        let (outcome, _) = run_world(plan.clone(), &setup);
        outcome.violations.iter().any(|v| v.promise == self.wanted.promise && kind(v) == kind(&self.wanted))
    }

    /// Takes parts of a list away as long as it still fails.
    fn fewer<T: Clone>(&mut self, all: &[T], mut fails: impl FnMut(&mut Self, &[T]) -> bool) -> Vec<T> {
        let mut kept = all.to_vec();
        let mut size = kept.len().div_ceil(2);
        while size > 0 && !kept.is_empty() && self.left > 0 {
            let mut at = 0;
            let mut smaller = false;
            while at < kept.len() && self.left > 0 {
                let mut tried = kept.clone();
                tried.drain(at..(at + size).min(tried.len()));
                if fails(self, &tried) {
                    kept = tried;
                    smaller = true;
                } else {
                    at += size;
                }
            }
            if size == 1 && !smaller {
                break;
            }
            size = if size == 1 { 1 } else { size / 2 };
        }
        kept
    }
}

/// What a violation is about, without ids and amounts.
fn kind(violation: &Violation) -> String {
    let words =
        violation.what.split(' ').filter(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase()));
    words.take(6).collect::<Vec<_>>().join(" ")
}

/// Shrinks the first broken promise of an outcome to the shortest history found, and tells it.
#[must_use]
pub fn shrink(options: &Options, outcome: &Outcome) -> String {
    let Some(first) = outcome.violations.first().cloned() else { return "no promise was broken".to_owned() };
    let worlds = options.orders.div_ceil(options.batch.max(1));
    let plan = (0..worlds).map(|world| options.plan(world)).find(|plan| plan.seed == first.world);
    let Some(plan) = plan else { return format!("{first}\n(the world could not be found again)") };
    let setup =
        Setup { level: options.faults, mask: Mask::default(), planted: options.planted(), trace: false };
    let mut search = Search { setup, wanted: first.clone(), left: TRIES };
    let mut mask = Mask::default();
    let mut plan = plan;
    if !search.fails(&plan, &mask) {
        return format!("{first}\n(it did not happen again: the run is not deterministic)");
    }
    // First the order it happened to, alone; then any halves.
    if let Some(order) = &first.order {
        let alone: Vec<_> =
            plan.orders.iter().filter(|o| order.ends_with(&format!("/{}", o.id()))).cloned().collect();
        let tried = Plan { orders: alone, ..plan.clone() };
        if search.fails(&tried, &mask) {
            plan = tried;
        }
    }
    let orders = plan.orders.clone();
    plan.orders =
        search.fewer(&orders, |s, some| s.fails(&Plan { orders: some.to_vec(), ..plan.clone() }, &mask));
    let without = Plan { swap_at: None, ..plan.clone() };
    if search.fails(&without, &mask) {
        plan = without;
    }
    for at in 0..plan.orders.len() {
        let Some(acts) = plan.orders.get(at).map(|o| o.acts.clone()) else { break };
        let kept = search.fewer(&acts, |s, some| {
            let mut tried = plan.clone();
            if let Some(order) = tried.orders.get_mut(at) {
                order.acts = some.to_vec();
            }
            s.fails(&tried, &mask)
        });
        if let Some(order) = plan.orders.get_mut(at) {
            order.acts = kept;
        }
    }
    let again = Setup { mask: mask.clone(), trace: false, ..search.setup.clone() };
    let kinds: Vec<&'static str> = crate::shrink::kinds(&plan, &again);
    for name in kinds {
        let mut tried = mask.clone();
        tried.without.insert(name);
        if search.fails(&plan, &tried) {
            mask = tried;
        }
    }
    let struck = struck(&plan, &Setup { mask: mask.clone(), ..search.setup.clone() });
    let serials: Vec<u64> = struck.iter().map(|(n, _)| *n).collect();
    let kept = search.fewer(&serials, |s, some| {
        let only: BTreeSet<u64> = some.iter().copied().collect();
        s.fails(&plan, &Mask { only: Some(only), ..mask.clone() })
    });
    if kept.len() < serials.len() {
        mask.only = Some(kept.into_iter().collect());
    }
    tell(&first, &plan, &Setup { mask, trace: true, ..search.setup }, options)
}

/// The world a violation happened in, told again: every line that names its order or one of its payments.
#[must_use]
pub fn history(options: &Options, violation: &Violation) -> String {
    let worlds = options.orders.div_ceil(options.batch.max(1));
    let plan = (0..worlds).map(|world| options.plan(world)).find(|plan| plan.seed == violation.world);
    let Some(plan) = plan else { return "no such world".to_owned() };
    let setup =
        Setup { level: options.faults, mask: Mask::default(), planted: options.planted(), trace: true };
    let order = violation.order.as_deref().and_then(|o| o.rsplit('/').next()).unwrap_or("-").to_owned();
    let mine = plan.orders.iter().find(|o| o.id() == order).map(|o| format!("{o:?}")).unwrap_or_default();
    let (_, lines) = run_world(plan, &setup);
    let payments_in = |line: &str| match options.pair {
        Pair::StripeClarity => {
            let mut found = line
                .match_indices("pi_")
                .filter(|(at, _)| !line.get(..*at).is_some_and(|l| l.ends_with('a')));
            found.next().and_then(|(at, _)| line.get(at..at + 27)).map(str::to_owned).into_iter().collect()
        }
        // Ids of transactions are 22 digits.
        Pair::CybersourceClarity => {
            let words = line.split(|c: char| !c.is_ascii_digit()).filter(|w| w.len() == 22);
            words.map(str::to_owned).collect::<Vec<_>>()
        }
    };
    let name = |line: &String, end: &str| line.contains(&format!("{order}{end}"));
    let of_order =
        |line: &&String| ["\"", " ", "|", "/", "#", "?", ",", "&", "\n"].iter().any(|end| name(line, end));
    let payments: BTreeSet<String> = lines.iter().filter(of_order).flat_map(|l| payments_in(l)).collect();
    if violation.order.is_none() {
        return lines.join("\n");
    }
    let about = |line: &&String| of_order(line) || payments.iter().any(|p| line.contains(p.as_str()));
    let told = lines.iter().filter(about).map(|line| line.chars().take(1200).collect::<String>());
    std::iter::once(mine).chain(told).collect::<Vec<_>>().join("\n")
}

fn world_of(plan: &Plan, setup: &Setup) -> Option<crate::world::World> {
    let mut world = crate::world::World::new(plan.clone(), setup).ok()?;
    world.run();
    Some(world)
}

fn struck(plan: &Plan, setup: &Setup) -> Vec<(u64, &'static str)> {
    world_of(plan, setup).map(|w| w.shared.gate.faults.struck()).unwrap_or_default()
}

fn kinds(plan: &Plan, setup: &Setup) -> Vec<&'static str> {
    struck(plan, setup).into_iter().map(|(_, name)| name).collect::<BTreeSet<_>>().into_iter().collect()
}

fn tell(first: &Violation, plan: &Plan, setup: &Setup, options: &Options) -> String {
    let (outcome, lines) = run_world(plan.clone(), setup);
    let mut out = vec![format!("seed {}, {first}", options.seed)];
    out.push(format!("shortest history found: {} order(s)", plan.orders.len()));
    for (pair, options) in plan.options.iter().enumerate() {
        out.push(format!("pair {pair}: {options:?}"));
    }
    for order in &plan.orders {
        out.push(format!("{} {order:?}", order.id()));
    }
    out.push(format!("faults: {:?}", struck(plan, setup)));
    out.extend(outcome.violations.iter().map(|v| format!("broken: {v}")));
    out.extend(lines.into_iter().map(|line| line.chars().take(1500).collect()));
    out.join("\n")
}
