//! The end of a load: what was verified becomes the directory, by one rename.
//!
//! Aside: the new files lie in the stage; what is unchanged is copied there from the former directory, which is only read.
//! In place: the former directory itself is taken out of sight, only what changed is put into it, and it comes back under the wanted name. That costs about a look at every
//! file, so it is ten times faster; but the former directory is used up.

use std::{
    collections::HashSet,
    fs::{self, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    clock,
    error::{Error, Result},
    look::{changing, mode},
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
pub(crate) fn place(verified: &Verified, stage: &Path, target: &Path, space: &Workspace, consume: bool) -> Result<Tree> {
    let former = match &verified.base {
        Some(base) if consume => take_away(base, &space.path().join("former"))?,
        _ => None,
    };
    let mut still = HashSet::new();
    let built = match (&former, &verified.base) {
        (Some(former), Some(base)) => {
            // Nothing was done to it yet: it goes back to where it was.
            let survey = survey(former, base, verified).inspect_err(|_| drop(fs::rename(former, &base.directory)))?;
            patch(former, &survey, stage, verified)?;
            still = survey.still;
            former.as_path()
        }
        (_, base) => {
            complete(stage, base.as_deref(), verified)?;
            stage
        }
    };
    settle_directories(built, verified)?;
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

/// Whether the attributes are what the entry says; the file system may keep coarser times, then they are set once more.
fn has_attributes(metadata: &Metadata, entry: &Entry) -> bool {
    mode(metadata) == entry.mode && Stat::of(metadata).mtime() == entry.mtime_ns
}

/// What has to be done to a former directory.
#[derive(Debug, Default)]
struct Survey<'a> {
    /// What is no part of the profile, or has another kind there.
    gone: Vec<PathBuf>,
    /// Files that stay as they are.
    still: HashSet<&'a str>,
    /// Files whose content stays and whose attributes do not.
    restless: Vec<&'a Entry>,
}

/// Looks at everything in the former directory without changing it: what has to go, and whether all that stays is what it was.
fn survey<'a>(former: &Path, base: &Base, verified: &'a Verified) -> Result<Survey<'a>> {
    let (mut survey, mut pending) = (Survey::default(), vec![String::new()]);
    let (old, new) = (base.tree.by_path(), verified.tree.by_path());
    while let Some(prefix) = pending.pop() {
        let at = former.join(&prefix);
        for item in fs::read_dir(&at).map_err(|error| Error::file(&at, error))? {
            let item = item.map_err(|error| Error::file(&at, error))?;
            let metadata = item.metadata().map_err(|error| Error::file(&item.path(), error))?;
            let path = item.file_name().to_str().map(|name| format!("{prefix}{name}")).unwrap_or_default();
            match new.get(path.as_str()) {
                Some(entry) if entry.kind == Kind::Directory && metadata.is_dir() => pending.push(format!("{path}/")),
                Some(entry) if entry.kind == Kind::File && metadata.is_file() && !verified.staged.contains(&path) => {
                    if old.get(path.as_str()).is_none_or(|old| old.stat != Some(Stat::of(&metadata))) {
                        return Err(changing(&path));
                    }
                    if has_attributes(&metadata, entry) {
                        survey.still.insert(&entry.path);
                    } else {
                        survey.restless.push(entry);
                    }
                }
                // A new file replaces the old one by its rename.
                Some(entry) if entry.kind == Kind::File && metadata.is_file() => {}
                Some(entry)
                    if entry.kind == Kind::Link && old.get(path.as_str()).is_some_and(|old| old.stat == Some(Stat::of(&metadata)) && old.same(entry)) => {}
                _ => survey.gone.push(item.path()),
            }
        }
    }
    let wanted = verified.tree.entries().iter().filter(|entry| entry.kind == Kind::File && !verified.staged.contains(&entry.path)).count();
    if survey.still.len() + survey.restless.len() == wanted {
        Ok(survey)
    } else {
        Err(Error::local("PROFILE_CHANGING", "files of the former directory vanished meanwhile: end what uses it, then try again"))
    }
}

fn patch(former: &Path, survey: &Survey<'_>, stage: &Path, verified: &Verified) -> Result<()> {
    let at = |entry: &Entry| former.join(&entry.path);
    for entry in verified.tree.entries().iter().filter(|entry| entry.kind == Kind::Directory) {
        // Only its owner's bits say what can be done in it now; in the end it gets the right ones.
        if fs::symlink_metadata(at(entry)).is_ok_and(|found| found.is_dir() && mode(&found) & 0o700 != 0o700) {
            fs::set_permissions(at(entry), fs::Permissions::from_mode(0o700)).map_err(|error| Error::file(&at(entry), error))?;
        }
    }
    survey.gone.iter().try_for_each(|path| remove(path).map_err(|error| Error::file(path, error)))?;
    for entry in verified.tree.entries() {
        let path = at(entry);
        let done = match entry.kind {
            Kind::Directory => existing_is_fine(make_directory(&path)),
            Kind::Link => existing_is_fine(symlink(&entry.target, &path)),
            Kind::File if verified.staged.contains(&entry.path) => fs::rename(stage.join(&entry.path), &path),
            Kind::File => Ok(()),
        };
        done.map_err(|error| Error::file(&path, error))?;
    }
    survey.restless.iter().try_for_each(|entry| set_attributes_at(&at(entry), entry.mode, entry.mtime_ns))
}

fn existing_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// Adds to the stage what a load does not send: directories, links, and what is unchanged.
fn complete(stage: &Path, base: Option<&Base>, verified: &Verified) -> Result<()> {
    let mut kept = Vec::new();
    for entry in verified.tree.entries() {
        let path = stage.join(&entry.path);
        let made = match entry.kind {
            Kind::Directory => existing_is_fine(make_directory(&path)),
            Kind::Link => symlink(&entry.target, &path),
            Kind::File => {
                kept.extend((!verified.staged.contains(&entry.path)).then_some(entry));
                Ok(())
            }
        };
        made.map_err(|error| Error::file(&path, error))?;
    }
    let Some(base) = base else { return Ok(()) };
    parallel(&kept, |entry| {
        let (from, to) = (base.directory.join(&entry.path), stage.join(&entry.path));
        // Shares the blocks where the file system can. Never a hard link: browsers write into their files.
        fs::copy(&from, &to).map_err(|error| Error::file(&from, error))?;
        let found = fs::symlink_metadata(&from).map_err(|error| Error::file(&from, error))?;
        if base.tree.get(&entry.path).is_none_or(|old| old.stat != Some(Stat::of(&found))) {
            return Err(changing(&entry.path));
        }
        set_attributes_at(&to, entry.mode, entry.mtime_ns)
    })?;
    Ok(())
}

/// Directories get their times when nothing is put into them any more, the deepest first.
fn settle_directories(built: &Path, verified: &Verified) -> Result<()> {
    for entry in verified.tree.entries().iter().rev().filter(|entry| entry.kind == Kind::Directory) {
        let path = built.join(&entry.path);
        let found = fs::symlink_metadata(&path).map_err(|error| Error::file(&path, error))?;
        if !has_attributes(&found, entry) {
            set_attributes_at(&path, entry.mode, entry.mtime_ns)?;
        }
    }
    Ok(())
}

/// The entries with what the system says of them now. Those that are `still` have just been looked at.
fn restat(built: &Path, tree: &Tree, still: &HashSet<&str>) -> Result<Tree> {
    let entries = parallel(tree.entries(), |entry| {
        let (path, now) = (built.join(&entry.path), clock::wall_ns());
        let stat = match entry.stat.filter(|_| still.contains(entry.path.as_str())) {
            Some(stat) => stat,
            None => Stat::of(&fs::symlink_metadata(&path).map_err(|error| Error::file(&path, error))?),
        };
        let settled = stat.settled(now);
        if settled == entry.stat { Ok(Arc::clone(entry)) } else { Ok(Arc::new(Entry { stat: settled, ..Entry::clone(entry) })) }
    })?;
    Ok(Tree::new(entries))
}
