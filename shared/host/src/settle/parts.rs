//! The files of one side: written in stages and partitions, read back whole and compared with what was written.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tillway_core::settle::Open;

use super::disk::Disk;
use super::record::{self, Item, Kept, Record};
use super::{SettleError, Stage};

/// A buffer of that size is written.
const BUFFER: usize = 64 << 10;
/// With that much in all buffers together, all are.
const ALL_BUFFERS: usize = 24 << 20;

/// What was written to a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// CRC-32 over the records' checksums.
    pub(super) check: u32,
    /// Where records begin whose id another has; sorted.
    pub(super) passed_over: Vec<u64>,
}

#[derive(Debug, Default)]
struct Out {
    entry: Entry,
    buffer: Vec<u8>,
}

/// The files of all stages of one side.
#[derive(Debug)]
pub(super) struct Parts<T> {
    folder: PathBuf,
    partitions: u16,
    outs: Vec<Out>,
    buffered: usize,
    side: std::marker::PhantomData<fn(T)>,
}

impl<T: Item> Parts<T> {
    /// Begins with what is there by the manifest, or with nothing.
    pub(super) fn new(folder: &Path, partitions: u16, mut entries: Vec<Entry>) -> Self {
        entries.resize(Stage::COUNT.saturating_mul(usize::from(partitions)), Entry::default());
        let outs = entries.into_iter().map(|entry| Out { entry, buffer: Vec::new() }).collect();
        Self { folder: folder.to_owned(), partitions, outs, buffered: 0, side: std::marker::PhantomData }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
    pub(super) const fn partitions(&self) -> u16 {
        self.partitions
    }
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.outs.iter().map(|out| out.entry.clone()).collect()
    }

    fn index(&self, stage: Stage, part: u16) -> usize {
        stage.rank().saturating_mul(usize::from(self.partitions)).saturating_add(usize::from(part))
    }

    pub(super) fn entry_mut(&mut self, stage: Stage, part: u16) -> Option<&mut Entry> {
        let index = self.index(stage, part);
        self.outs.get_mut(index).map(|out| &mut out.entry)
    }

    /// Every file there should be, with its entry.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, &Entry)> {
        let places = Stage::all().flat_map(|stage| (0..self.partitions).map(move |part| (stage, part)));
        let files = places.zip(&self.outs).filter(|(_, out)| out.entry.bytes > 0);
        files.map(|((stage, part), out)| (path::<T>(&self.folder, stage, part), &out.entry))
    }

    /// Adds an open item to the files of the stage after `after` at which it may meet another.
    pub(super) fn put(
        &mut self,
        disk: &dyn Disk,
        after: Stage,
        open: &Open<'_, T>,
    ) -> Result<(), SettleError> {
        let (stage, number) = record::place(after, open);
        let part = number.checked_rem(u64::from(self.partitions)).unwrap_or(0);
        self.put_at(disk, stage, u16::try_from(part).unwrap_or(0), open)
    }

    /// Adds an item to a file.
    pub(super) fn put_at(
        &mut self,
        disk: &dyn Disk,
        stage: Stage,
        part: u16,
        open: &Open<'_, T>,
    ) -> Result<(), SettleError> {
        let index = self.index(stage, part);
        let Some(out) = self.outs.get_mut(index) else { return Ok(()) };
        let before = out.buffer.len();
        let damaged = |what| SettleError::Damaged { file: path::<T>(&self.folder, stage, part), what };
        let check = record::write(open, &mut out.buffer).map_err(|_| damaged("an item of more than 4 GB"))?;
        let added = out.buffer.len().saturating_sub(before);
        let entry = &mut out.entry;
        entry.bytes = entry.bytes.saturating_add(u64::try_from(added).unwrap_or(u64::MAX));
        entry.records = entry.records.saturating_add(1);
        entry.check = chained(entry.check, check);
        self.buffered = self.buffered.saturating_add(added);
        if out.buffer.len() >= BUFFER {
            self.buffered = self.buffered.saturating_sub(out.buffer.len());
            flush(disk, &path::<T>(&self.folder, stage, part), &mut out.buffer)?;
        } else if self.buffered >= ALL_BUFFERS {
            self.flush(disk)?;
        }
        Ok(())
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self, disk: &dyn Disk) -> Result<(), SettleError> {
        let places = Stage::all().flat_map(|stage| (0..self.partitions).map(move |part| (stage, part)));
        for ((stage, part), out) in places.zip(&mut self.outs) {
            if !out.buffer.is_empty() {
                flush(disk, &path::<T>(&self.folder, stage, part), &mut out.buffer)?;
                out.buffer = Vec::new();
            }
        }
        self.buffered = 0;
        Ok(())
    }

    /// The entries of a stage, to be read; its files are complete.
    pub(super) fn of(&self, stage: Stage) -> Vec<Entry> {
        let from = self.index(stage, 0);
        let of = self.outs.iter().skip(from).take(usize::from(self.partitions));
        of.map(|out| out.entry.clone()).collect()
    }

    /// Forgets the files of a stage; gives their names.
    pub(super) fn forget(&mut self, stage: Stage) -> Vec<PathBuf> {
        let from = self.index(stage, 0);
        let mut files = Vec::new();
        for (part, out) in (0..self.partitions).zip(self.outs.iter_mut().skip(from)) {
            if std::mem::take(&mut out.entry).bytes > 0 {
                files.push(path::<T>(&self.folder, stage, part));
            }
        }
        files
    }
}

fn flush(disk: &dyn Disk, file: &Path, buffer: &mut Vec<u8>) -> Result<(), SettleError> {
    let written = disk.append(file, buffer);
    buffer.clear();
    written.map_err(|source| SettleError::File { file: file.to_owned(), doing: "write", source })
}

/// Where the file of a partition lies.
pub(super) fn path<T: Item>(folder: &Path, stage: Stage, part: u16) -> PathBuf {
    folder.join(format!("{}-{}-{part:04}.{}", stage.rank(), stage.name(), T::SIDE))
}

fn chained(sum: u32, check: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(sum);
    hasher.update(&check.to_le_bytes());
    hasher.finalize()
}

/// Reads a file and compares it with its entry; every record that is not passed over is given.
pub(super) fn scan(
    disk: &dyn Disk,
    file: &Path,
    entry: &Entry,
    mut each: impl FnMut(&Record<'_>) -> Result<(), &'static str>,
) -> Result<(), SettleError> {
    if entry.bytes == 0 {
        return Ok(());
    }
    let bytes = disk.read(file);
    let bytes = bytes.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            SettleError::Damaged { file: file.to_owned(), what: "it is not there" }
        }
        _ => SettleError::File { file: file.to_owned(), doing: "read", source },
    })?;
    let mut walk = || {
        if u64::try_from(bytes.len()) != Ok(entry.bytes) {
            return Err("its length");
        }
        let (mut count, mut check) = (0_u64, 0);
        let mut passed_over = entry.passed_over.iter().peekable();
        for record in record::records(&bytes) {
            let record = record?;
            count = count.saturating_add(1);
            check = chained(check, record.check);
            if passed_over.next_if(|at| **at == record.at).is_none() {
                each(&record)?;
            }
        }
        if (count, check) == (entry.records, entry.check) { Ok(()) } else { Err("its checksum") }
    };
    walk().map_err(|what| SettleError::Damaged { file: file.to_owned(), what })
}

/// The items of a file.
pub(super) fn load<T: Item>(
    disk: &dyn Disk,
    file: &Path,
    entry: &Entry,
) -> Result<Vec<Kept<T>>, SettleError> {
    let mut items = Vec::with_capacity(usize::try_from(entry.records).unwrap_or(0));
    scan(disk, file, entry, |record| {
        items.push(record::item(record.body()?)?);
        Ok(())
    })?;
    Ok(items)
}
