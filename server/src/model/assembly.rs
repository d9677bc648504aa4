//! From the stream of a save to a manifest: takes what the client says piece by piece, believes nothing, and ends with exactly the tree that the client has.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    codec::Codec,
    error::{Error, Reason, Result},
    manifest::{Entry, Manifest},
    path,
    tree::{DIRECTORY_ROOT, Kind, MAX_CONTENT, MAX_ENTRIES, MAX_MODE, Root, sha256, span_bytes},
};

mod finish;
mod work;

pub use finish::Assembled;
pub use work::{Hashed, Work};

/// Most bytes of one message's data, unpacked: 240 leaves.
pub const MAX_DATA: u32 = 240 * 4096;
/// Most runs of one save.
pub const MAX_RUNS: usize = 1_000_000;

/// An entry as the stream names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented once, in profile.proto")]
pub struct NewEntry {
    pub kind: i32,
    pub path: String,
    pub mode: u32,
    pub mtime_ns: i64,
    pub size: i64,
    pub root: Bytes,
    pub target: String,
}

/// Consecutive leaves as the stream names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented once, in profile.proto")]
pub struct Run {
    pub entry: u32,
    pub first_leaf: u32,
    pub leaf_count: u32,
    /// The file of the base to copy from, and the first leaf there; `None`: the bytes are in the data.
    pub copy: Option<(String, u32)>,
}

/// A piece of a profile, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented once, in profile.proto")]
pub struct Records {
    pub entries: Vec<NewEntry>,
    pub runs: Vec<Run>,
    pub removed: Vec<String>,
    pub codec: Codec,
    pub data: Bytes,
    pub data_size: u32,
}

impl Default for Records {
    fn default() -> Self {
        Self { entries: Vec::new(), runs: Vec::new(), removed: Vec::new(), codec: Codec::Raw, data: Bytes::new(), data_size: 0 }
    }
}

/// A save in the making.
#[derive(Debug)]
pub struct Assembly {
    /// What leaves and entries may be taken over from.
    base: Option<Arc<Manifest>>,
    named: Vec<Named>,
    numbers: HashMap<Box<str>, u32>,
    removed: HashSet<String>,
    content: u64,
    runs: usize,
    frames: u32,
}

/// An entry that the stream has named, and the leaves that it has covered so far, by their first one.
#[derive(Debug)]
struct Named {
    entry: Entry,
    spans: BTreeMap<u32, Span>,
}

#[derive(Debug)]
struct Span {
    leaves: u32,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Bytes of this stream: the frame they are in, where there, and their digests once they are known.
    Data { frame: u32, offset: u32, digests: Option<Bytes> },
    /// Leaves of a file of the base.
    Base { entry: Arc<Entry>, first: u32 },
}

impl Assembly {
    /// Begins. `base` is the parent's manifest; `None` when there is no parent or nothing shall be taken over.
    #[must_use]
    pub fn new(base: Option<Arc<Manifest>>) -> Self {
        Self { base, named: Vec::new(), numbers: HashMap::new(), removed: HashSet::new(), content: 0, runs: 0, frames: 0 }
    }

    /// Takes the next piece. If it carries bytes, the work on them is handed back: it may run anywhere, and its result comes to [`Self::supply`], in any order.
    ///
    /// # Errors
    /// `PATH_INVALID`, `DATA_INVALID`, `LIMIT_EXCEEDED`, naming the entry. The assembly is then of no more use.
    pub fn accept(&mut self, records: Records) -> Result<Option<Work>> {
        for entry in records.entries {
            self.name(entry)?;
        }
        for path in records.removed {
            self.remove(path)?;
        }
        if records.data_size > MAX_DATA {
            return Err(over("data_size", u64::from(records.data_size), u64::from(MAX_DATA)).with_field("records.data_size"));
        }
        self.runs += records.runs.len();
        if self.runs > MAX_RUNS {
            return Err(over("the number of runs", self.runs as u64, MAX_RUNS as u64));
        }
        let mut work = Work::new(self.frames, records.codec, records.data, records.data_size);
        for run in records.runs {
            self.cover(run, &mut work)?;
        }
        let described = work.described();
        if described != u64::from(records.data_size) {
            let message = format!("the runs of a message cover {described} bytes of data, but its data_size is {}", records.data_size);
            return Err(invalid(message).with_field("records.data_size"));
        }
        if described == 0 && work.is_empty() {
            return Ok(None);
        }
        self.frames += 1;
        Ok(Some(work))
    }

    /// Takes the digests of the bytes of one [`Work`].
    pub fn supply(&mut self, hashed: &Hashed) {
        for (target, digests) in hashed.digests() {
            let span = self.named.get_mut(target.entry as usize).and_then(|named| named.spans.get_mut(&target.first));
            if let Some(Span { source: Source::Data { digests: slot, .. }, .. }) = span {
                *slot = Some(digests);
            }
        }
    }

    /// How many entries were named.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.named.len()
    }

    fn name(&mut self, new: NewEntry) -> Result<()> {
        path::check(&new.path)?;
        if self.named.len() >= MAX_ENTRIES {
            return Err(over("the number of entries", self.named.len() as u64 + 1, MAX_ENTRIES as u64));
        }
        let entry = checked(new)?;
        if entry.kind == Kind::File {
            self.content = self.content.saturating_add(entry.size);
            if self.content > MAX_CONTENT {
                return Err(over("the size of all files", self.content, MAX_CONTENT));
            }
        }
        let number = u32::try_from(self.named.len()).unwrap_or(u32::MAX);
        if self.numbers.insert(entry.path.clone(), number).is_some() {
            return Err(path::invalid("path", &entry.path, "is named twice: name every entry once"));
        }
        self.named.push(Named { entry, spans: BTreeMap::new() });
        Ok(())
    }

    fn remove(&mut self, path: String) -> Result<()> {
        if self.base.as_ref().and_then(|base| base.find(&path)).is_none() {
            let message = format!("removed names {}, which the parent does not have (in a full save nothing is removed)", path::shown(&path));
            return Err(invalid(message).with_field("records.removed"));
        }
        if let Some(path) = self.removed.replace(path) {
            return Err(path::invalid("removed", &path, "is named twice"));
        }
        Ok(())
    }

    fn cover(&mut self, run: Run, work: &mut Work) -> Result<()> {
        let count = self.named.len();
        let Some(named) = self.named.get_mut(run.entry as usize) else {
            return Err(invalid(format!("a run is for entry {}, but only {count} entries were named", run.entry)).with_field("records.runs.entry"));
        };
        let entry = &named.entry;
        let end = run.first_leaf.checked_add(run.leaf_count).filter(|end| run.leaf_count > 0 && *end <= entry.leaf_count());
        let Some(end) = end else {
            let message = format!(
                "a run covers {} leaves from leaf {} of {}, which has {} leaves",
                run.leaf_count,
                run.first_leaf,
                path::shown(&entry.path),
                entry.leaf_count()
            );
            return Err(invalid(message).with_field("records.runs"));
        };
        let before = named.spans.range(..end).next_back();
        if let Some((first, span)) = before.filter(|(first, span)| *first + span.leaves > run.first_leaf) {
            let leaf = (*first).max(run.first_leaf);
            let message = format!("leaf {leaf} of {} is covered twice ({} leaves from {first} are already)", path::shown(&entry.path), span.leaves);
            return Err(invalid(message).with_field("records.runs"));
        }
        let bytes = span_bytes(entry.size, run.first_leaf, run.leaf_count);
        let source = match run.copy {
            None => {
                let offset = work.push(run.entry, run.first_leaf, run.leaf_count, bytes);
                Source::Data { frame: self.frames, offset, digests: None }
            }
            Some((from, first)) => Source::Base { entry: copied(self.base.as_deref(), entry, &from, first, run.leaf_count, bytes)?, first },
        };
        named.spans.insert(run.first_leaf, Span { leaves: run.leaf_count, source });
        Ok(())
    }
}

/// The file of the base that a run copies from, if the leaves there have the lengths that they need here.
fn copied(base: Option<&Manifest>, entry: &Entry, from: &str, first: u32, leaves: u32, bytes: u64) -> Result<Arc<Entry>> {
    let file = base.and_then(|base| base.find(from)).filter(|found| found.kind == Kind::File);
    let Some(file) = file else {
        let message = format!("a run of {} copies from {}, which is no file of the parent", path::shown(&entry.path), path::shown(from));
        return Err(invalid(message).with_field("records.runs.copy_path"));
    };
    let inside = first.checked_add(leaves).is_some_and(|end| end <= file.leaf_count());
    if inside && span_bytes(file.size, first, leaves) == bytes {
        return Ok(Arc::clone(file));
    }
    let message = format!(
        "a run of {} copies {leaves} leaves from leaf {first} of {}, which has {} leaves of other lengths there: a file's last leaf fits only where it is last and as long",
        path::shown(&entry.path),
        path::shown(from),
        file.leaf_count()
    );
    Err(invalid(message).with_field("records.runs.copy_first_leaf"))
}

/// An entry whose description is sound in itself.
fn checked(new: NewEntry) -> Result<Entry> {
    let shown = || path::shown(&new.path);
    let Some(kind) = Kind::from_number(new.kind) else {
        return Err(invalid(format!("{} has kind {}; it needs 1 (file), 2 (directory) or 3 (link)", shown(), new.kind)).with_field("records.entries.kind"));
    };
    if new.mode > MAX_MODE {
        return Err(invalid(format!("{} has mode {:#o}; at most {MAX_MODE:#o} is possible", shown(), new.mode)).with_field("records.entries.mode"));
    }
    if kind == Kind::Symlink {
        path::check_target(&new.path, &new.target)?;
        if new.mtime_ns != 0 {
            return Err(invalid(format!("the link {} has mtime_ns {}; links have 0", shown(), new.mtime_ns)).with_field("records.entries.mtime_ns"));
        }
    } else if !new.target.is_empty() {
        return Err(invalid(format!("{} has a symlink_target and is no link", shown())).with_field("records.entries.symlink_target"));
    }
    let size = u64::try_from(new.size).unwrap_or(u64::MAX);
    let wanted = match kind {
        Kind::File if new.size < 0 => 0,
        Kind::File if size <= MAX_CONTENT => size,
        Kind::File => return Err(over(&format!("the size of {}", shown()), size, MAX_CONTENT).with_field("records.entries.size")),
        Kind::Directory => 0,
        Kind::Symlink => new.target.len() as u64,
    };
    if size != wanted {
        let least = if kind == Kind::File { " or more" } else { "" };
        return Err(invalid(format!("{} has size {}; it needs {wanted}{least}", shown(), new.size)).with_field("records.entries.size"));
    }
    let root = match (kind, <Root>::try_from(new.root.as_ref())) {
        (Kind::File, Ok(root)) => root,
        (Kind::Directory, _) if new.root.is_empty() => DIRECTORY_ROOT,
        (Kind::Symlink, _) if new.root.is_empty() => sha256(new.target.as_bytes()),
        _ => {
            let message = format!("{} has a root of {} bytes; a file needs 32, everything else none", shown(), new.root.len());
            return Err(invalid(message).with_field("records.entries.root"));
        }
    };
    Ok(Entry {
        kind,
        path: new.path.into(),
        mode: new.mode,
        mtime_ns: new.mtime_ns,
        size,
        root,
        target: new.target.into(),
        leaves: Bytes::new(),
        extents: Box::new([]),
    })
}

fn invalid(message: String) -> Error {
    Error::new(Reason::DataInvalid, message)
}

fn over(what: &str, value: u64, limit: u64) -> Error {
    Error::new(Reason::LimitExceeded, format!("{what} is {value}; the limit is {limit}")).with("limit", limit)
}

#[cfg(test)]
mod tests;
