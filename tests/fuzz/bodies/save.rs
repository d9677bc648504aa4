//! The stream of a save.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use cloakroom_api::v1::{self, save_profile_request::Message};
use cloakroom_server::{
    fuzz::SaveStream,
    model::{
        codec::{self, Codec},
        manifest::{Cut, Entry, Extent, Manifest, cut, decode_segment},
        pack::{Frame, Pack, PackName},
        tree::{DIGEST, Described, Kind, LEAF, Root, RootHasher, leaf_count, leaf_digest, sha256},
    },
};

use super::{messages, within};

/// The parent of the saves that have one: the tree of the former directory in `client.rs`, without times.
static PARENT: LazyLock<Arc<Manifest>> = LazyLock::new(|| {
    let content: Vec<u8> = (0..10_000).map(|at| u8::try_from(at / 40 % 256).unwrap_or(0)).collect();
    let entry = |kind, path: &str, content: &[u8], target: &str| {
        let leaves: Vec<u8> = content.chunks(LEAF as usize).flat_map(leaf_digest).collect();
        let extents = if kind == Kind::File { vec![Extent { frame: frame(1, 0), offset: 0, leaves: leaf_count(content.len() as u64) }] } else { Vec::new() };
        Arc::new(Entry {
            kind,
            path: path.into(),
            mode: 0o700,
            mtime_ns: 5,
            size: (content.len() + target.len()) as u64,
            root: cloakroom_server::model::manifest::entry_root(kind, &leaves, target),
            target: target.into(),
            leaves: leaves.into(),
            extents: extents.into(),
        })
    };
    let entries = [(Kind::Directory, "d", &b""[..], ""), (Kind::File, "d/a", &content, ""), (Kind::File, "d/b", b"b", ""), (Kind::Symlink, "d/l", b"", "a")];
    Arc::new(Manifest::new(entries.map(|(kind, path, content, target)| entry(kind, path, content, target)).into()))
});

fn frame(slot: u64, index: u32) -> Arc<Frame> {
    let pack = Arc::new(Pack { name: PackName::Commit(slot), header: [4; 32] });
    Arc::new(Frame { pack, index, offset: 200, sealed: 2 << 20, plain: 2 << 20, codec: Codec::Zstd })
}

/// The stream of a save: one byte of flags (1: the session has a parent; 2: roots are put right first), then its messages.
pub(super) fn save_stream(data: &[u8]) -> bool {
    let Some((&flags, rest)) = data.split_first() else { return false };
    let parent = (flags & 1 == 1).then(|| Arc::clone(&PARENT));
    let mut messages: Vec<v1::SaveProfileRequest> = messages(rest);
    let pieces = messages.len();
    if flags & 2 == 2 {
        put_right(&mut messages);
    }
    let end = messages.iter().find_map(|message| if let Some(Message::End(end)) = &message.message { Some(end.manifest_root.clone()) } else { None });
    // A message unpacks to at most 960 KiB, held twice for a moment; a run that copies takes the digests of at most the parent's three leaves.
    let most = 400 * data.len() + 3 * pieces * (1 << 20);
    let Ok(saved) = within(most, || SaveStream::receive(messages, parent)) else { return false };
    assert_eq!(Some(&saved.profile.root()[..]), end.as_deref(), "the profile is the one that the client has");
    let frames: Vec<_> = (0..saved.frames.len()).map(|index| frame(2, u32::try_from(index).unwrap_or(0))).collect();
    let manifest = saved.profile.manifest(&frames).unwrap_or_else(|error| panic!("every frame has its place: {error}"));
    assert_eq!(manifest.root(), saved.profile.root());
    for entry in manifest.entries() {
        leaves_lie_where_it_says(entry, &saved.frames);
    }
    let mut back = Vec::new();
    for cut in cut(&manifest, None).unwrap_or_else(|error| panic!("it can be stored: {error}")) {
        let Cut::New(new) = cut else { unreachable!("without a parent nothing is kept") };
        back.extend(decode_segment(new.plain.into()).unwrap_or_else(|error| panic!("what was written does not read back: {error}")));
    }
    assert_eq!(back, manifest.entries());
    true
}

fn leaves_lie_where_it_says(entry: &Entry, frames: &[Bytes]) {
    let mut leaf = 0;
    for extent in &entry.extents {
        for at in 0..extent.leaves {
            let size = usize::try_from(entry.size - u64::from(leaf) * u64::from(LEAF)).unwrap_or(usize::MAX).min(LEAF as usize);
            if extent.frame.pack.name == PackName::Commit(2) {
                let start = (extent.offset + at * LEAF) as usize;
                let bytes = frames[extent.frame.index as usize].get(start..start + size);
                assert_eq!(bytes.map(leaf_digest), entry.leaf(leaf), "leaf {leaf} of {}", entry.path);
            }
            leaf += 1;
        }
    }
    assert_eq!(leaf, entry.leaf_count());
}

fn put_right(messages: &mut [v1::SaveProfileRequest]) {
    let full = messages.iter().any(|message| matches!(&message.message, Some(Message::Begin(begin)) if begin.full));
    let wire = |entry: &Arc<Entry>| v1::Entry {
        kind: entry.kind as i32,
        path: entry.path.to_string(),
        mode: entry.mode,
        mtime_ns: entry.mtime_ns,
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        root: if entry.kind == Kind::File { entry.root.to_vec().into() } else { Bytes::new() },
        symlink_target: entry.target.to_string(),
    };
    let base: Vec<_> = PARENT.entries().iter().filter(|_| !full).map(|entry| (wire(entry), entry.leaves.to_vec())).collect();
    let (mut pieces, mut end) = (Vec::new(), None);
    for message in messages {
        match &mut message.message {
            Some(Message::Records(records)) => pieces.push(records),
            Some(Message::End(last)) => end = Some(last),
            _ => {}
        }
    }
    let root = plain_root(&mut pieces, &base);
    if let Some(end) = end {
        end.manifest_root = root.to_vec().into();
    }
}

/// The leaf digests that the pieces give each entry, with those of the base where they cover none.
fn covered(pieces: &[&mut v1::ProfileRecords], base: &[(v1::Entry, Vec<u8>)]) -> Vec<Vec<u8>> {
    let base_of = |path: &str| base.iter().find(|(entry, _)| entry.path == path).map(|(_, leaves)| leaves.as_slice()).unwrap_or_default();
    let mut sizes: Vec<(String, i64)> = Vec::new();
    let mut leaves: Vec<Vec<u8>> = Vec::new();
    for piece in pieces {
        for entry in &piece.entries {
            sizes.push((entry.path.clone(), entry.size));
            let length = usize::try_from(entry.size.clamp(0, 4 << 20)).unwrap_or(0).div_ceil(LEAF as usize) * DIGEST;
            let mut known = base_of(&entry.path).to_vec();
            known.resize(length, 0);
            leaves.push(known);
        }
        let codec = u32::try_from(piece.codec).ok().and_then(Codec::from_number).unwrap_or(Codec::Raw);
        let size = (piece.data_size as usize).min(1 << 20);
        let mut data = codec::unpack(codec, &piece.data, size).unwrap_or_default();
        for run in &piece.runs {
            let Some(((_, size), known)) = sizes.get(run.entry as usize).zip(leaves.get_mut(run.entry as usize)) else { continue };
            let (first, count) = (run.first_leaf as usize, (run.leaf_count as usize).min(1024));
            let digests: Vec<u8> = if run.copy_path.is_empty() {
                let start = (first as u64).saturating_mul(LEAF.into());
                let rest = u64::try_from(*size).unwrap_or(0).saturating_sub(start);
                let length = usize::try_from(rest.min((count as u64) * u64::from(LEAF))).unwrap_or(0).min(data.len());
                data.split_to(length).chunks(LEAF as usize).flat_map(leaf_digest).collect()
            } else {
                let from = run.copy_first_leaf as usize;
                base_of(&run.copy_path).chunks(DIGEST).skip(from).take(count).flatten().copied().collect()
            };
            if let Some(place) = first.checked_mul(DIGEST).and_then(|start| known.get_mut(start..start.checked_add(digests.len())?)) {
                place.copy_from_slice(&digests);
            }
        }
    }
    leaves
}

/// Gives every file the root of the leaves that the pieces cover, and answers the manifest root of the whole: what a fuzzer cannot guess. `base` is what there was, with
/// leaf digests. What is wrong in other ways stays wrong.
pub(super) fn plain_root(pieces: &mut [&mut v1::ProfileRecords], base: &[(v1::Entry, Vec<u8>)]) -> Root {
    let leaves = covered(pieces, base);
    let mut all: BTreeMap<String, v1::Entry> = base.iter().map(|(entry, _)| (entry.path.clone(), entry.clone())).collect();
    let removed: BTreeSet<String> = pieces.iter().flat_map(|piece| piece.removed.iter().cloned()).collect();
    all.retain(|path, _| !removed.contains(path));
    let mut leaves = leaves.into_iter();
    for entry in pieces.iter_mut().flat_map(|piece| piece.entries.iter_mut()) {
        let root = sha256(&leaves.next().unwrap_or_default());
        if entry.kind == Kind::File as i32 {
            entry.root = root.to_vec().into();
        }
        all.insert(entry.path.clone(), entry.clone());
    }
    let mut hasher = RootHasher::new();
    for entry in all.values() {
        let kind = Kind::from_number(entry.kind).unwrap_or(Kind::Directory);
        let root = match kind {
            Kind::File => Root::try_from(&entry.root[..]).unwrap_or_default(),
            Kind::Directory => Root::default(),
            Kind::Symlink => sha256(entry.symlink_target.as_bytes()),
        };
        let size = u64::try_from(entry.size).unwrap_or(0);
        hasher.add(&Described { kind, path: &entry.path, mode: entry.mode, mtime_ns: entry.mtime_ns, size, root: &root });
    }
    hasher.finish()
}
