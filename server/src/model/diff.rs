//! What a loader needs: the difference of two manifests, and where its bytes lie.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    assembly::Run,
    manifest::{Entry, Manifest},
    pack::Frame,
    tree::{Digest, Kind, LEAF, span_bytes},
};

/// Consecutive leaves of one entry that lie one after the other in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the entry in [`Plan::entries`].
    pub entry: u32,
    /// Its first leaf.
    pub first_leaf: u32,
    /// How many leaves.
    pub leaf_count: u32,
    /// Their first byte in the unpacked frame.
    pub offset: u32,
    /// How many bytes.
    pub bytes: u32,
}

/// A frame, and what is needed of it in the order in which it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePieces {
    /// The frame.
    pub frame: Arc<Frame>,
    /// The pieces; none overlap in the target, but two may be the same bytes.
    pub pieces: Vec<Piece>,
}

/// What leads from a base to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// New and changed entries, in ascending order of their paths.
    pub entries: Vec<Arc<Entry>>,
    /// Paths of the base that are gone, in ascending order.
    pub removed: Vec<Box<str>>,
    /// Leaves to copy from the base.
    pub copies: Vec<Run>,
    /// Leaves to send, in the order of packs and frames.
    pub frames: Vec<FramePieces>,
    /// How many bytes these have.
    pub content: u64,
}

/// Plans what leads from `base` (`None`: from nothing) to `target`.
#[must_use]
pub fn plan(target: &Manifest, base: Option<&Manifest>) -> Plan {
    let mut plan = Plan::default();
    let before = |entry: &Entry| base.and_then(|base| base.find(&entry.path));
    let unchanged = |entry: &Arc<Entry>| {
        before(entry).is_some_and(|before| Arc::ptr_eq(before, entry) || (before.same_outside(entry) && before.size == entry.size && before.root == entry.root))
    };
    plan.entries = target.entries().iter().filter(|entry| !unchanged(entry)).cloned().collect();
    if let Some(base) = base {
        let gone = base.entries().iter().filter(|entry| target.find(&entry.path).is_none());
        plan.removed = gone.map(|entry| entry.path.clone()).collect();
    }
    let missing = missing(&plan.entries, before);
    let known = base.map(|base| Known::new(base, &missing, &plan.entries)).unwrap_or_default();
    let mut pieces: Vec<(Arc<Frame>, Piece)> = Vec::new();
    for (number, leaves) in missing {
        let Some(entry) = plan.entries.get(number as usize) else { continue };
        let send = known.copy(number, entry, leaves, &mut plan.copies);
        locate(number, entry, &send, &mut pieces);
    }
    pieces.sort_by(|(a, x), (b, y)| (&a.pack.name, a.index, x.offset, x.entry, x.first_leaf).cmp(&(&b.pack.name, b.index, y.offset, y.entry, y.first_leaf)));
    for (frame, piece) in pieces {
        plan.content += u64::from(piece.bytes);
        match plan.frames.last_mut() {
            Some(last) if last.frame == frame => last.pieces.push(piece),
            _ => plan.frames.push(FramePieces { frame, pieces: vec![piece] }),
        }
    }
    plan
}

/// Leaves `first..end` of an entry.
type Range = std::ops::Range<u32>;

/// Per entry, the leaves that are not at the same place in the base.
fn missing<'a>(entries: &[Arc<Entry>], before: impl Fn(&Entry) -> Option<&'a Arc<Entry>>) -> Vec<(u32, Vec<Range>)> {
    let mut missing = Vec::new();
    for (number, entry) in (0..).zip(entries) {
        let old = before(entry).filter(|old| old.kind == Kind::File);
        let mut ranges: Vec<Range> = Vec::new();
        for leaf in 0..entry.leaf_count() {
            if old.is_some_and(|old| old.leaf(leaf) == entry.leaf(leaf)) {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == leaf => last.end += 1,
                _ => ranges.push(leaf..leaf + 1),
            }
        }
        if !ranges.is_empty() {
            missing.push((number, ranges));
        }
    }
    missing
}

/// Where the base has leaves that the target needs elsewhere. Equal digests mean equal leaves, also of equal length.
#[derive(Default)]
struct Known<'a> {
    places: HashMap<Digest, (&'a Entry, u32)>,
}

impl<'a> Known<'a> {
    fn new(base: &'a Manifest, missing: &[(u32, Vec<Range>)], entries: &[Arc<Entry>]) -> Self {
        let wanted = missing.iter().filter_map(|(number, ranges)| Some((entries.get(*number as usize)?, ranges)));
        let wanted: HashSet<Digest> = wanted.flat_map(|(entry, ranges)| ranges.iter().cloned().flatten().filter_map(|leaf| entry.leaf(leaf))).collect();
        let mut places = HashMap::new();
        if wanted.is_empty() {
            return Self { places };
        }
        for entry in base.entries().iter().filter(|entry| entry.kind == Kind::File) {
            for leaf in 0..entry.leaf_count() {
                if let Some(digest) = entry.leaf(leaf).filter(|digest| wanted.contains(digest)) {
                    places.entry(digest).or_insert((&**entry, leaf));
                }
            }
        }
        Self { places }
    }

    /// Notes copies for the leaves that the base has; answers the others.
    fn copy(&self, number: u32, entry: &Entry, leaves: Vec<Range>, copies: &mut Vec<Run>) -> Vec<Range> {
        if self.places.is_empty() {
            return leaves;
        }
        let mut send: Vec<Range> = Vec::new();
        let mut last: Option<(&Entry, u32, u32)> = None;
        for leaf in leaves.into_iter().flatten() {
            let Some(digest) = entry.leaf(leaf) else { continue };
            // Going on where the last copy ended makes long runs, whatever other places there are.
            let next = last.filter(|(from, at, to)| *to == leaf && from.leaf(*at) == Some(digest)).map(|(from, at, _)| (from, at));
            match (next, self.places.get(&digest)) {
                (Some((from, at)), _) => {
                    if let Some(run) = copies.last_mut() {
                        run.leaf_count += 1;
                    }
                    last = Some((from, at + 1, leaf + 1));
                }
                (None, Some((from, at))) => {
                    copies.push(Run { entry: number, first_leaf: leaf, leaf_count: 1, copy: Some((from.path.to_string(), *at)) });
                    last = Some((from, at + 1, leaf + 1));
                }
                (None, None) => match send.last_mut() {
                    Some(range) if range.end == leaf => range.end += 1,
                    _ => send.push(leaf..leaf + 1),
                },
            }
        }
        send
    }
}

/// Finds where leaves lie. `ranges` ascend, as the extents do.
fn locate(number: u32, entry: &Entry, ranges: &[Range], pieces: &mut Vec<(Arc<Frame>, Piece)>) {
    let mut ranges = ranges.iter().cloned();
    let mut wanted = ranges.next();
    let mut start = 0;
    for extent in &entry.extents {
        let end = start + extent.leaves;
        while let Some(range) = wanted.clone().filter(|range| range.start < end) {
            let stop = range.end.min(end);
            let (count, skipped) = (stop - range.start, range.start - start);
            let bytes = u32::try_from(span_bytes(entry.size, range.start, count)).unwrap_or(u32::MAX);
            let offset = extent.offset + skipped * LEAF;
            pieces.push((Arc::clone(&extent.frame), Piece { entry: number, first_leaf: range.start, leaf_count: count, offset, bytes }));
            wanted = if stop == range.end { ranges.next() } else { Some(stop..range.end) };
        }
        start = end;
    }
}
