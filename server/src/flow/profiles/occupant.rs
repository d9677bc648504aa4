//! What already lies in a slot: read from its own bytes, for nobody else tells.

use std::sync::Arc;

use bytes::Bytes;

use super::{Lineage, Profiles, commit::Placed, frames::gone, seal::state_write};
use crate::model::{
    error::{Error, Reason, Result},
    id::SessionId,
    manifest::CommitInfo,
    pack::{FOOTER, Frame, FrameKind, Header, Pack, PackKind, PackName, parse_footer, parse_header, parse_table},
    snapshot::Snapshot,
};

/// Bytes read for a header: it has at most some 4 KiB.
const HEAD: u64 = 8192;

impl Profiles {
    /// Reads the commit pack in a slot: enough to make it the head.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is damaged or no commit pack of this lineage, `BLOBS_UNAVAILABLE`.
    pub(super) async fn occupant(&self, lineage: &Lineage, slot: u64) -> Result<Placed> {
        let name = PackName::Commit(slot).object(lineage.id);
        let length = self.blobs.length(&name).await?.ok_or_else(|| gone(&name))?;
        let head = self.part(&name, 0, HEAD.min(length)).await?;
        let (header, sha, first) = parse_header(&head)?;
        let belongs = header.kind() == PackKind::Commit && header.slot == slot && header.lineage_id() == Some(lineage.id);
        let Some(id) = header.snapshot_id().filter(|_| belongs && header.namespace == lineage.namespace.as_str()) else {
            return Err(Error::new(Reason::DataCorrupt, format!("object {name} is not the pack that its name says")));
        };
        let pack = Arc::new(Pack { name: PackName::Commit(slot), header: sha });
        let tail = length.saturating_sub(FOOTER as u64);
        let footer = parse_footer(&self.part(&name, tail, length).await?, length, &pack)?;
        let table = self.frames.one(lineage, FrameKind::Table, &Arc::new(footer.table.clone())).await?;
        let table = parse_table(&table, first, &footer)?;
        let frame = table.only(FrameKind::Commit)?;
        let commit = CommitInfo::decode(&self.frames.one(lineage, FrameKind::Commit, frame).await?)?;
        let state = match &commit.storage_state {
            None => None,
            Some(state) => Some(self.state_of(lineage, &header, &state.frame, id).await?),
        };
        let intent = match header.intent.as_str() {
            "" => None,
            name => Some(self.find_intent(lineage, name).await?.ok_or_else(|| {
                // Its data packs may be gone, so it is as good as damaged.
                Error::new(Reason::DataCorrupt, format!("intent {name} was removed"))
            })?),
        };
        let snapshot = Snapshot::new(&header, &commit, frame, length);
        Ok(Placed { id, slot, header, snapshot, state, intent, stored: None })
    }

    async fn state_of(
        &self,
        lineage: &Lineage,
        header: &Header,
        frame: &Arc<Frame>,
        id: crate::model::id::SnapshotId,
    ) -> Result<crate::store::metadata::Write> {
        let document = self.frames.one(lineage, FrameKind::StorageState, frame).await?;
        let (lineage, session) = (lineage.clone(), SessionId::parse("session", &header.session)?);
        self.workers.run(move || state_write(&lineage, &session, id, &document)).await
    }

    async fn part(&self, name: &str, start: u64, end: u64) -> Result<Bytes> {
        self.blobs.get_range(name, start..end).await?.ok_or_else(|| gone(name))
    }
}
