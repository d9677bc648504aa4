//! The tables, and how a connection is set up. An operator may look inside with `sqlite3 metadata.sqlite`, also while the daemon runs.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::model::error::{Error, Reason, Result};

use super::sql::Failure;

/// The schema's number, kept in `user_version`.
const VERSION: i32 = 1;
/// Marks the file as ours: "CLKR".
const APPLICATION: i32 = 0x434C_4B52;
/// How long a connection waits for another program's lock, such as an operator's shell.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// How long the write-ahead log may stay, in bytes.
pub(super) const LOG_KEPT: u32 = 64 << 20;

/// Records have a row id because their values may be large; everything else is small and lives in its key's tree. `dropped` records vanish at their expiry, the others wait for
/// the sweeper. A meter's `tat` and all times are microseconds since 1970.
const TABLES: &str = "
CREATE TABLE engine (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE namespace (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL) STRICT;
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    namespace INTEGER NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires_at INTEGER,
    dropped INTEGER NOT NULL,
    marks TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (namespace, key)
) STRICT;
CREATE INDEX record_swept ON record (namespace, expires_at, key) WHERE expires_at IS NOT NULL AND dropped = 0;
CREATE INDEX record_dropped ON record (expires_at) WHERE expires_at IS NOT NULL AND dropped = 1;
CREATE TABLE member (
    namespace INTEGER NOT NULL,
    name TEXT NOT NULL,
    member TEXT NOT NULL,
    score INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_order ON member (namespace, name, score, member);
CREATE TABLE counter (namespace INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (namespace, name)) STRICT, WITHOUT ROWID;
CREATE TABLE meter (namespace INTEGER NOT NULL, name TEXT NOT NULL, tat INTEGER NOT NULL, PRIMARY KEY (namespace, name)) STRICT, WITHOUT ROWID;
CREATE INDEX meter_tat ON meter (tat);
CREATE TABLE log (
    namespace INTEGER NOT NULL,
    scope TEXT NOT NULL,
    revision INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (namespace, scope, revision)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_head (
    namespace INTEGER NOT NULL,
    scope TEXT NOT NULL,
    last INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (namespace, scope)
) STRICT, WITHOUT ROWID;
CREATE TABLE op (
    namespace INTEGER NOT NULL,
    name TEXT NOT NULL,
    forget_at INTEGER NOT NULL,
    which INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    now INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX op_forget ON op (forget_at);
";

/// Opens the connection that writes, and makes the tables if they are not there. Without a path the store lives in memory.
pub(super) fn writer(path: Option<&Path>, place: &str) -> Result<Connection> {
    let opened = match path {
        Some(path) => Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE),
        None => Connection::open_in_memory_with_flags(flags() | OpenFlags::SQLITE_OPEN_READ_WRITE),
    };
    let mut connection = opened.map_err(|error| Failure::from(error).into_error(place))?;
    let version = prepare(&mut connection, path.is_some()).map_err(|failure| failure.into_error(place))?;
    match version {
        Found::Ours => Ok(connection),
        Found::Newer(version) => {
            let message = format!("the metadata store in {place} was written by a newer cloakroomd: its schema is {version}, this one knows up to {VERSION}");
            Err(Error::new(Reason::MetadataUnavailable, message).with_help("start the newer cloakroomd, or give this one another data directory"))
        }
        Found::Foreign => {
            let message = format!("{place} holds an SQLite database that is not a Cloakroom metadata store");
            Err(Error::new(Reason::DataCorrupt, message).with_help("give cloakroomd another data directory"))
        }
        Found::ReadOnly => {
            let message = format!("the metadata store in {place} is read-only");
            Err(Error::new(Reason::MetadataUnavailable, message).with_help("let the user that runs cloakroomd write to its files"))
        }
    }
}

/// Opens a connection that only reads.
pub(super) fn reader(path: &Path, place: &str) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error| Failure::from(error).into_error(place))
}

/// No mutex: a connection never leaves its thread.
fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE
}

enum Found {
    Ours,
    Newer(i32),
    Foreign,
    ReadOnly,
}

fn prepare(connection: &mut Connection, durable: bool) -> Result<Found, Failure> {
    connection.busy_timeout(BUSY)?;
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Ok(Found::ReadOnly);
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if application != APPLICATION {
            return Ok(Found::Foreign);
        }
        if version > VERSION {
            return Ok(Found::Newer(version));
        }
    }
    if durable {
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Failure::Damaged(format!("its journal mode stays {mode:?} instead of \"wal\"")));
        }
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT, |_| Ok(()))?;
    }
    if tables == 0 {
        let create = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        create.execute_batch(TABLES)?;
        create.pragma_update(None, "application_id", APPLICATION)?;
        create.pragma_update(None, "user_version", VERSION)?;
        create.commit()?;
    }
    Ok(Found::Ours)
}
