//! The bounds of the metadata contract, checked in one place for every engine, before anything is asked of it.

use std::{collections::HashSet, hash::Hash, time::Duration};

use super::metadata::{
    Commit, Index, IndexChange, Key, Life, MAX_AHEAD, MAX_ALTERNATIVES, MAX_BURST, MAX_CHANGES, MAX_EVENT, MAX_INTERVAL, MAX_KEY, MAX_MARK_NAME, MAX_MARKS,
    MAX_NOTE, MAX_NUMBER, MAX_PAGE, MAX_VALUE, MIN_INTERVAL, MarkName, Meter, Number, Range, Require, Txn, When, Write,
};
use crate::model::{
    error::{Error, Result},
    time::micros,
};

/// The keys of a read.
///
/// # Errors
/// `INVALID_FIELD` naming `keys`.
pub fn keys(keys: &[Key]) -> Result<()> {
    at_most("keys", keys.len(), MAX_PAGE)?;
    keys.iter().try_for_each(|key| name("keys", &key.0))
}

/// The length of a page.
///
/// # Errors
/// `INVALID_FIELD` naming `limit`.
pub fn limit(limit: usize) -> Result<()> {
    if limit <= MAX_PAGE {
        return Ok(());
    }
    Err(Error::field("limit", format!("limit is {limit}; it may be {MAX_PAGE} at most")))
}

/// A read of an index.
///
/// # Errors
/// `INVALID_FIELD` naming `index`, `range` or `limit`.
pub fn scan(index: &Index, range: &Range, page: usize) -> Result<()> {
    limit(page)?;
    name("index", &index.0)?;
    match range {
        Range::From(None) => Ok(()),
        Range::From(Some((score, member))) => number("range", *score).and_then(|()| text("range", member)),
        Range::Prefix(prefix) => text("range", prefix),
    }
}

/// A commit.
///
/// # Errors
/// `INVALID_FIELD` naming the part of the commit that is too long, malformed or not allowed where it stands.
pub fn commit(commit: &Commit) -> Result<()> {
    if commit.alternatives.is_empty() {
        return Err(Error::field("alternatives", format!("alternatives is empty; it needs 1 to {MAX_ALTERNATIVES}")));
    }
    at_most("alternatives", commit.alternatives.len(), MAX_ALTERNATIVES)?;
    commit.op.iter().try_for_each(|op| name("op", op))?;
    commit.alternatives.iter().try_for_each(txn)
}

fn txn(txn: &Txn) -> Result<()> {
    let changes = txn.requires.len() + txn.adds.len() + txn.meters.len() + txn.writes.len() + txn.indices.len();
    at_most("alternatives", changes, MAX_CHANGES)?;
    bytes("note", txn.note.len(), MAX_NOTE)?;
    txn.requires.iter().try_for_each(require)?;
    for add in &txn.adds {
        name("adds", &add.counter.0)?;
        number("adds", add.delta)?;
        number("adds", add.max)?;
        if add.max < 0 {
            return Err(Error::field("adds", format!("adds has the bound {}; it may not be negative", add.max)));
        }
    }
    once("adds", "a counter", txn.adds.iter().map(|add| &add.counter))?;
    txn.meters.iter().try_for_each(meter)?;
    once("meters", "a meter", txn.meters.iter().map(|meter| &meter.meter))?;
    txn.writes.iter().try_for_each(write)?;
    once("writes", "a record", txn.writes.iter().map(written))?;
    txn.indices.iter().try_for_each(index_change)?;
    txn.events.iter().try_for_each(|(_, payload)| bytes("events", payload.len(), MAX_EVENT))?;
    once("events", "a scope", txn.events.iter().map(|(scope, _)| scope))
}

fn require(require: &Require) -> Result<()> {
    name("requires", &require.key().0)?;
    match require {
        Require::Mark(_, mark, value) => mark_name("requires", mark).and_then(|()| number("requires", *value)),
        Require::Absent(_) | Require::At(..) | Require::Expired(..) => Ok(()),
    }
}

fn meter(meter: &Meter) -> Result<()> {
    name("meters", &meter.meter.0)?;
    if meter.interval < MIN_INTERVAL || meter.interval > MAX_INTERVAL {
        return Err(Error::field("meters", format!("meters has an interval of {:?}; it must be between 1 ms and 366 days", meter.interval)));
    }
    let most = u32::try_from(micros(meter.interval)).unwrap_or(MAX_BURST).min(MAX_BURST);
    if meter.burst < 1 || meter.burst > most {
        let message = format!("meters has a burst of {} per {:?}; it must be 1 to {most}", meter.burst, meter.interval);
        return Err(Error::field("meters", message));
    }
    if meter.cost < 1 || meter.cost > meter.burst {
        return Err(Error::field("meters", format!("meters has a cost of {}; it must be 1 to its burst of {}", meter.cost, meter.burst)));
    }
    Ok(())
}

fn written(write: &Write) -> &Key {
    match write {
        Write::Put { key, .. } | Write::Touch { key, .. } | Write::Delete(key) => key,
    }
}

fn write(write: &Write) -> Result<()> {
    name("writes", &written(write).0)?;
    match write {
        Write::Put { value, life: until, marks: set, .. } => {
            bytes("writes", value.len(), MAX_VALUE)?;
            life(until)?;
            marks(set)
        }
        Write::Touch { life: until, marks: set, .. } => life(until).and_then(|()| marks(set)),
        Write::Delete(_) => Ok(()),
    }
}

fn life(life: &Life) -> Result<()> {
    match life {
        Life::Forever | Life::Keep => Ok(()),
        Life::SweptAt(When::At(moment)) | Life::DroppedAt(When::At(moment)) => number("writes", moment.0),
        Life::SweptAt(When::In(ahead)) | Life::DroppedAt(When::In(ahead)) => duration("writes", *ahead),
    }
}

fn marks(marks: &[(MarkName, Number)]) -> Result<()> {
    at_most("writes", marks.len(), MAX_MARKS)?;
    once("writes", "a mark", marks.iter().map(|(mark, _)| mark))?;
    marks.iter().try_for_each(|(mark, value)| {
        mark_name("writes", mark)?;
        match value {
            Number::MarkOf(..) => Err(Error::field("writes", format!("writes sets the mark {mark:?} from another record; only a score can be a mark"))),
            Number::Literal(literal) => number("writes", *literal),
            Number::NowPlus(ahead) => duration("writes", *ahead),
            Number::Revision | Number::Keep => Ok(()),
        }
    })
}

fn index_change(change: &IndexChange) -> Result<()> {
    let (IndexChange::Add(index, member, _) | IndexChange::Remove(index, member)) = change;
    name("indices", &index.0)?;
    name("indices", member)?;
    let IndexChange::Add(_, _, score) = change else { return Ok(()) };
    match score {
        Number::Keep => Err(Error::field("indices", "indices keeps a score; only a mark can be kept")),
        Number::Literal(literal) => number("indices", *literal),
        Number::NowPlus(ahead) => duration("indices", *ahead),
        Number::MarkOf(key, mark) => name("indices", &key.0).and_then(|()| mark_name("indices", mark)),
        Number::Revision => Ok(()),
    }
}

fn name(field: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::field(field, format!("{field} has an empty name; it needs 1 to {MAX_KEY} bytes")));
    }
    text(field, name)
}

fn text(field: &str, text: &str) -> Result<()> {
    bytes(field, text.len(), MAX_KEY)?;
    match text.find('\0') {
        None => Ok(()),
        Some(at) => Err(Error::field(field, format!("{field} has a NUL at byte {at} of a name; names have none"))),
    }
}

fn mark_name(field: &str, mark: &str) -> Result<()> {
    if (1..=MAX_MARK_NAME).contains(&mark.len()) && mark.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} has a mark named {mark:?}; it needs 1 to {MAX_MARK_NAME} of `a-z _`")))
}

fn number(field: &str, number: i64) -> Result<()> {
    if (-MAX_NUMBER..=MAX_NUMBER).contains(&number) {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} has the number {number}; numbers go from -2^53 to 2^53")))
}

fn duration(field: &str, ahead: Duration) -> Result<()> {
    if ahead <= MAX_AHEAD {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} has a duration of {} s; it may be 100 years at most", ahead.as_secs())))
}

fn at_most(field: &str, len: usize, max: usize) -> Result<()> {
    if len <= max {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} has {len} parts; it may have {max} at most")))
}

fn bytes(field: &str, len: usize, max: usize) -> Result<()> {
    if len <= max {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} has {len} bytes in one part; it may have {max} at most")))
}

fn once<T: Eq + Hash>(field: &str, what: &str, mut items: impl ExactSizeIterator<Item = T>) -> Result<()> {
    if items.len() < 2 {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(items.len());
    if items.all(|item| seen.insert(item)) {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} names {what} twice; one transaction changes it once")))
}
