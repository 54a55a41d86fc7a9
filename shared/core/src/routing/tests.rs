//! The algebra of counts, and that choices are the same wherever they are made.

use proptest::prelude::*;

use super::counts::KEPT_FOR_TESTS as KEPT;
use super::*;
use crate::money::{Currency, Money};
use crate::time::{Millis, Timestamp};

const NOW: i64 = 1_795_000_000_000;

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}
fn segment(brand: &str, minor: i64) -> Segment {
    Segment::of(&[Part::Currency, Part::Brand, Part::Amount], Some(usd(minor)), brand, "US")
}
fn note(route: &str, brand: &str, ended: Ended, at: i64) -> Note {
    Note { route: route.into(), segment: segment(brand, 5000), ended, at: Timestamp(at) }
}
fn routes(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}
fn table(notes: &[Note]) -> Table {
    let mut table = Table::default();
    table.fold(notes, &Settings::default());
    table
}

prop_compose! {
    fn any_note()(
        route in 0..3_usize,
        brand in 0..3_usize,
        size in 1..9_i64,
        ended in prop_oneof![Just(Ended::Approved), Just(Ended::Declined), Just(Ended::Technical)],
        days in 0..70_i64,
        millis in 0..1000_i64,
    ) -> Note {
        let at = Timestamp(NOW - Millis::days(days).0 + millis);
        let segment = segment(["visa", "amex", ""][brand], size * 1000);
        Note { route: ["a", "b", "c"][route].into(), segment, ended, at }
    }
}

proptest! {
    /// In any order and in any batches the same table comes out.
    #[test]
    fn folding_is_joining_sets(
        (notes, shuffled) in prop::collection::vec(any_note(), 0..80).prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
        cut in 0..80_usize,
    ) {
        let (mut whole, mut parts) = (Table::default(), Table::default());
        let settings = Settings::default();
        whole.fold(&notes, &settings);
        let (first, second) = shuffled.split_at(cut.min(shuffled.len()));
        parts.fold(first, &settings);
        parts.fold(second, &settings);
        prop_assert_eq!(&whole, &parts);
        let text = serde_json::to_string(&whole).unwrap();
        prop_assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), whole);
    }

    /// An outcome counts half after a half-life, and never more than once.
    #[test]
    fn old_outcomes_count_less(notes in prop::collection::vec(any_note(), 1..60), weeks in 0..10_i64) {
        let settings = Settings::default();
        let table = table(&notes);
        let at = |weeks: i64| Timestamp(NOW + Millis::days(7 * weeks).0);
        for route in ["a", "b", "c"] {
            let of = |n: &&Note| n.route == route && n.ended != Ended::Technical;
            let count = u64::try_from(notes.iter().filter(of).count()).unwrap();
            let (a, d) = table.evidence(route, &segment("visa", 5000), &settings, at(weeks));
            prop_assert!(a + d <= count * UNIT, "{a} {d} of {count}");
            let (later_a, later_d) = table.evidence(route, &segment("visa", 5000), &settings, at(weeks + 1));
            prop_assert!(later_a <= a && later_d <= d);
        }
        let (a, d) = table.evidence("a", &segment("visa", 5000), &settings, at(11 + KEPT));
        prop_assert_eq!((a, d), (0, 0));
    }

    /// The same order and the same table give the same choice, whatever else was chosen before; a candidate more changes
    /// nothing of what the others draw.
    #[test]
    fn a_choice_is_a_function_of_order_and_table(notes in prop::collection::vec(any_note(), 0..60), order in 0..500_u32) {
        let settings = Settings { leave_out_after: 50, ..Settings::default() };
        let table = table(&notes);
        let key = format!("shop/A-{order}");
        let pick = |names: &[&str]| {
            choose(&[&key, "t1"], &routes(names), segment("visa", 5000), &table, &settings, Timestamp(NOW)).unwrap()
        };
        let (two, again, three) = (pick(&["a", "b"]), pick(&["a", "b"]), pick(&["a", "b", "c"]));
        prop_assert_eq!(&two, &again);
        prop_assert_eq!(&two.candidates[..], &three.candidates[..2]);
        let drawn: Vec<u32> = three.candidates.iter().map(|c| c.drawn.unwrap()).collect();
        let highest = drawn.iter().enumerate().max_by_key(|(n, d)| (**d, std::cmp::Reverse(*n))).unwrap().0;
        prop_assert_eq!(&three.route, ["a", "b", "c"][highest]);
    }
}

#[test]
fn segments_are_cut_alike_everywhere_and_read_back() {
    let all = [Part::Currency, Part::Brand, Part::Country, Part::Amount];
    let of = |minor| String::from(Segment::of(&all, Some(usd(minor)), "American Express", "US"));
    assert_eq!(of(2999), "USD|americanexpress|us|1000");
    assert_eq!((of(3000), of(9999), of(10_000)), (of(5000), of(3000), of(29_999)));
    assert_eq!(of(0), "USD|americanexpress|us|0");
    assert_eq!(String::from(Segment::of(&[Part::Currency], Some(usd(5)), "Visa", "US")), "USD|||");
    assert_eq!(String::from(Segment::of(&all, None, "", "")), "|||");
    let text = "USD|visa||3000".to_owned();
    assert_eq!(String::from(Segment::from(text.clone())), text);
    assert_eq!(segment("Visa", 5000).shared(&segment("visa", 9000)), 4);
    assert_eq!(segment("visa", 5000).shared(&segment("amex", 5000)), 1);
    assert_eq!(segment("visa", 5000).to_string(), "USD, visa, 3000 minor units and more");
}

#[test]
fn coarser_segments_help_where_there_is_nothing_finer_and_give_way_to_it() {
    let mut notes: Vec<Note> = (0..500).map(|_| note("a", "visa", Ended::Approved, NOW)).collect();
    let settings = Settings::default();
    let known =
        |notes: &[Note]| table(notes).evidence("a", &segment("amex", 5000), &settings, Timestamp(NOW));
    let (approved, declined) = known(&notes);
    assert!(
        declined == 0 && approved > 0 && approved <= 10 * UNIT,
        "another brand says a little: {approved}"
    );
    notes.extend((0..200).map(|_| note("a", "amex", Ended::Declined, NOW)));
    let (approved, declined) = known(&notes);
    assert_eq!(declined, 200 * UNIT);
    assert!(approved <= 40 * UNIT, "{approved}");
}

#[test]
fn a_route_that_fails_is_left_out_and_tried_again_by_some() {
    let settings = Settings::default();
    let failures = |n: i64| (0..n).map(|i| note("a", "visa", Ended::Technical, NOW + i)).collect::<Vec<_>>();
    let at = |notes: &[Note], after: Millis, order: u32| {
        let (table, key) = (table(notes), format!("shop/{order}"));
        let now = Timestamp(NOW) + after;
        choose(&[&key, "t"], &routes(&["a", "b"]), segment("visa", 5000), &table, &settings, now).unwrap()
    };
    // Evidence for `a` alone, so that it is drawn.
    let loved = |n: i64| {
        let good = (0..300).map(|_| note("a", "visa", Ended::Approved, NOW - 1));
        let bad = (0..300).map(|_| note("b", "visa", Ended::Declined, NOW - 1));
        good.chain(bad).chain(failures(n)).collect::<Vec<_>>()
    };
    assert_eq!(at(&loved(4), Millis(10), 1).route, "a", "too few");
    let out = at(&loved(5), Millis(10), 1);
    assert_eq!((out.route.as_str(), out.candidates[0].standing), ("b", Standing::LeftOut));
    assert!(out.candidates[0].drawn.is_none() && out.to_string().contains("failing"), "{out}");
    // It rests; then one order in so many tries it, and of fewer the longer it goes on.
    let tries = |after: Millis| {
        let notes = loved(5);
        (0..400).filter(|n| at(&notes, after, *n).how == How::Trial).count()
    };
    assert_eq!(tries(Millis::mins(9)), 0);
    let first = tries(Millis::mins(11));
    assert!((8..40).contains(&first), "{first} of 400, one in 20");
    let later = tries(Millis::mins(35));
    assert!(later > 2 * first, "{later}");
    assert_eq!(tries(Millis::hours(2)), 400, "in the end every order");
    // What a bank answers through it makes it whole.
    let mut healed = loved(5);
    healed.push(note("a", "visa", Ended::Declined, NOW + 100));
    assert_eq!(at(&healed, Millis(200), 1).candidates[0].standing, Standing::In);
    // Where all fail, one of them is taken.
    let mut all = loved(5);
    all.extend((0..5).map(|i| note("b", "visa", Ended::Technical, NOW + i)));
    assert_eq!(at(&all, Millis(200), 1).how, How::Drawn);
}

#[test]
fn one_candidate_is_taken_without_a_draw_and_none_is_none() {
    let pick = |names: &[&str]| {
        let settings = Settings::default();
        choose(&["o"], &routes(names), Segment::default(), &Table::default(), &settings, Timestamp(NOW))
    };
    let only = pick(&["a"]).unwrap();
    assert_eq!((only.how, only.candidates[0].drawn), (How::Only, None));
    assert_eq!(pick(&[]), None);
}

#[test]
fn the_better_route_is_found_and_the_other_still_looked_at() {
    let mut notes = Vec::new();
    for n in 0..400 {
        let of = |percent: i64| if n % 100 < percent { Ended::Approved } else { Ended::Declined };
        notes.push(note("a", "visa", of(70), NOW));
        notes.push(note("b", "visa", of(90), NOW));
    }
    let (table, settings) = (table(&notes), Settings::default());
    let took = |names: &[&str], table: &Table| {
        let pick = |n: u32| {
            let key = format!("shop/{n}");
            choose(&[&key, "t"], &routes(names), segment("visa", 5000), table, &settings, Timestamp(NOW))
        };
        (0..300).filter(|n| pick(*n).unwrap().route == "b").count()
    };
    assert!(took(&["a", "b"], &table) > 295);
    let even = took(&["a", "b"], &Table::default());
    assert!((110..190).contains(&even), "knowing nothing, both: {even}");
}

#[test]
fn a_table_stays_within_its_bound_and_loses_no_outcome() {
    let notes: Vec<Note> = (0..900)
        .map(|n| Note {
            route: ["a", "b"][n % 2].into(),
            segment: Segment::from(format!("USD|b{}|c{n}|3000", n % 5)),
            ended: Ended::Approved,
            at: Timestamp(NOW),
        })
        .collect();
    let table = table(&notes);
    let text = serde_json::to_string(&table).unwrap();
    assert!(text.len() < 100_000, "{}", text.len());
    assert!(text.contains("~"), "rare ones were put together");
    let sum: usize = text.matches("[1,0]").count();
    assert!(sum < 900);
    assert_eq!(table.folded, 900);
}

#[test]
fn another_half_life_begins_the_counts_anew() {
    let mut table = table(&[note("a", "visa", Ended::Approved, NOW)]);
    let other = Settings { half_life: Millis::days(1), ..Settings::default() };
    assert_eq!(table.evidence("a", &segment("visa", 5000), &other, Timestamp(NOW)), (0, 0));
    table.fold(&[note("a", "visa", Ended::Declined, NOW)], &other);
    assert_eq!(table.evidence("a", &segment("visa", 5000), &other, Timestamp(NOW)), (0, UNIT));
}
