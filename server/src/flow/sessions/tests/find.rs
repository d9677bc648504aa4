//! Reading, listing, resolving, and the active session.

use std::collections::BTreeSet;

use super::*;

fn of(name: &str) -> Filter {
    Filter { business: Some(business(name)), ..Filter::default() }
}

#[tokio::test]
async fn filters_intersect_whatever_index_is_walked() {
    let bench = Bench::new();
    for (id, owner, address, env) in
        [("a", "x", "ann@x.org", "prod"), ("b", "x", "ann@x.org", "test"), ("c", "y", "ann@x.org", "prod"), ("d", "x", "bob@x.org", "prod")]
    {
        let labels = BTreeMap::from([("env".to_owned(), env.to_owned()), ("all".to_owned(), String::new())]);
        let new = NewSession { email: Some(email(address)), labels, ..new_session(id, owner).unwrap() };
        bench.sessions.create(&bench.ns, new, None).await.unwrap();
    }
    bench.to("a", State::Active).await.unwrap();
    bench.to("d", State::Active).await.unwrap();
    let label = |value: &str| BTreeMap::from([("env".to_owned(), value.to_owned())]);
    let states = |states: &[State]| states.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(bench.list(Filter::default()).await, ["a", "b", "c", "d"]);
    assert_eq!(bench.list(of("x")).await, ["a", "b", "d"]);
    assert_eq!(bench.list(Filter { email: Some(email("ANN@x.org")), ..of("x") }).await, ["a", "b"]);
    assert_eq!(bench.list(Filter { labels: label("prod"), ..of("x") }).await, ["a", "d"]);
    assert_eq!(bench.list(Filter { states: states(&[State::Active]), ..Filter::default() }).await, ["a", "d"]);
    assert_eq!(bench.list(Filter { states: states(&[State::Active, State::Pending]), ..of("y") }).await, ["c"]);
    assert_eq!(bench.list(Filter { states: states(&[State::Active]), labels: label("prod"), email: Some(email("bob@x.org")), ..of("x") }).await, ["d"]);
    assert!(bench.list(Filter { labels: label("none"), ..of("x") }).await.is_empty());
    assert!(bench.list(Filter { email: Some(email("nobody@x.org")), ..Filter::default() }).await.is_empty());
}

#[tokio::test]
async fn whatever_is_there_during_a_whole_listing_comes_exactly_once() {
    let bench = Bench::new();
    for n in 0..40 {
        bench.create(&format!("s{n:02}"), "acme").await;
    }
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = bench.sessions.list(&bench.ns, of("acme"), 7, &token, Revision::ZERO).await.unwrap();
        seen.extend(page.views.iter().map(|view| view.session.id.to_string()));
        // Between the pages sessions change, come and go.
        if pages * 7 < 40 {
            bench.delete(&format!("s{:02}", pages * 7)).await.unwrap();
            bench.to(&format!("s{:02}", pages * 7 + 1), State::Active).await.unwrap();
            bench.create(&format!("late{pages}"), "acme").await;
        }
        pages += 1;
        token = page.next;
        if token.is_empty() {
            break;
        }
    }
    let stayed: Vec<_> = (0..40).filter(|n| n % 7 != 0).map(|n| format!("s{n:02}")).collect();
    let seen_of_them: Vec<_> = seen.iter().filter(|id| stayed.contains(id)).cloned().collect();
    assert_eq!(seen_of_them, stayed);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "none twice");
}

#[tokio::test]
async fn the_last_page_has_no_token_and_page_sizes_may_change() {
    let bench = Bench::new();
    for n in 0..6 {
        bench.create(&format!("s{n}"), "acme").await;
    }
    let page = |size, token: String| {
        let bench = &bench;
        async move { bench.sessions.list(&bench.ns, of("acme"), size, &token, Revision::ZERO).await.unwrap() }
    };
    let first = page(2, String::new()).await;
    let rest = page(4, first.next).await;
    assert_eq!((rest.views.len(), rest.next.as_str()), (4, ""));
}

#[tokio::test]
async fn a_token_of_another_listing_or_namespace_is_refused() {
    let bench = Bench::new();
    for n in 0..3 {
        bench.create(&format!("s{n}"), "acme").await;
    }
    let token = bench.sessions.list(&bench.ns, of("acme"), 1, "", Revision::ZERO).await.unwrap().next;
    let list = |ns: Namespace, filter: Filter, token: String| {
        let sessions = &bench.sessions;
        async move { sessions.list(&ns, filter, 1, &token, Revision::ZERO).await }
    };
    assert_eq!(reason(list(bench.ns.clone(), Filter::default(), token.clone()).await), Reason::InvalidPageToken);
    let other = Namespace::parse("ns", "other").unwrap();
    assert_eq!(reason(list(other.clone(), of("acme"), token.clone()).await), Reason::InvalidPageToken);
    bench.sessions.create(&other, new_session("x", "acme").unwrap(), None).await.unwrap();
    assert_eq!(reason(list(other, of("acme"), token.clone()).await), Reason::InvalidPageToken);
    assert_eq!(reason(list(bench.ns.clone(), of("acme"), format!("{token}A")).await), Reason::InvalidPageToken);
    list(bench.ns.clone(), of("acme"), token).await.unwrap();
}

#[tokio::test]
async fn a_page_of_large_sessions_ends_before_three_mebibytes() {
    let bench = Bench::new();
    let labels: BTreeMap<_, _> = (0..32).map(|n| (format!("{n:063}"), "v".repeat(128))).collect();
    for n in 0..500 {
        let new = NewSession { labels: labels.clone(), ..new_session(&format!("{n:0128}"), &"b".repeat(256)).unwrap() };
        bench.sessions.create(&bench.ns, new, None).await.unwrap();
    }
    let first = bench.sessions.list(&bench.ns, Filter::default(), 500, "", Revision::ZERO).await.unwrap();
    assert!(first.views.len() > 100 && first.views.len() < 400, "{}", first.views.len());
    let second = bench.sessions.list(&bench.ns, Filter::default(), 500, &first.next, Revision::ZERO).await.unwrap();
    assert_eq!((first.views.len() + second.views.len(), second.next.as_str()), (500, ""));
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_lists_what_is_not_live() {
    let bench = Bench::new();
    for id in ["a", "b", "c"] {
        bench.create(id, "acme").await;
    }
    bench.delete("b").await.unwrap();
    let batch = bench.sessions.batch_get(&bench.ns, &[sid("c"), sid("x"), sid("b"), sid("a")], Revision::ZERO).await.unwrap();
    let ids: Vec<_> = batch.views.iter().map(|view| view.session.id.to_string()).collect();
    assert_eq!((ids, batch.missing), (vec!["c".to_owned(), "a".to_owned()], vec![sid("x"), sid("b")]));
}

#[tokio::test]
async fn the_active_session_is_the_one_used_last_and_stale_hits_are_passed_over() {
    let bench = Bench::new();
    for n in 0..12 {
        bench.active(&format!("s{n:02}"), "acme").await;
    }
    bench.create("pending", "acme").await;
    let active = || async {
        bench.sessions.active(&bench.ns, &Owner::Business(business("acme")), Revision::ZERO).await.map(|answer| answer.view.session.id.to_string())
    };
    bench.sessions.touch(&bench.ns, &sid("s03"), &free()).await.unwrap();
    assert_eq!(active().await.unwrap(), "s03");
    // More than one probe full of expired ones stands before the answer until they are swept.
    for n in (2..12).chain([3]) {
        bench.end_time(&format!("s{n:02}")).await;
        if n == 11 {
            break;
        }
    }
    bench.sessions.touch(&bench.ns, &sid("s00"), &free()).await.unwrap();
    bench.to("s00", State::NeedsLogin).await.unwrap();
    assert_eq!(active().await.unwrap(), "s01");
    bench.delete("s01").await.unwrap();
    assert_eq!(reason(active().await), Reason::SessionNotFound);
    bench.sweep().await;
    assert_eq!(reason(active().await), Reason::SessionNotFound);
}

/// Expired sessions that no sweeper has met stand before the answer, more than any single reading looks at.
#[tokio::test]
async fn a_live_session_is_found_behind_any_number_of_expired_ones() {
    let bench = Bench::new();
    // The oldest use, and the last name.
    bench.active("same-zz", "acme").await;
    let expired: Vec<String> = (0..1200).map(|n| format!("same-{n:04}")).collect();
    for some in expired.chunks(64) {
        let each = some.iter().map(|id| {
            let bench = &bench;
            async move {
                bench.active(id, "acme").await;
                bench.end_time(id).await;
            }
        });
        futures::future::join_all(each).await;
    }
    let acme = Owner::Business(business("acme"));
    let found = bench.sessions.active(&bench.ns, &acme, Revision::ZERO).await.unwrap();
    assert_eq!(found.view.session.id, sid("same-zz"));
    let found = bench.sessions.resolve(&bench.ns, &sid("same-"), Revision::ZERO).await.unwrap();
    assert_eq!(found.view.session.id, sid("same-zz"));
    bench.create("samf", "acme").await;
    assert_eq!(bench.sessions.resolve(&bench.ns, &sid("same-"), Revision::ZERO).await.unwrap().view.session.id, sid("same-zz"), "another name behind them");
    bench.end_time("same-zz").await;
    assert_eq!(reason(bench.sessions.active(&bench.ns, &acme, Revision::ZERO).await), Reason::SessionNotFound);
    assert_eq!(reason(bench.sessions.resolve(&bench.ns, &sid("same-"), Revision::ZERO).await), Reason::SessionNotFound);
}

#[tokio::test]
async fn the_active_session_of_an_address_follows_the_address() {
    let bench = Bench::new();
    let owner = |address: &str| Owner::Email(email(address));
    let active = |owner: Owner| {
        let bench = &bench;
        async move { bench.sessions.active(&bench.ns, &owner, Revision::ZERO).await }
    };
    assert_eq!(reason(active(owner("ann@x.org")).await), Reason::SessionNotFound);
    assert!(bench.keys.names().is_empty(), "a reading makes no keys");
    let new = NewSession { email: Some(email("ann@x.org")), ..new_session("a", "acme").unwrap() };
    bench.sessions.create(&bench.ns, new, None).await.unwrap();
    bench.to("a", State::Active).await.unwrap();
    assert_eq!(active(owner(" ANN@x.ORG")).await.unwrap().view.email, "ann@x.org");
    let patch = Patch { email: Some(Some(email("bob@x.org"))), ..Patch::default() };
    bench.sessions.update(&bench.ns, &sid("a"), patch, &free()).await.unwrap();
    assert_eq!(reason(active(owner("ann@x.org")).await), Reason::SessionNotFound);
    active(owner("bob@x.org")).await.unwrap();
}

#[tokio::test]
async fn a_prefix_resolves_when_it_is_unique_or_a_whole_id() {
    let bench = Bench::new();
    for id in ["ab", "abc1", "abc2", "x1", "x2", "x3", "x4", "x5", "x6", "x7"] {
        bench.create(id, "acme").await;
    }
    let resolve = |prefix: &str| {
        let (bench, prefix) = (&bench, sid(prefix));
        async move { bench.sessions.resolve(&bench.ns, &prefix, Revision::ZERO).await.map(|answer| answer.view.session.id.to_string()) }
    };
    assert_eq!(resolve("ab").await.unwrap(), "ab");
    assert_eq!(resolve("abc1").await.unwrap(), "abc1");
    let error = resolve("abc").await.unwrap_err();
    assert_eq!((error.reason(), error.metadata()), (Reason::PrefixAmbiguous, &[("candidates", "abc1,abc2".to_owned())][..]));
    let error = resolve("x").await.unwrap_err();
    assert!(error.message().contains("x1, x2, x3, x4, x5, …"), "{error}");
    bench.end_time("abc1").await;
    assert_eq!(resolve("abc").await.unwrap(), "abc2");
    assert_eq!(reason(resolve("zz").await), Reason::SessionNotFound);
}

#[tokio::test]
async fn a_reading_is_never_older_than_asked_for() {
    let bench = Bench::new();
    let revision = bench.create("a", "acme").await.revision;
    let future = Revision(revision.0 + 60_000_000);
    assert!(bench.sessions.get(&bench.ns, &sid("a"), revision).await.unwrap().revision >= revision);
    let error = bench.sessions.get(&bench.ns, &sid("a"), future).await.unwrap_err();
    assert!(error.reason() == Reason::RevisionNotReached && error.message().contains(&revision.to_string()), "{error}");
    assert_eq!(reason(bench.sessions.list(&bench.ns, Filter::default(), 1, "", future).await), Reason::RevisionNotReached);
    // A write that comes while a reading waits ends the wait.
    let soon = Revision(bench.create("b", "acme").await.revision.0 + 1);
    let write = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        bench.create("c", "acme").await;
    };
    let id = sid("a");
    let (read, ()) = tokio::join!(bench.sessions.get(&bench.ns, &id, soon), write);
    assert!(read.unwrap().revision >= soon);
}

#[tokio::test]
async fn the_cache_serves_only_what_a_reading_would_answer() {
    let bench = Bench::new();
    let revision = bench.create("a", "acme").await.revision;
    let cache = bench.sessions.cache();
    cache.verified_through(&bench.ns, revision, crate::clock::monotonic());
    bench.get("a").await.unwrap();
    // Written behind the cache's back, as another daemon would: the copy shows as long as the log says nothing.
    let other = sessions(Arc::clone(&bench.store), Arc::clone(&bench.keys)).unwrap();
    let moved = other.transition(&bench.ns, &sid("a"), State::Active, "", &free()).await.unwrap();
    assert_eq!(bench.get("a").await.unwrap().view.session.session.state, State::Pending);
    assert_eq!(bench.sessions.get(&bench.ns, &sid("a"), moved.revision).await.unwrap().view.session.session.state, State::Active, "never older than asked for");
    cache.apply(&bench.ns, moved.revision, &bench.changes().await);
    assert_eq!(bench.get("a").await.unwrap().view.session.session.state, State::Active);
    // Written here: seen at once.
    bench.to("a", State::NeedsLogin).await.unwrap();
    assert_eq!(bench.get("a").await.unwrap().view.session.session.state, State::NeedsLogin);
    bench.delete("a").await.unwrap();
    assert_eq!(reason(bench.get("a").await), Reason::SessionDeleted);
}

#[tokio::test]
async fn a_change_that_begins_with_a_copy_misses_nothing_that_another_daemon_did() {
    let bench = Bench::new();
    let revision = bench.create("a", "acme").await.revision;
    bench.sessions.cache().verified_through(&bench.ns, revision, crate::clock::monotonic());
    bench.get("a").await.unwrap();
    let other = sessions(Arc::clone(&bench.store), Arc::clone(&bench.keys)).unwrap();
    let touched = other.touch(&bench.ns, &sid("a"), &free()).await.unwrap();
    let fence = bench.lease("a").await;
    let moved = bench.to("a", State::Active).await.unwrap().view.session;
    assert_eq!((moved.expires_at, moved.mark(mark::FENCE)), (touched.expires_at, fence));
    assert_eq!(bench.get("a").await.unwrap().view.session, moved, "the copy of the change knows them, too");
    // A copy that needs a change of what needs none any more.
    let theirs = other.transition(&bench.ns, &sid("a"), State::NeedsLogin, "", &free()).await.unwrap();
    let ours = bench.to("a", State::NeedsLogin).await.unwrap();
    assert_eq!(ours.view.session.revision, theirs.view.session.revision);
    assert_eq!(bench.kinds().await.len(), 3, "created, and moved twice");
    // A copy that still has the etag that was asked for.
    other.transition(&bench.ns, &sid("a"), State::Active, "", &free()).await.unwrap();
    let conditions = Conditions { etag: ours.view.session.revision.etag(), ..free() };
    assert_eq!(reason(bench.sessions.transition(&bench.ns, &sid("a"), State::Retired, "", &conditions).await), Reason::EtagMismatch);
}

#[tokio::test]
async fn the_cache_follows_the_log_by_itself() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    let tasks = Arc::new(crate::flow::tasks::Tasks::new());
    let hub = Arc::new(crate::flow::watch::Hub::new(Arc::clone(&bench.store), Arc::clone(&tasks)));
    tasks.spawn(crate::flow::follow::run(hub, bench.sessions.cache(), Arc::clone(&tasks)));
    let cached = || bench.sessions.cache().get(&bench.ns, &sid("a"), Revision::ZERO).is_some();
    let (bench, cached) = (&bench, &cached);
    let until = |wanted: bool| async move {
        for _ in 0..200 {
            bench.get("a").await.unwrap();
            if cached() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the copy never became {wanted}");
    };
    until(true).await;
    // Another daemon's changes, each of which is seen soon.
    let other = sessions(Arc::clone(&bench.store), Arc::clone(&bench.keys)).unwrap();
    for state in [State::Active, State::NeedsLogin, State::Active, State::Retired] {
        other.transition(&bench.ns, &sid("a"), state, "", &free()).await.unwrap();
        let mut seen = false;
        for _ in 0..200 {
            seen = bench.get("a").await.unwrap().view.session.session.state == state;
            if seen {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(seen, "{state:?}");
    }
    assert!(tasks.stop(Duration::from_secs(5)).await);
}
