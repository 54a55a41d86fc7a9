//! Items spread over sections by the gateway's own id, in memory as long as they are few, then in documents.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tillway_core::settle::SECTIONS;

use super::Run;
use super::records::Scratch;
use crate::engine::{Engine, WorkError};

/// Numbers that are reserved at a time.
const AHEAD: u32 = 256;
/// Documents written or read at a time.
pub(super) const AT_A_TIME: usize = 8;

/// What a large run has put on the shelf.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    next: u32,
    /// What is of no use once the plan stands.
    pub(super) passing: Vec<Box<str>>,
}

fn draft_name(run: &Run<'_>, fence: u64, n: u32) -> Box<str> {
    format!("{}/draft/{fence}/{n}", run.name()).into()
}

/// Items of the sections.
pub(super) struct Spread<T> {
    parts: Vec<Part<T>>,
    held: usize,
    most: usize,
    /// Items that went in.
    pub(super) count: usize,
}

struct Part<T> {
    held: Vec<T>,
    docs: Vec<Box<str>>,
}

impl<T: Serialize + DeserializeOwned + Send + Sync> Spread<T> {
    /// One that holds so many in memory.
    pub(super) fn new(most: usize) -> Self {
        let parts = (0..SECTIONS).map(|_| Part { held: Vec::new(), docs: Vec::new() }).collect();
        Self { parts, held: 0, most, count: 0 }
    }

    /// Whether all of it is in memory.
    pub(super) fn is_small(&self) -> bool {
        self.parts.iter().all(|part| part.docs.is_empty())
    }

    /// All of it, where it is small.
    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.parts.into_iter().flat_map(|part| part.held)
    }

    /// Adds an item to a section.
    pub(super) async fn push(
        &mut self,
        engine: &Engine,
        run: &mut Run<'_>,
        section: u16,
        item: T,
    ) -> Result<(), WorkError> {
        if let Some(part) = self.parts.get_mut(usize::from(section)) {
            part.held.push(item);
            self.held = self.held.saturating_add(1);
            self.count = self.count.saturating_add(1);
        }
        if self.held > self.most { self.flush(engine, run).await } else { Ok(()) }
    }

    /// Writes what is held.
    async fn flush(&mut self, engine: &Engine, run: &mut Run<'_>) -> Result<(), WorkError> {
        self.held = 0;
        let mut full: Vec<(&mut Part<T>, Box<str>)> = Vec::new();
        for part in self.parts.iter_mut().filter(|part| !part.held.is_empty()) {
            full.push((part, engine.draft(run, true).await?));
        }
        for some in full.chunks_mut(AT_A_TIME) {
            let writes = some.iter().map(|(part, name)| engine.shelve(name, &part.held));
            futures_util::future::try_join_all(writes).await?;
        }
        for (part, name) in full {
            part.held = Vec::new();
            part.docs.push(name);
        }
        engine.renew_book(run).await
    }

    /// Takes a section out.
    pub(super) async fn take(&mut self, engine: &Engine, section: u16) -> Result<Vec<T>, WorkError> {
        let Some(part) = self.parts.get_mut(usize::from(section)) else { return Ok(Vec::new()) };
        let mut items = std::mem::take(&mut part.held);
        for some in std::mem::take(&mut part.docs).chunks(AT_A_TIME) {
            let reads = some.iter().map(|name| engine.shelved::<Vec<T>>(name));
            items.extend(futures_util::future::try_join_all(reads).await?.into_iter().flatten());
        }
        Ok(items)
    }
}

impl Engine {
    /// A name for a document of a run whose plan does not stand yet. It is noted before it is used, so that whoever comes next can
    /// throw the document away; `passing`: it is of no use later either.
    pub(super) async fn draft(&self, run: &mut Run<'_>, passing: bool) -> Result<Box<str>, WorkError> {
        let n = run.drafts.next;
        if run.book.scratch.as_ref().is_none_or(|s| s.below <= n) {
            run.book.scratch = Some(Scratch { fence: run.book.fence, below: n.saturating_add(AHEAD) });
            self.keep_book(run).await?;
        }
        run.drafts.next = n.saturating_add(1);
        let name = draft_name(run, run.book.fence, n);
        if passing {
            run.drafts.passing.push(name.clone());
        }
        Ok(name)
    }

    /// Throws away what a run left whose plan never stood.
    pub(super) async fn sweep_drafts(&self, run: &mut Run<'_>) -> Result<(), WorkError> {
        let Some(Scratch { fence, below }) = run.book.scratch.clone() else { return Ok(()) };
        let names: Vec<Box<str>> = (0..below).map(|n| draft_name(run, fence, n)).collect();
        for some in names.chunks(AT_A_TIME) {
            futures_util::future::try_join_all(some.iter().map(|name| self.unshelve(name))).await?;
            self.renew_book(run).await?;
        }
        run.book.scratch = None;
        self.keep_book(run).await
    }
}
