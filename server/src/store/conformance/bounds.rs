//! Every bound of the contract holds at its last allowed value and refuses the next, naming what was wrong.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Fixture,
    scene::{Draft, Scene, any, fresh, index, key, txn},
};
use crate::{
    model::{
        error::{Error, Reason},
        time::{Micros, Revision},
    },
    store::metadata::{
        Commit, Direction, IndexChange, Life, MAX_AHEAD, MAX_CHANGES, MAX_EVENT, MAX_KEY, MAX_MARKS, MAX_NOTE, MAX_NUMBER, MAX_PAGE, MAX_VALUE, Number, Range,
        Require, Scope, When, Write,
    },
};

fn assert_field(error: &Error, field: &str, what: &str) {
    assert_eq!((error.reason(), error.field_name()), (Reason::InvalidField, Some(field)), "{what}: {error:?}");
    assert!(error.message().contains(field), "{what}: {error:?}");
}

async fn refused(scene: &Scene, field: &str, drafts: Vec<(&str, Draft)>) {
    for (what, draft) in drafts {
        assert_field(&scene.fail(draft).await, field, what);
    }
    assert_eq!(scene.get(&[]).await.revision, Revision::ZERO, "a commit out of bounds changed something");
}

fn marks(numbers: Vec<(String, Number)>) -> Draft {
    let mut draft = txn();
    draft.0.writes.push(Write::Touch { key: key("a"), life: Life::Keep, marks: numbers.into_iter().map(|(name, number)| (name.into(), number)).collect() });
    draft
}

fn mark(name: &str, number: Number) -> Draft {
    marks(vec![(name.to_owned(), number)])
}

fn value(len: usize) -> Draft {
    let mut draft = txn();
    draft.0.writes.push(Write::Put { key: key("a"), value: Bytes::from(vec![0; len]), life: Life::Forever, marks: Vec::new() });
    draft
}

pub(super) async fn writes_out_of_bounds_are_refused_with_the_field(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let long = "k".repeat(MAX_KEY + 1);
    let many = (0..=MAX_MARKS).map(|n| (letters(n), Number::Keep)).collect();
    let drafts = vec![
        ("a long key", txn().put(&long, "1")),
        ("an empty key", txn().delete("")),
        ("a NUL", txn().touch("a\0", Life::Keep, [])),
        ("a large value", value(MAX_VALUE + 1)),
        ("a record twice", txn().put("a", "1").delete("a")),
        ("many marks", marks(many)),
        ("a mark twice", marks(vec![("m".to_owned(), Number::Keep), ("m".to_owned(), Number::Keep)])),
        ("an empty mark name", mark("", Number::Keep)),
        ("a long mark name", mark(&"m".repeat(17), Number::Keep)),
        ("an upper-case mark name", mark("Mark", Number::Keep)),
        ("a digit in a mark name", mark("m1", Number::Keep)),
        ("a large mark", mark("m", Number::Literal(MAX_NUMBER + 1))),
        ("a small mark", mark("m", Number::Literal(-MAX_NUMBER - 1))),
        ("a mark of a mark", mark("m", Number::MarkOf(key("b"), "m".into()))),
        ("a far mark", mark("m", Number::NowPlus(MAX_AHEAD + Duration::from_micros(1)))),
        ("a long life", txn().put_for("a", "1", Life::SweptAt(When::In(MAX_AHEAD + Duration::from_secs(1))))),
        ("a far moment", txn().put_for("a", "1", Life::DroppedAt(When::At(Micros(MAX_NUMBER + 1))))),
    ];
    refused(&scene, "writes", drafts).await;
    let fits = (0..MAX_MARKS).map(|n| (letters(n), Number::NowPlus(MAX_AHEAD))).collect();
    scene.apply(txn().put("a", "1").put(&long[1..], "1")).await;
    scene.apply(marks(fits)).await;
    scene.apply(mark("sixteen_letters_", Number::Keep)).await;
    scene.apply(txn().put_for("a", "1", Life::SweptAt(When::In(MAX_AHEAD))).put_for("b", "1", Life::SweptAt(When::At(Micros(MAX_NUMBER))))).await;
    scene.live("b").await;
}

/// A mark's name of its own for each number.
fn letters(mut n: usize) -> String {
    let mut name = String::new();
    loop {
        name.push(char::from(b'a' + u8::try_from(n % 26).unwrap()));
        n /= 26;
        if n == 0 {
            return name;
        }
    }
}

pub(super) async fn indices_out_of_bounds_are_refused_with_the_field(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let long = "k".repeat(MAX_KEY + 1);
    let drafts = vec![
        ("a long index", txn().member(&long, "a", 1)),
        ("an empty index", txn().no_member("", "a")),
        ("a long member", txn().member("i", &long, 1)),
        ("an empty member", txn().member("i", "", 1)),
        ("a NUL", txn().no_member("i", "a\0b")),
        ("a kept score", txn().member_at("i", "a", Number::Keep)),
        ("a large score", txn().member("i", "a", MAX_NUMBER + 1)),
        ("a far score", txn().member_at("i", "a", Number::NowPlus(MAX_AHEAD + Duration::from_secs(1)))),
        ("a mark of no key", txn().member_at("i", "a", Number::MarkOf(key(""), "m".into()))),
        ("a mark without a name", txn().member_at("i", "a", Number::MarkOf(key("a"), "".into()))),
    ];
    refused(&scene, "indices", drafts).await;
    scene.apply(txn().member(&long[1..], &long[1..], -MAX_NUMBER)).await;
    assert_eq!(scene.members(&long[1..]).await, [(-MAX_NUMBER, long[1..].to_owned())]);
}

pub(super) async fn counters_and_meters_out_of_bounds_are_refused_with_the_field(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    let adds = vec![
        ("an empty name", txn().add("", 1, 1)),
        ("a large delta", txn().add("c", MAX_NUMBER + 1, MAX_NUMBER)),
        ("a large bound", txn().add("c", 1, MAX_NUMBER + 1)),
        ("a negative bound", txn().add("c", 1, -1)),
        ("a counter twice", txn().add("c", 1, 5).add("c", 1, 5)),
    ];
    refused(&scene, "adds", adds).await;
    let meters = vec![
        ("an empty name", txn().meter("", hour, 1, 1)),
        ("a short interval", txn().meter("m", Duration::from_micros(999), 1, 1)),
        ("a long interval", txn().meter("m", day * 366 + Duration::from_secs(1), 1, 1)),
        ("no burst", txn().meter("m", hour, 0, 0)),
        ("a large burst", txn().meter("m", hour, 1_000_001, 1)),
        ("more than one unit in a microsecond", txn().meter("m", Duration::from_millis(1), 1_001, 1)),
        ("no cost", txn().meter("m", hour, 5, 0)),
        ("a cost above the burst", txn().meter("m", hour, 5, 6)),
        ("a meter twice", txn().meter("m", hour, 5, 1).meter("m", hour, 5, 1)),
    ];
    refused(&scene, "meters", meters).await;
    scene.apply(txn().add("c", MAX_NUMBER, MAX_NUMBER).add("d", 0, 0).meter("m", day * 366, 1, 1).meter("n", Duration::from_millis(1), 1, 1)).await;
}

pub(super) async fn commits_out_of_bounds_are_refused_with_the_field(fixture: &dyn Fixture) {
    let scene = fresh(fixture);
    let long = "k".repeat(MAX_KEY + 1);
    let mut long_draft = txn();
    long_draft.0.indices = (0..=MAX_CHANGES).map(|n| IndexChange::Remove(index("i"), n.to_string())).collect();
    assert_field(&scene.fail(long_draft.clone()).await, "alternatives", "many changes");
    assert_field(&scene.fail(any([])).await, "alternatives", "no alternative");
    let many = Commit { alternatives: vec![txn().0; 33], op: None };
    assert_field(&scene.fail(many).await, "alternatives", "33 alternatives");
    for op in ["", &long, "a\0"] {
        assert_field(&scene.fail(txn().op(op)).await, "op", "a bad op");
    }
    refused(&scene, "note", vec![("a long note", txn().note(&"n".repeat(MAX_NOTE + 1)))]).await;
    let events = vec![
        ("a scope twice", txn().event(Scope::Cache, "1").event(Scope::Cache, "2")),
        ("a large event", txn().event(Scope::Cache, &"e".repeat(MAX_EVENT + 1))),
    ];
    refused(&scene, "events", events).await;
    let requires = vec![
        ("an empty key", txn().need(Require::Absent(key("")))),
        ("a long key", txn().need(Require::At(key(&long), Revision(1)))),
        ("a bad mark", txn().need(Require::Mark(key("a"), "M".into(), 0))),
        ("a large number", txn().need(Require::Mark(key("a"), "m".into(), MAX_NUMBER + 1))),
    ];
    refused(&scene, "requires", requires).await;
    // Any alternative counts, also one that would never be reached.
    assert_field(&scene.fail(any([txn(), txn().put("", "1")])).await, "writes", "a later alternative");
    assert_eq!(scene.get(&[]).await.revision, Revision::ZERO);
    long_draft.0.indices.pop();
    scene.apply(long_draft).await;
    scene.apply(txn().event(Scope::Cache, &"e".repeat(MAX_EVENT)).op(&long[1..])).await;
    assert_eq!(scene.log(Scope::Cache).await[0].payload.len(), MAX_EVENT);
}

pub(super) async fn reads_out_of_bounds_are_refused_with_the_field(fixture: &dyn Fixture) {
    let Scene { store, ns } = fresh(fixture);
    let long = "k".repeat(MAX_KEY + 1);
    let get = |names: Vec<String>| {
        let (store, ns) = (store.clone(), ns.clone());
        async move { store.get(&ns, &names.iter().map(|name| key(name)).collect::<Vec<_>>()).await.unwrap_err() }
    };
    for names in [vec![String::new()], vec![long.clone()], vec!["a\0".to_owned()], vec!["a".to_owned(); MAX_PAGE + 1]] {
        assert_field(&get(names).await, "keys", "a read");
    }
    let scan = |name: &str, range: Range, limit| {
        let (store, ns, index) = (store.clone(), ns.clone(), index(name));
        async move { store.scan(&ns, &index, &range, Direction::Ascending, limit).await }
    };
    let from = |score, member: &str| Range::From(Some((score, member.to_owned())));
    assert_field(&scan("", Range::From(None), 1).await.unwrap_err(), "index", "no name");
    assert_field(&scan("i", Range::Prefix(long.clone()), 1).await.unwrap_err(), "range", "a long prefix");
    assert_field(&scan("i", from(1, &long), 1).await.unwrap_err(), "range", "a long position");
    assert_field(&scan("i", from(MAX_NUMBER + 1, "a"), 1).await.unwrap_err(), "range", "a large score");
    assert_field(&scan("i", Range::From(None), MAX_PAGE + 1).await.unwrap_err(), "limit", "a long page");
    assert_field(&store.expired(&ns, MAX_PAGE + 1).await.unwrap_err(), "limit", "a long page");
    assert_field(&store.events(&ns, Scope::Cache, Revision::ZERO, MAX_PAGE + 1).await.unwrap_err(), "limit", "a long page");
    assert_eq!(scan("i", Range::From(None), MAX_PAGE).await.unwrap(), []);
    assert_eq!(store.expired(&ns, MAX_PAGE).await.unwrap(), []);
    store.events(&ns, Scope::Cache, Revision::ZERO, MAX_PAGE).await.unwrap();
}
