//! The scenarios of mounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use cloakroom_client::{Mount, MountOptions, Pruned, SaveOptions, hex};
use cloakroom_tests::process::Process;
use futures::future::join_all;
use ring::digest::{SHA256, digest};

use super::{
    Stage, assert_same,
    command_line::{command, text},
    noise, stage, write,
};

const DAY: Duration = Duration::from_hours(24);

impl Stage {
    /// Where the scenario's mounts are.
    pub(super) fn root(&self) -> PathBuf {
        self.path("mounts-of-this-test")
    }

    pub(super) async fn mount(&self) -> Mount {
        self.client.mount(&self.session, MountOptions { root: Some(self.root()), ..MountOptions::default() }).await.unwrap()
    }

    /// All slots of the session by their names, with their claims.
    pub(super) fn slots(&self) -> BTreeMap<String, Vec<String>> {
        let names = |at: &Path| fs::read_dir(at).into_iter().flatten().map(|item| item.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        let all = self.root().join("mounts/-").join(&self.session);
        let claims = |slot: &str| names(&all.join(slot)).into_iter().filter(|name| name.starts_with("claim.")).collect();
        names(&all).into_iter().map(|slot| (slot.clone(), claims(&slot))).collect()
    }

    /// Whether the directory is what the session's head is.
    async fn assert_head(&self, directory: &Path) {
        let whole = self.path(&super::name("whole"));
        self.load(&whole).await;
        assert_same(directory, &whole);
    }
}

fn slot(directory: &Path) -> String {
    directory.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

/// Everything below, with what tells whether it was touched.
fn stamps(at: &Path, found: &mut BTreeMap<PathBuf, [i64; 5]>) {
    let metadata = at.symlink_metadata().unwrap();
    let inode = i64::try_from(metadata.ino()).unwrap();
    found.insert(at.to_owned(), [inode, metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]);
    if metadata.is_dir() {
        for item in fs::read_dir(at).unwrap() {
            stamps(&item.unwrap().path(), found);
        }
    }
}

/// The profile and its sidecar.
fn profile_stamps(directory: &Path) -> BTreeMap<PathBuf, [i64; 5]> {
    let mut found = BTreeMap::new();
    stamps(directory, &mut found);
    stamps(&directory.with_file_name("profile.cloakroom.json"), &mut found);
    found
}

fn aged(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// As `client/vectors/README.md` says it.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let processes = fs::read_link("/proc/self/ns/pid").unwrap();
    hex(digest(&SHA256, format!("{}\n{}", name.trim(), processes.display()).as_bytes()).as_ref())[..8].to_owned()
}

fn own_claim() -> String {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    format!("claim.{}.{}.{start}", host(), std::process::id())
}

/// The id of a process that does not live any more.
fn dead() -> u32 {
    let mut child = Command::new("/bin/true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// A browser's lock on a profile, held by this process.
fn lock(profile: &Path) -> PathBuf {
    let (host, at) = (fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), profile.join("SingletonLock"));
    symlink(format!("{}-{}", host.trim(), std::process::id()), &at).unwrap();
    at
}

fn wait_for_mount(stage: &Stage) -> Process {
    let root = stage.root();
    Process::spawn("cloakroom mount", command(&stage.daemon.address(), &["mount", &stage.session, "--root", text(&root)]))
}

#[tokio::test]
async fn mount_current_touches_nothing() {
    let stage = stage().await;
    let state = br#"{"cookies":[],"origins":[]}"#;
    let mut mount = stage.mount().await;
    let directory = mount.directory.clone();
    for (path, size) in [("Default/Cookies", 20_480), ("Default/Cache/f", 9), ("Local State", 5)] {
        write(&directory, path, &noise(size as u64, size));
    }
    fs::create_dir(directory.join("empty")).unwrap();
    symlink("Default", directory.join("link")).unwrap();
    let saved = mount.save(SaveOptions { storage_state: Some(state.as_slice().into()), ..SaveOptions::default() }).await.unwrap();
    assert_eq!(mount.snapshot.as_ref(), Some(&saved.snapshot));
    mount.discard().await.unwrap();
    for round in 0..3 {
        let before = profile_stamps(&directory);
        assert!(before.contains_key(&directory.join("Default/Cache/f")));
        let again = stage.mount().await;
        assert_eq!((&again.directory, again.content_bytes), (&directory, 0));
        assert_eq!(again.snapshot.as_ref().map(|snapshot| &snapshot.id), Some(&saved.snapshot.id));
        assert_eq!(again.storage_state.as_deref(), Some(state.as_slice()));
        assert_eq!(profile_stamps(&directory), before, "round {round}");
        assert_eq!(stage.slots(), [(slot(&directory), vec![own_claim()])].into());
        again.discard().await.unwrap();
        assert_eq!(profile_stamps(&directory), before);
        assert_eq!(stage.slots(), [(slot(&directory), vec!["claim.free".to_owned()])].into());
        // The first time the entries are too young to be known by their stat.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let modes = [stage.root(), stage.root().join("mounts/-"), directory.parent().unwrap().to_owned(), directory].map(|at| fs::metadata(at).unwrap().mode());
    assert!(modes.iter().all(|mode| mode & 0o777 == 0o700), "{modes:?}");
}

#[tokio::test]
async fn mount_head_moved() {
    let stage = stage().await;
    let mut mount = stage.mount().await;
    let directory = mount.directory.clone();
    let mut body = noise(1, 2 << 20);
    write(&directory, "kept", &noise(2, 3 << 20));
    write(&directory, "changed", &body);
    write(&directory, "removed", b"x");
    write(&directory, "Default/Cache/f", b"a cache of this machine");
    mount.save(SaveOptions::default()).await.unwrap();
    mount.discard().await.unwrap();
    let elsewhere = stage.path("elsewhere");
    stage.load(&elsewhere).await;
    body[9000] ^= 1;
    write(&elsewhere, "changed", &body);
    fs::remove_file(elsewhere.join("removed")).unwrap();
    let head = stage.save(&elsewhere).await.snapshot;
    let mount = stage.mount().await;
    assert_eq!((&mount.directory, mount.content_bytes, mount.snapshot.as_ref()), (&directory, 4096, Some(&head)));
    stage.assert_head(&directory).await;
}

#[tokio::test]
async fn mount_two_never_share() {
    let stage = stage().await;
    let mut first = stage.mount().await;
    write(&first.directory, "f", &noise(1, 100_000));
    first.save(SaveOptions::default()).await.unwrap();
    let second = stage.mount().await;
    assert_ne!(first.directory, second.directory);
    assert_eq!(second.content_bytes, 100_000);
    let mut other = wait_for_mount(&stage);
    let third = PathBuf::from(other.wait_for_line("profile").await);
    assert!(![&first.directory, &second.directory].contains(&&third));
    for directory in [&first.directory, &second.directory, &third] {
        stage.assert_head(directory).await;
    }
    // What one lets go the other takes.
    let free = first.directory.clone();
    drop(first);
    let mut one_more = wait_for_mount(&stage);
    assert_eq!(PathBuf::from(one_more.wait_for_line("profile").await), free);
    assert_eq!(one_more.terminate().await, Some(0));
    assert_eq!(other.terminate().await, Some(0));
    second.discard().await.unwrap();

    let mounts = join_all((0..8).map(|_| stage.mount())).await;
    assert_eq!(mounts.iter().map(|mount| &mount.directory).collect::<BTreeSet<_>>().len(), 8);
    for mount in mounts {
        mount.discard().await.unwrap();
    }
    assert_eq!(stage.slots().values().collect::<Vec<_>>(), [&["claim.free"], &["claim.free"]], "two are enough to keep");
}

#[tokio::test]
async fn mount_after_kill() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(1, 50_000));
    write(&directory, "Default/Cookies", b"good");
    stage.save(&directory).await;
    let mut other = wait_for_mount(&stage);
    let mounted = PathBuf::from(other.wait_for_line("profile").await);
    write(&mounted, "Default/Cookies", b"never saved");
    write(&mounted, "new", b"never saved");
    other.kill9();
    let mount = stage.mount().await;
    assert_eq!(mount.directory, mounted);
    assert_eq!(stage.slots(), [(slot(&mounted), vec![own_claim()])].into());
    stage.assert_head(&mounted).await;
}

#[tokio::test]
async fn mount_empty_session() {
    let stage = stage().await;
    let mount = stage.mount().await;
    let directory = mount.directory.clone();
    assert!(mount.snapshot.is_none() && mount.storage_state.is_none() && fs::read_dir(&directory).unwrap().next().is_none());
    write(&directory, "Default/Cookies", b"not saved");
    mount.discard().await.unwrap();
    assert_eq!(stage.get().await.head_snapshot_id, "");
    let mut mount = stage.mount().await;
    assert!(mount.directory == directory && mount.snapshot.is_none() && fs::read_dir(&directory).unwrap().next().is_none());
    write(&directory, "Default/Cookies", b"login");
    let saved = mount.save(SaveOptions::default()).await.unwrap().snapshot;
    assert_eq!((saved.parent_snapshot_id.as_str(), saved.head), ("", true));
    // A second save goes on from the first.
    write(&directory, "Default/Cookies", b"login again");
    assert_eq!(mount.save(SaveOptions::default()).await.unwrap().snapshot.parent_snapshot_id, saved.id);
    stage.assert_head(&directory).await;
}

#[tokio::test]
async fn mount_discard() {
    let stage = stage().await;
    let directory = stage.directory("p");
    for path in ["kept", "changed", "removed"] {
        write(&directory, path, path.as_bytes());
    }
    let head = stage.save(&directory).await.snapshot.id;
    // Changed, removed and added; or only added, so that everything else may stay.
    for all in [true, false] {
        let mount = stage.mount().await;
        let mounted = mount.directory.clone();
        write(&mounted, "new", b"x");
        if all {
            write(&mounted, "changed", b"CHANGED");
            fs::remove_file(mounted.join("removed")).unwrap();
        }
        mount.discard().await.unwrap();
        assert_eq!(stage.get().await.head_snapshot_id, head);
        let again = stage.mount().await;
        assert_eq!((&again.directory, again.snapshot.as_ref().map(|snapshot| &snapshot.id)), (&mounted, Some(&head)));
        stage.assert_head(&mounted).await;
    }
}

#[tokio::test]
async fn mount_live_browser_left_alone() {
    let stage = stage().await;
    let mut mount = stage.mount().await;
    let directory = mount.directory.clone();
    write(&directory, "f", b"x");
    mount.save(SaveOptions::default()).await.unwrap();
    mount.discard().await.unwrap();
    let held = lock(&directory);
    write(&directory, "f", b"what the browser writes");
    let before = profile_stamps(&directory);
    let second = stage.mount().await;
    assert_ne!(second.directory, directory);
    assert_eq!(profile_stamps(&directory), before);
    assert_eq!(stage.slots()[&slot(&directory)], ["claim.free"]);
    second.discard().await.unwrap();
    fs::remove_file(held).unwrap();
}

#[tokio::test]
async fn mount_other_language() {
    let stage = stage().await;
    let directory = stage.directory("p");
    write(&directory, "f", &noise(1, 50_000));
    stage.save(&directory).await;
    let made = stage.root().join("mounts/-").join(&stage.session).join("0a1b2c3d");
    fs::create_dir_all(&made).unwrap();
    stage.load(&made.join("profile")).await;
    // Leftovers of loads that the others' killed processes had begun.
    write(&made, ".profile.loading-0a1b2c3d/stage/f", b"half");
    write(&made, "storage-state.json", b"{}");
    let claim = made.join(format!("claim.{}.{}.1", host(), dead()));
    fs::write(&claim, "").unwrap();
    let mount = stage.mount().await;
    assert_eq!((&mount.directory, mount.content_bytes), (&made.join("profile"), 0));
    assert_eq!(stage.slots(), [("0a1b2c3d".to_owned(), vec![own_claim()])].into());
    assert!(!made.join(".profile.loading-0a1b2c3d").exists() && !made.join("storage-state.json").exists());
    mount.discard().await.unwrap();

    let foreign = format!("claim.{}.{}.1", if host() == "00000000" { "00000001" } else { "00000000" }, dead());
    fs::rename(made.join("claim.free"), made.join(&foreign)).unwrap();
    let mount = stage.mount().await;
    assert_ne!(mount.directory, made.join("profile"));
    assert_eq!(stage.slots()["0a1b2c3d"], [foreign]);
}

#[tokio::test]
async fn prune_mounts() {
    let stage = stage().await;
    let all = stage.root().join("mounts/-").join(&stage.session);
    let make = |name: &str, claim: &str, age: Duration| {
        write(&all.join(name), "profile/f", &[1; 1000]);
        if claim.is_empty() {
            aged(&all.join(name), age);
        } else {
            fs::write(all.join(name).join(claim), "").unwrap();
            aged(&all.join(name).join(claim), age);
        }
    };
    let (dead, foreign) = (format!("claim.{}.{}.1", host(), dead()), format!("claim.{}.1.1", if host() == "00000000" { "00000001" } else { "00000000" }));
    make("00000001", "claim.free", 8 * DAY);
    make("00000002", "claim.free", 6 * DAY);
    make("00000003", &dead, 8 * DAY);
    make("00000004", &dead, 6 * DAY);
    make("00000005", &foreign, 8 * DAY);
    make("00000006", "claim.free", 8 * DAY);
    make("00000007", "", Duration::from_mins(61));
    make("00000008", "", Duration::from_mins(50));
    make("00000009", &own_claim(), 8 * DAY);
    let held = lock(&all.join("00000006/profile"));
    // One that nobody made is nobody's to remove.
    fs::create_dir(all.join("elsewhere")).unwrap();
    fs::set_permissions(all.join("00000001/profile"), fs::Permissions::from_mode(0o500)).unwrap();

    let pruned = cloakroom_client::prune_mounts(7 * DAY, Some(&stage.root())).await.unwrap();
    assert_eq!(pruned, Pruned { slots: 3, bytes: 3000 });
    let left: Vec<_> = stage.slots().into_keys().collect();
    assert_eq!(left, ["00000002", "00000004", "00000005", "00000006", "00000008", "00000009", "elsewhere"]);
    assert_eq!(stage.slots()["00000006"], ["claim.free"]);
    fs::remove_file(held).unwrap();
    assert_eq!(cloakroom_client::prune_mounts(7 * DAY, Some(&stage.root())).await.unwrap().slots, 1, "its claim has the time it had");
    assert_eq!(cloakroom_client::prune_mounts(7 * DAY, Some(&stage.path("no such root"))).await.unwrap(), Pruned::default());
}
