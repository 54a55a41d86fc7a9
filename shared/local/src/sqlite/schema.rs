//! The tables, and how a file of an earlier version becomes one of this version.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::OpenError;

/// Marks a file as ours (`PRAGMA application_id`): "Till" in ASCII.
const APPLICATION_ID: i64 = 0x5469_6c6c;

/// One entry per version, oldest first; entry 0 makes version 1 out of an empty file. Entries are never
/// edited once released: a change is a new entry.
const MIGRATIONS: &[&str] = &[V1];

// `body` stands last in both tables: SQLite reads a row from its front, and what follows a long body is
// reached only through all of its overflow pages. Items have row ids: bodies of kilobytes inside the tree of
// the keys would leave four of them to a page.
const V1: &str = "
CREATE TABLE items (
  pk        TEXT NOT NULL,
  sk        TEXT NOT NULL,
  rev       INTEGER NOT NULL,
  due_shard INTEGER,
  due_at    INTEGER,
  list      TEXT,
  list_sort TEXT,
  expires   INTEGER,
  body      BLOB NOT NULL,
  PRIMARY KEY (pk, sk)
) STRICT;
-- The key follows in the indexes that are read in order, so that ties are in key order.
CREATE INDEX items_due  ON items (due_shard, due_at, pk, sk) WHERE due_at IS NOT NULL;
CREATE INDEX items_list ON items (list, list_sort, pk, sk) WHERE list IS NOT NULL;
CREATE INDEX items_expires ON items (expires) WHERE expires IS NOT NULL;

CREATE TABLE queues (
  id    INTEGER PRIMARY KEY,
  name  TEXT NOT NULL UNIQUE,
  depth INTEGER NOT NULL DEFAULT 0
) STRICT;

-- AUTOINCREMENT: a receipt names a message by id, so an id must never come again.
CREATE TABLE messages (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  queue      INTEGER NOT NULL REFERENCES queues (id),
  fifo       INTEGER NOT NULL,
  grp        TEXT,
  visible_at INTEGER NOT NULL,
  receives   INTEGER NOT NULL DEFAULT 0,
  body       BLOB NOT NULL
) STRICT;
CREATE INDEX messages_visible ON messages (queue, visible_at) WHERE fifo = 0;
CREATE INDEX messages_group   ON messages (queue, grp) WHERE fifo = 1;

-- One row per group that holds messages. `ready_at` is 0 where nothing of the group is handed out, else the
-- time at which the last message handed out comes back; `head` is its oldest message.
CREATE TABLE groups (
  queue    INTEGER NOT NULL,
  grp      TEXT NOT NULL,
  ready_at INTEGER NOT NULL,
  head     INTEGER NOT NULL,
  PRIMARY KEY (queue, grp)
) STRICT, WITHOUT ROWID;
CREATE INDEX groups_ready ON groups (queue, ready_at, head);

CREATE TABLE dedups (
  queue INTEGER NOT NULL,
  dedup TEXT NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (queue, dedup)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedups_until ON dedups (until);
";

/// Settings of every connection. `synchronous=FULL` is what makes a commit survive a power cut.
pub(super) fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    // A plan does not depend on the values bound: without this each execution prepares its statement anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    // A page that is written again and again is carried over once per 16 MB of log, not per 4 MB.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    Ok(())
}

/// Brings the file to this version, or refuses it.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(OpenError::NoWal(mode));
    }
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0) {
        return Err(OpenError::Foreign);
    }
    if version > newest {
        return Err(OpenError::Newer { file: version, known: newest });
    }
    for script in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        tx.execute_batch(script)?;
    }
    if version < newest {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", newest)?;
    }
    tx.commit()?;
    Ok(())
}
