//! Opening the stores that the configuration names.

use std::sync::Arc;

use crate::{
    config::{self, Config, Engine},
    model::error::{Error, Reason, Result},
    ops::health::{Store, StoreFacts},
    store::{
        embedded::{self, Embedded},
        metadata::{EngineInfo, Metadata},
        redis::{RedisConfig, RedisStore},
    },
};

/// The opened stores.
#[derive(Debug)]
pub(super) struct Stores {
    /// Sessions, indices and events.
    pub(super) metadata: Arc<dyn Metadata>,
    closing: Closing,
}

/// What has to be closed.
#[derive(Debug)]
enum Closing {
    Embedded(Arc<Embedded>),
    Redis(Arc<RedisStore>),
}

impl Stores {
    /// Opens them. The first that cannot be opened stands against the start.
    pub(super) async fn open(config: &Config) -> Result<Self> {
        let limits = embedded::Limits { log_age: config.metadata.log_age, log_entries: small(config.metadata.log_entries), ..embedded::Limits::default() };
        match config.metadata.engine {
            Engine::Embedded => Ok(Self::embedded(Embedded::open(&config.data_dir, limits)?)),
            Engine::Ephemeral => Ok(Self::embedded(Embedded::ephemeral(limits)?)),
            Engine::Redis => {
                let store = Arc::new(RedisStore::connect(redis(&config.metadata)).await.map_err(named)?);
                Ok(Self { metadata: Arc::clone(&store) as _, closing: Closing::Redis(store) })
            }
        }
    }

    fn embedded(store: Embedded) -> Self {
        let store = Arc::new(store);
        Self { metadata: Arc::clone(&store) as _, closing: Closing::Embedded(store) }
    }

    /// What the readiness is made of.
    pub(super) fn probes(&self) -> Vec<Arc<dyn Store>> {
        vec![Arc::new(MetadataStore(Arc::clone(&self.metadata)))]
    }

    /// Finishes what was taken on and closes files and connections.
    pub(super) async fn close(self) {
        match self.closing {
            Closing::Embedded(store) => store.close().await,
            Closing::Redis(store) => store.close().await,
        }
    }
}

fn redis(config: &config::Metadata) -> RedisConfig {
    let urls = config.redis_url.as_ref().map(|urls| urls.expose().split(',').map(|url| url.trim().to_owned()).collect());
    RedisConfig {
        urls: urls.unwrap_or_default(),
        cluster: config.redis_cluster,
        prefix: config.redis_prefix.clone(),
        timeout: config.redis_timeout,
        log_window: config.log_age,
        log_entries: small(config.log_entries),
        pool: small(config.redis_pool),
    }
}

/// The engine names its own settings; the operator knows them by the names of the configuration.
fn named(error: Error) -> Error {
    let key = match error.field_name() {
        Some("prefix") => "metadata.redis_prefix",
        Some("timeout") => "metadata.redis_timeout",
        Some(_) if error.reason() == Reason::InvalidField => "metadata.redis_url",
        _ => return error,
    };
    Error::field(key, format!("{key}: {}", error.message())).with_source(error)
}

/// Bounded by the configuration's table.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct MetadataStore(Arc<dyn Metadata>);

#[async_trait::async_trait]
impl Store for MetadataStore {
    fn name(&self) -> &'static str {
        "metadata"
    }

    async fn probe(&self) -> Result<StoreFacts> {
        let EngineInfo { engine, location, exclusive, warnings } = self.0.probe().await?;
        Ok(StoreFacts { engine: engine.to_owned(), location, exclusive, warnings })
    }
}
