//! Loading a snapshot: what stands around the stream of a load.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use cloakroom_api::v1::{self, Codec};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tonic::{Status, Streaming};

use crate::{
    connection::Client,
    error::{Error, Result},
    look,
    parts::Base,
    place::place,
    profiles::{Loader, Verified},
    save::{Counter, OnProgress, STALL},
    sidecar::Sidecar,
    system::{Workspace, blocking, make_directory, parallel, quiesced, whole, width},
    tree::{Entry, Kind, Stat, Tree},
};

/// How to load. The default loads the head, as a whole, into a directory that is not there yet.
#[derive(Clone, Debug, Default)]
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
    /// changed, or lies in another file system) it stays as it is.
    ///
    /// What is replaced may always be used up, so this need be said only for a `have` elsewhere; said of the target itself it means `replace`.
    pub consume: bool,
    /// Put the profile in the place of what is there, by one rename at the end; what was there is gone then. Refused while a live browser holds it.
    pub replace: bool,
    /// Replace and use up also what a live browser holds.
    pub force: bool,
    /// Also fetch the storage state that was saved with the snapshot.
    pub with_storage_state: bool,
    /// Packings to accept besides RAW, the best first. Not given: none from a daemon on this machine, else ZSTD and DEFLATE.
    pub accept_codecs: Option<Vec<Codec>>,
    /// Answer nothing older than this revision; 0 for no bound.
    pub min_revision: i64,
    /// Told of what travels.
    pub progress: Option<OnProgress>,
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
    /// Loads a snapshot into a directory. The directory appears at the end, complete and verified to the last leaf, or not at all.
    ///
    /// Nothing is flushed to the disk: after a power cut look at the sidecar, or simply load again.
    ///
    /// # Errors
    /// As the contract says of `LoadProfile`, and those of the client's own at [`Error::Local`].
    pub async fn load(&self, session_id: &str, directory: impl AsRef<Path>, options: LoadOptions) -> Result<Loaded> {
        let target = whole(directory.as_ref())?;
        let have = options.have.as_deref().map(whole).transpose()?;
        let in_place = have.as_ref().is_none_or(|have| *have == target);
        let consume = options.consume || in_place;
        let replace = options.replace || (options.consume && in_place);
        let (force, namespace, session) = (options.force, self.namespace.to_string(), session_id.to_owned());
        let at = target.clone();
        let (space, base) = blocking(move || {
            check(&at, replace, force)?;
            let base = have.or_else(|| at.exists().then(|| at.clone())).and_then(|have| intact(have, &namespace, &session));
            if let Some(base) = base.as_ref().filter(|base| consume && base.directory != at) {
                quiesced(&base.directory, force)?;
            }
            Ok((Workspace::beside(&at)?, base.map(Arc::new)))
        })
        .await?;
        let request = self.load_request(session_id, &options, base.as_deref());
        let (loader, stage) = match self.fetch(request, &space, base, &Counter::new(options.progress)).await {
            Ok(fetched) => fetched,
            Err(error) => {
                // Removing much takes a while.
                let cleaned = blocking(move || {
                    drop(space);
                    Ok(())
                });
                return cleaned.await.and(Err(error));
            }
        };
        let (namespace, session, at) = (self.namespace.to_string(), session_id.to_owned(), target.clone());
        let begin = loader.begin.clone().unwrap_or_default();
        let snapshot = begin.snapshot.ok_or_else(|| Error::malformed("its snapshot"))?;
        let storage_state = Some(Bytes::from(loader.storage_state.clone())).filter(|state| !state.is_empty());
        let snapshot_id = snapshot.id.clone();
        blocking(move || {
            let verified: Verified = loader.finish()?;
            let tree = place(&verified, &stage, &at, &space, consume)?;
            Sidecar { namespace, session_id: session, snapshot_id, tree }.write(&at)
        })
        .await?;
        Ok(Loaded { directory: target, snapshot, base_snapshot_id: begin.base_snapshot_id, content_bytes: begin.content_bytes, storage_state })
    }

    fn load_request(&self, session_id: &str, options: &LoadOptions, base: Option<&Base>) -> v1::LoadProfileRequest {
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
    async fn fetch(&self, request: v1::LoadProfileRequest, space: &Workspace, base: Option<Arc<Base>>, counter: &Counter) -> Result<(Loader, PathBuf)> {
        let mut attempts = self.attempts();
        for number in 1.. {
            counter.restart();
            let stage = space.path().join(format!("stage-{number}"));
            make_directory(&stage).map_err(|error| Error::file(&stage, error))?;
            let mut loader = Loader::new(&stage, base.clone());
            let mut stub = self.profile_stub();
            let received = match stub.load_profile(request.clone()).await {
                Ok(stream) => receive(stream.into_inner(), &mut loader, counter).await?,
                Err(status) => Err(status),
            };
            match received {
                Ok(()) => return Ok((loader, stage)),
                Err(status) => attempts.again(&status).await?,
            }
        }
        Err(Error::local("OPTION", "the service config allows no attempt"))
    }
}

/// Takes messages while earlier ones are written; the outer error ends the load, the inner one is the connection's.
async fn receive(mut stream: Streaming<v1::LoadProfileResponse>, loader: &mut Loader, counter: &Counter) -> Result<Result<(), Status>> {
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
                    Ok(job) => jobs.extend(job.map(|job| blocking(move || job.run()))),
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

fn check(target: &Path, replace: bool, force: bool) -> Result<()> {
    match target.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) if !replace => {
            let message = format!("{} is there already: choose another directory, or say replace", target.display());
            Err(Error::local("TARGET_EXISTS", message))
        }
        Ok(found) if !found.is_dir() => Err(Error::local("TARGET_EXISTS", format!("{} is not a directory: it is not replaced", target.display()))),
        Ok(_) => quiesced(target, force).map(|_| ()),
    }
}

/// What a directory holds, if it is still the snapshot that its sidecar names.
fn intact(directory: PathBuf, namespace: &str, session_id: &str) -> Option<Base> {
    let known = Sidecar::read(&directory, namespace, session_id)?;
    let entries = parallel(known.tree.entries(), |entry| still(&directory, entry).ok_or_else(|| look::changing(&entry.path))).ok()?;
    Some(Base { directory, snapshot_id: known.snapshot_id, tree: Tree::new(entries) })
}

/// The entry with what the system says of it now, if its content is still the same.
fn still(directory: &Path, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
    let at = directory.join(&entry.path);
    let found = at.symlink_metadata().ok()?;
    let stat = Stat::of(&found);
    if entry.stat == Some(stat) {
        return Some(Arc::clone(entry));
    }
    let same = match entry.kind {
        Kind::Directory => found.is_dir(),
        Kind::Link => at.read_link().is_ok_and(|target| target.as_os_str() == entry.target.as_str()),
        Kind::File if found.is_file() => look::file(directory, &entry.path).ok()??.root == entry.root,
        Kind::File => false,
    };
    same.then(|| Arc::new(Entry { stat: Some(stat), ..Entry::clone(entry) }))
}
