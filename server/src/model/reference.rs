//! A client in the plainest way: whole trees in memory, differences by comparing bytes. The tests hold the daemon to it; it shares no code with what it checks but SHA-256.

use std::collections::BTreeMap;

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use super::{
    assembly::{NewEntry, Records, Run},
    codec::{Codec, pack, unpack},
    tree::Root,
};

/// Numbers that look random, the same for the same seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// Bytes that compress (text-like) or do not.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        if self.below(2) == 0 {
            let word = self.next().to_le_bytes();
            return (0..length).map(|at| word[at % 8] ^ u8::try_from(at / 1000 % 256).unwrap()).collect();
        }
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(length).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File { mode: u32, mtime_ns: i64, bytes: Vec<u8> },
    Directory { mode: u32, mtime_ns: i64 },
    Link { mode: u32, target: String },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Node>);

fn sha(bytes: &[u8]) -> Root {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

fn file_root(bytes: &[u8]) -> Root {
    sha(&bytes.chunks(4096).flat_map(|leaf| sha(leaf)[..16].to_vec()).collect::<Vec<u8>>())
}

impl Node {
    fn entry(&self, path: &str) -> NewEntry {
        let path = path.to_owned();
        match self {
            Self::File { mode, mtime_ns, bytes } => {
                let root = Bytes::copy_from_slice(&file_root(bytes));
                NewEntry { kind: 1, path, mode: *mode, mtime_ns: *mtime_ns, size: i64::try_from(bytes.len()).unwrap(), root, target: String::new() }
            }
            Self::Directory { mode, mtime_ns } => NewEntry { kind: 2, path, mode: *mode, mtime_ns: *mtime_ns, ..NewEntry::default() },
            Self::Link { mode, target } => {
                NewEntry { kind: 3, path, mode: *mode, size: i64::try_from(target.len()).unwrap(), target: target.clone(), ..NewEntry::default() }
            }
        }
    }
}

impl Tree {
    pub(crate) fn file(mut self, path: &str, bytes: &[u8]) -> Self {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Directory { mode: 0o700, mtime_ns: 1 });
        }
        self.0.insert(path.to_owned(), Node::File { mode: 0o600, mtime_ns: 2, bytes: bytes.to_vec() });
        self
    }

    pub(crate) fn root(&self) -> Root {
        let mut text = Vec::new();
        for (path, node) in &self.0 {
            let entry = node.entry(path);
            let root = match node {
                Node::File { bytes, .. } => file_root(bytes),
                Node::Directory { .. } => [0; 32],
                Node::Link { target, .. } => sha(target.as_bytes()),
            };
            text.push(u8::try_from(entry.kind).unwrap());
            text.extend_from_slice(&entry.mode.to_be_bytes());
            text.extend_from_slice(&entry.mtime_ns.to_be_bytes());
            text.extend_from_slice(&entry.size.to_be_bytes());
            text.extend_from_slice(&u32::try_from(path.len()).unwrap().to_be_bytes());
            text.extend_from_slice(path.as_bytes());
            text.extend_from_slice(&root);
        }
        sha(&text)
    }

    pub(crate) fn content(&self) -> u64 {
        self.0.values().map(|node| if let Node::File { bytes, .. } = node { bytes.len() as u64 } else { 0 }).sum()
    }

    /// The messages that lead from `base` to this tree. `leaves` bounds the leaves per message.
    pub(crate) fn records(&self, base: Option<&Self>, codec: Codec, leaves: usize) -> Vec<Records> {
        let mut out = Writer { messages: vec![Records { codec, ..Records::default() }], plain: Vec::new(), codec, leaves, used: 0 };
        if let Some(base) = base {
            out.message().removed = base.0.keys().filter(|path| !self.0.contains_key(*path)).cloned().collect();
        }
        let mut number = 0;
        for (path, node) in &self.0 {
            let before = base.and_then(|base| base.0.get(path));
            if before == Some(node) {
                continue;
            }
            out.message().entries.push(node.entry(path));
            if let Node::File { bytes, .. } = node {
                let before = if let Some(Node::File { bytes, .. }) = before { &bytes[..] } else { &[] };
                for (index, leaf) in bytes.chunks(4096).enumerate() {
                    if before.chunks(4096).nth(index) != Some(leaf) {
                        out.leaf(number, index, leaf, base);
                    }
                }
            }
            number += 1;
        }
        out.flush();
        out.messages
    }

    /// Applies messages as a loader does.
    pub(crate) fn apply(base: Option<&Self>, messages: &[Records]) -> Self {
        let mut tree = base.cloned().unwrap_or_default();
        let mut names = Vec::new();
        for message in messages {
            for path in &message.removed {
                assert!(tree.0.remove(path).is_some(), "{path} is removed but was never there");
            }
            for entry in &message.entries {
                let before = base.and_then(|base| base.0.get(&entry.path));
                let node = match entry.kind {
                    1 => {
                        let mut bytes = if let Some(Node::File { bytes, .. }) = before { bytes.clone() } else { Vec::new() };
                        bytes.resize(usize::try_from(entry.size).unwrap(), 0);
                        Node::File { mode: entry.mode, mtime_ns: entry.mtime_ns, bytes }
                    }
                    2 => Node::Directory { mode: entry.mode, mtime_ns: entry.mtime_ns },
                    _ => Node::Link { mode: entry.mode, target: entry.target.clone() },
                };
                tree.0.insert(entry.path.clone(), node);
                names.push(entry.clone());
            }
            let plain = unpack(message.codec, &message.data, message.data_size as usize).unwrap();
            let mut rest = &plain[..];
            for run in &message.runs {
                let entry = &names[run.entry as usize];
                let start = run.first_leaf as usize * 4096;
                let end = (start + run.leaf_count as usize * 4096).min(usize::try_from(entry.size).unwrap());
                let piece = if let Some((from, first)) = &run.copy {
                    let Some(Node::File { bytes, .. }) = base.and_then(|base| base.0.get(from)) else {
                        panic!("copies from {from}, which the base does not have")
                    };
                    bytes[*first as usize * 4096..][..end - start].to_vec()
                } else {
                    let (piece, after) = rest.split_at(end - start);
                    rest = after;
                    piece.to_vec()
                };
                let Some(Node::File { bytes, .. }) = tree.0.get_mut(&entry.path) else { panic!("a run for {}", entry.path) };
                bytes[start..end].copy_from_slice(&piece);
            }
            assert!(rest.is_empty(), "data that no run covers");
        }
        for entry in names.iter().filter(|entry| entry.kind == 1) {
            let Node::File { bytes, .. } = &tree.0[&entry.path] else { panic!("{} is no file", entry.path) };
            assert_eq!(&file_root(bytes)[..], &entry.root[..], "root of {}", entry.path);
        }
        tree
    }

    /// A tree of about `files` files.
    pub(crate) fn random(rng: &mut Rng, files: usize) -> Self {
        let mut tree = Self::default();
        for _ in 0..files {
            tree.add(rng);
        }
        tree
    }

    fn add(&mut self, rng: &mut Rng) {
        let depth = rng.below(4);
        let mut path = String::new();
        for _ in 0..depth {
            path = format!("{path}{}{}", if path.is_empty() { "" } else { "/" }, ["Default", "IndexedDB", "a-b", "ü", "Cache.x"][rng.below(5)]);
            match self.0.get(&path) {
                None => drop(self.0.insert(path.clone(), Node::Directory { mode: 0o700, mtime_ns: rng.next().cast_signed() })),
                Some(Node::Directory { .. }) => {}
                Some(_) => return,
            }
        }
        path = format!("{path}{}f{}", if path.is_empty() { "" } else { "/" }, rng.below(1000));
        if matches!(self.0.get(&path), Some(Node::Directory { .. })) {
            return;
        }
        let kinds = if rng.below(20) == 0 { 9 } else { 8 };
        let size = [0, 1, 100, 4095, 4096, 4097, 20_000, 70_000, 1_500_000][rng.below(kinds)];
        let node = match rng.below(12) {
            0 => Node::Link { mode: 0o777, target: [".", "x", "Default/y"][rng.below(3)].to_owned() },
            _ => Node::File { mode: 0o600, mtime_ns: i64::try_from(rng.below(1_000_000)).unwrap(), bytes: rng.bytes(size) },
        };
        self.0.insert(path, node);
    }

    /// Some changes as browsers make them: blocks rewritten, files grown, cut, renamed, touched, replaced by directories.
    pub(crate) fn edited(&self, rng: &mut Rng, changes: usize) -> Self {
        let mut tree = self.clone();
        for _ in 0..changes {
            let Some(path) = tree.0.keys().nth(rng.below(tree.0.len())).cloned() else { break };
            match rng.below(9) {
                0 => tree.add(rng),
                1 => {
                    let inside = format!("{path}/");
                    tree.0.retain(|other, _| *other != path && !other.starts_with(&inside));
                }
                2 if matches!(tree.0[&path], Node::File { .. }) => {
                    let node = tree.0.remove(&path).unwrap();
                    tree.0.insert(format!("{path}-renamed"), node);
                }
                3 if matches!(tree.0[&path], Node::File { .. }) => drop(tree.0.insert(path, Node::Directory { mode: 0o755, mtime_ns: 3 })),
                _ => tree.0.get_mut(&path).unwrap().edit(rng),
            }
        }
        tree
    }
}

impl Node {
    fn edit(&mut self, rng: &mut Rng) {
        match self {
            Self::Link { target, .. } => "z".clone_into(target),
            Self::Directory { mode, .. } => *mode ^= 0o70,
            Self::File { mtime_ns, bytes, .. } => {
                *mtime_ns += 1;
                match rng.below(5) {
                    0 => {}
                    1 => bytes.truncate(rng.below(bytes.len() + 1)),
                    2 => bytes.extend(rng.clone().bytes(rng.below(9000))),
                    3 if bytes.len() > 4096 => bytes.rotate_left(4096),
                    _ => {
                        for _ in 0..rng.below(4) {
                            let at = rng.below(bytes.len());
                            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 0x55);
                        }
                    }
                }
            }
        }
    }
}

struct Writer {
    messages: Vec<Records>,
    plain: Vec<u8>,
    codec: Codec,
    leaves: usize,
    used: usize,
}

impl Writer {
    fn message(&mut self) -> &mut Records {
        self.messages.last_mut().unwrap()
    }

    fn leaf(&mut self, entry: u32, index: usize, leaf: &[u8], base: Option<&Tree>) {
        if self.used == self.leaves {
            self.flush();
            self.messages.push(Records { codec: self.codec, ..Records::default() });
        }
        self.used += 1;
        let index = u32::try_from(index).unwrap();
        let copy = base.and_then(|base| {
            base.0.iter().find_map(|(path, node)| match node {
                Node::File { bytes, .. } if path.ends_with("-renamed") || path.contains("f1") => {
                    let at = bytes.chunks(4096).position(|other| other == leaf)?;
                    Some((path.clone(), u32::try_from(at).unwrap()))
                }
                _ => None,
            })
        });
        if copy.is_none() {
            self.plain.extend_from_slice(leaf);
        }
        match self.message().runs.last_mut() {
            Some(run) if copy.is_none() && run.copy.is_none() && run.entry == entry && run.first_leaf + run.leaf_count == index => run.leaf_count += 1,
            _ => self.message().runs.push(Run { entry, first_leaf: index, leaf_count: 1, copy }),
        }
    }

    fn flush(&mut self) {
        let plain = std::mem::take(&mut self.plain);
        self.used = 0;
        let packed = pack(self.codec, &plain).unwrap();
        let message = self.message();
        message.data_size = u32::try_from(plain.len()).unwrap();
        (message.codec, message.data) = match packed {
            Some(packed) => (message.codec, packed.into()),
            None => (Codec::Raw, plain.into()),
        };
    }
}
