//! The daemon, sessions, and storage states.

use std::time::Duration;

use cloakroom_client::{Client, Filter, Kind, NewSession, Options, Owner, SaveOptions, Update, v1};
use cloakroom_tests::ports::Port;
use futures::TryStreamExt as _;

use super::{name, new, stage, write};

const NEVER_GRANTED: i64 = 4_711;

#[tokio::test]
async fn server_info() {
    let stage = stage().await;
    let info = stage.client.server_info().await.unwrap();
    assert!(!info.version.is_empty() && !info.instance_id.is_empty() && !info.history.is_empty());
    assert_eq!(info.namespace, "default");
    for store in [&info.metadata, &info.blobs] {
        assert_eq!(store.as_ref().unwrap().health(), v1::StoreHealth::Ok);
    }
    let limits = info.limits.unwrap();
    assert!(limits.message_bytes > 0 && limits.storage_state_bytes > 0 && limits.profile_entries > 0 && limits.profile_bytes > 0 && limits.page_size > 0);
    assert!(info.clock_skew.unwrap().abs() < 5.0, "one machine has one clock");
}

#[tokio::test]
async fn daemon_gone() {
    let (port, home) = (Port::free(), tempfile::tempdir().unwrap());
    for options in [Options::default(), Options { wait_for_ready: false, ..Options::default() }] {
        let client = Client::connect(&port.address(), options).unwrap();
        let (unary, load) = (client.server_info(), client.load("s", home.path().join("p"), cloakroom_client::LoadOptions::default()));
        let calls = async { tokio::join!(unary, load) };
        let (unary, load) = tokio::time::timeout(Duration::from_secs(5), calls).await.expect("within five seconds");
        for error in [unary.unwrap_err(), load.unwrap_err()] {
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.to_string().contains(&port.address()) && error.to_string().contains("Connection refused"), "{error}");
        }
    }
}

#[tokio::test]
async fn create_get_update_delete() {
    let stage = stage().await;
    let wanted = NewSession {
        id: name("full"),
        email: "Ops@Acme.example".to_owned(),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ttl: Some(Duration::from_hours(2)),
        ..new(&stage.business)
    };
    let created = stage.client.sessions().create(wanted.clone()).await.unwrap();
    assert_eq!((&created.id, &created.business_id, &created.email, &created.labels), (&wanted.id, &wanted.business_id, &wanted.email, &wanted.labels));
    assert_eq!((created.state(), created.ttl.unwrap().seconds), (v1::SessionState::Pending, 7200));
    let got = stage.client.sessions().at_least(created.revision).get(&wanted.id).await.unwrap();
    assert_eq!(got.value, created.value);

    let labels = [("tier".to_owned(), "silver".to_owned())].into();
    let update = Update { labels: Some(labels), email: Some("new@acme.example".to_owned()), ..Update::default() };
    let updated = stage.client.sessions().update(&wanted.id, update).await.unwrap();
    assert_ne!(updated.etag, created.etag);
    let expected = v1::Session {
        labels: [("tier".to_owned(), "silver".to_owned())].into(),
        email: "new@acme.example".to_owned(),
        etag: updated.etag.clone(),
        update_time: updated.update_time,
        ..created.value.clone()
    };
    assert_eq!(updated.value, expected, "only these changed");

    let deleted = stage.client.sessions().delete(&wanted.id).await.unwrap();
    assert_eq!(deleted.state(), v1::SessionState::Deleted);
    let error = stage.client.sessions().get(&wanted.id).await.unwrap_err();
    assert_eq!((error.reason(), error.kind()), ("SESSION_DELETED", Kind::NotFound));
    stage.client.sessions().delete(&wanted.id).await.unwrap();
    assert!(created.revision < updated.revision && updated.revision < deleted.revision);
}

#[tokio::test]
async fn create_twice() {
    let stage = stage().await;
    let wanted = NewSession { id: name("twice"), ..new(&stage.business) };
    let first = stage.client.sessions().with_request_id("create-1").create(wanted.clone()).await.unwrap();
    let error = stage.client.sessions().create(wanted.clone()).await.unwrap_err();
    assert_eq!((error.reason(), error.kind()), ("SESSION_EXISTS", Kind::AlreadyExists));
    let again = stage.client.sessions().with_request_id("create-1").create(wanted).await.unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn batch_get_mixed() {
    let stage = stage().await;
    let other = stage.client.sessions().create(new(&stage.business)).await.unwrap().value.id;
    let batch = stage.client.sessions().batch_get(&[&other, "no-such-session", &stage.session]).await.unwrap();
    assert_eq!(batch.sessions.iter().map(|session| &session.id).collect::<Vec<_>>(), [&other, &stage.session]);
    assert_eq!(batch.missing, ["no-such-session"]);
}

#[tokio::test]
async fn undelete() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    sessions.transition(&stage.session, v1::SessionState::Active, "logged in").await.unwrap();
    sessions.storage_state().put(&stage.session, STATE).await.unwrap();
    let directory = stage.directory("p");
    write(&directory, "Cookies", b"sweet");
    let saved = stage.save(&directory).await;
    sessions.delete(&stage.session).await.unwrap();
    let back = sessions.undelete(&stage.session).await.unwrap();
    assert_eq!((back.state(), &back.head_snapshot_id), (v1::SessionState::Active, &saved.snapshot.id));
    assert_eq!(sessions.storage_state().get(&stage.session).await.unwrap().json, STATE);
}

#[tokio::test]
async fn list_pages() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    let mut all = vec![stage.session.clone()];
    for number in 1..25 {
        let labels = [("parity".to_owned(), if number % 2 == 0 { "even" } else { "odd" }.to_owned())].into();
        all.push(sessions.create(NewSession { labels, ..new(&stage.business) }).await.unwrap().value.id);
    }
    sessions.transition(&all[3], v1::SessionState::Active, "").await.unwrap();
    let ids = async |filter: Filter| {
        let filter = Filter { business_id: stage.business.clone(), page_size: 10, ..filter };
        stage.client.sessions().list(filter).map_ok(|session| session.id).try_collect::<Vec<_>>().await.unwrap()
    };
    assert_eq!(ids(Filter::default()).await, all, "each once, oldest first");
    let odd = ids(Filter { labels: [("parity".to_owned(), "odd".to_owned())].into(), ..Filter::default() }).await;
    assert_eq!(odd, all.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>());
    assert_eq!(ids(Filter { states: vec![v1::SessionState::Active], ..Filter::default() }).await, [all[3].clone()]);
}

#[tokio::test]
async fn active_most_recent() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    let email = format!("{}@acme.example", stage.business);
    sessions.update(&stage.session, Update { email: Some(email.clone()), ..Update::default() }).await.unwrap();
    let other = sessions.create(NewSession { email: email.clone(), ..new(&stage.business) }).await.unwrap().value.id;
    for id in [&stage.session, &other] {
        sessions.transition(id, v1::SessionState::Active, "").await.unwrap();
    }
    for recent in [&stage.session, &other, &stage.session] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let touched = sessions.touch(recent).await.unwrap();
        let read = sessions.clone().at_least(touched.revision);
        assert_eq!(read.active(&Owner::Business(stage.business.clone())).await.unwrap().id, *recent);
        let shouted = format!("  {} ", email.to_uppercase());
        assert_eq!(read.active(&Owner::Email(shouted)).await.unwrap().id, *recent);
    }
}

#[tokio::test]
async fn touch_moves_expiry() {
    let stage = stage().await;
    let before = stage.get().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let touched = stage.client.sessions().touch(&stage.session).await.unwrap();
    let after = stage.client.sessions().at_least(touched.revision).get(&stage.session).await.unwrap();
    let nanos = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos)).unwrap();
    assert!(nanos(touched.value) > nanos(before.expire_time));
    assert_eq!((after.expire_time, &after.etag), (touched.value, &before.etag));
}

#[tokio::test]
async fn transition_and_illegal() {
    let stage = stage().await;
    for (to, reason) in
        [(v1::SessionState::Active, "logged in"), (v1::SessionState::NeedsLogin, "password changed"), (v1::SessionState::Active, "logged in again")]
    {
        stage.client.sessions().transition(&stage.session, to, reason).await.unwrap();
        let session = stage.get().await;
        assert_eq!((session.state(), session.state_reason.as_str()), (to, reason));
    }
    let error = stage.refused("ILLEGAL_TRANSITION", stage.client.sessions().transition(&stage.session, v1::SessionState::Pending, "")).await;
    assert_eq!(error.kind(), Kind::Refused);
}

#[tokio::test]
async fn resolve_prefix() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    let prefix = name("resolve");
    for end in ["-alpha", "-beta"] {
        sessions.create(NewSession { id: format!("{prefix}{end}"), ..new(&stage.business) }).await.unwrap();
    }
    assert_eq!(sessions.resolve(&format!("{prefix}-a")).await.unwrap().id, format!("{prefix}-alpha"));
    stage.refused("PREFIX_AMBIGUOUS", sessions.resolve(&format!("{prefix}-"))).await;
    stage.refused("SESSION_NOT_FOUND", sessions.resolve(&format!("{prefix}-x"))).await;
}

#[tokio::test]
async fn stale_etag() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    let update = |email: &str| Update { email: Some(email.to_owned()), ..Update::default() };
    let old = stage.get().await.value.etag;
    let new = sessions.update(&stage.session, update("a@x.example")).await.unwrap().value.etag;
    let error = stage.refused("ETAG_MISMATCH", sessions.clone().if_etag(&old).update(&stage.session, update("b@x.example"))).await;
    assert_eq!(error.kind(), Kind::Conflict);
    sessions.clone().if_etag(&new).update(&stage.session, update("c@x.example")).await.unwrap();

    let old = sessions.storage_state().put(&stage.session, STATE).await.unwrap().value;
    let new = sessions.storage_state().put(&stage.session, OTHER_STATE).await.unwrap().value;
    stage.refused("ETAG_MISMATCH", sessions.clone().if_etag(&old).storage_state().put(&stage.session, STATE)).await;
    assert_eq!(sessions.storage_state().get(&stage.session).await.unwrap().json, OTHER_STATE);
    sessions.clone().if_etag(&new).storage_state().put(&stage.session, STATE).await.unwrap();
}

#[tokio::test]
async fn lease_token_wrong() {
    let stage = stage().await;
    let sessions = stage.client.sessions().under_lease(NEVER_GRANTED);
    stage.refused("LEASE_FENCED", sessions.update(&stage.session, Update { email: Some(String::new()), ..Update::default() })).await;
    stage.refused("LEASE_FENCED", sessions.storage_state().put(&stage.session, STATE)).await;
    let directory = stage.directory("p");
    write(&directory, "f", b"x");
    let options = SaveOptions { lease_token: NEVER_GRANTED, ..SaveOptions::default() };
    stage.refused("LEASE_FENCED", stage.client.save(&stage.session, &directory, options)).await;
}

#[tokio::test]
async fn bad_input_names_field() {
    let stage = stage().await;
    let sessions = stage.client.sessions();
    let field = |error: cloakroom_client::Error, wanted: &str| {
        assert_eq!(error.kind(), Kind::Invalid);
        let named = &error.as_call().unwrap().violations;
        assert!(named.iter().any(|(field, _)| field.contains(wanted)), "{error}: {named:?}");
    };
    field(stage.refused("INVALID_FIELD", sessions.create(new(""))).await, "business_id");
    field(stage.refused("INVALID_FIELD", sessions.create(NewSession { ttl: Some(Duration::from_secs(1)), ..new(&stage.business) })).await, "ttl");
    let labels = [("TIER".to_owned(), String::new())].into();
    field(stage.refused("INVALID_FIELD", sessions.create(NewSession { labels, ..new(&stage.business) })).await, "labels");
    let listed = sessions.list(Filter { page_size: 501, ..Filter::default() });
    field(stage.refused("INVALID_FIELD", listed.try_collect::<Vec<_>>()).await, "page_size");
}

#[tokio::test]
async fn not_found_is_typed() {
    let stage = stage().await;
    let directory = stage.directory("p");
    super::write(&directory, "f", b"x");
    let error = stage.client.sessions().get("no-such-session").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::NotFound, "SESSION_NOT_FOUND"));
    let error = stage.client.save("no-such-session", &directory, SaveOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::NotFound, "SESSION_NOT_FOUND"));
}

const STATE: &str = r#"{ "cookies": [{"name":"sid","value":"1","domain":"a.example","path":"/","expires":-1,"httpOnly":true,"secure":true,"sameSite":"Lax","partitionKey":"new"}],
  "origins": [{"origin":"https://a.example","localStorage":[{"name":"k","value":"v"}],"sessionStorage":[{"name":"s","value":"t"}]}], "unknown": {"kept": [1, 2]} }"#;
const OTHER_STATE: &str = r#"{"cookies":[],"origins":[]}"#;

#[tokio::test]
async fn storage_state_roundtrip() {
    let stage = stage().await;
    let states = stage.client.sessions().storage_state();
    let error = stage.refused("STORAGE_STATE_NOT_FOUND", states.get(&stage.session)).await;
    assert_eq!(error.kind(), Kind::NotFound);
    let put = states.put(&stage.session, STATE).await.unwrap();
    let got = states.get(&stage.session).await.unwrap();
    assert_eq!((got.json.as_ref(), &got.etag), (STATE.as_bytes(), &put.value), "byte for byte");
    assert!(got.update_time.is_some());
    assert_eq!(stage.get().await.storage_state_revision, put.revision);
}

#[tokio::test]
async fn storage_state_invalid() {
    let stage = stage().await;
    let states = stage.client.sessions().storage_state();
    states.put(&stage.session, STATE).await.unwrap();
    for bad in ["no JSON", r#"{"origins":[]}"#, r#"{"cookies":{},"origins":[]}"#] {
        let error = stage.refused("STORAGE_STATE_INVALID", states.put(&stage.session, bad)).await;
        assert_eq!(error.kind(), Kind::Invalid);
    }
    assert_eq!(states.get(&stage.session).await.unwrap().json, STATE);
}
