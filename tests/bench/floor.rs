//! What a full load cannot do without, each step alone and as cheap as it gets: no protocol, no messages, no waiting, one buffer used again and again.

use std::{
    fs::{self, File, FileTimes, OpenOptions, Permissions},
    hint::black_box,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA256, digest},
};

/// Bytes of a leaf, of what is read, sent or written at once, and of a frame.
const LEAF: usize = 4096;
const CHUNK: usize = 256 << 10;
const FRAME: usize = 240 * LEAF;

/// Processor time of each step for the profile in `tree`, in milliseconds; the files are made beside it.
pub(crate) fn of_a_load(tree: &Path) -> Vec<(&'static str, f64)> {
    let mut found = Vec::new();
    walk(tree, Path::new(""), &mut found);
    let contents: Vec<Vec<u8>> = found.iter().map(|path| fs::read(tree.join(path)).unwrap_or_default()).collect();
    let whole = contents.concat();
    let beside = |name: &str| tree.with_file_name(name);
    let packed: Vec<Vec<u8>> = whole.chunks(FRAME).map(pack).collect();
    let pack = packed.concat();
    fs::write(beside("pack"), &pack).unwrap();
    let sealed = sealed(&packed);
    vec![
        ("reading the packed bytes", timed(|| read(&beside("pack")))),
        ("opening them (AES-256-GCM)", timed(|| open(sealed))),
        ("unpacking them (zstd)", timed(|| unpack(&packed))),
        ("carrying the bytes over one connection", carried(&whole)),
        ("hashing every leaf (SHA-256)", timed(|| hash(&whole))),
        ("making and writing the files", timed(|| make(tree, &beside("made"), &found, &contents))),
    ]
}

/// Processor time of a thread, in milliseconds.
pub(crate) fn of_thread(thread: &Path) -> f64 {
    // One that has ended meanwhile counts as nothing.
    let stat = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e6
}

fn timed(work: impl FnOnce()) -> f64 {
    let own = Path::new("/proc/thread-self");
    let before = of_thread(own);
    work();
    of_thread(own) - before
}

/// Directories before what is in them.
fn walk(root: &Path, under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(under)).unwrap().map(Result::unwrap) {
        let (path, kind) = (under.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() || kind.is_file() {
            found.push(path.clone());
        }
        if kind.is_dir() {
            walk(root, &path, found);
        }
    }
}

/// As the daemon packs a frame: raw where packing saves less than 5 %.
fn pack(frame: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(frame, 1).unwrap();
    if packed.len() < frame.len() / 20 * 19 { packed } else { frame.to_vec() }
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap())
}

fn sealed(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let seal = |frame: &Vec<u8>| {
        let mut text = frame.clone();
        key().seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut text).unwrap();
        text
    };
    frames.iter().map(seal).collect()
}

fn open(frames: Vec<Vec<u8>>) {
    for mut frame in frames {
        key().open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut frame).unwrap();
    }
}

fn unpack(frames: &[Vec<u8>]) {
    let (mut zstd, mut plain) = (zstd::bulk::Decompressor::new().unwrap(), vec![0; FRAME]);
    for frame in frames.iter().filter(|frame| frame.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])) {
        zstd.decompress_to_buffer(frame, &mut plain).unwrap();
    }
}

fn hash(bytes: &[u8]) {
    for leaf in bytes.chunks(LEAF) {
        black_box(digest(&SHA256, leaf));
    }
}

fn read(path: &Path) {
    let (mut file, mut buffer) = (File::open(path).unwrap(), vec![0; FRAME]);
    while file.read(&mut buffer).unwrap() > 0 {}
}

/// Both ends together.
fn carried(bytes: &[u8]) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            let mut buffer = vec![0; CHUNK];
            timed(|| while far.read(&mut buffer).unwrap() > 0 {})
        });
        let sending = timed(|| bytes.chunks(CHUNK).for_each(|chunk| near.write_all(chunk).unwrap()));
        drop(near);
        sending + receiving.join().unwrap()
    })
}

fn make(tree: &Path, to: &Path, found: &[PathBuf], contents: &[Vec<u8>]) {
    fs::create_dir(to).unwrap();
    for (path, content) in found.iter().zip(contents) {
        let (metadata, at) = (fs::symlink_metadata(tree.join(path)).unwrap(), to.join(path));
        if metadata.is_dir() {
            fs::create_dir(at).unwrap();
            continue;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(at).unwrap();
        content.chunks(CHUNK).for_each(|chunk| file.write_all(chunk).unwrap());
        file.set_times(FileTimes::new().set_modified(metadata.modified().unwrap())).unwrap();
        file.set_permissions(Permissions::from_mode(metadata.mode())).unwrap();
    }
}
