//! Opening the stores that the configuration names, and the keys to what they hold.

use std::{path::PathBuf, sync::Arc};

use crate::{
    config::{self, Backend, Config, Engine},
    flow::keyring::{KeySource, Keyring},
    model::error::{Error, Reason, Result},
    ops::health::{Store, StoreFacts},
    store::{
        blobs::{Blobs, BlobsConfig, Place, S3},
        embedded::{self, Embedded},
        metadata::{EngineInfo, Metadata},
        redis::{RedisConfig, RedisStore},
    },
};

/// An object that is always there once the keyring was opened; asking for it reaches the store.
const LANDMARK: &str = "k/_check";

/// The opened stores.
#[derive(Debug)]
pub(super) struct Stores {
    /// Sessions, indices and events.
    pub(super) metadata: Arc<dyn Metadata>,
    /// Profiles.
    pub(super) blobs: Arc<Blobs>,
    /// The keys to both.
    pub(super) keyring: Arc<Keyring>,
    /// What has to be closed.
    pub(super) closing: Closing,
    backend: &'static str,
}

/// An engine with files or connections.
#[derive(Clone, Debug)]
pub(super) enum Closing {
    Embedded(Arc<Embedded>),
    Redis(Arc<RedisStore>),
}

impl Stores {
    /// Opens them. The first that cannot be opened stands against the start; those before it are closed again.
    pub(super) async fn open(config: &Config) -> Result<Self> {
        // The engine first: it locks the data directory, which also protects a new key file and the local directory of profiles.
        let (metadata, closing) = metadata(config).await?;
        let (blobs, keyring) = match keyring(config, &metadata).await {
            Ok(opened) => opened,
            Err(error) => {
                closing.close().await;
                return Err(error);
            }
        };
        let backend = match config.blobs.backend {
            Backend::Local => "local",
            Backend::S3 => "s3",
            Backend::Redis if blobs_redis(config).cluster => "redis-cluster",
            Backend::Redis => "redis",
            Backend::Memory => "memory",
        };
        Ok(Self { metadata, blobs, keyring, closing, backend })
    }

    /// What the readiness is made of.
    pub(super) fn probes(&self) -> Vec<Arc<dyn Store>> {
        vec![Arc::new(MetadataStore(Arc::clone(&self.metadata))), Arc::new(BlobStore { blobs: Arc::clone(&self.blobs), backend: self.backend })]
    }
}

impl Closing {
    /// Finishes what was taken on and closes files and connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => store.close().await,
        }
    }
}

async fn keyring(config: &Config, metadata: &Arc<dyn Metadata>) -> Result<(Arc<Blobs>, Arc<Keyring>)> {
    let blobs = Arc::new(open_blobs(config)?);
    // What must not be used is told before it is tried.
    blobs.warnings().await.map_err(|error| reached(config, error))?;
    blobs.probe().await?;
    let keyring = Keyring::open(&keys(config), Arc::clone(metadata), Arc::clone(&blobs) as _).await?;
    Ok((blobs, keyring))
}

async fn metadata(config: &Config) -> Result<(Arc<dyn Metadata>, Closing)> {
    let limits = embedded::Limits { log_age: config.metadata.log_age, log_entries: small(config.metadata.log_entries), ..embedded::Limits::default() };
    let embedded = match config.metadata.engine {
        Engine::Embedded => Arc::new(Embedded::open(&config.data_dir, limits)?),
        Engine::Ephemeral => Arc::new(Embedded::ephemeral(limits)?),
        Engine::Redis => {
            let store = Arc::new(RedisStore::connect(redis(&config.metadata)).await.map_err(named)?);
            return Ok((Arc::clone(&store) as _, Closing::Redis(store)));
        }
    };
    Ok((Arc::clone(&embedded) as _, Closing::Embedded(embedded)))
}

pub(super) fn redis(config: &config::Metadata) -> RedisConfig {
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

/// Where blobs are in Redis: where the metadata would be, unless it is said otherwise.
pub(super) fn blobs_redis(config: &Config) -> RedisConfig {
    let own = config.blobs.redis_url.as_ref();
    let (url, cluster) = if own.is_some() { (own, config.blobs.redis_cluster) } else { (config.metadata.redis_url.as_ref(), config.metadata.redis_cluster) };
    redis(&config::Metadata { redis_url: url.cloned(), redis_cluster: cluster, ..config.metadata.clone() })
}

/// Opens the store of profiles; nothing outside this machine is reached.
pub(super) fn open_blobs(config: &Config) -> Result<Blobs> {
    Blobs::open(&blobs(config)).map_err(|error| match error.field_name() {
        Some(field) if field.starts_with("urls") && config.blobs.redis_url.is_some() => {
            Error::field("blobs.redis_url", format!("blobs.redis_url: {}", error.message())).with_source(error)
        }
        _ => named(error),
    })
}

/// Whose address is to be looked at when profiles' Redis is not reached.
fn reached(config: &Config, error: Error) -> Error {
    if config.blobs.backend != Backend::Redis || error.reason() != Reason::BlobsUnavailable || error.help().is_some() {
        return error;
    }
    let key = if config.blobs.redis_url.is_some() { "blobs.redis_url" } else { "metadata.redis_url" };
    error.with_help(format!("check that Redis runs there, and that {key} is right"))
}

fn blobs(config: &Config) -> BlobsConfig {
    let blobs = &config.blobs;
    match blobs.backend {
        Backend::Memory => BlobsConfig::memory(blobs.memory_size as u64),
        Backend::Redis => BlobsConfig { place: Place::Redis(blobs_redis(config)), prefix: blobs.prefix.clone() },
        Backend::Local => BlobsConfig::local(blob_directory(config)),
        Backend::S3 => {
            let keys = blobs.access_key_id.as_ref().zip(blobs.secret_access_key.as_ref());
            let s3 = S3 {
                bucket: blobs.bucket.clone(),
                region: blobs.region.clone(),
                endpoint: blobs.endpoint.clone(),
                keys: keys.map(|(id, secret)| (id.expose().to_owned(), secret.expose().to_owned())),
                // An operator who writes http:// means it; packs are sealed before they leave.
                allow_http: blobs.endpoint.starts_with("http://"),
            };
            BlobsConfig { place: Place::S3(s3), prefix: blobs.prefix.clone() }
        }
    }
}

pub(super) fn keys(config: &Config) -> KeySource {
    match (&config.keys.master_key_file, &config.keys.master_key) {
        (Some(path), _) => KeySource::File(path.clone()),
        (None, Some(text)) => KeySource::Value { name: "keys.master_key".to_owned(), text: text.expose().to_owned() },
        // What lives in memory leaves nothing behind that a key could open.
        (None, None) if config.metadata.engine == Engine::Ephemeral && config.blobs.backend == Backend::Memory => KeySource::Passing,
        (None, None) => KeySource::Default(default_key_file(config)),
    }
}

/// Where profiles lie on this machine.
pub(super) fn blob_directory(config: &Config) -> PathBuf {
    config.blobs.path.clone().unwrap_or_else(|| config.data_dir.join("blobs"))
}

/// Whether a daemon has kept profiles on this machine, so that there must be a key.
pub(super) fn has_data(config: &Config) -> bool {
    config.blobs.backend == Backend::Local && blob_directory(config).join(LANDMARK).exists()
}

/// Whether there is no data yet, as far as this machine's files tell.
pub(super) fn fresh(config: &Config) -> Option<bool> {
    let here = config.blobs.backend == Backend::Local && config.metadata.engine == Engine::Embedded;
    if has_data(config) { Some(false) } else { (here && !config.data_dir.join("metadata.sqlite").exists()).then_some(true) }
}

/// Beside the data it opens.
fn default_key_file(config: &Config) -> PathBuf {
    config.data_dir.join("master.key")
}

/// The stores name their own settings; the operator knows them by the names of the configuration.
pub(super) fn named(error: Error) -> Error {
    if error.reason() == Reason::MetadataUnavailable && error.help().is_none() {
        return error.with_help("check that Redis runs there, and that metadata.redis_url is right");
    }
    let key = match error.field_name() {
        _ if error.reason() != Reason::InvalidField => return error,
        Some("prefix") if error.message().starts_with("the key prefix") => "metadata.redis_prefix",
        Some("timeout") => "metadata.redis_timeout",
        Some("prefix") => "blobs.prefix",
        Some("bucket") => "blobs.bucket",
        Some("endpoint" | "s3") => "blobs.endpoint",
        _ => "metadata.redis_url",
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
    backend: &'static str,
}

#[async_trait::async_trait]
impl Store for BlobStore {
    fn name(&self) -> &'static str {
        "blobs"
    }

    async fn probe(&self) -> Result<StoreFacts> {
        let mut warnings = self.blobs.warnings().await?;
        if self.blobs.length(LANDMARK).await?.is_none() {
            warnings.push(format!("The object {LANDMARK} is gone: something else deletes what the daemon keeps here."));
        }
        // Redis replicates asynchronously: a fail-over can undo what was acknowledged.
        let exclusive = !self.backend.starts_with("redis");
        Ok(StoreFacts { engine: self.backend.to_owned(), location: self.blobs.location().to_owned(), exclusive, warnings })
    }
}
