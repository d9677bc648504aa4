//! A transaction that holds is written into the tables, step by step; a failure between two steps undoes all of them.

use rusqlite::{Params, params};

use super::{
    apply::{self, Checked},
    read,
    sql::{Failure, Sql},
    writer::Rules,
};
use crate::{
    model::time::{Micros, Revision},
    store::metadata::{Applied, Index, IndexChange, Key, Life, MarkName, Marks, Number, OP_TTL, Scope, Txn, When, Write},
};

/// A transaction on its way into the tables.
pub(super) struct Writing<'a, 'c> {
    pub(super) sql: &'a mut Sql<'c>,
    pub(super) rules: &'a Rules,
    pub(super) space: i64,
    pub(super) revision: Revision,
    pub(super) now: Micros,
}

/// When a record expires, and whether it then vanishes by itself.
type Expiry = (Option<Micros>, bool);

impl Writing<'_, '_> {
    pub(super) fn all(&mut self, txn: &Txn, checked: &Checked) -> Result<(), Failure> {
        for (add, value) in txn.adds.iter().zip(&checked.counters) {
            self.counter(&add.counter, *value)?;
        }
        for (meter, tat) in txn.meters.iter().zip(&checked.meters) {
            const UPSERT: &str = "INSERT INTO meter (namespace, name, tat) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET tat = excluded.tat";
            step(self.sql, self.rules, UPSERT, params![self.space, meter.meter.0, tat])?;
        }
        txn.writes.iter().try_for_each(|write| self.record(write))?;
        txn.indices.iter().try_for_each(|change| self.index(change))?;
        txn.events.iter().try_for_each(|(scope, payload)| self.event(*scope, payload))
    }

    /// Remembers the result for a repetition.
    pub(super) fn remember(&mut self, op: Option<&str>, applied: &Applied) -> Result<(), Failure> {
        const INSERT: &str = "INSERT INTO op (namespace, name, forget_at, which, revision, now, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let Some(op) = op else { return Ok(()) };
        let which = i64::try_from(applied.which).unwrap_or(i64::MAX);
        step(self.sql, self.rules, INSERT, params![self.space, op, self.now.after(OP_TTL).0, which, self.revision.0, self.now.0, &applied.note[..]])
    }

    /// A counter at 0 is as good as none, and takes no room.
    fn counter(&mut self, counter: &Key, value: i64) -> Result<(), Failure> {
        const UPSERT: &str = "INSERT INTO counter (namespace, name, value) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value";
        if value == 0 {
            return step(self.sql, self.rules, "DELETE FROM counter WHERE namespace = ?1 AND name = ?2", params![self.space, counter.0]);
        }
        step(self.sql, self.rules, UPSERT, params![self.space, counter.0, value])
    }

    fn record(&mut self, write: &Write) -> Result<(), Failure> {
        const PUT: &str = "INSERT INTO record (namespace, key, revision, expires_at, dropped, marks, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT DO UPDATE SET revision = excluded.revision, expires_at = excluded.expires_at, dropped = excluded.dropped, marks = excluded.marks, value = excluded.value";
        const TOUCH: &str = "UPDATE record SET expires_at = ?3, dropped = ?4, marks = ?5 WHERE namespace = ?1 AND key = ?2";
        match write {
            Write::Put { key, value, life, marks } => {
                let (expiry, had) = self.standing(key, life, marks)?;
                let mut set = Marks::new();
                self.set_marks(&mut set, &had, marks);
                let (expires_at, dropped) = self.expiry(life, expiry);
                step(self.sql, self.rules, PUT, params![self.space, key.0, self.revision.0, expires_at.map(|at| at.0), dropped, json(&set)?, &value[..]])
            }
            Write::Touch { key, life, marks } => {
                let (expiry, had) = self.standing(key, &Life::Keep, marks)?;
                let mut set = had.clone();
                self.set_marks(&mut set, &had, marks);
                let (expires_at, dropped) = self.expiry(life, expiry);
                step(self.sql, self.rules, TOUCH, params![self.space, key.0, expires_at.map(|at| at.0), dropped, json(&set)?])
            }
            Write::Delete(key) => step(self.sql, self.rules, "DELETE FROM record WHERE namespace = ?1 AND key = ?2", params![self.space, key.0]),
        }
    }

    /// The expiry and marks that a record has now; not looked up when nothing is kept of them.
    fn standing(&mut self, key: &Key, life: &Life, marks: &[(MarkName, Number)]) -> Result<(Expiry, Marks), Failure> {
        let none = ((None, false), Marks::new());
        if *life != Life::Keep && marks.iter().all(|(_, number)| *number != Number::Keep) {
            return Ok(none);
        }
        let found = apply::find(self.sql, Some(self.space), key, self.now)?;
        Ok(found.map_or(none, |(stored, _)| ((stored.expires_at, stored.dropped), stored.marks)))
    }

    fn expiry(&self, life: &Life, had: Expiry) -> Expiry {
        let moment = |when: &When| match when {
            When::At(moment) => *moment,
            When::In(ahead) => self.now.after(*ahead),
        };
        match life {
            Life::Forever => (None, false),
            Life::Keep => had,
            Life::SweptAt(when) => (Some(moment(when)), false),
            Life::DroppedAt(when) => (Some(moment(when)), true),
        }
    }

    fn set_marks(&self, marks: &mut Marks, had: &Marks, set: &[(MarkName, Number)]) {
        for (name, number) in set {
            let kept = had.get(&**name).copied().unwrap_or(0);
            marks.insert(name.clone().into_owned(), self.number(number, kept));
        }
    }

    /// A number as of this transaction; `kept` stands for what only a lookup knows.
    fn number(&self, number: &Number, kept: i64) -> i64 {
        match number {
            Number::Literal(literal) => *literal,
            Number::Revision => self.revision.0,
            Number::NowPlus(ahead) => self.now.after(*ahead).0,
            Number::Keep | Number::MarkOf(..) => kept,
        }
    }

    fn index(&mut self, change: &IndexChange) -> Result<(), Failure> {
        const UPSERT: &str = "INSERT INTO member (namespace, name, member, score) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET score = excluded.score";
        const DELETE: &str = "DELETE FROM member WHERE namespace = ?1 AND name = ?2 AND member = ?3";
        match change {
            IndexChange::Add(Index(name), member, score) => {
                let mut mark_of = 0;
                if let Number::MarkOf(key, mark) = score {
                    let found = apply::find(self.sql, Some(self.space), key, self.now)?;
                    mark_of = found.and_then(|(stored, _)| stored.marks.get(&**mark).copied()).unwrap_or(0);
                }
                let score = self.number(score, mark_of);
                step(self.sql, self.rules, UPSERT, params![self.space, name, member, score])
            }
            IndexChange::Remove(Index(name), member) => step(self.sql, self.rules, DELETE, params![self.space, name, member]),
        }
    }

    fn event(&mut self, scope: Scope, payload: &[u8]) -> Result<(), Failure> {
        const INSERT: &str = "INSERT INTO log (namespace, scope, revision, previous, payload) VALUES (?1, ?2, ?3, ?4, ?5)";
        const HEAD: &str = "INSERT INTO log_head (namespace, scope, last, entries) VALUES (?1, ?2, ?3, 1)
            ON CONFLICT DO UPDATE SET last = excluded.last, entries = entries + 1";
        let previous = read::last(self.sql, self.space, scope)?;
        step(self.sql, self.rules, INSERT, params![self.space, scope.name(), self.revision.0, previous.0, payload])?;
        step(self.sql, self.rules, HEAD, params![self.space, scope.name(), self.revision.0])
    }
}

fn json(marks: &Marks) -> Result<String, Failure> {
    serde_json::to_string(marks).map_err(|error| Failure::Damaged(format!("marks are no JSON ({error})")))
}

/// One write, after which the process may die.
fn step(sql: &mut Sql<'_>, rules: &Rules, text: &'static str, params: impl Params) -> Result<(), Failure> {
    sql.run(text, params)?;
    rules.step()
}
