//! Which blob store to use.

use std::{fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, S3ConditionalPut},
    local::LocalFileSystem,
};

use super::{
    super::redis::{RedisConfig, RedisObjects},
    Way,
    memory::Memory,
};
use crate::model::error::{Error, Reason, Result};

/// A connection that is not there by then is given up.
const CONNECT: Duration = Duration::from_secs(1);
/// No request is begun again after this, so that a dead endpoint costs about 3 s.
const RETRY: Duration = Duration::from_secs(2);
/// Most repetitions of a request.
const RETRIES: usize = 4;

/// Which blob store to use, and where in it.
#[derive(Clone, Debug)]
pub struct BlobsConfig {
    /// The store.
    pub place: Place,
    /// What all names in it begin with; empty for nothing. So one bucket can serve several deployments.
    pub prefix: String,
}

/// Where blobs live.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a directory, synced to disk.
    Local(PathBuf),
    /// In memory, until the daemon ends, and at most so many bytes.
    Memory(u64),
    /// In Redis: a single server or a Cluster.
    Redis(RedisConfig),
    /// In a bucket of S3 or of a server that speaks its protocol.
    S3(S3),
}

/// A bucket.
#[derive(Clone, Default)]
pub struct S3 {
    /// The bucket's name.
    pub bucket: String,
    /// The region; empty: `us-east-1`, which servers other than Amazon's mostly ignore.
    pub region: String,
    /// The server's URL; empty: Amazon's.
    pub endpoint: String,
    /// The access key and its secret; `None`: from the environment (`AWS_…`) or the machine's role.
    pub keys: Option<(String, String)>,
    /// Allow `http://` endpoints: only for a trusted network.
    pub allow_http: bool,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("bucket", &self.bucket).field("region", &self.region).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl BlobsConfig {
    /// In this directory.
    #[must_use]
    pub fn local(directory: impl Into<PathBuf>) -> Self {
        Self { place: Place::Local(directory.into()), prefix: String::new() }
    }

    /// In memory, at most so many bytes.
    #[must_use]
    pub fn memory(limit: u64) -> Self {
        Self { place: Place::Memory(limit), prefix: String::new() }
    }

    pub(super) fn location(&self) -> String {
        let place = match &self.place {
            Place::Local(directory) => directory.display().to_string(),
            Place::Memory(_) => "memory".to_owned(),
            // What it cannot show it does not connect to either.
            Place::Redis(redis) => format!("redis at {}", redis.location().unwrap_or_default()),
            Place::S3(s3) if s3.endpoint.is_empty() => format!("s3://{}", s3.bucket),
            Place::S3(s3) => format!("s3://{} at {}", s3.bucket, without_credentials(&s3.endpoint)),
        };
        if self.prefix.is_empty() { place } else { format!("{place} under {}", self.prefix) }
    }

    pub(super) fn connect(&self) -> Result<(Arc<dyn ObjectStore>, Way)> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if !self.prefix.chars().all(plain) || self.prefix.split('/').any(|part| matches!(part, "." | "..")) {
            let message = format!("the prefix {:?} has forbidden characters; allowed are `A-Z a-z 0-9 - _ . /`", self.prefix);
            return Err(Error::field("prefix", message));
        }
        match &self.place {
            Place::Local(directory) => Ok((self.local_store(directory)?, Way::Directory(directory.clone()))),
            Place::Memory(limit) => Ok((Arc::new(Memory::new(*limit)), Way::Memory)),
            Place::Redis(redis) => {
                let objects = RedisObjects::open(redis)?;
                Ok((Arc::new(objects.clone()), Way::Redis(objects)))
            }
            Place::S3(s3) => Ok((s3.connect()?, Way::Bucket)),
        }
    }

    fn local_store(&self, directory: &PathBuf) -> Result<Arc<dyn ObjectStore>> {
        let made = fs::create_dir_all(directory).map_err(|error| {
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem);
            let reason = if full { Reason::StorageFull } else { Reason::BlobsUnavailable };
            Error::new(reason, format!("cannot make the directory {}: {}", directory.display(), error.kind())).with_source(error)
        });
        made?;
        match LocalFileSystem::new_with_prefix(directory) {
            Ok(store) => Ok(Arc::new(store.with_fsync(true))),
            Err(error) => Err(super::errors::translate(&self.location(), "open", "the directory", error)),
        }
    }
}

impl S3 {
    fn connect(&self) -> Result<Arc<dyn ObjectStore>> {
        if self.bucket.is_empty() {
            return Err(Error::field("bucket", "the bucket's name is empty"));
        }
        if self.endpoint.starts_with("http://") && !self.allow_http {
            let message = format!("the endpoint {} is not encrypted: use https, or set allow_http on a trusted network", without_credentials(&self.endpoint));
            return Err(Error::field("endpoint", message));
        }
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_millis(500), base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY };
        // Blobs itself bounds the whole request, by its size.
        let client = ClientOptions::new().with_connect_timeout(CONNECT).with_timeout_disabled().with_allow_http(self.allow_http);
        let region = if self.region.is_empty() { "us-east-1" } else { &self.region };
        let mut builder = match &self.keys {
            Some((key, secret)) => AmazonS3Builder::new().with_access_key_id(key).with_secret_access_key(secret),
            None => AmazonS3Builder::from_env(),
        };
        builder = builder.with_bucket_name(&self.bucket).with_region(region).with_conditional_put(S3ConditionalPut::ETagMatch);
        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(&self.endpoint);
        }
        let store = builder.with_retry(retry).with_client_options(client).build();
        store
            .map(|store| Arc::new(store) as _)
            .map_err(|error| Error::field("s3", format!("the bucket {} is not configured well enough to be used", self.bucket)).with_source(error))
    }
}

/// A URL as a message may show it.
fn without_credentials(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => url.to_owned(),
    }
}
