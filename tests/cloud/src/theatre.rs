//! The demo's scenarios on a stack: the same code, many merchants side by side, each one's scenarios after one another.
//!
//! Time is everybody's. It is put forward only where every merchant waits and nothing is under way anywhere, and only to what falls
//! due next or to the end of a pause that somebody makes: so no scenario sees a time that it would not see alone. Whoever waits
//! has looked once more, after all had become still, before the clock moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tillway::demo::pace::{next_due, outside_rests, queues};
use tillway::demo::stage::Merchant;
use tillway::demo::world::World;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::Engine;
use tillway_engine::ports::Notice;
use tillway_engine::records::EVENTS;
use tillway_tests::outside::lock;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Cloud;

/// Between two looks of somebody who waits.
const LOOK: Duration = Duration::from_millis(400);
/// Between two looks of the keeper, and how many in a row have to find nothing under way.
const STILL: (Duration, u32) = (Duration::from_millis(60), 3);

/// What falls due within this of the next thing is taken along: the schedule's tick comes once in a minute, and no sooner.
const TOGETHER: Millis = Millis::secs(20);

/// What somebody on the stage is at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Work,
    /// Waits for something to be so; has looked after this many stillnesses.
    Waiting {
        limit: Timestamp,
        looked: u64,
        vain: bool,
    },
    /// Waits for nothing to be under way.
    Settling,
    /// Lets time pass until then.
    Passing(Timestamp),
    Gone,
}

/// The stage.
pub struct Theatre<'a> {
    cloud: &'a Cloud,
    merchants: Vec<Merchant>,
    actors: Mutex<Vec<At>>,
    /// How often all was still.
    stillness: AtomicU64,
    moved: Notify,
}

/// A merchant's part of the stage.
pub struct Actor<'a> {
    theatre: &'a Theatre<'a>,
    number: usize,
    seen: AtomicU64,
}

impl<'a> Theatre<'a> {
    /// With these merchants, so many of whom play at a time.
    #[must_use]
    pub fn new(cloud: &'a Cloud, merchants: Vec<Merchant>, actors: usize) -> Self {
        Self {
            cloud,
            merchants,
            actors: Mutex::new(vec![At::Work; actors]),
            stillness: AtomicU64::new(0),
            moved: Notify::new(),
        }
    }

    /// One of those who play.
    #[must_use]
    pub const fn actor(&'a self, number: usize) -> Actor<'a> {
        Actor { theatre: self, number, seen: AtomicU64::new(0) }
    }

    /// When all is over.
    #[must_use]
    pub fn into_merchants(self) -> Vec<Merchant> {
        self.merchants
    }

    fn actors(&self) -> MutexGuard<'_, Vec<At>> {
        lock(&self.actors)
    }

    /// Whether nobody works, i.e. everybody waits in some way; and whether all are gone.
    fn blocked(&self) -> (bool, bool) {
        let actors = self.actors();
        (!actors.contains(&At::Work), actors.iter().all(|a| *a == At::Gone))
    }

    async fn quiet(&self) -> anyhow::Result<bool> {
        for look in 0..STILL.1 {
            if look > 0 {
                tokio::time::sleep(STILL.0).await;
            }
            if !self.blocked().0 || !outside_rests(&self.merchants, self.cloud.now()) {
                return Ok(false);
            }
            let (names, queue) = (queues().collect::<Vec<_>>(), &self.cloud.stack.engine().ports.queue);
            let depths = try_join_all(names.iter().map(|name| queue.depth(name))).await?;
            if depths.iter().any(|depth| *depth > 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Everybody who waits has looked since all was still. `false`: one of them goes on.
    async fn all_looked(&self) -> bool {
        let now = self.stillness.fetch_add(1, Ordering::SeqCst) + 1;
        self.moved.notify_waiters();
        loop {
            let late = |a: &At| matches!(a, At::Waiting { looked, .. } if *looked < now);
            if !self.blocked().0 {
                return false;
            }
            if !self.actors().iter().any(late) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn release(&self, whom: impl Fn(&At) -> bool) -> bool {
        let mut any = false;
        for at in self.actors().iter_mut().filter(|at| whom(at)) {
            *at = At::Work;
            any = true;
        }
        self.moved.notify_waiters();
        any
    }

    /// Brings time on until all are gone.
    ///
    /// # Errors
    /// Where the local AWS does not answer.
    pub async fn keep(&self) -> anyhow::Result<()> {
        let (mut sent, mut busy) = (false, Instant::now());
        loop {
            tokio::time::sleep(STILL.0).await;
            let (blocked, gone) = self.blocked();
            if gone {
                return Ok(());
            }
            if busy.elapsed() > crate::PATIENCE {
                let outside = outside_rests(&self.merchants, self.cloud.now());
                anyhow::bail!("it does not come to rest: all wait: {blocked}, the outside rests: {outside}");
            }
            if !blocked || !self.quiet().await? || !self.all_looked().await {
                continue;
            }
            busy = Instant::now();
            if self.release(|a| *a == At::Settling) {
                continue;
            }
            let now = self.cloud.now();
            if self.release(|a| matches!(a, At::Passing(until) if *until <= now)) {
                continue;
            }
            let store = self.cloud.stack.engine().ports.store.as_ref();
            let (next, overdue) = next_due(store, &self.merchants, now).await?;
            if overdue && !std::mem::replace(&mut sent, true) {
                self.tick().await;
                continue;
            }
            sent = false;
            self.go_on(now, next).await;
        }
    }

    /// To what falls due next, where somebody waits for it, or to the end of a pause.
    async fn go_on(&self, now: Timestamp, next: Option<Timestamp>) {
        let (pause, limit) = {
            let actors = self.actors();
            let pauses =
                actors.iter().filter_map(|a| if let At::Passing(until) = a { Some(*until) } else { None });
            let limits = actors
                .iter()
                .filter_map(|a| if let At::Waiting { limit, .. } = a { Some(*limit) } else { None });
            (pauses.min(), limits.max())
        };
        let due = next.filter(|at| pause.is_some() || limit.is_some_and(|limit| *at <= limit));
        let to = match (due.map(|at| at + TOGETHER), pause) {
            (Some(due), Some(pause)) => Some(due.min(pause)),
            (due, pause) => due.or(pause),
        };
        for at in self.actors().iter_mut() {
            if let At::Waiting { limit, vain, .. } = at {
                *vain = to.is_none_or(|to| to > *limit + TOGETHER);
            }
        }
        if let Some(to) = to {
            self.cloud.clock.forward(to.since(now));
            self.tick().await;
        }
        self.moved.notify_waiters();
    }

    /// As the schedule does every minute.
    async fn tick(&self) {
        let failed = self.cloud.stack.invoke("tick").await;
        assert_eq!(failed, None, "the tick");
    }
}

impl Actor<'_> {
    fn is(&self, at: At) {
        if let Some(own) = self.theatre.actors().get_mut(self.number) {
            *own = at;
        }
    }

    /// Until the keeper lets it go on.
    async fn released(&self) {
        loop {
            let moved = self.theatre.moved.notified();
            if self.theatre.actors().get(self.number) == Some(&At::Work) {
                return;
            }
            // A word that came between the two is not waited for.
            let _word = tokio::time::timeout(LOOK, moved).await;
        }
    }

    /// Plays no more.
    pub fn leaves(&self) {
        self.is(At::Gone);
    }
}

#[async_trait]
impl World for Actor<'_> {
    fn merchants(&self) -> &[Merchant] {
        &self.theatre.merchants
    }
    fn engine(&self) -> &Engine {
        self.theatre.cloud.stack.engine()
    }
    fn now(&self) -> Timestamp {
        self.theatre.cloud.now()
    }
    fn front_url(&self) -> String {
        format!("{}/webhooks", self.theatre.cloud.stack.url())
    }
    fn looks(&self) -> (Duration, Duration) {
        (LOOK, crate::PATIENCE)
    }
    fn notices(&self) -> Vec<Notice> {
        let notice = |audience: &str, subject: &str, text: &str| Notice {
            id: String::new(),
            audience: audience.to_owned(),
            to: None,
            subject: subject.to_owned(),
            text: text.to_owned(),
        };
        let posts = lock(&self.theatre.cloud.chat).posts.clone();
        let staff = posts.iter().map(|post| notice("staff", post, post));
        let mails = self.theatre.cloud.mail.subjects();
        staff.chain(mails.iter().map(|subject| notice("customer", subject, ""))).collect()
    }
    async fn alarms(&self, code: &str) -> anyhow::Result<u64> {
        let metrics = self.theatre.cloud.stack.ask(serde_json::json!({ "do": "metrics" })).await;
        Ok(metrics["alerts"][code].as_u64().unwrap_or(0))
    }
    async fn refused(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(self.theatre.cloud.refused().await)
    }
    async fn queued(&self) -> anyhow::Result<(usize, usize)> {
        let queue = &self.engine().ports.queue;
        let (mut waiting, mut dead) = (0, 0);
        for name in queues() {
            let buried = if name == EVENTS { "events-dead.fifo".to_owned() } else { format!("{name}-dead") };
            waiting += queue.depth(&name).await?;
            dead += queue.depth(&buried).await?;
        }
        Ok((waiting, dead))
    }
    async fn kept(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let (mut out, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.engine().ports.store.scan(after.as_deref(), 500).await?;
            out.extend(page.items.into_iter().map(|i| (format!("item {} {}", i.key.pk, i.key.sk), i.body)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for stage in ["receive", "decide", "act", "schedules"] {
            let log = self.theatre.cloud.stack.ask(serde_json::json!({ "do": "logs", "stage": stage })).await;
            out.push((format!("the log of {stage}"), log.to_string().into_bytes()));
        }
        Ok(out)
    }
    async fn settle(&self) -> anyhow::Result<()> {
        self.is(At::Settling);
        self.released().await;
        Ok(())
    }
    async fn wait(&self, limit: Timestamp) -> anyhow::Result<bool> {
        let moved = self.theatre.moved.notified();
        let vain = |a: &At| matches!(a, At::Waiting { vain: true, .. });
        let told = self.theatre.actors().get(self.number).is_some_and(vain);
        self.is(At::Waiting { limit, looked: self.seen.load(Ordering::SeqCst), vain: false });
        let begun = self.theatre.stillness.load(Ordering::SeqCst);
        if begun == self.seen.load(Ordering::SeqCst) {
            // Time enough to look again, or all is still: then at once.
            let _word = tokio::time::timeout(LOOK, moved).await;
        }
        self.seen.store(self.theatre.stillness.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(!told && !self.theatre.actors().get(self.number).is_some_and(vain))
    }
    fn goes_on(&self) {
        self.is(At::Work);
    }
    async fn pass(&self, length: Millis) -> anyhow::Result<()> {
        self.is(At::Passing(self.now() + length));
        self.released().await;
        self.theatre.tick().await;
        self.settle().await
    }
}
