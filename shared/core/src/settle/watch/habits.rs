//! Invented habits of a shop, from a seed: months of figures with anomalies planted and listed apart. For tests and
//! the example; nothing in the product draws from it.
//!
//! The trade is drawn payment by payment and goes into [`DayFigures`] the way lines do. It is no easy one: volume has its
//! week, grows, and wobbles from day to day beyond chance, as decline and refund rates do; amounts have a long tail; two
//! fifths of a brand's cards cost more than the others; what is booked before the weekend settles later.

use super::{DayFigures, Figure};
use crate::money::Currency;
use crate::settle::line::{Card, Day, Ids, Kind, SettlementLine};
use crate::settle::market::Draw;

/// What is invented.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// The same seed gives the same months.
    pub seed: u64,
    /// Payments on a usual day.
    pub per_day: u64,
    /// So many days.
    pub days: i32,
    /// Whether anything is planted.
    pub plant: bool,
}

/// Something that was planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What it is.
    pub kind: Planting,
    /// The first day.
    pub first: Day,
    /// The last day.
    pub last: Day,
    /// How much, in percent of what is usual.
    pub size: u64,
}

/// What can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planting {
    /// Half of one brand's payments cost more: 10 to 40 % more.
    Fee,
    /// Declines half as many again, to three times.
    Declines,
    /// Refunds, twice to four times.
    Refunds,
    /// Disputes, three to six times.
    Disputes,
    /// Three of five lines settle one or two days later.
    Delay,
    /// Payments fall by 40 to 80 %.
    Fall,
}

impl Planting {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Fee, Self::Declines, Self::Refunds, Self::Disputes, Self::Delay, Self::Fall];
    /// Whether a figure is where it shows.
    #[must_use]
    pub fn shows_in(self, figure: &Figure) -> bool {
        match figure {
            Figure::FeeRate { brand, .. } => self == Self::Fee && &**brand == "amex",
            Figure::DeclineRate => self == Self::Declines,
            Figure::RefundRate => self == Self::Refunds,
            Figure::DisputeRate => self == Self::Disputes,
            Figure::Delay => self == Self::Delay,
            Figure::Payments | Figure::Volume { .. } => self == Self::Fall,
        }
    }
    /// Whether a figure is moved by it too: what is declined is no payment.
    #[must_use]
    pub fn moves(self, figure: &Figure) -> bool {
        let of_day = matches!(figure, Figure::Payments | Figure::Volume { .. });
        self.shows_in(figure) || self == Self::Declines && of_day
    }
    /// Days it lasts.
    const fn lasts(self) -> i32 {
        match self {
            Self::Fee => 10,
            Self::Declines | Self::Delay => 3,
            Self::Refunds => 5,
            Self::Disputes => 7,
            Self::Fall => 2,
        }
    }
    /// Its size: from, and steps of what follows, and how many.
    const fn sizes(self) -> (u64, u64, u64) {
        match self {
            Self::Fee => (110, 10, 4),
            Self::Declines => (150, 50, 4),
            Self::Refunds => (200, 50, 5),
            Self::Disputes => (300, 100, 4),
            Self::Delay => (1, 1, 2),
            Self::Fall => (20, 10, 5),
        }
    }
}

/// The first day; a Monday.
pub const FIRST: Day = Day(20_503);
/// Days before anything is planted.
pub const QUIET: i32 = 70;

/// Payments by weekday from Monday, in percent.
const WEEK: [u64; 7] = [105, 95, 95, 100, 125, 130, 80];

/// Months of figures, and what is wrong with them.
///
/// # Errors
/// A defect of the currency table.
pub fn months(habits: &Habits) -> Result<(Vec<DayFigures>, Vec<Anomaly>), String> {
    let mut shop = Shop {
        draw: Draw(habits.seed),
        currency: Currency::parse("USD").map_err(|e| e.to_string())?,
        anomalies: Vec::new(),
        serial: 0,
    };
    if habits.plant {
        shop.plant(habits.days);
    }
    let days = (0..habits.days).map(|n| shop.day(n, habits.per_day)).collect();
    Ok((days, shop.anomalies))
}

struct Shop {
    draw: Draw,
    currency: Currency,
    anomalies: Vec<Anomaly>,
    serial: u64,
}

impl Shop {
    /// One of each kind at a time of its own, in two of three cases.
    fn plant(&mut self, days: i32) {
        for kind in Planting::ALL {
            let room = u64::try_from(days - QUIET - kind.lasts()).unwrap_or(0);
            let after = i32::try_from(self.draw.below(room)).unwrap_or(0);
            let (from, step, count) = kind.sizes();
            let size = from + step * self.draw.below(count);
            if self.draw.below(3) > 0 {
                let first = FIRST.plus(QUIET + after);
                self.anomalies.push(Anomaly { kind, first, last: first.plus(kind.lasts() - 1), size });
            }
        }
    }

    fn planted(&self, kind: Planting, day: Day) -> Option<u64> {
        let here = |a: &&Anomaly| a.kind == kind && a.first <= day && day <= a.last;
        self.anomalies.iter().find(here).map(|a| a.size)
    }

    /// About 100, seldom further off than `by`.
    fn about(&mut self, by: u64) -> u64 {
        100 - by + (self.draw.below(by + 1) + self.draw.below(by + 1))
    }

    /// Whether something happens that does so `many` times in 100,000.
    fn happens(&mut self, many: u64) -> bool {
        self.draw.below(100_000) < many
    }

    fn day(&mut self, n: i32, per_day: u64) -> DayFigures {
        let day = FIRST.plus(n);
        let mut out = DayFigures::new(day);
        let weekday = usize::try_from(n.rem_euclid(7)).unwrap_or(0);
        let week = WEEK.get(weekday).copied().unwrap_or(100);
        let grown = 1_000 + u64::try_from(n).unwrap_or(0);
        let fall = self.planted(Planting::Fall, day).unwrap_or(100);
        let wobble = self.about(20);
        // In thousands of a payment: a small shop's day is drawn as well.
        let mean = per_day * week * grown * wobble / 100 * fall / 100 / 100;
        let draws = mean / 200;
        let payments = (0..draws).filter(|_| self.draw.below(5) == 0).count();
        let declines = 9_000 * self.about(15) * self.planted(Planting::Declines, day).unwrap_or(100) / 10_000;
        let refunds = 3_000 * self.about(20) * self.planted(Planting::Refunds, day).unwrap_or(100) / 10_000;
        let disputes = 300 * self.planted(Planting::Disputes, day).unwrap_or(100) / 100;
        let dearer = self.planted(Planting::Fee, day);
        let later = self.planted(Planting::Delay, day);
        let weekend = i32::from(weekday >= 4) + i32::from(weekday == 4);
        let (mut approved, mut declined) = (0, Vec::new());
        for _ in 0..payments {
            if self.happens(declines) {
                declined.push(if self.draw.below(3) == 0 { "insufficient_funds" } else { "do_not_honor" });
                continue;
            }
            approved += 1;
            let mut after = 2 + weekend + i32::from(self.draw.below(30) == 0);
            if let Some(more) = later
                && self.draw.below(5) < 3
            {
                after += i32::try_from(more).unwrap_or(0);
            }
            let charge = self.charge(day, dearer);
            out.line(&charge, Some(after));
            for (rate, kind) in [(refunds, Kind::Refund), (disputes, Kind::Dispute)] {
                if self.happens(rate) {
                    let back = SettlementLine { kind, gross: -charge.gross, fee: 0, ..charge.clone() };
                    out.line(&back, None);
                }
            }
        }
        out.attempts(approved, declined);
        out
    }

    fn charge(&mut self, day: Day, dearer: Option<u64>) -> SettlementLine {
        let long = if self.draw.below(12) == 0 { 60_000 } else { 6_000 };
        let gross = i64::try_from(800 + self.draw.below(long)).unwrap_or(0);
        let (brand, basis_points) = match self.draw.below(20) {
            0..=10 => ("visa", 190),
            11..=16 => ("mastercard", 195),
            _ => ("amex", 280),
        };
        let mut cost = basis_points + if self.draw.below(5) < 2 { 60 } else { 0 };
        if brand == "amex"
            && let Some(size) = dearer
            && self.draw.below(2) == 0
        {
            cost = cost * i64::try_from(size).unwrap_or(100) / 100;
        }
        self.serial += 1;
        let fee = gross * cost / 10_000 + 10;
        SettlementLine {
            id: format!("txn_{}", self.serial).into(),
            batch: "po".into(),
            kind: Kind::Charge,
            ids: Ids::default(),
            reference: None,
            gross,
            fee,
            fee_tax: 0,
            net: gross - fee,
            currency: self.currency,
            presentment: None,
            day,
            card: Some(Card { brand: brand.into(), last4: "4242".into() }),
        }
    }
}
