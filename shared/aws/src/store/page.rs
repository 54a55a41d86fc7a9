//! Pages: what an order's, a person's or an alias' partition holds lies in one item, so that a decision is one write.
//!
//! A page holds its entries (the port's items) whole, with their revisions. It is written under the condition that it is
//! still the page that was read: its tag is drawn anew for each write. So whatever guards a transaction puts on entries of
//! one partition hold together, or nothing is written, and a write of one page needs no transaction.
//!
//! | entry | where it is |
//! |---|---|
//! | nearly every one | here |
//! | large, with an expiry, with a list or shard beside another one's | an item of its own, under `~o` and its sort key |
//! | cold (nothing reads it but people), once the page outgrows a unit of writing | with others in a chunk, `~c` and a number |
//!
//! The page names them all; what it does not name is not there. A chunk is written once, with the page that names it,
//! and never changed: an entry that is written again lies in the page again. Pages stay when their last entry goes, so
//! that a tag is never met twice.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Due, Guard, Item, Key, NewItem, Write};

use super::layout::Layout;
use crate::pack::{self, Reader};

/// A body above this has an item of its own.
const LARGE: usize = 32 * 1024;
/// Bytes of entries above which a page sends what is cold away, though it costs a transaction.
const FULL: usize = 48 * 1024;
/// Bytes of entries above which only small ones come in: DynamoDB takes no item above 400 KB.
const CROWDED: usize = 200 * 1024;
/// A small one.
const SMALL: usize = 1024;
/// Packed bytes of a page within one unit of writing, its key and index places beside it.
const UNIT: usize = 900;
/// A place in the due index may be as much earlier than the first entry is due: moving it costs two writes of the index.
const EARLY: Millis = Millis::secs(30);

/// Where an entry's body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Here(Vec<u8>),
    Chunk(u64),
    /// With its revision, due time, list and expiry.
    Own,
}

/// An entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Meaningless where the place is [`Place::Own`].
    pub(crate) rev: u64,
    pub(crate) due: Option<Due>,
    pub(crate) list: Option<(String, String)>,
    pub(crate) place: Place,
}

/// A page as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Drawn with the write that made it; `None`: there is no such item yet.
    pub(crate) tag: Option<String>,
    /// Its place in the due index.
    pub(crate) due: Option<Due>,
    /// Chunks made so far.
    pub(crate) chunks: u64,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// An entry's own item, and what a transaction does with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Own {
    /// Written for the first time, at this revision.
    Make(NewItemOf, u64),
    /// Written again, where it stands, under this guard.
    Again(NewItemOf, Guard),
    /// Removed, under this guard.
    Drop(String, Guard),
    /// Looked at, under this guard.
    Look(String, Guard),
}

/// What [`NewItem`] says beside its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewItemOf {
    pub(crate) sk: String,
    pub(crate) body: Vec<u8>,
    pub(crate) due: Option<Due>,
    pub(crate) list: Option<(String, String)>,
    pub(crate) expires: Option<Timestamp>,
}

/// What the writes of one partition come to.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The page as it is to be; `None`: it stays as it is.
    pub(crate) page: Option<Page>,
    /// What it holds is a condition.
    pub(crate) looked: bool,
    pub(crate) own: Vec<Own>,
    /// A chunk to be written with the page.
    pub(crate) chunk: Option<(u64, Vec<u8>)>,
}

impl Page {
    /// Whether a guard holds on an entry, as far as the page can tell.
    fn holds(&self, sk: &str, guard: Guard) -> bool {
        match (self.entries.get(sk), guard) {
            (_, Guard::Any) | (None, Guard::Absent) => true,
            (Some(Entry { place: Place::Own, .. }), Guard::Rev(_)) => true,
            (Some(entry), Guard::Rev(rev)) => entry.rev == rev,
            (None, Guard::Rev(_)) | (Some(_), Guard::Absent) => false,
        }
    }

    /// Applies the writes of its partition; `None` where a guard does not hold.
    pub(crate) fn change(&self, writes: &[&Write]) -> Option<Change> {
        let mut page = self.clone();
        let mut change = Change::default();
        for write in writes {
            let sk = write.key().sk.as_str();
            let (Write::Put(_, guard) | Write::Delete(_, guard) | Write::Check(_, guard)) = write;
            if !self.holds(sk, *guard) {
                return None;
            }
            let own = matches!(self.entries.get(sk), Some(Entry { place: Place::Own, .. }));
            match write {
                Write::Check(..) if own => change.own.push(Own::Look(sk.to_owned(), *guard)),
                Write::Check(..) => change.looked |= *guard != Guard::Any,
                Write::Delete(..) => {
                    change.looked |= *guard != Guard::Any;
                    if page.entries.remove(sk).is_some() && own {
                        change.own.push(Own::Drop(sk.to_owned(), *guard));
                    }
                }
                Write::Put(item, _) => page.put(item, *guard, own, &mut change.own),
            }
        }
        if page.entries != self.entries {
            page.settle_due();
            change.page = Some(page);
        }
        Some(change)
    }

    fn put(&mut self, item: &NewItem, guard: Guard, own: bool, beside: &mut Vec<Own>) {
        let sk = item.key.sk.as_str();
        let fits = self.fits(item);
        let of = NewItemOf {
            sk: sk.to_owned(),
            body: item.body.clone(),
            due: item.due,
            list: item.list.clone(),
            expires: item.expires,
        };
        let before = self.entries.get(sk).map_or(0, |entry| entry.rev);
        let rev = match (own, guard) {
            // Its revision is known only where it is a condition.
            (true, Guard::Rev(rev)) if fits => {
                beside.push(Own::Drop(sk.to_owned(), guard));
                rev.saturating_add(1)
            }
            (true, _) => return beside.push(Own::Again(of, guard)),
            (false, _) => before.saturating_add(1),
        };
        let entry = if fits {
            Entry { rev, due: item.due, list: item.list.clone(), place: Place::Here(item.body.clone()) }
        } else {
            beside.push(Own::Make(of, rev));
            Entry { rev, due: None, list: None, place: Place::Own }
        };
        self.entries.insert(sk.to_owned(), entry);
    }

    /// Whether an item can be an entry: the page has one place in each index, and no expiry.
    fn fits(&self, item: &NewItem) -> bool {
        let mut others = self.entries.iter().filter(|(sk, _)| **sk != item.key.sk).map(|(_, entry)| entry);
        let shard = item.due.map(|due| due.shard);
        let apart = others.any(|other| {
            (item.list.is_some() && other.list.is_some())
                || other.due.zip(shard).is_some_and(|(due, shard)| due.shard != shard)
        });
        let room = if self.bytes() > CROWDED { SMALL } else { LARGE };
        item.body.len() <= room && item.expires.is_none() && !apart
    }

    /// The place in the due index: that of the first entry, or what stands there, if that is about as good.
    fn settle_due(&mut self) {
        let first = self.entries.values().filter_map(|entry| entry.due).min_by_key(|due| due.at);
        let stands = |old: &Due, new: &Due| old.shard == new.shard && old.at <= new.at && new.at <= old.at + EARLY;
        self.due = match (self.due, first) {
            (Some(old), Some(new)) if stands(&old, &new) => Some(old),
            (_, first) => first,
        };
    }

    /// The place in the index of lists: that of the one entry that has one.
    pub(crate) fn list(&self) -> Option<&(String, String)> {
        self.entries.values().find_map(|entry| entry.list.as_ref())
    }

    fn bytes(&self) -> usize {
        let here = |entry: &Entry| if let Place::Here(body) = &entry.place { body.len() } else { 0 };
        self.entries.iter().map(|(sk, entry)| sk.len().saturating_add(here(entry))).fold(0, usize::saturating_add)
    }

    /// Moves what is cold into a chunk, where the page outgrows a unit and is written in a transaction anyway, or is full.
    pub(crate) fn shed(&mut self, layout: &Layout, in_transaction: bool) -> Option<(u64, Vec<u8>)> {
        let full = self.bytes() > FULL;
        if !full && (!in_transaction || self.pack().len() <= UNIT) {
            return None;
        }
        let cold = |sk: &str, entry: &Entry| {
            let here = matches!(entry.place, Place::Here(_));
            here && entry.due.is_none() && entry.list.is_none() && (layout.cold)(sk)
        };
        let number = self.chunks.saturating_add(1);
        let mut bodies = BTreeMap::new();
        for (sk, entry) in self.entries.iter_mut().filter(|(sk, entry)| cold(sk, entry)) {
            if let Place::Here(body) = std::mem::replace(&mut entry.place, Place::Chunk(number)) {
                bodies.insert(sk.clone(), body);
            }
        }
        if bodies.is_empty() {
            return None;
        }
        self.chunks = number;
        Some((number, pack_chunk(&bodies)))
    }

    /// As it lies in the table.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = pack::Writer::default();
        out.number(self.chunks);
        for (sk, entry) in &self.entries {
            out.text(sk);
            out.number(entry.rev);
            match entry.due {
                None => out.number(0),
                Some(due) => {
                    out.number(u64::from(due.shard).saturating_add(1));
                    out.signed(due.at.0);
                }
            }
            match &entry.list {
                None => out.number(0),
                Some((list, sort)) => {
                    out.number(1);
                    out.text(list);
                    out.text(sort);
                }
            }
            match &entry.place {
                Place::Own => out.number(0),
                Place::Here(body) => {
                    out.number(1);
                    out.body(body);
                }
                Place::Chunk(number) => {
                    out.number(2);
                    out.number(*number);
                }
            }
        }
        out.packed()
    }

    /// As it was packed; `None` where it is none of ours.
    pub(crate) fn unpack(packed: &[u8], tag: String, due: Option<Due>) -> Option<Self> {
        let plain = pack::unpack_page(packed)?;
        let mut from = Reader(&plain);
        let mut page = Self { tag: Some(tag), due, chunks: from.number()?, entries: BTreeMap::new() };
        while !from.0.is_empty() {
            let (sk, rev) = (from.text()?, from.number()?);
            let due = match from.number()?.checked_sub(1) {
                None => None,
                Some(shard) => {
                    Some(Due { shard: u16::try_from(shard).ok()?, at: Timestamp(from.signed()?) })
                }
            };
            let list = match from.number()? {
                0 => None,
                1 => Some((from.text()?, from.text()?)),
                _ => return None,
            };
            let place = match from.number()? {
                0 => Place::Own,
                1 => Place::Here(from.body()?),
                2 => Place::Chunk(from.number()?),
                _ => return None,
            };
            page.entries.insert(sk, Entry { rev, due, list, place });
        }
        Some(page)
    }

    /// The item of an entry that lies here.
    pub(crate) fn item(&self, pk: &str, sk: &str) -> Option<Item> {
        let entry = self.entries.get(sk)?;
        let Place::Here(body) = &entry.place else { return None };
        Some(entry.item(Key::new(pk, sk), body.clone()))
    }

    /// Chunks of entries whose sort keys are asked for.
    pub(crate) fn chunks_of<'a>(&self, sks: impl Iterator<Item = &'a str>) -> BTreeSet<u64> {
        let chunk = |sk: &str| match self.entries.get(sk)?.place {
            Place::Chunk(number) => Some(number),
            _ => None,
        };
        sks.filter_map(chunk).collect()
    }
}

impl Entry {
    /// The item of an entry whose body was found.
    pub(crate) fn item(&self, key: Key, body: Vec<u8>) -> Item {
        Item { key, rev: self.rev, body, due: self.due, list: self.list.clone(), expires: None }
    }
}

/// Bodies by sort key, as a chunk lies in the table.
fn pack_chunk(bodies: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut out = pack::Writer::default();
    for (sk, body) in bodies {
        out.text(sk);
        out.body(body);
    }
    out.packed()
}

/// The bodies of a chunk.
pub(crate) fn unpack_chunk(packed: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let plain = pack::unpack_page(packed)?;
    let mut from = Reader(&plain);
    let mut out = BTreeMap::new();
    while !from.0.is_empty() {
        out.insert(from.text()?, from.body()?);
    }
    Some(out)
}
