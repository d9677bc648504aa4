//! Frames of a running save: kept in memory up to one pack, then written as data packs while the stream goes on.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};

use super::{FaultPoint, Lineage, Profiles, intent::Intent, save::Save};
use crate::{
    clock,
    model::{
        assembly::Hashed,
        codec::Codec,
        error::{Error, Reason, Result},
        pack::{Frame, FrameKind, Header, PackKind, PackName, PackWriter},
    },
    store::blobs::Put,
};

/// What a frame costs in a pack beside its bytes: tag, table row, references.
const FRAME_COST: usize = 64;

/// A frame that has no place in a pack yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u32,
    pub(super) codec: Codec,
    pub(super) plain: u32,
    pub(super) packed: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl Pending {
    pub(super) fn new(hashed: Hashed, permit: OwnedSemaphorePermit) -> Self {
        let plain = u32::try_from(hashed.plain.len()).unwrap_or(u32::MAX);
        // A raw frame shares the message's memory; either way only the packed bytes stay.
        Self { number: hashed.frame, codec: hashed.codec, plain, packed: hashed.packed, _permit: permit }
    }

    /// Adds these frames to a pack; answers where each number is now.
    pub(super) fn add_all(pending: &[Self], kind: FrameKind, writer: &mut PackWriter) -> Result<Vec<(u32, Arc<Frame>)>> {
        let add = |frame: &Self| Ok((frame.number, writer.add(kind, frame.codec, frame.plain, &frame.packed)?));
        pending.iter().map(add).collect()
    }
}

/// A data pack that was written.
#[derive(Debug)]
struct DataPack {
    placed: Vec<(u32, Arc<Frame>)>,
    length: u64,
}

/// The frames of a save.
#[derive(Debug, Default)]
pub(super) struct Spilled {
    pending: Vec<Pending>,
    pending_bytes: usize,
    placed: HashMap<u32, Arc<Frame>>,
    writing: JoinSet<Result<DataPack>>,
    intent: Option<Intent>,
    packs: u32,
    bytes: u64,
}

impl Spilled {
    pub(super) fn take_pending(&mut self) -> Vec<Pending> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable_by_key(|frame| frame.number);
        pending
    }

    pub(super) fn take_placed(&mut self) -> HashMap<u32, Arc<Frame>> {
        std::mem::take(&mut self.placed)
    }

    /// Bytes of the data packs.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn intent(&self) -> Option<Intent> {
        self.intent.clone()
    }
}

impl Save {
    /// Keeps a frame; when a whole pack has piled up, it is written.
    pub(super) async fn keep(&mut self, frame: Pending) -> Result<()> {
        let size = frame.packed.len() + FRAME_COST;
        if self.spilled.pending_bytes + size > self.profiles.pack_bytes() {
            self.spill().await?;
        }
        self.spilled.pending_bytes += size;
        self.spilled.pending.push(frame);
        Ok(())
    }

    /// Begins to write what is pending as a data pack. At most one is written while the next piles up.
    pub(super) async fn spill(&mut self) -> Result<()> {
        if self.spilled.pending.is_empty() {
            return Ok(());
        }
        self.settle_packs().await?;
        let number = self.spilled.packs;
        let name = self.intend(number).await?;
        let header = self.data_header(name.clone())?;
        let pending = self.spilled.take_pending();
        self.spilled.pending_bytes = 0;
        self.spilled.packs += 1;
        let (profiles, lineage) = (Arc::clone(&self.profiles), self.lineage.clone());
        self.spilled.writing.spawn(async move {
            let key = Arc::clone(&lineage.key);
            let seal = move || {
                let capacity = pending.iter().map(|frame| frame.packed.len() + FRAME_COST).sum();
                let mut writer = PackWriter::new(key.secret(), &header, capacity)?;
                let placed = Pending::add_all(&pending, FrameKind::Data, &mut writer)?;
                Ok((placed, writer.finish()?, pending))
            };
            let (placed, object, pending) = profiles.workers.run(seal).await?;
            let length = object.len() as u64;
            let object_name = PackName::Data(name).object(lineage.id);
            let put = profiles.blobs.put_new(&object_name, object).await?;
            // The name is random, so what exists can only be what an earlier try of this very request wrote.
            if put == Put::Exists && profiles.blobs.length(&object_name).await? != Some(length) {
                return Err(Error::new(Reason::DataCorrupt, format!("object {object_name} exists and is not what was written")));
            }
            drop(pending);
            profiles.faults.at(FaultPoint::AfterDataPack).await?;
            Ok(DataPack { placed, length })
        });
        Ok(())
    }

    /// Waits until no data pack is being written.
    pub(super) async fn settle_packs(&mut self) -> Result<()> {
        while let Some(written) = self.spilled.writing.join_next().await {
            let died = |error| Error::new(Reason::Internal, "a task of a save died").with_source(error);
            let pack = written.map_err(died)??;
            self.spilled.bytes += pack.length;
            self.spilled.placed.extend(pack.placed);
        }
        Ok(())
    }

    /// Makes sure that the metadata know of data pack `number` before it is written; answers its name.
    async fn intend(&mut self, number: u32) -> Result<String> {
        let intent = match self.spilled.intent.take() {
            None => self.profiles.intend(&self.lineage, &self.begin).await?,
            Some(intent) if number < intent.packs => intent,
            Some(intent) => self.profiles.extend_intent(&self.lineage, &self.begin, intent).await?,
        };
        let name = intent.pack_name(number);
        self.spilled.intent = Some(intent);
        self.profiles.faults.at(FaultPoint::AfterIntent).await?;
        Ok(name)
    }

    fn data_header(&self, name: String) -> Result<Header> {
        let mut header = Header {
            namespace: self.lineage.namespace.to_string(),
            lineage: self.lineage.id.0.to_vec(),
            session: self.begin.session.to_string(),
            parent: self.begin.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
            upload: self.begin.upload.to_string(),
            key_version: self.lineage.key.version(),
            salt: clock::random::<16>()?.to_vec(),
            intent: self.spilled.intent.as_ref().map(|intent| intent.name.clone()).unwrap_or_default(),
            name,
            ..Header::default()
        };
        header.set_kind(PackKind::Data);
        Ok(header)
    }
}

impl Profiles {
    pub(super) fn pack_bytes(&self) -> usize {
        self.config.pack_bytes
    }

    /// Removes what a failed save has written: first its intent, so that no commit can count on the packs any more, then the packs.
    pub(super) async fn discard(&self, lineage: &Lineage, mut spilled: Spilled) {
        let Some(intent) = spilled.intent.take() else { return };
        spilled.writing.shutdown().await;
        let removed = async {
            if !self.forget_intent(lineage, &intent).await? {
                return Ok(());
            }
            for number in 0..intent.packs {
                self.blobs.delete(&PackName::Data(intent.pack_name(number)).object(lineage.id)).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(lineage = %lineage.id, ?error, "the data packs of a failed save were left behind");
        }
    }
}
