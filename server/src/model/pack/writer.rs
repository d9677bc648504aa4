//! Writing a pack into memory.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use ring::digest::{Context, SHA256};

use super::{
    Frame, FrameKind, Header, MAX_PLAIN, Pack, PackKey,
    reader::{FOOTER, FOOTER_MAGIC, TableRow},
    sealed_length,
};
use crate::model::{
    codec::{Codec, pack},
    error::{Error, Reason, Result},
    id::{LineageId, Namespace},
    seal::{Secret, TAG},
};

/// A pack that is being written. The same header, key and frames give the same bytes.
#[derive(Debug)]
pub struct PackWriter {
    buffer: Vec<u8>,
    key: PackKey,
    pack: Arc<Pack>,
    table: TableRow,
    frames: u32,
}

impl PackWriter {
    /// Begins a pack with this header; `capacity` is about how long it will be.
    ///
    /// # Errors
    /// `INTERNAL` when the header breaks the format's rules.
    pub fn new(lineage_key: &Secret, header: &Header, capacity: usize) -> Result<Self> {
        let broken = || Error::new(Reason::Internal, "a pack's header breaks the format's rules");
        let lineage = LineageId(header.lineage.as_slice().try_into().map_err(|_| broken())?);
        let namespace = Namespace::parse("namespace", &header.namespace)?;
        let (lead, sha) = header.to_lead()?;
        let pack = Arc::new(Pack { name: header.pack_name().map_err(|_| broken())?, header: sha });
        let mut buffer = Vec::with_capacity(capacity + lead.len() + FOOTER);
        buffer.extend_from_slice(&lead);
        let key = PackKey::new(lineage_key, &namespace, lineage, &pack);
        Ok(Self { buffer, key, pack, table: TableRow::default(), frames: 0 })
    }

    /// The pack, as frames in other packs refer to it.
    #[must_use]
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// Bytes written so far.
    #[must_use]
    pub fn length(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a frame that is packed already.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when it is too long for a frame.
    pub fn add(&mut self, kind: FrameKind, codec: Codec, plain: u32, packed: &[u8]) -> Result<Arc<Frame>> {
        if plain > MAX_PLAIN || codec == Codec::Deflate {
            return Err(Error::new(Reason::LimitExceeded, format!("a frame of {plain} bytes is too long; at most {MAX_PLAIN} are possible")));
        }
        let frame =
            Frame { pack: Arc::clone(&self.pack), index: self.frames, offset: self.buffer.len() as u64, sealed: sealed_length(packed.len())?, plain, codec };
        let start = self.buffer.len();
        self.buffer.reserve(packed.len() + TAG);
        self.buffer.extend_from_slice(packed);
        self.key.seal(kind, &frame, &mut self.buffer, start)?;
        self.table.kinds.push(kind as u8);
        self.table.codecs.push(codec as u8);
        self.table.sealed.push(frame.sealed);
        self.table.plain.push(plain);
        self.frames += 1;
        Ok(Arc::new(frame))
    }

    /// Adds a frame, packed by zstd if that pays.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_packed(&mut self, kind: FrameKind, plain: &[u8]) -> Result<Arc<Frame>> {
        let length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        match pack(Codec::Zstd, plain)? {
            Some(packed) => self.add(kind, Codec::Zstd, length, &packed),
            None => self.add(kind, Codec::Raw, length, plain),
        }
    }

    /// Ends the pack: adds the table and the footer.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn finish(mut self) -> Result<Bytes> {
        let plain = self.table.encode_to_vec();
        let frame = self.add_packed(FrameKind::Table, &plain)?;
        let mut buffer = self.buffer;
        buffer.extend_from_slice(&frame.offset.to_be_bytes());
        buffer.extend_from_slice(&frame.sealed.to_be_bytes());
        buffer.extend_from_slice(&frame.plain.to_be_bytes());
        buffer.extend_from_slice(&frame.index.to_be_bytes());
        buffer.extend_from_slice(&[frame.codec as u8, 0, 0, 0]);
        let mut sha = Context::new(&SHA256);
        sha.update(&buffer);
        buffer.extend_from_slice(sha.finish().as_ref());
        buffer.extend_from_slice(FOOTER_MAGIC);
        Ok(buffer.into())
    }
}
