//! A former directory becomes the wanted one: it is taken out of sight, only what changed is put into it, and it comes back under the wanted name. That costs about one look at
//! every file, so it is ten times faster than a copy; but the former directory is used up.
//!
//! Every step is a rename, so on an error all of them are taken back. Whoever dies in the middle leaves the directory in the workspace, where [`crate::leftovers::finished`]
//! sees it and the next load clears it up; under its own name there is never something half done.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    former::Found,
    moves::Moves,
    parts::Base,
    place::{Goal, commit, settle_directories, undone},
    profiles::Verified,
    system::{make_directory, quiesced, set_attributes_at},
    tree::{Kind, Stat, Tree},
};

/// Makes the wanted directory of the base's, in which `found` was found. Nothing if it is elsewhere than the workspace, so that it can only be copied.
pub(crate) fn patch(verified: &Verified, base: &Base, found: &[Found], goal: &mut Goal<'_>) -> Result<Option<Tree>> {
    let device = goal.space.path().symlink_metadata().map(|space| space.dev()).ok();
    if !fs::symlink_metadata(&base.directory).is_ok_and(|found| found.is_dir() && Some(found.dev()) == device) {
        return Ok(None);
    }
    let (plan, former) = (Plan::new(verified, base, found), goal.space.former());
    let mut moves = Moves::new(goal.space.path());
    quiesced(&base.directory, goal.may.force)?;
    match moves.take_away(&base.directory, &former) {
        Ok(()) => {}
        Err(error) => {
            let whole = moves.take_back();
            return if whole && error.kind() == ErrorKind::CrossesDevices { Ok(None) } else { Err(undone(Error::file(&base.directory, error), whole, goal)) };
        }
    }
    let mut carry_out = || {
        plan.carry_out(verified, &former, &mut moves)?;
        settle_directories(&former, verified, &plan.still)?;
        commit(&former, verified, &plan.still, goal, &mut moves)
    };
    match carry_out() {
        Ok(tree) => Ok(Some(tree)),
        Err(error) => {
            let whole = plan.take_back(base, if former.exists() { &former } else { goal.target }, moves);
            Err(undone(error, whole, goal))
        }
    }
}

/// What has to be done to a former directory.
#[derive(Debug, Default)]
struct Plan<'a> {
    /// What is no part of the profile, or has another kind there.
    gone: Vec<&'a Path>,
    /// What is there already, whatever its attributes, and how it was found.
    there: HashMap<&'a str, &'a Found>,
    /// What stays as it is.
    still: HashMap<&'a str, Stat>,
    /// Directories that their owner could not write into, nor move elsewhere; those above others first.
    locked: Vec<&'a Found>,
}

impl<'a> Plan<'a> {
    fn new(verified: &'a Verified, base: &'a Base, found: &'a [Found]) -> Self {
        let (mut plan, new, old) = (Self::default(), verified.tree.by_path(), base.tree.by_path());
        for found in found {
            if found.kind == Some(Kind::Directory) && found.mode & 0o700 != 0o700 {
                plan.locked.push(found);
            }
            let before = old.get(found.path.as_str());
            let entry =
                new.get(found.path.as_str()).filter(|entry| before.is_some_and(|old| old.kind == entry.kind && (old.kind != Kind::Link || old.same(entry))));
            let Some(entry) = entry else {
                plan.gone.push(found.at.strip_prefix(&base.directory).unwrap_or(&found.at));
                continue;
            };
            plan.there.insert(&entry.path, found);
            if found.suits(entry) || entry.kind == Kind::Link {
                plan.still.insert(&entry.path, found.stat);
            }
        }
        // A rename, a removal or a new name moves a directory's time; attributes that are set move the time of nothing else.
        let made = verified.tree.entries().iter().filter(|entry| !plan.there.contains_key(entry.path.as_str())).map(|entry| Path::new(&entry.path));
        let changed = made.chain(verified.staged.keys().map(Path::new)).chain(plan.gone.iter().copied());
        let moved: HashSet<_> = changed.filter_map(|path| path.parent()?.to_str()).collect();
        for path in moved.into_iter().chain(verified.staged.keys().map(String::as_str)).chain(plan.locked.iter().map(|found| found.path.as_str())) {
            plan.still.remove(path);
        }
        plan
    }

    fn carry_out(&self, verified: &Verified, former: &Path, moves: &mut Moves) -> Result<()> {
        for found in &self.locked {
            let at = former.join(&found.path);
            unlock(&at).map_err(|error| Error::file(&at, error))?;
        }
        for path in &self.gone {
            let at = former.join(path);
            match moves.discard(&at) {
                // It was in a directory that is gone as a whole.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::file(&at, error)),
                _ => {}
            }
        }
        for entry in verified.tree.entries() {
            let path = entry.path.as_str();
            if self.still.contains_key(path) || (entry.kind != Kind::File && self.there.contains_key(path)) {
                continue;
            }
            let at = former.join(path);
            let done = match (entry.kind, verified.staged.get(path)) {
                (Kind::Directory, _) => moves.make(&at, make_directory),
                (Kind::Link, _) => moves.make(&at, |at| symlink(&entry.target, at)),
                (Kind::File, Some(staged)) => self.exchange(path, staged, &at, moves),
                (Kind::File, None) => {
                    set_attributes_at(&at, entry.mode, entry.mtime_ns)?;
                    Ok(())
                }
            };
            done.map_err(|error| Error::file(&at, error))?;
        }
        Ok(())
    }

    fn exchange(&self, path: &str, staged: &Path, at: &Path, moves: &mut Moves) -> io::Result<()> {
        if self.there.contains_key(path) {
            moves.discard(at)?;
        }
        moves.rename(staged, at)
    }

    /// Brings the former directory, which is at `place` by now, back as it was found; answers whether that could be done.
    fn take_back(&self, base: &Base, place: &Path, moves: Moves) -> bool {
        // As everywhere here: what cannot be mended shows at the next look, and the first error tells more.
        let kept = self.there.values().copied().filter(|found| !self.still.contains_key(found.path.as_str()));
        let mut touched: Vec<_> = kept.chain(self.locked.iter().copied()).filter(|found| found.kind != Some(Kind::Link)).collect();
        touched.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        for found in touched.iter().filter(|found| found.kind == Some(Kind::Directory)) {
            let _ = unlock(&place.join(&found.path));
        }
        if !moves.take_back() {
            return false;
        }
        // The deepest first: one that its owner may not enter hides what is below.
        for found in touched.into_iter().rev() {
            let _ = set_attributes_at(&base.directory.join(&found.path), found.mode, found.stat.mtime());
        }
        true
    }
}

fn unlock(directory: &PathBuf) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}
