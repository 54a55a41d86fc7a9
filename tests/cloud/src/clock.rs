//! Everybody's clock: the machine's, and by how much all are ahead of it. The local AWS and its functions read the same file
//! (`tests/aws/clock.c`).

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock;
use tillway_host::clock::SystemClock;
use tillway_tests::outside::lock;

/// The clock.
pub struct Ahead {
    file: PathBuf,
    by: Mutex<Millis>,
}

impl Ahead {
    /// Not ahead yet; `file` is what the local AWS reads.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        std::fs::write(file, [0; 8]).unwrap();
        Self { file: file.to_owned(), by: Mutex::new(Millis(0)) }
    }

    /// Where it is kept.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Puts everybody's clock forward.
    pub fn forward(&self, length: Millis) {
        use std::os::unix::fs::FileExt as _;
        let mut by = lock(&self.by);
        by.0 += length.0.max(0);
        // In place: the file is mapped by whoever runs.
        let file = std::fs::OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&(by.0 * 1_000_000).to_le_bytes(), 0).unwrap();
    }
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + *lock(&self.by)
    }
    async fn sleep(&self, length: Millis) {
        SystemClock.sleep(length).await;
    }
}
