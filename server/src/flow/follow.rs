//! The daemon's own cache of sessions is a watcher like any other: this keeps it one.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    sessions::SessionCache,
    tasks::Tasks,
    watch::{Event, Hub, Message, Start},
};
use crate::model::{error::Result, id::Namespace, selector::Selectors};

/// How often to look for namespaces that are asked for and not followed yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often to certify that nothing else happened; the log itself is read at least once a second.
const CERTIFY_EVERY: Duration = Duration::from_millis(500);
/// A namespace that nobody asks for is followed no longer than this.
const IDLE: Duration = Duration::from_mins(1);

/// Follows every namespace that the cache is asked for, each in a task of its own, until told to stop.
pub async fn run(hub: Arc<Hub>, cache: Arc<SessionCache>, tasks: Arc<Tasks>) {
    let (stop, followed) = (tasks.stopping(), Arc::new(Mutex::new(HashSet::new())));
    while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        for namespace in cache.wanted() {
            // A namespace is asked for again until its log was first read, which may take longer than a look.
            if !followed.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.clone()) {
                continue;
            }
            let (hub, cache, stop, followed) = (Arc::clone(&hub), Arc::clone(&cache), stop.clone(), Arc::clone(&followed));
            tasks.spawn(async move {
                follow(hub, cache, namespace.clone(), stop).await;
                followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&namespace);
            });
        }
    }
}

async fn follow(hub: Arc<Hub>, cache: Arc<SessionCache>, namespace: Namespace, stop: CancellationToken) {
    let ended = stop.run_until_cancelled(apply(&hub, &cache, &namespace)).await;
    cache.reset(&namespace);
    if let Some(Err(error)) = ended {
        // The next reading asks for the namespace again; until then nothing of it is served from memory.
        tracing::debug!(%namespace, ?error, "sessions are not cached while the log cannot be read");
    }
}

async fn apply(hub: &Hub, cache: &SessionCache, namespace: &Namespace) -> Result<()> {
    let mut subscriber = hub.subscribe(namespace, Selectors::new(Vec::new()), Start::Now, CERTIFY_EVERY).await?;
    while let Some(Message { event, revision, .. }) = subscriber.next().await? {
        match event {
            Event::Opened | Event::Bookmark => {}
            Event::Changes(matched) => matched.iter().for_each(|one| cache.apply(namespace, one.revision, &one.changes)),
            Event::Reset(_) => cache.reset(namespace),
            Event::Draining => return Ok(()),
        }
        if let Some(complete) = subscriber.complete() {
            cache.verified_through(namespace, revision, complete);
        }
        if cache.is_idle(namespace, IDLE) {
            return Ok(());
        }
    }
    Ok(())
}
