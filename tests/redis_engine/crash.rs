//! `kill -9` of the server in the middle of commits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use cloakroom_server::store::{
    metadata::{Add, Direction, IndexChange, Life, Metadata, Number, Outcome, Range, Txn, Write},
    redis::RedisStore,
};
use cloakroom_tests::redis::{Options, Redis};
use tokio::task::JoinSet;

use super::{apply, eventually, index, key, ns, operation, store};

const WRITERS: usize = 16;
const ROUNDS: usize = 5;

/// Two records, an index member and a count that belong together.
fn pair(name: &str) -> Txn {
    let put = |suffix: &str| Write::Put { key: key(&format!("{name}.{suffix}")), value: Bytes::from_static(b"{}"), life: Life::Forever, marks: vec![] };
    Txn {
        adds: vec![Add { counter: key("pairs"), delta: 1, max: 1 << 40 }],
        writes: vec![put("left"), put("right")],
        indices: vec![IndexChange::Add(index("pairs"), name.to_owned(), Number::Literal(0))],
        ..Txn::default()
    }
}

async fn write_until_it_fails(store: Arc<RedisStore>, writer: usize, round: usize, acknowledged: Arc<Mutex<HashMap<String, i64>>>) {
    for i in 0.. {
        let name = format!("{round}-{writer}-{i}");
        match store.commit(&ns(), operation(pair(&name), &name)).await {
            Ok(Outcome::Applied(applied)) => drop(acknowledged.lock().unwrap().insert(name, applied.revision.0)),
            Ok(Outcome::Refused(refusals)) => panic!("{refusals:?}"),
            Err(_) => return,
        }
    }
}

/// With `appendfsync always`: what was acknowledged is there, the rest is there as a whole or not at all, and no revision was issued twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_and_the_rest_is_all_or_nothing() {
    let options = Options { extra: ["--appendfsync", "always"].map(str::to_owned).to_vec(), ..Options::default() };
    let mut server = Redis::start(options).await;
    let store = Arc::new(store(&server.url()).await);
    let acknowledged = Arc::new(Mutex::new(HashMap::new()));
    for round in 0..ROUNDS {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_until_it_fails(Arc::clone(&store), writer, round, Arc::clone(&acknowledged)));
        }
        tokio::time::sleep(Duration::from_millis(200 + 37 * round as u64)).await;
        server.kill9();
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
        server.restart().await;
        eventually(async || store.get(&ns(), &[]).await.is_ok()).await;
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > ROUNDS * WRITERS, "only {} commits", acknowledged.len());
    let mut revisions: Vec<_> = acknowledged.values().collect();
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), acknowledged.len(), "a revision was issued twice");

    let members = check(&store, &acknowledged).await;
    let records: i64 =
        redis::cmd("EVAL").arg("return #redis.call('KEYS', 'cloakroom:{team-7}:r:*')").arg(0).query_async(&mut super::raw(&server.url()).await).await.unwrap();
    assert_eq!(records, 2 * i64::try_from(members.len()).unwrap(), "a record without its member");
    let counted =
        apply(&store, Txn { adds: vec![Add { counter: key("pairs"), delta: -i64::try_from(members.len()).unwrap(), max: 0 }], ..Txn::default() }).await;
    assert!(counted.revision.0 > *revisions[revisions.len() - 1]);
    println!("{} commits acknowledged over {ROUNDS} kills, {} applied", acknowledged.len(), members.len());
}

/// All that was acknowledged is there, and every pair is whole. Returns all pairs.
async fn check(store: &RedisStore, acknowledged: &HashMap<String, i64>) -> Vec<(i64, String)> {
    let mut members = Vec::new();
    loop {
        let after = members.last().cloned();
        let page = store.scan(&ns(), &index("pairs"), &Range::From(after), Direction::Ascending, 1000).await.unwrap();
        if page.is_empty() {
            break;
        }
        members.extend(page);
    }
    for name in acknowledged.keys() {
        assert!(members.binary_search(&(0, name.clone())).is_ok(), "{name} was acknowledged and is lost");
    }
    for names in members.chunks(400) {
        let keys: Vec<_> = names.iter().flat_map(|(_, name)| ["left", "right"].map(|suffix| key(&format!("{name}.{suffix}")))).collect();
        let found = store.get(&ns(), &keys).await.unwrap().found;
        for (record, name) in found.chunks(2).zip(names) {
            let revisions: Vec<_> = record.iter().map(|found| found.clone().live().expect("both records of a pair").revision.0).collect();
            assert_eq!(revisions[0], revisions[1]);
            if let Some(acknowledged) = acknowledged.get(&name.1) {
                assert_eq!(revisions[0], *acknowledged);
            }
        }
    }
    members
}
