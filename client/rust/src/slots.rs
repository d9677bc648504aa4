//! Directories that are handed out: each is a slot, which one process at a time has. `client/vectors/README.md` ("Mounts") lays them down for all clients.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    claims::{self, Claim},
    clock,
    error::{Error, Result},
    sidecar,
    system::{make_directory, quiesced, remove},
    workspace,
};

/// The file of a storage state that a program works with while it has the slot.
pub(crate) const STORAGE_STATE: &str = "storage-state.json";
/// How often a new slot is begun anew because its name is taken, or somebody removes what is above it.
const TRIES: usize = 64;
/// Hexadecimal digits of a slot's name.
const NAME: usize = 8;
/// Free slots of a session that are kept: one for the next mount, one for a second at a time.
const KEPT: usize = 2;
/// After so long nobody is just making a slot any more.
const MAKING: Duration = Duration::from_hours(1);

/// Where all mounts are: what the caller says, else what the environment says.
pub(crate) fn root(given: Option<&Path>) -> Result<PathBuf> {
    let said = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || said("XDG_CACHE_HOME").or_else(|| said("HOME").map(|home| home.join(".cache"))).map(|cache| cache.join("cloakroom"));
    let root = given.map(Path::to_owned).or_else(|| said("CLOAKROOM_MOUNTS")).or_else(cache);
    let root = root.ok_or_else(|| Error::local("OPTION", "there is no place for mounts: say root, or set CLOAKROOM_MOUNTS or HOME"))?;
    std::path::absolute(&root).map_err(|error| Error::file(&root, error))
}

/// The slots of one session.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    directory: PathBuf,
}

/// A slot that a process may take, as it was found.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    claim: Claim,
    since: SystemTime,
}

/// A slot that this process has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
    /// The claim's file; nothing once it was let go.
    claim: Option<PathBuf>,
}

impl Slots {
    /// # Errors
    /// `OPTION` for a name that the contract does not allow, before it is part of any path.
    pub(crate) fn of(root: &Path, namespace: &str, session: &str) -> Result<Self> {
        let named = |name: &str, most, rest: fn(&u8) -> bool| {
            name.len() <= most && name.bytes().all(|byte| rest(&byte)) && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        };
        if !named(session, 128, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
            let message = format!("{session:?} is no session's id: it has 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit");
            return Err(Error::local("OPTION", message));
        }
        if !namespace.is_empty() && !named(namespace, 63, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-') {
            return Err(Error::local("OPTION", format!("{namespace:?} is no namespace: it has 1 to 63 of a-z 0-9 -, the first a letter or digit")));
        }
        let namespace = if namespace.is_empty() { "-" } else { namespace };
        Ok(Self { directory: root.join("mounts").join(namespace).join(session) })
    }

    /// Takes the slot that was let go last, or makes one.
    pub(crate) fn take(&self) -> Result<Slot> {
        let own = Claim::own().name();
        for found in self.found()? {
            let Some(slot) = found.take(&own)? else { continue };
            if quiesced(&slot.profile(), false).is_ok() {
                return Ok(slot);
            }
            slot.put_back()?;
        }
        self.make(&own)
    }

    /// The slots that may be taken, the one that was let go last first.
    fn found(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for path in names(&self.directory)?.into_iter().filter(|name| is_slot(name)).map(|name| self.directory.join(name)) {
            let Some(claim) = claim_of(&path)? else { continue };
            // Whoever was faster has renamed it.
            let since = path.join(claim.name()).symlink_metadata().and_then(|claim| claim.modified());
            match since {
                Ok(since) if claim.may_be_taken() => found.push(Found { path, claim, since }),
                _ => {}
            }
        }
        found.sort_by_key(|found| std::cmp::Reverse(found.since));
        Ok(found)
    }

    fn make(&self, own: &str) -> Result<Slot> {
        let mut last = None;
        for _ in 0..TRIES {
            let path = self.directory.join(&clock::random_id()[..NAME]);
            let claim = path.join(own);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).and_then(|()| make_directory(&path));
            match made.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&claim)) {
                Ok(_) => return Ok(Slot { path, claim: Some(claim) }),
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => last = Some(error),
                Err(error) => return Err(Error::file(&path, error)),
            }
        }
        Err(Error::file(&self.directory, last.unwrap_or_else(|| ErrorKind::NotFound.into())))
    }

    /// Removes the free slots that are too many, those first that were let go first.
    pub(crate) fn trim(&self) -> Result<()> {
        let free: Vec<_> = self.found()?.into_iter().filter(|found| found.claim == Claim::Free).collect();
        free.into_iter().skip(KEPT).try_for_each(|old| old.remove().map(|_| ()))
    }

    /// Removes what nobody used since `before`; answers how many slots and bytes.
    fn prune(&self, older_than: Duration) -> Result<(u64, u64)> {
        let old = |since: SystemTime| clock::wall().duration_since(since).is_ok_and(|age| age >= older_than);
        let (mut slots, mut bytes) = (0, 0);
        for found in self.found()?.into_iter().filter(|found| old(found.since)) {
            if let Some(size) = found.remove()? {
                (slots, bytes) = (slots + 1, bytes + size);
            }
        }
        for path in names(&self.directory)?.into_iter().filter(|name| is_slot(name)).map(|name| self.directory.join(name)) {
            let made = || path.symlink_metadata().and_then(|slot| slot.modified()).ok();
            if !has_claim(&path)? && made().is_some_and(|made| clock::wall().duration_since(made).is_ok_and(|age| age >= MAKING)) {
                bytes += size_of(&path);
                remove(&path).map_err(|error| Error::file(&path, error))?;
                slots += 1;
            }
        }
        Ok((slots, bytes))
    }
}

/// Removes slots of all sessions that nobody used for so long; answers how many slots and bytes.
pub(crate) fn prune(root: &Path, older_than: Duration) -> Result<(u64, u64)> {
    let (mounts, mut slots, mut bytes) = (root.join("mounts"), 0, 0);
    for namespace in names(&mounts)?.into_iter().map(|name| mounts.join(name)) {
        for session in names(&namespace)?.into_iter().map(|name| namespace.join(name)) {
            let removed = Slots { directory: session.clone() }.prune(older_than)?;
            (slots, bytes) = (slots + removed.0, bytes + removed.1);
            // Only when it is empty. Whoever is about to make a slot in it makes it anew.
            let _ = fs::remove_dir(session);
        }
        let _ = fs::remove_dir(namespace);
    }
    Ok((slots, bytes))
}

impl Found {
    /// Nothing if somebody else was faster.
    fn take(&self, own: &str) -> Result<Option<Slot>> {
        let claim = self.path.join(own);
        match fs::rename(self.path.join(self.claim.name()), &claim) {
            Ok(()) => Ok(Some(Slot { path: self.path.clone(), claim: Some(claim) })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file(&claim, error)),
        }
    }

    /// Removes the slot; answers how many bytes were in it, or nothing if it is in use.
    fn remove(&self) -> Result<Option<u64>> {
        let Some(slot) = self.take(&Claim::own().name())? else { return Ok(None) };
        if quiesced(&slot.profile(), false).is_err() {
            return slot.put_back().map(|()| None);
        }
        let size = size_of(&slot.path);
        // The claim goes last: whoever is killed meanwhile leaves a dead one.
        slot.empty()?;
        slot.forget().map(|()| Some(size))
    }
}

impl Slot {
    pub(crate) fn profile(&self) -> PathBuf {
        self.path.join("profile")
    }

    /// Removes everything in it, the sidecar before what it describes.
    pub(crate) fn empty(&self) -> Result<()> {
        sidecar::remove(&self.profile())?;
        self.remove_but(&[])
    }

    /// Removes what mounts that ended early left beside the profile; a load of this client clears up after its own.
    pub(crate) fn tidy(&self) -> Result<()> {
        let profile = self.profile();
        self.remove_but(&[&profile, &sidecar::path(&profile), &workspace::of(&profile)])
    }

    fn remove_but(&self, kept: &[&Path]) -> Result<()> {
        let items = names(&self.path)?.into_iter().filter(|name| !name.starts_with(claims::PREFIX)).map(|name| self.path.join(name));
        items.filter(|item| !kept.contains(&item.as_path())).try_for_each(|item| remove(&item).map_err(|error| Error::file(&item, error)))
    }

    /// Lets the slot go, as used until now.
    pub(crate) fn release(mut self) -> Result<()> {
        self.let_go(true)
    }

    /// Keeps the claim until this process ends.
    pub(crate) fn keep(mut self) {
        self.claim = None;
    }

    /// Lets the slot go as it was found.
    fn put_back(mut self) -> Result<()> {
        self.let_go(false)
    }

    fn let_go(&mut self, used: bool) -> Result<()> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        let touch = || {
            match fs::remove_file(self.path.join(STORAGE_STATE)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::options().write(true).open(&claim)?.set_modified(clock::wall())
        };
        let touched = if used { touch() } else { Ok(()) };
        match touched.and_then(|()| fs::rename(&claim, self.path.join(Claim::Free.name()))) {
            // Somebody removed it by hand: there is nothing to give back.
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(&claim, error)),
            _ => Ok(()),
        }
    }

    /// Removes an empty slot.
    fn forget(mut self) -> Result<()> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        fs::remove_file(&claim).map_err(|error| Error::file(&claim, error))?;
        fs::remove_dir(&self.path).map_err(|error| Error::file(&self.path, error))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Where that fails the claim stays until this process ends, and is dead then.
        let _ = self.let_go(true);
    }
}

fn is_slot(name: &str) -> bool {
    name.len() == NAME && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The one claim of a slot; nothing if there is none, or what nobody made by these rules.
fn claim_of(slot: &Path) -> Result<Option<Claim>> {
    let mut claims = names(slot)?.into_iter().filter(|name| name.starts_with(claims::PREFIX));
    let first = claims.next();
    Ok(first.filter(|_| claims.next().is_none()).and_then(|name| Claim::parse(&name)))
}

fn has_claim(slot: &Path) -> Result<bool> {
    Ok(names(slot)?.iter().any(|name| name.starts_with(claims::PREFIX)))
}

/// What is in a directory; nothing if that is gone. Names that are not UTF-8 are nobody's.
fn names(directory: &Path) -> Result<Vec<String>> {
    let listed = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    match listed {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        listed => {
            let items = listed.map_err(|error| Error::file(directory, error))?;
            Ok(items.into_iter().filter_map(|item| item.file_name().into_string().ok()).collect())
        }
    }
}

/// Bytes of all files below, as far as they can be seen.
fn size_of(directory: &Path) -> u64 {
    let items = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = items.filter_map(|item| item.metadata().ok().map(|metadata| if metadata.is_dir() { size_of(&item.path()) } else { metadata.len() }));
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        os::unix::fs::PermissionsExt as _,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;
    use crate::system::lock;

    fn slots(home: &Path) -> Slots {
        Slots::of(home, "", "s").unwrap()
    }

    #[test]
    fn of_many_that_take_and_let_go_no_two_ever_have_the_same() {
        let home = tempfile::tempdir().unwrap();
        let (held, taken) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
        thread::scope(|scope| {
            for number in 0..8 {
                let (held, taken, home, slots) = (&held, &taken, home.path(), slots(home.path()));
                scope.spawn(move || {
                    for round in 0..40 {
                        let slot = slots.take().unwrap();
                        assert!(lock(held).insert(slot.path.clone()), "two have {}", slot.path.display());
                        fs::write(slot.path.join("profile"), "x").unwrap();
                        taken.fetch_add(1, Ordering::Relaxed);
                        assert!(lock(held).remove(&slot.path));
                        slot.release().unwrap();
                        match (number + round) % 8 {
                            0 => slots.trim().unwrap(),
                            1 => drop(prune(home, Duration::ZERO).unwrap()),
                            _ => {}
                        }
                    }
                });
            }
        });
        assert_eq!(taken.load(Ordering::Relaxed), 320);
        slots(home.path()).trim().unwrap();
        let left = slots(home.path()).found().unwrap();
        assert!(left.len() <= KEPT && left.iter().all(|found| found.claim == Claim::Free), "{left:?}");
        prune(home.path(), Duration::ZERO).unwrap();
        assert_eq!(fs::read_dir(home.path().join("mounts")).unwrap().count(), 0);
    }

    #[test]
    fn the_one_that_was_let_go_last_is_taken_first_and_the_others_go() {
        let home = tempfile::tempdir().unwrap();
        let slots = slots(home.path());
        let four: Vec<_> = (0..4).map(|_| slots.take().unwrap()).collect();
        let paths: Vec<_> = four.iter().map(|slot| slot.path.clone()).collect();
        for (age, slot) in [3, 0, 2, 1].into_iter().zip(four) {
            slot.release().unwrap();
            let claim = paths
                .iter()
                .map(|path| path.join("claim.free"))
                .find(|claim| claim.exists() && claim.metadata().unwrap().modified().unwrap().elapsed().unwrap() < Duration::from_secs(9));
            File::open(claim.unwrap()).unwrap().set_modified(clock::wall() - Duration::from_secs(10 + age)).unwrap();
        }
        let first = slots.take().unwrap();
        assert_eq!(first.path, paths[1]);
        drop(first);
        slots.trim().unwrap();
        assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [false, true, false, true]);
    }

    #[test]
    fn a_dead_claim_is_taken_over_and_one_that_is_put_back_keeps_its_time() {
        let home = tempfile::tempdir().unwrap();
        let slots = slots(home.path());
        let slot = slots.take().unwrap();
        let (path, own) = (slot.path.clone(), Claim::own());
        let Claim::Held { host, pid, .. } = own.clone() else { panic!("a process has its own claim") };
        let dead = path.join(Claim::Held { host, pid, start: 1 }.name());
        slot.keep();
        fs::rename(path.join(own.name()), &dead).unwrap();
        File::open(&dead).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let slot = slots.take().unwrap();
        assert_eq!(slot.path, path);
        slot.put_back().unwrap();
        let free = path.join("claim.free").metadata().unwrap();
        assert_eq!((free.modified().unwrap(), free.permissions().mode() & 0o777, free.len()), (SystemTime::UNIX_EPOCH, 0o600, 0));
        // Two claims are of nobody's making, and neither is one without a meaning.
        fs::write(path.join("claim.other"), "").unwrap();
        assert_ne!(slots.take().unwrap().path, path);
        fs::remove_file(path.join("claim.free")).unwrap();
        assert_ne!(slots.take().unwrap().path, path);
    }

    #[test]
    fn no_name_leads_out_of_the_root() {
        let root = Path::new("/r");
        assert_eq!(Slots::of(root, "", "S.1_-").unwrap().directory, Path::new("/r/mounts/-/S.1_-"));
        assert_eq!(Slots::of(root, "n-1", "s").unwrap().directory, Path::new("/r/mounts/n-1/s"));
        let long = "a".repeat(129);
        for bad in ["", ".", "..", "../s", "a/b", ".s", "-s", "é", "a\0", &long] {
            assert_eq!(Slots::of(root, "", bad).unwrap_err().reason(), "OPTION", "{bad}");
        }
        for bad in ["-", ".", "..", "N", "a/b", &long] {
            assert_eq!(Slots::of(root, bad, "s").unwrap_err().reason(), "OPTION", "{bad}");
        }
    }
}
