//! The messages that carry a profile: a difference cut into pieces of the right size, and bytes packed and unpacked.

use std::{fs::File, io::ErrorKind, io::Read as _, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use bytes::{Bytes, BytesMut};
use cloakroom_api::v1::{self, Codec};
use prost::Message as _;

use crate::{
    error::{Error, Result},
    look::changing,
    profiles::{Difference, Run},
    tree::{DIGEST, Entry, LEAF, hash_leaves},
};

/// Most bytes of leaves in one message, by the contract.
pub(crate) const MAX_DATA: usize = 240 * LEAF;
/// A little under 1 MiB, for what the estimate leaves out.
const MAX_MESSAGE: usize = 1_040_000;
/// What every field of a message costs at most beside its content.
const FRAMING: usize = 8;
/// A run of leaves without a path.
const RUN: usize = 32;
/// zstd's fastest ordinary level: it packs a browser's databases to a half at 400 MB/s, and gives up early on what does not shrink.
const LEVEL: i32 = 1;

/// One message of a save, still without its data.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    records: v1::ProfileRecords,
    reads: Vec<(Arc<Entry>, usize, usize)>,
    weight: usize,
    data: usize,
}

/// Cuts a difference into messages.
pub(crate) fn cut(difference: &Difference) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    for path in &difference.removed {
        room(&mut pieces, path.len() + FRAMING, 0).records.removed.push(path.clone());
    }
    let mut runs = difference.runs.iter().peekable();
    for (number, entry) in difference.entries.iter().enumerate() {
        let wire = entry.to_wire();
        room(&mut pieces, wire.encoded_len() + FRAMING, 0).records.entries.push(wire);
        while let Some(run) = runs.next_if(|run| run.entry == number) {
            cut_run(&mut pieces, entry, run);
        }
    }
    pieces.retain(|piece| piece.weight > 0);
    pieces
}

fn cut_run(pieces: &mut Vec<Piece>, entry: &Arc<Entry>, run: &Run) {
    let wire = |first, count| v1::LeafRun { entry: index(run.entry), first_leaf: index(first), leaf_count: index(count), ..v1::LeafRun::default() };
    if let Some((from, first)) = &run.copy {
        let wire = v1::LeafRun { copy_path: from.path.clone(), copy_first_leaf: index(*first), ..wire(run.first, run.count) };
        room(pieces, wire.encoded_len() + FRAMING, 0).records.runs.push(wire);
        return;
    }
    let (mut first, end) = (run.first, run.first + run.count);
    while first < end {
        let piece = room(pieces, RUN, LEAF.min(entry.span(first, 1).map_or(0, |(_, size)| size)));
        // Room was made for one leaf, which may be a short one.
        let free = (MAX_DATA - piece.data).min(MAX_MESSAGE - piece.weight) / LEAF;
        let count = free.clamp(1, end - first);
        let size = entry.span(first, count).map_or(0, |(_, size)| size);
        piece.records.runs.push(wire(first, count));
        piece.reads.push((Arc::clone(entry), first, count));
        piece.data += size;
        piece.weight += size;
        first += count;
    }
}

/// The last piece if something of this weight and with this data still fits in, else a new one.
fn room(pieces: &mut Vec<Piece>, weight: usize, data: usize) -> &mut Piece {
    let full = pieces.last().is_none_or(|piece| piece.weight + weight + data > MAX_MESSAGE || piece.data + data > MAX_DATA);
    if full {
        pieces.push(Piece::default());
    }
    let last = pieces.len() - 1;
    pieces[last].weight += weight;
    &mut pieces[last]
}

/// Entries and leaves are counted in 32 bits on the wire; a profile's limits are far below.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Piece {
    /// Bytes of file content in it.
    pub(crate) fn data_size(&self) -> u64 {
        self.data as u64
    }

    /// The message, with its data read from the directory in which the difference was found.
    pub(crate) fn fill(&self, directory: &Path) -> Result<v1::ProfileRecords> {
        let mut data = BytesMut::zeroed(self.data);
        let mut filled = 0;
        for (entry, first, count) in &self.reads {
            let (begin, size) = entry.span(*first, *count).ok_or_else(|| changing(&entry.path))?;
            let (at, bytes) = (directory.join(&entry.path), &mut data[filled..filled + size]);
            File::open(&at).and_then(|file| file.read_exact_at(bytes, begin)).map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::UnexpectedEof => changing(&entry.path),
                _ => Error::file(&at, error),
            })?;
            let mut leaves = Vec::with_capacity(count * DIGEST);
            hash_leaves(bytes, &mut leaves);
            if entry.leaves.get(first * DIGEST..(first + count) * DIGEST) != Some(leaves.as_slice()) {
                return Err(changing(&entry.path));
            }
            filled += size;
        }
        let (codec, data) = pack(data.freeze());
        Ok(v1::ProfileRecords { codec: codec.into(), data, data_size: index(self.data), ..self.records.clone() })
    }
}

/// Packs bytes for the wire if that pays.
fn pack(data: Bytes) -> (Codec, Bytes) {
    let packed = if data.is_empty() { None } else { zstd::bulk::compress(&data, LEVEL).ok() };
    match packed.filter(|packed| packed.len() < data.len() / 20 * 19) {
        Some(packed) => (Codec::Zstd, packed.into()),
        None => (Codec::Raw, data),
    }
}

/// The unpacked data of a message, never more than it says.
pub(crate) fn unpack(records: &v1::ProfileRecords) -> Result<Bytes> {
    let (size, packed) = (records.data_size as usize, &records.data);
    if size > MAX_DATA {
        return Err(Error::damaged("LIMIT_EXCEEDED", format!("{size} bytes of data in one message; at most {MAX_DATA} are allowed")));
    }
    let data = match records.codec() {
        Codec::Raw | Codec::Unspecified => packed.clone(),
        Codec::Zstd if size == 0 && packed.is_empty() => Bytes::new(),
        Codec::Zstd => zstd::bulk::decompress(packed, size)
            .map_err(|error| Error::damaged("DATA_INVALID", format!("data is no zstd frame of {size} bytes: {error}")))?
            .into(),
        Codec::Deflate => {
            let mut data = Vec::with_capacity(size);
            let inflated = flate2::read::ZlibDecoder::new(packed.as_ref()).take(size as u64 + 1).read_to_end(&mut data);
            inflated.map_err(|error| Error::damaged("DATA_INVALID", format!("data does not inflate: {error}")))?;
            data.into()
        }
    };
    if data.len() == size { Ok(data) } else { Err(Error::damaged("DATA_INVALID", format!("{} bytes of data where {size} were announced", data.len()))) }
}
