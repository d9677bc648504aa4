//! The Rust client against a real daemon: one test for each scenario of `client/scenarios.md`, and the command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, FileTimes, Permissions},
    future::Future,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use cloakroom_client::{Answer, Client, Error, LoadOptions, NewSession, Options, Result, SaveOptions, Saved, v1};
use cloakroom_tests::daemon::Daemon;
use tempfile::TempDir;

mod command_line;
mod exec;
mod history;
mod mounts;
mod profiles;
mod raw;
mod recovery;
mod sessions;
mod watch;

/// One daemon for the scenarios that do not hurt it, ended by the last that uses it.
static SHARED: tokio::sync::Mutex<Weak<Daemon>> = tokio::sync::Mutex::const_new(Weak::new());
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What a scenario starts from: an empty session of a business of its own, and a directory.
struct Stage {
    daemon: Arc<Daemon>,
    client: Client,
    session: String,
    business: String,
    home: TempDir,
}

fn client_of(daemon: &Daemon) -> Client {
    Client::connect(&daemon.address(), Options::default()).unwrap()
}

/// A name that no other scenario has.
fn name(what: &str) -> String {
    format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn shared() -> Arc<Daemon> {
    let mut shared = SHARED.lock().await;
    if let Some(daemon) = shared.upgrade() {
        return daemon;
    }
    let daemon = Arc::new(Daemon::start().await);
    *shared = Arc::downgrade(&daemon);
    daemon
}

async fn stage() -> Stage {
    Stage::on(shared().await).await
}

impl Stage {
    async fn on(daemon: Arc<Daemon>) -> Self {
        let (client, business) = (client_of(&daemon), name("business"));
        let session = client.sessions().create(new(&business)).await.unwrap().value.id;
        Self { daemon, client, session, business, home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// An empty directory.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    async fn get(&self) -> Answer<v1::Session> {
        self.client.sessions().get(&self.session).await.unwrap()
    }

    async fn save(&self, directory: &Path) -> Saved {
        self.client.save(&self.session, directory, SaveOptions::default()).await.unwrap()
    }

    async fn load(&self, directory: &Path) {
        self.client.load(&self.session, directory, LoadOptions::default()).await.unwrap();
    }

    /// The session's etag and head as before, and the daemon still answering.
    async fn refused<T: std::fmt::Debug>(&self, reason: &str, call: impl Future<Output = Result<T>>) -> Error {
        let before = self.get().await;
        let error = call.await.expect_err(reason);
        assert_eq!(error.reason(), reason, "{error}");
        let after = self.get().await;
        assert_eq!((&after.etag, &after.head_snapshot_id), (&before.etag, &before.head_snapshot_id));
        error
    }
}

fn new(business: &str) -> NewSession {
    NewSession { business_id: business.to_owned(), ..NewSession::default() }
}

fn write(directory: &Path, path: &str, bytes: &[u8]) {
    let at = directory.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, bytes).unwrap();
}

/// Bytes that do not shrink, the same for the same seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn set_mtime(path: &Path, mtime_ns: i64) {
    let distance = Duration::from_nanos(mtime_ns.unsigned_abs());
    let time = if mtime_ns < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance };
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Everything in a directory by its path, as the file system tells it: mode and time in nanoseconds, and what is in it.
fn contents(directory: &Path) -> BTreeMap<String, (u32, i64, Vec<u8>)> {
    let (mut found, mut pending) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(at) = pending.pop() {
        for item in fs::read_dir(at).unwrap() {
            let path = item.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let mtime = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            let facts = if metadata.is_symlink() {
                (0o120_777, 0, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else if metadata.is_dir() {
                pending.push(path.clone());
                (metadata.mode(), mtime, Vec::new())
            } else {
                (metadata.mode(), mtime, fs::read(&path).unwrap())
            };
            found.insert(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned(), facts);
        }
    }
    found
}

fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (contents(one), contents(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (path, facts) in &one {
        assert!(*facts == other[path], "{path} differs: mode {:o} and {:o}, time {} and {}", facts.0, other[path].0, facts.1, other[path].1);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn there_is_one_test_for_each_scenario() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/scenarios.md")).unwrap();
    let wanted: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("`:")).map(|(name, _)| name.replace('-', "_")).collect();
    let sources = [
        include_str!("rust_client/sessions.rs"),
        include_str!("rust_client/profiles.rs"),
        include_str!("rust_client/raw.rs"),
        include_str!("rust_client/watch.rs"),
        include_str!("rust_client/history.rs"),
        include_str!("rust_client/mounts.rs"),
    ];
    let tests = sources.iter().flat_map(|source| source.split("#[tokio::test]\nasync fn ").skip(1)).filter_map(|rest| rest.split_once('('));
    let found: BTreeSet<_> = tests.map(|(name, _)| name.to_owned()).collect();
    assert!(wanted.len() > 50, "the page lists {} scenarios", wanted.len());
    assert_eq!(found, wanted);
}
