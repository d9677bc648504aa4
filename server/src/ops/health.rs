//! Whether the stores answer: asked at most once a second, each within a deadline, however many want to know.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::KeyValue;
use serde::Serialize;
use tokio::{sync::Mutex, time::timeout};

use super::metrics::Metrics;
use crate::{
    clock,
    model::error::{Error, Reason, Result},
};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);
/// How long a store may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a store is and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFacts {
    /// `sqlite`, `memory`, `redis`, `redis-cluster`, `local` or `s3`.
    pub engine: String,
    /// Where it is, without credentials.
    pub location: String,
    /// No fail-over can undo what was acknowledged.
    pub exclusive: bool,
    /// What an operator should know or do, a sentence each.
    pub warnings: Vec<String>,
}

/// A store that can be asked how it is.
#[async_trait::async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// `metadata` or `blobs`.
    fn name(&self) -> &'static str;

    /// Reaches it.
    async fn probe(&self) -> Result<StoreFacts>;
}

/// How one store was when it was asked last.
#[derive(Clone, Debug, Serialize)]
pub struct StoreReport {
    /// `metadata` or `blobs`.
    pub name: &'static str,
    /// It answered.
    pub ok: bool,
    /// What it is; as it was known last if it does not answer.
    pub engine: String,
    /// Where it is, without credentials; as it was known last if it does not answer.
    pub location: String,
    /// No fail-over can undo what was acknowledged; as it was known last if it does not answer.
    pub exclusive: bool,
    /// What an operator should know or do, a sentence each.
    pub warnings: Vec<String>,
    /// How long the answer took, in milliseconds.
    pub millis: u64,
}

/// How all stores were when they were asked last.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// All of them answered.
    pub ready: bool,
    /// Each of them.
    pub stores: Vec<StoreReport>,
}

impl Report {
    /// How the store of this name was.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<&StoreReport> {
        self.stores.iter().find(|store| store.name == name)
    }
}

/// Asks the stores.
#[derive(Debug)]
pub struct Readiness {
    stores: Vec<Arc<dyn Store>>,
    metrics: Arc<Metrics>,
    last: Mutex<Option<(Instant, Arc<Report>)>>,
}

impl Readiness {
    /// Of these stores.
    #[must_use]
    pub fn new(stores: Vec<Arc<dyn Store>>, metrics: Arc<Metrics>) -> Self {
        Self { stores, metrics, last: Mutex::new(None) }
    }

    /// How they are now, or were within the last second. Never takes much longer than 2 s.
    pub async fn check(&self) -> Arc<Report> {
        // Whoever comes while the stores are asked waits for that answer.
        let mut last = self.last.lock().await;
        if let Some((asked, report)) = &*last
            && asked.elapsed() < FRESH
        {
            return Arc::clone(report);
        }
        let before = last.as_ref().map(|(_, report)| Arc::clone(report));
        let known = |name| before.as_ref().and_then(|report| report.store(name));
        let stores = futures::future::join_all(self.stores.iter().map(|store| ask(&**store, known(store.name())))).await;
        for store in &stores {
            self.metrics.store_up.record(u64::from(store.ok), &[KeyValue::new("store", store.name)]);
        }
        let report = Arc::new(Report { ready: stores.iter().all(|store| store.ok), stores });
        *last = Some((clock::monotonic(), Arc::clone(&report)));
        report
    }
}

async fn ask(store: &dyn Store, known: Option<&StoreReport>) -> StoreReport {
    let start = clock::monotonic();
    let silent = |_| Err(Error::new(Reason::Internal, format!("no answer within {DEADLINE:?}")));
    let answer = timeout(DEADLINE, store.probe()).await.unwrap_or_else(silent);
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let name = store.name();
    let was_ok = known.is_none_or(|known| known.ok);
    match answer {
        Ok(facts) => {
            if !was_ok {
                tracing::info!(store = name, "the store answers again");
            }
            let StoreFacts { engine, location, exclusive, warnings } = facts;
            StoreReport { name, ok: true, engine, location, exclusive, warnings, millis }
        }
        Err(error) => {
            if was_ok {
                tracing::error!(store = name, ?error, "the store does not answer");
            }
            let (engine, location, exclusive) = known.map(|known| (known.engine.clone(), known.location.clone(), known.exclusive)).unwrap_or_default();
            StoreReport { name, ok: false, engine, location, exclusive, warnings: vec![error.to_string()], millis }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Flaky {
        asked: AtomicUsize,
        hangs: bool,
    }

    #[async_trait::async_trait]
    impl Store for Flaky {
        fn name(&self) -> &'static str {
            "metadata"
        }

        async fn probe(&self) -> Result<StoreFacts> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Ok(StoreFacts { engine: "memory".to_owned(), ..StoreFacts::default() })
        }
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_probe() {
        let store = Arc::new(Flaky::default());
        let readiness = Readiness::new(vec![Arc::clone(&store) as _], Arc::new(Metrics::new().unwrap()));
        let reports = futures::future::join_all((0..50).map(|_| readiness.check())).await;
        assert!(reports.iter().all(|report| report.ready));
        assert_eq!(store.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_not_waited_for() {
        let readiness = Readiness::new(vec![Arc::new(Flaky { hangs: true, ..Flaky::default() })], Arc::new(Metrics::new().unwrap()));
        let report = timeout(2 * DEADLINE, readiness.check()).await.unwrap();
        assert!(!report.ready);
        assert!(report.store("metadata").unwrap().warnings[0].contains("no answer within 2s"));
    }
}
