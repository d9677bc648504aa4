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

use bytes::Bytes;
use tokio::sync::watch;

use crate::model::{
    error::Result,
    id::Namespace,
    time::{History, Micros, Revision},
};

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

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The transaction that wrote the value.
    pub revision: Revision,
    /// When it expires; `None`: never.
    pub expires_at: Option<Micros>,
    /// Its marks.
    pub marks: Marks,
    /// Its value.
    pub value: Bytes,
}

impl Record {
    /// A mark's number; 0 when the record does not have it.
    #[must_use]
    pub fn mark(&self, name: &str) -> i64 {
        self.marks.get(name).copied().unwrap_or(0)
    }
}

/// What is found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A record.
    Live(Record),
    /// A record past its expiry that the sweeper has not dealt with. To everybody but the sweeper and a revival it is absent.
    Expired(Record),
}

impl Found {
    /// The record if it is live: what nearly every reader wants.
    #[must_use]
    pub fn live(self) -> Option<Record> {
        match self {
            Self::Live(record) => Some(record),
            Self::Absent | Self::Expired(_) => None,
        }
    }
}

/// The answer of [`Metadata::get`]: one consistent read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was found, in the order of the keys.
    pub found: Vec<Found>,
    /// The namespace's revision at that moment; zero when nothing was ever committed.
    pub revision: Revision,
    /// The store's clock at that moment.
    pub now: Micros,
}

/// A number that may be known only inside the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// This number.
    Literal(i64),
    /// The transaction's revision.
    Revision,
    /// The store's clock plus a duration.
    NowPlus(Duration),
    /// As a mark: the value it has now, also when the record waits for the sweeper (0 when there is none). As a score: not allowed.
    Keep,
    /// As a score: the mark of this name of the record of this key, live or waiting for the sweeper, after the transaction's writes (0 when there is none). As a mark: not
    /// allowed.
    MarkOf(Key, MarkName),
}

/// How long a record lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// For ever.
    Forever,
    /// As long as it does now, also when it waits for the sweeper; a new record for ever.
    Keep,
    /// Until then. After that it is hidden, and [`Metadata::expired`] hands it to the sweeper, who removes it together with its index members.
    SweptAt(When),
    /// Until then. After that it is gone, as if it had been deleted; the engine sees to it. Not for records with index members.
    DroppedAt(When),
}

/// A moment, fixed or counted from the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// That moment.
    At(Micros),
    /// That long after the transaction.
    In(Duration),
}

/// What must hold for a transaction to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Require {
    /// There is no record, also none that waits for the sweeper.
    Absent(Key),
    /// The record is live and was written by this revision.
    At(Key, Revision),
    /// The record is past its expiry, not yet swept, and was written by this revision.
    Expired(Key, Revision),
    /// The record is live and this mark has this value (0 when it has none).
    Mark(Key, MarkName, i64),
}

impl Require {
    /// The record it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::At(key, _) | Self::Expired(key, _) | Self::Mark(key, _, _) => key,
        }
    }
}

/// A change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces. The record's revision becomes the transaction's. Marks not named are gone.
    Put {
        /// The record.
        key: Key,
        /// Its new value.
        value: Bytes,
        /// How long it lives.
        life: Life,
        /// Its marks.
        marks: Vec<(MarkName, Number)>,
    },
    /// Changes expiry and the named marks of a live record. Its value, its other marks and its revision stay. Without a live record the transaction is refused.
    Touch {
        /// The record.
        key: Key,
        /// How long it lives.
        life: Life,
        /// The marks to set.
        marks: Vec<(MarkName, Number)>,
    },
    /// Removes the record, if there is one.
    Delete(Key),
}

/// A change of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChange {
    /// Adds the member, or moves it to the new score.
    Add(Index, String, Number),
    /// Removes the member, if it is there.
    Remove(Index, String),
}

/// A bounded count: refuses the transaction when it would leave `0..=max`. A transaction moves a counter at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// The counter; it starts at 0. Counters are not records: they have their own names.
    pub counter: Key,
    /// What to add; may be negative.
    pub delta: i64,
    /// Its upper bound, at least 0. A negative delta is never refused by it.
    pub max: i64,
}

/// A rate (GCRA, the leaky bucket of ITU-T I.371): refuses the transaction when `cost` more would exceed `burst` per `interval`.
///
/// With `t = interval / burst` per unit: `tat' = max(tat, now) + cost × t`, admitted iff `tat' - now ≤ interval`; then `tat := tat'`. Engines count in whole microseconds and
/// round `cost × t` down, so a full burst is always admitted at once. A transaction runs a meter at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// The meter. Meters are not records: they have their own names.
    pub meter: Key,
    /// How long the full burst takes to come back. At least 1 ms, at most 366 days.
    pub interval: Duration,
    /// How many units at once, 1 to [`MAX_BURST`], and at most one per microsecond of the interval.
    pub burst: u32,
    /// How many units this takes, 1 to `burst`.
    pub cost: u32,
}

/// One transaction, at most [`MAX_CHANGES`] long. Empty parts are allowed; a transaction without any effect still makes a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All of these must hold.
    pub requires: Vec<Require>,
    /// Then counters move …
    pub adds: Vec<Add>,
    /// … and meters run …
    pub meters: Vec<Meter>,
    /// … records change; at most one write per key …
    pub writes: Vec<Write>,
    /// … indices follow, in this order …
    pub indices: Vec<IndexChange>,
    /// … and the logs hear of it: at most one entry per scope.
    pub events: Vec<(Scope, Bytes)>,
    /// Handed back in [`Applied::note`], also by a repetition; at most [`MAX_NOTE`] bytes.
    pub note: Bytes,
}

/// What to do: the first of up to [`MAX_ALTERNATIVES`] transactions whose requirements, counters and meters allow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The transactions, in order of preference; at least one.
    pub alternatives: Vec<Txn>,
    /// Names the operation within the namespace: a repetition answers the first result, whatever it asks for. Refusals are not remembered. The same rule as for a [`Key`].
    pub op: Option<String>,
}

impl From<Txn> for Commit {
    fn from(txn: Txn) -> Self {
        Self { alternatives: vec![txn], op: None }
    }
}

/// What became of a [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// One alternative was applied, now or, when `replayed`, by an earlier commit with the same `op`.
    Applied(Applied),
    /// None could be; nothing changed, not even the revision. One refusal per alternative: the first thing that stood against it, in the order requirements, counters,
    /// meters, touched records.
    Refused(Vec<Refusal>),
}

/// An applied transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which alternative.
    pub which: usize,
    /// Its revision.
    pub revision: Revision,
    /// The store's clock when it was applied.
    pub now: Micros,
    /// The transaction's note.
    pub note: Bytes,
    /// It was applied before; this call changed nothing.
    pub replayed: bool,
}

/// Why an alternative was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A requirement about this record does not hold, or a touched record is not live.
    Record(Key),
    /// A counter would leave its bounds; it stands at `value`.
    Counter {
        /// The counter.
        counter: Key,
        /// Its value.
        value: i64,
    },
    /// A meter is used up.
    Meter {
        /// The meter.
        meter: Key,
        /// When the same cost would be admitted.
        retry_after: Duration,
    },
}

/// Which members of an index to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Everything after this position (ascending) or before it (descending), whether or not a member stands there; `None`: from the end where reading starts.
    From(Option<(i64, String)>),
    /// Members that start with this text, in an index whose scores are all 0; the empty text starts all of them.
    Prefix(String),
}

/// In which direction to read an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest score.
    Ascending,
    /// From the highest score.
    Descending,
}

/// Where a log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The history that revisions belong to now.
    pub history: History,
    /// The namespace's revision: everything up to it is committed. Zero when nothing ever was.
    pub revision: Revision,
    /// The revision of the scope's last entry; zero when there never was one in this history.
    pub last: Revision,
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The transaction's revision.
    pub revision: Revision,
    /// The revision of the scope's entry before it in this history, zero when it is the first; a reader who has not seen that one has missed something.
    pub previous: Revision,
    /// What the transaction gave.
    pub payload: Bytes,
}

/// A part of a log, read together with its head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Entries after the asked revision, oldest first.
    pub entries: Vec<LogEntry>,
    /// Where the log stood at that moment.
    pub head: Head,
}

/// A record that waits for the sweeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredRecord {
    /// Its key.
    pub key: Key,
    /// The record.
    pub record: Record,
}

/// What an engine is and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// `sqlite`, `memory`, `redis` or `redis-cluster`.
    pub engine: &'static str,
    /// Where it is, without credentials.
    pub location: String,
    /// No fail-over can undo what was acknowledged.
    pub exclusive: bool,
    /// What an operator should know or do, a sentence each.
    pub warnings: Vec<String>,
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
