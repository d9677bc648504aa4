//! `TouchSession`: a use and nothing else. No event, no new etag.

use std::time::Duration;

use super::{
    Conditions, Loaded, Sessions,
    commit::{FIRST_PAUSE, LONGEST_PAUSE},
    edit::score,
    load, record_key,
    update::usable,
};
use crate::{
    flow::pause::between_tries,
    model::{
        error::{Error, Reason, Result},
        id::{Namespace, SessionId},
        session::{Order, TtlMode, mark},
        time::{Micros, Revision},
    },
    store::metadata::{Commit, Index, IndexChange, Life, Number, Outcome, Require, Txn, When, Write},
};

/// How often a touch is tried when the session keeps changing.
const ATTEMPTS: u32 = 8;

/// What a touch did.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    /// When the session expires now.
    pub expires_at: Option<Micros>,
    /// The namespace's revision after it.
    pub revision: Revision,
}

impl Loaded {
    /// The transaction that counts as a use of this session. It does not change the record's value or revision.
    #[must_use]
    pub fn touch(&self, lease_token: i64) -> Txn {
        let key = record_key(&self.id);
        let mut requires = vec![Require::At(key.clone(), self.revision)];
        if lease_token != 0 {
            requires.push(Require::Mark(key.clone(), mark::FENCE.into(), lease_token));
        }
        let used = self.session.indices(&self.id).into_iter().filter(|entry| entry.order == Order::Used);
        let moved = used.map(|entry| IndexChange::Add(Index(entry.index), entry.member, score(&self.id, Order::Used, &Number::Revision)));
        let touch = Write::Touch { key, life: self.slid(), marks: vec![(mark::USED.into(), Number::NowPlus(Duration::ZERO))] };
        Txn { requires, writes: vec![touch], indices: moved.collect(), ..Txn::default() }
    }

    /// How a use moves the expiry.
    fn slid(&self) -> Life {
        match self.session.ttl_mode {
            TtlMode::Sliding => Life::SweptAt(When::In(self.session.ttl())),
            TtlMode::Absolute => Life::Keep,
        }
    }
}

impl Sessions {
    /// Counts as a use of the session.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_EXPIRED`, `SESSION_DELETED`, `ETAG_MISMATCH`, `LEASE_FENCED`, `CONTENTION`, and the store's errors.
    pub async fn touch(&self, namespace: &Namespace, id: &SessionId, conditions: &Conditions) -> Result<Touched> {
        for attempt in 0..ATTEMPTS {
            let (found, _, _) = load(&*self.metadata, namespace, id).await?;
            let found = usable(id, found, conditions)?;
            let txn = found.touch(conditions.lease_token);
            if let Outcome::Applied(applied) = self.metadata.commit(namespace, Commit::from(txn)).await? {
                self.cache.wrote(namespace, id, applied.revision);
                self.floor.saw(namespace, applied.revision);
                let expires_at = match found.session.ttl_mode {
                    TtlMode::Sliding => Some(applied.now.after(found.session.ttl())),
                    TtlMode::Absolute => found.expires_at,
                };
                return Ok(Touched { expires_at, revision: applied.revision });
            }
            between_tries(attempt, FIRST_PAUSE, LONGEST_PAUSE).await?;
        }
        let message = format!("session {id} changed {ATTEMPTS} times while it was touched: repeat the call");
        Err(Error::new(Reason::Contention, message).with("session_id", id))
    }
}
