//! A load: planned at once, then read ahead of the caller, within bounds.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tracing::Instrument as _;

use super::{
    Lineage, Profiles, SnapshotView, Stored,
    manifests::of_snapshot,
    messages::{cut, describe},
};
use crate::{
    flow::sessions::Loaded,
    model::{
        assembly::Records,
        codec::Codec,
        diff::{FramePieces, Plan, plan},
        error::{Error, Reason, Result},
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
/// Messages that wait for the caller.
const WAITING: usize = 4;
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
    pub pieces: mpsc::Receiver<Result<LoadPiece>>,
}

/// A piece of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadPiece {
    /// Of the profile.
    Records(Records),
    /// Of the storage state.
    StorageState(Bytes),
    /// All of it was sent.
    End,
}

impl Profiles {
    /// Begins a load.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `PROFILE_EMPTY`, `SNAPSHOT_NOT_FOUND`, `REVISION_NOT_REACHED`, `KEY_UNAVAILABLE`, `DATA_CORRUPT`, and the
    /// stores' errors.
    pub async fn load(self: &Arc<Self>, request: LoadRequest) -> Result<Load> {
        let (session, _) = self.live_session(&request.namespace, &request.session, request.min_revision).await?;
        let view = self.wanted(&request.namespace, &session, request.snapshot).await?;
        let lineage = self.lineage(&request.namespace, &session).await?;
        let stored = self.manifest(&lineage, view.id, &view.snapshot).await?;
        let base = self.base(&request, &session, &lineage).await?;
        let (have, base) = base.map_or((None, None), |(id, stored)| (Some(id), Some(stored)));
        let target = Arc::clone(&stored.manifest);
        let plan = self.workers.run(move || Ok(plan(&target, base.as_ref().map(|base| &*base.manifest)))).await?;
        let (root, content) = (*stored.manifest.root(), plan.content);
        let (sender, pieces) = mpsc::channel(WAITING);
        let codec = request.accept.first().copied().unwrap_or(Codec::Raw);
        let feed = Feed { profiles: Arc::clone(self), lineage, id: view.id, codec, sender, idle: self.config.idle };
        let state = if request.with_storage_state { Some(stored) } else { None };
        self.tasks.spawn(feed.run(plan, state).in_current_span());
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
    sender: mpsc::Sender<Result<LoadPiece>>,
    idle: Duration,
}

/// The caller went away, or stood still for too long: there is nobody to tell.
struct Gone;

impl Feed {
    async fn run(self, plan: Plan, state: Option<Arc<Stored>>) {
        if let Err(error) = self.pieces(plan, state).await {
            // Whoever went away hears nothing; everybody else hears why it ended.
            let _ = timeout(self.idle, self.sender.send(Err(of_snapshot(self.id, error)))).await;
        }
    }

    async fn pieces(&self, plan: Plan, state: Option<Arc<Stored>>) -> Result<()> {
        let Plan { entries, removed, copies, frames, .. } = plan;
        let described = self.profiles.workers.run(move || Ok(describe(&entries, &removed, copies))).await?;
        for records in described {
            if self.send(LoadPiece::Records(records)).await.is_err() {
                return Ok(());
            }
        }
        let mut read = stream::iter(batches(frames)).map(|batch| self.read(batch)).buffered(AHEAD);
        while let Some(batch) = read.next().await {
            let (messages, _permit) = batch?;
            for records in messages {
                if self.send(LoadPiece::Records(records)).await.is_err() {
                    return Ok(());
                }
            }
        }
        drop(read);
        if self.state(state).await?.is_ok() {
            drop(self.send(LoadPiece::End).await);
        }
        Ok(())
    }

    /// Reads the frames of one batch and cuts them into messages.
    async fn read(&self, batch: Vec<FramePieces>) -> Result<(Vec<Records>, OwnedSemaphorePermit)> {
        let bytes: u64 = batch.iter().map(|group| 2 * u64::from(group.frame.plain)).sum();
        let permit = self.profiles.load_permit(bytes).await?;
        let frames: Vec<Arc<Frame>> = batch.iter().map(|group| Arc::clone(&group.frame)).collect();
        let codec = self.codec;
        let opened = self.profiles.frames.read(&self.lineage, FrameKind::Data, &frames, codec == Codec::Zstd).await?;
        let messages = if codec == Codec::Raw { cut(&opened, &batch, codec)? } else { self.profiles.workers.run(move || cut(&opened, &batch, codec)).await? };
        Ok((messages, permit))
    }

    async fn state(&self, stored: Option<Arc<Stored>>) -> Result<Result<(), Gone>> {
        let Some(state) = stored.and_then(|stored| stored.storage_state.clone()) else { return Ok(Ok(())) };
        let document = self.profiles.frames.one(&self.lineage, FrameKind::StorageState, &state.frame).await?;
        for start in (0..document.len()).step_by(STATE_CHUNK) {
            let chunk = document.slice(start..document.len().min(start + STATE_CHUNK));
            if self.send(LoadPiece::StorageState(chunk)).await.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }

    /// Waits for the caller, but not for one who stands still.
    async fn send(&self, piece: LoadPiece) -> Result<(), Gone> {
        match timeout(self.idle, self.sender.send(Ok(piece))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                tracing::info!(snapshot = %self.id, "a load was given up: its caller has not read for {} s", self.idle.as_secs());
                Err(Gone)
            }
        }
    }
}

impl Profiles {
    pub(super) async fn load_permit(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let most = u64::try_from(self.config.load_memory / 1024).unwrap_or(u64::MAX);
        let wanted = u32::try_from(bytes.div_ceil(1024).clamp(1, most.max(1))).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.loading).acquire_many_owned(wanted).await;
        permit.map_err(|_| Error::new(Reason::ShuttingDown, "the daemon is about to stop"))
    }
}

/// Frames that are read together: of one pack, up to [`BATCH`].
fn batches(frames: Vec<FramePieces>) -> Vec<Vec<FramePieces>> {
    let mut batches: Vec<Vec<FramePieces>> = Vec::new();
    let mut bytes = 0;
    for group in frames {
        bytes += u64::from(group.frame.plain);
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH && batch.last().is_some_and(|last| last.frame.pack == group.frame.pack) => batch.push(group),
            _ => {
                bytes = u64::from(group.frame.plain);
                batches.push(vec![group]);
            }
        }
    }
    batches
}
