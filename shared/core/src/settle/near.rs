//! What two items are to each other, and the small sums a bucket needs.

use super::line::{Expected, Ids, SettlementLine};
use super::outcome::{Miss, Open, Reason, Tier};
use super::rules::Window;
use crate::money::Currency;

/// A miss of a tier (reason, difference, days, rank of the other): the nearest is the least.
pub(super) type Near = (Reason, u64, u64, usize);

/// A sum that stops at the ends of 64 bits.
pub(super) fn total(amounts: impl Iterator<Item = i64>) -> i64 {
    let sum: i128 = amounts.map(i128::from).sum();
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// What is not done, each with the nearer of its misses.
pub(super) fn left<'a, T>(
    items: Vec<Open<'a, T>>,
    done: &[bool],
    misses: Vec<Option<Miss>>,
) -> Vec<Open<'a, T>> {
    let open = items.into_iter().zip(done).zip(misses).filter(|((_, done), _)| !**done);
    open.map(|((mut item, _), miss)| {
        let before = item.nearest.take();
        item.nearest = [before, miss].into_iter().flatten().min_by_key(rank);
        item
    })
    .collect()
}

/// An item that is named is nearer than one that only looks alike; then the lesser reason; then the tier.
pub(super) const fn rank(miss: &Miss) -> (bool, u8, Tier) {
    (!miss.tier.is_identity(), miss.reason.rank(), miss.tier)
}

pub(super) fn note(misses: &mut [Option<Near>], i: usize, near: Near) {
    let key = |n: &Near| (n.0.rank(), n.1, n.2, n.3);
    if let Some(slot) = misses.get_mut(i)
        && slot.as_ref().is_none_or(|old| key(&near) < key(old))
    {
        *slot = Some(near);
    }
}

pub(super) fn why_not(tier: Tier, window: Window, line: &SettlementLine, e: &Expected) -> Reason {
    if line.kind != e.kind {
        return Reason::KindDiffers;
    }
    if contradict(tier, line, e) {
        return Reason::IdsDiffer;
    }
    let Some(amount) = line.amount_in(e.currency) else { return Reason::CurrencyDiffers };
    let by = amount.saturating_sub(e.amount);
    if by == 0 && window.holds(line.day, e.due) {
        return Reason::TooMany;
    }
    if by == 0 {
        return Reason::OutsideWindow { days: line.day.since(e.due) };
    }
    Reason::AmountDiffers { by }
}

/// Whether both name an object of their own, and neither is named by the other.
pub(super) fn apart(a: &Ids, b: &Ids) -> bool {
    let (Some(x), Some(y)) = (&a.own, &b.own) else { return false };
    let names = |ids: &Ids, id: &str| ids.parent.as_deref() == Some(id) || ids.payment.as_deref() == Some(id);
    x != y && !names(a, y) && !names(b, x)
}

/// Whether what they say of themselves speaks against a match by this tier.
pub(super) fn contradict(tier: Tier, line: &SettlementLine, e: &Expected) -> bool {
    let differ = |a: Option<&Box<str>>, b: Option<&Box<str>>| a.is_some() && b.is_some() && a != b;
    if tier == Tier::OwnId {
        return false;
    }
    apart(&line.ids, &e.ids)
        || !tier.is_identity()
            && (differ(line.reference.as_ref(), e.reference.as_ref())
                || differ(line.ids.payment.as_ref(), e.ids.payment.as_ref())
                || line.card.is_some() && e.card.is_some() && line.card != e.card)
}

/// Currencies a line's amount is known in.
pub(super) fn currencies(line: &SettlementLine) -> impl Iterator<Item = Currency> {
    let shown = line.presentment.map(|m| m.currency).filter(|c| *c != line.currency);
    std::iter::once(line.currency).chain(shown)
}

/// Sets of two or more of `parts` (amount, cost, rank) that sum to `target`: their ranks, and the cost of the
/// dearest. At most [`MAX_ITEMS`] parts.
pub(super) fn subsets(parts: &[(i64, u64, usize)], target: i64) -> Vec<(Vec<usize>, u64)> {
    let mut out = Vec::new();
    for mask in 1_u32..1_u32.checked_shl(u32::try_from(parts.len()).unwrap_or(31)).unwrap_or(1) {
        if mask.count_ones() < 2 {
            continue;
        }
        let chosen = || parts.iter().enumerate().filter(|(i, _)| mask & 1 << i != 0).map(|(_, p)| p);
        if chosen().map(|p| i128::from(p.0)).sum::<i128>() == i128::from(target) {
            out.push((chosen().map(|p| p.2).collect(), chosen().map(|p| p.1).max().unwrap_or(0)));
        }
    }
    out
}

/// For each of `count` places the least place it is joined with, by sets of places that are joined.
pub(super) fn components<'p>(count: usize, joined: impl Iterator<Item = &'p Vec<usize>>) -> Vec<usize> {
    let mut root: Vec<usize> = (0..count).collect();
    let find = |root: &[usize], mut i: usize| {
        while let Some(up) = root.get(i).copied().filter(|up| *up != i) {
            i = up;
        }
        i
    };
    for places in joined {
        let Some(first) = places.first() else { continue };
        for place in places {
            let (a, b) = (find(&root, *first), find(&root, *place));
            if let Some(slot) = root.get_mut(a.max(b)) {
                *slot = a.min(b);
            }
        }
    }
    (0..count).map(|i| find(&root, i)).collect()
}
