//! The stream of a save.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use cloakroom_api::v1::{self, save_profile_request::Message};
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::{
    clock,
    connection::Client,
    error::{Error, Result},
    pieces::Piece,
    progress::{Counter, STALL},
    save::Saved,
    system::{blocking, lock, width},
};

/// Bytes of a storage state in one message.
const CHUNK: usize = 256 << 10;
/// What travelled for a save, over all its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages.
    pub messages: u64,
    /// Their bytes as encoded.
    pub bytes: u64,
    /// Entries that they named.
    pub entries: u64,
    /// Runs of leaves that they named.
    pub runs: u64,
    /// Bytes of file content that they carried, before packing.
    pub content: u64,
}

/// One save, ready to be sent as often as needed.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) directory: PathBuf,
    pub(crate) namespace: String,
    pub(crate) begin: v1::SaveBegin,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) state: Bytes,
    pub(crate) root: Bytes,
    pub(crate) total: u64,
}

impl Client {
    /// Sends a save until it is known to be done or refused.
    pub(crate) async fn upload(&self, upload: Arc<Upload>, counter: &Counter, sent: &mut Sent) -> Result<Saved> {
        let mut attempts = self.attempts_of_a_stream();
        loop {
            counter.restart();
            let failure = Arc::new(Mutex::new(None));
            let flow = Arc::new(Mutex::new((Sent::default(), clock::monotonic())));
            let messages = messages(Arc::clone(&upload), counter.clone(), Arc::clone(&flow), Arc::clone(&failure));
            let mut stub = self.profile_stub();
            let answer = tokio::select! {
                answer = stub.save_profile(messages) => answer,
                () = stands_still(&flow) => Err(Status::unavailable(format!("the save stood still for {STALL:?}"))),
            };
            *sent += lock(&flow).0;
            if let Some(failure) = lock(&failure).take() {
                return Err(failure);
            }
            match answer {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let snapshot = answer.snapshot.ok_or_else(|| Error::malformed("its snapshot"))?;
                    return Ok(Saved { snapshot, revision: answer.revision, session_etag: answer.session_etag, sent: *sent, warnings: Vec::new() });
                }
                Err(status) => attempts.again(&status).await?,
            }
            // The save may have been done before its answer was lost.
            match self.save_status(&upload.begin.session_id, &upload.begin.upload_id).await {
                // With another content it was another save of that name: the daemon refuses this one when it has seen all of it.
                Ok(crate::Answer { value: Some(snapshot), .. }) if snapshot.manifest_root == upload.root => {
                    let revision = snapshot.revision;
                    return Ok(Saved { snapshot, revision, session_etag: String::new(), sent: *sent, warnings: Vec::new() });
                }
                Err(error) if !error.is_retryable() => return Err(error),
                _ => {}
            }
        }
    }
}

type Flow = Arc<Mutex<(Sent, Instant)>>;

/// The messages of a save. They are packed side by side, a few ahead of the one that is on its way. When a piece cannot be read the stream ends without its
/// `end`, so that the daemon changes nothing, and `failure` says why.
fn messages(
    upload: Arc<Upload>,
    counter: Counter,
    flow: Flow,
    failure: Arc<Mutex<Option<Error>>>,
) -> impl Stream<Item = v1::SaveProfileRequest> + Send + 'static {
    let begin = stream::iter([Ok(Message::Begin(upload.begin.clone()))]);
    let pieces = Arc::clone(&upload);
    let records = stream::iter(0..upload.pieces.len()).map(move |number| {
        let upload = Arc::clone(&pieces);
        blocking(move || upload.pieces[number].fill(&upload.directory).map(Message::Records))
    });
    let state = upload.state.clone();
    let chunks = stream::iter((0..state.len()).step_by(CHUNK))
        .map(move |at| Ok(Message::StorageState(v1::StorageStateChunk { data: state.slice(at..state.len().min(at + CHUNK)) })));
    let end = stream::iter([Ok(Message::End(v1::SaveEnd { manifest_root: upload.root.clone() }))]);
    let all = begin.chain(records.buffered(width() + 1)).chain(chunks).chain(end);
    all.scan(upload, move |upload, message: Result<Message>| {
        let request = message.map(|message| v1::SaveProfileRequest {
            namespace: if matches!(message, Message::Begin(_)) { upload.namespace.clone() } else { String::new() },
            message: Some(message),
        });
        let request = request.map_err(|error| *lock(&failure) = Some(error)).ok();
        if let Some(request) = &request {
            let sent = Sent::of(request);
            let mut flow = lock(&flow);
            flow.0 += sent;
            flow.1 = clock::monotonic();
            counter.add(carried(request), upload.total);
        }
        std::future::ready(request)
    })
}

/// Bytes of content in a message, of files and of the storage state.
fn carried(request: &v1::SaveProfileRequest) -> u64 {
    match &request.message {
        Some(Message::Records(records)) => records.data_size.into(),
        Some(Message::StorageState(chunk)) => chunk.data.len() as u64,
        _ => 0,
    }
}

/// Comes back when nothing was taken from the stream for too long.
async fn stands_still(flow: &Flow) {
    loop {
        let last = lock(flow).1;
        if clock::monotonic() >= last + STALL {
            return;
        }
        sleep_until(last + STALL).await;
    }
}

impl Sent {
    fn of(request: &v1::SaveProfileRequest) -> Self {
        let (entries, runs, content) = match &request.message {
            Some(Message::Records(records)) => (records.entries.len() + records.removed.len(), records.runs.len(), records.data_size),
            _ => (0, 0, 0),
        };
        Self { messages: 1, bytes: request.encoded_len() as u64, entries: entries as u64, runs: runs as u64, content: content.into() }
    }
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
        self.entries += more.entries;
        self.runs += more.runs;
        self.content += more.content;
    }
}
