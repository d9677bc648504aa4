//! Reading manifests, and keeping those that were used last.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use moka::sync::Cache;

use super::{Lineage, Profiles, frames::batches};
use crate::model::{
    error::{Error, Result},
    id::{LineageId, SnapshotId},
    manifest::{CommitInfo, Entry, Manifest, Segment, StorageStateAt, decode_segment},
    pack::{Frame, FrameKind},
    snapshot::Snapshot,
    tree::sha256,
};

/// Unpacked bytes of the segments that are read at once.
const BATCH: u64 = 8 << 20;
/// How many such readings run at a time.
const AHEAD: usize = 4;

/// A stored profile: its manifest, and the storage state saved with it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// Where the storage state lies, if there is one.
    pub storage_state: Option<StorageStateAt>,
}

/// Manifests by their lineage, snapshot and slot.
#[derive(Debug)]
pub(super) struct Manifests {
    cache: Cache<(LineageId, SnapshotId, u64), Arc<Stored>>,
}

impl Manifests {
    pub(super) fn new(capacity: u64) -> Self {
        let weigh = |_: &(LineageId, SnapshotId, u64), stored: &Arc<Stored>| u32::try_from(stored.manifest.weight()).unwrap_or(u32::MAX);
        Self { cache: Cache::builder().weigher(weigh).max_capacity(capacity).build() }
    }

    pub(super) fn keep(&self, lineage: LineageId, id: SnapshotId, slot: u64, stored: Stored) {
        self.cache.insert((lineage, id, slot), Arc::new(stored));
    }
}

impl Profiles {
    /// The manifest of a snapshot.
    ///
    /// # Errors
    /// `DATA_CORRUPT` naming the snapshot, `BLOBS_UNAVAILABLE`.
    pub(super) async fn manifest(&self, lineage: &Lineage, id: SnapshotId, snapshot: &Snapshot) -> Result<Arc<Stored>> {
        let name = (lineage.id, id, snapshot.sequence);
        if let Some(stored) = self.manifests.cache.get(&name) {
            return Ok(stored);
        }
        let frame = Arc::new(snapshot.commit_frame(id)?);
        let read = async {
            let commit = CommitInfo::decode(&self.frames.one(lineage, FrameKind::Commit, &frame).await?)?;
            let entries = self.segments(lineage, &commit.segments).await?;
            let storage_state = commit.storage_state.clone();
            let manifest = self.workers.run(move || Manifest::read(&commit, entries)).await?;
            Ok(Arc::new(Stored { manifest: Arc::new(manifest), storage_state }))
        };
        let stored: Arc<Stored> = read.await.map_err(|error| of_snapshot(id, error))?;
        self.manifests.cache.insert(name, Arc::clone(&stored));
        Ok(stored)
    }

    /// The entries of each segment. Segments lie in many packs; each pack is read in as few requests as possible.
    async fn segments(&self, lineage: &Lineage, segments: &[Segment]) -> Result<Vec<Vec<Arc<Entry>>>> {
        let place = |frame: &Frame| (frame.pack.name.clone(), frame.index);
        let mut sorted: Vec<&Segment> = segments.iter().collect();
        sorted.sort_by_cached_key(|segment| place(&segment.frame));
        let readings = batches(sorted.iter().map(|segment| Arc::clone(&segment.frame)), BATCH, |frame| frame);
        let read = |frames: Vec<Arc<Frame>>| async move { self.frames.read(lineage, FrameKind::Segment, &frames, false).await };
        let opened: Vec<_> = stream::iter(readings).map(read).buffered(AHEAD).try_collect().await?;
        let opened: Vec<_> = opened.into_iter().flatten().collect();
        let wanted: Vec<_> = sorted.iter().map(|segment| (segment.sha256, segment.entries)).collect();
        let decode = move || {
            let mut parts = BTreeMap::new();
            for (opened, (sha, count)) in opened.into_iter().zip(wanted) {
                let fits = sha256(&opened.plain) == sha;
                let entries = decode_segment(opened.plain)?;
                if !fits || entries.len() != count as usize {
                    return Err(Error::new(crate::Reason::DataCorrupt, "a segment of a manifest is not the one that its commit names"));
                }
                parts.insert((opened.frame.pack.name.clone(), opened.frame.index), entries);
            }
            Ok(parts)
        };
        let mut parts = self.workers.run(decode).await?;
        let part = |segment: &Segment| parts.remove(&place(&segment.frame)).unwrap_or_default();
        Ok(segments.iter().map(part).collect())
    }
}

/// Names the snapshot that an error is about.
pub(super) fn of_snapshot(id: SnapshotId, error: Error) -> Error {
    if error.reason() == crate::Reason::DataCorrupt {
        let message = format!("snapshot {id} cannot be read: {}", error.message());
        return Error::new(crate::Reason::DataCorrupt, message).with("snapshot_id", id).with_source(error);
    }
    error
}
