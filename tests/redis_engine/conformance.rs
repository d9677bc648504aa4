//! Every rule of the contract, on a single server and on a Cluster of three masters.

use std::{
    any::Any,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use cloakroom_server::{
    model::id::Namespace,
    store::{
        conformance::Fixture,
        faults::FaultPlan,
        metadata::{Metadata, Scope},
        redis::{RedisConfig, RedisStore},
    },
};
use cloakroom_tests::redis::{Cluster, Options, Redis};
use redis::cluster::ClusterClient;
use tokio::sync::Mutex;

use super::raw;

/// Where rules run. Those that run at the same time share one, in namespaces of their own; the last one ends it.
struct Place {
    config: RedisConfig,
    /// Kept alive.
    _servers: Box<dyn Any + Send + Sync>,
}

type Shared = Mutex<Weak<Place>>;

async fn share(shared: &Shared, start: impl AsyncFnOnce() -> Place) -> Arc<Place> {
    let mut shared = shared.lock().await;
    if let Some(place) = shared.upgrade() {
        return place;
    }
    let place = Arc::new(start().await);
    *shared = Arc::downgrade(&place);
    place
}

async fn single() -> OnRedis {
    static SINGLE: Shared = Mutex::const_new(Weak::new());
    let start = async || {
        let server = Redis::start(Options::default()).await;
        Place { config: super::at(&server.url()), _servers: Box::new(server) }
    };
    OnRedis::at(share(&SINGLE, start).await).await
}

async fn cluster() -> OnRedis {
    static CLUSTER: Shared = Mutex::const_new(Weak::new());
    let start = async || {
        let cluster = Cluster::start(Options::default()).await;
        Place { config: RedisConfig { urls: cluster.urls(), cluster: true, ..RedisConfig::default() }, _servers: Box::new(cluster) }
    };
    OnRedis::at(share(&CLUSTER, start).await).await
}

/// One daemon's store.
struct OnRedis {
    place: Arc<Place>,
    store: RwLock<Arc<RedisStore>>,
}

impl OnRedis {
    async fn at(place: Arc<Place>) -> Self {
        let store = RwLock::new(Arc::new(RedisStore::connect(place.config.clone()).await.unwrap()));
        Self { place, store }
    }

    fn current(&self) -> Arc<RedisStore> {
        Arc::clone(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cloakroom_server::store::conformance::async_trait]
impl Fixture for OnRedis {
    fn store(&self) -> Arc<dyn Metadata> {
        self.current()
    }

    async fn restart(&self) -> bool {
        self.current().close().await;
        let new = RedisStore::connect(self.place.config.clone()).await.unwrap();
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        true
    }

    async fn trim(&self, ns: &Namespace, scope: Scope, keep: usize) {
        let mut trim = redis::cmd("XTRIM");
        trim.arg(format!("cloakroom:{{{ns}}}:log:{}", scope.name())).arg("MAXLEN").arg("=").arg(keep);
        let urls = &self.place.config.urls;
        if self.place.config.cluster {
            let mut connection = ClusterClient::new(urls.clone()).unwrap().get_async_connection().await.unwrap();
            trim.exec_async(&mut connection).await.unwrap();
        } else {
            trim.exec_async(&mut raw(&urls[0]).await).await.unwrap();
        }
    }

    fn faults(&self) -> FaultPlan {
        self.current().faults()
    }
}

mod on_a_single_server {
    use super::single;

    cloakroom_server::conformance!(single().await);
}

mod on_a_cluster {
    use super::cluster;

    cloakroom_server::conformance!(cluster().await);
}
