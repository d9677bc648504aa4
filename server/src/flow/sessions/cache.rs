//! The daemon's own copies of session records, kept right by the log of changes: this cache is a subscriber like any other.
//!
//! Whoever follows a namespace's log tells the cache of every change ([`SessionCache::apply`]), of every hole ([`SessionCache::reset`]), and up to where it has read
//! ([`SessionCache::verified_through`], several times in two seconds). A copy is served only while all of this holds:
//! - the log was read to its end within the last two seconds;
//! - no change of that session came since the copy was read;
//! - the copy is not past its expiry, and at most one second old. Touches write no event, so `last_use_time` and `expire_time` may lag by that much when another
//!   daemon made them; everything else is exact.
//!
//! While nobody follows a namespace, nothing of it is kept or served.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::sync::Cache;

use super::load::Loaded;
use crate::{
    clock,
    model::{
        event::Change,
        id::{Namespace, SessionId},
        time::Revision,
    },
};

/// How long a copy may be served.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How long ago the log must have been read to its end.
const VERIFIED: Duration = Duration::from_secs(2);
/// Most copies: about 2 KiB each.
const ENTRIES: u64 = 20_000;

/// Shares of a namespace's sessions: what changes in one does not keep readings of the others from being copied.
const SHARES: usize = 256;
/// Most namespaces that wait to be followed.
const WANTED: usize = 1_000;

/// Copies of session records.
#[derive(Debug)]
pub struct SessionCache {
    entries: Cache<(Namespace, String), Entry>,
    followed: Mutex<Followed>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone, Debug)]
struct Entry {
    session: Loaded,
    /// The namespace's revision when it was read.
    revision: Revision,
    /// When that reading began: from before the store looked at its clock, so that no delay on the way makes the copy younger than it is.
    read: Instant,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Followed {
    namespaces: HashMap<Namespace, Progress>,
    /// The newest epoch given; no number is given twice.
    epoch: u64,
    /// Namespaces that were asked for and that nobody follows.
    wanted: HashSet<Namespace>,
}

/// How far a namespace's log was followed.
#[derive(Debug)]
struct Progress {
    /// By share of the sessions: the newest change known, from the log or made here. A reading from before it may miss it.
    floors: Vec<Revision>,
    /// Up to where the log was read, and when.
    verified: (Revision, Instant),
    /// Copies of another epoch are void.
    epoch: u64,
    /// When a copy was asked for last.
    asked: Instant,
}

impl Default for SessionCache {
    fn default() -> Self {
        Self {
            entries: Cache::builder().max_capacity(ENTRIES).time_to_live(MAX_AGE).build(),
            followed: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }
}

impl SessionCache {
    /// These changes were made by the transaction of this revision.
    pub fn apply(&self, namespace: &Namespace, revision: Revision, changes: &[Change]) {
        if let Some(progress) = self.followed().namespaces.get_mut(namespace) {
            for change in changes {
                progress.raise(&change.session, revision);
                let key = (namespace.clone(), change.session.clone());
                // A copy of the change itself was kept when it was made here.
                if self.entries.get(&key).is_some_and(|entry| entry.revision < revision) {
                    self.entries.invalidate(&key);
                }
            }
        }
    }

    /// Changes may have been missed, or nobody follows the namespace any more: all its copies are void until [`Self::verified_through`] is called again.
    pub fn reset(&self, namespace: &Namespace) {
        self.followed().namespaces.remove(namespace);
    }

    /// Every change up to this revision was applied, and there was no other when the log was read to its end, at `read` or later.
    pub fn verified_through(&self, namespace: &Namespace, revision: Revision, read: Instant) {
        let verified = (revision, read);
        let mut followed = self.followed();
        if let Some(progress) = followed.namespaces.get_mut(namespace) {
            progress.verified = verified;
            return;
        }
        followed.epoch += 1;
        let epoch = followed.epoch;
        followed.namespaces.insert(namespace.clone(), Progress { floors: vec![revision; SHARES], verified, epoch, asked: clock::monotonic() });
    }

    /// Namespaces that were asked for since the last call and that nobody follows.
    #[must_use]
    pub fn wanted(&self) -> Vec<Namespace> {
        self.followed().wanted.drain().collect()
    }

    /// Whether nobody has asked for anything of a followed namespace for so long.
    #[must_use]
    pub fn is_idle(&self, namespace: &Namespace, idle: Duration) -> bool {
        self.followed().namespaces.get(namespace).is_none_or(|progress| progress.asked.elapsed() >= idle)
    }

    /// This daemon wrote the session itself, touches included.
    pub(super) fn wrote(&self, namespace: &Namespace, id: &SessionId, revision: Revision) {
        if let Some(progress) = self.followed().namespaces.get_mut(namespace) {
            progress.raise(id.as_str(), revision);
            self.entries.invalidate(&(namespace.clone(), id.to_string()));
        }
    }

    /// This daemon changed the session to this, by a change that began then. Times that others moved since then may be missing in it, so its age counts from there.
    pub(super) fn put(&self, namespace: &Namespace, session: &Loaded, began: Instant) {
        let mut followed = self.followed();
        let Some(progress) = followed.namespaces.get_mut(namespace) else { return };
        progress.raise(session.id.as_str(), session.revision);
        let key = (namespace.clone(), session.id.to_string());
        if session.check_live().is_ok() && session.revision >= *progress.floor(session.id.as_str()) {
            self.entries.insert(key, Entry { session: session.clone(), revision: session.revision, read: began, epoch: progress.epoch });
        } else {
            self.entries.invalidate(&key);
        }
    }

    /// Keeps what a reading that began then found when the namespace stood at `revision`, unless a change came since.
    pub(super) fn keep(&self, namespace: &Namespace, session: &Loaded, revision: Revision, began: Instant) {
        // The lock is held over the insertion: a change applied after the check also finds the copy.
        let mut followed = self.followed();
        let Some(progress) = followed.namespaces.get_mut(namespace) else { return };
        if revision >= *progress.floor(session.id.as_str()) {
            let entry = Entry { session: session.clone(), revision, read: began, epoch: progress.epoch };
            self.entries.insert((namespace.clone(), session.id.to_string()), entry);
        }
    }

    /// A copy that is as good as a reading at the answered revision, read at `min_revision` or later.
    pub(super) fn get(&self, namespace: &Namespace, id: &SessionId, min_revision: Revision) -> Option<(Loaded, Revision)> {
        // Not what it reflects: a touch that made `min_revision` is in no log, so only a reading from then or later has it for sure.
        let found = self.find(namespace, id).filter(|(entry, _)| entry.revision >= min_revision).map(|(entry, reflects)| (entry.session, reflects));
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// A copy to try a change of.
    pub(super) fn copy(&self, namespace: &Namespace, id: &SessionId) -> Option<Loaded> {
        self.find(namespace, id).map(|(entry, _)| entry.session)
    }

    /// How many readings were answered from copies, and how many were not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// A copy that may be served, and the revision that it reflects as far as the log goes.
    fn find(&self, namespace: &Namespace, id: &SessionId) -> Option<(Entry, Revision)> {
        // The lock is held over the look-up: what is found was not voided by a change within `verified`.
        let mut followed = self.followed();
        let Some(progress) = followed.namespaces.get_mut(namespace) else {
            if followed.wanted.len() < WANTED {
                followed.wanted.insert(namespace.clone());
            }
            return None;
        };
        progress.asked = clock::monotonic();
        let entry = self.entries.get(&(namespace.clone(), id.to_string()))?;
        let (age, (verified, at)) = (entry.read.elapsed(), progress.verified);
        let reflects = entry.revision.max(verified);
        let alive = entry.session.expires_at.is_none_or(|expiry| entry.session.now.after(age) < expiry);
        let right = entry.epoch == progress.epoch && at.elapsed() < VERIFIED && age < MAX_AGE;
        (right && alive).then_some((entry, reflects))
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn floor(&mut self, session: &str) -> &mut Revision {
        // FNV-1a: any even spread will do.
        let hash = session.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        &mut self.floors[hash as usize % SHARES]
    }

    fn raise(&mut self, session: &str, revision: Revision) {
        let floor = self.floor(session);
        *floor = revision.max(*floor);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{
        session::{Session, State, TtlMode},
        time::Micros,
    };

    fn session(expires_in: Duration) -> Loaded {
        let session = Session {
            business: "acme".to_owned(),
            email: None,
            state: State::Active,
            state_reason: String::new(),
            revive_to: None,
            labels: BTreeMap::new(),
            ttl_micros: 60_000_000,
            ttl_mode: TtlMode::Sliding,
            lineage: "0".repeat(32),
            head: None,
            sequence: 0,
            slot_floor: 0,
        };
        let now = Micros(1_000_000);
        let id = SessionId::parse("id", "a").unwrap();
        Loaded { id, session, revision: Revision(5), marks: BTreeMap::new(), expires_at: Some(now.after(expires_in)), expired: false, now }
    }

    fn change() -> Change {
        Change { session: "a".to_owned(), ..Change::default() }
    }

    /// A cache that follows the namespace up to revision 10.
    fn followed() -> (SessionCache, Namespace, Loaded) {
        let (cache, namespace) = (SessionCache::default(), Namespace::default());
        cache.verified_through(&namespace, Revision(10), clock::monotonic());
        (cache, namespace, session(Duration::from_mins(1)))
    }

    #[test]
    fn a_copy_is_served_with_the_revision_that_the_log_was_read_to() {
        let (cache, namespace, session) = followed();
        cache.keep(&namespace, &session, Revision(10), clock::monotonic());
        assert_eq!(cache.get(&namespace, &session.id, Revision::ZERO).unwrap().1, Revision(10));
        cache.verified_through(&namespace, Revision(12), clock::monotonic());
        assert_eq!(cache.get(&namespace, &session.id, Revision(10)).unwrap().1, Revision(12));
        assert!(cache.get(&namespace, &session.id, Revision(11)).is_none(), "a touch may have made revision 11");
    }

    #[test]
    fn a_change_voids_the_copy_and_a_slow_reading_does_not_bring_it_back() {
        let (cache, namespace, session) = followed();
        cache.keep(&namespace, &session, Revision(10), clock::monotonic());
        cache.apply(&namespace, Revision(11), &[change()]);
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none());
        cache.keep(&namespace, &session, Revision(10), clock::monotonic());
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none(), "it was read before the change");
        cache.keep(&namespace, &session, Revision(11), clock::monotonic());
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_some());
        cache.wrote(&namespace, &session.id, Revision(12));
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none());
    }

    #[test]
    fn changes_of_other_sessions_do_not_keep_a_reading_out() {
        let (cache, namespace, session) = followed();
        cache.apply(&namespace, Revision(11), &[Change { session: "b".to_owned(), ..Change::default() }]);
        cache.keep(&namespace, &session, Revision(10), clock::monotonic());
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_some());
    }

    #[test]
    fn what_was_written_here_is_served_unless_something_newer_is_known() {
        let (cache, namespace, session) = followed();
        let written = |revision| Loaded { revision: Revision(revision), ..session.clone() };
        cache.put(&namespace, &written(12), clock::monotonic());
        cache.apply(&namespace, Revision(12), &[change()]);
        assert_eq!(cache.get(&namespace, &session.id, Revision(12)).unwrap().0.revision, Revision(12), "its own event does not void it");
        cache.apply(&namespace, Revision(14), &[change()]);
        cache.put(&namespace, &written(13), clock::monotonic());
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none(), "another daemon was faster");
        cache.put(&namespace, &Loaded { expired: true, ..written(15) }, clock::monotonic());
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none(), "hidden ones are not kept");
        let old = clock::monotonic().checked_sub(MAX_AGE).unwrap();
        cache.put(&namespace, &written(16), old);
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none(), "its age counts from when the change began");
    }

    #[test]
    fn nothing_is_served_after_a_reset_or_while_nobody_follows() {
        let (cache, namespace, session) = followed();
        cache.keep(&namespace, &session, Revision(10), clock::monotonic());
        cache.reset(&namespace);
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none());
        cache.keep(&namespace, &session, Revision(10), clock::monotonic());
        cache.verified_through(&namespace, Revision(10), clock::monotonic());
        assert!(cache.get(&namespace, &session.id, Revision::ZERO).is_none(), "copies from before the reset stay void");
    }

    #[test]
    fn nothing_is_served_two_seconds_after_the_log_was_read_whenever_that_was_told() {
        let (cache, namespace, session) = followed();
        let now = clock::monotonic();
        for (ago, served) in [(VERIFIED * 3 / 4, true), (VERIFIED, false)] {
            cache.verified_through(&namespace, Revision(10), now.checked_sub(ago).unwrap());
            cache.keep(&namespace, &session, Revision(10), clock::monotonic());
            assert_eq!(cache.get(&namespace, &session.id, Revision::ZERO).is_some(), served, "{ago:?} ago");
        }
    }

    #[test]
    fn a_copy_past_its_expiry_or_its_age_is_not_served() {
        let (cache, namespace, _) = followed();
        let short = session(Duration::from_millis(30));
        cache.keep(&namespace, &short, Revision(10), clock::monotonic());
        assert!(cache.get(&namespace, &short.id, Revision::ZERO).is_some());
        std::thread::sleep(Duration::from_millis(40));
        assert!(cache.get(&namespace, &short.id, Revision::ZERO).is_none());
        let slow = clock::monotonic().checked_sub(Duration::from_millis(40)).unwrap();
        cache.keep(&namespace, &short, Revision(10), slow);
        assert!(cache.get(&namespace, &short.id, Revision::ZERO).is_none(), "the answer was under way until it was over");
        let long = session(Duration::from_mins(1));
        cache.keep(&namespace, &long, Revision(10), clock::monotonic());
        std::thread::sleep(MAX_AGE);
        assert!(cache.get(&namespace, &long.id, Revision::ZERO).is_none());
    }
}
