//! The two ends of a session, for the sweeper: its time is over, and so is the time for a revival.

use super::{Edit, Loaded, Sessions, create::QUOTA, edit::purged, state_key};
use crate::{
    flow::keyring::lineage_key,
    model::{error::Result, event::ChangeKind, id::Namespace, session::State},
    store::metadata::{Add, Commit, Key, Outcome, Refusal, Txn, Write},
};

impl Sessions {
    /// Hides a session whose time is over. Says whether that was still to be done.
    ///
    /// # Errors
    /// The store's errors.
    pub(crate) async fn expire(&self, namespace: &Namespace, found: &Loaded) -> Result<bool> {
        let edit = Edit::new(ChangeKind::SessionExpired, found.session.clone().hidden(State::Expired));
        self.end(namespace, found, found.edit(edit)?.txn).await
    }

    /// Deletes a hidden session for good, and first of all its key: from then on nothing that was ever sealed for it can be opened. A hidden session past its expiry cannot be
    /// revived, so nobody needs the key any more, also when the transaction comes a sweep later.
    ///
    /// # Errors
    /// The stores' errors. The session then stays hidden, and the next sweep tries again.
    pub(crate) async fn purge(&self, namespace: &Namespace, found: &Loaded) -> Result<bool> {
        let lineage = found.session.lineage_id()?;
        self.keyring.shred(namespace, lineage).await?;
        let mut txn = purged(found);
        txn.writes.extend([Write::Delete(state_key(&found.id)), Write::Delete(lineage_key(lineage))]);
        txn.adds.push(Add { counter: Key(QUOTA.to_owned()), delta: -1, max: self.quota });
        self.end(namespace, found, txn).await
    }

    async fn end(&self, namespace: &Namespace, found: &Loaded, mut txn: Txn) -> Result<bool> {
        let outcome = self.metadata.commit(namespace, Commit::from(txn.clone())).await?;
        let outcome = match outcome {
            // A count that lost track must not keep a session from ending.
            Outcome::Refused(refusals) if refusals.iter().any(|refusal| matches!(refusal, Refusal::Counter { .. })) => {
                tracing::error!(%namespace, "the count of sessions is lower than their number");
                txn.adds.clear();
                self.metadata.commit(namespace, Commit::from(txn)).await?
            }
            outcome => outcome,
        };
        let Outcome::Applied(applied) = outcome else { return Ok(false) };
        self.cache.wrote(namespace, &found.id, applied.revision);
        Ok(true)
    }
}
