//! The session indices: what an entry is, and their names. In a name the variable part comes last, so no value can reach into another index.

use super::State;
#[cfg(doc)]
use super::mark;

/// What an index is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// By [`mark::BORN`]: never changes, so paging is stable.
    Born,
    /// By [`mark::USED`].
    Used,
    /// By the member itself: every score is 0.
    Name,
}

/// One member of one index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// The index.
    pub index: String,
    /// The session's id.
    pub member: String,
    /// What gives its score.
    pub order: Order,
}

/// All live sessions, by creation.
pub const ALL: &str = "s/all";
/// All live sessions, by id.
pub const NAMES: &str = "s/names";

/// Sessions of a business, by creation.
#[must_use]
pub fn business(business: &str) -> String {
    format!("s/business/{business}")
}

/// Sessions of an e-mail address, by creation.
#[must_use]
pub fn email(hmac: &str) -> String {
    format!("s/email/{hmac}")
}

/// Sessions in a state, by creation.
#[must_use]
pub fn state(state: State) -> String {
    format!("s/state/{}", state.name())
}

/// Sessions with a label, by creation. A label's key has no `=`.
#[must_use]
pub fn label(key: &str, value: &str) -> String {
    format!("s/label/{key}={value}")
}

/// ACTIVE sessions of a business, by last use.
#[must_use]
pub fn business_used(business: &str) -> String {
    format!("s/used-business/{business}")
}

/// ACTIVE sessions of an e-mail address, by last use.
#[must_use]
pub fn email_used(hmac: &str) -> String {
    format!("s/used-email/{hmac}")
}
