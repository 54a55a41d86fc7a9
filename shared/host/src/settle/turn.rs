//! Two threads work on partitions in whatever time each takes; what they hand over goes in the order of the partitions.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::SettleError;

/// Threads at work.
const THREADS: usize = 2;

/// What is handed over to, by one at a time and in order.
pub(super) struct Turn<H> {
    state: Mutex<State<H>>,
    moved: Condvar,
}

struct State<H> {
    next: u16,
    stopped: bool,
    hand: H,
}

impl<H> Turn<H> {
    fn lock(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all before `part` have handed over.
    pub(super) fn at(
        &self,
        part: u16,
        hand_over: impl FnOnce(&mut H) -> Result<(), SettleError>,
    ) -> Result<(), SettleError> {
        let mut state = self.lock();
        while state.next != part && !state.stopped {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return Err(SettleError::Stopped);
        }
        hand_over(&mut state.hand)?;
        state.next = state.next.saturating_add(1);
        self.moved.notify_all();
        Ok(())
    }
}

/// Stops the others where a thread ends before its work does, by an error or a panic.
struct Stop<'t, H> {
    turn: &'t Turn<H>,
    ended: bool,
}

impl<H> Drop for Stop<'_, H> {
    fn drop(&mut self) {
        if !self.ended {
            self.turn.lock().stopped = true;
            self.turn.moved.notify_all();
        }
    }
}

/// Runs `work` for every partition; each has to take its turn.
pub(super) fn each<H: Send>(
    partitions: u16,
    hand: H,
    work: impl Fn(u16, &Turn<H>) -> Result<(), SettleError> + Sync,
) -> Result<H, SettleError> {
    let turn = Turn { state: Mutex::new(State { next: 0, stopped: false, hand }), moved: Condvar::new() };
    let next = AtomicU16::new(0);
    let run = || {
        let mut stop = Stop { turn: &turn, ended: false };
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= partitions {
                stop.ended = true;
                return Ok(());
            }
            work(part, &turn)?;
        }
    };
    let ends: Vec<Result<(), SettleError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    // The one that failed says why; the other only that it was stopped.
    let failed = ends.into_iter().filter_map(Result::err).min_by_key(|e| matches!(e, SettleError::Stopped));
    failed.map_or(Ok(()), Err)?;
    let state = turn.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(state.hand)
}
