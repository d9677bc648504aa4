//! The blob store keeps the keys beside what they open.

use bytes::Bytes;

use super::KeyObjects;
use crate::{
    model::error::Result,
    store::blobs::{Blobs, Put},
};

#[async_trait::async_trait]
impl KeyObjects for Blobs {
    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<bool> {
        Ok(Self::put_new(self, name, bytes).await? == Put::Created)
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Self::get(self, name).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        Self::delete(self, name).await
    }
}
