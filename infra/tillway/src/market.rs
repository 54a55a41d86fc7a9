//! `tillway bench --routing`: a simulated market of banks behind three merchant ids, and how routing does in it.
//!
//! Every order has one fate drawn from the seed, the same for every policy: it is approved at a merchant id where its draw lies
//! below that id's approval rate for its segment at its time. Segments differ in brand, currency, country and amount. Rates
//! drift over thirty days, and two segments change their best id on the way; one id is down for twelve hours. A rule keeps one
//! id away from what it has no licence for. What is measured is counted once a minute, as the tick does.

use anyhow::Context as _;
use tillway_core::ids::digest;
use tillway_core::money::{Currency, Money};
use tillway_core::routing::{Choice, Ended, Note, Routing, Segment, Table, choose};
use tillway_core::scope::View;
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;

/// Merchant ids.
const ROUTES: [&str; 3] = ["acme_us", "acme_eu", "acme_br"];
/// The pair's routing, as a shop writes it.
const CONFIG: &str = "\
connections:
  shop: { system: clarity, base_url: \"https://shop.example/api/v1\" }
  gate: { system: cybersource, merchant_id: acme_us, key_id: k, merchant_ids: [acme_eu, acme_br] }
pairs:
  main:
    flow: cybersource-clarity
    shop: shop
    gateway: gate
    routing:
      segments: [currency, brand, country, amount]
      rules:
        - { when: 'order.currency == \"BRL\"', routes: [acme_br, acme_eu] }
";
/// Of each id the approval rate in per mille at the beginning and at the end.
type Rates = [(u32, u32); ROUTES.len()];
/// Brand, currency, country, amount in minor units, weight, rates.
const SEGMENTS: [(&str, &str, &str, i64, u32, Rates); 8] = [
    ("visa", "USD", "US", 5_000, 22, [(930, 880), (870, 930), (800, 800)]),
    ("visa", "USD", "US", 90_000, 8, [(780, 780), (870, 870), (700, 700)]),
    ("mastercard", "USD", "US", 5_000, 20, [(900, 905), (920, 915), (850, 850)]),
    ("amex", "USD", "US", 5_000, 8, [(880, 880), (700, 720), (650, 650)]),
    ("visa", "EUR", "DE", 5_000, 14, [(780, 790), (920, 900), (700, 700)]),
    ("visa", "EUR", "IE", 5_000, 6, [(900, 910), (840, 830), (700, 700)]),
    ("mastercard", "EUR", "DE", 5_000, 12, [(760, 880), (905, 820), (720, 720)]),
    ("visa", "BRL", "BR", 5_000, 10, [(0, 0), (600, 600), (860, 840)]),
];
const LENGTH: Millis = Millis::days(30);
/// The first id is down from day 12 for half a day.
const DOWN: (Millis, Millis) = (Millis::days(12), Millis::hours(12));
/// Of declines so many per mille are soft, of the kind that is tried elsewhere.
const SOFT: u32 = 150;
/// 2026-11-01.
const START: Timestamp = Timestamp::from_unix(1_793_491_200);

/// An order.
struct Order {
    key: String,
    at: Timestamp,
    segment: usize,
    /// Its draws at a first and a second attempt, per mille; and whether a decline of it is soft.
    fate: (u32, u32),
    soft: bool,
}

/// A number below `below` drawn from the seed.
fn drawn(seed: u32, order: u32, what: &str, below: u32) -> u32 {
    let hash = digest(&["market", &seed.to_string(), &order.to_string(), what]);
    let number = hash.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    number % below.max(1)
}

fn orders(count: u32, seed: u32) -> Vec<Order> {
    let weights: u32 = SEGMENTS.iter().map(|(_, _, _, _, weight, _)| weight).sum();
    let one = |n: u32| {
        let mut left = drawn(seed, n, "segment", weights);
        let mut segment = 0;
        for (at, (_, _, _, _, weight, _)) in SEGMENTS.iter().enumerate() {
            segment = at;
            if left < *weight {
                break;
            }
            left = left.saturating_sub(*weight);
        }
        let after = LENGTH.0.saturating_mul(i64::from(n)) / i64::from(count.max(1));
        Order {
            key: format!("shop/{seed}-{n}"),
            at: START + Millis(after),
            segment,
            fate: (drawn(seed, n, "first", 1000), drawn(seed, n, "second", 1000)),
            soft: drawn(seed, n, "soft", 1000) < SOFT,
        }
    };
    (0..count).map(one).collect()
}

/// The approval rate of an id for an order, per mille.
fn rate(order: &Order, route: usize) -> u32 {
    let Some((_, _, _, _, _, rates)) = SEGMENTS.get(order.segment) else { return 0 };
    let Some((from, to)) = rates.get(route) else { return 0 };
    let gone = order.at.since(START).0;
    let part = |rate: u32, of: i64| i64::from(rate).saturating_mul(of);
    let sum = part(*from, LENGTH.0.saturating_sub(gone)).saturating_add(part(*to, gone));
    u32::try_from(sum / LENGTH.0).unwrap_or(0)
}

fn is_down(route: usize, at: Timestamp) -> bool {
    let gone = at.since(START);
    route == 0 && gone >= DOWN.0 && gone.0 < DOWN.0.0.saturating_add(DOWN.1.0)
}

/// How a policy did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    approved: u64,
    /// Orders that met the outage and were not served at once.
    waited: u64,
    /// Second attempts made.
    again: u64,
}

fn index(route: &str) -> usize {
    ROUTES.iter().position(|known| *known == route).unwrap_or(0)
}

/// All orders at one id; what it cannot serve waits for the end of its outage.
fn fixed(orders: &[Order], route: usize) -> Tally {
    let mut result = Tally::default();
    for order in orders {
        result.waited = result.waited.saturating_add(u64::from(is_down(route, order.at)));
        let approved = order.fate.0 < rate(order, route);
        result.approved = result.approved.saturating_add(u64::from(approved));
    }
    result
}

/// In each segment the id that was best over the whole time, known beforehand and never down.
fn hindsight(orders: &[Order]) -> Vec<(usize, u64, u64)> {
    let of = |segment: usize| {
        let all = || orders.iter().filter(move |o| o.segment == segment);
        let count = |route: usize| all().filter(|o| o.fate.0 < rate(o, route)).count();
        let best = (0..ROUTES.len()).max_by_key(|route| (count(*route), std::cmp::Reverse(*route)));
        let best = best.unwrap_or(0);
        let number = |n: usize| u64::try_from(n).unwrap_or(0);
        (best, number(count(best)), number(all().count()))
    };
    (0..SEGMENTS.len()).map(of).collect()
}

/// The routing that [`CONFIG`] says.
fn routing() -> anyhow::Result<Routing> {
    let (flows, notices) = (tillway_templates::sources(), tillway_templates::notices());
    let (config, _) =
        tillway_engine::settings::load("market.yaml", CONFIG, &flows, &[], notices).map_err(|problems| {
            anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
    let told = config.pairs.first().and_then(|pair| pair.routing.as_deref().cloned());
    told.context("the market's configuration has no routing")
}

fn segment(order: &Order, routing: &Routing) -> Segment {
    let known = SEGMENTS.get(order.segment);
    let (brand, code, country, minor) = known
        .map_or(("", "USD", "", 0), |(brand, code, country, minor, _, _)| (*brand, *code, *country, *minor));
    let amount = Currency::parse(code).ok().map(|currency| Money::new(minor, currency));
    Segment::of(&routing.by, amount, brand, country)
}

/// The ids that the rules leave for an order.
///
/// # Errors
/// A rule that cannot be evaluated.
fn candidates(order: &Order, routing: &Routing) -> anyhow::Result<Vec<String>> {
    let code = SEGMENTS.get(order.segment).map_or("", |segment| segment.1);
    let view = Value::map([("order", Value::map([("currency", Value::text(code))]))]);
    Ok(routing.candidates(&View::of(&view)).map(|(_, routes, _)| routes.to_vec())?)
}

/// Routing as an order meets it: counts a minute old, what fails technically goes on elsewhere, and where asked a soft decline
/// once. Answers the totals, and approvals by segment.
fn routed(orders: &[Order], retry: bool) -> anyhow::Result<(Tally, Vec<u64>)> {
    let routing = routing()?;
    let (mut table, mut notes): (Table, Vec<Note>) = (Table::default(), Vec::new());
    let mut result = Tally::default();
    let mut by_segment = vec![0_u64; SEGMENTS.len()];
    let mut minute = START;
    for order in orders {
        if order.at.since(minute) >= Millis::mins(1) {
            table.fold(&notes, &routing.settings);
            notes.clear();
            minute = order.at;
        }
        let mut left = candidates(order, &routing)?;
        let mut attempt = 0_u32;
        let mut fate = order.fate.0;
        while let Some(choice) = pick(order, attempt, &left, &table, &routing) {
            attempt = attempt.saturating_add(1);
            let route = index(&choice.route);
            left.retain(|other| *other != choice.route);
            let ended = match is_down(route, order.at) {
                true => Ended::Technical,
                false if fate < rate(order, route) => Ended::Approved,
                false => Ended::Declined,
            };
            notes.push(Note { route: choice.route, segment: choice.segment, ended, at: order.at });
            match ended {
                Ended::Approved => {
                    result.approved = result.approved.saturating_add(1);
                    if let Some(count) = by_segment.get_mut(order.segment) {
                        *count = count.saturating_add(1);
                    }
                    break;
                }
                Ended::Technical => {
                    if attempt == 1 {
                        result.waited = result.waited.saturating_add(1);
                    }
                }
                Ended::Declined if retry && order.soft && fate == order.fate.0 => {
                    result.again = result.again.saturating_add(1);
                    fate = order.fate.1;
                }
                Ended::Declined => break,
            }
        }
    }
    Ok((result, by_segment))
}

fn pick(order: &Order, attempt: u32, left: &[String], table: &Table, routing: &Routing) -> Option<Choice> {
    let (cause, segment) = (attempt.to_string(), segment(order, routing));
    choose(&[&order.key, &cause], left, segment, table, &routing.settings, order.at)
}

/// A share in per cent with two decimals.
fn percent(part: u64, whole: u64) -> String {
    let hundredths = part.saturating_mul(10_000) / whole.max(1);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// The difference of two shares in percentage points.
fn points(ours: u64, theirs: u64, whole: u64) -> String {
    let sign = if ours >= theirs { '+' } else { '-' };
    let hundredths = ours.abs_diff(theirs).saturating_mul(10_000) / whole.max(1);
    format!("{sign}{}.{:02} points", hundredths / 100, hundredths % 100)
}

/// The lines of the report.
///
/// # Errors
/// The market's configuration does not load, which is a defect of ours.
pub fn report(count: u32, seed: u32) -> anyhow::Result<Vec<String>> {
    let orders = orders(count, seed);
    let whole = u64::from(count);
    let (ours, by_segment) = routed(&orders, false)?;
    let (again, _) = routed(&orders, true)?;
    let best = hindsight(&orders);
    let best_sum: u64 = best.iter().map(|(_, approved, _)| approved).sum();
    let mut out = vec![format!(
        "{count} orders in 30 simulated days, seed {seed}: routed by rules and draws {} approved, {} met the outage",
        percent(ours.approved, whole),
        ours.waited
    )];
    for (route, name) in ROUTES.iter().enumerate() {
        let theirs = fixed(&orders, route);
        out.push(format!(
            "  against all at {name}: {} approved, {} met the outage and waited; lift {}",
            percent(theirs.approved, whole),
            theirs.waited,
            points(ours.approved, theirs.approved, whole)
        ));
    }
    out.push(format!(
        "  against the best fixed id of each segment, known in hindsight and never down: {} approved; regret {} orders ({})",
        percent(best_sum, whole),
        best_sum.saturating_sub(ours.approved),
        points(ours.approved, best_sum, whole)
    ));
    for (((brand, currency, country, minor, _, _), (route, approved, all)), got) in
        SEGMENTS.iter().zip(&best).zip(&by_segment)
    {
        let name = ROUTES.get(*route).copied().unwrap_or("");
        out.push(format!(
            "    {currency} {brand} {country} {minor}: {} of {all} orders, best {name} {}, {}",
            percent(*got, *all),
            percent(*approved, *all),
            points(*got, *approved, *all)
        ));
    }
    out.push(format!(
        "  with retry_soft_declines ({} second attempts): {} approved, {}",
        again.again,
        percent(again.approved, whole),
        points(again.approved, ours.approved, whole)
    ));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_beats_every_fixed_choice_and_comes_near_to_hindsight() {
        for seed in [1, 2, 3] {
            let count = 12_000;
            let orders = orders(count, seed);
            let (ours, by_segment) = routed(&orders, false).unwrap();
            assert_eq!(by_segment.iter().sum::<u64>(), ours.approved);
            for (route, name) in ROUTES.iter().enumerate() {
                assert!(ours.approved > fixed(&orders, route).approved, "seed {seed}, {name}");
            }
            let best: u64 = hindsight(&orders).iter().map(|(_, approved, _)| approved).sum();
            // Not more than one and a half per cent of all orders.
            assert!(best.saturating_sub(ours.approved) * 200 < u64::from(count) * 3, "{best} {ours:?}");
            // Twelve hours down are 200 orders; after a few failures, nearly all go elsewhere at once.
            assert!(ours.waited < 40, "{ours:?}");
            let (again, _) = routed(&orders, true).unwrap();
            assert!(again.again > 0 && again.approved > ours.approved, "{again:?}");
        }
    }

    #[test]
    fn the_rule_and_every_part_of_a_segment_are_there() {
        let routing = routing().unwrap();
        assert_eq!((routing.rules.len(), routing.by.len()), (1, 4));
        let all = orders(2000, 1);
        for order in &all {
            let allowed = candidates(order, &routing).unwrap();
            assert_eq!(allowed.len(), if order.segment == 7 { 2 } else { 3 }, "{allowed:?}");
        }
        let kinds: std::collections::BTreeSet<String> =
            all.iter().map(|order| format!("{:?}", segment(order, &routing))).collect();
        assert_eq!(kinds.len(), SEGMENTS.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_report() {
        assert_eq!(report(3000, 7).unwrap(), report(3000, 7).unwrap());
        assert_ne!(report(3000, 7).unwrap(), report(3000, 8).unwrap());
    }
}
