//! One entry of a profile and its root. The digests are those of `profile.proto`.

use bytes::Bytes;
use cloakroom_api::v1;
use ring::digest::{Context, SHA256, digest};

use crate::{
    error::{Error, Result},
    tree::{Stat, fault_in_path, fault_in_target},
};

/// Bytes of a leaf.
pub(crate) const LEAF: usize = 4096;
/// Bytes of a leaf's digest.
pub(crate) const DIGEST: usize = 16;
/// Every link has this mode, whatever the system says of it.
const LINK_MODE: u32 = 0o777;
const MAX_MODE: u32 = 0o7777;
/// Most bytes of all files of a profile together: eight times what a daemon takes today. It keeps tables of leaves below 300 MB, whatever a stream announces.
pub(crate) const MAX_CONTENT: u64 = 64 << 30;

/// What an entry is. The numbers are those of the manifest root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File = 1,
    Directory = 2,
    Link = 3,
}

/// A file's, link's or directory's root.
pub(crate) type Root = [u8; 32];

/// One file, directory or link of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) mtime_ns: i64,
    pub(crate) size: u64,
    pub(crate) root: Root,
    /// Of a link.
    pub(crate) target: String,
    /// Of a file: the digests of its leaves, joined.
    pub(crate) leaves: Vec<u8>,
    /// How the system described it when it was looked at; nothing if a change could hide behind that.
    pub(crate) stat: Option<Stat>,
}

impl Entry {
    pub(crate) fn directory(path: String, mode: u32, mtime_ns: i64) -> Self {
        Self { kind: Kind::Directory, path, mode, mtime_ns, size: 0, root: [0; 32], target: String::new(), leaves: Vec::new(), stat: None }
    }

    pub(crate) fn link(path: String, target: String) -> Self {
        let (size, root) = (target.len() as u64, sha256(target.as_bytes()));
        Self { kind: Kind::Link, path, mode: LINK_MODE, mtime_ns: 0, size, root, target, leaves: Vec::new(), stat: None }
    }

    pub(crate) fn file(path: String, mode: u32, mtime_ns: i64, size: u64, leaves: Vec<u8>) -> Self {
        let root = sha256(&leaves);
        Self { kind: Kind::File, path, mode, mtime_ns, size, root, target: String::new(), leaves, stat: None }
    }

    /// The digest of one leaf; nothing after the last.
    pub(crate) fn leaf(&self, index: usize) -> Option<&[u8]> {
        self.leaves.get(index * DIGEST..(index + 1) * DIGEST)
    }

    /// How many leaves it has.
    pub(crate) fn leaf_count(&self) -> usize {
        if self.kind == Kind::File { usize::try_from(self.size.div_ceil(LEAF as u64)).unwrap_or(usize::MAX) } else { 0 }
    }

    /// Whether they are one and the same, as far as a profile is concerned.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (self.kind, self.mode, self.mtime_ns, self.size, self.root) == (other.kind, other.mode, other.mtime_ns, other.size, other.root)
    }

    /// The bytes of some leaves: where they begin, and how many they are; nothing if it does not have all of them.
    pub(crate) fn span(&self, first: usize, count: usize) -> Option<(u64, usize)> {
        let end = first.checked_add(count).filter(|end| count > 0 && *end <= self.leaf_count())?;
        let begin = (first * LEAF) as u64;
        Some((begin, usize::try_from(self.size.min((end * LEAF) as u64) - begin).ok()?))
    }

    pub(crate) fn to_wire(&self) -> v1::Entry {
        v1::Entry {
            kind: self.kind as i32,
            path: self.path.clone(),
            mode: self.mode,
            mtime_ns: self.mtime_ns,
            size: self.size.try_into().unwrap_or(i64::MAX),
            root: if self.kind == Kind::File { Bytes::copy_from_slice(&self.root) } else { Bytes::new() },
            symlink_target: self.target.clone(),
        }
    }

    /// The entry in a message, without its leaves.
    pub(crate) fn from_wire(wire: v1::Entry) -> Result<Self> {
        let v1::Entry { kind, path, mode, mtime_ns, size, root, symlink_target: target } = wire;
        let fault = fault_in_path(&path).or_else(|| if kind == Kind::Link as i32 { fault_in_target(&path, &target) } else { None });
        if let Some(fault) = fault {
            return Err(Error::damaged("PATH_INVALID", format!("{path:?}: {fault}")));
        }
        let wrong = || Error::damaged("DATA_INVALID", format!("{path:?} is no proper entry"));
        let size = u64::try_from(size).ok().filter(|size| *size <= MAX_CONTENT && mode <= MAX_MODE).ok_or_else(wrong)?;
        match kind {
            1 if target.is_empty() => {
                let root = Root::try_from(root.as_ref()).map_err(|_| wrong())?;
                Ok(Self { kind: Kind::File, path, mode, mtime_ns, size, root, target, leaves: Vec::new(), stat: None })
            }
            2 if size == 0 && root.is_empty() && target.is_empty() => Ok(Self::directory(path, mode, mtime_ns)),
            3 if size == target.len() as u64 && root.is_empty() => Ok(Self { mode, mtime_ns, ..Self::link(path, target) }),
            _ => Err(wrong()),
        }
    }
}

pub(super) fn finish(context: Context) -> Root {
    let mut root = [0; 32];
    root.copy_from_slice(context.finish().as_ref());
    root
}

pub(crate) fn sha256(bytes: &[u8]) -> Root {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

/// Appends the digests of whole leaves, of which the last may be shorter.
pub(crate) fn hash_leaves(bytes: &[u8], leaves: &mut Vec<u8>) {
    for leaf in bytes.chunks(LEAF) {
        leaves.extend_from_slice(&digest(&SHA256, leaf).as_ref()[..DIGEST]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hex::hex,
        vectors::{content, vectors},
    };

    #[test]
    fn digests_are_those_of_the_vectors() {
        for case in vectors("digests")["files"].as_array().unwrap() {
            let body = content(&case["content"]);
            let mut leaves = Vec::new();
            hash_leaves(&body, &mut leaves);
            let entry = Entry::file("f".to_owned(), 0o600, 0, body.len() as u64, leaves);
            assert_eq!(hex(&sha256(&body)), case["sha256"], "the generator of {case}");
            assert_eq!((hex(&entry.root).as_str(), entry.leaf_count() as u64), (case["root"].as_str().unwrap(), case["leaf_count"].as_u64().unwrap()));
            for (index, leaf) in case["leaves"].as_array().unwrap().iter().enumerate() {
                assert_eq!(hex(entry.leaf(index).unwrap()), *leaf);
            }
            let last = entry.leaf_count().checked_sub(1).and_then(|last| entry.leaf(last)).unwrap_or_default();
            assert_eq!(hex(last), case["last_leaf"]);
            assert_eq!(entry.leaf(entry.leaf_count()), None);
        }
    }

    #[test]
    fn leaves_have_their_place() {
        let file = Entry::file("f".to_owned(), 0, 0, 8193, vec![0; 3 * DIGEST]);
        assert_eq!((file.span(0, 1), file.span(1, 2), file.span(2, 1)), (Some((0, 4096)), Some((4096, 4097)), Some((8192, 1))));
        assert_eq!((file.span(0, 0), file.span(0, 4), file.span(3, 1), file.span(usize::MAX, 2)), (None, None, None, None));
    }
}
