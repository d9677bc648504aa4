//! What is outdated goes by itself.

use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::store::metadata::{Add, Meter, When};

fn count(dir: &Path, table: &str) -> i64 {
    let connection = Connection::open(dir.join("metadata.sqlite")).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not come true within 10 s");
}

fn limits(log_entries: u32, log_age: Duration) -> Limits {
    Limits { log_age, log_entries, every: Duration::from_millis(1) }
}

#[tokio::test]
async fn logs_are_trimmed_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), limits(3, Duration::from_hours(1))).unwrap();
    let mut revisions = Vec::new();
    for n in 0..30 {
        revisions.push(apply(&store, put("a", n.to_string())).await.revision);
    }
    until(|| count(dir.path(), "log") == 3).await;
    let page = store.events(&Namespace::default(), Scope::Sessions, Revision::ZERO, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.revision).collect::<Vec<_>>(), revisions[27..]);
    assert_eq!(page.entries[0].previous, revisions[26]);
}

#[tokio::test]
async fn logs_are_trimmed_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), limits(1_000, Duration::from_millis(50))).unwrap();
    let last = apply(&store, put("a", "1")).await.revision;
    // A new history starts ahead of the clock; let the entry's own revision say when it is old.
    let connection = Connection::open(dir.path().join("metadata.sqlite")).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let young = clock::wall().0;
    connection.execute("UPDATE log SET revision = ?1", [young]).unwrap();
    assert_eq!(count(dir.path(), "log"), 1);
    until(|| count(dir.path(), "log") == 0).await;
    assert!(clock::wall().0 > young + 50_000);
    let page = store.events(&Namespace::default(), Scope::Sessions, Revision::ZERO, 10).await.unwrap();
    assert_eq!((page.entries.len(), page.head.last), (0, last));
}

#[tokio::test]
async fn dropped_records_idle_meters_empty_counters_and_old_results_take_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), limits(10, Duration::from_hours(1))).unwrap();
    let drop =
        |name: &str| Write::Put { key: key(name), value: "secret".into(), life: Life::DroppedAt(When::In(Duration::from_millis(20))), marks: Vec::new() };
    let add = |delta| Add { counter: key("c"), delta, max: 5 };
    let meter = Meter { meter: key("m"), interval: Duration::from_millis(20), burst: 1, cost: 1 };
    let txn = Txn { writes: vec![drop("a"), drop("b")], meters: vec![meter], adds: vec![add(2)], ..put("kept", "1") };
    apply(&store, Commit { alternatives: vec![Txn { writes: [txn.writes.clone(), put("kept", "1").writes].concat(), ..txn }], op: Some("op".to_owned()) })
        .await;
    assert_eq!((count(dir.path(), "counter"), count(dir.path(), "op")), (1, 1));
    apply(&store, Txn { adds: vec![add(-2)], ..Txn::default() }).await;
    assert_eq!(count(dir.path(), "counter"), 0);
    let connection = Connection::open(dir.path().join("metadata.sqlite")).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let left: i64 = connection.query_row("SELECT forget_at FROM op", [], |row| row.get(0)).unwrap();
    assert!((left - clock::wall().0) > 590_000_000, "an operation's result is kept for 10 minutes");
    connection.execute("UPDATE op SET forget_at = 1", []).unwrap();
    until(|| count(dir.path(), "record") == 1 && count(dir.path(), "meter") == 0 && count(dir.path(), "op") == 0).await;
    assert_eq!(value(&store, "kept").await, Some("1".into()));
}

/// An operator's open query keeps SQLite from starting its log over; afterwards the log shrinks again.
#[tokio::test]
async fn the_write_ahead_log_does_not_stay_long() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), limits(10, Duration::from_hours(1))).unwrap();
    apply(&store, put("a", "1")).await;
    let shell = Connection::open(dir.path().join("metadata.sqlite")).unwrap();
    shell.execute_batch("BEGIN; SELECT count(*) FROM record").unwrap();
    let log_len = || std::fs::metadata(dir.path().join("metadata.sqlite-wal")).unwrap().len();
    // SQLite skips pages that do not change, so each value differs.
    let large = |n: u8| bytes::Bytes::from(vec![n; 4 << 20]);
    let mut n = 0;
    while log_len() <= 64 << 20 {
        n += 1;
        apply(&store, put("a", large(n))).await;
    }
    shell.execute_batch("COMMIT").unwrap();
    until(|| log_len() == 0).await;
    assert_eq!(value(&store, "a").await, Some(large(n)));
}
