//! Large batches: what the gateway's own ids settle plainly is matched, certified, checked and booked section by section, so that a run
//! holds what is left over and never a batch.
//!
//! ```text
//! parts on the shelf ─▶ lines by section ─┐                      ┌─▶ section: lines, certificates, entries (documents)
//! book and journal ──▶ expected by section ┴─▶ core::settle::plain ┼─▶ lines left ──▶ matched in one piece, with
//!                                                                └─▶ expected left: what is due, or may meet one of these
//!                                                                    lines; the others wait in documents of the book
//! ```
//! The outcome is that of matching everything in one piece. Two things differ. A batch that the check refuses keeps what it was matched with
//! out of that run: it waits, and is not told as missing. What is not due yet is not looked up at its order, as ever.
//!
//! A section does not change once it is posted. A batch that was submitted first and is funded later gets the entries of its sections then.

use std::collections::{BTreeMap, BTreeSet};

use tillway_core::journal::{Entry, TrialBalance};
use tillway_core::settle::certificate::certify;
use tillway_core::settle::check::{Statement, check_section};
use tillway_core::settle::plain::{Meeting, Plain};
use tillway_core::settle::watch::DayFigures;
use tillway_core::settle::{
    Batch, Day, Expected, Group, Kind, RuleBook, SECTIONS, SettlementLine, ToBook, line_entries, section_of,
};

use super::batch::sums_of;
use super::candidates::Candidate;
use super::digest::{Digest, id_mark};
use super::fetch::Incoming;
use super::plan::texts;
use super::records::{BatchDoc, Piece, Section, SectionDoc};
use super::spread::Spread;
use super::watched::{self, NewLines};
use super::{Run, Step};
use crate::engine::{Engine, WorkError};

/// A section has at least so many-th of what is held at once, unless too many batches grow together.
const PIECES: usize = 8;

/// What sections leave for matching in one piece.
#[derive(Default)]
pub(super) struct Left {
    /// Expectations that are due, or that some line may meet.
    pub(super) expected: Vec<Expected>,
    /// The others.
    pub(super) waiting: Vec<Piece>,
    /// Lines and expectations that were matched in sections.
    pub(super) matched: usize,
}

/// What was made of one batch.
#[derive(Default)]
pub(super) struct Sectioned {
    pub(super) sections: Vec<Section>,
    /// What their entries move.
    pub(super) booked: TrialBalance,
    /// What their lines add to the day's figures.
    pub(super) figures: Option<DayFigures>,
    /// Why it may not be posted.
    pub(super) wrong: Vec<String>,
}

/// What a run holds beside the sections, and what stands against an own id in a section.
pub(super) struct Beside<'a> {
    /// Lines that earlier runs left open.
    pub(super) carried: &'a [SettlementLine],
    /// Own ids of expectations that no section has: effects of unknown outcome, and what was accepted.
    pub(super) named: BTreeSet<Box<str>>,
    /// Expectations that a person accepts by this run.
    pub(super) taken: BTreeSet<Box<str>>,
    /// What is not due by then may wait.
    pub(super) today: Day,
}

impl Engine {
    /// Takes out of a run what is plain, where it is too much to be held. `incoming` keeps the lines that are left.
    pub(super) async fn take_sections(
        &self,
        run: &mut Run<'_>,
        incoming: &mut [Incoming],
        mut expected: Spread<Expected>,
        beside: Beside<'_>,
    ) -> Result<Left, WorkError> {
        if incoming.iter().all(|i| !i.large) && expected.is_small() {
            return Ok(Left { expected: expected.into_items().collect(), ..Left::default() });
        }
        let mut lines = self.spread_lines(run, incoming, beside.carried).await?;
        self.compare_sections(incoming, &mut lines.known).await?;
        let mut apart: BTreeSet<Box<str>> = beside.named;
        let held = incoming.iter().flat_map(|i| &i.lines).chain(beside.carried);
        apart.extend(held.filter_map(|l| l.ids.own.clone()));
        let is_apart = |l: &SettlementLine| {
            lines.twice.contains(&id_mark(&l.id)) || l.ids.own.as_ref().is_some_and(|own| apart.contains(own))
        };
        let mut left: Spread<Expected> = Spread::new(self.config.in_memory);
        let mut growing: BTreeMap<usize, Growing> = BTreeMap::new();
        let mut matched = 0_usize;
        for part in 0..SECTIONS {
            let new = lines.new.take(self, part).await?;
            let booked = expected.take(self, part).await?;
            let plain = Plain::of(new, booked, &run.rules, is_apart);
            matched = matched.saturating_add(plain.groups.len());
            for e in plain.other_expected {
                left.push(self, run, part, e).await?;
            }
            for (place, lines) in by_batch(plain.other_lines, incoming) {
                if let Some(one) = incoming.get_mut(place) {
                    one.lines.extend(lines);
                }
            }
            grow(&mut growing, incoming, part, (plain.lines, plain.expected, plain.groups));
            let all: usize = growing.values().map(|g| g.lines.len()).sum();
            let is_full =
                |g: &Growing| all > self.config.in_memory || g.lines.len() > self.config.in_memory / PIECES;
            let full: Vec<usize> =
                growing.iter().filter(|(_, g)| is_full(g)).map(|(place, _)| *place).collect();
            for place in full {
                if let (Some(one), Some(grown)) = (incoming.get_mut(place), growing.remove(&place)) {
                    self.keep_section(run, one, (grown.from, part), grown).await?;
                }
            }
            run.tell(&Step::Section(part.saturating_add(1), SECTIONS))?;
            self.renew_book(run).await?;
        }
        for (place, grown) in growing {
            if let Some(one) = incoming.get_mut(place) {
                self.keep_section(run, one, (grown.from, SECTIONS.saturating_sub(1)), grown).await?;
            }
        }
        let mut out = Left { matched, ..Left::default() };
        let meeting = Meeting::of(incoming.iter().flat_map(|i| &i.lines).chain(beside.carried));
        let mut waiting = Vec::new();
        for part in 0..SECTIONS {
            for e in left.take(self, part).await? {
                if e.due <= beside.today || beside.taken.contains(&e.id) || meeting.may_meet(&e) {
                    out.expected.push(e);
                    continue;
                }
                waiting.push(e);
                if waiting.len() >= self.config.in_memory {
                    self.keep_waiting(run, &mut waiting, &mut out.waiting).await?;
                }
            }
        }
        self.keep_waiting(run, &mut waiting, &mut out.waiting).await?;
        Ok(out)
    }

    /// Writes expectations that wait.
    async fn keep_waiting(
        &self,
        run: &mut Run<'_>,
        waiting: &mut Vec<Expected>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), WorkError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let doc = self.draft(run, false).await?;
        self.shelve(&doc, waiting).await?;
        pieces.push(Piece { doc, items: waiting.len() });
        waiting.clear();
        self.renew_book(run).await
    }

    /// Reads the lines of large batches from where they lie, and spreads those that bear an own id.
    async fn spread_lines(
        &self,
        run: &mut Run<'_>,
        incoming: &mut [Incoming],
        carried: &[SettlementLine],
    ) -> Result<Lines, WorkError> {
        let mut marks: Vec<u128> = carried.iter().map(|l| id_mark(&l.id)).collect();
        let (mut new, mut known) = (Spread::new(self.config.in_memory), Spread::new(self.config.in_memory));
        for one in incoming.iter_mut() {
            marks.extend(one.lines.iter().map(|l| id_mark(&l.id)));
            if !one.large {
                continue;
            }
            let mut sum = Digest::default();
            for part in &one.read {
                for line in self.shelved::<Vec<SettlementLine>>(part).await? {
                    sum.line(&line);
                    marks.push(id_mark(&line.id));
                }
                self.renew_book(run).await?;
            }
            one.digest = Some(sum);
            one.before = self.batch_before(run, &one.listed.batch.id).await?;
            if one.before.as_ref().is_some_and(|(record, _)| Digest::parse(&record.digest).is_none()) {
                // It was held at once when it was settled, so it can be now.
                one.large = false;
                one.digest = None;
            }
            one.same = one
                .before
                .as_ref()
                .is_some_and(|(record, _)| record.digest == sum.text() && record.batch == one.listed.batch);
            if one.same {
                continue;
            }
            let spread = if one.before.is_none() { &mut new } else { &mut known };
            for part in &one.read {
                for line in self.shelved::<Vec<SettlementLine>>(part).await? {
                    let section = line.ids.own.as_deref().map(section_of);
                    match section.filter(|_| one.large && line.batch == one.listed.batch.id) {
                        Some(section) => spread.push(self, run, section, line).await?,
                        _ => one.lines.push(line),
                    }
                }
            }
        }
        marks.sort_unstable();
        let again = marks.windows(2).filter_map(|pair| pair.first().filter(|m| pair.last() == Some(m)));
        Ok(Lines { twice: again.copied().collect(), new, known })
    }

    /// Compares what comes of batches whose sections are posted with these: what is new or other is left, and that one of the posted
    /// lines is gone, or other, is noted.
    async fn compare_sections(
        &self,
        incoming: &mut [Incoming],
        lines: &mut Spread<SettlementLine>,
    ) -> Result<(), WorkError> {
        let mut come: BTreeMap<usize, Vec<SettlementLine>> = BTreeMap::new();
        for part in 0..SECTIONS {
            for (place, lines) in by_batch(lines.take(self, part).await?, incoming) {
                come.entry(place).or_default().extend(lines);
            }
            for (place, one) in incoming.iter_mut().enumerate().filter(|(_, i)| i.large && !i.same) {
                let Some((_, known)) = &one.before else { continue };
                let ends = known.sections.iter().find(|s| s.parts.1 == part);
                let posted = match ends {
                    Some(section) => self.shelved::<SectionDoc>(&section.doc).await?.lines,
                    // A section is looked at as a whole, when all its lines are there.
                    None if known.sections.iter().any(|s| (s.parts.0..s.parts.1).contains(&part)) => continue,
                    None => Vec::new(),
                };
                let mut stands: BTreeMap<Box<str>, SettlementLine> =
                    posted.into_iter().map(|l| (l.id.clone(), l)).collect();
                for line in come.remove(&place).unwrap_or_default() {
                    if stands.get(&line.id) == Some(&line) {
                        stands.remove(&line.id);
                    } else {
                        one.lines.push(line);
                    }
                }
                one.changed |= !stands.is_empty();
            }
        }
        Ok(())
    }

    /// Makes a section of a batch.
    async fn keep_section(
        &self,
        run: &mut Run<'_>,
        one: &mut Incoming,
        parts: (u16, u16),
        grown: Growing,
    ) -> Result<(), WorkError> {
        let Growing { lines, expected, groups, .. } = grown;
        let mut certificates = certify(&groups, &lines, &expected);
        certificates.sort_by(|a, b| a.group.cmp(&b.group));
        let doc = SectionDoc { lines, expected, certificates, rules: RuleBook::new(&run.rules) };
        let batch = one.listed.batch.clone();
        // What is wrong goes with it, so that all of its batch is given back.
        let (made, entries) = match self.section(run, &batch, parts, &doc).await? {
            Ok(made) => made,
            Err(why) => {
                one.sectioned.wrong.extend(why);
                (Section::bare(parts, run.day), Vec::new())
            }
        };
        let name = self.draft(run, false).await?;
        self.shelve(&name, &doc).await?;
        let days = || doc.expected.iter().map(|e| e.due).chain(doc.lines.iter().map(|l| l.day));
        let figures = one.sectioned.figures.get_or_insert_with(|| DayFigures::new(run.day));
        watched::count(figures, run.day, &NewLines::of_section(&doc), &run.rules);
        entries.iter().for_each(|e| one.sectioned.booked.add(e));
        one.sectioned.sections.push(Section {
            doc: name,
            digest: Digest::of(&doc.lines).text(),
            sums: sums_of(&doc.lines, doc.certificates.len()),
            span: (days().min().unwrap_or(run.day), days().max().unwrap_or(run.day)),
            ..made
        });
        Ok(())
    }

    /// Checks a section, and books it where its batch is funded. The inner error: why it may not be posted.
    async fn section(
        &self,
        run: &mut Run<'_>,
        batch: &Batch,
        parts: (u16, u16),
        doc: &SectionDoc,
    ) -> Result<Result<(Section, Vec<Entry>), Vec<String>>, WorkError> {
        let groups: Vec<Group> = doc.certificates.iter().map(|c| c.group.clone()).collect();
        let to_book = ToBook {
            batch,
            lines: &doc.lines,
            groups: &groups,
            expected: &doc.expected,
            explained: &[],
            rates: &BTreeMap::new(),
            rules: &doc.rules,
        };
        let entries = match line_entries(&to_book, |_| false) {
            Ok(entries) => entries,
            Err(error) => return Ok(Err(vec![error.to_string()])),
        };
        let tally = match check_section(&statement(batch, doc, &entries), parts) {
            Ok(tally) => tally,
            Err(bad) => return Ok(Err(texts(&bad))),
        };
        let mut name = None;
        if !entries.is_empty() {
            let draft = self.draft(run, false).await?;
            self.shelve(&draft, &entries).await?;
            name = Some(draft);
        }
        let booked = entries.len();
        let section =
            Section { booked, fresh: name.is_some(), entries: name, tally, ..Section::bare(parts, run.day) };
        Ok(Ok((section, entries)))
    }

    /// Books the sections of a batch that was submitted, and has its money now.
    pub(super) async fn fund_sections(
        &self,
        run: &mut Run<'_>,
        candidate: &mut Candidate,
    ) -> Result<(), WorkError> {
        let Some(batch) = candidate.funded_now() else { return Ok(()) };
        for known in std::mem::take(&mut candidate.sectioned.sections) {
            let doc: SectionDoc = self.shelved(&known.doc).await?;
            match self.section(run, &batch, known.parts, &doc).await? {
                Err(why) => candidate.sectioned.wrong.extend(why),
                Ok((made, entries)) => {
                    entries.iter().for_each(|e| candidate.sectioned.booked.add(e));
                    let Section { doc, digest, sums, span, .. } = known;
                    candidate.sectioned.sections.push(Section { doc, digest, sums, span, ..made });
                }
            }
            self.renew_book(run).await?;
        }
        Ok(())
    }

    /// What was charged in sections of a batch, by the gateway's id, as far as fees on lines of their own name it.
    pub(super) async fn charged_in_sections(
        &self,
        doc: &BatchDoc,
    ) -> Result<BTreeMap<Box<str>, i64>, WorkError> {
        let fees = doc.lines.iter().filter(|l| l.kind == Kind::Fee);
        let named: BTreeSet<&str> = fees.filter_map(|l| l.ids.parent.as_deref()).collect();
        let places: BTreeSet<u16> = named.iter().map(|own| section_of(own)).collect();
        let mut out = BTreeMap::new();
        for section in &doc.sections {
            if places.range(section.parts.0..=section.parts.1).next().is_none() {
                continue;
            }
            let inside: SectionDoc = self.shelved(&section.doc).await?;
            for line in inside.lines.into_iter().filter(|l| l.kind == Kind::Charge) {
                if let Some(own) = line.ids.own.filter(|own| named.contains(own.as_ref())) {
                    out.insert(own, line.gross);
                }
            }
        }
        Ok(out)
    }

    /// A batch whose sections were made in this run is not posted: what they were matched with waits on.
    pub(super) async fn give_back(
        &self,
        run: &mut Run<'_>,
        candidate: &Candidate,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), WorkError> {
        for section in &candidate.sectioned.sections {
            if candidate.before.is_none() {
                let doc: SectionDoc = self.shelved(&section.doc).await?;
                self.keep_waiting(run, &mut doc.expected.clone(), pieces).await?;
                run.drafts.passing.push(section.doc.clone());
            }
            run.drafts.passing.extend(section.entries.clone().filter(|_| section.fresh));
        }
        Ok(())
    }
}

/// What the checker is shown of a section.
pub(super) fn statement<'a>(batch: &'a Batch, doc: &'a SectionDoc, entries: &'a [Entry]) -> Statement<'a> {
    static NO_RATES: BTreeMap<Box<str>, tillway_core::settle::rates::Rate> = BTreeMap::new();
    Statement {
        batch,
        lines: &doc.lines,
        other_lines: &[],
        expected: &doc.expected,
        certificates: &doc.certificates,
        explained: &[],
        accepted: &[],
        open_lines: &[],
        open_expected: &[],
        entries,
        rates: &NO_RATES,
        rules: &doc.rules,
        sections: &[],
    }
}

/// Lines of large batches, those of which something is posted apart, and the marks of ids that come twice in the run.
struct Lines {
    new: Spread<SettlementLine>,
    known: Spread<SettlementLine>,
    twice: BTreeSet<u128>,
}

/// What a section will be made of.
struct Growing {
    /// Its first place.
    from: u16,
    lines: Vec<SettlementLine>,
    expected: Vec<Expected>,
    groups: Vec<Group>,
}

/// Adds what is plain in one place to what grows of each batch.
fn grow(
    growing: &mut BTreeMap<usize, Growing>,
    incoming: &[Incoming],
    part: u16,
    (lines, expected, groups): (Vec<SettlementLine>, Vec<Expected>, Vec<Group>),
) {
    let mut books: BTreeMap<Box<str>, Expected> = expected.into_iter().map(|e| (e.id.clone(), e)).collect();
    let mut group_of: BTreeMap<Box<str>, Group> =
        groups.into_iter().filter_map(|g| Some((g.lines.first()?.clone(), g))).collect();
    for (place, lines) in by_batch(lines, incoming) {
        let grown = growing.entry(place).or_insert_with(|| Growing {
            from: part,
            lines: Vec::new(),
            expected: Vec::new(),
            groups: Vec::new(),
        });
        for group in lines.iter().filter_map(|l| group_of.remove(&l.id)) {
            grown.expected.extend(group.expected.iter().filter_map(|id| books.remove(id)));
            grown.groups.push(group);
        }
        grown.lines.extend(lines);
    }
}

/// Lines with the place of their batch.
fn by_batch(lines: Vec<SettlementLine>, incoming: &[Incoming]) -> BTreeMap<usize, Vec<SettlementLine>> {
    let mut out: BTreeMap<usize, Vec<SettlementLine>> = BTreeMap::new();
    let place_of: BTreeMap<&str, usize> =
        incoming.iter().enumerate().map(|(place, i)| (i.listed.batch.id.as_ref(), place)).collect();
    for line in lines {
        if let Some(place) = place_of.get(line.batch.as_ref()) {
            out.entry(*place).or_default().push(line);
        }
    }
    out
}
