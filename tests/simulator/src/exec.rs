//! The executor: one thread, every worker a future, and a seeded draw of which ready one goes on.
//!
//! Virtual time stands still while anything is ready and then jumps to the next timer. A worker that
//! crashes is dropped where it stands, inside the port call that drew the crash, and started anew.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tillway_core::time::{Millis, Timestamp};

use crate::dice::Dice;

/// Locks; a poisoned lock is a panic that already failed the run.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's work.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Makes a worker's work; called again after a crash.
pub(crate) type Make = Arc<dyn Fn() -> Work + Send + Sync>;

/// What a crash leads to.
pub(crate) enum After {
    /// The worker is started anew after a moment.
    Restart(Make),
    /// Someone hears of it.
    Tell(Box<dyn FnOnce() + Send>),
    /// It cannot crash.
    Immune,
}

struct Spawn {
    name: &'static str,
    work: Work,
    after: After,
}

#[derive(Default)]
struct Timers {
    due: BTreeMap<(i64, u64), Waker>,
    serial: u64,
}

/// What futures share with the executor.
pub(crate) struct Core {
    now: AtomicI64,
    timers: Mutex<Timers>,
    ready: Arc<Mutex<Vec<usize>>>,
    spawned: Mutex<Vec<Spawn>>,
    current: AtomicUsize,
    current_mortal: AtomicBool,
    crashed: AtomicBool,
    stalled: Mutex<BTreeSet<usize>>,
    replace: AtomicBool,
    steps: AtomicU64,
}

impl Core {
    fn new(start: Timestamp) -> Self {
        Self {
            now: AtomicI64::new(start.0),
            timers: Mutex::default(),
            ready: Arc::default(),
            spawned: Mutex::default(),
            current: AtomicUsize::new(0),
            current_mortal: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            stalled: Mutex::default(),
            replace: AtomicBool::new(false),
            steps: AtomicU64::new(0),
        }
    }
    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }
    /// Waits.
    pub(crate) fn sleep_until(self: &Arc<Self>, at: Timestamp) -> Sleep {
        Sleep { core: self.clone(), at, key: None }
    }
    /// Lets others go first.
    pub(crate) const fn yield_now() -> Yield {
        Yield(false)
    }
    /// Starts a worker.
    pub(crate) fn spawn(&self, name: &'static str, work: Work, after: After) {
        lock(&self.spawned).push(Spawn { name, work, after });
    }
    /// Starts a worker that is started anew after each crash.
    pub(crate) fn spawn_worker(&self, name: &'static str, make: Make) {
        self.spawn(name, make(), After::Restart(make.clone()));
    }
    /// Whether the worker at work may crash and stall.
    pub(crate) fn mortal(&self) -> bool {
        self.current_mortal.load(Ordering::Relaxed)
    }
    /// Drops the worker at work at this very point.
    pub(crate) async fn crash(&self) {
        self.crashed.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    }
    /// The worker at work is not polled for this long; another takes its place meanwhile.
    pub(crate) async fn stall(self: &Arc<Self>, length: Millis) {
        if length > Millis::secs(30) {
            lock(&self.stalled).insert(self.current.load(Ordering::Relaxed));
            self.replace.store(true, Ordering::Relaxed);
        }
        self.sleep_until(self.now() + length).await;
    }
    /// Whether another took this worker's place while it stalled: it finishes what it holds and ends.
    pub(crate) fn replaced(&self) -> bool {
        lock(&self.stalled).contains(&self.current.load(Ordering::Relaxed))
    }
    fn set_timer(&self, at: Timestamp, waker: Waker) -> (i64, u64) {
        let mut timers = lock(&self.timers);
        timers.serial += 1;
        let key = (at.0, timers.serial);
        timers.due.insert(key, waker);
        key
    }
    fn clear_timer(&self, key: (i64, u64)) {
        lock(&self.timers).due.remove(&key);
    }
    /// How many polls there were.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

/// Waits until an instant. Dropped, it leaves no timer behind.
pub(crate) struct Sleep {
    core: Arc<Core>,
    at: Timestamp,
    key: Option<(i64, u64)>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(key) = self.key.take() {
            self.core.clear_timer(key);
        }
        if self.core.now() >= self.at {
            return Poll::Ready(());
        }
        self.key = Some(self.core.set_timer(self.at, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.core.clear_timer(key);
        }
    }
}

/// Pending once.
pub(crate) struct Yield(bool);

impl Future for Yield {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[derive(Default)]
struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    serial: u64,
}

/// Waits until told, or until an instant. Several may wait; each telling wakes one of them or all.
#[derive(Default)]
pub(crate) struct Bell {
    waiting: Mutex<Waiting>,
}

impl Bell {
    /// Wakes one of those who wait.
    pub(crate) fn ring(&self) {
        let waker = lock(&self.waiting).wakers.pop_first();
        if let Some((_, waker)) = waker {
            waker.wake();
        }
    }
    /// Wakes all who wait.
    pub(crate) fn ring_all(&self) {
        let all = std::mem::take(&mut lock(&self.waiting).wakers);
        for waker in all.into_values() {
            waker.wake();
        }
    }
    /// Waits until `when` tells an instant that has come; asked again whenever the bell rings. `None`: not
    /// before the bell rings.
    pub(crate) const fn wait<'a, F>(&'a self, core: &'a Arc<Core>, when: F) -> Wait<'a, F>
    where
        F: Fn() -> Option<Timestamp> + Unpin,
    {
        Wait { bell: self, core, when, place: None, sleep: None }
    }
}

/// Waits for a bell. Dropped, it leaves nothing behind.
pub(crate) struct Wait<'a, F> {
    bell: &'a Bell,
    core: &'a Arc<Core>,
    when: F,
    place: Option<u64>,
    sleep: Option<Sleep>,
}

impl<F> Wait<'_, F> {
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            lock(&self.bell.waiting).wakers.remove(&place);
        }
    }
}

impl<F: Fn() -> Option<Timestamp> + Unpin> Future for Wait<'_, F> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.leave();
        self.sleep = None;
        let due = (self.when)();
        if due.is_some_and(|at| at <= self.core.now()) {
            return Poll::Ready(());
        }
        let place = {
            let mut waiting = lock(&self.bell.waiting);
            waiting.serial += 1;
            let place = waiting.serial;
            waiting.wakers.insert(place, cx.waker().clone());
            place
        };
        self.place = Some(place);
        if let Some(at) = due {
            let mut sleep = self.core.sleep_until(at);
            // It lies ahead: this only sets the timer.
            let _pending = Pin::new(&mut sleep).poll(cx);
            self.sleep = Some(sleep);
        }
        Poll::Pending
    }
}

impl<F> Drop for Wait<'_, F> {
    fn drop(&mut self) {
        self.leave();
    }
}

struct TaskWaker {
    id: usize,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.id);
        }
    }
}

struct Task {
    name: &'static str,
    work: Work,
    after: After,
    waker: Waker,
    state: Arc<TaskWaker>,
}

/// Runs futures.
pub(crate) struct Exec {
    /// What futures share.
    pub(crate) core: Arc<Core>,
    tasks: BTreeMap<usize, Task>,
    next: usize,
    dice: Dice,
    /// Crashes so far, by worker.
    pub(crate) crashes: BTreeMap<&'static str, u64>,
}

impl Exec {
    pub(crate) fn new(start: Timestamp, dice: Dice) -> Self {
        let core = Arc::new(Core::new(start));
        Self { core, tasks: BTreeMap::new(), next: 1, dice, crashes: BTreeMap::new() }
    }

    fn adopt(&mut self) {
        let spawned = std::mem::take(&mut *lock(&self.core.spawned));
        for Spawn { name, work, after } in spawned {
            let id = self.next;
            self.next += 1;
            let state =
                Arc::new(TaskWaker { id, queued: AtomicBool::new(false), ready: self.core.ready.clone() });
            let waker = Waker::from(state.clone());
            waker.wake_by_ref();
            self.tasks.insert(id, Task { name, work, after, waker, state });
        }
    }

    /// Polls one ready future; `false` where none is ready.
    pub(crate) fn step(&mut self) -> bool {
        self.adopt();
        let id = {
            let mut ready = lock(&self.core.ready);
            if ready.is_empty() {
                return false;
            }
            let place = self.dice.place(ready.len());
            ready.swap_remove(place)
        };
        let Some(task) = self.tasks.get_mut(&id) else { return true };
        task.state.queued.store(false, Ordering::Relaxed);
        self.core.current.store(id, Ordering::Relaxed);
        self.core.current_mortal.store(!matches!(task.after, After::Immune), Ordering::Relaxed);
        self.core.steps.fetch_add(1, Ordering::Relaxed);
        let done = task.work.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        let crashed = self.core.crashed.swap(false, Ordering::Relaxed);
        if self.core.replace.swap(false, Ordering::Relaxed)
            && let After::Restart(make) = &task.after
        {
            self.core.spawn_worker(task.name, make.clone());
        }
        if (done || crashed)
            && let Some(task) = self.tasks.remove(&id)
        {
            let replaced = lock(&self.core.stalled).remove(&id);
            drop(task.work);
            if crashed {
                *self.crashes.entry(task.name).or_default() += 1;
                match task.after {
                    After::Restart(make) if !replaced => self.restart(task.name, make),
                    After::Tell(tell) => tell(),
                    _ => {}
                }
            }
        }
        true
    }

    fn restart(&mut self, name: &'static str, make: Make) {
        let (core, pause) = (self.core.clone(), Millis(self.dice.between(10, 3000)));
        let again = make.clone();
        let work: Work = Box::pin(async move {
            core.sleep_until(core.now() + pause).await;
            again().await;
        });
        self.core.spawn(name, work, After::Restart(make));
    }

    /// When the next timer falls due.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        lock(&self.core.timers).due.first_key_value().map(|((at, _), _)| Timestamp(*at))
    }

    /// Moves time to the next timer and wakes whoever waits for it; `false` where there is none.
    pub(crate) fn jump(&mut self) -> bool {
        let Some(at) = self.next_timer() else { return false };
        if at > self.core.now() {
            self.core.now.store(at.0, Ordering::Relaxed);
        }
        let now = self.core.now();
        let mut wakers = Vec::new();
        {
            let mut timers = lock(&self.core.timers);
            while let Some(entry) = timers.due.first_entry().filter(|e| e.key().0 <= now.0) {
                wakers.push(entry.remove());
            }
        }
        for waker in wakers {
            waker.wake();
        }
        true
    }

    /// Futures of this name.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.tasks.values().filter(|t| t.name == name).count()
    }

    /// Names of futures that are there.
    pub(crate) fn stalled(&self) -> usize {
        lock(&self.core.stalled).len()
    }
}
