//! One world: the engine over memory, its workers, the sandboxes, and the people.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tillway_core::bundle::{Bundle, Source};
use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::bugs::Planted;
use tillway_engine::config::Config;
use tillway_engine::ports::Queue as _;
use tillway_engine::records::{EVENTS, command_queue};
use tillway_engine::review::Ruling;
use tillway_engine::settings;
use tillway_engine::settle::StoreShelf;
use tillway_engine::{Engine, Ports};

use crate::dice::Dice;
use crate::draw::{Act, OrderPlan, Plan};
use crate::exec::{After, Bell, Exec, Make, lock};
use crate::faults::{FaultLevel, Faults, Mask};
use crate::memory::Gate;
use crate::memory::http::SimHttp;
use crate::memory::people::{Outside, PLACES};
use crate::memory::queue::{MemoryQueue, dead_queue};
use crate::memory::small::{SimAlerts, SimClock, SimEntropy, SimNotify, SimSecrets};
use crate::memory::store::MemoryStore;
use crate::pair::Pair;
use crate::staff::{Done, People};

const VISIBILITY: Millis = Millis::secs(90);
const RETRY: Millis = Millis::secs(2);
/// A message is dead after this many times; generous, as it should be.
const MAX_RECEIVES: u32 = 12;
/// Where time begins.
pub(crate) const START: &str = "2026-11-21T09:00:00Z";
/// Polls for each order after which a world that does not come to rest is given up; usual are 600.
const MAX_STEPS: u64 = 4_000;

/// What one run of a world is given.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) level: FaultLevel,
    pub(crate) mask: Mask,
    pub(crate) planted: Planted,
    pub(crate) trace: bool,
}

/// A world.
pub(crate) struct World {
    pub(crate) exec: Exec,
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) rested: bool,
    /// A world that has not come to rest by then never will.
    end: Timestamp,
}

/// When, which order, which of its acts (0: placing it), and how often it was tried.
type Due = (i64, usize, usize, u8);

/// What all workers of a world share.
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) outside: Arc<Outside>,
    pub(crate) notices: Arc<Mutex<BTreeMap<String, u64>>>,
    pub(crate) alerts: Arc<Mutex<BTreeMap<String, u64>>>,
    pub(crate) counted: Arc<Mutex<BTreeMap<(&'static str, String), u64>>>,
    pub(crate) people: Mutex<People>,
    engines: Mutex<Vec<Arc<Engine>>>,
    agenda: Mutex<BinaryHeap<Reverse<Due>>>,
    agenda_bell: Bell,
    deliveries: AtomicU64,
    pub(crate) operated: Mutex<BTreeMap<&'static str, u64>>,
}

impl Shared {
    /// The engine a worker takes for its next piece of work: after a change of the flow mostly the newest,
    /// as while a new version is rolled out.
    fn engine(&self) -> Option<Arc<Engine>> {
        let engines = lock(&self.engines);
        let newest = engines.last().cloned();
        if engines.len() > 1 && self.gate.faults.number(0, 9) == 0 {
            engines.first().cloned()
        } else {
            newest
        }
    }
}

/// Of each kind of pair something that is made once.
type ForEach<T> = [OnceLock<T>; Pair::ALL.len()];

/// What a merchant may change without harm: a word in a notice's data, and a step of his own.
fn changed_bundle(pair: Pair) -> Option<Arc<Bundle>> {
    static CHANGED: ForEach<Option<Arc<Bundle>>> = [OnceLock::new(), OnceLock::new()];
    let load = || {
        let name = pair.changed_mapping();
        let own = Source {
            file: "own.yaml".to_owned(),
            text: format!("mapping: {name}\nextends: {name}\nfields:\n  note: {{ text: \"own words\" }}\n"),
        };
        let connectors = tillway_connectors::registry();
        let vocabulary = tillway_engine::vocabulary::vocabulary(&connectors);
        Bundle::load(&tillway_templates::sources(), &[own], &vocabulary).ok().map(Arc::new)
    };
    let place = Pair::ALL.iter().position(|p| *p == pair)?;
    CHANGED.get(place)?.get_or_init(load).clone()
}

/// The configuration as its file would have it; read once, for what differs between worlds is few.
fn config(plan: &Plan, changed: bool) -> Result<Config, String> {
    static BASE: ForEach<Result<Config, String>> = [OnceLock::new(), OnceLock::new()];
    let read = || {
        let (flows, notices) = (tillway_templates::sources(), tillway_templates::notices());
        let read = settings::load("simulator.yaml", plan.pair.file(), &flows, &[], notices);
        read.map(|(config, _)| config).map_err(|p| p.first().map(ToString::to_string).unwrap_or_default())
    };
    let place = Pair::ALL.iter().position(|p| *p == plan.pair).and_then(|place| BASE.get(place));
    let base = place.ok_or("no such pair")?.get_or_init(read).as_ref().map_err(Clone::clone)?;
    let mut pairs = base.pairs.clone();
    let mut connections = base.connections.clone();
    let own = |(n, v): &(&'static str, &'static str)| ((*n).to_owned(), (*v).to_owned());
    for (n, pair) in pairs.iter_mut().enumerate() {
        pair.options.extend(plan.options.get(n).into_iter().flatten().map(own));
        let gateway = connections.get_mut(&pair.gateway);
        let routed = plan.routed.get(n).copied().unwrap_or(false);
        if let Some((connection, _)) = gateway {
            connection.settings.extend(plan.settings.get(n).into_iter().flatten().map(own));
            let of_routes = |name: &str| name == "merchant_ids" || name.starts_with("routes.");
            connection.settings.retain(|name, _| routed || !of_routes(name));
        }
        pair.routing = pair.routing.take().filter(|_| routed);
    }
    Ok(Config {
        connections,
        pairs,
        bundle: match changed {
            true => changed_bundle(plan.pair).ok_or("the merchant's change does not load")?,
            false => base.bundle.clone(),
        },
        notices: base.notices.clone(),
        masking: base.masking,
        settlement: base.settlement.clone(),
        in_memory: tillway_engine::settings::IN_MEMORY,
        times: base.times,
        allow: base.allow.clone(),
        max_body: base.max_body,
        bury_after: base.bury_after,
    })
}

impl World {
    /// Puts a world together.
    ///
    /// # Errors
    /// A configuration that does not load.
    pub(crate) fn new(plan: Plan, setup: &Setup) -> Result<Self, String> {
        let start = Timestamp::parse_rfc3339(START).unwrap_or_default();
        let exec = Exec::new(start, Dice::new(plan.seed, 2));
        let core = exec.core.clone();
        let faults =
            Arc::new(Faults::new(core.clone(), Dice::new(plan.seed, 3), setup.level, setup.mask.clone()));
        let gate = Gate { core: core.clone(), faults };
        let store = MemoryStore::new(gate.clone(), true);
        let queue = MemoryQueue::new(gate.clone(), MAX_RECEIVES);
        let outside = Arc::new(Outside::new(core.clone(), &plan, setup.trace));
        let notices = Arc::new(Mutex::default());
        let alerts: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let counted: Arc<Mutex<BTreeMap<(&'static str, String), u64>>> = Arc::default();
        let ports = Ports {
            store: Arc::new(store.clone()),
            shelf: Arc::new(StoreShelf::new(Arc::new(store.clone()))),
            queue: Arc::new(queue.clone()),
            clock: Arc::new(SimClock(core.clone())),
            entropy: Arc::new(SimEntropy(Mutex::new(Dice::new(plan.seed, 4)))),
            secrets: Arc::new(SimSecrets(gate.clone())),
            http: Arc::new(SimHttp { gate: gate.clone(), outside: outside.clone(), store: store.clone() }),
            notify: Arc::new(SimNotify { gate: gate.clone(), sent: Arc::clone(&notices) }),
            alerts: Arc::new(SimAlerts {
                gate: gate.clone(),
                raised: alerts.clone(),
                counted: counted.clone(),
            }),
        };
        let mut agenda = BinaryHeap::new();
        for (place, order) in plan.orders.iter().enumerate() {
            agenda.push(Reverse((start.0 + order.at.0, place, 0, 0)));
            for (n, (at, _)) in order.acts.iter().enumerate() {
                agenda.push(Reverse((start.0 + order.at.0 + at.0, place, n + 1, 0)));
            }
        }
        let shared = Arc::new(Shared {
            gate,
            store,
            queue,
            outside,
            notices,
            alerts,
            counted,
            people: Mutex::new(People::new(plan.orders.len())),
            engines: Mutex::default(),
            agenda: Mutex::new(agenda),
            agenda_bell: Bell::default(),
            deliveries: AtomicU64::new(0),
            operated: Mutex::default(),
        });
        let last = plan.orders.iter().map(|o| o.at.0 + o.acts.last().map_or(0, |(at, _)| at.0)).max();
        let end = start + Millis(last.unwrap_or(0)) + Millis::days(16);
        let plan = Arc::new(plan);
        let mut world = Self { exec, shared, plan, rested: false, end };
        world.start(&ports, setup)?;
        Ok(world)
    }

    fn start(&mut self, ports: &Ports, setup: &Setup) -> Result<(), String> {
        let (core, shared) = (self.exec.core.clone(), self.shared.clone());
        let plain = Arc::new(config(&self.plan, false)?);
        let (first, ports_of, planted) = (shared.clone(), ports.clone(), setup.planted);
        let begin = Box::pin(async move {
            if let Ok(engine) = Engine::with_planted(plain, ports_of, planted).await {
                lock(&first.engines).push(Arc::new(engine));
            }
        });
        core.spawn("begin", begin, After::Immune);
        while self.exec.step() || lock(&shared.engines).is_empty() && self.exec.jump() {}
        if let Some(at) = self.plan.swap_at {
            let changed = Arc::new(config(&self.plan, true)?);
            let (then, ports_of, core_of) = (shared.clone(), ports.clone(), core.clone());
            let at = core.now() + at;
            let swap = Box::pin(async move {
                core_of.sleep_until(at).await;
                if let Ok(engine) = Engine::with_planted(changed, ports_of, planted).await
                    && then.gate.faults.draw("flow changed in mid-run", 10_000)
                {
                    lock(&then.engines).push(Arc::new(engine));
                }
            });
            core.spawn("swap", swap, After::Immune);
        }
        let worker = |name: &'static str, make: Make| core.spawn_worker(name, make);
        for _ in 0..3 {
            let shared = shared.clone();
            worker("decide", Arc::new(move || Box::pin(decide(shared.clone()))));
        }
        let mut dead = vec![EVENTS.to_owned()];
        for system in self.plan.pair.systems() {
            let name = command_queue(system);
            dead.push(name.clone());
            for _ in 0..2 {
                let (shared, name) = (shared.clone(), name.clone());
                worker("act", Arc::new(move || Box::pin(act(shared.clone(), name.clone()))));
            }
        }
        for name in dead {
            let shared = shared.clone();
            worker("triage", Arc::new(move || Box::pin(triage(shared.clone(), name.clone()))));
        }
        for _ in 0..2 {
            let shared = shared.clone();
            worker("tick", Arc::new(move || Box::pin(tick(shared.clone()))));
        }
        for place in 0..PLACES {
            let sweeper = shared.clone();
            worker("sweep", Arc::new(move || Box::pin(sweep(sweeper.clone(), place))));
            core.spawn("post", Box::pin(post(shared.clone(), place)), After::Immune);
        }
        let operator = shared.clone();
        worker("operate", Arc::new(move || Box::pin(operate(operator.clone()))));
        core.spawn("people", Box::pin(people(shared.clone(), self.plan.clone())), After::Immune);
        Ok(())
    }

    /// Runs until nothing is left to do.
    pub(crate) fn run(&mut self) {
        let orders = u64::try_from(self.plan.orders.len()).unwrap_or(u64::MAX);
        let most = orders.saturating_mul(MAX_STEPS).saturating_add(100_000);
        loop {
            while self.exec.step() && self.exec.core.steps() <= most {}
            if self.quiet() {
                self.rested = true;
                return;
            }
            let over = self.exec.core.now() > self.end;
            if over || self.exec.core.steps() > most || !self.exec.jump() {
                return;
            }
        }
    }

    /// Nothing left to do but timers that lie far ahead.
    fn quiet(&self) -> bool {
        let shared = &self.shared;
        let now = self.exec.core.now();
        lock(&shared.agenda).is_empty()
            && shared.gate.faults.is_calm()
            && shared.deliveries.load(Ordering::Relaxed) == 0
            && shared.queue.left() == 0
            && self.exec.stalled() == 0
            && self.exec.count("late request") == 0
            && (0..PLACES).all(|place| shared.outside.next_due(place).is_none())
            && shared.outside.unswept.iter().all(|n| n.load(Ordering::Relaxed) == 0)
            && lock(&shared.store.data).earliest().is_none_or(|at| at > now + Millis::days(4))
    }
}

async fn decide(shared: Arc<Shared>) {
    while !shared.gate.core.replaced() {
        shared.queue.wait(EVENTS).await;
        let max = usize::try_from(shared.gate.faults.number(1, 10)).unwrap_or(1);
        let Ok(batch) = shared.queue.receive(EVENTS, max, VISIBILITY).await else { continue };
        let Some(engine) = shared.engine().filter(|_| !batch.is_empty()) else { continue };
        let done = engine.handle_events(&batch).await;
        let failed: Vec<&str> =
            batch.iter().filter(|m| !done.contains(&m.receipt)).map(|m| m.receipt.as_str()).collect();
        // Why a message fails again and again is worth another try, where somebody reads the trace.
        if shared.outside.trace.is_on()
            && let Some(stuck) = batch.iter().find(|m| m.receives > 6 && failed.contains(&m.receipt.as_str()))
            && let Err(error) = engine.handle_event(stuck).await
        {
            shared.outside.trace.note(shared.gate.core.now(), || format!("event is stuck: {error}"));
        }
        for receipt in failed {
            // What is not given back comes back by itself.
            let _given = shared.queue.release(EVENTS, receipt, RETRY).await;
        }
        if !done.is_empty() {
            // What is not removed comes back and changes nothing.
            let _removed = shared.queue.delete(EVENTS, done).await;
        }
    }
}

async fn act(shared: Arc<Shared>, name: String) {
    while !shared.gate.core.replaced() {
        shared.queue.wait(&name).await;
        let max = usize::try_from(shared.gate.faults.number(1, 3)).unwrap_or(1);
        let Ok(batch) = shared.queue.receive(&name, max, VISIBILITY).await else { continue };
        let Some(engine) = shared.engine() else { continue };
        let mut done = Vec::new();
        for message in &batch {
            match engine.handle_command(message).await {
                Ok(()) => done.push(message.receipt.clone()),
                Err(error) => {
                    let code = error.code();
                    shared
                        .outside
                        .trace
                        .note(shared.gate.core.now(), || format!("command goes back: {code}"));
                    let _given = shared.queue.release(&name, &message.receipt, RETRY).await;
                }
            }
        }
        if !done.is_empty() {
            let _removed = shared.queue.delete(&name, done).await;
        }
    }
}

async fn triage(shared: Arc<Shared>, name: String) {
    let dead = dead_queue(&name);
    while !shared.gate.core.replaced() {
        shared.queue.wait(&dead).await;
        let Ok(batch) = shared.queue.receive(&dead, 10, VISIBILITY).await else { continue };
        let Some(engine) = shared.engine() else { continue };
        for message in batch {
            if engine.handle_dead(&name, &message).await.is_ok() {
                let _removed = shared.queue.delete(&dead, vec![message.receipt]).await;
            }
        }
    }
}

async fn tick(shared: Arc<Shared>) {
    let core = shared.gate.core.clone();
    let mut last = core.now();
    while !core.replaced() {
        let earliest = || lock(&shared.store.data).earliest().map(|at| at.max(last + Millis::mins(1)));
        shared.store.bell.wait(&core, earliest).await;
        last = core.now();
        let Some(engine) = shared.engine() else { continue };
        // Usually one of two tickers ticks; now and then both do, at once.
        if shared.gate.faults.number(0, 1) == 0 || shared.gate.faults.draw("two ticks at once", 1000) {
            let _ticked = engine.tick().await;
        }
    }
}

async fn sweep(shared: Arc<Shared>, place: usize) {
    let core = shared.gate.core.clone();
    let Some(name) = shared.outside.names.get(place).copied() else { return };
    let Some(unswept) = shared.outside.unswept.get(place) else { return };
    let connection = ConnectionName::new(name);
    let mut last = core.now();
    while !core.replaced() {
        let every = Millis(shared.gate.faults.number(30, 60).saturating_mul(60_000));
        let when = || (unswept.load(Ordering::Relaxed) > 0).then(|| last + every);
        shared.outside.sweep_bell.wait(&core, when).await;
        last = core.now();
        let Some(engine) = shared.engine() else { continue };
        if shared.gate.faults.draw("two sweeps at once", 800) {
            let (engine, connection) = (engine.clone(), connection.clone());
            let second = Box::pin(async move {
                let _swept = engine.sweep(&connection).await;
            });
            core.spawn("second sweep", second, After::Tell(Box::new(|| {})));
        }
        let before = unswept.load(Ordering::Relaxed);
        let swept = engine.sweep(&connection).await;
        shared.outside.trace.note(core.now(), || match &swept {
            Ok(r) => {
                let lost: Vec<&str> = r.lost.iter().map(|l| l.event.as_str()).collect();
                format!(
                    "sweep {name} {} to {}: busy {}, late {}, lost {lost:?}",
                    r.since, r.until, r.busy, r.late
                )
            }
            Err(error) => format!("sweep {name}: {error}"),
        });
        if let Ok(report) = swept
            && !report.busy
        {
            // What happened meanwhile set it anew.
            let left = before.saturating_sub(1);
            let _same = unswept.compare_exchange(before, left, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

async fn post(shared: Arc<Shared>, place: usize) {
    let core = shared.gate.core.clone();
    let (Some(name), Some(bell)) =
        (shared.outside.names.get(place).copied(), shared.outside.bells.get(place))
    else {
        return;
    };
    loop {
        let outside = &shared.outside;
        bell.wait(&core, || outside.next_due(place)).await;
        for delivery in outside.take(place) {
            let fate = shared.gate.faults.hook_fate();
            let id = delivery.id;
            if fate.lost {
                lock(&outside.post).lost += 1;
                outside.trace.note(core.now(), || format!("webhook lost {name} {}", delivery.event_type));
                outside.delivered(place, id, Some(200));
                continue;
            }
            for copy in 0..fate.copies {
                let (shared, delivery) = (shared.clone(), delivery.clone());
                let told = shared.clone();
                shared.deliveries.fetch_add(1, Ordering::Relaxed);
                let wait = Millis(fate.wait.0.saturating_mul(i64::try_from(copy + 1).unwrap_or(1)));
                let core_of = core.clone();
                let work = Box::pin(async move {
                    core_of.sleep_until(core_of.now() + wait).await;
                    deliver(&shared, place, name, &delivery, copy == 0).await;
                });
                let tell = Box::new(move || {
                    told.deliveries.fetch_sub(1, Ordering::Relaxed);
                    if copy == 0 {
                        told.outside.delivered(place, id, None);
                    }
                });
                core.spawn("deliver", work, After::Tell(tell));
            }
        }
    }
}

async fn deliver(
    shared: &Arc<Shared>,
    place: usize,
    name: &'static str,
    delivery: &tillway_sandbox::Delivery,
    counts: bool,
) {
    let Some(engine) = shared.engine() else { return };
    let request = &delivery.request;
    let receipt = engine.receive(name, &delivery.topic, &request.headers, &request.body).await;
    shared.outside.trace.note(shared.gate.core.now(), || {
        let body = String::from_utf8_lossy(&request.body);
        format!("webhook {name} {} {} → {} {body}", delivery.event_type, delivery.event_id, receipt.status)
    });
    shared.deliveries.fetch_sub(1, Ordering::Relaxed);
    {
        let mut post = lock(&shared.outside.post);
        if (200..300).contains(&receipt.status) {
            post.delivered += 1;
            post.accepted.insert((name, delivery.event_id.clone(), delivery.event_type.clone()));
        } else {
            post.refused += 1;
        }
    }
    if counts {
        shared.outside.delivered(place, delivery.id, Some(receipt.status));
    }
}

/// A person at the parking lot: replays, drops, or lets things lie.
async fn operate(shared: Arc<Shared>) {
    let core = shared.gate.core.clone();
    while !core.replaced() && !shared.gate.faults.is_calm() {
        let pause = Millis(shared.gate.faults.number(60, 600).saturating_mul(60_000));
        core.sleep_until(core.now() + pause).await;
        let Some(engine) = shared.engine() else { continue };
        let Ok(items) = engine.parked().await else { continue };
        for item in items {
            let what = shared.gate.faults.number(0, 9);
            let done = match what {
                0..=3 => engine.parked_replay(&item.id, "simulator").await,
                4 => engine.parked_drop(&item.id, "simulator", "drawn").await,
                _ => continue,
            };
            let name = if what == 4 { "dropped" } else { "replayed" };
            shared.outside.trace.note(core.now(), || format!("operator {name} {}", item.id));
            if done.is_ok() {
                *lock(&shared.operated).entry(name).or_default() += 1;
            }
        }
    }
}

/// A person says here how the review of an order is to end.
async fn rule(shared: &Arc<Shared>, place: usize, order: &OrderPlan, accept: bool) -> Done {
    let Some(shop) = shared.outside.names.get(order.pair) else { return Done::Never };
    let key = OrderKey::new(format!("{shop}/{}", order.id()));
    let Some(engine) = shared.engine() else { return Done::Later };
    let ruling = Ruling { review: None, accept, by: "simulator", note: "drawn" };
    match engine.review_decide(&key, ruling).await {
        Ok(_) => {
            if let Some(deeds) = lock(&shared.people).deeds.get_mut(place) {
                deeds.rejected |= !accept;
            }
            *lock(&shared.operated).entry(if accept { "accepted" } else { "rejected" }).or_default() += 1;
            Done::Yes
        }
        // Nothing is held yet, or a call failed on the way.
        Err(_) => Done::Later,
    }
}

/// Customers, staff and banks, at the times drawn for them.
async fn people(shared: Arc<Shared>, plan: Arc<Plan>) {
    let core = shared.gate.core.clone();
    loop {
        let next = || lock(&shared.agenda).peek().map(|Reverse((at, ..))| Timestamp(*at));
        if next().is_none() {
            break;
        }
        shared.agenda_bell.wait(&core, next).await;
        let now = core.now();
        let due = {
            let mut agenda = lock(&shared.agenda);
            agenda.peek().is_some_and(|Reverse((at, ..))| *at <= now.0).then(|| agenda.pop()).flatten()
        };
        let Some(Reverse((_, place, n, tries))) = due else { continue };
        let Some(order) = plan.orders.get(place) else { continue };
        let act = n.checked_sub(1).and_then(|n| order.acts.get(n)).map(|(_, act)| *act);
        let done = match act {
            Some(Act::Rule(accept)) => rule(&shared, place, order, accept).await,
            _ => lock(&shared.people).act(&shared.outside, now, place, order, act, n),
        };
        if n == 0 || done == Done::Yes {
            shared.outside.trace.note(now, || format!("people {} {act:?}", order.id()));
        }
        if done == Done::Later && tries < 5 {
            let later = now.0 + 1_200_000 * i64::from(tries + 1);
            lock(&shared.agenda).push(Reverse((later, place, n, tries + 1)));
        }
        if let Some(Act::Pay(_)) = act {
            core.sleep_until(now + Millis(1)).await;
        }
    }
    // The storm ends a while after the last act, so that all comes to rest.
    core.sleep_until(core.now() + Millis::hours(2)).await;
    shared.gate.faults.calm();
}
