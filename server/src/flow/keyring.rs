//! Who may open what: the master key wraps a namespace's keys, these wrap a lineage's key, that one seals packs and storage states.
//!
//! ```text
//!                 metadata          bucket
//! namespace keys  n/keys            k/{namespace}/namespace/{version}
//! lineage key     k/{lineage}       k/{namespace}/{lineage}/{version}
//! check           -                 k/_check      (no namespace has an underscore)
//! ```
//! Both places hold the same bytes, so that losing the metadata loses no key. Of a namespace's keys the bucket's object is written first and never replaced: whoever
//! creates it wins, everybody else adopts it. Of a lineage's key the metadata comes first (no request to the bucket when a session is created) and
//! [`Keyring::publish`] mirrors it before the first save. Deleting both destroys all that the lineage ever sealed.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use moka::sync::Cache;

use crate::{
    clock,
    model::{
        error::{Error, Reason, Result},
        id::{LineageId, Namespace},
    },
    store::metadata::{Commit, Found, Key, Life, Metadata, Require, Txn, Write},
};

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod keys;
mod master;
mod objects;
#[cfg(test)]
mod tests;

pub use keys::{LineageKey, NamespaceKeys};
pub use master::{KeySource, MasterKeys};

/// Most namespaces whose keys stay in memory.
const NAMESPACES: u64 = 10_000;
/// Most lineages whose keys stay in memory: about 400 bytes each.
const LINEAGES: u64 = 50_000;
/// How many namespaces are looked at when the master key is checked.
const CHECKED: usize = 100;
/// The bucket's key check. Not `k/check`, which in a file system would be the directory of a namespace of that name.
const CHECK: &str = "k/_check";

/// Where the bucket keeps key records: what the keyring needs of the blob store.
#[async_trait::async_trait]
pub trait KeyObjects: Send + Sync + fmt::Debug + 'static {
    /// Creates an object; `false` when there is one of that name, which stays as it is.
    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<bool>;

    /// Reads an object; `None` when there is none.
    async fn get(&self, name: &str) -> Result<Option<Bytes>>;

    /// Deletes an object; deleting what is gone succeeds.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// Keys as far as a reader needs them.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// The keys.
    pub keys: Arc<NamespaceKeys>,
    /// They are there, and not only going to be made.
    certain: bool,
}

/// The keys of all namespaces and lineages, read when first needed.
#[derive(Debug)]
pub struct Keyring {
    master: MasterKeys,
    metadata: Arc<dyn Metadata>,
    objects: Arc<dyn KeyObjects>,
    namespaces: Cache<Namespace, Arc<NamespaceKeys>>,
    lineages: Cache<(Namespace, LineageId), Arc<LineageKey>>,
}

impl Keyring {
    /// Loads the master key and makes sure that it opens the data there is. Call it once the stores are open, for the data directory's lock protects a new key file.
    ///
    /// # Errors
    /// `KEY_UNAVAILABLE`, naming the key's source and the remedy, when the key is missing or another one; `METADATA_UNAVAILABLE`, `BLOBS_UNAVAILABLE`.
    pub async fn open(source: &KeySource, metadata: Arc<dyn Metadata>, objects: Arc<dyn KeyObjects>) -> Result<Arc<Self>> {
        let check = objects.get(CHECK).await?;
        let namespaces = metadata.namespaces().await?;
        let master = MasterKeys::load(source, Some(check.is_none() && namespaces.is_empty()))?;
        let keyring = Self::new(master, metadata, objects);
        for namespace in namespaces.iter().take(CHECKED) {
            match keyring.existing(namespace).await {
                // One damaged record must not keep all the others from being served.
                Err(error) if error.reason() == Reason::DataCorrupt => tracing::error!(%namespace, ?error, "a namespace's keys are damaged"),
                found => drop(found?),
            }
        }
        let check = match check {
            None => keyring.write_check().await?,
            Some(check) => check,
        };
        keys::open_check(&keyring.master, &check)?;
        Ok(Arc::new(keyring))
    }

    /// Writes the key check and says what is there now, for another daemon may have been faster.
    async fn write_check(&self) -> Result<Bytes> {
        self.objects.put_new(CHECK, keys::make_check(&self.master)?).await?;
        let message = "the key check was written to the blob store and is not there: does something else delete its objects?";
        self.objects.get(CHECK).await?.ok_or_else(|| Error::new(Reason::BlobsUnavailable, message))
    }

    /// A keyring under a master key that nobody has checked.
    #[must_use]
    pub fn new(master: MasterKeys, metadata: Arc<dyn Metadata>, objects: Arc<dyn KeyObjects>) -> Self {
        Self { master, metadata, objects, namespaces: Cache::new(NAMESPACES), lineages: Cache::new(LINEAGES) }
    }

    /// A namespace's keys, made now if it has none: for everything that writes.
    ///
    /// # Errors
    /// `KEY_UNAVAILABLE` under another master key, `DATA_CORRUPT`, `METADATA_UNAVAILABLE`, `BLOBS_UNAVAILABLE`.
    pub async fn namespace(&self, namespace: &Namespace) -> Result<Arc<NamespaceKeys>> {
        if let Some(keys) = self.existing(namespace).await? {
            return Ok(keys);
        }
        let made = self.adopt_or_create(namespace).await;
        audit("make the namespace's keys", namespace, &made);
        let record = made?;
        let key = namespace_key();
        let write = Write::Put { key: key.clone(), value: record, life: Life::Forever, marks: Vec::new() };
        let txn = Txn { requires: vec![Require::Absent(key)], writes: vec![write], ..Txn::default() };
        // Applied or refused: either way the record is there now.
        self.metadata.commit(namespace, Commit::from(txn)).await?;
        self.existing(namespace).await?.ok_or_else(|| Error::new(Reason::Internal, "a namespace's keys were written and are not there"))
    }

    /// A namespace's keys, if it has any: for reads, which leave no trace. Without keys there is nothing to find.
    ///
    /// # Errors
    /// As [`Self::namespace`].
    pub async fn existing(&self, namespace: &Namespace) -> Result<Option<Arc<NamespaceKeys>>> {
        if let Some(keys) = self.namespaces.get(namespace) {
            return Ok(Some(keys));
        }
        let Some(record) = self.record(namespace, namespace_key()).await? else { return Ok(None) };
        let unwrapped = NamespaceKeys::unwrap(namespace, &self.master, &record);
        audit("unwrap the namespace's keys", namespace, &unwrapped);
        let keys = Arc::new(unwrapped?);
        self.namespaces.insert(namespace.clone(), Arc::clone(&keys));
        Ok(Some(keys))
    }

    /// A namespace's keys, or, if it has none, those that its first writer is going to make: for reads that name addresses or carry tokens. Nothing may be sealed with
    /// them. They are [`Foreseen`] wrongly if that writer has another master key than this daemon, or if the keys of lost metadata are still in the bucket.
    ///
    /// # Errors
    /// As [`Self::namespace`].
    pub async fn foresee(&self, namespace: &Namespace) -> Result<Foreseen> {
        Ok(match self.existing(namespace).await? {
            Some(keys) => Foreseen { keys, certain: true },
            None => Foreseen { keys: Arc::new(NamespaceKeys::generate(namespace, &self.master)?), certain: false },
        })
    }

    /// Whether a namespace's keys are, or still may become, what was foreseen.
    ///
    /// # Errors
    /// As [`Self::namespace`].
    pub async fn holds(&self, namespace: &Namespace, foreseen: &mut Foreseen) -> Result<bool> {
        if !foreseen.certain
            && let Some(keys) = self.existing(namespace).await?
        {
            foreseen.certain = keys.agrees(&foreseen.keys);
            return Ok(foreseen.certain);
        }
        Ok(true)
    }

    /// The bucket decides what a namespace's keys are: metadata that were lost find their old keys again.
    async fn adopt_or_create(&self, namespace: &Namespace) -> Result<Bytes> {
        let name = format!("k/{namespace}/namespace/1");
        if let Some(record) = self.objects.get(&name).await? {
            return Ok(record);
        }
        let record = NamespaceKeys::generate(namespace, &self.master)?.wrap(&self.master)?;
        if self.objects.put_new(&name, record.clone()).await? {
            return Ok(record);
        }
        let message = format!("{name} exists in the blob store and cannot be read: does something else delete its objects?");
        self.objects.get(&name).await?.ok_or_else(|| Error::new(Reason::BlobsUnavailable, message))
    }

    /// A fresh lineage: its id, its key, and the write that keeps the key, for the transaction that creates its session.
    ///
    /// # Errors
    /// As [`Self::namespace`].
    pub async fn new_lineage(&self, namespace: &Namespace) -> Result<(LineageId, Arc<LineageKey>, Write)> {
        let lineage = LineageId(clock::random()?);
        let key = LineageKey::generate(&*self.namespace(namespace).await?, lineage)?;
        let write = Write::Put { key: lineage_key(lineage), value: key.record().clone(), life: Life::Forever, marks: Vec::new() };
        Ok((lineage, Arc::new(key), write))
    }

    /// A lineage's key.
    ///
    /// # Errors
    /// `KEY_UNAVAILABLE` when it is nowhere, else as [`Self::namespace`].
    pub async fn lineage(&self, namespace: &Namespace, lineage: LineageId) -> Result<Arc<LineageKey>> {
        let id = (namespace.clone(), lineage);
        if let Some(key) = self.lineages.get(&id) {
            return Ok(key);
        }
        let keys = self.namespace(namespace).await?;
        let record = match self.record(namespace, lineage_key(lineage)).await? {
            Some(record) => record,
            None => self.objects.get(&object_name(namespace, lineage, 1)).await?.ok_or_else(|| {
                let message =
                    format!("the key of lineage {lineage} is neither in the metadata nor in the blob store: its session was purged, or both were lost");
                Error::new(Reason::KeyUnavailable, message)
            })?,
        };
        let key = Arc::new(LineageKey::unwrap(&keys, lineage, record)?);
        self.lineages.insert(id, Arc::clone(&key));
        Ok(key)
    }

    /// Mirrors a lineage's key to the bucket. Call it before a lineage's first pack (its session's `sequence` is still 0); repeating it is harmless.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when the bucket holds another key of that name, else as [`Self::lineage`].
    pub async fn publish(&self, namespace: &Namespace, lineage: LineageId) -> Result<()> {
        let key = self.lineage(namespace, lineage).await?;
        let name = object_name(namespace, lineage, key.version());
        if self.objects.put_new(&name, key.record().clone()).await? {
            return Ok(());
        }
        if self.objects.get(&name).await?.as_ref() == Some(key.record()) {
            return Ok(());
        }
        Err(Error::new(Reason::DataCorrupt, format!("{name} in the blob store holds another key than the metadata")))
    }

    /// Destroys a lineage's key in the bucket and in memory. Its metadata record goes with the transaction that purges its session.
    ///
    /// # Errors
    /// `BLOBS_UNAVAILABLE`, `METADATA_UNAVAILABLE`.
    pub async fn shred(&self, namespace: &Namespace, lineage: LineageId) -> Result<()> {
        self.lineages.invalidate(&(namespace.clone(), lineage));
        self.objects.delete(&object_name(namespace, lineage, 1)).await
    }

    async fn record(&self, namespace: &Namespace, key: Key) -> Result<Option<Bytes>> {
        let reading = self.metadata.get(namespace, &[key]).await?;
        Ok(reading.found.into_iter().next().and_then(Found::live).map(|record| record.value))
    }
}

/// The line that a use of the master key leaves; the span around it says in whose call.
fn audit<T>(what: &str, namespace: &Namespace, done: &Result<T>) {
    let outcome = done.as_ref().map_or_else(|error| format!("{:?}", error.reason()), |_| "OK".to_owned());
    tracing::info!(target: "audit", who = "daemon", what, %namespace, outcome, "use of the master key");
}

fn namespace_key() -> Key {
    Key("n/keys".to_owned())
}

/// Where the metadata keeps a lineage's key.
#[must_use]
pub fn lineage_key(lineage: LineageId) -> Key {
    Key(format!("k/{lineage}"))
}

fn object_name(namespace: &Namespace, lineage: LineageId, version: u32) -> String {
    format!("k/{namespace}/{lineage}/{version}")
}
