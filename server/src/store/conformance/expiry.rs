//! Expiry: swept records hide and wait, dropped ones vanish.

use std::time::Duration;

use super::{
    Fixture,
    scene::{dropped, fresh, key, swept, txn},
};
use crate::{
    model::time::Micros,
    store::metadata::{Found, Life, Number, Refusal, Require, When},
};

const SHORT: Duration = Duration::from_millis(40);

pub(super) async fn an_expired_indexed_record_is_hidden_but_not_absent(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let applied = scene.apply(txn().put_for("a", "one", swept(40)).member("i", "a", 1)).await;
    let expires_at = applied.now.after(SHORT);
    // The reading's own clock says what it must show, however slow the machine is.
    loop {
        let reading = scene.get(&["a"]).await;
        match &reading.found[..] {
            [Found::Live(record)] => assert!(reading.now < expires_at && record.expires_at == Some(expires_at), "{reading:?}"),
            [Found::Expired(record)] => {
                assert!(reading.now >= expires_at && record.value == "one" && record.revision == applied.revision, "{reading:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(scene.refuse(txn().need(Require::Absent(key("a"))).put("a", "two")).await, [Refusal::Record(key("a"))]);
    assert_eq!(scene.members("i").await, [(1, "a".to_owned())]);
}

pub(super) async fn an_expiry_is_fixed_or_counted_from_the_stores_clock(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let fixed = scene.get(&[]).await.now.after(Duration::from_secs(100));
    let applied = scene
        .apply(
            txn()
                .put_for("a", "1", Life::SweptAt(When::At(fixed)))
                .put_for("b", "2", Life::DroppedAt(When::At(fixed)))
                .put_for("c", "3", swept(9_000))
                .put_for("d", "4", dropped(9_000)),
        )
        .await;
    let counted = applied.now.after(Duration::from_secs(9));
    for (name, at) in [("a", fixed), ("b", fixed), ("c", counted), ("d", counted)] {
        assert_eq!(scene.live(name).await.expires_at, Some(at), "{name}");
    }
}

pub(super) async fn a_moment_in_the_past_expires_at_once(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let past = When::At(Micros(1));
    scene.apply(txn().put_for("a", "1", Life::SweptAt(past)).put_for("b", "2", Life::DroppedAt(past))).await;
    assert_eq!(scene.waiting("a").await.expires_at, Some(Micros(1)));
    assert!(scene.absent("b").await);
    assert_eq!(scene.expired(10).await, ["a"]);
}

pub(super) async fn keep_and_forever_say_how_long(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let applied = scene.apply(txn().put_for("a", "1", swept(3_600_000)).put_for("b", "1", Life::Keep)).await;
    let expires_at = Some(applied.now.after(Duration::from_hours(1)));
    assert_eq!(scene.live("b").await.expires_at, None);
    scene.apply(txn().put_for("a", "2", Life::Keep)).await;
    assert_eq!(scene.live("a").await.expires_at, expires_at);
    scene.apply(txn().touch("a", Life::Keep, [("m", Number::Literal(1))])).await;
    assert_eq!(scene.live("a").await.expires_at, expires_at);
    let moved = scene.apply(txn().touch("a", swept(5_000), [])).await;
    assert_eq!(scene.live("a").await.expires_at, Some(moved.now.after(Duration::from_secs(5))));
    scene.apply(txn().touch("a", Life::Forever, [])).await;
    assert_eq!(scene.live("a").await.expires_at, None);
    scene.apply(txn().put_for("a", "3", swept(1_000))).await;
    scene.apply(txn().put_for("a", "4", Life::Forever)).await;
    assert_eq!(scene.live("a").await.expires_at, None);
}

/// `Keep` keeps the kind of expiry too: what is swept stays swept, what drops still drops.
pub(super) async fn keep_keeps_an_expiry_that_is_past(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put_for("a", "1", swept(0)).put_for("b", "1", dropped(0)).put_for("c", "1", dropped(40))).await;
    let waiting = scene.waiting("a").await;
    let kept = scene.apply(txn().put_for("a", "2", Life::Keep).put_for("b", "2", Life::Keep).put_for("c", "2", Life::Keep)).await;
    let still = scene.waiting("a").await;
    assert_eq!((&still.value[..], still.expires_at, still.revision), (&b"2"[..], waiting.expires_at, kept.revision));
    assert_eq!(scene.live("b").await.expires_at, None, "b had dropped, so it is new");
    scene.pass(kept.now.after(SHORT)).await;
    let c = scene.found("c").await;
    assert!(c == Found::Absent || matches!(&c, Found::Live(record) if record.expires_at.is_none()), "{c:?}");
    assert_eq!(scene.expired(10).await, ["a"]);
}

pub(super) async fn a_longer_life_takes_a_record_off_the_sweepers_list(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let applied = scene.apply(txn().put_for("a", "1", swept(60)).put_for("b", "1", swept(60)).put_for("c", "1", swept(60)).put_for("d", "1", swept(60))).await;
    let later = scene.store.commit(&scene.ns, txn().touch("a", swept(3_600_000), []).put_for("b", "2", Life::Forever).delete("c").into());
    // On a slow machine a touch may come too late; then it must have changed nothing.
    let in_time = matches!(later.await.unwrap(), crate::store::metadata::Outcome::Applied(_));
    scene.pass(applied.now.after(Duration::from_millis(60))).await;
    assert_eq!(scene.expired(10).await, if in_time { vec!["d"] } else { vec!["a", "b", "c", "d"] });
}

pub(super) async fn expired_lists_the_longest_expired_first(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let now = scene.get(&[]).await.now;
    let before = |seconds: i64| Life::SweptAt(When::At(Micros(now.0 - seconds * 1_000_000)));
    scene.apply(txn().put_for("young", "1", before(1)).put_for("old", "2", before(3)).put_for("middle", "3", before(2))).await;
    scene.apply(txn().put("never", "4").put_for("later", "5", swept(3_600_000)).put_for("dropped", "6", dropped(0))).await;
    assert_eq!(scene.expired(10).await, ["old", "middle", "young"]);
    assert_eq!(scene.expired(2).await, ["old", "middle"]);
    assert_eq!(scene.expired(0).await, Vec::<String>::new());
    let whole = scene.store.expired(&scene.ns, 1).await.unwrap().remove(0);
    assert_eq!(Found::Expired(whole.record), scene.found("old").await);
}

pub(super) async fn expired_requires_what_waits_for_the_sweeper(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let needs = |name: &str, revision| txn().need(Require::Expired(key(name), revision));
    let applied = scene.apply(txn().put_for("a", "1", swept(0)).put("live", "1").put_for("gone", "1", dropped(0))).await.revision;
    scene.waiting("a").await;
    for name in ["live", "gone", "none"] {
        assert_eq!(scene.refuse(needs(name, applied)).await, [Refusal::Record(key(name))]);
    }
    let later = scene.apply(needs("a", applied)).await.revision;
    assert_eq!(scene.refuse(needs("a", later)).await, [Refusal::Record(key("a"))]);
}

/// Two sweepers and a revival meet; a record is swept once, and never after it was revived.
pub(super) async fn a_sweep_is_a_compare_and_set(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put_for("a", "1", swept(0)).member("i", "a", 1).put_for("b", "1", swept(0)).member("i", "b", 2)).await;
    let found = scene.store.expired(&scene.ns, 10).await.unwrap();
    let sweep = |name: &str| {
        let record = &found.iter().find(|record| record.key == key(name)).unwrap().record;
        txn().need(Require::Expired(key(name), record.revision)).delete(name).no_member("i", name)
    };
    scene.apply(sweep("a")).await;
    assert_eq!(scene.refuse(sweep("a")).await, [Refusal::Record(key("a"))]);
    assert!(scene.absent("a").await);
    let revision = scene.waiting("b").await.revision;
    scene.apply(txn().need(Require::Expired(key("b"), revision)).put("b", "revived")).await;
    assert_eq!(scene.refuse(sweep("b")).await, [Refusal::Record(key("b"))]);
    assert_eq!(scene.live("b").await.value, "revived");
    assert_eq!(scene.members("i").await, [(2, "b".to_owned())]);
    assert_eq!(scene.expired(10).await, Vec::<String>::new());
    scene.apply(txn().need(Require::Absent(key("a"))).put("a", "2")).await;
}

pub(super) async fn dropped_records_vanish_by_themselves(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let applied = scene.apply(txn().put_all("a", "one", dropped(40), [("m", Number::Literal(7))])).await;
    let expires_at = applied.now.after(SHORT);
    loop {
        let reading = scene.get(&["a"]).await;
        match &reading.found[..] {
            [Found::Live(_)] => assert!(reading.now < expires_at, "{reading:?}"),
            [Found::Absent] => {
                assert!(reading.now >= expires_at, "{reading:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(scene.expired(10).await, Vec::<String>::new());
    for need in [Require::At(key("a"), applied.revision), Require::Expired(key("a"), applied.revision), Require::Mark(key("a"), "m".into(), 7)] {
        assert_eq!(scene.refuse(txn().need(need)).await, [Refusal::Record(key("a"))]);
    }
    assert_eq!(scene.refuse(txn().touch("a", Life::Forever, [])).await, [Refusal::Record(key("a"))]);
    scene.apply(txn().member_at("i", "a", Number::MarkOf(key("a"), "m".into()))).await;
    assert_eq!(scene.members("i").await, [(0, "a".to_owned())]);
    scene.apply(txn().need(Require::Absent(key("a"))).put_marked("a", "two", [("m", Number::Keep)])).await;
    assert_eq!(scene.live("a").await.mark("m"), 0);
}

pub(super) async fn a_record_changes_between_swept_and_dropped(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put_for("a", "1", dropped(3_600_000)).put_for("b", "1", swept(3_600_000))).await;
    scene.apply(txn().touch("a", swept(0), []).touch("b", dropped(0), [])).await;
    scene.waiting("a").await;
    assert!(scene.absent("b").await);
    assert_eq!(scene.expired(10).await, ["a"]);
}
