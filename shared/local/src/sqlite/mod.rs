//! Store and queues in one SQLite file.
//!
//! **Writing.** One thread owns the one writing connection. Requests reach it through a bounded channel; it
//! takes what is there, applies each request inside one transaction (a request whose guards fail writes
//! nothing and leaves the others alone), commits once, and only then answers all of them. While one commit
//! waits for the disk the next group gathers, so that many small durable transactions share one `fsync`.
//!
//! **Reading.** Reads of one page at most run where they are asked for, on a pooled connection that sees
//! every committed write: for a few keys that costs less than handing the work to another thread would.
//! Listings, due items and scans go to the blocking pool.
//!
//! A second process (the `tillway` command beside a running `serve`) may open the same file: every decision
//! is taken inside a transaction from what the file says, nothing is remembered between two transactions
//! but the ids of queues.

mod items;
mod messages;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tillway_engine::ports::Clock;
use tokio::sync::Notify;

pub use items::SqliteStore;
pub use messages::{SqliteQueue, dead_queue};
use writer::Writer;

/// How often a message is handed out before it goes to the dead-letter queue, unless configured otherwise.
/// Generous: attempts are counted in the engine's records, this bound only stops what crashes its worker.
pub const DEFAULT_MAX_RECEIVES: u32 = 50;

/// Most reading connections kept open between reads.
const IDLE_READERS: usize = 8;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite or the file system said no.
    #[error("cannot open the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be made, or the writer thread not be started.
    #[error("cannot open the database: {0}")]
    Io(#[from] std::io::Error),
    /// Write-ahead logging is not possible there.
    #[error("the database needs write-ahead logging but got journal mode {0}; put it on a local disk")]
    NoWal(String),
    /// Written by a newer Tillway.
    #[error(
        "the database has schema version {file}, this program knows up to {known}; run the newer Tillway that wrote it"
    )]
    Newer {
        /// Version of the file.
        file: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// A database of another program.
    #[error("the file is a database of another program; choose another path")]
    Foreign,
    /// `quick_check` found damage.
    #[error("the database is damaged ({0}); restore it from a backup")]
    Damaged(String),
}

/// How to open the file.
#[derive(Clone)]
pub struct Options {
    /// Time for visibility, delays and deduplication.
    pub clock: Arc<dyn Clock>,
    /// How often a message is handed out at most, for queues not named in `max_receives_of`.
    pub max_receives: u32,
    /// The same for single queues.
    pub max_receives_of: BTreeMap<String, u32>,
    /// Run `PRAGMA quick_check` first: reads the whole file, seconds for each gigabyte.
    pub quick_check: bool,
}

impl Options {
    /// The defaults under a clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            max_receives: DEFAULT_MAX_RECEIVES,
            max_receives_of: BTreeMap::new(),
            quick_check: false,
        }
    }
}

/// An open file. Cheap to clone; the writer thread ends when the last clone, store and queue are gone.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    // Closed before the writer, whose connection is the last one and takes the log into the file.
    readers: Readers,
    writer: Writer,
    wakers: Arc<Wakers>,
}

impl Database {
    /// Opens the file, making it (readable by its owner alone) or bringing it to this version as needed.
    ///
    /// # Errors
    /// [`OpenError`]; the file is left as it was, except after a failed disk.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        schema::configure(&connection)?;
        schema::migrate(&mut connection)?;
        if options.quick_check {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(OpenError::Damaged(found));
            }
        }
        let wakers = Arc::new(Wakers::default());
        let writer = Writer::start(connection, options, Arc::clone(&wakers))?;
        let readers = Readers { path: path.to_owned(), idle: Mutex::new(Vec::new()) };
        Ok(Self { shared: Arc::new(Shared { writer, readers, wakers }) })
    }

    /// The store in this file.
    #[must_use]
    pub fn store(&self) -> SqliteStore {
        SqliteStore::new(Arc::clone(&self.shared))
    }

    /// The queues in this file.
    #[must_use]
    pub fn queue(&self) -> SqliteQueue {
        SqliteQueue::new(Arc::clone(&self.shared))
    }
}

/// Makes an empty file with mode 0600; leaves one that is there alone.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Reading connections, taken out for one read and put back.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        let pooled = lock(&self.idle).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => self.open()?,
        };
        // A connection whose read failed is not put back.
        let out = work(&connection)?;
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        Ok(out)
    }

    fn open(&self) -> Result<Connection, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        schema::configure(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }
}

/// One [`Notify`] per queue. Bounded by the number of queue names, which come from configuration.
#[derive(Default)]
struct Wakers(Mutex<HashMap<String, Arc<Notify>>>);

impl Wakers {
    fn of(&self, queue: &str) -> Arc<Notify> {
        let mut map = lock(&self.0);
        if let Some(notify) = map.get(queue) {
            return Arc::clone(notify);
        }
        Arc::clone(map.entry(queue.to_owned()).or_default())
    }
}

/// Locks even after another thread panicked: what these locks guard is valid at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
