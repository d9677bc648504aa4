//! `DeleteSession` and `UndeleteSession`.

use super::{Answer, Conditions, Decision, Edit, Fingerprint, Loaded, Sessions, load::not_found};
use crate::model::{
    error::Result,
    event::ChangeKind,
    id::{Namespace, SessionId},
    session::{Session, State},
};

impl Sessions {
    /// Hides a session from lists and lookups; it stays revivable for 7 days. An expired one becomes a deleted one; a deleted one stays as it is.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `ETAG_MISMATCH`, `LEASE_FENCED`, `REQUEST_ID_REUSED`, `CONTENTION`, and the stores' errors.
    pub async fn delete(&self, namespace: &Namespace, id: &SessionId, conditions: &Conditions) -> Result<Answer> {
        let op = self.op(namespace, conditions.request.as_ref(), || fingerprint("DeleteSession", id, conditions)).await?;
        let decide = |found: Option<Loaded>| {
            let found = there(id, found)?;
            if found.state() == State::Deleted {
                return Ok(Decision::Keep(Box::new(found)));
            }
            found.check_conditions(&conditions.etag, conditions.lease_token)?;
            let edit = Edit::new(ChangeKind::SessionDeleted, found.session.clone().hidden(State::Deleted)).under_lease(conditions.lease_token);
            found.edit(edit).map(Box::new).map(Decision::Change)
        };
        self.answer(namespace, id, op.as_ref(), decide).await
    }

    /// Brings a hidden session back in the state it had before, with its whole time to live. A live one stays as it is.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn undelete(&self, namespace: &Namespace, id: &SessionId, conditions: &Conditions) -> Result<Answer> {
        let op = self.op(namespace, conditions.request.as_ref(), || fingerprint("UndeleteSession", id, conditions)).await?;
        let decide = |found: Option<Loaded>| {
            let found = there(id, found)?;
            if !found.state().is_hidden() {
                return Ok(Decision::Keep(Box::new(found)));
            }
            found.check_conditions(&conditions.etag, conditions.lease_token)?;
            let edit = Edit::new(ChangeKind::SessionUndeleted, found.session.clone().revived()).restarting_ttl(true).under_lease(conditions.lease_token);
            found.edit(edit).map(Box::new).map(Decision::Change)
        };
        self.answer(namespace, id, op.as_ref(), decide).await
    }
}

impl Session {
    /// The record of the same session, hidden, remembering where a revival takes it.
    pub(crate) fn hidden(mut self, state: State) -> Self {
        if !self.state.is_hidden() {
            self.revive_to = Some(self.state);
        }
        self.state = state;
        self
    }

    /// The record of the same session, back where it was.
    fn revived(mut self) -> Self {
        if self.state.is_hidden() {
            self.state = self.revive_to.take().unwrap_or(State::Pending);
        }
        self
    }
}

/// A session that is there, or at least revivable.
fn there(id: &SessionId, found: Option<Loaded>) -> Result<Loaded> {
    found.filter(|found| !found.is_gone()).ok_or_else(|| not_found(id))
}

fn fingerprint(method: &str, id: &SessionId, conditions: &Conditions) -> Fingerprint {
    Fingerprint::of(method).text(id.as_str()).text(&conditions.etag).number(conditions.lease_token)
}
