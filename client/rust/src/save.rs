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
    /// Where the profile comes from, if the caller knows better than the directory tells. Whether the browser had exited and the policy are filled in; what is left
    /// empty is as the directory tells, or else as it was in the snapshot that the directory came from.
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
    /// What went wrong after it was committed; for a person.
    pub warnings: Vec<String>,
}

impl Client {
    /// Saves a directory as the session's new head. Only what differs from the snapshot that it came from travels; which that is says the sidecar beside the
    /// directory, which is written anew at the end; where it cannot be, the save is committed all the same and has a warning. Without a sidecar the whole profile travels and follows the session's head, whatever that is.
    ///
    /// # Errors
    /// As the contract says of `SaveProfile`, and those of the client's own at [`Error::Local`]. Nothing is half saved.
    pub async fn save(&self, session_id: &str, directory: impl AsRef<Path>, options: SaveOptions) -> Result<Saved> {
        let capture = Arc::new(Capture::new(options.policy, &options.include, &options.exclude)?);
        let (from, namespace, session) = (whole(directory.as_ref())?, self.namespace.to_string(), session_id.to_owned());
        let (from, known, mut origin) = blocking(move || before(from, &namespace, &session, options.force, options.policy.name())).await?;
        if let Some(given) = options.portability {
            let told = Origin::of(Some(&origin));
            origin = v1::Portability { quiesced: origin.quiesced, capture_policy: origin.capture_policy, ..given };
            told.hand_on(&mut origin);
        }
        if let Some(known) = &known {
            known.origin.hand_on(&mut origin);
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
                Ok(saved) => return Ok(self.remember(from, session_id, tree, saved).await),
            }
        }
        Err(Error::local("PROFILE_CHANGING", "the profile does not stand still"))
    }

    /// Writes down what the directory now holds.
    async fn remember(&self, directory: PathBuf, session_id: &str, tree: Tree, mut saved: Saved) -> Saved {
        let sidecar = Sidecar {
            namespace: self.namespace.to_string(),
            session_id: session_id.to_owned(),
            snapshot_id: saved.snapshot.id.clone(),
            origin: Origin::of(saved.snapshot.portability.as_ref()),
            tree,
        };
        let same = sidecar.tree.manifest_root().as_slice() == saved.snapshot.manifest_root.as_ref();
        let written = blocking(move || {
            // A repetition answers the first result, which may be of another content than the directory has by now.
            let written = if same { sidecar.write(&directory) } else { sidecar::remove(&directory) };
            written.map_err(|error| forgotten(&directory, &error))
        });
        saved.warnings.extend(written.await.err().map(|error| error.to_string()));
        saved
    }
}

/// The sidecar says what the directory held before the save: without one, the next save sends the whole profile; with the old one, it is refused.
fn forgotten(directory: &Path, error: &Error) -> Error {
    let next = match sidecar::remove(directory) {
        Ok(()) => "the next save of the directory sends the whole profile".to_owned(),
        Err(_) => {
            format!("remove {} before the next save of the directory, which may be refused otherwise", sidecar::path(directory).display())
        }
    };
    Error::local("FILE_SYSTEM", format!("the save is committed, but what the directory holds could not be written down beside it ({error}): {next}"))
}

fn before(from: PathBuf, namespace: &str, session: &str, force: bool, policy: &str) -> Result<(PathBuf, Option<Sidecar>, v1::Portability)> {
    leftovers::finished(&from)?;
    if !from.is_dir() {
        return Err(Error::local("PROFILE_MISSING", format!("{} is not a directory: nothing can be saved from it", from.display())));
    }
    let exited = quiesced(&from, force)?;
    let (known, origin) = (Sidecar::read(&from, namespace, session), portability(&from, exited, policy));
    Ok((from, known, origin))
}
