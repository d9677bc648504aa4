//! Wake-ups: the revisions of watched namespaces, from pub/sub on a connection of its own (`listen`), and once a second from the namespaces themselves. So a lost
//! message, a subscription that died silently or a server that was replaced delays a wake-up by a second at most.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{connect::Link, failure::Failure, keys::Space, listen::Listener};
use crate::model::{error::Result, time::Revision};

/// How often the namespaces themselves are asked.
const POLL: Duration = Duration::from_secs(1);
/// Most namespaces that are asked at once.
const AT_ONCE: usize = 32;
/// Most subscriptions that wait to be made; further ones wait to be queued.
const QUEUE: usize = 64;

/// The watched namespaces, by channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<HashMap<String, Watch>>>);

#[derive(Debug)]
struct Watch {
    meta: String,
    sender: watch::Sender<Revision>,
    subscribed: bool,
    /// The last poll found less than was known.
    behind: bool,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another holder of the channel, and whether it is subscribed to.
    fn add(&self, channel: &str, meta: &str) -> (watch::Receiver<Revision>, bool) {
        let mut watched = self.lock();
        let new = || Watch { meta: meta.to_owned(), sender: watch::Sender::new(Revision::ZERO), subscribed: false, behind: false };
        let watch = watched.entry(channel.to_owned()).or_insert_with(new);
        (watch.sender.subscribe(), watch.subscribed)
    }

    /// A revision was committed.
    pub(super) fn advance(&self, channel: &str, revision: Revision) {
        if let Some(watch) = self.lock().get(channel) {
            watch.sender.send_if_modified(|known| {
                let newer = revision > *known;
                *known = revision.max(*known);
                newer
            });
        }
    }

    /// A poll found this revision. One that lies behind may be older than a message; found twice in a row it means that data was lost, and what comes next may
    /// lie behind as well.
    fn polled(&self, channel: &str, revision: Revision) {
        let lost = match self.lock().get_mut(channel) {
            Some(watch) => {
                let behind = revision < *watch.sender.borrow();
                let lost = behind && watch.behind;
                watch.behind = behind && !lost;
                if lost {
                    watch.sender.send_replace(revision);
                }
                lost
            }
            None => return,
        };
        if !lost {
            self.advance(channel, revision);
        }
    }

    /// What is watched now, and what nobody watches any more, which is forgotten.
    pub(super) fn sort(&self) -> (Vec<String>, Vec<String>) {
        let mut watched = self.lock();
        let idle: Vec<_> = watched.extract_if(|_, watch| watch.sender.receiver_count() == 0).map(|(channel, _)| channel).collect();
        (watched.keys().cloned().collect(), idle)
    }

    /// The channel is subscribed to.
    pub(super) fn subscribed(&self, channel: &str) {
        if let Some(watch) = self.lock().get_mut(channel) {
            watch.subscribed = true;
        }
    }

    /// No channel is subscribed to.
    pub(super) fn unsubscribed(&self) {
        for watch in self.lock().values_mut() {
            watch.subscribed = false;
        }
    }
}

/// A channel that is to be subscribed to, and who waits for it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) channel: String,
    pub(super) done: oneshot::Sender<Result<(), Failure>>,
}

/// The watchers' side.
#[derive(Debug)]
pub(super) struct Wake {
    watched: Watched,
    asks: mpsc::Sender<Ask>,
}

impl Wake {
    /// Nothing is watched yet.
    pub(super) fn new() -> (Self, Listener) {
        let watched = Watched::default();
        let (asks, receiver) = mpsc::channel(QUEUE);
        (Self { watched: watched.clone(), asks }, Listener::new(watched, receiver))
    }

    /// Subscribes, then reads the revision, so that nothing falls between.
    pub(super) async fn watch(&self, link: &Link, space: &Space) -> Result<watch::Receiver<Revision>> {
        let (channel, meta) = (space.wake(), space.meta());
        let (receiver, subscribed) = self.watched.add(&channel, &meta);
        if !subscribed {
            let answer = timeout(link.limit, self.subscribe(&channel)).await;
            answer.unwrap_or(Err(Failure::Late(link.limit))).map_err(|failure| link.error(failure))?;
        }
        let revision = read(link, &meta).await.map_err(|failure| link.error(failure))?;
        self.watched.advance(&channel, revision);
        Ok(receiver)
    }

    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        let (done, answer) = oneshot::channel();
        // The listener ends with the store only.
        self.asks.send(Ask { channel: channel.to_owned(), done }).await.map_err(|_| Failure::Away)?;
        answer.await.unwrap_or(Err(Failure::Away))
    }

    /// Asks the watched namespaces for their revisions once a second, until `stop`.
    pub(super) async fn poll(&self, link: &Link, stop: CancellationToken) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let all: Vec<_> = self.watched.lock().iter().map(|(channel, watch)| (channel.clone(), watch.meta.clone())).collect();
            let polls: Vec<_> = all.into_iter().map(|(channel, meta)| self.poll_one(link, channel, meta)).collect();
            let polls = futures::stream::iter(polls).buffer_unordered(AT_ONCE).collect::<()>();
            if stop.run_until_cancelled(polls).await.is_none() {
                return;
            }
        }
    }

    async fn poll_one(&self, link: &Link, channel: String, meta: String) {
        // An outage is told to those who read or write; a watcher just hears nothing.
        if let Ok(revision) = read(link, &meta).await {
            self.watched.polled(&channel, revision);
        }
    }
}

/// The revision in a message or a field.
pub(super) fn parse(payload: &[u8]) -> Option<Revision> {
    std::str::from_utf8(payload).ok()?.parse().ok().map(Revision)
}

/// What is committed in a namespace.
async fn read(link: &Link, meta: &str) -> Result<Revision, Failure> {
    let mut command = redis::cmd("HGET");
    command.arg(meta).arg("rev");
    Ok(match link.read(&command).await? {
        redis::Value::BulkString(payload) => parse(&payload).unwrap_or_default(),
        _ => Revision::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_lies_behind_twice_in_a_row_is_a_loss() {
        let watched = Watched::default();
        let (mut receiver, subscribed) = watched.add("channel", "meta");
        assert!(!subscribed);
        let seen = |receiver: &mut watch::Receiver<Revision>| receiver.has_changed().unwrap().then(|| receiver.borrow_and_update().0);
        watched.advance("channel", Revision(10));
        assert_eq!(seen(&mut receiver), Some(10));
        // A poll that was overtaken by a message.
        watched.polled("channel", Revision(9));
        watched.polled("channel", Revision(10));
        watched.polled("channel", Revision(9));
        watched.advance("channel", Revision(8));
        assert_eq!(seen(&mut receiver), None);
        watched.polled("channel", Revision(9));
        assert_eq!(seen(&mut receiver), Some(9));
        watched.polled("channel", Revision(11));
        assert_eq!(seen(&mut receiver), Some(11));
    }

    #[test]
    fn what_nobody_watches_is_forgotten() {
        let watched = Watched::default();
        let (kept, _) = watched.add("kept", "meta");
        drop(watched.add("idle", "meta"));
        watched.subscribed("kept");
        assert_eq!(watched.sort(), (vec!["kept".to_owned()], vec!["idle".to_owned()]));
        assert!(watched.add("kept", "meta").1);
        watched.unsubscribed();
        assert!(!watched.add("kept", "meta").1);
        drop(kept);
    }
}
