//! Opening the stores that the configuration names.

use std::sync::Arc;

use crate::{
    config::{self, Backend, Config, Engine},
    flow::keyring::KeySource,
    model::error::{Error, Reason, Result},
    ops::health::{Store, StoreFacts},
    store::{
        blobs::{Blobs, BlobsConfig, Place, S3},
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
    /// Profiles and keys.
    pub(super) blobs: Arc<Blobs>,
    backend: Backend,
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
        let (metadata, closing): (Arc<dyn Metadata>, Closing) = match config.metadata.engine {
            Engine::Embedded => embedded(Embedded::open(&config.data_dir, limits)?),
            Engine::Ephemeral => embedded(Embedded::ephemeral(limits)?),
            Engine::Redis => {
                let store = Arc::new(RedisStore::connect(redis(&config.metadata)).await.map_err(named)?);
                (Arc::clone(&store) as _, Closing::Redis(store))
            }
        };
        let blobs = Arc::new(Blobs::open(&blobs(config))?);
        blobs.probe().await?;
        Ok(Self { metadata, blobs, backend: config.blobs.backend, closing })
    }

    /// What the readiness is made of.
    pub(super) fn probes(&self) -> Vec<Arc<dyn Store>> {
        let blobs = BlobStore { blobs: Arc::clone(&self.blobs), backend: self.backend };
        vec![Arc::new(MetadataStore(Arc::clone(&self.metadata))), Arc::new(blobs)]
    }

    /// Finishes what was taken on and closes files and connections.
    pub(super) async fn close(self) {
        match self.closing {
            Closing::Embedded(store) => store.close().await,
            Closing::Redis(store) => store.close().await,
        }
    }
}

fn embedded(store: Embedded) -> (Arc<dyn Metadata>, Closing) {
    let store = Arc::new(store);
    (Arc::clone(&store) as _, Closing::Embedded(store))
}

fn blobs(config: &Config) -> BlobsConfig {
    let wanted = &config.blobs;
    let place = match wanted.backend {
        Backend::Local => Place::Local(wanted.path.clone().unwrap_or_else(|| config.data_dir.join("blobs"))),
        Backend::Memory => Place::Memory,
        Backend::S3 => {
            let keys = wanted.access_key_id.as_ref().zip(wanted.secret_access_key.as_ref());
            Place::S3(S3 {
                bucket: wanted.bucket.clone(),
                region: wanted.region.clone(),
                endpoint: wanted.endpoint.clone(),
                keys: keys.map(|(id, secret)| (id.expose().to_owned(), secret.expose().to_owned())),
                allow_http: wanted.endpoint.starts_with("http://"),
            })
        }
    };
    BlobsConfig { place, prefix: wanted.prefix.clone() }
}

/// Where the master key is. Only with everything on this machine may a missing one be made.
pub(super) fn key_source(config: &Config) -> KeySource {
    let default = || config.data_dir.join("master.key");
    let own = config.metadata.engine != Engine::Redis && config.blobs.backend != Backend::S3;
    match (&config.keys.master_key, &config.keys.master_key_file) {
        (Some(text), _) => KeySource::Value { name: "keys.master_key".to_owned(), text: text.expose().to_owned() },
        (None, Some(path)) => KeySource::File(path.clone()),
        (None, None) if own => KeySource::Default(default()),
        (None, None) => KeySource::File(default()),
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

#[derive(Debug)]
struct BlobStore {
    blobs: Arc<Blobs>,
    backend: Backend,
}

#[async_trait::async_trait]
impl Store for BlobStore {
    fn name(&self) -> &'static str {
        "blobs"
    }

    async fn probe(&self) -> Result<StoreFacts> {
        self.blobs.reach().await?;
        let (engine, warnings) = match self.backend {
            Backend::Local => ("local", Vec::new()),
            Backend::S3 => ("s3", Vec::new()),
            Backend::Memory => ("memory", vec!["Profiles are in memory and are lost when the daemon ends; set blobs.backend to local or s3.".to_owned()]),
        };
        Ok(StoreFacts { engine: engine.to_owned(), location: self.blobs.location().to_owned(), exclusive: true, warnings })
    }
}
