//! What can be said of a snapshot after it was made: pinned, deleted, revived. Its content never changes, nor does its session.

use super::{
    Profiles, SnapshotView,
    save::{snapshot_deleted, snapshot_not_found},
};
use crate::{
    flow::{
        pause::between_tries,
        sessions::{Conditions, Fingerprint, Loaded, Op, record_key, remembered, snapshot_changed},
    },
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, SessionId, SnapshotId},
        session::mark as session_mark,
        snapshot::{Snapshot, mark, record_key as snapshot_key},
        time::{Micros, Revision},
    },
    store::metadata::{Commit, Key, Life, Number, Outcome, Require, Txn, Write},
};

/// How often a mark is tried to be set when others keep being faster.
pub(super) const ATTEMPTS: u32 = 8;
/// Longest pause between the first two tries; it doubles with each, up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);
pub(super) const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// What to say of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marking {
    /// It is to be kept, and why.
    Pin(String),
    /// It need not be kept.
    Unpin,
    /// It is hidden, and can be revived for a while.
    Delete,
    /// It is there again.
    Undelete,
}

/// A mark to be set.
#[derive(Clone, Debug)]
pub struct MarkRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The session.
    pub session: SessionId,
    /// The snapshot; none: the head.
    pub snapshot: Option<SnapshotId>,
    /// What to say of it.
    pub marking: Marking,
    /// The conditions; they are about the session.
    pub conditions: Conditions,
}

/// A mark that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The snapshot; after a repetition as it is now.
    pub view: SnapshotView,
    /// The revision of the change; when nothing had to change, the namespace's.
    pub revision: Revision,
}

impl Profiles {
    /// Sets a mark of a snapshot. One that is set already stays as it is, whatever the conditions.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `PROFILE_EMPTY`, `SNAPSHOT_NOT_FOUND`, `SNAPSHOT_DELETED`, `SNAPSHOT_HELD`, `ETAG_MISMATCH`,
    /// `LEASE_FENCED`, `REQUEST_ID_REUSED`, `CONTENTION`, and the store's errors.
    pub async fn mark(&self, wanted: &MarkRequest) -> Result<Marked> {
        let op = self.sessions.op(&wanted.namespace, wanted.conditions.request.as_ref(), || wanted.fingerprint()).await?;
        for attempt in 0..ATTEMPTS {
            let (session, revision) = self.live_session(&wanted.namespace, &wanted.session, Revision::ZERO).await?;
            let decided = self.decide(wanted, &session).await;
            if !matches!(decided, Ok((_, Some(_)))) {
                // What the first request did may be why this one is refused, or has nothing left to do.
                if let Some((revision, id)) = remembered(&*self.metadata, &wanted.namespace, op.as_ref()).await? {
                    return self.as_it_is(wanted, &session, revision, &id).await;
                }
            }
            let (view, after) = decided?;
            if after.is_none() && op.is_none() {
                return Ok(Marked { view, revision });
            }
            let txn = wanted.txn(&session, &view, after.as_ref(), op.as_ref())?;
            match self.metadata.commit(&wanted.namespace, Commit { alternatives: vec![txn], op: op.as_ref().map(Op::name) }).await? {
                Outcome::Applied(applied) if applied.replayed => {
                    let id = op.as_ref().map(|op| op.noted(&applied.note)).transpose()?.unwrap_or_default();
                    return self.as_it_is(wanted, &session, applied.revision, &id).await;
                }
                Outcome::Applied(applied) => {
                    self.sessions.changed(&wanted.namespace, &wanted.session, applied.revision);
                    let view = after.map_or_else(|| view.clone(), |after| after.view(view.clone(), applied.now));
                    return Ok(Marked { view, revision: applied.revision });
                }
                Outcome::Refused(_) => between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?,
            }
        }
        let message = format!("other writers of session {} were faster {ATTEMPTS} times in a row: repeat the call", wanted.session);
        Err(Error::new(Reason::Contention, message).with("session_id", &wanted.session))
    }

    /// The snapshot as it is, and what shall become of its marks; nothing when they are so already.
    async fn decide(&self, wanted: &MarkRequest, session: &Loaded) -> Result<(SnapshotView, Option<After>)> {
        let view = self.marked(wanted, session).await?;
        let after = After::of(&view, &wanted.marking, &session.id)?;
        if after.is_some() {
            session.check_conditions(&wanted.conditions.etag, wanted.conditions.lease_token)?;
        }
        Ok((view, after))
    }

    /// The snapshot that a mark is about, also a deleted one.
    async fn marked(&self, wanted: &MarkRequest, session: &Loaded) -> Result<SnapshotView> {
        let Some(id) = wanted.snapshot else { return self.wanted(&wanted.namespace, session, None).await };
        let found = self.snapshot(&wanted.namespace, session, id).await?;
        found.filter(|view| !view.is_gone(session.now)).ok_or_else(|| snapshot_not_found(&session.id, id))
    }

    /// The answer of a request that was carried out before, on the snapshot that was meant then: the head may be another one by now.
    async fn as_it_is(&self, wanted: &MarkRequest, session: &Loaded, revision: Revision, id: &str) -> Result<Marked> {
        let id = SnapshotId::parse("note", id)?;
        let found = self.snapshot(&wanted.namespace, session, id).await?;
        Ok(Marked { view: found.ok_or_else(|| snapshot_not_found(&session.id, id))?, revision })
    }
}

/// What shall become of a snapshot's marks: kept, set to now, or removed.
#[derive(Clone, Debug)]
struct After {
    note: String,
    pinned: Number,
    deleted: Number,
}

const NOW: Number = Number::NowPlus(std::time::Duration::ZERO);

impl After {
    fn of(view: &SnapshotView, marking: &Marking, session: &SessionId) -> Result<Option<Self>> {
        let keep = || Self { note: view.snapshot.pin_note.clone(), pinned: Number::Keep, deleted: Number::Keep };
        if let (Some(until), Marking::Pin(_) | Marking::Unpin) = (view.revivable_until(), marking) {
            return Err(snapshot_deleted(session, view.id, until));
        }
        Ok(match marking {
            Marking::Pin(note) => {
                let pinned = if view.pinned_at.is_some() { Number::Keep } else { NOW };
                let same = view.pinned_at.is_some() && *note == view.snapshot.pin_note;
                (!same).then(|| Self { note: note.clone(), pinned, ..keep() })
            }
            Marking::Unpin => view.pinned_at.is_some().then(|| Self { note: String::new(), pinned: Number::Literal(0), ..keep() }),
            Marking::Delete if view.deleted_at.is_some() => None,
            Marking::Delete if view.head => {
                let message = format!("snapshot {} is the head of session {session}: restore another one first", view.id);
                return Err(held(view.id, "head", message));
            }
            Marking::Delete if view.pinned_at.is_some() => {
                let message = format!("snapshot {} of session {session} is pinned: unpin it first", view.id);
                return Err(held(view.id, "pin", message));
            }
            Marking::Delete => Some(Self { deleted: NOW, ..keep() }),
            Marking::Undelete => view.deleted_at.is_some().then(|| Self { deleted: Number::Literal(0), ..keep() }),
        })
    }

    /// The snapshot after a change that was made at `now`.
    fn view(self, before: SnapshotView, now: Micros) -> SnapshotView {
        let when = |number: &Number, kept: Option<Micros>| match number {
            Number::Keep => kept,
            Number::Literal(_) => None,
            _ => Some(now),
        };
        let (pinned_at, deleted_at) = (when(&self.pinned, before.pinned_at), when(&self.deleted, before.deleted_at));
        SnapshotView { snapshot: Snapshot { pin_note: self.note, ..before.snapshot }, pinned_at, deleted_at, ..before }
    }
}

fn held(id: SnapshotId, by: &'static str, message: String) -> Error {
    Error::new(Reason::SnapshotHeld, message).with("snapshot_id", id).with("held_by", by)
}

impl MarkRequest {
    fn fingerprint(&self) -> Fingerprint {
        let (method, note) = match &self.marking {
            Marking::Pin(note) => ("PinSnapshot", note.as_str()),
            Marking::Unpin => ("PinSnapshot unpin", ""),
            Marking::Delete => ("DeleteSnapshot", ""),
            Marking::Undelete => ("UndeleteSnapshot", ""),
        };
        let snapshot = self.snapshot.map(|id| id.to_string()).unwrap_or_default();
        let all = Fingerprint::of(method).text(self.session.as_str()).text(snapshot).text(note);
        all.text(&self.conditions.etag).number(self.conditions.lease_token)
    }

    /// The transaction. It requires the session as it was read: so the head is not moved to a snapshot that is deleted at the same moment, nor a head deleted.
    fn txn(&self, session: &Loaded, view: &SnapshotView, after: Option<&After>, op: Option<&Op>) -> Result<Txn> {
        let own = record_key(&session.id);
        let mut txn = Txn { requires: vec![Require::At(own.clone(), session.revision)], ..Txn::default() };
        txn.note = op.map(|op| op.note_of(&view.id.to_string())).unwrap_or_default();
        let Some(After { note, pinned, deleted }) = after else { return Ok(txn) };
        if self.conditions.lease_token != 0 {
            txn.requires.push(Require::Mark(own, session_mark::FENCE.into(), self.conditions.lease_token));
        }
        let key = Key(snapshot_key(session.session.lineage_id()?, view.id));
        let moment = |at: Option<Micros>| at.map_or(0, |at| at.0);
        txn.requires.push(Require::Mark(key.clone(), mark::BORN.into(), view.revision.0));
        txn.requires.push(Require::Mark(key.clone(), mark::PINNED.into(), moment(view.pinned_at)));
        txn.requires.push(Require::Mark(key.clone(), mark::DELETED.into(), moment(view.deleted_at)));
        let snapshot = Snapshot { pin_note: note.clone(), ..view.snapshot.clone() };
        let value = serde_json::to_vec(&snapshot).map_err(|error| Error::new(Reason::Internal, "a snapshot's record cannot be written").with_source(error))?;
        let kept = [(mark::CREATED, Number::Keep), (mark::BORN, Number::Keep), (mark::PINNED, pinned.clone()), (mark::DELETED, deleted.clone())];
        let marks = kept.into_iter().map(|(name, number)| (name.into(), number)).collect();
        txn.writes.push(Write::Put { key, value: value.into(), life: Life::Forever, marks });
        txn.events.push(snapshot_changed(session, view.id));
        Ok(txn)
    }
}
