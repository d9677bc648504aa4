//! Revisions, logs, wake-ups and the history.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Fixture,
    scene::{fresh, txn},
};
use crate::{
    model::time::{Micros, Revision},
    store::metadata::{HISTORY_LEAP, LogEntry, Scope},
};

pub(super) async fn revisions_strictly_increase(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut last = Revision::ZERO;
    for n in 0..50 {
        let applied = scene.apply(txn().put("a", &n.to_string())).await;
        assert!(applied.revision > last, "{:?} after {last:?}", applied.revision);
        last = applied.revision;
        assert_eq!(scene.get(&[]).await.revision, last);
    }
    let commits = (0..32).map(|_| scene.apply(txn()));
    let mut revisions: Vec<_> = futures::future::join_all(commits).await.into_iter().map(|applied| applied.revision).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 32, "two commits got one revision");
    assert!(revisions[0] > last);
}

/// A new history starts ahead of the clock, so this takes as long as the clock needs to get there.
pub(super) async fn revisions_follow_the_store_clock(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut previous = scene.apply(txn()).await;
    let (skew, hour) = (crate::clock::wall().0 - previous.now.0, 3_600_000_000);
    assert!(skew.abs() < hour, "the store's clock differs from this machine's by {skew} µs");
    let started = crate::clock::monotonic();
    let mut followed = 0;
    while followed < 5 {
        assert!(crate::clock::monotonic().duration_since(started) < HISTORY_LEAP * 6, "{previous:?} is still ahead of the clock");
        tokio::time::sleep(Duration::from_millis(if followed == 0 { 100 } else { 2 })).await;
        let applied = scene.apply(txn()).await;
        assert!(applied.now > previous.now, "the store's clock stands still");
        assert_eq!(applied.revision.0, applied.now.0.max(previous.revision.0 + 1), "{applied:?} after {previous:?}");
        followed += u32::from(applied.revision.0 == applied.now.0);
        previous = applied;
    }
}

pub(super) async fn each_log_entry_names_the_one_before_it(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut expected = Vec::new();
    let mut previous = Revision::ZERO;
    for n in 0..5 {
        let payload = format!("{n}\0\n");
        let revision = scene.apply(txn().event(Scope::Sessions, &payload)).await.revision;
        expected.push(LogEntry { revision, previous, payload: payload.into() });
        previous = revision;
        scene.apply(txn().put("a", "without an event")).await;
    }
    assert_eq!(scene.log(Scope::Sessions).await, expected);
}

pub(super) async fn a_page_of_a_log_comes_with_its_head(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let empty = scene.store.events(&scene.ns, Scope::Cache, Revision::ZERO, 10).await.unwrap();
    assert!(empty.entries.is_empty() && empty.head.revision == Revision::ZERO && empty.head.last == Revision::ZERO);
    let mut revisions = Vec::new();
    for n in 0..6 {
        revisions.push(scene.apply(txn().event(Scope::Cache, &n.to_string())).await.revision);
    }
    let last = scene.apply(txn()).await.revision;
    let page = |after: Revision, limit| {
        let scene = scene.clone();
        async move {
            let page = scene.store.events(&scene.ns, Scope::Cache, after, limit).await.unwrap();
            (page.entries.into_iter().map(|entry| entry.revision).collect::<Vec<_>>(), page.head)
        }
    };
    let (entries, head) = page(Revision::ZERO, 4).await;
    assert_eq!(entries, revisions[..4]);
    assert_eq!((head.revision, head.last), (last, revisions[5]));
    assert_eq!(page(revisions[3], 4).await.0, revisions[4..]);
    assert_eq!(page(Revision(revisions[3].0 - 1), 1).await.0, revisions[3..4], "after a revision that made no entry");
    assert_eq!(page(revisions[5], 4).await.0, []);
    assert_eq!(page(last, 0).await.0, []);
    assert_eq!(scene.store.history(&scene.ns, Scope::Cache).await.unwrap(), head);
}

pub(super) async fn scopes_do_not_mix(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let first = scene.apply(txn().event(Scope::Sessions, "s1")).await.revision;
    let both = scene.apply(txn().event(Scope::Cache, "c2").event(Scope::Sessions, "s2")).await.revision;
    let third = scene.apply(txn().event(Scope::Cache, "c3")).await.revision;
    let entry = |revision, previous, payload: &'static str| LogEntry { revision, previous, payload: payload.into() };
    assert_eq!(scene.log(Scope::Sessions).await, [entry(first, Revision::ZERO, "s1"), entry(both, first, "s2")]);
    assert_eq!(scene.log(Scope::Cache).await, [entry(both, Revision::ZERO, "c2"), entry(third, both, "c3")]);
    let heads = (scene.store.history(&scene.ns, Scope::Sessions).await.unwrap(), scene.store.history(&scene.ns, Scope::Cache).await.unwrap());
    assert_eq!((heads.0.last, heads.1.last), (both, third));
    assert_eq!((heads.0.revision, &heads.0.history), (heads.1.revision, &heads.1.history));
}

pub(super) async fn trimmed_logs_show_it(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut revisions = Vec::new();
    for n in 0..6 {
        revisions.push(scene.apply(txn().event(Scope::Sessions, &n.to_string()).event(Scope::Cache, "kept")).await.revision);
    }
    fixture.trim(&scene.ns, Scope::Sessions, 2).await;
    let left = scene.log(Scope::Sessions).await;
    assert_eq!(left.iter().map(|entry| entry.revision).collect::<Vec<_>>(), revisions[4..]);
    // A reader at entry 1 sees that entry 2 and 3 are missing; a reader at entry 3 has missed nothing.
    assert_eq!(left[0].previous, revisions[3]);
    fixture.trim(&scene.ns, Scope::Sessions, 0).await;
    let page = scene.store.events(&scene.ns, Scope::Sessions, revisions[2], 10).await.unwrap();
    assert!(page.entries.is_empty());
    assert_eq!(page.head.last, revisions[5], "an empty log still says that there was something");
    let next = scene.apply(txn().event(Scope::Sessions, "next")).await.revision;
    let left = scene.log(Scope::Sessions).await;
    assert_eq!((left[0].revision, left[0].previous), (next, revisions[5]));
    assert_eq!(scene.log(Scope::Cache).await.len(), 6);
}

pub(super) async fn watch_wakes_after_commit(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let early = scene.store.watch(&scene.ns).await.unwrap();
    for (round, mut receiver) in [early.clone(), early].into_iter().enumerate() {
        receiver.mark_unchanged();
        let revision = scene.apply(txn().event(Scope::Sessions, &round.to_string())).await.revision;
        wait(&mut receiver, revision).await;
        assert_eq!(scene.log(Scope::Sessions).await.last().map(|entry| entry.revision), Some(revision));
    }
    let mut late = scene.store.watch(&scene.ns).await.unwrap();
    late.mark_unchanged();
    let revision = scene.apply(txn().put("a", "no event, but a commit")).await.revision;
    wait(&mut late, revision).await;
}

async fn wait(receiver: &mut tokio::sync::watch::Receiver<Revision>, revision: Revision) {
    // A wake-up that tells of an older commit may come first.
    while *receiver.borrow_and_update() < revision {
        let woken = timeout(Duration::from_secs(10), receiver.changed()).await;
        assert!(matches!(woken, Ok(Ok(()))), "no wake-up for {revision:?}: {woken:?}");
    }
    assert_eq!(*receiver.borrow(), revision, "a wake-up for what was never committed");
}

/// A second holder of the same store hears of the first one's commits.
pub(super) async fn a_watch_is_woken_by_everybodys_commits(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut receivers = Vec::new();
    for _ in 0..8 {
        receivers.push(scene.store.watch(&scene.ns).await.unwrap());
    }
    let other = fresh(fixture);
    other.apply(txn()).await;
    let revision = scene.apply(txn()).await.revision;
    for receiver in &mut receivers {
        wait(receiver, revision).await;
    }
}

pub(super) async fn a_history_has_one_name(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().event(Scope::Cache, "1")).await;
    let head = scene.store.history(&scene.ns, Scope::Cache).await.unwrap();
    let name = &head.history.0;
    assert!((1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    scene.apply(txn().event(Scope::Cache, "2")).await;
    let page = scene.store.events(&scene.ns, Scope::Cache, Revision::ZERO, 10).await.unwrap();
    assert_eq!((page.head.history, page.entries.len()), (head.history, 2));
}

pub(super) async fn a_probe_says_what_the_store_is(fixture: &dyn Fixture) {
    let info = fixture.store().probe().await.unwrap();
    assert!(["sqlite", "memory", "redis", "redis-cluster"].contains(&info.engine), "{info:?}");
    assert!(!info.location.is_empty() && !info.location.contains('@'), "{info:?}");
    assert!(info.warnings.iter().all(|warning| warning.ends_with('.')), "{info:?}");
    let now = crate::clock::wall();
    assert!(now > Micros(0));
}
