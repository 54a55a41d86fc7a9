//! Holds a day, and the days before it, against what was to be expected.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Expectation, Point, Score, Varies};
use super::{DayFigures, Expected, Figure, Finding, Measured, Settings, Sum};
use crate::settle::line::Day;

/// Lengths of what is judged, in days.
const STRETCHES: [i32; 3] = [1, 3, 7];
/// Days just before the one judged that the expectation does not rest on.
const LONGEST: i32 = 7;
/// Furthest that a finding is traced back, in days.
const BACK: i32 = 28;
/// Deviations of a day, in hundredths, beyond which it may be part of what was found.
const GOES_ON: i64 = 100;

/// What is out of the ordinary on `day`. `history` holds days in any order, of each at most one; a day that is missing was
/// not looked at, a day without a figure had none. Findings are sorted by how far out they lie.
#[must_use]
pub fn watch(history: &[DayFigures], day: Day, settings: &Settings) -> Vec<Finding> {
    let by_day: BTreeMap<Day, &DayFigures> = history.iter().map(|d| (d.day, d)).collect();
    let figures: BTreeSet<&Figure> = by_day.values().flat_map(|d| d.figures.keys()).collect();
    let mut found: Vec<Finding> = figures
        .into_iter()
        .filter_map(|figure| Case { figure, by_day: &by_day, day }.judge(settings))
        .collect();
    found.sort_by(|a, b| {
        (b.deviations.unsigned_abs(), &a.figure).cmp(&(a.deviations.unsigned_abs(), &b.figure))
    });
    found
}

/// Every figure of a day beside what was to be expected of it.
#[must_use]
pub fn measured(history: &[DayFigures], day: Day, settings: &Settings) -> Vec<Measured> {
    let by_day: BTreeMap<Day, &DayFigures> = history.iter().map(|d| (d.day, d)).collect();
    let figures: BTreeSet<&Figure> = by_day.values().flat_map(|d| d.figures.keys()).collect();
    let of = |figure| Case { figure, by_day: &by_day, day }.measured(settings);
    figures.into_iter().filter_map(of).collect()
}

struct Case<'a> {
    figure: &'a Figure,
    by_day: &'a BTreeMap<Day, &'a DayFigures>,
    day: Day,
}

impl Case<'_> {
    /// The days an expectation rests on, and it, where they are enough.
    fn past(&self, settings: &Settings) -> (usize, Option<Expectation>) {
        let end = self.day.plus(-LONGEST);
        let past = self.points(end.plus(1 - settings.history), end);
        let enough = past.len() >= settings.fewest_days;
        (past.len(), if enough { Expectation::of(&past, varies(self.figure)) } else { None })
    }

    fn measured(&self, settings: &Settings) -> Option<Measured> {
        let points = self.points(self.day, self.day);
        let own = points.first()?;
        let (days, model) = self.past(settings);
        let score = model.as_ref().and_then(|model| model.score(&points));
        let plain = u128::from(own.part) * 1_000_000 / u128::from(own.of.max(1));
        Some(Measured {
            figure: self.figure.clone(),
            part: own.part,
            of: own.of,
            days: u64::try_from(days).unwrap_or(u64::MAX),
            measured: u64::try_from(plain).unwrap_or(u64::MAX),
            expected: score.map(|s| Expected {
                value: s.expected,
                spread: s.spread,
                deviations: s.deviations,
            }),
        })
    }

    fn judge(&self, settings: &Settings) -> Option<Finding> {
        let end = self.day.plus(-LONGEST);
        let model = self.past(settings).1?;
        let scored = STRETCHES.into_iter().filter_map(|days| {
            let points = self.points(self.day.plus(1 - days), self.day);
            // What is found of a stretch must reach to its last day.
            points.last()?;
            Some((days, model.score(&points)?))
        });
        let (days, score) = scored
            .filter(|(_, score)| self.matters(score, settings))
            .max_by_key(|(days, score)| (score.deviations.unsigned_abs(), -days))?;
        // Where the days that go on to the judged one say enough by themselves, they tell since when.
        let since = self.since(&model, settings, score.deviations > 0);
        let first = since.unwrap_or(self.day.plus(1 - days));
        let points = self.points(first, self.day);
        let whole = model.score(&points)?;
        Some(Finding {
            figure: self.figure.clone(),
            since: first,
            day: self.day,
            part: points.iter().fold(0, |sum, p| sum.saturating_add(p.part)),
            of: points.iter().fold(0, |sum, p| sum.saturating_add(p.of)),
            measured: whole.measured,
            expected: whole.expected,
            spread: whole.spread,
            days: model.days,
            deviations: score.deviations,
            most: self.most(first, end.plus(1 - settings.history), end, score.deviations > 0),
        })
    }

    fn matters(&self, score: &Score, settings: &Settings) -> bool {
        let change = u128::from(score.measured.abs_diff(score.expected)) * 1000;
        score.deviations.unsigned_abs() >= u64::from(settings.alarm)
            && change >= u128::from(score.expected) * u128::from(Settings::least(self.figure))
    }

    /// Of the days that reach to the judged one and all lie on the same side, the first of those that together lie
    /// furthest out.
    fn since(&self, model: &Expectation, settings: &Settings, above: bool) -> Option<Day> {
        let mut best: Option<(u64, Day)> = None;
        for back in 0..BACK {
            let at = self.day.plus(-back);
            if !self.by_day.contains_key(&at) {
                break;
            }
            // A day without exposure says nothing.
            let Some(own) = model.score(&self.points(at, at)) else { continue };
            if (own.deviations > 0) != above || own.deviations.abs() < GOES_ON {
                break;
            }
            if let Some(all) = model.score(&self.points(at, self.day)).filter(|s| self.matters(s, settings))
                && best.is_none_or(|(most, _)| all.deviations.unsigned_abs() >= most)
            {
                best = Some((all.deviations.unsigned_abs(), at));
            }
        }
        best.map(|(_, first)| first)
    }

    fn points(&self, first: Day, last: Day) -> Vec<Point> {
        self.sums(first, last).map(|(day, sum)| point(self.figure, day, sum)).filter(|p| p.of > 0).collect()
    }

    fn sums(&self, first: Day, last: Day) -> impl Iterator<Item = (Day, Option<&Sum>)> {
        let days = if first <= last { Some(self.by_day.range(first..=last)) } else { None };
        let per_day = matches!(self.figure, Figure::Payments | Figure::Volume { .. });
        days.into_iter()
            .flatten()
            .map(|(day, figures)| (*day, figures.figures.get(self.figure)))
            .filter(move |(_, sum)| sum.is_some() || per_day)
    }

    /// The kind that is most above its share of the past.
    fn most(&self, first: Day, past_first: Day, past_last: Day, above: bool) -> Option<(Box<str>, u64)> {
        if !above {
            return None;
        }
        let count = |first, last| {
            let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
            for (kind, count) in self.sums(first, last).filter_map(|(_, s)| s).flat_map(|s| &s.kinds) {
                *kinds.entry(kind).or_default() += count;
            }
            kinds
        };
        let (now, past) = (count(first, self.day), count(past_first, past_last));
        let total = |kinds: &BTreeMap<&str, u64>| i128::from(kinds.values().sum::<u64>());
        let (all_now, all_past) = (total(&now), total(&past).max(1));
        let surplus = |kind: &str, count: u64| {
            let before = i128::from(past.get(kind).copied().unwrap_or(0));
            i128::from(count) * all_past - before * all_now
        };
        let (kind, count) = now.into_iter().max_by_key(|(kind, count)| (surplus(kind, *count), *kind))?;
        // Of what there is hardly more than ever nothing is said.
        (surplus(kind, count) * 2 > i128::from(count) * all_past).then(|| (kind.into(), count))
    }
}

fn point(figure: &Figure, day: Day, sum: Option<&Sum>) -> Point {
    let weekday = usize::try_from(day.0.rem_euclid(7)).unwrap_or(0);
    // A day without a line is a day of no volume.
    let Some(sum) = sum else { return Point { part: 0, of: 1, weekday, lumps: None } };
    let lumps = match figure {
        Figure::FeeRate { .. } => Some((sum.of, sum.squares)),
        Figure::Volume { .. } => Some((sum.part, sum.squares)),
        _ => None,
    };
    Point { part: sum.part, of: sum.of, weekday, lumps }
}

const fn varies(figure: &Figure) -> Varies {
    match figure {
        Figure::DeclineRate | Figure::RefundRate | Figure::DisputeRate | Figure::Payments => Varies::Counts,
        Figure::FeeRate { .. } => Varies::Measured(8),
        Figure::Delay => Varies::Steps(20),
        Figure::Volume { .. } => Varies::Amounts,
    }
}
