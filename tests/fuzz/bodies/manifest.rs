//! Manifests and commits: what stands unpacked in a pack's frames.

use std::sync::Arc;

use bytes::Bytes;
use cloakroom_server::model::{
    manifest::{CommitInfo, Cut, Entry, Manifest, SavedSession, cut, decode_segment},
    pack::{Frame, Pack, PackName},
    path,
    tree::{DIGEST, Kind, span_bytes},
};

use super::within;

/// A manifest's segment.
pub(super) fn manifest(data: &[u8]) -> bool {
    // Eight bytes name an entry whose path may share 1,024 bytes with the one before it, and which takes about 300 bytes in memory.
    let Ok(entries) = within(200 * data.len(), || decode_segment(Bytes::copy_from_slice(data))) else { return false };
    let mut before = "";
    for entry in &entries {
        assert!(path::check(&entry.path).is_ok() && *before < *entry.path, "paths are sound and in order");
        before = &entry.path;
        sound(entry);
    }
    let manifest = Manifest::new(entries);
    let Ok(cuts) = cut(&manifest, None) else { return false };
    let mut segments = Vec::new();
    let mut parts = Vec::new();
    for cut in cuts {
        let Cut::New(new) = cut else { unreachable!("without a parent nothing is kept") };
        parts.push(decode_segment(new.plain.clone().into()).unwrap_or_else(|error| panic!("what was written does not read back: {error}")));
        segments.push(new.stored(frame()));
    }
    assert_eq!(parts.concat(), manifest.entries(), "what was written reads back");
    let manifest = manifest.stored_in(segments);
    let commit = CommitInfo::new(&manifest, cloakroom_server::model::portability::Portability::default(), None, 0);
    assert_eq!(Manifest::read(&commit, parts).ok(), Some(manifest), "and is what its commit says");
    true
}

fn sound(entry: &Arc<Entry>) {
    assert_eq!(entry.leaves.len(), entry.leaf_count() as usize * DIGEST);
    assert_eq!(entry.extents.iter().map(|extent| extent.leaves).sum::<u32>(), entry.leaf_count(), "every leaf has its place");
    assert!(entry.kind == Kind::File || entry.extents.is_empty());
    let mut first = 0;
    for extent in &entry.extents {
        let end = u64::from(extent.offset) + span_bytes(entry.size, first, extent.leaves);
        assert!(end <= u64::from(extent.frame.plain), "inside its frame");
        first += extent.leaves;
    }
}

fn frame() -> Arc<Frame> {
    let pack = Arc::new(Pack { name: PackName::Commit(u64::MAX), header: [9; 32] });
    Arc::new(Frame { pack, index: 0, offset: 100, sealed: 100, plain: 100, codec: cloakroom_server::model::codec::Codec::Zstd })
}

/// A commit frame; the session's record that is saved beside it.
pub(super) fn commit(data: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(commit) = within(200 * data.len(), || CommitInfo::decode(data)) {
        assert_eq!(CommitInfo::decode(&commit.encode()).ok(), Some(commit.clone()));
        assert!(commit.entries == 0 || Manifest::read(&commit, Vec::new()).is_err(), "no entries are not what it says");
        accepted = true;
    }
    if let Ok(saved) = within(100 * data.len(), || SavedSession::from_bytes(data)) {
        assert_eq!(SavedSession::from_bytes(&saved.to_bytes()).ok(), Some(saved));
        accepted = true;
    }
    accepted
}
