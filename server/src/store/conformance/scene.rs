//! A namespace of its own for each rule, and short words for what rules do with it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::Fixture;
use crate::{
    clock,
    model::{
        error::Error,
        id::Namespace,
        time::{Micros, Revision},
    },
    store::metadata::{
        Add, Applied, Commit, Direction, Found, Index, IndexChange, Key, Life, LogEntry, MAX_NUMBER, MarkName, Metadata, Meter, Number, Outcome, Range,
        Reading, Record, Refusal, Require, Scope, Txn, When, Write,
    },
};

/// How long a rule waits for what must come, before it says that it did not.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store and a namespace in it.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) store: Arc<dyn Metadata>,
    pub(super) ns: Namespace,
}

/// A namespace that nobody used before.
pub(super) fn fresh(fixture: &dyn Fixture) -> Scene {
    let name = format!("rule-{:032x}", u128::from_be_bytes(clock::random().unwrap()));
    Scene { store: fixture.store(), ns: Namespace::parse("namespace", &name).unwrap() }
}

impl Scene {
    /// Applies what must be applicable.
    pub(super) async fn apply(&self, commit: impl Into<Commit>) -> Applied {
        match self.store.commit(&self.ns, commit.into()).await.unwrap() {
            Outcome::Applied(applied) => applied,
            Outcome::Refused(refusals) => panic!("refused: {refusals:?}"),
        }
    }

    /// Tries what must be refused.
    pub(super) async fn refuse(&self, commit: impl Into<Commit>) -> Vec<Refusal> {
        match self.store.commit(&self.ns, commit.into()).await.unwrap() {
            Outcome::Refused(refusals) => refusals,
            Outcome::Applied(applied) => panic!("applied: {applied:?}"),
        }
    }

    /// Tries what must be an error.
    pub(super) async fn fail(&self, commit: impl Into<Commit>) -> Error {
        self.store.commit(&self.ns, commit.into()).await.unwrap_err()
    }

    pub(super) async fn get(&self, keys: &[&str]) -> Reading {
        let keys: Vec<Key> = keys.iter().map(|name| key(name)).collect();
        self.store.get(&self.ns, &keys).await.unwrap()
    }

    pub(super) async fn found(&self, key: &str) -> Found {
        self.get(&[key]).await.found.remove(0)
    }

    /// A record that must be live.
    pub(super) async fn live(&self, key: &str) -> Record {
        match self.found(key).await {
            Found::Live(record) => record,
            other => panic!("{key} is {other:?}"),
        }
    }

    /// A record that must wait for the sweeper.
    pub(super) async fn waiting(&self, key: &str) -> Record {
        match self.found(key).await {
            Found::Expired(record) => record,
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(super) async fn absent(&self, key: &str) -> bool {
        self.found(key).await == Found::Absent
    }

    pub(super) async fn scan(&self, name: &str, range: Range, direction: Direction, limit: usize) -> Vec<(i64, String)> {
        self.store.scan(&self.ns, &index(name), &range, direction, limit).await.unwrap()
    }

    /// All members of an index in ascending order.
    pub(super) async fn members(&self, name: &str) -> Vec<(i64, String)> {
        self.scan(name, Range::From(None), Direction::Ascending, 1000).await
    }

    /// All that is left of a log.
    pub(super) async fn log(&self, scope: Scope) -> Vec<LogEntry> {
        self.store.events(&self.ns, scope, Revision::ZERO, 1000).await.unwrap().entries
    }

    pub(super) async fn expired(&self, limit: usize) -> Vec<String> {
        self.store.expired(&self.ns, limit).await.unwrap().into_iter().map(|record| record.key.0).collect()
    }

    /// Where a counter stands, read from the refusal of a transaction that only a counter at its largest could bear, and nothing can.
    pub(super) async fn counter(&self, name: &str) -> i64 {
        match self.refuse(txn().add(name, -MAX_NUMBER, 0).touch("no such record", Life::Keep, [])).await.remove(0) {
            Refusal::Counter { value, .. } => value,
            Refusal::Record(_) => MAX_NUMBER,
            Refusal::Meter { .. } => panic!("the counter {name} has a meter"),
        }
    }

    /// Waits until the store's clock has passed a moment.
    pub(super) async fn pass(&self, moment: Micros) {
        let started = clock::monotonic();
        while self.get(&[]).await.now <= moment {
            assert!(clock::monotonic().duration_since(started) < PATIENCE, "the store's clock does not reach {moment:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(super) fn key(name: &str) -> Key {
    Key(name.to_owned())
}

pub(super) fn index(name: &str) -> Index {
    Index(name.to_owned())
}

/// What a scan answers, written short.
pub(super) fn listed<const N: usize>(members: [(i64, &str); N]) -> Vec<(i64, String)> {
    members.into_iter().map(|(score, member)| (score, member.to_owned())).collect()
}

/// Swept this many milliseconds after the transaction.
pub(super) fn swept(ms: u64) -> Life {
    Life::SweptAt(When::In(Duration::from_millis(ms)))
}

/// Dropped this many milliseconds after the transaction.
pub(super) fn dropped(ms: u64) -> Life {
    Life::DroppedAt(When::In(Duration::from_millis(ms)))
}

/// A transaction in the making.
#[derive(Clone, Default)]
pub(super) struct Draft(pub(super) Txn);

pub(super) fn txn() -> Draft {
    Draft::default()
}

impl Draft {
    pub(super) fn need(mut self, require: Require) -> Self {
        self.0.requires.push(require);
        self
    }

    pub(super) fn put(self, name: &str, value: &str) -> Self {
        self.put_for(name, value, Life::Forever)
    }

    pub(super) fn put_for(self, name: &str, value: &str, life: Life) -> Self {
        self.put_all(name, value, life, [])
    }

    pub(super) fn put_marked<const N: usize>(self, name: &str, value: &str, marks: [(&'static str, Number); N]) -> Self {
        self.put_all(name, value, Life::Forever, marks)
    }

    pub(super) fn put_all<const N: usize>(mut self, name: &str, value: &str, life: Life, marks: [(&'static str, Number); N]) -> Self {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.0.writes.push(Write::Put { key: key(name), value, life, marks: marks.map(named).into() });
        self
    }

    pub(super) fn touch<const N: usize>(mut self, name: &str, life: Life, marks: [(&'static str, Number); N]) -> Self {
        self.0.writes.push(Write::Touch { key: key(name), life, marks: marks.map(named).into() });
        self
    }

    pub(super) fn delete(mut self, name: &str) -> Self {
        self.0.writes.push(Write::Delete(key(name)));
        self
    }

    pub(super) fn member(self, name: &str, member: &str, score: i64) -> Self {
        self.member_at(name, member, Number::Literal(score))
    }

    pub(super) fn member_at(mut self, name: &str, member: &str, score: Number) -> Self {
        self.0.indices.push(IndexChange::Add(index(name), member.to_owned(), score));
        self
    }

    pub(super) fn no_member(mut self, name: &str, member: &str) -> Self {
        self.0.indices.push(IndexChange::Remove(index(name), member.to_owned()));
        self
    }

    pub(super) fn add(mut self, counter: &str, delta: i64, max: i64) -> Self {
        self.0.adds.push(Add { counter: key(counter), delta, max });
        self
    }

    pub(super) fn meter(mut self, meter: &str, interval: Duration, burst: u32, cost: u32) -> Self {
        self.0.meters.push(Meter { meter: key(meter), interval, burst, cost });
        self
    }

    pub(super) fn event(mut self, scope: Scope, payload: &str) -> Self {
        self.0.events.push((scope, Bytes::copy_from_slice(payload.as_bytes())));
        self
    }

    pub(super) fn note(mut self, note: &str) -> Self {
        self.0.note = Bytes::copy_from_slice(note.as_bytes());
        self
    }

    /// A commit of this alone, with an operation's name.
    pub(super) fn op(self, op: &str) -> Commit {
        Commit { alternatives: vec![self.0], op: Some(op.to_owned()) }
    }
}

impl From<Draft> for Commit {
    fn from(draft: Draft) -> Self {
        draft.0.into()
    }
}

/// A commit of several alternatives.
pub(super) fn any<const N: usize>(drafts: [Draft; N]) -> Commit {
    Commit { alternatives: drafts.map(|draft| draft.0).into(), op: None }
}

fn named((name, number): (&'static str, Number)) -> (MarkName, Number) {
    (name.into(), number)
}
