//! One namespace's log, followed for everybody who watches it on this daemon.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{CERTIFIED_FOR, IDLE_LOOKS, LOOK_EVERY, ring::Ring};
use crate::{
    clock,
    model::{
        error::{Error, Reason, Result},
        id::Namespace,
        time::Revision,
    },
    store::metadata::{LogPage, Metadata, Scope},
};

/// How many log entries to read at once.
pub(super) const PAGE: usize = 512;

/// See the module's text.
pub(super) struct Feed {
    ns: Namespace,
    store: Arc<dyn Metadata>,
    ring: Mutex<Ring>,
    /// Held while looking, so that pages are applied in the order they were read. The time is that of the last successful look.
    looking: tokio::sync::Mutex<()>,
    looked: Mutex<Option<Instant>>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("ns", &self.ns).finish_non_exhaustive()
    }
}

impl Feed {
    pub(super) fn new(ns: Namespace, store: Arc<dyn Metadata>) -> Self {
        Self { ns, store, ring: Mutex::new(Ring::new()), looking: tokio::sync::Mutex::new(()), looked: Mutex::new(None) }
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the last look began that came to the log's end.
    pub(super) fn looked(&self) -> Option<Instant> {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last look is so fresh that a bookmark may be given.
    pub(super) fn is_certified(&self) -> bool {
        self.looked().is_some_and(|at| clock::monotonic().duration_since(at) < CERTIFIED_FOR)
    }

    /// Reads what is new in the log; `thorough` also notices a change of history that no write has met.
    pub(super) async fn look(&self, thorough: bool) -> Result<()> {
        let _one_at_a_time = self.looking.lock().await;
        let started = clock::monotonic();
        if thorough {
            let head = self.store.history(&self.ns, Scope::Sessions).await?;
            self.ring().start_at(head);
        }
        loop {
            let after = self.ring().through;
            let page = self.page(after).await?;
            if !self.ring().apply(page, PAGE)? {
                break;
            }
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Ok(())
    }

    /// Reads a page of the log, for a subscriber that memory does not reach back for.
    pub(super) async fn page(&self, after: Revision) -> Result<LogPage> {
        self.store.events(&self.ns, Scope::Sessions, after, PAGE).await
    }

    /// Follows the log until told to stop, or until nobody watches for a while.
    pub(super) async fn run(self: Arc<Self>, mut wake: watch::Receiver<Revision>, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut idle, mut failing, mut wakes) = (0, false, true);
        loop {
            let ticked = tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => true,
                woken = wake.changed(), if wakes => {
                    wakes = woken.is_ok();
                    false
                }
            };
            match self.look(ticked).await {
                Ok(()) => failing = false,
                Err(error) => {
                    report(&error, &self.ns, failing);
                    failing = true;
                }
            }
            if ticked {
                idle = if self.ring().is_idle() { idle + 1 } else { 0 };
                if idle >= IDLE_LOOKS && self.close_if_idle() {
                    return;
                }
            }
        }
    }

    fn close_if_idle(&self) -> bool {
        let mut ring = self.ring();
        ring.closed = ring.is_idle();
        ring.closed
    }
}

/// Says once that the log cannot be read; what an operator must mend is an error.
fn report(error: &Error, ns: &Namespace, again: bool) {
    match error.reason() {
        _ if again => tracing::debug!(%ns, ?error, "the event log still cannot be read"),
        Reason::DataCorrupt | Reason::Internal => tracing::error!(%ns, ?error, "the event log cannot be read"),
        _ => tracing::warn!(%ns, ?error, "the event log cannot be read; bookmarks stop until it can"),
    }
}
