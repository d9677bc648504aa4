//! Every field limit of `session.proto`, and what callers get back.

use std::{collections::HashMap, sync::Arc};

use cloakroom_api::v1::get_active_session_request::Owner as GivenOwner;
use prost_types::{Duration as ProtoDuration, FieldMask};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::{
    flow::sessions::testing::{KeyMap, sessions},
    store::embedded::{Embedded, Limits},
};

fn calls() -> SessionCalls {
    let store = Arc::new(Embedded::ephemeral(Limits::default()).unwrap());
    SessionCalls::new(sessions(store, Arc::new(KeyMap::default())).unwrap())
}

fn creation(id: &str) -> api::CreateSessionRequest {
    api::CreateSessionRequest { session_id: id.to_owned(), business_id: "acme".to_owned(), email: "Ann@x.org".to_owned(), ..Default::default() }
}

async fn create(calls: &SessionCalls, id: &str) -> api::Session {
    calls.create_session(Request::new(creation(id))).await.unwrap().into_inner().session.unwrap()
}

/// The field that a call was refused for; the reason must be `INVALID_FIELD`.
fn field<T: fmt::Debug>(result: Result<Response<T>, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{status:?}");
    assert!(!status.message().contains("secret"), "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[expect(clippy::unnecessary_wraps, reason = "messages have it as optional")]
fn seconds(seconds: i64) -> Option<ProtoDuration> {
    Some(ProtoDuration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_creation_answers_with_everything() {
    let calls = calls();
    let labels = HashMap::from([("env".to_owned(), "prod".to_owned())]);
    let request = api::CreateSessionRequest { labels: labels.clone(), ttl: seconds(3600), ttl_mode: api::TtlMode::Absolute.into(), ..creation("a") };
    let answer = calls.create_session(Request::new(request)).await.unwrap().into_inner();
    let session = answer.session.unwrap();
    assert_eq!((session.id.as_str(), session.namespace.as_str(), session.business_id.as_str()), ("a", "default", "acme"));
    assert_eq!((session.email.as_str(), session.state(), &session.labels), ("Ann@x.org", api::SessionState::Pending, &labels));
    assert_eq!((session.ttl, session.ttl_mode()), (seconds(3600), api::TtlMode::Absolute));
    let (created, expires) = (session.create_time.unwrap(), session.expire_time.unwrap());
    assert_eq!(expires.seconds - created.seconds, 3600);
    assert_eq!((session.update_time, session.last_use_time), (session.create_time, session.create_time));
    assert_eq!((session.fence, session.storage_state_revision, session.head_snapshot_id.as_str()), (0, 0, ""));
    assert_eq!(session.etag, crate::model::time::Revision(answer.revision).etag());
}

#[tokio::test]
async fn every_field_of_a_creation_keeps_to_its_limit() {
    let calls = calls();
    let bad: Vec<(&str, api::CreateSessionRequest)> = vec![
        ("namespace", api::CreateSessionRequest { namespace: "Secret".to_owned(), ..creation("a") }),
        ("session_id", creation("-a")),
        ("session_id", creation(&"a".repeat(129))),
        ("business_id", api::CreateSessionRequest { business_id: String::new(), ..creation("a") }),
        ("business_id", api::CreateSessionRequest { business_id: "b".repeat(257), ..creation("a") }),
        ("business_id", api::CreateSessionRequest { business_id: "a\u{1b}b".to_owned(), ..creation("a") }),
        ("email", api::CreateSessionRequest { email: "secret".to_owned(), ..creation("a") }),
        ("email", api::CreateSessionRequest { email: format!("{}@x.org", "a".repeat(249)), ..creation("a") }),
        ("labels", api::CreateSessionRequest { labels: HashMap::from([("UPPER".to_owned(), "secret".to_owned())]), ..creation("a") }),
        ("labels[k]", api::CreateSessionRequest { labels: HashMap::from([("k".to_owned(), "secret".repeat(30))]), ..creation("a") }),
        ("labels", api::CreateSessionRequest { labels: (0..33).map(|n| (n.to_string(), String::new())).collect(), ..creation("a") }),
        ("ttl", api::CreateSessionRequest { ttl: seconds(59), ..creation("a") }),
        ("ttl", api::CreateSessionRequest { ttl: seconds(366 * 86_400 + 1), ..creation("a") }),
        ("ttl", api::CreateSessionRequest { ttl: seconds(-1), ..creation("a") }),
        ("ttl_mode", api::CreateSessionRequest { ttl_mode: 3, ..creation("a") }),
        ("request_id", api::CreateSessionRequest { request_id: "a b".to_owned(), ..creation("a") }),
        ("request_id", api::CreateSessionRequest { request_id: "r".repeat(65), ..creation("a") }),
    ];
    for (wanted, request) in bad {
        assert_eq!(field(calls.create_session(Request::new(request)).await), wanted);
    }
    let longest = api::CreateSessionRequest {
        business_id: "é".repeat(128),
        email: format!("{}@x.org", "a".repeat(248)),
        labels: (0..32).map(|n| (format!("{n:063}"), "v".repeat(128))).collect(),
        ttl: seconds(366 * 86_400),
        request_id: "~".repeat(64),
        ..creation(&"Z".repeat(128))
    };
    calls.create_session(Request::new(longest)).await.unwrap();
}

#[tokio::test]
async fn a_mask_names_known_fields_exactly() {
    let calls = calls();
    create(&calls, "a").await;
    let update = |paths: &[&str], session: api::Session| {
        let update_mask = Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
        let request = api::UpdateSessionRequest { session: Some(api::Session { id: "a".to_owned(), ..session }), update_mask, ..Default::default() };
        calls.update_session(Request::new(request))
    };
    let new = || api::Session { business_id: "other".to_owned(), ttl: seconds(60), ..Default::default() };
    for paths in [&[][..], &["state"], &["labels.env"], &["business_id", "ID"], &["session.email"], &[""]] {
        assert_eq!(field(update(paths, new()).await), "update_mask", "{paths:?}");
    }
    let only = update(&["ttl"], new()).await.unwrap().into_inner().session.unwrap();
    assert_eq!((only.business_id.as_str(), only.ttl, only.email.as_str()), ("acme", seconds(60), "Ann@x.org"));
    let all = update(&["*"], new()).await.unwrap().into_inner().session.unwrap();
    assert_eq!((all.business_id.as_str(), all.email.as_str(), all.ttl_mode()), ("other", "", api::TtlMode::Sliding));
    assert_eq!(field(update(&["*"], api::Session::default()).await), "session.business_id");
    assert_eq!(field(update(&["email"], api::Session { email: "secret".to_owned(), ..new() }).await), "session.email");
    assert_eq!(field(update(&["ttl"], api::Session { ttl: seconds(1), ..new() }).await), "session.ttl");
    assert_eq!(field(calls.update_session(Request::new(api::UpdateSessionRequest::default())).await), "session");
}

#[tokio::test]
async fn other_requests_keep_to_their_limits() {
    let calls = calls();
    create(&calls, "a").await;
    let get =
        |id: &str, min_revision| calls.get_session(Request::new(api::GetSessionRequest { session_id: id.to_owned(), min_revision, ..Default::default() }));
    assert_eq!(field(get("", 0).await), "session_id");
    assert_eq!(field(get("a", -1).await), "min_revision");
    assert_eq!(field(get("a", 1 << 53).await), "min_revision");
    let batch = |ids: Vec<String>| calls.batch_get_sessions(Request::new(api::BatchGetSessionsRequest { session_ids: ids, ..Default::default() }));
    assert_eq!(field(batch(Vec::new()).await), "session_ids");
    assert_eq!(field(batch(vec!["a".to_owned(); 101]).await), "session_ids");
    assert_eq!(field(batch(vec!["a".to_owned(), "_".to_owned()]).await), "session_ids[1]");
    let list = |request| calls.list_sessions(Request::new(request));
    assert_eq!(field(list(api::ListSessionsRequest { page_size: 501, ..Default::default() }).await), "page_size");
    for state in [0, 6, 7, 8] {
        assert_eq!(field(list(api::ListSessionsRequest { states: vec![2, state], ..Default::default() }).await), "states");
    }
    let active = |owner| calls.get_active_session(Request::new(api::GetActiveSessionRequest { owner, ..Default::default() }));
    assert_eq!(field(active(None).await), "owner");
    assert_eq!(field(active(Some(GivenOwner::Email(String::new()))).await), "owner");
    assert_eq!(field(active(Some(GivenOwner::BusinessId(String::new()))).await), "business_id");
    let transition = |to, reason: &str| {
        let request = api::TransitionSessionRequest { session_id: "a".to_owned(), to, reason: reason.to_owned(), ..Default::default() };
        calls.transition_session(Request::new(request))
    };
    for to in [0, 6, 7, 99] {
        assert_eq!(field(transition(to, "").await), "to");
    }
    assert_eq!(field(transition(2, &"r".repeat(257)).await), "reason");
    let delete = |etag: String, lease_token| {
        calls.delete_session(Request::new(api::DeleteSessionRequest { session_id: "a".to_owned(), etag, lease_token, ..Default::default() }))
    };
    assert_eq!(field(delete("e".repeat(65), 0).await), "etag");
    assert_eq!(field(delete(String::new(), -7).await), "lease_token");
    let resolve = calls.resolve_session(Request::new(api::ResolveSessionRequest::default())).await;
    assert_eq!(field(resolve), "id_prefix");
}

#[tokio::test]
async fn hidden_sessions_say_until_when_they_can_be_revived() {
    let calls = calls();
    create(&calls, "a").await;
    let to = api::TransitionSessionRequest { session_id: "a".to_owned(), to: 2, reason: "fine".to_owned(), ..Default::default() };
    calls.transition_session(Request::new(to)).await.unwrap();
    let deleted = calls.delete_session(Request::new(api::DeleteSessionRequest { session_id: "a".to_owned(), ..Default::default() })).await.unwrap();
    let session = deleted.into_inner().session.unwrap();
    assert_eq!((session.state(), session.state_reason.as_str()), (api::SessionState::Deleted, ""));
    assert_eq!(session.expire_time.unwrap().seconds - session.update_time.unwrap().seconds, 7 * 86_400);
    let status = calls.get_session(Request::new(api::GetSessionRequest { session_id: "a".to_owned(), ..Default::default() })).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "SESSION_DELETED"));
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert!(metadata["revivable_until"].ends_with('Z') && metadata["session_id"] == "a", "{metadata:?}");
    let revived = calls.undelete_session(Request::new(api::UndeleteSessionRequest { session_id: "a".to_owned(), ..Default::default() })).await.unwrap();
    let session = revived.into_inner().session.unwrap();
    assert_eq!((session.state(), session.state_reason.as_str()), (api::SessionState::Active, "fine"));
}

#[tokio::test]
async fn a_storage_state_travels_with_its_own_etag() {
    let calls = calls();
    create(&calls, "a").await;
    let put = |document: &'static str, etag: String| {
        let request = api::PutStorageStateRequest { session_id: "a".to_owned(), storage_state: document.as_bytes().into(), etag, ..Default::default() };
        calls.put_storage_state(Request::new(request))
    };
    let first = put("{\"cookies\":[],\"origins\":[]}", String::new()).await.unwrap().into_inner();
    let got =
        calls.get_storage_state(Request::new(api::GetStorageStateRequest { session_id: "a".to_owned(), ..Default::default() })).await.unwrap().into_inner();
    assert_eq!((&got.storage_state[..], got.etag), (&b"{\"cookies\":[],\"origins\":[]}"[..], first.etag.clone()));
    assert!(got.update_time.is_some() && got.revision >= first.revision);
    put("{\"cookies\":[],\"origins\":[] }", first.etag.clone()).await.unwrap();
    let status = put("{\"cookies\":[],\"origins\":[]}", first.etag).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let status = put("{\"cookies\":[{\"name\":\"secret\"}],\"origins\":[]}", String::new()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "STORAGE_STATE_INVALID"));
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "storage_state.cookies[0]");
    assert!(!format!("{status:?}").contains("secret"));
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let calls = calls();
    create(&calls, "a").await;
    let mut request = Request::new(api::GetSessionRequest { session_id: "a".to_owned(), namespace: "other".to_owned(), ..Default::default() });
    let status = calls.get_session(request).await.unwrap_err();
    assert_eq!(reason(&status), "SESSION_NOT_FOUND");
    request = Request::new(api::GetSessionRequest { session_id: "a".to_owned(), namespace: "UPPER".to_owned(), ..Default::default() });
    assert_eq!(field(calls.get_session(request).await), "namespace");
}
