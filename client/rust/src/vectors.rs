//! Reads the test vectors that all clients share: `client/vectors`.

use std::{fs, path::Path, sync::Arc};

use serde_json::Value;

use crate::tree::{Entry, Tree, hash_leaves, sha256};

/// One of the files.
pub(crate) fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The bytes that a list of pieces stands for.
pub(crate) fn content(pieces: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces.as_array().unwrap() {
        if let Some(seed) = piece["seed"].as_str() {
            let end = out.len() + usize::try_from(piece["size"].as_u64().unwrap()).unwrap();
            for block in (0..).take_while(|block| block * 32 < piece["size"].as_u64().unwrap()) {
                out.extend_from_slice(&sha256(format!("{seed}:{block}").as_bytes()));
            }
            out.truncate(end);
        } else if let Some(zeros) = piece["zeros"].as_u64() {
            out.resize(out.len() + usize::try_from(zeros).unwrap(), 0);
        } else {
            out.extend_from_slice(piece["text"].as_str().unwrap().as_bytes());
        }
    }
    out
}

/// One entry of a tree of the vectors.
pub(crate) fn entry_of(value: &Value) -> Entry {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    let mode = u32::try_from(value["mode"].as_u64().unwrap()).unwrap();
    let mtime_ns = value["mtime_ns"].as_str().unwrap().parse().unwrap();
    match value["kind"].as_str().unwrap() {
        "file" => {
            let body = content(&value["content"]);
            let mut leaves = Vec::new();
            hash_leaves(&body, &mut leaves);
            Entry::file(text("path"), mode, mtime_ns, body.len() as u64, leaves)
        }
        "directory" => Entry::directory(text("path"), mode, mtime_ns),
        _ => Entry::link(text("path"), text("target")),
    }
}

pub(crate) fn tree_of(value: &Value) -> Tree {
    Tree::new(value.as_array().unwrap().iter().map(|entry| Arc::new(entry_of(entry))).collect())
}
