//! The [model](super::model) as a store of its own: the rules are held against it too, so a rule that contradicts the model shows itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::model::Space;
use crate::{
    clock,
    model::{
        error::{Error, Reason, Result},
        id::Namespace,
        time::{History, Revision},
    },
    store::{
        bounds,
        faults::FaultPlan,
        metadata::{Commit, Direction, EngineInfo, ExpiredRecord, HISTORY_LEAP, Head, Index, Key, LogPage, Metadata, Outcome, Range, Reading, Scope},
    },
};

/// The model with a clock, a lock and a history.
#[derive(Debug)]
pub struct Reference {
    spaces: Mutex<BTreeMap<Namespace, Space>>,
    watchers: Mutex<BTreeMap<Namespace, watch::Sender<Revision>>>,
    history: History,
    floor: Revision,
    faults: FaultPlan,
}

impl Reference {
    /// An empty store with a history of its own.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system gives no random numbers.
    pub fn start(faults: FaultPlan) -> Result<Self> {
        let history = History(format!("{:032x}", u128::from_be_bytes(clock::random()?)));
        let floor = Revision(clock::wall().after(HISTORY_LEAP).0);
        Ok(Self { spaces: Mutex::default(), watchers: Mutex::default(), history, floor, faults })
    }

    /// Forgets all but the newest entries of a log.
    pub fn trim(&self, ns: &Namespace, scope: Scope, keep: usize) {
        if let Some(space) = self.spaces().get_mut(ns) {
            space.trim(scope, keep);
        }
    }

    fn spaces(&self) -> MutexGuard<'_, BTreeMap<Namespace, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, ns: &Namespace, read: impl FnOnce(&Space) -> T) -> T {
        read(self.spaces().get(ns).unwrap_or(&Space::default()))
    }

    fn head(&self, space: &Space, scope: Scope) -> Head {
        Head { history: self.history.clone(), revision: space.revision(), last: space.last(scope) }
    }

    fn fault(&self) -> Result<()> {
        if self.faults.step() { Err(Error::new(Reason::MetadataUnavailable, "the model was told to fail")) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Metadata for Reference {
    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        bounds::keys(keys)?;
        let now = clock::wall();
        Ok(self.read(ns, |space| Reading { found: keys.iter().map(|key| space.found(key, now)).collect(), revision: space.revision(), now }))
    }

    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        bounds::scan(index, range, limit)?;
        Ok(self.read(ns, |space| space.scan(index, range, direction, limit)))
    }

    async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome> {
        bounds::commit(&commit)?;
        let mut spaces = self.spaces();
        let now = clock::wall();
        let mut space = spaces.get(ns).cloned().unwrap_or_default();
        let revision = Revision((space.revision().0 + 1).max(now.0).max(self.floor.0));
        let outcome = space.commit(&commit, now, revision);
        if let Outcome::Applied(applied) = &outcome
            && !applied.replayed
        {
            self.fault()?;
            spaces.insert(ns.clone(), space);
            if let Some(watcher) = self.watchers.lock().unwrap_or_else(PoisonError::into_inner).get(ns) {
                watcher.send_replace(revision);
            }
            self.fault()?;
        }
        Ok(outcome)
    }

    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>> {
        bounds::limit(limit)?;
        Ok(self.read(ns, |space| space.expired(limit, clock::wall())))
    }

    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        bounds::limit(limit)?;
        Ok(self.read(ns, |space| LogPage { entries: space.events(scope, after, limit), head: self.head(space, scope) }))
    }

    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head> {
        Ok(self.read(ns, |space| self.head(space, scope)))
    }

    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>> {
        let revision = self.read(ns, Space::revision);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(watchers.entry(ns.clone()).or_insert_with(|| watch::channel(revision).0).subscribe())
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>> {
        Ok(self.spaces().keys().cloned().collect())
    }

    async fn probe(&self) -> Result<EngineInfo> {
        Ok(EngineInfo {
            engine: "memory",
            location: "memory".to_owned(),
            exclusive: true,
            warnings: vec!["This is the model that engines are compared with.".to_owned()],
        })
    }
}
