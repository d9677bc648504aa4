//! Sealing a commit pack: everything that one commit is, in one object.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Lineage, Stored,
    intent::Intent,
    repeat::reused,
    spill::Pending,
    step::{Claim, Makes, Placed, Step},
};
use crate::{
    clock,
    flow::sessions::{Loaded, inline_state, referenced_state},
    model::{
        assembly::Assembled,
        error::{Error, Reason, Result},
        id::{SessionId, SnapshotId},
        manifest::{CommitInfo, Cut, SavedSession, StorageStateAt, cut},
        pack::{Frame, FrameKind, Header, PackKind, PackWriter},
        portability::Portability,
        session::mark,
        snapshot::Snapshot,
        storage_state::MAX_UNARY,
        tree::Root,
    },
    store::metadata::{Record, Write},
};

/// A verified save, whatever slot it gets.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) claim: Claim,
    pub(super) portability: Portability,
    pub(super) parent: Option<Arc<Stored>>,
    pub(super) assembled: Assembled,
    /// Frames that lie in data packs already, by number.
    pub(super) placed: HashMap<u32, Arc<Frame>>,
    /// Frames for the commit pack.
    pub(super) pending: Vec<Pending>,
    pub(super) state: Option<Document>,
    pub(super) _state_permit: Option<OwnedSemaphorePermit>,
    pub(super) data_bytes: u64,
    pub(super) intent: Option<Intent>,
}

impl Step for Draft {
    fn claim(&self) -> &Claim {
        &self.claim
    }

    fn seal(&self, found: &Loaded, slot: u64) -> Result<Sealed> {
        seal(self, found, slot)
    }

    fn check_target(&self, _: Option<&Record>) -> Result<()> {
        Ok(())
    }

    fn reused(&self) -> Error {
        reused(&self.claim.upload)
    }
}

/// A pack that is ready to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) object: Bytes,
    pub(super) placed: Placed,
}

/// Seals the draft for `slot`, as the commit that follows `found`.
fn seal(draft: &Draft, found: &Loaded, slot: u64) -> Result<Sealed> {
    let mut header = header(&draft.claim, found, slot)?;
    header.intent = draft.intent.as_ref().map(|intent| intent.name.clone()).unwrap_or_default();
    let lineage = &draft.claim.lineage;
    let capacity = draft.pending.iter().map(|frame| frame.packed.len() + 64).sum::<usize>() + 64 * 1024;
    let mut writer = PackWriter::new(lineage.key.secret(), &header, capacity)?;
    let mut placed: HashMap<u32, _> = Pending::add_all(&draft.pending, FrameKind::Data, &mut writer)?.into_iter().collect();
    placed.extend(draft.placed.iter().map(|(number, frame)| (*number, Arc::clone(frame))));
    let frames: Vec<_> = (0..).map_while(|number| placed.remove(&number)).collect();
    let manifest = draft.assembled.manifest(&frames)?;
    let mut segments = Vec::new();
    for cut in cut(&manifest, draft.parent.as_ref().map(|parent| &*parent.manifest))? {
        segments.push(match cut {
            Cut::Kept(segment) => segment,
            Cut::New(new) => {
                let frame = writer.add_packed(FrameKind::Segment, &new.plain)?;
                new.stored(frame)
            }
        });
    }
    let manifest = manifest.stored_in(segments);
    let storage_state = match &draft.state {
        Some((document, sha256)) => Some(StorageStateAt { frame: writer.add_packed(FrameKind::StorageState, document)?, sha256: *sha256 }),
        None => None,
    };
    writer.add_packed(FrameKind::Session, &saved_session(found)?)?;
    let commit = CommitInfo::new(&manifest, draft.portability.clone(), storage_state.clone(), draft.data_bytes);
    let frame = writer.add_packed(FrameKind::Commit, &commit.encode())?;
    let object = writer.finish()?;
    let snapshot = Snapshot::new(&header, &commit, &frame, object.len() as u64);
    let state = draft.state.as_ref().map(|(document, _)| state_write(lineage, &draft.claim.session, draft.claim.id, document)).transpose()?;
    let stored = Some(Stored { manifest: Arc::new(manifest), storage_state });
    let placed = Placed { id: draft.claim.id, slot, header, makes: Makes::New(snapshot), state, intent: draft.intent.clone(), stored };
    Ok(Sealed { object, placed })
}

/// The header of a commit pack for `slot` that follows `found`.
pub(super) fn header(claim: &Claim, found: &Loaded, slot: u64) -> Result<Header> {
    let mut header = Header {
        namespace: claim.lineage.namespace.to_string(),
        lineage: claim.lineage.id.0.to_vec(),
        session: claim.session.to_string(),
        slot,
        parent: claim.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        snapshot: claim.id.0.to_vec(),
        fence: found.mark(mark::FENCE),
        upload: claim.upload.to_string(),
        key_version: claim.lineage.key.version(),
        salt: clock::random::<16>()?.to_vec(),
        etag: claim.etag.clone(),
        ..Header::default()
    };
    header.set_kind(PackKind::Commit);
    Ok(header)
}

/// The session's record as it is before the commit.
pub(super) fn saved_session(found: &Loaded) -> Result<Vec<u8>> {
    let record = serde_json::to_vec(&found.session).map_err(|error| Error::new(Reason::Internal, "a session cannot be written").with_source(error))?;
    let (revision, expires_at) = (found.revision.0, found.expires_at.map_or(0, |at| at.0));
    Ok(SavedSession { record, marks: found.marks.clone(), revision, expires_at }.to_bytes())
}

/// The write that makes `document` the session's storage state: the document itself, or where it lies when it is too large for the metadata.
pub(super) fn state_write(lineage: &Lineage, session: &SessionId, id: SnapshotId, document: &[u8]) -> Result<Write> {
    if document.len() <= MAX_UNARY { inline_state(&lineage.key, session, document) } else { Ok(referenced_state(session, id, document.len() as u64)) }
}

/// A storage state with its SHA-256.
pub(super) type Document = (Bytes, Root);
