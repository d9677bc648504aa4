//! Files that are being put together from what arrives and from what a base holds.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::{
    clock,
    error::{Error, Result},
    look::changing,
    pieces::MAX_DATA,
    system::{lock, make_parents, set_attributes},
    tree::{DIGEST, Entry, LEAF, Stat, Tree, hash_leaves, sha256},
};

/// A directory that holds a snapshot, as its sidecar says; whether it still does shows when it is used.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) directory: PathBuf,
    pub(crate) snapshot_id: String,
    pub(crate) tree: Tree,
}

impl Base {
    /// Leaves of one of its files.
    pub(crate) fn read(&self, path: &str, first: usize, count: usize) -> Result<Bytes> {
        let span = self.tree.get(path).and_then(|entry| entry.span(first, count));
        let (begin, size) = span.ok_or_else(|| Error::damaged("DATA_INVALID", format!("the base has no leaves {first} to {} of {path:?}", first + count)))?;
        let (at, mut bytes) = (self.directory.join(path), vec![0; size]);
        File::open(&at).and_then(|file| file.read_exact_at(&mut bytes, begin)).map_err(|error| Error::file(&at, error))?;
        Ok(bytes.into())
    }
}

/// Whether a file is as it was when its entry was made.
fn is_untouched(at: &Path, entry: &Entry) -> bool {
    entry.stat.is_some() && at.symlink_metadata().is_ok_and(|now| entry.stat == Some(Stat::of(&now)))
}

/// Where the new files of a load lie until all of it is verified.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// In a tree that becomes the profile as it is.
    Tree(PathBuf),
    /// Numbered, with this path before the number: a difference has few of them, and many file systems take longer for a directory than for what is in it.
    Flat(PathBuf),
}

impl Stage {
    /// The place of an entry's file.
    pub(crate) fn file(&self, number: usize, path: &str) -> PathBuf {
        match self {
            Self::Tree(root) => root.join(path),
            Self::Flat(prefix) => {
                let mut name = prefix.clone().into_os_string();
                name.push(format!("-{number}"));
                name.into()
            }
        }
    }

    fn make_room(&self, path: &str) -> io::Result<()> {
        match self {
            Self::Tree(root) => make_parents(root, path),
            Self::Flat(_) => Ok(()),
        }
    }
}

/// A file, link or directory that a load named.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) entry: Entry,
    /// How many were named before it.
    number: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    leaves: Vec<u8>,
    covered: Vec<bool>,
    missing: usize,
    /// How the system described the finished file.
    stat: Option<Stat>,
}

impl Part {
    pub(crate) fn new(entry: Entry, number: usize) -> Self {
        let count = entry.leaf_count();
        Self { entry, number, state: Mutex::new(State { leaves: vec![0; count * DIGEST], covered: vec![false; count], missing: count, stat: None }) }
    }

    /// The entry with its leaves, once it is complete; with its stat if it was written to the stage, where it is valid as long as it lies there.
    pub(crate) fn finished(&self) -> Entry {
        let mut state = lock(&self.state);
        Entry { leaves: std::mem::take(&mut state.leaves), stat: state.stat, ..self.entry.clone() }
    }

    /// Its place in the stage.
    pub(crate) fn at(&self, stage: &Stage) -> PathBuf {
        stage.file(self.number, &self.entry.path)
    }

    /// Opens its file in the stage; the directories above are made when they are not there.
    pub(crate) fn open(&self, stage: &Stage) -> Result<File> {
        let at = self.at(stage);
        let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&at);
        let opened =
            open().or_else(|error| if error.kind() == ErrorKind::NotFound { stage.make_room(&self.entry.path).and_then(|()| open()) } else { Err(error) });
        opened.map_err(|error| Error::file(&at, error))
    }

    /// Takes some leaves; once it has all of them they must make its root.
    pub(crate) fn put(&self, file: &File, first: usize, bytes: &[u8]) -> Result<()> {
        let mut leaves = Vec::with_capacity(bytes.len().div_ceil(LEAF) * DIGEST);
        hash_leaves(bytes, &mut leaves);
        let end = first + leaves.len() / DIGEST;
        let mut state = lock(&self.state);
        if state.covered[first..end].contains(&true) {
            return Err(Error::damaged("DATA_INVALID", format!("a leaf of {:?} came twice", self.entry.path)));
        }
        state.covered[first..end].fill(true);
        state.leaves[first * DIGEST..end * DIGEST].copy_from_slice(&leaves);
        drop(state);
        let written = file.write_all_at(bytes, (first * LEAF) as u64);
        written.map_err(|error| Error::file(Path::new(&self.entry.path), error))?;
        let mut state = lock(&self.state);
        state.missing -= end - first;
        self.close(file, &mut state)
    }

    /// Makes a file without content.
    pub(crate) fn empty(&self, stage: &Stage) -> Result<()> {
        self.close(&self.open(stage)?, &mut lock(&self.state))
    }

    /// The last that is done to a file, once it is complete.
    fn close(&self, file: &File, state: &mut State) -> Result<()> {
        if state.missing > 0 {
            return Ok(());
        }
        if sha256(&state.leaves) != self.entry.root {
            return Err(Error::damaged("DIGEST_MISMATCH", format!("{:?} has another root than announced", self.entry.path)));
        }
        let settle = || {
            set_attributes(file, self.entry.mode, self.entry.mtime_ns)?;
            let now = clock::wall_ns();
            Ok(Stat::of(&file.metadata()?).settled(now))
        };
        state.stat = settle().map_err(|error| Error::file(Path::new(&self.entry.path), error))?;
        Ok(())
    }

    /// Takes what no run covered from the base's file of the same path. Says whether the content is the base's as a whole, so that nothing was written.
    pub(crate) fn complete(&self, stage: &Stage, base: Option<&Base>) -> Result<bool> {
        if lock(&self.state).missing == 0 {
            return Ok(false);
        }
        let base = base.ok_or_else(|| Error::damaged("DATA_INVALID", format!("leaves of {:?} are missing", self.entry.path)))?;
        let gaps: Vec<_> = lock(&self.state).covered.iter().enumerate().filter(|(_, covered)| !*covered).map(|(index, _)| index).collect();
        let same = |old: &&Arc<Entry>| (old.kind, old.size, old.root) == (self.entry.kind, self.entry.size, self.entry.root);
        if let Some(old) = base.tree.get(&self.entry.path).filter(same).filter(|_| lock(&self.state).missing == self.entry.leaf_count()) {
            lock(&self.state).leaves.copy_from_slice(&old.leaves);
            return Ok(true);
        }
        let file = self.open(stage)?;
        let known = base.tree.get(&self.entry.path).filter(|old| is_untouched(&base.directory.join(&old.path), old));
        for gap in gaps.chunk_by(|one, next| one + 1 == *next) {
            match known.filter(|old| old.span(gap[0], gap.len()) == self.entry.span(gap[0], gap.len())) {
                Some(old) => self.take_over(&file, base, old, gap)?,
                None => gap.chunks(MAX_DATA / LEAF).try_for_each(|gap| {
                    let bytes = base.read(&self.entry.path, gap[0], gap.len())?;
                    self.fits(gap[0], gap.len(), &bytes)?;
                    self.put(&file, gap[0], &bytes)
                })?,
            }
        }
        Ok(false)
    }

    /// Takes leaves whose digests are known already, without a look at them: that they still are what they were tells the file's stat, before and after.
    fn take_over(&self, file: &File, base: &Base, old: &Entry, gap: &[usize]) -> Result<()> {
        let (first, end) = (gap[0], gap[0] + gap.len());
        let (from, digests) = (base.directory.join(&old.path), first * DIGEST..end * DIGEST);
        let (Some((begin, size)), Some(leaves)) = (old.span(first, gap.len()), old.leaves.get(digests.clone())) else { return Err(changing(&old.path)) };
        let copy = || {
            let (mut source, mut target) = (File::open(&from)?, file);
            source.seek(SeekFrom::Start(begin))?;
            target.seek(SeekFrom::Start(begin))?;
            // Within the kernel, where that can be done; blocks are shared where the file system can.
            io::copy(&mut source.take(size as u64), &mut target)
        };
        if copy().map_err(|error| Error::file(&from, error))? != size as u64 || !is_untouched(&from, old) {
            return Err(changing(&old.path));
        }
        let mut state = lock(&self.state);
        state.covered[first..end].fill(true);
        state.leaves[digests].copy_from_slice(leaves);
        state.missing -= gap.len();
        self.close(file, &mut state)
    }

    /// Whether so many bytes are these leaves.
    pub(crate) fn fits(&self, first: usize, count: usize, bytes: &[u8]) -> Result<()> {
        let fits = self.entry.span(first, count).is_some_and(|(_, size)| size == bytes.len());
        if fits { Ok(()) } else { Err(Error::damaged("DATA_INVALID", format!("leaves {first} to {} of {:?} do not fit", first + count, self.entry.path))) }
    }
}
