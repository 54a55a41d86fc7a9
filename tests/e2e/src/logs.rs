//! Collects what is logged on the test's own thread, as `serve` would write it.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::outside::lock;

/// The lines so far. A world runs in one thread, so nothing of another test's is among them.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

/// Collects until it is dropped.
pub struct Collecting {
    _until: Box<dyn std::any::Any>,
}

impl Logs {
    /// Begins to collect everything from this level on.
    #[must_use]
    pub fn collect(&self, level: LevelFilter) -> Collecting {
        // Whether a place logs at all is remembered for all threads, and forgotten wrongly where a collector of another
        // test goes away at that moment. Somebody who always listens keeps every place awake.
        static LISTENING: Once = Once::new();
        LISTENING.call_once(|| {
            let sink =
                tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::sink);
            sink.finish().init();
        });
        let sink = self.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_max_level(level).with_writer(move || sink.clone()).finish();
        Collecting { _until: Box::new(subscriber.set_default()) }
    }

    /// What was logged so far, and nothing from here on.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
