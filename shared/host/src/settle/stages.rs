//! The work of each stage.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tillway_core::settle::{
    Conclusion, Expected, Group, Open, Outcome, SettlementLine, Tier, certificate, pass,
};

use super::copies::{Seen, part_from};
use super::disk::Disk;
use super::parts::{Entry, Parts, load, path};
use super::record::{Item, Kept};
use super::sink::{Found, Matched, Sink};
use super::totals::{Totals, add};
use super::{Plan, SettleError, Source, SourceError, Stage, Stream, turn};

/// What stages write to.
pub(super) struct Hand<'a> {
    pub(super) sink: &'a mut dyn Sink,
    pub(super) lines: Parts<SettlementLine>,
    pub(super) expected: Parts<Expected>,
    pub(super) totals: Totals,
}

impl Hand<'_> {
    /// Hands over, and counts.
    fn give(&mut self, stage: Stage, part: u16, found: Found<'_>) -> Result<(), SettleError> {
        if found.matched.is_empty() && found.rest == Outcome::default() {
            return Ok(());
        }
        self.totals.count(&found);
        let taken = self.sink.take(stage, part, found);
        taken.map_err(|source| SettleError::Sink { stage: stage.name(), source })
    }
}

/// Reads both sides at a time, each on a thread of its own.
pub(super) fn read<'a>(
    plan: &Plan<'_>,
    disk: &dyn Disk,
    source: &dyn Source,
    mut hand: Hand<'a>,
) -> Result<Hand<'a>, SettleError> {
    let (lines, expected) = (&mut hand.lines, &mut hand.expected);
    let stop = AtomicBool::new(false);
    let (l, e) = thread::scope(|scope| {
        let other = scope.spawn(|| side(source.expected(), expected, disk, &stop));
        let l = side(source.lines(), lines, disk, &stop);
        (l, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // The one that failed says why; the other only that it was stopped.
    (hand.totals.lines, hand.totals.expected) = match (l, e) {
        (Err(SettleError::Stopped), e) => (0, e?),
        (l, e) => (l?, e?),
    };
    let files = Inputs::of(&hand, Stage::Read);
    for part in 0..hand.lines.partitions() {
        let (lines, expected) = files.load(disk, part)?;
        let l: Vec<_> = by_id(&lines).into_iter().map(|l| &l.item).collect();
        let e: Vec<_> = by_id(&expected).into_iter().map(|e| &e.item).collect();
        add(&mut hand.totals.copies, l.len().saturating_add(e.len()));
        let mut end = Conclusion::new(plan.rules, plan.today);
        end.copies(&l, &e);
        let rest = end.conclude(Vec::new(), Vec::new());
        hand.give(Stage::Read, part, Found { matched: Vec::new(), rest })?;
    }
    Ok(hand)
}

/// Spreads the items of one side; gives their number. Ends where the other side has failed.
fn side<T: Item>(
    stream: Result<Stream<'_, T>, SourceError>,
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    stop: &AtomicBool,
) -> Result<u64, SettleError> {
    let read = spread(stream, parts, disk, stop);
    stop.fetch_or(read.is_err(), Ordering::Relaxed);
    read
}

fn spread<T: Item>(
    stream: Result<Stream<'_, T>, SourceError>,
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    stop: &AtomicBool,
) -> Result<u64, SettleError> {
    let mut number = 0_u64;
    let failed = |number: u64, source| SettleError::Source { what: T::WHAT, number, source };
    let mut seen = Seen::new(parts.partitions());
    for item in stream.map_err(|source| failed(0, source))? {
        if stop.load(Ordering::Relaxed) {
            return Err(SettleError::Stopped);
        }
        number = number.saturating_add(1);
        let item = item.map_err(|source| failed(number, source))?;
        seen.note(item.id());
        parts.put(disk, Stage::Read, &Open::new(&item))?;
    }
    parts.flush(disk)?;
    part_from(parts, disk, seen)?;
    Ok(number)
}

/// The files of a stage, to be read.
struct Inputs {
    folder: PathBuf,
    stage: Stage,
    lines: Vec<Entry>,
    expected: Vec<Entry>,
}

type Loaded = (Vec<Kept<SettlementLine>>, Vec<Kept<Expected>>);

impl Inputs {
    fn of(hand: &Hand<'_>, stage: Stage) -> Self {
        let folder = hand.lines.folder().to_owned();
        Self { folder, stage, lines: hand.lines.of(stage), expected: hand.expected.of(stage) }
    }

    fn load(&self, disk: &dyn Disk, part: u16) -> Result<Loaded, SettleError> {
        Ok((
            load_part(disk, &self.folder, self.stage, part, &self.lines)?,
            load_part(disk, &self.folder, self.stage, part, &self.expected)?,
        ))
    }
}

fn load_part<T: Item>(
    disk: &dyn Disk,
    folder: &Path,
    stage: Stage,
    part: u16,
    entries: &[Entry],
) -> Result<Vec<Kept<T>>, SettleError> {
    let Some(entry) = entries.get(usize::from(part)) else { return Ok(Vec::new()) };
    load(disk, &path::<T>(folder, stage, part), entry)
}

/// Items by id. Not the items are moved, which are large.
fn by_id<T: Item>(items: &[Kept<T>]) -> Vec<&Kept<T>> {
    let mut sorted: Vec<&Kept<T>> = items.iter().collect();
    sorted.sort_unstable_by(|a, b| a.item.id().cmp(b.item.id()));
    sorted
}

/// Items as the tiers take them.
fn open<'k, T>(items: &[&'k Kept<T>]) -> Vec<Open<'k, T>> {
    items.iter().map(|kept| kept.open()).collect()
}

/// Runs one tier over its partitions.
pub(super) fn tier<'a>(
    plan: &Plan<'_>,
    disk: &dyn Disk,
    tier: Tier,
    hand: Hand<'a>,
) -> Result<Hand<'a>, SettleError> {
    let stage = Stage::Tier(tier);
    let files = Inputs::of(&hand, stage);
    turn::each(hand.lines.partitions(), hand, |part, turn| {
        let (lines, expected) = files.load(disk, part)?;
        let (lines, expected) = (by_id(&lines), by_id(&expected));
        let mut done = pass(tier, open(&lines), open(&expected), plan.rules);
        let (l, e) = (std::mem::take(&mut done.lines), std::mem::take(&mut done.expected));
        let mut groups = std::mem::take(&mut done.groups);
        groups.sort_unstable();
        let matched = groups.into_iter().map(|group| sealed(group, &lines, &expected, plan.seal)).collect();
        let mut end = Conclusion::new(plan.rules, plan.today);
        end.take(done);
        let rest = end.conclude(Vec::new(), Vec::new());
        turn.at(part, |hand| {
            for open in &l {
                hand.lines.put(disk, stage, open)?;
            }
            for open in &e {
                hand.expected.put(disk, stage, open)?;
            }
            hand.give(stage, part, Found { matched, rest })
        })
    })
}

/// Names what no tier has matched.
pub(super) fn end<'a>(plan: &Plan<'_>, disk: &dyn Disk, hand: Hand<'a>) -> Result<Hand<'a>, SettleError> {
    let files = Inputs::of(&hand, Stage::End);
    turn::each(hand.lines.partitions(), hand, |part, turn| {
        let (lines, expected) = files.load(disk, part)?;
        let (lines, expected) = (by_id(&lines), by_id(&expected));
        let rest = Conclusion::new(plan.rules, plan.today).conclude(open(&lines), open(&expected));
        turn.at(part, |hand| hand.give(Stage::End, part, Found { matched: Vec::new(), rest }))
    })
}

/// A group with its items, which are sorted by id.
fn sealed<'k>(
    group: Group,
    lines: &[&'k Kept<SettlementLine>],
    expected: &[&'k Kept<Expected>],
    seal: bool,
) -> Matched<'k> {
    let lines = picked(&group.lines, lines);
    let expected = picked(&group.expected, expected);
    let hash = seal.then(|| certificate::hash(&group, &lines, &expected));
    Matched { group, hash, lines, expected }
}

fn picked<'k, T: Item>(ids: &[Box<str>], of: &[&'k Kept<T>]) -> Vec<&'k T> {
    let find = |id: &str| {
        let at = of.binary_search_by(|kept| kept.item.id().cmp(id)).ok()?;
        of.get(at).map(|kept| &kept.item)
    };
    ids.iter().filter_map(|id| find(id)).collect()
}
