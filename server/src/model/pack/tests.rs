//! Packs read back, are the same for the same input, and never panic on foreign bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::{
    codec::unpack,
    hex::hex,
    manifest::{CommitInfo, decode_segment},
    reference::Rng,
};

const LINEAGE: LineageId = LineageId([0x11; 16]);

fn secret() -> Secret {
    Secret::new([0x42; 32])
}

fn header() -> Header {
    let mut header = Header {
        namespace: "team".to_owned(),
        lineage: LINEAGE.0.to_vec(),
        session: "acct-1".to_owned(),
        slot: 7,
        parent: vec![1; 16],
        snapshot: vec![2; 16],
        fence: 99,
        upload: "01234567-89ab-cdef".to_owned(),
        key_version: 1,
        salt: vec![3; 16],
        ..Header::default()
    };
    header.set_kind(PackKind::Commit);
    header
}

type Sample = (FrameKind, Arc<Frame>, Vec<u8>);

fn sample(rng: &mut Rng) -> (Bytes, Vec<Sample>) {
    let mut writer = PackWriter::new(&secret(), &header(), 0).unwrap();
    let kinds = [FrameKind::Data, FrameKind::Data, FrameKind::Segment, FrameKind::Session, FrameKind::StorageState, FrameKind::Commit];
    let mut frames = Vec::new();
    for kind in kinds {
        let length = rng.below(5000);
        let plain = rng.bytes(length);
        frames.push((kind, writer.add_packed(kind, &plain).unwrap(), plain));
    }
    (writer.finish().unwrap(), frames)
}

/// Reads a pack from its bytes alone, as somebody does who finds it in a bucket.
fn read(object: &[u8]) -> Result<Vec<(FrameKind, Bytes)>> {
    let (header, sha, first) = parse_header(object)?;
    let pack = Arc::new(Pack { name: header.pack_name()?, header: sha });
    let tail = object.get(object.len().saturating_sub(FOOTER)..).unwrap_or_default();
    let footer = parse_footer(tail, object.len() as u64, &pack)?;
    let key = PackKey::new(&secret(), &Namespace::parse("namespace", &header.namespace)?, LINEAGE, &pack);
    let frame = |kind, frame: &Frame| {
        let start = usize::try_from(frame.offset).unwrap();
        let sealed = object.get(start..start + frame.sealed as usize).ok_or_else(|| corrupt("cut"))?;
        unpack(frame.codec, &key.open(kind, frame, sealed.into())?, frame.plain as usize)
    };
    let table = parse_table(&frame(FrameKind::Table, &footer.table)?, first, &footer)?;
    if sha256(&object[..object.len() - 36]) != footer.sha256 {
        return Err(corrupt("checksum"));
    }
    table.rows.iter().map(|row| Ok((row.kind, frame(row.kind, &row.frame)?))).collect()
}

#[test]
fn names_are_those_of_the_format() {
    assert_eq!(PackName::Commit(255).object(LINEAGE), format!("c/b8/{LINEAGE}/00000000000000ff"));
    assert_eq!(PackName::Data("u-1".to_owned()).object(LINEAGE), format!("d/b8/{LINEAGE}/u-1"));
    assert_eq!(void_name(LINEAGE, 255), format!("c/b8/{LINEAGE}/00000000000000ff.void"));
    assert!(!PackName::Data("../../x".to_owned()).is_valid() && !PackName::Data("..".to_owned()).is_valid() && !PackName::Commit(0).is_valid());
}

#[test]
fn a_pack_reads_back_from_its_bytes_alone_and_is_the_same_every_time() {
    let (object, frames) = sample(&mut Rng(1));
    assert_eq!(object, sample(&mut Rng(1)).0);
    let found = read(&object).unwrap();
    assert_eq!(found.len(), frames.len());
    for ((kind, plain), (wanted, _, text)) in found.iter().zip(&frames) {
        assert_eq!((kind, &plain[..]), (wanted, &text[..]));
    }
}

#[test]
fn a_frame_opens_only_as_what_it_is_and_where_it_is() {
    let (object, frames) = sample(&mut Rng(2));
    let (kind, frame, _) = &frames[0];
    let sealed = |frame: &Frame| BytesMut::from(&object[usize::try_from(frame.offset).unwrap()..][..frame.sealed as usize]);
    let key = |lineage, pack: &Pack, namespace| PackKey::new(&secret(), &Namespace::parse("namespace", namespace).unwrap(), lineage, pack);
    let opens = |key: &PackKey, kind, frame: &Frame, text: BytesMut| key.open(kind, frame, text).is_ok();
    let right = key(LINEAGE, &frame.pack, "team");
    assert!(opens(&right, *kind, frame, sealed(frame)));
    assert!(!opens(&right, FrameKind::Segment, frame, sealed(frame)), "as another kind");
    assert!(!opens(&right, *kind, &Frame { index: 1, ..(**frame).clone() }, sealed(frame)), "as another frame");
    assert!(!opens(&right, *kind, &Frame { plain: frame.plain + 1, ..(**frame).clone() }, sealed(frame)), "with another length");
    assert!(!opens(&right, *kind, frame, sealed(&frames[1].1)), "in another's place");
    let other = Pack { name: PackName::Commit(8), ..(*frame.pack).clone() };
    assert!(!opens(&key(LINEAGE, &other, "team"), *kind, frame, sealed(frame)), "in another slot");
    let other = Pack { header: [0; 32], ..(*frame.pack).clone() };
    assert!(!opens(&key(LINEAGE, &other, "team"), *kind, frame, sealed(frame)), "under another header");
    assert!(!opens(&key(LineageId([0; 16]), &frame.pack, "team"), *kind, frame, sealed(frame)), "in another lineage");
    assert!(!opens(&key(LINEAGE, &frame.pack, "other"), *kind, frame, sealed(frame)), "in another namespace");
}

#[test]
fn headers_that_break_a_rule_are_refused() {
    let bad = |change: fn(&mut Header)| {
        let mut header = header();
        change(&mut header);
        let lead = header.to_lead().unwrap().0;
        parse_header(&lead).unwrap_err().reason()
    };
    let changes: [fn(&mut Header); 12] = [
        |header| header.kind = 9,
        |header| header.slot = 0,
        |header| header.lineage = vec![1; 15],
        |header| header.parent = vec![1; 3],
        |header| header.snapshot.clear(),
        |header| header.namespace = "../x".to_owned(),
        |header| header.session = "a/b".to_owned(),
        |header| header.upload = "short".to_owned(),
        |header| header.salt.clear(),
        |header| header.of = 1,
        |header| header.set_kind(PackKind::Restore),
        |header| (header.kind, header.of) = (PackKind::Restore.into(), 7),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert_eq!(bad(change), Reason::DataCorrupt, "{at}");
    }
    let mut newer = header().to_lead().unwrap().0;
    newer[4] = 2;
    assert!(parse_header(&newer).unwrap_err().message().contains("format version 2"));
    assert_eq!(header().parent_id().unwrap().0, [1; 16]);
}

#[test]
fn a_restore_names_an_earlier_commit_and_takes_a_slot_as_one() {
    let mut header = Header { of: 6, ..header() };
    header.set_kind(PackKind::Restore);
    let (read, _, _) = parse_header(&header.to_lead().unwrap().0).unwrap();
    assert_eq!((read.pack_name().unwrap(), &read), (PackName::Commit(7), &header));
    assert!(parse_header(&Header { parent: Vec::new(), ..header.clone() }.to_lead().unwrap().0).is_err(), "there is always a head before it");
    assert_eq!(parse_header(&void_object(&header).unwrap()).unwrap().0.of, 6);
}

#[test]
fn a_void_object_is_the_header_of_what_it_voids() {
    let void = void_object(&header()).unwrap();
    let (read, _, end) = parse_header(&void).unwrap();
    assert_eq!((read.kind(), read.snapshot_id(), read.slot, end), (PackKind::Void, header().snapshot_id(), 7, void.len() as u64));
}

proptest! {
    #[test]
    fn a_damaged_pack_is_an_error_and_never_a_panic(seed in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<bool>()) {
        let (object, _) = sample(&mut Rng(seed));
        let at = at.index(object.len());
        let mut bad = object.to_vec();
        if cut { bad.truncate(at) } else { bad[at] ^= 1 << bit }
        prop_assert_eq!(read(&bad).unwrap_err().reason(), Reason::DataCorrupt);
    }

    #[test]
    fn foreign_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), like in any::<bool>()) {
        let bytes = if like { [b"CLKP\x01\0\0\0\x20".as_slice(), &bytes].concat() } else { bytes };
        prop_assert!(read(&bytes).is_err());
        let pack = Arc::new(Pack { name: PackName::Commit(1), header: [0; 32] });
        let frame = Frame { pack: Arc::clone(&pack), index: 0, offset: 0, sealed: 16, plain: 0, codec: Codec::Raw };
        let _ = parse_table(&bytes, 0, &Footer { table: frame, sha256: [0; 32] });
        let _ = CommitInfo::decode(&bytes);
        let _ = decode_segment(bytes.into());
    }
}

/// Bytes that a reader in another language was tried on; they may change only with the format's version.
#[test]
fn the_format_stands_still() {
    let mut writer = PackWriter::new(&secret(), &header(), 0).unwrap();
    writer.add(FrameKind::Data, Codec::Raw, 5, b"hello").unwrap();
    writer.add(FrameKind::Segment, Codec::Raw, 7, b"segment").unwrap();
    writer.add(FrameKind::Commit, Codec::Raw, 6, b"commit").unwrap();
    let object = writer.finish().unwrap();
    assert_eq!((object.len(), hex(&sha256(&object)).as_str()), (285, "1a68d25953b73658ba816f8fbb783bbeecb46ee521b104f3518039c88743c403"));
}
