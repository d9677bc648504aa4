//! All of a transaction or nothing; and nobody sees another namespace.

use super::{
    Fixture,
    scene::{Draft, Scene, fresh, key, swept, txn},
};
use crate::store::metadata::{Life, Number, Outcome, Refusal, Require, Scope};

/// A transaction that changes one of everything.
fn everything(value: &str) -> Draft {
    txn()
        .put_marked("a", value, [("m", Number::Literal(1))])
        .touch("t", Life::Keep, [("m", Number::Literal(2))])
        .delete("d")
        .member("i", "new", 1)
        .no_member("i", "old")
        .add("c", 1, 10)
        .meter("m", std::time::Duration::from_hours(1), 2, 1)
        .event(Scope::Sessions, value)
        .event(Scope::Cache, value)
}

pub(super) async fn a_refused_transaction_changes_nothing(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("t", "touched").put("d", "deleted").member("i", "old", 1).add("full", 5, 5)).await;
    let before = state(&scene).await;
    let obstacles: [fn(Draft) -> Draft; 4] = [
        |draft| draft.need(Require::Absent(key("t"))),
        |draft| draft.add("full", 1, 5),
        |draft| draft.touch("none", Life::Forever, []),
        |draft| draft.meter("n", std::time::Duration::from_hours(1), 1, 1),
    ];
    scene.apply(txn().meter("n", std::time::Duration::from_hours(1), 1, 1)).await;
    let metered = scene.get(&[]).await.revision;
    for obstacle in obstacles {
        assert_eq!(scene.refuse(obstacle(everything("never"))).await.len(), 1);
        assert_eq!(state(&scene).await, before);
        assert_eq!(scene.get(&[]).await.revision, metered, "a refusal makes no revision");
    }
    let applied = scene.apply(everything("now")).await;
    assert!(applied.revision > metered);
    assert_ne!(state(&scene).await, before);
    // The meter had both its units: no refusal took one.
    scene.apply(txn().meter("m", std::time::Duration::from_hours(1), 2, 1)).await;
}

async fn state(scene: &Scene) -> impl PartialEq + std::fmt::Debug {
    let found = scene.get(&["a", "t", "d", "none"]).await.found;
    let logs = (scene.log(Scope::Sessions).await, scene.log(Scope::Cache).await);
    (found, scene.members("i").await, scene.counter("c").await, scene.counter("full").await, logs)
}

pub(super) async fn an_empty_transaction_makes_a_revision(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    assert_eq!(scene.get(&[]).await.revision.0, 0);
    let first = scene.apply(txn()).await;
    assert_eq!(scene.get(&[]).await.revision, first.revision);
    let second = scene.apply(txn()).await;
    assert!(second.revision > first.revision);
}

pub(super) async fn a_refused_commit_makes_no_namespace(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.refuse(txn().need(Require::At(key("a"), crate::model::time::Revision(1))).put("b", "1")).await;
    scene.get(&["a"]).await;
    scene.store.watch(&scene.ns).await.unwrap();
    assert!(!scene.store.namespaces().await.unwrap().contains(&scene.ns));
    scene.apply(txn()).await;
    assert!(scene.store.namespaces().await.unwrap().contains(&scene.ns));
}

pub(super) async fn namespaces_are_isolated(fixture: &dyn Fixture) {
    let (one, two) = (fresh(fixture), fresh(fixture));
    let hour = std::time::Duration::from_hours(1);
    let full = || txn().put_for("a", "1", swept(0)).put("b", "1").member("i", "a", 1).add("c", 1, 1).meter("m", hour, 1, 1).event(Scope::Sessions, "one");
    one.apply(full().op("op")).await;
    assert_eq!(two.get(&["a", "b"]).await.revision.0, 0);
    assert!(two.absent("a").await && two.absent("b").await);
    assert_eq!(two.members("i").await, []);
    assert_eq!((two.log(Scope::Sessions).await, two.expired(10).await), (Vec::new(), Vec::new()));
    assert_eq!(two.store.history(&two.ns, Scope::Sessions).await.unwrap().last.0, 0);
    let applied = two.apply(full().op("op")).await;
    assert!(!applied.replayed);
    two.apply(txn().delete("b").no_member("i", "a")).await;
    assert_eq!(one.live("b").await.value, "1");
    assert_eq!(one.members("i").await, [(1, "a".to_owned())]);
    assert_eq!(one.log(Scope::Sessions).await.len(), 1);
    let namespaces = one.store.namespaces().await.unwrap();
    assert!(namespaces.contains(&one.ns) && namespaces.contains(&two.ns));
    assert_eq!(namespaces.iter().filter(|ns| **ns == one.ns).count(), 1, "each once");
}

pub(super) async fn concurrent_creates_have_one_winner(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    for round in 0..5 {
        let name = format!("a{round}");
        let create = |n: u32| {
            let (scene, name) = (scene.clone(), name.clone());
            let draft = txn().need(Require::Absent(key(&name))).put(&name, &n.to_string()).member("i", &format!("{name}:{n}"), 1).event(Scope::Sessions, &name);
            async move {
                match scene.store.commit(&scene.ns, draft.into()).await.unwrap() {
                    Outcome::Applied(_) => Some(n.to_string()),
                    Outcome::Refused(refusals) => {
                        assert_eq!(refusals, [Refusal::Record(key(&name))]);
                        None
                    }
                }
            }
        };
        let winners: Vec<String> = futures::future::join_all((0..16).map(create)).await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(scene.live(&name).await.value, winners[0]);
        assert_eq!(scene.members("i").await.len(), round + 1);
        assert_eq!(scene.log(Scope::Sessions).await.len(), round + 1);
    }
}

/// Whoever sees one part of a transaction sees all of it: the log names only revisions whose records are there.
pub(super) async fn log_records_and_indices_move_together(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let writing = async {
        for n in 0..60 {
            let name = format!("a{n}");
            scene.apply(txn().put(&name, "1").member("i", &name, n).event(Scope::Sessions, &name)).await;
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < 60 {
            let page = scene.store.events(&scene.ns, Scope::Sessions, crate::model::time::Revision::ZERO, 1000).await.unwrap();
            let members = scene.members("i").await;
            assert!(members.len() >= page.entries.len(), "{} members for {} events", members.len(), page.entries.len());
            if let Some(entry) = page.entries.last() {
                assert_eq!(entry.revision, page.head.last);
                assert!(page.head.last <= page.head.revision);
                let name = std::str::from_utf8(&entry.payload).unwrap();
                assert_eq!(scene.live(name).await.revision, entry.revision);
            }
            seen = page.entries.len();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writing, reading);
}
