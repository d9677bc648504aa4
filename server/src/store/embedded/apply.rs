//! One commit inside the writer's transaction: find the first alternative that holds, by reading only; then write it.

use std::time::Duration;

use rusqlite::params;

use super::{
    read::{self, Space, Standing, Stored},
    sql::{Failure, Sql},
    write::Writing,
    writer::Rules,
};
use crate::{
    model::{
        id::Namespace,
        time::{Micros, Revision, micros},
    },
    store::metadata::{Add, Applied, Commit, Key, Meter, Outcome, Refusal, Require, Txn, Write},
};

/// What an alternative that holds will do to counters and meters.
pub(super) struct Checked {
    pub(super) counters: Vec<i64>,
    pub(super) meters: Vec<i64>,
}

/// Applies a commit, or says why not. When this fails the caller rolls back to where it was before.
pub(super) fn commit(sql: &mut Sql<'_>, rules: &Rules, ns: &Namespace, commit: &Commit, now: Micros) -> Result<Outcome, Failure> {
    let space = read::space(sql, ns)?;
    let id = space.map(|space| space.id);
    if let (Some(id), Some(op)) = (id, &commit.op)
        && let Some(applied) = remembered(sql, id, op)?
    {
        return Ok(Outcome::Applied(applied));
    }
    let mut refusals = Vec::new();
    for (which, txn) in commit.alternatives.iter().enumerate() {
        match check(sql, id, txn, now)? {
            Err(refusal) => refusals.push(refusal),
            Ok(checked) => {
                let revision = next(rules, space, now);
                let applied = Applied { which, revision, now, note: txn.note.clone(), replayed: false };
                let mut writing = Writing { space: advance(sql, rules, ns, space, revision)?, sql, rules, revision, now };
                writing.all(txn, &checked)?;
                writing.remember(commit.op.as_deref(), &applied)?;
                return Ok(Outcome::Applied(applied));
            }
        }
    }
    Ok(Outcome::Refused(refusals))
}

/// `max(previous + 1, store clock)`, and not below where this history starts.
fn next(rules: &Rules, space: Option<Space>, now: Micros) -> Revision {
    let previous = space.map_or(Revision::ZERO, |space| space.revision);
    Revision((previous.0 + 1).max(now.0).max(rules.floor.0))
}

fn remembered(sql: &mut Sql<'_>, space: i64, op: &str) -> Result<Option<Applied>, Failure> {
    sql.one("SELECT which, revision, now, note FROM op WHERE namespace = ?1 AND name = ?2", params![space, op], |row| {
        let which = usize::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
        Ok(Applied { which, revision: Revision(row.get(1)?), now: Micros(row.get(2)?), note: row.get::<_, Vec<u8>>(3)?.into(), replayed: true })
    })
}

fn check(sql: &mut Sql<'_>, space: Option<i64>, txn: &Txn, now: Micros) -> Result<Result<Checked, Refusal>, Failure> {
    for require in &txn.requires {
        let found = find(sql, space, require.key(), now)?;
        if !holds(require, found.as_ref()) {
            return Ok(Err(Refusal::Record(require.key().clone())));
        }
    }
    let mut checked = Checked { counters: Vec::with_capacity(txn.adds.len()), meters: Vec::with_capacity(txn.meters.len()) };
    for add in &txn.adds {
        match count(sql, space, add)? {
            Ok(value) => checked.counters.push(value),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    for meter in &txn.meters {
        match admit(sql, space, meter, now)? {
            Ok(tat) => checked.meters.push(tat),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    for write in &txn.writes {
        if let Write::Touch { key, .. } = write
            && !matches!(find(sql, space, key, now)?, Some((_, Standing::Live)))
        {
            return Ok(Err(Refusal::Record(key.clone())));
        }
    }
    Ok(Ok(checked))
}

/// A record that is there, live or waiting for the sweeper.
pub(super) fn find(sql: &mut Sql<'_>, space: Option<i64>, key: &Key, now: Micros) -> Result<Option<(Stored, Standing)>, Failure> {
    let Some(space) = space else { return Ok(None) };
    let Some(stored) = read::stored(sql, space, key)? else { return Ok(None) };
    let standing = stored.standing(now);
    Ok((standing != Standing::Gone).then_some((stored, standing)))
}

fn holds(require: &Require, found: Option<&(Stored, Standing)>) -> bool {
    match (require, found) {
        (Require::Absent(_), found) => found.is_none(),
        (Require::At(_, revision), Some((stored, Standing::Live))) | (Require::Expired(_, revision), Some((stored, Standing::Waiting))) => {
            stored.revision == *revision
        }
        (Require::Mark(_, mark, value), Some((stored, Standing::Live))) => stored.marks.get(&**mark).copied().unwrap_or(0) == *value,
        _ => false,
    }
}

fn count(sql: &mut Sql<'_>, space: Option<i64>, add: &Add) -> Result<Result<i64, Refusal>, Failure> {
    const SELECT: &str = "SELECT value FROM counter WHERE namespace = ?1 AND name = ?2";
    let value = match space {
        Some(space) => sql.one(SELECT, params![space, add.counter.0], |row| row.get(0))?.unwrap_or(0),
        None => 0,
    };
    let moved = value + add.delta;
    let refused = moved < 0 || (add.delta >= 0 && moved > add.max);
    Ok(if refused { Err(Refusal::Counter { counter: add.counter.clone(), value }) } else { Ok(moved) })
}

fn admit(sql: &mut Sql<'_>, space: Option<i64>, meter: &Meter, now: Micros) -> Result<Result<i64, Refusal>, Failure> {
    const SELECT: &str = "SELECT tat FROM meter WHERE namespace = ?1 AND name = ?2";
    let stored = match space {
        Some(space) => sql.one(SELECT, params![space, meter.meter.0], |row| row.get(0))?.unwrap_or(0),
        None => 0,
    };
    let interval = micros(meter.interval);
    let taken = i128::from(interval) * i128::from(meter.cost) / i128::from(meter.burst);
    let tat = stored.max(now.0).saturating_add(i64::try_from(taken).unwrap_or(i64::MAX));
    let over = tat.saturating_sub(now.0).saturating_sub(interval);
    match u64::try_from(over) {
        Ok(over) if over > 0 => Ok(Err(Refusal::Meter { meter: meter.meter.clone(), retry_after: Duration::from_micros(over) })),
        _ => Ok(Ok(tat)),
    }
}

/// Moves the namespace to the transaction's revision; makes it when this is its first.
fn advance(sql: &mut Sql<'_>, rules: &Rules, ns: &Namespace, space: Option<Space>, revision: Revision) -> Result<i64, Failure> {
    let id = match space {
        Some(Space { id, .. }) => {
            sql.run("UPDATE namespace SET revision = ?2 WHERE id = ?1", params![id, revision.0])?;
            id
        }
        None => sql
            .one("INSERT INTO namespace (name, revision) VALUES (?1, ?2) RETURNING id", params![ns.as_str(), revision.0], |row| row.get(0))?
            .ok_or_else(|| Failure::Damaged("a new namespace got no id".to_owned()))?,
    };
    rules.step()?;
    Ok(id)
}
