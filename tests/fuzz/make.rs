//! Seeds made by the project's own code, the same every time, so that a changed format shows itself.

use std::sync::Arc;

use bytes::Bytes;
use cloakroom_api::v1;
use cloakroom_server::model::{
    codec::{self, Codec},
    event::{self, Change},
    manifest::{CommitInfo, Cut, Entry, Extent, Manifest, SavedSession, StorageStateAt, cut, entry_root},
    pack::{Frame, FrameKind, Header, Pack, PackName, PackWriter, parse_header, void_object},
    page,
    portability::Portability,
    resume::Resume,
    seal::Secret,
    session::{Session, State, TtlMode},
    snapshot::Snapshot,
    time::{History, Revision},
    tree::{Kind, leaf_count, leaf_digest, sha256},
};

use super::bodies::pack::SECRET;

const STATE: &str = r#"{"cookies":[{"name":"sid","value":"a\"\ud800b","domain":"shop.example","path":"/","expires":-1,"httpOnly":true,"secure":true,"sameSite":"Lax"}],"origins":[{"origin":"https://shop.example","localStorage":[{"name":"k","value":"v"}],"indexedDB":[{"name":"db","version":1,"stores":[]}]}],"extra":[1.5e3,null,{"x":[]}]}"#;

type Seed = (&'static str, &'static str, Vec<u8>);

/// Every seed that code makes: target, file name, bytes.
pub(super) fn all() -> Vec<Seed> {
    let mut seeds = packs();
    seeds.extend(records());
    seeds.extend(tokens());
    seeds.extend(streams());
    seeds.extend(replies());
    seeds.extend(texts());
    seeds.push(("cookies", "two", cookies()));
    seeds
}

/// The header of the seeds' pack.
fn header() -> Header {
    let mut header = Header {
        namespace: "team".to_owned(),
        lineage: vec![0x11; 16],
        session: "acct-1".to_owned(),
        slot: 7,
        parent: vec![1; 16],
        snapshot: vec![2; 16],
        fence: 99,
        upload: "01234567-89ab-cdef".to_owned(),
        key_version: 1,
        salt: vec![3; 16],
        etag: "\"1a\"".to_owned(),
        ..Header::default()
    };
    header.set_kind(cloakroom_server::model::pack::PackKind::Commit);
    header
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at / 40 % 256).unwrap()).collect()
}

fn frame(slot: u64, index: u32) -> Arc<Frame> {
    let name = if slot == 0 { PackName::Data("0123-data.1".to_owned()) } else { PackName::Commit(slot) };
    let pack = Arc::new(Pack { name, header: [u8::try_from(slot).unwrap(); 32] });
    Arc::new(Frame { pack, index, offset: 300, sealed: 5000, plain: 40_000, codec: Codec::Zstd })
}

fn entry(kind: Kind, path: &str, size: usize, target: &str) -> Arc<Entry> {
    let leaves: Vec<u8> = content(size).chunks(4096).flat_map(leaf_digest).collect();
    let count = leaf_count(size as u64);
    let (first, rest) = (count.min(1), count.saturating_sub(1));
    let extents = [(frame(7, 0), first), (frame(0, 3), rest)].into_iter().filter(|(_, leaves)| *leaves > 0);
    Arc::new(Entry {
        kind,
        path: path.into(),
        mode: 0o700,
        mtime_ns: 1_763_600_000_123_456_789,
        size: (size + target.len()) as u64,
        root: entry_root(kind, &leaves, target),
        target: target.into(),
        leaves: leaves.into(),
        extents: extents.map(|(frame, leaves)| Extent { frame, offset: 4096, leaves }).collect(),
    })
}

fn manifest() -> Manifest {
    let mut entries = vec![entry(Kind::Directory, "Default", 0, ""), entry(Kind::Symlink, "Default/Link", 0, "Cookies")];
    entries.extend((0..9).map(|n| entry(Kind::File, &format!("Default/é{n}"), n * 1500, "")));
    Manifest::new(entries)
}

fn packs() -> Vec<Seed> {
    let manifest = manifest();
    let mut writer = PackWriter::new(&Secret::new(SECRET), &header(), 0).unwrap();
    writer.add_packed(FrameKind::Data, &content(30_000)).unwrap();
    let mut segments = Vec::new();
    let mut seeds = Vec::new();
    for cut in cut(&manifest, None).unwrap() {
        let Cut::New(new) = cut else { panic!("nothing can be kept") };
        seeds.push(("manifest", "segment", new.plain.clone()));
        let frame = writer.add_packed(FrameKind::Segment, &new.plain).unwrap();
        segments.push(new.stored(frame));
    }
    seeds.truncate(1);
    let state = writer.add_packed(FrameKind::StorageState, STATE.as_bytes()).unwrap();
    let saved = SavedSession { record: session(), marks: [("fence".to_owned(), -3)].into(), revision: 9, expires_at: 1 };
    writer.add_packed(FrameKind::Session, &saved.to_bytes()).unwrap();
    let state = StorageStateAt { frame: state, sha256: sha256(STATE.as_bytes()) };
    let commit = CommitInfo::new(&manifest.stored_in(segments), portability(), Some(state), 77);
    let at = writer.add_packed(FrameKind::Commit, &commit.encode()).unwrap();
    let snapshot = Snapshot::new(&header(), &commit, &at, 12_345);
    let object = writer.finish().unwrap();
    let first = usize::try_from(parse_header(&object).unwrap().2).unwrap();
    seeds.extend([
        ("commit", "commit", commit.encode()),
        ("commit", "session", saved.to_bytes()),
        ("pack", "commit", object.to_vec()),
        ("pack_header", "commit", object[..first].to_vec()),
        ("pack_header", "void", void_object(&header()).unwrap()),
        ("pack_table", "commit", table()),
        ("snapshot_record", "snapshot", serde_json::to_vec(&snapshot).unwrap()),
    ]);
    for (name, codec) in [("zlib", Codec::Deflate), ("zstd", Codec::Zstd)] {
        let packed = codec::pack(codec, &content(5000)).unwrap().unwrap();
        seeds.push(("codec", name, [&[codec as u8, 0, 0x13, 0x88][..], &packed].concat()));
    }
    seeds.push(("codec", "raw", vec![1, 0, 0, 3, 7, 8, 9]));
    seeds
}

/// A table of two frames with its footer. The columns are those of `docs/pack-format.md`.
fn table() -> Vec<u8> {
    let mut plain = vec![0x0a, 2, 1, 3, 0x12, 2, 1, 3, 0x1a, 3, 20, 0xe8, 7, 0x22, 3, 4, 0x90, 0x4e];
    let offset: u64 = 100 + 20 + 1000;
    plain.extend_from_slice(&offset.to_be_bytes());
    for number in [34_u32, 18, 2] {
        plain.extend_from_slice(&number.to_be_bytes());
    }
    plain.extend_from_slice(&[1, 0, 0, 0]);
    plain.extend_from_slice(&[8; 32]);
    plain.extend_from_slice(b"PKLC");
    plain
}

fn portability() -> Portability {
    Portability { os: "linux".to_owned(), brand: "chromium".to_owned(), quiesced: true, ..Portability::default() }
}

fn session() -> Vec<u8> {
    let email = cloakroom_server::model::session::SealedEmail { hmac: "ab".repeat(32), sealed: "AQ==".to_owned() };
    let session = Session {
        business: "acme ü".to_owned(),
        email: Some(email),
        state: State::Active,
        state_reason: "logged in".to_owned(),
        revive_to: None,
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ttl_micros: 86_400_000_000,
        ttl_mode: TtlMode::Sliding,
        lineage: "0123456789abcdef".repeat(2),
        head: Some("fedcba9876543210".repeat(2)),
        sequence: 7,
        slot_floor: 8,
    };
    serde_json::to_vec(&session).unwrap()
}

fn records() -> Vec<Seed> {
    let numbers = [1_763_600_000_000_000_i64, 1_763_500_000_000_000, 99].map(i64::to_be_bytes).concat();
    let change =
        Change { kind: 2, session: "a".to_owned(), business: "acme".to_owned(), previous_business: Some(String::new()), state: 2, ..Change::default() };
    let saved = Change { kind: 9, session: "b".to_owned(), snapshot: "ab".repeat(16), reason: "why".to_owned(), ..Change::default() };
    let secret = Secret::new([5; 32]);
    let boxed = secret.seal_box([9; 12], b"aad", b"a text").unwrap();
    let zstd = codec::pack(Codec::Zstd, STATE.repeat(3).as_bytes()).unwrap().unwrap();
    let length = u32::try_from(STATE.len() * 3).unwrap().to_be_bytes();
    vec![
        ("session_record", "active", [numbers, session()].concat()),
        ("snapshot_record", "upload", br#"{"lineage":"00","snapshot":"11"}"#.to_vec()),
        ("event", "two", event::encode(vec![change, saved])),
        ("sealed", "box", [&[3][..], b"aad", &boxed].concat()),
        ("sealed", "none", vec![0]),
        ("state_record", "inline", [&[1][..], &length, &zstd].concat()),
        ("state_record", "reference", [&[0, 1, 1][..], &[7; 16], &5_000_000_u64.to_be_bytes()].concat()),
    ]
}

fn tokens() -> Vec<Seed> {
    let secret = Secret::new([1; 32]);
    let resume = Resume { selectors: [3; 8], history: History("h".repeat(40)), revision: Revision(1_763_600_000_000_000) };
    let token = resume.encode(|data| secret.mac(data));
    let position = (1_763_600_000_000_000, "acct-1".to_owned());
    let page = page::encode(&position, b"f", |data| secret.mac(data));
    vec![
        ("resume_token", "whole", [&[0][..], &token].concat()),
        ("resume_token", "body", [&[1][..], &token[..token.len() - 16]].concat()),
        ("page_token", "text", [b"\0f", page.as_bytes()].concat()),
        ("page_token", "position", [b"\x01f", &position.0.to_be_bytes()[..], position.1.as_bytes()].concat()),
        ("storage_state", "whole", STATE.into()),
        ("storage_state", "empty", br#"{"cookies":[],"origins":[]}"#.to_vec()),
        ("names", "id", b"acct-1.a_B".to_vec()),
        ("names", "email", " Ann.Ä+x@shop.example ".into()),
        ("names", "label", b"tier=gold".to_vec()),
        ("names", "hex", b"0123456789abcdef0123456789abcdef".to_vec()),
    ]
}

/// A cookie database with two cookies, in small pages, without the version of the SQLite that made it.
fn cookies() -> Vec<u8> {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    let table = "PRAGMA page_size = 512; CREATE TABLE cookies(host_key TEXT, name TEXT, value TEXT, encrypted_value BLOB, path TEXT, expires_utc INTEGER);
        INSERT INTO cookies VALUES('.shop.example', 'sid', '', x'76313001', '/', 13400000000000000), ('shop.example', 'life', 'v', '', '/a', 0);";
    connection.execute_batch(table).unwrap();
    let mut bytes = connection.serialize("main").unwrap().to_vec();
    bytes[96..100].fill(0);
    bytes
}

fn framed(flags: u8, messages: &[impl prost::Message]) -> Vec<u8> {
    let frame = |message: Vec<u8>| [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    [vec![flags], messages.iter().flat_map(|message| frame(message.encode_to_vec())).collect()].concat()
}

fn wire(kind: i32, path: &str, size: usize, target: &str) -> v1::Entry {
    let root = if kind == 1 { vec![0; 32].into() } else { Bytes::new() };
    let size = i64::try_from(size).unwrap();
    v1::Entry { kind, path: path.to_owned(), mode: 0o700, mtime_ns: if kind == 3 { 0 } else { 5 }, size, root, symlink_target: target.to_owned() }
}

fn run(entry: u32, first_leaf: u32, leaf_count: u32, copy: Option<(&str, u32)>) -> v1::LeafRun {
    let (copy_path, copy_first_leaf) = copy.map(|(path, first)| (path.to_owned(), first)).unwrap_or_default();
    v1::LeafRun { entry, first_leaf, leaf_count, copy_path, copy_first_leaf }
}

fn data(codec: Codec, plain: &[u8]) -> (i32, Bytes, u32) {
    let packed = codec::pack(codec, plain).unwrap().unwrap_or_else(|| plain.to_vec());
    (codec as i32, packed.into(), u32::try_from(plain.len()).unwrap())
}

/// The pieces of a profile as a whole, in every packing.
fn whole() -> Vec<v1::ProfileRecords> {
    let second = content(5000);
    let first = v1::ProfileRecords {
        entries: vec![wire(2, "d", 0, ""), wire(1, "d/a", 10_000, ""), wire(1, "d/empty", 0, ""), wire(3, "d/l", 1, "a")],
        runs: vec![run(1, 1, 2, None)],
        ..v1::ProfileRecords::default()
    };
    let (codec, data_, data_size) = data(Codec::Zstd, &content(5904));
    let first = v1::ProfileRecords { codec, data: data_, data_size, ..first };
    let (codec, data_, data_size) = data(Codec::Deflate, &[&content(4096)[..], &second].concat());
    let next = v1::ProfileRecords {
        entries: vec![wire(1, "d/z", 5000, "")],
        runs: vec![run(1, 0, 1, None), run(4, 0, 2, None)],
        codec,
        data: data_,
        data_size,
        ..v1::ProfileRecords::default()
    };
    vec![first, next]
}

/// The pieces of a difference to the tree `d`, `d/a` (10,000 bytes), `d/b`, `d/l`.
fn difference() -> Vec<v1::ProfileRecords> {
    vec![v1::ProfileRecords {
        entries: vec![wire(1, "d/a", 10_000, ""), wire(1, "d/c", 8192, ""), wire(2, "e", 0, "")],
        runs: vec![run(0, 1, 1, None), run(1, 0, 2, Some(("d/a", 0)))],
        removed: vec!["d/b".to_owned()],
        codec: 1,
        data: vec![7; 4096].into(),
        data_size: 4096,
    }]
}

fn streams() -> Vec<Seed> {
    use v1::{load_profile_response::Message as Load, save_profile_request::Message as Save};
    let save = |full: bool, pieces: Vec<v1::ProfileRecords>| {
        let (session_id, upload_id) = ("acct-1".to_owned(), "01234567-89ab-cdef".to_owned());
        let begin = v1::SaveBegin { session_id, upload_id, full, etag: "\"1a\"".to_owned(), ..v1::SaveBegin::default() };
        let state = v1::StorageStateChunk { data: STATE.into() };
        let end = v1::SaveEnd { manifest_root: vec![0; 32].into() };
        let messages = [Save::Begin(begin)].into_iter().chain(pieces.into_iter().map(Save::Records)).chain([Save::StorageState(state), Save::End(end)]);
        messages.map(|message| v1::SaveProfileRequest { namespace: String::new(), message: Some(message) }).collect::<Vec<_>>()
    };
    let load = |base: &str, pieces: Vec<v1::ProfileRecords>| {
        let snapshot = Some(v1::Snapshot { id: "ab".repeat(16), ..v1::Snapshot::default() });
        let begin = v1::LoadBegin { snapshot, base_snapshot_id: base.to_owned(), content_bytes: 15_000 };
        let state = v1::StorageStateChunk { data: STATE.into() };
        let end = v1::LoadEnd { manifest_root: vec![0; 32].into() };
        let messages = [Load::Begin(begin)].into_iter().chain(pieces.into_iter().map(Load::Records)).chain([Load::StorageState(state), Load::End(end)]);
        messages.map(|message| v1::LoadProfileResponse { message: Some(message) }).collect::<Vec<_>>()
    };
    let announced = |size: i64| {
        let entries = vec![v1::Entry { size, ..wire(1, "a", 0, "") }];
        vec![v1::ProfileRecords { entries, codec: 1, ..v1::ProfileRecords::default() }]
    };
    vec![
        ("save_stream", "announced-and-not-sent", framed(0, &save(true, announced(8 << 30)))),
        ("load_stream", "announced-and-not-sent", framed(0, &load("", announced(1 << 40)))),
        ("load_stream", "announced-a-gibibyte", framed(0, &load("", announced(1 << 30)))),
        ("save_stream", "whole", framed(2, &save(true, whole()))),
        ("save_stream", "difference", framed(3, &save(false, difference()))),
        ("save_stream", "wrong-root", framed(0, &save(true, whole()))),
        ("load_stream", "whole", framed(2, &load("", whole()))),
        ("load_stream", "difference", framed(3, &load("former", difference()))),
        ("load_stream", "wrong-root", framed(0, &load("", whole()))),
    ]
}

fn replies() -> Vec<Seed> {
    let seed = |kind: u8, text: &str| [&[kind][..], text.as_bytes()].concat();
    vec![
        ("redis_reply", "applied", seed(0, "*5\r\n$7\r\napplied\r\n:1\r\n:1763600000000000\r\n:1763600000000001\r\n:0\r\n")),
        ("redis_reply", "replayed", seed(0, "*2\r\n$8\r\nreplayed\r\n$27\r\n0 17636 17637 nonce a note!\r\n")),
        ("redis_reply", "refused", seed(0, "*7\r\n$7\r\nrefused\r\n+record\r\n$15\r\np:{default}:r:a\r\n:0\r\n+meter\r\n$15\r\np:{default}:g:b\r\n:5\r\n")),
        (
            "redis_reply",
            "reading",
            seed(
                1,
                "*5\r\n:9\r\n:1763600000\r\n:17\r\n*0\r\n*10\r\n+rev\r\n$1\r\n7\r\n+exp\r\n:5\r\n+sw\r\n:1\r\n+v\r\n$2\r\n{}\r\n+m:used\r\n$9\r\n9.007e+15\r\n",
            ),
        ),
        ("redis_reply", "page", seed(2, "*4\r\n$1\r\nh\r\n:9\r\n:8\r\n*1\r\n*2\r\n$3\r\n7-0\r\n*4\r\n+p\r\n:6\r\n+d\r\n$1\r\nx\r\n")),
        ("redis_reply", "head", seed(3, "*3\r\n$1\r\nh\r\n:9\r\n:8\r\n")),
        ("redis_reply", "scored", seed(4, "*2\r\n$1\r\na\r\n$1\r\n5\r\n")),
        ("redis_reply", "scored-pairs", seed(4, "*1\r\n*2\r\n$1\r\na\r\n,5\r\n")),
        ("redis_reply", "row", seed(6, "*3\r\n*2\r\n$1\r\n2\r\n$1\r\n5\r\n$1\r\n7\r\n%2\r\n+rev\r\n$1\r\n8\r\n+v\r\n$2\r\n{}\r\n")),
        ("redis_reply", "members", seed(5, "~2\r\n$1\r\na\r\n$1\r\nb\r\n")),
    ]
}

fn texts() -> Vec<Seed> {
    let rules = include_str!("../../client/capture.json");
    let hash = "0123456789abcdef".repeat(4);
    let sidecar = r#"{"version":1,"namespace":"n","session_id":"s","snapshot_id":"ab","manifest_root":"ROOT","entries":[{"kind":"directory","path":"d","mode":448,"mtime_ns":"-5","size":0,"stat":""},{"kind":"file","path":"d/f","mode":384,"mtime_ns":"5","size":1,"root":"FILE","leaves":"LEAF","stat":"1:2:3:4"},{"kind":"link","path":"l","mode":511,"mtime_ns":"0","size":3,"target":"d/f","stat":""}]}"#;
    vec![
        ("capture_rules", "shared", format!("Default/Cache/x\n**/C*e/?\n{rules}").into()),
        ("capture_rules", "small", b"a/b/c\n\n{\"never\":[{\"glob\":\"/a/**/Singleton*\"}],\"rules\":[{\"glob\":\"b\",\"drop\":[\"default\"]}]}".to_vec()),
        ("capture_rules", "many-deep-segments", format!("{}b\n{}a\n{{\"never\":[],\"rules\":[]}}", "b/".repeat(63), "**/".repeat(30)).into()),
        ("config", "defaults", cloakroom_server::config::print().into()),
        ("config", "other", b"listen = '[::1]:0'\nmetadata.engine = \"ephemeral\"\n[keys]\nmaster_key = \"abc\"\n[limits]\nidle_timeout = \"5m\"\n".to_vec()),
        ("token_file", "two", format!("# who\n\nann default worker {hash}\nbob team-b operator {}\n", hash.replace('0', "f")).into()),
        ("key_file", "hex", format!("# a key\n{hash}\n").into()),
        ("key_file", "base64", b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n".to_vec()),
        ("sidecar", "three", sidecar_of(sidecar)),
    ]
}

/// Fills in the digests that the client's own reader asks for.
fn sidecar_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let leaf = leaf_digest(b"x");
    let file = sha256(&leaf);
    let described = [(Kind::Directory, "d", 448, -5, 0, [0; 32]), (Kind::File, "d/f", 384, 5, 1, file), (Kind::Symlink, "l", 511, 0, 3, sha256(b"d/f"))];
    let mut hasher = cloakroom_server::model::tree::RootHasher::new();
    for (kind, path, mode, mtime_ns, size, root) in &described {
        hasher.add(&cloakroom_server::model::tree::Described { kind: *kind, path, mode: *mode, mtime_ns: *mtime_ns, size: *size, root });
    }
    let hex = |root: &[u8]| root.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let leaf = base64::engine::general_purpose::STANDARD.encode(leaf);
    text.replace("ROOT", &hex(&hasher.finish())).replace("FILE", &hex(&file)).replace("LEAF", &leaf).into()
}
