//! The subscriptions behind wake-ups: one connection to a single server, one per master of a Cluster, made again whenever they are lost.

use std::time::Duration;

use futures::StreamExt as _;
use redis::{PushInfo, cluster_async::ClusterConnection};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    breaker::Pauses,
    connect::{Kind, Link, cluster, within},
    failure::Failure,
    wake::{Ask, Watched, parse},
};

/// How often the subscriptions are looked after: those without watchers ended, the connection tried, a Cluster's renewed.
const CARE: Duration = Duration::from_secs(5);

/// The listeners' side.
#[derive(Debug)]
pub(super) struct Listener {
    watched: Watched,
    asks: mpsc::Receiver<Ask>,
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
        listener.watched.unsubscribed();
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
    /// Listens for what is watched, and takes further channels from `asks`.
    pub(super) fn new(watched: Watched, asks: mpsc::Receiver<Ask>) -> Self {
        Self { watched, asks }
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
                self.watched.subscribed(&ask.channel);
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
    let (channels, _) = listener.watched.sort();
    if !channels.is_empty() {
        within(limit, sink.subscribe(&channels)).await?;
    }
    for channel in &channels {
        listener.watched.subscribed(channel);
    }
    *pauses = Pauses::new();
    let mut ticks = care();
    loop {
        let next = tokio::select! {
            message = messages.next() => match message {
                Some(message) => {
                    if let Some(revision) = parse(message.get_payload_bytes()) {
                        listener.watched.advance(message.get_channel_name(), revision);
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
                let (_, idle) = listener.watched.sort();
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
                let (channels, idle) = listener.watched.sort();
                for channel in &idle {
                    within(limit, connection.sunsubscribe(channel)).await?;
                }
                for channel in &channels {
                    within(limit, connection.ssubscribe(channel)).await?;
                    listener.watched.subscribed(channel);
                }
            }
        }
    }
}

/// Takes what a Cluster's nodes push.
fn pushes(watched: &Watched) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
    let watched = watched.clone();
    move |push| {
        if let Some(message) = redis::Msg::from_push_info(push)
            && let Some(revision) = parse(message.get_payload_bytes())
        {
            watched.advance(message.get_channel_name(), revision);
        }
        Ok(())
    }
}
