//! A session as it is stored: its fields, its states and the moves between them, and the index entries that follow from it.
//!
//! Times, fence and creation order are *marks* of the record (see [`crate::store::metadata`]), because the store's clock and counter set them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    error::{Error, Reason, Result},
    id::{BusinessId, LineageId, SessionId, SnapshotId},
    time::Revision,
};

pub mod index;
mod state;

pub use index::{IndexEntry, Order};
pub use state::State;

/// Shortest time to live.
pub const MIN_TTL: Duration = Duration::from_mins(1);
/// Longest time to live: 366 days.
pub const MAX_TTL: Duration = Duration::from_hours(366 * 24);
/// Time to live when none is given: 24 h.
pub const DEFAULT_TTL: Duration = Duration::from_hours(24);
/// How long a deleted or expired session can be revived: 7 days, because expiry must never destroy a good login.
pub const REVIVABLE: Duration = Duration::from_hours(7 * 24);

/// Marks of a session's record: numbers that the store sets.
pub mod mark {
    /// When it was created, in µs.
    pub const CREATED: &str = "created";
    /// The revision that created it: its place in every listing.
    pub const BORN: &str = "born";
    /// When it was changed last, in µs.
    pub const UPDATED: &str = "updated";
    /// When it was used last, in µs.
    pub const USED: &str = "used";
    /// The revision of the newest lease granted on it; 0 when there was none.
    pub const FENCE: &str = "fence";
    /// The revision that wrote its storage state; 0 when there is none.
    pub const STATE: &str = "state";
    /// The revision of the last save or restore that brought a storage state along: equal to [`STATE`] while that one is current.
    pub const BROUGHT: &str = "brought";
}

/// How a time to live runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TtlMode {
    /// From the last use.
    #[default]
    Sliding,
    /// From the creation, the last change of the TTL, or the revival.
    Absolute,
}

/// An e-mail address at rest: found by its HMAC, read only with the namespace's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEmail {
    /// HMAC-SHA-256 of the normalised address under the namespace's index secret, in lower-case hexadecimal digits.
    pub hmac: String,
    /// The address as given, sealed and in base 64.
    pub sealed: String,
}

/// A session's record. It is stored as JSON, so that an operator can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The business it belongs to.
    pub business: String,
    /// Its e-mail address, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<SealedEmail>,
    /// Where it is in its life.
    pub state: State,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state_reason: String,
    /// Where it was before it expired or was deleted, and where a revival takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revive_to: Option<State>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Time to live in microseconds.
    pub ttl_micros: u64,
    /// How it runs.
    pub ttl_mode: TtlMode,
    /// Its chain of commits and their key: 32 hexadecimal digits.
    pub lineage: String,
    /// The head snapshot: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The slot of the commit that made the head what it is; 0 when there is none.
    #[serde(default)]
    pub sequence: i64,
    /// Slots up to here are used up: by the head, or voided after a writer's death. Never below `sequence`.
    #[serde(default)]
    pub slot_floor: i64,
}

impl Session {
    /// Time to live.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_micros(self.ttl_micros)
    }

    /// The business, as a name.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the record was damaged.
    pub fn business_id(&self) -> Result<BusinessId> {
        BusinessId::parse("business", &self.business).map_err(|error| corrupt("business", error))
    }

    /// The lineage, as an id.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the record was damaged.
    pub fn lineage_id(&self) -> Result<LineageId> {
        LineageId::parse("lineage", &self.lineage).map_err(|error| corrupt("lineage", error))
    }

    /// The head snapshot, as an id.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the record was damaged.
    pub fn head_id(&self) -> Result<Option<SnapshotId>> {
        let parse = |head: &String| SnapshotId::parse("head", head).map_err(|error| corrupt("head", error));
        self.head.as_ref().map(parse).transpose()
    }

    /// The index entries that this record must have, and no others: indices are a function of the records.
    #[must_use]
    pub fn indices(&self, id: &SessionId) -> Vec<IndexEntry> {
        if self.state.is_hidden() {
            return Vec::new();
        }
        let entry = |name: String, order| IndexEntry { index: name, member: id.to_string(), order };
        let mut entries = vec![
            entry(index::ALL.to_owned(), Order::Born),
            entry(index::NAMES.to_owned(), Order::Name),
            entry(index::business(&self.business), Order::Born),
            entry(index::state(self.state), Order::Born),
        ];
        entries.extend(self.email.iter().map(|email| entry(index::email(&email.hmac), Order::Born)));
        entries.extend(self.labels.iter().map(|(key, value)| entry(index::label(key, value), Order::Born)));
        if self.state == State::Active {
            entries.push(entry(index::business_used(&self.business), Order::Used));
            entries.extend(self.email.iter().map(|email| entry(index::email_used(&email.hmac), Order::Used)));
        }
        entries
    }
}

fn corrupt(field: &str, source: Error) -> Error {
    Error::new(Reason::DataCorrupt, format!("a session's record has a damaged {field}")).with_source(source)
}

/// The version that a caller's etag names, compared with what is stored.
///
/// # Errors
/// `ETAG_MISMATCH` with the current etag, when `given` is neither empty nor the etag of `current`.
pub fn check_etag(given: &str, current: Revision) -> Result<()> {
    if given.is_empty() || given == current.etag() {
        return Ok(());
    }
    let message = format!("the etag is {given:?} but the current one is {}: read it again and decide anew", current.etag());
    Err(Error::new(Reason::EtagMismatch, message).with("etag", current.etag()))
}

/// The fencing rule: a write under a lease needs the newest token.
///
/// # Errors
/// `LEASE_FENCED` with both tokens, when `given` is not 0 and not `fence`.
pub fn check_fence(given: i64, fence: i64) -> Result<()> {
    if given == 0 || given == fence {
        return Ok(());
    }
    let message = format!("the lease token {given} is not the session's current one, {fence}: another worker may hold it; stop driving this browser");
    Err(Error::new(Reason::LeaseFenced, message).with("presented_token", given).with("current_token", fence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(state: State) -> Session {
        Session {
            business: "acme".to_owned(),
            email: Some(SealedEmail { hmac: "ab".to_owned(), sealed: String::new() }),
            state,
            state_reason: String::new(),
            revive_to: None,
            labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ttl_micros: 60_000_000,
            ttl_mode: TtlMode::Sliding,
            lineage: "0".repeat(32),
            head: None,
            sequence: 0,
            slot_floor: 0,
        }
    }

    #[test]
    fn hidden_sessions_are_in_no_index_and_only_active_ones_in_last_use() {
        let id = SessionId::parse("id", "a").unwrap();
        assert!(session(State::Deleted).indices(&id).is_empty());
        assert!(session(State::Expired).indices(&id).is_empty());
        assert_eq!(session(State::Active).indices(&id).len(), 8);
        assert!(session(State::Retired).indices(&id).iter().all(|entry| entry.order != Order::Used));
    }

    #[test]
    fn a_record_reads_back_from_its_json() {
        let json = serde_json::to_string(&session(State::Active)).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&json).unwrap(), session(State::Active));
    }

    #[test]
    fn etags_and_tokens_are_checked_only_when_given() {
        assert!(check_etag("", Revision(7)).is_ok() && check_etag("\"7\"", Revision(7)).is_ok());
        assert_eq!(check_etag("\"8\"", Revision(7)).unwrap_err().reason(), Reason::EtagMismatch);
        assert!(check_fence(0, 9).is_ok() && check_fence(9, 9).is_ok());
        assert_eq!(check_fence(8, 9).unwrap_err().reason(), Reason::LeaseFenced);
    }
}
