//! A revision that the store had surely reached before a reading began: what an answer made of several reads may claim to reflect.

use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::{
    clock,
    model::{id::Namespace, time::Revision},
};

/// How long a seen revision may stand for the store's: long enough that a busy daemon never asks for it, short enough that a watch from there replays next to nothing.
const FRESH: Duration = Duration::from_secs(1);
/// Most namespaces remembered.
const NAMESPACES: u64 = 10_000;

/// The newest revision seen of every namespace.
#[derive(Debug)]
pub(super) struct Floor {
    seen: Cache<Namespace, (Revision, Instant)>,
}

impl Default for Floor {
    fn default() -> Self {
        Self { seen: Cache::builder().max_capacity(NAMESPACES).time_to_live(FRESH).build() }
    }
}

impl Floor {
    /// The store has reached this revision.
    pub(super) fn saw(&self, namespace: &Namespace, revision: Revision) {
        match self.seen.get(namespace) {
            Some((newer, at)) if newer > revision && at.elapsed() < FRESH => {}
            _ => self.seen.insert(namespace.clone(), (revision, clock::monotonic())),
        }
    }

    /// A revision that the store had reached within the last second.
    pub(super) fn known(&self, namespace: &Namespace) -> Option<Revision> {
        self.seen.get(namespace).filter(|(_, at)| at.elapsed() < FRESH).map(|(revision, _)| revision)
    }
}
