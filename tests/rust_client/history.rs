//! Undo, pins, deletions and differences, on both metadata engines and through the command line.

use cloakroom_client::{Client, Conditions, EventKind, LoadOptions, Options, RestoreOptions, SaveOptions, WatchFrom, WatchOptions, v1};
use cloakroom_tests::{
    daemon::Daemon,
    process::PATIENCE,
    redis::{self as server, Redis},
};
use futures::TryStreamExt as _;
use rusqlite::Connection;

use super::{
    Stage, assert_same,
    command_line::{fine, run},
    new, stage, write,
};

/// A cookie database as Chromium would leave it, with one cookie of this value and one of this name.
fn cookies(stage: &Stage, directory: &std::path::Path, value: &str, other: &str) {
    let file = stage.path("made.sqlite");
    let _ = std::fs::remove_file(&file);
    let connection = Connection::open(&file).unwrap();
    let table = "CREATE TABLE cookies(host_key TEXT, name TEXT, value TEXT, encrypted_value BLOB, path TEXT, expires_utc INTEGER, last_access_utc INTEGER)";
    connection.execute(table, []).unwrap();
    for (name, value) in [("sid", value), (other, "same")] {
        connection.execute("INSERT INTO cookies VALUES('login.test', ?1, '', ?2, '/', 5, random())", (name, value.as_bytes())).unwrap();
    }
    drop(connection);
    write(directory, "Default/Cookies", &std::fs::read(&file).unwrap());
}

/// Two snapshots of one directory, the second one bad.
async fn two(stage: &Stage) -> [String; 2] {
    let directory = stage.directory("p");
    cookies(stage, &directory, "good-secret", "old");
    write(&directory, "Default/kept", b"kept");
    let state = |of: &str| Some(format!(r#"{{"cookies":[],"origins":[],"of":"{of}"}}"#).into());
    let good = stage.client.save(&stage.session, &directory, SaveOptions { storage_state: state("good"), ..SaveOptions::default() }).await.unwrap();
    cookies(stage, &directory, "bad-secret", "new");
    write(&directory, "Default/added", &[7; 5000]);
    let bad = stage.client.save(&stage.session, &directory, SaveOptions { storage_state: state("bad"), ..SaveOptions::default() }).await.unwrap();
    [good.snapshot.id, bad.snapshot.id]
}

async fn ids(client: &Client, session: &str, deleted: bool) -> Vec<String> {
    let listed = if deleted { client.all_snapshots(session) } else { client.snapshots(session) };
    listed.map_ok(|snapshot| snapshot.id).try_collect().await.unwrap()
}

/// The first change of a session after a revision.
async fn next_change(client: &Client, session: &str, since: i64) -> v1::Change {
    let selectors = vec![v1::Selector { session_id: session.to_owned(), ..v1::Selector::default() }];
    let mut watch = client.watch(WatchOptions { selectors, start: WatchFrom::Revision(since), bookmark_interval: None }).unwrap();
    loop {
        let event = tokio::time::timeout(PATIENCE, watch.next()).await.expect("a change in time").unwrap().unwrap();
        if let EventKind::Changes(changes) = event.kind {
            return changes[0].clone();
        }
    }
}

async fn undone_and_redone(stage: &Stage) {
    let [good, bad] = two(stage).await;
    let (client, session) = (&stage.client, &stage.session);
    let since = stage.get().await.revision;
    let request = RestoreOptions { conditions: Conditions { request_id: "undo".to_owned(), ..Conditions::default() }, ..RestoreOptions::default() };
    let restored = client.restore(session, request.clone()).await.unwrap();
    assert_eq!((&restored.snapshot.id, &restored.former_head_snapshot_id, restored.snapshot.head), (&good, &bad, true));
    let change = next_change(client, session, since).await;
    assert_eq!((change.kind(), &change.snapshot_id, change.revision), (v1::ChangeKind::ProfileRestored, &good, restored.revision));
    assert_eq!(stage.get().await.value.etag, restored.session_etag);
    assert!(String::from_utf8_lossy(&client.sessions().storage_state().get(session).await.unwrap().json).contains("good"));
    let loaded = client.load(session, stage.path("p"), LoadOptions { replace: true, ..LoadOptions::default() }).await.unwrap();
    assert_eq!((loaded.base_snapshot_id, loaded.snapshot.id), (bad.clone(), good.clone()), "only the difference travels");
    client.load(session, stage.path("fresh"), LoadOptions::default()).await.unwrap();
    assert_same(&stage.path("p"), &stage.path("fresh"));

    assert_eq!(client.restore(session, request).await.unwrap().revision, restored.revision, "a repetition");
    let wrong = RestoreOptions { head_snapshot_id: bad.clone(), ..RestoreOptions::default() };
    stage.refused("PARENT_NOT_HEAD", client.restore(session, wrong)).await;
    let stale = RestoreOptions { conditions: Conditions { etag: "\"1\"".to_owned(), ..Conditions::default() }, ..RestoreOptions::default() };
    stage.refused("ETAG_MISMATCH", client.restore(session, stale)).await;
    stage.refused("SNAPSHOT_NOT_FOUND", client.restore(session, RestoreOptions::default())).await;
    let redone = client.restore(session, RestoreOptions { snapshot_id: bad.clone(), ..RestoreOptions::default() }).await.unwrap();
    assert_eq!((redone.snapshot.id, redone.former_head_snapshot_id), (bad, good));
}

async fn marked(stage: &Stage) {
    let [good, bad] = two(stage).await;
    let (client, session) = (&stage.client, &stage.session);
    let pinned = client.pin(session, &good, "the good one", Conditions::default()).await.unwrap();
    assert_eq!((pinned.pin_time.is_some(), pinned.pin_note.as_str()), (true, "the good one"));
    stage.refused("SNAPSHOT_HELD", client.delete_snapshot(session, &good, Conditions::default())).await;
    stage.refused("SNAPSHOT_HELD", client.delete_snapshot(session, &bad, Conditions::default())).await;
    client.unpin(session, &good, Conditions::default()).await.unwrap();
    let since = stage.get().await.revision;
    let deleted = client.delete_snapshot(session, &good, Conditions::default()).await.unwrap();
    assert!(deleted.delete_time.is_some() && deleted.expire_time.is_some());
    let change = next_change(client, session, since).await;
    assert_eq!((change.kind(), &change.snapshot_id), (v1::ChangeKind::SnapshotChanged, &good));
    assert_eq!((ids(client, session, false).await, ids(client, session, true).await), (vec![bad.clone()], vec![bad.clone(), good.clone()]));
    stage.refused("SNAPSHOT_DELETED", client.snapshot(session, &good)).await;
    stage.refused("SNAPSHOT_DELETED", client.restore(session, RestoreOptions { snapshot_id: good.clone(), ..RestoreOptions::default() })).await;
    client.undelete_snapshot(session, &good, Conditions::default()).await.unwrap();
    assert_eq!(ids(client, session, false).await, [bad, good]);
}

async fn compared(stage: &Stage) {
    let [good, bad] = two(stage).await;
    let diff = stage.client.diff(&stage.session, "", "").await.unwrap();
    assert_eq!((diff.snapshot.id.as_str(), diff.base.as_ref().unwrap().id.as_str()), (bad.as_str(), good.as_str()));
    let entry = |one: &v1::EntryDifference| (one.kind(), one.after.as_ref().unwrap().path.clone());
    let shown: Vec<_> = diff.differences.iter().map(entry).filter(|(_, path)| path != "Default").collect();
    let added = (v1::DifferenceKind::Added, "Default/added".to_owned());
    assert_eq!(shown, [(v1::DifferenceKind::Changed, "Default/Cookies".to_owned()), added]);
    assert_eq!((diff.added, diff.removed), (1, 0));
    let [database] = &diff.cookies[..] else { panic!("one database") };
    let told: Vec<_> = database.cookies.iter().map(|one| (one.kind(), one.host.as_str(), one.name.as_str(), one.value_changed)).collect();
    let cookie = |kind, name, changed| (kind, "login.test", name, changed);
    use v1::DifferenceKind::{Added, Changed, Removed};
    assert_eq!(told, [cookie(Added, "new", false), cookie(Removed, "old", false), cookie(Changed, "sid", true)]);
    assert!(!format!("{diff:?}").contains("secret"), "never a value");
    assert!(stage.client.diff(&stage.session, &bad, &bad).await.unwrap().differences.is_empty());
}

/// A stage on Redis.
async fn on_redis() -> (Stage, Redis, tempfile::TempDir) {
    let redis = Redis::start(server::Options::default()).await;
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("master.key");
    std::fs::write(&key, format!("{}\n", "5a".repeat(32))).unwrap();
    let set = |key: &str, value: String| (key.to_owned(), value);
    let env = vec![
        set("CLOAKROOM_METADATA_ENGINE", "redis".to_owned()),
        set("CLOAKROOM_METADATA_REDIS_URL", redis.url()),
        set("CLOAKROOM_KEYS_MASTER_KEY_FILE", key.display().to_string()),
    ];
    let daemon = Daemon::start_with(cloakroom_tests::daemon::Options { env, args: Vec::new() }).await;
    (Stage::on(std::sync::Arc::new(daemon)).await, redis, keys)
}

#[tokio::test]
async fn undo_and_redo() {
    undone_and_redone(&stage().await).await;
}

#[tokio::test]
async fn pin_delete_undelete() {
    marked(&stage().await).await;
}

#[tokio::test]
async fn diff_names_files_and_cookies() {
    compared(&stage().await).await;
}

/// Beside the scenarios.
mod beside {
    use super::*;

    #[tokio::test]
    async fn snapshots_can_be_handled_on_redis() {
        let (stage, _redis, _keys) = on_redis().await;
        undone_and_redone(&stage).await;
        let more = async |what: &str| Stage {
            client: Client::connect(&stage.daemon.address(), Options::default()).unwrap(),
            session: stage.client.sessions().create(new(what)).await.unwrap().value.id,
            daemon: std::sync::Arc::clone(&stage.daemon),
            business: what.to_owned(),
            home: tempfile::tempdir().unwrap(),
        };
        marked(&more("marks").await).await;
        compared(&more("diffs").await).await;
    }

    #[tokio::test]
    async fn command_line_undoes_pins_and_compares() {
        let stage = stage().await;
        let [good, bad] = two(&stage).await;
        let id = stage.session.as_str();
        let shown = fine(&stage, &["diff", id]).await.out;
        for line in [
            "~ Default/Cookies",
            "+ Default/added  4.8 KiB",
            "cookies in Default/Cookies:",
            "  + login.test new",
            "  - login.test old",
            "  ~ login.test sid  another value",
        ] {
            assert!(shown.lines().any(|shown| shown.starts_with(line)), "{line} in {shown}");
        }
        assert!(!shown.contains("secret"));
        let json = fine(&stage, &["diff", id, &good[..8], &bad, "--json"]).await.json().remove(0);
        assert_eq!((json["added_count"].as_i64(), json["cookie_databases"][0]["comparison"].as_str()), (Some(1), Some("KNOWN")));
        let undone = fine(&stage, &["undo", id]).await.out;
        assert!(undone.contains(&good) && undone.contains(&format!("cloakroom undo {id} --to {bad}")), "{undone}");
        let again = fine(&stage, &["undo", id, "--to", &good[..6]]).await.out;
        assert!(again.contains("already"), "{again}");
        let json = fine(&stage, &["undo", id, "--to", &bad, "--json"]).await.json().remove(0);
        assert_eq!((json["snapshot"]["id"].as_str(), json["former_head_snapshot_id"].as_str()), (Some(bad.as_str()), Some(good.as_str())));
        fine(&stage, &["pin", id, &good[..8], "--note", "the good one"]).await;
        assert!(fine(&stage, &["snapshots", id]).await.out.contains("pinned: the good one"));
        fine(&stage, &["unpin", id, &good]).await;
        let put_away = fine(&stage, &["delete-snapshot", id, &good[..6]]).await.out;
        assert!(put_away.contains(&format!("cloakroom undelete-snapshot {id} {good}")), "{put_away}");
        assert!(!fine(&stage, &["snapshots", id]).await.out.contains(&good));
        assert!(fine(&stage, &["snapshots", id, "--deleted"]).await.out.lines().any(|line| line.contains(&good) && line.contains("deleted")));
        let refused = run(&stage, &["undo", id, "--to", &good]).await;
        assert!(refused.error(3).contains("was deleted"), "{}", refused.err);
        let back = fine(&stage, &["undelete-snapshot", id, &good[..6], "--json"]).await.json().remove(0);
        assert_eq!(back["snapshot"]["id"].as_str(), Some(good.as_str()));
        assert!(fine(&stage, &["snapshots", id]).await.out.contains(&good));
    }
}
