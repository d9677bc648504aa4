//! Opening the store: set up the connections, find out whether the history goes on, start the threads.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{
    Embedded, Limits,
    place::{Place, Witness},
    queue::{self, Queue},
    schema,
    sql::Failure,
    writer::{Rules, Watchers, Writer},
};
use crate::{
    clock,
    model::{
        error::Result,
        time::{History, Micros, Revision},
    },
    store::metadata::HISTORY_LEAP,
};

/// Connections that only read.
const READERS: usize = 4;

/// What the store remembers of its history; the rows of the table `engine`.
struct Remembered {
    history: History,
    floor: Revision,
    lock_file: String,
    batches: i64,
}

pub(super) fn open(dir: &Path, limits: Limits) -> Result<Embedded> {
    let location = dir.display().to_string();
    let mut place = Place::lock(dir)?;
    let path = place.database();
    let mut connection = schema::writer(Some(&path), &location)?;
    let witness = place.witness()?;
    let remembered = remembered(&connection).map_err(|failure| failure.into_error(&location))?;
    let (history, floor, batches) = match remembered {
        Some(known) if goes_on(&known, &witness) => (known.history, known.floor, known.batches),
        known => {
            let batches = known.as_ref().map_or(0, |known| known.batches);
            if known.is_some() {
                tracing::warn!(dir = location, "acknowledged changes may be lost, as after restoring a backup: a new history starts, and watchers start over");
            }
            let history = random_history()?;
            let witness = place.begin(&history, batches)?;
            let floor = begin(&mut connection, &witness, batches, clock::wall()).map_err(|failure| failure.into_error(&location))?;
            (history, floor, batches)
        }
    };
    let (reads, queued) = Queue::new();
    let queued = Arc::new(Mutex::new(queued));
    for _ in 0..READERS {
        let (connection, queued) = (schema::reader(&path, &location)?, Arc::clone(&queued));
        reads.serve("metadata-read", move || queue::read(&connection, &queued))?;
    }
    assemble(connection, Some(place), Some(reads), rules(history, floor), location, limits, batches)
}

pub(super) fn ephemeral(limits: Limits) -> Result<Embedded> {
    let location = "memory".to_owned();
    let connection = schema::writer(None, &location)?;
    let floor = Revision(clock::wall().after(HISTORY_LEAP).0);
    assemble(connection, None, None, rules(random_history()?, floor), location, limits, 0)
}

fn assemble(
    connection: Connection,
    place: Option<Place>,
    reads: Option<Queue>,
    rules: Rules,
    location: String,
    limits: Limits,
    batches: i64,
) -> Result<Embedded> {
    let (rules, watchers) = (Arc::new(rules), Arc::new(Watchers::default()));
    let writer = Writer { rules: Arc::clone(&rules), watchers: Arc::clone(&watchers), place, location: location.clone(), limits, batches };
    let (commits, queued) = Queue::new();
    commits.serve("metadata-write", move || writer.run(connection, &queued))?;
    Ok(Embedded { rules, watchers, commits, reads, location })
}

fn rules(history: History, floor: Revision) -> Rules {
    Rules {
        history,
        floor,
        #[cfg(any(test, feature = "conformance"))]
        faults: crate::store::faults::FaultPlan::new(),
    }
}

/// Nothing that was acknowledged can be missing: the store stands where it stood, and is not older than what was acknowledged.
fn goes_on(known: &Remembered, witness: &Witness) -> bool {
    let complete = witness.acknowledged.is_some_and(|acknowledged| acknowledged <= known.batches);
    complete && known.history == witness.history && known.lock_file == witness.identity
}

fn random_history() -> Result<History> {
    Ok(History(format!("{:032x}", u128::from_be_bytes(clock::random()?))))
}

fn remembered(connection: &Connection) -> Result<Option<Remembered>, Failure> {
    let text = |name: &str| -> Result<Option<String>, Failure> {
        Ok(connection.query_row("SELECT value FROM engine WHERE name = ?1", [name], |row| row.get(0)).optional()?)
    };
    let Some(history) = text("history")? else { return Ok(None) };
    let needed = |name: &str| text(name)?.ok_or_else(|| Failure::Damaged(format!("its table engine has no {name}")));
    let number = |name: &str| needed(name)?.parse::<i64>().map_err(|_| Failure::Damaged(format!("its table engine has a {name} that is no number")));
    Ok(Some(Remembered { history: History(history), floor: Revision(number("floor")?), lock_file: needed("lock_file")?, batches: number("batches")? }))
}

/// Starts a history: ahead of the clock and of every revision the store knows, with empty logs.
fn begin(connection: &mut Connection, witness: &Witness, batches: i64, now: Micros) -> Result<Revision, Failure> {
    let begin = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let highest: i64 = begin.query_row("SELECT coalesce(max(revision), 0) FROM namespace", [], |row| row.get(0))?;
    let floor = now.after(HISTORY_LEAP).0.max(highest + 1);
    begin.execute("DELETE FROM log", [])?;
    begin.execute("DELETE FROM log_head", [])?;
    for (name, value) in
        [("history", witness.history.0.clone()), ("lock_file", witness.identity.clone()), ("floor", floor.to_string()), ("batches", batches.to_string())]
    {
        begin.execute("INSERT INTO engine (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value", params![name, value])?;
    }
    begin.commit()?;
    Ok(Revision(floor))
}
