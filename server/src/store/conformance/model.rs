//! The contract once more, in memory and as plainly as it can be said: what engines are compared with.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::time::{Micros, Revision, micros},
    store::metadata::{
        Applied, Commit, Direction, ExpiredRecord, Found, Index, IndexChange, Key, Life, LogEntry, MarkName, Marks, Number, Outcome, Range, Record, Refusal,
        Require, Scope, Txn, When, Write,
    },
};

/// Everything of one namespace. It has no clock: whoever calls says what time it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    records: BTreeMap<Key, Stored>,
    indices: BTreeMap<Index, BTreeMap<String, i64>>,
    counters: BTreeMap<Key, i64>,
    meters: BTreeMap<Key, i64>,
    logs: BTreeMap<Scope, Vec<LogEntry>>,
    lasts: BTreeMap<Scope, Revision>,
    ops: BTreeMap<String, Applied>,
    revision: Revision,
}

#[derive(Clone, Debug, PartialEq)]
struct Stored {
    record: Record,
    dropped: bool,
}

impl Space {
    /// The namespace's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What is found under a key.
    #[must_use]
    pub fn found(&self, key: &Key, now: Micros) -> Found {
        match self.records.get(key) {
            None => Found::Absent,
            Some(Stored { record, dropped }) => match record.expires_at {
                Some(at) if at <= now && *dropped => Found::Absent,
                Some(at) if at <= now => Found::Expired(record.clone()),
                _ => Found::Live(record.clone()),
            },
        }
    }

    /// The members of an index, as [`scan`](crate::store::metadata::Metadata::scan) lists them.
    #[must_use]
    pub fn scan(&self, index: &Index, range: &Range, direction: Direction, limit: usize) -> Vec<(i64, String)> {
        let mut members: Vec<(i64, String)> = self.indices.get(index).into_iter().flatten().map(|(member, score)| (*score, member.clone())).collect();
        members.sort();
        if direction == Direction::Descending {
            members.reverse();
        }
        members.retain(|member| match (range, direction) {
            (Range::From(None), _) => true,
            (Range::From(Some(position)), Direction::Ascending) => member > position,
            (Range::From(Some(position)), Direction::Descending) => member < position,
            (Range::Prefix(prefix), _) => member.1.starts_with(prefix),
        });
        members.truncate(limit);
        members
    }

    /// What waits for the sweeper.
    #[must_use]
    pub fn expired(&self, limit: usize, now: Micros) -> Vec<ExpiredRecord> {
        let mut expired: Vec<ExpiredRecord> = Vec::new();
        for key in self.records.keys() {
            if let Found::Expired(record) = self.found(key, now) {
                expired.push(ExpiredRecord { key: key.clone(), record });
            }
        }
        expired.sort_by_key(|waiting| waiting.record.expires_at);
        expired.truncate(limit);
        expired
    }

    /// The entries of a log after a revision.
    #[must_use]
    pub fn events(&self, scope: Scope, after: Revision, limit: usize) -> Vec<LogEntry> {
        self.logs.get(&scope).into_iter().flatten().filter(|entry| entry.revision > after).take(limit).cloned().collect()
    }

    /// The revision of a log's last entry.
    #[must_use]
    pub fn last(&self, scope: Scope) -> Revision {
        self.lasts.get(&scope).copied().unwrap_or_default()
    }

    /// Forgets all but the newest entries of a log.
    pub fn trim(&mut self, scope: Scope, keep: usize) {
        if let Some(log) = self.logs.get_mut(&scope) {
            log.drain(..log.len().saturating_sub(keep));
        }
    }

    /// Applies a commit at a moment; if it is applied, `revision` is its revision.
    pub fn commit(&mut self, commit: &Commit, now: Micros, revision: Revision) -> Outcome {
        if let Some(first) = commit.op.as_ref().and_then(|op| self.ops.get(op)) {
            return Outcome::Applied(Applied { replayed: true, ..first.clone() });
        }
        let mut refusals = Vec::new();
        for (which, txn) in commit.alternatives.iter().enumerate() {
            let mut after = self.clone();
            if let Err(refusal) = after.apply(txn, now, revision) {
                refusals.push(refusal);
                continue;
            }
            let applied = Applied { which, revision, now, note: txn.note.clone(), replayed: false };
            if let Some(op) = &commit.op {
                after.ops.insert(op.clone(), applied.clone());
            }
            *self = after;
            return Outcome::Applied(applied);
        }
        Outcome::Refused(refusals)
    }

    /// Changes a copy; whoever called throws it away when this refuses.
    fn apply(&mut self, txn: &Txn, now: Micros, revision: Revision) -> Result<(), Refusal> {
        for require in &txn.requires {
            let holds = match (require, self.found(require.key(), now)) {
                (Require::Absent(_), found) => found == Found::Absent,
                (Require::At(_, at), Found::Live(record)) | (Require::Expired(_, at), Found::Expired(record)) => record.revision == *at,
                (Require::Mark(_, mark, value), Found::Live(record)) => record.mark(mark) == *value,
                _ => false,
            };
            if !holds {
                return Err(Refusal::Record(require.key().clone()));
            }
        }
        self.count(txn)?;
        self.measure(txn, now)?;
        for write in &txn.writes {
            self.write(write, now, revision)?;
        }
        for change in &txn.indices {
            self.index(change, now, revision);
        }
        for (scope, payload) in &txn.events {
            let previous = self.lasts.insert(*scope, revision).unwrap_or_default();
            self.logs.entry(*scope).or_default().push(LogEntry { revision, previous, payload: payload.clone() });
        }
        self.revision = revision;
        Ok(())
    }

    fn count(&mut self, txn: &Txn) -> Result<(), Refusal> {
        for add in &txn.adds {
            let value = self.counters.get(&add.counter).copied().unwrap_or(0);
            let moved = value + add.delta;
            if moved < 0 || (add.delta >= 0 && moved > add.max) {
                return Err(Refusal::Counter { counter: add.counter.clone(), value });
            }
            self.counters.insert(add.counter.clone(), moved);
        }
        Ok(())
    }

    fn measure(&mut self, txn: &Txn, now: Micros) -> Result<(), Refusal> {
        for meter in &txn.meters {
            let interval = micros(meter.interval);
            let taken = i128::from(interval) * i128::from(meter.cost) / i128::from(meter.burst);
            let start = self.meters.get(&meter.meter).copied().unwrap_or(0).max(now.0);
            let tat = start + i64::try_from(taken).unwrap_or(i64::MAX);
            if tat - now.0 > interval {
                let retry_after = Duration::from_micros((tat - now.0 - interval).unsigned_abs());
                return Err(Refusal::Meter { meter: meter.meter.clone(), retry_after });
            }
            self.meters.insert(meter.meter.clone(), tat);
        }
        Ok(())
    }

    fn write(&mut self, write: &Write, now: Micros, revision: Revision) -> Result<(), Refusal> {
        match write {
            Write::Put { key, value, life, marks } => {
                let had = self.known(key, now);
                let set = resolve(marks, had.as_ref().map(|stored| &stored.record.marks), now, revision);
                let (expires_at, dropped) = expiry(life, had.as_ref(), now);
                let record = Record { revision, expires_at, marks: set, value: value.clone() };
                self.records.insert(key.clone(), Stored { record, dropped });
            }
            Write::Touch { key, life, marks } => {
                let Found::Live(mut record) = self.found(key, now) else { return Err(Refusal::Record(key.clone())) };
                let had = self.known(key, now);
                record.marks.extend(resolve(marks, Some(&record.marks), now, revision));
                let (expires_at, dropped) = expiry(life, had.as_ref(), now);
                record.expires_at = expires_at;
                self.records.insert(key.clone(), Stored { record, dropped });
            }
            Write::Delete(key) => {
                self.records.remove(key);
            }
        }
        Ok(())
    }

    /// A record that is there, live or waiting for the sweeper.
    fn known(&self, key: &Key, now: Micros) -> Option<Stored> {
        if self.found(key, now) == Found::Absent { None } else { self.records.get(key).cloned() }
    }

    fn index(&mut self, change: &IndexChange, now: Micros, revision: Revision) {
        match change {
            IndexChange::Add(index, member, score) => {
                let mark_of = match score {
                    Number::MarkOf(key, mark) => self.known(key, now).map_or(0, |stored| stored.record.mark(mark)),
                    _ => 0,
                };
                let score = number(score, mark_of, now, revision);
                self.indices.entry(index.clone()).or_default().insert(member.clone(), score);
            }
            IndexChange::Remove(index, member) => {
                self.indices.entry(index.clone()).or_default().remove(member);
            }
        }
    }
}

fn resolve(marks: &[(MarkName, Number)], had: Option<&Marks>, now: Micros, revision: Revision) -> Marks {
    let had = |name: &MarkName| had.and_then(|had| had.get(&**name)).copied().unwrap_or(0);
    marks.iter().map(|(name, value)| (name.clone().into_owned(), number(value, had(name), now, revision))).collect()
}

fn number(number: &Number, looked_up: i64, now: Micros, revision: Revision) -> i64 {
    match number {
        Number::Literal(literal) => *literal,
        Number::Revision => revision.0,
        Number::NowPlus(ahead) => now.after(*ahead).0,
        Number::Keep | Number::MarkOf(..) => looked_up,
    }
}

fn expiry(life: &Life, had: Option<&Stored>, now: Micros) -> (Option<Micros>, bool) {
    let moment = |when: &When| match when {
        When::At(moment) => *moment,
        When::In(ahead) => now.after(*ahead),
    };
    match life {
        Life::Forever => (None, false),
        Life::Keep => had.map_or((None, false), |had| (had.record.expires_at, had.dropped)),
        Life::SweptAt(when) => (Some(moment(when)), false),
        Life::DroppedAt(when) => (Some(moment(when)), true),
    }
}
