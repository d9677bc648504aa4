//! Profiles: walk, hash, diff; load, verify. The algorithm is that of `profile.proto`; what makes a difference, to the last leaf, is laid down in
//! `client/vectors/README.md`.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use cloakroom_api::v1::{self, load_profile_response::Message};

use crate::{
    capture::Capture,
    clock,
    error::{Error, Result},
    look::{self, Look, look},
    parts::{Base, Part, Stage},
    pieces::unpack,
    system::{make_directory, parallel},
    tree::{DIGEST, Entry, Kind, MAX_CONTENT, Stat, Tree},
};

/// Largest storage state that travels with a profile, by the contract.
const MAX_STATE: usize = 64 << 20;

/// Looks at everything that travels; what still is as `known` says is not read again.
pub(crate) fn walk(directory: &Path, capture: &Capture, known: &Tree) -> Result<Tree> {
    let known = known.by_path();
    let (mut found, mut unread, mut pending) = (Vec::new(), Vec::new(), vec![String::new()]);
    while let Some(prefix) = pending.pop() {
        let (at, now) = (directory.join(&prefix), clock::wall_ns());
        let items = match fs::read_dir(&at) {
            Err(error) if error.kind() == ErrorKind::NotFound && !prefix.is_empty() => continue,
            items => items.map_err(|error| Error::file(&at, error))?,
        };
        for item in items {
            let item = item.map_err(|error| Error::file(&at, error))?;
            let (name, at) = (item.file_name(), item.path());
            let path = format!("{prefix}{}", name.to_string_lossy());
            if !capture.keeps(&path) {
                continue;
            }
            let metadata = match item.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.map_err(|error| Error::file(&at, error))?,
            };
            if name.to_str().is_none() {
                return Err(look::refused(&path, "its name is not UTF-8"));
            }
            if metadata.is_dir() {
                pending.push(format!("{path}/"));
            }
            match known.get(path.as_str()).filter(|entry| entry.stat == Some(Stat::of(&metadata))) {
                Some(same) => found.push(Arc::clone(same)),
                None => match look(&at, &path, &metadata, now)? {
                    Look::Done(entry) => found.push(Arc::new(entry)),
                    Look::File => unread.push(path),
                    Look::Nothing => {}
                },
            }
        }
    }
    found.extend(parallel(&unread, |path| look::file(directory, path))?.into_iter().flatten().map(Arc::new));
    Ok(Tree::new(found))
}

/// Consecutive leaves of one entry: with bytes, or copied from the base.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) entry: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) copy: Option<(Arc<Entry>, usize)>,
}

/// What has to travel to make a new tree of a base.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) removed: Vec<String>,
    pub(crate) runs: Vec<Run>,
}

/// Finds what has to travel.
pub(crate) fn diff(base: &Tree, new: &Tree) -> Difference {
    let (olds, paths) = (base.by_path(), new.by_path());
    let removed = base.entries().iter().filter(|entry| !paths.contains_key(entry.path.as_str())).map(|entry| entry.path.clone()).collect();
    let mut difference = Difference { removed, ..Difference::default() };
    let mut places = None;
    for entry in new.entries() {
        let old = olds.get(entry.path.as_str()).copied();
        if old.is_some_and(|old| Arc::ptr_eq(old, entry) || old.same(entry)) {
            continue;
        }
        let number = difference.entries.len();
        difference.entries.push(Arc::clone(entry));
        let mut run: Option<Run> = None;
        for (index, leaf) in entry.leaves.chunks_exact(DIGEST).enumerate() {
            if old.is_some_and(|old| old.leaf(index) == Some(leaf)) {
                difference.runs.extend(run.take());
                continue;
            }
            let copying = run.as_ref().and_then(|run| run.copy.as_ref().map(|(from, first)| from.leaf(first + run.count) == Some(leaf)));
            let goes_on = copying == Some(true);
            let source = if goes_on { None } else { places.get_or_insert_with(|| first_places(base)).get(leaf).copied() };
            match &mut run {
                Some(run) if goes_on || (copying.is_none() && source.is_none()) => run.count += 1,
                _ => {
                    let copy = source.map(|(from, first)| (Arc::clone(from), first));
                    difference.runs.extend(run.replace(Run { entry: number, first: index, count: 1, copy }));
                }
            }
        }
        difference.runs.extend(run);
    }
    difference
}

/// Where each leaf of a tree comes first.
fn first_places(tree: &Tree) -> HashMap<&[u8], (&Arc<Entry>, usize)> {
    let mut places = HashMap::new();
    for entry in tree.entries() {
        for (index, leaf) in entry.leaves.chunks_exact(DIGEST).enumerate() {
            places.entry(leaf).or_insert((entry, index));
        }
    }
    places
}

/// What one message asks to be written, to be done away from the tasks that must not block.
#[derive(Debug)]
pub(crate) struct Job {
    stage: Stage,
    base: Option<Arc<Base>>,
    empty: Vec<Arc<Part>>,
    runs: Vec<(Arc<Part>, v1::LeafRun)>,
    records: v1::ProfileRecords,
}

impl Job {
    /// Does it; answers how many bytes had come for it.
    pub(crate) fn run(self) -> Result<u64> {
        let mut data = unpack(&self.records)?;
        let mut open: Option<(u32, File)> = None;
        for part in &self.empty {
            part.empty(&self.stage)?;
        }
        for (part, run) in &self.runs {
            let (first, count) = (run.first_leaf as usize, run.leaf_count as usize);
            let size = part.entry.span(first, count).map_or(0, |(_, size)| size).min(data.len());
            let bytes = match (run.copy_path.as_str(), &self.base) {
                ("", _) => data.split_to(size),
                (path, Some(base)) => base.read(path, run.copy_first_leaf as usize, count)?,
                (path, None) => return Err(Error::damaged("DATA_INVALID", format!("a copy from {path:?} without a base"))),
            };
            part.fits(first, count, &bytes)?;
            let (_, file) = match open.take().filter(|(entry, _)| *entry == run.entry) {
                Some(open) => open,
                None => (run.entry, part.open(&self.stage)?),
            };
            part.put(&file, first, &bytes)?;
            open = Some((run.entry, file));
        }
        if data.is_empty() {
            Ok(self.records.data_size.into())
        } else {
            Err(Error::damaged("DATA_INVALID", format!("{} bytes more than the runs need", data.len())))
        }
    }
}

/// Builds a profile, where nobody sees it yet, from the messages of one load.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) begin: Option<v1::LoadBegin>,
    pub(crate) storage_state: Vec<u8>,
    stage: Stage,
    base: Option<Arc<Base>>,
    parts: Vec<Arc<Part>>,
    content: u64,
    names: HashSet<String>,
    removed: HashSet<String>,
    root: Option<Bytes>,
}

/// What a load makes, verified to the last leaf.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) tree: Tree,
    /// What the load was a difference to, if it was one.
    pub(crate) base: Option<Arc<Base>>,
    pub(crate) stage: Stage,
    /// The files that lie in the stage, by their paths, and where; all others come from the base.
    pub(crate) staged: HashMap<String, PathBuf>,
}

impl Loader {
    /// With `base`, what the caller said it has, the stream may be a difference to that.
    pub(crate) fn new(space: &Path, base: Option<Arc<Base>>) -> Self {
        let (names, removed) = (HashSet::new(), HashSet::new());
        // Each attempt has names of its own: what still writes for an earlier one must not write into this one.
        let stage = Stage::Flat(space.join(clock::random_id()));
        Self { begin: None, storage_state: Vec::new(), stage, base, parts: Vec::new(), content: 0, names, removed, root: None }
    }

    /// Whether what comes is a difference to the base, as far as the stream has said yet.
    pub(crate) fn is_difference(&self) -> bool {
        self.base.is_some()
    }

    /// Takes the next message; answers the work that it makes.
    pub(crate) fn accept(&mut self, message: v1::LoadProfileResponse) -> Result<Option<Job>> {
        let message = message.message.filter(|message| self.root.is_none() && self.begin.is_none() == matches!(message, Message::Begin(_)));
        match message.ok_or_else(|| Error::damaged("STREAM_PROTOCOL", "a message came out of turn"))? {
            Message::Begin(begin) => {
                self.base = self.base.take().filter(|_| !begin.base_snapshot_id.is_empty());
                if begin.base_snapshot_id != self.base.as_ref().map_or("", |base| &base.snapshot_id) {
                    return Err(Error::damaged("STREAM_PROTOCOL", format!("it is a difference to {}, which is not here", begin.base_snapshot_id)));
                }
                if let (None, Stage::Flat(stage)) = (&self.base, &self.stage) {
                    make_directory(stage).map_err(|error| Error::file(stage, error))?;
                    self.stage = Stage::Tree(stage.clone());
                }
                self.begin = Some(begin);
            }
            Message::Records(records) => return self.records(records).map(Some),
            Message::StorageState(chunk) if self.storage_state.len() + chunk.data.len() > MAX_STATE => {
                return Err(Error::damaged("LIMIT_EXCEEDED", format!("its storage state has more than {MAX_STATE} bytes")));
            }
            Message::StorageState(chunk) => self.storage_state.extend_from_slice(&chunk.data),
            Message::End(end) => self.root = Some(end.manifest_root),
        }
        Ok(None)
    }

    fn records(&mut self, mut records: v1::ProfileRecords) -> Result<Job> {
        let known = self.parts.len();
        for wire in records.entries.drain(..) {
            let entry = Entry::from_wire(wire)?;
            if !self.names.insert(entry.path.clone()) {
                return Err(Error::damaged("PATH_INVALID", format!("{:?} is named twice", entry.path)));
            }
            // Before there is a table for its leaves.
            self.content += if entry.kind == Kind::File { entry.size } else { 0 };
            if self.content > MAX_CONTENT {
                return Err(Error::damaged("LIMIT_EXCEEDED", format!("its files have more than {MAX_CONTENT} bytes together")));
            }
            self.parts.push(Arc::new(Part::new(entry, self.parts.len())));
        }
        self.removed.extend(records.removed.drain(..));
        let part = |run: v1::LeafRun| match self.parts.get(run.entry as usize) {
            Some(part) => Ok((Arc::clone(part), run)),
            None => Err(Error::damaged("STREAM_PROTOCOL", format!("leaves of entry {}, which was not named yet", run.entry))),
        };
        let runs = records.runs.drain(..).map(part).collect::<Result<_>>()?;
        let empty = self.parts[known..].iter().filter(|part| part.entry.kind == Kind::File && part.entry.size == 0).cloned().collect();
        Ok(Job { stage: self.stage.clone(), base: self.base.clone(), empty, runs, records })
    }

    /// Verifies the whole, once all work is done.
    pub(crate) fn finish(self) -> Result<Verified> {
        let root = self.root.ok_or_else(|| Error::damaged("STREAM_TRUNCATED", "the stream broke off before its end"))?;
        let kept = parallel(&self.parts, |part| part.complete(&self.stage, self.base.as_deref()))?;
        let base = self.base.as_ref().map(|base| base.tree.entries()).unwrap_or_default();
        let mut all: HashMap<&str, Arc<Entry>> = base.iter().map(|entry| (entry.path.as_str(), Arc::clone(entry))).collect();
        if let Some(path) = self.removed.iter().find(|path| all.remove(path.as_str()).is_none() || self.names.contains(*path)) {
            return Err(Error::damaged("DATA_INVALID", format!("{path:?} is removed, but was not there, or is named too")));
        }
        all.extend(self.parts.iter().map(|part| (part.entry.path.as_str(), Arc::new(part.finished()))));
        let tree = Tree::new(all.into_values().collect());
        let orphan =
            |entry: &&Arc<Entry>| entry.path.rsplit_once('/').is_some_and(|(parent, _)| tree.get(parent).is_none_or(|parent| parent.kind != Kind::Directory));
        if let Some(entry) = tree.entries().iter().find(orphan) {
            return Err(Error::damaged("PATH_INVALID", format!("{:?} is not in a directory", entry.path)));
        }
        if tree.manifest_root().as_slice() != root.as_ref() {
            return Err(Error::damaged("DIGEST_MISMATCH", "the whole has another manifest root than announced"));
        }
        let staged = self.parts.iter().zip(kept).filter(|(part, kept)| part.entry.kind == Kind::File && !kept);
        let staged = staged.map(|(part, _)| (part.entry.path.clone(), part.at(&self.stage))).collect();
        Ok(Verified { tree, base: self.base, stage: self.stage, staged })
    }
}

#[cfg(test)]
mod tests;
