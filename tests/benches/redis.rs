//! Commits and reads through the Redis engine against the identical commands sent raw through the same connection, in turns within one run.
//!
//! `cargo bench -p cloakroom-tests --bench redis` (release), or with `--profile dev`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its figures and ends when something is wrong")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cloakroom_server::{
    clock::monotonic,
    model::id::Namespace,
    store::{
        metadata::{Commit, Index, IndexChange, Key, Life, Metadata as _, Number, Outcome, Scope, Txn, Write},
        redis::{RedisConfig, RedisStore},
    },
};
use cloakroom_tests::{
    process::processor_time,
    redis::{Options, Redis},
};
use redis::aio::ConnectionManager;

const CONCURRENCY: usize = 64;
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

/// What a session's update looks like: its record, two index members, an event.
fn update(n: usize, op: bool) -> Commit {
    let name = format!("session/{n}");
    let value = Bytes::from(vec![b'x'; 400]);
    let txn = Txn {
        writes: vec![Write::Put { key: Key(name.clone()), value, life: Life::Forever, marks: vec![("fence".into(), Number::Keep)] }],
        indices: vec![
            IndexChange::Add(Index("all".to_owned()), name.clone(), Number::Literal(0)),
            IndexChange::Add(Index("used".to_owned()), name, Number::NowPlus(Duration::ZERO)),
        ],
        events: vec![(Scope::Sessions, Bytes::from(vec![b'e'; 120]))],
        ..Txn::default()
    };
    Commit { alternatives: vec![txn], op: op.then(|| format!("{n}-{:032x}", u128::from_le_bytes(cloakroom_server::clock::random().unwrap()))) }
}

/// One round: calls per second, and processor time per call in µs on this side and on the server's.
#[derive(Clone, Copy)]
struct Round {
    rate: f64,
    here: f64,
    there: f64,
}

/// 64 tasks call again and again.
async fn rate<F: Future<Output = ()> + Send>(call: impl Fn(usize) -> F + Send + Sync + Clone + 'static, server: u32) -> Round {
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let (here, there) = (processor_time(std::process::id()), processor_time(server));
    let started = monotonic();
    for task in 0..CONCURRENCY {
        let (call, done) = (call.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            for i in 0.. {
                if started.elapsed() >= ROUND {
                    break;
                }
                call(task * 1000 + i % 1000).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let done = done.load(Ordering::Relaxed) as f64;
    Round {
        rate: done / started.elapsed().as_secs_f64(),
        here: (processor_time(std::process::id()) - here) / done,
        there: (processor_time(server) - there) / done,
    }
}

fn middle(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(what: &str, engine: &[Round], raw: &[Round]) {
    let mut ratios: Vec<f64> = engine.iter().zip(raw).map(|(engine, raw)| engine.rate / raw.rate).collect();
    ratios.sort_by(f64::total_cmp);
    println!("{what}: ratio {:.2} [{:.2}-{:.2}]", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    for (name, rounds) in [("engine", engine), ("raw", raw)] {
        let (rate, here, there) = (middle(rounds, |r| r.rate), middle(rounds, |r| r.here), middle(rounds, |r| r.there));
        println!("  {name:6} {rate:7.0}/s, processor time per call {here:5.1} µs here and {there:5.1} µs in the server");
    }
}

async fn commits(store: &Arc<RedisStore>, ns: &Namespace, server: u32, op: bool) {
    let (mut engine, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (shared, name) = (Arc::clone(store), ns.clone());
        let through_engine = move |n| {
            let (store, ns) = (Arc::clone(&shared), name.clone());
            async move { assert!(matches!(store.commit(&ns, update(n, op)).await.unwrap(), Outcome::Applied(_))) }
        };
        engine.push(rate(through_engine, server).await);
        // The commands are made beforehand; with operations they would all be repetitions, so each gets a name of its own.
        let (_, connection) = store.raw(ns, &update(0, op)).unwrap();
        let made: Arc<Vec<_>> = Arc::new((0..if op { 200_000 } else { 1 }).map(|n| store.raw(ns, &update(n, op)).unwrap().0).collect());
        let next = Arc::new(AtomicU64::new(0));
        let through_connection = move |n| {
            // Making the commit is the caller's work, not the engine's.
            drop(std::hint::black_box(update(n, op)));
            let (mut connection, made, n) = (connection.clone(), Arc::clone(&made), next.fetch_add(1, Ordering::Relaxed));
            async move {
                let _: redis::Value = made[usize::try_from(n).unwrap() % made.len()].query_async(&mut connection).await.unwrap();
            }
        };
        raw.push(rate(through_connection, server).await);
    }
    report(if op { "commit with an operation" } else { "commit" }, &engine, &raw);
}

async fn reads(store: &Arc<RedisStore>, ns: &Namespace, server: u32) {
    let (_, connection) = store.raw(ns, &update(0, false)).unwrap();
    let (mut engine, mut raw, mut multi) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (shared, name) = (Arc::clone(store), ns.clone());
        let through_engine = move |n| {
            let (store, ns) = (Arc::clone(&shared), name.clone());
            async move { assert_eq!(store.get(&ns, &[Key(format!("session/{n}"))]).await.unwrap().found.len(), 1) }
        };
        engine.push(rate(through_engine, server).await);
        raw.push(raw_reads(&connection, ns, server, false).await);
        multi.push(raw_reads(&connection, ns, server, true).await);
    }
    report("get, against HMGET", &engine, &raw);
    report("get, against MULTI TIME HGET HGETALL EXEC", &engine, &multi);
}

async fn raw_reads(connection: &ConnectionManager, ns: &Namespace, server: u32, multi: bool) -> Round {
    let (connection, stem) = (connection.clone(), format!("cloakroom:{{{ns}}}:"));
    let read = move |n: usize| {
        let (mut connection, stem) = (connection.clone(), stem.clone());
        async move {
            let key = format!("{stem}r:session/{n}");
            let _: redis::Value = if multi {
                redis::pipe()
                    .atomic()
                    .cmd("TIME")
                    .cmd("HGET")
                    .arg(format!("{stem}m"))
                    .arg("rev")
                    .cmd("HGETALL")
                    .arg(key)
                    .query_async(&mut connection)
                    .await
                    .unwrap()
            } else {
                redis::cmd("HMGET").arg(key).arg(&["rev", "exp", "sw", "v", "m:fence"]).query_async(&mut connection).await.unwrap()
            };
        }
    };
    rate(read, server).await
}

#[tokio::main]
async fn main() {
    let mut server = Redis::start(Options::default()).await;
    let config = RedisConfig { urls: vec![server.url()], ..RedisConfig::default() };
    let store = Arc::new(RedisStore::connect(config).await.unwrap());
    let ns = Namespace::parse("namespace", "bench").unwrap();
    println!("concurrency {CONCURRENCY}, median of {ROUNDS} rounds of {ROUND:?} each, in turns; {}", if cfg!(debug_assertions) { "debug" } else { "release" });
    let process = server.process().id();
    commits(&store, &ns, process, false).await;
    commits(&store, &ns, process, true).await;
    reads(&store, &ns, process).await;
    store.close().await;
}
