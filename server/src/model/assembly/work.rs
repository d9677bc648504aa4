//! The costly part of a message: unpacking, hashing, packing. It needs nothing of the assembly, so it runs beside it.

use bytes::Bytes;

use crate::model::{
    codec::{Codec, pack, pays, unpack},
    error::Result,
    tree::{DIGEST, LEAF, leaf_digest},
};

/// Where the bytes of a run belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) entry: u32,
    pub(super) first: u32,
    leaves: u32,
    bytes: u64,
}

/// The bytes of one message that wait to be worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    frame: u32,
    codec: Codec,
    data: Bytes,
    size: u32,
    targets: Vec<Target>,
}

impl Work {
    pub(super) fn new(frame: u32, codec: Codec, data: Bytes, size: u32) -> Self {
        Self { frame, codec, data, size, targets: Vec::new() }
    }

    /// Adds a run; answers where its bytes begin.
    pub(super) fn push(&mut self, entry: u32, first: u32, leaves: u32, bytes: u64) -> u32 {
        let offset = u32::try_from(self.described()).unwrap_or(u32::MAX);
        self.targets.push(Target { entry, first, leaves, bytes });
        offset
    }

    /// How many bytes the runs cover.
    pub(super) fn described(&self) -> u64 {
        self.targets.iter().map(|target| target.bytes).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.data.is_empty()
    }

    /// Unpacks the bytes, hashes their leaves, and packs them for storage: the client's own zstd frame if there is one that pays.
    ///
    /// # Errors
    /// `DATA_INVALID` when the bytes do not unpack to what was announced.
    pub fn run(self) -> Result<Hashed> {
        let plain = unpack(self.codec, &self.data, self.size as usize)?;
        let mut digests = Vec::with_capacity(plain.len().div_ceil(LEAF as usize) * DIGEST);
        let mut rest = &plain[..];
        for target in &self.targets {
            let (run, after) = rest.split_at(usize::try_from(target.bytes).unwrap_or(usize::MAX).min(rest.len()));
            run.chunks(LEAF as usize).for_each(|leaf| digests.extend_from_slice(&leaf_digest(leaf)));
            rest = after;
        }
        let (codec, packed) = match self.codec {
            Codec::Zstd if pays(self.data.len(), plain.len()) => (Codec::Zstd, self.data),
            _ => match pack(Codec::Zstd, &plain)? {
                Some(packed) => (Codec::Zstd, packed.into()),
                None => (Codec::Raw, plain.clone()),
            },
        };
        Ok(Hashed { frame: self.frame, plain, codec, packed, targets: self.targets, digests: digests.into() })
    }
}

/// What came of a [`Work`]: a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The frame's number: messages with bytes, counted from 0.
    pub frame: u32,
    /// The bytes.
    pub plain: Bytes,
    /// How they are packed for storage.
    pub codec: Codec,
    /// The packed bytes.
    pub packed: Bytes,
    targets: Vec<Target>,
    digests: Bytes,
}

impl Hashed {
    /// Each run's target and digests.
    pub(super) fn digests(&self) -> impl Iterator<Item = (Target, Bytes)> {
        self.targets.iter().scan(0, |at, target| {
            let start = *at;
            *at += target.leaves as usize * DIGEST;
            Some((*target, self.digests.slice(start..*at)))
        })
    }
}
