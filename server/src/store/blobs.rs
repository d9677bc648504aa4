//! The blob store: objects that are written once, under names that are never used again.
//!
//! What the rules above rely on:
//! - [`Blobs::put_new`] creates or refuses, atomically, also between daemons, and what was created survives the machine ([`Blobs::probe`] tries the first at start);
//! - an outage is an error and never an absence.
//!
//! A failed `put_new` may have created the object or not; whoever repeats it must be able to recognise its own work.

use std::{fmt, future::Future, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, coalesce_ranges, path::Path};
use tokio::time::timeout;

use crate::{
    clock,
    model::error::{Error, Reason, Result},
};

mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod counts;
mod errors;
mod local;
mod memory;

pub use config::{BlobsConfig, Place, S3};
pub use counts::Counts;

use super::redis::RedisObjects;
use counts::Counters;

/// How long a request may take, whatever its size.
const PATIENCE: Duration = Duration::from_secs(5);
/// How fast a request must be at least, in bytes per second, beyond that.
const SLOWEST: u64 = 256 * 1024;
/// Ranges of a remote object that lie at most so far apart are read in one request: to skip more costs less than another round trip brings.
const GAP: u64 = 1024 * 1024;

/// What became of a [`Blobs::put_new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is there now, durably.
    Created,
    /// There was one of that name; it stays as it is.
    Exists,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
}

/// A blob store.
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    location: String,
    way: Way,
    counters: Counters,
}

/// How objects are reached, as far as it makes a difference here.
enum Way {
    /// As files in this directory.
    Directory(PathBuf),
    /// They are in this process.
    Memory,
    /// By HTTP.
    Bucket,
    /// By commands of Redis.
    Redis(RedisObjects),
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens a store; a local directory is made if need be. Nothing remote is reached yet: [`Self::probe`] does.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming the setting that makes no sense; `BLOBS_UNAVAILABLE` or `STORAGE_FULL` when a directory cannot be made.
    pub fn open(config: &BlobsConfig) -> Result<Self> {
        let (store, way) = config.connect()?;
        let mut prefix = config.prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        Ok(Self { store, prefix, location: config.location(), way, counters: Counters::default() })
    }

    /// Where it is, without credentials.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether reading means asking another machine.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.way, Way::Bucket | Way::Redis(_))
    }

    /// What an operator should know of it, a sentence each.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE` when it cannot be reached, or must not be used any longer, with what to do.
    pub async fn warnings(&self) -> Result<Vec<String>> {
        match &self.way {
            Way::Memory => Ok(vec!["All profiles live in memory and end with the daemon.".to_owned()]),
            Way::Redis(objects) => {
                let server = self.within(0, objects.examine()).await?;
                let mut warnings = server.map_err(|error| errors::own(&self.location, "examine", "the server", &error))?;
                warnings.insert(0, "All profiles live in this Redis alone: who loses it or its memory loses saves.".to_owned());
                Ok(warnings)
            }
            Way::Directory(_) | Way::Bucket => Ok(Vec::new()),
        }
    }

    /// Lets end what goes on without its caller, at most two seconds. Nothing is to be asked of the store after that.
    pub async fn close(&self) {
        if let Way::Redis(objects) = &self.way {
            objects.close().await;
        }
    }

    /// How many requests were made since it was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Creates an object, if there is none of that name.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE`, `STORAGE_FULL`; the object may then be there or not.
    pub async fn put_new(&self, name: &str, bytes: Bytes) -> Result<Put> {
        self.counters.put(bytes.len());
        let (path, options) = (self.path(name), PutOptions::from(PutMode::Create));
        let length = bytes.len() as u64;
        match self.within(length, self.store.put_opts(&path, bytes.into(), options)).await? {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(Put::Exists),
            Err(error) => Err(self.failed("write", name, error)),
        }
    }

    /// Reads an object; `None` when there is none.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE`.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.counters.get(1);
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        // Its length is not known before; packs have at most some 100 MiB.
        let found = self.within(128 << 20, read).await?;
        let found = self.or_absent("read", name, found)?;
        self.counters.read_bytes(found.iter().map(Bytes::len).sum());
        Ok(found)
    }

    /// Reads parts of an object; `None` when there is no such object.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when a range lies behind its end, `BLOBS_UNAVAILABLE`.
    pub async fn get_ranges(&self, name: &str, ranges: &[Range<u64>]) -> Result<Option<Vec<Bytes>>> {
        let path = self.path(name);
        let wanted = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let read = async {
            if matches!(self.way, Way::Bucket) {
                let fetch = |range| {
                    self.counters.get(1);
                    let path = &path;
                    async move { self.store.get_range(path, range).await }
                };
                return coalesce_ranges(ranges, fetch, GAP).await;
            }
            self.counters.get(1);
            match &self.way {
                Way::Directory(directory) => local::read(directory.join(path.as_ref()), ranges.to_vec()).await,
                _ => self.store.get_ranges(&path, ranges).await,
            }
        };
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let short = || Error::new(Reason::DataCorrupt, format!("object {name} is shorter than what refers to it says"));
        let parts = match self.or_absent("read", name, self.within(wanted, read).await?) {
            Ok(None) => return Ok(None),
            Ok(Some(parts)) => parts,
            // Stores tell a range behind the end in many ways; its length tells it in one.
            Err(error) => return Err(if self.length(name).await?.is_some_and(|length| length < end) { short() } else { error }),
        };
        let whole = parts.len() == ranges.len() && parts.iter().zip(ranges).all(|(part, range)| part.len() as u64 == range.end - range.start);
        self.counters.read_bytes(parts.iter().map(Bytes::len).sum());
        if whole { Ok(Some(parts)) } else { Err(short()) }
    }

    /// Reads a part of an object; `None` when there is no such object.
    ///
    /// # Errors
    /// As [`Self::get_ranges`].
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        let parts = self.get_ranges(name, std::slice::from_ref(&range)).await?;
        Ok(parts.and_then(|parts| parts.into_iter().next()))
    }

    /// The length of an object in bytes; `None` when there is none.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE`.
    pub async fn length(&self, name: &str) -> Result<Option<u64>> {
        self.counters.get(1);
        let path = self.path(name);
        let found = self.within(0, self.store.head(&path)).await?;
        Ok(self.or_absent("look for", name, found)?.map(|meta| meta.size))
    }

    /// Deletes an object. Deleting what is not there succeeds.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE`.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.counters.delete();
        let path = self.path(name);
        let deleted = self.within(0, self.store.delete(&path)).await?;
        self.or_absent("delete", name, deleted).map(drop)
    }

    /// Up to `limit` objects whose names begin with the directory `prefix`, in no particular order.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE`.
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Listed>> {
        self.counters.list();
        let path = self.path(prefix);
        let listing = self.store.list(Some(&path)).take(limit).try_collect::<Vec<ObjectMeta>>();
        let found = self.within(128 << 20, listing).await?;
        let found = self.or_absent("list", prefix, found)?.unwrap_or_default();
        let name = |path: &Path| path.as_ref().strip_prefix(&self.prefix).unwrap_or(path.as_ref()).to_owned();
        Ok(found.iter().map(|meta| Listed { name: name(&meta.location), length: meta.size }).collect())
    }

    /// Tries out what everything relies on: an object is created, refused the second time, read back and deleted.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE` or `STORAGE_FULL`, saying what does not work and what to do.
    pub async fn probe(&self) -> Result<()> {
        let random = u64::from_be_bytes(clock::random()?);
        let name = format!("probe/{random:016x}");
        let text = Bytes::from(format!("cloakroom tries its blob store: {random:016x}"));
        let unfit = |problem: &str| {
            let message = format!("the blob store {} is not fit for use: {problem}", self.location);
            Error::new(Reason::BlobsUnavailable, message).with_help("use a store that creates objects conditionally (If-None-Match) and reads its own writes")
        };
        if self.put_new(&name, text.clone()).await? == Put::Exists {
            return Err(unfit("it says that an object exists which was never written"));
        }
        if self.put_new(&name, Bytes::from_static(b"overwritten")).await? == Put::Created {
            return Err(unfit("it overwrites objects that it was told only to create"));
        }
        if self.get(&name).await? != Some(text) {
            return Err(unfit("it does not give back what was written"));
        }
        self.delete(&name).await
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    /// Waits for a request that moves about `bytes` bytes.
    async fn within<T>(&self, bytes: u64, request: impl Future<Output = T>) -> Result<T> {
        let limit = PATIENCE + Duration::from_secs(bytes / SLOWEST);
        timeout(limit, request).await.map_err(|_| {
            let message = format!("the blob store {} did not answer within {} s", self.location, limit.as_secs());
            Error::new(Reason::BlobsUnavailable, message)
        })
    }

    fn or_absent<T>(&self, what: &str, name: &str, result: object_store::Result<T>) -> Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            // A missing bucket is no missing object.
            Err(error @ object_store::Error::NotFound { .. }) if !errors::is_no_bucket(&error) => Ok(None),
            Err(error) => Err(self.failed(what, name, error)),
        }
    }

    fn failed(&self, what: &str, name: &str, error: object_store::Error) -> Error {
        errors::translate(&self.location, what, name, error)
    }
}

#[cfg(test)]
mod tests;
