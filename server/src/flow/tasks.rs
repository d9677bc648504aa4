//! The one home of background tasks: every task has an owner that ends it.

use std::{fmt, future::Future, sync::Mutex, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// A set of background tasks that are told to stop together and waited for.
pub struct Tasks {
    stop: CancellationToken,
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self { stop: CancellationToken::new(), running: Mutex::new(JoinSet::new()) }
    }

    /// A token that is cancelled when the tasks shall stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task`, which must end soon after [`Self::stopping`] was cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    /// Tells all tasks to stop and waits for them, at most `deadline`; what still runs then is cut off. Says whether all ended by themselves.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let all = async { while running.join_next().await.is_some() {} };
        let in_time = timeout(deadline, all).await.is_ok();
        running.shutdown().await;
        in_time
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("stopping", &self.stop.is_cancelled()).finish_non_exhaustive()
    }
}
