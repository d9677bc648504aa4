//! Wake-ups: the revisions of watched namespaces, from pub/sub on a connection of its own, and once a second from the namespaces themselves. So a lost message, a
//! subscription that died silently or a server that was replaced delays a wake-up by a second at most.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use redis::{PushInfo, cluster_async::ClusterConnection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    breaker::Pauses,
    connect::{Kind, Link, cluster, within},
    failure::Failure,
    keys::Space,
};
use crate::model::{error::Result, time::Revision};

/// How often the namespaces themselves are asked.
const POLL: Duration = Duration::from_secs(1);
/// How often the subscriptions are looked after: those without watchers ended, the connection tried, a Cluster's renewed.
const CARE: Duration = Duration::from_secs(5);
/// Most namespaces that are asked at once.
const AT_ONCE: usize = 32;
/// Most subscriptions that wait to be made; further ones wait to be queued.
const QUEUE: usize = 64;

/// The watched namespaces.
#[derive(Debug)]
pub(super) struct Wake {
    watched: Watched,
    asks: mpsc::Sender<Ask>,
}

/// By channel.
type Watched = Arc<Mutex<HashMap<String, Watch>>>;

#[derive(Debug)]
struct Watch {
    meta: String,
    sender: watch::Sender<Revision>,
    subscribed: bool,
}

/// A namespace that is to be subscribed to, and who waits for it.
#[derive(Debug)]
pub(super) struct Ask {
    channel: String,
    done: oneshot::Sender<Result<(), Failure>>,
}

/// The part that [`listen`] needs.
#[derive(Debug)]
pub(super) struct Listener {
    watched: Watched,
    asks: mpsc::Receiver<Ask>,
}

fn lock(watched: &Watched) -> MutexGuard<'_, HashMap<String, Watch>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn advance(watched: &Watched, channel: &str, revision: Revision) {
    if let Some(watch) = lock(watched).get(channel) {
        watch.sender.send_if_modified(|known| {
            let newer = revision > *known;
            if newer {
                *known = revision;
            }
            newer
        });
    }
}

fn parse(payload: &[u8]) -> Option<Revision> {
    std::str::from_utf8(payload).ok()?.parse().ok().map(Revision)
}

impl Wake {
    /// Nothing is watched yet.
    pub(super) fn new() -> (Self, Listener) {
        let watched = Watched::default();
        let (asks, receiver) = mpsc::channel(QUEUE);
        (Self { watched: Arc::clone(&watched), asks }, Listener { watched, asks: receiver })
    }

    /// Subscribes, then reads the revision, so that nothing falls between.
    pub(super) async fn watch(&self, link: &Link, space: &Space) -> Result<watch::Receiver<Revision>> {
        let (channel, meta) = (space.wake(), space.meta());
        let (receiver, subscribed) = {
            let mut watched = lock(&self.watched);
            let new = || Watch { meta: meta.clone(), sender: watch::Sender::new(Revision::ZERO), subscribed: false };
            let watch = watched.entry(channel.clone()).or_insert_with(new);
            (watch.sender.subscribe(), watch.subscribed)
        };
        if !subscribed {
            let (done, answer) = oneshot::channel();
            let subscribe = async {
                // The listener ends with the store only.
                if self.asks.send(Ask { channel: channel.clone(), done }).await.is_err() {
                    return Err(Failure::Away);
                }
                answer.await.unwrap_or(Err(Failure::Away))
            };
            let subscribed = timeout(link.limit, subscribe).await.unwrap_or(Err(Failure::Late(link.limit)));
            subscribed.map_err(|failure| link.error(failure))?;
        }
        let revision = read(link, &meta).await.map_err(|failure| link.error(failure))?;
        advance(&self.watched, &channel, revision);
        Ok(receiver)
    }

    /// Asks the watched namespaces for their revisions once a second, until `stop`.
    pub(super) async fn poll(&self, link: &Link, stop: CancellationToken) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let all: Vec<_> = lock(&self.watched).iter().map(|(channel, watch)| (channel.clone(), watch.meta.clone())).collect();
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
            advance(&self.watched, &channel, revision);
        }
    }
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

/// Keeps the subscriptions up until `stop`.
pub(super) async fn listen(link: &Link, mut listener: Listener, stop: CancellationToken) {
    let mut pauses = Pauses::new();
    loop {
        let session = async {
            match &link.kind {
                Kind::Single(single) => single_session(&single.client, link.limit, &mut listener, &mut pauses).await,
                Kind::Cluster { addresses, .. } => {
                    let client = cluster(addresses, link.limit).push_sender(pushes(&listener.watched)).build()?;
                    let connection = within(link.limit, client.get_async_connection()).await?;
                    cluster_session(connection, link.limit, &mut listener, &mut pauses).await
                }
            }
        };
        let ended: Option<Result<(), Failure>> = stop.run_until_cancelled(session).await;
        for watch in lock(&listener.watched).values_mut() {
            watch.subscribed = false;
        }
        match ended {
            Some(Err(failure)) => tracing::debug!(redis = %link.location, ?failure, "wake-ups are polled until the subscriptions are back"),
            Some(Ok(())) => {}
            None => return,
        }
        if stop.run_until_cancelled(tokio::time::sleep(pauses.next())).await.is_none() {
            return;
        }
    }
}

/// What a session shall do next.
enum Next {
    Ask(Ask),
    Care,
}

impl Listener {
    /// What is watched now; what nobody watches any more is forgotten and returned separately.
    fn sort(&self) -> (Vec<String>, Vec<String>) {
        let mut watched = lock(&self.watched);
        let idle: Vec<_> = watched.iter().filter(|(_, watch)| watch.sender.receiver_count() == 0).map(|(channel, _)| channel.clone()).collect();
        for channel in &idle {
            watched.remove(channel);
        }
        (watched.keys().cloned().collect(), idle)
    }

    fn subscribed(&self, channel: &str) {
        if let Some(watch) = lock(&self.watched).get_mut(channel) {
            watch.subscribed = true;
        }
    }

    /// The next one that somebody still waits for, or `Care` at a tick.
    async fn next(&mut self, ticks: &mut tokio::time::Interval) -> Next {
        loop {
            tokio::select! {
                _ = ticks.tick() => return Next::Care,
                Some(ask) = self.asks.recv() => if !ask.done.is_closed() { return Next::Ask(ask) },
            }
        }
    }

    /// Tells the one who asked, and passes a failure on: the connection is not to be trusted.
    fn tell(&self, ask: Ask, subscribed: Result<(), Failure>) -> Result<(), Failure> {
        let (told, ended) = match subscribed {
            Ok(()) => {
                self.subscribed(&ask.channel);
                (Ok(()), Ok(()))
            }
            Err(Failure::Redis(error)) => (Err(Failure::Redis(error.clone())), Err(Failure::Redis(error))),
            Err(_) => (Err(Failure::Away), Err(Failure::Away)),
        };
        // Whoever asked may have given up.
        let _ = ask.done.send(told);
        ended
    }
}

fn care() -> tokio::time::Interval {
    let mut ticks = interval(CARE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn single_session(client: &redis::Client, limit: Duration, listener: &mut Listener, pauses: &mut Pauses) -> Result<(), Failure> {
    let (mut sink, mut messages) = within(limit, client.get_async_pubsub()).await?.split();
    let (channels, _) = listener.sort();
    if !channels.is_empty() {
        within(limit, sink.subscribe(&channels)).await?;
    }
    for channel in &channels {
        listener.subscribed(channel);
    }
    *pauses = Pauses::new();
    let mut ticks = care();
    loop {
        let next = tokio::select! {
            message = messages.next() => match message {
                Some(message) => {
                    if let Some(revision) = parse(message.get_payload_bytes()) {
                        advance(&listener.watched, message.get_channel_name(), revision);
                    }
                    continue;
                }
                None => return Ok(()),
            },
            next = listener.next(&mut ticks) => next,
        };
        match next {
            Next::Ask(ask) => {
                let subscribed = within(limit, sink.subscribe(&ask.channel)).await;
                listener.tell(ask, subscribed)?;
            }
            Next::Care => {
                let (_, idle) = listener.sort();
                if !idle.is_empty() {
                    within(limit, sink.unsubscribe(&idle)).await?;
                }
                within(limit, sink.ping::<redis::Value>()).await?;
            }
        }
    }
}

/// A Cluster's client subscribes again by itself where a node's connection was lost, but not where a slot moved. Subscribing twice does no harm.
async fn cluster_session(mut connection: ClusterConnection, limit: Duration, listener: &mut Listener, pauses: &mut Pauses) -> Result<(), Failure> {
    *pauses = Pauses::new();
    let mut ticks = care();
    loop {
        match listener.next(&mut ticks).await {
            Next::Ask(ask) => {
                let subscribed = within(limit, connection.ssubscribe(&ask.channel)).await;
                listener.tell(ask, subscribed)?;
            }
            Next::Care => {
                let (channels, idle) = listener.sort();
                for channel in &idle {
                    within(limit, connection.sunsubscribe(channel)).await?;
                }
                for channel in &channels {
                    within(limit, connection.ssubscribe(channel)).await?;
                    listener.subscribed(channel);
                }
            }
        }
    }
}

/// Takes what a Cluster's nodes push.
fn pushes(watched: &Watched) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
    let watched = Arc::clone(watched);
    move |push| {
        if let Some(message) = redis::Msg::from_push_info(push)
            && let Some(revision) = parse(message.get_payload_bytes())
        {
            advance(&watched, message.get_channel_name(), revision);
        }
        Ok(())
    }
}
