//! What is on the disk, described as entries of a profile.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
    time::Duration,
};

use crate::{
    clock,
    error::{Error, Result},
    system::read_full,
    tree::{Entry, LEAF, Stat, fault_in_path, fault_in_target, hash_leaves},
};

/// Bytes read at once for hashing: few calls, and still in the processor's cache when they are hashed.
const READ: usize = 64 * LEAF;
/// How long to wait before a file that changed while it was read is read again; the last one is not waited for.
const PAUSES: [Duration; 4] = [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(250), Duration::ZERO];

/// What can be told of an entry without reading a file.
pub(crate) enum Look {
    /// A directory, or a link.
    Done(Entry),
    /// A file, to be read with [`file`].
    File,
    /// A socket, a pipe or a device: it never travels.
    Nothing,
}

/// Describes what is at `at`, of which the system just said `metadata`; `now` is the moment before.
pub(crate) fn look(at: &Path, path: &str, metadata: &Metadata, now: i128) -> Result<Look> {
    let (stat, kind) = (Stat::of(metadata), metadata.file_type());
    if !(kind.is_dir() || kind.is_symlink() || kind.is_file()) {
        return Ok(Look::Nothing);
    }
    if let Some(fault) = fault_in_path(path) {
        return Err(refused(path, fault));
    }
    if kind.is_file() {
        return Ok(Look::File);
    }
    let entry = if kind.is_dir() { Entry::directory(path.to_owned(), mode(metadata), stat.mtime()) } else { link(at, path)? };
    Ok(Look::Done(Entry { stat: stat.settled(now), ..entry }))
}

fn link(at: &Path, path: &str) -> Result<Entry> {
    let target = fs::read_link(at).map_err(|error| Error::file(at, error))?;
    let target = target.to_str().ok_or_else(|| refused(path, "its target is not UTF-8"))?;
    match fault_in_target(path, target) {
        Some(fault) => Err(refused(path, &format!("it is a link to {target:?}: {fault}"))),
        None => Ok(Entry::link(path.to_owned(), target.to_owned())),
    }
}

/// Hashes a file that stands still meanwhile; nothing if it vanished.
pub(crate) fn file(directory: &Path, path: &str) -> Result<Option<Entry>> {
    let at = directory.join(path);
    let mut buffer = vec![0; READ];
    for pause in PAUSES {
        match read(&at, path, &mut buffer) {
            Ok(Some(entry)) => return Ok(Some(entry)),
            Ok(None) => thread::sleep(pause),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(&at, error)),
        }
    }
    Err(changing(path))
}

/// Nothing if the file changed while it was read, or another came in its place.
fn read(at: &Path, path: &str, buffer: &mut [u8]) -> io::Result<Option<Entry>> {
    let (now, mut file, mut leaves, mut size) = (clock::wall_ns(), File::open(at)?, Vec::new(), 0);
    let metadata = file.metadata()?;
    loop {
        let count = read_full(&mut file, buffer)?;
        hash_leaves(&buffer[..count], &mut leaves);
        size += count as u64;
        if count < buffer.len() {
            break;
        }
    }
    let stat = Stat::of(&metadata);
    let still = metadata.is_file() && size == metadata.len() && Stat::of(&at.symlink_metadata()?) == stat;
    Ok(still.then(|| Entry { stat: stat.settled(now), ..Entry::file(path.to_owned(), mode(&metadata), stat.mtime(), size, leaves) }))
}

pub(crate) fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// An entry that the contract does not let travel.
pub(crate) fn refused(path: &str, fault: &str) -> Error {
    Error::local("PATH_INVALID", format!("{path:?} cannot be saved: {fault}; rename, remove or exclude it"))
}

/// A file that does not stand still.
pub(crate) fn changing(path: &str) -> Error {
    Error::local("PROFILE_CHANGING", format!("{path:?} changes while it is read: wait until the browser has exited, then try again"))
}
