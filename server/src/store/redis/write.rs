//! Commits: those of a namespace that wait at the same time are one call of the script, and each is applied or refused on its own.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::Value;

use super::{
    super::metadata::{Commit, Outcome, Txn, Write},
    Known, RedisStore,
    connect::Link,
    decode,
    encode::{self, Frame},
    failure::{Failure, corrupt},
    gather::Request,
    keys::{Keys, Space},
    script::COMMIT,
};
use crate::{
    clock,
    model::{error::Result, id::Namespace},
};

/// A commit, what its connection would repeat it as, and what is known of its namespace.
pub(super) struct Writing {
    pub(super) commit: Commit,
    pub(super) nonce: Option<String>,
    pub(super) known: Arc<Known>,
}

impl Writing {
    /// About how many bytes it sends.
    pub(super) fn size(&self) -> usize {
        let written = |write: &Write| match write {
            Write::Put { value, .. } => value.len(),
            Write::Touch { .. } | Write::Delete(_) => 0,
        };
        let payload = |txn: &Txn| txn.writes.iter().map(written).sum::<usize>() + txn.events.iter().map(|(_, payload)| payload.len()).sum::<usize>();
        let changes = |txn: &Txn| txn.requires.len() + txn.adds.len() + txn.meters.len() + txn.writes.len() + txn.indices.len();
        self.commit.alternatives.iter().map(|txn| payload(txn) + 64 * changes(txn)).sum()
    }

    /// Whether it goes without others: once it has freed memory, Redis would let them pass although there is none.
    pub(super) fn is_alone(&self) -> bool {
        self.commit.alternatives.iter().any(encode::frees)
    }
}

/// Sends commits.
pub(super) struct Writer {
    pub(super) link: Arc<Link>,
    pub(super) keys: Keys,
    pub(super) log_window: Duration,
    pub(super) log_entries: u32,
}

impl Writer {
    /// What commits to the namespace of these keys need to know.
    pub(super) fn frame<'a>(&self, space: &'a Space, floor: i64) -> Frame<'a> {
        Frame { space, floor, log_window: self.log_window, log_entries: self.log_entries, publish: self.publish() }
    }

    /// The command that wakes.
    pub(super) fn publish(&self) -> &'static str {
        if self.link.is_cluster() { "SPUBLISH" } else { "PUBLISH" }
    }

    /// Sends commits of one namespace in one call.
    pub(super) async fn send(&self, ns: &Namespace, requests: Vec<Request<Writing, (Outcome, bool)>>) {
        let space = self.keys.of(ns);
        let floor = requests.iter().map(|request| request.what.known.floor.load(Ordering::Relaxed)).max().unwrap_or(0);
        let each = requests.iter().map(|request| (&request.what.commit, request.what.nonce.as_deref()));
        let command = encode::commits(&self.frame(&space, floor), each);
        let answers = match self.link.call(&COMMIT, &command).await {
            Ok(Value::Array(answers)) if answers.len() == requests.len() => answers,
            Ok(_) => return requests.into_iter().for_each(|request| request.answer(Err(corrupt("an answer")))),
            Err(failure) => return requests.into_iter().for_each(|request| request.answer(Err(self.link.error(failure.clone())))),
        };
        for (request, answer) in requests.into_iter().zip(answers) {
            let Writing { commit, nonce, .. } = &request.what;
            let outcome = match decode::met(&answer).map(Failure::from) {
                None => decode::outcome(answer, &space, commit, nonce.as_deref()),
                Some(failure) => {
                    self.link.heed(&failure);
                    Err(self.link.error(failure))
                }
            };
            request.answer(outcome);
        }
    }
}

impl RedisStore {
    /// Commits, and says whether a new history began.
    pub(super) async fn apply(&self, ns: &Namespace, known: &Arc<Known>, commit: Commit) -> Result<(Outcome, bool)> {
        // Only a Cluster's client repeats commands by itself; that a script ran twice must then be noticed by its call's name.
        let nonce = if self.link.is_cluster() { Some(nonce()?) } else { None };
        let writing = Writing { commit, nonce, known: Arc::clone(known) };
        let (size, alone) = (writing.size(), writing.is_alone());
        self.writes.ask(ns, writing, size, alone).await
    }
}

/// Names one call.
pub(super) fn nonce() -> Result<String> {
    Ok(format!("{:032x}", u128::from_le_bytes(clock::random()?)))
}
