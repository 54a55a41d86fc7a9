//! Open items as bytes, and back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tillway_core::settle::{
    Expected, Miss, Open, Reason, SettlementLine, Tier, expected_partition, line_partition,
};

use super::Stage;

/// Bytes before the body: its length, the checksum, the hash of the id.
pub(super) const HEAD: usize = 16;

/// A line or an expectation.
pub(super) trait Item: Serialize + DeserializeOwned + Send + Sync {
    /// What its files end in.
    const SIDE: &'static str;
    /// What messages call one.
    const WHAT: &'static str;
    fn id(&self) -> &str;
    fn canonical(&self) -> String;
    /// Its place among the files of a tier.
    fn spread(tier: Tier, open: &Open<'_, Self>) -> Option<u64>
    where
        Self: Sized;
    /// Line's id and expectation's id of the pair that it may be an exception of.
    fn pair<'a>(&'a self, other: &'a str) -> [&'a str; 2];
}

impl Item for SettlementLine {
    const SIDE: &'static str = "lines";
    const WHAT: &'static str = "line";
    fn id(&self) -> &str {
        &self.id
    }
    fn canonical(&self) -> String {
        Self::canonical(self)
    }
    fn spread(tier: Tier, open: &Open<'_, Self>) -> Option<u64> {
        line_partition(tier, open)
    }
    fn pair<'a>(&'a self, other: &'a str) -> [&'a str; 2] {
        [&self.id, other]
    }
}

impl Item for Expected {
    const SIDE: &'static str = "expected";
    const WHAT: &'static str = "expectation";
    fn id(&self) -> &str {
        &self.id
    }
    fn canonical(&self) -> String {
        Self::canonical(self)
    }
    fn spread(tier: Tier, open: &Open<'_, Self>) -> Option<u64> {
        expected_partition(tier, open)
    }
    fn pair<'a>(&'a self, other: &'a str) -> [&'a str; 2] {
        [other, &self.id]
    }
}

/// The first stage after `after` at which an item may meet another, and the number that those share which it may meet.
/// At the end these are the pair that are each other's nearest miss.
pub(super) fn place<T: Item>(after: Stage, open: &Open<'_, T>) -> (Stage, u64) {
    let later = Tier::ALL.into_iter().filter(|tier| Stage::Tier(*tier) > after);
    let met = later.filter_map(|tier| Some((Stage::Tier(tier), mixed(T::spread(tier, open)?)))).next();
    met.unwrap_or_else(|| {
        let other = open.nearest.as_ref().map_or("", |miss| miss.other.as_ref());
        let [line, expected] = open.item.pair(other);
        (Stage::End, mixed(hash(line) ^ hash(expected).rotate_left(32)))
    })
}

/// FNV-1a. Not the standard library's, which may change from one release to the next: files outlive a process.
pub(super) fn hash(text: &str) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    mixed(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Spreads what differs in a few bits over all of them (the end of splitmix64).
const fn mixed(h: u64) -> u64 {
    let h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

/// An open item that owns what it names.
#[derive(Debug, Deserialize)]
pub(super) struct Kept<T> {
    bound: bool,
    nearest: Option<Near>,
    pub(super) item: T,
}

#[derive(Serialize)]
struct KeptRef<'a, T> {
    bound: bool,
    nearest: Option<Near>,
    item: &'a T,
}

impl<T> Kept<T> {
    /// As the tiers take it.
    pub(super) fn open(&self) -> Open<'_, T> {
        let nearest = self.nearest.as_ref().map(|near| near.0.clone());
        Open { item: &self.item, bound: self.bound, nearest }
    }
}

/// Adds a record to a buffer; gives its checksum.
pub(super) fn write<T: Item>(open: &Open<'_, T>, out: &mut Vec<u8>) -> Result<u32, postcard::Error> {
    let nearest = open.nearest.clone().map(Near);
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let kept = KeptRef { bound: open.bound, nearest, item: open.item };
    let mut all = postcard::to_extend(&kept, std::mem::take(out))?;
    let Some(record) = all.get_mut(start..) else { return Err(postcard::Error::SerializeBufferFull) };
    let length = u32::try_from(record.len().saturating_sub(HEAD));
    let length = length.map_err(|_| postcard::Error::SerializeBufferFull)?;
    put(record, 8, &hash(open.item.id()).to_le_bytes());
    let check = crc32fast::hash(record.get(8..).unwrap_or_default());
    put(record, 0, &length.to_le_bytes());
    put(record, 4, &check.to_le_bytes());
    *out = all;
    Ok(check)
}

fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    for (slot, byte) in record.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

/// One record as it lies in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'b> {
    /// Where it begins.
    pub(super) at: u64,
    pub(super) check: u32,
    /// Of the item's id.
    pub(super) id: u64,
    /// The hash and the body, which the checksum is over.
    checked: &'b [u8],
}

impl Record<'_> {
    /// Its body, compared with its checksum.
    pub(super) fn body(&self) -> Result<&[u8], &'static str> {
        let holds = crc32fast::hash(self.checked) == self.check;
        self.checked.get(8..).filter(|_| holds).ok_or("the checksum of a record")
    }
}

/// The item of a record's body.
pub(super) fn item<T: Item>(bytes: &[u8]) -> Result<Kept<T>, &'static str> {
    let (item, rest) = postcard::take_from_bytes(bytes).map_err(|_| "a record that cannot be read")?;
    if rest.is_empty() { Ok(item) } else { Err("a record with something behind it") }
}

/// Goes through a file's bytes.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, &'static str>> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let record = record(rest, at);
        at = match &record {
            Ok(record) => at.saturating_add(8).saturating_add(record.checked.len()),
            Err(_) => bytes.len(),
        };
        Some(record)
    })
}

fn record(rest: &[u8], at: usize) -> Result<Record<'_>, &'static str> {
    const CUT: &str = "it is cut off in a record";
    let word = |from: usize| -> Option<u32> {
        let bytes = rest.get(from..from.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (length, check) = (word(0).ok_or(CUT)?, word(4).ok_or(CUT)?);
    let id: [u8; 8] = rest.get(8..HEAD).and_then(|b| b.try_into().ok()).ok_or(CUT)?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(HEAD)).ok_or(CUT)?;
    let checked = rest.get(8..end).ok_or(CUT)?;
    let at = u64::try_from(at).map_err(|_| CUT)?;
    Ok(Record { at, check, id: u64::from_le_bytes(id), checked })
}

/// [`Miss`] as these files have it: its reason is tagged for people elsewhere, which postcard cannot read back.
#[derive(Debug, Serialize, Deserialize)]
struct Near(#[serde(with = "MissDef")] Miss);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Miss")]
struct MissDef {
    tier: Tier,
    #[serde(with = "ReasonDef")]
    reason: Reason,
    other: Box<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Reason")]
enum ReasonDef {
    TooMany,
    OutsideWindow { days: i32 },
    AmountDiffers { by: i64 },
    CurrencyDiffers,
    IdsDiffer,
    KindDiffers,
}
