//! Requests that are repeated.

use super::*;

#[tokio::test]
async fn a_repeated_creation_answers_the_first_and_creates_one() {
    let bench = Bench::new();
    let new = || NewSession { id: None, ..new_session("x", "acme").unwrap() };
    let id = request("r1").request;
    let first = bench.sessions.create(&bench.ns, new(), id.as_ref()).await.unwrap();
    let again = bench.sessions.create(&bench.ns, new(), id.as_ref()).await.unwrap();
    assert_eq!((again.revision, &again.view.session.id), (first.revision, &first.view.session.id));
    assert_eq!(bench.list(Filter::default()).await.len(), 1);
    let other = bench.sessions.create(&bench.ns, NewSession { business: business("other"), ..new() }, id.as_ref()).await;
    assert_eq!(reason(other), Reason::RequestIdReused);
    let fresh = bench.sessions.create(&bench.ns, new(), request("r2").request.as_ref()).await.unwrap();
    assert_ne!(fresh.view.session.id, first.view.session.id);
}

#[tokio::test]
async fn a_repetition_is_answered_although_its_first_run_is_why_it_would_be_refused() {
    let bench = Bench::new();
    let new = || new_session("a", "acme").unwrap();
    let created = bench.sessions.create(&bench.ns, new(), request("create").request.as_ref()).await.unwrap();
    assert_eq!(bench.sessions.create(&bench.ns, new(), request("create").request.as_ref()).await.unwrap().revision, created.revision);
    let conditions = Conditions { etag: created.revision.etag(), ..request("update") };
    let patch = || Patch { business: Some(business("b")), ..Patch::default() };
    let updated = bench.sessions.update(&bench.ns, &sid("a"), patch(), &conditions).await.unwrap();
    assert_eq!(bench.sessions.update(&bench.ns, &sid("a"), patch(), &conditions).await.unwrap().revision, updated.revision);
    let moved = bench.sessions.transition(&bench.ns, &sid("a"), State::Active, "", &request("move")).await.unwrap();
    bench.to("a", State::Retired).await.unwrap();
    let again = bench.sessions.transition(&bench.ns, &sid("a"), State::Active, "", &request("move")).await.unwrap();
    assert_eq!(again.revision, moved.revision);
    assert_eq!(again.view.session.session.state, State::Retired, "the session is told as it is now");
    let deleted = bench.sessions.delete(&bench.ns, &sid("a"), &request("delete")).await.unwrap();
    bench.undelete("a").await.unwrap();
    assert_eq!(bench.sessions.delete(&bench.ns, &sid("a"), &request("delete")).await.unwrap().revision, deleted.revision);
    assert_eq!(bench.get("a").await.unwrap().view.session.session.state, State::Retired, "and not deleted a second time");
}

#[tokio::test]
async fn one_id_for_two_different_requests_is_refused_whatever_they_are() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    bench.create("b", "acme").await;
    bench.sessions.delete(&bench.ns, &sid("a"), &request("r")).await.unwrap();
    assert_eq!(reason(bench.sessions.delete(&bench.ns, &sid("b"), &request("r")).await), Reason::RequestIdReused);
    assert_eq!(reason(bench.sessions.undelete(&bench.ns, &sid("a"), &request("r")).await), Reason::RequestIdReused);
    assert_eq!(reason(bench.sessions.transition(&bench.ns, &sid("b"), State::Active, "", &request("r")).await), Reason::RequestIdReused);
    assert_eq!(bench.get("b").await.unwrap().view.session.session.state, State::Pending);
}

#[tokio::test]
async fn a_refused_request_may_be_repeated_until_it_succeeds() {
    let bench = Bench::new();
    assert_eq!(reason(bench.sessions.delete(&bench.ns, &sid("a"), &request("r")).await), Reason::SessionNotFound);
    bench.create("a", "acme").await;
    bench.sessions.delete(&bench.ns, &sid("a"), &request("r")).await.unwrap();
}

#[tokio::test]
async fn concurrent_repetitions_of_one_request_have_one_effect() {
    let bench = Bench::new();
    let new = || NewSession { id: None, ..new_session("x", "acme").unwrap() };
    let id = request("r").request;
    let all = futures::future::join_all((0..10).map(|_| bench.sessions.create(&bench.ns, new(), id.as_ref()))).await;
    let revisions: std::collections::BTreeSet<_> = all.into_iter().map(|answer| answer.unwrap().revision).collect();
    assert_eq!(revisions.len(), 1);
    assert_eq!(bench.list(Filter::default()).await.len(), 1);
}
