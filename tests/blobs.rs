//! Blob stores on real servers: every rule on S3, on a Redis and on a Redis Cluster, and what is particular to Redis.

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use cloakroom_server::store::{
    blobs::{BlobsConfig, Place, S3, conformance::Opened},
    redis::RedisConfig,
};
use cloakroom_tests::{
    redis::{Cluster, Options, Redis},
    s3,
};
use tokio::sync::Mutex;

mod redis_objects;

/// Where rules run. Those that run at the same time share one, under prefixes of their own; the last one ends it.
struct Shared {
    place: Place,
    /// Kept alive.
    _servers: Box<dyn Any + Send + Sync>,
}

type Slot = Mutex<Weak<Shared>>;

async fn opened(slot: &Slot, start: impl AsyncFnOnce() -> Shared) -> Opened {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut slot = slot.lock().await;
    let shared = match slot.upgrade() {
        Some(shared) => shared,
        None => Arc::new(start().await),
    };
    *slot = Arc::downgrade(&shared);
    let prefix = format!("rule-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    Opened::twice(&BlobsConfig { place: shared.place.clone(), prefix }).with(shared)
}

fn in_redis(url: &str) -> RedisConfig {
    RedisConfig { urls: vec![url.to_owned()], ..RedisConfig::default() }
}

mod on_s3 {
    use super::{Mutex, Opened, Place, S3, Shared, Slot, Weak, opened, s3};

    async fn bucket() -> Opened {
        static SLOT: Slot = Mutex::const_new(Weak::new());
        let start = async || {
            let server = s3::S3::start("coats").await;
            let keys = Some(("test".to_owned(), "test".to_owned()));
            let place = S3 { bucket: "coats".to_owned(), region: s3::REGION.to_owned(), endpoint: server.endpoint(), keys, allow_http: true };
            Shared { place: Place::S3(place), _servers: Box::new(server) }
        };
        opened(&SLOT, start).await
    }

    cloakroom_server::blob_conformance!(bucket().await);
}

mod on_redis {
    use super::{Mutex, Opened, Options, Place, Redis, Shared, Slot, Weak, in_redis, opened};

    async fn single() -> Opened {
        static SLOT: Slot = Mutex::const_new(Weak::new());
        let start = async || {
            let server = Redis::start(Options::default()).await;
            Shared { place: Place::Redis(in_redis(&server.url())), _servers: Box::new(server) }
        };
        opened(&SLOT, start).await
    }

    cloakroom_server::blob_conformance!(single().await);
}

mod on_a_redis_cluster {
    use super::{Cluster, Mutex, Opened, Options, Place, RedisConfig, Shared, Slot, Weak, opened};

    async fn cluster() -> Opened {
        static SLOT: Slot = Mutex::const_new(Weak::new());
        let start = async || {
            let cluster = Cluster::start(Options::default()).await;
            let config = RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() };
            Shared { place: Place::Redis(config), _servers: Box::new(cluster) }
        };
        opened(&SLOT, start).await
    }

    cloakroom_server::blob_conformance!(cluster().await);
}
