//! Bytes of saves of a real Chromium's profile, in every client.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cloakroom_client::{Capture, Client, Options, Policy, SaveOptions};
use cloakroom_tests::{
    daemon::{self, Daemon},
    process::program,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{loads, table};

const LEAF: usize = 4096;

pub(crate) async fn run() {
    let made = directory();
    let small = profiles(&made, "small");
    let medium = profiles(&made, "medium");
    let mut daemon = Daemon::start().await;
    table::head("Bytes of saves, small profile (v1 → typical v2 → idle v3), default capture");
    ours_in_process(&daemon, &small).await;
    for client in ["rust", "python", "node"] {
        idle_in(client, &daemon, &small).await;
    }
    loads::run(&mut daemon, &medium).await;
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("bench-profiles")
}

/// The profiles of a size, made by driving Chromium if they are not there yet.
fn profiles(made: &Path, size: &str) -> PathBuf {
    let out = made.join(size);
    if !out.join("profiles.json").exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/make_profiles.py");
        let mut command = Command::new(program("CLOAKROOM_TEST_PYTHON", "python"));
        assert!(command.arg(script).args(["--size", size]).arg(&out).status().unwrap().success());
    }
    out
}

/// Makes `target` hold what `source` holds, as a browser's run would: in place, with the sidecar beside it left alone.
pub(crate) fn become_like(target: &Path, source: &Path) {
    let _ = fs::remove_dir_all(target);
    copy(source, target);
}

pub(crate) fn copy(source: &Path, target: &Path) {
    assert!(Command::new("cp").arg("-a").arg(source).arg(target).status().unwrap().success());
}

/// Files that the default capture keeps, by path.
fn kept(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let capture = Capture::new(Policy::Default, &[], &[]).unwrap();
    let mut files = BTreeMap::new();
    walk(root, "", &capture, &mut files);
    files
}

fn walk(root: &Path, under: &str, capture: &Capture, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(root.join(under)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = if under.is_empty() { name } else { format!("{under}/{name}") };
        let kind = entry.file_type().unwrap();
        if !capture.keeps(&path) {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, capture, files);
        } else if kind.is_file() {
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

/// The 4 KiB blocks that changed from one tree to the next, compared at the same path and place.
fn changed_blocks(old: &Path, new: &Path) -> Vec<u8> {
    let old = kept(old);
    let mut changed = Vec::new();
    for (path, content) in kept(new) {
        let before = old.get(&path).map(Vec::as_slice).unwrap_or_default();
        for (at, block) in content.chunks(LEAF).enumerate() {
            if before.chunks(LEAF).nth(at) != Some(block) {
                changed.extend_from_slice(block);
            }
        }
    }
    changed
}

#[expect(clippy::cast_precision_loss, reason = "bytes of profiles are far below 2^52")]
async fn ours_in_process(daemon: &Daemon, profiles: &Path) {
    let client = Client::connect(&daemon.url(), Options::default()).unwrap();
    create(&daemon.url(), "bytes");
    let work = tempfile::tempdir_in(directory()).unwrap();
    let target = work.path().join("profile");
    become_like(&target, &profiles.join("v1"));
    client.save("bytes", &target, SaveOptions::default()).await.unwrap();
    for (from, to, what) in [("v1", "v2", "typical"), ("v2", "v3", "idle")] {
        let blocks = changed_blocks(&profiles.join(from), &profiles.join(to));
        let stream = zstd::bulk::compress(&blocks, 1).unwrap();
        become_like(&target, &profiles.join(to));
        let sent = client.save("bytes", &target, SaveOptions::default()).await.unwrap().sent;
        table::fact(&format!("{what}: changed 4 KiB blocks"), blocks.len() as f64 / 1000.0, "KB");
        table::at_most(&format!("{what}: content sent / changed blocks"), sent.content as f64 / blocks.len() as f64, 1.1, "");
        table::fact(&format!("{what}: those blocks through one zstd-1 stream"), stream.len() as f64 / 1000.0, "KB");
        table::at_most(&format!("{what}: bytes sent / that stream"), sent.bytes as f64 / stream.len() as f64, 1.1, "");
    }
}

/// What an idle save costs on the wire, HTTP/2 included, in a client as a process of its own.
#[expect(clippy::cast_precision_loss, reason = "bytes of a save are far below 2^52")]
async fn idle_in(client: &str, daemon: &Daemon, profiles: &Path) {
    let (address, sent) = counting_proxy(&daemon.address()).await;
    let session = format!("idle-{client}");
    create(&daemon.url(), &session);
    let work = tempfile::tempdir_in(directory()).unwrap();
    let target = work.path().join("profile");
    let mut counts = Vec::new();
    for version in ["v1", "v2", "v3"] {
        become_like(&target, &profiles.join(version));
        let before = sent.load(Ordering::Relaxed);
        save(client, &address, &session, &target).await;
        counts.push(sent.load(Ordering::Relaxed) - before);
    }
    table::at_most(&format!("idle save on the wire, {client}"), counts[2] as f64 / 1000.0, 100.0, "KB");
}

pub(crate) fn create(url: &str, session: &str) {
    let mut command = Command::new(daemon::binary("cloakroom"));
    command.args(["--target", url, "--json", "sessions", "create", "--id", session, "--business", "bench"]);
    assert!(command.output().unwrap().status.success());
}

async fn save(client: &str, address: &str, session: &str, target: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = match client {
        "rust" => {
            let mut command = Command::new(daemon::binary("cloakroom"));
            command.args(["--target", address, "--json", "save", session]);
            command
        }
        "python" => {
            let mut command = Command::new(program("CLOAKROOM_TEST_PYTHON", "python"));
            command.arg(here.join("workers/save.py")).args([address, session]);
            command
        }
        _ => {
            let mut command = Command::new("node");
            command.arg(here.join("workers/save.mjs")).args([address, session]);
            command
        }
    };
    command.arg(target);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{client}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A proxy in front of `target` that counts the bytes from client to daemon.
async fn counting_proxy(target: &str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicU64::new(0)));
    let (target, counted) = (target.to_owned(), Arc::clone(&count));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (target, counted) = (target.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.unwrap();
                let (mut from_near, mut to_near) = near.split();
                let (mut from_far, mut to_far) = far.split();
                let up = async {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = from_near.read(&mut buffer).await {
                        counted.fetch_add(length as u64, Ordering::Relaxed);
                        if to_far.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                    }
                    let _ = to_far.shutdown().await;
                };
                let _ = tokio::join!(up, tokio::io::copy(&mut from_far, &mut to_near));
            });
        }
    });
    (address, count)
}
