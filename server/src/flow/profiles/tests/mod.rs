//! Saves and loads over real stores: the embedded engine and a directory, or both in memory.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::{
    flow::sessions::{
        DEFAULT_MAX_SESSIONS,
        testing::{master, new_session},
    },
    model::{
        assembly::Records,
        codec::Codec,
        error::Reason,
        id::{SessionId, UploadId},
        portability::Portability,
        reference::Tree,
    },
    store::{
        blobs::{BlobsConfig, Counts},
        embedded::{Embedded, Limits},
        metadata::{Commit, Direction, EngineInfo, ExpiredRecord, Head, Index, Key, LogPage, Outcome, Range, Reading, Scope},
    },
};

mod commit;
mod diffs;
mod large;
mod loads;
mod marks;
mod restores;
mod saves;

/// A metadata store that counts its commits.
#[derive(Debug)]
pub(crate) struct Counting {
    inner: Arc<dyn Metadata>,
    commits: AtomicU64,
}

#[async_trait::async_trait]
impl Metadata for Counting {
    async fn get(&self, ns: &Namespace, keys: &[Key]) -> Result<Reading> {
        self.inner.get(ns, keys).await
    }

    async fn scan(&self, ns: &Namespace, index: &Index, range: &Range, direction: Direction, limit: usize) -> Result<Vec<(i64, String)>> {
        self.inner.scan(ns, index, range, direction, limit).await
    }

    async fn commit(&self, ns: &Namespace, commit: Commit) -> Result<Outcome> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(ns, commit).await
    }

    async fn expired(&self, ns: &Namespace, limit: usize) -> Result<Vec<ExpiredRecord>> {
        self.inner.expired(ns, limit).await
    }

    async fn events(&self, ns: &Namespace, scope: Scope, after: Revision, limit: usize) -> Result<LogPage> {
        self.inner.events(ns, scope, after, limit).await
    }

    async fn history(&self, ns: &Namespace, scope: Scope) -> Result<Head> {
        self.inner.history(ns, scope).await
    }

    async fn watch(&self, ns: &Namespace) -> Result<watch::Receiver<Revision>> {
        self.inner.watch(ns).await
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.inner.namespaces().await
    }

    async fn probe(&self) -> Result<EngineInfo> {
        self.inner.probe().await
    }
}

/// A daemon's insides.
pub(crate) struct World {
    pub(crate) profiles: Arc<Profiles>,
    sessions: Arc<Sessions>,
    metadata: Arc<Counting>,
    pub(crate) blobs: Arc<Blobs>,
    ns: Namespace,
    session: SessionId,
    _dir: Option<TempDir>,
}

impl World {
    /// Everything in memory.
    pub(crate) async fn new() -> Self {
        Self::with(ProfilesConfig::default()).await
    }

    pub(crate) async fn with(config: ProfilesConfig) -> Self {
        let metadata = Arc::new(Embedded::ephemeral(Limits::default()).unwrap());
        let blobs = Arc::new(Blobs::open(&BlobsConfig::memory(u64::MAX)).unwrap());
        let world = Self::over(metadata, blobs, config, None);
        world.create("s").await;
        world
    }

    /// In a directory.
    async fn on_disk() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (metadata, blobs) = stores(dir.path());
        let world = Self::over(metadata, blobs, ProfilesConfig::default(), Some(dir));
        world.create("s").await;
        world
    }

    fn over(metadata: Arc<dyn Metadata>, blobs: Arc<Blobs>, config: ProfilesConfig, dir: Option<TempDir>) -> Self {
        let metadata = Arc::new(Counting { inner: metadata, commits: AtomicU64::new(0) });
        let keyring = Arc::new(Keyring::new(master().unwrap(), Arc::clone(&metadata) as _, Arc::clone(&blobs) as _));
        let sessions = Arc::new(Sessions::new(Arc::clone(&metadata) as _, Arc::clone(&keyring), DEFAULT_MAX_SESSIONS));
        let tasks = Arc::new(Tasks::new());
        let profiles = Profiles::new(Arc::clone(&metadata) as _, Arc::clone(&blobs), keyring, Arc::clone(&sessions), tasks, config);
        let session = SessionId::parse("id", "s").unwrap();
        Self { profiles, sessions, metadata, blobs, ns: Namespace::default(), session, _dir: dir }
    }

    /// Another daemon on the same stores, without anything in its caches.
    pub(crate) fn replica(&self) -> Self {
        Self::over(Arc::clone(&self.metadata.inner), Arc::clone(&self.blobs), self.profiles.config.clone(), None)
    }

    pub(crate) async fn create(&self, id: &str) {
        self.sessions.create(&self.ns, new_session(id, "acme").unwrap(), None).await.unwrap();
    }

    fn begin(&self, upload: &str, parent: Option<SnapshotId>) -> Begin {
        Begin {
            namespace: self.ns.clone(),
            session: self.session.clone(),
            parent,
            full: false,
            upload: UploadId::parse("upload_id", &format!("{upload:-<16}")).unwrap(),
            etag: String::new(),
            lease_token: 0,
            portability: Portability::default(),
        }
    }

    /// Saves `tree`, as a difference to `base`.
    async fn save(&self, upload: &str, base: Option<(&Tree, SnapshotId)>, tree: &Tree) -> Result<Saved> {
        let begin = self.begin(upload, base.map(|(_, id)| id));
        self.send(begin, tree.records(base.map(|(tree, _)| tree), Codec::Raw, 64), None, tree.root()).await
    }

    async fn send(&self, begin: Begin, records: Vec<Records>, state: Option<&[u8]>, root: crate::model::tree::Root) -> Result<Saved> {
        match self.profiles.save(begin).await? {
            Saving::Repeat(mut repeat) => {
                if let Some(state) = state {
                    repeat.storage_state(state);
                }
                repeat.end(&root)
            }
            Saving::New(mut save) => {
                for records in records {
                    let budget = save.reserve().await?;
                    save.records(budget, records).await?;
                }
                for chunk in state.into_iter().flat_map(|state| state.chunks(100_000)) {
                    let budget = save.reserve().await?;
                    save.storage_state(budget, Bytes::copy_from_slice(chunk)).await?;
                }
                save.end(root).await
            }
        }
    }

    fn request(&self) -> LoadRequest {
        LoadRequest {
            namespace: self.ns.clone(),
            session: self.session.clone(),
            snapshot: None,
            have: None,
            accept: Vec::new(),
            with_storage_state: false,
            min_revision: Revision::ZERO,
        }
    }

    /// Loads a snapshot onto `base`.
    async fn load(&self, snapshot: SnapshotId, base: Option<(&Tree, SnapshotId)>) -> Result<Tree> {
        let request = LoadRequest { snapshot: Some(snapshot), have: base.map(|(_, id)| id), ..self.request() };
        let loaded = self.fetch(request).await?;
        let base = loaded.base.and(base).map(|(tree, _)| tree);
        let tree = Tree::apply(base, &loaded.records);
        assert_eq!(tree.root(), loaded.root);
        Ok(tree)
    }

    async fn fetch(&self, request: LoadRequest) -> Result<Loaded> {
        let mut load = self.profiles.load(request).await?;
        let mut loaded = Loaded { view: load.view, base: load.base, root: load.root, records: Vec::new(), state: Vec::new(), content: load.content };
        loop {
            match load.pieces.recv().await {
                Some(Ok(LoadPiece::Records(records))) => loaded.records.push(records),
                Some(Ok(LoadPiece::StorageState(chunk))) => loaded.state.extend_from_slice(&chunk),
                Some(Ok(LoadPiece::End)) => return Ok(loaded),
                Some(Err(error)) => return Err(error),
                None => panic!("a load ended without its end"),
            }
        }
    }

    fn commits(&self) -> u64 {
        self.metadata.commits.load(Ordering::SeqCst)
    }

    fn counts(&self) -> Counts {
        self.blobs.counts()
    }

    /// The names of all objects of the lineage's packs.
    pub(crate) async fn objects(&self, kind: &str) -> Vec<String> {
        let mut names: Vec<_> = self.blobs.list(kind, 1000).await.unwrap().into_iter().map(|object| object.name).collect();
        names.sort();
        names.iter().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect()
    }

    async fn stored_session(&self) -> crate::flow::sessions::Loaded {
        crate::flow::sessions::load(&*self.metadata, &self.ns, &self.session).await.unwrap().0.unwrap()
    }
}

/// What a load brought.
struct Loaded {
    view: SnapshotView,
    base: Option<SnapshotId>,
    root: crate::model::tree::Root,
    records: Vec<Records>,
    state: Vec<u8>,
    content: u64,
}

fn stores(dir: &Path) -> (Arc<dyn Metadata>, Arc<Blobs>) {
    let metadata = Arc::new(Embedded::open(dir, Limits::default()).unwrap());
    (metadata, Arc::new(Blobs::open(&BlobsConfig::local(dir.join("blobs"))).unwrap()))
}

/// Some files, a link and an empty directory.
pub(crate) fn sample() -> Tree {
    Tree::default()
        .file("Default/Cookies", &vec![7; 30_000])
        .file("Default/Local Storage/leveldb/000003.log", &(0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
        .file("Default/empty", b"")
        .file("Local State", b"{}")
}

fn reason(result: Result<Saved>) -> Reason {
    match result {
        Ok(saved) => panic!("saved {:?}", saved.view.id),
        Err(error) => error.reason(),
    }
}
