//! Reading the end of a pack: the footer, and the table of its frames. Needed only by those who come without a reference: roll-forward, verification, rebuilding.

use std::sync::Arc;

use prost::Message as _;

use super::{Frame, FrameKind, MAX_PLAIN, Pack, corrupt};
use crate::model::{codec::Codec, error::Result, seal::TAG, tree::Root};

/// Bytes of a footer.
pub const FOOTER: usize = 60;
/// Last bytes of every pack.
pub(super) const FOOTER_MAGIC: &[u8; 4] = b"PKLC";

/// A pack's footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Where the table lies.
    pub table: Frame,
    /// SHA-256 of all bytes of the object before it.
    pub sha256: Root,
}

/// Reads a footer from the last [`FOOTER`] bytes of an object of `length` bytes.
///
/// # Errors
/// `DATA_CORRUPT` when it is damaged.
pub fn parse_footer(bytes: &[u8], length: u64, pack: &Arc<Pack>) -> Result<Footer> {
    let damaged = || corrupt("a pack's footer is damaged, or the pack is cut off");
    let (&bytes, []) = bytes.split_first_chunk::<FOOTER>().ok_or_else(damaged)? else { return Err(damaged()) };
    let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let offset = (u64::from(number(0)) << 32) | u64::from(number(4));
    let (sealed, plain, index) = (number(8), number(12), number(16));
    let codec = stored_codec(bytes[20]).ok_or_else(damaged)?;
    let fits = offset.checked_add(u64::from(sealed)).and_then(|end| end.checked_add(FOOTER as u64)) == Some(length);
    if !fits || bytes[21..24] != [0; 3] || bytes[56..] != *FOOTER_MAGIC || plain > MAX_PLAIN || (sealed as usize) < TAG {
        return Err(damaged());
    }
    let mut sha256 = Root::default();
    sha256.copy_from_slice(&bytes[24..56]);
    let table = Frame { pack: Arc::clone(pack), index, offset, sealed, plain, codec };
    Ok(Footer { table, sha256 })
}

/// The frames of a pack, in columns.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct TableRow {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) kinds: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) codecs: Vec<u8>,
    #[prost(uint32, repeated, tag = "3")]
    pub(super) sealed: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    pub(super) plain: Vec<u32>,
}

/// A frame as its pack's table lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it holds.
    pub kind: FrameKind,
    /// Where it lies.
    pub frame: Arc<Frame>,
}

/// The frames of a pack, without the table itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// In the order in which they lie there.
    pub rows: Vec<Row>,
}

impl Table {
    /// The only frame of this kind.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when there is none, or more than one.
    pub fn only(&self, kind: FrameKind) -> Result<&Arc<Frame>> {
        let mut found = self.rows.iter().filter(|row| row.kind == kind);
        match (found.next(), found.next()) {
            (Some(row), None) => Ok(&row.frame),
            _ => Err(corrupt("a pack has not exactly one frame of a kind that it needs")),
        }
    }
}

/// Reads an unpacked table. `first` is where the header ends, `footer` the pack's own: the frames must fill exactly what lies between.
///
/// # Errors
/// `DATA_CORRUPT` when it is damaged.
pub fn parse_table(plain: &[u8], first: u64, footer: &Footer) -> Result<Table> {
    let damaged = || corrupt("a pack's table is damaged");
    let table = TableRow::decode(plain).map_err(|error| damaged().with_source(error))?;
    let count = table.sealed.len();
    if [table.kinds.len(), table.codecs.len(), table.plain.len(), footer.table.index as usize] != [count; 4] {
        return Err(damaged());
    }
    let mut offset = first;
    let mut rows = Vec::with_capacity(count);
    let columns = table.kinds.iter().zip(&table.codecs).zip(table.sealed.iter().zip(&table.plain));
    for (index, ((&kind, &codec), (&sealed, &plain))) in (0..).zip(columns) {
        let kind = FrameKind::from_number(kind).filter(|kind| *kind != FrameKind::Table).ok_or_else(damaged)?;
        let codec = stored_codec(codec).ok_or_else(damaged)?;
        if plain > MAX_PLAIN || (sealed as usize) < TAG {
            return Err(damaged());
        }
        rows.push(Row { kind, frame: Arc::new(Frame { pack: Arc::clone(&footer.table.pack), index, offset, sealed, plain, codec }) });
        offset = offset.checked_add(u64::from(sealed)).ok_or_else(damaged)?;
    }
    if offset == footer.table.offset { Ok(Table { rows }) } else { Err(damaged()) }
}

/// A codec that may stand in a pack.
pub(in crate::model) fn stored_codec(number: u8) -> Option<Codec> {
    Codec::from_number(number.into()).filter(|codec| *codec != Codec::Deflate)
}
