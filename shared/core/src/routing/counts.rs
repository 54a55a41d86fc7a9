//! How authorizations ended, by segment and route, and which routes fail.
//!
//! Every outcome is one note; folding notes is joining sets: in any order, in any batches, the same table comes out. Old
//! outcomes count less: half of it after each half-life, nothing after [`KEPT`] of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::segment::{PARTS, Segment};
use crate::time::{Millis, Timestamp};

/// What one fresh outcome counts; halves of it down to the oldest are whole numbers.
pub const UNIT: u64 = 64;
/// Half-lives an outcome is kept.
const KEPT: i64 = 6;
#[cfg(test)]
pub(super) const KEPT_FOR_TESTS: i64 = KEPT;
/// Segment and route pairs a table holds; beyond, the rarest segments are put together.
const MOST_CELLS: usize = 600;
/// Failures of a route that are remembered.
const MOST_FAILURES: usize = 50;
/// What a coarser segment counts at most, in outcomes, by how many parts it shares: evidence of orders less and less alike.
const WORTH: [u64; PARTS] = [2, 8, 20, 40];

/// How an authorization ended, as far as its route is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The bank reserved the money.
    Approved,
    /// It did not.
    Declined,
    /// The route itself failed: no answer, no right, not set up. Says nothing about banks.
    Technical,
}

/// One outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Where it went.
    pub route: String,
    /// What it was like.
    pub segment: Segment,
    /// How it ended.
    pub ended: Ended,
    /// When.
    pub at: Timestamp,
}

/// How counts age and routes are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// After this an outcome counts half.
    pub half_life: Millis,
    /// So many technical failures without a success between leave a route out.
    pub leave_out_after: u32,
    /// For this long.
    pub pause: Millis,
    /// Then one order in so many tries it again; of fewer the longer it goes on.
    pub one_in: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { half_life: Millis::days(7), leave_out_after: 5, pause: Millis::mins(10), one_in: 20 }
    }
}

impl Settings {
    fn epoch(&self, at: Timestamp) -> i64 {
        at.0.div_euclid(self.half_life.0.max(1))
    }
}

/// Approved and declined, by half-life.
type Cell = BTreeMap<i64, (u32, u32)>;

/// How a route does technically.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// When a bank last answered through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Timestamp>,
    /// Technical failures since, the newest, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Timestamp>,
}

impl Health {
    fn join(&mut self, ended: Ended, at: Timestamp) {
        if ended == Ended::Technical {
            let place = self.failures.partition_point(|known| *known <= at);
            self.failures.insert(place, at);
        } else {
            self.good = self.good.max(Some(at));
        }
        let good = self.good;
        self.failures.retain(|failed| good.is_none_or(|good| *failed > good));
        let surplus = self.failures.len().saturating_sub(MOST_FAILURES);
        self.failures.drain(..surplus);
    }

    /// Since when it is left out, where it is: its newest failure.
    #[must_use]
    pub fn failing(&self, settings: &Settings) -> Option<Timestamp> {
        let enough = usize::try_from(settings.leave_out_after.max(1)).unwrap_or(usize::MAX);
        self.failures.last().copied().filter(|_| self.failures.len() >= enough.min(MOST_FAILURES))
    }
}

/// All that is known of a connection's routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The half-life its counts are kept by; another one begins them anew.
    #[serde(default)]
    half_life: Millis,
    /// The newest half-life seen.
    #[serde(default)]
    epoch: i64,
    #[serde(default)]
    cells: BTreeMap<Segment, BTreeMap<String, Cell>>,
    #[serde(default)]
    health: BTreeMap<String, Health>,
    /// Notes folded in, ever.
    #[serde(default)]
    pub folded: u64,
}

impl Table {
    /// Folds notes in; each must come once.
    pub fn fold<'a>(&mut self, notes: impl IntoIterator<Item = &'a Note>, settings: &Settings) {
        if self.half_life != settings.half_life {
            self.half_life = settings.half_life;
            self.epoch = i64::MIN;
            self.cells.clear();
        }
        for note in notes {
            self.folded = self.folded.saturating_add(1);
            self.health.entry(note.route.clone()).or_default().join(note.ended, note.at);
            if note.ended == Ended::Technical {
                continue;
            }
            let epoch = settings.epoch(note.at);
            self.epoch = self.epoch.max(epoch);
            let routes = self.cells.entry(note.segment.clone()).or_default();
            let (approved, declined) =
                routes.entry(note.route.clone()).or_default().entry(epoch).or_default();
            let count = if note.ended == Ended::Approved { approved } else { declined };
            *count = count.saturating_add(1);
        }
        self.prune();
        self.put_together();
    }

    /// Forgets what no longer counts. What is forgotten depends on the newest outcome alone.
    fn prune(&mut self) {
        let oldest = self.epoch.saturating_sub(KEPT);
        for routes in self.cells.values_mut() {
            for cell in routes.values_mut() {
                cell.retain(|epoch, _| *epoch > oldest);
            }
            routes.retain(|_, cell| !cell.is_empty());
        }
        self.cells.retain(|_, routes| !routes.is_empty());
    }

    /// Keeps the table within its bound: the rarest segments go together, and their counts go on serving as those of a
    /// coarser one.
    fn put_together(&mut self) {
        while self.cells.values().map(BTreeMap::len).sum::<usize>() > MOST_CELLS {
            let size = |routes: &BTreeMap<String, Cell>| {
                let outcomes = routes.values().flat_map(BTreeMap::values);
                outcomes.map(|(a, d)| u64::from(*a).saturating_add(u64::from(*d))).sum::<u64>()
            };
            let mergeable = self.cells.iter().filter_map(|(s, routes)| Some((size(routes), s, s.coarser()?)));
            let rarest = mergeable.min_by_key(|(n, s, _)| (*n, (*s).clone()));
            let Some((_, segment, coarser)) = rarest.map(|(n, s, c)| (n, s.clone(), c)) else { return };
            let routes = self.cells.remove(&segment).unwrap_or_default();
            let into = self.cells.entry(coarser).or_default();
            for (route, cell) in routes {
                let target = into.entry(route).or_default();
                for (epoch, (a, d)) in cell {
                    let (approved, declined) = target.entry(epoch).or_default();
                    *approved = approved.saturating_add(a);
                    *declined = declined.saturating_add(d);
                }
            }
        }
    }

    /// How a route does technically.
    #[must_use]
    pub fn health(&self, route: &str) -> Option<&Health> {
        self.health.get(route)
    }

    /// Approved and declined that speak for a route in a segment, in [`UNIT`]s of an outcome: its own, and of coarser
    /// segments as much as they are worth. Each outcome counts once.
    #[must_use]
    pub fn evidence(
        &self,
        route: &str,
        segment: &Segment,
        settings: &Settings,
        now: Timestamp,
    ) -> (u64, u64) {
        if self.half_life != settings.half_life {
            return (0, 0);
        }
        let epoch = settings.epoch(now);
        let mut by_shared = [(0_u64, 0_u64); PARTS + 1];
        for (other, routes) in &self.cells {
            let (Some(cell), Some(sum)) = (routes.get(route), by_shared.get_mut(segment.shared(other)))
            else {
                continue;
            };
            for (of, (approved, declined)) in cell {
                let age = u32::try_from(epoch.saturating_sub(*of).max(0)).unwrap_or(u32::MAX);
                let worth = UNIT.checked_shr(age).unwrap_or(0);
                sum.0 = sum.0.saturating_add(worth.saturating_mul(u64::from(*approved)));
                sum.1 = sum.1.saturating_add(worth.saturating_mul(u64::from(*declined)));
            }
        }
        let mut known = (0_u64, 0_u64);
        for (level, (approved, declined)) in by_shared.into_iter().enumerate() {
            known = (known.0.saturating_add(approved), known.1.saturating_add(declined));
            if let Some(worth) = WORTH.get(level) {
                known = at_most(known, worth.saturating_mul(UNIT));
            }
        }
        known
    }
}

/// Scales evidence down, so that its rate stays and it counts no more than so much.
fn at_most((good, bad): (u64, u64), most: u64) -> (u64, u64) {
    let all = good.saturating_add(bad);
    if all <= most {
        return (good, bad);
    }
    let part = |n: u64| {
        let scaled = u128::from(n).saturating_mul(u128::from(most)) / u128::from(all);
        u64::try_from(scaled).unwrap_or(most)
    };
    (part(good), part(bad))
}
