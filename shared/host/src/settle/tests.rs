//! On disk as in memory: whatever the order, the number of partitions, and wherever a run was cut.

mod cuts;
mod given;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;
use tillway_core::money::Currency;
use tillway_core::settle::{Class, Outcome};

use super::sink::{Collect, Found, Sink};
use super::{Plan, SettleError, Stage, Table, settle};
use given::{Given, Place, collide, market};

/// On disk, everything collected.
fn on_disk(given: &Given, place: &Place, partitions: u16) -> Outcome {
    let mut sink = Collect::default();
    let totals = settle(&given.plan(place.path(), partitions), given, &mut sink).unwrap();
    assert!(!place.path().exists(), "the folder is removed at the end");
    let outcome = sink.outcome();
    assert_eq!(totals.lines, u64::try_from(given.lines.len()).unwrap());
    assert_eq!(totals.groups(), u64::try_from(outcome.groups.len()).unwrap());
    assert_eq!(totals.open_lines, u64::try_from(outcome.open_lines.len()).unwrap());
    assert_eq!(totals.exceptions(), u64::try_from(outcome.exceptions.len()).unwrap());
    let matched: usize = outcome.groups.iter().map(|g| g.lines.len()).sum();
    assert_eq!(totals.matched_lines(), u64::try_from(matched).unwrap());
    for ((tier, currency), sum) in &totals.tiers {
        let of = || outcome.groups.iter().filter(|g| (g.tier, g.currency) == (*tier, *currency));
        assert_eq!(sum.groups, u64::try_from(of().count()).unwrap());
        assert_eq!(sum.lines_sum, of().map(|g| i128::from(g.lines_sum)).sum());
        assert_eq!(sum.expected_sum, of().map(|g| i128::from(g.expected_sum)).sum());
    }
    outcome
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn items_that_collide_settle_as_in_memory(seed in any::<u64>(), many in 1_usize..60, partitions in 1_u16..9) {
        let given = collide(seed, many);
        let place = Place::new();
        prop_assert_eq!(on_disk(&given, &place, partitions), given.in_memory());
        let other = given.shuffled(!seed);
        prop_assert_eq!(on_disk(&other, &place, partitions), given.in_memory());
    }
}

#[test]
fn markets_of_many_sizes_settle_as_in_memory() {
    let mut classes = std::collections::BTreeSet::new();
    for (seed, payments, every, partitions) in
        [(1, 0, 0, 4), (2, 1, 1, 4), (3, 40, 2, 1), (4, 300, 3, 16), (5, 900, 9, 3), (6, 3_000, 30, 8)]
    {
        let given = market(seed, payments, every);
        let place = Place::new();
        let outcome = on_disk(&given, &place, partitions);
        assert_eq!(outcome, given.in_memory(), "seed {seed}");
        assert_eq!(on_disk(&given.shuffled(seed), &place, partitions), outcome, "seed {seed}, shuffled");
        classes.extend(outcome.exceptions.iter().map(|e| e.class));
    }
    assert_eq!(classes.len(), Class::ALL.len(), "every class of exception came");
}

#[test]
fn what_comes_twice_is_found_wherever_it_lies() {
    let mut given = market(7, 400, 0);
    // The whole file again; and one id with other contents, of which the least stays.
    given.lines.extend(given.lines.clone());
    given.expected.extend(given.expected.clone());
    let mut other = given.lines[3].clone();
    other.ids.own = Some("elsewhere".into());
    given.lines.push(other);
    // Many of one id that differ only in currency: among the exceptions they do not stand as they came.
    for i in 0..60 {
        let mut other = given.lines[5].clone();
        other.currency = Currency::parse(if i % 3 == 0 { "EUR" } else { "NZD" }).unwrap();
        given.lines.push(other);
    }
    let place = Place::new();
    let outcome = on_disk(&given, &place, 8);
    assert_eq!(outcome, given.in_memory());
    let copies = outcome.exceptions.iter().filter(|e| e.class == Class::Duplicate);
    assert_eq!(copies.count(), (given.lines.len() - 61 + given.expected.len()) / 2 + 61);
    assert_eq!(on_disk(&given.shuffled(5), &place, 8), outcome);
}

#[test]
fn the_same_data_writes_the_same_tables_in_whatever_order_it_comes() {
    let given = market(8, 500, 10);
    let (place, one, two) = (Place::new(), Place::new(), Place::new());
    let plan = Plan { seal: true, ..given.plan(place.path(), 8) };
    settle(&plan, &given, &mut Table::new(one.path()).unwrap()).unwrap();
    settle(&plan, &given.shuffled(1), &mut Table::new(two.path()).unwrap()).unwrap();
    let tables = cuts::files(one.path());
    assert_eq!(tables, cuts::files(two.path()));
    let own = String::from_utf8(tables["1-own_id-groups.csv"].clone()).unwrap();
    assert!(own.starts_with("tier,currency,lines_sum,expected_sum,tolerance,lines,expected,sha256\nown_id,"));
    let groups: usize = tables
        .iter()
        .filter(|(name, _)| name.ends_with("groups.csv"))
        .map(|(_, text)| String::from_utf8(text.clone()).unwrap().lines().count() - 1)
        .sum();
    assert_eq!(groups, given.in_memory().groups.len());
}

#[test]
fn a_seal_is_that_of_the_certificate() {
    struct Seals<'g>(&'g Given, usize);
    impl Sink for Seals<'_> {
        fn begin(&mut self, _run: &str, _stage: Stage) -> std::io::Result<()> {
            Ok(())
        }
        fn take(&mut self, _stage: Stage, _part: u16, found: Found<'_>) -> std::io::Result<()> {
            for m in found.matched {
                let own = tillway_core::settle::certificate::certify(
                    std::slice::from_ref(&m.group),
                    &self.0.lines,
                    &self.0.expected,
                );
                assert_eq!(m.hash.as_ref(), Some(&own[0].hash));
                self.1 += 1;
            }
            Ok(())
        }
        fn end(&mut self, _stage: Stage) -> std::io::Result<()> {
            Ok(())
        }
    }
    let given = market(9, 80, 0);
    let place = Place::new();
    let mut seals = Seals(&given, 0);
    settle(&Plan { seal: true, ..given.plan(place.path(), 4) }, &given, &mut seals).unwrap();
    assert!(seals.1 > 70);
}

/// Looks at the folder while a run is at work.
struct Looks<'p>(&'p Path, usize);
impl Sink for Looks<'_> {
    fn begin(&mut self, _run: &str, stage: Stage) -> std::io::Result<()> {
        assert_eq!(fs::metadata(self.0).unwrap().permissions().mode() & 0o777, 0o700);
        for file in fs::read_dir(self.0).unwrap().map(Result::unwrap) {
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?} at {stage:?}", file.file_name());
            self.1 += 1;
        }
        Ok(())
    }
    fn take(&mut self, stage: Stage, _part: u16, _found: Found<'_>) -> std::io::Result<()> {
        assert!(stage != Stage::End, "dead at the end");
        Ok(())
    }
    fn end(&mut self, _stage: Stage) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_folder_is_private_and_nobody_elses() {
    let given = market(10, 200, 20);
    let place = Place::new();
    let plan = given.plan(place.path(), 4);
    // Open to others before; a sink that panics leaves it behind, and no thread waits for another.
    fs::create_dir(place.path()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut looks = Looks(place.path(), 0);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settle(&plan, &given, &mut looks)));
    assert!(died.is_err() && looks.1 > 20, "{}", looks.1);
    assert!(place.path().exists());
    // Cleared by the next start, of another run.
    assert_eq!(on_disk(&market(11, 100, 5), &place, 2), market(11, 100, 5).in_memory());

    // What another made is not touched.
    fs::create_dir(place.path()).unwrap();
    fs::write(place.path().join("letter"), "dear").unwrap();
    let refused = settle(&plan, &given, &mut Collect::default()).unwrap_err();
    assert!(matches!(refused, SettleError::NotOurs { .. }), "{refused}");
    assert!(place.path().join("letter").exists());
    fs::remove_file(place.path().join("letter")).unwrap();

    // One at a time.
    let held = super::folder::Folder::open(place.path()).unwrap();
    let refused = settle(&plan, &given, &mut Collect::default()).unwrap_err();
    assert!(matches!(refused, SettleError::Busy { .. }), "{refused}");
    drop(held);
    assert_eq!(on_disk(&given, &place, 4), given.in_memory());
}

#[test]
fn a_source_that_fails_says_where() {
    let mut given = market(12, 50, 0);
    given.broken_at = Some(7);
    let place = Place::new();
    let failed = settle(&given.plan(place.path(), 4), &given, &mut Collect::default()).unwrap_err();
    assert_eq!(failed.to_string(), "cannot read line 8: no more paper");
    given.broken_at = None;
    assert_eq!(on_disk(&given, &place, 4), given.in_memory());
}

#[test]
fn partitions_grow_with_the_lines() {
    assert_eq!(
        [0, 1, 40_000, 40_001, 5_000_000, u64::MAX].map(Plan::partitions_for),
        [1, 1, 1, 2, 128, 4_096]
    );
}
