//! A certificate for every matched group: what was matched, by what, and a hash over all of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::line::{Expected, SettlementLine};
use super::outcome::Group;

/// A matched group, sealed. The hash covers every field of its lines and expectations, so a certificate
/// says nothing of a report that was read differently later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The group.
    pub group: Group,
    /// SHA-256 of [`canonical`], hex.
    pub hash: String,
}

/// The text a certificate's hash is over.
#[must_use]
pub fn canonical(group: &Group, lines: &[&SettlementLine], expected: &[&Expected]) -> String {
    let mut out = String::from("tillway settlement certificate 1\n");
    let Group { tier, currency, lines_sum, expected_sum, tolerance, .. } = group;
    let _ = writeln!(out, "{}|{}|{lines_sum}|{expected_sum}|{tolerance:?}", tier.name(), currency.code());
    for (count, ids) in [(lines.len(), &group.lines), (expected.len(), &group.expected)] {
        let _ = writeln!(out, "{count}|{ids:?}");
    }
    for text in lines.iter().map(|l| l.canonical()).chain(expected.iter().map(|e| e.canonical())) {
        let _ = writeln!(out, "{}:{text}", text.len());
    }
    out
}

/// The hash of that text.
#[must_use]
pub fn hash(group: &Group, lines: &[&SettlementLine], expected: &[&Expected]) -> String {
    hex::encode(Sha256::digest(canonical(group, lines, expected).as_bytes()))
}

/// Seals groups. A group of which an item is not given is left out, and the checker will miss it.
#[must_use]
pub fn certify(groups: &[Group], lines: &[SettlementLine], expected: &[Expected]) -> Vec<Certificate> {
    let lines: BTreeMap<&str, &SettlementLine> = lines.iter().map(|l| (l.id.as_ref(), l)).collect();
    let expected: BTreeMap<&str, &Expected> = expected.iter().map(|e| (e.id.as_ref(), e)).collect();
    let seal = |group: &Group| {
        let l: Option<Vec<_>> = group.lines.iter().map(|id| lines.get(id.as_ref()).copied()).collect();
        let e: Option<Vec<_>> = group.expected.iter().map(|id| expected.get(id.as_ref()).copied()).collect();
        Some(Certificate { group: group.clone(), hash: hash(group, &l?, &e?) })
    };
    groups.iter().filter_map(seal).collect()
}
