//! The contract's rules, held against the engine in a directory and in memory, and against the model.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use crate::{
    model::id::Namespace,
    store::{
        conformance::{Fixture, reference},
        embedded::{Embedded, Limits},
        faults::FaultPlan,
        metadata::{Metadata, Scope},
    },
};

/// The engine in a directory of its own, or in memory.
struct Engine {
    dir: Option<tempfile::TempDir>,
    store: Mutex<Arc<Embedded>>,
}

impl Engine {
    fn durable() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(Some(dir.path().to_owned()));
        Self { dir: Some(dir), store }
    }

    fn ephemeral() -> Self {
        Self { dir: None, store: open(None) }
    }

    fn now(&self) -> Arc<Embedded> {
        Arc::clone(&self.store.lock().unwrap())
    }
}

fn open(dir: Option<PathBuf>) -> Mutex<Arc<Embedded>> {
    let store = match dir {
        Some(dir) => Embedded::open(&dir, Limits::default()),
        None => Embedded::ephemeral(Limits::default()),
    };
    Mutex::new(Arc::new(store.unwrap()))
}

#[async_trait::async_trait]
impl Fixture for Engine {
    fn store(&self) -> Arc<dyn Metadata> {
        self.now()
    }

    async fn restart(&self) -> bool {
        self.now().close().await;
        let next = open(self.dir.as_ref().map(|dir| dir.path().to_owned()));
        *self.store.lock().unwrap() = next.into_inner().unwrap();
        self.dir.is_some()
    }

    async fn trim(&self, ns: &Namespace, scope: Scope, keep: usize) {
        self.now().trim(ns, scope, u32::try_from(keep).unwrap()).await.unwrap();
    }

    fn faults(&self) -> FaultPlan {
        self.now().faults()
    }
}

/// The model with its plan.
struct Model {
    store: Mutex<Arc<reference::Reference>>,
    faults: FaultPlan,
}

impl Model {
    fn start() -> Self {
        let faults = FaultPlan::new();
        Self { store: Mutex::new(Arc::new(reference::Reference::start(faults.clone()).unwrap())), faults }
    }
}

#[async_trait::async_trait]
impl Fixture for Model {
    fn store(&self) -> Arc<dyn Metadata> {
        Arc::<reference::Reference>::clone(&self.store.lock().unwrap())
    }

    async fn restart(&self) -> bool {
        *self.store.lock().unwrap() = Arc::new(reference::Reference::start(self.faults.clone()).unwrap());
        false
    }

    async fn trim(&self, ns: &Namespace, scope: Scope, keep: usize) {
        self.store.lock().unwrap().trim(ns, scope, keep);
    }

    fn faults(&self) -> FaultPlan {
        self.faults.clone()
    }
}

mod durable {
    use super::*;
    crate::conformance! { Engine::durable() }
}

mod ephemeral {
    use super::*;
    crate::conformance! { Engine::ephemeral() }
}

mod model {
    use super::*;
    crate::conformance! { Model::start() }
}
