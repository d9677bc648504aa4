//! Packs: the objects that hold profiles. `docs/pack-format.md` describes every byte of them.
//!
//! ```text
//! "CLKP" | version | header length | header | frame 0 … frame n-1 | table frame | footer
//!                                    plain     sealed               sealed        plain
//! ```
//! A *commit pack* is one step of a lineage: what is new of its files, of its manifest, and the commit itself. A *data pack* holds what did not fit into it.

use std::{collections::HashSet, fmt, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    codec::Codec,
    error::{Error, Reason, Result},
    id::{LineageId, Namespace},
    seal::{NONCE, Secret, TAG},
    tree::{Root, sha256},
};

mod header;
mod reader;
mod writer;

pub use header::{Header, PackKind, parse_header, void_object};
pub(super) use reader::stored_codec;
pub use reader::{FOOTER, Footer, Row, Table, parse_footer, parse_table};
pub use writer::PackWriter;

/// First bytes of every object of this format.
pub const MAGIC: &[u8; 4] = b"CLKP";
/// Version of the format.
pub const VERSION: u8 = 1;
/// Most bytes of a frame before packing: of a pathological segment; data frames have at most 1 MiB.
pub const MAX_PLAIN: u32 = 256 << 20;
/// First part of the associated data of every frame.
const LABEL: &[u8] = b"cloakroom pack 1";

/// Which pack of a lineage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackName {
    /// The commit pack of this slot.
    Commit(u64),
    /// The data pack of this name: `A-Z a-z 0-9 - .`, at most 128 bytes.
    Data(String),
}

impl PackName {
    /// The object's name, before the bucket's own prefix. The two digits spread lineages over the bucket's partitions.
    #[must_use]
    pub fn object(&self, lineage: LineageId) -> String {
        let spread = sha256(&lineage.0)[0];
        match self {
            Self::Commit(slot) => format!("c/{spread:02x}/{lineage}/{slot:016x}"),
            Self::Data(name) => format!("d/{spread:02x}/{lineage}/{name}"),
        }
    }

    /// Whether a data pack's name keeps to its rule.
    fn is_valid(&self) -> bool {
        match self {
            Self::Commit(slot) => *slot > 0,
            Self::Data(name) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
                (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
            }
        }
    }
}

/// The object that says that a slot's pack never became a head.
#[must_use]
pub fn void_name(lineage: LineageId, slot: u64) -> String {
    format!("{}.void", PackName::Commit(slot).object(lineage))
}

/// A pack as others refer to it: enough to open its frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pack {
    /// Which one.
    pub name: PackName,
    /// SHA-256 of its header.
    pub header: Root,
}

/// A reference to a pack, as manifests write it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PackRow {
    /// The slot of a commit pack; 0 for a data pack.
    #[prost(uint64, tag = "1")]
    slot: u64,
    /// The name of a data pack; empty for a commit pack.
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "vec", tag = "3")]
    header: Vec<u8>,
}

impl PackRow {
    pub(super) fn new(pack: &Pack) -> Self {
        let (slot, name) = match &pack.name {
            PackName::Commit(slot) => (*slot, String::new()),
            PackName::Data(name) => (0, name.clone()),
        };
        Self { slot, name, header: pack.header.to_vec() }
    }

    pub(super) fn read(&self) -> Result<Arc<Pack>> {
        let name = if self.name.is_empty() { PackName::Commit(self.slot) } else { PackName::Data(self.name.clone()) };
        match <Root>::try_from(self.header.as_slice()) {
            Ok(header) if name.is_valid() && (self.name.is_empty() || self.slot == 0) => Ok(Arc::new(Pack { name, header })),
            _ => Err(corrupt("a reference to a pack is damaged")),
        }
    }

    /// Reads a list of packs. Nobody writes one twice: what refers to a pack by its number would not be what it was once it is written anew.
    pub(super) fn read_all(rows: &[Self]) -> Result<Vec<Arc<Pack>>> {
        let packs = rows.iter().map(Self::read).collect::<Result<Vec<_>>>()?;
        let distinct: HashSet<&Arc<Pack>> = packs.iter().collect();
        if distinct.len() == packs.len() { Ok(packs) } else { Err(corrupt("a pack is listed twice")) }
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameKind {
    /// Leaves of files, one after the other.
    Data = 1,
    /// A part of a manifest.
    Segment = 2,
    /// The commit itself, with the list of the manifest's segments.
    Commit = 3,
    /// The storage state that was saved along.
    StorageState = 4,
    /// The session's record at that time.
    Session = 5,
    /// The list of all frames before it.
    Table = 6,
}

impl FrameKind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Data, Self::Segment, Self::Commit, Self::StorageState, Self::Session, Self::Table].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Where a frame lies: enough to read it without its pack's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// In which pack.
    pub pack: Arc<Pack>,
    /// Its number there.
    pub index: u32,
    /// Its first byte there.
    pub offset: u64,
    /// Its sealed length, with the tag.
    pub sealed: u32,
    /// Its length unpacked.
    pub plain: u32,
    /// How it is packed: [`Codec::Raw`] or [`Codec::Zstd`].
    pub codec: Codec,
}

/// The key of one pack. It opens what this pack's frames are, where they are, and nothing else.
pub struct PackKey {
    key: Secret,
    /// What the associated data of all its frames begin with.
    identity: Vec<u8>,
}

impl PackKey {
    /// The key of `pack`. Its context holds the header's digest, and the header a random salt: two writers that seal different packs for the same slot, of which only
    /// one can be stored, never use one key and nonce for two texts.
    #[must_use]
    pub fn new(lineage_key: &Secret, namespace: &Namespace, lineage: LineageId, pack: &Pack) -> Self {
        let object = pack.name.object(lineage);
        let key = lineage_key.derive("pack", &[object.as_bytes(), &[0], &pack.header].concat());
        let length = |text: &str| u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut identity = LABEL.to_vec();
        for text in [namespace.as_str(), &object] {
            identity.extend_from_slice(&length(text));
            identity.extend_from_slice(text.as_bytes());
        }
        identity.extend_from_slice(&lineage.0);
        identity.extend_from_slice(&pack.header);
        Self { key, identity }
    }

    fn aad(&self, kind: FrameKind, index: u32, plain: u32, codec: Codec) -> Vec<u8> {
        let mut aad = Vec::with_capacity(self.identity.len() + 11);
        aad.extend_from_slice(&self.identity);
        aad.extend_from_slice(&index.to_be_bytes());
        aad.extend_from_slice(&plain.to_be_bytes());
        aad.extend_from_slice(&[codec as u8, kind as u8, u8::from(kind == FrameKind::Table)]);
        aad
    }

    /// Seals the bytes of `buffer` from `start` on, in place, and appends the tag.
    fn seal(&self, kind: FrameKind, frame: &Frame, buffer: &mut Vec<u8>, start: usize) -> Result<()> {
        let aad = self.aad(kind, frame.index, frame.plain, frame.codec);
        self.key.seal_tail(nonce(frame.index), &aad, buffer, start)
    }

    /// Opens a frame in place; what comes out is still packed by its codec.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when a bit of it, or of where it belongs, differs.
    pub fn open(&self, kind: FrameKind, frame: &Frame, mut sealed: BytesMut) -> Result<Bytes> {
        if sealed.len() != frame.sealed as usize {
            return Err(corrupt("a frame has another length than its reference says"));
        }
        let aad = self.aad(kind, frame.index, frame.plain, frame.codec);
        let length = self.key.open_slice(nonce(frame.index), &aad, &mut sealed)?;
        sealed.truncate(length);
        Ok(sealed.freeze())
    }
}

impl fmt::Debug for PackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackKey(…)")
    }
}

/// A frame's number as a nonce. A pack's key seals each number once.
fn nonce(index: u32) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[NONCE - 4..].copy_from_slice(&index.to_be_bytes());
    nonce
}

/// The length of a frame that holds `packed` bytes.
fn sealed_length(packed: usize) -> Result<u32> {
    u32::try_from(packed + TAG).map_err(|_| Error::new(Reason::LimitExceeded, format!("a frame of {packed} bytes is too long")))
}

pub(super) fn corrupt(problem: &str) -> Error {
    Error::new(Reason::DataCorrupt, problem)
}

#[cfg(test)]
mod tests;
