//! Where bytes are hashed, packed, sealed and opened: beside the threads that serve everybody, as many at a time as there are processors.

use std::{sync::Arc, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::model::error::{Error, Reason, Result};

/// The workers.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    slots: Arc<Semaphore>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let slots = available_parallelism().map_or(2, usize::from);
        Self { slots: Arc::new(Semaphore::new(slots)) }
    }

    /// Runs `work` on a worker. Dropping the future does not stop work that has begun.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let died = || Error::new(Reason::Internal, "a worker thread died");
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|error| died().with_source(error))?;
        let working = spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        working.await.map_err(|error| died().with_source(error))?
    }
}
