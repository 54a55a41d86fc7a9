//! The choice of a route, and how it is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::beta::{Stream, draw};
use super::counts::{Settings, Table, UNIT};
use super::segment::Segment;
use crate::time::Timestamp;

/// Why a route was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// There was no other.
    Only,
    /// It drew highest.
    Drawn,
    /// It was left out, and this order tries it again.
    Trial,
}

/// Where a candidate stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It was drawn for.
    In,
    /// It failed technically and was left out.
    LeftOut,
}

/// A route that could have been taken, and what was known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Name.
    pub route: String,
    /// Approved that spoke for it, in [`UNIT`]s.
    pub approved: u64,
    /// Declined that spoke against it.
    pub declined: u64,
    /// What it drew, in parts of a billion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<u32>,
    /// Whether it was left out.
    pub standing: Standing,
}

/// A choice, with all it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The route taken.
    pub route: String,
    /// Why.
    pub how: How,
    /// The rule that named the candidates, from 1; none where all routes were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// The order's segment.
    pub segment: Segment,
    /// All that could have been taken.
    pub candidates: Vec<Candidate>,
    /// After a soft decline another candidate may be tried, once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// What ended before that made this a second authorization: the decline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Chooses among candidates. `seed` names the order and the cause of this authorization; the same seed and the same table
/// give the same choice. `None` where there is no candidate.
#[must_use]
pub fn choose(
    seed: &[&str],
    routes: &[String],
    segment: Segment,
    table: &Table,
    settings: &Settings,
    now: Timestamp,
) -> Option<Choice> {
    let stream = |what: &str, route: &str| {
        let parts: Vec<&str> = seed.iter().copied().chain([what, route]).collect();
        Stream::new(&parts)
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut trial = None;
    for route in routes {
        let failing = table.health(route).and_then(|h| h.failing(settings));
        let (approved, declined) = table.evidence(route, &segment, settings, now);
        let standing = if failing.is_some() { Standing::LeftOut } else { Standing::In };
        if let Some(failed) = failing
            && tries(&mut stream("trial", route), now.since(failed).0, settings)
        {
            trial = trial.or(Some(route.clone()));
        }
        candidates.push(Candidate { route: route.clone(), approved, declined, drawn: None, standing });
    }
    let alone = routes.len() == 1;
    // Where every route fails one of them has to be taken all the same.
    let all_out = candidates.iter().all(|c| c.standing == Standing::LeftOut);
    let mut best: Option<(u32, &str)> = None;
    for candidate in candidates.iter_mut().filter(|_| !alone && trial.is_none()) {
        if candidate.standing == Standing::LeftOut && !all_out {
            continue;
        }
        let drawn = draw(&mut stream("draw", &candidate.route), candidate.approved, candidate.declined, UNIT);
        candidate.drawn = Some(drawn);
        if best.is_none_or(|(highest, _)| drawn > highest) {
            best = Some((drawn, &candidate.route));
        }
    }
    let (route, how) = match (trial, best) {
        _ if alone => (routes.first()?.clone(), How::Only),
        (Some(route), _) => (route, How::Trial),
        (None, Some((_, route))) => (route.to_owned(), How::Drawn),
        (None, None) => return None,
    };
    Some(Choice { route, how, rule: None, segment, candidates, retry: false, after: None })
}

/// Whether this order tries a failing route again: none while it rests, then one in so many, and of fewer with every
/// further pause, for a shop with few orders must not wait for days.
fn tries(stream: &mut Stream, rested: i64, settings: &Settings) -> bool {
    let pauses = rested.max(0) / settings.pause.0.max(1);
    let Some(further) = pauses.checked_sub(1).and_then(|n| u32::try_from(n).ok()) else { return false };
    let one_in = u64::from(settings.one_in.checked_shr(further).unwrap_or(0).max(1));
    stream.next().is_multiple_of(one_in)
}

/// A count of [`UNIT`]s with one decimal.
fn outcomes(units: u64) -> String {
    let tenths = units.saturating_mul(10) / UNIT;
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}: ", self.route)?;
        match (self.how, self.rule) {
            (How::Only, Some(rule)) => write!(f, "the only one of rule {rule}")?,
            (How::Only, None) => f.write_str("the only one")?,
            (How::Drawn, Some(rule)) => write!(f, "drawn among those of rule {rule}")?,
            (How::Drawn, None) => f.write_str("drawn")?,
            (How::Trial, _) => f.write_str("it failed and was left out; this order tries it again")?,
        }
        if let Some(after) = &self.after {
            write!(f, ", a second time after {after}")?;
        }
        if self.candidates.len() < 2 {
            return Ok(());
        }
        write!(f, " (segment: {})", self.segment)?;
        for (n, c) in self.candidates.iter().enumerate() {
            let sign = if n == 0 { ';' } else { ',' };
            write!(
                f,
                "{sign} {} {} approved {} declined",
                c.route,
                outcomes(c.approved),
                outcomes(c.declined)
            )?;
            if let Some(drawn) = c.drawn {
                write!(f, ", drew 0.{:03}", drawn / 1_000_000)?;
            }
            if c.standing == Standing::LeftOut {
                f.write_str(", failing")?;
            }
        }
        Ok(())
    }
}
