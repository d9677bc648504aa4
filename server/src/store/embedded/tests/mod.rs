//! The embedded engine beyond the contract: crashes, damage, backups, two at once.

mod crash;
mod damage;
mod history;
mod house;
mod rules;

use std::path::Path;

use super::*;
use crate::store::metadata::{Applied, Found, Life, Number, Txn, Write};

fn open(dir: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(dir, Limits::default()).unwrap())
}

fn key(name: &str) -> Key {
    Key(name.to_owned())
}

/// A transaction that writes one record and one event.
fn put(name: &str, value: impl Into<bytes::Bytes>) -> Txn {
    let write = Write::Put { key: key(name), value: value.into(), life: Life::Forever, marks: vec![("at".into(), Number::Revision)] };
    Txn { writes: vec![write], events: vec![(Scope::Sessions, "put".into())], ..Txn::default() }
}

async fn apply(store: &Embedded, commit: impl Into<Commit>) -> Applied {
    match store.commit(&Namespace::default(), commit.into()).await.unwrap() {
        Outcome::Applied(applied) => applied,
        Outcome::Refused(refusals) => panic!("{refusals:?}"),
    }
}

async fn value(store: &Embedded, name: &str) -> Option<bytes::Bytes> {
    let reading = store.get(&Namespace::default(), &[key(name)]).await.unwrap();
    reading.found.into_iter().next().and_then(Found::live).map(|record| record.value)
}

async fn head(store: &Embedded) -> Head {
    store.history(&Namespace::default(), Scope::Sessions).await.unwrap()
}
