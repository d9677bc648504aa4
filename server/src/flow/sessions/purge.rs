//! The two ends of a session, for the sweeper: its time is over, and so is the time for a revival.

use serde::Deserialize;

use super::{Edit, Loaded, Sessions, create::QUOTA, edit::purged, record_key, state_key};
use crate::{
    flow::keyring::lineage_key,
    model::{
        error::Result,
        event::ChangeKind,
        id::{LineageId, Namespace, SnapshotId, UploadId},
        session::State,
        snapshot,
    },
    store::metadata::{Add, Commit, Direction, Found, Index, IndexChange, Key, Outcome, Range, Refusal, Require, Txn, Write},
};

/// Snapshots that are removed in one transaction: a record, an upload's result and an index member each.
const SNAPSHOTS: usize = 200;

/// What a purge needs to know of a snapshot.
#[derive(Deserialize)]
struct Upload {
    upload: String,
}

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
    /// revived, so nobody needs the key any more, also when the last transaction comes a sweep later. Packs are not looked for here: without their key they are noise, which
    /// collection removes.
    ///
    /// # Errors
    /// The stores' errors. The session then stays hidden, and the next sweep goes on.
    pub(crate) async fn purge(&self, namespace: &Namespace, found: &Loaded) -> Result<bool> {
        let lineage = found.session.lineage_id()?;
        self.keyring.shred(namespace, lineage).await?;
        if !self.purge_snapshots(namespace, found, lineage).await? || !self.purge_restores(namespace, found, lineage).await? {
            return Ok(false);
        }
        let mut txn = purged(found);
        txn.writes.extend([Write::Delete(state_key(&found.id)), Write::Delete(lineage_key(lineage))]);
        txn.adds.push(Add { counter: Key(QUOTA.to_owned()), delta: -1, max: self.quota });
        self.end(namespace, found, txn).await
    }

    /// Removes the records of all snapshots, some at a time. Says whether the session was still there to be purged.
    async fn purge_snapshots(&self, namespace: &Namespace, found: &Loaded, lineage: LineageId) -> Result<bool> {
        let index = Index(snapshot::index_name(lineage));
        loop {
            let members = self.metadata.scan(namespace, &index, &Range::From(None), Direction::Ascending, SNAPSHOTS).await?;
            if members.is_empty() {
                return Ok(true);
            }
            let ids = members.iter().filter_map(|(_, member)| SnapshotId::parse("member", member).ok());
            let keys: Vec<Key> = ids.map(|id| Key(snapshot::record_key(lineage, id))).collect();
            let reading = self.metadata.get(namespace, &keys).await?;
            let uploads = reading.found.into_iter().filter_map(Found::live).filter_map(|record| serde_json::from_slice::<Upload>(&record.value).ok());
            let uploads = uploads.filter_map(|named| UploadId::parse("upload", &named.upload).ok()).map(|upload| Key(snapshot::upload_key(&found.id, &upload)));
            let mut gone: Vec<Key> = uploads.chain(keys).collect();
            gone.sort();
            gone.dedup();
            let txn = Txn {
                requires: vec![Require::Expired(record_key(&found.id), found.revision)],
                writes: gone.into_iter().map(Write::Delete).collect(),
                indices: members.into_iter().map(|(_, member)| IndexChange::Remove(index.clone(), member)).collect(),
                ..Txn::default()
            };
            if let Outcome::Refused(_) = self.metadata.commit(namespace, Commit::from(txn)).await? {
                return Ok(false);
            }
        }
    }

    /// Removes the results of all restores, likewise.
    async fn purge_restores(&self, namespace: &Namespace, found: &Loaded, lineage: LineageId) -> Result<bool> {
        let index = Index(snapshot::restores_name(lineage));
        loop {
            let members = self.metadata.scan(namespace, &index, &Range::From(None), Direction::Ascending, SNAPSHOTS).await?;
            if members.is_empty() {
                return Ok(true);
            }
            let uploads = members.iter().filter_map(|(_, member)| UploadId::parse("member", member).ok());
            let txn = Txn {
                requires: vec![Require::Expired(record_key(&found.id), found.revision)],
                writes: uploads.map(|upload| Write::Delete(Key(snapshot::upload_key(&found.id, &upload)))).collect(),
                indices: members.iter().map(|(_, member)| IndexChange::Remove(index.clone(), member.clone())).collect(),
                ..Txn::default()
            };
            if let Outcome::Refused(_) = self.metadata.commit(namespace, Commit::from(txn)).await? {
                return Ok(false);
            }
        }
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
