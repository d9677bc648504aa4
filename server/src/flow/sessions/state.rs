//! `GetStorageState` and `PutStorageState`: the document is compressed, sealed under the lineage's key, and kept in a record of its own that no listing reads.
//!
//! The record's value: `format (1) | kind (1) | …`, where `…` is for [`INLINE`] `length (4, big endian) | sealed box of the zstd frame` and for [`REFERENCE`]
//! `snapshot (16) | length (8, big endian)`: a document too large for this store lies in the pack of the save that brought it.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use ring::digest::{SHA256, digest};

use super::{Conditions, Decision, Edit, Fingerprint, Loaded, Sessions, change, load, load::not_found, record_key, state_key};
use crate::{
    flow::keyring::LineageKey,
    model::{
        error::{Error, Reason, Result},
        event::ChangeKind,
        id::{Namespace, SessionId, SnapshotId},
        session::{check_etag, check_fence, mark},
        storage_state::{MAX_UNARY, validate},
        time::{Micros, Revision},
    },
    store::metadata::{Found, Life, Number, Record, Write},
};

const FORMAT: u8 = 1;
const INLINE: u8 = 0;
const REFERENCE: u8 = 1;
/// Compression: fast, for documents are written often and read once per run.
const LEVEL: i32 = 1;
/// Documents above this are checked, compressed and sealed off the threads that serve everybody.
const LARGE: usize = 64 * 1024;
/// When it was put, in µs: a mark of the record.
const PUT: &str = "put";

/// A storage state as it was read.
#[derive(Clone, Debug)]
pub struct StoredState {
    /// The document, byte for byte.
    pub document: Bytes,
    /// The revision that wrote it: its etag.
    pub etag: Revision,
    /// When it was put.
    pub put_at: Micros,
    /// The revision that the answer reflects.
    pub revision: Revision,
}

/// What a put did.
#[derive(Clone, Copy, Debug)]
pub struct PutState {
    /// The revision that wrote it: its etag, and the revision of the change.
    pub revision: Revision,
}

/// The write that keeps a document of at most [`MAX_UNARY`] bytes that was found valid.
///
/// # Errors
/// `INTERNAL` when it cannot be compressed or sealed.
pub fn inline_state(key: &LineageKey, id: &SessionId, document: &[u8]) -> Result<Write> {
    let frame =
        zstd::bulk::compress(document, LEVEL).map_err(|error| Error::new(Reason::Internal, "a storage state cannot be compressed").with_source(error))?;
    let sealed = key.seal_state(id, &frame)?;
    let mut value = BytesMut::with_capacity(6 + sealed.len());
    value.put_slice(&[FORMAT, INLINE]);
    value.put_u32(u32::try_from(document.len()).unwrap_or(u32::MAX));
    value.put_slice(&sealed);
    Ok(put(id, value.freeze()))
}

/// The write that says in which snapshot a larger document lies.
#[must_use]
pub fn referenced_state(id: &SessionId, snapshot: SnapshotId, length: u64) -> Write {
    let mut value = BytesMut::with_capacity(26);
    value.put_slice(&[FORMAT, REFERENCE]);
    value.put_slice(&snapshot.0);
    value.put_u64(length);
    put(id, value.freeze())
}

fn put(id: &SessionId, value: Bytes) -> Write {
    Write::Put { key: state_key(id), value, life: Life::Forever, marks: vec![(PUT.into(), Number::NowPlus(Duration::ZERO))] }
}

pub(crate) fn open(key: &LineageKey, id: &SessionId, value: &[u8]) -> Result<Bytes> {
    let corrupt = || Error::new(Reason::DataCorrupt, format!("the storage state of session {id} is damaged"));
    match value.split_first_chunk::<2>() {
        Some(([FORMAT, INLINE], rest)) => {
            let (length, sealed) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= MAX_UNARY).ok_or_else(corrupt)?;
            let frame = key.open_state(id, sealed)?;
            let document = zstd::bulk::decompress(&frame, length).map_err(|error| corrupt().with_source(error))?;
            if document.len() == length { Ok(document.into()) } else { Err(corrupt()) }
        }
        Some(([FORMAT, REFERENCE], rest)) if rest.len() == 24 => {
            let (snapshot, length) = rest.split_first_chunk::<16>().ok_or_else(corrupt)?;
            let length = length.first_chunk::<8>().map(|length| u64::from_be_bytes(*length)).ok_or_else(corrupt)?;
            let snapshot = SnapshotId(*snapshot);
            let message = format!(
                "the storage state of session {id} has {length} bytes, more than the {MAX_UNARY} of one answer: load snapshot {snapshot} with its storage state"
            );
            Err(Error::new(Reason::StorageStateTooLarge, message).with("snapshot_id", snapshot).with("size", length))
        }
        _ => Err(corrupt()),
    }
}

impl Sessions {
    /// Reads a session's storage state.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `STORAGE_STATE_NOT_FOUND`, `STORAGE_STATE_TOO_LARGE`, `REVISION_NOT_REACHED`, `KEY_UNAVAILABLE`,
    /// `DATA_CORRUPT`, and the stores' errors.
    pub async fn storage_state(&self, namespace: &Namespace, id: &SessionId, min_revision: Revision) -> Result<StoredState> {
        let reading = self.read(namespace, &[record_key(id), state_key(id)], min_revision).await?;
        let (revision, mut found) = (reading.revision, reading.found.into_iter());
        let (session, state) = (found.next().unwrap_or(Found::Absent), found.next().and_then(Found::live));
        let session = Loaded::from_found(id, session, reading.now)?.ok_or_else(|| not_found(id))?;
        session.check_live()?;
        let Some(Record { value, marks, revision: etag, .. }) = state.filter(|_| session.state_revision() != Revision::ZERO) else {
            let message = format!("session {id} has no storage state: nobody has put or saved one");
            return Err(Error::new(Reason::StorageStateNotFound, message).with("session_id", id));
        };
        let key = self.keyring.lineage(namespace, session.session.lineage_id()?).await?;
        let put_at = Micros(marks.get(PUT).copied().unwrap_or(0));
        let (size, id) = (value.len(), id.clone());
        let document = heavy(size, move || open(&key, &id, &value)).await?;
        Ok(StoredState { document, etag, put_at, revision })
    }

    /// Replaces a session's storage state. Counts as a use.
    ///
    /// # Errors
    /// `STORAGE_STATE_INVALID`, `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `ETAG_MISMATCH`, `LEASE_FENCED`, `REQUEST_ID_REUSED`, `CONTENTION`,
    /// `KEY_UNAVAILABLE`, and the stores' errors.
    pub async fn put_storage_state(&self, namespace: &Namespace, id: &SessionId, document: Bytes, conditions: &Conditions) -> Result<PutState> {
        let fingerprint = || {
            let named = Fingerprint::of("PutStorageState").text(id.as_str()).text(digest(&SHA256, &document));
            named.text(&conditions.etag).number(conditions.lease_token)
        };
        let op = self.op(namespace, conditions.request.as_ref(), fingerprint).await?;
        let (found, _, _) = load(&*self.metadata, namespace, id).await?;
        let sealed = match found.filter(|found| found.check_live().is_ok()) {
            Some(found) => Some((found.session.lineage.clone(), self.seal_document(namespace, &found, document).await?)),
            // The rule below says what stands against it, unless this is a repetition.
            None => None,
        };
        let decide = |found: Option<Loaded>| {
            let found = found.ok_or_else(|| not_found(id))?;
            found.check_live()?;
            check_fence(conditions.lease_token, found.mark(mark::FENCE))?;
            check_etag(&conditions.etag, found.state_revision())?;
            let Some((_, write)) = sealed.as_ref().filter(|(lineage, _)| *lineage == found.session.lineage) else {
                let message = format!("session {id} was made or revived at this moment: repeat the call");
                return Err(Error::new(Reason::Contention, message).with("session_id", id));
            };
            let edit = Edit::new(ChangeKind::StorageStatePut, found.session.clone()).used().with_storage_state().under_lease(conditions.lease_token);
            let mut prepared = found.edit(edit)?;
            prepared.txn.writes.push(write.clone());
            Ok(Decision::Change(Box::new(prepared)))
        };
        let done = change(&*self.metadata, namespace, id, op.as_ref(), decide).await?;
        self.cache.wrote(namespace, id, done.revision);
        self.floor.saw(namespace, done.revision);
        Ok(PutState { revision: done.revision })
    }

    /// Checks a document and seals it for a session.
    async fn seal_document(&self, namespace: &Namespace, session: &Loaded, document: Bytes) -> Result<Write> {
        let key = self.keyring.lineage(namespace, session.session.lineage_id()?).await?;
        let (size, id) = (document.len(), session.id.clone());
        heavy(size, move || validate(&document, MAX_UNARY).and_then(|()| inline_state(&key, &id, &document))).await
    }
}

/// Runs work on `size` bytes here, or on a thread for such work when it is long.
async fn heavy<T: Send + 'static>(size: usize, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if size <= LARGE {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Reason::Internal, "a worker thread died").with_source(error))?
}
