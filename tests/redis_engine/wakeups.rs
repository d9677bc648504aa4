//! Wake-ups: soon in the ordinary case, within about a second when a message is lost.

use std::{sync::Arc, time::Duration};

use cloakroom_server::{
    clock::monotonic,
    model::{id::Namespace, time::Revision},
    store::{
        metadata::{Metadata, Outcome},
        redis::{RedisConfig, RedisStore},
    },
};
use cloakroom_tests::redis::{Cluster, Options, Redis};
use tokio::sync::watch;

use super::{apply, eventually, ns, send, store, write};

/// How long until the watcher has heard of a revision.
async fn heard(watcher: &mut watch::Receiver<Revision>, revision: Revision) -> Duration {
    let started = monotonic();
    let hear = watcher.wait_for(|known| *known >= revision);
    tokio::time::timeout(Duration::from_secs(10), hear).await.expect("a wake-up within ten seconds").unwrap();
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_daemons_commit_wakes_at_once() {
    let server = Redis::start(Options::default()).await;
    let (writer, watching) = (store(&server.url()).await, store(&server.url()).await);
    let before = apply(&writer, write("a", "0")).await;
    let mut watcher = watching.watch(&ns()).await.unwrap();
    assert_eq!(*watcher.borrow_and_update(), before.revision, "the watcher knows what is committed");
    let mut all = Vec::new();
    for i in 0..20 {
        let applied = apply(&writer, write("a", &i.to_string())).await;
        all.push(heard(&mut watcher, applied.revision).await);
    }
    all.sort();
    assert!(all[10] < Duration::from_millis(100), "by pub/sub, not by the poll: {all:?}");
}

/// The subscription is lost again and again; no watcher stays deaf, and soon messages arrive at once again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_survive_the_loss_of_the_subscription() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let mut watcher = store.watch(&ns()).await.unwrap();
    for i in 0..5 {
        send(&server.url(), "CLIENT KILL TYPE pubsub").await;
        let applied = apply(&store, write("a", &i.to_string())).await;
        let waited = heard(&mut watcher, applied.revision).await;
        assert!(waited < Duration::from_millis(1500), "{waited:?}");
    }
    let listening = || async {
        let redis::Value::Array(counts) = send(&server.url(), "PUBSUB NUMSUB cloakroom:{team-7}:w").await else { panic!("an array") };
        counts[1] == redis::Value::Int(1)
    };
    eventually(listening).await;
    let applied = apply(&store, write("a", "again")).await;
    assert!(heard(&mut watcher, applied.revision).await < Duration::from_millis(300));
}

/// Messages that never arrive: the namespace itself is asked once a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_message_delays_by_a_second_at_most() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let mut watcher = store.watch(&ns()).await.unwrap();
    for i in 0..3 {
        // Nobody may publish: the script's PUBLISH fails, its transaction does not.
        send(&server.url(), "ACL SETUSER default resetchannels").await;
        let applied = apply(&store, write("a", &i.to_string())).await;
        let waited = heard(&mut watcher, applied.revision).await;
        assert!(waited < Duration::from_millis(1500), "{waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_come_again_after_a_restart_of_the_server() {
    let mut server = Redis::start(Options::default()).await;
    let store = Arc::new(store(&server.url()).await);
    let mut watcher = store.watch(&ns()).await.unwrap();
    server.kill9();
    server.restart().await;
    eventually(async || store.commit(&ns(), write("a", "1").into()).await.is_ok()).await;
    let applied = apply(&store, write("a", "2")).await;
    assert!(heard(&mut watcher, applied.revision).await < Duration::from_millis(1500));
}

/// Sharded pub/sub, a namespace per master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_master_of_a_cluster_wakes() {
    let mut cluster = Cluster::start(Options::default()).await;
    let config = RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() };
    let (writer, watching) = (RedisStore::connect(config.clone()).await.unwrap(), RedisStore::connect(config).await.unwrap());
    let names: Vec<_> = (0..12).map(|i| Namespace::parse("namespace", &format!("n{i}")).unwrap()).collect();
    let mut watchers = Vec::new();
    for name in &names {
        watchers.push(watching.watch(name).await.unwrap());
    }
    let mut all = Vec::new();
    for round in 0..2 {
        for (name, watcher) in names.iter().zip(&mut watchers) {
            let Outcome::Applied(applied) = writer.commit(name, write("a", "1").into()).await.unwrap() else { panic!("refused") };
            let waited = heard(watcher, applied.revision).await;
            if round == 0 {
                all.push(waited);
            }
            assert!(waited < Duration::from_millis(1500), "{waited:?}");
        }
        for node in cluster.nodes() {
            send(&node.url(), "CLIENT KILL TYPE pubsub").await;
        }
    }
    all.sort();
    assert!(all[6] < Duration::from_millis(100), "by pub/sub, not by the poll: {all:?}");
}

/// Subscriptions that nobody needs any more are ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_watches_is_not_subscribed_to() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let count = || async {
        let redis::Value::Array(channels) = send(&server.url(), "PUBSUB CHANNELS").await else { panic!("an array") };
        channels.len()
    };
    let watcher = store.watch(&ns()).await.unwrap();
    let other = store.watch(&ns()).await.unwrap();
    assert_eq!(count().await, 1);
    drop((watcher, other));
    eventually(async || count().await == 0).await;
    let mut watcher = store.watch(&ns()).await.unwrap();
    let applied = apply(&store, write("a", "1")).await;
    assert!(heard(&mut watcher, applied.revision).await < Duration::from_millis(500));
    store.close().await;
}

/// Channels belong to the server and not to a database: two deployments in two databases do not hear each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_is_not_heard() {
    let server = Redis::start(Options::default()).await;
    let (zero, one) = (store(&server.url()).await, store(&format!("{}/1", server.url())).await);
    let mut watcher = one.watch(&ns()).await.unwrap();
    apply(&zero, write("a", "1")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(*watcher.borrow_and_update(), Revision::ZERO);
    let applied = apply(&one, write("a", "1")).await;
    heard(&mut watcher, applied.revision).await;
    assert_eq!(*watcher.borrow(), applied.revision);
}
