//! Reading sessions, and what stands in the way of using one.

use std::time::Duration;

use crate::{
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, SessionId},
        session::{REVIVABLE, Session, State, check_etag, check_fence, mark},
        time::{Micros, Revision},
    },
    store::metadata::{Found, Key, Marks, Metadata, Record},
};

/// Where a session's record is.
#[must_use]
pub fn record_key(id: &SessionId) -> Key {
    Key(format!("s/{id}"))
}

/// Where a session's storage state is.
#[must_use]
pub fn state_key(id: &SessionId) -> Key {
    Key(format!("d/{id}"))
}

/// A session as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: SessionId,
    /// Its record.
    pub session: Session,
    /// The revision that wrote it: its etag.
    pub revision: Revision,
    /// Its marks.
    pub marks: Marks,
    /// When it expires; of a hidden one: until when it can be revived.
    pub expires_at: Option<Micros>,
    /// Its time was over when it was read, and the sweeper has not been there.
    pub expired: bool,
    /// The store's clock when it was read.
    pub now: Micros,
}

/// Reads a session, hidden ones too, with the namespace's revision and the store's clock.
///
/// # Errors
/// `METADATA_UNAVAILABLE`, `DATA_CORRUPT`.
pub async fn load(metadata: &dyn Metadata, namespace: &Namespace, id: &SessionId) -> Result<(Option<Loaded>, Revision, Micros)> {
    let reading = metadata.get(namespace, &[record_key(id)]).await?;
    let found = reading.found.into_iter().next().unwrap_or(Found::Absent);
    Ok((Loaded::from_found(id, found, reading.now)?, reading.revision, reading.now))
}

impl Loaded {
    /// Understands what was found under a session's key.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the record is damaged.
    pub fn from_found(id: &SessionId, found: Found, now: Micros) -> Result<Option<Self>> {
        match found {
            Found::Absent => Ok(None),
            Found::Live(record) => Self::from_record(id, record, false, now).map(Some),
            Found::Expired(record) => Self::from_record(id, record, true, now).map(Some),
        }
    }

    pub(crate) fn from_record(id: &SessionId, record: Record, expired: bool, now: Micros) -> Result<Self> {
        let session: Session = serde_json::from_slice(&record.value)
            .map_err(|error| Error::new(Reason::DataCorrupt, format!("the record of session {id} is damaged")).with_source(error))?;
        Ok(Self { id: id.clone(), session, revision: record.revision, marks: record.marks, expires_at: record.expires_at, expired, now })
    }

    /// A mark; 0 when it has none of that name.
    #[must_use]
    pub fn mark(&self, name: &str) -> i64 {
        self.marks.get(name).copied().unwrap_or(0)
    }

    /// Revision of its storage state; zero when it has none.
    #[must_use]
    pub fn state_revision(&self) -> Revision {
        Revision(self.mark(mark::STATE))
    }

    /// Whether its storage state is one that a save or a restore brought along, and so lies in a snapshot too.
    #[must_use]
    pub fn storage_state_is_saved(&self) -> bool {
        self.state_revision() != Revision::ZERO && self.mark(mark::BROUGHT) == self.mark(mark::STATE)
    }

    /// Its state as callers see it: one whose time is over is EXPIRED also before the sweeper says so.
    #[must_use]
    pub fn state(&self) -> State {
        if self.expired && !self.session.state.is_hidden() { State::Expired } else { self.session.state }
    }

    /// When it expires; of a hidden one: until when it can be revived. The sweeper gives the whole time to one that it has not met yet.
    #[must_use]
    pub fn expire_time(&self) -> Option<Micros> {
        if self.expired && !self.session.state.is_hidden() { Some(self.now.after(REVIVABLE)) } else { self.expires_at }
    }

    /// Whether not even a revival finds it any more: hidden, and its time for that is over too.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.expired && self.session.state.is_hidden()
    }

    /// That it can be used.
    ///
    /// # Errors
    /// `SESSION_EXPIRED` or `SESSION_DELETED` with the time until which it can be revived, `SESSION_NOT_FOUND` when that is over.
    pub fn check_live(&self) -> Result<()> {
        let (reason, what) = match self.state() {
            _ if self.is_gone() => return Err(not_found(&self.id)),
            State::Expired => (Reason::SessionExpired, "expired"),
            State::Deleted => (Reason::SessionDeleted, "was deleted"),
            _ => return Ok(()),
        };
        let until = self.expire_time().unwrap_or(self.now);
        let message = format!("session {} {what}; it can be undeleted until {until}", self.id);
        Err(Error::new(reason, message).with("session_id", &self.id).with("revivable_until", until))
    }

    /// The conditions of a write: its etag and its lease, each checked when given. The lease is checked again inside the transaction.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`, `LEASE_FENCED`.
    pub fn check_conditions(&self, etag: &str, lease_token: i64) -> Result<()> {
        check_fence(lease_token, self.mark(mark::FENCE))?;
        check_etag(etag, self.revision)
    }

    /// How long it still lives.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.expires_at.map(|at| at.since(self.now))
    }
}

/// There is no such session.
pub(crate) fn not_found(id: &SessionId) -> Error {
    let message = format!("there is no session {id}: list the sessions to see those there are, or create it");
    Error::new(Reason::SessionNotFound, message).with("session_id", id)
}
