//! One subscriber: a position in the log.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Matched, ResetReason,
    feed::{Feed, PAGE},
    ring::{BatchBuilder, Taken},
};
use crate::{
    model::{
        error::Result,
        event,
        selector::Selectors,
        time::{History, Revision},
    },
    store::metadata::{Head, LogPage},
};

/// A history that is none: whoever resumes from it is reset.
const NO_HISTORY: &str = "-";

/// Where to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes.
    Now,
    /// After a revision that an answer carried.
    After(Revision),
    /// After a position that a message carried.
    Resume(History, Revision),
    /// After a position that another store gave out, as before a data directory or a master key was made anew: nothing of it can be continued. The history that it names must
    /// not be this one.
    Foreign(History),
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first message.
    Opened,
    /// Matching changes in order of their revisions, at least one.
    Changes(Vec<Matched>),
    /// Nothing else up to the message's revision.
    Bookmark,
    /// Something may have been missed; what follows comes after the message's revision.
    Reset(ResetReason),
    /// The daemon is about to stop; nothing follows.
    Draining,
}

/// A message and the position that covers everything up to and including it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is said.
    pub event: Event,
    /// The history of the position.
    pub history: History,
    /// The revision of the position.
    pub revision: Revision,
}

/// How a subscriber reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// From memory, woken when something matches.
    Live,
    /// From the store, because memory does not reach back so far; the reason is what it means if the store does not either.
    CatchUp(ResetReason),
}

/// See the module's text. Dropping it ends the subscription.
pub struct Subscriber {
    feed: Arc<Feed>,
    id: u64,
    selectors: Arc<Selectors>,
    wake: Arc<Notify>,
    bookmarks: Interval,
    draining: CancellationToken,
    mode: Mode,
    history: History,
    epoch: u64,
    at: Revision,
    opened: bool,
    reset: Option<ResetReason>,
    drained: bool,
    complete: Option<Instant>,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("id", &self.id).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.feed.ring().unregister(self.id);
    }
}

impl Subscriber {
    /// Subscribes to a feed that has just looked. `None` when the feed has ended.
    pub(super) fn open(feed: &Arc<Feed>, selectors: Selectors, start: &Start, bookmark_every: Duration, draining: CancellationToken) -> Option<Self> {
        let selectors = Arc::new(selectors);
        let wake = Arc::new(Notify::new());
        let looked = feed.looked();
        let mut ring = feed.ring();
        let id = ring.register(&selectors, &wake)?;
        // What lies beyond the fresh look, or in another history, was never acknowledged by this store as it is now.
        let known = |revision: Revision| (revision <= ring.through).then_some(revision);
        let position = match start {
            Start::Now => Some(ring.through),
            Start::After(revision) => known(*revision),
            // A token from before there was any history stands at its beginning. One that stands at revision 0 of a history does not go on in another: what that one
            // acknowledged later may be lost, and was never heard of.
            Start::Resume(history, revision) if *history == ring.history || (history.0.is_empty() && *revision == Revision::ZERO) => known(*revision),
            Start::Resume(..) | Start::Foreign(_) => None,
        };
        let at = position.unwrap_or(ring.through);
        let mode = if ring.go_live(id, at) { Mode::Live } else { Mode::CatchUp(ResetReason::Compacted) };
        let (history, epoch) = (ring.history.clone(), ring.epoch);
        let complete = looked.filter(|_| at == ring.through);
        drop(ring);
        let mut bookmarks = interval(bookmark_every);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        bookmarks.reset();
        let reset = position.is_none().then_some(ResetReason::HistoryChanged);
        let feed = Arc::clone(feed);
        Some(Self { feed, id, selectors, wake, bookmarks, draining, mode, history, epoch, at, opened: false, reset, drained: false, complete })
    }

    /// The next message; `None` after [`Event::Draining`].
    ///
    /// # Errors
    /// As the store's, when a subscriber far behind has to read it. The subscription then ends; its last position is still good.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        if self.drained {
            return Ok(None);
        }
        if !self.opened {
            self.opened = true;
            let mut opened = self.message(Event::Opened);
            if self.reset.is_some() {
                // Whoever hears this and no more shall hear of the reset when he comes again.
                opened.history = History(NO_HISTORY.to_owned());
            }
            return Ok(Some(opened));
        }
        if let Some(reason) = self.reset.take() {
            return Ok(Some(self.message(Event::Reset(reason))));
        }
        loop {
            let event = match self.mode {
                Mode::Live => self.take(),
                Mode::CatchUp(reason) => self.catch_up(reason).await?,
            };
            if let Some(event) = event {
                return Ok(Some(self.message(event)));
            }
            if self.mode == Mode::Live
                && let Some(event) = self.wait().await
            {
                return Ok(Some(self.message(event)));
            }
        }
    }

    /// The history in which it stands; empty before there was any change.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// A moment up to which nothing is missing from what was said: the log was read to its end then or later. None before the first time.
    #[must_use]
    pub fn complete(&self) -> Option<Instant> {
        self.complete
    }

    /// Sleeps until something matches, a bookmark is due, or the daemon stops.
    async fn wait(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => {
                self.drained = true;
                Some(Event::Draining)
            }
            () = self.wake.notified() => None,
            _ = self.bookmarks.tick() => {
                // A bookmark goes the way of every other message: what is pending comes first.
                match self.take() {
                    Some(event) => Some(event),
                    None => (self.mode == Mode::Live && self.feed.is_certified()).then_some(Event::Bookmark),
                }
            }
        }
    }

    fn take(&mut self) -> Option<Event> {
        // Before the ring: a look that ends in between is not what is taken now.
        let looked = self.feed.looked();
        let mut ring = self.feed.ring();
        let taken = ring.take(self.id, self.epoch, self.at);
        if self.history.0.is_empty() && self.epoch == ring.epoch {
            self.history = ring.history.clone();
        }
        drop(ring);
        match taken {
            Taken::Changes(changes, at) => {
                self.at = at;
                Some(Event::Changes(changes))
            }
            Taken::Nothing(at) => {
                (self.at, self.complete) = (at, looked);
                None
            }
            Taken::Behind(at) => {
                self.at = at;
                self.mode = Mode::CatchUp(ResetReason::SlowConsumer);
                None
            }
            Taken::Broken(reason) => Some(self.start_over(reason)),
        }
    }

    /// Stands at the feed's position from now on.
    fn start_over(&mut self, reason: ResetReason) -> Event {
        let mut ring = self.feed.ring();
        (self.history, self.epoch, self.at) = (ring.history.clone(), ring.epoch, ring.through);
        ring.go_live(self.id, self.at);
        self.mode = Mode::Live;
        Event::Reset(reason)
    }

    /// Reads the next page from the store, until memory reaches back to where it ends.
    async fn catch_up(&mut self, if_trimmed: ResetReason) -> Result<Option<Event>> {
        if self.draining.is_cancelled() {
            self.drained = true;
            return Ok(Some(Event::Draining));
        }
        let LogPage { entries, head } = self.feed.page(self.at).await?;
        if head.history != self.history {
            self.feed.look(true).await?;
            return Ok(Some(self.start_over(ResetReason::HistoryChanged)));
        }
        let trimmed = entries.first().map_or(head.last > self.at, |first| first.previous > self.at);
        if trimmed {
            return Ok(Some(self.start_over(if_trimmed)));
        }
        let mut batch = BatchBuilder::default();
        let all = entries.len();
        let mut seen = 0;
        for entry in entries {
            if batch.is_full() {
                break;
            }
            seen += 1;
            batch.add(entry.revision, &event::decode(&entry.payload)?, entry.payload.len(), &self.selectors);
        }
        self.at = self.after_page(seen == all && all < PAGE, &head, batch.through);
        if self.feed.ring().go_live(self.id, self.at) {
            self.mode = Mode::Live;
        }
        Ok((!batch.matched.is_empty()).then_some(Event::Changes(batch.matched)))
    }

    fn after_page(&self, whole: bool, head: &Head, through: Revision) -> Revision {
        if whole { self.at.max(head.revision) } else { self.at.max(through) }
    }

    #[cfg(test)]
    pub(super) fn history_for_test(&self) -> History {
        self.history.clone()
    }

    fn message(&self, event: Event) -> Message {
        Message { event, history: self.history.clone(), revision: self.at }
    }
}
