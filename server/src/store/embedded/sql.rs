//! A connection with its prepared statements, and what its failures mean to the caller.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Params, Row, Statement};

use crate::model::error::{Error, Reason};

/// How soon a caller may try again when the store did not answer.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A connection and every statement it ever prepared. The texts are constants, so there is a bound.
pub(super) struct Sql<'c> {
    connection: &'c Connection,
    prepared: HashMap<&'static str, Statement<'c>>,
}

impl<'c> Sql<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, prepared: HashMap::new() }
    }

    fn statement(&mut self, text: &'static str) -> rusqlite::Result<&mut Statement<'c>> {
        match self.prepared.entry(text) {
            Entry::Occupied(prepared) => Ok(prepared.into_mut()),
            Entry::Vacant(slot) => Ok(slot.insert(self.connection.prepare(text)?)),
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub(super) fn run(&mut self, text: &'static str, params: impl Params) -> Result<usize, Failure> {
        Ok(self.statement(text)?.execute(params)?)
    }

    /// The first row of a query, if there is one.
    pub(super) fn one<T>(&mut self, text: &'static str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>, Failure> {
        Ok(self.statement(text)?.query_row(params, read).optional()?)
    }

    /// All rows of a query.
    pub(super) fn all<T>(&mut self, text: &'static str, params: impl Params, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, Failure> {
        Ok(self.statement(text)?.query_map(params, read)?.collect::<rusqlite::Result<_>>()?)
    }

    /// How long statements wait for another connection's lock from now on.
    pub(super) fn patience(&self, patience: Duration) -> Result<(), Failure> {
        Ok(self.connection.busy_timeout(patience)?)
    }

    /// No transaction is open, also not after a failure that made SQLite roll back by itself.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Runs `work` in one read transaction: one moment of the store.
    pub(super) fn snapshot<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.run("BEGIN", [])?;
        let result = work(self);
        if !self.is_idle() {
            self.run("ROLLBACK", [])?;
        }
        result
    }
}

/// Why the store could not do something.
pub(super) enum Failure {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// A row does not hold what this engine writes.
    Damaged(String),
    /// It ended between two steps of a commit.
    Interrupted,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => write!(f, "{error}"),
            Self::Damaged(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted between two steps"),
        }
    }
}

impl Failure {
    /// There is no room left.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// The same once more, for the next of those it concerns.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(code, message)) => Self::Sqlite(rusqlite::Error::SqliteFailure(*code, message.clone())),
            Self::Damaged(what) => Self::Damaged(what.clone()),
            Self::Sqlite(_) | Self::Interrupted => Self::Interrupted,
        }
    }

    /// What it means to the caller. `place` names the database.
    pub(super) fn into_error(self, place: &str) -> Error {
        let error = match self {
            Self::Sqlite(error) => error,
            Self::Damaged(what) => return damaged(place, &what),
            Self::Interrupted => return unavailable("the metadata store was interrupted between two steps"),
        };
        let made = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                let message = format!("the metadata store in {place} cannot grow: its disk or its quota is full");
                Error::new(Reason::StorageFull, message).with_help("free space on that disk, or move the data directory to a larger one")
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(place, "the file is no sound SQLite database"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                unavailable(&format!("the metadata store in {place} is read-only")).with_help("let the user that runs cloakroomd write there")
            }
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
                unavailable(&format!("the metadata store in {place} cannot be read or written")).with_help("look at the disk; the daemon's log has the cause")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => unavailable(&format!("the metadata store in {place} is locked by another program")),
            _ => Error::new(Reason::Internal, "the metadata store failed in an unexpected way"),
        };
        made.with_source(error)
    }
}

fn damaged(place: &str, what: &str) -> Error {
    let message = format!("the metadata store in {place} is damaged: {what}");
    Error::new(Reason::DataCorrupt, message).with_help("stop the daemon and restore that directory from a backup")
}

/// The store did not answer.
pub(super) fn unavailable(message: &str) -> Error {
    Error::new(Reason::MetadataUnavailable, message).with_retry_after(RETRY_AFTER)
}
