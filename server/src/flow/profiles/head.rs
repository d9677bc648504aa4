//! The transactions that move a session's head or its slot floor; see [`super::commit`] for when.

use std::time::Duration;

use serde::Serialize;

use super::commit::Placed;
use crate::{
    flow::sessions::{Edit, Loaded, Prepared, record_key},
    model::{
        error::{Error, Reason, Result},
        event::ChangeKind,
        pack::Header,
        session::{Session, mark},
        snapshot::{self, UploadResult, index_name, record_key as snapshot_key},
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
    let mut edit = Edit::new(ChangeKind::ProfileSaved, after).used().under_lease(lease_token).snapshot(placed.id);
    if placed.state.is_some() {
        edit = edit.with_storage_state();
    }
    let mut prepared = found.edit(edit)?;
    let (txn, lineage) = (&mut prepared.txn, found.session.lineage_id()?);
    // The fence that was checked still stands, also for a save without a token that is rolled forward.
    txn.requires.push(Require::Mark(record_key(&found.id), mark::FENCE.into(), found.mark(mark::FENCE)));
    let upload = Key(format!("u/{}/{}", found.id, placed.header.upload));
    let result = UploadResult { lineage: lineage.to_string(), snapshot: placed.id.to_string() };
    let marks = vec![(snapshot::mark::CREATED.into(), Number::NowPlus(Duration::ZERO)), (snapshot::mark::BORN.into(), Number::Revision)];
    txn.writes.push(put(Key(snapshot_key(lineage, placed.id)), &placed.snapshot, marks)?);
    txn.writes.push(put(upload, &result, Vec::new())?);
    txn.writes.extend(placed.state.clone());
    txn.indices.push(IndexChange::Add(Index(index_name(lineage)), placed.id.to_string(), Number::Literal(slot)));
    if let Some(intent) = &placed.intent {
        intent.settle(txn);
    }
    Ok(prepared)
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
