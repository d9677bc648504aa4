//! A save while its stream runs: pieces are checked in order, their bytes hashed and packed on workers meanwhile, and what has piled up moves out when it is too much.
//!
//! Memory is bounded by bytes: whoever reads a message holds a permit for it before ([`Save::reserve`]), which shrinks to what is kept of it and lives as long. A save that has to
//! wait for a permit holds none: it first moves its bytes out, so that saves never wait for each other in a circle.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};

use super::{
    Lineage, Profiles, Repeat, SnapshotView, Stored,
    commit::Done,
    head::{Deed, check_head},
    seal::Draft,
    spill::{Pending, Spilled},
    step::Claim,
};
use crate::{
    flow::sessions::{self, Loaded, record_key},
    model::{
        assembly::{Assembly, Hashed, Records, Work},
        error::{Error, Reason, Result},
        id::{LineageId, Namespace, SessionId, SnapshotId, UploadId},
        portability::Portability,
        snapshot::{UploadResult, record_key as snapshot_key, snapshot_id, upload_key},
        storage_state::MAX_IN_SAVE,
        time::{Micros, Revision},
        tree::{Root, sha256},
    },
    store::metadata::{Found, Key},
};

/// What is reserved for a message: at most 1 MiB as it comes, and 960 KiB unpacked.
pub(super) const MESSAGE: u32 = 2048;
/// Messages of one save that are worked on at a time.
const IN_WORK: usize = 3;
/// Storage states up to this size need no permit.
const SMALL_STATE: usize = 1 << 20;
/// Larger ones that all saves together may hold.
pub(super) const LARGE_STATES: usize = 4;

/// What opens a save.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The namespace.
    pub namespace: Namespace,
    /// The session to save into.
    pub session: SessionId,
    /// The snapshot that the saved directory came from.
    pub parent: Option<SnapshotId>,
    /// Nothing is taken over from it.
    pub full: bool,
    /// Names the save.
    pub upload: UploadId,
    /// Only if the session still has this etag; empty for any.
    pub etag: String,
    /// The lease it is written under; 0 for none.
    pub lease_token: i64,
    /// Where the profile comes from.
    pub portability: Portability,
}

/// A committed save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The snapshot.
    pub view: SnapshotView,
}

/// A permit for the bytes of one message.
#[derive(Debug)]
pub struct Budget(pub(super) OwnedSemaphorePermit);

impl Budget {
    /// Gives back all but what is kept: the packed bytes, once as they are and once sealed.
    fn shrink(mut self, packed: usize) -> OwnedSemaphorePermit {
        let keep = (2 * packed).div_ceil(1024).min(self.0.num_permits());
        drop(self.0.split(self.0.num_permits() - keep));
        self.0
    }
}

/// What a save's first message leads to.
#[derive(Debug)]
pub enum Saving {
    /// A save.
    New(Box<Save>),
    /// This upload was committed before: the stream is only compared with it.
    Repeat(Box<Repeat>),
}

/// A save while its stream runs.
#[derive(Debug)]
pub struct Save {
    pub(super) profiles: Arc<Profiles>,
    pub(super) begin: Begin,
    pub(super) lineage: Lineage,
    parent: Option<Arc<Stored>>,
    assembly: Assembly,
    works: JoinSet<Result<(Hashed, OwnedSemaphorePermit)>>,
    pub(super) spilled: Spilled,
    state: BytesMut,
    state_seen: bool,
    state_permit: Option<OwnedSemaphorePermit>,
    /// It has had a permit before.
    midway: bool,
}

impl Profiles {
    /// Opens a save: the session must be there, its conditions hold, and its head be the parent.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `ETAG_MISMATCH`, `LEASE_FENCED`, `SNAPSHOT_NOT_FOUND`, `PARENT_NOT_HEAD`, `INVALID_FIELD`,
    /// `KEY_UNAVAILABLE`, `DATA_CORRUPT`, and the stores' errors.
    pub async fn save(self: &Arc<Self>, begin: Begin) -> Result<Saving> {
        begin.portability.check("begin.portability")?;
        let keys = [record_key(&begin.session), Key(upload_key(&begin.session, &begin.upload))];
        let reading = self.metadata.get(&begin.namespace, &keys).await?;
        let (now, mut found) = (reading.now, reading.found.into_iter());
        let session = sessions::live(&begin.session, found.next().unwrap_or(Found::Absent), now)?;
        let lineage = self.lineage(&begin.namespace, &session).await?;
        if let Some(done) = uploaded(lineage.id, found.next())? {
            let view = self.snapshot(&begin.namespace, &session, done.id).await?.ok_or_else(|| missing_result(done.id))?;
            return Ok(Saving::Repeat(Box::new(Repeat::new(lineage.id, begin.upload, view))));
        }
        session.check_conditions(&begin.etag, begin.lease_token)?;
        let parent = self.parent(&lineage, &session, begin.parent, begin.full).await?;
        let base = parent.as_ref().map(|parent| Arc::clone(&parent.manifest));
        Ok(Saving::New(Box::new(Save {
            profiles: Arc::clone(self),
            begin,
            lineage,
            parent,
            assembly: Assembly::new(base),
            works: JoinSet::new(),
            spilled: Spilled::default(),
            state: BytesMut::new(),
            state_seen: false,
            state_permit: None,
            midway: false,
        })))
    }

    /// The parent's manifest. A full save takes nothing over, so it does not read it: also a parent that is damaged can be followed by one.
    async fn parent(&self, lineage: &Lineage, session: &Loaded, parent: Option<SnapshotId>, full: bool) -> Result<Option<Arc<Stored>>> {
        let Some(id) = parent else {
            check_head(session, None, Deed::Save)?;
            return Ok(None);
        };
        let found = self.record(&lineage.namespace, Key(snapshot_key(lineage.id, id))).await?;
        let Some(record) = found else {
            let message = format!(
                "session {} has no snapshot {id}, which this save says it comes from: load the head first, or replace it on purpose (`replace` in the clients)",
                session.id
            );
            return Err(not_found(&session.id, id, message).with_field("begin.parent_snapshot_id"));
        };
        check_head(session, Some(id), Deed::Save)?;
        if full {
            return Ok(None);
        }
        let view = SnapshotView::new(id, &record, session)?;
        self.manifest(lineage, id, &view.snapshot).await.map(Some)
    }
}

/// There is no such snapshot in this session.
pub(super) fn snapshot_not_found(session: &SessionId, id: SnapshotId) -> Error {
    not_found(session, id, format!("session {session} has no snapshot {id}: list its snapshots to see those it has"))
}

fn not_found(session: &SessionId, id: SnapshotId, message: String) -> Error {
    Error::new(Reason::SnapshotNotFound, message).with("session_id", session).with("snapshot_id", id)
}

/// The snapshot was deleted, and can still be revived.
pub(super) fn snapshot_deleted(session: &SessionId, id: SnapshotId, until: Micros) -> Error {
    let message = format!("snapshot {id} of session {session} was deleted; it can be undeleted until {until}");
    Error::new(Reason::SnapshotDeleted, message).with("session_id", session).with("snapshot_id", id).with("revivable_until", until)
}

/// What an upload made, or a restore did, if it was committed in this lineage.
pub(super) fn uploaded(lineage: LineageId, found: Option<Found>) -> Result<Option<Done>> {
    let Some(record) = found.and_then(Found::live) else { return Ok(None) };
    let damaged = || Error::new(Reason::DataCorrupt, "the record of an upload's result is damaged");
    let result: UploadResult = serde_json::from_slice(&record.value).map_err(|error| damaged().with_source(error))?;
    if result.lineage != lineage.to_string() {
        return Ok(None);
    }
    let id = |text: &str| SnapshotId::parse("snapshot", text).map_err(|_| damaged());
    Ok(Some(Done { id: id(&result.snapshot)?, former: result.former.as_deref().map(id).transpose()?, revision: record.revision }))
}

pub(super) fn missing_result(id: SnapshotId) -> Error {
    Error::new(Reason::DataCorrupt, format!("an upload's snapshot {id} has no record")).with("snapshot_id", id)
}

impl Save {
    /// A permit for the next message. Take it before reading one.
    ///
    /// # Errors
    /// `OVERLOADED` when there is none for too long; what moving bytes out to make room can meet: `BLOBS_UNAVAILABLE`, `STORAGE_FULL`, the metadata's errors; what an earlier message was found to be: `DATA_INVALID`.
    pub async fn reserve(&mut self) -> Result<Budget> {
        self.absorb(IN_WORK).await?;
        let midway = std::mem::replace(&mut self.midway, true);
        if let Some(permit) = self.profiles.memory.try_take(MESSAGE) {
            return Ok(Budget(permit));
        }
        self.let_go().await?;
        self.profiles.memory.take(MESSAGE, self.profiles.patience(midway)).await.map(Budget)
    }

    /// Takes a piece of the profile.
    ///
    /// # Errors
    /// `PATH_INVALID`, `DATA_INVALID`, `LIMIT_EXCEEDED`, and what moving bytes out can meet. The save is then of no more use.
    pub async fn records(&mut self, budget: Budget, records: Records) -> Result<()> {
        let Some(work) = self.assembly.accept(records)? else { return Ok(()) };
        self.absorb(IN_WORK - 1).await?;
        let workers = self.profiles.workers.clone();
        self.works.spawn(async move {
            let hashed = workers.run(move || Work::run(work)).await?;
            let kept = budget.shrink(hashed.packed.len());
            Ok((hashed, kept))
        });
        Ok(())
    }

    /// Takes a piece of the storage state.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when it is too large, `OVERLOADED` when too many other large ones are under way for too long, and what moving bytes out can meet.
    pub async fn storage_state(&mut self, budget: Budget, chunk: Bytes) -> Result<()> {
        drop(budget);
        let size = self.state.len() + chunk.len();
        if size > MAX_IN_SAVE {
            let message = format!("the storage state has at least {size} bytes; the limit is {MAX_IN_SAVE}");
            return Err(Error::new(Reason::LimitExceeded, message).with_field("storage_state.data").with("limit", MAX_IN_SAVE));
        }
        if size > SMALL_STATE && self.state_permit.is_none() {
            self.let_go().await?;
            self.state_permit = Some(self.profiles.states.take(1, self.profiles.patience(true)).await?);
        }
        self.state.extend_from_slice(&chunk);
        self.state_seen = true;
        Ok(())
    }

    /// Ends the save: verifies the whole, writes it and moves the head. Once begun it goes on also when the caller goes away.
    ///
    /// # Errors
    /// Everything that [`Profiles::save`] says; `DIGEST_MISMATCH`, `DATA_INVALID`, `PATH_INVALID`, `LIMIT_EXCEEDED`, `STORAGE_STATE_INVALID`, `REQUEST_ID_REUSED`,
    /// `CONTENTION`.
    pub async fn end(mut self, root: Root) -> Result<Saved> {
        match self.verified(root).await {
            Ok((draft, spilled)) => self.profiles.commit_save(draft, spilled).await,
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// Removes what was written already. For saves that failed; whose caller vanished leaves it to collection.
    pub async fn give_up(mut self) {
        self.works.abort_all();
        let spilled = std::mem::take(&mut self.spilled);
        self.profiles.discard(&self.lineage, spilled).await;
    }

    async fn verified(&mut self, root: Root) -> Result<(Draft, Spilled)> {
        self.absorb(0).await?;
        self.settle_packs().await?;
        let assembly = std::mem::replace(&mut self.assembly, Assembly::new(None));
        let (state, seen) = (std::mem::take(&mut self.state).freeze(), self.state_seen);
        let work = move || {
            let assembled = assembly.finish(&root)?;
            if seen {
                crate::model::storage_state::validate(&state, MAX_IN_SAVE)?;
            }
            let sha = seen.then(|| sha256(&state));
            Ok((assembled, sha.map(|sha| (state, sha))))
        };
        let (assembled, state) = self.profiles.workers.run(work).await?;
        let id = snapshot_id(self.lineage.id, &self.begin.upload, &root, state.as_ref().map(|(_, sha)| sha));
        let Begin { session, parent, upload, etag, lease_token, portability, .. } = self.begin.clone();
        let draft = Draft {
            claim: Claim { lineage: self.lineage.clone(), session, id, parent, upload, etag, lease_token, deed: Deed::Save },
            portability,
            parent: self.parent.take(),
            assembled,
            placed: self.spilled.take_placed(),
            pending: self.spilled.take_pending(),
            state,
            _state_permit: self.state_permit.take(),
            data_bytes: self.spilled.bytes(),
            intent: self.spilled.intent(),
        };
        Ok((draft, std::mem::take(&mut self.spilled)))
    }

    /// Takes the results of finished work, until at most `left` pieces are still worked on.
    async fn absorb(&mut self, left: usize) -> Result<()> {
        while let Some(done) = if self.works.len() > left { self.works.join_next().await } else { self.works.try_join_next() } {
            let died = |error| Error::new(Reason::Internal, "a task of a save died").with_source(error);
            let (hashed, permit) = done.map_err(died)??;
            self.assembly.supply(&hashed);
            self.keep(Pending::new(hashed, permit)).await?;
        }
        Ok(())
    }

    /// Moves all bytes out of memory.
    async fn let_go(&mut self) -> Result<()> {
        self.absorb(0).await?;
        self.spill().await?;
        self.settle_packs().await
    }
}

impl Saved {
    /// The revision of the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.revision
    }
}
