//! Ids that look like the real ones and depend on nothing but the seed and a count.

use tillway_core::ids::digest;

use crate::faults::mix;

/// A row of one table; rows are never removed or moved.
pub(super) type Row = usize;

/// Kinds of ids beside a transaction's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Customer,
    Instrument,
    Webhook,
    Search,
    Trace,
    Correlation,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Instrument => "instrument",
            Self::Webhook => "webhook",
            Self::Search => "search",
            Self::Trace => "trace",
            Self::Correlation => "correlation",
        }
    }
}

/// Rows an id can carry.
const ROWS: u64 = 1_000_000_000;
const DRAWN: u64 = 100_000_000_000;

/// Makes ids: the same seed gives the same ids, different seeds different ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    seed: u64,
}

impl Ids {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A transaction's id: 22 digits, of which the last nine are its row.
    pub(super) fn tx(self, row: Row) -> String {
        let serial = u64::try_from(row).unwrap_or(u64::MAX) % ROWS;
        let drawn = mix(self.seed ^ mix(serial)) % DRAWN;
        format!("76{drawn:011}{serial:09}")
    }

    /// The row a transaction's id stands for, if this sandbox can have made it.
    pub(super) fn tx_row(self, id: &str) -> Option<Row> {
        let serial = id.get(13..).filter(|s| s.len() == 9 && s.bytes().all(|b| b.is_ascii_digit()))?;
        let row = serial.parse().ok()?;
        (self.tx(row) == id).then_some(row)
    }

    /// A number drawn from the seed, below `below`.
    pub(super) const fn number(self, salt: u64, row: u64, below: u64) -> u64 {
        mix(self.seed ^ mix(salt) ^ mix(row.wrapping_add(0x5EED))) % below
    }

    fn hex(self, kind: Kind, row: Row) -> String {
        let (seed, row) = (self.seed.to_string(), row.to_string());
        // 40 hexadecimal digits of SHA-256.
        digest(&["cybersource sandbox", kind.name(), &seed, &row])
    }

    /// A token of the vault: 32 upper-case hexadecimal digits.
    pub(super) fn token(self, kind: Kind, row: Row) -> String {
        self.hex(kind, row).chars().take(32).collect::<String>().to_ascii_uppercase()
    }

    /// A UUID.
    pub(super) fn uuid(self, kind: Kind, row: Row) -> String {
        let hex = self.hex(kind, row);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("").to_owned();
        format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_row_and_depend_on_the_seed() {
        let ids = Ids::new(7);
        for row in [0, 1, 9, 1_000_003] {
            let id = ids.tx(row);
            assert_eq!((id.len(), ids.tx_row(&id)), (22, Some(row)));
            assert!(id.bytes().all(|b| b.is_ascii_digit()));
            assert_eq!(Ids::new(8).tx_row(&id), None);
        }
        assert_eq!(ids.tx_row("763"), None);
        assert_eq!(ids.tx_row("7638943960206437203955"), None);
        assert_eq!(ids.tx_row("ünïcode-ünïcode-ünïcode"), None);
        assert_eq!(ids.token(Kind::Customer, 1).len(), 32);
        assert_ne!(ids.token(Kind::Customer, 1), ids.token(Kind::Customer, 2));
        assert_eq!(ids.uuid(Kind::Webhook, 3).len(), 36);
    }
}
