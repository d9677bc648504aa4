//! The data directory: one daemon at a time, and the name of the history that its files belong to.
//!
//! ```text
//! metadata.sqlite   the store (with SQLite's -wal and -shm beside it)
//! metadata.lock     locked while a daemon runs; holds the history's name; written once per history
//! metadata.mark     how many batches were acknowledged; written before every answer, without waiting for the disk
//! ```
//!
//! A history goes on over a restart and over `kill -9`. A new one starts when acknowledged data are gone or may be:
//!
//! - the mark counts more batches than the store has: the store alone was replaced by an older copy, or lost its write-ahead log;
//! - the lock file is not the very file that the store remembers (device, inode, time of its last change): the whole directory was copied, moved to another disk or restored. The
//!   time of last change is set by the file system alone, so no copying program restores it. Changing the file's owner or mode looks the same, and costs no more than a new history.
//!
//! What no file can show is a roll-back of the whole file system underneath. After one, delete `metadata.lock`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::sql::unavailable;
use crate::model::{
    error::{Error, Result},
    time::History,
};

/// The locked directory. The lock ends with it, at the latest.
pub(super) struct Place {
    dir: PathBuf,
    lock: File,
    mark: File,
}

/// What the files beside the store say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Witness {
    /// The history's name in the lock file.
    pub(super) history: History,
    /// The identity of the lock file.
    pub(super) identity: String,
    /// How many batches were acknowledged; `None` when the mark cannot be read.
    pub(super) acknowledged: Option<i64>,
}

impl Place {
    /// Makes the directory if need be and locks it.
    pub(super) fn lock(dir: &Path) -> Result<Self> {
        let unwritable = |error: io::Error| {
            unavailable(&format!("cannot write to the data directory {}: {error}", dir.display()))
                .with_help("make it writable for the user that runs cloakroomd, or choose another with --data-dir")
                .with_source(error)
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unwritable)?;
        let open = |name: &str| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(name)).map_err(unwritable);
        let lock = open("metadata.lock")?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), lock, mark: open("metadata.mark")? }),
            Err(TryLockError::WouldBlock) => Err(in_use(dir)),
            Err(TryLockError::Error(error)) => Err(unwritable(error)),
        }
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("metadata.sqlite")
    }

    /// What the files beside the store say now.
    pub(super) fn witness(&mut self) -> Result<Witness> {
        self.read().map_err(|error| self.unreadable(error))
    }

    fn read(&mut self) -> io::Result<Witness> {
        let mut name = Vec::new();
        self.lock.rewind()?;
        (&self.lock).take(64).read_to_end(&mut name)?;
        let mut count = [0; 20];
        let acknowledged = match self.mark.read_exact_at(&mut count, 0) {
            Ok(()) => std::str::from_utf8(&count).ok().and_then(|digits| digits.parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let file = self.lock.metadata()?;
        let identity = format!("{}:{}:{}.{:09}", file.dev(), file.ino(), file.ctime(), file.ctime_nsec());
        Ok(Witness { history: History(String::from_utf8_lossy(&name).into_owned()), identity, acknowledged })
    }

    /// Writes a new history's name, durably. The store must remember the answer before it acknowledges anything.
    pub(super) fn begin(&mut self, history: &History, batches: i64) -> Result<Witness> {
        self.write(history, batches).map_err(|error| self.unreadable(error))?;
        self.witness()
    }

    fn write(&mut self, history: &History, batches: i64) -> io::Result<()> {
        self.acknowledge(batches)?;
        self.mark.sync_all()?;
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(history.0.as_bytes())?;
        self.lock.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// Notes that this many batches are durable and about to be acknowledged.
    pub(super) fn acknowledge(&self, batches: i64) -> io::Result<()> {
        self.mark.write_all_at(format!("{batches:020}").as_bytes(), 0)
    }

    /// How long the write-ahead log is, in bytes.
    pub(super) fn log_len(&self) -> u64 {
        std::fs::metadata(self.dir.join("metadata.sqlite-wal")).map_or(0, |log| log.len())
    }

    /// Lets the next daemon in. Closing the file would do it too, but not while a process that is just being started still shares it.
    pub(super) fn unlock(self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the data directory stays locked until this process ends");
        }
    }

    fn unreadable(&self, error: io::Error) -> Error {
        unavailable(&format!("cannot read or write the files beside {}: {error}", self.database().display())).with_source(error)
    }
}

fn in_use(dir: &Path) -> Error {
    unavailable(&format!("another cloakroomd uses the data directory {}", dir.display()))
        .with_help("stop the other daemon, or give this one a directory of its own with --data-dir")
}
