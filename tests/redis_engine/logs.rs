//! A log forgets by number and by age.

use std::time::Duration;

use cloakroom_server::store::{
    metadata::{Metadata, Scope},
    redis::{RedisConfig, RedisStore},
};
use cloakroom_tests::redis::{Options, Redis};

use super::{ZERO, apply, at, ns, send, write};

#[tokio::test]
async fn a_log_keeps_its_newest_entries() {
    let server = Redis::start(Options::default()).await;
    let store = RedisStore::connect(RedisConfig { log_entries: 3, ..at(&server.url()) }).await.unwrap();
    let mut all = Vec::new();
    for i in 0..200 {
        all.push(apply(&store, write("a", &i.to_string())).await.revision);
    }
    let page = store.events(&ns(), Scope::Sessions, ZERO, 1000).await.unwrap();
    let kept: Vec<_> = page.entries.iter().map(|entry| entry.revision).collect();
    assert_eq!(kept, all[197..]);
    assert_eq!(page.entries[0].previous, all[196], "that shows what is missing");
    assert_eq!(page.head.last, all[199]);
}

#[tokio::test]
async fn a_log_forgets_what_is_older_than_its_window() {
    let server = Redis::start(Options::default()).await;
    let window = Duration::from_millis(300);
    let store = RedisStore::connect(RedisConfig { log_window: window, ..at(&server.url()) }).await.unwrap();
    let begun = apply(&store, write("a", "0")).await;
    // A history begins ahead of the clock, and its entries stay as much longer. Here the clock has caught up.
    send(&server.url(), &format!("HSET cloakroom:{{team-7}}:m rev {} low 0", begun.now.0)).await;
    send(&server.url(), "DEL cloakroom:{team-7}:log:sessions").await;
    let store = RedisStore::connect(RedisConfig { log_window: window, ..at(&server.url()) }).await.unwrap();
    let old = apply(&store, write("a", "1")).await;
    tokio::time::sleep(window + Duration::from_millis(50)).await;
    let young = apply(&store, write("a", "2")).await;
    let page = store.events(&ns(), Scope::Sessions, ZERO, 1000).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| (entry.previous, entry.revision)).collect::<Vec<_>>(), [(old.revision, young.revision)]);
    let page = store.events(&ns(), Scope::Sessions, old.revision, 1000).await.unwrap();
    assert_eq!(page.entries.len(), 1, "who has seen the one before has missed nothing");
}
