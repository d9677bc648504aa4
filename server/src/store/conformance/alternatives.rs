//! The first alternative that holds is applied, and only that one.

use super::{
    Fixture,
    scene::{any, fresh, key, swept, txn},
};
use crate::store::metadata::{Commit, Life, MAX_ALTERNATIVES, Refusal, Require, Scope};

pub(super) async fn alternatives_pick_the_first_that_holds(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("a", "1").put("b", "1").add("c", 1, 1)).await;
    let applied = scene
        .apply(any([
            txn().need(Require::Absent(key("a"))).put("w", "0").note("0"),
            txn().add("c", 1, 1).put("w", "1").note("1"),
            txn().need(Require::Mark(key("b"), "m".into(), 0)).put("w", "2").note("2"),
            txn().put("w", "3").put("x", "3").note("3"),
        ]))
        .await;
    assert_eq!((applied.which, &applied.note[..]), (2, &b"2"[..]));
    assert_eq!(scene.live("w").await.value, "2");
    assert!(scene.absent("x").await);
    assert_eq!(scene.counter("c").await, 1);
}

pub(super) async fn each_alternative_names_the_first_thing_against_it(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let hour = std::time::Duration::from_hours(1);
    scene.apply(txn().put("a", "1").add("c", 5, 5).meter("m", hour, 1, 1)).await;
    let absent = |name| Require::Absent(key(name));
    let refusals = scene
        .refuse(any([
            txn().need(absent("a")).add("c", 1, 5).meter("m", hour, 1, 1).touch("t", Life::Keep, []),
            txn().need(absent("b")).add("c", 1, 5).meter("m", hour, 1, 1).touch("t", Life::Keep, []),
            txn().need(absent("b")).meter("m", hour, 1, 1).touch("t", Life::Keep, []),
            txn().need(absent("b")).touch("t", Life::Keep, []),
            txn().need(absent("b")).need(Require::At(key("z"), crate::model::time::Revision(5))).need(absent("a")),
        ]))
        .await;
    assert_eq!(refusals.len(), 5);
    assert_eq!(refusals[0], Refusal::Record(key("a")));
    assert_eq!(refusals[1], Refusal::Counter { counter: key("c"), value: 5 });
    assert!(matches!(&refusals[2], Refusal::Meter { meter, .. } if *meter == key("m")), "{refusals:?}");
    assert_eq!(refusals[3], Refusal::Record(key("t")));
    assert_eq!(refusals[4], Refusal::Record(key("z")));
}

pub(super) async fn thirty_two_alternatives_fit(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("taken", "1")).await;
    let mut alternatives = vec![txn().need(Require::Absent(key("taken"))).put("x", "0").0; MAX_ALTERNATIVES];
    let refusals = scene.refuse(Commit { alternatives: alternatives.clone(), op: None }).await;
    assert_eq!(refusals, vec![Refusal::Record(key("taken")); MAX_ALTERNATIVES]);
    alternatives[MAX_ALTERNATIVES - 1] = txn().put("x", "last").0;
    let applied = scene.apply(Commit { alternatives, op: None }).await;
    assert_eq!(applied.which, MAX_ALTERNATIVES - 1);
    assert_eq!(scene.live("x").await.value, "last");
}

/// One round trip checks out one of many idle sessions; each goes to one caller.
pub(super) async fn concurrent_alternatives_share_out_without_collision(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mut draft = txn();
    for n in 0..12 {
        draft = draft.put(&format!("s{n}"), "idle");
    }
    scene.apply(draft).await;
    let take = |n: u32| {
        let drafts = (0..12).map(|n| {
            let name = format!("s{n}");
            txn().need(Require::Mark(key(&name), "held".into(), 0)).touch(&name, Life::Keep, [("held", crate::store::metadata::Number::Literal(1))]).0
        });
        let commit = Commit { alternatives: drafts.collect(), op: Some(format!("take{n}")) };
        let scene = scene.clone();
        async move { scene.apply(commit).await.which }
    };
    let mut taken = futures::future::join_all((0..12).map(take)).await;
    taken.sort_unstable();
    assert_eq!(taken, (0..12).collect::<Vec<_>>());
}

pub(super) async fn a_refusal_judges_each_alternative_by_the_same_moment(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let revision = scene.apply(txn().put_for("a", "1", swept(30))).await.revision;
    // Exactly one of the two holds at any moment, also at the expiry itself.
    for _ in 0..40 {
        scene.apply(any([txn().need(Require::At(key("a"), revision)), txn().need(Require::Expired(key("a"), revision)).event(Scope::Cache, "late")])).await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    scene.waiting("a").await;
}
