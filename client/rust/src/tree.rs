//! What a profile consists of: entries with their roots, the rules for their paths, and what the file system says of them.

mod entry;
mod paths;
mod stat;

use std::{collections::HashMap, sync::Arc};

use ring::digest::{Context, SHA256};

pub(crate) use self::{
    entry::{DIGEST, Entry, Kind, LEAF, MAX_CONTENT, Root, hash_leaves, sha256},
    paths::{fault_in_path, fault_in_target},
    stat::Stat,
};

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
        entry::finish(context)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        hex::hex,
        vectors::{tree_of, vectors},
    };

    #[test]
    fn manifest_roots_are_those_of_the_vectors() {
        for case in vectors("manifests")["trees"].as_array().unwrap() {
            assert_eq!(hex(&tree_of(&case["tree"]).manifest_root()), case["manifest_root"], "{}", case["name"]);
        }
    }
}
