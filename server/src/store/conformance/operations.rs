//! A named operation happens once.

use super::{
    Fixture,
    scene::{any, fresh, key, txn},
};
use crate::store::metadata::{Applied, MAX_NOTE, Outcome, Require, Scope};

pub(super) async fn the_same_op_answers_the_first_result(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let create = |value: &str| txn().need(Require::Absent(key("a"))).put("a", value).add("c", 1, 1).event(Scope::Sessions, value).note(value);
    let first = scene.apply(create("one").op("op")).await;
    assert!(!first.replayed);
    let moved = scene.apply(txn().put("b", "moves the revision")).await;
    // It asks for something else, which could not even be applied; the name alone counts.
    let again = scene.apply(create("two").op("op")).await;
    assert_eq!(again, Applied { replayed: true, ..first });
    assert_eq!(scene.live("a").await.value, "one");
    assert_eq!(scene.counter("c").await, 1);
    assert_eq!(scene.log(Scope::Sessions).await.len(), 1);
    assert_eq!(scene.get(&[]).await.revision, moved.revision);
    assert!(!scene.apply(txn().op("another")).await.replayed);
}

pub(super) async fn a_replay_names_the_alternative_and_its_note(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let note = "n".repeat(MAX_NOTE - 1) + "\0";
    scene.apply(txn().put("a", "1")).await;
    let mut commit = any([txn().need(Require::Absent(key("a"))), txn().put("b", "1").note(&note)]);
    commit.op = Some("op".to_owned());
    let first = scene.apply(commit.clone()).await;
    assert_eq!((first.which, &first.note[..]), (1, note.as_bytes()));
    scene.apply(txn().delete("a")).await;
    assert_eq!(scene.apply(commit).await, Applied { replayed: true, ..first });
}

pub(super) async fn refusals_are_not_remembered(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("a", "in the way")).await;
    let create = || txn().need(Require::Absent(key("a"))).put("a", "created").op("op");
    scene.refuse(create()).await;
    scene.apply(txn().delete("a")).await;
    assert!(!scene.apply(create()).await.replayed);
    assert_eq!(scene.live("a").await.value, "created");
}

pub(super) async fn concurrent_repetitions_apply_once(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    for round in 0..5 {
        let commit = txn().add("c", 1, 100).event(Scope::Cache, "once").op(&format!("op{round}"));
        let answers = futures::future::join_all((0..8).map(|_| scene.store.commit(&scene.ns, commit.clone()))).await;
        let mut revisions = Vec::new();
        for answer in answers {
            let Outcome::Applied(applied) = answer.unwrap() else { panic!("refused") };
            revisions.push(applied.revision);
        }
        revisions.dedup();
        assert_eq!(revisions.len(), 1, "{revisions:?}");
        assert_eq!(scene.counter("c").await, round + 1);
    }
    assert_eq!(scene.log(Scope::Cache).await.len(), 5);
}

pub(super) async fn without_an_op_every_commit_counts(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let first = scene.apply(txn().add("c", 1, 10)).await;
    let second = scene.apply(txn().add("c", 1, 10)).await;
    assert!(!first.replayed && !second.replayed && second.revision > first.revision);
    assert_eq!(scene.counter("c").await, 2);
}
