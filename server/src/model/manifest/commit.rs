//! The commit itself: what a commit pack's commit frame says.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;

use super::{
    Manifest, Segment,
    segment::{FrameRow, PackTable},
};
use crate::model::{
    error::{Error, Reason, Result},
    pack::{Frame, Pack, PackRow},
    portability::Portability,
    tree::Root,
};

/// Where the storage state lies that was saved along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageStateAt {
    /// The frame; it holds the JSON document.
    pub frame: Arc<Frame>,
    /// SHA-256 of the document.
    pub sha256: Root,
}

/// What a commit frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The manifest root.
    pub root: Root,
    /// How many entries the profile has.
    pub entries: u64,
    /// The sum of its files' sizes.
    pub content: u64,
    /// Where the manifest lies, in the order of the paths.
    pub segments: Vec<Segment>,
    /// Where the profile comes from.
    pub portability: Portability,
    /// The storage state that was saved along.
    pub storage_state: Option<StorageStateAt>,
    /// Bytes of the data packs that were written for this commit.
    pub data_bytes: u64,
    /// Every pack that this snapshot needs, for collection.
    pub packs: Vec<Arc<Pack>>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SegmentRow {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    frame: Option<FrameRow>,
    #[prost(uint32, tag = "4")]
    entries: u32,
    #[prost(uint64, tag = "5")]
    content: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct CommitRow {
    #[prost(bytes = "vec", tag = "1")]
    root: Vec<u8>,
    #[prost(uint64, tag = "2")]
    entries: u64,
    #[prost(uint64, tag = "3")]
    content: u64,
    #[prost(message, repeated, tag = "4")]
    packs: Vec<PackRow>,
    #[prost(message, repeated, tag = "5")]
    segments: Vec<SegmentRow>,
    #[prost(message, optional, tag = "6")]
    portability: Option<Portability>,
    #[prost(message, optional, tag = "7")]
    storage_state: Option<FrameRow>,
    #[prost(bytes = "vec", tag = "8")]
    storage_state_sha256: Vec<u8>,
    #[prost(uint64, tag = "9")]
    data_bytes: u64,
}

impl CommitInfo {
    /// The commit of a stored manifest. `data_bytes` are those of this save's data packs.
    #[must_use]
    pub fn new(manifest: &Manifest, portability: Portability, storage_state: Option<StorageStateAt>, data_bytes: u64) -> Self {
        let extents = manifest.entries().iter().flat_map(|entry| entry.extents.iter()).map(|extent| &extent.frame.pack);
        let mut all: Vec<&Arc<Pack>> = extents.chain(manifest.segments().iter().map(|segment| &segment.frame.pack)).collect();
        all.extend(storage_state.iter().map(|state| &state.frame.pack));
        // A profile has many extents and few packs, most of them in a row.
        all.dedup();
        let packs = PackTable::of(all).into_packs();
        Self {
            root: *manifest.root(),
            entries: manifest.entries().len() as u64,
            content: manifest.content(),
            segments: manifest.segments().to_vec(),
            portability,
            storage_state,
            data_bytes,
            packs,
        }
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut packs = PackTable::of(&self.packs);
        let mut row = |frame: &Frame| FrameRow::new(packs.index(&frame.pack), frame);
        let segment = |segment: &Segment| SegmentRow {
            first: segment.first.to_string(),
            sha256: segment.sha256.to_vec(),
            frame: Some(row(&segment.frame)),
            entries: segment.entries,
            content: segment.content,
        };
        let segments = self.segments.iter().map(segment).collect();
        let storage_state = self.storage_state.as_ref().map(|state| row(&state.frame));
        CommitRow {
            root: self.root.to_vec(),
            entries: self.entries,
            content: self.content,
            segments,
            portability: Some(self.portability.clone()),
            storage_state,
            storage_state_sha256: self.storage_state.as_ref().map(|state| state.sha256.to_vec()).unwrap_or_default(),
            data_bytes: self.data_bytes,
            packs: packs.into_rows(),
        }
        .encode_to_vec()
    }

    /// Reads its encoding.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it breaks a rule of the format.
    pub fn decode(plain: &[u8]) -> Result<Self> {
        let row = CommitRow::decode(plain).map_err(|error| damaged().with_source(error))?;
        let packs = PackRow::read_all(&row.packs)?;
        let root = |bytes: &[u8]| Root::try_from(bytes).map_err(|_| damaged());
        let segment = |row: SegmentRow| {
            let frame = row.frame.ok_or_else(damaged)?.read(&packs)?;
            Ok(Segment { first: row.first.into(), sha256: root(&row.sha256)?, frame, entries: row.entries, content: row.content })
        };
        let segments = row.segments.into_iter().map(segment).collect::<Result<_>>()?;
        let state = |frame: FrameRow| Ok(StorageStateAt { frame: frame.read(&packs)?, sha256: root(&row.storage_state_sha256)? });
        let storage_state = row.storage_state.map(state).transpose()?;
        let (root, portability) = (root(&row.root)?, row.portability.unwrap_or_default());
        Ok(Self { root, entries: row.entries, content: row.content, segments, portability, storage_state, data_bytes: row.data_bytes, packs })
    }
}

/// A session's record as it was when a commit was written, so that a bucket alone can bring sessions back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SavedSession {
    /// The record's value: JSON.
    #[prost(bytes = "vec", tag = "1")]
    pub record: Vec<u8>,
    /// Its marks.
    #[prost(btree_map = "string, int64", tag = "2")]
    pub marks: BTreeMap<String, i64>,
    /// Its revision.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// When it expires, in µs since 1970; 0 if never.
    #[prost(int64, tag = "4")]
    pub expires_at: i64,
}

impl SavedSession {
    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads its encoding.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::decode(bytes).map_err(|error| damaged().with_source(error))
    }
}

fn damaged() -> Error {
    Error::new(Reason::DataCorrupt, "a commit frame is damaged")
}
