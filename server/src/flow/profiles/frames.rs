//! Reading frames: fetched together, opened and unpacked on workers, kept for a while.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use moka::sync::Cache;

use super::{Lineage, workers::Workers};
use crate::{
    model::{
        codec::{Codec, unpack},
        error::{Error, Reason, Result},
        pack::{Frame, FrameKind, PackKey},
    },
    store::blobs::Blobs,
};

/// A frame's bytes.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) frame: Arc<Frame>,
    /// As they are packed; empty when only the plain ones were at hand.
    pub(super) packed: Bytes,
    /// Unpacked.
    pub(super) plain: Bytes,
}

/// Reads frames of packs.
#[derive(Debug)]
pub(super) struct Frames {
    blobs: Arc<Blobs>,
    workers: Workers,
    cache: Cache<(String, u32), Bytes>,
}

impl Frames {
    pub(super) fn new(blobs: Arc<Blobs>, workers: Workers, capacity: u64) -> Self {
        let weigh = |name: &(String, u32), plain: &Bytes| u32::try_from(plain.len() + name.0.len() + 100).unwrap_or(u32::MAX);
        Self { blobs, workers, cache: Cache::builder().weigher(weigh).max_capacity(capacity).build() }
    }

    /// Reads frames of one kind that all lie in one pack, in the order asked for. `packed` asks for the packed bytes too.
    ///
    /// # Errors
    /// `DATA_CORRUPT` naming the object and the frame, `BLOBS_UNAVAILABLE`.
    pub(super) async fn read(&self, lineage: &Lineage, kind: FrameKind, frames: &[Arc<Frame>], packed: bool) -> Result<Vec<Opened>> {
        let Some(first) = frames.first() else { return Ok(Vec::new()) };
        let object = first.pack.name.object(lineage.id);
        let mut opened: Vec<Option<Opened>> = if packed { vec![None; frames.len()] } else { frames.iter().map(|frame| self.cached(&object, frame)).collect() };
        let missing: Vec<Arc<Frame>> = frames.iter().zip(&opened).filter(|(_, opened)| opened.is_none()).map(|(frame, _)| Arc::clone(frame)).collect();
        if !missing.is_empty() {
            let ranges = ranges(&missing);
            let sealed = self.blobs.get_ranges(&object, &ranges).await?.ok_or_else(|| gone(&object))?;
            let key = PackKey::new(lineage.key.secret(), &lineage.namespace, lineage.id, &first.pack);
            let name = object.clone();
            let work = move || open_all(&key, kind, missing, sealed, &name);
            let mut read = self.workers.run(work).await?.into_iter();
            for slot in opened.iter_mut().filter(|slot| slot.is_none()) {
                *slot = read.next();
            }
            let fresh = opened.iter().flatten().filter(|opened| kind == FrameKind::Data && !opened.packed.is_empty());
            for opened in fresh.filter(|opened| self.blobs.is_remote() || shrank(&opened.frame)) {
                // A raw frame shares its buffer with others; what is kept must not keep those.
                let raw = opened.frame.codec == Codec::Raw;
                let plain = if raw { Bytes::copy_from_slice(&opened.plain) } else { opened.plain.clone() };
                self.cache.insert((object.clone(), opened.frame.index), plain);
            }
        }
        Ok(opened.into_iter().flatten().collect())
    }

    /// Reads one frame.
    pub(super) async fn one(&self, lineage: &Lineage, kind: FrameKind, frame: &Arc<Frame>) -> Result<Bytes> {
        let read = self.read(lineage, kind, std::slice::from_ref(frame), false).await?;
        read.into_iter().next().map(|opened| opened.plain).ok_or_else(|| Error::new(Reason::Internal, "a frame was asked for and not read"))
    }

    fn cached(&self, object: &str, frame: &Arc<Frame>) -> Option<Opened> {
        let plain = self.cache.get(&(object.to_owned(), frame.index))?;
        Some(Opened { frame: Arc::clone(frame), packed: Bytes::new(), plain })
    }
}

/// Whether a frame of this machine's own is worth being kept: the system has its file in memory too, so all that is saved is unpacking it.
fn shrank(frame: &Frame) -> bool {
    u64::from(frame.sealed) * 4 <= u64::from(frame.plain) * 3
}

/// The bytes where these frames lie; frames that lie side by side share a range, and so a buffer.
fn ranges(frames: &[Arc<Frame>]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for frame in frames {
        let end = frame.offset + u64::from(frame.sealed);
        match ranges.last_mut() {
            Some(last) if last.end == frame.offset => last.end = end,
            _ => ranges.push(frame.offset..end),
        }
    }
    ranges
}

/// Opens frames in the buffers of their [`ranges`], without a copy where a buffer is nobody else's.
fn open_all(key: &PackKey, kind: FrameKind, frames: Vec<Arc<Frame>>, sealed: Vec<Bytes>, object: &str) -> Result<Vec<Opened>> {
    let mut buffers = sealed.into_iter().map(BytesMut::from);
    let mut buffer = BytesMut::new();
    let mut opened = Vec::with_capacity(frames.len());
    for frame in frames {
        if buffer.is_empty() {
            buffer = buffers.next().unwrap_or_default();
        }
        let text = buffer.split_to((frame.sealed as usize).min(buffer.len()));
        opened.push(open(key, kind, frame, text, object)?);
    }
    Ok(opened)
}

fn open(key: &PackKey, kind: FrameKind, frame: Arc<Frame>, sealed: BytesMut, object: &str) -> Result<Opened> {
    let damaged = |error: Error| {
        let message = format!("frame {} of {object} is damaged: it cannot be read any more", frame.index);
        Error::new(Reason::DataCorrupt, message).with("object", object).with("frame", frame.index).with_source(error)
    };
    let packed = key.open(kind, &frame, sealed).map_err(damaged)?;
    let plain = unpack(frame.codec, &packed, frame.plain as usize).map_err(damaged)?;
    Ok(Opened { frame, packed, plain })
}

/// An object that something refers to is not there.
pub(super) fn gone(object: &str) -> Error {
    Error::new(Reason::DataCorrupt, format!("object {object} is missing from the blob store")).with("object", object)
}

/// Items whose frames lie in one pack, in the order given: consecutive ones of one pack stay together, up to `most` bytes unpacked.
pub(super) fn batches<T>(items: impl IntoIterator<Item = T>, most: u64, frame: impl Fn(&T) -> &Frame) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let (plain, pack) = (u64::from(frame(&item).plain), &frame(&item).pack);
        bytes += plain;
        match batches.last_mut() {
            Some(batch) if bytes <= most && batch.last().is_some_and(|last| frame(last).pack.name == pack.name) => batch.push(item),
            _ => {
                bytes = plain;
                batches.push(vec![item]);
            }
        }
    }
    batches
}
