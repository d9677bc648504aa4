//! What has travelled, as the caller is told of it.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::system::lock;

/// How long a stream may stand still: nothing taken, and no answer.
pub(crate) const STALL: Duration = Duration::from_mins(2);

/// Told how many bytes of content have travelled, and how many will. The numbers only grow, and end at their total.
#[derive(Clone)]
pub struct OnProgress(Arc<dyn Fn(u64, u64) + Send + Sync>);

impl OnProgress {
    /// Wraps a function of `done` and `total`. It must not block.
    pub fn new(told: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// Counts what has travelled; a stream that is sent again does not count backwards.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    told: Option<OnProgress>,
    /// Done in this attempt, and the most that was ever told.
    done: Arc<Mutex<(u64, Option<u64>)>>,
}

impl Counter {
    pub(crate) fn new(told: Option<OnProgress>) -> Self {
        Self { told, done: Arc::default() }
    }

    pub(crate) fn restart(&self) {
        lock(&self.done).0 = 0;
    }

    pub(crate) fn add(&self, more: u64, total: u64) {
        let mut done = lock(&self.done);
        done.0 += more;
        let news = done.0.min(total);
        if let Some(told) = self.told.as_ref().filter(|_| done.1.is_none_or(|before| news > before)) {
            done.1 = Some(news);
            (told.0)(news, total);
        }
    }
}
