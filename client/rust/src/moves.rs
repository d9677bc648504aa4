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

    /// Takes everything back, the last first. What cannot be taken back stays where it is: there is a first error, which tells more.
    pub(crate) fn take_back(self) {
        for (from, to) in self.done.iter().rev() {
            let _ = fs::rename(to, from);
        }
    }
}

/// A disk that is full at a chosen step, in tests.
#[cfg(test)]
pub(crate) mod faults {
    use std::{cell::Cell, io};

    thread_local!(static LEFT: Cell<Option<usize>> = const { Cell::new(None) });

    /// After so many steps of this thread the disk is full, once; `None` for never.
    pub(crate) fn full_after(steps: Option<usize>) {
        LEFT.set(steps);
    }

    /// Whether it was full meanwhile.
    pub(crate) fn was_full() -> bool {
        LEFT.get().is_none()
    }

    pub(crate) fn step() -> io::Result<()> {
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
