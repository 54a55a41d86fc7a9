//! What a simulation reports.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};
use tillway_core::time::Millis;
use tillway_engine::records::LogRecord;

use crate::check::{self, Seen, Violation};
use crate::exec::lock;
use crate::faults::Op;
use crate::truth::operations;
use crate::world::World;

/// How far a simulation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Orders simulated.
    pub orders: u64,
    /// Orders to be simulated.
    pub of: u64,
    /// Promises broken so far.
    pub violations: usize,
}

/// What a simulation found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Seed.
    pub seed: u64,
    /// Orders simulated.
    pub orders: u64,
    /// Faults that struck, by kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// Crashes by port operation, before (`false`) and after (`true`) its effect.
    pub crash_points: BTreeMap<(Op, bool), u64>,
    /// Crashes by kind of worker.
    pub crashes_by_worker: BTreeMap<String, u64>,
    /// Webhooks accepted.
    pub webhooks: u64,
    /// Webhooks that never came.
    pub webhooks_lost: u64,
    /// Events worked.
    pub events: u64,
    /// Commands decided.
    pub commands: u64,
    /// Journal entries booked.
    pub entries: u64,
    /// Messages that came to the dead letters.
    pub dead_letters: u64,
    /// Items still parked at the end, by code.
    pub parked: BTreeMap<String, u64>,
    /// What an operator did to parked items.
    pub operated: BTreeMap<String, u64>,
    /// Orders by the status the shop shows at the end.
    pub statuses: BTreeMap<String, u64>,
    /// Requests the gateways were asked for, by operation.
    pub operations: BTreeMap<String, u64>,
    /// What was chosen among merchant ids, and what came of it.
    pub routes: BTreeMap<String, u64>,
    /// Counters of the engine: unhandled, duplicates, and the like.
    pub counted: BTreeMap<String, u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Virtual time that passed, over all worlds.
    pub virtual_time: Millis,
    /// Polls of futures.
    pub polls: u64,
    /// Digest of everything stored at the end: the same for the same seed.
    pub digest: String,
}

fn merge<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, n) in from {
        *into.entry(key).or_default() += n;
    }
}

impl Outcome {
    /// Takes another's figures in.
    pub(crate) fn add(&mut self, other: Self) {
        self.orders += other.orders;
        merge(&mut self.faults_by_kind, other.faults_by_kind);
        merge(&mut self.crash_points, other.crash_points);
        merge(&mut self.crashes_by_worker, other.crashes_by_worker);
        merge(&mut self.parked, other.parked);
        merge(&mut self.operated, other.operated);
        merge(&mut self.statuses, other.statuses);
        merge(&mut self.operations, other.operations);
        merge(&mut self.routes, other.routes);
        merge(&mut self.counted, other.counted);
        self.webhooks += other.webhooks;
        self.webhooks_lost += other.webhooks_lost;
        self.events += other.events;
        self.commands += other.commands;
        self.entries += other.entries;
        self.dead_letters += other.dead_letters;
        self.violations.extend(other.violations);
        self.virtual_time = Millis(self.virtual_time.0.saturating_add(other.virtual_time.0));
        self.polls += other.polls;
        let mut hasher = Sha256::new();
        hasher.update(self.digest.as_bytes());
        hasher.update(other.digest.as_bytes());
        self.digest = hex::encode(hasher.finalize());
    }
    /// Crash points that were never met.
    #[must_use]
    pub fn crash_points_missed(&self) -> Vec<String> {
        let all = Op::ALL.into_iter().flat_map(|op| [(op, false), (op, true)]);
        let missed = all.filter(|point| !self.crash_points.contains_key(point));
        missed
            .map(|(op, after)| format!("{} {}", if after { "after" } else { "before" }, op.name()))
            .collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.virtual_time.0 / 86_400_000;
        writeln!(f, "seed {}: {} orders, {days} days of virtual time", self.seed, self.orders)?;
        writeln!(
            f,
            "  {} webhooks accepted, {} lost; {} events worked, {} commands, {} journal entries, {} dead letters",
            self.webhooks, self.webhooks_lost, self.events, self.commands, self.entries, self.dead_letters
        )?;
        let mut table = |title: &str, rows: &BTreeMap<String, u64>| -> fmt::Result {
            if rows.is_empty() {
                return Ok(());
            }
            writeln!(f, "  {title}:")?;
            for (name, n) in rows {
                writeln!(f, "    {n:>9}  {name}")?;
            }
            Ok(())
        };
        table("orders by the status the shop shows", &self.statuses)?;
        table("faults by kind", &self.faults_by_kind)?;
        table("crashes by worker", &self.crashes_by_worker)?;
        let points = self.crash_points.iter().map(|((op, after), n)| {
            (format!("{} {}", if *after { "after" } else { "before" }, op.name()), *n)
        });
        table("crashes by point", &points.collect())?;
        table("requests to the gateways", &self.operations)?;
        table("merchant ids", &self.routes)?;
        table("parked at the end", &self.parked)?;
        table("parked items dealt with", &self.operated)?;
        if self.violations.is_empty() {
            return writeln!(f, "  all promises held");
        }
        writeln!(f, "  {} broken promise(s):", self.violations.len())?;
        for violation in self.violations.iter().take(20) {
            writeln!(f, "    {violation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = self.order.as_deref().unwrap_or("-");
        write!(f, "{}: {order}: {} (world {})", self.promise.name(), self.what, self.world)
    }
}

/// Collects a world's figures, and its trace where one was kept.
pub(crate) fn collect(outcome: &mut Outcome, world: &World, seen: Seen) -> Vec<String> {
    let shared = &world.shared;
    let faults = &shared.gate.faults;
    let named = |map: BTreeMap<&'static str, u64>| map.into_iter().map(|(k, n)| (k.to_owned(), n)).collect();
    outcome.faults_by_kind = named(faults.counts());
    outcome.crash_points = faults.points();
    outcome.crashes_by_worker = named(world.exec.crashes.clone());
    outcome.operated = named(lock(&shared.operated).clone());
    {
        let post = lock(&shared.outside.post);
        outcome.webhooks = post.delivered;
        outcome.webhooks_lost = post.lost;
    }
    for ((metric, label), n) in lock(&shared.counted).iter() {
        *outcome.counted.entry(format!("{metric} {label}")).or_default() += n;
    }
    for (code, n) in lock(&shared.alerts).iter() {
        *outcome.counted.entry(format!("alert {code}")).or_default() += n;
    }
    if seen.customers > 0 {
        *outcome.counted.entry("customers with a token".to_owned()).or_default() += seen.customers;
    }
    outcome.dead_letters = shared.queue.lost().0;
    outcome.events = seen.events;
    outcome.commands = seen.commands;
    outcome.entries = seen.entries;
    outcome.parked = seen.parked;
    outcome.routes = seen.routes;
    for gateway in &shared.outside.gateways {
        let asked = operations(&lock(gateway)).iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        merge(&mut outcome.operations, asked);
    }
    outcome.statuses = seen.statuses;
    outcome.violations = seen.violations;
    outcome.polls = world.exec.core.steps();
    let data = lock(&shared.store.data);
    let mut hasher = Sha256::new();
    for (key, item) in &data.items {
        hasher.update(key.pk.as_bytes());
        hasher.update(key.sk.as_bytes());
        hasher.update(&item.body);
    }
    outcome.digest = hex::encode(hasher.finalize());
    let mut lines = shared.outside.trace.take();
    if let Some(start) = tillway_core::time::Timestamp::parse_rfc3339(crate::world::START) {
        outcome.virtual_time = world.exec.core.now().since(start);
    }
    if lines.is_empty() {
        return Vec::new();
    }
    for (key, item) in &data.items {
        if key.sk.starts_with("log#")
            && let Ok(log) = serde_json::from_slice::<LogRecord>(&item.body)
        {
            let facts: Vec<String> = log.facts.iter().map(check::short).collect();
            let text = format!(
                "decide {} {} {} from {:?}: {} | {}",
                key.pk.trim_start_matches("order#"),
                log.kind,
                log.event,
                log.origin,
                log.why.join("; "),
                facts.join(" · ")
            );
            lines.push((log.at, text));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(at, text)| format!("{at} {text}")).collect()
}
