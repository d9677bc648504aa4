//! Servers that are away, come back, freeze, or lose a connection at the worst moment.

use std::{sync::Arc, time::Duration};

use cloakroom_server::{
    Reason,
    clock::monotonic,
    store::{
        metadata::{Add, Commit, Metadata, Outcome, Refusal, Require, Txn},
        redis::{RedisConfig, RedisStore},
    },
};
use cloakroom_tests::{
    ports::Port,
    redis::{Cluster, Options, Redis},
};

use super::{
    absent, apply, at, eventually, key, live, ns, operation,
    proxy::{Cut, Proxy},
    send, store, write,
};

#[tokio::test]
async fn a_server_that_is_not_there_is_named_at_the_start() {
    let port = Port::free();
    for cluster in [false, true] {
        let url = format!("redis://user:hunter2@{}", port.address());
        let started = monotonic();
        let error = RedisStore::connect(RedisConfig { cluster, ..at(&url) }).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(2500));
        assert_eq!(error.reason(), Reason::MetadataUnavailable);
        assert!(error.message().contains(&port.address()) && error.retry_after().is_some(), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = RedisConfig { timeout: Duration::from_millis(300), ..at(&format!("redis://{}", listener.local_addr().unwrap())) };
    let started = monotonic();
    let error = RedisStore::connect(config).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(error.reason(), Reason::MetadataUnavailable);
}

/// Down: every call fails at once and says when to try again. Back: all is well within two seconds, without a storm of connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_fails_fast_and_ends_soon() {
    let mut server = Redis::start(Options::default()).await;
    let store = Arc::new(store(&server.url()).await);
    apply(&store, write("a", "1")).await;
    server.kill9();
    let mut slowest = Duration::ZERO;
    let down = monotonic();
    while down.elapsed() < Duration::from_secs(2) {
        let started = monotonic();
        let errors = [
            store.get(&ns(), &[key("a")]).await.unwrap_err(),
            store.commit(&ns(), write("b", "1").into()).await.unwrap_err(),
            store.history(&ns(), cloakroom_server::store::metadata::Scope::Cache).await.unwrap_err(),
            store.namespaces().await.unwrap_err(),
        ];
        slowest = slowest.max(started.elapsed());
        for error in errors {
            assert_eq!(error.reason(), Reason::MetadataUnavailable, "never an absence: {error:?}");
            assert!(error.retry_after().is_some());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.probe().await.is_err());
    assert!(slowest < Duration::from_millis(50), "{slowest:?}");
    server.restart().await;
    let back = monotonic();
    while store.get(&ns(), &[key("a")]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    apply(&store, write("b", "1")).await;
    assert!(live(&store, "a").await.is_some());
}

/// While the server is away, few connections are tried: by the mender, and by the listener for wake-ups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_makes_no_storm_of_connections() {
    let server = Redis::start(Options::default()).await;
    let proxy = Proxy::to(&server.url()).await;
    let store = Arc::new(store(&proxy.url()).await);
    proxy.cut(Cut::Always);
    let before = proxy.connections();
    let load = async {
        loop {
            let calls = (0..32).map(async |_| store.commit(&ns(), write("a", "1").into()).await);
            futures::future::join_all(calls).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), load).await.is_err());
    let tried = proxy.connections() - before;
    assert!(tried < 40, "{tried} connections in 3 s");
    proxy.cut(Cut::Never);
    eventually(async || store.get(&ns(), &[key("a")]).await.is_ok()).await;
    apply(&store, write("a", "1")).await;
}

/// A frozen server: nobody waits longer than the timeout, later callers do not wait at all, and it goes on when the server does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_waited_for_once() {
    let mut server = Redis::start(Options::default()).await;
    let timeout = Duration::from_millis(500);
    let store = Arc::new(RedisStore::connect(RedisConfig { timeout, ..at(&server.url()) }).await.unwrap());
    apply(&store, write("a", "1")).await;
    server.process().signal("STOP");
    let started = monotonic();
    let calls = (0..50).map(async |_| store.get(&ns(), &[]).await);
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_err));
    assert!(started.elapsed() < timeout * 2, "{:?}", started.elapsed());
    let started = monotonic();
    assert_eq!(store.get(&ns(), &[]).await.unwrap_err().reason(), Reason::MetadataUnavailable);
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    server.process().signal("CONT");
    let back = monotonic();
    eventually(async || store.get(&ns(), &[]).await.is_ok()).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
}

/// The master that holds the namespace.
async fn holder(cluster: &mut Cluster) -> usize {
    let mut holders = Vec::new();
    for (i, node) in cluster.nodes().iter().enumerate() {
        if super::dump(&node.url()).await.iter().any(|(name, _)| name.contains("{team-7}")) {
            holders.push(i);
        }
    }
    assert_eq!(holders.len(), 1, "a namespace lies on one master");
    holders[0]
}

#[tokio::test]
async fn a_master_of_a_cluster_that_is_away_fails_its_namespaces_until_it_is_back() {
    let mut cluster = Cluster::start(Options::default()).await;
    let config = RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() };
    let store = RedisStore::connect(config).await.unwrap();
    apply(&store, write("a", "1")).await;
    let holder = holder(&mut cluster).await;
    cluster.nodes()[holder].kill9();
    for _ in 0..3 {
        let started = monotonic();
        let error = store.get(&ns(), &[key("a")]).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
        assert_eq!(error.reason(), Reason::MetadataUnavailable, "{error:?}");
    }
    cluster.nodes()[holder].restart().await;
    cluster.wait_until_ok().await;
    eventually(async || store.get(&ns(), &[key("a")]).await.is_ok()).await;
    assert!(live(&store, "a").await.is_some());
    apply(&store, write("b", "1")).await;
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    for i in 0..3 {
        send(&server.url(), "SCRIPT FLUSH").await;
        apply(&store, write("a", &i.to_string())).await;
        send(&server.url(), "SCRIPT FLUSH").await;
        assert_eq!(live(&store, "a").await.unwrap().value, i.to_string());
    }
    let cluster = Cluster::start(Options::default()).await;
    let config = RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() };
    let store = RedisStore::connect(config).await.unwrap();
    for url in cluster.urls() {
        send(&url, "SCRIPT FLUSH").await;
    }
    apply(&store, write("a", "1")).await;
    assert!(live(&store, "a").await.is_some());
}

/// The connection dies before the script ran, or after it ran and before its answer came: the caller hears of an outage, and a repetition with the same operation
/// finds out what happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_converges_by_repetition() {
    let server = Redis::start(Options::default()).await;
    let proxy = Proxy::to(&server.url()).await;
    let direct = store(&server.url()).await;
    let store = store(&proxy.url()).await;
    apply(&store, write("warm", "1")).await;
    for (i, (cut, ran)) in [(Cut::Before, false), (Cut::After, true), (Cut::Before, false), (Cut::After, true)].into_iter().enumerate() {
        let name = format!("a{i}");
        let txn = Txn { requires: vec![Require::Absent(key(&name))], note: "noted".into(), ..write(&name, "1") };
        let commit = operation(txn, &format!("op{i}"));
        proxy.cut(cut);
        let error = store.commit(&ns(), commit.clone()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::MetadataUnavailable, "{error:?}");
        proxy.cut(Cut::Never);
        assert_eq!(absent(&direct, &name).await, !ran, "{cut:?}");
        let repeated = async {
            loop {
                if let Ok(outcome) = store.commit(&ns(), commit.clone()).await {
                    return outcome;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let Outcome::Applied(applied) = tokio::time::timeout(Duration::from_secs(5), repeated).await.unwrap() else { panic!("refused") };
        assert_eq!((applied.replayed, applied.note.as_ref()), (ran, b"noted".as_slice()));
        assert_eq!(live(&direct, &name).await.unwrap().revision, applied.revision);
    }
}

/// Reads change nothing, so they are repeated when the connection is lost under them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_survives_the_loss_of_its_connection() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    apply(&store, write("a", "1")).await;
    for _ in 0..20 {
        send(&server.url(), "CLIENT KILL TYPE normal").await;
        assert!(live(&store, "a").await.is_some());
    }
    apply(&store, Commit::from(write("b", "1"))).await;
}

/// A Cluster's client repeats what a lost connection left open. The script runs once all the same, and the caller hears of one application.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_clusters_client_repeats_is_applied_once() {
    let mut cluster = Cluster::start(Options::default()).await;
    let mut proxies = Vec::new();
    for node in cluster.nodes() {
        let proxy = Proxy::to(&node.url()).await;
        send(&node.url(), &format!("CONFIG SET cluster-announce-port {}", proxy.port())).await;
        proxies.push(proxy);
    }
    let ports: Vec<_> = proxies.iter().map(Proxy::port).collect();
    for node in cluster.urls() {
        let told = || async {
            let slots = format!("{:?}", send(&node, "CLUSTER SLOTS").await);
            ports.iter().all(|port| slots.contains(&format!("int({port})")))
        };
        eventually(told).await;
    }
    let urls = proxies.iter().map(Proxy::url).collect();
    let store = RedisStore::connect(RedisConfig { urls, cluster: true, ..RedisConfig::default() }).await.unwrap();
    apply(&store, write("warm", "1")).await;
    let holder = holder(&mut cluster).await;
    let count = |delta| Add { counter: key("count"), delta, max: 1000 };
    for round in 0..3 {
        for op in [None, Some(format!("op{round}"))] {
            let before = proxies[holder].connections();
            let name = format!("{round}{}", op.is_some());
            let txn = Txn { requires: vec![Require::Absent(key(&name))], adds: vec![count(1)], ..write(&name, "1") };
            proxies[holder].cut(Cut::After);
            let outcome = store.commit(&ns(), Commit { alternatives: vec![txn], op }).await.unwrap();
            let Outcome::Applied(applied) = outcome else { panic!("{outcome:?}") };
            assert!(!applied.replayed);
            assert!(proxies[holder].connections() > before, "no connection was lost");
        }
    }
    let refused = store.commit(&ns(), Txn { adds: vec![count(-1000)], ..Txn::default() }.into()).await.unwrap();
    assert_eq!(refused, Outcome::Refused(vec![Refusal::Counter { counter: key("count"), value: 6 }]));
}

/// A server that lets nobody in is tried again, and used as soon as it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lets_nobody_in_is_used_again_when_it_does() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    apply(&store, write("a", "1")).await;
    let mut operator = super::raw(&server.url()).await;
    for (on, off) in [(["maxclients", "1"], ["maxclients", "1000"]), (["requirepass", "sesame"], ["requirepass", ""])] {
        let () = redis::cmd("CONFIG").arg("SET").arg(&on).query_async(&mut operator).await.unwrap();
        let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).query_async(&mut operator).await.unwrap();
        eventually(async || store.get(&ns(), &[key("a")]).await.is_err_and(|error| error.reason() == Reason::MetadataUnavailable)).await;
        for _ in 0..20 {
            assert_eq!(store.get(&ns(), &[key("a")]).await.unwrap_err().reason(), Reason::MetadataUnavailable, "{on:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let () = redis::cmd("CONFIG").arg("SET").arg(&off).query_async(&mut operator).await.unwrap();
        eventually(async || store.get(&ns(), &[key("a")]).await.is_ok()).await;
    }
    apply(&store, write("b", "1")).await;
}
