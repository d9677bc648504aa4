//! What the event log holds: the changes of one transaction, with the terms that selectors ask for, before and after.
//!
//! The encoding is Protocol Buffers; field numbers never change their meaning, for old entries are read by new daemons during an upgrade.

use prost::Message as _;

use super::{
    error::{Error, Reason, Result},
    session::State,
};

/// What happened. The numbers are those of `ChangeKind` in `invalidation.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
#[expect(missing_docs, reason = "documented once, in invalidation.proto")]
pub enum ChangeKind {
    Unspecified = 0,
    SessionCreated = 1,
    SessionUpdated = 2,
    SessionTransitioned = 3,
    SessionDeleted = 4,
    SessionExpired = 5,
    SessionUndeleted = 6,
    SessionPurged = 7,
    StorageStatePut = 8,
    ProfileSaved = 9,
    Invalidated = 10,
    ProfileRestored = 11,
    SnapshotChanged = 12,
}

/// One change of one session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Change {
    /// What happened: a [`ChangeKind`].
    #[prost(enumeration = "ChangeKind", tag = "1")]
    pub kind: i32,
    /// The session's id.
    #[prost(string, tag = "2")]
    pub session: String,
    /// Its business after the change.
    #[prost(string, tag = "3")]
    pub business: String,
    /// Its business before the change, if another.
    #[prost(string, optional, tag = "4")]
    pub previous_business: Option<String>,
    /// The HMAC of its e-mail address after the change, in hexadecimal digits; empty if it has none.
    #[prost(string, tag = "5")]
    pub email_hmac: String,
    /// The same before the change, if another.
    #[prost(string, optional, tag = "6")]
    pub previous_email_hmac: Option<String>,
    /// Its state after the change: the index in [`State::ALL`] plus 1.
    #[prost(int32, tag = "7")]
    pub state: i32,
    /// Its state before the change, if another; else 0.
    #[prost(int32, tag = "8")]
    pub previous_state: i32,
    /// Its head after the change, in hexadecimal digits, for [`ChangeKind::ProfileSaved`] and [`ChangeKind::ProfileRestored`]; the snapshot that changed, for
    /// [`ChangeKind::SnapshotChanged`].
    #[prost(string, tag = "9")]
    pub snapshot: String,
    /// Why, as its caller said.
    #[prost(string, tag = "10")]
    pub reason: String,
}

/// A state's number in a [`Change`] and in the contract.
#[must_use]
pub fn state_number(state: State) -> i32 {
    match state {
        State::Pending => 1,
        State::Active => 2,
        State::NeedsLogin => 3,
        State::Quarantined => 4,
        State::Retired => 5,
        State::Expired => 6,
        State::Deleted => 7,
    }
}

/// All changes of one transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Changes {
    #[prost(message, repeated, tag = "1")]
    changes: Vec<Change>,
}

/// Packs the changes of one transaction into the payload of its log entry.
#[must_use]
pub fn encode(changes: Vec<Change>) -> Vec<u8> {
    Changes { changes }.encode_to_vec()
}

/// Reads what [`encode`] made.
///
/// # Errors
/// `DATA_CORRUPT` when the payload is damaged.
pub fn decode(payload: &[u8]) -> Result<Vec<Change>> {
    match Changes::decode(payload) {
        Ok(changes) => Ok(changes.changes),
        Err(error) => Err(Error::new(Reason::DataCorrupt, "an entry of the event log is damaged").with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_back() {
        let change = Change { kind: ChangeKind::SessionUpdated.into(), session: "a".to_owned(), previous_business: Some(String::new()), ..Change::default() };
        assert_eq!(decode(&encode(vec![change.clone()])).unwrap(), [change]);
        assert_eq!(decode(&[0xff]).unwrap_err().reason(), Reason::DataCorrupt);
    }

    #[test]
    fn state_numbers_follow_the_order_of_all_states() {
        let numbers: Vec<_> = State::ALL.into_iter().map(state_number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    }
}
