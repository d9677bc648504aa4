//! Loading a snapshot: what stands around the stream of a load.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cloakroom_api::v1::{self, Codec};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tonic::{Response, Status, Streaming};

use crate::{
    clock,
    connection::Client,
    current::{Current, Had, Opened, known},
    error::{Error, Result},
    former::examine,
    parts::Base,
    place::{Goal, May, place, taken},
    profiles::{Job, Loader},
    progress::{Counter, OnProgress, STALL},
    sidecar::{Origin, Sidecar},
    system::{blocking, joined, quiesced, whole, width},
    tree::Tree,
    workspace::Workspace,
};

/// How long a look at a former directory is good for.
const FRESH: Duration = Duration::from_millis(50);

/// How to load. The default loads the head with its storage state, as a whole, into a directory that is not there yet.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct LoadOptions {
    /// The wanted snapshot; empty for the head.
    pub snapshot_id: String,
    /// A directory with a former snapshot of the session, as this client (in any language) loaded or saved it. If nothing was changed in it since, only the difference
    /// travels, and everything else comes from there; if something was, it is as if it had not been given. It is only read, unless `consume` is said.
    ///
    /// Not given, with `replace`: what is replaced.
    pub have: Option<PathBuf>,
    /// The former directory may be used up: it is patched and renamed instead of copied, which is about ten times faster for a large profile. It is then gone, with everything in
    /// it that is not part of the snapshot. Until the whole difference has come and was verified it is not touched; where it cannot be used (it was
    /// changed, or lies in another file system), and on any error, it stays as it is.
    ///
    /// Killed in the few milliseconds of patching, a load leaves nothing under the directory's name: a save of it is refused with `LOAD_UNFINISHED` until it is loaded
    /// again (by whichever client).
    ///
    /// What is replaced may always be used up, so this need be said only for a `have` elsewhere; said of the target itself it means `replace`.
    pub consume: bool,
    /// Put the profile in the place of what is there, by one rename at the end; what was there is gone then. Refused while a live browser holds it. Without it nothing that is there is
    /// ever replaced, also when it comes up while the load runs.
    pub replace: bool,
    /// Replace and use up also what a live browser holds.
    pub force: bool,
    /// Also fetch the storage state that was saved with the snapshot, as by default: whoever starts a browser without it has lost the session cookies.
    pub with_storage_state: bool,
    /// Packings to accept besides RAW, the best first. Not given: none from a daemon on this machine, else ZSTD and DEFLATE.
    pub accept_codecs: Option<Vec<Codec>>,
    /// Answer nothing older than this revision; 0 for no bound.
    pub min_revision: i64,
    /// Told of what travels.
    pub progress: Option<OnProgress>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            snapshot_id: String::new(),
            have: None,
            consume: false,
            replace: false,
            force: false,
            with_storage_state: true,
            accept_codecs: None,
            min_revision: 0,
            progress: None,
        }
    }
}

/// A profile that was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Where it is.
    pub directory: PathBuf,
    /// What it is.
    pub snapshot: v1::Snapshot,
    /// What the stream was a difference to; empty for a full load.
    pub base_snapshot_id: String,
    /// Bytes of file content that travelled, unpacked.
    pub content_bytes: i64,
    /// The storage state (JSON), if it was asked for and saved with the snapshot.
    pub storage_state: Option<Bytes>,
}

impl Client {
    /// Loads a snapshot into a directory. The directory appears at the end, complete and verified to the last leaf, or not at all. Of several loads into the same directory,
    /// one waits for the other for a while.
    ///
    /// Nothing is flushed to the disk: after a power cut look at the sidecar, or simply load again.
    ///
    /// # Errors
    /// As the contract says of `LoadProfile`, and those of the client's own at [`Error::Local`].
    pub async fn load(&self, session_id: &str, directory: impl AsRef<Path>, options: LoadOptions) -> Result<Loaded> {
        self.load_beside(session_id, directory.as_ref(), options, false).await
    }

    /// The same; with `beside`, what does not travel may stay where what is wanted is there already.
    pub(crate) async fn load_beside(&self, session_id: &str, directory: &Path, options: LoadOptions, beside: bool) -> Result<Loaded> {
        let target = whole(directory)?;
        let have = options.have.as_deref().map(whole).transpose()?;
        let in_place = have.as_ref().is_none_or(|have| *have == target);
        let replace = options.replace || (options.consume && in_place);
        let may = May { consume: options.consume || in_place, replace, force: options.force };
        let (mut opened, mut use_it) = (None, true);
        if replace && in_place {
            let at = target.clone();
            blocking(move || check(&at, may)).await?;
            match self.current(session_id, &target, &options, beside).await? {
                Current::Is(loaded) => return Ok(*loaded),
                Current::Other(other) => opened = other,
                Current::Changed => use_it = false,
            }
        }
        let (namespace, session, at) = (self.namespace.to_string(), session_id.to_owned(), target.clone());
        let had = opened.as_ref().map(|opened| opened.had());
        let (space, mut base) = blocking(move || {
            check(&at, may)?;
            let space = Workspace::beside(&at)?;
            // Another load may have ended, or one that died may have been cleared up.
            check(&at, may)?;
            let have = have.or_else(|| at.exists().then(|| at.clone())).filter(|_| use_it);
            let base = had.and_then(Had::still).or_else(|| have.and_then(|have| known(have, &namespace, &session)).map(Had::into_base));
            if let Some(base) = base.as_ref().filter(|base| may.consume && base.directory != at) {
                quiesced(&base.directory, may.force)?;
            }
            Ok((space, base))
        })
        .await?;
        let space = Arc::new(space);
        let counter = Counter::new(options.progress.clone());
        let loaded = loop {
            let loaded = self.load_with(session_id, &target, &options, base.clone(), (&space, may, opened.take()), &counter).await;
            match loaded {
                // More than a difference would not fit either.
                Err(Error::File { source, path }) if source.kind() == ErrorKind::StorageFull => break Err(Error::File { source, path }),
                // What came up at the target meanwhile is there with a whole load too.
                Err(error) if ["TARGET_EXISTS", "PROFILE_BUSY", "LOAD_UNFINISHED"].contains(&error.reason()) => break Err(error),
                // What was had is not what its sidecar says, or cannot be read: it is as if it had not been given.
                Err(Error::Local { .. } | Error::File { .. }) if base.take().is_some() => {}
                loaded => break loaded,
            }
        };
        // Removing much takes a while.
        blocking(move || {
            drop(space);
            Ok(())
        })
        .await?;
        loaded
    }

    /// Loads with what is had, or without.
    async fn load_with(
        &self,
        session_id: &str,
        target: &Path,
        options: &LoadOptions,
        base: Option<Arc<Base>>,
        (space, may, opened): (&Arc<Workspace>, May, Option<Box<Opened>>),
        counter: &Counter,
    ) -> Result<Loaded> {
        let request = self.load_request(session_id, options, base.as_deref());
        let (had, asked) = (base.clone(), clock::monotonic());
        let look = |had: Arc<Base>| tokio::task::spawn_blocking(move || examine(&had));
        // What is had is looked at while the difference comes; once more if that took so long that somebody may have touched it since.
        let looking = had.clone().map(look);
        let loader = self.fetch(request, opened, space, base, counter).await?;
        let found = match (looking, had) {
            (Some(looking), Some(had)) if loader.is_difference() => joined(if asked.elapsed() < FRESH { looking } else { look(had) }.await)?,
            _ => Vec::new(),
        };
        let (namespace, session_id, at) = (self.namespace.to_string(), session_id.to_owned(), target.to_owned());
        let begin = loader.begin.clone().unwrap_or_default();
        let snapshot = begin.snapshot.ok_or_else(|| Error::malformed("its snapshot"))?;
        let storage_state = Some(Bytes::from(loader.storage_state.clone())).filter(|state| !state.is_empty());
        let (snapshot_id, origin, has_state) = (snapshot.id.clone(), Origin::of(snapshot.portability.as_ref()), snapshot.has_storage_state);
        let space = Arc::clone(space);
        blocking(move || {
            let verified = loader.finish()?;
            let sidecar = Sidecar { namespace, session_id, snapshot_id, origin, storage_state: has_state, tree: Tree::default() };
            place(&verified, &found, Goal { target: &at, space: &space, may, sidecar })
        })
        .await?;
        Ok(Loaded { directory: target.to_owned(), snapshot, base_snapshot_id: begin.base_snapshot_id, content_bytes: begin.content_bytes, storage_state })
    }

    pub(crate) fn load_request(&self, session_id: &str, options: &LoadOptions, base: Option<&Base>) -> v1::LoadProfileRequest {
        let usual = if self.loopback { Vec::new() } else { vec![Codec::Zstd, Codec::Deflate] };
        v1::LoadProfileRequest {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: options.snapshot_id.clone(),
            have_snapshot_id: base.map(|base| base.snapshot_id.clone()).unwrap_or_default(),
            accept_codecs: options.accept_codecs.clone().unwrap_or(usual).into_iter().map(Into::into).collect(),
            with_storage_state: options.with_storage_state,
            min_revision: options.min_revision,
        }
    }

    /// Takes the stream, anew if it breaks, until all of it lies in a stage of its own.
    async fn fetch(
        &self,
        request: v1::LoadProfileRequest,
        opened: Option<Box<Opened>>,
        space: &Arc<Workspace>,
        base: Option<Arc<Base>>,
        counter: &Counter,
    ) -> Result<Loader> {
        // Another load may have ended in this place since.
        let mut opened = opened.filter(|opened| opened.had().is(base.as_ref()));
        let mut attempts = self.attempts_of_a_stream();
        loop {
            counter.restart();
            let mut loader = Loader::new(space.path(), base.clone());
            let mut stub = self.profile_stub();
            let stream = match opened.take() {
                Some(opened) => {
                    let Opened { first, stream, .. } = *opened;
                    loader.accept(first)?;
                    Ok(stream)
                }
                None => stub.load_profile(request.clone()).await.map(Response::into_inner),
            };
            let received = match stream {
                Ok(stream) => receive(stream, &mut loader, space, counter).await?,
                Err(status) => Err(status),
            };
            match received {
                Ok(()) => return Ok(loader),
                Err(status) => attempts.again(&status).await?,
            }
        }
    }
}

/// Takes messages while earlier ones are written; the outer error ends the load, the inner one is the connection's.
async fn receive(mut stream: Streaming<v1::LoadProfileResponse>, loader: &mut Loader, space: &Arc<Workspace>, counter: &Counter) -> Result<Result<(), Status>> {
    let mut jobs = FuturesUnordered::new();
    let mut failed = None;
    loop {
        let total = loader.begin.as_ref().map_or(0, |begin| begin.content_bytes.max(0).unsigned_abs());
        let free = jobs.len() <= width();
        tokio::select! {
            Some(done) = jobs.next(), if !jobs.is_empty() => match done {
                Ok(bytes) => counter.add(bytes, total),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            },
            message = tokio::time::timeout(STALL, stream.message()), if free => match message {
                Err(_) => return Ok(Err(Status::unavailable(format!("the load stood still for {STALL:?}")))),
                Ok(Err(status)) => return Ok(Err(status)),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(message))) => match loader.accept(message) {
                    Ok(job) => jobs.extend(job.map(|job| write(job, Arc::clone(space)))),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                },
            },
        }
    }
    let total = loader.begin.as_ref().map_or(0, |begin| begin.content_bytes.max(0).unsigned_abs());
    // Also after a failure: what still writes must not write into what is about to be removed.
    while let Some(done) = jobs.next().await {
        match done {
            Ok(bytes) => counter.add(bytes, total),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    counter.add(0, total);
    Ok(Ok(()))
}

/// Writes what a message brought. It holds the workspace: of a load that is given up, the last that still writes clears up.
async fn write(job: Job, held: Arc<Workspace>) -> Result<u64> {
    blocking(move || {
        let done = job.run();
        drop(held);
        done
    })
    .await
}

fn check(target: &Path, may: May) -> Result<()> {
    match target.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) if !may.replace => Err(taken(target)),
        Ok(found) if !found.is_dir() => Err(Error::local("TARGET_EXISTS", format!("{} is not a directory: it is not replaced", target.display()))),
        Ok(_) => quiesced(target, may.force).map(|_| ()),
    }
}
