//! Saving a directory: what stands around the stream of a save.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use cloakroom_api::v1;

use crate::{
    capture::{Capture, Policy},
    clock,
    connection::Client,
    error::{Error, Result},
    leftovers,
    pieces::{Piece, cut},
    profiles::{diff, walk},
    progress::{Counter, OnProgress},
    sidecar::{self, Origin, Sidecar},
    system::{blocking, portability, quiesced, whole},
    tree::Tree,
    upload::{Sent, Upload},
};

/// How often a profile that changes while it is sent is read anew.
const READS: usize = 3;

/// How to save. The default saves what is worth keeping, goes on from what the directory came from, and refuses while a browser runs on the directory.
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
    /// Where the profile comes from, if the caller knows better than the directory tells. Whether the browser had exited and the policy are filled in; what is left
    /// empty is as the directory tells, or else as it was in the snapshot that the directory came from.
    pub portability: Option<v1::Portability>,
    /// Make this directory the session's head, whatever is its head now and wherever the directory came from; what was the head stays as an earlier snapshot.
    pub replace: bool,
    /// Save although a live browser holds the profile (what it has not yet written is then missing), and although there is nothing in it.
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
    /// What a person should know although it is committed: a storage state that was left out, or that what the directory now holds could not be written down.
    pub warnings: Vec<String>,
}

/// What a directory is found to be before a save.
struct Found {
    directory: PathBuf,
    known: Option<Sidecar>,
    portability: v1::Portability,
}

/// What a save goes on from: `client/vectors/README.md` says why.
struct Line {
    parent: String,
    full: bool,
    /// What it is a difference to.
    base: Tree,
}

impl Client {
    /// Saves a directory as the session's new head. It goes on from what its directory came from, which says the sidecar beside that: only the difference to that snapshot travels, and
    /// if it is not the head any more the save is refused (`PARENT_NOT_HEAD`). A directory without a sidecar came from nothing and begins a session without a head; one that
    /// came from another session is refused (`OTHER_SESSION`). [`SaveOptions::replace`] makes it the head all the same.
    ///
    /// The sidecar is written anew at the end; where it cannot be, the save is committed all the same and has a warning.
    ///
    /// # Errors
    /// As the contract says of `SaveProfile`, and those of the client's own at [`Error::Local`]. Nothing is half saved.
    pub async fn save(&self, session_id: &str, directory: impl AsRef<Path>, options: SaveOptions) -> Result<Saved> {
        let capture = Arc::new(Capture::new(options.policy, &options.include, &options.exclude)?);
        let (from, namespace, session, wishes) = (whole(directory.as_ref())?, self.namespace.to_string(), session_id.to_owned(), options.clone());
        let found = blocking(move || look(from, &namespace, &session, &wishes)).await?;
        let known_tree = found.known.as_ref().map(|known| known.tree.clone()).unwrap_or_default();
        let mut line = self.line(session_id, found.known.as_ref(), options.replace).await?;
        let counter = Counter::new(options.progress.clone());
        let (mut reads, mut races, mut backoff, mut sent) = (1, 1, self.policy.backoff, Sent::default());
        loop {
            let begin = v1::SaveBegin {
                session_id: session_id.to_owned(),
                parent_snapshot_id: line.parent.clone(),
                full: line.full,
                upload_id: options.upload_id.clone().unwrap_or_else(clock::random_id),
                etag: options.etag.clone(),
                lease_token: options.lease_token,
                portability: Some(found.portability.clone()),
            };
            let (from, capture, known, base, empty_too) = (found.directory.clone(), Arc::clone(&capture), known_tree.clone(), line.base.clone(), options.force);
            let (tree, pieces) = blocking(move || {
                let tree = walk(&from, &capture, &known)?;
                if tree.entries().is_empty() && !empty_too {
                    return Err(nothing_in(&from, options.policy));
                }
                let pieces = cut(&diff(&base, &tree));
                Ok((tree, pieces))
            })
            .await?;
            let state = options.storage_state.clone().unwrap_or_default();
            let total = pieces.iter().map(Piece::data_size).sum::<u64>() + state.len() as u64;
            let root = Bytes::copy_from_slice(&tree.manifest_root());
            let upload = Upload { directory: found.directory.clone(), namespace: self.namespace.to_string(), begin, pieces, state, root, total };
            match self.upload(Arc::new(upload), &counter, &mut sent).await {
                Err(error) if error.reason() == "PROFILE_CHANGING" && reads < READS => reads += 1,
                // Somebody saved in between.
                Err(error) if error.reason() == "PARENT_NOT_HEAD" && options.replace && races < self.policy.attempts => {
                    races += 1;
                    tokio::time::sleep(backoff.pause()).await;
                    line = self.line(session_id, found.known.as_ref(), true).await?;
                }
                Err(error) => return Err(without_sidecar(error, &found)),
                Ok(saved) => return Ok(self.remember(found, session_id, tree, saved).await),
            }
        }
    }

    /// What a save of a directory with that sidecar goes on from.
    async fn line(&self, session_id: &str, known: Option<&Sidecar>, replace: bool) -> Result<Line> {
        let known = known.filter(|known| known.is_of(&self.namespace, session_id));
        let difference = known.map(|known| Line { parent: known.snapshot_id.clone(), full: false, base: known.tree.clone() });
        if !replace {
            return Ok(difference.unwrap_or_else(|| Line { parent: String::new(), full: false, base: Tree::default() }));
        }
        let head = self.sessions().get(session_id).await?.value.head_snapshot_id;
        Ok(match difference {
            Some(difference) if difference.parent == head => difference,
            _ => Line { full: !head.is_empty(), parent: head, base: Tree::default() },
        })
    }

    /// Writes down what the directory now holds.
    async fn remember(&self, found: Found, session_id: &str, tree: Tree, mut saved: Saved) -> Saved {
        if found.known.as_ref().is_some_and(|known| known.storage_state) && !saved.snapshot.has_storage_state {
            saved.warnings.push(STATE_LEFT_OUT.to_owned());
        }
        let sidecar = Sidecar {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: saved.snapshot.id.clone(),
            origin: Origin::of(saved.snapshot.portability.as_ref()),
            storage_state: saved.snapshot.has_storage_state,
            tree,
        };
        let same = sidecar.tree.manifest_root().as_slice() == saved.snapshot.manifest_root.as_ref();
        let written = blocking(move || {
            // A repetition answers the first result, which may be of another content than the directory has by now.
            let written = if same { sidecar.write(&found.directory) } else { sidecar::remove(&found.directory) };
            written.map_err(|error| forgotten(&found.directory, &error))
        });
        saved.warnings.extend(written.await.err().map(|error| error.to_string()));
        saved
    }
}

const STATE_LEFT_OUT: &str = "the snapshot that this one follows carried a storage state and this one does not: session cookies are no longer in what is loaded; give one with storage_state";

/// What the sidecar says was true before the save; so it goes, where that can be done.
fn forgotten(directory: &Path, error: &Error) -> Error {
    let _ = sidecar::remove(directory);
    let message = format!(
        "the save is committed, but what the directory holds could not be written down beside it ({error}): the next save of the directory is refused (PARENT_NOT_HEAD) unless it says \
         replace, or the session is loaded into the directory before"
    );
    Error::local("FILE_SYSTEM", message)
}

/// Says of a refused save what the daemon cannot know: that there is no sidecar, which may have been left behind.
fn without_sidecar(error: Error, found: &Found) -> Error {
    match error {
        Error::Call(mut refused) if refused.reason == "PARENT_NOT_HEAD" && found.known.is_none() => {
            let note = sidecar::path(&found.directory);
            refused.help.push(format!("there is no {} that could be read: if the directory was moved, move that with it", note.display()));
            Error::Call(refused)
        }
        error => error,
    }
}

fn nothing_in(directory: &Path, policy: Policy) -> Error {
    let (at, policy) = (directory.display(), policy.name());
    let message =
        format!("nothing in {at} belongs to a profile (capture policy {policy}): is it the browser's user data directory? `force` saves it nevertheless");
    Error::local("NOTHING_TO_SAVE", message)
}

/// What the directory came from is not what it is to be saved into.
fn elsewhere(directory: &Path, known: &Sidecar, namespace: &str, session: &str) -> Error {
    let named = |session: &str, namespace: &str, other: &str| match namespace {
        _ if namespace == other => session.to_owned(),
        "" => format!("{session} of the caller's own namespace"),
        _ => format!("{session} of namespace {namespace}"),
    };
    let (at, note) = (directory.display(), sidecar::path(directory));
    let (its, this) = (named(&known.session_id, &known.namespace, namespace), named(session, namespace, &known.namespace));
    let message = format!(
        "{at} is the profile of session {its} (its sidecar {} says so), not of {this}: save it there, or say replace to make it the head of {this}",
        note.display()
    );
    Error::local("OTHER_SESSION", message)
}

fn look(from: PathBuf, namespace: &str, session: &str, options: &SaveOptions) -> Result<Found> {
    leftovers::finished(&from)?;
    if !from.is_dir() {
        return Err(Error::local("PROFILE_MISSING", format!("{} is not a directory: nothing can be saved from it", from.display())));
    }
    let known = Sidecar::read(&from);
    if let Some(other) = known.as_ref().filter(|known| !known.is_of(namespace, session) && !options.replace) {
        return Err(elsewhere(&from, other, namespace, session));
    }
    let mut portability = portability(&from, quiesced(&from, options.force)?, options.policy.name());
    if let Some(given) = options.portability.clone() {
        let told = Origin::of(Some(&portability));
        portability = v1::Portability { quiesced: portability.quiesced, capture_policy: portability.capture_policy, ..given };
        told.hand_on(&mut portability);
    }
    if let Some(known) = &known {
        known.origin.hand_on(&mut portability);
    }
    Ok(Found { directory: from, known, portability })
}
