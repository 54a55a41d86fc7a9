//! A run through the stages, from the beginning or from where an earlier one stopped.

use super::disk::{Disk, Real};
use super::folder::Folder;
use super::manifest::{self, Manifest, fingerprint};
use super::parts::Parts;
use super::sink::Sink;
use super::stages::{self, Hand};
use super::totals::Totals;
use super::{Plan, SettleError, Source, Stage};

/// Settles what the source gives and hands what is found to the sink. Where a run of the same name died in the folder, it
/// is gone on with. It works for as long as it takes and blocks its thread.
///
/// # Errors
/// [`SettleError`]. What the plan's folder holds then lets the next start go on.
pub fn settle(plan: &Plan<'_>, source: &dyn Source, sink: &mut dyn Sink) -> Result<Totals, SettleError> {
    settle_on(&Real, plan, source, sink)
}

pub(super) fn settle_on(
    disk: &dyn Disk,
    plan: &Plan<'_>,
    source: &dyn Source,
    sink: &mut dyn Sink,
) -> Result<Totals, SettleError> {
    let folder = Folder::open(plan.folder)?;
    let run = fingerprint(plan);
    let found = Manifest::find(disk, &folder, &run)?;
    let kept = found.filter(|m| sink.kept(&run).is_some_and(|stage| stage.rank() >= m.ended));
    let totals = match kept {
        Some(manifest) => match go_on(disk, plan, &folder, source, sink, manifest) {
            Err(SettleError::Damaged { .. }) => anew(disk, plan, &folder, source, sink)?,
            done => done?,
        },
        None => anew(disk, plan, &folder, source, sink)?,
    };
    folder.remove()?;
    Ok(totals)
}

/// Begins with an empty folder.
fn anew(
    disk: &dyn Disk,
    plan: &Plan<'_>,
    folder: &Folder,
    source: &dyn Source,
    sink: &mut dyn Sink,
) -> Result<Totals, SettleError> {
    // First, for without the files it says a wrong thing.
    let file = folder.path().join(manifest::NAME);
    disk.remove(&file).map_err(|source| SettleError::File { file, doing: "remove", source })?;
    folder.clear(|_| false)?;
    let partitions = plan.parts();
    let hand = Hand {
        sink,
        lines: Parts::new(folder.path(), partitions, Vec::new()),
        expected: Parts::new(folder.path(), partitions, Vec::new()),
        totals: Totals::default(),
    };
    stages_from(disk, plan, folder, source, hand, None)
}

/// Begins after the last stage that ended, with files as they were then.
fn go_on(
    disk: &dyn Disk,
    plan: &Plan<'_>,
    folder: &Folder,
    source: &dyn Source,
    sink: &mut dyn Sink,
    manifest: Manifest,
) -> Result<Totals, SettleError> {
    let partitions = plan.parts();
    let Manifest { ended, totals, lines, expected, .. } = manifest;
    let hand = Hand {
        sink,
        lines: Parts::new(folder.path(), partitions, lines),
        expected: Parts::new(folder.path(), partitions, expected),
        totals,
    };
    let files: Vec<_> = hand.lines.files().chain(hand.expected.files()).collect();
    let names: Vec<&str> = files.iter().filter_map(|(file, _)| file.file_name()?.to_str()).collect();
    folder.clear(|name| name == manifest::NAME || names.contains(&name))?;
    for (file, entry) in &files {
        disk.cut(file, entry.bytes).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                SettleError::Damaged { file: file.clone(), what: "it is not there" }
            }
            _ => SettleError::File { file: file.clone(), doing: "cut", source },
        })?;
    }
    drop(files);
    stages_from(disk, plan, folder, source, hand, Some(ended))
}

fn stages_from(
    disk: &dyn Disk,
    plan: &Plan<'_>,
    folder: &Folder,
    source: &dyn Source,
    mut hand: Hand<'_>,
    ended: Option<usize>,
) -> Result<Totals, SettleError> {
    let run = fingerprint(plan);
    for stage in Stage::all().filter(|stage| Some(stage.rank()) > ended) {
        let failed = |source| SettleError::Sink { stage: stage.name(), source };
        hand.sink.begin(&run, stage).map_err(failed)?;
        hand = match stage {
            Stage::Read => stages::read(plan, disk, source, hand)?,
            Stage::Tier(tier) => stages::tier(plan, disk, tier, hand)?,
            Stage::End => stages::end(plan, disk, hand)?,
        };
        hand.lines.flush(disk)?;
        hand.expected.flush(disk)?;
        hand.sink.end(stage).map_err(failed)?;
        let done = [hand.lines.forget(stage), hand.expected.forget(stage)];
        let manifest = Manifest {
            fingerprint: run.clone(),
            ended: stage.rank(),
            totals: hand.totals.clone(),
            lines: hand.lines.entries(),
            expected: hand.expected.entries(),
        };
        manifest.keep(disk, folder)?;
        for file in done.into_iter().flatten() {
            disk.remove(&file).map_err(|source| SettleError::File { file, doing: "remove", source })?;
        }
    }
    Ok(hand.totals)
}
