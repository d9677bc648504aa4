//! Cutting a load into messages.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::frames::Opened;
use crate::model::{
    assembly::{MAX_DATA, NewEntry, Records, Run},
    codec::{Codec, pack},
    diff::{FramePieces, Piece},
    error::Result,
    manifest::Entry,
    tree::{Kind, LEAF},
};

/// About how many bytes a message has: measured best for streams that share a connection.
const TARGET: usize = 256 * 1024;
/// Most runs of a message: they cost bytes too.
const MAX_RUNS: usize = 4096;
/// What an entry or a run takes beside its texts.
const FIXED: usize = 80;

/// The messages that name what is gone, what is new, and what to copy.
pub(super) fn describe(entries: &[Arc<Entry>], removed: &[Box<str>], copies: Vec<Run>) -> Vec<Records> {
    let mut out = Describing { messages: Vec::new(), room: 0 };
    for path in removed {
        out.message(path.len() + 8).removed.push(path.to_string());
    }
    for entry in entries {
        out.message(entry.path.len() + entry.target.len() + FIXED).entries.push(named(entry));
    }
    for run in copies {
        out.message(run.copy.as_ref().map_or(0, |(path, _)| path.len()) + FIXED).runs.push(run);
    }
    out.messages
}

struct Describing {
    messages: Vec<Records>,
    room: usize,
}

impl Describing {
    /// The message that has room for so many bytes more.
    fn message(&mut self, size: usize) -> &mut Records {
        if self.messages.is_empty() || self.room < size {
            self.messages.push(Records::default());
            self.room = TARGET;
        }
        self.room = self.room.saturating_sub(size);
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }
}

/// An entry as the stream names it.
pub(super) fn named(entry: &Entry) -> NewEntry {
    NewEntry {
        kind: entry.kind as i32,
        path: entry.path.to_string(),
        mode: entry.mode,
        mtime_ns: entry.mtime_ns,
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        root: if entry.kind == Kind::File { Bytes::copy_from_slice(&entry.root) } else { Bytes::new() },
        target: entry.target.to_string(),
    }
}

/// The messages that carry these pieces of these frames.
pub(super) fn cut(opened: &[Opened], groups: &[FramePieces], codec: Codec) -> Result<Vec<Records>> {
    // Raw messages are cheap, so they are short; packed ones are as long as may be, for the ratio.
    let target = if codec == Codec::Raw { TARGET } else { MAX_DATA as usize };
    let mut out = Carrying { messages: Vec::new(), codec, target, runs: Vec::new(), parts: Vec::new(), bytes: 0 };
    for (opened, group) in opened.iter().zip(groups) {
        if codec == Codec::Zstd && opened.frame.codec == Codec::Zstd && !opened.packed.is_empty() && is_whole(group) {
            // All of it is wanted, and the caller can unpack it: it goes as it lies.
            out.flush()?;
            let runs = group.pieces.iter().map(|piece| run(piece, 0, piece.leaf_count)).collect();
            out.messages.push(Records { runs, codec, data: opened.packed.clone(), data_size: group.frame.plain, ..Records::default() });
            continue;
        }
        if codec == Codec::Raw && out.bytes >= TARGET / 2 {
            // What lies in one frame goes without a copy.
            out.flush()?;
        }
        for piece in &group.pieces {
            out.piece(&opened.plain, piece)?;
        }
    }
    out.flush()?;
    Ok(out.messages)
}

/// Whether the pieces are all of the frame, once, in order.
fn is_whole(group: &FramePieces) -> bool {
    let mut next = 0;
    let in_order = group.pieces.iter().all(|piece| {
        let fits = piece.offset == next;
        next = piece.offset.saturating_add(piece.bytes);
        fits
    });
    in_order && next == group.frame.plain && next <= MAX_DATA && group.pieces.len() <= MAX_RUNS
}

/// Leaves `skip..skip + count` of a piece.
fn run(piece: &Piece, skip: u32, count: u32) -> Run {
    Run { entry: piece.entry, first_leaf: piece.first_leaf + skip, leaf_count: count, copy: None }
}

struct Carrying {
    messages: Vec<Records>,
    codec: Codec,
    target: usize,
    runs: Vec<Run>,
    parts: Vec<(Bytes, Range<usize>)>,
    bytes: usize,
}

impl Carrying {
    fn piece(&mut self, plain: &Bytes, piece: &Piece) -> Result<()> {
        let (leaf, total) = (LEAF as usize, piece.bytes as usize);
        let mut done = 0;
        while done < piece.leaf_count {
            let room = (self.target.saturating_sub(self.bytes) / leaf).min(usize::try_from(piece.leaf_count - done).unwrap_or(usize::MAX));
            let Some(count) = u32::try_from(room).ok().filter(|count| *count > 0 && self.runs.len() < MAX_RUNS) else {
                self.flush()?;
                continue;
            };
            let skipped = done as usize * leaf;
            let bytes = (room * leaf).min(total - skipped);
            let start = piece.offset as usize + skipped;
            self.runs.push(run(piece, done, count));
            match self.parts.last_mut() {
                Some((of, range)) if of.as_ptr() == plain.as_ptr() && range.end == start => range.end += bytes,
                _ => self.parts.push((plain.clone(), start..start + bytes)),
            }
            self.bytes += bytes;
            done += count;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let (runs, parts) = (std::mem::take(&mut self.runs), std::mem::take(&mut self.parts));
        let bytes = std::mem::take(&mut self.bytes);
        if runs.is_empty() {
            return Ok(());
        }
        let plain = match parts.as_slice() {
            [(plain, range)] => plain.slice(range.clone()),
            parts => {
                let mut all = BytesMut::with_capacity(bytes);
                for (plain, range) in parts {
                    all.extend_from_slice(&plain[range.clone()]);
                }
                all.freeze()
            }
        };
        let data_size = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (codec, data) = match pack(self.codec, &plain)? {
            Some(packed) => (self.codec, packed.into()),
            None => (Codec::Raw, plain),
        };
        self.messages.push(Records { runs, codec, data, data_size, ..Records::default() });
        Ok(())
    }
}
