//! A save whose upload was committed before: its stream is read, and compared with what was committed.

use std::fmt;

use ring::digest::{Context, SHA256};

use super::{Saved, SnapshotView};
use crate::model::{
    error::{Error, Reason, Result},
    id::{LineageId, UploadId},
    snapshot::snapshot_id,
    tree::Root,
};

/// A save that was committed before, sent once more.
pub struct Repeat {
    lineage: LineageId,
    upload: UploadId,
    view: SnapshotView,
    state: Option<Context>,
}

impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeat").field("upload", &self.upload).field("snapshot", &self.view.id).finish_non_exhaustive()
    }
}

impl Repeat {
    pub(super) fn new(lineage: LineageId, upload: UploadId, view: SnapshotView) -> Self {
        Self { lineage, upload, view, state: None }
    }

    /// Takes a piece of the storage state.
    pub fn storage_state(&mut self, chunk: &[u8]) {
        self.state.get_or_insert_with(|| Context::new(&SHA256)).update(chunk);
    }

    /// Ends it: the same content has the first result.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED` when it is another content.
    pub fn end(self, root: &Root) -> Result<Saved> {
        let mut sha = Root::default();
        let state = self.state.map(|state| {
            sha.copy_from_slice(state.finish().as_ref());
            &sha
        });
        if snapshot_id(self.lineage, &self.upload, root, state) == self.view.id {
            return Ok(Saved { view: self.view });
        }
        Err(reused(&self.upload))
    }
}

/// The upload id was used for another content.
pub(super) fn reused(upload: &UploadId) -> Error {
    let message = format!("upload_id {upload} was used for a save with another content: give every save its own");
    Error::new(Reason::RequestIdReused, message).with_field("begin.upload_id")
}
