//! Manifests: what a profile consists of, and where its bytes lie.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    error::{Error, Reason, Result},
    pack::Frame,
    tree::{DIGEST, DIRECTORY_ROOT, Described, Digest, Kind, Root, RootHasher, leaf_count, sha256},
};

mod commit;
mod segment;

pub use commit::{CommitInfo, SavedSession, StorageStateAt};
pub use segment::{Cut, NewSegment, cut, decode_segment};

/// Consecutive leaves of one file that lie one after the other in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The frame.
    pub frame: Arc<Frame>,
    /// Their first byte in the unpacked frame.
    pub offset: u32,
    /// How many leaves.
    pub leaves: u32,
}

/// One file, directory or link of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its path; see [`super::path`].
    pub path: Box<str>,
    /// Its permission bits.
    pub mode: u32,
    /// Its modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its size in bytes.
    pub size: u64,
    /// Its root; see [`super::tree`].
    pub root: Root,
    /// Where a link points; else empty.
    pub target: Box<str>,
    /// A file's leaf digests, 16 bytes each.
    pub leaves: Bytes,
    /// Where a file's leaves lie, in their order and without gaps.
    pub extents: Box<[Extent]>,
}

impl Entry {
    /// How many leaves it has.
    #[must_use]
    pub fn leaf_count(&self) -> u32 {
        if self.kind == Kind::File { leaf_count(self.size) } else { 0 }
    }

    /// The digest of a leaf.
    #[must_use]
    pub fn leaf(&self, index: u32) -> Option<Digest> {
        let at = index as usize * DIGEST;
        self.leaves.get(at..at + DIGEST).and_then(|digest| digest.try_into().ok())
    }

    /// Whether everything but its content is equal: what a loader sets without reading bytes.
    #[must_use]
    pub fn same_outside(&self, other: &Self) -> bool {
        (self.kind, self.mode, self.mtime_ns, &self.target) == (other.kind, other.mode, other.mtime_ns, &other.target)
    }

    /// As the manifest root sees it.
    #[must_use]
    pub fn described(&self) -> Described<'_> {
        Described { kind: self.kind, path: &self.path, mode: self.mode, mtime_ns: self.mtime_ns, size: self.size, root: &self.root }
    }
}

/// The root that an entry's own description gives it.
#[must_use]
pub fn entry_root(kind: Kind, leaves: &[u8], target: &str) -> Root {
    match kind {
        Kind::File => sha256(leaves),
        Kind::Directory => DIRECTORY_ROOT,
        Kind::Symlink => sha256(target.as_bytes()),
    }
}

/// A part of a stored manifest: consecutive entries in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The path of its first entry.
    pub first: Box<str>,
    /// SHA-256 of its encoding before packing.
    pub sha256: Root,
    /// Where it lies.
    pub frame: Arc<Frame>,
    /// How many entries it has.
    pub entries: u32,
    /// The sum of its files' sizes.
    pub content: u64,
}

/// All entries of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Arc<Entry>>,
    segments: Vec<Segment>,
    root: Root,
    content: u64,
}

impl Manifest {
    /// A manifest of these entries, which stand in ascending order of their paths.
    #[must_use]
    pub fn new(entries: Vec<Arc<Entry>>) -> Self {
        let mut hasher = RootHasher::new();
        let mut content = 0_u64;
        for entry in &entries {
            hasher.add(&entry.described());
            content = content.saturating_add(if entry.kind == Kind::File { entry.size } else { 0 });
        }
        Self { entries, segments: Vec::new(), root: hasher.finish(), content }
    }

    /// The same, now that it is stored in these segments.
    #[must_use]
    pub fn stored_in(mut self, segments: Vec<Segment>) -> Self {
        self.segments = segments;
        self
    }

    /// A manifest read back from its segments.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when they are not what `commit` says.
    pub fn read(commit: &CommitInfo, parts: Vec<Vec<Arc<Entry>>>) -> Result<Self> {
        let ordered = |pair: &[Arc<Entry>]| matches!(pair, [a, b] if a.path < b.path);
        let entries: Vec<_> = parts.into_iter().flatten().collect();
        if !entries.windows(2).all(ordered) {
            return Err(Error::new(Reason::DataCorrupt, "a manifest's segments are out of order"));
        }
        let manifest = Self::new(entries).stored_in(commit.segments.clone());
        if manifest.root != commit.root || manifest.content != commit.content || manifest.entries.len() as u64 != commit.entries {
            return Err(Error::new(Reason::DataCorrupt, "a manifest's entries do not give its root"));
        }
        Ok(manifest)
    }

    /// Its entries in ascending order of their paths.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The segments it is stored in.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The sum of its files' sizes, in bytes.
    #[must_use]
    pub fn content(&self) -> u64 {
        self.content
    }

    /// The entry of this path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by(|entry| (*entry.path).cmp(path)).ok()?;
        self.entries.get(at)
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let entry = |entry: &Arc<Entry>| 160 + entry.path.len() + entry.leaves.len() + entry.extents.len() * 96;
        self.entries.iter().map(entry).sum::<usize>() + self.segments.len() * 200 + 200
    }
}

#[cfg(test)]
mod tests;
