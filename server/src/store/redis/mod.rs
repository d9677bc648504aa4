//! The metadata store in Redis: a single server, or a Redis Cluster.
//!
//! All keys of a namespace carry the hash tag `{<namespace>}`, so that they lie in one slot and one Lua script can change them together:
//!
//! | key                    | type   | what                                                                                     |
//! |------------------------|--------|------------------------------------------------------------------------------------------|
//! | `{ns}:m`               | hash   | `rev`, `low`, `hist`, `replid`, `last:<scope>` (see `prologue.lua`)                      |
//! | `{ns}:r:<key>`         | hash   | a record: `rev`, `v` (its value, JSON stays readable), `exp`, `sw` (1: swept), `m:<mark>` |
//! | `{ns}:x:<index>`       | zset   | an index                                                                                 |
//! | `{ns}:e`               | zset   | records that wait for the sweeper when they expire, by expiry                            |
//! | `{ns}:log:<scope>`     | stream | a log: ids `<revision>-0`, fields `p` (previous revision) and `d` (payload)              |
//! | `{ns}:o:<op>`          | string | `<which> <revision> <now> <call> <note>`, for ten minutes                                |
//! | `{ns}:n:<call>`        | string | the same for a call without an operation that a Cluster's client may repeat              |
//! | `{ns}:c:<counter>`     | string | a count                                                                                  |
//! | `{ns}:g:<meter>`       | string | the meter's theoretical arrival time in µs                                               |
//! | `{ns}:w`               | channel | a revision, after every commit; `{ns}:w:<db>` for another database than 0               |
//! | `namespaces`           | set    | every namespace, in a slot of its own                                                    |
//!
//! Commits of a namespace that wait at the same time are one call of the script, and so are its reads of single records one row of commands (see `gather.rs`).
//!
//! Each key stands behind the configured prefix. The times are the server's; the daemon's clock decides nothing.
//!
//! Where users have few rights, these are enough with the default prefix (a Cluster's user needs `+cluster|slots` as well):
//!
//! ```text
//! ACL SETUSER <user> ~cloakroom:* &cloakroom:* +@read +@write +@scripting +@pubsub +@connection +info +time +config|get
//! ```

mod breaker;
mod config;
mod connect;
mod decode;
mod encode;
mod failure;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod gather;
mod keys;
mod listen;
mod objects;
mod probe;
mod read;
mod rehearse;
mod script;
mod single;
mod wake;
mod write;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use redis::cmd;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

pub use self::config::RedisConfig;
pub(in crate::store) use self::objects::RedisObjects;
use self::{
    connect::Link,
    gather::{Gatherer, Queue, queue},
    keys::Keys,
    listen::listen,
    wake::Wake,
    write::{Writer, Writing},
};
use super::{
    bounds,
    metadata::{Commit, Direction, EngineInfo, ExpiredRecord, Head, Index, Key, LogPage, Metadata, Outcome, Range, Reading, Scope},
};
use crate::model::{error::Result, id::Namespace, time::Revision};

/// How long [`RedisStore::close`] waits for its tasks.
const CLOSING: Duration = Duration::from_secs(2);

/// The engine. It owns its background tasks, which [`Self::close`] ends; dropping it cuts them off.
pub struct RedisStore {
    link: Arc<Link>,
    writer: Arc<Writer>,
    writes: Queue<Writing, (Outcome, bool)>,
    reads: Queue<Key, Reading>,
    known: RwLock<HashMap<Namespace, Arc<Known>>>,
    wake: Arc<Wake>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    #[cfg(any(test, feature = "conformance"))]
    faults: super::faults::FaultPlan,
}

/// What this process knows of a namespace that it wrote to.
#[derive(Debug, Default)]
struct Known {
    /// The highest revision that was acknowledged to it.
    floor: AtomicI64,
    /// It is in the set of namespaces.
    entered: AtomicBool,
}

impl RedisStore {
    /// Connects, and makes sure that the server can be trusted with sessions and permits all that is needed.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming the configuration's field that is wrong; `METADATA_UNAVAILABLE` naming host and port when the server cannot be reached or must not be used, with
    /// what to do.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let link = Arc::new(Link::connect(&config).await?);
        let (wake, listener) = Wake::new();
        let keys = Keys::new(&config.prefix, link.database());
        let ((writes, commits), (reads, asked)) = (queue(&link.location, link.limit), queue(&link.location, link.limit));
        let store = Self {
            link: Arc::clone(&link),
            writer: Arc::new(Writer { link: Arc::clone(&link), keys, log_window: config.log_window, log_entries: config.log_entries }),
            writes,
            reads,
            known: RwLock::default(),
            wake: Arc::new(wake),
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
            #[cfg(any(test, feature = "conformance"))]
            faults: super::faults::FaultPlan::new(),
        };
        probe::examine(&link).await?;
        store.rehearse().await?;
        store.serve(commits, asked);
        let stop = store.stop.clone();
        store.spawn(async move { listen(&link, listener, stop).await });
        let (link, wake, stop) = (Arc::clone(&store.link), Arc::clone(&store.wake), store.stop.clone());
        store.spawn(async move { wake.poll(&link, stop).await });
        let (link, stop) = (Arc::clone(&store.link), store.stop.clone());
        store.spawn(async move { link.mend(stop).await });
        Ok(store)
    }

    /// Ends the background tasks and waits for them, at most two seconds. Nothing is to be asked of the store after that.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(CLOSING, all).await.is_err() {
            tracing::warn!(redis = %self.link.location, "tasks of the metadata store did not end in time and were cut off");
        }
        tasks.shutdown().await;
    }

    /// Starts the tasks that send what waits.
    fn serve(&self, commits: Gatherer<Writing, (Outcome, bool)>, reads: Gatherer<Key, Reading>) {
        let (writer, stop) = (Arc::clone(&self.writer), self.stop.clone());
        self.spawn(commits.serve(
            move |ns, requests| {
                let writer = Arc::clone(&writer);
                Box::pin(async move { writer.send(&ns, requests).await })
            },
            stop,
        ));
        let (link, keys, stop) = (Arc::clone(&self.link), self.keys().clone(), self.stop.clone());
        self.spawn(reads.serve(
            move |ns, requests| {
                let (link, space) = (Arc::clone(&link), keys.of(&ns));
                Box::pin(async move { read::send(&link, &space, requests).await })
            },
            stop,
        ));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// The highest revision of the namespace that was acknowledged to this process; 0 when none was.
    fn floor(&self, ns: &Namespace) -> i64 {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(ns).map_or(0, |known| known.floor.load(Ordering::Relaxed))
    }

    fn known(&self, ns: &Namespace) -> Arc<Known> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(ns) {
            return Arc::clone(known);
        }
        Arc::clone(self.known.write().unwrap_or_else(PoisonError::into_inner).entry(ns.clone()).or_default())
    }

    /// Enters the namespace into the set, before its first commit by this process.
    async fn enter(&self, ns: &Namespace, known: &Known) -> Result<()> {
        if !known.entered.load(Ordering::Relaxed) {
            let mut command = cmd("SADD");
            command.arg(self.keys().namespaces()).arg(ns.as_str());
            self.link.read(&command).await.map_err(|failure| self.link.error(failure))?;
            known.entered.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn keys(&self) -> &Keys {
        &self.writer.keys
    }

    /// The faults that tests plan. The script is one step for Redis, so there is one moment that a fault can follow: when it ran and its answer is on the way.
    #[cfg(any(test, feature = "conformance"))]
    fn fault(&self, outcome: &Outcome) -> Result<()> {
        let wrote = matches!(outcome, Outcome::Applied(applied) if !applied.replayed);
        if wrote && self.faults.step() { Err(self.link.error(failure::Failure::Late(self.link.limit))) } else { Ok(()) }
    }

    /// What a commit sends, and the shared connection of a single server: for benchmarks that compare both ways.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn raw(&self, ns: &Namespace, commit: &Commit) -> Option<(redis::Cmd, redis::aio::ConnectionManager)> {
        match &self.link.kind {
            connect::Kind::Single(single) => {
                Some((encode::commits(&self.writer.frame(&self.keys().of(ns), self.floor(ns)), [(commit, None)]), single.shared()))
            }
            connect::Kind::Cluster { .. } => None,
        }
    }

    /// The faults that tests plan.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn faults(&self) -> super::faults::FaultPlan {
        self.faults.clone()
    }
}

#[async_trait::async_trait]
impl Metadata for RedisStore {
    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        bounds::keys(keys)?;
        self.read(ns, keys).await
    }

    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        bounds::scan(index, range, limit)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.scan_index(&self.keys().of(ns), index, range, direction, limit).await
    }

    async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome> {
        bounds::commit(&commit)?;
        let known = self.known(ns);
        self.enter(ns, &known).await?;
        let (outcome, fresh) = self.apply(ns, &known, commit).await?;
        #[cfg(any(test, feature = "conformance"))]
        self.fault(&outcome)?;
        if let Outcome::Applied(applied) = &outcome {
            known.floor.fetch_max(applied.revision.0, Ordering::Relaxed);
        }
        if fresh {
            // What began a new history may have taken the set as well.
            known.entered.store(false, Ordering::Relaxed);
            self.enter(ns, &known).await?;
        }
        Ok(outcome)
    }

    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>> {
        bounds::limit(limit)?;
        self.past_expiry(&self.keys().of(ns), limit).await
    }

    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        bounds::limit(limit)?;
        self.log_page(ns, &self.keys().of(ns), scope, after, limit).await
    }

    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head> {
        self.touch(ns, &self.keys().of(ns), scope).await
    }

    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>> {
        self.wake.watch(&self.link, &self.keys().of(ns)).await
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.written_namespaces().await
    }

    async fn probe(&self) -> Result<EngineInfo> {
        probe::examine(&self.link).await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("link", &self.link).finish_non_exhaustive()
    }
}
