//! Moving the head: one object, created, and one transaction.
//!
//! A lineage's commits take numbered *slots*. The session's record holds `slot_floor`: slots up to it are used up. The next commit pack is created in slot `floor + 1`, and
//! the transaction that makes it the head also moves the floor to it, and requires that the record is still the one in which the slot was `floor + 1`. A writer can die, or
//! stall, between the two. Whoever then finds the slot taken reads what lies there, and
//!
//! - goes on with it, if it is its own upload from before;
//! - rolls it *forward*, if it could still become the head by its own conditions (same parent, fence and etag): its writer finds that out by its upload id;
//! - else passes over it: moves the floor to the slot, then writes a *void* object beside the pack, then takes the next slot.
//!
//! **A voided slot is never a head.** The void object is written only after a transaction has moved the floor to the slot (or beyond); every transaction that would make the
//! slot's pack the head requires a record with a lower floor; floors never sink. So once the void object can be seen, no such transaction can succeed any more, however
//! long its writer slept. The same is done before a refusal is answered for a pack that is already in the bucket: nobody is told "aborted" while a roll-forward can still
//! prove that wrong.
//!
//! If a writer dies after moving the floor and before the void object, there is a dead pack without one. It is dead all the same: the next commit names the head as its parent,
//! and so shows that the slots between the two were passed over. If there is no next commit, the bucket alone cannot tell it from a commit whose transaction was lost
//! with the metadata; as nobody was told that it had failed, rebuilding may then take it as one. A rebuild has to see that the data packs of such a commit are there: those
//! of a save whose metadata found no room are gone, and their intent with them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Instrument as _;

use super::{
    Begin, FaultPoint, Lineage, Profiles, Saved, SnapshotView, Stored,
    head::{could_follow, floor_txn, head_txn, next_slot},
    intent::Intent,
    repeat::reused,
    save::{check_parent, missing_result, uploaded},
    seal::{Document, seal},
    spill::{Pending, Spilled},
};
use crate::{
    flow::{
        pause::between_tries,
        sessions::{Loaded, record_key},
    },
    model::{
        assembly::Assembled,
        error::{Error, Reason, Result},
        id::SnapshotId,
        pack::{Frame, Header, PackName, void_name, void_object},
        snapshot::{Snapshot, upload_key},
    },
    store::{
        blobs::Put,
        metadata::{Applied, Commit, Found, Key, Outcome, Write},
    },
};

/// How often a head is tried to be moved when others keep being faster.
const ATTEMPTS: u32 = 16;
/// Longest pause between the first two tries; it doubles with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A verified save, whatever slot it gets.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) begin: Begin,
    pub(super) lineage: Lineage,
    pub(super) parent: Option<Arc<Stored>>,
    pub(super) assembled: Assembled,
    /// Frames that lie in data packs already, by number.
    pub(super) placed: HashMap<u32, Arc<Frame>>,
    /// Frames for the commit pack.
    pub(super) pending: Vec<Pending>,
    pub(super) state: Option<Document>,
    pub(super) _state_permit: Option<OwnedSemaphorePermit>,
    pub(super) id: SnapshotId,
    pub(super) data_bytes: u64,
    pub(super) intent: Option<Intent>,
}

/// A commit pack in the bucket.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) id: SnapshotId,
    pub(super) slot: u64,
    pub(super) header: Header,
    pub(super) snapshot: Snapshot,
    /// The write that makes its storage state the session's.
    pub(super) state: Option<Write>,
    pub(super) intent: Option<Intent>,
    /// Its manifest, when it was written here.
    pub(super) stored: Option<Stored>,
}

impl Profiles {
    /// Commits in a task of its own, so that a caller who goes away does not stop it halfway. Removes the data packs that turn out to be of no use.
    pub(super) async fn commit_to_end(self: Arc<Self>, draft: Draft, spilled: Spilled) -> Result<Saved> {
        let (answer, answered) = oneshot::channel();
        let this = Arc::clone(&self);
        let commit = async move {
            let draft = Arc::new(draft);
            let committed = this.commit(&draft).await;
            let useless = match &committed {
                Ok((_, ours)) => !ours,
                Err(error) => removes_packs(error.reason()),
            };
            if useless {
                this.discard(&draft.lineage, spilled).await;
            }
            // The caller may be gone; what was committed stays.
            drop(answer.send(committed.map(|(saved, _)| saved)));
        };
        self.tasks.spawn(commit.in_current_span());
        answered.await.map_err(|_| Error::new(Reason::ShuttingDown, "the daemon stopped before the save was committed: send it again"))?
    }

    /// Moves the head. Also says whether this attempt's own packs are the ones that were committed.
    async fn commit(&self, draft: &Arc<Draft>) -> Result<(Saved, bool)> {
        let mut placed: Option<Placed> = None;
        for attempt in 0..ATTEMPTS {
            let (session, done) = self.standing(draft).await?;
            if let Some(saved) = self.done(draft, session.as_ref(), done).await? {
                return Ok((saved, false));
            }
            let found = match draft.check(session) {
                Ok(found) => found,
                Err(error) => return self.refuse(draft, placed, error).await.map(|saved| (saved, false)),
            };
            let slot = next_slot(&found.session);
            if let Some(passed) = placed.take_if(|placed| placed.slot != slot) {
                self.write_void(draft, passed.slot, &passed.header).await?;
            }
            if placed.is_none() {
                placed = self.take_slot(draft, &found, slot).await?;
            }
            if let Some(ready) = &placed {
                let prepared = head_txn(&found, ready, draft.begin.lease_token)?;
                if let Outcome::Applied(applied) = self.metadata.commit(&draft.lineage.namespace, Commit::from(prepared.txn)).await? {
                    self.faults.at(FaultPoint::AfterCommit).await?;
                    let ours = ready.stored.is_some();
                    return Ok((self.committed(draft, placed, &applied)?, ours));
                }
            }
            between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
        }
        let message = format!("other writers of session {} were faster {ATTEMPTS} times in a row: send the save again", draft.begin.session);
        self.refuse(draft, placed, Error::new(Reason::Contention, message)).await.map(|saved| (saved, false))
    }

    /// The session, and what the upload made if it was committed, in one reading.
    async fn standing(&self, draft: &Draft) -> Result<(Option<Loaded>, Option<SnapshotId>)> {
        let begin = &draft.begin;
        let keys = [record_key(&begin.session), Key(upload_key(&begin.session, &begin.upload))];
        let reading = self.metadata.get(&begin.namespace, &keys).await?;
        let mut found = reading.found.into_iter();
        let session = Loaded::from_found(&begin.session, found.next().unwrap_or(Found::Absent), reading.now)?;
        Ok((session, uploaded(draft.lineage.id, found.next())?))
    }

    /// The answer of a save that was committed already: by an earlier attempt, or rolled forward by somebody else.
    async fn done(&self, draft: &Draft, session: Option<&Loaded>, done: Option<SnapshotId>) -> Result<Option<Saved>> {
        let (Some(id), Some(session)) = (done, session) else { return Ok(None) };
        if id != draft.id {
            return Err(reused(&draft.begin.upload));
        }
        let view = self.snapshot(&draft.begin.namespace, session, id).await?.ok_or_else(|| missing_result(id))?;
        Ok(Some(Saved { view }))
    }

    /// Creates the commit pack in a slot. Nothing when the slot was taken by another: then everything has to be looked at anew.
    async fn take_slot(&self, draft: &Arc<Draft>, found: &Loaded, slot: u64) -> Result<Option<Placed>> {
        let (work, before) = (Arc::clone(draft), found.clone());
        let sealed = self.workers.run(move || seal(&work, &before, slot)).await?;
        self.faults.at(FaultPoint::BeforePut).await?;
        let name = PackName::Commit(slot).object(draft.lineage.id);
        let put = self.blobs.put_new(&name, sealed.object);
        let put = if found.session.head.is_none() {
            // Before the head moves, the key that opens it is in the bucket too.
            let publish = self.keyring.publish(&draft.lineage.namespace, draft.lineage.id);
            tokio::try_join!(put, publish)?.0
        } else {
            put.await?
        };
        if put == Put::Created {
            self.faults.at(FaultPoint::AfterPut).await?;
            return Ok(Some(sealed.placed));
        }
        self.settle_slot(draft, found, slot, &sealed.placed.header).await
    }

    /// Deals with a slot that is taken; see the module's text. `mine` is the header that was refused.
    async fn settle_slot(&self, draft: &Draft, found: &Loaded, slot: u64, mine: &Header) -> Result<Option<Placed>> {
        let occupant = match self.occupant(&draft.lineage, slot).await {
            Ok(occupant) => occupant,
            Err(error) if error.reason() == Reason::DataCorrupt => {
                tracing::warn!(lineage = %draft.lineage.id, slot, ?error, "a slot holds no usable pack and is passed over");
                self.pass_over(draft, found, slot, mine).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if occupant.header.upload == draft.begin.upload.as_str() {
            return if occupant.id == draft.id { Ok(Some(occupant)) } else { Err(reused(&draft.begin.upload)) };
        }
        if !could_follow(&occupant.header, found)? {
            self.pass_over(draft, found, slot, &occupant.header).await?;
            return Ok(None);
        }
        tracing::info!(lineage = %draft.lineage.id, slot, "rolling a dead writer's commit forward");
        let prepared = head_txn(found, &occupant, 0)?;
        if let Outcome::Applied(applied) = self.metadata.commit(&draft.lineage.namespace, Commit::from(prepared.txn)).await? {
            self.sessions.changed(&draft.begin.namespace, &draft.begin.session, applied.revision);
        }
        Ok(None)
    }

    /// Moves the floor to a slot, then says so in the bucket. If the record has changed, nothing happens, and everything has to be looked at anew.
    async fn pass_over(&self, draft: &Draft, found: &Loaded, slot: u64, header: &Header) -> Result<()> {
        if self.move_floor(draft, found, slot).await? {
            self.faults.at(FaultPoint::AfterFloor).await?;
            self.write_void(draft, slot, header).await?;
        }
        Ok(())
    }

    async fn move_floor(&self, draft: &Draft, found: &Loaded, slot: u64) -> Result<bool> {
        match self.metadata.commit(&draft.lineage.namespace, Commit::from(floor_txn(found, slot)?)).await? {
            Outcome::Applied(applied) => {
                self.sessions.changed(&draft.begin.namespace, &draft.begin.session, applied.revision);
                Ok(true)
            }
            Outcome::Refused(_) => Ok(false),
        }
    }

    /// Only for a slot at or below the floor.
    async fn write_void(&self, draft: &Draft, slot: u64, header: &Header) -> Result<()> {
        self.blobs.put_new(&void_name(draft.lineage.id, slot), void_object(header)?.into()).await.map(drop)
    }

    /// Refuses a save for good: a pack that is in the bucket already is made void before. If it turns out to be committed after all, it is no refusal.
    async fn refuse(&self, draft: &Draft, placed: Option<Placed>, error: Error) -> Result<Saved> {
        let Some(placed) = placed else { return Err(error) };
        for attempt in 0..ATTEMPTS {
            let (session, done) = self.standing(draft).await?;
            if let Some(saved) = self.done(draft, session.as_ref(), done).await? {
                return Ok(saved);
            }
            // A purged session takes its lineage and the lineage's key with it.
            let Some(found) = session.filter(|found| found.session.lineage == draft.lineage.id.to_string()) else { return Err(error) };
            if next_slot(&found.session) > placed.slot || self.move_floor(draft, &found, placed.slot).await? {
                self.faults.at(FaultPoint::AfterFloor).await?;
                self.write_void(draft, placed.slot, &placed.header).await?;
                return Err(error);
            }
            between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
        }
        let message = format!(
            "session {} changes so fast that the save could neither be committed nor withdrawn: ask for its status by its upload id, {}",
            draft.begin.session, draft.begin.upload
        );
        Err(Error::new(Reason::Contention, message).with_source(error))
    }

    fn committed(&self, draft: &Draft, placed: Option<Placed>, applied: &Applied) -> Result<Saved> {
        let placed = placed.ok_or_else(|| Error::new(Reason::Internal, "a commit without a pack was applied"))?;
        self.sessions.changed(&draft.begin.namespace, &draft.begin.session, applied.revision);
        if let Some(stored) = placed.stored {
            self.manifests.keep(draft.lineage.id, placed.id, placed.slot, stored);
        }
        let (created_at, revision) = (applied.now, applied.revision);
        Ok(Saved { view: SnapshotView { id: placed.id, snapshot: placed.snapshot, created_at, revision, head: true } })
    }
}

impl Draft {
    /// That the save may still become the head.
    fn check(&self, session: Option<Loaded>) -> Result<Loaded> {
        let same = |found: &Loaded| found.session.lineage == self.lineage.id.to_string();
        let found = session.filter(same).ok_or_else(|| crate::flow::sessions::not_found(&self.begin.session))?;
        found.check_live()?;
        found.check_conditions(&self.begin.etag, self.begin.lease_token)?;
        check_parent(&found, self.begin.parent)?;
        Ok(found)
    }
}

/// Whether the data packs of a save that failed like this go at once: the same save can never succeed, or their bytes are what the store misses. Else a repetition, or
/// whoever rolls the commit forward, may still need them.
fn removes_packs(reason: Reason) -> bool {
    use Reason as R;
    let may_succeed = [R::Contention, R::MetadataUnavailable, R::BlobsUnavailable, R::Overloaded, R::ShuttingDown, R::Deadline, R::Internal];
    !may_succeed.contains(&reason)
}
