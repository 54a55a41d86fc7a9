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
}

/// How little a figure may be thought to vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// It counts events: as Poisson at least.
    Poisson,
    /// So many thousandths from day to day.
    Thousandths(u32),
}

/// What is expected of a day.
#[derive(Debug, Clone)]
pub(super) struct Expectation {
    rate: f64,
    weekdays: [f64; 7],
    /// Variance over mean.
    dispersion: f64,
    /// Mean of all that the rate rests on.
    seen: f64,
    counts: bool,
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
const CLIP: f64 = 3.0;
/// A deviation of a normal distribution, in medians of absolute deviations.
const MAD: f64 = 1.4826;

impl Expectation {
    /// Estimates it; nothing where nothing was seen.
    pub(super) fn of(points: &[Point], least: Least) -> Option<Self> {
        let counts = least == Least::Poisson;
        let mut model = Self {
            rate: first_rate(points, counts)?,
            weekdays: [1.0; 7],
            dispersion: 1.0,
            seen: 0.0,
            counts,
            days: 0,
        };
        model.weekdays = model.first_weekdays(points);
        for _ in 0..6 {
            model.refit(points, least);
        }
        Some(model)
    }

    fn mean(&self, p: &Point) -> f64 {
        self.rate * self.weekdays.get(p.weekday).copied().unwrap_or(1.0) * whole(p.of)
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

    /// One round: deviation, days left out, rate, weekdays.
    fn refit(&mut self, points: &[Point], least: Least) {
        let residuals: Vec<f64> = points.iter().map(|p| signed_root(whole(p.part), self.mean(p))).collect();
        let middle = median(residuals.iter().map(|r| (*r, 1.0)).collect());
        let mad = MAD * median(residuals.iter().map(|r| ((r - middle).abs(), 1.0)).collect());
        let floor = match least {
            Least::Poisson => 1.0,
            Least::Thousandths(part) => {
                let wobble = f64::from(part) / 1000.0;
                wobble * wobble * median(points.iter().map(|p| (self.mean(p), 1.0)).collect())
            }
        };
        let scale = mad.max(floor.sqrt());
        let kept: Vec<(&Point, f64)> =
            points.iter().zip(residuals).filter(|(_, r)| (r - middle).abs() <= CLIP * scale).collect();
        let (mut part, mut seen, mut squares) = (0.0, 0.0, 0.0);
        let mut by_weekday = [(0.0, 0.0); 7];
        for (p, residual) in &kept {
            part += whole(p.part);
            seen += self.mean(p);
            squares += residual * residual;
            if let Some((y, m)) = by_weekday.get_mut(p.weekday) {
                *y += whole(p.part);
                *m += self.rate * whole(p.of);
            }
        }
        self.days = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        if part <= 0.0 || seen <= 0.0 {
            return;
        }
        let own = 1.0 + 6.0 * self.leaning();
        let left = (number(kept.len()) - own).max(1.0);
        self.dispersion = (squares / left).max(floor).max(f64::MIN_POSITIVE);
        self.rate *= part / seen;
        self.seen = part;
        self.weekdays = shrunk(&by_weekday, part / seen, self.dispersion);
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
        // The expectation is an estimate too.
        let dispersion = self.dispersion * (1.0 + mean / self.seen.max(1.0));
        // Counts jump by one: half of it towards the expectation.
        let near = if self.counts { part + (mean - part).clamp(-0.5, 0.5) } else { part };
        let deviations = signed_root(near, mean) / dispersion.sqrt();
        Some(Score {
            deviations: hundredths(deviations),
            measured: millionths(part / of),
            expected: millionths(mean / of),
            spread: millionths((dispersion * mean).sqrt() / of),
        })
    }
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

/// Weekday factors from what was seen and meant of each, drawn towards 1 as far as chance explains them.
fn shrunk(by_weekday: &[(f64, f64); 7], common: f64, dispersion: f64) -> [f64; 7] {
    if by_weekday.iter().any(|(_, mean)| *mean <= 0.0) {
        return [1.0; 7];
    }
    // What is seen over what the rate without weekdays says, and the variance that chance gives it.
    let effects: Vec<(f64, f64)> = by_weekday
        .iter()
        .map(|(y, mean)| (y / (mean * common) - 1.0, dispersion / (mean * common)))
        .collect();
    let middle = effects.iter().map(|(e, _)| e).sum::<f64>() / 7.0;
    let between = effects.iter().map(|(e, _)| (e - middle) * (e - middle)).sum::<f64>() / 6.0;
    let chance = effects.iter().map(|(_, v)| v).sum::<f64>() / 7.0;
    let real = (between - chance).max(0.0);
    let mut out = [1.0; 7];
    for (factor, (effect, variance)) in out.iter_mut().zip(effects) {
        let trust = if real > 0.0 { real / (real + variance) } else { 0.0 };
        *factor = (1.0 + middle + trust * (effect - middle)).max(0.0);
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
    fn medians_are_weighted() {
        assert_eq!(median(vec![(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), 2.0);
        assert_eq!(median(vec![(3.0, 1.0), (1.0, 1.0)]), 2.0);
        assert_eq!(median(vec![(3.0, 5.0), (1.0, 1.0), (2.0, 1.0)]), 3.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    fn days(part: impl Fn(usize) -> u64, of: u64) -> Vec<Point> {
        (0..56).map(|d| Point { part: part(d), of, weekday: d % 7 }).collect()
    }

    #[test]
    fn a_third_of_the_days_gone_wrong_moves_nothing() {
        let sound = days(|d| 100 + u64::try_from(d * 7 % 13).unwrap(), 1_000);
        let clean = Expectation::of(&sound, Least::Poisson).unwrap();
        let mut spoilt = sound.clone();
        spoilt.iter_mut().skip(30).take(16).for_each(|p| p.part *= 4);
        let model = Expectation::of(&spoilt, Least::Poisson).unwrap();
        assert!((model.rate / clean.rate - 1.0).abs() < 0.03, "{} {}", model.rate, clean.rate);
        assert_eq!(model.days, 40);
        let today = [Point { part: 106, of: 1_000, weekday: 0 }];
        assert!(model.score(&today).unwrap().deviations.abs() < 100);
        assert!(model.score(&[Point { part: 180, of: 1_000, weekday: 0 }]).unwrap().deviations > 500);
    }

    #[test]
    fn weekdays_are_learnt_where_there_are_any_and_not_where_there_are_none() {
        let week = [900, 1_000, 1_000, 1_000, 1_100, 400, 200];
        let noise = |d: usize| u64::try_from(d * 31 % 17).unwrap();
        let model = Expectation::of(&days(|d| week[d % 7] + noise(d), 1), Least::Thousandths(50)).unwrap();
        let sunday = |part| model.score(&[Point { part, of: 1, weekday: 6 }]).unwrap().deviations;
        assert!(sunday(205).abs() < 150 && sunday(900) > 1_000, "{} {}", sunday(205), sunday(900));
        let flat = Expectation::of(&days(|d| 100 + noise(d), 1_000), Least::Poisson).unwrap();
        assert!(flat.weekdays.iter().all(|w| (w - 1.0).abs() < 0.01), "{:?}", flat.weekdays);
    }

    #[test]
    fn rare_events_have_an_expectation_though_their_median_is_zero() {
        let model = Expectation::of(&days(|d| u64::from(d % 5 == 0), 80), Least::Poisson).unwrap();
        let on = |part| model.score(&[Point { part, of: 80, weekday: 0 }]).unwrap().deviations;
        assert!(on(0).abs() < 100 && on(1) < 200 && on(5) > 400, "{} {} {}", on(0), on(1), on(5));
        let never = Expectation::of(&days(|_| 0, 80), Least::Poisson).unwrap();
        let on = |part| never.score(&[Point { part, of: 80, weekday: 0 }]).unwrap().deviations;
        assert!(on(0) == 0 && on(1) < 420 && on(4) > 420, "{} {}", on(1), on(4));
        assert!(Expectation::of(&days(|_| 0, 80), Least::Thousandths(10)).is_none());
        assert!(Expectation::of(&[], Least::Poisson).is_none());
    }
}
