//! Watching: every subscriber sees every matching change, in order, once, or is told that it missed something.
//!
//! ```text
//! store's log ──► Feed (one per namespace: reads the log, keeps the newest entries, finds who is concerned)
//!                   ▲ ▲ ▲
//!                 Subscriber = a position in the log, never a queue
//! ```
//! The log is the truth; a wake-up only says "look now", and a look every second bounds what a lost wake-up costs. "You missed something" is computed from
//! positions (each log entry names the one before it), so it cannot itself be lost.

mod feed;
mod ring;
mod subscriber;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use self::feed::Feed;
pub use self::subscriber::{Event, Message, Start, Subscriber};
use super::tasks::Tasks;
use crate::{
    model::{
        error::{Error, Reason, Result},
        event::Change,
        id::Namespace,
        selector::Selectors,
        time::Revision,
    },
    store::metadata::Metadata,
};

/// How often a feed looks at its log without being woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after its last look a feed still certifies that nothing else happened.
const CERTIFIED_FOR: Duration = Duration::from_secs(3);
/// How many looks without a subscriber end a feed.
const IDLE_LOOKS: u32 = 60;

/// Why a subscriber has to forget what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The wanted changes are no longer kept.
    Compacted,
    /// Acknowledged changes were or may have been lost.
    HistoryChanged,
    /// The subscriber was too slow.
    SlowConsumer,
    /// The log has a hole.
    Gap,
}

/// The changes of one revision that concern a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The revision.
    pub revision: Revision,
    /// Its matching changes.
    pub changes: Vec<Change>,
}

/// All feeds of a daemon.
#[derive(Debug)]
pub struct Hub {
    store: Arc<dyn Metadata>,
    tasks: Arc<Tasks>,
    draining: CancellationToken,
    feeds: Feeds,
}

/// Every feed that runs, or is about to.
type Feeds = Arc<Mutex<HashMap<Namespace, Arc<OnceCell<Arc<Feed>>>>>>;

impl Hub {
    /// No feeds yet; each starts with its first subscriber and runs in `tasks`.
    #[must_use]
    pub fn new(store: Arc<dyn Metadata>, tasks: Arc<Tasks>) -> Self {
        Self { store, tasks, draining: CancellationToken::new(), feeds: Feeds::default() }
    }

    /// Subscribes. The first message is [`Event::Opened`]; with a position that cannot be continued the second is [`Event::Reset`].
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` when the log cannot be read now; `INVALID_RESUME_TOKEN` for a foreign position that names this very history.
    pub async fn subscribe(&self, ns: &Namespace, selectors: Selectors, start: Start, bookmark_every: Duration) -> Result<Subscriber> {
        loop {
            let feed = self.feed(ns).await?;
            feed.look(true).await?;
            if let Some(subscriber) = Subscriber::open(&feed, selectors.clone(), &start, bookmark_every, self.draining.clone()) {
                if matches!(&start, Start::Foreign(history) if history == subscriber.history()) {
                    let message = "resume_token names this namespace's history, but was not issued in it; start without it";
                    return Err(Error::new(Reason::InvalidResumeToken, message).with_field("resume_token"));
                }
                return Ok(subscriber);
            }
            // The feed ended between the two lines above for want of subscribers: start it anew.
            forget(&self.feeds, ns, &feed).await;
        }
    }

    /// Tells every subscriber that the daemon is about to stop; their streams end with [`Event::Draining`].
    pub fn drain(&self) {
        self.draining.cancel();
    }

    async fn feed(&self, ns: &Namespace) -> Result<Arc<Feed>> {
        let cell = Arc::clone(self.feeds.lock().await.entry(ns.clone()).or_default());
        let feed = cell.get_or_try_init(|| async {
            let wake = self.store.watch(ns).await?;
            let feed = Arc::new(Feed::new(ns.clone(), Arc::clone(&self.store)));
            feed.look(true).await?;
            let (feeds, ns, running, stop) = (Arc::clone(&self.feeds), ns.clone(), Arc::clone(&feed), self.tasks.stopping());
            self.tasks.spawn(async move {
                Arc::clone(&running).run(wake, stop).await;
                forget(&feeds, &ns, &running).await;
            });
            Ok(feed)
        });
        feed.await.cloned()
    }
}

/// An ended feed and its memory go; a newer one of the same namespace stays.
async fn forget(feeds: &Feeds, ns: &Namespace, ended: &Arc<Feed>) {
    let mut feeds = feeds.lock().await;
    if feeds.get(ns).and_then(|cell| cell.get()).is_some_and(|feed| Arc::ptr_eq(feed, ended)) {
        feeds.remove(ns);
    }
}

#[cfg(test)]
mod tests;
