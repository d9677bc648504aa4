//! What a profile consists of: entries with their roots, the rules for their paths, and what the file system says of them. The digests are those of `profile.proto`.

use std::{collections::HashMap, fmt, fs::Metadata, os::unix::fs::MetadataExt as _, str::FromStr, sync::Arc};

use bytes::Bytes;
use cloakroom_api::v1;
use ring::digest::{Context, SHA256, digest};

use crate::error::{Error, Result};

/// Bytes of a leaf.
pub(crate) const LEAF: usize = 4096;
/// Bytes of a leaf's digest.
pub(crate) const DIGEST: usize = 16;
/// Every link has this mode, whatever the system says of it.
pub(crate) const LINK_MODE: u32 = 0o777;
/// Longer than a tick of any file system's clock that keeps better times than seconds.
const TICK_NS: i128 = 20_000_000;
const MAX_PATH: usize = 1024;
const MAX_COMPONENT: usize = 255;
const MAX_DEPTH: usize = 64;
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

/// A tree: entries in order of the UTF-8 bytes of their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    entries: Vec<Arc<Entry>>,
}

impl Tree {
    /// Puts entries in order.
    pub(crate) fn new(mut entries: Vec<Arc<Entry>>) -> Self {
        entries.sort_unstable_by(|one, other| one.path.as_bytes().cmp(other.path.as_bytes()));
        Self { entries }
    }

    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The entries by their paths.
    pub(crate) fn by_path(&self) -> HashMap<&str, &Arc<Entry>> {
        self.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect()
    }

    /// The one entry with this path.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path.as_bytes())).ok()?;
        self.entries.get(at)
    }

    pub(crate) fn manifest_root(&self) -> Root {
        let mut context = Context::new(&SHA256);
        for entry in &self.entries {
            context.update(&[entry.kind as u8]);
            context.update(&entry.mode.to_be_bytes());
            context.update(&entry.mtime_ns.to_be_bytes());
            context.update(&entry.size.to_be_bytes());
            context.update(&u32::try_from(entry.path.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(entry.path.as_bytes());
            context.update(&entry.root);
        }
        finish(context)
    }
}

fn finish(context: Context) -> Root {
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

/// What the file system says of an entry: if it says the same again, the entry was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    inode: u64,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            size: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Itself, unless a second change could hide within one tick of the file system's clock; `now` is the moment before it was made, in nanoseconds since 1970.
    pub(crate) fn settled(self, now: i128) -> Option<Self> {
        (self.mtime_ns.min(self.ctime_ns) + TICK_NS <= now).then_some(self)
    }

    /// The modification time as the contract has it.
    pub(crate) fn mtime(&self) -> i64 {
        self.mtime_ns.try_into().unwrap_or(if self.mtime_ns < 0 { i64::MIN } else { i64::MAX })
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.size, self.mtime_ns, self.ctime_ns, self.inode)
    }
}

impl FromStr for Stat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.split(':');
        let mut next = || numbers.next().and_then(|number| number.parse::<i128>().ok()).ok_or(());
        let (size, mtime_ns, ctime_ns, inode) = (next()?, next()?, next()?, next()?);
        let stat = Self { size: size.try_into().map_err(|_| ())?, mtime_ns, ctime_ns, inode: inode.try_into().map_err(|_| ())? };
        if numbers.next().is_none() { Ok(stat) } else { Err(()) }
    }
}

/// What is wrong with the path of an entry.
pub(crate) fn fault_in_path(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains(['\0', '\\']) {
        return Some("it has a NUL or a backslash");
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Some("a component is empty, `.` or `..`");
    }
    if path.len() > MAX_PATH || path.split('/').count() > MAX_DEPTH || path.split('/').any(|name| name.len() > MAX_COMPONENT) {
        return Some("it is longer than 1,024 bytes, or 64 components, or 255 bytes in one of them");
    }
    None
}

/// What is wrong with a link's target. First climbing and then descending, no chain of links leads out of the profile.
pub(crate) fn fault_in_target(path: &str, target: &str) -> Option<&'static str> {
    if target.is_empty() || target.starts_with('/') || target.contains(['\0', '\\']) {
        return Some("its target is empty or absolute, or has a NUL or a backslash");
    }
    let names: Vec<_> = target.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let climbs = names.iter().take_while(|name| **name == "..").count();
    if names[climbs..].contains(&"..") {
        return Some("its target has `..` after a name");
    }
    (climbs > path.matches('/').count()).then_some("its target is outside the profile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{content, hex, tree_of, vectors};

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
    fn manifest_roots_are_those_of_the_vectors() {
        for case in vectors("manifests")["trees"].as_array().unwrap() {
            assert_eq!(hex(&tree_of(&case["tree"]).manifest_root()), case["manifest_root"], "{}", case["name"]);
        }
    }

    #[test]
    fn paths_and_links_are_judged_as_the_vectors_say() {
        let vectors = vectors("paths");
        for case in vectors["paths"].as_array().unwrap() {
            let fault = fault_in_path(case["path"].as_str().unwrap());
            assert_eq!(fault.is_none(), case["ok"].as_bool().unwrap(), "{case}: {fault:?}");
        }
        for case in vectors["links"].as_array().unwrap() {
            let fault = fault_in_target(case["path"].as_str().unwrap(), case["target"].as_str().unwrap());
            assert_eq!(fault.is_none(), case["ok"].as_bool().unwrap(), "{case}: {fault:?}");
        }
    }

    #[test]
    fn a_stat_survives_its_text_and_nothing_else_is_one() {
        let stat = Stat { size: 1, mtime_ns: -5, ctime_ns: 1 << 80, inode: 7 };
        assert_eq!(stat.to_string().parse(), Ok(stat));
        for bad in ["", "1", "1:2:3", "1:2:3:4:5", "1:2:3:x", "-1:2:3:4", "1:2:3:-4"] {
            assert_eq!(bad.parse::<Stat>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_stat_is_trusted_unless_both_times_are_fresh() {
        let stat = |mtime_ns, ctime_ns| Stat { size: 1, mtime_ns, ctime_ns, inode: 1 };
        let now = 1_000_000_000;
        assert!(stat(now, now).settled(now).is_none());
        assert!(stat(now - TICK_NS + 1, now).settled(now).is_none());
        assert!(stat(now - TICK_NS, now).settled(now).is_some());
        assert!(stat(0, now).settled(now).is_some());
        assert!(stat(now + 1_000_000_000, now).settled(now).is_none());
    }

    #[test]
    fn leaves_have_their_place() {
        let file = Entry::file("f".to_owned(), 0, 0, 8193, vec![0; 3 * DIGEST]);
        assert_eq!((file.span(0, 1), file.span(1, 2), file.span(2, 1)), (Some((0, 4096)), Some((4096, 4097)), Some((8192, 1))));
        assert_eq!((file.span(0, 0), file.span(0, 4), file.span(3, 1), file.span(usize::MAX, 2)), (None, None, None, None));
    }
}
