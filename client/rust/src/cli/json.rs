//! The contract's messages as JSON. Programs rely on it: fields are added, and never renamed or taken away.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cloakroom_client::{hex, v1};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

/// An enum value without its prefix: `ACTIVE` for `SESSION_STATE_ACTIVE`; empty if it is not given.
pub(crate) fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).filter(|name| *name != "UNSPECIFIED").unwrap_or_default().to_owned()
}

pub(crate) fn state(state: v1::SessionState) -> String {
    short(state.as_str_name(), "SESSION_STATE_")
}

/// `UNKNOWN` for a kind that a newer daemon sends.
pub(crate) fn change_kind(kind: i32) -> String {
    v1::ChangeKind::try_from(kind).map_or_else(|_| "UNKNOWN".to_owned(), |kind| short(kind.as_str_name(), "CHANGE_KIND_"))
}

/// A moment as RFC 3339; empty if it is not given.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    time.map(ToString::to_string).unwrap_or_default()
}

/// The same for people: to the second.
pub(crate) fn short_time(moment: Option<&Timestamp>) -> String {
    let text = time(moment.map(|moment| Timestamp { nanos: 0, ..*moment }).as_ref());
    if text.is_empty() { "-".to_owned() } else { text }
}

pub(crate) fn token(token: &[u8]) -> String {
    STANDARD.encode(token)
}

/// Adds a revision to an object.
pub(crate) fn with_revision(mut value: Value, revision: i64) -> Value {
    value["revision"] = revision.into();
    value
}

pub(crate) fn session(session: &v1::Session) -> Value {
    json!({
        "id": session.id,
        "namespace": session.namespace,
        "business_id": session.business_id,
        "email": session.email,
        "state": state(session.state()),
        "state_reason": session.state_reason,
        // Sorted, so that the same labels are the same text.
        "labels": session.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect::<Map<_, _>>(),
        "ttl": session.ttl.map_or(0, |ttl| ttl.seconds),
        "ttl_mode": short(session.ttl_mode().as_str_name(), "TTL_MODE_"),
        "create_time": time(session.create_time.as_ref()),
        "update_time": time(session.update_time.as_ref()),
        "last_use_time": time(session.last_use_time.as_ref()),
        "expire_time": time(session.expire_time.as_ref()),
        "etag": session.etag,
        "head_snapshot_id": session.head_snapshot_id,
        "storage_state_revision": session.storage_state_revision,
        "storage_state_saved": session.storage_state_saved,
        "fence": session.fence,
    })
}

pub(crate) fn snapshot(snapshot: &v1::Snapshot) -> Value {
    let portability = snapshot.portability.clone().unwrap_or_default();
    json!({
        "id": snapshot.id,
        "session_id": snapshot.session_id,
        "sequence": snapshot.sequence,
        "parent_snapshot_id": snapshot.parent_snapshot_id,
        "kind": short(snapshot.kind().as_str_name(), "SNAPSHOT_KIND_"),
        "manifest_root": hex(&snapshot.manifest_root),
        "entry_count": snapshot.entry_count,
        "total_bytes": snapshot.total_bytes,
        "stored_bytes": snapshot.stored_bytes,
        "has_storage_state": snapshot.has_storage_state,
        "portability": {
            "os": portability.os,
            "brand": portability.brand,
            "browser_version": portability.browser_version,
            "password_store": portability.password_store,
            "quiesced": portability.quiesced,
            "capture_policy": portability.capture_policy,
        },
        "create_time": time(snapshot.create_time.as_ref()),
        "revision": snapshot.revision,
        "head": snapshot.head,
        "upload_id": snapshot.upload_id,
        "pin_time": time(snapshot.pin_time.as_ref()),
        "pin_note": snapshot.pin_note,
        "delete_time": time(snapshot.delete_time.as_ref()),
        "expire_time": time(snapshot.expire_time.as_ref()),
    })
}

pub(crate) fn entry(entry: &v1::Entry) -> Value {
    json!({
        "kind": short(entry.kind().as_str_name(), "ENTRY_KIND_"),
        "path": entry.path,
        "mode": entry.mode,
        "mtime_ns": entry.mtime_ns,
        "size": entry.size,
        "root": hex(&entry.root),
        "symlink_target": entry.symlink_target,
    })
}

pub(crate) fn change(change: &v1::Change) -> Value {
    json!({
        "event": "change",
        "kind": change_kind(change.kind),
        "revision": change.revision,
        "session_id": change.session_id,
        "business_id": change.business_id,
        "previous_business_id": change.previous_business_id,
        "email_hmac": hex(&change.email_hmac),
        "previous_email_hmac": hex(&change.previous_email_hmac),
        "state": state(change.state()),
        "previous_state": state(change.previous_state()),
        "snapshot_id": change.snapshot_id,
        "reason": change.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_the_contracts_names() {
        let session = session(&v1::Session {
            id: "s".to_owned(),
            state: v1::SessionState::NeedsLogin.into(),
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            create_time: Some(Timestamp { seconds: 1_763_600_000, nanos: 5_000_000 }),
            ..v1::Session::default()
        });
        assert_eq!((&session["state"], &session["ttl"], &session["update_time"]), (&json!("NEEDS_LOGIN"), &json!(60), &json!("")));
        assert_eq!(session["create_time"], "2025-11-20T00:53:20.005Z");
        assert!(session.to_string().contains("\"labels\":{\"a\":\"1\",\"b\":\"2\"}"), "{session}");
    }

    #[test]
    fn kinds_of_a_newer_daemon_are_unknown() {
        assert_eq!((change_kind(9).as_str(), change_kind(99).as_str(), change_kind(0).as_str()), ("PROFILE_SAVED", "UNKNOWN", ""));
    }
}
