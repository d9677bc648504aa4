//! How a profile is named by digests: leaves, file roots and the manifest root, exactly as `profile.proto` describes them.

use ring::digest::{Context, SHA256, digest as sha};

/// Bytes of a leaf; only the last leaf of a file is shorter.
pub const LEAF: u32 = 4096;
/// Bytes of a leaf's digest.
pub const DIGEST: usize = 16;
/// Most entries of a profile.
pub const MAX_ENTRIES: usize = 100_000;
/// Most bytes of all files of a profile together: 8 GiB.
pub const MAX_CONTENT: u64 = 8 << 30;
/// Highest permission bits of an entry.
pub const MAX_MODE: u32 = 0o7777;

/// The first 16 bytes of the SHA-256 of a leaf.
pub type Digest = [u8; DIGEST];
/// A SHA-256: of a file's leaf digests, of a link's target, or of all entries.
pub type Root = [u8; 32];

/// What an entry is. The numbers are those of the manifest root and of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
}

impl Kind {
    /// The kind of this number.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        [Self::File, Self::Directory, Self::Symlink].into_iter().find(|kind| *kind as i32 == number)
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Root {
    to_root(sha(&SHA256, bytes))
}

fn to_root(digest: impl AsRef<[u8]>) -> Root {
    let mut root = [0; 32];
    root.copy_from_slice(digest.as_ref());
    root
}

/// The digest of a leaf.
#[must_use]
pub fn leaf_digest(leaf: &[u8]) -> Digest {
    let mut short = [0; DIGEST];
    short.copy_from_slice(&sha(&SHA256, leaf).as_ref()[..DIGEST]);
    short
}

/// How many leaves a file of `size` bytes has. Sizes are at most [`MAX_CONTENT`]; a larger one gives the largest number there is.
#[must_use]
pub fn leaf_count(size: u64) -> u32 {
    u32::try_from(size.div_ceil(LEAF.into())).unwrap_or(u32::MAX)
}

/// How many bytes `count` leaves from `first` on have in a file of `size` bytes.
#[must_use]
pub fn span_bytes(size: u64, first: u32, count: u32) -> u64 {
    let start = (u64::from(first) * u64::from(LEAF)).min(size);
    let end = ((u64::from(first) + u64::from(count)) * u64::from(LEAF)).min(size);
    end - start
}

/// The root of a directory.
pub const DIRECTORY_ROOT: Root = [0; 32];

/// The manifest root, entry by entry.
pub struct RootHasher(Context);

impl RootHasher {
    /// Of no entries yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds an entry. Entries come in ascending order of their paths' bytes.
    pub fn add(&mut self, entry: &Described<'_>) {
        let length = u32::try_from(entry.path.len()).unwrap_or(u32::MAX);
        let mut head = [0; 25];
        head[0] = entry.kind as u8;
        head[1..5].copy_from_slice(&entry.mode.to_be_bytes());
        head[5..13].copy_from_slice(&entry.mtime_ns.to_be_bytes());
        head[13..21].copy_from_slice(&entry.size.to_be_bytes());
        head[21..25].copy_from_slice(&length.to_be_bytes());
        self.0.update(&head);
        self.0.update(entry.path.as_bytes());
        self.0.update(entry.root);
    }

    /// The root of all entries that were added.
    #[must_use]
    pub fn finish(self) -> Root {
        to_root(self.0.finish())
    }
}

impl Default for RootHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RootHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootHasher")
    }
}

/// What the manifest root says of one entry.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its path.
    pub path: &'a str,
    /// Its permission bits.
    pub mode: u32,
    /// Its modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its size in bytes.
    pub size: u64,
    /// Its root.
    pub root: &'a Root,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hex::hex;

    #[test]
    fn leaves_are_counted_and_measured() {
        assert_eq!([0, 1, 4096, 4097, MAX_CONTENT].map(leaf_count), [0, 1, 1, 2, 2_097_152]);
        assert_eq!(span_bytes(10_000, 0, 3), 10_000);
        assert_eq!(span_bytes(10_000, 1, 1), 4096);
        assert_eq!(span_bytes(10_000, 2, 1), 1808);
        assert_eq!(span_bytes(10_000, 9, 9), 0);
        assert_eq!(span_bytes(u64::MAX, u32::MAX, u32::MAX), u64::from(u32::MAX) * u64::from(LEAF));
    }

    #[test]
    fn roots_are_those_of_an_independent_calculation() {
        // python3 -c "import hashlib, struct; s=lambda b: hashlib.sha256(b).digest(); leaf=s(b'hello')[:16]; root=s(leaf);
        //   e=lambda k,m,t,n,p,r: struct.pack('>BIqQI',k,m,t,n,len(p))+p+r
        //   print(s(e(2,0o700,5,0,b'd',bytes(32))+e(1,0o600,-7,5,b'd/f',root)+e(3,0o777,0,1,b'l',s(b'd'))).hex())"
        let file = sha256(&leaf_digest(b"hello"));
        let link = sha256(b"d");
        let mut hasher = RootHasher::new();
        hasher.add(&Described { kind: Kind::Directory, path: "d", mode: 0o700, mtime_ns: 5, size: 0, root: &DIRECTORY_ROOT });
        hasher.add(&Described { kind: Kind::File, path: "d/f", mode: 0o600, mtime_ns: -7, size: 5, root: &file });
        hasher.add(&Described { kind: Kind::Symlink, path: "l", mode: 0o777, mtime_ns: 0, size: 1, root: &link });
        assert_eq!(hex(&hasher.finish()), "d543e5ae8b7d6e26682d3362e76559b326c5267d37dacad7e9c217dae9408a1d");
        assert_eq!(hex(&RootHasher::new().finish()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
