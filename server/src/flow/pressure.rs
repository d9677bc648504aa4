//! Whether callers wait, or were refused, because others hold what there is. While that is so, whoever stands still gives way: those who take what they hold and do nothing
//! with it must not keep everybody else out.

use std::{
    future::Future,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::clock;

/// Memory or places for saves and loads are short, or not.
#[derive(Debug)]
pub struct Pressure {
    patience: Duration,
    felt: Mutex<Option<Instant>>,
}

impl Pressure {
    /// Nobody waits. A new save or load will wait `patience` before it is refused.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, felt: Mutex::new(None) }
    }

    /// How long a new save or load waits before it is refused.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// How long a transfer may stand still while others wait: half their patience, so that what it held is free before they give up.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.patience / 2
    }

    /// Somebody was refused, or has to wait.
    pub fn note(&self) {
        *self.felt.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::monotonic());
    }

    /// Somebody was refused, or had to wait, no longer ago than a new transfer is patient; whoever was refused may be back by then.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.felt.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|felt| felt.elapsed() < self.patience)
    }

    /// Waits for what is short, and says so all the time.
    pub async fn during<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        loop {
            self.note();
            if let Ok(done) = timeout(self.grace(), &mut waiting).await {
                return done;
            }
        }
    }
}
