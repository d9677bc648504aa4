//! What saves or loads share: memory counted in KiB, or places. Whoever has to wait for it waits a bounded time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    flow::pressure::Pressure,
    model::error::{Error, Reason, Result},
};

/// When to try again after a refusal.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Something that saves or loads share.
#[derive(Debug)]
pub(super) struct Share {
    /// What it is, for the caller that gets none of it, such as `memory for saves (limits.save_memory)`.
    what: &'static str,
    most: u32,
    free: Arc<Semaphore>,
    pressure: Arc<Pressure>,
}

impl Share {
    pub(super) fn new(what: &'static str, most: usize, pressure: Arc<Pressure>) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { what, most: u32::try_from(most).unwrap_or(u32::MAX), free: Arc::new(Semaphore::new(most)), pressure }
    }

    /// Takes as much, or all there ever is, if it is free now.
    pub(super) fn try_take(&self, wanted: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(wanted.min(self.most)).ok()
    }

    /// Takes as much, or all there ever is; waits at most `bound` for it, first come, first served. Hold nothing of it meanwhile, or two wait for each other.
    ///
    /// # Errors
    /// `OVERLOADED`.
    pub(super) async fn take(&self, wanted: u32, bound: Duration) -> Result<OwnedSemaphorePermit> {
        if let Some(permit) = self.try_take(wanted) {
            return Ok(permit);
        }
        let acquiring = Arc::clone(&self.free).acquire_many_owned(wanted.min(self.most));
        let Ok(permit) = timeout(bound, self.pressure.during(acquiring)).await else {
            let message = format!("{bound:?} long there was no {}: other saves and loads hold it; try again", self.what);
            return Err(Error::new(Reason::Overloaded, message).with_retry_after(RETRY_AFTER));
        };
        permit.map_err(|_| Error::new(Reason::ShuttingDown, "the daemon is about to stop"))
    }

    #[cfg(test)]
    pub(super) fn available_permits(&self) -> usize {
        self.free.available_permits()
    }
}
