//! Between the messages of `session.proto` and what sessions are.

use std::time::Duration;

use cloakroom_api::v1 as api;
use prost_types::Duration as ProtoDuration;

use crate::{
    flow::sessions::{Conditions, Patch, View},
    grpc::parse,
    model::{
        email::Email,
        error::{Error, Result},
        event::state_number,
        id::{BusinessId, RequestId, SessionId},
        label,
        session::{DEFAULT_TTL, MAX_TTL, MIN_TTL, State, TtlMode, mark},
        time::{Micros, Revision},
    },
};

/// Most sessions of a batch.
const MAX_BATCH: usize = 100;
/// Longest etag: ours have up to 15 bytes.
const MAX_ETAG: usize = 64;
/// Above every revision: they stay below 2^53, so that every language counts them exactly.
const REVISION_END: i64 = 1 << 53;
/// How much of an unknown path an error shows.
const SHOWN: usize = 64;

/// A session as the contract shows it.
pub(super) fn session(view: View) -> api::Session {
    let (expire_time, state) = (view.session.expire_time(), view.session.state());
    let moment = |name| Some(parse::timestamp(Micros(view.session.mark(name))));
    let (create_time, update_time, last_use_time) = (moment(mark::CREATED), moment(mark::UPDATED), moment(mark::USED));
    let (storage_state_revision, fence) = (view.session.state_revision().0, view.session.mark(mark::FENCE));
    let storage_state_saved = view.session.storage_state_is_saved();
    let stored = view.session.session;
    api::Session {
        id: view.session.id.to_string(),
        namespace: view.namespace.to_string(),
        business_id: stored.business,
        email: view.email,
        state: state_number(state),
        // A hidden session remembers the reason of the state that a revival takes it to.
        state_reason: if state.is_hidden() { String::new() } else { stored.state_reason },
        labels: stored.labels.into_iter().collect(),
        ttl: Some(parse::proto_duration(Duration::from_micros(stored.ttl_micros))),
        ttl_mode: match stored.ttl_mode {
            TtlMode::Sliding => api::TtlMode::Sliding.into(),
            TtlMode::Absolute => api::TtlMode::Absolute.into(),
        },
        create_time,
        update_time,
        last_use_time,
        expire_time: expire_time.map(parse::timestamp),
        etag: view.session.revision.etag(),
        head_snapshot_id: stored.head.unwrap_or_default(),
        storage_state_revision,
        fence,
        storage_state_saved,
    }
}

/// The conditions of a write.
pub(in crate::grpc) fn conditions(etag: String, lease_token: i64, request_id: &str) -> Result<Conditions> {
    if etag.len() > MAX_ETAG {
        return Err(Error::field("etag", format!("etag has {} bytes; give back the one of an answer, which has at most {MAX_ETAG}", etag.len())));
    }
    let lease_token = revision("lease_token", lease_token)?.0;
    Ok(Conditions { etag, lease_token, request: RequestId::parse("request_id", request_id)? })
}

/// A revision or a token, 0 for none.
pub(super) fn revision(field: &str, given: i64) -> Result<Revision> {
    if (0..REVISION_END).contains(&given) {
        return Ok(Revision(given));
    }
    Err(Error::field(field, format!("{field} is {given}; it needs 0, or a number of an answer, which is below 2^53")))
}

/// The ids of a batch.
pub(super) fn batch_ids(given: &[String]) -> Result<Vec<SessionId>> {
    if !(1..=MAX_BATCH).contains(&given.len()) {
        return Err(Error::field("session_ids", format!("session_ids has {} entries; it needs 1 to {MAX_BATCH}", given.len())));
    }
    given.iter().enumerate().map(|(at, id)| SessionId::parse(&format!("session_ids[{at}]"), id)).collect()
}

/// A time to live.
pub(super) fn ttl(field: &str, given: Option<&ProtoDuration>) -> Result<Duration> {
    parse::duration(field, given, DEFAULT_TTL, MIN_TTL, MAX_TTL)
}

/// How a time to live runs.
pub(super) fn ttl_mode(field: &str, given: i32) -> Result<TtlMode> {
    match api::TtlMode::try_from(given) {
        Ok(api::TtlMode::Unspecified | api::TtlMode::Sliding) => Ok(TtlMode::Sliding),
        Ok(api::TtlMode::Absolute) => Ok(TtlMode::Absolute),
        Err(_) => Err(Error::field(field, format!("{field} is {given}; it needs 1 (sliding) or 2 (absolute), or 0 for sliding"))),
    }
}

fn state(given: i32) -> Option<State> {
    State::ALL.into_iter().find(|state| state_number(*state) == given)
}

/// A state to list.
pub(super) fn listed_state(given: i32) -> Result<State> {
    match state(given) {
        Some(state) if !state.is_hidden() => Ok(state),
        Some(state) => Err(Error::field("states", format!("states has {}, whose sessions are never listed; one can be read by its id", state.name()))),
        None => Err(Error::field("states", format!("states has {given}; it needs numbers of states, 1 to 5"))),
    }
}

/// A state to move to.
pub(super) fn moved_state(given: i32) -> Result<State> {
    match state(given) {
        Some(State::Deleted) => Err(Error::field("to", "to is DELETED: delete the session instead")),
        Some(State::Expired) => Err(Error::field("to", "to is EXPIRED: only time expires a session; delete one to hide it")),
        Some(state) => Ok(state),
        None => Err(Error::field("to", format!("to is {given}; it needs the number of a state, 1 to 5"))),
    }
}

/// The new values that a mask names.
pub(super) fn patch(new: api::Session, paths: &[String]) -> Result<Patch> {
    const FIELDS: [&str; 5] = ["business_id", "email", "labels", "ttl", "ttl_mode"];
    if paths.is_empty() {
        return Err(Error::field("update_mask", format!("update_mask is empty; it needs some of {}, or * for all of them", FIELDS.join(", "))));
    }
    if let Some(unknown) = paths.iter().find(|path| *path != "*" && !FIELDS.contains(&path.as_str())) {
        let shown: String = unknown.chars().take(SHOWN).collect();
        return Err(Error::field("update_mask", format!("update_mask has {shown:?}; it can name {}, or * for all of them", FIELDS.join(", "))));
    }
    let named = |field: &str| paths.iter().any(|path| path == "*" || path == field);
    let mut patch = Patch::default();
    if named("business_id") {
        patch.business = Some(BusinessId::parse("session.business_id", &new.business_id)?);
    }
    if named("email") {
        patch.email = Some(Email::parse("session.email", &new.email)?);
    }
    if named("labels") {
        patch.labels = Some(label::parse_labels("session.labels", new.labels)?);
    }
    if named("ttl") {
        patch.ttl = Some(ttl("session.ttl", new.ttl.as_ref())?);
    }
    if named("ttl_mode") {
        patch.ttl_mode = Some(ttl_mode("session.ttl_mode", new.ttl_mode)?);
    }
    Ok(patch)
}
