//! What is compared: the lines a gateway settles by, and what the books expect of it.
//!
//! Every amount is signed as it changes the balance at the gateway: a charge is positive; a refund, a
//! dispute, a fee charged on a line of its own and a payout are negative. Readers of reports bring each
//! source to this convention (some write refunds unsigned).

use std::fmt;
use std::fmt::Write as _;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::ConnectionName;
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// A day, counted from 1970-01-01. Whose midnight it is, the reader of the report decides. In JSON it is written as
/// `2026-11-28`; its number is read too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The UTC day of an instant.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(i32::try_from(at.unix().div_euclid(86_400)).unwrap_or(i32::MAX))
    }
    /// Reads `2026-11-28`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).filter(|_| plain).map(Self::of)
    }
    /// The first instant of the day, UTC.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_unix(i64::from(self.0).saturating_mul(86_400))
    }
    /// Days from `earlier` to `self`; negative where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.saturating_sub(earlier.0)
    }
    /// So many days later.
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }
}
impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_i32(self.0) }
    }
}
impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return i32::deserialize(from).map(Self);
        }
        // As a key of JSON a number is a text as well.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i32),
            Text(String),
        }
        match Written::deserialize(from)? {
            Written::Number(days) => Ok(Self(days)),
            Written::Text(text) => Self::parse(&text)
                .or_else(|| text.parse().ok().map(Self))
                .ok_or_else(|| D::Error::custom("a day is written as 2026-11-28")),
        }
    }
}
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start().day())
    }
}
impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What moved the balance at the gateway.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All kinds with their names as written in rules and reports.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$kind, $name),)*];
            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}
kinds! {
    /// A capture.
    Charge = "charge",
    /// The part of a charge that was never captured, taken back on a row of its own; no refund.
    CaptureReversal = "capture_reversal",
    /// A refund.
    Refund = "refund",
    /// A refund that came back.
    RefundFailure = "refund_failure",
    /// A chargeback: money withdrawn.
    Dispute = "dispute",
    /// A chargeback's money given back.
    DisputeReversal = "dispute_reversal",
    /// What the gateway charges, on a line of its own.
    Fee = "fee",
    /// Tax on what the gateway charges, on a line of its own.
    TaxOnFee = "tax_on_fee",
    /// The gateway's correction.
    Adjustment = "adjustment",
    /// Held back.
    ReserveHold = "reserve_hold",
    /// No longer held back.
    ReserveRelease = "reserve_release",
    /// Sent to the bank.
    Payout = "payout",
    /// A payout that came back from the bank.
    PayoutReversal = "payout_reversal",
    /// What an exchange of the balance gained or cost.
    Fx = "fx",
}
impl Kind {
    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(k, _)| *k)
    }
}

/// The gateway's ids of an object. `own` is the id by which the journal names it: the capture, the refund,
/// the movement of a dispute. `parent` is what it belongs to (the authorization or charge), `payment` the
/// payment object over all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ids {
    /// Of the object itself.
    pub own: Option<Box<str>>,
    /// Of what it belongs to.
    pub parent: Option<Box<str>>,
    /// Of the payment.
    pub payment: Option<Box<str>>,
}

/// What may be shown of a card.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Card {
    /// Brand, lower case.
    pub brand: Box<str>,
    /// Last four digits.
    pub last4: Box<str>,
}

/// One line of a settlement batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementLine {
    /// The gateway's id of the line, unique within the connection.
    pub id: Box<str>,
    /// The batch it came in.
    pub batch: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// The gateway's ids.
    pub ids: Ids,
    /// Our reference, where the gateway gives it back.
    pub reference: Option<Box<str>>,
    /// Before the fee, minor units of `currency`.
    pub gross: i64,
    /// Fee taken on this line, tax on it included, minor units of `currency`; negative is given back.
    pub fee: i64,
    /// Tax inside `fee`, minor units.
    pub fee_tax: i64,
    /// `gross − fee`, as the gateway states it.
    pub net: i64,
    /// Settlement currency.
    pub currency: Currency,
    /// What the customer saw, where it was another currency; signed like `gross`.
    pub presentment: Option<Money>,
    /// When it moved.
    pub day: Day,
    /// The card, where the report names it.
    pub card: Option<Card>,
}

impl SettlementLine {
    /// A sum of a batch that belongs to no object: what a funding kept back, say.
    #[must_use]
    pub fn of_no_object(id: String, batch: &Batch, kind: Kind, minor: i64, day: Day) -> Self {
        Self {
            id: id.into(),
            batch: batch.id.clone(),
            kind,
            ids: Ids::default(),
            reference: None,
            gross: minor,
            fee: 0,
            fee_tax: 0,
            net: minor,
            currency: batch.currency,
            presentment: None,
            day,
            card: None,
        }
    }
    /// Its gross amount in this currency: as settled, else as presented.
    #[must_use]
    pub fn amount_in(&self, currency: Currency) -> Option<i64> {
        if self.currency == currency {
            return Some(self.gross);
        }
        self.presentment.filter(|shown| shown.currency == currency).map(|shown| shown.minor)
    }
    /// What the customer saw.
    #[must_use]
    pub fn tender(&self) -> Money {
        self.presentment.unwrap_or(Money::new(self.gross, self.currency))
    }
    /// Every field, in one text; two lines have the same one only where they are equal.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::from("line");
        let head = [Some(self.id.as_ref()), Some(self.batch.as_ref())].into_iter();
        for part in head.chain(parts(&self.ids, &self.reference)) {
            put(&mut out, part);
        }
        let shown = self.presentment.map(|m| (m.minor, m.currency.code()));
        let _ =
            write!(out, "|{}|{}|{}|{}|{}", self.kind.name(), self.gross, self.fee, self.fee_tax, self.net);
        let _ = write!(out, "|{}|{shown:?}|{}", self.currency.code(), self.day.0);
        put_card(&mut out, self.card.as_ref());
        out
    }
}

/// Why an expectation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The journal has it.
    Booked,
    /// A fee rule says it will come ([`super::Rules::fee_line_of`]); it is booked when it does.
    Ruled,
    /// An effect whose outcome nobody knows yet. A line that names it is evidence that it happened; that no
    /// line comes is evidence of nothing. A charge is named by any gateway id or our reference, anything else
    /// only by its own id or our reference, which must then be that of the effect and not of the order.
    /// Amount, day and card alone never match it.
    Unknown,
    /// A person, or a later fact, said why no line will come. It is neither matched nor missing.
    Explained,
}

/// A line the books expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Id of the journal entry (`capture:…`, `refund:…`, `dispute:…`), or of the command where
    /// [`Standing::Unknown`]; unique within the connection.
    pub id: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// Why it stands.
    pub standing: Standing,
    /// The gateway's ids.
    pub ids: Ids,
    /// Our reference.
    pub reference: Option<Box<str>>,
    /// As booked to the clearing account before any fee, minor units of `currency`.
    pub amount: i64,
    /// Fee booked in the same entry, minor units of `currency`. (A dispute's entry holds its fee.)
    pub booked_fee: i64,
    /// Currency it was booked in.
    pub currency: Currency,
    /// When the line should come: [`super::Rules::due`].
    pub due: Day,
    /// The card, where it is known.
    pub card: Option<Card>,
    /// The order, for people.
    pub order: Option<Box<str>>,
}

impl Expected {
    /// Every field, in one text; two expectations have the same one only where they are equal.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::from("expected");
        let head = [Some(self.id.as_ref()), self.order.as_deref()].into_iter();
        for part in head.chain(parts(&self.ids, &self.reference)) {
            put(&mut out, part);
        }
        let _ = write!(out, "|{}|{:?}|{}", self.kind.name(), self.standing, self.amount);
        let _ = write!(out, "|{}|{}|{}", self.booked_fee, self.currency.code(), self.due.0);
        put_card(&mut out, self.card.as_ref());
        out
    }
}

fn parts<'a>(ids: &'a Ids, reference: &'a Option<Box<str>>) -> [Option<&'a str>; 4] {
    [ids.own.as_deref(), ids.parent.as_deref(), ids.payment.as_deref(), reference.as_deref()]
}

/// Length before text, so that no two lists of parts read the same.
fn put(out: &mut String, part: Option<&str>) {
    let _ = match part {
        Some(text) => write!(out, "|{}:{text}", text.len()),
        None => write!(out, "|-"),
    };
}

fn put_card(out: &mut String, card: Option<&Card>) {
    put(out, card.map(|c| c.brand.as_ref()));
    put(out, card.map(|c| c.last4.as_ref()));
}

/// What is known of the money behind a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Funding {
    /// Known from a payout, a net-funding record or a line of the bank's statement.
    Funded {
        /// What reached the bank, minor units of the batch's currency; negative where the bank was debited.
        payout: i64,
        /// When.
        day: Day,
    },
    /// The batch says what was submitted and nothing about money: it closes as submitted, and the clearing
    /// account stays open until funding is known.
    Submitted,
}

/// Places that the lines of large batches are spread over; a section has one or some that follow each other.
pub const SECTIONS: u16 = 64;

/// The place of lines and expectations that bear this id as their own: FNV-1a.
#[must_use]
pub fn section_of(own: &str) -> u16 {
    let hash = own
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    u16::try_from((hash ^ (hash >> 32)) % u64::from(SECTIONS)).unwrap_or(0)
}

/// A settlement batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The gateway's id of the payout or batch, unique within the connection.
    pub id: Box<str>,
    /// The account at the gateway.
    pub connection: ConnectionName,
    /// Settlement currency.
    pub currency: Currency,
    /// What is known of the money.
    pub funding: Funding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_people_write_them_and_read_in_both_forms() {
        let day = Day::parse("2026-11-28").unwrap();
        assert_eq!(serde_json::to_string(&day).unwrap(), "\"2026-11-28\"");
        for text in ["\"2026-11-28\"", "20785", "\"20785\""] {
            assert_eq!(serde_json::from_str::<Day>(text).unwrap(), day, "{text}");
        }
        let keyed: std::collections::BTreeMap<Day, u8> = serde_json::from_str("{\"2026-11-28\":1}").unwrap();
        assert_eq!(serde_json::to_string(&keyed).unwrap(), "{\"2026-11-28\":1}");
        for bad in ["\"\"", "\"2026-11-31\"", "\"28.11.2026\"", "\"2026-11-28T00\"", "1.5"] {
            assert!(serde_json::from_str::<Day>(bad).is_err(), "{bad}");
        }
        let funding: Funding =
            serde_json::from_str("{\"is\":\"funded\",\"payout\":1,\"day\":\"2026-11-28\"}").unwrap();
        assert_eq!(funding, Funding::Funded { payout: 1, day });
    }
}
