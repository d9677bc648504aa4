//! Directories set aside: where a load is put together, and what one that died left behind.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    error::{Error, Result},
    sidecar,
    system::{make_directory, remove},
};

/// How often the removal of a directory is tried while somebody still writes into it.
const REMOVALS: usize = 3;
/// How long a load waits for another one into the same directory: one that was just given up ends within that time.
const POLL: Duration = Duration::from_millis(20);
const POLLS: usize = 250;
/// Who holds the lock on this file owns the workspace; the system gives it back when its holder dies, however that happens.
const LOCK: &str = "lock";
/// A former directory that is being patched.
pub(crate) const FORMER: &str = "former";
/// What a load replaces, until what replaces it has come to its place.
pub(crate) const REPLACED: &str = "replaced";

/// An own directory beside another, on the same file system, for what is not finished; only one load at a time has it. It is removed with all its content when dropped: a
/// caller may give up a load at any moment, and 100 MB must not stay behind. What one left that was killed, the next clears up.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    kept: AtomicBool,
    _lock: File,
}

impl Workspace {
    /// Sets up the workspace of a directory.
    ///
    /// # Errors
    /// `PROFILE_BUSY` while another load has it.
    pub(crate) fn beside(directory: &Path) -> Result<Self> {
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let refused = |error: io::Error| Error::file(parent, io::Error::new(error.kind(), format!("nothing can be loaded into this directory: {error}")));
        fs::create_dir_all(parent).map_err(refused)?;
        let path = of(directory);
        for _ in 0..POLLS {
            match make_directory(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(refused(error)),
                _ => {}
            }
            if let Some(lock) = lock(&path)? {
                restore(directory, &path)?;
                clear(&path)?;
                return Ok(Self { path, kept: AtomicBool::new(false), _lock: lock });
            }
            thread::sleep(POLL);
        }
        Err(Error::local("PROFILE_BUSY", format!("another load into {} is under way: wait for it, or load into another directory", directory.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What lies in it stays there when it is dropped, until the next load: something could not be brought back to its place.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Where a former directory is while it is patched.
    pub(crate) fn former(&self) -> PathBuf {
        self.path.join(FORMER)
    }

    /// Where the replaced directory is before it is removed.
    pub(crate) fn replaced(&self) -> PathBuf {
        self.path.join(REPLACED)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        // A thread that was just writing when its load was given up may make the first try fail.
        let _ = (0..REMOVALS).find(|_| clear(&self.path).is_ok());
        // The lock goes last. If the next load has made its own in the directory by now, that is not empty, and stays.
        let _ = fs::remove_file(self.path.join(LOCK)).and_then(|()| fs::remove_dir(&self.path));
    }
}

/// The name is the same for every load into a directory, so that the next one finds what the last one left.
pub(crate) fn of(directory: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(directory.file_name().unwrap_or_default());
    name.push(".cloakroom-load");
    directory.with_file_name(name)
}

/// Nothing while somebody else has it, or has just removed it.
fn lock(path: &Path) -> Result<Option<File>> {
    let at = path.join(LOCK);
    let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&at) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| Error::file(&at, error))?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // A file system without locks: whoever loads twice at once into one directory there must see to it himself.
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => return Err(Error::file(&at, error)),
        _ => {}
    }
    let own = file.metadata().map_err(|error| Error::file(&at, error))?.ino();
    Ok(at.symlink_metadata().is_ok_and(|there| there.ino() == own).then_some(file))
}

/// Brings back what a load that died had taken away whole. With a sidecar at its place there was a whole directory since, and somebody wanted it gone.
fn restore(directory: &Path, space: &Path) -> Result<()> {
    let (replaced, note) = (space.join(REPLACED), sidecar::path(directory));
    if note.symlink_metadata().is_ok() {
        return Ok(());
    }
    // An empty one says that the directory was still in its place.
    let whole = fs::remove_dir(&replaced).is_err() && replaced.symlink_metadata().is_ok();
    let there = directory.symlink_metadata().is_ok();
    if whole && !there {
        fs::rename(&replaced, directory).map_err(|error| Error::file(directory, error))?;
    }
    if whole != there {
        // Without it, the next load is a full one.
        let _ = fs::rename(sidecar::path(&replaced), note);
    }
    Ok(())
}

fn clear(path: &Path) -> Result<()> {
    for item in fs::read_dir(path).map_err(|error| Error::file(path, error))? {
        let at = item.map_err(|error| Error::file(path, error))?.path();
        if at.file_name().is_some_and(|name| name != LOCK) {
            remove(&at).map_err(|error| Error::file(&at, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::system::make_parents;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_workspace_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let space = Workspace::beside(&home.path().join("deep/p")).unwrap();
        assert_eq!(space.path().parent(), Some(home.path().join("deep").as_path()));
        make_parents(space.path(), "a/b/c").unwrap();
        fs::write(space.path().join("a/b/c"), "x").unwrap();
        fs::set_permissions(space.path().join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        drop(space);
        assert!(names(&home.path().join("deep")).is_empty());
        let gone = home.path().join("gone");
        assert!(make_parents(&gone, "a/b").is_err() && !gone.exists());
    }

    #[test]
    fn a_parent_that_cannot_hold_it_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        for target in [file.join("p"), file.join("deep/p")] {
            let error = Workspace::beside(&target).unwrap_err().to_string();
            let parent = target.parent().unwrap().display();
            assert!(error.starts_with(&format!("{parent}: nothing can be loaded into this directory: ")), "{error}");
        }
    }

    #[test]
    fn one_load_at_a_time_and_the_next_waits_for_it() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("p");
        for _ in 0..20 {
            let first = Workspace::beside(&target).unwrap();
            assert!(lock(first.path()).unwrap().is_none(), "it is taken");
            let second = {
                let target = target.clone();
                thread::spawn(move || Workspace::beside(&target).unwrap())
            };
            fs::write(first.path().join("mine"), "x").unwrap();
            drop(first);
            let second = second.join().unwrap();
            assert_eq!(names(second.path()), ["lock"]);
        }
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn what_a_dead_load_left_is_cleared_up_by_the_next() {
        let home = tempfile::tempdir().unwrap();
        let (target, space) = (home.path().join("p"), home.path().join(".p.cloakroom-load"));
        fs::create_dir_all(space.join("former")).unwrap();
        fs::write(space.join("half"), "x").unwrap();
        make_directory(&target).unwrap();
        drop(Workspace::beside(&target).unwrap());
        assert_eq!(names(home.path()), ["p"]);
    }

    #[test]
    fn what_was_to_be_replaced_comes_back_as_far_as_it_was_taken_away() {
        for (taken, since) in [("the sidecar", false), ("the directory", false), ("the directory", true)] {
            let home = tempfile::tempdir().unwrap();
            let (target, space) = (home.path().join("p"), home.path().join(".p.cloakroom-load"));
            let replaced = space.join("replaced");
            fs::create_dir_all(if taken == "the sidecar" { &target } else { &replaced }.join("old")).unwrap();
            fs::create_dir_all(&replaced).unwrap();
            fs::write(sidecar::path(&replaced), "known").unwrap();
            if since {
                fs::write(sidecar::path(&target), "later").unwrap();
            }
            drop(Workspace::beside(&target).unwrap());
            assert_eq!(target.join("old").is_dir(), !since, "{taken}");
            assert_eq!(fs::read_to_string(sidecar::path(&target)).unwrap(), if since { "later" } else { "known" }, "{taken}");
            assert_eq!(names(home.path()).len(), if since { 1 } else { 2 }, "{taken}");
        }
    }

    #[test]
    fn what_a_browser_made_meanwhile_gets_no_sidecar_of_another_directory() {
        let home = tempfile::tempdir().unwrap();
        let (target, space) = (home.path().join("p"), home.path().join(".p.cloakroom-load"));
        fs::create_dir_all(space.join("replaced/old")).unwrap();
        fs::write(sidecar::path(&space.join("replaced")), "known").unwrap();
        make_directory(&target).unwrap();
        drop(Workspace::beside(&target).unwrap());
        assert_eq!(names(home.path()), ["p"]);
    }
}
