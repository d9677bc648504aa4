//! Moving the head: one object, created, and one transaction.
//!
//! A lineage's commits, saves and restores alike, take numbered *slots*. The session's record holds `slot_floor`: slots up to it are used up. The next commit pack is created in slot `floor + 1`, and
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

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{
    FaultPoint, Profiles, Saved, SnapshotView,
    head::{could_follow, floor_txn, head_txn, next_slot},
    save::{missing_result, uploaded},
    seal::Draft,
    spill::Spilled,
    step::{Claim, Makes, Moved, Placed, Step},
};
use crate::{
    flow::{
        pause::between_tries,
        sessions::{Loaded, record_key},
    },
    model::{
        error::{Error, Reason, Result},
        id::SnapshotId,
        pack::{Header, PackName, void_name, void_object},
        snapshot::{record_key as snapshot_key, upload_key},
        time::Revision,
    },
    store::{
        blobs::Put,
        metadata::{Applied, Commit, Found, Key, Outcome, Record},
    },
};

/// How often a head is tried to be moved when others keep being faster.
const ATTEMPTS: u32 = 16;
/// Longest pause between the first two tries; it doubles with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What a step did, as its record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// What it made the head.
    pub(super) id: SnapshotId,
    /// Of a restore: the head before.
    pub(super) former: Option<SnapshotId>,
    /// The revision of its commit.
    pub(super) revision: Revision,
}

/// What there is to know before a step, in one reading.
struct Standing {
    session: Option<Loaded>,
    /// What the step made, if it was committed.
    done: Option<Done>,
    /// The record of the snapshot that shall be the head.
    target: Option<Record>,
}

impl Profiles {
    /// Commits a save. Removes the data packs that turn out to be of no use.
    pub(super) async fn commit_save(self: &Arc<Self>, draft: Draft, spilled: Spilled) -> Result<Saved> {
        let this = Arc::clone(self);
        let commit = async move {
            let draft = Arc::new(draft);
            let committed = this.commit(&draft).await;
            let useless = match &committed {
                Ok(moved) => !moved.ours,
                Err(error) => removes_packs(error.reason()),
            };
            if useless {
                this.discard(&draft.claim.lineage, spilled).await;
            }
            committed.map(|moved| Saved { view: moved.view })
        };
        self.to_end(commit).await
    }

    /// Runs a commit in a task of its own, so that a caller who goes away does not stop it halfway.
    pub(super) async fn to_end<T: Send + 'static>(&self, commit: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        // The caller may be gone; what was committed stays.
        let commit = async move { drop(answer.send(commit.await)) };
        self.tasks.spawn(commit.in_current_span());
        answered.await.map_err(|_| Error::new(Reason::ShuttingDown, "the daemon stopped before the change was committed: send it again"))?
    }

    /// Moves the head.
    pub(super) async fn commit<S: Step>(&self, step: &Arc<S>) -> Result<Moved> {
        let claim = step.claim();
        let mut placed: Option<Placed> = None;
        for attempt in 0..ATTEMPTS {
            let standing = self.standing(claim).await?;
            if let Some(moved) = done(&**step, &standing)? {
                return Ok(moved);
            }
            let found = match step.check_target(standing.target.as_ref()).and_then(|()| claim.check(standing.session)) {
                Ok(found) => found,
                Err(error) => return self.refuse(&**step, placed, error).await,
            };
            let slot = next_slot(&found.session);
            if let Some(passed) = placed.take_if(|placed| placed.slot != slot) {
                self.write_void(claim, passed.slot, &passed.header).await?;
            }
            if placed.is_none() {
                placed = self.take_slot(step, &found, slot).await?;
            }
            if let Some(ready) = &placed {
                let prepared = head_txn(&found, ready, claim.lease_token)?;
                if let Outcome::Applied(applied) = self.metadata.commit(&claim.lineage.namespace, Commit::from(prepared.txn)).await? {
                    self.faults.at(FaultPoint::AfterCommit).await?;
                    return self.committed(claim, placed, &applied);
                }
            }
            between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
        }
        let message = format!("other writers of session {} were faster {ATTEMPTS} times in a row: repeat the call", claim.session);
        self.refuse(&**step, placed, Error::new(Reason::Contention, message)).await
    }

    async fn standing(&self, claim: &Claim) -> Result<Standing> {
        let keys = [record_key(&claim.session), Key(upload_key(&claim.session, &claim.upload)), Key(snapshot_key(claim.lineage.id, claim.id))];
        let reading = self.metadata.get(&claim.lineage.namespace, &keys).await?;
        let mut found = reading.found.into_iter();
        let session = Loaded::from_found(&claim.session, found.next().unwrap_or(Found::Absent), reading.now)?;
        let done = uploaded(claim.lineage.id, found.next())?;
        Ok(Standing { session, done, target: found.next().and_then(Found::live) })
    }

    /// Creates the step's pack in a slot. Nothing when the slot was taken by another: then everything has to be looked at anew.
    async fn take_slot<S: Step>(&self, step: &Arc<S>, found: &Loaded, slot: u64) -> Result<Option<Placed>> {
        let (work, before, lineage) = (Arc::clone(step), found.clone(), &step.claim().lineage);
        let sealed = self.workers.run(move || work.seal(&before, slot)).await?;
        self.faults.at(FaultPoint::BeforePut).await?;
        let name = PackName::Commit(slot).object(lineage.id);
        let put = self.blobs.put_new(&name, sealed.object);
        let put = if found.session.head.is_none() {
            // Before the head moves, the key that opens it is in the bucket too.
            let publish = self.keyring.publish(&lineage.namespace, lineage.id);
            tokio::try_join!(put, publish)?.0
        } else {
            put.await?
        };
        if put == Put::Created {
            self.faults.at(FaultPoint::AfterPut).await?;
            return Ok(Some(sealed.placed));
        }
        self.settle_slot(&**step, found, slot, &sealed.placed.header).await
    }

    /// Deals with a slot that is taken; see the module's text. `mine` is the header that was refused.
    async fn settle_slot<S: Step>(&self, step: &S, found: &Loaded, slot: u64, mine: &Header) -> Result<Option<Placed>> {
        let claim = step.claim();
        let occupant = match self.occupant(&claim.lineage, slot).await {
            Ok(occupant) => occupant,
            Err(error) if error.reason() == Reason::DataCorrupt => {
                tracing::warn!(lineage = %claim.lineage.id, slot, ?error, "a slot holds no usable pack and is passed over");
                self.pass_over(claim, found, slot, mine).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if occupant.header.upload == claim.upload.as_str() {
            return if occupant.id == claim.id { Ok(Some(occupant)) } else { Err(step.reused()) };
        }
        if !could_follow(&occupant.header, found)? {
            self.pass_over(claim, found, slot, &occupant.header).await?;
            return Ok(None);
        }
        tracing::info!(lineage = %claim.lineage.id, slot, "rolling a dead writer's commit forward");
        let prepared = head_txn(found, &occupant, 0)?;
        if let Outcome::Applied(applied) = self.metadata.commit(&claim.lineage.namespace, Commit::from(prepared.txn)).await? {
            self.sessions.changed(&claim.lineage.namespace, &claim.session, applied.revision);
        }
        Ok(None)
    }

    /// Moves the floor to a slot, then says so in the bucket. If the record has changed, nothing happens, and everything has to be looked at anew.
    async fn pass_over(&self, claim: &Claim, found: &Loaded, slot: u64, header: &Header) -> Result<()> {
        if self.move_floor(claim, found, slot).await? {
            self.faults.at(FaultPoint::AfterFloor).await?;
            self.write_void(claim, slot, header).await?;
        }
        Ok(())
    }

    async fn move_floor(&self, claim: &Claim, found: &Loaded, slot: u64) -> Result<bool> {
        match self.metadata.commit(&claim.lineage.namespace, Commit::from(floor_txn(found, slot)?)).await? {
            Outcome::Applied(applied) => {
                self.sessions.changed(&claim.lineage.namespace, &claim.session, applied.revision);
                Ok(true)
            }
            Outcome::Refused(_) => Ok(false),
        }
    }

    /// Only for a slot at or below the floor.
    async fn write_void(&self, claim: &Claim, slot: u64, header: &Header) -> Result<()> {
        self.blobs.put_new(&void_name(claim.lineage.id, slot), void_object(header)?.into()).await.map(drop)
    }

    /// Refuses a step for good: a pack that is in the bucket already is made void before. If it turns out to be committed after all, it is no refusal.
    async fn refuse<S: Step>(&self, step: &S, placed: Option<Placed>, error: Error) -> Result<Moved> {
        let Some(placed) = placed else { return Err(error) };
        let claim = step.claim();
        for attempt in 0..ATTEMPTS {
            let standing = self.standing(claim).await?;
            if let Some(moved) = done(step, &standing)? {
                return Ok(moved);
            }
            // A purged session takes its lineage and the lineage's key with it.
            let Some(found) = standing.session.filter(|found| found.session.lineage == claim.lineage.id.to_string()) else { return Err(error) };
            if next_slot(&found.session) > placed.slot || self.move_floor(claim, &found, placed.slot).await? {
                self.faults.at(FaultPoint::AfterFloor).await?;
                self.write_void(claim, placed.slot, &placed.header).await?;
                return Err(error);
            }
            between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
        }
        let message = format!("session {} changes so fast that the change could neither be committed nor withdrawn: look what became of it", claim.session);
        Err(Error::new(Reason::Contention, message).with_source(error))
    }

    fn committed(&self, claim: &Claim, placed: Option<Placed>, applied: &Applied) -> Result<Moved> {
        let placed = placed.ok_or_else(|| Error::new(Reason::Internal, "a commit without a pack was applied"))?;
        self.sessions.changed(&claim.lineage.namespace, &claim.session, applied.revision);
        let (ours, former) = (placed.stored.is_some(), placed.header.parent_id());
        if let Some(stored) = placed.stored {
            self.manifests.keep(claim.lineage.id, placed.id, placed.slot, stored);
        }
        let (created_at, revision) = (applied.now, applied.revision);
        let view = match placed.makes {
            Makes::New(snapshot) => SnapshotView { id: placed.id, snapshot, created_at, revision, head: true, pinned_at: None, deleted_at: None },
            Makes::Again(view) => SnapshotView { head: true, ..view },
        };
        Ok(Moved { view, former, revision, ours })
    }
}

/// The answer of a step that was made already: by an earlier attempt, or rolled forward by somebody else.
fn done<S: Step>(step: &S, standing: &Standing) -> Result<Option<Moved>> {
    let (Some(done), Some(session)) = (&standing.done, &standing.session) else { return Ok(None) };
    if done.id != step.claim().id {
        return Err(step.reused());
    }
    let record = standing.target.as_ref().ok_or_else(|| missing_result(done.id))?;
    let view = SnapshotView::new(done.id, record, session)?;
    Ok(Some(Moved { view, former: done.former, revision: done.revision, ours: false }))
}

/// Whether the data packs of a save that failed like this go at once: the same save can never succeed, or their bytes are what the store misses. Else a repetition, or
/// whoever rolls the commit forward, may still need them.
fn removes_packs(reason: Reason) -> bool {
    use Reason as R;
    let may_succeed = [R::Contention, R::MetadataUnavailable, R::BlobsUnavailable, R::Overloaded, R::ShuttingDown, R::Deadline, R::Internal];
    !may_succeed.contains(&reason)
}
