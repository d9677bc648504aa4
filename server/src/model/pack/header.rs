//! The readable beginning of a pack: what it is and where it belongs, so that the metadata can be rebuilt from a bucket.

use prost::Message as _;

use super::{MAGIC, PackName, VERSION, corrupt};
use crate::model::{
    error::{Error, Reason, Result},
    id::{LineageId, Namespace, SessionId, SnapshotId, UploadId},
    tree::{Root, sha256},
};

/// Longest encoded header.
const MAX_HEADER: usize = 4096;
/// Bytes before the encoded header.
const LEAD: usize = MAGIC.len() + 1 + 4;

/// What an object of this format is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PackKind {
    /// Never written.
    Unspecified = 0,
    /// A step of a lineage.
    Commit = 1,
    /// Leaves that did not fit into a commit pack.
    Data = 2,
    /// Says that the slot's pack never became a head. It has a header and nothing else.
    Void = 3,
    /// Makes an earlier snapshot of the lineage the head again. It takes a slot as a commit pack does, and holds no data.
    Restore = 4,
}

/// A pack's header. Field numbers never change their meaning.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    /// What the object is.
    #[prost(enumeration = "PackKind", tag = "1")]
    pub kind: i32,
    /// The namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// The lineage: 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub lineage: Vec<u8>,
    /// The session.
    #[prost(string, tag = "4")]
    pub session: String,
    /// The slot, from 1; 0 for a data pack.
    #[prost(uint64, tag = "5")]
    pub slot: u64,
    /// The snapshot it was made from: 16 bytes, or none.
    #[prost(bytes = "vec", tag = "6")]
    pub parent: Vec<u8>,
    /// The snapshot it makes: 16 bytes; none for a data pack.
    #[prost(bytes = "vec", tag = "7")]
    pub snapshot: Vec<u8>,
    /// The session's fence when it was written.
    #[prost(int64, tag = "8")]
    pub fence: i64,
    /// The upload it belongs to.
    #[prost(string, tag = "9")]
    pub upload: String,
    /// Version of the lineage's key record.
    #[prost(uint32, tag = "10")]
    pub key_version: u32,
    /// 16 random bytes: no two packs ever have the same header, hence the same key.
    #[prost(bytes = "vec", tag = "11")]
    pub salt: Vec<u8>,
    /// Name of the metadata's intent record, when data packs belong to it; else empty.
    #[prost(string, tag = "12")]
    pub intent: String,
    /// The data pack's own name; empty for the other kinds.
    #[prost(string, tag = "13")]
    pub name: String,
    /// The etag that the session must still have for this to become its head; empty for none.
    #[prost(string, tag = "14")]
    pub etag: String,
    /// Of a restore: the slot of the commit pack that describes the snapshot it makes the head again; else 0.
    #[prost(uint64, tag = "15")]
    pub of: u64,
}

impl Header {
    /// The bytes up to the first frame, and the SHA-256 of the encoded header.
    pub(super) fn to_lead(&self) -> Result<(Vec<u8>, Root)> {
        let encoded = self.encode_to_vec();
        if encoded.len() > MAX_HEADER {
            return Err(Error::new(Reason::Internal, format!("a pack's header has {} bytes", encoded.len())));
        }
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        let lead = [MAGIC.as_slice(), &[VERSION], &length.to_be_bytes(), &encoded].concat();
        Ok((lead, sha256(&encoded)))
    }

    /// Which pack it is the header of. A void object has the name of the slot's pack.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the name breaks its rule.
    pub fn pack_name(&self) -> Result<PackName> {
        let name = match self.kind() {
            PackKind::Commit | PackKind::Void | PackKind::Restore => PackName::Commit(self.slot),
            PackKind::Data => PackName::Data(self.name.clone()),
            PackKind::Unspecified => return Err(corrupt("a pack's header names an unknown kind")),
        };
        if name.is_valid() { Ok(name) } else { Err(corrupt("a pack's header has no valid name")) }
    }

    /// The snapshot it makes.
    #[must_use]
    pub fn snapshot_id(&self) -> Option<SnapshotId> {
        self.snapshot.as_slice().try_into().ok().map(SnapshotId)
    }

    /// The snapshot it was made from.
    #[must_use]
    pub fn parent_id(&self) -> Option<SnapshotId> {
        self.parent.as_slice().try_into().ok().map(SnapshotId)
    }

    /// The lineage.
    #[must_use]
    pub fn lineage_id(&self) -> Option<LineageId> {
        self.lineage.as_slice().try_into().ok().map(LineageId)
    }

    fn check(&self) -> Result<()> {
        self.pack_name()?;
        let names = Namespace::parse("namespace", &self.namespace).is_ok()
            && SessionId::parse("session", &self.session).is_ok()
            && UploadId::parse("upload", &self.upload).is_ok()
            && self.intent.len() <= 256
            && self.etag.len() <= 64;
        let optional = |bytes: &[u8]| matches!(bytes.len(), 0 | 16);
        let snapshot = if self.kind() == PackKind::Data { self.snapshot.is_empty() } else { self.snapshot.len() == 16 };
        let slot = (self.kind() == PackKind::Data) == (self.slot == 0);
        let restores = match self.kind() {
            PackKind::Restore => (1..self.slot).contains(&self.of) && self.parent.len() == 16,
            PackKind::Void => self.of < self.slot,
            _ => self.of == 0,
        };
        if names && self.lineage.len() == 16 && optional(&self.parent) && snapshot && slot && restores && self.salt.len() == 16 {
            return Ok(());
        }
        Err(corrupt("a pack's header breaks the format's rules"))
    }
}

/// Reads a header from the first bytes of an object: the header, its SHA-256, and where the first frame begins.
///
/// # Errors
/// `DATA_CORRUPT` when it is damaged, cut off, or of another version.
pub fn parse_header(bytes: &[u8]) -> Result<(Header, Root, u64)> {
    let (lead, rest) = bytes.split_first_chunk::<LEAD>().ok_or_else(|| corrupt("a pack is cut off in its header"))?;
    let [m0, m1, m2, m3, version, l0, l1, l2, l3] = *lead;
    if &[m0, m1, m2, m3] != MAGIC {
        return Err(corrupt("an object does not begin like a pack"));
    }
    if version != VERSION {
        let message = format!("a pack has format version {version}; this daemon reads version {VERSION}");
        return Err(Error::new(Reason::DataCorrupt, message).with_help("run a daemon at least as new as the one that wrote it"));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_HEADER {
        return Err(corrupt("a pack's header is too long"));
    }
    let encoded = rest.get(..length).ok_or_else(|| corrupt("a pack is cut off in its header"))?;
    let header = Header::decode(encoded).map_err(|error| corrupt("a pack's header does not decode").with_source(error))?;
    header.check()?;
    Ok((header, sha256(encoded), (LEAD + length) as u64))
}

/// The object that marks the slot of the pack with this header as void: the same header with another kind, and nothing else.
///
/// # Errors
/// `INTERNAL` when the header is too long.
pub fn void_object(commit: &Header) -> Result<Vec<u8>> {
    let mut void = commit.clone();
    void.set_kind(PackKind::Void);
    Ok(void.to_lead()?.0)
}
