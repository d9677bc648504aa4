//! What differs between two profiles, for people.

use std::{cmp::Ordering, sync::Arc};

use super::{
    manifest::{Entry, Manifest},
    tree::{Kind, span_bytes},
};

/// One entry that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As it was; none: it is new.
    pub before: Option<Arc<Entry>>,
    /// As it is; none: it is gone.
    pub after: Option<Arc<Entry>>,
    /// Bytes of the leaves of the file as it is that are not the same leaves at the same place of the file as it was.
    pub changed_bytes: u64,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In ascending order of the paths.
    pub differences: Vec<Difference>,
    /// How many entries are new.
    pub added: u64,
    /// How many are gone.
    pub removed: u64,
    /// How many are in both and differ.
    pub changed: u64,
    /// The sum of the differences' changed bytes.
    pub changed_bytes: u64,
}

impl Difference {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.after.as_ref().or(self.before.as_ref()).map_or("", |entry| &entry.path)
    }
}

/// Compares two profiles: one walk through both, for their entries are in order.
#[must_use]
pub fn compare(before: &Manifest, after: &Manifest) -> Comparison {
    let (mut old, mut new) = (before.entries().iter().peekable(), after.entries().iter().peekable());
    let mut all = Comparison::default();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return all,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        let was = if order == Ordering::Greater { None } else { old.next().cloned() };
        let is = if order == Ordering::Less { None } else { new.next().cloned() };
        match (&was, &is) {
            (Some(was), Some(is)) if is.same_outside(was) && was.size == is.size && was.root == is.root => continue,
            (Some(_), Some(_)) => all.changed += 1,
            (None, _) => all.added += 1,
            (_, None) => all.removed += 1,
        }
        let changed_bytes = is.as_ref().map_or(0, |is| changed_bytes(was.as_deref(), is));
        all.changed_bytes = all.changed_bytes.saturating_add(changed_bytes);
        all.differences.push(Difference { before: was, after: is, changed_bytes });
    }
}

fn changed_bytes(before: Option<&Entry>, after: &Entry) -> u64 {
    let before = before.filter(|before| before.kind == Kind::File);
    let differs = |leaf: &u32| before.is_none_or(|before| before.leaf(*leaf) != after.leaf(*leaf));
    (0..after.leaf_count()).filter(differs).map(|leaf| span_bytes(after.size, leaf, 1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{manifest::entry_root, tree::leaf_digest};

    fn file(path: &str, bytes: &[u8], mode: u32) -> Arc<Entry> {
        let leaves: Vec<u8> = bytes.chunks(4096).flat_map(leaf_digest).collect();
        let root = entry_root(Kind::File, &leaves, "");
        let (kind, size) = (Kind::File, bytes.len() as u64);
        Arc::new(Entry { kind, path: path.into(), mode, mtime_ns: 0, size, root, target: "".into(), leaves: leaves.into(), extents: Box::default() })
    }

    #[test]
    fn what_is_new_gone_and_changed_is_told_in_order_with_the_leaves_that_differ() {
        let mut body = vec![7; 10_000];
        let before = Manifest::new(vec![file("a", b"same", 0o600), file("b", b"gone", 0o600), file("d", &body, 0o600), file("e", b"mode", 0o600)]);
        body[5000] = 8;
        body.truncate(9000);
        let after = Manifest::new(vec![file("a", b"same", 0o600), file("c", b"new", 0o600), file("d", &body, 0o600), file("e", b"mode", 0o644)]);
        let all = compare(&before, &after);
        assert_eq!((all.added, all.removed, all.changed, all.changed_bytes), (1, 1, 2, 3 + 4096 + 808));
        let told: Vec<_> = all.differences.iter().map(|one| (one.path(), one.before.is_some(), one.after.is_some(), one.changed_bytes)).collect();
        assert_eq!(told, [("b", true, false, 0), ("c", false, true, 3), ("d", true, true, 4096 + 808), ("e", true, true, 0)]);
        assert_eq!(compare(&before, &before), Comparison::default());
        assert_eq!(compare(&Manifest::default(), &after).added, 4);
    }
}
