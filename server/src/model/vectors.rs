//! The clients' test vectors, held against the daemon's rules: both ends must agree on paths, digests, manifests and differences.

use std::{collections::BTreeMap, fs, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use super::{
    codec::Codec,
    diff::plan,
    hex::hex,
    manifest::{Entry, Extent, Manifest, entry_root},
    pack::{Frame, Pack, PackName},
    path,
    tree::{DIGEST, Kind, Root, leaf_digest, sha256},
};

fn vectors(name: &str) -> Value {
    let path = format!("{}/../client/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a Vec<Value> {
    of[name].as_array().unwrap()
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

fn content(pieces: &Value) -> Vec<u8> {
    let piece = |of: &Value| {
        let size = |name| usize::try_from(of[name].as_u64().unwrap()).unwrap();
        if let Some(text) = of["text"].as_str() {
            return text.as_bytes().to_vec();
        }
        if of["zeros"].is_u64() {
            return vec![0; size("zeros")];
        }
        let blocks = (0..size("size").div_ceil(32)).flat_map(|n| sha256(format!("{}:{n}", text(of, "seed")).as_bytes()));
        blocks.take(size("size")).collect()
    };
    pieces.as_array().unwrap().iter().flat_map(piece).collect()
}

/// The manifest of a tree whose files all lie in one frame, one behind the other, and their bytes.
fn manifest(tree: &Value) -> (Manifest, Vec<u8>) {
    let pack = Arc::new(Pack { name: PackName::Commit(1), header: [0; 32] });
    let frame = Arc::new(Frame { pack, index: 0, offset: 0, sealed: 0, plain: u32::MAX, codec: Codec::Raw });
    let (mut entries, mut all) = (BTreeMap::new(), Vec::new());
    let mut sorted: Vec<_> = tree.as_array().unwrap().iter().collect();
    sorted.sort_by_key(|of| text(of, "path"));
    for of in sorted {
        let kind = match text(of, "kind") {
            "file" => Kind::File,
            "directory" => Kind::Directory,
            _ => Kind::Symlink,
        };
        let bytes = if kind == Kind::File { content(&of["content"]) } else { Vec::new() };
        let leaves: Bytes = bytes.chunks(4096).flat_map(leaf_digest).collect();
        let (target, count) = (text(of, "target"), u32::try_from(leaves.len() / DIGEST).unwrap());
        let extent = Extent { frame: Arc::clone(&frame), offset: u32::try_from(all.len()).unwrap(), leaves: count };
        let entry = Entry {
            kind,
            path: text(of, "path").into(),
            mode: u32::try_from(of["mode"].as_u64().unwrap()).unwrap(),
            mtime_ns: text(of, "mtime_ns").parse().unwrap(),
            size: if kind == Kind::Symlink { target.len() as u64 } else { bytes.len() as u64 },
            root: entry_root(kind, &leaves, target),
            target: target.into(),
            leaves,
            extents: if count == 0 { Box::new([]) } else { Box::new([extent]) },
        };
        entries.insert(entry.path.clone(), Arc::new(entry));
        all.extend(bytes);
    }
    (Manifest::new(entries.into_values().collect()), all)
}

#[test]
fn paths_and_targets_are_judged_alike() {
    let vectors = vectors("paths");
    for of in list(&vectors, "paths") {
        assert_eq!(path::check(text(of, "path")).is_ok(), of["ok"].as_bool().unwrap(), "{of}");
    }
    for of in list(&vectors, "links") {
        assert_eq!(path::check_target(text(of, "path"), text(of, "target")).is_ok(), of["ok"].as_bool().unwrap(), "{of}");
    }
}

#[test]
fn files_have_the_same_digests() {
    for of in list(&vectors("digests"), "files") {
        let bytes = content(&of["content"]);
        let digests: Vec<_> = bytes.chunks(4096).map(leaf_digest).collect();
        let first: Vec<_> = digests.iter().take(3).map(|digest| Value::from(hex(digest))).collect();
        assert_eq!((hex(&sha256(&bytes)).as_str(), digests.len() as u64), (text(of, "sha256"), of["leaf_count"].as_u64().unwrap()), "{}", of["name"]);
        assert_eq!((&first, hex(&sha256(&digests.concat())).as_str()), (list(of, "leaves"), text(of, "root")), "{}", of["name"]);
    }
}

#[test]
fn trees_have_the_same_roots() {
    for of in list(&vectors("manifests"), "trees") {
        assert_eq!(hex(manifest(&of["tree"]).0.root()), text(of, "manifest_root"), "{}", of["name"]);
    }
}

#[test]
fn differences_are_the_same() {
    for of in list(&vectors("diffs"), "diffs") {
        let ((base, _), (new, bytes)) = (manifest(&of["base"]), manifest(&of["new"]));
        let (plan, expected) = (plan(&new, Some(&base)), &of["expected"]);
        let paths: Vec<_> = plan.entries.iter().map(|entry| Value::from(&*entry.path)).collect();
        let removed: Vec<_> = plan.removed.iter().map(|path| Value::from(&**path)).collect();
        assert_eq!((&paths, &removed), (list(expected, "entries"), list(expected, "removed")), "{}", of["name"]);
        let mut runs = BTreeMap::new();
        for run in &plan.copies {
            let (from, first) = run.copy.as_ref().unwrap();
            runs.insert((run.entry, run.first_leaf), (run.leaf_count, Some((from.clone(), *first))));
        }
        let mut data = Vec::new();
        for piece in plan.frames.iter().flat_map(|group| &group.pieces) {
            runs.insert((piece.entry, piece.first_leaf), (piece.leaf_count, None));
            data.extend_from_slice(&bytes[piece.offset as usize..(piece.offset + piece.bytes) as usize]);
        }
        let number = |of: &Value, name: &str| u32::try_from(of[name].as_u64().unwrap_or(0)).unwrap();
        let wanted = list(expected, "runs").iter().map(|run| {
            let copy = run["copy_path"].as_str().map(|path| (path.to_owned(), number(run, "copy_first_leaf")));
            ((number(run, "entry"), number(run, "first_leaf")), (number(run, "leaf_count"), copy))
        });
        assert_eq!(runs, wanted.collect(), "{}", of["name"]);
        let sha: Root = sha256(&data);
        assert_eq!((data.len() as u64, hex(&sha).as_str()), (expected["data_size"].as_u64().unwrap(), text(expected, "data_sha256")), "{}", of["name"]);
        assert_eq!(hex(new.root()), text(of, "manifest_root"), "{}", of["name"]);
    }
}
