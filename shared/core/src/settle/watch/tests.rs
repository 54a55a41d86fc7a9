//! The watch over invented months.

use super::habits::{Habits, Planting, QUIET, months};
use super::*;

fn cur(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// Days of one figure.
fn history(figure: &Figure, days: i32, of: impl Fn(i32) -> (u64, u64)) -> Vec<DayFigures> {
    (0..days)
        .map(|n| {
            let mut day = DayFigures::new(Day(20_700).plus(n));
            let (part, of) = of(n);
            day.figures.insert(figure.clone(), Sum { part, of, ..Sum::default() });
            day
        })
        .collect()
}

#[test]
fn the_sentence_of_the_issue() {
    let mut days: Vec<DayFigures> = (0..63).map(|n| DayFigures::new(Day(20_700).plus(n))).collect();
    for (n, day) in days.iter_mut().enumerate() {
        for at in 0..40_i64 {
            let mut line = charge(20_000 + at * 100 + i64::try_from(n % 5).unwrap());
            let dear = n >= 58 && at % 3 == 0;
            line.fee = line.gross * if dear { 350 } else { 290 } / 10_000;
            day.line(&line, Some(2));
        }
    }
    let found = watch(&days, Day(20_762), &Settings::default());
    let texts: Vec<String> = found.iter().map(Finding::text).collect();
    assert_eq!(
        texts,
        [
            "fee rate of amex in USD 3.11 %, expected 2.90 % ± 0.02 % over 56 days: 70 payments at 3.5 % since Sunday"
        ]
    );
    assert!(watch(&days, Day(20_757), &Settings::default()).is_empty());
}

fn charge(gross: i64) -> SettlementLine {
    SettlementLine {
        id: "txn".into(),
        batch: "po".into(),
        kind: Kind::Charge,
        ids: crate::settle::Ids::default(),
        reference: None,
        gross,
        fee: 0,
        fee_tax: 0,
        net: gross,
        currency: cur("USD"),
        presentment: None,
        day: Day(20_700),
        card: Some(crate::settle::Card { brand: "amex".into(), last4: "1000".into() }),
    }
}

#[test]
fn what_is_short_small_or_missing_is_not_said() {
    let rate =
        |at: i32, n: i32| if n == at { (400, 1_000) } else { (100 + u64::try_from(n % 9).unwrap(), 1_000) };
    let day = |n: i32| Day(20_700).plus(n);
    let settings = Settings::default();
    let loud = history(&Figure::DeclineRate, 40, |n| rate(39, n));
    let said = watch(&loud, day(39), &settings);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].since, said[0].part, said[0].of), (day(39), 400, 1_000));
    assert!(said[0].text().ends_with(": 400 of 1,000 attempts declined on 2026-10-13"), "{}", said[0].text());
    assert!(
        watch(&history(&Figure::DeclineRate, 27, |n| rate(26, n)), day(26), &settings).is_empty(),
        "too short"
    );
    assert!(watch(&loud, day(38), &settings).is_empty());
    assert!(watch(&loud, day(90), &settings).is_empty());
    // Far out by its tiny spread, and still nothing to get up for.
    let steady = history(&Figure::Delay, 60, |n| if n > 56 { (20_600, 10_000) } else { (20_000, 10_000) });
    assert!(watch(&steady, day(59), &settings).is_empty());
}

#[test]
fn a_day_without_a_line_is_a_fall_and_a_day_not_looked_at_is_nothing() {
    let volume = Figure::Volume { currency: cur("EUR") };
    let mut days = history(&volume, 60, |n| (1_000_000 + u64::try_from(n * 7919 % 90_000).unwrap(), 1));
    let day = Day(20_700).plus(60);
    assert!(watch(&days, day, &Settings::default()).is_empty());
    days.push(DayFigures::new(day));
    let said = watch(&days, day, &Settings::default());
    assert_eq!(said.len(), 1);
    assert!(said[0].text().starts_with("volume a day in EUR 0.00 EUR, expected 10,"), "{}", said[0].text());
    assert!(said[0].deviations < -1_000);
}

#[test]
fn a_planted_change_is_told_in_its_time_and_no_order_matters() {
    let habits = Habits { seed: 5, per_day: 800, days: 130, plant: true };
    let (mut days, anomalies) = months(&habits).unwrap();
    assert!(anomalies.len() >= 3, "{anomalies:?}");
    let told = |days: &[DayFigures]| -> Vec<Finding> {
        (QUIET..habits.days).flat_map(|n| watch(days, habits::FIRST.plus(n), &Settings::default())).collect()
    };
    let found = told(&days);
    for planted in anomalies.iter().filter(|a| a.kind != Planting::Disputes) {
        let hit = |f: &&Finding| {
            planted.kind.shows_in(&f.figure) && f.day >= planted.first && f.day <= planted.last
        };
        assert!(found.iter().any(|f| hit(&f)), "{planted:?}");
    }
    days.reverse();
    assert_eq!(told(&days), found);
    let json = serde_json::to_string(&days).unwrap();
    assert_eq!(serde_json::from_str::<Vec<DayFigures>>(&json).unwrap(), days, "days are kept as JSON");
}

#[test]
fn quiet_months_are_quiet() {
    let mut said = Vec::new();
    for seed in 0..6 {
        let (days, anomalies) = months(&Habits { seed, per_day: 150, days: 110, plant: false }).unwrap();
        assert!(anomalies.is_empty());
        for n in QUIET..110 {
            said.extend(watch(&days, habits::FIRST.plus(n), &Settings::default()));
        }
    }
    // 6 × 40 days of 9 figures.
    let texts: Vec<String> = said.iter().map(Finding::text).collect();
    assert!(said.len() <= 4, "{texts:#?}");
}

#[test]
fn codes_from_outside_are_bounded() {
    let mut day = DayFigures::new(Day(1));
    let codes: Vec<String> = (0..500).map(|n| format!("code_{n}")).collect();
    // Told twice, they are counted once.
    for _ in 0..2 {
        day.attempts(20, codes.iter().map(String::as_str));
        let sum = &day.figures[&Figure::DeclineRate];
        assert_eq!((sum.part, sum.of, sum.kinds.len(), sum.kinds["others"]), (500, 520, 65, 436));
    }
    day.attempts(0, []);
    assert!(day.figures.is_empty());
}

#[test]
fn every_figure_of_a_day_stands_beside_its_expectation() {
    let rate = |n: i32| if n == 39 { (400, 1_000) } else { (100 + u64::try_from(n % 9).unwrap(), 1_000) };
    let days = history(&Figure::DeclineRate, 40, rate);
    let texts = |day: i32| -> Vec<String> {
        measured(&days, Day(20_700).plus(day), &Settings::default()).iter().map(Measured::text).collect()
    };
    let said = texts(39);
    assert!(said[0].starts_with("decline rate 40.00 %, expected 10."), "{said:?}");
    assert!(said[0].ends_with(" over 33 days"), "{said:?}");
    assert_eq!(texts(20), ["decline rate 10.20 %, no expectation yet: 14 days known"]);
    assert_eq!(texts(60), [""; 0], "a day that was not looked at has no figures");
}
