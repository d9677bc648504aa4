//! Doors to the parsers that are private elsewhere, for the fuzz targets of `tests/fuzz`.

use std::{fs, path::Path, sync::Arc};

use cloakroom_api::v1;

use crate::{
    capture::{Capture, Policy},
    error::Result,
    parts::Base,
    place::{Goal, May, look_and_place},
    profiles::{Loader, walk},
    sidecar::{Origin, Sidecar},
    tree::{Root, Tree},
    workspace::Workspace,
};

/// Reads capture rules of this text, and those of a caller; answers whether they let a path travel.
///
/// # Errors
/// `CAPTURE_RULE` naming what is bad.
pub fn capture(rules: &str, include: &[String], path: &str) -> Result<bool> {
    Ok(Capture::read(rules, Policy::Default, include, &[])?.keeps(path))
}

/// Reads a sidecar of namespace `n` and session `s`; answers the text that would be written for it.
#[must_use]
pub fn sidecar(text: &[u8]) -> Option<Vec<u8>> {
    Sidecar::parse(text).filter(|sidecar| sidecar.is_of("n", "s")).and_then(|sidecar| sidecar.text().ok())
}

/// A directory that holds a former snapshot.
#[derive(Debug)]
pub struct Former(Arc<Base>);

impl Former {
    /// Looks at the directory, which nobody changes any more.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(directory: &Path, snapshot_id: &str) -> Result<Self> {
        let tree = walk(directory, &Capture::new(Policy::Full, &[], &[])?, &Tree::default())?;
        Ok(Self(Arc::new(Base { directory: directory.to_owned(), snapshot_id: snapshot_id.to_owned(), tree })))
    }

    /// What [`load`] is told of the files: path, size and leaf digests, in the order of the paths.
    #[must_use]
    pub fn entries(&self) -> Vec<(v1::Entry, Vec<u8>)> {
        self.0.tree.entries().iter().map(|entry| (entry.to_wire(), entry.leaves.clone())).collect()
    }
}

/// Takes the messages of a load and puts the profile at `target`, which is not there yet; answers its manifest root.
///
/// # Errors
/// Those of [`crate::Client::load`] that are not the connection's.
pub fn load(messages: Vec<v1::LoadProfileResponse>, former: Option<&Former>, target: &Path) -> Result<Root> {
    let space = Workspace::beside(target)?;
    let mut loader = Loader::new(space.path(), former.map(|former| Arc::clone(&former.0)));
    for message in messages {
        if let Some(job) = loader.accept(message)? {
            job.run()?;
        }
    }
    let (namespace, session_id, snapshot_id) = ("n".to_owned(), "s".to_owned(), "new".to_owned());
    let sidecar = Sidecar { namespace, session_id, snapshot_id, origin: Origin::default(), storage_state: false, tree: Tree::default() };
    look_and_place(&loader.finish()?, Goal { target, space: &space, may: May { replace: true, ..May::default() }, sidecar }).map(|tree| tree.manifest_root())
}

/// What stands at `target` after [`load`]: every entry as the system describes it, without times.
///
/// # Errors
/// What the file system says.
pub fn found(target: &Path) -> Result<Vec<v1::Entry>> {
    let tree = walk(target, &Capture::read(r#"{"never":[],"rules":[]}"#, Policy::Full, &[], &[])?, &Tree::default())?;
    Ok(tree.entries().iter().map(|entry| v1::Entry { mtime_ns: 0, ..entry.to_wire() }).collect())
}

/// Removes a directory and all in it, whatever modes a load gave them.
pub fn clear(directory: &Path) {
    let _ = crate::system::remove(directory);
    let _ = fs::remove_dir_all(directory);
}
