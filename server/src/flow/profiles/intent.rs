//! Intents: what a save is about to write beside its commit pack, recorded before, so that nothing is ever in the bucket that nobody knows of.
//!
//! An intent names the data packs that may exist by a prefix and a number below which all of theirs are. It grows by doubling, so a save of n packs writes it about
//! log2(n) times. The transaction that moves the head requires and removes it: whoever removes it first (a collector, the failed save itself) makes that commit impossible,
//! and may then delete the packs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Begin, Lineage, Profiles};
use crate::{
    clock,
    model::{
        error::{Error, Reason, Result},
        time::Revision,
    },
    store::metadata::{Commit, Found, Index, IndexChange, Key, Life, Number, Outcome, Require, Txn, Write},
};

/// The index of all intents, by the time of their last change.
const INDEX: &str = "i/all";
/// How many packs the first record of an intent allows for.
const FIRST: u32 = 8;

/// A recorded intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// `lineage/prefix`: its name behind `i/`.
    pub(super) name: String,
    /// Packs with lower numbers may exist.
    pub(super) packs: u32,
    revision: Revision,
}

/// An intent's record: JSON, for an operator and for collection.
#[derive(Debug, Serialize, Deserialize)]
struct IntentRecord {
    session: String,
    upload: String,
    packs: u32,
}

impl Intent {
    /// Name of a data pack.
    pub(super) fn pack_name(&self, number: u32) -> String {
        let prefix = self.name.rsplit('/').next().unwrap_or_default();
        format!("{prefix}.{number:04x}")
    }

    /// What the transaction that moves the head needs: the intent stands, and goes.
    pub(super) fn settle(&self, txn: &mut Txn) {
        let key = key(&self.name);
        txn.requires.push(Require::At(key.clone(), self.revision));
        txn.writes.push(Write::Delete(key));
        txn.indices.push(IndexChange::Remove(Index(INDEX.to_owned()), self.name.clone()));
    }
}

fn key(name: &str) -> Key {
    Key(format!("i/{name}"))
}

impl Profiles {
    /// Records a new intent.
    pub(super) async fn intend(&self, lineage: &Lineage, begin: &Begin) -> Result<Intent> {
        let attempt = u64::from_be_bytes(clock::random()?);
        let name = format!("{}/{}-{attempt:016x}", lineage.id, begin.upload);
        let require = Require::Absent(key(&name));
        self.write_intent(lineage, begin, name, FIRST, require).await
    }

    /// Lets an intent allow for twice as many packs.
    pub(super) async fn extend_intent(&self, lineage: &Lineage, begin: &Begin, intent: Intent) -> Result<Intent> {
        let require = Require::At(key(&intent.name), intent.revision);
        self.write_intent(lineage, begin, intent.name, intent.packs * 2, require).await
    }

    async fn write_intent(&self, lineage: &Lineage, begin: &Begin, name: String, packs: u32, require: Require) -> Result<Intent> {
        let record = IntentRecord { session: begin.session.to_string(), upload: begin.upload.to_string(), packs };
        let value = serde_json::to_vec(&record).map_err(|error| Error::new(Reason::Internal, "an intent cannot be written").with_source(error))?;
        let txn = Txn {
            requires: vec![require],
            writes: vec![Write::Put { key: key(&name), value: value.into(), life: Life::Forever, marks: Vec::new() }],
            indices: vec![IndexChange::Add(Index(INDEX.to_owned()), name.clone(), Number::NowPlus(Duration::ZERO))],
            ..Txn::default()
        };
        match self.metadata.commit(&lineage.namespace, Commit::from(txn)).await? {
            Outcome::Applied(applied) => Ok(Intent { name, packs, revision: applied.revision }),
            Outcome::Refused(_) => Err(Error::new(Reason::Contention, "the save was given up as abandoned while it still ran: send it again")),
        }
    }

    /// Removes an intent. Says whether it was there: if not, somebody else has decided what becomes of its packs.
    pub(super) async fn forget_intent(&self, lineage: &Lineage, intent: &Intent) -> Result<bool> {
        let mut txn = Txn::default();
        intent.settle(&mut txn);
        Ok(matches!(self.metadata.commit(&lineage.namespace, Commit::from(txn)).await?, Outcome::Applied(_)))
    }

    /// Reads the intent of this name, if it stands.
    pub(super) async fn find_intent(&self, lineage: &Lineage, name: &str) -> Result<Option<Intent>> {
        let reading = self.metadata.get(&lineage.namespace, &[key(name)]).await?;
        let Some(record) = reading.found.into_iter().next().and_then(Found::live) else { return Ok(None) };
        let parsed: IntentRecord =
            serde_json::from_slice(&record.value).map_err(|error| Error::new(Reason::DataCorrupt, "an intent's record is damaged").with_source(error))?;
        Ok(Some(Intent { name: name.to_owned(), packs: parsed.packs, revision: record.revision }))
    }
}
