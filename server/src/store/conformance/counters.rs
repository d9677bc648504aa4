//! Counters and meters move with their transaction or not at all.

use std::time::Duration;

use super::{
    Fixture,
    scene::{Scene, fresh, key, txn},
};
use crate::store::metadata::{Outcome, Refusal, Require};

const HOUR: Duration = Duration::from_hours(1);

fn refused_at(value: i64) -> [Refusal; 1] {
    [Refusal::Counter { counter: key("c"), value }]
}

pub(super) async fn counters_stay_within_bounds_and_move_with_the_txn(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    assert_eq!(scene.counter("c").await, 0);
    assert_eq!(scene.refuse(txn().add("c", -1, 10).put("a", "1")).await, refused_at(0));
    scene.apply(txn().add("c", 7, 10).put("a", "1")).await;
    assert_eq!(scene.refuse(txn().add("c", 4, 10).put("a", "2")).await, refused_at(7));
    assert_eq!(scene.live("a").await.value, "1");
    scene.apply(txn().add("c", 3, 10)).await;
    assert_eq!(scene.refuse(txn().need(Require::Absent(key("a"))).add("c", -3, 10)).await, [Refusal::Record(key("a"))]);
    assert_eq!(scene.counter("c").await, 10);
    scene.apply(txn().add("c", -10, 10)).await;
    assert_eq!(scene.counter("c").await, 0);
    scene.apply(txn().add("c", 0, 0)).await;
}

pub(super) async fn a_negative_delta_is_never_refused_by_the_bound(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().add("c", 9, 10)).await;
    assert_eq!(scene.refuse(txn().add("c", 0, 5)).await, refused_at(9));
    assert_eq!(scene.refuse(txn().add("c", 1, 5)).await, refused_at(9));
    scene.apply(txn().add("c", -1, 5)).await;
    scene.apply(txn().add("c", -1, 0)).await;
    assert_eq!(scene.counter("c").await, 7);
}

pub(super) async fn counters_meters_and_records_have_their_own_names(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("x", "1").add("x", 2, 5).meter("x", HOUR, 10, 1).member("x", "x", 3)).await;
    assert_eq!(scene.live("x").await.value, "1");
    assert_eq!(scene.counter("x").await, 2);
    assert_eq!(scene.members("x").await, [(3, "x".to_owned())]);
    scene.apply(txn().delete("x")).await;
    assert_eq!(scene.counter("x").await, 2);
}

pub(super) async fn concurrent_adds_never_pass_the_bound(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let add = |scene: Scene| async move { matches!(scene.store.commit(&scene.ns, txn().add("c", 3, 20).into()).await.unwrap(), Outcome::Applied(_)) };
    let applied = futures::future::join_all((0..16).map(|_| add(scene.clone()))).await;
    assert_eq!(applied.into_iter().filter(|applied| *applied).count(), 6);
    assert_eq!(scene.counter("c").await, 18);
}

pub(super) async fn a_full_burst_is_admitted_at_once(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    // An hour is no multiple of 7 units: rounding must not cost the last one.
    for burst in [1, 7, 10] {
        let name = format!("m{burst}");
        for _ in 0..burst {
            scene.apply(txn().meter(&name, HOUR, burst, 1)).await;
        }
        let refusals = scene.refuse(txn().meter(&name, HOUR, burst, 1)).await;
        assert!(matches!(&refusals[..], [Refusal::Meter { meter, .. }] if *meter == key(&name)), "{refusals:?}");
        scene.apply(txn().meter(&format!("all{burst}"), HOUR, burst, burst)).await;
        scene.refuse(txn().meter(&format!("all{burst}"), HOUR, burst, 1)).await;
    }
    scene.apply(txn().meter("fast", Duration::from_secs(1), 1_000_000, 1_000_000)).await;
    scene.apply(txn().meter("short", Duration::from_millis(1), 1_000, 1_000)).await;
    scene.apply(txn().meter("long", HOUR * 24 * 366, 999_983, 999_983)).await;
    scene.refuse(txn().meter("long", HOUR * 24 * 366, 999_983, 999_983)).await;
}

/// How long the meter says to wait; within `slack` of what the algorithm says, for the clock runs on.
fn assert_retry(refusals: &[Refusal], expected: Duration) {
    let slack = Duration::from_mins(1);
    let [Refusal::Meter { meter, retry_after }] = refusals else { panic!("{refusals:?}") };
    assert_eq!(*meter, key("m"));
    assert!(*retry_after <= expected && *retry_after + slack >= expected, "retry after {retry_after:?} instead of {expected:?}");
}

pub(super) async fn meters_follow_gcra_and_write_nothing_on_refusal(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let unit = HOUR / 6;
    scene.apply(txn().meter("m", HOUR, 6, 4)).await;
    for _ in 0..3 {
        assert_retry(&scene.refuse(txn().meter("m", HOUR, 6, 3)).await, unit);
        assert_retry(&scene.refuse(txn().meter("m", HOUR, 6, 6).put("a", "1")).await, unit * 4);
    }
    assert!(scene.absent("a").await);
    scene.refuse(txn().need(Require::At(key("a"), crate::model::time::Revision(1))).meter("m", HOUR, 6, 2)).await;
    scene.apply(txn().meter("m", HOUR, 6, 2)).await;
    assert_retry(&scene.refuse(txn().meter("m", HOUR, 6, 1)).await, unit);
    // Another size of the same meter judges the same time of arrival by its own rule.
    assert_retry(&scene.refuse(txn().meter("m", HOUR / 2, 6, 1)).await, HOUR / 2 + unit / 2);
    scene.apply(txn().meter("m", HOUR * 2, 6, 3)).await;
}

pub(super) async fn a_meter_admits_again_after_the_delay_it_named(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let interval = Duration::from_millis(400);
    let take = || txn().meter("m", interval, 4, 2);
    let first = scene.apply(take()).await;
    scene.apply(take()).await;
    // The bucket is empty now, unless the machine is so slow that half of it has come back already.
    let third = match scene.store.commit(&scene.ns, take().into()).await.unwrap() {
        Outcome::Applied(applied) => applied,
        Outcome::Refused(refusals) => {
            let [Refusal::Meter { retry_after, .. }] = refusals[..] else { panic!("{refusals:?}") };
            assert!(retry_after > Duration::ZERO && retry_after <= interval / 2, "{retry_after:?}");
            let refused_by = scene.get(&[]).await.now;
            scene.pass(refused_by.after(retry_after)).await;
            scene.apply(take()).await
        }
    };
    let waited = third.now.since(first.now);
    assert!(waited >= interval / 2, "six units of a burst of four within {waited:?}");
}

pub(super) async fn all_meters_and_counters_of_a_transaction_must_agree(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let both = || txn().add("c", 1, 2).meter("m", HOUR, 3, 1).meter("n", HOUR, 10, 1);
    scene.apply(both()).await;
    scene.apply(both()).await;
    assert_eq!(scene.refuse(both()).await, refused_at(2));
    scene.apply(txn().meter("m", HOUR, 3, 1)).await;
    scene.apply(txn().add("c", -1, 2)).await;
    assert!(matches!(scene.refuse(both()).await[..], [Refusal::Meter { .. }]));
    assert_eq!(scene.counter("c").await, 1);
    scene.apply(txn().meter("n", HOUR, 10, 8)).await;
    scene.refuse(txn().meter("n", HOUR, 10, 1)).await;
}
