//! What profiles need of the system beyond reading and writing: work side by side, directories set aside, attributes, and who uses a profile now.

use std::{
    fs::{self, DirBuilder, File, FileTimes, Permissions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    panic,
    path::{Path, PathBuf},
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use cloakroom_api::v1;
use tokio::task::JoinError;

use crate::error::{Error, Result};

/// How many things are done side by side.
pub(crate) fn width() -> usize {
    // Asking the system means reading files of its own, each time.
    static WIDTH: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(2, usize::from).clamp(2, 8));
    *WIDTH
}

/// Does something that blocks, away from the tasks that must not.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// What a thread did; a panic there goes on here.
pub(crate) fn joined<T>(ended: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    ended.unwrap_or_else(|failed| panic::resume_unwind(failed.into_panic()))
}

/// Does the same to all items, side by side, and keeps their order; ends with an error that came up.
pub(crate) fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        while let Some((at, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| items.get(at).map(|item| (at, item))) {
            let result = work(item);
            if result.is_err() {
                next.fetch_add(items.len(), Ordering::Relaxed);
            }
            done.push((at, result));
        }
        done
    };
    let threads = width().min(items.len()).saturating_sub(1);
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|failed| panic::resume_unwind(failed)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The lock's content. A panic elsewhere leaves nothing behind here that could not be used.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A time that the contract gives in nanoseconds since 1970.
pub(crate) fn time(mtime_ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(mtime_ns.unsigned_abs());
    if mtime_ns < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

/// Gives an open file or directory its modification time and mode.
pub(crate) fn set_attributes(file: &File, mode: u32, mtime_ns: i64) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(time(mtime_ns)))?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// The same for one that is not open, whatever its mode forbids.
pub(crate) fn set_attributes_at(path: &Path, mode: u32, mtime_ns: i64) -> Result<()> {
    let set = || {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        set_attributes(&File::open(path)?, mode, mtime_ns)
    };
    set().map_err(|error| Error::file(path, error))
}

/// Makes a directory that only its owner may look into.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes the directories between `root`, which is there, and a file in it; so nothing comes back that was removed meanwhile.
pub(crate) fn make_parents(root: &Path, path: &str) -> io::Result<()> {
    let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
    let made = match make_directory(&root.join(parent)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent.contains('/') => {
            make_parents(root, parent).and_then(|()| make_directory(&root.join(parent)))
        }
        made => made,
    };
    // Another file may have needed it at the same moment.
    made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// Removes whatever is there with all its content, also where modes forbid that; gone already is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if !metadata.is_dir() {
        return fs::remove_file(path);
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    open_up(path)?;
    fs::remove_dir_all(path)
}

fn open_up(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for item in fs::read_dir(directory)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            open_up(&item.path())?;
        }
    }
    Ok(())
}

/// The whole path of a directory, which may not be there yet.
pub(crate) fn whole(directory: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(directory).map_err(|error| Error::file(directory, error))?;
    // `.` and `x/..` have no name of their own to put something beside.
    let whole = if whole.components().any(|part| part == std::path::Component::ParentDir) || directory.ends_with(".") {
        let there = fs::canonicalize(&whole).or_else(|error| match (whole.parent(), whole.file_name()) {
            (Some(parent), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => Ok(fs::canonicalize(parent)?.join(name)),
            _ => Err(error),
        });
        there.map_err(|error| Error::file(directory, error))?
    } else {
        whole.components().collect()
    };
    if whole.file_name().is_none() {
        return Err(Error::local("OPTION", format!("{} cannot be a profile: it has nothing beside it", directory.display())));
    }
    Ok(whole)
}

/// The process of a browser on this host that has the profile open: Chromium leaves a link `SingletonLock` that points to `host-pid`.
fn live_browser(directory: &Path) -> Option<u32> {
    let link = fs::read_link(directory.join("SingletonLock")).ok()?;
    let (host, pid) = link.to_str()?.rsplit_once('-')?;
    let pid: u32 = pid.parse().ok()?;
    let this = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    (host == this.trim_end() && Path::new("/proc").join(pid.to_string()).exists()).then_some(pid)
}

/// Whether the browser has exited; a live one is refused unless `force` is said.
pub(crate) fn quiesced(directory: &Path, force: bool) -> Result<bool> {
    match live_browser(directory) {
        Some(pid) if !force => {
            let message = format!("the browser with process id {pid} has {} open: close it and wait for its exit, or say force", directory.display());
            Err(Error::local("PROFILE_BUSY", message))
        }
        live => Ok(live.is_none()),
    }
}

/// What a profile directory and this machine tell about where the profile can go.
pub(crate) fn portability(directory: &Path, quiesced: bool, policy: &str) -> v1::Portability {
    let version = fs::read_to_string(directory.join("Last Version")).unwrap_or_default();
    v1::Portability {
        os: std::env::consts::OS.to_owned(),
        browser_version: version.trim().chars().take(64).collect(),
        quiesced,
        capture_policy: policy.to_owned(),
        ..v1::Portability::default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn order_is_kept_and_an_error_ends_it() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(parallel(&items, |item| Ok(item * 2)).unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        let failed = parallel(&items, |item| if *item == 500 { Err(Error::local("OPTION", "500")) } else { Ok(()) });
        assert_eq!(failed.unwrap_err().to_string(), "500");
        assert!(parallel(&[] as &[u32], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn times_reach_back_before_1970_to_the_nanosecond() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        for mtime_ns in [0, 1, -1, 1_763_600_000_123_456_789, -1_000_000_001] {
            fs::write(&path, "x").unwrap();
            set_attributes_at(&path, 0o400, mtime_ns).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(), metadata.mode() & 0o7777), (mtime_ns, 0o400));
            fs::remove_file(&path).unwrap();
        }
        assert!(time(i64::MIN) < time(i64::MIN + 1) && time(i64::MAX) > time(0));
    }

    #[test]
    fn only_a_live_process_of_this_host_holds_a_profile() {
        let home = tempfile::tempdir().unwrap();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let lock = home.path().join("SingletonLock");
        let own = std::process::id();
        for (target, live) in [
            (format!("{}-{own}", host.trim_end()), Some(own)),
            (format!("{}-{}", host.trim_end(), 1 << 30), None),
            (format!("another-host-{own}"), None),
            ("nonsense".to_owned(), None),
        ] {
            symlink(&target, &lock).unwrap();
            assert_eq!(live_browser(home.path()), live, "{target}");
            assert_eq!(quiesced(home.path(), true).unwrap(), live.is_none());
            match quiesced(home.path(), false) {
                Ok(quiesced) => assert!(quiesced && live.is_none()),
                Err(error) => assert!(error.reason() == "PROFILE_BUSY" && error.to_string().contains(&own.to_string())),
            }
            fs::remove_file(&lock).unwrap();
        }
        assert_eq!(live_browser(home.path()), None);
    }

    #[test]
    fn a_path_always_has_a_name() {
        assert!(whole(Path::new("p/")).unwrap().ends_with("p"));
        assert_eq!(whole(Path::new(".")).unwrap(), std::env::current_dir().unwrap().canonicalize().unwrap());
        assert!(whole(Path::new("src/..")).unwrap().file_name().is_some());
        assert!(whole(Path::new("src/../not-there")).unwrap().ends_with("not-there"), "a directory that a load is about to make");
        assert_eq!(whole(Path::new("/")).unwrap_err().reason(), "OPTION");
    }
}
