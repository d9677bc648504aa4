//! From a session before and after to one transaction: record, marks, life, index changes and event.

use std::{collections::BTreeSet, time::Duration};

use super::load::{Loaded, record_key};
use crate::{
    model::{
        error::{Error, Reason, Result},
        event::{self, Change, ChangeKind},
        id::{SessionId, SnapshotId},
        session::{IndexEntry, Order, REVIVABLE, Session, TtlMode, mark},
        time::Micros,
    },
    store::metadata::{Applied, Index, IndexChange, Key, Life, MarkName, Marks, Number, Require, Scope, Txn, When, Write},
};

/// What becomes of a session's storage state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateEdit {
    Kept,
    Put,
    Brought,
    Removed,
}

/// A change of a session: what it shall be, and what kind of change that is.
#[derive(Clone, Debug)]
pub struct Edit {
    after: Session,
    kind: ChangeKind,
    used: bool,
    restart: bool,
    storage_state: StateEdit,
    lease_token: i64,
    reason: String,
    snapshot: Option<SnapshotId>,
}

impl Edit {
    /// The session shall become `after`.
    #[must_use]
    pub fn new(kind: ChangeKind, after: Session) -> Self {
        Self { after, kind, used: false, restart: false, storage_state: StateEdit::Kept, lease_token: 0, reason: String::new(), snapshot: None }
    }

    /// It counts as a use: `last_use_time` and a sliding expiry move.
    #[must_use]
    pub fn used(mut self) -> Self {
        self.used = true;
        self
    }

    /// The time to live starts anew, whatever its mode: it was changed, or the session was revived.
    #[must_use]
    pub fn restarting_ttl(mut self, restart: bool) -> Self {
        self.restart = restart;
        self
    }

    /// The same transaction writes the session's storage state.
    #[must_use]
    pub fn with_storage_state(mut self) -> Self {
        self.storage_state = StateEdit::Put;
        self
    }

    /// The same transaction writes the storage state that lies in the new head.
    #[must_use]
    pub fn bringing_storage_state(mut self) -> Self {
        self.storage_state = StateEdit::Brought;
        self
    }

    /// The same transaction removes the session's storage state.
    #[must_use]
    pub fn without_storage_state(mut self) -> Self {
        self.storage_state = StateEdit::Removed;
        self
    }

    /// Written under a lease: only while its token (0: none) is the session's newest.
    #[must_use]
    pub fn under_lease(mut self, token: i64) -> Self {
        self.lease_token = token;
        self
    }

    /// Why, for those who watch.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The head that the change made, for those who watch.
    #[must_use]
    pub fn snapshot(mut self, snapshot: SnapshotId) -> Self {
        self.snapshot = Some(snapshot);
        self
    }
}

/// A transaction ready to be committed, to which others may add what belongs to it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The transaction.
    pub txn: Txn,
    /// What the session will be.
    pub pending: Pending,
}

/// A session after a transaction that is not yet committed.
#[derive(Clone, Debug)]
pub struct Pending {
    id: SessionId,
    session: Session,
    life: Life,
    marks: Vec<(MarkName, Number)>,
    before: Option<(Marks, Option<Micros>)>,
}

impl Pending {
    /// The session as the applied transaction left it, without reading it again.
    #[must_use]
    pub fn applied(self, applied: &Applied) -> Loaded {
        let (marks, expires_at) = self.before.unwrap_or_default();
        let resolve = |(name, number): (MarkName, Number)| {
            let kept = marks.get(name.as_ref()).copied().unwrap_or(0);
            let value = match number {
                Number::Literal(value) => value,
                Number::Revision => applied.revision.0,
                Number::NowPlus(duration) => applied.now.after(duration).0,
                Number::Keep | Number::MarkOf(..) => kept,
            };
            (name.into_owned(), value)
        };
        let expires_at = match self.life {
            Life::Forever => None,
            Life::Keep => expires_at,
            Life::SweptAt(When::At(at)) | Life::DroppedAt(When::At(at)) => Some(at),
            Life::SweptAt(When::In(duration)) | Life::DroppedAt(When::In(duration)) => Some(applied.now.after(duration)),
        };
        let marks = self.marks.into_iter().map(resolve).collect();
        Loaded { id: self.id, session: self.session, revision: applied.revision, marks, expires_at, expired: false, now: applied.now }
    }
}

impl Loaded {
    /// The transaction that makes this session what `edit` says, if nobody else changes it before: the record with its marks and its life, the index members that differ,
    /// and one event.
    ///
    /// # Errors
    /// `INTERNAL` when the record cannot be written as JSON.
    pub fn edit(&self, edit: Edit) -> Result<Prepared> {
        let key = record_key(&self.id);
        let unchanged = if self.expired { Require::Expired(key.clone(), self.revision) } else { Require::At(key.clone(), self.revision) };
        let mut requires = vec![unchanged];
        // No lease is granted on an expired session, so there the fence that was read still stands.
        if edit.lease_token != 0 && !self.expired {
            requires.push(Require::Mark(key.clone(), mark::FENCE.into(), edit.lease_token));
        }
        let state = match edit.storage_state {
            StateEdit::Kept => Number::Keep,
            StateEdit::Put | StateEdit::Brought => Number::Revision,
            StateEdit::Removed => Number::Literal(0),
        };
        let marks = vec![
            (mark::CREATED.into(), Number::Keep),
            (mark::BORN.into(), Number::Keep),
            (mark::UPDATED.into(), now()),
            (mark::USED.into(), if edit.used { now() } else { Number::Keep }),
            (mark::FENCE.into(), Number::Keep),
            (mark::STATE.into(), state),
            (mark::BROUGHT.into(), if edit.storage_state == StateEdit::Brought { Number::Revision } else { Number::Keep }),
        ];
        let life = life(&edit);
        let born = Number::Literal(self.mark(mark::BORN));
        let indices = index_changes(&self.id, Some(&self.session), &edit.after, edit.used, &born);
        let change = change(&self.id, Some(&self.session), &edit);
        let before = Some((self.marks.clone(), self.expires_at));
        prepare(key, requires, indices, change, Pending { id: self.id.clone(), session: edit.after, life, marks, before })
    }
}

/// The transaction that creates a session, if none of that id exists, not even a hidden one.
///
/// # Errors
/// `INTERNAL` when the record cannot be written as JSON.
pub fn create(id: &SessionId, session: Session) -> Result<Prepared> {
    let key = record_key(id);
    let marks = vec![(mark::CREATED.into(), now()), (mark::BORN.into(), Number::Revision), (mark::UPDATED.into(), now()), (mark::USED.into(), now())];
    let life = Life::SweptAt(When::In(session.ttl()));
    let indices = index_changes(id, None, &session, true, &Number::Revision);
    let edit = Edit::new(ChangeKind::SessionCreated, session);
    let change = change(id, None, &edit);
    prepare(key.clone(), vec![Require::Absent(key)], indices, change, Pending { id: id.clone(), session: edit.after, life, marks, before: None })
}

/// The transaction that removes a hidden session for good, to which the caller adds what else belongs to it.
pub(super) fn purged(found: &Loaded) -> Txn {
    let key = record_key(&found.id);
    let indices = found.session.indices(&found.id).into_iter().map(|entry| IndexChange::Remove(Index(entry.index), entry.member)).collect();
    let change = change(&found.id, Some(&found.session), &Edit::new(ChangeKind::SessionPurged, found.session.clone()));
    Txn {
        requires: vec![Require::Expired(key.clone(), found.revision)],
        writes: vec![Write::Delete(key)],
        indices,
        events: vec![(Scope::Sessions, event::encode(vec![change]).into())],
        ..Txn::default()
    }
}

/// The event that a snapshot of this session changed, and the session did not.
pub(crate) fn snapshot_changed(found: &Loaded, snapshot: SnapshotId) -> (Scope, bytes::Bytes) {
    let edit = Edit::new(ChangeKind::SnapshotChanged, found.session.clone()).snapshot(snapshot);
    (Scope::Sessions, event::encode(vec![change(&found.id, Some(&found.session), &edit)]).into())
}

fn prepare(key: Key, requires: Vec<Require>, indices: Vec<IndexChange>, change: Change, pending: Pending) -> Result<Prepared> {
    let value =
        serde_json::to_vec(&pending.session).map_err(|error| Error::new(Reason::Internal, "a session's record cannot be written").with_source(error))?;
    let put = Write::Put { key, value: value.into(), life: pending.life.clone(), marks: pending.marks.clone() };
    let events = vec![(Scope::Sessions, event::encode(vec![change]).into())];
    Ok(Prepared { txn: Txn { requires, writes: vec![put], indices, events, ..Txn::default() }, pending })
}

fn now() -> Number {
    Number::NowPlus(Duration::ZERO)
}

/// How long a session lives after a change: hidden ones as long as they can be revived; others by their time to live.
fn life(edit: &Edit) -> Life {
    let slides = edit.used && edit.after.ttl_mode == TtlMode::Sliding;
    if edit.after.state.is_hidden() {
        Life::SweptAt(When::In(REVIVABLE))
    } else if edit.restart || slides {
        Life::SweptAt(When::In(edit.after.ttl()))
    } else {
        Life::Keep
    }
}

/// What must change in the indices: they hold exactly [`Session::indices`] of the stored record, before and after.
fn index_changes(id: &SessionId, before: Option<&Session>, after: &Session, used: bool, born: &Number) -> Vec<IndexChange> {
    let entries = |session: &Session| session.indices(id).into_iter().collect::<BTreeSet<IndexEntry>>();
    let (before, after) = (before.map(entries).unwrap_or_default(), entries(after));
    let removed = before.difference(&after).map(|entry| IndexChange::Remove(Index(entry.index.clone()), entry.member.clone()));
    let added = after.iter().filter(|entry| !before.contains(entry) || (used && entry.order == Order::Used));
    let added = added.map(|entry| IndexChange::Add(Index(entry.index.clone()), entry.member.clone(), score(id, entry.order, born)));
    removed.chain(added).collect()
}

/// The score of an index member.
pub(super) fn score(id: &SessionId, order: Order, born: &Number) -> Number {
    match order {
        Order::Born => born.clone(),
        Order::Used => Number::MarkOf(record_key(id), mark::USED.into()),
        Order::Name => Number::Literal(0),
    }
}

fn change(id: &SessionId, before: Option<&Session>, edit: &Edit) -> Change {
    let hmac = |session: &Session| session.email.as_ref().map(|email| email.hmac.clone()).unwrap_or_default();
    let after = &edit.after;
    let other = |before: String, after: &str| if before == after { None } else { Some(before) };
    Change {
        kind: edit.kind.into(),
        session: id.to_string(),
        business: after.business.clone(),
        previous_business: before.and_then(|before| other(before.business.clone(), &after.business)),
        email_hmac: hmac(after),
        previous_email_hmac: before.and_then(|before| other(hmac(before), &hmac(after))),
        state: event::state_number(after.state),
        previous_state: before.filter(|before| before.state != after.state).map_or(0, |before| event::state_number(before.state)),
        snapshot: edit.snapshot.map(|snapshot| snapshot.to_string()).unwrap_or_default(),
        reason: edit.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{
        session::{SealedEmail, State},
        time::Revision,
    };

    fn session(state: State) -> Session {
        Session {
            business: "acme".to_owned(),
            email: Some(SealedEmail { hmac: "ab".to_owned(), sealed: String::new() }),
            state,
            state_reason: String::new(),
            revive_to: None,
            labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ttl_micros: 60_000_000,
            ttl_mode: TtlMode::Sliding,
            lineage: "0".repeat(32),
            head: None,
            sequence: 0,
            slot_floor: 0,
        }
    }

    fn loaded(session: Session) -> Loaded {
        let marks = BTreeMap::from([(mark::BORN.to_owned(), 3), (mark::USED.to_owned(), 40), (mark::FENCE.to_owned(), 9)]);
        let id = SessionId::parse("id", "a").unwrap();
        Loaded { id, session, revision: Revision(5), marks, expires_at: Some(Micros(100)), expired: false, now: Micros(50) }
    }

    fn applied() -> Applied {
        Applied { which: 0, revision: Revision(77), now: Micros(70), note: bytes::Bytes::new(), replayed: false }
    }

    fn names(changes: &[IndexChange]) -> Vec<String> {
        let name = |change: &IndexChange| match change {
            IndexChange::Add(index, member, number) => format!("+{} {member} {number:?}", index.0),
            IndexChange::Remove(index, member) => format!("-{} {member}", index.0),
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn only_indices_that_differ_are_written() {
        let mut after = session(State::Active);
        after.business = "other".to_owned();
        let prepared = loaded(session(State::Active)).edit(Edit::new(ChangeKind::SessionUpdated, after)).unwrap();
        let used = format!("{:?}", Number::MarkOf(Key("s/a".to_owned()), mark::USED.into()));
        assert_eq!(
            names(&prepared.txn.indices),
            [
                "-s/business/acme a".to_owned(),
                "-s/used-business/acme a".to_owned(),
                "+s/business/other a Literal(3)".to_owned(),
                format!("+s/used-business/other a {used}")
            ]
        );
    }

    #[test]
    fn a_use_moves_the_last_use_indices_and_a_sliding_expiry() {
        let edit = Edit::new(ChangeKind::StorageStatePut, session(State::Active)).used().with_storage_state();
        let prepared = loaded(session(State::Active)).edit(edit).unwrap();
        assert_eq!(prepared.txn.indices.len(), 2);
        let after = prepared.pending.applied(&applied());
        assert_eq!((after.mark(mark::USED), after.mark(mark::BORN), after.mark(mark::UPDATED), after.mark(mark::STATE)), (70, 3, 70, 77));
        assert_eq!(after.expires_at, Some(Micros(60_000_070)));
    }

    #[test]
    fn a_change_that_is_no_use_leaves_expiry_and_fence_alone_and_is_fenced_when_asked() {
        let edit = Edit::new(ChangeKind::SessionUpdated, session(State::Active)).under_lease(9);
        let prepared = loaded(session(State::Active)).edit(edit).unwrap();
        assert!(prepared.txn.requires.contains(&Require::Mark(Key("s/a".to_owned()), mark::FENCE.into(), 9)));
        let after = prepared.pending.applied(&applied());
        assert_eq!((after.expires_at, after.mark(mark::FENCE), after.mark(mark::USED)), (Some(Micros(100)), 9, 40));
    }

    #[test]
    fn hiding_removes_every_index_member_and_tells_both_states() {
        let prepared = loaded(session(State::Active)).edit(Edit::new(ChangeKind::SessionDeleted, session(State::Deleted))).unwrap();
        assert_eq!(prepared.txn.indices.len(), 8);
        assert!(names(&prepared.txn.indices).iter().all(|change| change.starts_with('-')));
        let change = event::decode(&prepared.txn.events[0].1).unwrap().remove(0);
        assert_eq!((change.previous_state, change.state), (2, 7));
        assert_eq!(prepared.pending.applied(&applied()).expires_at, Some(Micros(70).after(REVIVABLE)));
    }

    #[test]
    fn a_new_session_is_in_every_index_by_the_revision_that_made_it() {
        let prepared = create(&SessionId::parse("id", "a").unwrap(), session(State::Pending)).unwrap();
        assert_eq!(prepared.txn.requires, [Require::Absent(Key("s/a".to_owned()))]);
        assert_eq!(prepared.txn.indices.len(), 6);
        let after = prepared.pending.applied(&applied());
        assert_eq!((after.mark(mark::BORN), after.mark(mark::CREATED), after.revision), (77, 70, Revision(77)));
    }
}
