//! The one module of the watch with floating point: a robust quasi-Poisson rate. What goes in and what comes out are whole
//! numbers, and no amount of money depends on them. The logarithm is that of `routing::beta`, so that every machine says
//! the same.
#![allow(
    clippy::float_arithmetic,
    reason = "statistics; results leave as whole millionths and never enter money"
)]

use crate::routing::beta::{ln, whole};

/// A day: sum, exposure, weekday from 0 to 6.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) part: u64,
    pub(super) of: u64,
    pub(super) weekday: usize,
    /// The sum of what it is made of, and of its squares in thousands; their ratio is the size of a lump. Nothing where
    /// all lumps are alike.
    pub(super) lumps: Option<(u64, u64)>,
}

/// What is known of how a figure varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varies {
    /// It counts events: chance is that of Poisson, what days differ beyond it is measured.
    Counts,
    /// It adds up amounts: chance is that of Poisson lumps, what days differ beyond it is measured.
    Amounts,
    /// Chance is measured; days differ by so many thousandths beyond it.
    Measured(u32),
    /// The same of what comes later by whole units, a few at a time.
    Steps(u32),
}

impl Varies {
    /// What days differ by beyond a measured chance, in thousandths; nothing where chance is known.
    const fn floor(self) -> Option<u32> {
        match self {
            Self::Measured(thousandths) | Self::Steps(thousandths) => Some(thousandths),
            Self::Counts | Self::Amounts => None,
        }
    }
}

/// What is expected of a day: its mean, and the variance `chance × lump × mean + (wobble × mean)²`.
#[derive(Debug, Clone)]
pub(super) struct Expectation {
    varies: Varies,
    rate: f64,
    weekdays: [f64; 7],
    chance: f64,
    /// What days differ by beyond chance, squared.
    wobble: f64,
    /// The usual size of a lump.
    lump: f64,
    /// The rate's own variance, in parts of its square.
    doubt: f64,
    pub(super) days: u64,
}

/// What a stretch of days says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Score {
    /// Hundredths of a deviation.
    pub(super) deviations: i64,
    /// Per exposure, millionths.
    pub(super) measured: u64,
    pub(super) expected: u64,
    pub(super) spread: u64,
}

/// Deviations of a day beyond which it does not count for the expectation.
const CLIP: f64 = 3.5;
/// A deviation of a normal distribution, in medians of absolute deviations.
const MAD: f64 = 1.4826;
/// Rounds of fitting.
const ROUNDS: usize = 8;

impl Expectation {
    /// Estimates it; nothing where nothing was seen.
    pub(super) fn of(points: &[Point], varies: Varies) -> Option<Self> {
        let floor = varies.floor().map_or(0.0, |thousandths| f64::from(thousandths) / 1000.0);
        let lump = median(points.iter().filter_map(size).map(|l| (l, 1.0)).collect());
        let mut model = Self {
            varies,
            rate: first_rate(points, varies == Varies::Counts)?,
            weekdays: [1.0; 7],
            chance: 1.0,
            wobble: floor * floor,
            lump: if lump > 0.0 { lump } else { 1.0 },
            doubt: 0.0,
            days: 0,
        };
        model.weekdays = model.first_weekdays(points);
        for _ in 0..ROUNDS {
            model.refit(points);
        }
        Some(model)
    }

    fn mean(&self, p: &Point) -> f64 {
        self.rate * self.weekdays.get(p.weekday).copied().unwrap_or(1.0) * whole(p.of)
    }

    /// Variance over mean.
    fn dispersion(&self, p: &Point, chance: f64, wobble: f64) -> f64 {
        // One lump larger than all that is usual makes its day uncertain, not out of the ordinary.
        let lump = match self.varies {
            Varies::Counts => 1.0,
            Varies::Amounts => size(p).unwrap_or(self.lump).max(self.lump),
            Varies::Measured(_) | Varies::Steps(_) => size(p).map_or(1.0, |l| (l / self.lump).max(0.5)),
        };
        chance * lump + wobble * self.mean(p)
    }

    fn residual(&self, p: &Point) -> f64 {
        let spread = self.dispersion(p, self.chance, self.wobble).max(f64::MIN_POSITIVE).sqrt();
        signed_root(whole(p.part), self.mean(p)) / spread
    }

    /// Medians of each weekday over the rate, where there are enough events that a median means something.
    fn first_weekdays(&self, points: &[Point]) -> [f64; 7] {
        let mut out = [1.0; 7];
        for (weekday, factor) in out.iter_mut().enumerate() {
            let own = points.iter().filter(|p| p.weekday == weekday);
            let ratios: Vec<(f64, f64)> =
                own.map(|p| (whole(p.part) / (self.rate * whole(p.of)), 1.0)).collect();
            let events: u64 = points.iter().filter(|p| p.weekday == weekday).map(|p| p.part).sum();
            let many = u64::try_from(ratios.len()).unwrap_or(u64::MAX).saturating_mul(20);
            if ratios.len() >= 3 && events >= many {
                *factor = median(ratios).max(0.0);
            }
        }
        out
    }

    /// One round: which days count, then spread, rate and weekdays from these.
    fn refit(&mut self, points: &[Point]) {
        let residuals: Vec<f64> = points.iter().map(|p| self.residual(p)).collect();
        let middle = median(residuals.iter().map(|r| (*r, 1.0)).collect());
        let mad = MAD * median(residuals.iter().map(|r| ((r - middle).abs(), 1.0)).collect());
        // Where chance is known, nothing within it is left out.
        let scale = if self.varies.floor().is_some() { mad } else { mad.max(1.0) };
        // However alike the most of them are, two of three days always count.
        let mut away: Vec<f64> = residuals.iter().map(|r| (r - middle).abs()).collect();
        away.sort_by(f64::total_cmp);
        let two_thirds = away.get(away.len() * 2 / 3).copied().unwrap_or(0.0);
        let furthest = (CLIP * scale).max(two_thirds);
        let counts = points.iter().zip(residuals).filter(|(_, r)| (r - middle).abs() <= furthest);
        let kept: Vec<&Point> = counts.map(|(p, _)| p).collect();
        self.days = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        let (mut part, mut mean) = (0.0, 0.0);
        let mut by_weekday = [Weekday::default(); 7];
        self.spread(&kept);
        let mut variance = 0.0;
        for p in &kept {
            let own = self.mean(p);
            part += whole(p.part);
            mean += own;
            variance += self.dispersion(p, self.chance, self.wobble) * own;
            if let Some(weekday) = by_weekday.get_mut(p.weekday) {
                // Nothing that a factor made small may make itself more certain.
                let plain = self.rate * whole(p.of);
                weekday.part += whole(p.part);
                weekday.mean += plain;
                weekday.variance += self.dispersion(p, self.chance, self.wobble) * plain;
            }
        }
        if part <= 0.0 || mean <= 0.0 {
            self.doubt = 1.0;
            return;
        }
        self.doubt = variance / (mean * mean);
        self.rate *= part / mean;
        self.weekdays = shrunk(&by_weekday, part / mean, &self.weekdays);
    }

    /// Finds chance or wobble so that the days kept have a deviation of one.
    fn spread(&mut self, kept: &[&Point]) {
        let left = (number(kept.len()) - 1.0 - 6.0 * self.leaning()).max(1.0);
        let roots: Vec<(f64, &&Point)> =
            kept.iter().map(|p| (signed_root(whole(p.part), self.mean(p)), p)).collect();
        let excess = |chance: f64, wobble: f64| {
            let squares = roots
                .iter()
                .map(|(root, p)| root * root / self.dispersion(p, chance, wobble).max(f64::MIN_POSITIVE));
            squares.sum::<f64>() > left
        };
        // Halving from far outside: enough rounds for ten digits.
        let search = |mut high: f64, above: &dyn Fn(f64) -> bool| {
            let mut low = 0.0;
            for _ in 0..60 {
                let mid = (low + high) / 2.0;
                if above(mid) { low = mid } else { high = mid }
            }
            high
        };
        match self.varies {
            Varies::Measured(_) | Varies::Steps(_) => {
                let most = roots.iter().map(|(root, _)| root * root).fold(1.0, f64::max) * 2.0;
                let wobble = self.wobble;
                self.chance = search(most, &|chance| excess(chance, wobble));
            }
            Varies::Counts | Varies::Amounts if excess(1.0, 0.0) => {
                self.wobble = search(4.0, &|wobble| excess(1.0, wobble));
            }
            Varies::Counts | Varies::Amounts => self.wobble = 0.0,
        }
    }

    /// How much of a parameter of its own each weekday has, 0 to 1.
    fn leaning(&self) -> f64 {
        let away: f64 = self.weekdays.iter().map(|w| (w - 1.0).abs()).sum();
        if away > 0.05 { 1.0 } else { 0.0 }
    }

    /// Scores a stretch of days; nothing without exposure.
    pub(super) fn score(&self, points: &[Point]) -> Option<Score> {
        let of: f64 = points.iter().map(|p| whole(p.of)).sum();
        let part: f64 = points.iter().map(|p| whole(p.part)).sum();
        let mean: f64 = points.iter().map(|p| self.mean(p)).sum();
        if of <= 0.0 || mean <= 0.0 {
            return None;
        }
        let chance = points.iter().map(|p| self.dispersion(p, self.chance, self.wobble) * self.mean(p));
        // The expectation is an estimate too, that of one weekday more so than that of a week.
        let of_weekday = 1.0 + 6.0 * self.leaning() / number(points.len());
        let variance = chance.sum::<f64>() + self.doubt * of_weekday * mean * mean;
        // Counts jump by one: half of it towards the expectation.
        let near = if self.varies == Varies::Counts { part + (mean - part).clamp(-0.5, 0.5) } else { part };
        let dispersion = (variance / mean).max(f64::MIN_POSITIVE);
        let deviations = match self.varies {
            // What varies are a few steps, as many as the variance says: a handful of lines more is no rarity where hardly one is
            // expected. Of many steps it is the same as below; of fewer than are usual there are none to count.
            Varies::Steps(_) if part > mean => {
                signed_root(variance + (part - mean - 0.5).max(0.0), variance.max(f64::MIN_POSITIVE))
            }
            _ => signed_root(near, mean) / dispersion.sqrt(),
        };
        Some(Score {
            deviations: hundredths(deviations),
            measured: millionths(part / of),
            expected: millionths(mean / of),
            spread: millionths(variance.sqrt() / of),
        })
    }
}

/// What the kept days of a weekday hold; `mean` knows no weekdays.
#[derive(Debug, Clone, Copy, Default)]
struct Weekday {
    part: f64,
    mean: f64,
    variance: f64,
}

/// The size of a day's lumps: that of the one which a unit of the sum lies in.
fn size(p: &Point) -> Option<f64> {
    let (sum, squares) = p.lumps.filter(|(sum, squares)| *sum > 0 && *squares > 0)?;
    Some(whole(squares) * 1000.0 / whole(sum))
}

/// The exposure-weighted median of the days' rates; their common rate where that is zero; of events that never came half
/// of one.
fn first_rate(points: &[Point], counts: bool) -> Option<f64> {
    let (part, of): (u64, u64) =
        points.iter().fold((0, 0), |(y, n), p| (y.saturating_add(p.part), n.saturating_add(p.of)));
    if of == 0 {
        return None;
    }
    if part == 0 {
        return counts.then(|| 0.5 / whole(of));
    }
    let seen = points.iter().filter(|p| p.of > 0);
    let middle = median(seen.map(|p| (whole(p.part) / whole(p.of), whole(p.of))).collect());
    Some(if middle > 0.0 { middle } else { whole(part) / whole(of) })
}

/// Weekday factors from what was seen and meant of each, drawn towards 1 as far as chance explains them. A weekday of which
/// no day counts keeps its factor.
fn shrunk(by_weekday: &[Weekday; 7], common: f64, before: &[f64; 7]) -> [f64; 7] {
    // What is seen over what the rate without weekdays says, and the variance that chance gives it.
    let effects: Vec<Option<(f64, f64)>> = by_weekday
        .iter()
        .map(|day| {
            let mean = day.mean * common;
            (mean > 0.0).then(|| (day.part / mean - 1.0, day.variance / (mean * mean)))
        })
        .collect();
    let count = number(effects.iter().flatten().count());
    if count < 2.0 {
        return *before;
    }
    let middle = effects.iter().flatten().map(|(e, _)| e).sum::<f64>() / count;
    let between =
        effects.iter().flatten().map(|(e, _)| (e - middle) * (e - middle)).sum::<f64>() / (count - 1.0);
    let chance = effects.iter().flatten().map(|(_, v)| v).sum::<f64>() / count;
    let real = (between - chance).max(0.0);
    let mut out = *before;
    for (factor, effect) in out.iter_mut().zip(effects) {
        if let Some((effect, variance)) = effect {
            let trust = if real > 0.0 { real / (real + variance) } else { 0.0 };
            *factor = (1.0 + middle + trust * (effect - middle)).max(0.0);
        }
    }
    out
}

/// Signed root of the deviance of a Poisson sum.
fn signed_root(part: f64, mean: f64) -> f64 {
    if mean <= 0.0 {
        return part.sqrt();
    }
    let half = if part > 0.0 { part * ln(part / mean) - (part - mean) } else { mean };
    let root = (2.0 * half.max(0.0)).sqrt();
    if part < mean { -root } else { root }
}

/// The weighted median; 0 of nothing.
fn median(mut values: Vec<(f64, f64)>) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, w)| w).sum::<f64>() / 2.0;
    let mut passed = 0.0;
    for (at, (value, weight)) in values.iter().enumerate() {
        passed += weight;
        if passed > half {
            return *value;
        }
        if passed >= half {
            let next = values.get(at.saturating_add(1)).map_or(*value, |(v, _)| *v);
            return (value + next) / 2.0;
        }
    }
    0.0
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

fn millionths(share: f64) -> u64 {
    rounded(share * 1e6)
}

fn hundredths(deviations: f64) -> i64 {
    let size = i64::try_from(rounded(deviations.abs() * 100.0)).unwrap_or(i64::MAX);
    if deviations < 0.0 { size.saturating_neg() } else { size }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; nothing below zero comes in"
)]
fn rounded(value: f64) -> u64 {
    (value + 0.5) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_root_is_that_of_the_distribution() {
        // Upper tail of Poisson(1) at 6 and beyond is 0.000594: 3.24 deviations of a normal distribution.
        let z = signed_root(5.5, 1.0);
        assert!((2.9..3.4).contains(&z), "{z}");
        assert_eq!(signed_root(4.0, 4.0), 0.0);
        assert!(signed_root(0.0, 2.0) == -2.0);
        // Far from zero it is the plain distance.
        assert!((signed_root(1_010_000.0, 1_000_000.0) - 10.0).abs() < 0.05);
    }

    #[test]
    fn a_few_steps_where_hardly_one_is_expected_are_no_rarity() {
        // 30 lines of two days each; on every third day one of them comes a day later.
        let of = |varies| Expectation::of(&days(|d| 60_u64 + u64::from(d % 3 == 0), 30), varies).unwrap();
        let on = |varies, late| {
            let today = [Point { part: 60_u64 + late, of: 30, weekday: 0, lumps: None }];
            of(varies).score(&today).unwrap().deviations
        };
        let (plain, steps) = (Varies::Measured(0), Varies::Steps(0));
        // Four of thirty at a third of one expected: less than 4 in 10,000 by Poisson, 3.4 deviations of a normal distribution.
        assert!(
            on(plain, 4) > 600 && (250..400).contains(&on(steps, 4)),
            "{} {}",
            on(plain, 4),
            on(steps, 4)
        );
        assert!(on(steps, 12) > 700, "{}", on(steps, 12));
        let early = [Point { part: 30, of: 30, weekday: 0, lumps: None }];
        assert_eq!(of(steps).score(&early).unwrap().deviations, of(plain).score(&early).unwrap().deviations);
    }

    #[test]
    fn medians_are_weighted() {
        assert_eq!(median(vec![(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), 2.0);
        assert_eq!(median(vec![(3.0, 1.0), (1.0, 1.0)]), 2.0);
        assert_eq!(median(vec![(3.0, 5.0), (1.0, 1.0), (2.0, 1.0)]), 3.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    fn days(part: impl Fn(usize) -> u64, of: u64) -> Vec<Point> {
        (0..56).map(|d| Point { part: part(d), of, weekday: d % 7, lumps: None }).collect()
    }

    #[test]
    fn a_third_of_the_days_gone_wrong_moves_nothing() {
        let sound = days(|d| 100 + u64::try_from(d * 7 % 13).unwrap(), 1_000);
        let clean = Expectation::of(&sound, Varies::Counts).unwrap();
        let mut spoilt = sound.clone();
        spoilt.iter_mut().skip(30).take(16).for_each(|p| p.part *= 4);
        let model = Expectation::of(&spoilt, Varies::Counts).unwrap();
        assert!((model.rate / clean.rate - 1.0).abs() < 0.03, "{} {}", model.rate, clean.rate);
        assert_eq!(model.days, 40);
        let today = [Point { part: 106, of: 1_000, weekday: 0, lumps: None }];
        assert!(model.score(&today).unwrap().deviations.abs() < 100);
        assert!(
            model.score(&[Point { part: 180, of: 1_000, weekday: 0, lumps: None }]).unwrap().deviations > 500
        );
    }

    #[test]
    fn weekdays_are_learnt_where_there_are_any_and_not_where_there_are_none() {
        let week = [900, 1_000, 1_000, 1_000, 1_100, 400, 200];
        let noise = |d: usize| u64::try_from(d * 31 % 17).unwrap();
        let model = Expectation::of(&days(|d| week[d % 7] + noise(d), 1), Varies::Counts).unwrap();
        let sunday =
            |part| model.score(&[Point { part, of: 1, weekday: 6, lumps: None }]).unwrap().deviations;
        assert!(sunday(205).abs() < 150 && sunday(900) > 1_000, "{} {}", sunday(205), sunday(900));
        let flat = Expectation::of(&days(|d| 100 + noise(d), 1_000), Varies::Counts).unwrap();
        assert!(flat.weekdays.iter().all(|w| (w - 1.0).abs() < 0.01), "{:?}", flat.weekdays);
    }

    #[test]
    fn rare_events_have_an_expectation_though_their_median_is_zero() {
        let model = Expectation::of(&days(|d| u64::from(d % 5 == 0), 80), Varies::Counts).unwrap();
        let on = |part| model.score(&[Point { part, of: 80, weekday: 0, lumps: None }]).unwrap().deviations;
        assert!(on(0).abs() < 100 && on(1) < 200 && on(5) > 400, "{} {} {}", on(0), on(1), on(5));
        let never = Expectation::of(&days(|_| 0, 80), Varies::Counts).unwrap();
        let on = |part| never.score(&[Point { part, of: 80, weekday: 0, lumps: None }]).unwrap().deviations;
        assert!(on(0) == 0 && on(1) < 420 && on(4) > 420, "{} {}", on(1), on(4));
        assert!(Expectation::of(&days(|_| 0, 80), Varies::Measured(10)).is_none());
        assert!(Expectation::of(&[], Varies::Counts).is_none());
    }
}
