//! Manifests read back, share what did not change, and never panic on foreign bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{
    codec::Codec,
    pack::{Pack, PackName},
    reference::Rng,
};

fn frame(slot: u64, index: u32) -> Arc<Frame> {
    let pack = Arc::new(Pack { name: PackName::Commit(slot), header: [u8::try_from(slot).unwrap(); 32] });
    Arc::new(Frame { pack, index, offset: 100 * u64::from(index), sealed: 100, plain: 1 << 20, codec: Codec::Zstd })
}

fn file(rng: &mut Rng, path: &str, slot: u64) -> Arc<Entry> {
    let count = rng.below(20);
    let leaves: Bytes = (0..count * 2).flat_map(|_| rng.next().to_be_bytes()).collect();
    let split = u32::try_from(rng.below(count + 1)).unwrap();
    let extent = |index, leaves| Extent { frame: frame(slot, index), offset: 4096, leaves };
    let total = u32::try_from(count).unwrap();
    let extents = [extent(1, split), extent(2, total - split)].into_iter().filter(|extent| extent.leaves > 0).collect();
    let root = entry_root(Kind::File, &leaves, "");
    Arc::new(Entry { kind: Kind::File, path: path.into(), mode: 0o600, mtime_ns: -5, size: count as u64 * 4096, root, target: "".into(), leaves, extents })
}

fn paths(rng: &mut Rng, count: usize) -> Vec<String> {
    let mut paths: Vec<_> = (0..count).map(|_| format!("Default/é{}/{}", rng.below(30), rng.below(100_000))).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn store(cuts: Vec<Cut>, slot: u64) -> Vec<Segment> {
    let place = |cut| match cut {
        Cut::Kept(segment) => segment,
        Cut::New(new) => new.stored(frame(slot, 9)),
    };
    cuts.into_iter().map(place).collect()
}

/// The same manifest, sharing no memory, so that no shortcut can be taken.
fn apart(manifest: &Manifest) -> Manifest {
    let copy = |entry: &Arc<Entry>| Arc::new((**entry).clone());
    Manifest::new(manifest.entries().iter().map(copy).collect()).stored_in(manifest.segments().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn segments_read_back_and_only_what_changed_is_written_anew(seed in any::<u64>(), count in 1_usize..400) {
        let mut rng = Rng(seed);
        let paths = paths(&mut rng, count);
        let first = Manifest::new(paths.iter().map(|path| file(&mut rng, path, 1)).collect());
        let cuts = cut(&first, None).unwrap();
        let mut back = Vec::new();
        for cut in &cuts {
            let Cut::New(new) = cut else { panic!("nothing can be kept without a parent") };
            back.extend(decode_segment(new.plain.clone().into()).unwrap());
        }
        prop_assert_eq!(&back, first.entries());
        let first = first.stored_in(store(cuts, 1));

        let mut entries = first.entries().to_vec();
        let changed = rng.below(entries.len());
        entries[changed] = file(&mut rng, &paths[changed], 2);
        let second = Manifest::new(entries);
        let cuts = cut(&second, Some(&first)).unwrap();
        let new = cuts.iter().filter(|cut| matches!(cut, Cut::New(_))).count();
        prop_assert!(new <= 1, "one change writes {} segments", new);
        // The shortcut gives what the long way gives.
        prop_assert_eq!(&cuts, &cut(&second, Some(&apart(&first))).unwrap());

        let mut fewer = second.entries().to_vec();
        fewer.remove(rng.below(fewer.len()));
        let third = Manifest::new(fewer);
        let second = second.stored_in(store(cuts, 2));
        let cuts = cut(&third, Some(&second)).unwrap();
        prop_assert!(cuts.iter().filter(|cut| matches!(cut, Cut::New(_))).count() <= 2);
        prop_assert_eq!(&cuts, &cut(&third, Some(&apart(&second))).unwrap());
    }

    #[test]
    fn a_damaged_segment_is_an_error_or_another_manifest_but_never_a_panic(seed in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut rng = Rng(seed);
        let paths = paths(&mut rng, 5);
        let manifest = Manifest::new(paths.iter().map(|path| file(&mut rng, path, 1)).collect());
        let Some(Cut::New(new)) = cut(&manifest, None).unwrap().into_iter().next() else { panic!("a segment") };
        let mut plain = new.plain;
        let at = at.index(plain.len());
        plain[at] ^= 1 << bit;
        let _ = decode_segment(plain.clone().into());
        plain.truncate(at);
        let _ = decode_segment(plain.into());
    }
}

#[test]
fn large_segments_are_cut_by_size() {
    let mut rng = Rng(7);
    let big = |rng: &mut Rng, path: String| {
        let entry = file(rng, &path, 1);
        let leaves = Bytes::from(vec![1; 16 * 10_000]);
        let extents = Box::new([Extent { frame: frame(1, 1), offset: 0, leaves: 10_000 }]);
        Arc::new(Entry { size: 40_960_000, root: entry_root(Kind::File, &leaves, ""), leaves, extents, ..(*entry).clone() })
    };
    let manifest = Manifest::new((0..30).map(|n| big(&mut rng, format!("{n:02}"))).collect());
    let cuts = cut(&manifest, None).unwrap();
    for cut in &cuts {
        let Cut::New(new) = cut else { panic!("nothing to keep") };
        assert!(new.entries <= 4, "a segment of {} bytes", new.plain.len());
    }
    let stored = manifest.clone().stored_in(store(cuts, 1));
    assert!(cut(&manifest, Some(&stored)).unwrap().iter().all(|cut| matches!(cut, Cut::Kept(_))));
}

#[test]
fn commits_read_back_and_a_manifest_must_be_what_its_commit_says() {
    let mut rng = Rng(3);
    let paths = paths(&mut rng, 100);
    let manifest = Manifest::new(paths.iter().map(|path| file(&mut rng, path, 1)).collect());
    let manifest = manifest.clone().stored_in(store(cut(&manifest, None).unwrap(), 1));
    let state = StorageStateAt { frame: frame(2, 4), sha256: [8; 32] };
    let commit = CommitInfo::new(&manifest, super::super::portability::Portability::default(), Some(state), 77);
    assert_eq!(CommitInfo::decode(&commit.encode()).unwrap(), commit);
    assert_eq!(commit.packs.len(), 2);

    let whole = vec![manifest.entries().to_vec()];
    assert_eq!(Manifest::read(&commit, whole.clone()).unwrap(), manifest);
    let mut swapped = whole.clone();
    swapped[0].swap(0, 1);
    let mut shorter = whole.clone();
    shorter[0].pop();
    for bad in [swapped, shorter, vec![]] {
        assert_eq!(Manifest::read(&commit, bad).unwrap_err().reason(), Reason::DataCorrupt);
    }
    let saved = SavedSession { record: b"{}".to_vec(), marks: BTreeMap::from([("fence".to_owned(), -3)]), revision: 9, expires_at: 1 };
    assert_eq!(SavedSession::from_bytes(&saved.to_bytes()).unwrap(), saved);
}

#[test]
fn a_frame_or_a_pack_that_is_listed_twice_is_refused() {
    // The second of two frames of one number would be lost, and other bytes read for its leaves, once the segment is written anew.
    let segment: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/manifest/frame-listed-twice");
    assert_eq!(decode_segment(Bytes::from_static(segment)).unwrap_err().reason(), Reason::DataCorrupt);
    let commit: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/commit/pack-listed-twice");
    assert_eq!(CommitInfo::decode(commit).unwrap_err().reason(), Reason::DataCorrupt);
}
