//! What profiles need of sessions: readings under a lower bound, and a word to the caches when a save changed one.

use super::{Loaded, Sessions, load::not_found};
use crate::{
    model::{
        error::Result,
        id::{Namespace, SessionId},
        time::{Micros, Revision},
    },
    store::metadata::{Found, Key, Reading},
};

impl Sessions {
    /// Reads records when the namespace stands at `min_revision` or later; waits a little for that.
    ///
    /// # Errors
    /// `REVISION_NOT_REACHED`, and the store's errors.
    pub(crate) async fn reading(&self, namespace: &Namespace, keys: &[Key], min_revision: Revision) -> Result<Reading> {
        self.read(namespace, keys, min_revision).await
    }

    /// A session was changed by a transaction that was made elsewhere.
    pub(crate) fn changed(&self, namespace: &Namespace, id: &SessionId, revision: Revision) {
        self.cache.wrote(namespace, id, revision);
        self.floor.saw(namespace, revision);
    }
}

/// The session found under its key, if it can be used.
///
/// # Errors
/// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `DATA_CORRUPT`.
pub(crate) fn live(id: &SessionId, found: Found, now: Micros) -> Result<Loaded> {
    let session = Loaded::from_found(id, found, now)?.ok_or_else(|| not_found(id))?;
    session.check_live()?;
    Ok(session)
}
