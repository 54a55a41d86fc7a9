//! Ids that look like the real ones and carry their row, so that finding an object needs no map.

use crate::faults::mix;

/// A row of one table; rows are never removed or moved.
pub(super) type Row = usize;

/// Kinds of objects that have an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Customer,
    Payment,
    Charge,
    Refund,
    Dispute,
    Review,
    Txn,
    Payout,
    Event,
    Endpoint,
    Warning,
    Request,
    Secret,
    Other,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Customer => "cus_",
            Self::Payment => "pi_",
            Self::Charge => "ch_",
            Self::Refund => "re_",
            Self::Dispute => "dp_",
            Self::Review => "prv_",
            Self::Txn => "txn_",
            Self::Payout => "po_",
            Self::Event => "evt_",
            Self::Endpoint => "we_",
            Self::Warning => "issfr_",
            Self::Request => "req_",
            Self::Secret => "_secret_",
            Self::Other => "sbx_",
        }
    }

    /// The name used in "No such …" messages.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Payment => "payment_intent",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Dispute => "dispute",
            Self::Review => "review",
            Self::Txn => "balance transaction",
            Self::Payout => "payout",
            Self::Event => "event",
            Self::Endpoint => "webhook endpoint",
            Self::Warning => "early fraud warning",
            Self::Request | Self::Secret | Self::Other => "object",
        }
    }

    const fn salt(self) -> u64 {
        match self {
            Self::Customer => 1,
            Self::Payment => 2,
            Self::Charge => 3,
            Self::Refund => 4,
            Self::Dispute => 5,
            Self::Review => 6,
            Self::Txn => 7,
            Self::Payout => 8,
            Self::Event => 9,
            Self::Endpoint => 10,
            Self::Warning => 11,
            Self::Request => 12,
            Self::Secret => 13,
            Self::Other => 14,
        }
    }
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SERIAL_LEN: usize = 6;

fn push_digits(out: &mut String, mut value: u64, len: usize) {
    let mut buffer = [b'0'; 16];
    for slot in buffer.iter_mut().take(len) {
        let digit = usize::try_from(value % 62).unwrap_or(0);
        *slot = DIGITS.get(digit).copied().unwrap_or(b'0');
        value /= 62;
    }
    out.extend(buffer.iter().take(len).rev().map(|b| char::from(*b)));
}

/// Makes ids from a seed: the same seed gives the same ids, different seeds different ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    seed: u64,
}

impl Ids {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The id of a row: prefix, 18 characters drawn from the seed (8 for customers and requests, whose
    /// real ids are shorter), and the row.
    pub(super) fn id(self, kind: Kind, row: Row) -> String {
        let serial = u64::try_from(row).unwrap_or(u64::MAX);
        let base = mix(self.seed ^ kind.salt().wrapping_mul(0x0123_4567_89AB_CDEF)) ^ serial;
        let mut out = String::with_capacity(32);
        out.push_str(kind.prefix());
        match kind {
            Kind::Customer | Kind::Request => push_digits(&mut out, mix(base), 8),
            _ => {
                push_digits(&mut out, mix(base), 9);
                push_digits(&mut out, mix(base ^ 0x5555_5555_5555_5555), 9);
            }
        }
        push_digits(&mut out, serial, SERIAL_LEN);
        out
    }

    /// The row an id stands for, if this sandbox can have made it.
    pub(super) fn row(self, kind: Kind, id: &str) -> Option<Row> {
        if !id.is_ascii() || id.len() <= SERIAL_LEN {
            return None;
        }
        let (_, serial) = id.split_at(id.len() - SERIAL_LEN);
        let value = serial.bytes().try_fold(0_u64, |sum, b| {
            let digit = DIGITS.iter().position(|d| *d == b)?;
            Some(sum * 62 + u64::try_from(digit).ok()?)
        })?;
        let row = usize::try_from(value).ok()?;
        (self.id(kind, row) == id).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_row_and_depend_on_the_seed() {
        let ids = Ids::new(7);
        for row in [0, 1, 61, 62, 1_000_003] {
            let id = ids.id(Kind::Payment, row);
            assert_eq!((id.len(), ids.row(Kind::Payment, &id)), (27, Some(row)));
            assert_eq!(Ids::new(8).row(Kind::Payment, &id), None);
            assert_eq!(ids.row(Kind::Charge, &id.replace("pi_", "ch_")), None);
        }
        assert_eq!(ids.row(Kind::Payment, "pi_"), None);
        assert_eq!(ids.row(Kind::Payment, "pi_ünïcode"), None);
    }
}
