//! Digests of a batch's lines: one that is issued again with changes is noticed.

use sha2::{Digest as _, Sha256};
use tillway_core::settle::SettlementLine;

/// SHA-256 over all lines, by id: of a batch that is held at once.
pub(super) fn digest(lines: &[SettlementLine]) -> String {
    let mut sorted: Vec<&SettlementLine> = lines.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut hasher = Sha256::new();
    for line in sorted {
        let text = line.canonical();
        hasher.update(text.len().to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hex::encode(hasher.finalize())
}

/// Begins the text of a [`Digest`].
const SUM: &str = "sum:";

/// The sum of the SHA-256 of each line, modulo 2^256: it does not depend on their order, so it can be told of lines that are never
/// together, and of sections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these lines.
    #[must_use]
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l SettlementLine>) -> Self {
        let mut sum = Self::default();
        lines.into_iter().for_each(|line| sum.line(line));
        sum
    }

    /// Takes a line in.
    pub fn line(&mut self, line: &SettlementLine) {
        self.add(&Self(Sha256::digest(line.canonical().as_bytes()).into()));
    }

    /// Takes another sum in.
    pub fn add(&mut self, other: &Self) {
        let mut carry = 0_u16;
        for (own, more) in self.0.iter_mut().zip(other.0).rev() {
            let sum = u16::from(*own) + u16::from(more) + carry;
            let [high, low] = sum.to_be_bytes();
            (*own, carry) = (low, u16::from(high));
        }
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{SUM}{}", hex::encode(self.0))
    }

    /// From its text; `None`: it is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = hex::decode(text.strip_prefix(SUM)?).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

/// A line's id in a few bytes, for lists of all ids of a run.
pub(super) fn id_mark(id: &str) -> u128 {
    let hash: [u8; 32] = Sha256::digest(id.as_bytes()).into();
    let (head, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    u128::from_be_bytes(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_sums_is_the_sum_and_its_text_is_read_again() {
        let one = Digest([0xff; 32]);
        let mut two = one;
        two.add(&one);
        // 2^256 - 2.
        let mut wanted = [0xff; 32];
        wanted[31] = 0xfe;
        assert_eq!(two, Digest(wanted));
        two.add(&Digest({
            let mut least = [0; 32];
            least[31] = 2;
            least
        }));
        assert_eq!(two, Digest::default());
        assert_eq!(Digest::parse(&one.text()), Some(one));
        for other in ["", "sum:", "sum:00", "ff", &digest(&[])] {
            assert_eq!(Digest::parse(other), None, "{other}");
        }
    }
}
