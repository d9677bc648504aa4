//! The Redis engine on real servers: what the conformance suite cannot know, because it is about Redis.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets something unexpected has failed")]

mod conformance;
mod crash;
mod histories;
mod logs;
mod outages;
mod proxy;
mod refusals;
mod soak;
mod wakeups;

use std::time::Duration;

use bytes::Bytes;
use cloakroom_server::{
    model::{id::Namespace, time::Revision},
    store::{
        metadata::{Applied, Commit, Found, Index, IndexChange, Key, Life, Metadata, Number, Outcome, Record, Scope, Txn, Write},
        redis::{RedisConfig, RedisStore},
    },
};
use redis::aio::MultiplexedConnection;

fn ns() -> Namespace {
    Namespace::parse("namespace", "team-7").unwrap()
}

fn key(name: &str) -> Key {
    Key(name.to_owned())
}

fn index(name: &str) -> Index {
    Index(name.to_owned())
}

fn at(url: &str) -> RedisConfig {
    RedisConfig { urls: vec![url.to_owned()], ..RedisConfig::default() }
}

async fn store(url: &str) -> RedisStore {
    RedisStore::connect(at(url)).await.unwrap()
}

/// A connection of the test's own.
async fn raw(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn send(url: &str, command: &str) -> redis::Value {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(&mut raw(url).await).await.unwrap()
}

/// A record, its index member, an event: a bit of everything.
fn write(name: &str, value: &str) -> Txn {
    Txn {
        writes: vec![Write::Put { key: key(name), value: Bytes::copy_from_slice(value.as_bytes()), life: Life::Forever, marks: vec![] }],
        indices: vec![IndexChange::Add(index("all"), name.to_owned(), Number::Revision)],
        events: vec![(Scope::Sessions, Bytes::copy_from_slice(name.as_bytes()))],
        ..Txn::default()
    }
}

fn operation(txn: Txn, op: &str) -> Commit {
    Commit { alternatives: vec![txn], op: Some(op.to_owned()) }
}

async fn apply(store: &RedisStore, commit: impl Into<Commit>) -> Applied {
    match store.commit(&ns(), commit.into()).await.unwrap() {
        Outcome::Applied(applied) => applied,
        Outcome::Refused(refusals) => panic!("refused: {refusals:?}"),
    }
}

async fn live(store: &RedisStore, name: &str) -> Option<Record> {
    store.get(&ns(), &[key(name)]).await.unwrap().found.remove(0).live()
}

async fn absent(store: &RedisStore, name: &str) -> bool {
    store.get(&ns(), &[key(name)]).await.unwrap().found == [Found::Absent]
}

/// Everything in the server, to compare before and after.
async fn dump(url: &str) -> Vec<(String, Vec<u8>)> {
    let mut connection = raw(url).await;
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let bytes: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.unwrap();
        all.push((key, bytes));
    }
    all
}

/// Waits until `what` holds, at most ten seconds.
async fn eventually<F: Future<Output = bool>>(what: impl Fn() -> F) {
    let patience = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), patience).await.is_ok(), "it does not come true");
}

/// How far ahead of the clock a revision is, in µs.
fn lead(applied: &Applied) -> i64 {
    applied.revision.0 - applied.now.0
}

const ZERO: Revision = Revision::ZERO;
