//! Faults at port calls: drawn from the seed, counted, and every crash point noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tillway_core::time::Millis;

use crate::dice::Dice;
use crate::exec::{Core, lock};

/// How hard it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultLevel {
    /// None at all: only what customers and staff do.
    None,
    /// Some.
    Light,
    /// Many, of every kind.
    Heavy,
}

/// An operation of a port, as a place where a worker can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the ports' own operations")]
pub enum Op {
    StoreGet,
    StoreTransact,
    StoreDue,
    StoreList,
    QueueSend,
    QueueReceive,
    QueueDelete,
    QueueRelease,
    HttpSend,
    Notify,
    Secrets,
    Alert,
}

impl Op {
    /// All operations that a worker calls.
    pub const ALL: [Self; 12] = [
        Self::StoreGet,
        Self::StoreTransact,
        Self::StoreDue,
        Self::StoreList,
        Self::QueueSend,
        Self::QueueReceive,
        Self::QueueDelete,
        Self::QueueRelease,
        Self::HttpSend,
        Self::Notify,
        Self::Secrets,
        Self::Alert,
    ];
    /// Name as reported.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoreGet => "store.get",
            Self::StoreTransact => "store.transact",
            Self::StoreDue => "store.due",
            Self::StoreList => "store.list",
            Self::QueueSend => "queue.send",
            Self::QueueReceive => "queue.receive",
            Self::QueueDelete => "queue.delete",
            Self::QueueRelease => "queue.release",
            Self::HttpSend => "http.send",
            Self::Notify => "notify",
            Self::Secrets => "secrets",
            Self::Alert => "alert",
        }
    }
    /// Rare operations crash more often, so that each point is met.
    const fn crash_weight(self) -> u64 {
        match self {
            Self::StoreGet | Self::StoreTransact | Self::QueueSend | Self::HttpSend => 1,
            Self::StoreDue | Self::QueueReceive | Self::QueueDelete | Self::Secrets => 1,
            Self::QueueRelease | Self::StoreList => 20,
            Self::Notify | Self::Alert => 8,
        }
    }
}

/// What becomes of one port call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    CrashBefore,
    CrashAfter,
    FailBefore,
    FailAfter,
    Partial,
    StallBefore(Millis),
    StallAfter(Millis),
}

/// What becomes of one HTTP call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFate {
    Fine,
    NotSent,
    Refuse(u16),
    Fail500,
    Fail500After,
    SilenceBefore,
    SilenceAfter,
    Late(Millis),
}

/// What becomes of one delivery of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HookFate {
    pub(crate) lost: bool,
    pub(crate) copies: u64,
    pub(crate) wait: Millis,
}

/// Which faults strike: all that are drawn, or for a shorter history only some of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    /// Kinds that do not strike.
    pub(crate) without: BTreeSet<&'static str>,
    /// Only these, by their number in the run; all where `None`.
    pub(crate) only: Option<BTreeSet<u64>>,
}

struct State {
    dice: Dice,
    calm: bool,
    level: FaultLevel,
    mask: Mask,
    serial: u64,
    struck: Vec<(u64, &'static str)>,
    counts: BTreeMap<&'static str, u64>,
    points: BTreeMap<(Op, bool), u64>,
}

/// Draws faults.
pub(crate) struct Faults {
    core: Arc<Core>,
    state: Mutex<State>,
}

/// A millionth part.
const PER: u64 = 1_000_000;

impl Faults {
    pub(crate) fn new(core: Arc<Core>, dice: Dice, level: FaultLevel, mask: Mask) -> Self {
        let state = State {
            dice,
            calm: level == FaultLevel::None,
            level,
            mask,
            serial: 0,
            struck: Vec::new(),
            counts: BTreeMap::new(),
            points: BTreeMap::new(),
        };
        Self { core, state: Mutex::new(state) }
    }

    /// From now on nothing fails any more.
    pub(crate) fn calm(&self) {
        lock(&self.state).calm = true;
    }
    pub(crate) fn is_calm(&self) -> bool {
        lock(&self.state).calm
    }
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.state).counts.clone()
    }
    pub(crate) fn points(&self) -> BTreeMap<(Op, bool), u64> {
        lock(&self.state).points.clone()
    }
    pub(crate) fn struck(&self) -> Vec<(u64, &'static str)> {
        lock(&self.state).struck.clone()
    }

    /// What becomes of a port call.
    pub(crate) fn fate(&self, op: Op) -> Fate {
        if !self.core.mortal() {
            return Fate::Fine;
        }
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if state.calm {
            return Fate::Fine;
        }
        let scale = if state.level == FaultLevel::Heavy { 4 } else { 1 };
        let draw = state.dice.below(PER);
        let crash = 300 * scale * op.crash_weight();
        let fail = match op {
            Op::StoreGet | Op::StoreDue | Op::StoreList | Op::Secrets => 250 * scale,
            Op::StoreTransact | Op::QueueSend => 900 * scale,
            Op::QueueReceive | Op::QueueDelete | Op::QueueRelease => 400 * scale,
            Op::HttpSend | Op::Notify | Op::Alert => 0,
        };
        let partial = if matches!(op, Op::QueueSend) { 900 * scale } else { 0 };
        let stall = match op {
            Op::StoreTransact => 500 * scale,
            _ => 150 * scale,
        };
        let mut edge = 0;
        let mut within = |width: u64| {
            edge += width;
            draw < edge
        };
        let fate = if within(crash) {
            Fate::CrashBefore
        } else if within(crash) {
            Fate::CrashAfter
        } else if within(fail) {
            Fate::FailBefore
        } else if within(fail) {
            Fate::FailAfter
        } else if within(partial) {
            Fate::Partial
        } else if within(stall) {
            Fate::StallBefore(stall_length(&mut state.dice))
        } else if within(stall) {
            Fate::StallAfter(stall_length(&mut state.dice))
        } else {
            return Fate::Fine;
        };
        let name = match (fate, op) {
            (Fate::CrashBefore, _) => "crash before a port call",
            (Fate::CrashAfter, _) => "crash after a port call",
            (Fate::FailBefore, Op::StoreTransact) => "store refuses",
            (Fate::FailAfter, Op::StoreTransact) => "store answer lost after commit",
            (Fate::FailBefore, Op::QueueSend) => "queue refuses",
            (Fate::FailAfter, Op::QueueSend) => "queue answer lost after send",
            (Fate::FailBefore | Fate::FailAfter, _) => "port does not answer",
            (Fate::Partial, _) => "batch sent in part",
            _ => "worker stalls",
        };
        if !strike(state, name) {
            return Fate::Fine;
        }
        if let Fate::CrashBefore | Fate::CrashAfter = fate {
            *state.points.entry((op, fate == Fate::CrashAfter)).or_default() += 1;
        }
        fate
    }

    /// What becomes of an HTTP call.
    pub(crate) fn call_fate(&self, limit: Millis) -> CallFate {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if state.calm {
            return CallFate::Fine;
        }
        let scale = if state.level == FaultLevel::Heavy { 2 } else { 1 };
        let draw = state.dice.below(10_000);
        let mut edge = 0;
        let mut within = |width: u64| {
            edge += width * scale;
            draw < edge
        };
        let (fate, name) = if within(30) {
            (CallFate::NotSent, "not connected")
        } else if within(50) {
            (CallFate::Refuse(429), "429")
        } else if within(50) {
            (CallFate::Refuse(503), "503")
        } else if within(50) {
            (CallFate::Fail500, "500, nothing done")
        } else if within(50) {
            (CallFate::Fail500After, "500 after the effect")
        } else if within(60) {
            (CallFate::SilenceBefore, "time-out before the effect")
        } else if within(60) {
            (CallFate::SilenceAfter, "time-out after the effect")
        } else if within(40) {
            let late = Millis(limit.0.saturating_add(state.dice.between(0, 600_000)));
            (CallFate::Late(late), "request arrives late")
        } else {
            return CallFate::Fine;
        };
        if strike(state, name) { fate } else { CallFate::Fine }
    }

    /// Time a call takes.
    pub(crate) fn latency(&self) -> Millis {
        Millis(lock(&self.state).dice.between(20, 400))
    }

    /// What becomes of a delivery.
    pub(crate) fn hook_fate(&self) -> HookFate {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let wait = Millis(state.dice.between(5, 300));
        let mut fate = HookFate { lost: false, copies: 1, wait };
        if state.calm {
            return fate;
        }
        let draw = state.dice.below(10_000);
        if draw < 300 {
            fate.lost = strike(state, "webhook lost");
        } else if draw < 700 {
            if strike(state, "webhook duplicated") {
                fate.copies = state.dice.below(2) + 2;
            }
        } else if draw < 2200 {
            if strike(state, "webhook reordered") {
                fate.wait = Millis(state.dice.between(500, 30_000));
            }
        } else if draw < 2500 && strike(state, "webhook delayed") {
            fate.wait = Millis(state.dice.between(60_000, 3_600_000));
        }
        fate
    }

    /// Any other draw.
    pub(crate) fn draw(&self, name: &'static str, of_ten_thousand: u64) -> bool {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        !state.calm && state.dice.chance(of_ten_thousand) && strike(state, name)
    }
    /// A number for something that is no fault.
    pub(crate) fn number(&self, low: i64, high: i64) -> i64 {
        lock(&self.state).dice.between(low, high)
    }
}

/// Counts a fault; `false` where a shorter history is tried without it.
fn strike(state: &mut State, name: &'static str) -> bool {
    state.serial += 1;
    let serial = state.serial;
    if state.mask.without.contains(name) || state.mask.only.as_ref().is_some_and(|o| !o.contains(&serial)) {
        return false;
    }
    *state.counts.entry(name).or_default() += 1;
    if state.struck.len() < 100_000 {
        state.struck.push((serial, name));
    }
    true
}

fn stall_length(dice: &mut Dice) -> Millis {
    match dice.below(10) {
        0..=3 => Millis(dice.between(1_000, 29_000)),
        4..=6 => Millis(dice.between(31_000, 900_000)),
        // Past the life of an idempotency key: only the fence and the deadline help.
        _ => Millis(dice.between(26 * 3_600_000, 40 * 3_600_000)),
    }
}
