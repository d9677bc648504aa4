//! Names of keys, and what a header says.

use std::ops::Range;

use object_store::path::Path;

use super::super::{
    failure::corrupt,
    script::{self, Args},
};
use crate::{
    clock,
    model::error::{Error, Result},
};

/// Bytes of a chunk. Small enough that a command with one holds up others for about a millisecond; a string of Redis may have 512 MiB.
pub(super) const CHUNK: u64 = 1 << 20;
/// Most bytes of a chunk, and most chunks of an object, that a header can speak of: Redis has no longer strings, and a header is not to make anybody count for ever.
const LARGEST: (u64, u64) = (512 << 20, 1 << 20);
/// What a header begins with. Another layout has another one.
const LAYOUT: &str = "1";

/// What lies where.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Names that start with `prefix`, which has no braces.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}blob:") }
    }

    /// The header of an object: it is there or not by this key.
    pub(super) fn header(&self, path: &Path) -> String {
        format!("{}{{{path}}}:h", self.prefix)
    }

    /// What the headers of all objects in a directory match, as SCAN wants it.
    pub(super) fn headers_in(&self, directory: &str) -> String {
        let plain = |text: &str| {
            text.chars().fold(String::new(), |mut plain, c| {
                if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                    plain.push('\\');
                }
                plain.push(c);
                plain
            })
        };
        let slash = if directory.is_empty() { "" } else { "/" };
        format!("{}{{{}{slash}*}}:h", plain(&self.prefix), plain(directory))
    }

    /// The name of the object whose header this is.
    pub(super) fn name<'a>(&self, header: &'a str) -> Option<&'a str> {
        header.strip_prefix(&self.prefix)?.strip_prefix('{')?.strip_suffix("}:h")
    }

    /// A chunk. The write's own id is in its name, so that writers of one object do not meet, and chunks that no header names can be found.
    pub(super) fn chunk(&self, path: &Path, upload: &str, number: u64) -> String {
        format!("{}{{{path}}}:c:{upload}:{number}", self.prefix)
    }

    /// The header and all chunks, as the scripts take them.
    pub(super) fn all(&self, path: &Path, header: &Header) -> Args {
        let chunks = (0..header.chunks()).map(|number| self.chunk(path, &header.upload, number));
        std::iter::once(self.header(path)).chain(chunks).collect()
    }
}

/// What is known of an object: the value of its header, `1 <upload> <length> <bytes of a chunk> <created, µs>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The id of the write.
    pub(super) upload: String,
    /// Bytes of the object.
    pub(super) length: u64,
    /// Bytes of each chunk but the last.
    pub(super) chunk: u64,
    /// When, in µs since 1970 by the writer's clock; for people.
    pub(super) created: u64,
}

impl Header {
    /// Of a new object.
    pub(super) fn new(length: u64) -> Result<Self> {
        let upload = format!("{:016x}", u64::from_be_bytes(clock::random()?));
        Ok(Self { upload, length, chunk: CHUNK, created: u64::try_from(clock::wall().0).unwrap_or_default() })
    }

    /// As it is stored.
    pub(super) fn value(&self) -> String {
        format!("{LAYOUT} {} {} {} {}", self.upload, self.length, self.chunk, self.created)
    }

    /// Reads a stored one.
    pub(super) fn read(path: &Path, value: &[u8]) -> Result<Self> {
        let parse = || {
            let mut words = std::str::from_utf8(value).ok()?.split(' ');
            let layout = words.next()?;
            let (upload, length) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
            let (chunk, created) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let header = Self { upload, length, chunk, created };
            (layout == LAYOUT && (1..=LARGEST.0).contains(&chunk) && header.chunks() <= LARGEST.1).then_some(header)
        };
        parse().ok_or_else(|| corrupt(&format!("a header of the object {path}")))
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> u64 {
        self.length.div_ceil(self.chunk)
    }

    /// The chunks that hold these bytes, each with the part of it that does.
    pub(super) fn pieces(&self, bytes: &Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> + use<> {
        let (chunk, bytes) = (self.chunk, bytes.start..bytes.end.min(self.length));
        let numbers = if bytes.is_empty() { 0..0 } else { bytes.start / chunk..bytes.end.div_ceil(chunk) };
        numbers.map(move |number| {
            let first = number * chunk;
            (number, bytes.start.max(first) - first..bytes.end.min(first + chunk) - first)
        })
    }
}

/// The error when something else than ours answers a script.
pub(super) fn unexpected(script: &script::Lua) -> Error {
    corrupt(&format!("an answer of {script:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header { upload: "00ab".to_owned(), length: 5, chunk: 2, created: 7 };
        let path = Path::from("a/b");
        assert_eq!(Header::read(&path, header.value().as_bytes()).unwrap(), header);
        for bad in ["", "1", "2 00ab 5 2 7", "1 00ab 5 0 7", "1 00ab x 2 7", "1 00ab 5 2", "1 00ab 18446744073709551615 1 7", "1 00ab 5 18446744073709551615 7"]
        {
            assert!(Header::read(&path, bad.as_bytes()).unwrap_err().message().contains("a/b"), "{bad}");
        }
    }

    #[test]
    fn a_range_needs_only_the_chunks_it_lies_in() {
        let header = Header { upload: String::new(), length: 25, chunk: 10, created: 0 };
        let pieces = |bytes: Range<u64>| header.pieces(&bytes).collect::<Vec<_>>();
        assert_eq!(header.chunks(), 3);
        assert_eq!(pieces(0..25), [(0, 0..10), (1, 0..10), (2, 0..5)]);
        assert_eq!(pieces(9..11), [(0, 9..10), (1, 0..1)]);
        assert_eq!(pieces(10..20), [(1, 0..10)]);
        assert_eq!(pieces(24..90), [(2, 4..5)]);
        assert_eq!(pieces(7..7), []);
    }

    #[test]
    fn all_keys_of_an_object_lie_in_one_slot_and_its_name_is_found_in_them() {
        let keys = Keys::new("team*:");
        let path = Path::from("c/{ab}/1");
        let header = keys.header(&path);
        let tag = |key: &str| key.split_once('{').unwrap().1.split_once('}').unwrap().0.to_owned();
        assert_eq!(tag(&header), tag(&keys.chunk(&path, "00ab", 3)));
        assert_eq!(keys.name(&header), Some(path.as_ref()));
        assert_eq!(keys.name(&keys.chunk(&path, "00ab", 3)), None);
        assert_eq!(keys.headers_in("c/ab"), "team\\*:blob:{c/ab/*}:h");
    }
}
