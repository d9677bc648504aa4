//! A commit as the keys and arguments of `commit.lua`, which documents their order.

use std::{collections::HashMap, time::Duration};

use redis::Cmd;

use super::{
    super::metadata::{Add, Commit, HISTORY_LEAP, IndexChange, Key, Life, MarkName, Meter, Number, OP_TTL, Require, Scope, Txn, When, Write},
    keys::Space,
    script::{Args, COMMIT},
};
use crate::model::time::micros;

/// What commits need to know besides themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// The namespace's keys.
    pub(super) space: &'a Space,
    /// A revision that is known to be committed.
    pub(super) floor: i64,
    /// Age at which a log is trimmed.
    pub(super) log_window: Duration,
    /// Number of entries to which a log is trimmed.
    pub(super) log_entries: u32,
    /// `PUBLISH` or `SPUBLISH`.
    pub(super) publish: &'static str,
}

/// How long the result of a call without an operation is kept for the connection's own repetitions: longer than any timeout.
const NONCE_TTL: Duration = Duration::from_mins(2);

/// The command that applies the commits, each with its call's name where the connection may repeat it.
pub(super) fn commits<'a>(frame: &Frame<'_>, commits: impl IntoIterator<Item = (&'a Commit, Option<&'a str>)>) -> Cmd {
    let space = frame.space;
    let mut names = Names::new(space);
    for name in [space.meta(), space.expiries(), space.log(Scope::Sessions), space.log(Scope::Cache)] {
        names.position(name);
    }
    let mut args = Args::new();
    args.number(frame.floor).number(micros(HISTORY_LEAP)).number(micros(frame.log_window)).number(i64::from(frame.log_entries));
    args.count(space.record_start()).push(space.wake()).push(frame.publish);
    for (commit, nonce) in commits {
        let part = self::commit(&mut names, commit, nonce);
        args.count(part.len()).append(&part);
    }
    COMMIT.call(&names.keys, &args)
}

fn commit(names: &mut Names<'_>, commit: &Commit, nonce: Option<&str>) -> Args {
    let space = names.space;
    let (result, kept) = match (&commit.op, nonce) {
        (Some(op), _) => (space.operation(op), Some(OP_TTL)),
        (None, Some(nonce)) => (space.call(nonce), Some(NONCE_TTL)),
        // Neither read nor written; any key of the namespace will do.
        (None, None) => (space.meta(), None),
    };
    let mut args = Args::new();
    args.number(kept.map_or(0, millis)).count(names.position(result)).push(nonce.unwrap_or("-"));
    for txn in &commit.alternatives {
        let part = alternative(names, txn);
        args.count(part.len()).append(&part);
    }
    args
}

/// Gives every key a position, the first one 1.
struct Names<'a> {
    space: &'a Space,
    keys: Args,
    positions: HashMap<String, usize>,
}

impl<'a> Names<'a> {
    fn new(space: &'a Space) -> Self {
        Self { space, keys: Args::new(), positions: HashMap::new() }
    }

    fn position(&mut self, name: String) -> usize {
        *self.positions.entry(name).or_insert_with_key(|name| self.keys.push(name).len())
    }

    fn record(&mut self, key: &Key) -> usize {
        self.position(self.space.record(key))
    }
}

fn alternative(names: &mut Names<'_>, txn: &Txn) -> Args {
    let mut args = Args::new();
    args.push(if frees(txn) { "1" } else { "0" });
    for part in &txn.requires {
        require(names, &mut args, part);
    }
    for Add { counter, delta, max } in &txn.adds {
        args.push("add").count(names.position(names.space.counter(counter))).number(*delta).number(*max);
    }
    for meter in &txn.meters {
        args.push("meter").count(names.position(names.space.meter(&meter.meter))).number(micros(meter.interval)).number(cost(meter));
    }
    for part in &txn.writes {
        write(names, &mut args, part);
    }
    for part in &txn.indices {
        index_change(names, &mut args, part);
    }
    for (scope, payload) in &txn.events {
        args.push("event").push(scope.name()).count(names.position(names.space.log(*scope))).push(payload);
    }
    if !txn.note.is_empty() {
        args.push("note").push(&txn.note);
    }
    args
}

/// Whether a transaction leaves less than there was, so that it must go through when memory is short.
pub(super) fn frees(txn: &Txn) -> bool {
    let deletes = txn.writes.iter().all(|write| matches!(write, Write::Delete(_)));
    let removes = txn.indices.iter().all(|change| matches!(change, IndexChange::Remove(..)));
    let releases = txn.adds.iter().all(|add| add.delta <= 0) && txn.meters.is_empty();
    deletes && removes && releases && !(txn.writes.is_empty() && txn.indices.is_empty())
}

/// A meter's cost in µs, rounded down.
fn cost(meter: &Meter) -> i64 {
    let micros = meter.interval.as_micros() * u128::from(meter.cost) / u128::from(meter.burst.max(1));
    i64::try_from(micros).unwrap_or(i64::MAX)
}

fn require(names: &mut Names<'_>, args: &mut Args, require: &Require) {
    let record = names.record(require.key());
    match require {
        Require::Absent(_) => args.push("absent").count(record),
        Require::At(_, revision) => args.push("at").count(record).number(revision.0),
        Require::Expired(_, revision) => args.push("expired").count(record).number(revision.0),
        Require::Mark(_, mark, value) => args.push("mark").count(record).push(field(mark)).number(*value),
    };
}

fn write(names: &mut Names<'_>, args: &mut Args, write: &Write) {
    match write {
        Write::Put { key, value, life: until, marks: set } => {
            args.push("put").count(names.record(key)).push(value);
            life(args, until);
            marks(names, args, set);
        }
        Write::Touch { key, life: until, marks: set } => {
            args.push("touch").count(names.record(key));
            life(args, until);
            marks(names, args, set);
        }
        Write::Delete(key) => {
            args.push("delete").count(names.record(key));
        }
    }
}

fn life(args: &mut Args, life: &Life) {
    match life {
        Life::Forever => args.push("forever"),
        Life::Keep => args.push("keep"),
        Life::SweptAt(When::At(at)) => args.push("swept@").number(at.0),
        Life::SweptAt(When::In(ahead)) => args.push("swept+").number(micros(*ahead)),
        Life::DroppedAt(When::At(at)) => args.push("dropped@").number(at.0),
        Life::DroppedAt(When::In(ahead)) => args.push("dropped+").number(micros(*ahead)),
    };
}

/// Marks: those that change, then those that stay.
fn marks(names: &mut Names<'_>, args: &mut Args, marks: &[(MarkName, Number)]) {
    let (kept, set): (Vec<_>, Vec<_>) = marks.iter().partition(|(_, number)| *number == Number::Keep);
    for (mark, value) in set {
        args.push(field(mark));
        number(names, args, value);
    }
    if kept.is_empty() {
        args.push("");
        return;
    }
    args.push("keep").count(kept.len());
    for (mark, _) in kept {
        args.push(field(mark));
    }
}

/// The field of a record's hash with a mark.
fn field(mark: &MarkName) -> String {
    ["m:", mark].concat()
}

/// A number; where it must not stand it was refused before.
fn number(names: &mut Names<'_>, args: &mut Args, number: &Number) {
    match number {
        Number::Literal(literal) => args.push("literal").number(*literal),
        Number::Revision => args.push("revision"),
        Number::NowPlus(Duration::ZERO) => args.push("now"),
        Number::NowPlus(ahead) => args.push("now+").number(micros(*ahead)),
        // Kept marks are told apart before.
        Number::Keep => args,
        Number::MarkOf(key, mark) => args.push("mark of").count(names.record(key)).push(field(mark)),
    };
}

fn index_change(names: &mut Names<'_>, args: &mut Args, change: &IndexChange) {
    match change {
        IndexChange::Add(index, member, score) => {
            args.push("member").count(names.position(names.space.index(index))).push(member);
            number(names, args, score);
        }
        IndexChange::Remove(index, member) => {
            args.push("no member").count(names.position(names.space.index(index))).push(member);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
