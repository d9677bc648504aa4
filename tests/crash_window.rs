//! The window between a commit's object and its transaction: a daemon that dies there loses nothing, and nothing is told twice.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cloakroom_client::{
    Client, LoadOptions, NewSession, Options as ClientOptions, SaveOptions, Update,
    v1::{self, profile_service_client::ProfileServiceClient},
};
use cloakroom_tests::{
    daemon::{Daemon, Options},
    process::PATIENCE,
    redis::{self as server, Redis},
};
use futures::TryStreamExt as _;
use tonic::transport::Channel;

const SESSION: &str = "acct-1";
const UPLOAD: &str = "upload-of-the-dead-writer";

/// Where transactions are kept from being applied, while everything can still be read.
enum Metadata {
    Embedded,
    /// With the directory of the master key.
    Redis(Redis, tempfile::TempDir),
}

/// Holds transactions up until it is dropped or thawed.
enum Frozen {
    Embedded(rusqlite::Connection),
    Redis(redis::aio::MultiplexedConnection),
}

impl Metadata {
    async fn on_redis() -> Self {
        Self::Redis(Redis::start(server::Options::default()).await, tempfile::tempdir().unwrap())
    }

    async fn daemon(&self) -> Daemon {
        let Self::Redis(redis, keys) = self else { return Daemon::start().await };
        let key = keys.path().join("master.key");
        fs::write(&key, format!("{}\n", "5a".repeat(32))).unwrap();
        let set = |key: &str, value: String| (key.to_owned(), value);
        let env = vec![
            set("CLOAKROOM_METADATA_ENGINE", "redis".to_owned()),
            set("CLOAKROOM_METADATA_REDIS_URL", redis.url()),
            set("CLOAKROOM_KEYS_MASTER_KEY_FILE", key.display().to_string()),
        ];
        Daemon::start_with(Options { env, args: Vec::new() }).await
    }

    async fn freeze(&self, daemon: &Daemon) -> Frozen {
        match self {
            // Another process in the middle of a transaction.
            Self::Embedded => {
                let connection = rusqlite::Connection::open(daemon.data().join("metadata.sqlite")).unwrap();
                connection.busy_timeout(PATIENCE).unwrap();
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                Frozen::Embedded(connection)
            }
            // A master that misses its replica refuses to write.
            Self::Redis(redis, _) => {
                let client = redis::Client::open(redis.url()).unwrap();
                let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                configure(&mut connection, "1").await;
                Frozen::Redis(connection)
            }
        }
    }
}

impl Frozen {
    async fn thaw(self) {
        match self {
            Self::Embedded(connection) => connection.execute_batch("ROLLBACK").unwrap(),
            Self::Redis(mut connection) => configure(&mut connection, "0").await,
        }
    }
}

async fn configure(connection: &mut redis::aio::MultiplexedConnection, replicas: &str) {
    let () = redis::cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg(replicas).query_async(connection).await.unwrap();
}

/// The object of a commit, once it is there.
async fn object(daemon: &Daemon, name: &str) -> PathBuf {
    let wait = async {
        loop {
            if let Some(found) = find(&daemon.data().join("blobs/c"), name) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the object of the commit in time")
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.map(Result::unwrap).find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { (entry.file_name() == name).then_some(path) }
    })
}

struct Scene {
    daemon: Daemon,
    client: Client,
    work: tempfile::TempDir,
}

impl Scene {
    /// A session with one snapshot that two workers hold; the first one's next save got as far as its object when the daemon died.
    async fn new(metadata: &Metadata, etag: impl AsyncFnOnce(&Client) -> String) -> Self {
        let mut daemon = metadata.daemon().await;
        let client = Client::connect(&daemon.address(), ClientOptions::default()).unwrap();
        let work = tempfile::tempdir().unwrap();
        let (first, second) = (work.path().join("first"), work.path().join("second"));
        client.sessions().create(NewSession { id: SESSION.to_owned(), business_id: "acme".to_owned(), ..NewSession::default() }).await.unwrap();
        fs::create_dir(&first).unwrap();
        fs::write(first.join("cookies"), "none").unwrap();
        client.save(SESSION, &first, SaveOptions::default()).await.unwrap();
        client.load(SESSION, &second, LoadOptions::default()).await.unwrap();

        fs::write(first.join("cookies"), "of the dead writer").unwrap();
        let options = SaveOptions { upload_id: Some(UPLOAD.to_owned()), etag: etag(&client).await, ..SaveOptions::default() };
        let frozen = metadata.freeze(&daemon).await;
        let (saver, directory) = (client.clone(), first.clone());
        let saving = tokio::spawn(async move { saver.save(SESSION, &directory, options).await });
        object(&daemon, "0000000000000002").await;
        daemon.kill9();
        saving.abort();
        frozen.thaw().await;
        daemon.restart().await;
        let head = client.sessions().get(SESSION).await.unwrap().value.head_snapshot_id;
        let snapshots: Vec<_> = client.snapshots(SESSION).try_collect().await.unwrap();
        assert_eq!((snapshots.len(), head), (1, snapshots[0].id.clone()), "the object alone is no commit");
        fs::write(second.join("cookies"), "of the second writer").unwrap();
        Self { daemon, client, work }
    }

    fn second(&self) -> PathBuf {
        self.work.path().join("second")
    }

    async fn content(&self) -> String {
        let place = self.work.path().join("loaded");
        self.client.load(SESSION, &place, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
        fs::read_to_string(place.join("cookies")).unwrap()
    }
}

/// A restore that got as far as its object when the daemon died: its repetition finishes it, or the next writer does.
async fn restore_rolled_forward(metadata: Metadata, repeated: bool) {
    let mut daemon = metadata.daemon().await;
    let client = Client::connect(&daemon.address(), ClientOptions::default()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let place = work.path().join("profile");
    client.sessions().create(NewSession { id: SESSION.to_owned(), business_id: "acme".to_owned(), ..NewSession::default() }).await.unwrap();
    fs::create_dir(&place).unwrap();
    let mut saved = Vec::new();
    for (content, state) in [("good", r#"{"cookies":[],"origins":[],"of":"good"}"#), ("bad", r#"{"cookies":[],"origins":[],"of":"bad"}"#)] {
        fs::write(place.join("cookies"), content).unwrap();
        let options = SaveOptions { storage_state: Some(state.into()), ..SaveOptions::default() };
        saved.push(client.save(SESSION, &place, options).await.unwrap().snapshot.id);
    }
    let undo = || v1::RestoreSnapshotRequest { session_id: SESSION.to_owned(), request_id: "undo".to_owned(), ..v1::RestoreSnapshotRequest::default() };
    let stub = async |daemon: &Daemon| ProfileServiceClient::new(Channel::from_shared(daemon.url()).unwrap().connect().await.unwrap());

    let frozen = metadata.freeze(&daemon).await;
    let mut calls = stub(&daemon).await;
    let restoring = tokio::spawn(async move { calls.restore_snapshot(undo()).await });
    object(&daemon, "0000000000000003").await;
    daemon.kill9();
    restoring.abort();
    frozen.thaw().await;
    daemon.restart().await;
    let head = async || client.sessions().get(SESSION).await.unwrap().value.head_snapshot_id;
    assert_eq!(head().await, saved[1], "the object alone is no restore");

    if !repeated {
        fs::write(place.join("cookies"), "later").unwrap();
        let refused = client.save(SESSION, &place, SaveOptions::default()).await.unwrap_err();
        assert_eq!((refused.reason(), head().await), ("PARENT_NOT_HEAD", saved[0].clone()), "{refused}");
    }
    let restored = stub(&daemon).await.restore_snapshot(undo()).await.unwrap().into_inner();
    assert_eq!((restored.snapshot.unwrap().id, restored.former_head_snapshot_id, head().await), (saved[0].clone(), saved[1].clone(), saved[0].clone()));
    let place = work.path().join("loaded");
    let loaded = client.load(SESSION, &place, LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
    assert_eq!((fs::read_to_string(place.join("cookies")).unwrap(), loaded.snapshot.id), ("good".to_owned(), saved[0].clone()));
    let state = client.sessions().storage_state().get(SESSION).await.unwrap().value;
    assert!(String::from_utf8_lossy(&state.json).contains(r#""of":"good""#));
    assert!(find(&daemon.data().join("blobs/c"), "0000000000000004").is_none(), "one object is all that a restore writes");
}

/// Nothing speaks against the dead writer's save, so the next writer completes it.
async fn rolled_forward(metadata: Metadata) {
    let scene = Scene::new(&metadata, async |_| String::new()).await;
    let refused = scene.client.save(SESSION, scene.second(), SaveOptions::default()).await.unwrap_err();
    assert_eq!(refused.reason(), "PARENT_NOT_HEAD", "{refused}");
    let made = scene.client.save_status(SESSION, UPLOAD).await.unwrap().value.expect("the dead writer's save is committed");
    assert_eq!(scene.client.sessions().get(SESSION).await.unwrap().value.head_snapshot_id, made.id);
    assert_eq!((made.sequence, scene.content().await.as_str()), (2, "of the dead writer"));
}

/// The dead writer's condition no longer holds, so its slot is passed over and marked void for good.
async fn voided(metadata: Metadata) {
    let scene = Scene::new(&metadata, async |client| client.sessions().get(SESSION).await.unwrap().value.etag).await;
    let labels = [("moved".to_owned(), "on".to_owned())].into();
    scene.client.sessions().update(SESSION, Update { labels: Some(labels), ..Update::default() }).await.unwrap();
    let saved = scene.client.save(SESSION, scene.second(), SaveOptions::default()).await.unwrap();
    assert_eq!((saved.snapshot.sequence, scene.content().await.as_str()), (3, "of the second writer"));
    object(&scene.daemon, "0000000000000002.void").await;
    assert!(scene.client.save_status(SESSION, UPLOAD).await.unwrap().value.is_none());
}

#[tokio::test]
async fn a_dead_writers_commit_is_rolled_forward_on_the_embedded_engine() {
    rolled_forward(Metadata::Embedded).await;
}

#[tokio::test]
async fn a_dead_writers_commit_is_rolled_forward_on_redis() {
    rolled_forward(Metadata::on_redis().await).await;
}

#[tokio::test]
async fn a_dead_writers_commit_that_cannot_hold_any_more_is_void_on_the_embedded_engine() {
    voided(Metadata::Embedded).await;
}

#[tokio::test]
async fn a_dead_writers_commit_that_cannot_hold_any_more_is_void_on_redis() {
    voided(Metadata::on_redis().await).await;
}

#[tokio::test]
async fn a_dead_writers_restore_is_rolled_forward_on_the_embedded_engine() {
    restore_rolled_forward(Metadata::Embedded, false).await;
}

#[tokio::test]
async fn a_dead_writers_restore_is_rolled_forward_on_redis() {
    restore_rolled_forward(Metadata::on_redis().await, false).await;
}

#[tokio::test]
async fn a_restore_is_finished_by_its_repetition_on_the_embedded_engine() {
    restore_rolled_forward(Metadata::Embedded, true).await;
}

#[tokio::test]
async fn a_restore_is_finished_by_its_repetition_on_redis() {
    restore_rolled_forward(Metadata::on_redis().await, true).await;
}
