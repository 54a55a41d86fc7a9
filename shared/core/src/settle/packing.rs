//! The best set of disjoint groups over a handful of items, exactly: as many groups as possible, then least
//! cost; and which groups every best set agrees on.

/// Most items solved exactly. Beyond it the table of subsets would be too large, and the items stay open.
pub(super) const MAX_ITEMS: usize = 14;

/// A possible group: its items as bits, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) items: u32,
    pub(super) cost: u64,
}

/// What the best sets have in common.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// Candidates that are in every best set, by position.
    pub(super) agreed: Vec<usize>,
    /// Items that some best set groups and of which the best sets do not agree.
    pub(super) tied: u32,
}

/// Groups (more is better) and cost (less is better).
type Score = (u32, u64);

fn better(a: Score, b: Score) -> bool {
    a.0 > b.0 || a.0 == b.0 && a.1 < b.1
}

/// Solves for `count` items, at most [`MAX_ITEMS`]; more give nothing.
pub(super) fn pack(count: usize, candidates: &[Candidate]) -> Packed {
    if count > MAX_ITEMS || candidates.is_empty() {
        return Packed::default();
    }
    if candidates.iter().fold(u32::MAX, |common, c| common & c.items) != 0 {
        return one_of(candidates);
    }
    let full = (1_u32 << count).saturating_sub(1);
    let mut by_lowest: Vec<Vec<Candidate>> = vec![Vec::new(); count];
    for candidate in candidates {
        if let Some(list) = by_lowest.get_mut(lowest(candidate.items)) {
            list.push(*candidate);
        }
    }
    // best[free] is the best score with only these items free.
    let mut best: Vec<Score> = Vec::with_capacity(1 << count);
    best.push((0, 0));
    let at = |best: &[Score], free: u32| {
        usize::try_from(free).ok().and_then(|i| best.get(i)).copied().unwrap_or((0, 0))
    };
    for free in 1..=full {
        let first = lowest(free);
        let mut score = at(&best, free & free.saturating_sub(1));
        for candidate in by_lowest.get(first).into_iter().flatten() {
            if candidate.items & !free == 0 {
                let with = plus(at(&best, free & !candidate.items), candidate.cost);
                if better(with, score) {
                    score = with;
                }
            }
        }
        best.push(score);
    }
    let optimum = at(&best, full);
    let in_some = |c: &Candidate| plus(at(&best, full & !c.items), c.cost) == optimum;
    let some: Vec<usize> =
        candidates.iter().enumerate().filter(|(_, c)| in_some(c)).map(|(i, _)| i).collect();
    // A group of a best set is in all of them unless another group of some best set takes one of its items: a
    // best set that left all its items free could take it in and would be better.
    let (mut once, mut twice) = (0_u32, 0_u32);
    let items = |i: &usize| candidates.get(*i).map_or(0, |c| c.items);
    for i in &some {
        twice |= once & items(i);
        once |= items(i);
    }
    let mut out = Packed::default();
    for i in some {
        if items(&i) & twice == 0 {
            out.agreed.push(i);
        } else {
            out.tied |= items(&i);
        }
    }
    out
}

/// Candidates that all share an item: one of them at most, the cheapest.
fn one_of(candidates: &[Candidate]) -> Packed {
    let least = candidates.iter().map(|c| c.cost).min();
    let cheapest = || candidates.iter().enumerate().filter(|(_, c)| Some(c.cost) == least);
    match cheapest().count() {
        1 => Packed { agreed: cheapest().map(|(i, _)| i).collect(), tied: 0 },
        _ => Packed { agreed: Vec::new(), tied: cheapest().fold(0, |items, (_, c)| items | c.items) },
    }
}

const fn plus(score: Score, cost: u64) -> Score {
    (score.0.saturating_add(1), score.1.saturating_add(cost))
}

fn lowest(items: u32) -> usize {
    usize::try_from(items.trailing_zeros()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(count: usize, list: &[(u32, u64)]) -> Packed {
        let candidates: Vec<Candidate> =
            list.iter().map(|&(items, cost)| Candidate { items, cost }).collect();
        pack(count, &candidates)
    }

    #[test]
    fn more_groups_win_over_less_cost() {
        assert_eq!(solve(4, &[(0b0110, 0), (0b0011, 9), (0b1100, 9)]).agreed, [1, 2]);
    }

    #[test]
    fn what_best_sets_disagree_on_is_tied_and_the_rest_is_agreed() {
        let packed = solve(5, &[(0b00011, 1), (0b00101, 1), (0b11000, 4)]);
        assert_eq!(packed, Packed { agreed: vec![2], tied: 0b00111 });
    }

    #[test]
    fn a_dearer_group_is_no_tie() {
        assert_eq!(solve(3, &[(0b011, 1), (0b101, 2)]), Packed { agreed: vec![0], tied: 0 });
        assert_eq!(solve(4, &[(0b0011, 1), (0b0101, 2), (0b1001, 1)]).tied, 0b1011);
    }
}
