//! What no well-behaved client sends, and what an operator gets wrong: each refused with its reason, and nothing changed by it.

use std::{
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use cloakroom_api::v1::{
    self as api, invalidation_service_client::InvalidationServiceClient, profile_service_client::ProfileServiceClient, save_profile_request::Message,
    session_service_client::SessionServiceClient,
};
use cloakroom_tests::daemon::Daemon;
use futures::stream;
use ring::digest::{Context, SHA256, digest};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

mod data;
mod disk;
mod fields;
mod order;
mod redis_blobs;
mod start;
mod still;
mod watches;

const LEAF: usize = 4096;

/// One daemon for the scenes that do not hurt it, ended by the last that uses it.
static SHARED: tokio::sync::Mutex<Weak<Daemon>> = tokio::sync::Mutex::const_new(Weak::new());
static NUMBER: AtomicUsize = AtomicUsize::new(0);

async fn shared() -> Arc<Daemon> {
    let mut shared = SHARED.lock().await;
    if let Some(daemon) = shared.upgrade() {
        return daemon;
    }
    let daemon = Arc::new(Daemon::start().await);
    *shared = Arc::downgrade(&daemon);
    daemon
}

/// An upload id that no other save has.
fn upload_id() -> String {
    format!("bad-input-{:0>10}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A session with a head, and the stubs to reach it.
struct Scene {
    _daemon: Option<Arc<Daemon>>,
    channel: Channel,
    session: String,
    head: String,
}

impl Scene {
    async fn new() -> Self {
        let daemon = shared().await;
        let url = daemon.url();
        Self { _daemon: Some(daemon), ..Self::at(url).await }
    }

    /// A new session at this daemon, saved once.
    async fn at(url: String) -> Self {
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        let create = api::CreateSessionRequest { business_id: "acme".to_owned(), ..api::CreateSessionRequest::default() };
        let created = SessionServiceClient::new(channel.clone()).create_session(create).await.unwrap().into_inner();
        let mut scene = Self { _daemon: None, channel, session: created.session.unwrap().id, head: String::new() };
        let begin = api::SaveBegin { full: true, ..scene.begin() };
        let messages = vec![Message::Begin(begin), Message::Records(records(kept(), vec![run(1, 0, 3)], &kept_bytes())), end(&kept())];
        scene.head = scene.save(messages).await.unwrap().snapshot.unwrap().id;
        assert_eq!(scene.session().await.head_snapshot_id, scene.head);
        scene
    }

    fn profiles(&self) -> ProfileServiceClient<Channel> {
        ProfileServiceClient::new(self.channel.clone())
    }

    fn invalidations(&self) -> InvalidationServiceClient<Channel> {
        InvalidationServiceClient::new(self.channel.clone())
    }

    async fn session(&self) -> api::Session {
        let request = api::GetSessionRequest { session_id: self.session.clone(), ..api::GetSessionRequest::default() };
        SessionServiceClient::new(self.channel.clone()).get_session(request).await.unwrap().into_inner().session.unwrap()
    }

    /// Opens a save on top of the head.
    fn begin(&self) -> api::SaveBegin {
        api::SaveBegin { session_id: self.session.clone(), parent_snapshot_id: self.head.clone(), upload_id: upload_id(), ..api::SaveBegin::default() }
    }

    async fn save(&self, messages: Vec<Message>) -> Result<api::SaveProfileResponse, Status> {
        self.stream(messages.into_iter().map(Some).collect()).await
    }

    /// A message can also be empty.
    async fn stream(&self, messages: Vec<Option<Message>>) -> Result<api::SaveProfileResponse, Status> {
        self.profiles().save_profile(stream::iter(requests(messages))).await.map(tonic::Response::into_inner)
    }

    /// Refused for this reason, naming the field (if one is given) and the words; head and etag stay, and the daemon answers.
    async fn refused<T: std::fmt::Debug>(&self, call: impl Future<Output = Result<T, Status>>, reason: &str, field: &str, words: &[&str]) {
        let before = self.session().await;
        let status = call.await.expect_err(reason);
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("{reason}: without a reason: {status:?}"));
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("cloakroom", reason), "{}", status.message());
        let fields: Vec<&str> = details.bad_request().iter().flat_map(|bad| &bad.field_violations).map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, if field.is_empty() { Vec::new() } else { vec![field] }, "{reason}: {}", status.message());
        for word in words {
            assert!(status.message().contains(word), "no {word:?} in: {}", status.message());
        }
        assert_eq!(self.session().await, before, "{reason}: {}", status.message());
        assert_eq!(before.head_snapshot_id, self.head);
    }

    /// A save with these records is refused.
    async fn records_refused(&self, records: api::ProfileRecords, reason: &str, field: &str, words: &[&str]) {
        let messages = vec![Message::Begin(self.begin()), Message::Records(records), end(&kept())];
        self.refused(self.save(messages), reason, field, words).await;
    }
}

fn requests(messages: Vec<Option<Message>>) -> Vec<api::SaveProfileRequest> {
    messages.into_iter().map(|message| api::SaveProfileRequest { namespace: String::new(), message }).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn file(path: &str, body: &[u8]) -> api::Entry {
    let leaves: Vec<u8> = body.chunks(LEAF).flat_map(|leaf| sha256(leaf)[..16].to_vec()).collect();
    api::Entry {
        kind: api::EntryKind::File.into(),
        path: path.to_owned(),
        mode: 0o600,
        mtime_ns: 1_763_600_000_000_000_000,
        size: i64::try_from(body.len()).unwrap(),
        root: sha256(&leaves).into(),
        symlink_target: String::new(),
    }
}

fn directory(path: &str) -> api::Entry {
    let kind = api::EntryKind::Directory.into();
    api::Entry { kind, path: path.to_owned(), mode: 0o700, ..api::Entry::default() }
}

/// What every session of these tests has saved: a directory, and in it a file of three leaves, the last one short.
fn kept() -> Vec<api::Entry> {
    vec![directory("d"), file("d/f", &kept_bytes())]
}

fn kept_bytes() -> Vec<u8> {
    noise(1, 2 * LEAF + 100)
}

/// Leaves whose bytes are in the message.
fn run(entry: u32, first_leaf: u32, leaf_count: u32) -> api::LeafRun {
    api::LeafRun { entry, first_leaf, leaf_count, ..api::LeafRun::default() }
}

fn records(entries: Vec<api::Entry>, runs: Vec<api::LeafRun>, data: &[u8]) -> api::ProfileRecords {
    let data_size = u32::try_from(data.len()).unwrap();
    api::ProfileRecords { entries, runs, codec: api::Codec::Raw.into(), data: Bytes::copy_from_slice(data), data_size, ..api::ProfileRecords::default() }
}

/// The end of a save that gives these entries.
fn end(entries: &[api::Entry]) -> Message {
    let mut entries: Vec<&api::Entry> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.path.clone());
    let mut context = Context::new(&SHA256);
    for entry in entries {
        context.update(&[u8::try_from(entry.kind).unwrap()]);
        context.update(&entry.mode.to_be_bytes());
        context.update(&entry.mtime_ns.to_be_bytes());
        context.update(&entry.size.to_be_bytes());
        context.update(&u32::try_from(entry.path.len()).unwrap().to_be_bytes());
        context.update(entry.path.as_bytes());
        context.update(if entry.root.is_empty() { &[0; 32] } else { &entry.root });
    }
    Message::End(api::SaveEnd { manifest_root: context.finish().as_ref().to_vec().into() })
}

/// Bytes that do not shrink, the same for the same seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
