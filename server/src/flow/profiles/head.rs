//! The transactions that move a session's head or its slot floor; see [`super::commit`] for when.

use std::time::Duration;

use serde::Serialize;

use super::step::{Makes, Placed};
use crate::{
    flow::sessions::{Edit, Loaded, Prepared, record_key, state_key},
    model::{
        error::{Error, Reason, Result},
        event::ChangeKind,
        id::SnapshotId,
        pack::Header,
        session::{Session, mark},
        snapshot::{self, UploadResult, index_name, record_key as snapshot_key, restores_name},
    },
    store::metadata::{Index, IndexChange, Key, Life, MarkName, Number, Require, Txn, Write},
};

/// The slot of a session's next commit.
pub(super) fn next_slot(session: &Session) -> u64 {
    u64::try_from(session.slot_floor).unwrap_or(0) + 1
}

/// Whether a pack of somebody else could still become the head by its own conditions.
pub(super) fn could_follow(header: &Header, found: &Loaded) -> Result<bool> {
    let conditions = header.fence >= found.mark(mark::FENCE) && (header.etag.is_empty() || header.etag == found.revision.etag());
    Ok(conditions && header.parent_id() == found.session.head_id()? && header.session == found.id.as_str())
}

/// The transaction that makes a pack the head of `found`.
pub(super) fn head_txn(found: &Loaded, placed: &Placed, lease_token: i64) -> Result<Prepared> {
    let slot = i64::try_from(placed.slot).unwrap_or(i64::MAX);
    let after = Session { head: Some(placed.id.to_string()), sequence: slot, slot_floor: slot, ..found.session.clone() };
    let kind = if matches!(placed.makes, Makes::New(_)) { ChangeKind::ProfileSaved } else { ChangeKind::ProfileRestored };
    let mut edit = Edit::new(kind, after).used().under_lease(lease_token).snapshot(placed.id);
    // A snapshot without a storage state takes away one that another snapshot had brought, and leaves one that was put by itself.
    let removes = kind == ChangeKind::ProfileRestored && placed.state.is_none() && found.storage_state_is_saved();
    if placed.state.is_some() {
        edit = edit.bringing_storage_state();
    } else if removes {
        edit = edit.without_storage_state();
    }
    let mut prepared = found.edit(edit)?;
    let (txn, lineage) = (&mut prepared.txn, found.session.lineage_id()?);
    // The fence that was checked still stands, also for a step without a token that is rolled forward.
    txn.requires.push(Require::Mark(record_key(&found.id), mark::FENCE.into(), found.mark(mark::FENCE)));
    txn.writes.extend(placed.state.clone());
    txn.writes.extend(removes.then(|| Write::Delete(state_key(&found.id))));
    let key = Key(snapshot_key(lineage, placed.id));
    match &placed.makes {
        Makes::New(snapshot) => {
            let marks = vec![(snapshot::mark::CREATED.into(), Number::NowPlus(Duration::ZERO)), (snapshot::mark::BORN.into(), Number::Revision)];
            txn.writes.push(put(key, snapshot, marks)?);
            txn.indices.push(IndexChange::Add(Index(index_name(lineage)), placed.id.to_string(), Number::Literal(slot)));
            txn.writes.push(result(found, &placed.header.upload, placed.id, None)?);
        }
        Makes::Again(view) => {
            txn.requires.push(Require::Mark(key.clone(), snapshot::mark::BORN.into(), view.revision.0));
            txn.requires.push(Require::Mark(key, snapshot::mark::DELETED.into(), 0));
            result_writes(txn, found, &placed.header.upload, placed.id, placed.header.parent_id(), slot)?;
        }
    }
    if let Some(intent) = &placed.intent {
        intent.settle(txn);
    }
    Ok(prepared)
}

/// Adds what tells a late repetition of a restore what it did.
pub(super) fn result_writes(txn: &mut Txn, found: &Loaded, upload: &str, id: SnapshotId, former: Option<SnapshotId>, slot: i64) -> Result<()> {
    txn.writes.push(result(found, upload, id, former)?);
    txn.indices.push(IndexChange::Add(Index(restores_name(found.session.lineage_id()?)), upload.to_owned(), Number::Literal(slot)));
    Ok(())
}

fn result(found: &Loaded, upload: &str, id: SnapshotId, former: Option<SnapshotId>) -> Result<Write> {
    let result = UploadResult { lineage: found.session.lineage.clone(), snapshot: id.to_string(), former: former.map(|former| former.to_string()) };
    put(Key(format!("u/{}/{upload}", found.id)), &result, Vec::new())
}

/// What moves a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A save.
    Save,
    /// A restore.
    Restore,
}

/// That a step follows the head, or two workers' changes would be mixed.
///
/// # Errors
/// `PARENT_NOT_HEAD` with the head.
pub(super) fn check_head(session: &Loaded, parent: Option<SnapshotId>, deed: Deed) -> Result<()> {
    let head = session.session.head_id()?;
    if parent == head {
        return Ok(());
    }
    let shown = |id: Option<SnapshotId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let (id, current, given) = (&session.id, shown(head), shown(parent));
    let message = match (deed, parent, head) {
        (Deed::Restore, ..) => format!("the head of session {id} is {current} and not {given}: look at that one, and decide anew"),
        (Deed::Save, None, _) => format!(
            "session {id} has a head ({current}) and this save says it comes from nothing: load the head first, or replace it on purpose (`replace` in the clients)"
        ),
        (Deed::Save, Some(_), Some(_)) => format!(
            "the save's parent is {given}, but the head of session {id} is {current}: load that one and save what becomes of it, or replace it on purpose (`replace` in the clients)"
        ),
        (Deed::Save, Some(_), None) => {
            format!("the save's parent is {given}, but session {id} has no head: save it as one that comes from nothing (`replace` in the clients)")
        }
    };
    Err(Error::new(Reason::ParentNotHead, message).with("head_snapshot_id", shown(head)))
}

fn put(key: Key, value: &impl Serialize, marks: Vec<(MarkName, Number)>) -> Result<Write> {
    let value = serde_json::to_vec(value).map_err(|error| Error::new(Reason::Internal, "a record cannot be written").with_source(error))?;
    Ok(Write::Put { key, value: value.into(), life: Life::Forever, marks })
}

/// The transaction that moves the floor to `slot`. It changes the etag, so those who watch a live session hear of it; a hidden one keeps its time.
pub(super) fn floor_txn(found: &Loaded, slot: u64) -> Result<Txn> {
    let after = Session { slot_floor: i64::try_from(slot).unwrap_or(i64::MAX), ..found.session.clone() };
    let mut txn = found.edit(Edit::new(ChangeKind::SessionUpdated, after))?.txn;
    if found.check_live().is_err() {
        txn.events.clear();
        for write in &mut txn.writes {
            if let Write::Put { life, .. } = write {
                *life = Life::Keep;
            }
        }
    }
    Ok(txn)
}
