//! Profiles: saves, loads and snapshots, over the metadata and the blob store.
//!
//! ```text
//! save:  messages ──► assembly (rules) ──► frames (hashed, packed) ──► one commit pack ──► one transaction: the head
//!                                             └─ over 16 MiB ──► data packs, before it
//! load:  head ──► commit frame ──► manifest ──► plan (rules) ──► frames, read ahead ──► messages
//! ```

use std::{fmt, sync::Arc, time::Duration};

use super::{
    keyring::{Keyring, LineageKey},
    pressure::Pressure,
    sessions::{Loaded, Sessions},
    tasks::Tasks,
};
use crate::{
    model::{
        error::Result,
        id::{LineageId, Namespace, SnapshotId},
        session::REVIVABLE,
        snapshot::{Snapshot, mark},
        time::{Micros, Revision},
    },
    store::{
        blobs::Blobs,
        metadata::{Metadata, Record},
    },
};

mod commit;
mod diff;
mod faults;
mod frames;
mod head;
mod intent;
mod load;
mod manifests;
mod marks;
mod messages;
mod occupant;
mod pieces;
mod repeat;
mod restore;
mod save;
mod seal;
mod share;
mod snapshots;
mod spill;
mod step;
mod workers;

pub use diff::{CookieDatabase, DiffPage, DiffRequest};
#[cfg(any(test, feature = "conformance"))]
pub use faults::Held;
pub use faults::{FaultPoint, Faults};
pub use load::{Load, LoadRequest};
pub use manifests::Stored;
pub use marks::{MarkRequest, Marked, Marking};
pub use pieces::{LoadPiece, Pieces};
pub use repeat::Repeat;
pub use restore::{RestoreRequest, Restored};
pub use save::{Begin, Budget, Save, Saved, Saving};
pub use snapshots::{EntryPage, Listing, SnapshotPage, Status};

use frames::Frames;
use manifests::Manifests;
use share::Share;
use workers::Workers;

/// What saves and loads may take.
#[derive(Clone, Debug)]
pub struct ProfilesConfig {
    /// Bytes that all saves together may hold in memory.
    pub save_memory: usize,
    /// Bytes that all loads together may hold in memory.
    pub load_memory: usize,
    /// Bytes from which on a save writes data packs before its commit pack. A save of fewer bytes is one object.
    pub pack_bytes: usize,
    /// How long a peer may stand still in the middle of a stream, and how long a save or load in its middle may wait for memory.
    pub idle: Duration,
    /// How long a new save or load may wait for memory.
    pub wait: Duration,
    /// Bytes of unpacked frames that stay in memory for loads.
    pub frame_cache: u64,
    /// Bytes of manifests that stay in memory.
    pub manifest_cache: u64,
}

impl Default for ProfilesConfig {
    fn default() -> Self {
        Self {
            save_memory: 256 << 20,
            load_memory: 256 << 20,
            pack_bytes: 16 << 20,
            idle: Duration::from_mins(1),
            wait: Duration::from_secs(10),
            frame_cache: 64 << 20,
            manifest_cache: 32 << 20,
        }
    }
}

/// The operations on profiles.
pub struct Profiles {
    metadata: Arc<dyn Metadata>,
    blobs: Arc<Blobs>,
    keyring: Arc<Keyring>,
    sessions: Arc<Sessions>,
    tasks: Arc<Tasks>,
    frames: Frames,
    manifests: Manifests,
    workers: Workers,
    /// Bytes of saves in flight, in KiB.
    memory: Share,
    /// Bytes of loads in flight, in KiB.
    loading: Share,
    /// Storage states over 1 MiB in flight.
    states: Share,
    pressure: Arc<Pressure>,
    config: ProfilesConfig,
    faults: Faults,
}

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiles").field("blobs", &self.blobs).field("config", &self.config).finish_non_exhaustive()
    }
}

/// A snapshot as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotView {
    /// Its id.
    pub id: SnapshotId,
    /// What is kept of it.
    pub snapshot: Snapshot,
    /// When it was committed.
    pub created_at: Micros,
    /// The revision of its commit.
    pub revision: Revision,
    /// It is its session's head.
    pub head: bool,
    /// When it was pinned, while it is.
    pub pinned_at: Option<Micros>,
    /// When it was deleted, while it is.
    pub deleted_at: Option<Micros>,
}

impl SnapshotView {
    fn new(id: SnapshotId, record: &Record, session: &Loaded) -> Result<Self> {
        let snapshot = Snapshot::from_json(id, &record.value)?;
        let (created_at, revision) = (Micros(record.mark(mark::CREATED)), Revision(record.mark(mark::BORN)));
        let head = session.session.head_id()? == Some(id);
        let when = |name| Some(record.mark(name)).filter(|at| *at != 0).map(Micros);
        Ok(Self { id, snapshot, created_at, revision, head, pinned_at: when(mark::PINNED), deleted_at: when(mark::DELETED) })
    }

    /// Of a deleted one: until when it can be revived.
    #[must_use]
    pub fn revivable_until(&self) -> Option<Micros> {
        self.deleted_at.map(|at| at.after(REVIVABLE))
    }

    /// Whether it was deleted so long ago that not even a revival finds it.
    fn is_gone(&self, now: Micros) -> bool {
        self.revivable_until().is_some_and(|until| until <= now)
    }
}

/// A lineage with its key: what it takes to read and write its packs.
#[derive(Clone, Debug)]
struct Lineage {
    namespace: Namespace,
    id: LineageId,
    key: Arc<LineageKey>,
}

impl Profiles {
    /// The operations on the profiles of these stores. `tasks` finishes commits whose callers went away.
    #[must_use]
    pub fn new(
        metadata: Arc<dyn Metadata>,
        blobs: Arc<Blobs>,
        keyring: Arc<Keyring>,
        sessions: Arc<Sessions>,
        tasks: Arc<Tasks>,
        config: ProfilesConfig,
    ) -> Arc<Self> {
        let workers = Workers::new();
        let frames = Frames::new(Arc::clone(&blobs), workers.clone(), config.frame_cache);
        let (manifests, faults) = (Manifests::new(config.manifest_cache), Faults::default());
        let pressure = Arc::new(Pressure::new(config.wait));
        let share = |what, most| Share::new(what, most, Arc::clone(&pressure));
        let memory = share("memory for saves (limits.save_memory)", (config.save_memory / 1024).max(2 * save::MESSAGE as usize));
        let loading = share("memory for loads (limits.load_memory)", config.load_memory / 1024);
        let states = share("place for a storage state over 1 MiB", save::LARGE_STATES);
        Arc::new(Self { metadata, blobs, keyring, sessions, tasks, frames, manifests, workers, memory, loading, states, pressure, config, faults })
    }

    /// Whether saves and loads are short of memory: what makes idle ones give way.
    #[must_use]
    pub fn pressure(&self) -> Arc<Pressure> {
        Arc::clone(&self.pressure)
    }

    /// How long to wait for memory: in the middle of a transfer longer, for more is lost if it is refused there.
    fn patience(&self, midway: bool) -> Duration {
        if midway { self.config.idle.max(self.config.wait) } else { self.config.wait }
    }

    /// How long a peer may stand still in the middle of a stream.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.config.idle
    }

    /// Where tests make commits fail.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    async fn lineage(&self, namespace: &Namespace, session: &Loaded) -> Result<Lineage> {
        let id = session.session.lineage_id()?;
        Ok(Lineage { namespace: namespace.clone(), id, key: self.keyring.lineage(namespace, id).await? })
    }
}

#[cfg(test)]
pub(crate) mod tests;
