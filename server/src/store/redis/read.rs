//! Reads: one script, one command, or a row of commands that are sent in one go.

use futures::{StreamExt as _, TryStreamExt as _};
use redis::{Value, cmd};

use super::{
    super::metadata::{Direction, ExpiredRecord, Found, Head, Index, Key, LogPage, Range, Reading, Scope},
    RedisStore,
    connect::Link,
    decode,
    failure::{Failure, corrupt},
    gather::Request,
    keys::{Space, last},
    script::{Args, EVENTS, EXPIRED, GET, SCAN, TOUCH},
};
use crate::model::{
    error::Result,
    id::Namespace,
    time::{Revision, micros},
};

/// Most namespaces that are asked at once.
const AT_ONCE: usize = 32;

/// Reads single records of a namespace: those asked for at the same time in a row of commands, behind one look at the clock and at the namespace's revision. The order
/// matters: a record may be newer than the clock and the revision that are answered with it, never older.
pub(super) async fn send(link: &Link, space: &Space, requests: Vec<Request<Key, Reading>>) {
    match row(link, space, requests.iter().map(|request| &request.what)).await {
        Ok(readings) => requests.into_iter().zip(readings).for_each(|(request, reading)| request.answer(reading)),
        Err(failure) => requests.into_iter().for_each(|request| request.answer(Err(link.error(failure.clone())))),
    }
}

/// A reading for every key; fails when no key can be read.
async fn row(link: &Link, space: &Space, keys: impl Iterator<Item = &Key>) -> Result<Vec<Result<Reading>>, Failure> {
    let mut row = redis::pipe();
    row.ignore_errors().cmd("TIME").cmd("HGET").arg(space.meta()).arg("rev");
    for key in keys {
        row.cmd("HGETALL").arg(space.record(key));
    }
    let mut answers = link.read_row(&row).await?.into_iter().map(|answer| answer.extract_error().map_err(Failure::from));
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    let (clock, revision) = (next()?, next()?);
    let moment = decode::Moment::of(clock, revision);
    let reading = |fields: Result<Value, Failure>| match (&moment, fields) {
        (Ok(moment), Ok(fields)) => moment.reading(fields),
        (Err(_), _) => Err(corrupt("a revision")),
        (_, Err(failure)) => {
            link.heed(&failure);
            Err(link.error(failure))
        }
    };
    Ok(answers.map(reading).collect())
}

impl RedisStore {
    /// Many records are read by a script, so that they are of one moment. One record is of one moment anyway.
    pub(super) async fn read(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        match keys {
            [key] if !self.link.is_cluster() => self.reads.ask(ns, key.clone(), 0, false).await,
            keys => self.read_all(&self.keys().of(ns), keys).await,
        }
    }

    /// Reads records by the script.
    pub(super) async fn read_all(&self, space: &Space, keys: &[Key]) -> Result<Reading> {
        let mut names = Args::new();
        names.push(space.meta());
        for key in keys {
            names.push(space.record(key));
        }
        decode::reading(self.link.query(&GET, &names, &Args::new()).await?)
    }

    /// Reads one record as [`send`] does.
    pub(super) async fn read_one(&self, space: &Space, key: &Key) -> Result<Reading> {
        let readings = row(&self.link, space, std::iter::once(key)).await.map_err(|failure| self.link.error(failure))?;
        readings.into_iter().next().unwrap_or_else(|| Err(corrupt("an answer")))
    }

    pub(super) async fn scan_index(&self, space: &Space, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        let key = space.index(index);
        let descending = direction == Direction::Descending;
        match range {
            Range::From(Some((score, member))) => {
                let mut args = Args::new();
                args.number(*score).push(member).push(if descending { "1" } else { "0" }).count(limit);
                decode::scored(self.link.query(&SCAN, &[key].into_iter().collect(), &args).await?)
            }
            Range::From(None) => {
                let mut command = cmd("ZRANGE");
                command.arg(key).arg(0).arg(limit - 1);
                if descending {
                    command.arg("REV");
                }
                command.arg("WITHSCORES");
                decode::scored(self.link.read(&command).await.map_err(|failure| self.link.error(failure))?)
            }
            Range::Prefix(prefix) => {
                // No UTF-8 has the byte 0xff, so this is above everything that starts with the prefix.
                let bounds = [[b"[", prefix.as_bytes()].concat(), [b"(", prefix.as_bytes(), b"\xff"].concat()];
                let mut command = cmd("ZRANGE");
                command.arg(key);
                if descending {
                    command.arg(&bounds[1]).arg(&bounds[0]).arg("BYLEX").arg("REV");
                } else {
                    command.arg(&bounds[0]).arg(&bounds[1]).arg("BYLEX");
                }
                command.arg("LIMIT").arg(0).arg(limit);
                let answer = self.link.read(&command).await.map_err(|failure| self.link.error(failure))?;
                Ok(decode::members(answer)?.into_iter().map(|member| (0, member)).collect())
            }
        }
    }

    /// First the keys by the store's clock, then their records: a record that was swept or revived in between is left out, and the sweeper compares revisions anyway.
    pub(super) async fn past_expiry(&self, space: &Space, limit: usize) -> Result<Vec<ExpiredRecord>> {
        let mut out = Vec::new();
        let mut passed = 0;
        while out.len() < limit {
            let wanted = limit - out.len();
            let mut args = Args::new();
            args.count(passed).count(wanted);
            let keys = self.link.query(&EXPIRED, &[space.expiries()].into_iter().collect(), &args).await?;
            let keys: Vec<Key> = decode::members(keys)?.into_iter().map(Key).collect();
            if keys.is_empty() {
                break;
            }
            passed += keys.len();
            let reading = self.read_all(space, &keys).await?;
            let (length, found) = (keys.len(), keys.into_iter().zip(reading.found));
            out.extend(found.filter_map(|(key, found)| match found {
                Found::Expired(record) => Some(ExpiredRecord { key, record }),
                Found::Absent | Found::Live(_) => None,
            }));
            if length < wanted {
                break;
            }
        }
        Ok(out)
    }

    pub(super) async fn log_page(&self, ns: &Namespace, space: &Space, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        let page = self.log_part(space, scope, after, limit).await?;
        if !page.head.history.0.is_empty() {
            return Ok(page);
        }
        // Nobody wrote or asked before: the history that the first commit would begin must not look like a change.
        self.touch(ns, space, scope).await?;
        self.log_part(space, scope, after, limit).await
    }

    pub(super) async fn log_part(&self, space: &Space, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        let mut args = Args::new();
        // Redis has no page of no entries, but the head is asked for.
        args.number(after.0.max(0)).count(limit.max(1)).push(last(scope));
        let mut page = decode::page(self.link.query(&EVENTS, &[space.meta(), space.log(scope)].into_iter().collect(), &args).await?)?;
        page.entries.truncate(limit);
        Ok(page)
    }

    pub(super) async fn touch(&self, ns: &Namespace, space: &Space, scope: Scope) -> Result<Head> {
        let names: Args = [space.meta(), space.log(Scope::Sessions), space.log(Scope::Cache)].into_iter().collect();
        let mut args = Args::new();
        args.number(self.floor(ns)).number(micros(super::super::metadata::HISTORY_LEAP)).push(scope.name());
        decode::head(self.link.query(&TOUCH, &names, &args).await?)
    }

    /// The namespaces of the set that have a revision: one is entered before its first commit, which may then be refused.
    pub(super) async fn written_namespaces(&self) -> Result<Vec<Namespace>> {
        let mut command = cmd("SMEMBERS");
        command.arg(self.keys().namespaces());
        let answer = self.link.read(&command).await.map_err(|failure| self.link.error(failure))?;
        let names = decode::members(answer)?;
        let checks: Vec<_> = names.into_iter().map(|name| self.written(name)).collect();
        let checked: Vec<Option<Namespace>> = futures::stream::iter(checks).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut out: Vec<_> = checked.into_iter().flatten().collect();
        out.sort();
        Ok(out)
    }

    /// The namespace of this name, if there is a revision in it.
    async fn written(&self, name: String) -> Result<Option<Namespace>> {
        let ns = Namespace::parse("namespace", &name).map_err(|_| corrupt("a namespace's name"))?;
        let mut command = cmd("HEXISTS");
        command.arg(self.keys().of(&ns).meta()).arg("rev");
        let written = self.link.read(&command).await.map_err(|failure| self.link.error(failure))?;
        Ok(matches!(written, Value::Int(1) | Value::Boolean(true)).then_some(ns))
    }
}
