//! The newest entries of a log in memory, and who waits for what. Pure bookkeeping under the feed's lock.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::Notify;

use super::{Matched, ResetReason};
use crate::{
    model::{
        error::Result,
        event::{self, Change},
        selector::{Selectors, Term},
        time::{History, Revision},
    },
    store::metadata::{Head, LogPage},
};

/// Most entries kept in memory …
const MAX_ENTRIES: usize = 8192;
/// … and most bytes of their payloads.
const MAX_BYTES: usize = 4 << 20;
/// Most changes of one batch …
pub(super) const BATCH_CHANGES: usize = 512;
/// … and most bytes of them, before the last revision is added.
const BATCH_BYTES: usize = 256 << 10;

struct Entry {
    revision: Revision,
    changes: Vec<Change>,
    bytes: usize,
}

/// A registered subscriber.
struct Waiter {
    selectors: Arc<Selectors>,
    /// The first matching revision that it has not taken yet: all that is remembered of what happened since, however long it sleeps.
    pending: Option<Revision>,
    wake: Arc<Notify>,
}

/// What a live subscriber finds.
pub(super) enum Taken {
    /// Changes; the subscriber now stands at the last one's revision, or further.
    Changes(Vec<Matched>, Revision),
    /// Nothing up to this revision.
    Nothing(Revision),
    /// The first matching revision is no longer in memory: read the store from just before it.
    Behind(Revision),
    /// The log was broken off since the subscriber's epoch.
    Broken(ResetReason),
}

/// See the module's text.
pub(super) struct Ring {
    pub(super) history: History,
    /// Counts how often the log was broken off; a subscriber of an older epoch has missed something.
    pub(super) epoch: u64,
    broken_by: ResetReason,
    started: bool,
    /// Everything up to here is known.
    pub(super) through: Revision,
    /// The newest entry known; the next one must name it.
    last: Revision,
    /// Every entry after this is in `entries`.
    pub(super) floor: Revision,
    entries: VecDeque<Entry>,
    bytes: usize,
    waiters: HashMap<u64, Waiter>,
    by_term: HashMap<Term, BTreeSet<u64>>,
    next_id: u64,
    /// No more subscribers are taken.
    pub(super) closed: bool,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            history: History::default(),
            epoch: 0,
            broken_by: ResetReason::Gap,
            started: false,
            through: Revision::ZERO,
            last: Revision::ZERO,
            floor: Revision::ZERO,
            entries: VecDeque::new(),
            bytes: 0,
            waiters: HashMap::new(),
            by_term: HashMap::new(),
            next_id: 0,
            closed: false,
        }
    }

    /// The first look: what is already there is nobody's news.
    pub(super) fn start_at(&mut self, head: Head) {
        if !self.started {
            self.started = true;
            (self.history, self.through, self.last, self.floor) = (head.history, head.revision, head.last, head.revision);
        }
    }

    /// Takes in a page that was read after [`Self::through`]. Says whether there may be more to read.
    pub(super) fn apply(&mut self, page: LogPage, limit: usize) -> Result<bool> {
        let head = page.head;
        // A namespace that nobody has written to has no history yet; its first one continues from nothing.
        let first_ever = self.history.0.is_empty() && self.through == Revision::ZERO;
        if (head.history != self.history && !first_ever) || head.revision < self.through {
            self.break_off(ResetReason::HistoryChanged, head.history, head.revision, head.last);
            return Ok(false);
        }
        self.history = head.history;
        let unbroken = page.entries.iter().try_fold(self.last, |last, entry| (entry.previous == last).then_some(entry.revision));
        let full = page.entries.len() >= limit;
        if unbroken.is_none_or(|last| !full && last != head.last) {
            self.break_off(ResetReason::Gap, self.history.clone(), head.revision, head.last);
            return Ok(false);
        }
        for entry in page.entries {
            let changes = match event::decode(&entry.payload) {
                Ok(changes) => changes,
                Err(error) => {
                    self.break_off(ResetReason::Gap, self.history.clone(), head.revision, head.last);
                    return Err(error);
                }
            };
            self.announce(entry.revision, &changes);
            self.push(Entry { revision: entry.revision, changes, bytes: entry.payload.len() });
        }
        self.through = if full { self.last } else { head.revision };
        Ok(full)
    }

    /// Starts over at a position: whoever subscribed before is told.
    fn break_off(&mut self, reason: ResetReason, history: History, revision: Revision, last: Revision) {
        self.epoch += 1;
        self.broken_by = reason;
        self.entries.clear();
        self.bytes = 0;
        (self.history, self.through, self.floor, self.last) = (history, revision, revision, last);
        for waiter in self.waiters.values_mut() {
            waiter.pending = None;
            waiter.wake.notify_one();
        }
    }

    fn announce(&mut self, revision: Revision, changes: &[Change]) {
        for change in changes {
            for term in Term::of(change) {
                for id in self.by_term.get(&term).into_iter().flatten() {
                    if let Some(waiter) = self.waiters.get_mut(id)
                        && waiter.pending.is_none()
                        && waiter.selectors.matches(change)
                    {
                        waiter.pending = Some(revision);
                        waiter.wake.notify_one();
                    }
                }
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        self.last = entry.revision;
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.floor = oldest.revision;
        }
    }

    /// Registers a subscriber; it is live from [`Self::go_live`] on. `None` when the feed has ended.
    pub(super) fn register(&mut self, selectors: &Arc<Selectors>, wake: &Arc<Notify>) -> Option<u64> {
        if self.closed {
            return None;
        }
        self.next_id += 1;
        let id = self.next_id;
        for term in selectors.terms() {
            self.by_term.entry(term).or_default().insert(id);
        }
        self.waiters.insert(id, Waiter { selectors: Arc::clone(selectors), pending: None, wake: Arc::clone(wake) });
        Some(id)
    }

    pub(super) fn unregister(&mut self, id: u64) {
        let Some(waiter) = self.waiters.remove(&id) else { return };
        for term in waiter.selectors.terms() {
            if let Some(ids) = self.by_term.get_mut(&term) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_term.remove(&term);
                }
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Makes a subscriber that has read everything up to `at` live, if the memory reaches back so far.
    pub(super) fn go_live(&mut self, id: u64, at: Revision) -> bool {
        if at < self.floor {
            return false;
        }
        let Some(waiter) = self.waiters.get_mut(&id) else { return false };
        let from = self.entries.partition_point(|entry| entry.revision <= at);
        let matching = |entry: &&Entry| entry.changes.iter().any(|change| waiter.selectors.matches(change));
        waiter.pending = self.entries.range(from..).find(matching).map(|entry| entry.revision);
        true
    }

    /// What a live subscriber that stands at `at` in `epoch` has to hear next.
    pub(super) fn take(&mut self, id: u64, epoch: u64, at: Revision) -> Taken {
        if epoch != self.epoch {
            return Taken::Broken(self.broken_by);
        }
        let Some(waiter) = self.waiters.get_mut(&id) else { return Taken::Nothing(at) };
        let Some(first) = waiter.pending.take() else { return Taken::Nothing(at.max(self.through)) };
        if first <= self.floor {
            return Taken::Behind(Revision(first.0 - 1).max(at));
        }
        let from = self.entries.partition_point(|entry| entry.revision < first || entry.revision <= at);
        let mut batch = BatchBuilder::default();
        for entry in self.entries.range(from..) {
            if batch.is_full() {
                waiter.pending = Some(entry.revision);
                return Taken::Changes(batch.matched, batch.through);
            }
            batch.add(entry.revision, &entry.changes, entry.bytes, &waiter.selectors);
        }
        if batch.matched.is_empty() { Taken::Nothing(at.max(self.through)) } else { Taken::Changes(batch.matched, at.max(self.through)) }
    }
}

/// Collects matching changes up to the bounds of a batch, never splitting a revision.
#[derive(Default)]
pub(super) struct BatchBuilder {
    pub(super) matched: Vec<Matched>,
    /// The last revision looked at.
    pub(super) through: Revision,
    count: usize,
    bytes: usize,
}

impl BatchBuilder {
    pub(super) fn is_full(&self) -> bool {
        self.count >= BATCH_CHANGES || self.bytes >= BATCH_BYTES
    }

    pub(super) fn add(&mut self, revision: Revision, changes: &[Change], bytes: usize, selectors: &Selectors) {
        self.through = revision;
        let changes: Vec<_> = changes.iter().filter(|change| selectors.matches(change)).cloned().collect();
        if !changes.is_empty() {
            self.count += changes.len();
            self.bytes += bytes;
            self.matched.push(Matched { revision, changes });
        }
    }
}
