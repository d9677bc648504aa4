//! The thread that writes: it takes what is queued, applies it in one SQLite transaction, makes that durable with one sync, and only then answers and wakes watchers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tokio::sync::watch;

use super::{
    apply,
    place::Place,
    queue::{Job, Writing},
    schema,
    sql::{Failure, Sql},
    trim::{self, Left, Limits},
};
use crate::{
    clock,
    model::{
        error::Result,
        id::Namespace,
        time::{History, Revision},
    },
    store::metadata::Outcome,
};

/// Most commits of one batch.
const BATCH: usize = 256;
/// How long commits may wait for readers so that the write-ahead log can start over.
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// What holds for every commit while the store is open.
#[derive(Debug)]
pub(super) struct Rules {
    /// The history that revisions belong to.
    pub(super) history: History,
    /// The first revision of this history.
    pub(super) floor: Revision,
    #[cfg(any(test, feature = "conformance"))]
    pub(super) faults: crate::store::faults::FaultPlan,
}

impl Rules {
    /// A step is done after which a crash must lose all of the transaction or nothing.
    #[cfg(any(test, feature = "conformance"))]
    pub(super) fn step(&self) -> Result<(), Failure> {
        if self.faults.step() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// A step is done after which a crash must lose all of the transaction or nothing.
    #[cfg(not(any(test, feature = "conformance")))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the tests' build fails here when it is told to")]
    pub(super) fn step(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Who waits for commits, by namespace.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<HashMap<Namespace, watch::Sender<Revision>>>);

impl Watchers {
    /// A receiver that wakes after the next commit.
    pub(super) fn subscribe(&self, ns: &Namespace) -> watch::Receiver<Revision> {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders.entry(ns.clone()).or_insert_with(|| watch::channel(Revision::ZERO).0).subscribe()
    }

    /// Shows new receivers where the namespace stands, without waking anybody.
    pub(super) fn start(&self, ns: &Namespace, revision: Revision) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(ns) {
            sender.send_if_modified(|seen| {
                *seen = revision.max(*seen);
                false
            });
        }
    }

    /// Tells the watchers of a namespace what was committed, and forgets it when there are none.
    pub(super) fn wake(&self, ns: &Namespace, revision: Revision) {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = senders.get(ns) else { return };
        if sender.is_closed() {
            senders.remove(ns);
            return;
        }
        sender.send_if_modified(|seen| {
            let newer = revision > *seen;
            *seen = revision.max(*seen);
            newer
        });
    }
}

/// Everything the writing thread owns besides its connection.
pub(super) struct Writer {
    pub(super) rules: Arc<Rules>,
    pub(super) watchers: Arc<Watchers>,
    /// `None`: in memory.
    pub(super) place: Option<Place>,
    pub(super) location: String,
    pub(super) limits: Limits,
    /// Batches committed so far.
    pub(super) batches: i64,
}

impl Writer {
    /// Runs until the queue ends. The directory's lock goes last.
    pub(super) fn run(mut self, connection: Connection, queue: &Receiver<Job>) {
        let mut sql = Sql::new(&connection);
        let mut cleaned = clock::monotonic();
        loop {
            match queue.recv_timeout(self.limits.every) {
                Ok(job) => {
                    if !self.serve(&mut sql, job, queue) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.keep_house(&mut sql, &mut cleaned);
        }
        drop(sql);
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "closing the metadata store failed; nothing is lost");
        }
        if let Some(place) = self.place.take() {
            place.unlock();
        }
    }

    /// Serves a job and the commits queued behind it. Says whether to go on.
    fn serve(&mut self, sql: &mut Sql<'_>, first: Job, queue: &Receiver<Job>) -> bool {
        let mut commits = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Commit(commit) => commits.push(*commit),
                other => {
                    self.batch(sql, std::mem::take(&mut commits));
                    match other {
                        Job::Read(read) => read(sql),
                        Job::Commit(_) | Job::Stop => return false,
                    }
                }
            }
            next = if commits.len() < BATCH { queue.try_recv().ok() } else { None };
        }
        self.batch(sql, commits);
        true
    }

    /// Commits together. When there is no room for all, each is tried alone, so that one that is too large does not fail the others.
    fn batch(&mut self, sql: &mut Sql<'_>, commits: Vec<Writing>) {
        match self.together(sql, &commits) {
            Ok(results) => self.answer(commits, results),
            Err(failure) if failure.is_full() && commits.len() > 1 => {
                for commit in commits {
                    self.batch(sql, vec![commit]);
                }
            }
            Err(failure) => {
                let results = commits.iter().map(|_| Err(failure.again())).collect();
                self.answer(commits, results);
            }
        }
    }

    fn answer(&self, commits: Vec<Writing>, results: Vec<Result<Outcome, Failure>>) {
        for (commit, result) in commits.iter().zip(&results) {
            if let Ok(Outcome::Applied(applied)) = result {
                self.watchers.wake(&commit.ns, applied.revision);
            }
        }
        for (commit, result) in commits.into_iter().zip(results) {
            let _ = commit.answer.send(result.map_err(|failure| failure.into_error(&self.location)));
        }
    }

    fn together(&mut self, sql: &mut Sql<'_>, commits: &[Writing]) -> Result<Vec<Result<Outcome, Failure>>, Failure> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        sql.run("BEGIN IMMEDIATE", [])?;
        let result = self.inside(sql, commits);
        if !sql.is_idle() {
            sql.run("ROLLBACK", [])?;
        }
        result
    }

    fn inside(&mut self, sql: &mut Sql<'_>, commits: &[Writing]) -> Result<Vec<Result<Outcome, Failure>>, Failure> {
        let mut results = Vec::with_capacity(commits.len());
        for commit in commits {
            results.push(self.one(sql, commit)?);
        }
        if !results.iter().any(|result| matches!(result, Ok(Outcome::Applied(applied)) if !applied.replayed)) {
            return Ok(results);
        }
        if self.place.is_some() {
            sql.run("UPDATE engine SET value = ?1 WHERE name = 'batches'", params![(self.batches + 1).to_string()])?;
        }
        self.rules.step()?;
        sql.run("COMMIT", [])?;
        self.batches += 1;
        self.acknowledge();
        if self.rules.step().is_err() {
            // Durable, but nobody hears of it: as if the process had died here.
            for result in &mut results {
                *result = Err(Failure::Interrupted);
            }
        }
        Ok(results)
    }

    /// One commit of a batch. The inner failure is its own, the outer one that of the whole batch: SQLite has then rolled all of it back.
    fn one(&self, sql: &mut Sql<'_>, commit: &Writing) -> Result<Result<Outcome, Failure>, Failure> {
        sql.run("SAVEPOINT one", [])?;
        let result = apply::commit(sql, &self.rules, &commit.ns, &commit.commit, clock::wall());
        if result.is_err() {
            if sql.is_idle() {
                return Err(result.err().unwrap_or(Failure::Interrupted));
            }
            sql.run("ROLLBACK TO one", [])?;
        }
        sql.run("RELEASE one", [])?;
        Ok(result)
    }

    fn acknowledge(&self) {
        if let Some(Err(error)) = self.place.as_ref().map(|place| place.acknowledge(self.batches)) {
            tracing::warn!(%error, "metadata.mark cannot be written; a loss of acknowledged changes may go unnoticed at the next start");
        }
    }

    /// Removes what is outdated, a bounded piece at a time.
    fn keep_house(&self, sql: &mut Sql<'_>, cleaned: &mut Instant) {
        if clock::monotonic().duration_since(*cleaned) < self.limits.every {
            return;
        }
        let done = trim::trim(sql, &self.limits, clock::wall()).and_then(|left| self.shorten_log(sql).map(|()| left));
        match done {
            Ok(Left::More) => {}
            Ok(Left::Nothing) => *cleaned = clock::monotonic(),
            Err(failure) => {
                *cleaned = clock::monotonic();
                tracing::warn!(?failure, "outdated metadata cannot be removed now; the next attempt comes soon");
            }
        }
    }

    /// SQLite starts its write-ahead log over only at a moment without readers, which a busy daemon may never have by itself; so a long log makes them wait, for a short while.
    fn shorten_log(&self, sql: &mut Sql<'_>) -> Result<(), Failure> {
        if self.place.as_ref().is_none_or(|place| place.log_len() <= u64::from(schema::LOG_KEPT)) {
            return Ok(());
        }
        sql.patience(SHORT_WAIT)?;
        let result = sql.one("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        sql.patience(schema::BUSY)?;
        result.map(|_| ())
    }
}
