//! The metadata store: one small transactional contract, kept by every engine.
//!
//! All rules about sessions, snapshots and leases are written once, above this contract; an engine knows nothing of them. It keeps, per namespace:
//!
//! - **records**: a key, a value, the revision that wrote it, an optional expiry, and *marks*: named numbers beside the value;
//! - **indices**: sets of members ordered by a score, then by the member's bytes;
//! - **counters** and **meters**, tested and moved inside a transaction;
//! - **logs**, one per [`Scope`]: the events of transactions, each entry with the revision of the entry before it;
//! - one **revision**, `max(previous + 1, store clock in µs)`, and the name of the **history** it belongs to.
//!
//! What every engine must hold, and the conformance suite (`store::conformance`) checks:
//!
//! 1. [`Metadata::commit`] is atomic: all of a transaction or nothing, also when the process or the store dies in the middle. What was acknowledged is
//!    there after a restart of the daemon.
//! 2. Only the store's clock and counter decide: scores, marks and expiries can be symbolic ([`Number`]) and are resolved inside the transaction.
//! 3. Revisions of a namespace strictly increase, also across restarts. A loss of acknowledged data, or the possibility of it, starts a new history whose first
//!    revision is at least 10 s ahead of the clock, so that no token is ever issued twice.
//! 4. The same `op` answers the first result, for at least 10 minutes, and changes nothing.
//! 5. An outage is an error and never an absence.
//!
//! Numbers (scores, marks, counters, bounds, moments) are exact from -[`MAX_NUMBER`] to [`MAX_NUMBER`]. A record is past its expiry from the moment `expires_at` itself on.
//! [`super::bounds`] checks every bound of this module, for every engine and before it is asked.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use tokio::sync::watch;

use crate::model::{error::Result, id::Namespace, time::Revision};

mod read;
mod write;

pub use read::{Direction, EngineInfo, ExpiredRecord, Found, Head, LogEntry, LogPage, Range, Reading, Record};
pub use write::{Add, Applied, Commit, IndexChange, Life, Meter, Number, Outcome, Refusal, Require, Txn, When, Write};

/// Most alternatives of one commit.
pub const MAX_ALTERNATIVES: usize = 32;
/// Longest key, index name or member, in bytes.
pub const MAX_KEY: usize = 1024;
/// Most keys, members, entries or records of one read.
pub const MAX_PAGE: usize = 1000;
/// Most requirements, counters, meters, writes and index changes of one transaction together.
pub const MAX_CHANGES: usize = 1000;
/// Most marks of one write.
pub const MAX_MARKS: usize = 32;
/// Longest mark name, in bytes.
pub const MAX_MARK_NAME: usize = 16;
/// Largest value of a record, in bytes.
pub const MAX_VALUE: usize = 4 << 20;
/// Largest payload of an event, in bytes.
pub const MAX_EVENT: usize = 1 << 20;
/// Largest note of a transaction, in bytes.
pub const MAX_NOTE: usize = 4096;
/// Largest number of either sign: what every engine and every client keeps exactly.
pub const MAX_NUMBER: i64 = 1 << 53;
/// Longest duration counted from the store's clock: 100 years.
pub const MAX_AHEAD: Duration = Duration::from_hours(24 * 36_525);
/// Shortest interval of a [`Meter`].
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Longest interval of a [`Meter`].
pub const MAX_INTERVAL: Duration = Duration::from_hours(24 * 366);
/// Most units of a [`Meter`] at once.
pub const MAX_BURST: u32 = 1_000_000;
/// How long the result of an operation with an id is remembered.
pub const OP_TTL: Duration = Duration::from_mins(10);
/// How far ahead of the clock a new history starts.
pub const HISTORY_LEAP: Duration = Duration::from_secs(10);

/// A record's name within a namespace: 1 to [`MAX_KEY`] bytes of UTF-8 without NUL. The same rule holds for the names of counters and meters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An index's name within a namespace; the same rule as for a [`Key`], and for its members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub String);

/// Named numbers of a record, by name: 1 to [`MAX_MARK_NAME`] of `a-z _`.
pub type Marks = BTreeMap<String, i64>;
/// A mark's name.
pub type MarkName = Cow<'static, str>;

/// A log of events. Sessions and cache have their own, so that churn of one never compacts the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Changes of sessions, storage states and profiles.
    Sessions,
    /// Changes of cache entries.
    Cache,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Sessions, Self::Cache];

    /// Its name in keys and tokens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Cache => "cache",
        }
    }
}

/// A metadata store. See the module's text for what every engine must hold.
///
/// All methods fail with `METADATA_UNAVAILABLE` (with a retry delay) when the store cannot be reached or does not answer within its deadline; a failed [`Self::commit`] may
/// then have been applied or not, which a repetition with the same `op` finds out. `STORAGE_FULL` when it cannot take more, `INVALID_FIELD` when a bound of this
/// module is broken, `DATA_CORRUPT` when stored bytes are damaged.
#[async_trait::async_trait]
pub trait Metadata: Send + Sync + fmt::Debug + 'static {
    /// Reads up to [`MAX_PAGE`] records in one consistent read.
    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading>;

    /// Reads up to `limit` (at most [`MAX_PAGE`]) members of an index with their scores.
    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>>;

    /// Applies the first alternative that can be, atomically and durably.
    async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome>;

    /// Up to `limit` (at most [`MAX_PAGE`]) records past their expiry that wait for the sweeper, the longest expired first.
    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>>;

    /// Up to `limit` (at most [`MAX_PAGE`]) entries of a log after a revision, with the log's head, in one consistent read. Old entries are trimmed by age and number; that shows as a first entry
    /// whose `previous` lies after the asked revision, or as no entry although `head.last` does.
    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage>;

    /// A log's head. Unlike the other reads it also notices a change of history that no write has met yet.
    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head>;

    /// Wakes its holder after a commit in the namespace, by any daemon; the value is a revision that was committed. A wake-up can be lost, never an event.
    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>>;

    /// All namespaces that were ever written to.
    async fn namespaces(&self) -> Result<Vec<Namespace>>;

    /// Reaches the store and says what it is.
    async fn probe(&self) -> Result<EngineInfo>;
}
