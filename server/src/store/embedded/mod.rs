//! The embedded engine: SQLite in the data directory, or in memory.
//!
//! ```text
//! commit ──► queue ──► writer thread ── one SQLite transaction, one sync ──► answers, wake-ups
//! read   ──► queue ──► reader threads ─ one read transaction each
//! ```
//!
//! The machine's wall clock is the store's clock. One process has the directory at a time; `place.rs` says when its history ends.

mod apply;
mod place;
mod queue;
mod read;
mod schema;
mod sql;
mod start;
#[cfg(test)]
mod tests;
mod trim;
mod write;
mod writer;

use std::{path::Path, sync::Arc};

use tokio::sync::watch;

use self::{
    queue::Queue,
    sql::{Failure, Sql},
    writer::{Rules, Watchers},
};
use super::{
    bounds,
    metadata::{Commit, Direction, EngineInfo, ExpiredRecord, Head, Index, Key, LogPage, Metadata, Outcome, Range, Reading, Scope},
};
use crate::{
    clock,
    model::{error::Result, id::Namespace, time::Revision},
};

pub use trim::Limits;

/// The embedded engine. Dropping it ends its threads soon after; [`Self::close`] waits for them.
#[derive(Debug)]
pub struct Embedded {
    rules: Arc<Rules>,
    watchers: Arc<Watchers>,
    commits: Queue,
    /// `None` in memory: the one connection then serves reads between the commits.
    reads: Option<Queue>,
    /// The directory, or `memory`.
    location: String,
}

impl Embedded {
    /// Opens the store in a directory, which is made if need be.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` when another daemon uses the directory, it cannot be written to, or the store is of a newer version; `STORAGE_FULL` when its disk is full;
    /// `DATA_CORRUPT` when the file there is damaged or is not ours. All name the directory.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self> {
        start::open(dir, limits)
    }

    /// A store in memory. Its contents and its history end with it.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system gives no random numbers or no thread.
    pub fn ephemeral(limits: Limits) -> Result<Self> {
        start::ephemeral(limits)
    }

    /// Finishes what was taken on and closes the files; later calls fail with `METADATA_UNAVAILABLE`.
    pub async fn close(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(reads) = &this.reads {
                reads.close();
            }
            this.commits.close();
        });
        if closing.await.is_err() {
            tracing::error!("closing the metadata store panicked");
        }
    }

    /// The plan that commits ask after every write step.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn faults(&self) -> super::faults::FaultPlan {
        self.rules.faults.clone()
    }

    /// Trims a log down to its newest `keep` entries now, as its age and number would in time.
    ///
    /// # Errors
    /// As for every write.
    #[cfg(any(test, feature = "conformance"))]
    pub async fn trim(&self, ns: &Namespace, scope: Scope, keep: u32) -> Result<()> {
        let ns = ns.clone();
        let trim = move |sql: &mut Sql<'_>| trim::down_to(sql, &ns, scope, keep);
        self.commits.run(trim).await?.map_err(|failure| failure.into_error(&self.location))
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&mut Sql<'_>) -> Result<T, Failure> + Send + 'static) -> Result<T> {
        let queue = self.reads.as_ref().unwrap_or(&self.commits);
        queue.run(|sql| sql.snapshot(work)).await?.map_err(|failure| failure.into_error(&self.location))
    }
}

#[async_trait::async_trait]
impl Metadata for Embedded {
    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        bounds::keys(keys)?;
        let (ns, keys) = (ns.clone(), keys.to_vec());
        self.read(move |sql| read::get(sql, &ns, &keys, clock::wall())).await
    }

    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        bounds::scan(index, range, limit)?;
        let (ns, index, range) = (ns.clone(), index.clone(), range.clone());
        self.read(move |sql| read::scan(sql, &ns, &index, &range, direction, rows(limit))).await
    }

    async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome> {
        bounds::commit(&commit)?;
        self.commits.commit(ns, commit).await
    }

    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>> {
        bounds::limit(limit)?;
        let ns = ns.clone();
        self.read(move |sql| read::expired(sql, &ns, rows(limit), clock::wall())).await
    }

    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        bounds::limit(limit)?;
        let (ns, rules) = (ns.clone(), Arc::clone(&self.rules));
        self.read(move |sql| read::events(sql, &ns, scope, after, rows(limit), &rules.history)).await
    }

    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head> {
        let (ns, rules) = (ns.clone(), Arc::clone(&self.rules));
        self.read(move |sql| read::head(sql, &ns, scope, &rules.history)).await
    }

    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>> {
        let receiver = self.watchers.subscribe(ns);
        let ns_read = ns.clone();
        let space = self.read(move |sql| read::space(sql, &ns_read)).await?;
        self.watchers.start(ns, space.map_or(Revision::ZERO, |space| space.revision));
        Ok(receiver)
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.read(read::namespaces).await
    }

    async fn probe(&self) -> Result<EngineInfo> {
        self.read(|sql| sql.one("SELECT count(*) FROM engine", [], |row| row.get::<_, i64>(0))).await?;
        let durable = self.reads.is_some();
        let warnings = if durable { Vec::new() } else { vec!["All sessions live in memory and end with the daemon.".to_owned()] };
        Ok(EngineInfo { engine: if durable { "sqlite" } else { "memory" }, location: self.location.clone(), exclusive: true, warnings })
    }
}

/// A page's length as SQLite takes it; the bounds keep it small.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
