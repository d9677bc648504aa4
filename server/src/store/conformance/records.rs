//! Records: what is written is read back, requirements hold or refuse, marks resolve.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Fixture,
    scene::{Scene, fresh, key, swept, txn},
};
use crate::store::metadata::{Found, Life, MAX_NUMBER, MAX_PAGE, MAX_VALUE, Marks, Number, Refusal, Require, Write};

pub(super) async fn what_was_put_is_read_back(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let applied = scene.apply(txn().put_marked("a", "one", [("m", Number::Literal(7)), ("other_mark", Number::Literal(-8))])).await;
    let record = scene.live("a").await;
    assert_eq!(record.value, "one");
    assert_eq!((record.revision, record.expires_at), (applied.revision, None));
    assert_eq!(record.marks, Marks::from([("m".to_owned(), 7), ("other_mark".to_owned(), -8)]));
    assert_eq!(record.mark("absent"), 0);
}

pub(super) async fn a_reading_answers_in_the_order_of_its_keys(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let empty = scene.get(&["a"]).await;
    assert_eq!((empty.found, empty.revision.0), (vec![Found::Absent], 0));
    let applied = scene.apply(txn().put("a", "1").put("b", "2")).await;
    let reading = scene.get(&["b", "none", "a", "b"]).await;
    assert_eq!(reading.revision, applied.revision);
    assert!(reading.now >= applied.now, "the store's clock went back from {:?} to {:?}", applied.now, reading.now);
    let values: Vec<_> = reading.found.into_iter().map(|found| found.live().map(|record| record.value)).collect();
    assert_eq!(values, [Some("2".into()), None, Some("1".into()), Some("2".into())]);
}

pub(super) async fn as_many_records_as_a_page_holds_are_read_at_once(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("k0", "first").put("k999", "last")).await;
    let names: Vec<String> = (0..MAX_PAGE).map(|n| format!("k{n}")).collect();
    let reading = scene.get(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(reading.found.len(), MAX_PAGE);
    let there: Vec<usize> = (0..MAX_PAGE).filter(|n| reading.found[*n] != Found::Absent).collect();
    assert_eq!(there, [0, 999]);
}

pub(super) async fn binary_values_round_trip(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let large: Vec<u8> = (0..MAX_VALUE).map(|n| (n % 251).to_le_bytes()[0]).collect();
    for value in [Vec::new(), vec![0], every_byte, large] {
        let write = Write::Put { key: key("a"), value: Bytes::from(value.clone()), life: Life::Forever, marks: Vec::new() };
        let mut draft = txn();
        draft.0.writes.push(write);
        scene.apply(draft).await;
        assert!(scene.live("a").await.value == value, "a value of {} bytes changed", value.len());
    }
}

pub(super) async fn names_may_be_any_text(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let names = ["a", "A", "a ", "ä", "\u{10FFFF}", "a:b{c}*?[d]", "\r\n\t\u{1}", "'; DROP TABLE record; --", "\"%s\""];
    for name in names {
        scene.apply(txn().put(name, name).add(name, 1, 9).member(name, name, 1)).await;
    }
    for name in names {
        assert_eq!(scene.live(name).await.value, name);
        assert_eq!(scene.counter(name).await, 1, "{name:?}");
        assert_eq!(scene.members(name).await, [(1, name.to_owned())], "{name:?}");
    }
}

pub(super) async fn put_replaces_value_revision_expiry_and_marks(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let first = scene.apply(txn().put_all("a", "one", swept(3_600_000), [("m", Number::Literal(1)), ("n", Number::Literal(2))])).await;
    let second = scene.apply(txn().put_marked("a", "two", [("n", Number::Literal(3))])).await;
    let record = scene.live("a").await;
    assert!(second.revision > first.revision);
    assert_eq!((&record.value[..], record.revision, record.expires_at), (&b"two"[..], second.revision, None));
    assert_eq!(record.marks, Marks::from([("n".to_owned(), 3)]));
    scene.apply(txn().put_marked("a", "three", [("o", Number::Literal(4)), ("n", Number::Keep)])).await;
    scene.apply(txn().put_marked("a", "four", [("o", Number::Keep)])).await;
    assert_eq!(scene.live("a").await.marks, Marks::from([("o".to_owned(), 4)]));
}

pub(super) async fn touch_keeps_value_and_revision(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let put = scene.apply(txn().put_marked("a", "one", [("m", Number::Literal(1)), ("n", Number::Literal(2))])).await;
    let touch = scene.apply(txn().touch("a", swept(3_600_000), [("n", Number::NowPlus(Duration::from_secs(5))), ("o", Number::Revision)])).await;
    let record = scene.live("a").await;
    assert_eq!((&record.value[..], record.revision), (&b"one"[..], put.revision));
    assert_eq!(record.expires_at, Some(touch.now.after(Duration::from_hours(1))));
    let marks = [("m".to_owned(), 1), ("n".to_owned(), touch.now.0 + 5_000_000), ("o".to_owned(), touch.revision.0)];
    assert_eq!(record.marks, Marks::from(marks));
    scene.apply(txn().need(Require::At(key("a"), put.revision)).touch("a", Life::Keep, [])).await;
    assert_eq!(scene.live("a").await, record);
}

pub(super) async fn a_touch_needs_a_live_record(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let touch = || txn().put("b", "never").touch("a", Life::Forever, [("m", Number::Literal(1))]);
    assert_eq!(scene.refuse(touch()).await, [Refusal::Record(key("a"))]);
    let applied = scene.apply(txn().put_for("a", "one", swept(20))).await;
    scene.pass(applied.now.after(Duration::from_millis(20))).await;
    assert_eq!(scene.refuse(touch()).await, [Refusal::Record(key("a"))]);
    assert_eq!(scene.waiting("a").await.marks, Marks::new());
    assert!(scene.absent("b").await);
}

pub(super) async fn deleting_what_is_gone_succeeds(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().delete("a")).await;
    scene.apply(txn().put("a", "one")).await;
    scene.apply(txn().delete("a")).await;
    assert!(scene.absent("a").await);
    scene.apply(txn().delete("a").need(Require::Absent(key("a")))).await;
}

pub(super) async fn absent_requires_that_there_is_no_record(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let create = |value: &str| txn().need(Require::Absent(key("a"))).put("a", value);
    scene.apply(create("one")).await;
    assert_eq!(scene.refuse(create("two")).await, [Refusal::Record(key("a"))]);
    assert_eq!(scene.live("a").await.value, "one");
    scene.apply(txn().delete("a")).await;
    scene.apply(create("three")).await;
}

pub(super) async fn at_requires_the_record_of_that_revision(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let at = |revision| txn().need(Require::At(key("a"), revision)).put("a", "next");
    let first = scene.apply(txn().put("a", "one")).await.revision;
    let second = scene.apply(at(first)).await.revision;
    assert_eq!(scene.refuse(at(first)).await, [Refusal::Record(key("a"))]);
    scene.apply(txn().put("b", "moves the namespace's revision, not the record's")).await;
    scene.apply(at(second)).await;
    scene.apply(txn().delete("a")).await;
    assert_eq!(scene.refuse(at(second)).await, [Refusal::Record(key("a"))]);
    scene.apply(txn().put_for("a", "short", swept(0))).await;
    let waiting = scene.waiting("a").await.revision;
    assert_eq!(scene.refuse(at(waiting)).await, [Refusal::Record(key("a"))]);
}

pub(super) async fn mark_requires_the_marks_value(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let mark = |name: &'static str, value| txn().need(Require::Mark(key("a"), name.into(), value));
    assert_eq!(scene.refuse(mark("m", 0)).await, [Refusal::Record(key("a"))]);
    scene.apply(txn().put_marked("a", "one", [("m", Number::Literal(5))])).await;
    scene.apply(mark("m", 5)).await;
    scene.apply(mark("none", 0)).await;
    assert_eq!(scene.refuse(mark("m", 0)).await, [Refusal::Record(key("a"))]);
    assert_eq!(scene.refuse(mark("none", 1)).await, [Refusal::Record(key("a"))]);
    scene.apply(txn().touch("a", Life::Keep, [("m", Number::Literal(6))])).await;
    assert_eq!(scene.refuse(mark("m", 5)).await, [Refusal::Record(key("a"))]);
    scene.apply(mark("m", 6)).await;
    scene.apply(txn().touch("a", swept(0), [])).await;
    assert_eq!(scene.refuse(mark("m", 6)).await, [Refusal::Record(key("a"))]);
}

pub(super) async fn marks_resolve_inside_the_transaction(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let numbers = [("kept", Number::Keep), ("rev", Number::Revision), ("at", Number::NowPlus(Duration::from_micros(3))), ("lit", Number::Literal(-4))];
    let first = scene.apply(txn().put_marked("a", "one", numbers.clone())).await;
    let marks = |kept: i64, revision: i64, at: i64| {
        Marks::from([("kept".to_owned(), kept), ("rev".to_owned(), revision), ("at".to_owned(), at), ("lit".to_owned(), -4)])
    };
    assert_eq!(scene.live("a").await.marks, marks(0, first.revision.0, first.now.0 + 3));
    scene.apply(txn().touch("a", Life::Keep, [("kept", Number::Literal(9))])).await;
    let second = scene.apply(txn().put_marked("a", "two", numbers.clone())).await;
    assert_eq!(scene.live("a").await.marks, marks(9, second.revision.0, second.now.0 + 3));
    let third = scene.apply(txn().touch("a", Life::Keep, numbers)).await;
    assert_eq!(scene.live("a").await.marks, marks(9, third.revision.0, third.now.0 + 3));
}

pub(super) async fn a_mark_is_kept_also_by_a_revival(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let first = scene.apply(txn().put_all("a", "one", swept(0), [("m", Number::Literal(5))])).await;
    scene.waiting("a").await;
    scene.apply(txn().need(Require::Expired(key("a"), first.revision)).put_marked("a", "two", [("m", Number::Keep)])).await;
    assert_eq!(scene.live("a").await.mark("m"), 5);
}

pub(super) async fn numbers_up_to_two_to_the_53_are_exact(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    for number in [MAX_NUMBER, MAX_NUMBER - 1, -MAX_NUMBER, -MAX_NUMBER + 1, 0, -1] {
        scene.apply(txn().put_marked("a", "one", [("m", Number::Literal(number))]).member("i", "a", number)).await;
        assert_eq!(scene.live("a").await.mark("m"), number);
        assert_eq!(scene.members("i").await, [(number, "a".to_owned())]);
        scene.apply(txn().need(Require::Mark(key("a"), "m".into(), number)).member_at("i", "a", Number::MarkOf(key("a"), "m".into()))).await;
        assert_eq!(scene.members("i").await, [(number, "a".to_owned())]);
    }
    scene.apply(txn().add("c", MAX_NUMBER - 1, MAX_NUMBER)).await;
    assert_eq!(scene.counter("c").await, MAX_NUMBER - 1);
    scene.apply(txn().add("c", 1, MAX_NUMBER)).await;
    assert_eq!(scene.counter("c").await, MAX_NUMBER);
    assert_eq!(scene.refuse(txn().add("c", 1, MAX_NUMBER)).await, [Refusal::Counter { counter: key("c"), value: MAX_NUMBER }]);
}

/// Two records change together; a reader that sees them differ has read two moments.
pub(super) async fn a_reading_is_one_moment(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let pair = |n: u32| txn().put("a", &n.to_string()).put("b", &n.to_string());
    scene.apply(pair(0)).await;
    let writing = async {
        for n in 1..=100 {
            scene.apply(pair(n)).await;
            tokio::task::yield_now().await;
        }
    };
    let (mut last, mut seen) = (0, 0_u32);
    let reading = async {
        while last < 100 {
            let reading = scene.get(&["a", "b"]).await;
            let [Found::Live(a), Found::Live(b)] = &reading.found[..] else { panic!("{reading:?}") };
            assert_eq!((&a.value, a.revision), (&b.value, b.revision));
            assert_eq!(a.revision, reading.revision);
            let n: u32 = std::str::from_utf8(&a.value).unwrap().parse().unwrap();
            assert!(n >= last, "went back from {last} to {n}");
            (last, seen) = (n, seen + 1);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writing, reading);
    assert!(seen > 1);
}

pub(super) async fn concurrent_changes_of_one_record_all_count(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    scene.apply(txn().put("a", "0")).await;
    let increment = |scene: Scene| async move {
        for _ in 0..10 {
            loop {
                let record = scene.live("a").await;
                let n: u32 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                let next = txn().need(Require::At(key("a"), record.revision)).put("a", &(n + 1).to_string());
                if let crate::store::metadata::Outcome::Applied(_) = scene.store.commit(&scene.ns, next.into()).await.unwrap() {
                    break;
                }
            }
        }
    };
    futures::future::join_all((0..8).map(|_| increment(scene.clone()))).await;
    assert_eq!(scene.live("a").await.value, "80");
}
