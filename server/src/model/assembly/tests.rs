//! From messages to a manifest: random trees, and everything that can be wrong with a stream.

use proptest::prelude::*;

use super::*;
use crate::model::{
    diff::plan,
    id::{LineageId, Namespace},
    manifest::{CommitInfo, Cut, cut, decode_segment},
    pack::{Frame, FrameKind, Header, Pack, PackKey, PackKind, PackName, PackWriter},
    portability::Portability,
    reference::{Rng, Tree},
    seal::Secret,
};

/// A bucket: packs by their name.
#[derive(Default)]
struct Store {
    packs: HashMap<PackName, Bytes>,
}

fn secret() -> Secret {
    Secret::new([3; 32])
}

const LINEAGE: LineageId = LineageId([5; 16]);

fn header(slot: u64) -> Header {
    let mut header = Header {
        namespace: "default".to_owned(),
        lineage: LINEAGE.0.to_vec(),
        session: "s".to_owned(),
        slot,
        snapshot: vec![u8::try_from(slot).unwrap(); 16],
        upload: "0123456789abcdef".to_owned(),
        salt: vec![9; 16],
        ..Header::default()
    };
    header.set_kind(PackKind::Commit);
    header
}

impl Store {
    fn read(&self, kind: FrameKind, frame: &Frame) -> Bytes {
        let key = PackKey::new(&secret(), &Namespace::default(), LINEAGE, &frame.pack);
        let start = usize::try_from(frame.offset).unwrap();
        let sealed = &self.packs[&frame.pack.name][start..start + frame.sealed as usize];
        let packed = key.open(kind, frame, sealed.into()).unwrap();
        crate::model::codec::unpack(frame.codec, &packed, frame.plain as usize).unwrap()
    }

    /// The whole way of a save, without a network.
    fn save(&mut self, slot: u64, parent: Option<&Arc<Manifest>>, records: Vec<Records>, root: &Root) -> Result<Arc<Manifest>> {
        let mut assembly = Assembly::new(parent.cloned());
        let mut writer = PackWriter::new(&secret(), &header(slot), 0).unwrap();
        let mut works = Vec::new();
        for record in records {
            works.extend(assembly.accept(record)?);
        }
        let mut frames = Vec::new();
        for work in works {
            let hashed = work.run()?;
            assembly.supply(&hashed);
            frames.push(writer.add(FrameKind::Data, hashed.codec, u32::try_from(hashed.plain.len()).unwrap(), &hashed.packed).unwrap());
        }
        let manifest = assembly.finish(root)?.manifest(&frames)?;
        let mut segments = Vec::new();
        for cut in cut(&manifest, parent.map(|parent| &**parent)).unwrap() {
            segments.push(match cut {
                Cut::Kept(segment) => segment,
                Cut::New(new) => {
                    let frame = writer.add_packed(FrameKind::Segment, &new.plain).unwrap();
                    new.stored(frame)
                }
            });
        }
        let manifest = manifest.stored_in(segments);
        let commit = CommitInfo::new(&manifest, Portability::default(), None, 0);
        let frame = writer.add_packed(FrameKind::Commit, &commit.encode()).unwrap();
        let name = writer.pack().name.clone();
        self.packs.insert(name, writer.finish().unwrap());
        // What is used from here on is what was read back.
        let commit = CommitInfo::decode(&self.read(FrameKind::Commit, &frame)).unwrap();
        let part = |segment: &crate::model::manifest::Segment| {
            let plain = self.read(FrameKind::Segment, &segment.frame);
            assert_eq!(sha256(&plain), segment.sha256);
            decode_segment(plain).unwrap()
        };
        let read = Manifest::read(&commit, commit.segments.iter().map(part).collect()).unwrap();
        assert_eq!(read, manifest);
        Ok(Arc::new(read))
    }

    fn load(&self, target: &Manifest, base: Option<&Manifest>) -> (Vec<Records>, u64) {
        let plan = plan(target, base);
        let entry = |entry: &Arc<Entry>| NewEntry {
            kind: entry.kind as i32,
            path: entry.path.to_string(),
            mode: entry.mode,
            mtime_ns: entry.mtime_ns,
            size: i64::try_from(entry.size).unwrap(),
            root: if entry.kind == Kind::File { Bytes::copy_from_slice(&entry.root) } else { Bytes::new() },
            target: entry.target.to_string(),
        };
        let gone = plan.removed.iter().map(ToString::to_string).collect();
        let mut messages = vec![Records { entries: plan.entries.iter().map(entry).collect(), runs: plan.copies, removed: gone, ..Records::default() }];
        for group in plan.frames {
            let bytes = self.read(FrameKind::Data, &group.frame);
            let run = |part: &crate::model::diff::Piece| Run { entry: part.entry, first_leaf: part.first_leaf, leaf_count: part.leaf_count, copy: None };
            let data: Vec<u8> = group.pieces.iter().flat_map(|piece| bytes[piece.offset as usize..(piece.offset + piece.bytes) as usize].to_vec()).collect();
            let data_size = u32::try_from(data.len()).unwrap();
            messages.push(Records { runs: group.pieces.iter().map(run).collect(), data: data.into(), data_size, ..Records::default() });
        }
        (messages, plan.content)
    }
}

fn root_of(tree: &Tree) -> Root {
    tree.root()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_chain_of_edits_is_saved_and_loads_from_anything_before(seed in any::<u64>(), files in 0_usize..60, leaves in 1_usize..=240, codec in 0_usize..3) {
        let mut rng = Rng(seed);
        let codec = [Codec::Raw, Codec::Deflate, Codec::Zstd][codec];
        let mut store = Store::default();
        let mut trees = vec![Tree::random(&mut rng, files)];
        let mut manifests = vec![store.save(1, None, trees[0].records(None, codec, leaves), &root_of(&trees[0])).unwrap()];
        for slot in 2..5 {
            let changes = rng.below(12);
            let tree = trees.last().unwrap().edited(&mut rng, changes);
            let parent = manifests.last().unwrap().clone();
            let records = tree.records(trees.last(), codec, leaves);
            manifests.push(store.save(slot, Some(&parent), records, &root_of(&tree)).unwrap());
            trees.push(tree);
        }
        for (at, tree) in trees.iter().enumerate() {
            prop_assert_eq!(manifests[at].root(), &tree.root());
            prop_assert_eq!(manifests[at].content(), tree.content());
            let (messages, content) = store.load(&manifests[at], None);
            prop_assert_eq!(&Tree::apply(None, &messages), tree);
            prop_assert_eq!(content, tree.content());
            for (before, base) in trees.iter().enumerate() {
                let (messages, content) = store.load(&manifests[at], Some(&manifests[before]));
                prop_assert_eq!(&Tree::apply(Some(base), &messages), tree);
                prop_assert!(before != at || content == 0);
            }
        }
    }

    #[test]
    fn a_message_out_of_place_never_panics_and_never_gives_another_tree(seed in any::<u64>(), swaps in 1_usize..4) {
        let mut rng = Rng(seed);
        let tree = Tree::random(&mut rng, 20);
        let mut records = tree.records(None, Codec::Zstd, 3);
        for _ in 0..swaps {
            let (a, b) = (rng.below(records.len()), rng.below(records.len()));
            match rng.below(3) {
                0 => records.swap(a, b),
                1 => drop(records.remove(a)),
                _ => records.insert(a, records[b].clone()),
            }
            if records.is_empty() {
                break;
            }
        }
        if let Ok(manifest) = Store::default().save(1, None, records, &tree.root()) {
            prop_assert_eq!(manifest.root(), &tree.root());
        }
    }
}

/// The reason with which a save of these messages ends, against a base of three files.
fn reason(messages: Vec<Records>, tree: &Tree) -> (Reason, String) {
    let mut store = Store::default();
    let base = base();
    let parent = store.save(1, None, base.records(None, Codec::Raw, 240), &base.root()).unwrap();
    let error = store.save(2, Some(&parent), messages, &tree.root()).unwrap_err();
    (error.reason(), error.message().to_owned())
}

fn base() -> Tree {
    Tree::default().file("d/one", &[1; 10_000]).file("d/two", &[2; 8192]).file("three", b"3")
}

fn file(path: &str, size: i64) -> NewEntry {
    NewEntry { kind: 1, path: path.to_owned(), size, root: Bytes::from(vec![0; 32]), ..NewEntry::default() }
}

fn entries(entries: Vec<NewEntry>) -> Vec<Records> {
    vec![Records { entries, ..Records::default() }]
}

fn runs(entry: NewEntry, runs: &[(u32, u32, u32)], bytes: usize) -> Vec<Records> {
    let runs = runs.iter().map(|(entry, first_leaf, leaf_count)| Run { entry: *entry, first_leaf: *first_leaf, leaf_count: *leaf_count, copy: None }).collect();
    vec![Records { entries: vec![entry], runs, data: vec![0; bytes].into(), data_size: u32::try_from(bytes).unwrap(), ..Records::default() }]
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let tree = base();
    let link = |target: &str, size| NewEntry { kind: 3, path: "l".to_owned(), size, target: target.to_owned(), ..NewEntry::default() };
    let cases = [
        (file("../x", 0), Reason::PathInvalid, "component `.` or `..`"),
        (file("/x", 0), Reason::PathInvalid, "empty component"),
        (NewEntry { kind: 0, ..file("x", 0) }, Reason::DataInvalid, "has kind 0"),
        (NewEntry { mode: 0o10000, ..file("x", 0) }, Reason::DataInvalid, "has mode 0o10000"),
        (file("x", -1), Reason::DataInvalid, "has size -1; it needs 0 or more"),
        (file("x", 1 << 34), Reason::LimitExceeded, "the limit is 8589934592"),
        (NewEntry { root: Bytes::new(), ..file("x", 0) }, Reason::DataInvalid, "root of 0 bytes"),
        (NewEntry { kind: 2, ..file("x", 0) }, Reason::DataInvalid, "root of 32 bytes"),
        (NewEntry { kind: 2, root: Bytes::new(), ..file("x", 1) }, Reason::DataInvalid, "has size 1; it needs 0"),
        (NewEntry { target: "y".to_owned(), ..file("x", 0) }, Reason::DataInvalid, "is no link"),
        (link("/etc/passwd", 11), Reason::PathInvalid, "is absolute"),
        (link("../up", 5), Reason::PathInvalid, "leads out of the profile"),
        (link("x", 2), Reason::DataInvalid, "has size 2; it needs 1"),
        (NewEntry { mtime_ns: 1, ..link("x", 1) }, Reason::DataInvalid, "links have 0"),
        (file("three/x", 0), Reason::DigestMismatch, "the leaves of"),
    ];
    for (entry, expected, text) in cases {
        let (reason, message) = reason(entries(vec![entry.clone()]), &tree);
        assert!(reason == expected && message.contains(text), "{entry:?}: {reason:?} {message}");
    }
    let (reason, message) = reason(entries(vec![file("x", 0), file("x", 0)]), &tree);
    assert!(reason == Reason::PathInvalid && message.contains("named twice"), "{message}");
}

#[test]
fn trees_that_make_no_sense_are_refused() {
    let empty = |path: &str| NewEntry { root: Bytes::copy_from_slice(&sha256(b"")), ..file(path, 0) };
    let tree = base();
    let remove = |paths: &[&str]| vec![Records { removed: paths.iter().map(ToString::to_string).collect(), ..Records::default() }];
    let cases = [
        (entries(vec![empty("three/x")]), Reason::PathInvalid, "lies in \"three\", which is no directory"),
        (entries(vec![empty("new/x")]), Reason::PathInvalid, "lies in \"new\", which is no directory"),
        (entries(vec![empty("d")]), Reason::PathInvalid, "lies in \"d\", which is no directory"),
        (remove(&["d"]), Reason::PathInvalid, "lies in \"d\", which is no directory"),
        (remove(&["nothing"]), Reason::DataInvalid, "which the parent does not have"),
        (remove(&["three", "three"]), Reason::PathInvalid, "named twice"),
        (vec![Records { entries: vec![empty("three")], removed: vec!["three".to_owned()], ..Records::default() }], Reason::PathInvalid, "also named"),
        (entries(vec![empty("x")]), Reason::DigestMismatch, "the manifest root is not that"),
        (entries(vec![]), Reason::DigestMismatch, "the manifest root is not that"),
    ];
    for (messages, expected, text) in cases {
        let (reason, message) = reason(messages.clone(), &tree.clone().file("other", b""));
        assert!(reason == expected && message.contains(text), "{messages:?}: {reason:?} {message}");
    }
}

#[test]
fn runs_that_make_no_sense_are_refused() {
    let tree = base();
    let one = || file("d/one", 10_000);
    let copy = |from: &str, first: u32, to: u32, leaves: u32| {
        let run = Run { entry: 0, first_leaf: to, leaf_count: leaves, copy: Some((from.to_owned(), first)) };
        vec![Records { entries: vec![one()], runs: vec![run], ..Records::default() }]
    };
    let cases = [
        (runs(one(), &[(1, 0, 1)], 4096), Reason::DataInvalid, "only 1 entries were named"),
        (runs(one(), &[(0, 0, 0)], 0), Reason::DataInvalid, "a run covers 0 leaves"),
        (runs(one(), &[(0, 3, 1)], 4096), Reason::DataInvalid, "which has 3 leaves"),
        (runs(one(), &[(0, u32::MAX, 2)], 4096), Reason::DataInvalid, "which has 3 leaves"),
        (runs(one(), &[(0, 1, 1), (0, 0, 2)], 12_288), Reason::DataInvalid, "leaf 1 of \"d/one\" is covered twice"),
        (runs(one(), &[(0, 0, 2), (0, 1, 1)], 12_288), Reason::DataInvalid, "leaf 1 of \"d/one\" is covered twice"),
        (runs(one(), &[(0, 0, 3), (0, 1, 1)], 14_096), Reason::DataInvalid, "leaf 1 of \"d/one\" is covered twice"),
        (runs(one(), &[(0, 0, 1)], 4095), Reason::DataInvalid, "cover 4096 bytes of data, but its data_size is 4095"),
        (runs(one(), &[(0, 2, 1)], 4096), Reason::DataInvalid, "cover 1808 bytes"),
        (runs(one(), &[(0, 0, 1)], 4096), Reason::DigestMismatch, "do not give its root"),
        (runs(one(), &[], 1), Reason::DataInvalid, "cover 0 bytes"),
        (vec![Records { data: vec![0; 5].into(), ..Records::default() }], Reason::DataInvalid, "has 5 bytes where 0 were announced"),
        (vec![Records { data_size: MAX_DATA + 1, ..Records::default() }], Reason::LimitExceeded, "the limit is 983040"),
        (copy("nothing", 0, 0, 1), Reason::DataInvalid, "which is no file of the parent"),
        (copy("d", 0, 0, 1), Reason::DataInvalid, "which is no file of the parent"),
        (copy("three", 0, 0, 1), Reason::DataInvalid, "of other lengths"),
        (copy("d/two", 1, 0, 2), Reason::DataInvalid, "of other lengths"),
        (copy("d/two", u32::MAX, 0, 2), Reason::DataInvalid, "of other lengths"),
        (copy("d/two", 0, 2, 1), Reason::DataInvalid, "of other lengths"),
        (entries(vec![file("d/one", 20_000)]), Reason::DataInvalid, "leaves 0 to 4 of \"d/one\" were not sent"),
        (entries(vec![file("d/one", 9_999)]), Reason::DataInvalid, "leaves 0 to 2 of \"d/one\" were not sent"),
        (entries(vec![file("new", 1)]), Reason::DataInvalid, "leaves 0 to 0 of \"new\" were not sent"),
        (entries(vec![file("d/one", 8192)]), Reason::DigestMismatch, "do not give its root"),
    ];
    for (messages, expected, text) in cases {
        let (reason, message) = reason(messages.clone(), &tree);
        assert!(reason == expected && message.contains(text), "{messages:?}: {reason:?} {message}");
    }
}

#[test]
fn nothing_is_taken_over_in_a_full_save() {
    let tree = base();
    let mut assembly = Assembly::new(None);
    let removed = Records { removed: vec!["three".to_owned()], ..Records::default() };
    assert_eq!(assembly.accept(removed).unwrap_err().reason(), Reason::DataInvalid);
    let mut assembly = Assembly::new(None);
    let run = Run { entry: 0, first_leaf: 0, leaf_count: 1, copy: Some(("three".to_owned(), 0)) };
    assert_eq!(assembly.accept(Records { entries: vec![file("x", 1)], runs: vec![run], ..Records::default() }).unwrap_err().reason(), Reason::DataInvalid);
    let manifest = Store::default().save(1, None, tree.records(None, Codec::Raw, 240), &tree.root()).unwrap();
    assert_eq!(manifest.entries().len(), 4);
}

#[test]
fn limits_are_counted_over_the_whole_stream() {
    let mut assembly = Assembly::new(None);
    let names = |from: usize, to: usize| Records { entries: (from..to).map(|n| file(&format!("f{n}"), 0)).collect(), ..Records::default() };
    assembly.accept(names(0, MAX_ENTRIES)).unwrap();
    let error = assembly.accept(names(MAX_ENTRIES, MAX_ENTRIES + 1)).unwrap_err();
    assert_eq!(error.reason(), Reason::LimitExceeded);
    assert!(error.message().contains("100001") && error.message().contains("100000"), "{error}");

    let mut assembly = Assembly::new(None);
    let gibs = |n: usize| Records { entries: (0..n).map(|n| file(&format!("f{n}"), 1 << 30)).collect(), ..Records::default() };
    assert_eq!(assembly.accept(gibs(9)).unwrap_err().reason(), Reason::LimitExceeded);
}

#[test]
fn an_entry_named_without_change_stays_where_it_is() {
    let (mut store, tree) = (Store::default(), base());
    let first = store.save(1, None, tree.records(None, Codec::Raw, 240), &tree.root()).unwrap();
    let again = store.save(2, Some(&first), tree.records(None, Codec::Raw, 240), &tree.root()).unwrap();
    assert_eq!(first.segments(), again.segments());
}

#[test]
fn a_pack_that_holds_none_of_a_profile_is_not_listed() {
    let (mut store, tree) = (Store::default(), base());
    let first = store.save(1, None, tree.records(None, Codec::Raw, 240), &tree.root()).unwrap();
    let commit = CommitInfo::new(&first, Portability::default(), None, 0);
    let names: Vec<_> = commit.packs.iter().map(|pack: &Arc<Pack>| pack.name.clone()).collect();
    assert_eq!(names, [PackName::Commit(1)]);
}
