//! The files of the bench: one row an item, all fields. No gateway writes them; the readers of gateways' reports are in the
//! connectors. Columns are read by position, after the header was compared.

use std::fs::File;
use std::path::Path;

use anyhow::anyhow;
use csv::ByteRecord;
use tillway_core::money::{Currency, Money};
use tillway_core::settle::{Card, Day, Expected, Ids, Kind, SettlementLine, Standing};
use tillway_host::settle::SourceError;

pub const LINE: [&str; 17] = [
    "id",
    "batch",
    "kind",
    "own",
    "parent",
    "payment",
    "reference",
    "gross",
    "fee",
    "fee_tax",
    "net",
    "currency",
    "shown",
    "shown_currency",
    "day",
    "brand",
    "last4",
];
pub const EXPECTED: [&str; 14] = [
    "id",
    "kind",
    "standing",
    "own",
    "parent",
    "payment",
    "reference",
    "amount",
    "booked_fee",
    "currency",
    "due",
    "brand",
    "last4",
    "order",
];
const STANDINGS: [(Standing, &str); 4] = [
    (Standing::Booked, "booked"),
    (Standing::Ruled, "ruled"),
    (Standing::Unknown, "unknown"),
    (Standing::Explained, "explained"),
];

type Writer = csv::Writer<File>;

pub fn writer(file: &Path, columns: &[&str]) -> anyhow::Result<Writer> {
    let mut writer = csv::WriterBuilder::new().buffer_capacity(1 << 18).from_path(file)?;
    writer.write_record(columns)?;
    Ok(writer)
}

fn text(text: &Option<Box<str>>) -> &str {
    text.as_deref().unwrap_or_default()
}

fn card(card: Option<&Card>) -> [&str; 2] {
    card.map_or(["", ""], |c| [&c.brand, &c.last4])
}

pub fn put_line(to: &mut Writer, l: &SettlementLine) -> anyhow::Result<()> {
    let [gross, fee, tax, net] = [l.gross, l.fee, l.fee_tax, l.net].map(|n| n.to_string());
    let shown = l.presentment.map(|m| m.minor.to_string()).unwrap_or_default();
    let shown_currency = l.presentment.map_or("", |m| m.currency.code());
    let day = l.day.0.to_string();
    let [brand, last4] = card(l.card.as_ref());
    to.write_record([
        &l.id,
        &l.batch,
        l.kind.name(),
        text(&l.ids.own),
        text(&l.ids.parent),
        text(&l.ids.payment),
        text(&l.reference),
        &gross,
        &fee,
        &tax,
        &net,
        l.currency.code(),
        &shown,
        shown_currency,
        &day,
        brand,
        last4,
    ])?;
    Ok(())
}

pub fn put_expected(to: &mut Writer, e: &Expected) -> anyhow::Result<()> {
    let [amount, fee] = [e.amount, e.booked_fee].map(|n| n.to_string());
    let day = e.due.0.to_string();
    let standing = STANDINGS.iter().find(|(s, _)| *s == e.standing).map_or("", |(_, name)| name);
    let [brand, last4] = card(e.card.as_ref());
    to.write_record([
        &e.id,
        e.kind.name(),
        standing,
        text(&e.ids.own),
        text(&e.ids.parent),
        text(&e.ids.payment),
        text(&e.reference),
        &amount,
        &fee,
        e.currency.code(),
        &day,
        brand,
        last4,
        text(&e.order),
    ])?;
    Ok(())
}

/// Reads rows one after the other.
pub struct Reader<T> {
    rows: csv::Reader<File>,
    row: ByteRecord,
    read: fn(&Row<'_>) -> Option<T>,
}

impl<T> Reader<T> {
    pub fn open(file: &Path, columns: &[&str], read: fn(&Row<'_>) -> Option<T>) -> Result<Self, SourceError> {
        let mut rows = csv::ReaderBuilder::new().buffer_capacity(1 << 18).from_path(file)?;
        if rows.byte_headers()?.iter().ne(columns.iter().map(|c| c.as_bytes())) {
            return Err(anyhow!("{}: other columns than {columns:?}", file.display()).into());
        }
        Ok(Self { rows, row: ByteRecord::new(), read })
    }
}

impl<T> Iterator for Reader<T> {
    type Item = Result<T, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.read_byte_record(&mut self.row) {
            Ok(false) => None,
            Ok(true) => Some((self.read)(&Row(&self.row)).ok_or_else(|| "a cell cannot be read".into())),
            Err(error) => Some(Err(error.into())),
        }
    }
}

/// The cells of one row.
pub struct Row<'r>(&'r ByteRecord);

impl Row<'_> {
    fn cell(&self, at: usize) -> Option<&str> {
        std::str::from_utf8(self.0.get(at)?).ok()
    }
    fn some(&self, at: usize) -> Option<Option<Box<str>>> {
        let cell = self.cell(at)?;
        Some((!cell.is_empty()).then(|| cell.into()))
    }
    fn number<N: std::str::FromStr>(&self, at: usize) -> Option<N> {
        self.cell(at)?.parse().ok()
    }
    fn currency(&self, at: usize) -> Option<Currency> {
        Currency::parse(self.cell(at)?).ok()
    }
    fn ids(&self, at: usize) -> Option<Ids> {
        let [own, parent, payment] = [at, at.saturating_add(1), at.saturating_add(2)];
        Some(Ids { own: self.some(own)?, parent: self.some(parent)?, payment: self.some(payment)? })
    }
    fn card(&self, at: usize) -> Option<Option<Card>> {
        let (brand, last4) = (self.some(at)?, self.some(at.saturating_add(1))?);
        Some(brand.zip(last4).map(|(brand, last4)| Card { brand, last4 }))
    }
}

pub fn line(row: &Row<'_>) -> Option<SettlementLine> {
    let shown = match row.cell(12)? {
        "" => None,
        _ => Some(Money::new(row.number(12)?, row.currency(13)?)),
    };
    Some(SettlementLine {
        id: row.some(0)??,
        batch: row.cell(1)?.into(),
        kind: Kind::parse(row.cell(2)?)?,
        ids: row.ids(3)?,
        reference: row.some(6)?,
        gross: row.number(7)?,
        fee: row.number(8)?,
        fee_tax: row.number(9)?,
        net: row.number(10)?,
        currency: row.currency(11)?,
        presentment: shown,
        day: Day(row.number(14)?),
        card: row.card(15)?,
    })
}

pub fn expected(row: &Row<'_>) -> Option<Expected> {
    let standing = row.cell(2)?;
    Some(Expected {
        id: row.some(0)??,
        kind: Kind::parse(row.cell(1)?)?,
        standing: STANDINGS.iter().find(|(_, name)| *name == standing)?.0,
        ids: row.ids(3)?,
        reference: row.some(6)?,
        amount: row.number(7)?,
        booked_fee: row.number(8)?,
        currency: row.currency(9)?,
        due: Day(row.number(10)?),
        card: row.card(11)?,
        order: row.some(13)?,
    })
}
