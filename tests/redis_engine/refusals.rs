//! Servers that must not be used, and what a server refuses.

use bytes::Bytes;
use cloakroom_server::{
    Reason,
    store::{
        metadata::{Add, IndexChange, Life, Metadata, Number, Txn, Write},
        redis::{RedisConfig, RedisStore},
    },
};
use cloakroom_tests::redis::{Cluster, Options, Redis};

use super::{absent, apply, at, dump, index, key, live, ns, send, store, write};

fn with(extra: &[&str]) -> Options {
    Options { extra: extra.iter().map(|&word| word.to_owned()).collect(), ..Options::default() }
}

#[tokio::test]
async fn an_evicting_server_is_refused_with_the_remedy() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let server = Redis::start(Options { maxmemory_policy: policy.to_owned(), ..Options::default() }).await;
        let error = RedisStore::connect(at(&server.url())).await.unwrap_err();
        assert_eq!(error.reason(), Reason::MetadataUnavailable);
        for words in [policy, "CONFIG SET maxmemory-policy noeviction", &server.port().to_string()] {
            assert!(error.message().contains(words), "{error:?}");
        }
        send(&server.url(), "CONFIG SET maxmemory-policy noeviction").await;
        let store = store(&server.url()).await;
        store.probe().await.unwrap();
        send(&server.url(), &format!("CONFIG SET maxmemory-policy {policy}")).await;
        assert!(store.probe().await.unwrap_err().message().contains(policy), "also when it is changed later");
    }
}

#[tokio::test]
async fn one_evicting_master_of_a_cluster_is_enough_to_refuse_it() {
    let mut cluster = Cluster::start(Options::default()).await;
    send(&cluster.nodes()[2].url(), "CONFIG SET maxmemory-policy allkeys-lru").await;
    let config = RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() };
    let error = RedisStore::connect(config).await.unwrap_err();
    assert!(error.message().contains("allkeys-lru"), "{error:?}");
}

/// Where CONFIG is forbidden, INFO tells the policy.
#[tokio::test]
async fn an_evicting_server_is_refused_without_config() {
    let options = Options { maxmemory_policy: "allkeys-lru".to_owned(), ..with(&["--rename-command", "CONFIG", ""]) };
    let server = Redis::start(options).await;
    let error = RedisStore::connect(at(&server.url())).await.unwrap_err();
    assert!(error.message().contains("allkeys-lru"), "{error:?}");
}

#[tokio::test]
async fn a_node_of_a_cluster_and_a_replica_are_refused_as_a_single_server() {
    let cluster = Cluster::start(Options::default()).await;
    let error = RedisStore::connect(at(&cluster.urls()[0])).await.unwrap_err();
    assert!(error.message().contains("cluster = true"), "{error:?}");

    let master = Redis::start(Options::default()).await;
    let replica = Redis::start(Options::default()).await;
    send(&replica.url(), &format!("REPLICAOF 127.0.0.1 {}", master.port())).await;
    let error = RedisStore::connect(at(&replica.url())).await.unwrap_err();
    assert!(error.message().contains("replica"), "{error:?}");
}

#[tokio::test]
async fn wrong_credentials_are_told_without_them() {
    let server = Redis::start(with(&["--requirepass", "sesame"])).await;
    for url in [server.url(), server.url().replace("redis://", "redis://:hunter2@")] {
        let error = RedisStore::connect(at(&url)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::MetadataUnavailable);
        assert!(error.message().contains("credentials"), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let store = store(&server.url().replace("redis://", "redis://:sesame@")).await;
    apply(&store, write("a", "1")).await;
    assert!(!format!("{store:?} {:?}", store.probe().await.unwrap()).contains("sesame"));
}

/// A permission that a script would miss in its middle is missed at the start, and the error says which rules are enough.
#[tokio::test]
async fn a_missing_permission_is_told_at_the_start() {
    let server = Redis::start(Options::default()).await;
    let user = |rules: &str| format!("ACL SETUSER worker reset on >sesame {rules}");
    let url = server.url().replace("redis://", "redis://worker:sesame@");
    send(&server.url(), &user("+@connection")).await;
    let error = RedisStore::connect(at(&url)).await.unwrap_err();
    let rules = error.help().unwrap().strip_prefix("ACL SETUSER <user> ").unwrap().to_owned();
    send(&server.url(), &user(&rules)).await;
    let allowed = store(&url).await;
    apply(&allowed, write("a", "1")).await;
    allowed.watch(&ns()).await.unwrap();
    assert_eq!(allowed.namespaces().await.unwrap(), [ns()]);
    for missing in ["xtrim", "pexpireat", "persist", "zrem", "publish", "info", "time", "hgetall", "smembers", "sadd"] {
        send(&server.url(), &user(&format!("{rules} -{missing}"))).await;
        let error = RedisStore::connect(at(&url)).await.expect_err(missing);
        assert_eq!(error.reason(), Reason::MetadataUnavailable, "{missing}: {error:?}");
        assert!(error.message().contains("permit"), "{missing}: {error:?}");
    }
    send(&server.url(), &user(&rules.replace("~cloakroom:*", "~other:*"))).await;
    assert!(RedisStore::connect(at(&url)).await.unwrap_err().message().contains("permit"));
}

#[tokio::test]
async fn the_rules_for_a_single_server_and_one_more_are_enough_for_a_cluster() {
    let mut cluster = Cluster::start(Options::default()).await;
    let urls: Vec<_> = cluster.urls().iter().map(|url| url.replace("redis://", "redis://worker:sesame@")).collect();
    let config = RedisConfig { urls, cluster: true, ..RedisConfig::default() };
    let allow = async |cluster: &mut Cluster, rules: &str| {
        for node in cluster.nodes() {
            send(&node.url(), &format!("ACL SETUSER worker reset on >sesame {rules}")).await;
        }
    };
    allow(&mut cluster, "+@connection +cluster|slots").await;
    let error = RedisStore::connect(config.clone()).await.unwrap_err();
    let rules = error.help().unwrap().strip_prefix("ACL SETUSER <user> ").unwrap().to_owned() + " +cluster|slots";
    allow(&mut cluster, &rules).await;
    let store = RedisStore::connect(config).await.unwrap();
    apply(&store, write("a", "1")).await;
    store.watch(&ns()).await.unwrap();
}

#[tokio::test]
async fn nothing_of_the_rehearsal_stays() {
    let server = Redis::start(Options::default()).await;
    store(&server.url()).await;
    assert_eq!(dump(&server.url()).await, []);
}

/// The rule of a full store: what needs memory is refused as a whole, what frees memory goes through.
#[tokio::test]
async fn a_full_server_refuses_changes_and_takes_removals() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    let filled = Txn { adds: vec![Add { counter: key("records"), delta: 1, max: 9 }], ..write("a", &"x".repeat(100_000)) };
    apply(&store, filled).await;
    send(&server.url(), "CONFIG SET maxmemory 1mb").await;
    let before = dump(&server.url()).await;
    let changes = [
        write("b", "1"),
        Txn::default(),
        Txn { writes: vec![Write::Delete(key("a"))], ..write("b", "1") },
        Txn { writes: vec![Write::Touch { key: key("a"), life: Life::Forever, marks: vec![("turn".into(), Number::Literal(1))] }], ..Txn::default() },
        Txn { writes: vec![Write::Delete(key("a"))], adds: vec![Add { counter: key("other"), delta: 1, max: 9 }], ..Txn::default() },
    ];
    for txn in changes {
        let error = store.commit(&ns(), txn.into()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::StorageFull, "{error:?}");
        assert!(error.retry_after().is_some() && error.message().contains("maxmemory"), "{error:?}");
    }
    assert_eq!(dump(&server.url()).await, before);
    assert!(live(&store, "a").await.is_some(), "reading goes on");
    let removal = Txn {
        writes: vec![Write::Delete(key("a"))],
        indices: vec![IndexChange::Remove(index("all"), "a".to_owned())],
        adds: vec![Add { counter: key("records"), delta: -1, max: 0 }],
        events: vec![(cloakroom_server::store::metadata::Scope::Sessions, Bytes::from_static(b"gone"))],
        ..Txn::default()
    };
    let removed = apply(&store, removal).await;
    assert!(absent(&store, "a").await);
    assert_eq!(store.history(&ns(), cloakroom_server::store::metadata::Scope::Sessions).await.unwrap().last, removed.revision);
}

#[tokio::test]
async fn a_server_short_of_replicas_or_turned_replica_refuses_changes_and_is_read() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    apply(&store, write("a", "1")).await;
    let before = dump(&server.url()).await;
    for (on, off, words) in [
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "min-replicas-to-write"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "replica"),
    ] {
        send(&server.url(), on).await;
        let error = store.commit(&ns(), write("b", "1").into()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::MetadataUnavailable);
        assert!(error.retry_after().is_some() && error.message().contains(words), "{error:?}");
        assert!(live(&store, "a").await.is_some(), "reading goes on");
        send(&server.url(), off).await;
    }
    assert_eq!(dump(&server.url()).await, before);
    apply(&store, write("b", "1")).await;
}

/// Somebody else's keys where ours should be: the transaction is refused before its first write.
#[tokio::test]
async fn a_key_of_another_type_is_damage_and_nothing_is_written() {
    let server = Redis::start(Options::default()).await;
    let store = store(&server.url()).await;
    apply(&store, write("first", "1")).await;
    let swept = Txn {
        writes: vec![Write::Put {
            key: key("a"),
            value: Bytes::new(),
            life: Life::SweptAt(cloakroom_server::store::metadata::When::In(std::time::Duration::from_secs(9))),
            marks: vec![],
        }],
        ..Txn::default()
    };
    let counted = Txn { adds: vec![Add { counter: key("n"), delta: 1, max: 9 }], ..write("b", "1") };
    for (foreign, txn) in
        [("r:a", write("a", "1")), ("x:all", write("a", "1")), ("log:sessions", write("a", "1")), ("e", swept), ("c:n", counted), ("m", write("a", "1"))]
    {
        let name = format!("cloakroom:{{team-7}}:{foreign}");
        let saved = name.replace("team-7", "saved");
        let mut connection = super::raw(&server.url()).await;
        let _: redis::Value = redis::cmd("EVAL")
            .arg("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end redis.call('SADD', KEYS[1], 'foreign')")
            .arg(2)
            .arg(&name)
            .arg(&saved)
            .query_async(&mut connection)
            .await
            .unwrap();
        let before = dump(&server.url()).await;
        let error = store.commit(&ns(), txn.into()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DataCorrupt, "{foreign}: {error:?}");
        assert_eq!(dump(&server.url()).await, before, "{foreign}");
        let _: redis::Value = redis::cmd("EVAL")
            .arg("redis.call('DEL', KEYS[1]) if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) end")
            .arg(2)
            .arg(&name)
            .arg(&saved)
            .query_async(&mut connection)
            .await
            .unwrap();
    }
    apply(&store, write("a", "1")).await;
}
