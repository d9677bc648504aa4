//! Creating and changing.

use super::*;

#[tokio::test]
async fn a_created_session_reads_back_with_everything() {
    let bench = Bench::new();
    let labels = BTreeMap::from([("team".to_owned(), "é".to_owned())]);
    let new =
        NewSession { id: None, email: Some(email(" Ann@X.org ")), labels: labels.clone(), ttl_mode: TtlMode::Absolute, ..new_session("x", "acme").unwrap() };
    let created = bench.sessions.create(&bench.ns, new, None).await.unwrap();
    let id = created.view.session.id.clone();
    assert_eq!(id.as_str().len(), 20);
    let read = bench.get(id.as_str()).await.unwrap();
    let Loaded { session, .. } = &read.view.session;
    assert_eq!((read.view.email.as_str(), session.business.as_str(), session.state, &session.labels), ("Ann@X.org", "acme", State::Pending, &labels));
    assert_eq!((read.view.session.marks.clone(), read.revision), (created.view.session.marks.clone(), created.revision), "told as it is");
    assert_eq!(read.view.session.expires_at, created.view.session.expires_at);
    assert_eq!(read.view.session.remaining().unwrap().as_secs(), 59);
    assert_eq!(bench.kinds().await, [ChangeKind::SessionCreated]);
}

#[tokio::test]
async fn no_address_and_no_business_stand_in_the_store_in_the_clear_but_the_business() {
    let bench = Bench::new();
    let new = NewSession { email: Some(email("ann@example.org")), ..new_session("a", "acme").unwrap() };
    bench.sessions.create(&bench.ns, new, None).await.unwrap();
    let reading = bench.store.get(&bench.ns, &[record_key(&sid("a"))]).await.unwrap();
    let record = format!("{:?}", reading.found);
    assert!(record.contains("acme") && !record.contains("ann@") && !record.contains("example"));
    assert!(!format!("{:?}", bench.changes().await).contains("ann@"));
}

#[tokio::test]
async fn an_id_is_taken_as_long_as_it_can_come_back() {
    let bench = Bench::new();
    let again = || async { bench.sessions.create(&bench.ns, new_session("a", "acme").unwrap(), None).await.unwrap_err() };
    bench.create("a", "acme").await;
    assert_eq!(again().await.reason(), Reason::SessionExists);
    bench.delete("a").await.unwrap();
    let error = again().await;
    assert!(error.reason() == Reason::SessionExists && error.message().contains("undelete"), "{error}");
    bench.end_time("a").await;
    assert!(again().await.message().contains("about to be purged"));
    bench.sweep().await;
    assert_eq!(bench.create("a", "other").await.view.session.session.business, "other");
}

#[tokio::test]
async fn the_quota_counts_hidden_sessions_until_they_are_purged() {
    let mut bench = Bench::new();
    let keyring = crate::flow::keyring::Keyring::new(super::super::testing::master().unwrap(), Arc::clone(&bench.store), bench.keys.clone());
    bench.sessions = Arc::new(Sessions::new(Arc::clone(&bench.store), Arc::new(keyring), 2));
    let third = || bench.sessions.create(&bench.ns, new_session("c", "acme").unwrap(), None);
    bench.create("a", "acme").await;
    bench.create("b", "acme").await;
    let error = third().await.unwrap_err();
    assert!(error.reason() == Reason::QuotaExceeded && error.message().contains("2 of sessions"), "{error}");
    bench.delete("a").await.unwrap();
    assert_eq!(reason(third().await), Reason::QuotaExceeded);
    bench.end_time("a").await;
    bench.sweep().await;
    third().await.unwrap();
}

#[tokio::test]
async fn an_update_moves_index_members_and_tells_terms_before_and_after() {
    let bench = Bench::new();
    let new = NewSession { email: Some(email("ann@x.org")), ..new_session("a", "acme").unwrap() };
    bench.sessions.create(&bench.ns, new, None).await.unwrap();
    let patch = Patch { business: Some(business("other")), email: Some(Some(email("BOB@x.org"))), ..Patch::default() };
    let updated = bench.sessions.update(&bench.ns, &sid("a"), patch, &free()).await.unwrap();
    assert_eq!(updated.view.email, "BOB@x.org");
    assert_eq!((bench.members(&index::business("acme")).await, bench.members(&index::business("other")).await), (vec![], vec!["a".to_owned()]));
    let by = |address: &str| Filter { email: Some(email(address)), ..Filter::default() };
    assert!(bench.list(by("ann@x.org")).await.is_empty());
    assert_eq!(bench.list(by("bob@X.ORG")).await, ["a"]);
    let change = bench.changes().await.pop().unwrap();
    assert_eq!((change.business.as_str(), change.previous_business.as_deref()), ("other", Some("acme")));
    assert!(change.previous_email_hmac.is_some_and(|before| before.len() == 64 && before != change.email_hmac));
    let removed = bench.sessions.update(&bench.ns, &sid("a"), Patch { email: Some(None), ..Patch::default() }, &free()).await.unwrap();
    assert_eq!(removed.view.email, "");
    assert!(bench.list(by("bob@x.org")).await.is_empty());
}

#[tokio::test]
async fn a_patch_without_effect_writes_nothing() {
    let bench = Bench::new();
    let new = NewSession { email: Some(email("ann@x.org")), ..new_session("a", "acme").unwrap() };
    let created = bench.sessions.create(&bench.ns, new, None).await.unwrap();
    let patch = Patch { business: Some(business("acme")), email: Some(Some(email("ann@x.org"))), labels: Some(BTreeMap::new()), ..Patch::default() };
    let same = bench.sessions.update(&bench.ns, &sid("a"), patch, &free()).await.unwrap();
    assert_eq!(same.view.session.revision, created.revision);
    assert_eq!(bench.kinds().await.len(), 1);
}

#[tokio::test]
async fn naming_the_ttl_starts_it_anew_in_both_modes_and_nothing_else_does() {
    let bench = Bench::new();
    let created = bench.create("a", "acme").await;
    let patch = |ttl, ttl_mode| Patch { ttl, ttl_mode, ..Patch::default() };
    let (id, conditions) = (sid("a"), free());
    let update = |patch| bench.sessions.update(&bench.ns, &id, patch, &conditions);
    let moved = update(Patch { business: Some(business("b")), ..Patch::default() }).await.unwrap();
    assert_eq!(moved.view.session.expires_at, created.view.session.expires_at, "a change is no use");
    let longer = update(patch(Some(Duration::from_hours(1)), None)).await.unwrap();
    assert_eq!(longer.view.session.remaining(), Some(Duration::from_hours(1)));
    let absolute = update(patch(None, Some(TtlMode::Absolute))).await.unwrap();
    assert_eq!(absolute.view.session.remaining(), Some(Duration::from_hours(1)));
    let touched = bench.sessions.touch(&bench.ns, &id, &conditions).await.unwrap();
    assert_eq!(touched.expires_at, absolute.view.session.expires_at, "an absolute time does not slide");
}

#[tokio::test]
async fn states_move_as_the_contract_says() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    assert_eq!(reason(bench.to("a", State::NeedsLogin).await), Reason::IllegalTransition);
    bench.to("a", State::Active).await.unwrap();
    assert_eq!(bench.members(&index::business_used("acme")).await, ["a"]);
    let moved = bench.sessions.transition(&bench.ns, &sid("a"), State::NeedsLogin, "password changed", &free()).await.unwrap();
    assert_eq!(moved.view.session.session.state_reason, "password changed");
    assert!(bench.members(&index::business_used("acme")).await.is_empty());
    let change = bench.changes().await.pop().unwrap();
    assert_eq!((change.kind(), change.previous_state, change.state, change.reason.as_str()), (ChangeKind::SessionTransitioned, 2, 3, "password changed"));
    let same = bench.sessions.transition(&bench.ns, &sid("a"), State::NeedsLogin, "password changed", &free()).await.unwrap();
    assert_eq!(same.view.session.revision, moved.revision, "a state to itself, for the same reason, changes nothing");
    bench.to("a", State::Retired).await.unwrap();
    assert_eq!(reason(bench.to("a", State::Active).await), Reason::IllegalTransition);
}

#[tokio::test]
async fn conditions_are_checked_when_given_and_inside_the_transaction() {
    let bench = Bench::new();
    let created = bench.create("a", "acme").await;
    let set = |name: &str| Patch { business: Some(business(name)), ..Patch::default() };
    let first = bench.sessions.update(&bench.ns, &sid("a"), set("b"), &etag(created.revision.etag())).await.unwrap();
    let stale = bench.sessions.update(&bench.ns, &sid("a"), set("c"), &etag(created.revision.etag())).await.unwrap_err();
    assert_eq!((stale.reason(), stale.metadata()[0].1.clone()), (Reason::EtagMismatch, first.revision.etag()));
    assert_eq!(reason(bench.sessions.update(&bench.ns, &sid("a"), set("c"), &leased(7)).await), Reason::LeaseFenced);
    let old = bench.lease("a").await;
    bench.sessions.update(&bench.ns, &sid("a"), set("c"), &leased(old)).await.unwrap();
    let new = bench.lease("a").await;
    let stale = bench.sessions.delete(&bench.ns, &sid("a"), &leased(old)).await.unwrap_err();
    assert_eq!(stale.reason(), Reason::LeaseFenced);
    assert_eq!(stale.metadata()[1].1, new.to_string());
    assert_eq!(reason(bench.sessions.touch(&bench.ns, &sid("a"), &leased(old)).await), Reason::LeaseFenced);
    let kept = bench.sessions.update(&bench.ns, &sid("a"), set("d"), &leased(new)).await.unwrap();
    assert_eq!(kept.view.session.mark(mark::FENCE), new, "the fence outlives the write");
}

#[tokio::test]
async fn a_lease_granted_between_reading_and_writing_fences_the_write() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    let old = bench.lease("a").await;
    let (found, _, _) = load(&*bench.store, &bench.ns, &sid("a")).await.unwrap();
    let found = found.unwrap();
    let edit = Edit::new(ChangeKind::SessionUpdated, found.session.clone()).under_lease(old);
    let late = found.edit(edit).unwrap();
    let touch = found.touch(old);
    bench.lease("a").await;
    for txn in [late.txn, touch] {
        assert!(matches!(bench.store.commit(&bench.ns, Commit::from(txn)).await.unwrap(), Outcome::Refused(_)));
    }
}

#[tokio::test]
async fn many_writers_of_one_session_all_get_through_or_hear_of_contention() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    let writes = (0..16).map(|n| {
        let patch = Patch { labels: Some(BTreeMap::from([("n".to_owned(), n.to_string())])), ..Patch::default() };
        let sessions = &bench.sessions;
        let ns = &bench.ns;
        async move { sessions.update(ns, &sid("a"), patch, &free()).await }
    });
    let results = futures::future::join_all(writes).await;
    let written = results.iter().filter(|result| result.is_ok()).count();
    assert!(results.into_iter().filter_map(Result::err).all(|error| error.reason() == Reason::Contention));
    assert!(written >= 8, "{written}");
    assert_eq!(bench.kinds().await.len(), 1 + written, "each told once");
    let label = bench.get("a").await.unwrap().view.session.session.labels["n"].clone();
    assert_eq!(bench.members(&index::label("n", &label)).await, ["a"]);
    let stale = (0..16).filter(|n| n.to_string() != label);
    for n in stale {
        assert!(bench.members(&index::label("n", &n.to_string())).await.is_empty());
    }
}
