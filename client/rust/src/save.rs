//! Saving a directory: what stands around the stream of a save.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use cloakroom_api::v1::{self, save_profile_request::Message};
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::{
    capture::{Capture, Policy},
    clock,
    connection::Client,
    error::{Error, Result},
    pieces::{Piece, cut},
    profiles::{diff, walk},
    sidecar::{self, Sidecar},
    system::{blocking, lock, portability, quiesced, whole, width},
    tree::Tree,
    workspace,
};

/// How often a profile that changes while it is sent is read anew.
const READS: usize = 3;
/// Bytes of a storage state in one message.
const CHUNK: usize = 256 << 10;
/// How long a stream may stand still: nothing taken, and no answer.
pub(crate) const STALL: Duration = Duration::from_mins(2);

/// Told how many bytes of content have travelled, and how many will. The numbers only grow, and end at their total.
#[derive(Clone)]
pub struct OnProgress(Arc<dyn Fn(u64, u64) + Send + Sync>);

impl OnProgress {
    /// Wraps a function of `done` and `total`. It must not block.
    pub fn new(told: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// Counts what has travelled; a stream that is sent again does not count backwards.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    told: Option<OnProgress>,
    /// Done in this attempt, and the most that was ever told.
    done: Arc<Mutex<(u64, Option<u64>)>>,
}

impl Counter {
    pub(crate) fn new(told: Option<OnProgress>) -> Self {
        Self { told, done: Arc::default() }
    }

    pub(crate) fn restart(&self) {
        lock(&self.done).0 = 0;
    }

    pub(crate) fn add(&self, more: u64, total: u64) {
        let mut done = lock(&self.done);
        done.0 += more;
        let news = done.0.min(total);
        if let Some(told) = self.told.as_ref().filter(|_| done.1.is_none_or(|before| news > before)) {
            done.1 = Some(news);
            (told.0)(news, total);
        }
    }
}

/// How to save. The default saves what is worth keeping, and refuses while a browser runs on the directory.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// How much to leave out.
    pub policy: Policy,
    /// Globs of what to take although the policy leaves it out.
    pub include: Vec<String>,
    /// Globs of what to leave out too.
    pub exclude: Vec<String>,
    /// A Playwright storage state (JSON), to be saved and restored with the profile.
    pub storage_state: Option<Bytes>,
    /// Names this save for repetitions; made by the client if not given.
    pub upload_id: Option<String>,
    /// Only if the session still has this etag; empty for no condition.
    pub etag: String,
    /// The lease under which this is saved; 0 for none.
    pub lease_token: i64,
    /// Where the profile comes from, if the caller knows better than the directory tells. Whether the browser had exited and the policy are filled in.
    pub portability: Option<v1::Portability>,
    /// Save although a live browser holds the profile; what it has not yet written is then missing.
    pub force: bool,
    /// Told of what travels.
    pub progress: Option<OnProgress>,
}

/// A save that was committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The snapshot that is now the session's head.
    pub snapshot: v1::Snapshot,
    /// The revision of the change.
    pub revision: i64,
    /// The session's etag after the save; empty if the answer itself was lost and asked for again.
    pub session_etag: String,
    /// What travelled for it.
    pub sent: Sent,
}

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
struct Upload {
    directory: PathBuf,
    namespace: String,
    begin: v1::SaveBegin,
    pieces: Vec<Piece>,
    state: Bytes,
    root: Bytes,
    total: u64,
}

impl Client {
    /// Saves a directory as the session's new head. Only what differs from the snapshot that it came from travels; which that is says the sidecar beside the
    /// directory, which is written anew at the end. Without a sidecar the whole profile travels and follows the session's head, whatever that is.
    ///
    /// # Errors
    /// As the contract says of `SaveProfile`, and those of the client's own at [`Error::Local`]. Nothing is half saved.
    pub async fn save(&self, session_id: &str, directory: impl AsRef<Path>, options: SaveOptions) -> Result<Saved> {
        let capture = Arc::new(Capture::new(options.policy, &options.include, &options.exclude)?);
        let (from, namespace, session) = (whole(directory.as_ref())?, self.namespace.to_string(), session_id.to_owned());
        let (from, known, mut origin) = blocking(move || before(from, &namespace, &session, options.force, options.policy.name())).await?;
        if let Some(given) = options.portability {
            origin = v1::Portability { quiesced: origin.quiesced, capture_policy: origin.capture_policy, ..given };
        }
        let parent = match &known {
            Some(known) => known.snapshot_id.clone(),
            None => self.sessions().get(session_id).await?.value.head_snapshot_id,
        };
        let base = known.as_ref().map(|known| known.tree.clone()).unwrap_or_default();
        let mut begin = v1::SaveBegin {
            session_id: session_id.to_owned(),
            parent_snapshot_id: parent,
            full: known.is_none(),
            upload_id: String::new(),
            etag: options.etag,
            lease_token: options.lease_token,
            portability: Some(origin),
        };
        let mut sent = Sent::default();
        for read in 1.. {
            begin.upload_id = options.upload_id.clone().unwrap_or_else(clock::random_id);
            let (directory, capture, base) = (from.clone(), Arc::clone(&capture), base.clone());
            let (tree, pieces) = blocking(move || {
                let tree = walk(&directory, &capture, &base)?;
                let pieces = cut(&diff(&base, &tree));
                Ok((tree, pieces))
            })
            .await?;
            let state = options.storage_state.clone().unwrap_or_default();
            let total = pieces.iter().map(Piece::data_size).sum::<u64>() + state.len() as u64;
            let root = Bytes::copy_from_slice(&tree.manifest_root());
            let upload = Upload { directory: from.clone(), namespace: self.namespace.to_string(), begin: begin.clone(), pieces, state, root, total };
            match self.upload(Arc::new(upload), &Counter::new(options.progress.clone()), &mut sent).await {
                Err(error) if error.reason() == "PROFILE_CHANGING" && read < READS => {}
                Err(error) => return Err(error),
                Ok(saved) => return self.remember(from, session_id, tree, saved).await,
            }
        }
        Err(Error::local("PROFILE_CHANGING", "the profile does not stand still"))
    }

    /// Writes down what the directory now holds.
    async fn remember(&self, directory: PathBuf, session_id: &str, tree: Tree, saved: Saved) -> Result<Saved> {
        let sidecar = Sidecar { namespace: self.namespace.to_string(), session_id: session_id.to_owned(), snapshot_id: saved.snapshot.id.clone(), tree };
        let same = sidecar.tree.manifest_root().as_slice() == saved.snapshot.manifest_root.as_ref();
        // A repetition answers the first result, which may be of another content than the directory has by now.
        blocking(move || if same { sidecar.write(&directory) } else { sidecar::remove(&directory) }).await?;
        Ok(saved)
    }

    /// Sends a save until it is known to be done or refused.
    async fn upload(&self, upload: Arc<Upload>, counter: &Counter, sent: &mut Sent) -> Result<Saved> {
        let mut attempts = self.attempts();
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
                    return Ok(Saved { snapshot, revision: answer.revision, session_etag: answer.session_etag, sent: *sent });
                }
                Err(status) => attempts.again(&status).await?,
            }
            // The save may have been done before its answer was lost.
            match self.save_status(&upload.begin.session_id, &upload.begin.upload_id).await {
                Ok(crate::Answer { value: Some(snapshot), .. }) => {
                    let revision = snapshot.revision;
                    return Ok(Saved { snapshot, revision, session_etag: String::new(), sent: *sent });
                }
                Err(error) if !error.is_retryable() => return Err(error),
                _ => {}
            }
        }
    }
}

fn before(from: PathBuf, namespace: &str, session: &str, force: bool, policy: &str) -> Result<(PathBuf, Option<Sidecar>, v1::Portability)> {
    workspace::finished(&from)?;
    if !from.is_dir() {
        return Err(Error::local("PROFILE_MISSING", format!("{} is not a directory: nothing can be saved from it", from.display())));
    }
    let exited = quiesced(&from, force)?;
    let (known, origin) = (Sidecar::read(&from, namespace, session), portability(&from, exited, policy));
    Ok((from, known, origin))
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
