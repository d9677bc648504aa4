//! The reads. Each runs in one read transaction, so it sees one moment of the store.

use bytes::Bytes;
use rusqlite::{Row, params};

use super::sql::{Failure, Sql};
use crate::{
    model::{
        id::Namespace,
        time::{History, Micros, Revision},
    },
    store::metadata::{Direction, ExpiredRecord, Found, Head, Index, Key, LogEntry, LogPage, Marks, Range, Reading, Record, Scope},
};

/// A namespace that was written to.
#[derive(Clone, Copy)]
pub(super) struct Space {
    pub(super) id: i64,
    pub(super) revision: Revision,
}

/// A record without its value.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) revision: Revision,
    pub(super) expires_at: Option<Micros>,
    pub(super) dropped: bool,
    pub(super) marks: Marks,
}

/// What a stored record is worth at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    /// It waits for the sweeper.
    Waiting,
    /// It has dropped, though its row may still be there.
    Gone,
}

impl Stored {
    pub(super) fn standing(&self, now: Micros) -> Standing {
        match self.expires_at {
            Some(at) if at <= now && self.dropped => Standing::Gone,
            Some(at) if at <= now => Standing::Waiting,
            _ => Standing::Live,
        }
    }
}

/// The columns of [`Stored`], in the order of [`stored_row`].
macro_rules! stored_columns {
    () => {
        "revision, expires_at, dropped, marks"
    };
}

fn stored_row(row: &Row<'_>) -> rusqlite::Result<(Stored, String)> {
    let stored = Stored { revision: Revision(row.get(0)?), expires_at: row.get::<_, Option<i64>>(1)?.map(Micros), dropped: row.get(2)?, marks: Marks::new() };
    Ok((stored, row.get(3)?))
}

fn with_marks((mut stored, marks): (Stored, String)) -> Result<Stored, Failure> {
    if marks != "{}" {
        stored.marks = serde_json::from_str(&marks).map_err(|error| Failure::Damaged(format!("a record's marks are no JSON object of numbers ({error})")))?;
    }
    Ok(stored)
}

pub(super) fn space(sql: &mut Sql<'_>, ns: &Namespace) -> Result<Option<Space>, Failure> {
    sql.one("SELECT id, revision FROM namespace WHERE name = ?1", [ns.as_str()], |row| Ok(Space { id: row.get(0)?, revision: Revision(row.get(1)?) }))
}

/// A record without its value, also one that has dropped.
pub(super) fn stored(sql: &mut Sql<'_>, space: i64, key: &Key) -> Result<Option<Stored>, Failure> {
    const SELECT: &str = concat!("SELECT ", stored_columns!(), " FROM record WHERE namespace = ?1 AND key = ?2");
    sql.one(SELECT, params![space, key.0], stored_row)?.map(with_marks).transpose()
}

pub(super) fn get(sql: &mut Sql<'_>, ns: &Namespace, keys: &[Key], now: Micros) -> Result<Reading, Failure> {
    const SELECT: &str = concat!("SELECT ", stored_columns!(), ", value FROM record WHERE namespace = ?1 AND key = ?2");
    let Some(space) = space(sql, ns)? else {
        return Ok(Reading { found: vec![Found::Absent; keys.len()], revision: Revision::ZERO, now });
    };
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let row = sql.one(SELECT, params![space.id, key.0], |row| Ok((stored_row(row)?, row.get::<_, Vec<u8>>(4)?)))?;
        found.push(match row {
            None => Found::Absent,
            Some((stored, value)) => judge(with_marks(stored)?, value, now),
        });
    }
    Ok(Reading { found, revision: space.revision, now })
}

fn judge(stored: Stored, value: Vec<u8>, now: Micros) -> Found {
    let standing = stored.standing(now);
    let record = record(stored, value);
    match standing {
        Standing::Live => Found::Live(record),
        Standing::Waiting => Found::Expired(record),
        Standing::Gone => Found::Absent,
    }
}

fn record(stored: Stored, value: Vec<u8>) -> Record {
    Record { revision: stored.revision, expires_at: stored.expires_at, marks: stored.marks, value: Bytes::from(value) }
}

pub(super) fn scan(sql: &mut Sql<'_>, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: i64) -> Result<Vec<(i64, String)>, Failure> {
    let Some(Space { id, .. }) = space(sql, ns)? else { return Ok(Vec::new()) };
    let name = &index.0;
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    match (range, direction) {
        (Range::From(None), Direction::Ascending) => sql.all(select::FIRST, params![id, name, limit], row),
        (Range::From(None), Direction::Descending) => sql.all(select::LAST, params![id, name, limit], row),
        (Range::From(Some((score, member))), Direction::Ascending) => sql.all(select::AFTER, params![id, name, limit, score, member], row),
        (Range::From(Some((score, member))), Direction::Descending) => sql.all(select::BEFORE, params![id, name, limit, score, member], row),
        (Range::Prefix(prefix), Direction::Ascending) => sql.all(select::PREFIX, params![id, name, limit, prefix, past(prefix)], row),
        (Range::Prefix(prefix), Direction::Descending) => sql.all(select::PREFIX_BACK, params![id, name, limit, prefix, past(prefix)], row),
    }
}

/// The queries of [`scan`]. Members compare as their bytes.
mod select {
    macro_rules! members {
        ($rest:literal) => {
            concat!("SELECT score, member FROM member WHERE namespace = ?1 AND name = ?2 ", $rest, " LIMIT ?3")
        };
    }
    pub(super) const FIRST: &str = members!("ORDER BY score, member");
    pub(super) const LAST: &str = members!("ORDER BY score DESC, member DESC");
    pub(super) const AFTER: &str = members!("AND (score, member) > (?4, ?5) ORDER BY score, member");
    pub(super) const BEFORE: &str = members!("AND (score, member) < (?4, ?5) ORDER BY score DESC, member DESC");
    pub(super) const PREFIX: &str = members!("AND member >= ?4 AND member < CAST(?5 AS TEXT) ORDER BY member");
    pub(super) const PREFIX_BACK: &str = members!("AND member >= ?4 AND member < CAST(?5 AS TEXT) ORDER BY member DESC");
}

/// Sorts after every text that starts with `prefix`: no UTF-8 has the byte 0xFF.
fn past(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[0xFF]].concat()
}

pub(super) fn expired(sql: &mut Sql<'_>, ns: &Namespace, limit: i64, now: Micros) -> Result<Vec<ExpiredRecord>, Failure> {
    const SELECT: &str = concat!(
        "SELECT ",
        stored_columns!(),
        ", key, value FROM record WHERE namespace = ?1 AND dropped = 0 AND expires_at IS NOT NULL AND expires_at <= ?2 ORDER BY expires_at, key LIMIT ?3"
    );
    let Some(Space { id, .. }) = space(sql, ns)? else { return Ok(Vec::new()) };
    let rows = sql.all(SELECT, params![id, now.0, limit], |row| Ok((stored_row(row)?, row.get::<_, String>(4)?, row.get::<_, Vec<u8>>(5)?)))?;
    rows.into_iter().map(|(stored, key, value)| Ok(ExpiredRecord { key: Key(key), record: record(with_marks(stored)?, value) })).collect()
}

pub(super) fn events(sql: &mut Sql<'_>, ns: &Namespace, scope: Scope, after: Revision, limit: i64, history: &History) -> Result<LogPage, Failure> {
    const SELECT: &str = "SELECT revision, previous, payload FROM log WHERE namespace = ?1 AND scope = ?2 AND revision > ?3 ORDER BY revision LIMIT ?4";
    let Some(Space { id, .. }) = space(sql, ns)? else {
        return Ok(LogPage { entries: Vec::new(), head: head(sql, ns, scope, history)? });
    };
    let entries = sql.all(SELECT, params![id, scope.name(), after.0, limit], |row| {
        let payload = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        Ok(LogEntry { revision: Revision(row.get(0)?), previous: Revision(row.get(1)?), payload })
    })?;
    Ok(LogPage { entries, head: head(sql, ns, scope, history)? })
}

pub(super) fn head(sql: &mut Sql<'_>, ns: &Namespace, scope: Scope, history: &History) -> Result<Head, Failure> {
    let Some(Space { id, revision }) = space(sql, ns)? else {
        return Ok(Head { history: history.clone(), revision: Revision::ZERO, last: Revision::ZERO });
    };
    Ok(Head { history: history.clone(), revision, last: last(sql, id, scope)? })
}

/// The revision of a log's last entry in this history.
pub(super) fn last(sql: &mut Sql<'_>, space: i64, scope: Scope) -> Result<Revision, Failure> {
    const SELECT: &str = "SELECT last FROM log_head WHERE namespace = ?1 AND scope = ?2";
    Ok(sql.one(SELECT, params![space, scope.name()], |row| row.get(0).map(Revision))?.unwrap_or_default())
}

pub(super) fn namespaces(sql: &mut Sql<'_>) -> Result<Vec<Namespace>, Failure> {
    let names: Vec<String> = sql.all("SELECT name FROM namespace ORDER BY name", [], |row| row.get(0))?;
    let parse = |name: String| Namespace::parse("namespace", &name).map_err(|error| Failure::Damaged(error.message().to_owned()));
    names.into_iter().map(parse).collect()
}
