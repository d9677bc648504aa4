//! What already lies in a slot: read from its own bytes, for nobody else tells.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Lineage, Profiles, SnapshotView,
    frames::gone,
    step::{Makes, Placed},
};
use crate::{
    flow::sessions::{Loaded, record_key},
    model::{
        error::{Error, Reason, Result},
        id::{SessionId, SnapshotId},
        manifest::CommitInfo,
        pack::{FOOTER, FrameKind, Header, Pack, PackKind, PackName, parse_footer, parse_header, parse_table},
        snapshot::{Snapshot, record_key as snapshot_key},
    },
    store::metadata::{Found, Key},
};

/// Bytes read for a header: it has at most some 4 KiB.
const HEAD: u64 = 8192;

impl Profiles {
    /// Reads the pack in a slot: enough to make its snapshot the head.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is damaged or no commit pack of this lineage, `BLOBS_UNAVAILABLE`.
    pub(super) async fn occupant(&self, lineage: &Lineage, slot: u64) -> Result<Placed> {
        let name = PackName::Commit(slot).object(lineage.id);
        let length = self.blobs.length(&name).await?.ok_or_else(|| gone(&name))?;
        let head = self.part(&name, 0, HEAD.min(length)).await?;
        let (header, sha, first) = parse_header(&head)?;
        let belongs = matches!(header.kind(), PackKind::Commit | PackKind::Restore) && header.slot == slot && header.lineage_id() == Some(lineage.id);
        let Some(id) = header.snapshot_id().filter(|_| belongs && header.namespace == lineage.namespace.as_str()) else {
            return Err(Error::new(Reason::DataCorrupt, format!("object {name} is not the pack that its name says")));
        };
        let pack = Arc::new(Pack { name: PackName::Commit(slot), header: sha });
        let tail = length.saturating_sub(FOOTER as u64);
        let footer = parse_footer(&self.part(&name, tail, length).await?, length, &pack)?;
        let table = self.frames.one(lineage, FrameKind::Table, &Arc::new(footer.table.clone())).await?;
        let table = parse_table(&table, first, &footer)?;
        let session = SessionId::parse("session", &header.session)?;
        if header.kind() == PackKind::Restore {
            return self.restoring(lineage, &session, slot, header, id).await;
        }
        let frame = table.only(FrameKind::Commit)?;
        let commit = CommitInfo::decode(&self.frames.one(lineage, FrameKind::Commit, frame).await?)?;
        let state = self.brought(lineage, &session, id, commit.storage_state.as_ref()).await?;
        let intent = match header.intent.as_str() {
            "" => None,
            name => Some(self.find_intent(lineage, name).await?.ok_or_else(|| {
                // Its data packs may be gone, so it is as good as damaged.
                Error::new(Reason::DataCorrupt, format!("intent {name} was removed"))
            })?),
        };
        let makes = Makes::New(Snapshot::new(&header, &commit, frame, length));
        Ok(Placed { id, slot, header, makes, state, intent, stored: None })
    }

    /// A restore's pack: what it makes the head lies in another one.
    async fn restoring(&self, lineage: &Lineage, session: &SessionId, slot: u64, header: Header, id: SnapshotId) -> Result<Placed> {
        let found = self.metadata.get(&lineage.namespace, &[record_key(session), Key(snapshot_key(lineage.id, id))]).await?;
        let (now, mut found) = (found.now, found.found.into_iter());
        let loaded = Loaded::from_found(session, found.next().unwrap_or(Found::Absent), now)?;
        let (Some(loaded), Some(record)) = (loaded, found.next().and_then(Found::live)) else {
            return Err(Error::new(Reason::DataCorrupt, format!("snapshot {id}, which shall be restored, is gone")));
        };
        let view = SnapshotView::new(id, &record, &loaded)?;
        if view.deleted_at.is_some() {
            return Err(Error::new(Reason::DataCorrupt, format!("snapshot {id}, which shall be restored, was deleted")));
        }
        let stored = self.manifest(lineage, id, &view.snapshot).await?;
        let state = self.brought(lineage, session, id, stored.storage_state.as_ref()).await?;
        Ok(Placed { id, slot, header, makes: Makes::Again(view), state, intent: None, stored: None })
    }

    async fn part(&self, name: &str, start: u64, end: u64) -> Result<Bytes> {
        self.blobs.get_range(name, start..end).await?.ok_or_else(|| gone(name))
    }
}
