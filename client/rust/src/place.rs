//! The end of a load: what was verified becomes the directory, by one rename.
//!
//! Aside: the new files lie in the stage; what is unchanged is copied there from the former directory, which is only read.
//! In place: the former directory itself is taken out of sight, only what changed is put into it, and it comes back under the wanted name. That costs about one look at every
//! file, so it is ten times faster; but the former directory is used up.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    clock,
    error::{Error, Result},
    former::{Found, examine},
    look::changing,
    parts::Base,
    profiles::Verified,
    sidecar,
    system::{Workspace, make_directory, parallel, remove, set_attributes_at},
    tree::{Entry, Kind, Stat, Tree},
};

/// Puts what was verified in the place of `target` and answers what the system says of it; whatever was there is gone.
///
/// With `consume` the base's directory is used up where that can be done. On an error nothing was changed, except where `consume` was said and the disk failed in
/// the middle of renaming: then the former directory, whose content the daemon has, is gone.
///
/// # Errors
/// `PROFILE_CHANGING` when the base's directory is not what it was; and what the file system says.
pub(crate) fn place(verified: &Verified, stage: &Path, target: &Path, space: &Workspace, consume: bool) -> Result<Tree> {
    let found = verified.base.as_ref().map(|base| examine(base)).transpose()?.unwrap_or_default();
    let former = match &verified.base {
        Some(base) if consume => take_away(base, &space.path().join("former"))?,
        _ => None,
    };
    let (built, still) = match (&former, &verified.base) {
        (Some(former), Some(base)) => {
            let plan = Plan::new(verified, base, &found);
            patch(former, &plan, stage, verified)?;
            (former.as_path(), plan.still)
        }
        (_, base) => {
            complete(stage, base.as_deref(), verified, &found)?;
            (stage, HashMap::new())
        }
    };
    settle_directories(built, verified, &still)?;
    let tree = restat(built, &verified.tree, &still)?;
    sidecar::remove(target)?;
    let replaced = space.path().join("replaced");
    match fs::rename(target, &replaced) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::file(target, error)),
        _ => {}
    }
    fs::rename(built, target).map_err(|error| {
        // Whatever went wrong, the directory that was there comes back if it can.
        let _ = fs::rename(&replaced, target);
        Error::file(target, error)
    })?;
    Ok(tree)
}

/// Takes the base's directory out of sight. Nothing if it is elsewhere than the workspace, so that it can only be copied.
fn take_away(base: &Base, former: &Path) -> Result<Option<PathBuf>> {
    let device = former.parent().and_then(|space| space.symlink_metadata().ok()).map(|space| space.dev());
    if !fs::symlink_metadata(&base.directory).is_ok_and(|found| found.is_dir() && Some(found.dev()) == device) {
        return Ok(None);
    }
    // First of all: from now on nobody may believe what it says.
    sidecar::remove(&base.directory)?;
    match fs::rename(&base.directory, former) {
        Ok(()) => Ok(Some(former.to_owned())),
        Err(error) if error.kind() == ErrorKind::CrossesDevices => Ok(None),
        Err(error) => Err(Error::file(&base.directory, error)),
    }
}

/// What has to be done to a former directory.
#[derive(Debug, Default)]
struct Plan<'a> {
    /// What is no part of the profile, or has another kind there.
    gone: Vec<&'a Path>,
    /// What is there already, whatever its attributes.
    there: HashSet<&'a str>,
    /// What stays as it is.
    still: HashMap<&'a str, Stat>,
    /// Directories that their owner could not write into.
    locked: Vec<&'a str>,
}

impl<'a> Plan<'a> {
    fn new(verified: &'a Verified, base: &'a Base, found: &'a [Found]) -> Self {
        let (mut plan, new, old) = (Self::default(), verified.tree.by_path(), base.tree.by_path());
        for found in found {
            let before = old.get(found.path.as_str());
            let entry =
                new.get(found.path.as_str()).filter(|entry| before.is_some_and(|old| old.kind == entry.kind && (old.kind != Kind::Link || old.same(entry))));
            let Some(entry) = entry else {
                plan.gone.push(found.at.strip_prefix(&base.directory).unwrap_or(&found.at));
                continue;
            };
            plan.there.insert(&entry.path);
            if found.suits(entry) || entry.kind == Kind::Link {
                plan.still.insert(&entry.path, found.stat);
            }
            if entry.kind == Kind::Directory && found.mode & 0o700 != 0o700 {
                plan.locked.push(&entry.path);
            }
        }
        // A rename, a removal or a new name moves a directory's time; attributes that are set move the time of nothing else.
        let made = verified.tree.entries().iter().filter(|entry| !plan.there.contains(entry.path.as_str())).map(|entry| Path::new(&entry.path));
        let changed = made.chain(verified.staged.iter().map(Path::new)).chain(plan.gone.iter().copied());
        let moved: Vec<_> = changed.filter_map(|path| path.parent()?.to_str()).collect();
        for path in moved.into_iter().chain(verified.staged.iter().map(String::as_str)).chain(plan.locked.iter().copied()) {
            plan.still.remove(path);
        }
        plan
    }
}

fn patch(former: &Path, plan: &Plan<'_>, stage: &Path, verified: &Verified) -> Result<()> {
    for path in &plan.locked {
        let at = former.join(path);
        fs::set_permissions(&at, fs::Permissions::from_mode(0o700)).map_err(|error| Error::file(&at, error))?;
    }
    for path in &plan.gone {
        let at = former.join(path);
        remove(&at).map_err(|error| Error::file(&at, error))?;
    }
    for entry in verified.tree.entries() {
        let path = entry.path.as_str();
        if plan.still.contains_key(path) || (entry.kind != Kind::File && plan.there.contains(path)) {
            continue;
        }
        let at = former.join(path);
        let done = match entry.kind {
            Kind::Directory => make_directory(&at),
            Kind::Link => symlink(&entry.target, &at),
            Kind::File if verified.staged.contains(path) => fs::rename(stage.join(path), &at),
            Kind::File => {
                set_attributes_at(&at, entry.mode, entry.mtime_ns)?;
                Ok(())
            }
        };
        done.map_err(|error| Error::file(&at, error))?;
    }
    Ok(())
}

/// Adds to the stage what a load does not send: directories, links, and what is unchanged.
fn complete(stage: &Path, base: Option<&Base>, verified: &Verified, found: &[Found]) -> Result<()> {
    let mut kept = Vec::new();
    for entry in verified.tree.entries() {
        let path = stage.join(&entry.path);
        let made = match entry.kind {
            // Made already when a file in it was.
            Kind::Directory => make_directory(&path).or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }),
            Kind::Link => symlink(&entry.target, &path),
            Kind::File => {
                kept.extend((!verified.staged.contains(&entry.path)).then_some(entry));
                Ok(())
            }
        };
        made.map_err(|error: io::Error| Error::file(&path, error))?;
    }
    let Some(base) = base else { return Ok(()) };
    let stats: HashMap<_, _> = found.iter().map(|found| (found.path.as_str(), found.stat)).collect();
    parallel(&kept, |entry| {
        let (from, to) = (base.directory.join(&entry.path), stage.join(&entry.path));
        // Shares the blocks where the file system can. Never a hard link: browsers write into their files.
        fs::copy(&from, &to).map_err(|error| Error::file(&from, error))?;
        let after = fs::symlink_metadata(&from).map_err(|error| Error::file(&from, error))?;
        if stats.get(entry.path.as_str()) != Some(&Stat::of(&after)) {
            return Err(changing(&entry.path));
        }
        set_attributes_at(&to, entry.mode, entry.mtime_ns)
    })?;
    Ok(())
}

/// Directories get their times when nothing is put into them any more, the deepest first: one that its owner may not enter hides what is below.
fn settle_directories(built: &Path, verified: &Verified, still: &HashMap<&str, Stat>) -> Result<()> {
    let directories = verified.tree.entries().iter().rev().filter(|entry| entry.kind == Kind::Directory && !still.contains_key(entry.path.as_str()));
    directories.into_iter().try_for_each(|entry| set_attributes_at(&built.join(&entry.path), entry.mode, entry.mtime_ns))
}

/// The entries with what the system says of them now.
fn restat(built: &Path, tree: &Tree, still: &HashMap<&str, Stat>) -> Result<Tree> {
    let entries = parallel(tree.entries(), |entry| {
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
