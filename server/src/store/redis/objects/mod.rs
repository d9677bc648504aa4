//! Blobs in Redis: a single server or a Cluster as the primary store, for fleets that have no bucket.
//!
//! An object is a header and chunks of 1 MiB, all in one slot by the hash tag `{<name>}`:
//!
//! | key                            | type   | what                                                             |
//! |--------------------------------|--------|------------------------------------------------------------------|
//! | `blob:{<name>}:h`              | string | the header: `1 <upload> <length> <bytes of a chunk> <created, µs>` |
//! | `blob:{<name>}:c:<upload>:<n>` | string | chunk `n` of what the write `<upload>` sent                      |
//!
//! Each key stands behind the configured prefix, and none has a time to live. The header is written last, by a script that finds none and all chunks there: so of racing writers
//! one creates the object, and nobody sees a part of one. Chunks whose `<upload>` the header does not name, or that have no header, belong to a write that is under way or died.
//!
//! Blobs are written once and whole: nothing is overwritten, copied, or sent in parts by its caller.

mod keys;
mod list;
mod read;
mod write;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::keys::Keys;
use super::{config::RedisConfig, connect::Link, failure::Failure, probe};
use crate::model::error;

/// Most chunks that are under way at a time, so that those before one in the connection do not make it late.
const LANES: usize = 8;
/// How much longer than other commands one with a chunk may take: as many chunks as there are lanes, at 1 MiB per second.
const MOVING: Duration = Duration::from_secs(8);
/// How long [`RedisObjects::close`] waits for writes that nobody waits for.
const CLOSING: Duration = Duration::from_secs(2);
/// The longest that [`RedisConfig`] allows.
const LONGEST: Duration = Duration::from_mins(1);

/// Objects in Redis. Connects when it is first asked.
#[derive(Clone)]
pub(in crate::store) struct RedisObjects(Arc<Inner>);

struct Inner {
    config: RedisConfig,
    location: String,
    keys: Keys,
    lanes: Semaphore,
    ready: OnceCell<Ready>,
    /// Writes, which end in order also when nobody waits for them any longer.
    writes: TaskTracker,
}

/// A connection, and the task that brings it back.
struct Ready {
    link: Arc<Link>,
    _mending: Mutex<JoinSet<()>>,
}

impl RedisObjects {
    /// Checks the configuration; nothing is reached yet.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming the field.
    pub(in crate::store) fn open(config: &RedisConfig) -> error::Result<Self> {
        let location = config.location()?;
        let timeout = config.timeout.saturating_add(MOVING).min(LONGEST);
        let config = RedisConfig { timeout, ..config.clone() };
        let keys = Keys::new(&config.prefix);
        Ok(Self(Arc::new(Inner { config, location, keys, lanes: Semaphore::new(LANES), ready: OnceCell::new(), writes: TaskTracker::new() })))
    }

    /// What an operator should know of the server.
    ///
    /// # Errors
    /// When it cannot be reached, or must not be used, with what to do.
    pub(in crate::store) async fn examine(&self) -> error::Result<Vec<String>> {
        Ok(probe::examine(self.connected().await?).await?.warnings)
    }

    /// Waits for what writes that were given up have to clear away, at most two seconds.
    pub(in crate::store) async fn close(&self) {
        self.0.writes.close();
        if timeout(CLOSING, self.0.writes.wait()).await.is_err() {
            tracing::warn!(redis = %self.0.location, "writes of profiles did not end in time; chunks that no header names may stay in Redis");
        }
    }

    async fn connected(&self) -> error::Result<&Arc<Link>> {
        let connect = async || {
            let link = Arc::new(Link::connect(&self.0.config).await?);
            probe::examine(&link).await?;
            let mut tasks = JoinSet::new();
            let mended = Arc::clone(&link);
            // Ends with this store.
            tasks.spawn(async move { mended.mend(CancellationToken::new()).await });
            Ok(Ready { link, _mending: Mutex::new(tasks) })
        };
        self.0.ready.get_or_try_init(connect).await.map(|ready| &ready.link)
    }

    async fn link(&self) -> Result<&Arc<Link>> {
        self.connected().await.map_err(told)
    }

    fn failed(&self, failure: Failure) -> Error {
        told(failure.error(&self.0.location))
    }
}

/// An error of ours within one of the trait's, where [`super::super::blobs`] finds it again.
fn told(error: error::Error) -> Error {
    Error::Generic { store: "Redis", source: error.into() }
}

fn not_found(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "there is no header".into() }
}

fn cannot(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "Redis".to_owned() }
}

#[async_trait::async_trait]
impl ObjectStore for RedisObjects {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return Err(cannot("overwriting"));
        }
        self.create(path, payload.into()).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: options.extensions })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(cannot("writing in parts"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let header = self.header(path).await?.ok_or_else(|| not_found(path))?;
        let meta = list::meta(path.clone(), &header);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => bounded(range, header.length)?,
            None => 0..header.length,
        };
        let bytes = if options.head { stream::empty().boxed() } else { self.clone().read(path.clone(), header, &range) };
        Ok(GetResult { payload: GetResultPayload::Stream(bytes), meta, range, attributes: Attributes::new(), extensions: options.extensions })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let header = self.header(path).await?.ok_or_else(|| not_found(path))?;
        let reads = ranges.iter().map(|range| {
            let (this, header) = (self.clone(), header.clone());
            async move {
                let range = bounded(&GetRange::Bounded(range.clone()), header.length)?;
                read::join(this.read(path.clone(), header, &range), range.end - range.start).await
            }
        });
        stream::iter(reads.collect::<Vec<_>>()).buffered(LANES).try_collect().await
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
        self.clone().objects_in(directory.map(ToString::to_string).unwrap_or_default())
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(cannot("listing one level of a directory"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(cannot("copying"))
    }
}

fn bounded(range: &GetRange, length: u64) -> Result<Range<u64>> {
    range.as_range(length).map_err(|source| Error::Generic { store: "Redis", source: source.to_string().into() })
}

impl fmt::Display for RedisObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis at {}", self.0.location)
    }
}

impl fmt::Debug for RedisObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisObjects").field("location", &self.0.location).finish_non_exhaustive()
    }
}
