//! The end of a load: what was verified becomes the directory, by one rename.
//!
//! Aside: the new files lie in the stage; what is unchanged is copied there from the former directory, which is only read. In place: see [`crate::patch`].

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    clock,
    error::{Error, Result},
    former::Found,
    look::changing,
    moves::Moves,
    parts::{Base, Stage},
    patch::patch,
    profiles::Verified,
    sidecar::{self, Sidecar},
    system::{make_directory, parallel, quiesced, set_attributes_at},
    tree::{Entry, Kind, Stat, Tree},
    workspace::Workspace,
};

/// Where a load goes.
#[derive(Debug)]
pub(crate) struct Goal<'a> {
    pub(crate) target: &'a Path,
    pub(crate) space: &'a Workspace,
    pub(crate) may: May,
    /// What is to be known of it; the tree is filled in.
    pub(crate) sidecar: Sidecar,
}

/// What a load may do to directories that are there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct May {
    /// Use up the base's.
    pub(crate) consume: bool,
    /// Replace what is at the target.
    pub(crate) replace: bool,
    /// Both also while a live browser holds them.
    pub(crate) force: bool,
}

/// Puts what was verified in the place of the target, with its sidecar, and answers what the system says of it; whatever was there is gone.
///
/// `found` is what [`crate::former::examine`] saw in the base's directory, if there is a base; that is used up if it may be and can be. On an error everything is as it was.
///
/// # Errors
/// `TARGET_EXISTS` when something is at the target that may not be replaced, and `PROFILE_BUSY` when a browser holds what is to give way, which both may have come up since the
/// load began; `PROFILE_CHANGING` when the base's directory is not what it was; and what the file system says.
pub(crate) fn place(verified: &Verified, found: &[Found], mut goal: Goal<'_>) -> Result<Tree> {
    if let Some(base) = verified.base.as_ref().filter(|_| goal.may.consume)
        && let Some(tree) = patch(verified, base, found, &mut goal)?
    {
        return Ok(tree);
    }
    let still = HashMap::new();
    let stage = complete(verified, found, goal.space)?;
    settle_directories(&stage, verified, &still)?;
    let mut moves = Moves::new(goal.space.path());
    commit(&stage, verified, &still, &mut goal, &mut moves).map_err(|error| undone(error, moves.take_back(), &goal))
}

/// The error of a load whose steps were taken back: all of them, or as far as somebody else's directory allowed.
pub(crate) fn undone(error: Error, whole: bool, goal: &Goal<'_>) -> Error {
    if whole {
        return error;
    }
    goal.space.keep();
    let (target, space) = (goal.target.display(), goal.space.path().display());
    let message = format!("{error}; what was at {target} lies in {space}, for something else came up in its place meanwhile: load again");
    Error::local("LOAD_UNFINISHED", message)
}

/// The same, after a look at the base's directory.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn look_and_place(verified: &Verified, goal: Goal<'_>) -> Result<Tree> {
    let found = verified.base.as_ref().map(|base| crate::former::examine(base)).transpose()?.unwrap_or_default();
    place(verified, &found, goal)
}

/// The last steps: everything that may find the disk full comes before the first rename.
pub(crate) fn commit(built: &Path, verified: &Verified, still: &HashMap<&str, Stat>, goal: &mut Goal<'_>, moves: &mut Moves) -> Result<Tree> {
    goal.sidecar.tree = restat(built, verified, still)?;
    let (note, place, replaced) = (goal.space.path().join("note"), sidecar::path(goal.target), goal.space.replaced());
    moves.make(&note, |note| goal.sidecar.write_new(note)).map_err(|error| Error::file(&note, error))?;
    if goal.target.symlink_metadata().is_ok() {
        if !goal.may.replace {
            return Err(taken(goal.target));
        }
        quiesced(goal.target, goal.may.force)?;
        moves.take_away(goal.target, &replaced).map_err(|error| Error::file(goal.target, error))?;
    } else {
        // Of a directory that is gone already.
        moves.rename_if_there(&place, &sidecar::path(&replaced)).map_err(|error| Error::file(&place, error))?;
    }
    // A directory only ever comes in the place of an empty one.
    moves.rename(built, goal.target).map_err(|error| match error.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => taken(goal.target),
        _ => Error::file(goal.target, error),
    })?;
    moves.rename(&note, &place).map_err(|error| Error::file(&place, error))?;
    Ok(std::mem::take(&mut goal.sidecar.tree))
}

/// Something is where a load was to go.
pub(crate) fn taken(target: &Path) -> Error {
    Error::local("TARGET_EXISTS", format!("{} is there already: choose another directory, or say replace", target.display()))
}

/// Makes the stage a whole profile: directories, links, and what is unchanged.
fn complete(verified: &Verified, found: &[Found], space: &Workspace) -> Result<PathBuf> {
    let stage = match &verified.stage {
        Stage::Tree(stage) => stage.clone(),
        Stage::Flat(_) => {
            let stage = space.path().join("new");
            make_directory(&stage).map_err(|error| Error::file(&stage, error))?;
            stage
        }
    };
    let mut kept = Vec::new();
    for entry in verified.tree.entries() {
        let path = stage.join(&entry.path);
        let made = match (entry.kind, verified.staged.get(&entry.path)) {
            // Made already when a file in it was.
            (Kind::Directory, _) => make_directory(&path).or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }),
            (Kind::Link, _) => symlink(&entry.target, &path),
            (Kind::File, Some(staged)) if *staged != path => fs::rename(staged, &path),
            (Kind::File, Some(_)) => Ok(()),
            (Kind::File, None) => {
                kept.push(entry);
                Ok(())
            }
        };
        made.map_err(|error: io::Error| Error::file(&path, error))?;
    }
    if let Some(base) = &verified.base {
        copy(&kept, base, found, &stage)?;
    }
    Ok(stage)
}

fn copy(kept: &[&Arc<Entry>], base: &Base, found: &[Found], stage: &Path) -> Result<()> {
    let stats: HashMap<_, _> = found.iter().map(|found| (found.path.as_str(), found.stat)).collect();
    parallel(kept, |entry| {
        let (from, to) = (base.directory.join(&entry.path), stage.join(&entry.path));
        // Shares the blocks where the file system can. Never a hard link: browsers write into their files.
        fs::copy(&from, &to).map_err(|error| Error::file(&from, error))?;
        let after = fs::symlink_metadata(&from).map_err(|error| Error::file(&from, error))?;
        if stats.get(entry.path.as_str()) != Some(&Stat::of(&after)) {
            return Err(changing(&entry.path));
        }
        set_attributes_at(&to, entry.mode, entry.mtime_ns)
    })
    .map(|_| ())
}

/// Directories get their times when nothing is put into them any more, the deepest first: one that its owner may not enter hides what is below.
pub(crate) fn settle_directories(built: &Path, verified: &Verified, still: &HashMap<&str, Stat>) -> Result<()> {
    let directories = verified.tree.entries().iter().rev().filter(|entry| entry.kind == Kind::Directory && !still.contains_key(entry.path.as_str()));
    directories.into_iter().try_for_each(|entry| set_attributes_at(&built.join(&entry.path), entry.mode, entry.mtime_ns))
}

/// The entries with what the system says of them now. Of a file that came whole and was not moved since it was written, that is known.
fn restat(built: &Path, verified: &Verified, still: &HashMap<&str, Stat>) -> Result<Tree> {
    let known = |entry: &Entry| verified.base.is_none() && entry.kind == Kind::File && entry.stat.is_some();
    let entries = parallel(verified.tree.entries(), |entry| {
        if known(entry) {
            return Ok(Arc::clone(entry));
        }
        let (path, now) = (built.join(&entry.path), clock::wall_ns());
        let stat = match still.get(entry.path.as_str()) {
            Some(stat) => *stat,
            None => Stat::of(&fs::symlink_metadata(&path).map_err(|error| Error::file(&path, error))?),
        };
        let settled = stat.settled(now);
        if settled == entry.stat { Ok(Arc::clone(entry)) } else { Ok(Arc::new(Entry { stat: settled, ..Entry::clone(entry) })) }
    })?;
    Ok(Tree::new(entries))
}
