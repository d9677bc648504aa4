//! Renames that can be taken back, one after the other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{sidecar, system::make_directory};

/// What was renamed, in order. What goes is renamed too, into a workspace: the room that it needs is given back only when nothing can fail any more.
#[derive(Debug)]
pub(crate) struct Moves {
    space: PathBuf,
    done: Vec<(PathBuf, PathBuf)>,
}

impl Moves {
    /// Nothing was renamed yet; `space` is where things go that are to be gone.
    pub(crate) fn new(space: &Path) -> Self {
        Self { space: space.to_owned(), done: Vec::new() }
    }

    /// Renames something.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        faults::step()?;
        fs::rename(from, to)?;
        self.done.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// Renames something that need not be there.
    pub(crate) fn rename_if_there(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        match self.rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes a directory out of its place with its sidecar. `to` is there first, then the sidecar goes, and the directory last: whoever dies in between has left a directory
    /// without a sidecar and what [`crate::leftovers::finished`] looks for.
    pub(crate) fn take_away(&mut self, directory: &Path, to: &Path) -> io::Result<()> {
        self.make(to, make_directory)?;
        self.rename_if_there(&sidecar::path(directory), &sidecar::path(to))?;
        // Comes in the place of the empty one.
        self.rename(directory, to)
    }

    /// Puts something out of the way.
    pub(crate) fn discard(&mut self, at: &Path) -> io::Result<()> {
        let to = self.away();
        self.rename(at, &to)
    }

    /// Makes something that was not there.
    pub(crate) fn make(&mut self, at: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        #[cfg(test)]
        faults::step()?;
        make(at)?;
        self.done.push((self.away(), at.to_owned()));
        Ok(())
    }

    fn away(&self) -> PathBuf {
        self.space.join(format!("old-{}", self.done.len()))
    }

    /// Takes everything back, the last first, as far as that goes: what has somebody else's in its place by now stays where it is, and so does everything that was moved
    /// before it. A sidecar, above all, must not come to stand beside a directory that it does not tell of. Answers whether all of it could be taken back.
    #[must_use]
    pub(crate) fn take_back(self) -> bool {
        self.done.iter().rev().all(|(from, to)| {
            let in_the_way = from.symlink_metadata().is_ok_and(|found| !found.is_dir()) && to.symlink_metadata().is_ok();
            !in_the_way && fs::rename(to, from).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }).is_ok()
        })
    }
}

/// A disk that is full at a chosen step, or a browser that starts at one, in tests.
#[cfg(test)]
pub(crate) mod faults {
    use std::{
        cell::{Cell, RefCell},
        fs, io,
        os::unix::fs::symlink,
        path::PathBuf,
    };

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static BROWSER: RefCell<Option<(usize, PathBuf)>> = const { RefCell::new(None) };
    }

    /// After so many steps of this thread a browser starts on a directory; it makes a profile if there is none.
    pub(crate) fn browser_after(steps: usize, directory: PathBuf) {
        BROWSER.set(Some((steps, directory)));
    }

    /// Whether it has started meanwhile; it does not any more.
    pub(crate) fn has_started() -> bool {
        BROWSER.take().is_none()
    }

    fn browse() -> io::Result<()> {
        match BROWSER.take() {
            Some((0, directory)) if directory.exists() => Ok(()),
            Some((0, directory)) => {
                let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
                fs::create_dir(&directory)?;
                fs::write(directory.join("Preferences"), "new")?;
                symlink(format!("{}-{}", host.trim_end(), std::process::id()), directory.join("SingletonLock"))
            }
            Some((left, directory)) => {
                BROWSER.set(Some((left - 1, directory)));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// After so many steps of this thread the disk is full, once; `None` for never.
    pub(crate) fn full_after(steps: Option<usize>) {
        LEFT.set(steps);
    }

    /// Whether it was full meanwhile.
    pub(crate) fn was_full() -> bool {
        LEFT.get().is_none()
    }

    pub(crate) fn step() -> io::Result<()> {
        browse()?;
        match LEFT.get() {
            Some(0) => {
                LEFT.set(None);
                Err(io::ErrorKind::StorageFull.into())
            }
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
