//! The end of a save: every leaf accounted for, every root recomputed, the tree well formed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Assembly, Named, Source, Span, invalid, over};
use crate::model::{
    error::{Error, Reason, Result},
    manifest::{Entry, Extent, Manifest, entry_root},
    pack::Frame,
    path,
    tree::{DIGEST, Kind, LEAF, MAX_CONTENT, MAX_ENTRIES, Root, RootHasher, span_bytes},
};

/// A complete, verified profile whose new bytes have no place in a pack yet.
#[derive(Debug)]
pub struct Assembled {
    items: Vec<Item>,
    root: Root,
}

#[derive(Debug)]
enum Item {
    /// As in the parent.
    Kept(Arc<Entry>),
    /// New or changed; its extents follow when the frames have their places.
    New(Box<Pending>),
}

#[derive(Debug)]
struct Pending {
    entry: Entry,
    parts: Vec<Part>,
}

/// Consecutive leaves that lie one after the other.
#[derive(Clone, Debug)]
struct Part {
    at: At,
    offset: u32,
    leaves: u32,
}

#[derive(Clone, Debug)]
enum At {
    /// A frame of this save.
    New(u32),
    /// A frame of an older pack.
    Stored(Arc<Frame>),
}

impl Part {
    /// Whether `next` begins where this one ends, so that both are one.
    fn continues_in(&self, next: &Self) -> bool {
        let same = match (&self.at, &next.at) {
            (At::New(a), At::New(b)) => a == b,
            (At::Stored(a), At::Stored(b)) => a == b,
            _ => false,
        };
        same && u64::from(self.offset) + u64::from(self.leaves) * u64::from(LEAF) == u64::from(next.offset)
    }
}

impl Item {
    fn entry(&self) -> &Entry {
        match self {
            Self::Kept(entry) => entry,
            Self::New(pending) => &pending.entry,
        }
    }
}

impl Assembled {
    /// The manifest root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The manifest, now that the frames of this save have their places: `frames[n]` is the frame of the work with number `n`.
    ///
    /// # Errors
    /// `INTERNAL` when a frame is missing.
    pub fn manifest(&self, frames: &[Arc<Frame>]) -> Result<Manifest> {
        let extent = |part: &Part| {
            let frame = match &part.at {
                At::Stored(frame) => Some(frame),
                At::New(number) => frames.get(*number as usize),
            };
            let frame = frame.ok_or_else(|| Error::new(Reason::Internal, "a frame of a save has no place"))?;
            Ok(Extent { frame: Arc::clone(frame), offset: part.offset, leaves: part.leaves })
        };
        let entry = |item: &Item| match item {
            Item::Kept(entry) => Ok(Arc::clone(entry)),
            Item::New(pending) => {
                let extents = pending.parts.iter().map(extent).collect::<Result<_>>()?;
                Ok(Arc::new(Entry { extents, ..pending.entry.clone() }))
            }
        };
        Ok(Manifest::new(self.items.iter().map(entry).collect::<Result<_>>()?))
    }
}

impl Assembly {
    /// Ends the save: the tree must be well formed, and have the manifest root that the client has.
    ///
    /// # Errors
    /// `DATA_INVALID` for missing leaves, `PATH_INVALID` for clashes, `DIGEST_MISMATCH`, `LIMIT_EXCEEDED`.
    pub fn finish(mut self, root: &Root) -> Result<Assembled> {
        let named = std::mem::take(&mut self.named);
        let mut fill = Fill { base: self.base.as_deref(), starts: HashMap::new() };
        let mut items: Vec<Item> = named.into_iter().map(|named| fill.item(named)).collect::<Result<_>>()?;
        let kept = self.base.as_deref().map(Manifest::entries).unwrap_or_default();
        let kept = kept.iter().filter(|entry| !self.numbers.contains_key(&entry.path) && !self.removed.contains(&*entry.path));
        items.extend(kept.map(|entry| Item::Kept(Arc::clone(entry))));
        items.sort_unstable_by(|a, b| a.entry().path.cmp(&b.entry().path));
        if let Some(path) = self.removed.iter().find(|path| self.numbers.contains_key(path.as_str())) {
            return Err(path::invalid("removed", path, "is also named as an entry: name it once"));
        }
        check_shape(&items)?;
        let mut hasher = RootHasher::new();
        for item in &items {
            hasher.add(&item.entry().described());
        }
        let mine = hasher.finish();
        if mine != *root {
            let message = "the manifest root is not that of the profile which this stream and its parent give: the client's base is not the parent, or it left something out";
            return Err(Error::new(Reason::DigestMismatch, message)
                .with_field("end.manifest_root")
                .with_help("save the whole profile: with `full`, or in the clients without its sidecar and with `replace`"));
        }
        Ok(Assembled { items, root: mine })
    }
}

/// Every entry lies in a directory that is an entry, and nothing is over its limit.
fn check_shape(items: &[Item]) -> Result<()> {
    if items.len() > MAX_ENTRIES {
        return Err(over("the number of entries", items.len() as u64, MAX_ENTRIES as u64));
    }
    let directories: HashSet<&str> = items.iter().map(Item::entry).filter(|entry| entry.kind == Kind::Directory).map(|entry| &*entry.path).collect();
    let mut content = 0_u64;
    for item in items {
        let entry = item.entry();
        if let Some(parent) = path::parent(&entry.path).filter(|parent| !directories.contains(parent)) {
            let problem =
                format!("lies in {}, which is no directory of the profile: name the directory too, or remove its content with it", path::shown(parent));
            return Err(path::invalid("path", &entry.path, &problem));
        }
        content += if entry.kind == Kind::File { entry.size } else { 0 };
    }
    if content > MAX_CONTENT { Err(over("the size of all files", content, MAX_CONTENT)) } else { Ok(()) }
}

/// Gives every leaf its digest and its place.
struct Fill<'a> {
    base: Option<&'a Manifest>,
    /// The first leaf of every extent, per file of the base that leaves are taken from.
    starts: HashMap<Box<str>, Vec<u32>>,
}

impl Fill<'_> {
    fn item(&mut self, named: Named) -> Result<Item> {
        let Named { mut entry, spans } = named;
        let before = self.base.and_then(|base| base.find(&entry.path)).filter(|before| before.kind == entry.kind).cloned();
        // What there will be, not what was announced: that alone costs no memory.
        let known = spans.values().map(|span| span.leaves).chain(before.iter().map(|before| before.leaf_count())).fold(0, u32::saturating_add);
        let mut leaves = Vec::with_capacity(known.min(entry.leaf_count()) as usize * DIGEST);
        let mut parts: Vec<Part> = Vec::new();
        let mut next = 0;
        for (first, span) in spans {
            self.inherit(&entry, before.as_ref(), next, first, &mut leaves, &mut parts)?;
            next = first + span.leaves;
            self.span(span, &mut leaves, &mut parts)?;
        }
        self.inherit(&entry, before.as_ref(), next, entry.leaf_count(), &mut leaves, &mut parts)?;
        if entry_root(entry.kind, &leaves, &entry.target) != entry.root {
            let message = format!("the leaves of {} do not give its root: they were read while it changed, or damaged on the way", path::shown(&entry.path));
            return Err(Error::new(Reason::DigestMismatch, message).with_field("records.entries.root"));
        }
        if let Some(before) = before.filter(|before| before.same_outside(&entry) && before.size == entry.size && before.root == entry.root) {
            // Named but not changed: what is stored stays.
            return Ok(Item::Kept(before));
        }
        entry.leaves = Bytes::from(leaves);
        Ok(Item::New(Box::new(Pending { entry, parts })))
    }

    fn span(&mut self, span: Span, leaves: &mut Vec<u8>, parts: &mut Vec<Part>) -> Result<()> {
        match span.source {
            Source::Base { entry, first } => {
                self.take(&entry, first, span.leaves, leaves, parts);
                Ok(())
            }
            Source::Data { frame, offset, digests } => {
                let digests = digests.ok_or_else(|| Error::new(Reason::Internal, "bytes of a save were never hashed"))?;
                leaves.extend_from_slice(&digests);
                push(parts, Part { at: At::New(frame), offset, leaves: span.leaves });
                Ok(())
            }
        }
    }

    /// Takes the leaves `first..end`, which no run covers, from the base's file of the same path.
    fn inherit(&mut self, entry: &Entry, before: Option<&Arc<Entry>>, first: u32, end: u32, leaves: &mut Vec<u8>, parts: &mut Vec<Part>) -> Result<()> {
        let Some(count) = end.checked_sub(first).filter(|count| *count > 0) else { return Ok(()) };
        let fits = |before: &&Arc<Entry>| end <= before.leaf_count() && span_bytes(before.size, first, count) == span_bytes(entry.size, first, count);
        let Some(before) = before.filter(fits) else {
            let message = format!(
                "leaves {first} to {} of {} were not sent, and the parent's file of that path has no leaves of these lengths there",
                end - 1,
                path::shown(&entry.path)
            );
            return Err(invalid(message).with_field("records.runs"));
        };
        self.take(before, first, count, leaves, parts);
        Ok(())
    }

    /// Takes leaves that `from` is known to have.
    fn take(&mut self, from: &Entry, first: u32, count: u32, leaves: &mut Vec<u8>, parts: &mut Vec<Part>) {
        let bytes = first as usize * DIGEST..(first + count) as usize * DIGEST;
        leaves.extend_from_slice(from.leaves.get(bytes).unwrap_or_default());
        let starts = self.starts.entry(from.path.clone()).or_insert_with(|| {
            let next = |next: &mut u32, extent: &Extent| Some(std::mem::replace(next, *next + extent.leaves));
            from.extents.iter().scan(0, next).collect()
        });
        let (mut at, end) = (first, first + count);
        let mut index = starts.partition_point(|start| *start <= first).saturating_sub(1);
        while let (true, Some(extent), Some(start)) = (at < end, from.extents.get(index), starts.get(index)) {
            let skipped = at - start;
            let taken = (extent.leaves - skipped).min(end - at);
            // Only a file's last leaf is short, and nothing is skipped behind it.
            let offset = extent.offset + skipped * LEAF;
            push(parts, Part { at: At::Stored(Arc::clone(&extent.frame)), offset, leaves: taken });
            at += taken;
            index += 1;
        }
    }
}

fn push(parts: &mut Vec<Part>, part: Part) {
    match parts.last_mut() {
        Some(last) if last.continues_in(&part) => last.leaves += part.leaves,
        _ => parts.push(part),
    }
}
