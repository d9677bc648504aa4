//! When a new history begins, and that no revision is ever issued twice.

use cloakroom_server::store::metadata::{Head, Metadata, Scope};
use cloakroom_tests::redis::{Options, Redis};

use super::{ZERO, apply, eventually, lead, ns, raw, send, store, write};

const LEAP: i64 = 10_000_000;

#[tokio::test]
async fn a_namespace_begins_ahead_of_the_clock_and_then_follows_it() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let first = apply(&store, write("a", "1")).await;
    let second = apply(&store, write("a", "2")).await;
    assert_eq!(lead(&first), LEAP);
    assert_eq!(second.revision.0, first.revision.0 + 1);
    // The clock catches up; a revision is then the time itself.
    send(&server.url(), &format!("HSET cloakroom:{{team-7}}:m rev {} low 0", first.now.0)).await;
    send(&server.url(), "DEL cloakroom:{team-7}:log:sessions").await;
    let other = super::store(&server.url()).await;
    let third = apply(&other, write("b", "1")).await;
    assert_eq!(lead(&third), 0);
}

async fn head(store: &impl Metadata) -> Head {
    store.history(&ns(), Scope::Sessions).await.unwrap()
}

#[tokio::test]
async fn asking_begins_no_second_history_and_commits_nothing() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let asked = head(&store).await;
    assert_eq!((asked.revision, asked.last), (ZERO, ZERO));
    assert_eq!(head(&store).await, asked);
    assert!(store.namespaces().await.unwrap().is_empty());
    let applied = apply(&store, write("a", "1")).await;
    assert!(lead(&applied) > LEAP - 1_000_000, "the first revision of the history is ahead of the clock");
    let now = head(&store).await;
    assert_eq!((now.history, now.revision, now.last), (asked.history, applied.revision, applied.revision));
}

/// A restart of the server may have lost what was acknowledged: a new history, also for one who only asks, and the log is gone with the old one.
#[tokio::test]
async fn a_restart_is_a_new_history() {
    let mut server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let before = apply(&store, write("a", "1")).await;
    let old = head(&store).await;
    server.stop().await;
    server.restart().await;
    eventually(async || store.probe().await.is_ok()).await;
    let new = head(&store).await;
    assert_ne!(new.history, old.history);
    assert_eq!((new.revision, new.last), (before.revision, ZERO));
    assert_eq!(head(&store).await, new, "noticed once");
    assert_eq!(store.events(&ns(), Scope::Sessions, ZERO, 10).await.unwrap().entries, []);
    let after = apply(&store, write("b", "1")).await;
    assert!(after.revision > before.revision);
    assert!(after.revision.0 >= new_base(&new) && lead(&after) > LEAP - 5_000_000);
    let page = store.events(&ns(), Scope::Sessions, ZERO, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| (entry.revision, entry.previous)).collect::<Vec<_>>(), [(after.revision, ZERO)]);
    assert_eq!(super::live(&store, "a").await.unwrap().revision, before.revision, "what was kept is still there");
}

/// The revision from which a history starts is in its name.
fn new_base(head: &Head) -> i64 {
    head.history.0.rsplit('.').next().unwrap().parse().unwrap()
}

/// FLUSHALL leaves the server's replication id: the missing namespace tells it. The same daemon writes on, and its namespace is listed again.
#[tokio::test]
async fn wiped_data_is_a_new_history_with_higher_revisions() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let old = head(&store).await;
    let before = apply(&store, write("a", "1")).await;
    send(&server.url(), "FLUSHALL").await;
    let after = apply(&store, write("a", "1")).await;
    assert!(after.revision > before.revision);
    assert!(lead(&after) >= LEAP);
    assert_ne!(head(&store).await.history, old.history);
    assert_eq!(store.namespaces().await.unwrap(), [ns()]);
}

/// The same when another daemon comes first, which knows nothing of what there was.
#[tokio::test]
async fn wiped_data_is_a_new_history_also_to_a_daemon_that_knows_nothing() {
    let server = Redis::start(Options::default()).await;
    let (store, other) = (store(&server.url()).await, super::store(&server.url()).await);
    let mut highest = ZERO;
    for i in 0..50 {
        highest = apply(&store, write("a", &i.to_string())).await.revision;
    }
    send(&server.url(), "FLUSHALL").await;
    assert!(apply(&other, write("a", "1")).await.revision > highest);
}

/// Data that lies behind what this daemon saw committed was rolled back, whatever the replication id says.
#[tokio::test]
async fn data_that_was_rolled_back_is_a_new_history() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    apply(&store, write("a", "1")).await;
    let meta = "cloakroom:{team-7}:m";
    let saved: Vec<u8> = redis::cmd("DUMP").arg(meta).query_async(&mut raw(&server.url()).await).await.unwrap();
    let lost = apply(&store, write("a", "2")).await;
    let old = head(&store).await;
    let () = redis::cmd("RESTORE").arg(meta).arg(0).arg(saved).arg("REPLACE").query_async(&mut raw(&server.url()).await).await.unwrap();
    let new = head(&store).await;
    assert_ne!(new.history, old.history);
    assert_eq!(head(&store).await, new, "noticed once");
    assert!(apply(&store, write("a", "3")).await.revision > lost.revision);
}

/// A fail-over that loses acknowledged changes: the replica is cut off, the master goes on, the replica is promoted.
#[tokio::test]
async fn a_promoted_replica_is_a_new_history_with_higher_revisions() {
    let master = Redis::start(Options::default()).await;
    let replica = Redis::start(Options::default()).await;
    let follow = format!("REPLICAOF 127.0.0.1 {}", master.port());
    send(&replica.url(), &follow).await;
    let on_master = store(&master.url()).await;
    let kept = apply(&on_master, write("kept", "1")).await;
    let count = || async {
        let mut connection = raw(&replica.url()).await;
        redis::cmd("EXISTS").arg("cloakroom:{team-7}:r:kept").query_async::<i64>(&mut connection).await.unwrap() == 1
    };
    eventually(count).await;
    send(&replica.url(), "REPLICAOF NO ONE").await;
    let old = head(&on_master).await;
    let lost = apply(&on_master, write("lost", "1")).await;
    let on_replica = store(&replica.url()).await;
    let new = head(&on_replica).await;
    assert_ne!(new.history, old.history);
    assert!(super::absent(&on_replica, "lost").await);
    assert_eq!(super::live(&on_replica, "kept").await.unwrap().revision, kept.revision);
    assert!(apply(&on_replica, write("lost", "2")).await.revision > lost.revision);
}
