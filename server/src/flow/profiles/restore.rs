//! Restores: an earlier snapshot becomes the head again. Nothing is copied: the step's pack says which snapshot, and seals the session's record as every step does.
//!
//! The session's storage state goes with the head, as it was saved with it. A snapshot that was saved without one takes away a storage state that a save or a restore had
//! brought (it lies in that snapshot, and comes back with it), and leaves one that was put by itself: that one is nowhere else. A snapshot with one replaces either.

use std::sync::Arc;

use super::{
    Lineage, Profiles, SnapshotView,
    commit::Done,
    head::{Deed, check_head, result_writes},
    marks::{ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE},
    save::{missing_result, snapshot_deleted, snapshot_not_found, uploaded},
    seal::{Sealed, header, saved_session, state_write},
    step::{Claim, Makes, Placed, Step},
};
use crate::{
    clock,
    flow::{
        pause::between_tries,
        sessions::{self, Conditions, Loaded, record_key},
    },
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, RequestId, SessionId, SnapshotId, UploadId},
        manifest::StorageStateAt,
        pack::{FrameKind, PackKind, PackWriter},
        session::REVIVABLE,
        snapshot::{mark, restore_id, upload_key},
        time::{Micros, Revision},
    },
    store::metadata::{Commit, Found, Key, Outcome, Record, Require, Txn, Write},
};

/// What to restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The session.
    pub session: SessionId,
    /// The snapshot; none: the one that the head was made from.
    pub snapshot: Option<SnapshotId>,
    /// Only if this is the head.
    pub head: Option<SnapshotId>,
    /// Its other conditions.
    pub conditions: Conditions,
}

/// A restore that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What is the head again.
    pub view: SnapshotView,
    /// The head before; the snapshot itself when nothing had to be done.
    pub former: Option<SnapshotId>,
    /// The revision of the change.
    pub revision: Revision,
    /// The session's etag after it.
    pub etag: String,
}

/// A restore that is about to be made.
struct Restore {
    claim: Claim,
    target: SnapshotView,
    state: Option<Write>,
    request: Option<RequestId>,
}

impl Profiles {
    /// Makes an earlier snapshot of a session its head again. Once begun it goes on also when the caller goes away.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `PROFILE_EMPTY`, `SNAPSHOT_NOT_FOUND`, `PARENT_NOT_HEAD`, `ETAG_MISMATCH`, `LEASE_FENCED`,
    /// `REQUEST_ID_REUSED`, `SNAPSHOT_DELETED`, `OVERLOADED`, `CONTENTION`, `KEY_UNAVAILABLE`, `DATA_CORRUPT`, and the stores' errors.
    pub async fn restore(self: &Arc<Self>, wanted: RestoreRequest) -> Result<Restored> {
        let upload = match &wanted.conditions.request {
            Some(request) => restore_id(request.as_str().as_bytes())?,
            None => restore_id(&clock::random::<16>()?)?,
        };
        for attempt in 0..ATTEMPTS {
            if let Some(restored) = self.try_restore(&wanted, &upload).await? {
                return Ok(restored);
            }
            between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
        }
        let message = format!("other writers of session {} were faster {ATTEMPTS} times in a row: repeat the call", wanted.session);
        Err(Error::new(Reason::Contention, message).with("session_id", &wanted.session))
    }

    /// Nothing when somebody else changed the session at this moment, and it is worth another try.
    async fn try_restore(self: &Arc<Self>, wanted: &RestoreRequest, upload: &UploadId) -> Result<Option<Restored>> {
        let keys = [record_key(&wanted.session), Key(upload_key(&wanted.session, upload))];
        let reading = self.metadata.get(&wanted.namespace, &keys).await?;
        let (now, mut found) = (reading.now, reading.found.into_iter());
        let session = sessions::live(&wanted.session, found.next().unwrap_or(Found::Absent), now)?;
        let lineage = self.lineage(&wanted.namespace, &session).await?;
        if let Some(done) = uploaded(lineage.id, found.next())? {
            return self.restored_before(wanted, &session, &done).await.map(Some);
        }
        session.check_conditions(&wanted.conditions.etag, wanted.conditions.lease_token)?;
        if wanted.head.is_some() {
            check_head(&session, wanted.head, Deed::Restore)?;
        }
        let head = self.wanted(&wanted.namespace, &session, None).await?;
        let target = match wanted.snapshot {
            Some(id) => self.wanted(&wanted.namespace, &session, Some(id)).await?,
            None => self.before(&wanted.namespace, &session, &head).await?,
        };
        if target.id == head.id {
            return self.stay(wanted, &session, upload, target).await;
        }
        // Also makes sure that it can be read.
        let stored = self.manifest(&lineage, target.id, &target.snapshot).await?;
        let state = self.brought(&lineage, &wanted.session, target.id, stored.storage_state.as_ref()).await?;
        let Conditions { etag, lease_token, request } = wanted.conditions.clone();
        let (session, upload) = (wanted.session.clone(), upload.clone());
        let claim = Claim { lineage, session, id: target.id, parent: Some(head.id), upload, etag, lease_token, deed: Deed::Restore };
        let (this, step) = (Arc::clone(self), Arc::new(Restore { claim, target, state, request }));
        let moved = self.to_end(async move { this.commit(&step).await }).await?;
        Ok(Some(Restored { view: moved.view, former: moved.former, revision: moved.revision, etag: moved.revision.etag() }))
    }

    /// The snapshot that another one was made from, or the one before that if it was deleted, and so on.
    async fn before(&self, namespace: &Namespace, session: &Loaded, of: &SnapshotView) -> Result<SnapshotView> {
        let mut parent = of.snapshot.parent.clone();
        while let Some(id) = parent {
            let id = SnapshotId::parse("parent", &id)?;
            let view = self.snapshot(namespace, session, id).await?.ok_or_else(|| snapshot_not_found(&session.id, id))?;
            if view.deleted_at.is_none() {
                return Ok(view);
            }
            parent = view.snapshot.parent;
        }
        let message = format!("session {} has nothing before its head {}: that was its first save, or what was before it is deleted", session.id, of.id);
        Err(Error::new(Reason::SnapshotNotFound, message).with("session_id", &session.id))
    }

    /// The answer of a restore that was made before, by an earlier attempt or by somebody who rolled it forward.
    async fn restored_before(&self, wanted: &RestoreRequest, session: &Loaded, done: &Done) -> Result<Restored> {
        if wanted.snapshot.is_some_and(|id| id != done.id) {
            return Err(reused(wanted.conditions.request.as_ref()));
        }
        let view = self.snapshot(&wanted.namespace, session, done.id).await?.ok_or_else(|| missing_result(done.id))?;
        let etag = if done.former == Some(done.id) { session.revision.etag() } else { done.revision.etag() };
        Ok(Restored { view, former: done.former, revision: done.revision, etag })
    }

    /// Nothing has to be done; but a late repetition must find that out too, whatever the head is by then.
    async fn stay(&self, wanted: &RestoreRequest, session: &Loaded, upload: &UploadId, view: SnapshotView) -> Result<Option<Restored>> {
        let stays = |revision| Restored { former: Some(view.id), view: view.clone(), revision, etag: session.revision.etag() };
        if wanted.conditions.request.is_none() {
            return Ok(Some(stays(session.revision)));
        }
        let mut txn = Txn { requires: vec![Require::At(record_key(&session.id), session.revision)], ..Txn::default() };
        result_writes(&mut txn, session, upload.as_str(), view.id, Some(view.id), session.session.slot_floor)?;
        match self.metadata.commit(&wanted.namespace, Commit::from(txn)).await? {
            Outcome::Applied(applied) => Ok(Some(stays(applied.revision))),
            Outcome::Refused(_) => Ok(None),
        }
    }

    /// The write that makes the storage state saved with a snapshot the session's; none if it was saved without one.
    pub(super) async fn brought(&self, lineage: &Lineage, session: &SessionId, id: SnapshotId, state: Option<&StorageStateAt>) -> Result<Option<Write>> {
        let Some(state) = state else { return Ok(None) };
        let wanted = u32::try_from(u64::from(state.frame.plain).div_ceil(512)).unwrap_or(u32::MAX);
        let _permit = self.loading.take(wanted, self.patience(false)).await?;
        let document = self.frames.one(lineage, FrameKind::StorageState, &state.frame).await?;
        let (lineage, session) = (lineage.clone(), session.clone());
        self.workers.run(move || state_write(&lineage, &session, id, &document)).await.map(Some)
    }
}

impl Step for Restore {
    fn claim(&self) -> &Claim {
        &self.claim
    }

    fn seal(&self, found: &Loaded, slot: u64) -> Result<Sealed> {
        let mut header = header(&self.claim, found, slot)?;
        header.set_kind(PackKind::Restore);
        header.of = self.target.snapshot.sequence;
        let mut writer = PackWriter::new(self.claim.lineage.key.secret(), &header, 4096)?;
        writer.add_packed(FrameKind::Session, &saved_session(found)?)?;
        let object = writer.finish()?;
        let makes = Makes::Again(self.target.clone());
        let (state, intent) = (self.state.clone(), None);
        Ok(Sealed { object, placed: Placed { id: self.claim.id, slot, header, makes, state, intent, stored: None } })
    }

    fn check_target(&self, record: Option<&Record>) -> Result<()> {
        let record = record.ok_or_else(|| snapshot_not_found(&self.claim.session, self.claim.id))?;
        // Whether it can still be revived was looked at before.
        match record.mark(mark::DELETED) {
            0 => Ok(()),
            at => Err(snapshot_deleted(&self.claim.session, self.claim.id, Micros(at).after(REVIVABLE))),
        }
    }

    fn reused(&self) -> Error {
        reused(self.request.as_ref())
    }
}

fn reused(request: Option<&RequestId>) -> Error {
    let shown = request.map_or("none", RequestId::as_str);
    let message = format!("request_id {shown} was used to restore another snapshot of this session: give every request its own");
    Error::new(Reason::RequestIdReused, message).with_field("request_id")
}
