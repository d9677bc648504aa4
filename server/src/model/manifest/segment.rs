//! How a manifest is cut into segments, and how a segment is written.
//!
//! The cuts depend on the paths alone (and on a bound), so that a change moves no cut but its own, and all other segments stay where they lie: in older packs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message as _;

use super::{Entry, Extent, Manifest, Segment, entry_root};
use crate::model::{
    error::{Error, Reason, Result},
    pack::{Frame, MAX_PLAIN, Pack, PackRow, stored_codec},
    path,
    tree::{DIGEST, Kind, MAX_CONTENT, MAX_MODE, Root, leaf_count, sha256, span_bytes},
};

/// A segment ends after an entry whose path's SHA-256 begins with this many zero bits: every 32nd on average.
const CUT_BITS: u32 = 5;
/// A segment ends when its entries have this many bytes.
const CUT_BYTES: usize = 512 * 1024;

/// A frame that extents refer to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct FrameRow {
    /// Index into the packs listed beside it.
    #[prost(uint32, tag = "1")]
    pub(super) pack: u32,
    #[prost(uint32, tag = "2")]
    pub(super) index: u32,
    #[prost(uint64, tag = "3")]
    pub(super) offset: u64,
    #[prost(uint32, tag = "4")]
    pub(super) sealed: u32,
    #[prost(uint32, tag = "5")]
    pub(super) plain: u32,
    #[prost(uint32, tag = "6")]
    pub(super) codec: u32,
}

impl FrameRow {
    pub(super) fn new(pack: u32, frame: &Frame) -> Self {
        Self { pack, index: frame.index, offset: frame.offset, sealed: frame.sealed, plain: frame.plain, codec: frame.codec as u32 }
    }

    pub(super) fn read(&self, packs: &[Arc<Pack>]) -> Result<Arc<Frame>> {
        let codec = u8::try_from(self.codec).ok().and_then(stored_codec).ok_or_else(damaged)?;
        let pack = Arc::clone(packs.get(self.pack as usize).ok_or_else(damaged)?);
        if self.plain > MAX_PLAIN {
            return Err(damaged());
        }
        Ok(Arc::new(Frame { pack, index: self.index, offset: self.offset, sealed: self.sealed, plain: self.plain, codec }))
    }
}

/// An entry. Its root is not written: it follows from the leaves or the target.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct EntryRow {
    /// How many bytes of the path are those of the entry before it in the segment.
    #[prost(uint32, tag = "1")]
    shared: u32,
    #[prost(string, tag = "2")]
    suffix: String,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint32, tag = "4")]
    mode: u32,
    #[prost(sfixed64, tag = "5")]
    mtime_ns: i64,
    #[prost(uint64, tag = "6")]
    size: u64,
    #[prost(string, tag = "7")]
    target: String,
    #[prost(bytes = "bytes", tag = "8")]
    leaves: Bytes,
    /// Three numbers each: index into the frames, offset in the unpacked frame, number of leaves.
    #[prost(uint32, repeated, tag = "9")]
    extents: Vec<u32>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SegmentRow {
    #[prost(message, repeated, tag = "1")]
    packs: Vec<PackRow>,
    #[prost(message, repeated, tag = "2")]
    frames: Vec<FrameRow>,
    #[prost(message, repeated, tag = "3")]
    entries: Vec<EntryRow>,
}

/// Packs in the order of their first use.
#[derive(Debug, Default)]
pub(super) struct PackTable {
    packs: Vec<Arc<Pack>>,
    known: HashMap<Arc<Pack>, u32>,
}

impl PackTable {
    pub(super) fn of<'a>(packs: impl IntoIterator<Item = &'a Arc<Pack>>) -> Self {
        let mut table = Self::default();
        for pack in packs {
            table.index(pack);
        }
        table
    }

    pub(super) fn index(&mut self, pack: &Arc<Pack>) -> u32 {
        if let Some(index) = self.known.get(pack) {
            return *index;
        }
        let index = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        self.packs.push(Arc::clone(pack));
        self.known.insert(Arc::clone(pack), index);
        index
    }

    pub(super) fn into_packs(self) -> Vec<Arc<Pack>> {
        self.packs
    }

    pub(super) fn into_rows(self) -> Vec<PackRow> {
        self.packs.iter().map(|pack| PackRow::new(pack)).collect()
    }
}

/// A segment that has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSegment {
    /// Its encoding.
    pub plain: Vec<u8>,
    /// The SHA-256 of that.
    pub sha256: Root,
    /// The path of its first entry.
    pub first: Box<str>,
    /// How many entries it has.
    pub entries: u32,
    /// The sum of its files' sizes.
    pub content: u64,
}

impl NewSegment {
    /// The segment, now that it lies in `frame`.
    #[must_use]
    pub fn stored(self, frame: Arc<Frame>) -> Segment {
        Segment { first: self.first, sha256: self.sha256, frame, entries: self.entries, content: self.content }
    }
}

/// One segment of a manifest that is about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It lies in an older pack.
    Kept(Segment),
    /// It is new.
    New(NewSegment),
}

/// Cuts a manifest into segments. Those that `parent` has too are kept where they are.
///
/// # Errors
/// `LIMIT_EXCEEDED` when a segment becomes too long for a frame.
pub fn cut(manifest: &Manifest, parent: Option<&Manifest>) -> Result<Vec<Cut>> {
    let known = Known::new(parent);
    let mut cuts = Vec::new();
    let mut rest = manifest.entries();
    while let Some(first) = rest.first() {
        if let Some(segment) = known.whole(rest) {
            rest = rest.get(segment.entries as usize..).unwrap_or_default();
            cuts.push(Cut::Kept(segment.clone()));
            continue;
        }
        let (row, taken) = take(rest);
        let (entries, after) = rest.split_at(taken);
        let plain = row.encode_to_vec();
        if plain.len() > MAX_PLAIN as usize {
            let message = format!("the description of {} has {} bytes; at most {MAX_PLAIN} are possible", path::shown(&first.path), plain.len());
            return Err(Error::new(Reason::LimitExceeded, message).with_help(
                "save the whole profile, so that its files are written in one piece: with `full`, or in the clients without its sidecar and with `replace`",
            ));
        }
        let sha256 = sha256(&plain);
        let content = entries.iter().filter(|entry| entry.kind == Kind::File).map(|entry| entry.size).sum();
        let new = NewSegment { plain, sha256, first: first.path.clone(), entries: u32::try_from(taken).unwrap_or(u32::MAX), content };
        cuts.push(match known.by_first.get(&*first.path) {
            Some((_, segment)) if segment.sha256 == sha256 => Cut::Kept((*segment).clone()),
            _ => Cut::New(new),
        });
        rest = after;
    }
    Ok(cuts)
}

/// The parent's segments by their first path, each with its entries.
struct Known<'a> {
    by_first: HashMap<&'a str, (&'a [Arc<Entry>], &'a Segment)>,
}

impl<'a> Known<'a> {
    fn new(parent: Option<&'a Manifest>) -> Self {
        let mut by_first = HashMap::new();
        let mut rest = parent.map(Manifest::entries).unwrap_or_default();
        for segment in parent.map(Manifest::segments).unwrap_or_default() {
            let (entries, after) = rest.split_at((segment.entries as usize).min(rest.len()));
            by_first.insert(&*segment.first, (entries, segment));
            rest = after;
        }
        Self { by_first }
    }

    /// The parent's segment that `rest` begins with, if its entries are the very same and its end is a cut here too: a shortcut that saves encoding it.
    fn whole(&self, rest: &[Arc<Entry>]) -> Option<&'a Segment> {
        let (entries, segment) = self.by_first.get(&*rest.first()?.path)?;
        let same = rest.get(..entries.len())?.iter().zip(*entries).all(|(a, b)| Arc::ptr_eq(a, b));
        let ends = rest.len() == entries.len() || entries.last().is_some_and(|last| cuts_after(&last.path));
        (same && ends && !entries.is_empty()).then_some(*segment)
    }
}

fn cuts_after(path: &str) -> bool {
    sha256(path.as_bytes())[0].leading_zeros() >= CUT_BITS
}

/// The first segment of these entries, and how many it takes.
fn take(entries: &[Arc<Entry>]) -> (SegmentRow, usize) {
    let mut packs = PackTable::default();
    let mut frames: HashMap<(u32, u32), u32> = HashMap::new();
    let mut segment = SegmentRow::default();
    let (mut before, mut bytes) = ("", 0);
    for entry in entries {
        let mut extents = Vec::with_capacity(entry.extents.len() * 3);
        for extent in &entry.extents {
            let pack = packs.index(&extent.frame.pack);
            let index = *frames.entry((pack, extent.frame.index)).or_insert_with(|| {
                segment.frames.push(FrameRow::new(pack, &extent.frame));
                u32::try_from(segment.frames.len() - 1).unwrap_or(u32::MAX)
            });
            extents.extend_from_slice(&[index, extent.offset, extent.leaves]);
        }
        let shared = shared_prefix(before, &entry.path);
        let row = EntryRow {
            shared: u32::try_from(shared).unwrap_or(u32::MAX),
            suffix: entry.path[shared..].to_owned(),
            kind: entry.kind as u32,
            mode: entry.mode,
            mtime_ns: entry.mtime_ns,
            size: entry.size,
            target: entry.target.to_string(),
            leaves: entry.leaves.clone(),
            extents,
        };
        bytes += row.encoded_len();
        segment.entries.push(row);
        before = &entry.path;
        if bytes >= CUT_BYTES || cuts_after(&entry.path) {
            break;
        }
    }
    segment.packs = packs.into_rows();
    let taken = segment.entries.len();
    (segment, taken)
}

fn shared_prefix(a: &str, b: &str) -> usize {
    let bytes = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=bytes).rev().find(|at| b.is_char_boundary(*at)).unwrap_or(0)
}

/// Reads a segment's encoding.
///
/// # Errors
/// `DATA_CORRUPT` when it breaks any rule of the format.
pub fn decode_segment(plain: Bytes) -> Result<Vec<Arc<Entry>>> {
    let row = SegmentRow::decode(plain).map_err(|error| damaged().with_source(error))?;
    let packs = PackRow::read_all(&row.packs)?;
    let frames = row.frames.iter().map(|frame| frame.read(&packs)).collect::<Result<Vec<_>>>()?;
    // A frame is written once: two descriptions of one could contradict each other.
    let distinct: HashSet<_> = row.frames.iter().map(|frame| (frame.pack, frame.index)).collect();
    if distinct.len() != frames.len() {
        return Err(damaged());
    }
    let mut entries: Vec<Arc<Entry>> = Vec::with_capacity(row.entries.len());
    for row in row.entries {
        let before = entries.last().map_or("", |entry| &*entry.path);
        let prefix = before.get(..row.shared as usize).ok_or_else(damaged)?;
        let path = [prefix, &row.suffix].concat();
        if path.as_str() <= before || path::check(&path).is_err() {
            return Err(damaged());
        }
        entries.push(Arc::new(read_entry(path, row, &frames)?));
    }
    Ok(entries)
}

fn read_entry(path: String, row: EntryRow, frames: &[Arc<Frame>]) -> Result<Entry> {
    let kind = i32::try_from(row.kind).ok().and_then(Kind::from_number).ok_or_else(damaged)?;
    let leaves = if kind == Kind::File && row.size <= MAX_CONTENT { leaf_count(row.size) } else { 0 };
    let size = match kind {
        Kind::File => row.size <= MAX_CONTENT,
        Kind::Directory => row.size == 0,
        Kind::Symlink => row.size == row.target.len() as u64 && path::check_target(&path, &row.target).is_ok(),
    };
    if !size || row.mode > MAX_MODE || row.leaves.len() != leaves as usize * DIGEST || (kind != Kind::Symlink && !row.target.is_empty()) {
        return Err(damaged());
    }
    let extents = read_extents(row.size, leaves, &row.extents, frames)?;
    let root = entry_root(kind, &row.leaves, &row.target);
    Ok(Entry { kind, path: path.into(), mode: row.mode, mtime_ns: row.mtime_ns, size: row.size, root, target: row.target.into(), leaves: row.leaves, extents })
}

fn read_extents(size: u64, leaves: u32, numbers: &[u32], frames: &[Arc<Frame>]) -> Result<Box<[Extent]>> {
    let mut extents = Vec::with_capacity(numbers.len() / 3);
    let mut next = 0_u32;
    let (triples, []) = numbers.as_chunks::<3>() else { return Err(damaged()) };
    for &[frame, offset, count] in triples {
        let frame = frames.get(frame as usize).ok_or_else(damaged)?;
        let end = next.checked_add(count).filter(|end| count > 0 && *end <= leaves).ok_or_else(damaged)?;
        if u64::from(offset) + span_bytes(size, next, count) > u64::from(frame.plain) {
            return Err(damaged());
        }
        extents.push(Extent { frame: Arc::clone(frame), offset, leaves: count });
        next = end;
    }
    if next == leaves { Ok(extents.into()) } else { Err(damaged()) }
}

fn damaged() -> Error {
    Error::new(Reason::DataCorrupt, "a manifest is damaged")
}
