//! Between the messages of `profile.proto` and what profiles are.

use cloakroom_api::v1 as api;

use crate::{
    flow::profiles::{CookieDatabase, DiffPage, SnapshotView},
    grpc::parse,
    model::{
        assembly::{NewEntry, Records, Run},
        codec::Codec,
        compare::Difference,
        cookies::{CookieChange, CookieId},
        error::{Error, Reason, Result},
        id::SnapshotId,
        manifest::Entry,
        portability::Portability,
        snapshot::SnapshotKind,
        time::Revision,
        tree::Kind,
    },
};

/// Above every revision: they stay below 2^53, so that every language counts them exactly.
const REVISION_END: i64 = 1 << 53;
/// Longest etag: ours have up to 15 bytes.
const MAX_ETAG: usize = 64;
/// Entries of a page when none is asked for, and at most.
const DEFAULT_ENTRIES: usize = 1000;
const MAX_ENTRIES: usize = 2000;

/// A revision or a token, 0 for none.
pub(super) fn moment(field: &str, given: i64) -> Result<Revision> {
    if (0..REVISION_END).contains(&given) {
        return Ok(Revision(given));
    }
    Err(Error::field(field, format!("{field} is {given}; it needs 0, or a number of an answer, which is below 2^53")))
}

/// An etag; empty for none.
pub(super) fn etag(field: &str, given: String) -> Result<String> {
    if given.len() > MAX_ETAG {
        return Err(Error::field(field, format!("{field} has {} bytes; give back the one of an answer, which has at most {MAX_ETAG}", given.len())));
    }
    Ok(given)
}

/// An optional snapshot.
pub(super) fn snapshot_id(field: &str, given: &str) -> Result<Option<SnapshotId>> {
    if given.is_empty() { Ok(None) } else { SnapshotId::parse(field, given).map(Some) }
}

/// How many entries a page shall have.
pub(super) fn entry_page_size(given: i32) -> Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(DEFAULT_ENTRIES),
        Ok(size) if size <= MAX_ENTRIES => Ok(size),
        _ => Err(Error::field("page_size", format!("page_size is {given}; it needs 1 to {MAX_ENTRIES}, or 0 for {DEFAULT_ENTRIES}"))),
    }
}

/// The packings that a caller can undo. Those of a newer contract are left out: the caller can undo raw bytes too.
pub(super) fn accepted(given: &[i32]) -> Vec<Codec> {
    given.iter().filter_map(|number| u32::try_from(*number).ok().and_then(Codec::from_number)).collect()
}

pub(super) fn portability(given: api::Portability) -> Portability {
    let api::Portability { os, brand, browser_version, password_store, quiesced, capture_policy } = given;
    Portability { os, brand, browser_version, password_store, quiesced, capture_policy }
}

/// A piece of a profile as it comes.
pub(super) fn received(given: api::ProfileRecords) -> Result<Records> {
    let codec = match given.codec {
        0 => Codec::Raw,
        number => u32::try_from(number).ok().and_then(Codec::from_number).ok_or_else(|| {
            let message = format!("codec is {number}; it needs 1 (raw), 2 (deflate) or 3 (zstd)");
            Error::new(Reason::DataInvalid, message).with_field("records.codec")
        })?,
    };
    let entry = |of: api::Entry| NewEntry {
        kind: of.kind,
        path: of.path,
        mode: of.mode,
        mtime_ns: of.mtime_ns,
        size: of.size,
        root: of.root,
        target: of.symlink_target,
    };
    let run = |of: api::LeafRun| Run {
        entry: of.entry,
        first_leaf: of.first_leaf,
        leaf_count: of.leaf_count,
        copy: if of.copy_path.is_empty() { None } else { Some((of.copy_path, of.copy_first_leaf)) },
    };
    Ok(Records {
        entries: given.entries.into_iter().map(entry).collect(),
        runs: given.runs.into_iter().map(run).collect(),
        removed: given.removed,
        codec,
        data: given.data,
        data_size: given.data_size,
    })
}

/// A piece of a profile as it goes.
pub(super) fn records(of: Records) -> api::ProfileRecords {
    let entry = |of: NewEntry| api::Entry {
        kind: of.kind,
        path: of.path,
        mode: of.mode,
        mtime_ns: of.mtime_ns,
        size: of.size,
        root: of.root,
        symlink_target: of.target,
    };
    let run = |of: Run| {
        let (copy_path, copy_first_leaf) = of.copy.unwrap_or_default();
        api::LeafRun { entry: of.entry, first_leaf: of.first_leaf, leaf_count: of.leaf_count, copy_path, copy_first_leaf }
    };
    api::ProfileRecords {
        entries: of.entries.into_iter().map(entry).collect(),
        runs: of.runs.into_iter().map(run).collect(),
        removed: of.removed,
        codec: of.codec as i32,
        data: of.data,
        data_size: of.data_size,
    }
}

/// An entry of a stored profile.
pub(super) fn entry(of: &Entry) -> api::Entry {
    api::Entry {
        kind: of.kind as i32,
        path: of.path.to_string(),
        mode: of.mode,
        mtime_ns: of.mtime_ns,
        size: i64::try_from(of.size).unwrap_or(i64::MAX),
        root: if of.kind == Kind::File { bytes::Bytes::copy_from_slice(&of.root) } else { bytes::Bytes::new() },
        symlink_target: of.target.to_string(),
    }
}

/// A snapshot as the contract shows it.
pub(super) fn snapshot(view: SnapshotView) -> api::Snapshot {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (pin_time, delete_time) = (view.pinned_at.map(parse::timestamp), view.deleted_at.map(parse::timestamp));
    let expire_time = view.revivable_until().map(parse::timestamp);
    let manifest_root = view.snapshot.root(view.id).map(|root| bytes::Bytes::copy_from_slice(&root)).unwrap_or_default();
    let of = view.snapshot;
    let Portability { os, brand, browser_version, password_store, quiesced, capture_policy } = of.portability;
    api::Snapshot {
        id: view.id.to_string(),
        session_id: of.session,
        sequence: count(of.sequence),
        parent_snapshot_id: of.parent.unwrap_or_default(),
        kind: match of.kind {
            SnapshotKind::Save => api::SnapshotKind::Save.into(),
        },
        manifest_root,
        entry_count: count(of.entries),
        total_bytes: count(of.content),
        stored_bytes: count(of.stored),
        has_storage_state: of.storage_state,
        portability: Some(api::Portability { os, brand, browser_version, password_store, quiesced, capture_policy }),
        create_time: Some(parse::timestamp(view.created_at)),
        revision: view.revision.0,
        head: view.head,
        upload_id: of.upload,
        pin_time,
        pin_note: of.pin_note,
        delete_time,
        expire_time,
    }
}

/// A page of what differs.
pub(super) fn difference(page: DiffPage) -> api::DiffSnapshotsResponse {
    use api::DifferenceKind as Kind;
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let one = |of: &Difference| api::EntryDifference {
        kind: match (&of.before, &of.after) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            _ => Kind::Changed,
        }
        .into(),
        before: of.before.as_deref().map(entry),
        after: of.after.as_deref().map(entry),
        changed_bytes: count(of.changed_bytes),
    };
    let all = page.comparison;
    api::DiffSnapshotsResponse {
        snapshot: Some(snapshot(page.view)),
        base_snapshot: page.base.map(snapshot),
        differences: all.differences.iter().map(one).collect(),
        next_page_token: page.next,
        revision: page.revision.0,
        added_count: count(all.added),
        removed_count: count(all.removed),
        changed_count: count(all.changed),
        changed_bytes: count(all.changed_bytes),
        cookie_databases: page.cookies.into_iter().map(cookie_database).collect(),
    }
}

fn cookie_database(of: CookieDatabase) -> api::CookieDatabaseDifference {
    use api::{CookieComparison as Comparison, DifferenceKind as Kind};
    let cookie = |(id, change): (CookieId, CookieChange)| {
        let (kind, value_changed, attributes_changed) = match change {
            CookieChange::Added => (Kind::Added, false, false),
            CookieChange::Removed => (Kind::Removed, false, false),
            CookieChange::Changed { value, attributes } => (Kind::Changed, value, attributes),
        };
        api::CookieDifference { kind: kind.into(), host: id.host, name: id.name, path: id.path, value_changed, attributes_changed }
    };
    api::CookieDatabaseDifference {
        path: of.path,
        comparison: if of.unknown.is_empty() { Comparison::Known } else { Comparison::Unknown }.into(),
        unknown_reason: of.unknown,
        cookies: of.changes.into_iter().map(cookie).collect(),
        truncated: of.truncated,
    }
}
