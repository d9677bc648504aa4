//! What tests of sessions stand on: a keyring whose bucket is a map, and shapes of requests.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{DEFAULT_MAX_SESSIONS, NewSession, Sessions};
use crate::{
    flow::keyring::{KeyObjects, Keyring, MasterKeys},
    model::{
        error::{Error, Reason, Result},
        id::{BusinessId, SessionId},
        session::TtlMode,
    },
    store::metadata::Metadata,
};

/// Key objects in memory, which can be made unreachable.
#[derive(Debug, Default)]
pub struct KeyMap {
    objects: Mutex<BTreeMap<String, Bytes>>,
    down: AtomicBool,
}

impl KeyMap {
    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.map(|objects| objects.keys().cloned().collect()).unwrap_or_default()
    }

    /// From now on every call fails, or none.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn map<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Bytes>) -> T) -> Result<T> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(Reason::BlobsUnavailable, "the test made the blob store unreachable"));
        }
        Ok(act(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[async_trait::async_trait]
impl KeyObjects for KeyMap {
    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.map(|objects| {
            let new = !objects.contains_key(name);
            objects.entry(name.to_owned()).or_insert(bytes);
            new
        })
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.map(|objects| objects.get(name).cloned())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.map(|objects| drop(objects.remove(name)))
    }
}

/// A master key that every test shares.
///
/// # Errors
/// None: the text is a key.
pub fn master() -> Result<MasterKeys> {
    MasterKeys::parse("the test", &"ab".repeat(32))
}

/// Sessions over an engine and a map of keys.
///
/// # Errors
/// None: the master key is one.
pub fn sessions(metadata: Arc<dyn Metadata>, objects: Arc<KeyMap>) -> Result<Arc<Sessions>> {
    let keyring = Arc::new(Keyring::new(master()?, Arc::clone(&metadata), objects));
    Ok(Arc::new(Sessions::new(metadata, keyring, DEFAULT_MAX_SESSIONS)))
}

/// A session of a business that lives for a minute of sliding time.
///
/// # Errors
/// `INVALID_FIELD` when a name is none.
pub fn new_session(id: &str, business: &str) -> Result<NewSession> {
    Ok(NewSession {
        id: Some(SessionId::parse("id", id)?),
        business: BusinessId::parse("business", business)?,
        email: None,
        labels: BTreeMap::new(),
        ttl: Duration::from_mins(1),
        ttl_mode: TtlMode::Sliding,
    })
}
