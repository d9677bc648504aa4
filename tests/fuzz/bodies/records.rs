//! Records of the metadata store, and what Redis answers.

use std::sync::LazyLock;

use bytes::Bytes;
use cloakroom_server::{
    Reason,
    flow::sessions::Loaded,
    fuzz::{self, Keys, Reply},
    model::{
        event,
        id::{SessionId, SnapshotId},
        seal::{NONCE, Secret},
        session::Session,
        snapshot::{Snapshot, UploadResult},
        storage_state::MAX_UNARY,
        time::{Micros, Revision},
    },
    store::metadata::{Found, Marks, Record},
};

use super::within;

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::open().unwrap_or_else(|error| panic!("the fixed keys open: {error}")));

fn session_id() -> SessionId {
    SessionId::parse("session", "acct-1").unwrap_or_else(|error| panic!("{error}"))
}

/// A session's record: three numbers of eight bytes (expiry, clock, a mark), then the JSON.
pub(super) fn session_record(data: &[u8]) -> bool {
    let Some((numbers, json)) = data.split_first_chunk::<24>() else { return false };
    let number = |at: usize| numbers[at * 8..][..8].iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
    let marks = Marks::from([("fence".to_owned(), number(2)), ("state".to_owned(), number(2))]);
    let record = Record { revision: Revision(number(2)), expires_at: Some(Micros(number(0))), marks, value: Bytes::copy_from_slice(json) };
    let now = Micros(number(1));
    for found in [Found::Live(record.clone()), Found::Expired(record)] {
        let Ok(Some(loaded)) = within(100 * json.len(), || Loaded::from_found(&session_id(), found, now)) else { return false };
        let _ = (loaded.state(), loaded.expire_time(), loaded.remaining(), loaded.check_live().map_err(|error| error.to_string()));
        let _ = (loaded.check_conditions("\"z\"", 1), loaded.session.ttl(), loaded.session.lineage_id(), loaded.session.head_id());
        let entries = loaded.session.indices(&loaded.id);
        assert_eq!(entries.is_empty(), loaded.session.state.is_hidden());
        if loaded.session.business_id().is_ok() {
            assert!(entries.iter().all(|entry| entry.member == "acct-1"));
        }
        let written = serde_json::to_vec(&loaded.session).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<Session>(&written).ok(), Some(loaded.session));
    }
    true
}

/// A snapshot's record, and what an upload made.
pub(super) fn snapshot_record(data: &[u8]) -> bool {
    let id = SnapshotId([1; 16]);
    let mut accepted = false;
    if let Ok(snapshot) = within(50 * data.len(), || Snapshot::from_json(id, data)) {
        let _ = (snapshot.root(id), snapshot.commit_frame(id));
        let written = serde_json::to_vec(&snapshot).unwrap_or_default();
        assert_eq!(Snapshot::from_json(id, &written).ok(), Some(snapshot));
        accepted = true;
    }
    if let Ok(made) = within(50 * data.len(), || serde_json::from_slice::<UploadResult>(data)) {
        assert_eq!(serde_json::from_slice::<UploadResult>(&serde_json::to_vec(&made).unwrap_or_default()).ok(), Some(made));
        accepted = true;
    }
    accepted
}

/// An entry of the event log.
pub(super) fn event(data: &[u8]) -> bool {
    let Ok(changes) = within(200 * data.len(), || event::decode(data)) else { return false };
    assert_eq!(event::decode(&event::encode(changes.clone())).ok(), Some(changes));
    true
}

/// The key records of a namespace, of a lineage, and the key check.
pub(super) fn key_record(data: &[u8]) -> bool {
    let most = 50 * data.len();
    let namespace = within(most, || KEYS.namespace_record(data)).is_ok();
    let lineage = within(most, || KEYS.lineage_record(data)).is_ok();
    let check = within(most, || KEYS.check_record(data)).is_ok();
    assert!(!(namespace && lineage), "a box opens only as what it was sealed as");
    namespace || lineage || check
}

/// A sealed box: one byte that says where its associated data end, these, then the box. The same bytes are then sealed, as a text.
pub(super) fn sealed(data: &[u8]) -> bool {
    let Some((&length, rest)) = data.split_first() else { return false };
    let Some((aad, sealed)) = rest.split_at_checked(length.into()) else { return false };
    let secret = Secret::new([5; 32]);
    let opened = within(2 * sealed.len(), || secret.open_box(aad, sealed));
    if let Ok(text) = &opened {
        let nonce = <[u8; NONCE]>::try_from(&sealed[1..=NONCE]).unwrap_or_default();
        assert_eq!(secret.seal_box(nonce, aad, text).ok().as_deref(), Some(sealed), "only what sealing made opens");
    }
    let made = secret.seal_box([1; NONCE], aad, sealed).unwrap_or_default();
    assert_eq!(secret.open_box(aad, &made).ok().as_deref(), Some(sealed));
    assert!(secret.open_box(&[aad, b"x"].concat(), &made).is_err() && Secret::new([6; 32]).open_box(aad, &made).is_err());
    let mut damaged = made;
    let at = usize::from(length) % damaged.len();
    damaged[at] ^= 1;
    assert!(secret.open_box(aad, &damaged).is_err());
    opened.is_ok()
}

/// The record of a storage state. With an odd first byte the rest is sealed as its inline text, so that what is inside gets its turn.
pub(super) fn state_record(data: &[u8]) -> bool {
    let Some((&mode, rest)) = data.split_first() else { return false };
    let id = session_id();
    let record = match rest.split_first_chunk::<4>() {
        Some((length, frame)) if mode % 2 == 1 => [&[1, 0][..], length, &KEYS.lineage().seal_state(&id, frame).unwrap_or_default()].concat(),
        _ => rest.to_vec(),
    };
    let opened = within(2 * record.len() + MAX_UNARY, || fuzz::storage_state(&KEYS, &id, &record));
    match &opened {
        Ok(document) => assert_eq!(document.len(), u32::from_be_bytes([record[2], record[3], record[4], record[5]]) as usize),
        Err(error) => assert!(matches!(error.reason(), Reason::DataCorrupt | Reason::StorageStateTooLarge), "{error}"),
    }
    opened.is_ok()
}

/// What Redis answers: one byte that says to which kind of request, then the answer as it comes over the connection.
pub(super) fn redis_reply(data: &[u8]) -> bool {
    let Some((&kind, bytes)) = data.split_first() else { return false };
    let Some(reply) = Reply::parse(bytes) else { return false };
    // Of an answer in memory nothing is copied but names.
    within(200 * bytes.len(), || reply.decode(kind)).is_ok()
}
