//! How bytes are packed, on the wire and in a pack.

use std::io;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{find_frame_compressed_size, get_frame_content_size},
};

use super::error::{Error, Reason, Result};

/// Compression level of zstd: 1 is within 1 to 6 % of 3 on profiles, and a third faster.
const ZSTD_LEVEL: i32 = 1;
/// Longer texts are tried on a sample first.
const SAMPLE_ABOVE: usize = 128 * 1024;
/// Bytes of a sample.
const SAMPLE: usize = 64 * 1024;

/// A packing. The numbers are those of the contract and of the pack format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// As it is.
    Raw = 1,
    /// One zlib stream (RFC 1950). Never in a pack.
    Deflate = 2,
    /// One zstd frame (RFC 8878) that states its content size.
    Zstd = 3,
}

impl Codec {
    /// The codec of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Raw, Self::Deflate, Self::Zstd].into_iter().find(|codec| *codec as u32 == number)
    }
}

/// Unpacks `data` into exactly `size` bytes. Memory is bounded by `size`, whatever `data` says.
///
/// # Errors
/// `DATA_INVALID` when it is damaged, holds more or less than `size` bytes, or has something behind its end.
pub fn unpack(codec: Codec, data: &Bytes, size: usize) -> Result<Bytes> {
    match codec {
        Codec::Raw if data.len() == size => Ok(data.clone()),
        Codec::Raw => Err(invalid(&format!("has {} bytes where {size} were announced", data.len()))),
        Codec::Deflate => inflate(data, size).map(Bytes::from),
        Codec::Zstd => unzstd(data, size).map(Bytes::from),
    }
}

/// Packs `plain` if that saves at least 5 %; else `None`, and it had better stay raw.
///
/// # Errors
/// `INTERNAL` when the compressor fails.
pub fn pack(codec: Codec, plain: &[u8]) -> Result<Option<Vec<u8>>> {
    let compress = match codec {
        Codec::Raw => return Ok(None),
        Codec::Deflate => deflate,
        Codec::Zstd => zstd,
    };
    if plain.len() > SAMPLE_ABOVE {
        // From the middle: a file's beginning is often emptier than the rest.
        let start = plain.len() / 2;
        if !pays(compress(&plain[start..start + SAMPLE])?.len(), SAMPLE) {
            return Ok(None);
        }
    }
    let packed = compress(plain)?;
    Ok(pays(packed.len(), plain.len()).then_some(packed))
}

/// Whether `packed` bytes instead of `plain` bytes are worth the work of unpacking: at least 5 % less.
#[must_use]
pub fn pays(packed: usize, plain: usize) -> bool {
    packed < plain - plain / 20
}

fn inflate(data: &[u8], size: usize) -> Result<Vec<u8>> {
    let damaged = |error| invalid("is not one zlib stream").with_source(error);
    let mut stream = Decompress::new(true);
    // One byte more than announced, so that a stream with too much in it shows itself.
    let mut plain = Vec::with_capacity(size + 1);
    loop {
        let (read, written) = (stream.total_in(), plain.len());
        let rest = usize::try_from(read).ok().and_then(|read| data.get(read..)).unwrap_or_default();
        let status = stream.decompress_vec(rest, &mut plain, FlushDecompress::Finish).map_err(damaged)?;
        if plain.len() > size {
            return Err(invalid(&format!("unpacks to more than the {size} bytes that were announced")));
        }
        if status == Status::StreamEnd {
            break;
        }
        if (stream.total_in(), plain.len()) == (read, written) {
            return Err(invalid("ends in the middle of its zlib stream"));
        }
    }
    if stream.total_in() != data.len() as u64 {
        return Err(invalid("has bytes behind the end of its zlib stream"));
    }
    exactly(plain, size)
}

fn unzstd(data: &[u8], size: usize) -> Result<Vec<u8>> {
    match get_frame_content_size(data) {
        Ok(Some(stated)) if stated == size as u64 => {}
        Ok(Some(stated)) => return Err(invalid(&format!("states {stated} bytes where {size} were announced"))),
        Ok(None) => return Err(invalid("is a zstd frame that does not state its content size")),
        Err(error) => return Err(invalid("is not one zstd frame").with_source(error.to_string())),
    }
    match find_frame_compressed_size(data) {
        Ok(length) if length == data.len() => {}
        Ok(_) => return Err(invalid("has bytes behind the end of its zstd frame")),
        Err(_) => return Err(invalid("ends in the middle of its zstd frame")),
    }
    let mut plain = Vec::with_capacity(size);
    let damaged = |error: io::Error| invalid("is a damaged zstd frame").with_source(error);
    Decompressor::new().and_then(|mut frame| frame.decompress_to_buffer(data, &mut plain)).map_err(damaged)?;
    exactly(plain, size)
}

fn exactly(plain: Vec<u8>, size: usize) -> Result<Vec<u8>> {
    if plain.len() == size {
        return Ok(plain);
    }
    Err(invalid(&format!("unpacks to {} bytes where {size} were announced", plain.len())))
}

fn deflate(plain: &[u8]) -> Result<Vec<u8>> {
    let mut stream = Compress::new(Compression::fast(), true);
    // Stored blocks add 5 bytes per 32 KiB at most, so this suffices and one call ends the stream.
    let mut packed = Vec::with_capacity(plain.len() + plain.len() / 1024 + 64);
    let status = stream.compress_vec(plain, &mut packed, FlushCompress::Finish);
    match status {
        Ok(Status::StreamEnd) => Ok(packed),
        _ => Err(Error::new(Reason::Internal, "zlib did not end its stream")),
    }
}

fn zstd(plain: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Error::new(Reason::Internal, "zstd cannot compress").with_source(error);
    Compressor::new(ZSTD_LEVEL).and_then(|mut zstd| zstd.compress(plain)).map_err(failed)
}

fn invalid(problem: &str) -> Error {
    Error::new(Reason::DataInvalid, format!("data {problem}")).with_field("records.data")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..length).map(|_| step()).collect()
    }

    #[test]
    fn what_pays_is_packed_and_reads_back() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for codec in [Codec::Deflate, Codec::Zstd] {
            let packed = Bytes::from(pack(codec, &plain).unwrap().unwrap());
            assert!(packed.len() < plain.len() / 2);
            assert_eq!(unpack(codec, &packed, plain.len()).unwrap(), plain);
            assert_eq!(pack(codec, &noise(200_000)).unwrap(), None, "noise stays raw after a sample");
            assert_eq!(pack(codec, &noise(100)).unwrap(), None, "noise stays raw");
        }
        assert_eq!(pack(Codec::Raw, &plain).unwrap(), None);
    }

    #[test]
    fn whatever_is_not_exactly_what_was_announced_is_refused() {
        let plain = vec![7; 5000];
        for codec in [Codec::Deflate, Codec::Zstd] {
            let packed = pack(codec, &plain).unwrap().unwrap();
            let refused = |data: &[u8], size| unpack(codec, &Bytes::copy_from_slice(data), size).unwrap_err().reason() == Reason::DataInvalid;
            assert!(refused(&packed, 4999) && refused(&packed, 5001) && refused(&packed, 0));
            assert!(refused(&[packed.as_slice(), &[0]].concat(), 5000), "{codec:?}: a byte behind its end");
            assert!(refused(&packed.repeat(2), 10_000), "{codec:?}: two in a row");
            assert!((0..packed.len()).all(|end| refused(&packed[..end], 5000)), "{codec:?}: cut");
        }
        assert!(unpack(Codec::Raw, &Bytes::from(plain), 5001).is_err());
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = Bytes::from(deflate(&vec![0; 64 << 20]).unwrap());
        assert!(unpack(Codec::Deflate, &bomb, 1000).unwrap_err().message().contains("more than the 1000 bytes"));
        let bomb = Bytes::from(zstd(&vec![0; 64 << 20]).unwrap());
        assert!(unpack(Codec::Zstd, &bomb, 1000).unwrap_err().message().contains("states 67108864 bytes"));
    }

    #[test]
    fn empty_data_is_empty() {
        assert_eq!(unpack(Codec::Raw, &Bytes::new(), 0).unwrap(), Bytes::new());
        assert_eq!(unpack(Codec::Deflate, &deflate(b"").unwrap().into(), 0).unwrap(), Bytes::new());
        assert_eq!(unpack(Codec::Zstd, &zstd(b"").unwrap().into(), 0).unwrap(), Bytes::new());
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..400), size in 0_usize..5000, head in any::<bool>()) {
            let data = if head { [&[0x28, 0xb5, 0x2f, 0xfd], data.as_slice()].concat() } else { data };
            for codec in [Codec::Raw, Codec::Deflate, Codec::Zstd] {
                if let Ok(plain) = unpack(codec, &Bytes::from(data.clone()), size) {
                    prop_assert_eq!(plain.len(), size);
                }
            }
        }
    }
}
