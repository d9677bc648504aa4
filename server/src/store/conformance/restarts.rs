//! What was acknowledged outlives the daemon.

use super::{
    Fixture,
    scene::{fresh, key, listed, swept, txn},
};
use crate::{
    model::time::Revision,
    store::metadata::{Applied, Number, Refusal, Require, Scope},
};

/// A store whose contents end with it says so; every other one has all of it.
pub(super) async fn what_was_acknowledged_survives_a_restart(fixture: &dyn Fixture) {
    let hour = std::time::Duration::from_hours(1);
    let before = fresh(fixture);
    let all = txn()
        .put_all("a", "one", swept(3_600_000), [("m", Number::Literal(5))])
        .put_for("waits", "two", swept(0))
        .member("i", "a", 1)
        .add("c", 3, 10)
        .meter("m", hour, 1, 1)
        .event(Scope::Sessions, "happened")
        .note("noted");
    let applied = before.apply(all.clone().op("op")).await;
    let (found, head) = (before.get(&["a", "waits"]).await.found, before.store.history(&before.ns, Scope::Sessions).await.unwrap());
    let log = before.log(Scope::Sessions).await;

    let kept = fixture.restart().await;
    let scene = super::scene::Scene { store: fixture.store(), ..before };
    assert_eq!(kept, scene.store.probe().await.unwrap().engine != "memory");
    if !kept {
        assert_eq!((scene.get(&["a"]).await.revision, scene.store.namespaces().await.unwrap()), (Revision::ZERO, Vec::new()));
        assert_ne!(scene.store.history(&scene.ns, Scope::Sessions).await.unwrap().history, head.history);
        return;
    }
    assert_eq!(scene.get(&["a", "waits"]).await.found, found);
    assert_eq!(scene.store.history(&scene.ns, Scope::Sessions).await.unwrap(), head);
    assert_eq!(scene.log(Scope::Sessions).await, log);
    assert_eq!(scene.members("i").await, listed([(1, "a")]));
    assert_eq!(scene.expired(10).await, ["waits"]);
    assert_eq!(scene.counter("c").await, 3);
    assert!(matches!(scene.refuse(txn().meter("m", hour, 1, 1)).await[..], [Refusal::Meter { .. }]));
    assert_eq!(scene.apply(all.op("op")).await, Applied { replayed: true, ..applied });
    assert!(scene.store.namespaces().await.unwrap().contains(&scene.ns));
}

pub(super) async fn revisions_increase_across_a_restart(fixture: &dyn Fixture) {
    let mut scene = fresh(fixture);
    let mut last = Revision::ZERO;
    for _ in 0..3 {
        let applied = scene.apply(txn().put("a", "1").event(Scope::Sessions, "1")).await;
        assert!(applied.revision > last, "{:?} after {last:?}", applied.revision);
        last = applied.revision;
        fixture.restart().await;
        scene.store = fixture.store();
    }
    let applied = scene.apply(txn().put("a", "2")).await;
    assert!(applied.revision > last);
    scene.apply(txn().need(Require::At(key("a"), applied.revision))).await;
}
