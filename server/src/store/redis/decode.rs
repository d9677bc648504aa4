//! Answers of the scripts as the contract's types. What cannot be read was not written by the engine.

use std::time::Duration;

use bytes::Bytes;
use redis::{RedisError, Value};

use super::{
    super::metadata::{Applied, Commit, Found, Head, Key, LogEntry, LogPage, Marks, Outcome, Reading, Record, Refusal},
    failure::corrupt,
    keys::Space,
};
use crate::model::{
    error::Result,
    time::{History, Micros, Revision},
};

/// The parts of an answer, taken one after the other.
pub(super) struct Parts(std::vec::IntoIter<Value>);

impl Parts {
    /// Of an array.
    pub(super) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(corrupt("an answer")),
        }
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// The next one.
    pub(super) fn any(&mut self) -> Result<Value> {
        self.0.next().ok_or_else(|| corrupt("too short an answer"))
    }

    /// The next two as the server's time.
    fn time(&mut self) -> Result<Micros> {
        let (seconds, rest) = (self.number()?, self.number()?);
        seconds.checked_mul(1_000_000).and_then(|now| now.checked_add(rest)).map(Micros).ok_or_else(|| corrupt("the server's time"))
    }

    /// The next one as bytes.
    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        match self.any()? {
            Value::BulkString(bytes) => Ok(bytes.into()),
            Value::SimpleString(text) => Ok(text.into_bytes().into()),
            Value::Okay => Ok(Bytes::from_static(b"OK")),
            Value::Int(number) => Ok(number.to_string().into()),
            _ => Err(corrupt("a value of an unexpected type")),
        }
    }

    /// The next one as text.
    pub(super) fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| corrupt("a name that is not UTF-8"))
    }

    /// The next one as a number.
    pub(super) fn number(&mut self) -> Result<i64> {
        match self.any()? {
            Value::Int(number) => Ok(number),
            Value::BulkString(bytes) => number(&bytes),
            #[expect(clippy::cast_possible_truncation, reason = "scores are whole and at most 2^53")]
            Value::Double(score) => Ok(score as i64),
            _ => Err(corrupt("a number of an unexpected type")),
        }
    }

    /// The next one as a revision.
    pub(super) fn revision(&mut self) -> Result<Revision> {
        self.number().map(Revision)
    }
}

/// A number as Redis writes it: in full, or large scores as 9.007e+15.
fn number(bytes: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("a number that is not text"))?;
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "scores are whole and at most 2^53")]
        Ok(score) if score.fract() == 0.0 => Ok(score as i64),
        _ => Err(corrupt("a number that cannot be read")),
    }
}

/// The error that one commit met in the script, if it did: as a command of its own would have been answered with.
pub(super) fn met(answer: &Value) -> Option<RedisError> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(kind), Value::BulkString(words)] = &parts[..] else { return None };
    if kind != b"failed" {
        return None;
    }
    let line = format!("-{}\r\n", String::from_utf8_lossy(words).replace(['\r', '\n'], " "));
    redis::parse_redis_value(line.as_bytes()).and_then(Value::extract_error).err()
}

/// What became of one commit, and whether a new history began. `nonce` tells a repetition by the connection from one by the caller.
pub(super) fn outcome(answer: Value, space: &Space, commit: &Commit, nonce: Option<&str>) -> Result<(Outcome, bool)> {
    let mut parts = Parts::of(answer)?;
    match &*parts.bytes()? {
        b"applied" => {
            let which = usize::try_from(parts.number()?).unwrap_or(usize::MAX);
            let (revision, now) = (parts.revision()?, Micros(parts.number()?));
            let note = commit.alternatives.get(which).ok_or_else(|| corrupt("an answer"))?.note.clone();
            let fresh = parts.number()? == 1;
            Ok((Outcome::Applied(Applied { which, revision, now, note, replayed: false }), fresh))
        }
        b"replayed" => Ok((Outcome::Applied(replayed(&parts.bytes()?, nonce)?), false)),
        b"refused" => {
            let refusals = commit.alternatives.iter().map(|_| refusal(&mut parts, space));
            Ok((Outcome::Refused(refusals.collect::<Result<_>>()?), false))
        }
        _ => Err(corrupt("an answer")),
    }
}

/// Reads `<which> <revision> <now> <nonce> <note>`.
fn replayed(stored: &Bytes, nonce: Option<&str>) -> Result<Applied> {
    let bad = || corrupt("the result of an operation");
    let mut fields = stored.splitn(5, |&byte| byte == b' ');
    let mut next = || fields.next().ok_or_else(bad);
    let which = usize::try_from(number(next()?)?).map_err(|_| bad())?;
    let (revision, now) = (Revision(number(next()?)?), Micros(number(next()?)?));
    let replayed = Some(next()?) != nonce.map(str::as_bytes);
    let note = stored.slice_ref(next()?);
    Ok(Applied { which, revision, now, note, replayed })
}

fn refusal(parts: &mut Parts, space: &Space) -> Result<Refusal> {
    let (kind, name, value) = (parts.bytes()?, parts.text()?, parts.number()?);
    let named = |key: String| name.strip_prefix(&key).map(|name| Key(name.to_owned())).ok_or_else(|| corrupt("an answer"));
    let none = Key(String::new());
    match &*kind {
        b"record" => Ok(Refusal::Record(named(space.record(&none))?)),
        b"counter" => Ok(Refusal::Counter { counter: named(space.counter(&none))?, value }),
        b"meter" => Ok(Refusal::Meter { meter: named(space.meter(&none))?, retry_after: Duration::from_micros(value.unsigned_abs()) }),
        _ => Err(corrupt("an answer")),
    }
}

/// What `get.lua` answered.
pub(super) fn reading(answer: Value) -> Result<Reading> {
    let mut parts = Parts::of(answer)?;
    let revision = parts.revision()?;
    let now = parts.time()?;
    let mut found = Vec::with_capacity(parts.left());
    while parts.left() > 0 {
        found.push(record(pairs(parts.any()?)?, now)?);
    }
    Ok(Reading { found, revision, now })
}

/// The server's clock and the namespace's revision, as `TIME` and `HGET` answered before records were read.
pub(super) struct Moment {
    now: Micros,
    revision: Revision,
}

impl Moment {
    /// From the two answers.
    pub(super) fn of(clock: Value, revision: Value) -> Result<Self> {
        let revision = match revision {
            Value::Nil => Revision::ZERO,
            Value::BulkString(bytes) => Revision(number(&bytes)?),
            _ => return Err(corrupt("a revision")),
        };
        Ok(Self { now: Parts::of(clock)?.time()?, revision })
    }

    /// The reading of one record, from what `HGETALL` answered. The record may be newer than the revision before it; then its own is what the reading reflects.
    pub(super) fn reading(&self, fields: Value) -> Result<Reading> {
        let fields = match fields {
            Value::Map(fields) => fields,
            fields => pairs(fields)?,
        };
        let found = record(fields, self.now)?;
        let newest = match &found {
            Found::Live(record) | Found::Expired(record) => record.revision,
            Found::Absent => Revision::ZERO,
        };
        Ok(Reading { found: vec![found], revision: self.revision.max(newest), now: self.now })
    }
}

/// Names and values that stand in a row, as scripts answer them.
fn pairs(fields: Value) -> Result<Vec<(Value, Value)>> {
    let mut fields = Parts::of(fields)?;
    let mut pairs = Vec::with_capacity(fields.left() / 2);
    while fields.left() > 0 {
        pairs.push((fields.any()?, fields.any()?));
    }
    Ok(pairs)
}

fn record(fields: Vec<(Value, Value)>, now: Micros) -> Result<Found> {
    if fields.is_empty() {
        return Ok(Found::Absent);
    }
    let (mut revision, mut expires_at, mut swept, mut value, mut marks) = (None, None, false, None, Marks::new());
    for (name, field) in fields {
        let (Value::BulkString(name), Value::BulkString(field)) = (name, field) else { return Err(corrupt("a record's field of an unexpected type")) };
        match &name[..] {
            b"rev" => revision = Some(Revision(number(&field)?)),
            b"exp" => expires_at = Some(Micros(number(&field)?)),
            b"sw" => swept = field == b"1",
            b"v" => value = Some(Bytes::from(field)),
            name => match name.strip_prefix(b"m:").map(std::str::from_utf8) {
                Some(Ok(mark)) => drop(marks.insert(mark.to_owned(), number(&field)?)),
                _ => return Err(corrupt("a record's field")),
            },
        }
    }
    let (Some(revision), Some(value)) = (revision, value) else { return Err(corrupt("a record")) };
    let record = Record { revision, expires_at, marks, value };
    let past = expires_at.is_some_and(|at| at <= now);
    Ok(match (past, swept) {
        (false, _) => Found::Live(record),
        (true, true) => Found::Expired(record),
        (true, false) => Found::Absent,
    })
}

/// What `events.lua` answered.
pub(super) fn page(answer: Value) -> Result<LogPage> {
    let mut parts = Parts::of(answer)?;
    let head = Head { history: History(parts.text()?), revision: parts.revision()?, last: parts.revision()? };
    let mut list = Parts::of(parts.any()?)?;
    let mut entries = Vec::with_capacity(list.left());
    while list.left() > 0 {
        entries.push(entry(list.any()?)?);
    }
    Ok(LogPage { entries, head })
}

/// Reads an entry: its id `<revision>-0`, and the fields `p` and `d`.
fn entry(value: Value) -> Result<LogEntry> {
    let mut parts = Parts::of(value)?;
    let id = parts.bytes()?;
    let revision = Revision(number(id.strip_suffix(b"-0").ok_or_else(|| corrupt("a log entry"))?)?);
    let mut fields = Parts::of(parts.any()?)?;
    let (mut previous, mut payload) = (None, None);
    while fields.left() > 0 {
        match &*fields.bytes()? {
            b"p" => previous = Some(fields.revision()?),
            b"d" => payload = Some(fields.bytes()?),
            _ => return Err(corrupt("a log entry's field")),
        }
    }
    match (previous, payload) {
        (Some(previous), Some(payload)) => Ok(LogEntry { revision, previous, payload }),
        _ => Err(corrupt("a log entry")),
    }
}

/// What `touch.lua` answered.
pub(super) fn head(answer: Value) -> Result<Head> {
    let mut parts = Parts::of(answer)?;
    Ok(Head { history: History(parts.text()?), revision: parts.revision()?, last: parts.revision()? })
}

/// Members with their scores.
pub(super) fn scored(answer: Value) -> Result<Vec<(i64, String)>> {
    let mut parts = Parts::of(answer)?;
    let mut members = Vec::with_capacity(parts.left() / 2);
    while parts.left() > 0 {
        match parts.any()? {
            // RESP3 pairs them, scripts and RESP2 do not.
            Value::Array(pair) => {
                let mut pair = Parts::of(Value::Array(pair))?;
                let member = pair.text()?;
                members.push((pair.number()?, member));
            }
            Value::BulkString(member) => {
                let member = String::from_utf8(member).map_err(|_| corrupt("a member that is not UTF-8"))?;
                members.push((parts.number()?, member));
            }
            _ => return Err(corrupt("an index")),
        }
    }
    Ok(members)
}

/// Members alone.
pub(super) fn members(answer: Value) -> Result<Vec<String>> {
    let mut parts = match answer {
        Value::Set(values) => Parts::of(Value::Array(values))?,
        answer => Parts::of(answer)?,
    };
    let mut members = Vec::with_capacity(parts.left());
    while parts.left() > 0 {
        members.push(parts.text()?);
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::Reason;

    #[test]
    fn a_server_time_beyond_64_bits_is_an_error_and_no_overflow() {
        let answer = |seconds, micros| Value::Array(vec![Value::Int(9), Value::Int(seconds), Value::Int(micros)]);
        for (seconds, micros) in [(i64::MAX / 1_000_000 + 1, 0), (i64::MAX / 1_000_000, i64::MAX), (i64::MIN, -1)] {
            assert_eq!(reading(answer(seconds, micros)).unwrap_err().reason(), Reason::DataCorrupt);
        }
        assert_eq!(reading(answer(1_763_600_000, 17)).unwrap().now, Micros(1_763_600_000_000_017));
    }

    #[test]
    fn a_record_newer_than_the_revision_before_it_is_what_the_reading_reflects() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let read = |revision: Value, fields: &[(&str, &str)]| {
            let clock = Value::Array(vec![text("2"), text("5")]);
            Moment::of(clock, revision)?.reading(Value::Map(fields.iter().map(|(name, value)| (text(name), text(value))).collect()))
        };
        let newer = read(text("7"), &[("rev", "8"), ("v", "x"), ("exp", "2000006"), ("sw", "1"), ("m:used", "3")]).unwrap();
        let [Found::Live(record)] = &newer.found[..] else { panic!("{newer:?}") };
        assert_eq!((newer.revision, newer.now, record.revision, record.marks["used"]), (Revision(8), Micros(2_000_005), Revision(8), 3));
        let none = read(Value::Nil, &[]).unwrap();
        assert_eq!((none.revision, none.found), (Revision::ZERO, vec![Found::Absent]));
        for damaged in [read(text("x"), &[]), read(text("7"), &[("rev", "8")]), read(text("7"), &[("rev", "8"), ("v", "x"), ("strange", "1")])] {
            assert_eq!(damaged.unwrap_err().reason(), Reason::DataCorrupt);
        }
        assert_eq!(Moment::of(Value::Nil, Value::Nil).map(drop).unwrap_err().reason(), Reason::DataCorrupt);
    }
}
