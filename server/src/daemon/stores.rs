//! Opening the stores that the configuration names.

use std::sync::Arc;

use crate::{
    config::{Config, Engine},
    model::error::{Error, Result},
    ops::health::{Store, StoreFacts},
    store::{
        embedded::{self, Embedded},
        metadata::{EngineInfo, Metadata},
    },
};

/// The opened stores.
#[derive(Debug)]
pub(super) struct Stores {
    /// Sessions, indices and events.
    pub(super) metadata: Arc<dyn Metadata>,
    /// The embedded engine has files to close.
    embedded: Option<Arc<Embedded>>,
}

impl Stores {
    /// Opens them. The first that cannot be opened stands against the start.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let limits = embedded::Limits::default();
        let embedded = match config.metadata.engine {
            Engine::Embedded => Embedded::open(&config.data_dir, limits)?,
            Engine::Ephemeral => Embedded::ephemeral(limits)?,
            Engine::Redis => return Err(Error::field("metadata.engine", "the Redis engine is not part of this build")),
        };
        let embedded = Arc::new(embedded);
        Ok(Self { metadata: Arc::clone(&embedded) as _, embedded: Some(embedded) })
    }

    /// What the readiness is made of.
    pub(super) fn probes(&self) -> Vec<Arc<dyn Store>> {
        vec![Arc::new(MetadataStore(Arc::clone(&self.metadata)))]
    }

    /// Finishes what was taken on and closes files.
    pub(super) async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.close().await;
        }
    }
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
