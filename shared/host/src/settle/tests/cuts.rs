//! Runs that die, and disks that are full or lie.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::given::{Given, Place, market};
use crate::settle::disk::{Disk, Real};
use crate::settle::run::settle_on;
use crate::settle::sink::{Collect, Found, Sink};
use crate::settle::{Plan, SettleError, Stage, Table, Totals, settle};

/// All files of a folder by name.
pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    files.map(|f| (f.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(f).unwrap())).collect()
}

/// What befalls the disk at a step.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// It is full: half of what was to be written is, and from then on nothing.
    Full,
    /// What is read has one bit wrong.
    Bit,
}

/// A disk on which something happens at a step, counted from zero.
struct Faulty {
    at: usize,
    fault: Fault,
    steps: AtomicUsize,
}

impl Faulty {
    fn new(at: usize, fault: Fault) -> Self {
        Self { at, fault, steps: AtomicUsize::new(0) }
    }
    fn full() -> io::Error {
        io::Error::new(io::ErrorKind::StorageFull, "no space left")
    }
    /// Whether this step, which writes, fails; and whether it is the first to.
    fn fails(&self) -> Option<bool> {
        if self.fault != Fault::Full {
            return None;
        }
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        (step >= self.at).then_some(step == self.at)
    }
    fn step(
        &self,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match self.fails() {
            None => whole(),
            Some(first) => {
                if first {
                    half()?;
                }
                Err(Self::full())
            }
        }
    }
}

impl Disk for Faulty {
    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|| Real.append(file, &bytes[..bytes.len() / 2]), || Real.append(file, bytes))
    }
    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|| Real.append(&file.with_extension("new"), &bytes[..9]), || Real.replace(file, bytes))
    }
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Real.read(file)?;
        if self.fault == Fault::Bit
            && self.steps.fetch_add(1, Ordering::Relaxed) == self.at
            && !bytes.is_empty()
        {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        Ok(bytes)
    }
    fn cut(&self, file: &Path, length: u64) -> io::Result<()> {
        self.step(|| Ok(()), || Real.cut(file, length))
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || Real.remove(file))
    }
}

fn plan<'a>(given: &'a Given, place: &'a Place) -> Plan<'a> {
    Plan { seal: true, ..given.plan(place.path(), 3) }
}

/// What a run that ended has left: its tables and its totals.
fn ended(totals: &Totals, tables: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(tables);
    all.insert("totals".to_owned(), totals.csv().into_bytes());
    all
}

/// What a run that nothing befell leaves.
fn whole(given: &Given) -> BTreeMap<String, Vec<u8>> {
    let (place, tables) = (Place::new(), Place::new());
    let totals = settle(&plan(given, &place), given, &mut Table::new(tables.path()).unwrap()).unwrap();
    ended(&totals, tables.path())
}

#[test]
fn a_run_that_is_cut_at_any_step_ends_the_same_when_it_is_started_again() {
    let given = market(21, 60, 4);
    let want = whole(&given);
    let (mut cut, mut went_on) = (0, 0);
    for at in 0.. {
        let (place, tables) = (Place::new(), Place::new());
        let disk = Faulty::new(at, Fault::Full);
        let first = settle_on(&disk, &plan(&given, &place), &given, &mut Table::new(tables.path()).unwrap());
        let Err(error) = first else { break };
        assert!(matches!(&error, SettleError::File { .. }), "step {at}: {error}");
        assert!(error.to_string().contains(place.path().to_str().unwrap()), "step {at}: {error}");
        cut += 1;
        given.asked.store(0, Ordering::Relaxed);
        // Cut once more a little later, then left alone.
        let disk = Faulty::new(at / 2, Fault::Full);
        let _ = settle_on(&disk, &plan(&given, &place), &given, &mut Table::new(tables.path()).unwrap());
        given.asked.store(0, Ordering::Relaxed);
        let totals = settle(&plan(&given, &place), &given, &mut Table::new(tables.path()).unwrap()).unwrap();
        went_on += usize::from(given.asked.load(Ordering::Relaxed) == 0);
        assert_eq!(ended(&totals, tables.path()), want, "step {at}");
        assert!(!place.path().exists());
    }
    assert!(cut > 60 && went_on > 20, "{cut} cuts, {went_on} gone on with");
}

/// Dies at the nth call.
struct Dies<S> {
    sink: S,
    left: usize,
}
impl<S> Dies<S> {
    fn step(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("gone"))?;
        Ok(())
    }
}
impl<S: Sink> Sink for Dies<S> {
    fn kept(&mut self, run: &str) -> Option<Stage> {
        self.sink.kept(run)
    }
    fn begin(&mut self, run: &str, stage: Stage) -> io::Result<()> {
        self.step()?;
        self.sink.begin(run, stage)
    }
    fn take(&mut self, stage: Stage, part: u16, found: Found<'_>) -> io::Result<()> {
        self.step()?;
        self.sink.take(stage, part, found)
    }
    fn end(&mut self, stage: Stage) -> io::Result<()> {
        self.sink.end(stage)?;
        self.step()
    }
}

#[test]
fn a_sink_that_dies_at_any_call_gets_the_rest_later_and_nothing_twice() {
    let given = market(22, 80, 4);
    let want = whole(&given);
    let mut died = 0;
    for left in 0.. {
        let (place, tables) = (Place::new(), Place::new());
        let mut sink = Dies { sink: Table::new(tables.path()).unwrap(), left };
        match settle(&plan(&given, &place), &given, &mut sink) {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, SettleError::Sink { .. }), "call {left}: {error}"),
        }
        died += 1;
        let totals = settle(&plan(&given, &place), &given, &mut Table::new(tables.path()).unwrap()).unwrap();
        assert_eq!(ended(&totals, tables.path()), want, "call {left}");
    }
    assert!(died > 20, "{died}");
}

/// A run that died after the second tier, and its tables.
fn dead(given: &Given) -> (Place, Place) {
    let (place, tables) = (Place::new(), Place::new());
    let mut sink = Dies { sink: Table::new(tables.path()).unwrap(), left: 12 };
    settle(&plan(given, &place), given, &mut sink).unwrap_err();
    given.asked.store(0, Ordering::Relaxed);
    (place, tables)
}

/// Starts again after something was done to what the run has left; gives whether it began anew.
fn again(given: &Given, damage: impl FnOnce(&Path, &Path)) -> bool {
    let (place, tables) = dead(given);
    damage(place.path(), tables.path());
    let totals = settle(&plan(given, &place), given, &mut Table::new(tables.path()).unwrap()).unwrap();
    assert_eq!(ended(&totals, tables.path()), whole(given));
    // `whole` asks once.
    given.asked.load(Ordering::Relaxed) > 1
}

fn change(file: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    how(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[test]
fn what_was_damaged_in_between_begins_anew_and_never_gives_another_result() {
    let given = market(23, 80, 4);
    assert!(!again(&given, |_, _| {}), "undamaged it is gone on with");
    let (place, tables) = dead(&given);
    let left: Vec<PathBuf> = files(place.path()).into_keys().map(PathBuf::from).collect();
    let tables: Vec<PathBuf> = files(tables.path())
        .into_keys()
        .filter(|n| n.starts_with("1-") || n == "run")
        .map(PathBuf::from)
        .collect();
    let of_items = |name: &&PathBuf| name.extension().is_some_and(|e| e == "lines" || e == "expected");
    assert!(left.iter().filter(of_items).count() > 8, "{left:?}");
    for name in left.iter().filter(|n| of_items(n) || n.ends_with("manifest")) {
        assert!(again(&given, |folder, _| change(&folder.join(name), |b| b[9] ^= 1)), "bit in {name:?}");
        assert!(
            again(&given, |folder, _| change(&folder.join(name), |b| b.truncate(b.len() - 1))),
            "cut {name:?}"
        );
        assert!(again(&given, |folder, _| fs::remove_file(folder.join(name)).unwrap()), "without {name:?}");
    }
    for name in &tables {
        assert!(again(&given, |_, tables| change(&tables.join(name), |b| b[9] ^= 1)), "bit in {name:?}");
        assert!(again(&given, |_, tables| fs::remove_file(tables.join(name)).unwrap()), "without {name:?}");
    }
    // Longer than the manifest says: the dead run wrote on.
    for name in left.iter().filter(of_items) {
        assert!(
            !again(&given, |folder, _| change(&folder.join(name), |b| b.extend([7; 40]))),
            "longer {name:?}"
        );
    }
}

#[test]
fn a_sink_that_forgot_is_told_everything_again() {
    let given = market(24, 80, 4);
    let (place, _) = dead(&given);
    let mut sink = Collect::default();
    settle(&plan(&given, &place), &given, &mut sink).unwrap();
    assert_eq!(sink.outcome(), given.in_memory());
}

#[test]
fn another_run_does_not_go_on_where_this_one_stopped() {
    let given = market(25, 80, 4);
    let (place, tables) = dead(&given);
    let other = Plan { run: "another", ..plan(&given, &place) };
    settle(&other, &given, &mut Table::new(tables.path()).unwrap()).unwrap();
    assert_eq!(given.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_bit_that_flips_on_the_way_from_the_disk_is_an_error_that_names_the_file() {
    let given = market(26, 60, 4);
    let mut damaged = 0;
    for at in 0.. {
        let place = Place::new();
        let disk = Faulty::new(at, Fault::Bit);
        let mut sink = Collect::default();
        match settle_on(&disk, &plan(&given, &place), &given, &mut sink) {
            Err(SettleError::Damaged { file, .. }) => {
                assert_eq!(file.parent(), Some(place.path()));
                damaged += 1;
            }
            Err(other) => panic!("read {at}: {other}"),
            Ok(_) => {
                assert_eq!(sink.outcome(), given.in_memory(), "read {at}");
                if disk.steps.load(Ordering::Relaxed) <= at {
                    break;
                }
            }
        }
    }
    assert!(damaged > 20, "{damaged}");
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let full = Path::new("/dev/full");
    if full.exists() {
        assert_eq!(Real.append(full, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
