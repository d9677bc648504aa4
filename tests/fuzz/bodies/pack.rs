//! Packs and their frames.

use std::sync::Arc;

use bytes::Bytes;
use cloakroom_server::{
    Error, Reason, Result,
    model::{
        codec::{self, Codec},
        id::{LineageId, Namespace},
        pack::{
            FOOTER, Frame, FrameKind, Header, MAGIC, MAX_PLAIN, Pack, PackKey, PackKind, PackName, PackWriter, VERSION, parse_footer, parse_header,
            parse_table, void_object,
        },
        seal::Secret,
        tree::{Root, sha256},
    },
};
use prost::Message as _;

use super::within;

/// The key under which the seeds' packs are sealed.
pub(crate) const SECRET: [u8; 32] = [0x42; 32];

/// The beginning of an object: `docs/pack-format.md`, "Header".
pub(super) fn pack_header(data: &[u8]) -> bool {
    let Ok((header, digest, first)) = within(4 * data.len(), || parse_header(data)) else { return false };
    assert!(usize::try_from(first).is_ok_and(|first| first <= data.len()), "the first frame begins inside or at the end");
    let encoded = header.encode_to_vec();
    let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    let written = [MAGIC.as_slice(), &[VERSION], &length.to_be_bytes(), &encoded].concat();
    // Another encoding of the same header has another digest, so only the header itself must be the same.
    assert_eq!(parse_header(&written).ok(), Some((header.clone(), sha256(&encoded), written.len() as u64)));
    assert!(digest == sha256(&encoded) || data[..written.len().min(data.len())] != written);
    if header.kind() == PackKind::Commit {
        let void = void_object(&header).ok().and_then(|void| parse_header(&void).ok()).map(|(void, _, _)| void);
        let mut wanted = header;
        wanted.set_kind(PackKind::Void);
        assert_eq!(void, Some(wanted));
    }
    true
}

/// The end of an object: its last 60 bytes are a footer, everything before them is taken for an unpacked table.
pub(super) fn pack_table(data: &[u8]) -> bool {
    let Some((plain, footer)) = data.split_last_chunk::<FOOTER>() else { return false };
    let pack = Arc::new(Pack { name: PackName::Commit(1), header: Root::default() });
    // The length that the footer asks for, so that its other rules get their turn.
    let offset = u64::from_be_bytes([footer[0], footer[1], footer[2], footer[3], footer[4], footer[5], footer[6], footer[7]]);
    let sealed = u32::from_be_bytes([footer[8], footer[9], footer[10], footer[11]]);
    let length = offset.saturating_add(u64::from(sealed)).saturating_add(FOOTER as u64);
    let Ok(footer) = within(0, || parse_footer(footer, length, &pack)) else { return false };
    // A frame is two bytes of a table at least, and 64 of memory beside its share of a growing list.
    let Ok(table) = within(128 * plain.len(), || parse_table(plain, 100, &footer)) else { return false };
    let mut next = 100;
    for (index, row) in table.rows.iter().enumerate() {
        assert_eq!((row.frame.index as usize, row.frame.offset), (index, next), "frames lie one after the other");
        assert!(row.frame.plain <= MAX_PLAIN && row.kind != FrameKind::Table && row.frame.codec != Codec::Deflate);
        next += u64::from(row.frame.sealed);
    }
    assert_eq!((next, table.rows.len()), (footer.table.offset, footer.table.index as usize), "and fill all between header and table");
    true
}

/// A whole object, opened with the seeds' key as somebody does who finds it in a bucket. Whatever opens is what was written, to the last bit.
pub(super) fn pack(data: &[u8]) -> bool {
    let Ok((header, frames)) = read(data) else { return false };
    let written = PackWriter::new(&Secret::new(SECRET), &header, 0).and_then(|mut writer| {
        frames.iter().try_for_each(|(kind, plain)| writer.add_packed(*kind, plain).map(drop))?;
        writer.finish()
    });
    assert_eq!(written.ok().as_deref(), Some(data), "the same header, key and frames make the same object");
    true
}

fn read(object: &[u8]) -> Result<(Header, Vec<(FrameKind, Bytes)>)> {
    let (header, digest, first) = parse_header(object)?;
    let pack = Arc::new(Pack { name: header.pack_name()?, header: digest });
    let tail = object.get(object.len().saturating_sub(FOOTER)..).unwrap_or_default();
    let footer = parse_footer(tail, object.len() as u64, &pack)?;
    let lineage = header.lineage_id().unwrap_or(LineageId([0; 16]));
    let key = PackKey::new(&Secret::new(SECRET), &Namespace::parse("namespace", &header.namespace)?, lineage, &pack);
    let frame = |kind, frame: &Frame| {
        let start = usize::try_from(frame.offset).unwrap_or(usize::MAX);
        let sealed = start.checked_add(frame.sealed as usize).and_then(|end| object.get(start..end)).unwrap_or_default();
        let packed = within(2 * sealed.len(), || key.open(kind, frame, sealed.into()))?;
        // Only what authenticates is unpacked, so a frame takes what its writer gave it.
        within(frame.plain as usize, || codec::unpack(frame.codec, &packed, frame.plain as usize))
    };
    let table = parse_table(&frame(FrameKind::Table, &footer.table)?, first, &footer)?;
    if sha256(&object[..object.len() - 36]) != footer.sha256 {
        return Err(Error::new(Reason::DataCorrupt, "another checksum"));
    }
    let frames = table.rows.iter().map(|row| Ok((row.kind, frame(row.kind, &row.frame)?))).collect::<Result<_>>()?;
    Ok((header, frames))
}

/// Unpacking: one byte of codec, three of size, then the packed bytes.
pub(super) fn codec(data: &[u8]) -> bool {
    let Some((&[number, a, b, c], packed)) = data.split_first_chunk::<4>() else { return false };
    let Some(codec) = Codec::from_number(u32::from(number % 4)) else { return false };
    let size = u32::from_be_bytes([0, a, b, c]) as usize;
    let packed = Bytes::copy_from_slice(packed);
    let Ok(plain) = within(size, || codec::unpack(codec, &packed, size)) else { return false };
    assert_eq!(plain.len(), size);
    if let Ok(Some(packed)) = codec::pack(codec, &plain) {
        assert_eq!(codec::unpack(codec, &packed.into(), size).ok(), Some(plain));
    }
    true
}
