//! What the steps of a flow need of one another: order, cycles, and steps that can never run.

use std::collections::BTreeSet;

use crate::check::Problem;
use crate::flow::{Placed, Step};

fn all_needs(step: &Step) -> impl Iterator<Item = &String> {
    step.needs.iter().chain(&step.needs_any)
}

/// Checks needs between objects, and finds steps that can never run.
pub(crate) fn check(placed: &[Placed], ids: &[&str], problems: &mut Vec<Problem>) {
    for Placed { step, needs_at, .. } in placed {
        for other in all_needs(step).filter_map(|id| placed.iter().map(|p| &p.step).find(|s| s.id == *id)) {
            match (&other.for_each, &step.for_each) {
                (Some(theirs), Some(ours)) if theirs != ours => {
                    let what = format!(
                        "step `{}` runs for each {ours} and needs `{}`, which runs for each {theirs}",
                        step.id, other.id
                    );
                    let hint =
                        "need a step without `for-each` or of the same object; use `if` to look at others";
                    problems.push(needs_at.problem("needs-other-object", what, hint));
                }
                (Some(theirs), None) => {
                    let what = format!(
                        "step `{}` runs once and needs `{}`, which runs for each {theirs}",
                        step.id, other.id
                    );
                    let hint =
                        format!("add `for-each: {theirs}`, or use `if` to look at the order as a whole");
                    problems.push(needs_at.problem("needs-other-object", what, hint));
                }
                _ => {}
            }
        }
    }
    // A step that could not be read is not known to be dead.
    let mut never: BTreeSet<&str> = BTreeSet::new();
    for _ in ids {
        for Placed { step, .. } in placed {
            let dead = match &step.condition {
                Some(condition) => condition.is_never(),
                None => {
                    step.needs.iter().any(|n| never.contains(n.as_str()))
                        || !step.needs_any.is_empty()
                            && step.needs_any.iter().all(|n| never.contains(n.as_str()))
                }
            };
            if dead {
                never.insert(&step.id);
            }
        }
    }
    for Placed { step, needs_at, .. } in placed {
        if never.contains(step.id.as_str()) && step.condition.is_none() {
            let culprit = all_needs(step).find(|n| never.contains(n.as_str())).map_or("", String::as_str);
            let what = format!("step `{}` can never run: it needs `{culprit}`, which never does", step.id);
            problems.push(needs_at.problem("unreachable-step", what, "remove it, or give it its own `if`"));
        }
    }
}

/// Orders the steps so that each follows what it needs, else as written; reports a cycle by name.
pub(crate) fn ordered(mut placed: Vec<Placed>, problems: &mut Vec<Problem>) -> Vec<Step> {
    let mut done: Vec<Step> = Vec::with_capacity(placed.len());
    let known: BTreeSet<String> = placed.iter().map(|p| p.step.id.clone()).collect();
    while let Some(index) = placed
        .iter()
        .position(|p| all_needs(&p.step).all(|n| !known.contains(n) || done.iter().any(|d| d.id == *n)))
    {
        done.push(placed.remove(index).step);
    }
    if let Some(first) = placed.first() {
        // Every step left needs another that is left, so following needs comes back to where it was.
        let mut way: Vec<&Placed> = vec![first];
        let cycle = loop {
            let Some(here) = way.last() else { break Vec::new() };
            let next = all_needs(&here.step).find_map(|n| placed.iter().find(|p| p.step.id == *n));
            let Some(next) = next else { break Vec::new() };
            if let Some(start) = way.iter().position(|p| p.step.id == next.step.id) {
                break way.split_off(start);
            }
            way.push(next);
        };
        let mut names: Vec<&str> = cycle.iter().map(|p| p.step.id.as_str()).collect();
        names.extend(names.first().copied());
        let at = cycle.first().map_or(&first.at, |p| &p.needs_at);
        let what = format!("steps need each other in a circle: {}", names.join(" needs "));
        problems.push(at.problem("cycle", what, "take one of these needs out"));
    }
    done
}
