//! A store whose every commit fails after each of its write steps in turn before it may succeed.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::Fixture;
use crate::{
    clock,
    model::{
        error::{Reason, Result},
        id::Namespace,
        time::Revision,
    },
    store::{
        faults::FaultPlan,
        metadata::{Commit, Direction, EngineInfo, ExpiredRecord, Head, Index, Key, LogPage, Metadata, Outcome, Range, Reading, Scope},
    },
};

/// Steps up to which every single one is failed; beyond, the gaps grow by 1/32 of the way, so that the largest transactions end too.
const EVERY_STEP: u32 = 64;
/// More steps than any transaction has.
const MOST_STEPS: u32 = 20_000;

/// A fixture under faults: each commit of a rule is tried with a fault after its first step, then after its second, and so on, always as the same operation, until it goes through.
/// What the rule asserts must hold all the same.
pub struct Faulty<'a>(&'a dyn Fixture);

impl<'a> Faulty<'a> {
    /// Puts a fixture under faults.
    #[must_use]
    pub fn new(fixture: &'a dyn Fixture) -> Self {
        Self(fixture)
    }
}

impl fmt::Debug for Faulty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait::async_trait]
impl Fixture for Faulty<'_> {
    fn store(&self) -> Arc<dyn Metadata> {
        Arc::new(FaultyStore { store: self.0.store(), faults: self.0.faults() })
    }

    async fn restart(&self) -> bool {
        self.0.restart().await
    }

    async fn trim(&self, ns: &Namespace, scope: Scope, keep: usize) {
        self.0.trim(ns, scope, keep).await;
    }

    fn faults(&self) -> FaultPlan {
        self.0.faults()
    }
}

#[derive(Debug)]
struct FaultyStore {
    store: Arc<dyn Metadata>,
    faults: FaultPlan,
}

#[async_trait::async_trait]
impl Metadata for FaultyStore {
    async fn commit(&self, ns: &Namespace, mut commit: Commit) -> Result<Outcome> {
        if commit.op.is_none() {
            commit.op = Some(format!("faulty-{:032x}", u128::from_be_bytes(clock::random()?)));
        }
        let (mut steps, mut failed) = (0, false);
        loop {
            assert!(steps < MOST_STEPS, "the commit still fails after {steps} steps");
            self.faults.fail_after(steps);
            let answer = self.store.commit(ns, commit.clone()).await;
            let _ = self.faults.clear();
            match answer {
                // A fault of another commit in the same batch looks the same, and wants the same.
                Err(error) if error.reason() == Reason::MetadataUnavailable => failed = true,
                Ok(Outcome::Applied(mut applied)) => {
                    // A fault after the last step loses only the answer; to the rule this is the first one.
                    applied.replayed &= !failed;
                    return Ok(Outcome::Applied(applied));
                }
                other => return other,
            }
            steps += if steps < EVERY_STEP { 1 } else { steps / 32 };
        }
    }

    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        self.store.get(ns, keys).await
    }

    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        self.store.scan(ns, index, range, direction, limit).await
    }

    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>> {
        self.store.expired(ns, limit).await
    }

    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        self.store.events(ns, scope, after, limit).await
    }

    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head> {
        self.store.history(ns, scope).await
    }

    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>> {
        self.store.watch(ns).await
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.store.namespaces().await
    }

    async fn probe(&self) -> Result<EngineInfo> {
        self.store.probe().await
    }
}
