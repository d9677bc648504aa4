//! What the rules cannot know, because it is about Redis.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use cloakroom_server::{
    Reason,
    store::blobs::{Blobs, BlobsConfig, Place, Put},
};
use cloakroom_tests::redis::{Options, Redis};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};

use super::in_redis;

const MIB: usize = 1 << 20;

fn at(url: &str) -> Blobs {
    Blobs::open(&BlobsConfig { place: Place::Redis(in_redis(url)), prefix: "p".to_owned() }).unwrap()
}

async fn raw(server: &Redis) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn keys(server: &Redis) -> BTreeSet<String> {
    raw(server).await.keys("*").await.unwrap()
}

fn noise(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at * at % 251).unwrap()).collect::<Vec<_>>().into()
}

async fn with_maxmemory(size: &str) -> Redis {
    Redis::start(Options { extra: ["--maxmemory", size].map(str::to_owned).to_vec(), ..Options::default() }).await
}

#[tokio::test]
async fn an_evicting_redis_is_refused_with_the_remedy() {
    let server = Redis::start(Options { maxmemory_policy: "allkeys-lru".to_owned(), ..Options::default() }).await;
    let blobs = at(&server.url());
    for error in [blobs.warnings().await.unwrap_err(), blobs.probe().await.unwrap_err(), blobs.get("x").await.unwrap_err()] {
        assert_eq!(error.reason(), Reason::BlobsUnavailable);
        for words in ["allkeys-lru", "CONFIG SET maxmemory-policy noeviction", &server.port().to_string()] {
            assert!(error.message().contains(words), "{error:?}");
        }
    }
    assert!(keys(&server).await.is_empty());
    let () = redis::cmd("CONFIG").arg(&["SET", "maxmemory-policy", "noeviction"]).query_async(&mut raw(&server).await).await.unwrap();
    blobs.probe().await.unwrap();
    let warnings = blobs.warnings().await.unwrap();
    assert!(warnings[0].contains("loses saves"), "{warnings:?}");
}

#[tokio::test]
async fn memory_that_is_full_is_told_and_nothing_of_the_write_stays() {
    let server = with_maxmemory("24mb").await;
    let blobs = at(&server.url());
    assert_eq!(blobs.put_new("kept", noise(4 * MIB)).await.unwrap(), Put::Created);
    let before = keys(&server).await;
    for _ in 0..3 {
        let error = blobs.put_new("c/large", noise(32 * MIB)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::StorageFull);
        for words in ["write c/large", "maxmemory", &server.port().to_string()] {
            assert!(error.message().contains(words), "{error}");
        }
        assert_eq!(keys(&server).await, before);
        assert_eq!(blobs.get("c/large").await.unwrap(), None);
    }
    assert_eq!(blobs.list("c", 10).await.unwrap(), []);
    assert!(blobs.get("kept").await.unwrap() == Some(noise(4 * MIB)), "what is there can be read");

    // A store that is full to the brim can be read, and emptied.
    let mut number = 0;
    while blobs.put_new(&format!("f/{number}"), noise(MIB)).await.is_ok() {
        number += 1;
    }
    assert!(number > 2);
    assert!(blobs.get("kept").await.unwrap() == Some(noise(4 * MIB)));
    blobs.delete("kept").await.unwrap();
    assert_eq!(blobs.put_new("c/small", noise(2 * MIB)).await.unwrap(), Put::Created);
}

#[tokio::test]
async fn a_writer_that_died_leaves_nothing_to_see_and_chunks_to_find() {
    let server = Redis::start(Options::default()).await;
    let blobs = at(&server.url());
    blobs.probe().await.unwrap();
    let chunks = async || keys(&server).await.into_iter().filter(|key| key.starts_with("cloakroom:blob:{p/c/1}:c:")).collect::<BTreeSet<_>>();
    // A runtime that ends takes everything with it in its middle, as the end of a process does.
    let url = server.url();
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    dying.spawn(async move { at(&url).put_new("c/1", noise(96 * MIB)).await });
    while chunks().await.is_empty() {
        tokio::task::yield_now().await;
    }
    dying.shutdown_background();
    let orphans = chunks().await;
    assert!(!orphans.is_empty() && orphans.len() < 96);
    assert_eq!((blobs.get("c/1").await.unwrap(), blobs.length("c/1").await.unwrap()), (None, None));
    assert_eq!(blobs.list("c", 10).await.unwrap(), []);

    assert_eq!(blobs.put_new("c/1", noise(3 * MIB)).await.unwrap(), Put::Created);
    assert!(blobs.get("c/1").await.unwrap() == Some(noise(3 * MIB)));
    // The header names the chunks that are the object's; the others are nobody's.
    let header: String = raw(&server).await.get("cloakroom:blob:{p/c/1}:h").await.unwrap();
    let upload = header.split(' ').nth(1).unwrap();
    let (own, others): (BTreeSet<_>, BTreeSet<_>) = chunks().await.into_iter().partition(|key| key.contains(&format!(":c:{upload}:")));
    assert_eq!(own.len(), 3);
    assert!(others.is_superset(&orphans));
}

#[tokio::test]
async fn a_write_that_its_caller_gives_up_leaves_nothing() {
    let server = Redis::start(Options::default()).await;
    let blobs = at(&server.url());
    blobs.probe().await.unwrap();
    let bytes = noise(96 * MIB);
    {
        let writing = blobs.put_new("c/1", bytes);
        tokio::pin!(writing);
        while keys(&server).await.is_empty() {
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut writing).await.is_err(), "it was not given up in its middle");
        }
    }
    // The daemon's end waits for it.
    blobs.close().await;
    assert_eq!(keys(&server).await, BTreeSet::new());
    assert_eq!(blobs.get("c/1").await.unwrap(), None);
}

#[tokio::test]
async fn no_key_has_a_time_to_live() {
    let server = Redis::start(Options::default()).await;
    let blobs = at(&server.url());
    blobs.put_new("a", noise(2 * MIB + 1)).await.unwrap();
    blobs.put_new("b", Bytes::new()).await.unwrap();
    let all = keys(&server).await;
    assert_eq!(all.len(), 5, "{all:?}");
    for key in all {
        let lives: i64 = raw(&server).await.ttl(&key).await.unwrap();
        assert_eq!(lives, -1, "{key}");
    }
}

#[tokio::test]
async fn a_range_reads_the_chunks_it_needs_and_no_other() {
    let server = Redis::start(Options::default()).await;
    let blobs = at(&server.url());
    let bytes = noise(20 * MIB);
    blobs.put_new("a", bytes.clone()).await.unwrap();
    let mut connection = raw(&server).await;
    let stat = async |connection: &mut MultiplexedConnection, section: &str, name: &str| {
        let info: String = redis::cmd("INFO").arg(section).query_async(connection).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned)).unwrap_or_default();
        line.trim_start_matches("calls=").split(',').next().unwrap().trim().parse::<u64>().unwrap_or_default()
    };
    let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut connection).await.unwrap();
    let wide = 3 * MIB as u64 - 100..3 * MIB as u64 + 100;
    let parts = blobs.get_ranges("a", &[10..20, wide]).await.unwrap().unwrap();
    assert!(parts == [bytes.slice(10..20), bytes.slice(3 * MIB - 100..3 * MIB + 100)]);
    assert_eq!(stat(&mut connection, "commandstats", "cmdstat_getrange").await, 3);
    assert_eq!(stat(&mut connection, "commandstats", "cmdstat_get").await, 1, "the header");
    assert!(stat(&mut connection, "stats", "total_net_output_bytes").await < 64 << 10);
}

#[tokio::test]
async fn a_lost_chunk_is_corrupt_and_names_the_object() {
    let server = Redis::start(Options::default()).await;
    let blobs = at(&server.url());
    blobs.put_new("c/7", noise(3 * MIB)).await.unwrap();
    let lost = keys(&server).await.into_iter().find(|key| key.ends_with(":1")).unwrap();
    let () = raw(&server).await.del(lost).await.unwrap();
    for error in [blobs.get("c/7").await.unwrap_err(), blobs.get_range("c/7", MIB as u64..MIB as u64 + 1).await.unwrap_err()] {
        assert_eq!(error.reason(), Reason::DataCorrupt);
        assert!(error.message().contains("chunk 1 of 3") && error.message().contains("c/7"), "{error}");
    }
    assert_eq!(blobs.get_range("c/7", 0..5).await.unwrap(), Some(noise(5)), "the rest can be read");
    let () = raw(&server).await.set("cloakroom:blob:{p/c/8}:h", "something else").await.unwrap();
    let error = blobs.get("c/8").await.unwrap_err();
    assert!(error.reason() == Reason::DataCorrupt && error.message().contains("c/8"), "{error}");
}

#[tokio::test]
async fn an_outage_is_an_error_that_names_the_object_and_never_an_absence() {
    let mut server = Redis::start(Options::default()).await;
    let blobs = at(&server.url());
    blobs.put_new("a", noise(2 * MIB)).await.unwrap();
    server.kill9();
    for error in [
        blobs.get("a").await.unwrap_err(),
        blobs.length("a").await.unwrap_err(),
        blobs.put_new("a", noise(1)).await.unwrap_err(),
        blobs.delete("a").await.unwrap_err(),
        blobs.list("a", 1).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.reason(), Reason::BlobsUnavailable);
        assert!(error.message().contains(" a in ") && error.message().contains(&server.port().to_string()), "{error}");
    }
    server.restart().await;
    let back = async {
        loop {
            match blobs.get("a").await {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), back).await.unwrap() == Some(noise(2 * MIB)), "nothing acknowledged is lost");
    let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut raw(&server).await).await.unwrap();
    assert_eq!(blobs.put_new("b", noise(1)).await.unwrap(), Put::Created);
}

#[tokio::test]
async fn the_users_rights_are_those_of_the_metadata() {
    let server = Redis::start(Options::default()).await;
    let acl = "ACL SETUSER coat on >sesame ~cloakroom:* &cloakroom:* +@read +@write +@scripting +@pubsub +@connection +info +time +config|get";
    let mut words = acl.split(' ');
    let () = redis::cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).query_async(&mut raw(&server).await).await.unwrap();
    let blobs = at(&server.url().replace("redis://", "redis://coat:sesame@"));
    blobs.probe().await.unwrap();
    assert_eq!(blobs.put_new("a", noise(2 * MIB)).await.unwrap(), Put::Created);
    assert_eq!(blobs.list("", 10).await.unwrap().len(), 1);
    assert!(!format!("{blobs:?} {}", blobs.location()).contains("sesame"));
    let error = at(&server.url().replace("redis://", "redis://coat:hunter2@")).probe().await.unwrap_err();
    assert!(error.message().contains("credentials") && !format!("{error:?}").contains("hunter2"), "{error:?}");
}
