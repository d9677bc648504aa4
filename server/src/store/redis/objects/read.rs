//! Reading objects: the header, then the chunks that hold what is wanted.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{Error, Result, path::Path};
use redis::{Value, cmd};

use super::{
    RedisObjects,
    keys::{CHUNK, Header},
    not_found, told,
};
use crate::model::error::{self, Reason};

/// Chunks that one reader asks for at a time.
const AHEAD: usize = 4;

impl RedisObjects {
    /// What there is under a name.
    pub(super) async fn header(&self, path: &Path) -> Result<Option<Header>> {
        let mut get = cmd("GET");
        get.arg(self.0.keys.header(path));
        match self.link().await?.read(&get).await.map_err(|failure| self.failed(failure))? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Header::read(path, &value).map(Some).map_err(told),
            _ => Err(told(super::super::failure::corrupt("something else than a header"))),
        }
    }

    /// Bytes of an object in their order, a chunk or less at a time.
    pub(super) fn read(self, path: Path, header: Header, bytes: &Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let pieces = header.pieces(bytes);
        let read = move |(number, part)| {
            let (this, path, header) = (self.clone(), path.clone(), header.clone());
            async move { this.piece(&path, &header, number, part).await }
        };
        stream::iter(pieces).map(read).buffered(AHEAD).boxed()
    }

    async fn piece(&self, path: &Path, header: &Header, number: u64, part: Range<u64>) -> Result<Bytes> {
        let key = self.0.keys.chunk(path, &header.upload, number);
        let mut command = if part == (0..header.chunk) { cmd("GET") } else { cmd("GETRANGE") };
        command.arg(key);
        if part != (0..header.chunk) {
            command.arg(part.start).arg(part.end - 1);
        }
        let link = self.link().await?;
        let lane = self.0.lanes.acquire().await;
        let answer = link.read(&command).await.map_err(|failure| self.failed(failure))?;
        drop(lane);
        match answer {
            Value::BulkString(bytes) if bytes.len() as u64 == part.end - part.start => Ok(bytes.into()),
            _ => Err(self.lacking(path, header, number).await),
        }
    }

    /// A chunk is not there: the object was deleted meanwhile, or Redis lost a part of it.
    async fn lacking(&self, path: &Path, header: &Header, number: u64) -> Error {
        match self.header(path).await {
            Err(error) => error,
            Ok(Some(now)) if now == *header => {
                let message = format!("Redis at {} has lost chunk {number} of {} of the object {path}", self.0.location, header.chunks());
                told(
                    error::Error::new(Reason::DataCorrupt, message)
                        .with_help("look for what else deletes or evicts keys there; the object can only come back from a backup"),
                )
            }
            Ok(_) => not_found(path),
        }
    }
}

/// All bytes of a stream in one piece.
pub(super) async fn join(mut bytes: BoxStream<'static, Result<Bytes>>, length: u64) -> Result<Bytes> {
    if length <= CHUNK {
        // Nearly always one piece, which needs no copy.
        let first = bytes.try_next().await?.unwrap_or_default();
        if first.len() as u64 == length {
            return Ok(first);
        }
        let mut all = BytesMut::from(first);
        while let Some(next) = bytes.try_next().await? {
            all.extend_from_slice(&next);
        }
        return Ok(all.freeze());
    }
    let mut all = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    while let Some(next) = bytes.try_next().await? {
        all.extend_from_slice(&next);
    }
    Ok(all.freeze())
}
