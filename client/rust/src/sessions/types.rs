//! What is asked of sessions, and what is answered.

use std::{collections::HashMap, ops::Deref, time::Duration};

use cloakroom_api::v1;

/// What a call answered, with the revision that it belongs to: of a change its own, of a read the one that the answer reflects.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// The answer itself.
    pub value: T,
    /// The revision; give it to [`Sessions::at_least`](crate::Sessions::at_least) to read nothing older.
    pub revision: i64,
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What a new session shall be. Only the business is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSession {
    /// The wanted id; empty to have one made.
    pub id: String,
    /// The business it belongs to.
    pub business_id: String,
    /// The account's e-mail address; empty if there is none.
    pub email: String,
    /// Free labels.
    pub labels: HashMap<String, String>,
    /// Time to live; the daemon's default is 24 h.
    pub ttl: Option<Duration>,
    /// How the time to live runs.
    pub ttl_mode: v1::TtlMode,
}

/// What to change of a session; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Another business.
    pub business_id: Option<String>,
    /// Another e-mail address; empty for none.
    pub email: Option<String>,
    /// All labels anew.
    pub labels: Option<HashMap<String, String>>,
    /// Another time to live.
    pub ttl: Option<Duration>,
    /// Another way for the time to live to run.
    pub ttl_mode: Option<v1::TtlMode>,
}

/// Which sessions to list. All that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this business; empty for any.
    pub business_id: String,
    /// Of this e-mail address; empty for any.
    pub email: String,
    /// In one of these states; empty for any.
    pub states: Vec<v1::SessionState>,
    /// With all of these labels.
    pub labels: HashMap<String, String>,
    /// How many to ask for at once; 0 for the daemon's default.
    pub page_size: i32,
}

/// Whose session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Of this business.
    Business(String),
    /// Of this e-mail address.
    Email(String),
}

/// Which sessions were found, and which not.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The sessions found, in the order asked for.
    pub sessions: Vec<v1::Session>,
    /// The ids that name no live session.
    pub missing: Vec<String>,
}
