//! Ids that come twice, found without keeping them all.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::disk::Disk;
use super::parts::{Parts, path, scan};
use super::record::{Item, hash, item};
use super::{SettleError, Stage};

/// Bits of the table for each partition of about 40,000 items: with two bits an item one in twenty is set.
const BITS_A_PARTITION: usize = 1 << 20;
/// Suspects looked for at a time: their records are in memory meanwhile.
const AT_A_TIME: usize = 1 << 16;

/// Which ids may have come before: two bits of one word for each.
pub(super) struct Seen {
    words: Vec<u64>,
    suspects: Vec<u64>,
}

impl Seen {
    pub(super) fn new(partitions: u16) -> Self {
        let bits = usize::from(partitions).saturating_mul(BITS_A_PARTITION);
        Self { words: vec![0; bits / 64], suspects: Vec::new() }
    }

    pub(super) fn note(&mut self, id: &str) {
        let hash = hash(id);
        let words = u64::try_from(self.words.len()).unwrap_or(1);
        let at = (hash >> 12).checked_rem(words).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let mask = 1_u64 << (hash & 63) | 1_u64 << (hash >> 6 & 63);
        if let Some(word) = self.words.get_mut(at) {
            if *word & mask == mask {
                self.suspects.push(hash);
            }
            *word |= mask;
        }
    }

    /// The hashes that came more than once, and a few that did not.
    fn suspects(mut self) -> Vec<u64> {
        self.words = Vec::new();
        self.suspects.sort_unstable();
        self.suspects.dedup();
        self.suspects
    }
}

/// One of several records that may be of one id.
struct Twin {
    id: u64,
    stage: Stage,
    part: u16,
    at: u64,
    body: Vec<u8>,
}

/// Of every id leaves the least by content where it is, lists the others as passed over, and writes them to the files of
/// [`Stage::Read`], which nothing else is in. Equal copies lie in one file, so that a report that was read twice is gone after
/// one look at every file; only ids that lie in several are looked for over all of them.
pub(super) fn part_from<T: Item>(
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    seen: Seen,
) -> Result<(), SettleError> {
    let suspects = seen.suspects();
    if suspects.is_empty() {
        return Ok(());
    }
    let mut in_files: Vec<u64> = Vec::new();
    for place in places(parts.partitions()) {
        let mut twins = twins(parts, disk, place, |id| suspects.binary_search(&id).is_ok())?;
        set_aside(parts, disk, &mut twins)?;
        twins.dedup_by_key(|twin| twin.id);
        in_files.extend(twins.iter().map(|twin| twin.id));
    }
    drop(suspects);
    in_files.sort_unstable();
    let in_several = in_files.chunk_by(|a, b| a == b).filter(|files| files.len() > 1);
    let in_several: Vec<u64> = in_several.filter_map(|files| files.first().copied()).collect();
    drop(in_files);
    for chunk in in_several.chunks(AT_A_TIME) {
        let wanted: HashSet<u64> = chunk.iter().copied().collect();
        let mut all = Vec::new();
        for place in places(parts.partitions()) {
            all.append(&mut twins(parts, disk, place, |id| wanted.contains(&id))?);
        }
        set_aside(parts, disk, &mut all)?;
    }
    parts.flush(disk)
}

/// The files that items were spread over.
fn places(partitions: u16) -> impl Iterator<Item = (Stage, u16)> {
    Stage::all().skip(1).flat_map(move |stage| (0..partitions).map(move |part| (stage, part)))
}

/// The records of a file whose ids are wanted, and that are not passed over yet.
fn twins<T: Item>(
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    (stage, part): (Stage, u16),
    wanted: impl Fn(u64) -> bool,
) -> Result<Vec<Twin>, SettleError> {
    let file = path::<T>(parts.folder(), stage, part);
    let mut twins = Vec::new();
    let Some(entry) = parts.entry_mut(stage, part) else { return Ok(twins) };
    scan(disk, &file, entry, |record| {
        if wanted(record.id) {
            twins.push(Twin { id: record.id, stage, part, at: record.at, body: record.body()?.to_vec() });
        }
        Ok(())
    })?;
    Ok(twins)
}

/// Sorts records by their ids' hashes, and sets aside what comes again.
fn set_aside<T: Item>(parts: &mut Parts<T>, disk: &dyn Disk, twins: &mut [Twin]) -> Result<(), SettleError> {
    twins.sort_unstable_by_key(|t| (t.id, t.stage, t.part, t.at));
    for alike in twins.chunk_by(|a, b| a.id == b.id).filter(|alike| alike.len() > 1) {
        all_but_the_least(parts, disk, alike)?;
    }
    let touched: BTreeSet<(Stage, u16)> = twins.iter().map(|twin| (twin.stage, twin.part)).collect();
    for (stage, part) in touched {
        if let Some(entry) = parts.entry_mut(stage, part) {
            entry.passed_over.sort_unstable();
        }
    }
    Ok(())
}

/// Of records whose ids have one hash: those of one id, but for the least.
fn all_but_the_least<T: Item>(
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    alike: &[Twin],
) -> Result<(), SettleError> {
    let mut by_id = BTreeMap::new();
    for twin in alike {
        let damaged =
            |what| SettleError::Damaged { file: path::<T>(parts.folder(), twin.stage, twin.part), what };
        let kept = item::<T>(&twin.body).map_err(damaged)?;
        by_id.entry(Box::<str>::from(kept.item.id())).or_insert_with(Vec::new).push((kept, twin));
    }
    for (_, mut same) in by_id {
        same.sort_by_cached_key(|(kept, _)| kept.item.canonical());
        for (kept, twin) in same.iter().skip(1) {
            let part = twin.id.checked_rem(u64::from(parts.partitions())).unwrap_or(0);
            parts.put_at(disk, Stage::Read, u16::try_from(part).unwrap_or(0), &kept.open())?;
            if let Some(entry) = parts.entry_mut(twin.stage, twin.part) {
                entry.passed_over.push(twin.at);
            }
        }
    }
    Ok(())
}
