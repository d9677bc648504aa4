//! What a client that behaves cannot do: saves by the generated stubs.

use bytes::Bytes;
use cloakroom_client::v1::{self, profile_service_client::ProfileServiceClient, save_profile_request::Message};
use futures::{StreamExt as _, stream};
use ring::digest::{Context, SHA256, digest};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::{Stage, stage};

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn file(path: &str, body: &[u8]) -> v1::Entry {
    let leaves: Vec<u8> = body.chunks(4096).flat_map(|leaf| sha256(leaf)[..16].to_vec()).collect();
    v1::Entry {
        kind: v1::EntryKind::File.into(),
        path: path.to_owned(),
        mode: 0o600,
        mtime_ns: 1_763_600_000_000_000_000,
        size: i64::try_from(body.len()).unwrap(),
        root: sha256(&leaves).into(),
        symlink_target: String::new(),
    }
}

fn link(path: &str, target: &str) -> v1::Entry {
    let kind = v1::EntryKind::Symlink.into();
    v1::Entry {
        kind,
        path: path.to_owned(),
        mode: 0o777,
        mtime_ns: 0,
        size: i64::try_from(target.len()).unwrap(),
        root: Bytes::new(),
        symlink_target: target.to_owned(),
    }
}

/// As the contract's comment says it, for entries in order of their paths.
fn manifest_root(entries: &[v1::Entry]) -> Bytes {
    let mut context = Context::new(&SHA256);
    for entry in entries {
        context.update(&[u8::try_from(entry.kind).unwrap()]);
        context.update(&entry.mode.to_be_bytes());
        context.update(&entry.mtime_ns.to_be_bytes());
        context.update(&entry.size.to_be_bytes());
        context.update(&u32::try_from(entry.path.len()).unwrap().to_be_bytes());
        context.update(entry.path.as_bytes());
        context.update(&if entry.root.is_empty() { sha256(entry.symlink_target.as_bytes()) } else { entry.root.to_vec() });
    }
    context.finish().as_ref().to_vec().into()
}

fn begin(stage: &Stage, upload_id: &str) -> Message {
    Message::Begin(v1::SaveBegin {
        session_id: stage.session.clone(),
        full: true,
        upload_id: format!("raw-upload-{upload_id:-<10}"),
        ..v1::SaveBegin::default()
    })
}

fn records(entry: v1::Entry, body: &[u8]) -> Message {
    let leaf_count = u32::try_from(body.len().div_ceil(4096)).unwrap();
    let run = v1::LeafRun { leaf_count, ..v1::LeafRun::default() };
    Message::Records(v1::ProfileRecords {
        entries: vec![entry],
        runs: if body.is_empty() { Vec::new() } else { vec![run] },
        codec: v1::Codec::Raw.into(),
        data: body.to_vec().into(),
        data_size: u32::try_from(body.len()).unwrap(),
        ..v1::ProfileRecords::default()
    })
}

fn end(entries: &[v1::Entry]) -> Message {
    Message::End(v1::SaveEnd { manifest_root: manifest_root(entries) })
}

/// A sound save of one file of 5,000 bytes and a storage state.
fn sound(stage: &Stage) -> Vec<Message> {
    let body = vec![7; 5000];
    let state = Message::StorageState(v1::StorageStateChunk { data: Bytes::from_static(br#"{"cookies":[],"origins":[]}"#) });
    vec![begin(stage, "sound"), records(file("f", &body), &body), state, end(&[file("f", &body)])]
}

async fn stub(stage: &Stage) -> ProfileServiceClient<Channel> {
    ProfileServiceClient::new(Channel::from_shared(stage.daemon.url()).unwrap().connect().await.unwrap())
}

async fn send(stage: &Stage, messages: Vec<Message>) -> Result<v1::SaveProfileResponse, Status> {
    let requests = messages.into_iter().map(|message| v1::SaveProfileRequest { namespace: String::new(), message: Some(message) });
    stub(stage).await.save_profile(stream::iter(requests)).await.map(tonic::Response::into_inner)
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_else(|| format!("without a reason: {status:?}"))
}

/// Refused for one of these reasons, and nothing changed.
async fn refused(stage: &Stage, messages: Vec<Message>, reasons: &[&str]) -> Status {
    let before = stage.get().await.value;
    let status = send(stage, messages).await.expect_err(reasons[0]);
    assert!(reasons.contains(&reason(&status).as_str()), "{} instead of {reasons:?}: {}", reason(&status), status.message());
    assert_eq!(stage.get().await.value, before);
    status
}

#[tokio::test]
async fn torn_stream_changes_nothing() {
    let stage = stage().await;
    let before = stage.get().await.value;
    for cut in 0..sound(&stage).len() {
        refused(&stage, sound(&stage)[..cut].to_vec(), if cut == 0 { &["STREAM_PROTOCOL", "STREAM_TRUNCATED"] } else { &["STREAM_TRUNCATED"] }).await;
        // Cancelled: the stream stays open until the call is dropped.
        let requests = sound(&stage)[..cut].to_vec().into_iter().map(|message| v1::SaveProfileRequest { namespace: String::new(), message: Some(message) });
        let mut stub = stub(&stage).await;
        let call = stub.save_profile(stream::iter(requests).chain(stream::pending()));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(100), call).await.is_err(), "still waiting after {cut} messages");
        assert_eq!(stage.get().await.value, before);
    }
    let saved = send(&stage, sound(&stage)).await.unwrap();
    assert_eq!(stage.get().await.head_snapshot_id, saved.snapshot.unwrap().id, "the same stream uncut is a save");
}

#[tokio::test]
async fn wrong_digest_refused() {
    let stage = stage().await;
    let (body, mut wrong) = (vec![7; 5000], vec![7; 5000]);
    wrong[4500] ^= 1;
    let entry = file("f", &body);
    refused(&stage, vec![begin(&stage, "byte"), records(entry.clone(), &wrong), end(&[entry.clone()])], &["DIGEST_MISMATCH"]).await;
    let other = v1::Entry { mtime_ns: 1, ..entry.clone() };
    refused(&stage, vec![begin(&stage, "root"), records(entry, &body), end(&[other])], &["DIGEST_MISMATCH"]).await;
}

#[tokio::test]
async fn second_begin_refused() {
    let stage = stage().await;
    for at in 1..4 {
        let mut messages = sound(&stage);
        messages.insert(at, begin(&stage, "second"));
        refused(&stage, messages, &["STREAM_PROTOCOL"]).await;
    }
}

#[tokio::test]
async fn unknown_parent_refused() {
    let stage = stage().await;
    let mut messages = sound(&stage);
    if let Message::Begin(begin) = &mut messages[0] {
        begin.parent_snapshot_id = "ab".repeat(16);
    }
    refused(&stage, messages, &["SNAPSHOT_NOT_FOUND", "PARENT_NOT_HEAD"]).await;
}

#[tokio::test]
async fn path_escape_refused() {
    let stage = stage().await;
    let entries = ["../x", "/x", "a/../x", "a\0b", "a\\b"].map(|path| file(path, b"x")).into_iter().chain([link("l", "../x")]);
    for (number, entry) in entries.enumerate() {
        let body: &[u8] = if entry.symlink_target.is_empty() { b"x" } else { b"" };
        let messages = vec![begin(&stage, &number.to_string()), records(entry.clone(), body), end(std::slice::from_ref(&entry))];
        let status = refused(&stage, messages, &["PATH_INVALID"]).await;
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
