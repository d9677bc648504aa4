//! Snapshots as the metadata keep them. Everything in them stands in the bucket too.

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{
    codec::Codec,
    error::{Error, Reason, Result},
    id::{LineageId, SessionId, SnapshotId, UploadId},
    manifest::CommitInfo,
    pack::{Frame, Header, Pack, PackName},
    portability::Portability,
    tree::{Root, sha256},
};

/// Marks of a snapshot's record: numbers that the store sets.
pub mod mark {
    /// When it was committed, in µs.
    pub const CREATED: &str = "created";
    /// The revision of its commit.
    pub const BORN: &str = "born";
    /// When it was pinned, in µs; 0 while it is not.
    pub const PINNED: &str = "pinned";
    /// When it was deleted, in µs; 0 while it is not.
    pub const DELETED: &str = "deleted";
}

/// How a snapshot came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SnapshotKind {
    /// Saved by a worker.
    #[default]
    Save,
}

/// A snapshot's record. It is stored as JSON, so that an operator can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The session it was saved in.
    pub session: String,
    /// The slot of its commit.
    pub sequence: u64,
    /// The snapshot it was made from: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How it came to be.
    pub kind: SnapshotKind,
    /// The manifest root: 64 hexadecimal digits.
    pub root: String,
    /// How many entries it has.
    pub entries: u64,
    /// The sum of its files' sizes.
    pub content: u64,
    /// Bytes that its save added to the blob store.
    pub stored: u64,
    /// Whether a storage state was saved with it.
    pub storage_state: bool,
    /// Where it comes from.
    pub portability: Portability,
    /// The upload that made it.
    pub upload: String,
    /// Where its commit frame lies in the commit pack.
    pub commit: CommitAt,
    /// Why it is pinned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pin_note: String,
}

/// Where a commit frame lies in its pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitAt {
    header: String,
    index: u32,
    offset: u64,
    sealed: u32,
    plain: u32,
    codec: u8,
}

impl Snapshot {
    /// The record of a commit pack of `length` bytes.
    #[must_use]
    pub fn new(header: &Header, commit: &CommitInfo, frame: &Frame, length: u64) -> Self {
        Self {
            session: header.session.clone(),
            sequence: header.slot,
            parent: header.parent_id().map(|parent| parent.to_string()),
            kind: SnapshotKind::Save,
            root: to_hex(&commit.root),
            entries: commit.entries,
            content: commit.content,
            stored: length + commit.data_bytes,
            storage_state: commit.storage_state.is_some(),
            portability: commit.portability.clone(),
            upload: header.upload.clone(),
            commit: CommitAt {
                header: to_hex(&frame.pack.header),
                index: frame.index,
                offset: frame.offset,
                sealed: frame.sealed,
                plain: frame.plain,
                codec: frame.codec as u8,
            },
            pin_note: String::new(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is damaged.
    pub fn from_json(id: SnapshotId, json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| Self::damaged(id).with_source(error))
    }

    /// The manifest root.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is damaged.
    pub fn root(&self, id: SnapshotId) -> Result<Root> {
        from_hex(&self.root).ok_or_else(|| Self::damaged(id))
    }

    /// Where its commit frame lies.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when it is damaged.
    pub fn commit_frame(&self, id: SnapshotId) -> Result<Frame> {
        let CommitAt { header, index, offset, sealed, plain, codec } = &self.commit;
        let (header, codec) = (from_hex(header), Codec::from_number(u32::from(*codec)).filter(|codec| *codec != Codec::Deflate));
        let (Some(header), Some(codec)) = (header, codec) else { return Err(Self::damaged(id)) };
        let pack = Pack { name: PackName::Commit(self.sequence), header }.into();
        Ok(Frame { pack, index: *index, offset: *offset, sealed: *sealed, plain: *plain, codec })
    }

    fn damaged(id: SnapshotId) -> Error {
        Error::new(Reason::DataCorrupt, format!("the record of snapshot {id} is damaged")).with("snapshot_id", id)
    }
}

/// Which snapshot an upload made, or a restore made the head again; kept as long as the lineage, so that repetitions find it, however late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadResult {
    /// The session's lineage then; a session made anew under the same id has another one.
    pub lineage: String,
    /// The snapshot.
    pub snapshot: String,
    /// Of a restore: the head before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
}

/// The id of the snapshot that an upload makes. It names content, not a place: the same upload with the same content has the same id, whatever slot it gets.
#[must_use]
pub fn snapshot_id(lineage: LineageId, upload: &UploadId, root: &Root, storage_state: Option<&Root>) -> SnapshotId {
    let mut context = Context::new(&SHA256);
    context.update(b"snapshot");
    context.update(&lineage.0);
    context.update(upload.as_str().as_bytes());
    context.update(root);
    context.update(storage_state.unwrap_or(&[0; 32]));
    let mut id = [0; 16];
    id.copy_from_slice(&context.finish().as_ref()[..16]);
    SnapshotId(id)
}

/// Name of a snapshot's record.
#[must_use]
pub fn record_key(lineage: LineageId, snapshot: SnapshotId) -> String {
    format!("p/{lineage}/{snapshot}")
}

/// Name of the index of a lineage's snapshots, by sequence.
#[must_use]
pub fn index_name(lineage: LineageId) -> String {
    format!("p/{lineage}")
}

/// Name of the index of a lineage's restores: the names that stand for their uploads, by slot.
#[must_use]
pub fn restores_name(lineage: LineageId) -> String {
    format!("q/{lineage}")
}

/// The name that stands for a restore's upload. The same request has the same one.
///
/// # Errors
/// None that can happen: the name keeps to the rule of upload ids.
pub fn restore_id(seed: &[u8]) -> Result<UploadId> {
    let text = sha256(seed)[..16].iter().fold(String::from("restore-"), |text, byte| text + &format!("{byte:02x}"));
    UploadId::parse("request_id", &text)
}

/// Name of the record of what an upload made.
#[must_use]
pub fn upload_key(session: &SessionId, upload: &UploadId) -> String {
    format!("u/{session}/{upload}")
}

fn to_hex(root: &Root) -> String {
    root.iter().fold(String::with_capacity(64), |mut text, byte| {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

fn from_hex(text: &str) -> Option<Root> {
    let (a, b) = text.split_at_checked(32)?;
    let half = |text| SnapshotId::parse("root", text).ok();
    let (a, b) = (half(a)?, half(b)?);
    let mut root = Root::default();
    root[..16].copy_from_slice(&a.0);
    root[16..].copy_from_slice(&b.0);
    Some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(text: &str) -> UploadId {
        UploadId::parse("upload_id", text).unwrap()
    }

    #[test]
    fn an_id_depends_on_everything_that_makes_a_snapshot() {
        let (a, b) = (upload("0123456789abcdef"), upload("0123456789abcdeg"));
        let base = snapshot_id(LineageId([1; 16]), &a, &[2; 32], None);
        assert_eq!(base, snapshot_id(LineageId([1; 16]), &a, &[2; 32], Some(&[0; 32])));
        let others = [
            snapshot_id(LineageId([3; 16]), &a, &[2; 32], None),
            snapshot_id(LineageId([1; 16]), &b, &[2; 32], None),
            snapshot_id(LineageId([1; 16]), &a, &[3; 32], None),
            snapshot_id(LineageId([1; 16]), &a, &[2; 32], Some(&[4; 32])),
        ];
        assert!(others.iter().all(|other| *other != base));
        // python3 -c "import hashlib; print(hashlib.sha256(b'snapshot'+b'\1'*16+b'0123456789abcdef'+b'\2'*32+bytes(32)).hexdigest()[:32])"
        assert_eq!(base.to_string(), "8c92918bf990a7b8f81828193b95025c");
    }

    #[test]
    fn a_record_reads_back_and_a_damaged_one_says_so() {
        let mut header = Header { session: "s".to_owned(), slot: 3, parent: vec![1; 16], upload: "u".to_owned(), ..Header::default() };
        header.set_kind(super::super::pack::PackKind::Commit);
        let pack = Pack { name: PackName::Commit(3), header: [0xab; 32] }.into();
        let frame = Frame { pack, index: 4, offset: 5, sealed: 60, plain: 7, codec: Codec::Zstd };
        let commit = CommitInfo {
            root: [0xcd; 32],
            entries: 1,
            content: 2,
            segments: Vec::new(),
            portability: Portability::default(),
            storage_state: None,
            data_bytes: 10,
            packs: Vec::new(),
        };
        let snapshot = Snapshot::new(&header, &commit, &frame, 100);
        let id = SnapshotId([9; 16]);
        let read = Snapshot::from_json(id, &serde_json::to_vec(&snapshot).unwrap()).unwrap();
        assert_eq!((&read, read.stored, read.root(id).unwrap(), read.commit_frame(id).unwrap()), (&snapshot, 110, [0xcd; 32], frame));
        assert_eq!(Snapshot::from_json(id, b"{}").unwrap_err().reason(), Reason::DataCorrupt);
        let bad = Snapshot { root: "é".repeat(32), ..snapshot };
        assert_eq!(bad.root(id).unwrap_err().reason(), Reason::DataCorrupt);
    }
}
