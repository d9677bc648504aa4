//! Objects in memory, up to a size.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use tokio::sync::Mutex;

use crate::model::error::{self, Reason};

/// Objects in memory, whose lengths together do not exceed a limit.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    objects: InMemory,
    /// In bytes.
    limit: u64,
    /// Lengths of all objects together. Held while one is created or deleted, so that it is always right.
    used: Mutex<u64>,
}

impl Memory {
    /// Nothing yet, and never more than `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self(Arc::new(Inner { objects: InMemory::new(), limit, used: Mutex::default() }))
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        let mut used = self.0.used.lock().await;
        let length = match self.0.objects.head(path).await {
            Ok(meta) => meta.size,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.0.objects.delete(path).await?;
        *used -= length;
        Ok(())
    }
}

fn cannot(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "memory".to_owned() }
}

#[async_trait::async_trait]
impl ObjectStore for Memory {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return Err(cannot("overwriting"));
        }
        let mut used = self.0.used.lock().await;
        let length = payload.content_length() as u64;
        // What exists is told first: it costs no room.
        if length > self.0.limit - *used && self.0.objects.head(path).await.is_err() {
            let message = format!("{} of its {} bytes are used, and this needs {length}", *used, self.0.limit);
            let full = error::Error::new(Reason::StorageFull, message).with_help("raise blobs.memory_size, or keep profiles elsewhere (blobs.backend)");
            return Err(Error::Generic { store: "memory", source: full.into() });
        }
        let put = self.0.objects.put_opts(path, payload, options).await?;
        *used += length;
        Ok(put)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(cannot("writing in parts"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.objects.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.objects.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Path| {
            let this = this.clone();
            async move { this.remove(&path).await.map(|()| path) }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, directory: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects.list(directory)
    }

    async fn list_with_delimiter(&self, directory: Option<&Path>) -> Result<ListResult> {
        self.0.objects.list_with_delimiter(directory).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(cannot("copying"))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}
