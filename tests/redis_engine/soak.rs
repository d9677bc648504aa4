//! Random operations on sessions against their model: what holds on the embedded engines holds on Redis.

use std::sync::Arc;

use cloakroom_server::{
    flow::sessions::soak::{Report, Shape, run, seed},
    model::id::Namespace,
    store::redis::{RedisConfig, RedisStore},
};
use cloakroom_tests::redis::{Cluster, Options, Redis};

async fn soak(config: RedisConfig) {
    let seed = seed().unwrap();
    println!("seed {seed}");
    let store = Arc::new(RedisStore::connect(config).await.unwrap());
    let shape = Shape { seed, operations: 100_000, tasks: 64, ids: 8 };
    let report: Report = run(store, &Namespace::default(), shape).await.unwrap();
    println!("{report:?}");
    assert!(
        report.operations > 99_000 && report.changes > 25_000 && report.expired > 1000 && report.purged > 500 && report.members > 1000 && report.hits > 500,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn indices_are_a_function_of_the_records_on_a_single_server() {
    let server = Redis::start(Options::default()).await;
    soak(super::at(&server.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indices_are_a_function_of_the_records_on_a_cluster() {
    let cluster = Cluster::start(Options::default()).await;
    soak(RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() }).await;
}
