//! What is outdated goes: old log entries, results of operations, records that dropped, meters that are full again.

use std::time::Duration;

use rusqlite::params;

use super::sql::{Failure, Sql};
use crate::model::time::{Micros, micros};
#[cfg(any(test, feature = "conformance"))]
use {
    super::read,
    crate::{model::id::Namespace, store::metadata::Scope},
};

/// Most rows of one kind that one pass removes, so that commits never wait long for it.
const PASS: i64 = 500;

/// How much of a log is kept, and how often that is seen to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries younger than this are kept …
    pub log_age: Duration,
    /// … as long as there are not more than this many in a scope.
    pub log_entries: u32,
    /// How often what is outdated is looked for.
    pub every: Duration,
}

impl Default for Limits {
    /// 15 minutes, 200,000 entries, every 5 s.
    fn default() -> Self {
        Self { log_age: Duration::from_mins(15), log_entries: 200_000, every: Duration::from_secs(5) }
    }
}

/// Whether a pass left outdated rows behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    More,
    Nothing,
}

/// One pass, in a transaction of its own.
pub(super) fn trim(sql: &mut Sql<'_>, limits: &Limits, now: Micros) -> Result<Left, Failure> {
    sql.run("BEGIN IMMEDIATE", [])?;
    let result = all(sql, limits, now);
    if result.is_ok() {
        sql.run("COMMIT", [])?;
    }
    if !sql.is_idle() {
        sql.run("ROLLBACK", [])?;
    }
    result
}

fn all(sql: &mut Sql<'_>, limits: &Limits, now: Micros) -> Result<Left, Failure> {
    const DROPPED: &str =
        "DELETE FROM record WHERE id IN (SELECT id FROM record WHERE dropped = 1 AND expires_at IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
    const OPS: &str = "DELETE FROM op WHERE (namespace, name) IN (SELECT namespace, name FROM op WHERE forget_at <= ?1 ORDER BY forget_at LIMIT ?2)";
    const METERS: &str = "DELETE FROM meter WHERE (namespace, name) IN (SELECT namespace, name FROM meter WHERE tat <= ?1 ORDER BY tat LIMIT ?2)";
    let mut most = 0;
    for text in [DROPPED, OPS, METERS] {
        most = most.max(sql.run(text, params![now.0, PASS])?);
    }
    let logs: Vec<(i64, String, i64)> =
        sql.all("SELECT namespace, scope, entries FROM log_head WHERE entries > 0", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (space, scope, entries) in logs {
        most = most.max(log(sql, space, &scope, entries, limits, now)?);
    }
    Ok(if i64::try_from(most).is_ok_and(|most| most < PASS) { Left::Nothing } else { Left::More })
}

/// Removes a log's oldest entries: those above the number, and those too old. A revision is never behind the clock, so it dates its entry.
fn log(sql: &mut Sql<'_>, space: i64, scope: &str, entries: i64, limits: &Limits, now: Micros) -> Result<usize, Failure> {
    const DELETE: &str = "DELETE FROM log WHERE namespace = ?1 AND scope = ?2 AND revision IN
        (SELECT revision FROM log WHERE namespace = ?1 AND scope = ?2 AND revision < ?3 ORDER BY revision LIMIT ?4)";
    const COUNT: &str = "UPDATE log_head SET entries = entries - ?3 WHERE namespace = ?1 AND scope = ?2";
    let over = (entries - i64::from(limits.log_entries)).clamp(0, PASS);
    let mut removed = sql.run(DELETE, params![space, scope, i64::MAX, over])?;
    let oldest = now.0.saturating_sub(micros(limits.log_age));
    removed += sql.run(DELETE, params![space, scope, oldest, PASS - over])?;
    if removed > 0 {
        sql.run(COUNT, params![space, scope, i64::try_from(removed).unwrap_or(i64::MAX)])?;
    }
    Ok(removed)
}

/// Removes a log's entries down to its newest `keep`.
#[cfg(any(test, feature = "conformance"))]
pub(super) fn down_to(sql: &mut Sql<'_>, ns: &Namespace, scope: Scope, keep: u32) -> Result<(), Failure> {
    const ENTRIES: &str = "SELECT entries FROM log_head WHERE namespace = ?1 AND scope = ?2";
    let Some(space) = read::space(sql, ns)? else { return Ok(()) };
    let limits = Limits { log_entries: keep, ..Limits::default() };
    loop {
        let entries = sql.one(ENTRIES, params![space.id, scope.name()], |row| row.get(0))?.unwrap_or(0);
        if log(sql, space.id, scope.name(), entries, &limits, Micros(0))? == 0 {
            return Ok(());
        }
    }
}
