//! A former directory of a session, looked at right before it is used: what is in it, and whether that still is the snapshot that its sidecar names.

use std::{
    collections::HashMap,
    fs::{self, DirEntry, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, Result},
    look::{self, mode},
    parts::Base,
    system::parallel,
    tree::{Entry, Kind, Stat},
};

/// One thing in a former directory.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it is, relative to the directory; empty for a name that no entry can have.
    pub(crate) path: String,
    pub(crate) at: PathBuf,
    /// Nothing for what never travels.
    pub(crate) kind: Option<Kind>,
    pub(crate) stat: Stat,
    pub(crate) mode: u32,
}

impl Found {
    /// Whether mode and time are what an entry wants; a file system may keep coarser times, then they are set once more.
    pub(crate) fn suits(&self, entry: &Entry) -> bool {
        (self.mode, self.stat.mtime()) == (entry.mode, entry.mtime_ns)
    }
}

/// So few directories are looked at faster than a thread is started for the half of them.
const FEW: usize = 16;

/// Looks at everything in the base's directory.
///
/// # Errors
/// `PROFILE_CHANGING` when a file or link of the base is not there any more, or is another.
pub(crate) fn examine(base: &Base) -> Result<Vec<Found>> {
    let known = base.tree.by_path();
    let (mut all, mut level) = (Vec::with_capacity(known.len()), vec![String::new()]);
    while !level.is_empty() {
        let look = |prefix: &String| examine_one(base, &known, prefix);
        let found = if level.len() < FEW { level.iter().map(look).collect::<Result<_>>()? } else { parallel(&level, look)? };
        let first = all.len();
        all.extend(found.into_iter().flatten());
        // What is below a directory that no snapshot knows need not be looked at.
        let below = all[first..].iter().filter(|found: &&Found| found.kind == Some(Kind::Directory) && known.contains_key(found.path.as_str()));
        level = below.map(|found| format!("{}/", found.path)).collect();
    }
    let intact = all.iter().filter(|found| known.contains_key(found.path.as_str())).count();
    if intact == known.len() { Ok(all) } else { Err(Error::local("PROFILE_CHANGING", "something that was in the former directory is gone from it")) }
}

/// The same for one directory without what is below it.
fn examine_one(base: &Base, known: &HashMap<&str, &Arc<Entry>>, prefix: &str) -> Result<Vec<Found>> {
    let at = base.directory.join(prefix);
    let look = |item: io::Result<DirEntry>| {
        let item = item.map_err(|error| Error::file(&at, error))?;
        let metadata = item.metadata().map_err(|error| Error::file(&item.path(), error))?;
        let path = item.file_name().to_str().map(|name| format!("{prefix}{name}")).unwrap_or_default();
        let found = Found { at: item.path(), kind: kind(&metadata), stat: Stat::of(&metadata), mode: mode(&metadata), path };
        match known.get(found.path.as_str()) {
            Some(entry) if !same(&base.directory, entry, &found)? => Err(look::changing(&entry.path)),
            _ => Ok(found),
        }
    };
    fs::read_dir(&at).map_err(|error| Error::file(&at, error))?.map(look).collect()
}

fn kind(metadata: &Metadata) -> Option<Kind> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Some(Kind::Directory)
    } else if kind.is_symlink() {
        Some(Kind::Link)
    } else {
        kind.is_file().then_some(Kind::File)
    }
}

/// Whether an entry's content is what it was; attributes can be mended.
fn same(directory: &Path, entry: &Arc<Entry>, found: &Found) -> Result<bool> {
    if found.kind != Some(entry.kind) || entry.stat == Some(found.stat) {
        return Ok(found.kind == Some(entry.kind));
    }
    match entry.kind {
        Kind::Directory => Ok(true),
        Kind::Link => Ok(found.at.read_link().is_ok_and(|target| target.as_os_str() == entry.target.as_str())),
        Kind::File => Ok(look::file(directory, &entry.path)?.is_some_and(|now| now.root == entry.root)),
    }
}
