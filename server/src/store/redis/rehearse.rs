//! Transactions that together do everything a transaction can do, so that a missing permission shows when the daemon connects and not in the middle of a script.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::{
    super::metadata::{Add, Commit, Direction, Index, IndexChange, Key, Life, Meter, Number, Range, Scope, Txn, When, Write},
    RedisStore, decode,
    encode::{self, Frame},
    failure::Failure,
    keys::{REHEARSAL, Space},
    script::COMMIT,
    write::nonce,
};
use crate::model::error::{Reason, Result};

/// Stands for the set of namespaces.
const ENTERED: &str = "namespaces";

impl RedisStore {
    /// Tries everything out in a namespace that nobody can have, and clears it away.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` when the user may not do all that is needed. Other failures are left to those who meet them: a full store can still be read.
    pub(super) async fn rehearse(&self) -> Result<()> {
        let space = self.keys().named(REHEARSAL);
        let nonces = acts().iter().map(|_| nonce()).collect::<Result<Vec<_>>>()?;
        // An earlier rehearsal may have been cut off.
        let mut commands = vec![clear(&space, &nonces)];
        commands.extend(acts().into_iter().zip(&nonces).map(|(txn, nonce)| {
            // No entry stays, so that also the trimming is tried.
            let frame = Frame { log_entries: 0, ..self.writer.frame(&space, 0) };
            encode::commits(&frame, [(&Commit::from(txn), Some(nonce.as_str()))])
        }));
        let mut wake = cmd(self.writer.publish());
        wake.arg(space.wake()).arg("0");
        let mut list = cmd("SMEMBERS");
        list.arg(self.keys().namespaces());
        let mut enter = cmd("SADD");
        enter.arg(space.call(ENTERED)).arg("0");
        commands.extend([wake, list, enter, clear(&space, &nonces)]);
        let mut missing = None;
        for command in &commands {
            // The script's source is only ever sent with a command that names its hash.
            let failure = match self.link.call(&COMMIT, command).await {
                Err(failure) => Some(failure),
                Ok(Value::Array(answers)) => answers.iter().find_map(decode::met).map(Failure::from),
                Ok(_) => None,
            };
            missing = missing.or(failure.filter(|failure| failure.is_code("NOPERM")));
        }
        if let Some(failure) = missing {
            return Err(self.link.error(failure));
        }
        self.rehearse_reads(&space).await
    }

    async fn rehearse_reads(&self, space: &Space) -> Result<()> {
        let (key, index) = (Key("kept".to_owned()), Index("all".to_owned()));
        let alone = if self.link.is_cluster() { Ok(()) } else { self.read_one(space, &key).await.map(drop) };
        let reads = [
            alone,
            self.read_all(space, &[key]).await.map(drop),
            self.scan_index(space, &index, &Range::From(Some((0, String::new()))), Direction::Ascending, 1).await.map(drop),
            self.past_expiry(space, 1).await.map(drop),
            self.log_part(space, Scope::Cache, crate::model::time::Revision::ZERO, 1).await.map(drop),
        ];
        reads.into_iter().find(|read| matches!(read, Err(error) if error.reason() == Reason::MetadataUnavailable)).unwrap_or(Ok(()))
    }
}

fn name(name: &str) -> Key {
    Key(name.to_owned())
}

/// A life, and removals, for every way a record can go.
fn acts() -> [Txn; 3] {
    let soon = When::In(Duration::from_mins(1));
    let put = |key: &str, life| Write::Put { key: name(key), value: Bytes::from_static(b"{}"), life, marks: vec![("turn".into(), Number::Revision)] };
    let touch = |key: &str, life| Write::Touch { key: name(key), life, marks: vec![("turn".into(), Number::Keep)] };
    let lives = || [("kept", Life::Forever), ("swept", Life::SweptAt(soon)), ("dropped", Life::DroppedAt(soon))];
    let turned = || [("kept", Life::DroppedAt(soon)), ("swept", Life::Forever), ("dropped", Life::SweptAt(soon))];
    let index = || Index("all".to_owned());
    let make = Txn {
        adds: vec![Add { counter: name("count"), delta: 1, max: i64::from(u32::MAX) }],
        meters: vec![Meter { meter: name("rate"), interval: Duration::from_secs(1), burst: 1_000_000, cost: 1 }],
        writes: lives().map(|(key, life)| put(key, life)).into(),
        indices: vec![IndexChange::Add(index(), "kept".to_owned(), Number::MarkOf(name("kept"), "turn".into()))],
        events: Scope::ALL.map(|scope| (scope, Bytes::new())).into(),
        ..Txn::default()
    };
    let turn = Txn { writes: turned().map(|(key, life)| touch(key, life)).into(), ..Txn::default() };
    let remove = Txn {
        adds: vec![Add { counter: name("count"), delta: -1, max: 0 }],
        writes: lives().map(|(key, _)| Write::Delete(name(key))).into(),
        indices: vec![IndexChange::Remove(index(), "kept".to_owned())],
        ..Txn::default()
    };
    [make, turn, remove]
}

/// Leaves nothing of the rehearsal, also when an earlier one was cut off.
fn clear(space: &Space, nonces: &[String]) -> Cmd {
    let mut clear = cmd("DEL");
    clear.arg(space.meta()).arg(space.expiries()).arg(space.counter(&name("count"))).arg(space.meter(&name("rate"))).arg(space.index(&Index("all".to_owned())));
    for key in ["kept", "swept", "dropped"] {
        clear.arg(space.record(&name(key)));
    }
    for nonce in nonces {
        clear.arg(space.call(nonce));
    }
    clear.arg(space.call(ENTERED));
    clear.arg(Scope::ALL.map(|scope| space.log(scope)).as_slice());
    clear
}
