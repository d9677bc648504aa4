//! The names of keys in Redis: `<prefix>{<namespace>}:…`, so that all keys of a namespace lie in one slot of a Cluster.

use crate::model::id::Namespace;

use super::super::metadata::{Index, Key, Scope};

/// The namespace whose transactions are tried out at the start; no [`Namespace`] can have this name.
pub(super) const REHEARSAL: &str = "~";

/// Makes names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    database: i64,
}

impl Keys {
    /// Names in a database that start with `prefix`, which has no braces.
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), database }
    }

    /// The set of all namespaces.
    pub(super) fn namespaces(&self) -> String {
        format!("{}namespaces", self.prefix)
    }

    /// The keys of one namespace.
    pub(super) fn of(&self, ns: &Namespace) -> Space {
        self.named(ns.as_str())
    }

    /// The keys of the namespace of this name.
    pub(super) fn named(&self, name: &str) -> Space {
        Space { stem: format!("{}{{{name}}}:", self.prefix), database: self.database }
    }
}

/// The keys of one namespace.
#[derive(Clone, Debug)]
pub(super) struct Space {
    stem: String,
    database: i64,
}

impl Space {
    /// Hash: revision, history, replication id, last revision of each log.
    pub(super) fn meta(&self) -> String {
        self.join("m", "")
    }

    /// Sorted set: records that wait for the sweeper when they expire.
    pub(super) fn expiries(&self) -> String {
        self.join("e", "")
    }

    /// Stream: a log.
    pub(super) fn log(&self, scope: Scope) -> String {
        self.join("log:", scope.name())
    }

    /// Hash: a record.
    pub(super) fn record(&self, key: &Key) -> String {
        self.join("r:", &key.0)
    }

    /// Where a record's own name starts in its key, counted from 1 as Lua does.
    pub(super) fn record_start(&self) -> usize {
        self.stem.len() + "r:".len() + 1
    }

    /// Sorted set: an index.
    pub(super) fn index(&self, index: &Index) -> String {
        self.join("x:", &index.0)
    }

    /// String: a counter.
    pub(super) fn counter(&self, key: &Key) -> String {
        self.join("c:", &key.0)
    }

    /// String: a meter.
    pub(super) fn meter(&self, key: &Key) -> String {
        self.join("g:", &key.0)
    }

    /// String: the result of a caller's operation.
    pub(super) fn operation(&self, op: &str) -> String {
        self.join("o:", op)
    }

    /// String: the result of one call without an operation, for repetitions by the connection alone.
    pub(super) fn call(&self, nonce: &str) -> String {
        self.join("n:", nonce)
    }

    /// Channel: wake-ups. Keys belong to a database, channels to the server.
    pub(super) fn wake(&self) -> String {
        match self.database {
            0 => self.join("w", ""),
            other => self.join("w:", &other.to_string()),
        }
    }

    fn join(&self, kind: &str, name: &str) -> String {
        [&self.stem, kind, name].concat()
    }
}

/// The field of the meta hash with a log's last revision.
pub(super) fn last(scope: Scope) -> &'static str {
    match scope {
        Scope::Sessions => "last:sessions",
        Scope::Cache => "last:cache",
    }
}
