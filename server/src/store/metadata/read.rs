//! What is read: records, parts of indices and logs, and what an engine says of itself.

use bytes::Bytes;

#[cfg(doc)]
use super::Metadata;
use super::{Key, Marks};
use crate::model::time::{History, Micros, Revision};

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
