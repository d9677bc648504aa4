mod rules;

use super::*;
use crate::store::metadata::{Found, Life, Number, Require, Txn, Write};

fn put(key: &str, value: &str) -> Commit {
    let key = Key(key.to_owned());
    let write = Write::Put { key: key.clone(), value: value.to_owned().into(), life: Life::Forever, marks: vec![("at".into(), Number::Revision)] };
    Txn { requires: vec![Require::Absent(key)], writes: vec![write], ..Txn::default() }.into()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_its_history_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::default();
    let store = Arc::new(Embedded::open(dir.path(), Limits::default()).unwrap());
    let Outcome::Applied(applied) = store.commit(&ns, put("a", "one")).await.unwrap() else { panic!("refused") };
    assert!(matches!(store.commit(&ns, put("a", "two")).await.unwrap(), Outcome::Refused(_)));
    let head = store.history(&ns, Scope::Sessions).await.unwrap();
    store.close().await;

    let store = Arc::new(Embedded::open(dir.path(), Limits::default()).unwrap());
    let reading = store.get(&ns, &[Key("a".to_owned())]).await.unwrap();
    let [Found::Live(record)] = &reading.found[..] else { panic!("{reading:?}") };
    assert_eq!((&record.value[..], record.revision, record.mark("at")), (&b"one"[..], applied.revision, applied.revision.0));
    assert_eq!(store.history(&ns, Scope::Sessions).await.unwrap(), head);
}
