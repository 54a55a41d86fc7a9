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

use std::collections::BTreeMap;

use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{Due, Guard, Item, Key, NewItem, Write};

use super::layout::{Layout, own_key};
use crate::pack::{self, Reader};

/// A body above this has an item of its own.
const LARGE: usize = 32 * 1024;
/// Bytes of entries above which a page sends what is cold away, though it costs a transaction.
const FULL: usize = 48 * 1024;
/// Bytes of entries above which only small ones come in: DynamoDB takes no item above 400 KB.
const CROWDED: usize = 200 * 1024;
/// A small one.
const SMALL: usize = 1024;
/// Bytes of a page as DynamoDB counts them within one unit of writing, and a little room.
const UNIT: usize = 1024 - 16;
/// What it counts beside key and body: the names of attributes, the tag, places in the indexes.
const BESIDE: usize = 50;
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
pub(crate) enum Own {
    /// Written for the first time, at this revision.
    Make(NewItem, u64),
    /// Written again, where it stands, under this guard.
    Again(NewItem, Guard),
    /// Removed, under this guard.
    Drop(String, Guard),
    /// Looked at, under this guard.
    Look(String, Guard),
}

/// What the writes of one partition come to.
#[derive(Default)]
pub(crate) struct Change {
    /// The page as it is to be; `None`: it stays as it is.
    pub(crate) page: Option<Page>,
    /// What it holds is a condition.
    pub(crate) looked: bool,
    pub(crate) own: Vec<Own>,
}

/// A chunk: its number, and its bodies as they lie in the table.
pub(crate) type Chunk = (u64, Vec<u8>);

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
                    // That there is nothing to remove is what this page says, and it may be an old one.
                    change.looked |= *guard != Guard::Any || !self.entries.contains_key(sk);
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
        let outside = || NewItem { key: own_key(&item.key.pk, sk), ..item.clone() };
        let before = self.entries.get(sk).map_or(0, |entry| entry.rev);
        let rev = match (own, guard) {
            // Its revision is known only where it is a condition.
            (true, Guard::Rev(rev)) if fits => {
                beside.push(Own::Drop(sk.to_owned(), guard));
                rev.saturating_add(1)
            }
            (true, _) => return beside.push(Own::Again(outside(), guard)),
            (false, _) => before.saturating_add(1),
        };
        let entry = if fits {
            Entry { rev, due: item.due, list: item.list.clone(), place: Place::Here(item.body.clone()) }
        } else {
            beside.push(Own::Make(outside(), rev));
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
        let stands =
            |old: &Due, new: &Due| old.shard == new.shard && old.at <= new.at && new.at <= old.at + EARLY;
        self.due = match (self.due, first) {
            (Some(old), Some(new)) if stands(&old, &new) => Some(old),
            (_, first) => first,
        };
    }

    /// The place in the index of lists: that of the one entry that has one.
    pub(crate) fn list(&self) -> Option<&(String, String)> {
        self.entries.values().find_map(|entry| entry.list.as_ref())
    }

    pub(crate) fn bytes(&self) -> usize {
        let here = |entry: &Entry| if let Place::Here(body) = &entry.place { body.len() } else { 0 };
        self.entries
            .iter()
            .map(|(sk, entry)| sk.len().saturating_add(here(entry)))
            .fold(0, usize::saturating_add)
    }

    /// As it lies in the table, and what is cold in a chunk to be written with it, where the page outgrows a unit and is written
    /// in a transaction anyway, or is full; `None` where it cannot be packed.
    pub(crate) fn shed(
        &mut self,
        key: &Key,
        layout: &Layout,
        in_transaction: bool,
    ) -> Option<(Vec<u8>, Option<Chunk>)> {
        let packed = self.pack()?;
        let weight =
            [packed.len(), key.pk.len(), key.sk.len(), BESIDE].into_iter().fold(0, usize::saturating_add);
        if self.bytes() <= FULL && (!in_transaction || weight <= UNIT) {
            return Some((packed, None));
        }
        let cold = |sk: &str, entry: &Entry| {
            let here = matches!(entry.place, Place::Here(_));
            here && entry.due.is_none() && (layout.cold)(sk)
        };
        let number = self.chunks.saturating_add(1);
        let mut bodies = BTreeMap::new();
        for (sk, entry) in self.entries.iter_mut().filter(|(sk, entry)| cold(sk, entry)) {
            if let Place::Here(body) = std::mem::replace(&mut entry.place, Place::Chunk(number)) {
                bodies.insert(sk.clone(), body);
            }
        }
        if bodies.is_empty() {
            return Some((packed, None));
        }
        self.chunks = number;
        Some((self.pack()?, Some((number, pack_chunk(&bodies)?))))
    }

    /// As it lies in the table; `None` where it cannot be packed.
    pub(crate) fn pack(&self) -> Option<Vec<u8>> {
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
            // The place itself stands beside the page, for the index.
            out.number(u64::from(entry.list.is_some()));
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
    pub(crate) fn unpack(
        packed: &[u8],
        tag: String,
        due: Option<Due>,
        list: Option<&(String, String)>,
    ) -> Option<Self> {
        let plain = pack::unpack_page(packed)?;
        let mut from = Reader(&plain);
        let mut page = Self { tag: Some(tag), due, chunks: from.number()?, entries: BTreeMap::new() };
        while !from.0.is_empty() {
            let (sk, rev) = (from.text()?, from.number()?);
            let due = match from.number()?.checked_sub(1) {
                None => None,
                Some(shard) => Some(Due { shard: u16::try_from(shard).ok()?, at: Timestamp(from.signed()?) }),
            };
            let list = match from.number()? {
                0 => None,
                1 => Some(list?.clone()),
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
}

impl Entry {
    /// The item of an entry whose body was found.
    pub(crate) fn item(&self, key: Key, body: Vec<u8>) -> Item {
        Item { key, rev: self.rev, body, due: self.due, list: self.list.clone(), expires: None }
    }
}

/// Bodies by sort key, as a chunk lies in the table.
fn pack_chunk(bodies: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const PK: &str = "order#shop/A-1";

    fn new(sk: &str, body: &[u8], due: Option<i64>) -> NewItem {
        let due = due.map(|at| Due { shard: 3, at: Timestamp(at) });
        NewItem { key: Key::new(PK, sk), body: body.to_vec(), due, list: None, expires: None }
    }

    fn put(sk: &str, due: Option<i64>) -> Write {
        Write::Put(new(sk, sk.as_bytes(), due), Guard::Any)
    }

    fn after(page: &Page, writes: &[Write]) -> Page {
        page.change(&writes.iter().collect::<Vec<_>>()).unwrap().page.unwrap()
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let listed =
            NewItem { list: Some(("unknown".into(), "§".into())), ..new("cmd#2", &[0, 255], Some(-7)) };
        let mut page = after(
            &Page::default(),
            &[put("state", None), put("log#1", None), Write::Put(listed, Guard::Any)],
        );
        page.entries.get_mut("log#1").unwrap().place = Place::Chunk(300);
        page.entries.get_mut("state").unwrap().place = Place::Own;
        page.tag = Some("t".into());
        assert_eq!(
            Page::unpack(&page.pack().unwrap(), "t".into(), page.due, page.list()),
            Some(page.clone())
        );
        let packed = page.pack().unwrap();
        assert_eq!(Page::unpack(&packed[..packed.len() - 2], "t".into(), None, page.list()), None, "cut off");
        assert_eq!(Page::unpack(&pack::pack(b"{}"), "t".into(), None, None), None, "another item");
    }

    #[test]
    fn guards_are_asked_of_the_page_before_anything_changes() {
        let page = after(&Page::default(), &[put("state", None), put("log#1", None)]);
        let delete = |sk: &str, guard| Write::Delete(Key::new(PK, sk), guard);
        let check = |sk: &str, guard| Write::Check(Key::new(PK, sk), guard);
        for (holds, write) in [
            (true, check("state", Guard::Rev(1))),
            (false, check("state", Guard::Rev(2))),
            (false, check("state", Guard::Absent)),
            (true, check("state", Guard::Any)),
            (true, check("nobody", Guard::Absent)),
            (false, check("nobody", Guard::Rev(0))),
            (false, delete("log#1", Guard::Rev(7))),
            (true, delete("log#1", Guard::Rev(1))),
        ] {
            let change = page.change(&[&write, &put("log#2", None)]);
            assert_eq!(change.is_some(), holds, "{:?}", write.key().sk);
        }
        // What changes nothing, but looks, is a condition and no write.
        let change = page.change(&[&check("nobody", Guard::Absent)]).unwrap();
        assert!(change.page.is_none() && change.looked);
        // So is that there is nothing to remove: the page may be an old one.
        let change = page.change(&[&delete("nobody", Guard::Any)]).unwrap();
        assert!(change.page.is_none() && change.looked);
        let change = page.change(&[&delete("log#1", Guard::Any)]).unwrap();
        assert!(change.page.is_some() && !change.looked, "what is removed is written anyway");
    }

    #[test]
    fn the_place_in_the_due_index_is_never_later_than_what_is_due() {
        let mut page = Page::default();
        // (when it falls due from now on, where the page lies)
        for (due, place) in [
            (Some(100_000), Some(100_000)),
            (Some(130_000), Some(100_000)),
            (Some(130_001), Some(130_001)),
            (Some(130_000), Some(130_000)),
            (None, None),
            (Some(5), Some(5)),
        ] {
            page = after(&page, &[put("cmd#1", due), put("log#1", None)]);
            assert_eq!(page.due.map(|due| due.at.0), place, "{due:?}");
        }
        let page = after(&page, &[put("cmd#2", Some(1)), put("state", Some(3))]);
        assert_eq!(page.due.map(|due| due.at.0), Some(1), "the first of all");
    }

    #[test]
    fn a_page_sheds_what_is_cold_in_a_transaction_and_keeps_what_is_used() {
        let noise = |nth: u32| -> Vec<u8> {
            (0..400_u32)
                .map(|n| u8::try_from((n + nth * 401).wrapping_mul(2_654_435_761) >> 24).unwrap())
                .collect()
        };
        let bodies = ["state", "log#1", "log#2", "cmd#told", "cmd#open"].iter().zip(1..);
        let writes: Vec<Write> = bodies
            .map(|(sk, nth)| Write::Put(new(sk, &noise(nth), (*sk == "cmd#open").then_some(9)), Guard::Any))
            .collect();
        let mut page = after(&Page::default(), &writes);
        let key = Key::new(PK, "state");
        assert_eq!(
            page.clone().shed(&key, &Layout::ENGINE, false).unwrap().1,
            None,
            "a page alone is one write"
        );
        let (number, chunk) = page.shed(&key, &Layout::ENGINE, true).unwrap().1.unwrap();
        let moved = unpack_chunk(&chunk).unwrap();
        assert_eq!(moved.keys().collect::<Vec<_>>(), ["cmd#told", "log#1", "log#2"]);
        assert_eq!((number, &moved["log#2"]), (1, &noise(3)));
        assert!(page.item(PK, "state").is_some() && page.item(PK, "cmd#open").is_some());
        // What moved still stands under its guard, and is here again when it is written.
        assert!(page.change(&[&Write::Put(new("log#1", b"", None), Guard::Absent)]).is_none());
        let again = after(&page, &[Write::Put(new("cmd#told", b"again", None), Guard::Rev(1))]);
        assert_eq!(
            again.item(PK, "cmd#told").map(|item| (item.rev, item.body)),
            Some((2, b"again".to_vec()))
        );
        let small = after(&Page::default(), &[put("state", None), put("log#1", None)]);
        assert_eq!(small.clone().shed(&key, &Layout::ENGINE, true).unwrap().1, None, "within a unit");
    }
}
