//! What is committed: transactions, and what becomes of them.

use std::time::Duration;

use bytes::Bytes;

use super::{Index, Key, MarkName, Scope};
#[cfg(doc)]
use super::{MAX_ALTERNATIVES, MAX_BURST, MAX_CHANGES, MAX_NOTE, Metadata};
use crate::model::time::{Micros, Revision};

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
