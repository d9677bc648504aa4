//! A load: planned at once, then read ahead of the caller, within bounds.

use std::{sync::Arc, vec};

use futures::{StreamExt as _, stream::FuturesOrdered};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::{
    Lineage, Profiles, SnapshotView, Stored,
    frames::batches,
    manifests::of_snapshot,
    messages::{cut, describe},
    pieces::{LoadPiece, Pieces, Sender, Stop, pieces},
};
use crate::{
    flow::sessions::Loaded,
    model::{
        assembly::Records,
        codec::Codec,
        diff::{FramePieces, Plan, plan},
        error::{Reason, Result},
        id::{Namespace, SessionId, SnapshotId},
        pack::{Frame, FrameKind},
        time::Revision,
        tree::Root,
    },
};

/// Unpacked bytes of the frames that are read at once.
const BATCH: u64 = 2 << 20;
/// How many such readings run ahead.
const AHEAD: usize = 3;
/// Bytes of a storage state in one message.
const STATE_CHUNK: usize = 256 * 1024;

/// What to load.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The session.
    pub session: SessionId,
    /// The snapshot; none: the head.
    pub snapshot: Option<SnapshotId>,
    /// The snapshot that the caller has.
    pub have: Option<SnapshotId>,
    /// How data may be packed, the best first. None: raw.
    pub accept: Vec<Codec>,
    /// Also the storage state.
    pub with_storage_state: bool,
    /// Nothing older than this.
    pub min_revision: Revision,
}

/// A load that has begun.
#[derive(Debug)]
pub struct Load {
    /// The snapshot.
    pub view: SnapshotView,
    /// What the difference is against; none: the whole profile comes.
    pub base: Option<SnapshotId>,
    /// Bytes of file content that come, unpacked.
    pub content: u64,
    /// The manifest root.
    pub root: Root,
    /// What comes. After an error, or if it ends before [`LoadPiece::End`], it is incomplete.
    pub pieces: Pieces,
}

impl Profiles {
    /// Begins a load.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `PROFILE_EMPTY`, `SNAPSHOT_NOT_FOUND`, `REVISION_NOT_REACHED`, `OVERLOADED`, `KEY_UNAVAILABLE`,
    /// `DATA_CORRUPT`, and the stores' errors.
    pub async fn load(self: &Arc<Self>, request: LoadRequest) -> Result<Load> {
        let (session, _) = self.live_session(&request.namespace, &request.session, request.min_revision).await?;
        let view = self.wanted(&request.namespace, &session, request.snapshot).await?;
        let lineage = self.lineage(&request.namespace, &session).await?;
        let stored = self.manifest(&lineage, view.id, &view.snapshot).await?;
        let base = self.base(&request, &session, &lineage).await?;
        let (have, base) = base.map_or((None, None), |(id, stored)| (Some(id), Some(stored)));
        let target = Arc::clone(&stored.manifest);
        let mut plan = self.workers.run(move || Ok(plan(&target, base.as_ref().map(|base| &*base.manifest)))).await?;
        let mut batches = batches(std::mem::take(&mut plan.frames), BATCH, |group| &group.frame).into_iter();
        // Here, where a refusal is the call's first answer: its caller may simply call again.
        let first = match batches.next() {
            Some(batch) => {
                let permit = self.loading.take(memory(&batch), self.patience(false)).await?;
                Some((batch, permit))
            }
            None => None,
        };
        let (root, content) = (*stored.manifest.root(), plan.content);
        let (sender, pieces) = pieces(self.config.idle);
        let codec = request.accept.first().copied().unwrap_or(Codec::Raw);
        let feed = Feed { profiles: Arc::clone(self), lineage, id: view.id, codec, sender };
        let state = if request.with_storage_state { Some(stored) } else { None };
        self.tasks.spawn(feed.run(plan, first, batches, state).in_current_span());
        Ok(Load { view, base: have, content, root, pieces })
    }

    /// What the caller has, if that is a snapshot of this session that can still be read: else the load is a full one.
    async fn base(&self, request: &LoadRequest, session: &Loaded, lineage: &Lineage) -> Result<Option<(SnapshotId, Arc<Stored>)>> {
        let Some(id) = request.have else { return Ok(None) };
        let Some(have) = self.snapshot(&request.namespace, session, id).await? else { return Ok(None) };
        match self.manifest(lineage, id, &have.snapshot).await {
            Ok(stored) => Ok(Some((id, stored))),
            Err(error) if error.reason() == Reason::DataCorrupt => {
                tracing::error!(snapshot = %id, ?error, "a snapshot that a caller has is damaged; the wanted one is sent in full");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The task that reads ahead and feeds the caller.
struct Feed {
    profiles: Arc<Profiles>,
    lineage: Lineage,
    id: SnapshotId,
    codec: Codec,
    sender: Sender,
}

/// Frames that are read together, and the memory they need.
type Batch = (Vec<FramePieces>, OwnedSemaphorePermit);

impl Feed {
    async fn run(self, plan: Plan, first: Option<Batch>, batches: vec::IntoIter<Vec<FramePieces>>, state: Option<Arc<Stored>>) {
        if let Err(Stop::Failed(error)) = self.pieces(plan, first, batches, state).await {
            self.sender.fail(of_snapshot(self.id, error));
        }
    }

    async fn pieces(&self, plan: Plan, first: Option<Batch>, mut batches: vec::IntoIter<Vec<FramePieces>>, state: Option<Arc<Stored>>) -> Result<(), Stop> {
        let Plan { entries, removed, copies, .. } = plan;
        let described = self.profiles.workers.run(move || Ok(describe(&entries, &removed, copies))).await?;
        let mut reading: FuturesOrdered<_> = first.into_iter().map(|batch| self.read(batch)).collect();
        for records in described {
            self.sender.send(LoadPiece::Records(records)).await?;
        }
        loop {
            while reading.len() < AHEAD
                && let Some(batch) = batches.as_slice().first()
            {
                let wanted = memory(batch);
                // Whoever has to wait for memory holds none; reading further ahead is for when there is enough.
                let permit = match self.profiles.loading.try_take(wanted) {
                    Some(permit) => permit,
                    None if reading.is_empty() => self.profiles.loading.take(wanted, self.profiles.patience(true)).await?,
                    None => break,
                };
                reading.extend(batches.next().map(|batch| self.read((batch, permit))));
            }
            let Some(read) = reading.next().await else { break };
            let (messages, _permit) = read?;
            for records in messages {
                self.sender.send(LoadPiece::Records(records)).await?;
            }
        }
        self.state(state).await?;
        self.sender.send(LoadPiece::End).await
    }

    /// Reads the frames of one batch and cuts them into messages.
    async fn read(&self, (batch, permit): Batch) -> Result<(Vec<Records>, OwnedSemaphorePermit)> {
        let frames: Vec<Arc<Frame>> = batch.iter().map(|group| Arc::clone(&group.frame)).collect();
        let codec = self.codec;
        let opened = self.profiles.frames.read(&self.lineage, FrameKind::Data, &frames, codec == Codec::Zstd).await?;
        let messages = if codec == Codec::Raw { cut(&opened, &batch, codec)? } else { self.profiles.workers.run(move || cut(&opened, &batch, codec)).await? };
        Ok((messages, permit))
    }

    async fn state(&self, stored: Option<Arc<Stored>>) -> Result<(), Stop> {
        let Some(state) = stored.and_then(|stored| stored.storage_state.clone()) else { return Ok(()) };
        let wanted = u32::try_from(u64::from(state.frame.plain).div_ceil(512)).unwrap_or(u32::MAX);
        let _permit = self.profiles.loading.take(wanted, self.profiles.patience(true)).await?;
        let document = self.profiles.frames.one(&self.lineage, FrameKind::StorageState, &state.frame).await?;
        for start in (0..document.len()).step_by(STATE_CHUNK) {
            let chunk = document.slice(start..document.len().min(start + STATE_CHUNK));
            self.sender.send(LoadPiece::StorageState(chunk)).await?;
        }
        Ok(())
    }
}

/// What reading a batch takes, in KiB: its bytes packed and unpacked.
fn memory(batch: &[FramePieces]) -> u32 {
    let bytes: u64 = batch.iter().map(|group| 2 * u64::from(group.frame.plain)).sum();
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}
