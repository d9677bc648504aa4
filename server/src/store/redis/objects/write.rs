//! Creating and deleting objects.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{Error, Result, path::Path};
use redis::{Value, cmd};
use tokio_util::sync::CancellationToken;

use super::{
    super::script::{ABANDON_OBJECT, Args, COMMIT_OBJECT, DELETE_OBJECT, Lua},
    RedisObjects,
    keys::{Header, unexpected},
    told,
};
use crate::model::error::{self, Reason};

/// Chunks that one writer has under way.
const ABREAST: usize = 4;
/// How often a delete looks again after it met another object than it looked at.
const LOOKS: usize = 3;

impl RedisObjects {
    /// Creates an object; `AlreadyExists` when there is one. Given up by its caller, it stops and clears away what it sent.
    pub(super) async fn create(&self, path: &Path, bytes: Bytes) -> Result<()> {
        // Who repeats itself need not send everything again.
        if self.header(path).await?.is_some() {
            return Err(exists(path));
        }
        let header = Header::new(bytes.len() as u64).map_err(told)?;
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        let (this, path) = (self.clone(), path.clone());
        let settled = self.0.writes.spawn(async move { this.settle(&path, &header, &bytes, &given_up).await });
        settled.await.map_err(|source| Error::JoinError { source })?
    }

    /// Writes an object. After this it is there, or never comes.
    async fn settle(&self, path: &Path, header: &Header, bytes: &Bytes, given_up: &CancellationToken) -> Result<()> {
        let landed = given_up.run_until_cancelled(self.land(path, header, bytes)).await;
        if matches!(landed, Some(Ok(true))) {
            return Ok(());
        }
        let keys = self.0.keys.all(path, header);
        match (self.ask(&ABANDON_OBJECT, &keys, &[header.value()]).await, landed) {
            // Only the answer of the commit was lost.
            (Ok(Value::Int(1)), _) => Ok(()),
            (_, Some(Err(error))) => Err(error),
            _ => Err(exists(path)),
        }
    }

    /// Sends the chunks, then the header; whether it is the one that stands there now.
    async fn land(&self, path: &Path, header: &Header, bytes: &Bytes) -> Result<bool> {
        let sends = header.pieces(&(0..header.length)).map(|(number, part)| {
            let start = number * header.chunk;
            (number, start + part.start..start + part.end)
        });
        let send = |(number, part): (u64, std::ops::Range<u64>)| async move {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let mut set = cmd("SET");
            set.arg(self.0.keys.chunk(path, &header.upload, number)).arg(&bytes[index(part.start)..index(part.end)]);
            let link = self.link().await?;
            let _lane = self.0.lanes.acquire().await;
            // To set the same again changes nothing.
            link.read(&set).await.map_err(|failure| self.failed(failure)).map(drop)
        };
        stream::iter(sends).map(send).buffer_unordered(ABREAST).try_collect::<Vec<()>>().await?;
        let (keys, value) = (self.0.keys.all(path, header), header.value());
        match self.ask(&COMMIT_OBJECT, &keys, &[value.clone(), header.length.to_string()]).await? {
            Value::BulkString(found) if found == value.as_bytes() => Ok(true),
            Value::BulkString(found) if found.is_empty() => {
                let message = format!("chunks of the object {path} vanished from Redis at {} while it was written", self.0.location);
                Err(told(error::Error::new(Reason::BlobsUnavailable, message).with_help("look for what else deletes or evicts keys there")))
            }
            Value::BulkString(_) => Ok(false),
            _ => Err(told(unexpected(&COMMIT_OBJECT))),
        }
    }

    /// Deletes an object, if there is one.
    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        for _ in 0..LOOKS {
            let Some(header) = self.header(path).await? else { return Ok(()) };
            let keys = self.0.keys.all(path, &header);
            match self.ask(&DELETE_OBJECT, &keys, &[header.value()]).await? {
                Value::Int(1) => return Ok(()),
                Value::Int(_) => {}
                _ => return Err(told(unexpected(&DELETE_OBJECT))),
            }
        }
        let message = format!("the object {path} is created anew again and again while it is deleted");
        Err(told(error::Error::new(Reason::BlobsUnavailable, message)))
    }

    /// Runs a script, all of which can be run twice.
    async fn ask(&self, lua: &Lua, keys: &Args, args: &[String]) -> Result<Value> {
        self.link().await?.query(lua, keys, &args.iter().collect()).await.map_err(told)
    }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "there is a header".into() }
}
