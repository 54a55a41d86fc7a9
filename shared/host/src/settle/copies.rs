//! Ids that come twice, found without keeping them all.

use std::collections::{BTreeMap, HashSet};

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
/// [`Stage::Read`], which nothing else is in.
pub(super) fn part_from<T: Item>(
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    seen: Seen,
) -> Result<(), SettleError> {
    let suspects = seen.suspects();
    for (chunk, number) in suspects.chunks(AT_A_TIME).zip((0..parts.partitions()).cycle()) {
        let wanted: HashSet<u64> = chunk.iter().copied().collect();
        let mut twins: Vec<Twin> = Vec::new();
        for stage in Stage::all().skip(1) {
            for (part, entry) in (0..parts.partitions()).zip(parts.of(stage)) {
                scan(disk, &path::<T>(parts.folder(), stage, part), &entry, |record| {
                    if wanted.contains(&record.id) {
                        let body = record.body()?.to_vec();
                        twins.push(Twin { id: record.id, stage, part, at: record.at, body });
                    }
                    Ok(())
                })?;
            }
        }
        twins.sort_unstable_by_key(|t| (t.id, t.stage, t.part, t.at));
        for alike in twins.chunk_by(|a, b| a.id == b.id).filter(|alike| alike.len() > 1) {
            set_aside(parts, disk, alike, number)?;
        }
    }
    for stage in Stage::all() {
        for part in 0..parts.partitions() {
            if let Some(entry) = parts.entry_mut(stage, part) {
                entry.passed_over.sort_unstable();
            }
        }
    }
    parts.flush(disk)
}

/// Of records whose ids have one hash: those of one id, but for the least.
fn set_aside<T: Item>(
    parts: &mut Parts<T>,
    disk: &dyn Disk,
    alike: &[Twin],
    number: u16,
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
            parts.put_at(disk, Stage::Read, number, &kept.open())?;
            if let Some(entry) = parts.entry_mut(twin.stage, twin.part) {
                entry.passed_over.push(twin.at);
            }
        }
    }
    Ok(())
}
